"""Sheets of images: what is written comes back, in its place; a damaged or missing sheet is said."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from gantutor.data import DataError, sheets
from gantutor.data.sheets import from_sheet, read_sheet, to_sheet

NUMBERS, ROWS, COLUMNS = np.ogrid[:35, :64, :64]
IMAGES = np.stack(np.broadcast_arrays(NUMBERS, ROWS, COLUMNS), axis=-1).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of data/."""
    monkeypatch.setattr(sheets, "embedded_file", lambda name: tmp_path / name)
    return tmp_path


def test_a_sheet_without_loss_gives_back_its_images() -> None:
    places = from_sheet(to_sheet(IMAGES, columns=8), 64)
    assert places.shape == (5, 8, 64, 64, 3)
    assert np.array_equal(places.reshape(40, 64, 64, 3)[:35], IMAGES)
    assert (places[4, 3:] == 255).all()
    grey = from_sheet(to_sheet(IMAGES[..., 1], columns=35), 64)
    assert np.array_equal(grey[0], np.repeat(IMAGES[..., 1:2], 3, axis=-1))


def test_what_a_benchmark_writes_is_read_in_its_place(folder: Path) -> None:
    images = torch.linspace(-1, 1, 6).view(2, 3, 1, 1, 1).expand(2, 3, 3, 16, 16)
    importlib.import_module("benchlib.sheets").write_sheet(folder / "some.webp", images)
    assert [file.name for file in folder.iterdir()] == ["some.webp"]
    read = read_sheet("some.webp", side=16)
    assert read.dtype == torch.float32
    assert read.shape == images.shape
    assert (read - images).abs().max() < 0.05


def test_a_damaged_sheet_and_another_side_are_said(folder: Path) -> None:
    (folder / "text.webp").write_bytes(b"<html>")
    (folder / "half.webp").write_bytes(to_sheet(IMAGES, columns=5)[:-1])
    (folder / "whole.webp").write_bytes(to_sheet(IMAGES, columns=5))
    for name, side in (("text.webp", 64), ("half.webp", 64), ("whole.webp", 60)):
        with pytest.raises(DataError, match=rf"{name} is damaged .*git checkout data/{name}"):
            read_sheet(name, side)
    with pytest.raises(ValueError, match="320 x 448 pixels is not made of images of 60"):
        from_sheet(to_sheet(IMAGES, columns=5), 60)
