"""Sheets of images: what is written comes back, in its place; a damaged or missing sheet is said."""

from pathlib import Path

import numpy as np
import pytest
import torch
from benchlib.sheets import to_sheet, write_sheet

from gantutor.data import DataError, sheets
from gantutor.data.sheets import from_sheet, read_sheet

NUMBERS, ROWS, COLUMNS = np.ogrid[:7, :16, :16]
IMAGES = np.stack(np.broadcast_arrays(9 * NUMBERS, ROWS, COLUMNS), axis=-1).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of data/."""
    monkeypatch.setattr(sheets, "embedded_file", lambda name: tmp_path / name)
    return tmp_path


def test_a_sheet_without_loss_gives_back_its_images() -> None:
    places = from_sheet(to_sheet(IMAGES, columns=4), 16)
    assert places.shape == (2, 4, 16, 16, 3)
    assert np.array_equal(places.reshape(8, 16, 16, 3)[:7], IMAGES)
    assert (places[1, 3] == 255).all()
    grey = from_sheet(to_sheet(IMAGES[..., 1], columns=7), 16)
    assert np.array_equal(grey[0], np.repeat(IMAGES[..., 1:2], 3, axis=-1))


def test_what_a_benchmark_writes_is_read_in_its_place(folder: Path) -> None:
    images = torch.linspace(-1, 1, 6).view(2, 3, 1, 1, 1).expand(2, 3, 3, 16, 16)
    write_sheet(folder / "some.webp", images)
    assert [file.name for file in folder.iterdir()] == ["some.webp"]
    read = read_sheet("some.webp", side=16)
    assert (read.dtype, read.shape) == (torch.float32, images.shape)
    assert (read - images).abs().max() < 0.05


@pytest.mark.slow
def test_a_damaged_sheet_and_another_side_are_said(folder: Path) -> None:
    whole = to_sheet(IMAGES, columns=7)
    for name, content, side in (("text.webp", b"<html>", 16), ("half.webp", whole[:-1], 16), ("whole.webp", whole, 15)):
        (folder / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name} is damaged .*git checkout data/{name}"):
            read_sheet(name, side)
    with pytest.raises(ValueError, match="112 x 16 pixels is not made of images of 15"):
        from_sheet(whole, 15)
