"""The drawn house fronts and towns: what is in them, that the label map keeps the look to itself, and the sets."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import load_script

from gantutor.data import common, drawing, facades, load_pairs, maps
from gantutor.data.facades import (
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
from gantutor.data.maps import BUILDING, HIGHWAY, LAND, MAP_CLASSES, PARK, ROAD, WATER, draw_map

DRAWERS = {"facades_mini": (draw_facade, FACADE_CLASSES), "maps_mini": (draw_map, MAP_CLASSES)}
NUMBER = 60
Drawn = tuple[np.ndarray, ...]


def scenes(name: str) -> Drawn:
    """Labels (60, 64, 64) and pictures (60, 64, 64, 3)."""
    rows = [DRAWERS[name][0](np.random.default_rng([0, 0, index]), 64) for index in range(NUMBER)]
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


@pytest.fixture(scope="module")
def houses() -> Drawn:
    return scenes("facades_mini")


@pytest.fixture(scope="module")
def towns() -> Drawn:
    return scenes("maps_mini")


def test_every_class_occurs_and_has_a_name_and_a_colour_of_its_own(houses: Drawn, towns: Drawn) -> None:
    for labels, classes, always, sometimes in (
        (houses[0], FACADE_CLASSES, {BACKGROUND, WALL, WINDOW, DOOR, CORNICE, MOLDING}, {PILLAR, SHOP, BALCONY, BLIND}),
        (towns[0], MAP_CLASSES, {LAND, ROAD, BUILDING}, {WATER, HIGHWAY}),
    ):
        assert len({label.name for label in classes}) == len({label.colour for label in classes}) == len(classes)
        share = np.bincount(labels.ravel(), minlength=len(classes)) / labels.size
        assert (share > 0.004).all(), dict(zip([label.name for label in classes], share.round(4), strict=True))
        assert all(always <= set(scene.ravel().tolist()) for scene in labels)
        assert all(0.1 < (labels == label).any((1, 2)).mean() < 1 for label in sometimes)
    assert (FACADE_CLASSES[WINDOW].name, MAP_CLASSES[WATER].name) == ("window", "water")
    assert (towns[0] == WATER).mean() > 0.03, "rivers, not only ponds"


def test_the_parts_of_a_house_are_where_they_belong(houses: Drawn) -> None:
    for picture in houses[0]:
        door_rows, door_columns = np.nonzero(picture == DOOR)
        assert door_rows.max() == 63, "a door reaches the street"
        assert len(door_rows) == (np.ptp(door_rows) + 1) * (np.ptp(door_columns) + 1), "and is one rectangle"
        wall_top = np.nonzero((picture == WALL).any(1))[0][0]
        for label, lowest in ((ROOF, wall_top), (CORNICE, wall_top + 4)):
            assert not (picture[lowest + 1 :] == label).any()
        assert not (picture[: door_rows.min() - 2] == SHOP).any(), "shops are on the ground floor"
        for row, column in np.argwhere(np.isin(picture, (SILL, BALCONY, BLIND))):
            around = picture[max(row - 16, 0) : row + 17, max(column - 3, 0) : column + 4]
            assert (around == WINDOW).any(), "what belongs to a window has one above or below it"


def test_houses_show_their_labels(houses: Drawn) -> None:
    labels, pictures = houses
    for label, picture in zip(labels, pictures.mean(-1), strict=True):
        dark_house = picture[label == WALL].mean() < 110
        assert (picture[label == WINDOW].mean() > picture[label == WALL].mean()) == dark_house, "sky or darkness in it"
    sky = pictures[labels == BACKGROUND].astype(int)
    assert (sky[:, 2] >= sky[:, 0] - 12).mean() > 0.97, "the sky is blue or grey, but for the smoothed edges"


def test_the_label_map_does_not_tell_the_look_and_the_average_shows_little() -> None:
    rng = np.random.default_rng(0)
    labels, frames = facades.lay_out_house(facades.House(rng), rng, 64 * drawing.SUPERSAMPLING)
    pictures = np.stack([facades.paint_facade(labels, frames, np.random.default_rng(seed)) for seed in range(40)])
    walls = pictures[:, labels == WALL].mean(1)
    assert (walls.std(0) > 0.15).all(), "one label map, many colours"
    dark = walls.mean(1) < 0.5
    assert 0.25 < dark.mean() < 0.75
    for part in (WINDOW, CORNICE):
        contrast = pictures[:, (labels == part) & (frames == 0)].mean((1, 2)) - walls.mean(1)
        assert (np.sign(contrast) == np.where(dark, 1, -1)).all(), "light on dark, or dark on light"
        assert abs(contrast.mean()) < 0.5 * np.abs(contrast).mean(), "the average of both is half as strong at the most"
    assert 0.2 < frames[(labels == WINDOW) | (labels == SHOP)].mean() < 0.8, "a window has bars and panes"


def inner(labels: np.ndarray) -> np.ndarray:
    """Where all eight neighbours are of the same class: there no edge is smoothed."""
    values = torch.from_numpy(labels).float()[:, None]
    return (F.max_pool2d(values, 3, 1, 1) == -F.max_pool2d(-values, 3, 1, 1))[:, 0].numpy()


def test_a_map_is_drawn_in_the_colours_of_its_labels_and_the_aerial_view_shows_them(towns: Drawn) -> None:
    labels, aerial, street_maps = towns
    clear = inner(labels)
    colours = np.array([label.colour for label in MAP_CLASSES])
    error = np.abs(street_maps[clear].astype(int) - colours[labels[clear]]).max(-1)
    assert (error <= 1).mean() > 0.99, "all but where something thinner than a pixel passes"
    seen = {label: aerial[clear & (labels == label)].astype(int).mean(0) for label in range(6)}
    assert seen[PARK][1] > 1.3 * max(seen[PARK][0], seen[PARK][2]), "parks are green"
    assert seen[WATER][2] > 1.5 * seen[WATER][0], "water is blue"
    assert np.ptp(seen[ROAD]) < 6, "roads are grey"
    assert seen[HIGHWAY].mean() > seen[ROAD].mean() + 15, "a highway is lighter than a road"
    roofs = [picture[town == BUILDING].std(0).mean() for picture, town in zip(aerial, labels, strict=True)]
    assert np.mean(roofs) > 25, "each house has a roof of its own"


def test_rivers_flow_through_and_are_whole() -> None:
    town = maps.Town(192, 0.3)
    maps.lay_river(town, np.random.default_rng(3))
    for row in town.labels.array() == WATER:
        assert np.abs(np.diff(np.concatenate([[0], row.astype(int), [0]]))).sum() == 2, "one stretch in each row"
    first, second = np.array(town.turned(0.1, 0.2)), np.array(town.turned(0.4, 0.6))
    assert np.linalg.norm(second - first) == pytest.approx(0.5), "a turned town keeps its distances"


# The sets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRAWERS)
def test_a_set_is_the_drawings_and_its_splits_share_none(name: str) -> None:
    draw, classes = DRAWERS[name]
    train = load_pairs(name, number=3, jitter=True)
    assert train.held_out is not None
    val, test = (load_pairs(name, split=split, number=3, jitter=True) for split in ("val", "test"))
    assert (train.flip, train.jitter, len(train.held_out), test.flip, test.jitter) == (True, True, 100, False, False)
    assert torch.equal(train.held_out.B[:3], test.B)
    for stream, part in enumerate((train, val, test)):
        labels, *pictures = (torch.from_numpy(array) for array in draw(np.random.default_rng([0, stream, 1]), 64))
        assert part.labels is not None
        assert torch.equal(part.labels[1], labels)
        assert torch.equal(part.B[1], pictures[-1].permute(2, 0, 1))
        if name == "maps_mini":
            assert torch.equal(part.A[1], pictures[0].permute(2, 0, 1))
        else:
            assert tuple(part.A[1, :, 63, 0].tolist()) == classes[labels[63, 0]].colour
        assert (part.classes, part.label_map) == (classes, "" if name == "maps_mini" else "A")
    assert not torch.equal(load_pairs(name, number=3, seed=1).B, train.B)


@pytest.mark.parametrize("name", DRAWERS)
def test_another_size_shows_the_same_scenes(name: str) -> None:
    small, large = (load_pairs(name, split="test", number=4, size=size) for size in (64, 128))
    assert small.labels is not None
    assert large.labels is not None
    assert (small.labels == large.labels[:, ::2, ::2]).float().mean() > 0.85
    shrunk = F.avg_pool2d(large.B.float(), 2)
    error, other = ((images - small.B.float()).abs().mean() for images in (shrunk, shrunk.roll(1, 0)))
    assert error < 14
    assert other > 2 * error, "two scenes are less alike"


def test_many_scenes_show_their_progress_and_few_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    for number, shown in ((drawing.DRAWN_WITHOUT_BAR, True), (3, False)):
        load_pairs("facades_mini", split="val", number=number)
        assert ("drawing facades_mini (val, 64 pixels): 100%" in capsys.readouterr().err) == shown


def test_the_textures_are_what_the_script_builds() -> None:
    pytest.importorskip("skimage", reason="scikit-image is needed to rebuild the textures, not to use them")
    script = load_script(Path(__file__).parents[2] / "data" / "build_textures.py")
    assert common.checksum(script.build()) == drawing.TEXTURES_SHA256
