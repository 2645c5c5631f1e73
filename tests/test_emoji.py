"""Edges and emoji: the edges by hand, the images where the font is installed, and a clear error where it is not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gantutor.data import DataError, Pairs, emoji, load_pairs
from gantutor.data.emoji import edges, find_font

try:
    FONT: Path | None = find_font()
except DataError:
    FONT = None
needs_font = pytest.mark.skipif(FONT is None, reason=f"{emoji.FONT} is not installed")


def test_edges_are_where_a_colour_steps() -> None:
    picture = np.full((8, 10, 3), 255, np.uint8)
    picture[2:6, 3:7] = (200, 0, 0)
    picture[3:5, 4:6] = (170, 30, 30)  # a smaller step than EDGE
    lines = edges(picture)
    assert lines.shape == picture.shape
    assert set(lines.ravel().tolist()) == {0, 255}
    black = (lines == 0).all(-1)
    expected = np.zeros((8, 10), bool)
    expected[1:7, 2:8] = True
    expected[3:5, 4:6] = False
    expected[[1, 1, 6, 6], [2, 7, 2, 7]] = False  # a corner has no step across or down
    assert np.array_equal(black, expected)
    assert (edges(np.full((4, 4, 3), 90, np.uint8)) == 255).all(), "nothing steps"


def test_a_missing_font_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(emoji, "FONT", "NoSuchFont.ttf")
    with pytest.raises(DataError, match=r"needs the font NoSuchFont\.ttf, .*fonts-noto-color-emoji\) or name the file"):
        load_pairs("edges2emoji")
    (tmp_path / "fonts" / "deep").mkdir(parents=True)
    (tmp_path / "fonts" / "deep" / "NoSuchFont.ttf").write_bytes(b"no font")
    with pytest.raises(DataError, match=r"deep/NoSuchFont\.ttf is not the font"):
        load_pairs("edges2emoji")


def test_a_font_without_emoji_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path))
    monkeypatch.setattr(emoji, "UNICODE_BLOCKS", ((0x1F300, 0x1F310),))
    letters = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "cmtt10.ttf"
    with pytest.raises(DataError, match=r"cmtt10\.ttf has \d+ emoji; expected the font"):
        load_pairs("edges2emoji", font=letters)


@pytest.mark.parametrize("option", [{"size": 50}, {"split": "all"}, {"number": 0}])
def test_options_are_checked(option: dict[str, object]) -> None:
    (name,) = option
    with pytest.raises(ValueError, match=f"{name}="):
        load_pairs("edges2emoji", **option)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANTUTOR_DATA", str(tmp_path_factory.mktemp("data")))
        return load_pairs("edges2emoji")


@needs_font
def test_the_font_gives_a_thousand_pairs(data: Pairs) -> None:
    assert len(data) > 800
    assert data.held_out is not None
    assert len(data.held_out) == 100
    assert data.shape == (3, 64, 64)
    assert torch.equal(data.A[:, 0], data.A[:, 2]), "lines have no colour"
    assert (data.B.float().amax(1) - data.B.float().amin(1)).mean() > 20, "emoji have"
    dark = (data.A < 128).float().mean((1, 2, 3))
    assert 0.02 < dark.median() < 0.3, "lines on an empty sheet"


@needs_font
def test_no_emoji_is_trained_on_and_judged_by(data: Pairs) -> None:
    assert data.held_out is not None
    all_pictures = torch.cat([data.B, data.held_out.B])
    assert len({picture.numpy().tobytes() for picture in all_pictures}) > 0.99 * len(all_pictures)
    train = {picture.numpy().tobytes() for picture in data.B}
    assert not train & {picture.numpy().tobytes() for picture in data.held_out.B}
