"""The drawn house fronts: what is in them, where it is, and that the label map keeps the wall's colour to itself."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gantutor.data.procedural import facades, facades_mini
from gantutor.data.procedural.drawing import SUPERSAMPLING
from gantutor.data.procedural.facades import (
    BACKGROUND,
    BALCONY,
    BLIND,
    CORNICE,
    DOOR,
    FACADE_CLASSES,
    MOLDING,
    PILLAR,
    ROOF,
    SHOP,
    SILL,
    WALL,
    WINDOW,
    draw_facade,
)  # fmt: skip

NUMBER = 60


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Labels (60, 64, 64) and pictures (60, 64, 64, 3)."""
    rows = [draw_facade(np.random.default_rng([0, 0, index]), 64) for index in range(NUMBER)]
    return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])


def test_the_classes_are_twelve_with_names_and_colours_of_their_own() -> None:
    assert len({label.name for label in FACADE_CLASSES}) == len({label.colour for label in FACADE_CLASSES}) == 12
    assert FACADE_CLASSES[WINDOW].name == "window"
    assert FACADE_CLASSES[SHOP].name == "shop"


def test_every_class_occurs_and_every_house_has_the_main_parts(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, pictures = drawn
    assert labels.dtype == pictures.dtype == np.uint8
    share = np.bincount(labels.ravel(), minlength=12) / labels.size
    assert (share > 0.004).all(), dict(zip([label.name for label in FACADE_CLASSES], share.round(4), strict=True))
    for picture in labels:
        assert {BACKGROUND, WALL, WINDOW, DOOR, CORNICE, MOLDING} <= set(picture.ravel().tolist())


def test_the_parts_are_where_they_belong(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, _ = drawn
    for picture in labels:
        door_rows, door_columns = np.nonzero(picture == DOOR)
        assert door_rows.max() == 63, "a door reaches the street"
        assert len(door_rows) == (np.ptp(door_rows) + 1) * (np.ptp(door_columns) + 1), "and is one rectangle"
        assert np.ptp(door_columns) >= 3, "wide enough to be seen"
        wall_top = np.nonzero((picture == WALL).any(1))[0][0]
        for label, lowest in ((ROOF, wall_top), (CORNICE, wall_top + 4)):
            rows = np.nonzero(picture == label)[0]
            assert not len(rows) or rows.max() <= lowest
        shop_rows = np.nonzero(picture == SHOP)[0]
        assert not len(shop_rows) or shop_rows.min() > door_rows.min() - 3, "shops are on the ground floor"
        for thin in (SILL, BALCONY, BLIND):  # what belongs to a window has one above or below it
            for row, column in np.argwhere(picture == thin):
                around = picture[max(row - 16, 0) : row + 17, max(column - 3, 0) : column + 4]
                assert (around == WINDOW).any()


def test_thin_parts_are_one_pixel_and_never_lost(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, _ = drawn
    heights = set()
    for picture in labels[:, 1:-1]:
        for column in (picture == SILL).T:
            edges = np.flatnonzero(np.diff(np.concatenate([[0], column.view(np.int8), [0]])))
            heights |= set((edges[1::2] - edges[::2]).tolist())
    assert heights == {1}


def test_pictures_show_their_labels(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, pictures = drawn
    grey = pictures.mean(-1)
    for label, picture in zip(labels, grey, strict=True):
        dark_house = picture[label == WALL].mean() < 110
        assert (picture[label == WINDOW].mean() > picture[label == WALL].mean()) == dark_house, "sky or darkness in it"
    sky = pictures[labels == BACKGROUND].astype(int)
    assert (sky[:, 2] >= sky[:, 0] - 12).mean() > 0.97, "the sky is blue or grey, but for the smoothed edges"
    assert (pictures.reshape(NUMBER, -1).std(1) > 15).all(), "no picture is flat"


def test_the_label_map_does_not_tell_the_look_and_the_average_shows_little() -> None:
    house = facades.plan(np.random.default_rng(0))
    labels, frames = facades.lay_out_house(house, np.random.default_rng(1), 64 * SUPERSAMPLING)
    pictures = np.stack([facades.paint_facade(labels, frames, np.random.default_rng(seed)) for seed in range(40)])
    walls = pictures[:, labels == WALL].mean(1)
    assert (walls.std(0) > 0.15).all(), "one label map, many colours"
    dark = walls.mean(1) < 0.5
    assert 0.25 < dark.mean() < 0.75
    glass, trim = (pictures[:, (labels == part) & (frames == 0)].mean(1) for part in (WINDOW, CORNICE))
    for part in (glass, trim):
        contrast = part.mean(1) - walls.mean(1)
        assert (np.sign(contrast) == np.where(dark, 1, -1)).all(), "light on dark, or dark on light"
        assert abs(contrast.mean()) < 0.5 * np.abs(contrast).mean(), "the average of both is half as strong at the most"
    warm = walls[dark, 0] - walls[dark, 2]
    assert warm.max() > 0.25 > 0.1 > warm.min(), "brick and stone"


def test_the_frames_are_within_the_glass() -> None:
    rng = np.random.default_rng(5)
    labels, frames = facades.lay_out_house(facades.plan(rng), rng, 64 * SUPERSAMPLING)
    inside = frames[(labels == WINDOW) | (labels == SHOP)].mean()
    assert 0.2 < inside < 0.8, "a window has bars and panes"


@pytest.mark.parametrize("label", [PILLAR, SHOP, BALCONY, BLIND, ROOF, SILL])
def test_optional_parts_are_optional(drawn: tuple[np.ndarray, np.ndarray], label: int) -> None:
    with_it = (drawn[0] == label).any((1, 2)).mean()
    assert 0.1 < with_it < 0.95


def test_another_process_draws_the_same(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    program = """
import hashlib, sys
import numpy as np
from gantutor.data.procedural.facades import draw_facade
from gantutor.data.procedural.maps import draw_map
parts = [part for draw in (draw_facade, draw_map) for part in draw(np.random.default_rng([0, 0, 7]), 64)]
print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest(), "skimage" in sys.modules)
"""
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], cwd=Path(__file__).parents[2], env={"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1]
    assert runs[0][1] == "False", "scikit-image is not needed at run time"


def test_the_set_is_the_drawings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path))
    data = facades_mini(split="test", number=3)
    labels, picture = draw_facade(np.random.default_rng([0, 2, 1]), 64)
    assert data.labels is not None
    assert torch.equal(data.labels[1], torch.from_numpy(labels))
    assert torch.equal(data.B[1], torch.from_numpy(picture).permute(2, 0, 1))
    assert data.label_map == "A"
    assert tuple(data.A[1, :, 63, 0].tolist()) == FACADE_CLASSES[labels[63, 0]].colour
    assert data.classes == FACADE_CLASSES
