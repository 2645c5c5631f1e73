"""The drawn towns: that the map is exactly the labels' and the aerial view shows them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gantutor.data.pairs import read_labels
from gantutor.data.procedural import maps, maps_mini
from gantutor.data.procedural.maps import BUILDING, HIGHWAY, LAND, MAP_CLASSES, PARK, ROAD, WATER, draw_map

NUMBER = 40
Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """Labels (40, 64, 64), aerial views and maps (40, 64, 64, 3)."""
    rows = [draw_map(np.random.default_rng([0, 0, index]), 64) for index in range(NUMBER)]
    return tuple(np.stack(column) for column in zip(*rows, strict=True))  # type: ignore[return-value]


def inner(labels: np.ndarray) -> np.ndarray:
    """Where all eight neighbours are of the same class: there no edge is smoothed."""
    values = torch.from_numpy(labels).float()[:, None]
    highest, lowest = F.max_pool2d(values, 3, 1, 1), -F.max_pool2d(-values, 3, 1, 1)
    return (highest == lowest)[:, 0].numpy()


def test_every_class_occurs_and_every_town_has_roads_and_houses(drawn: Drawn) -> None:
    labels = drawn[0]
    share = np.bincount(labels.ravel(), minlength=6) / labels.size
    assert (share > 0.01).all(), dict(zip([label.name for label in MAP_CLASSES], share.round(4), strict=True))
    for town in labels:
        assert {LAND, ROAD, BUILDING} <= set(town.ravel().tolist())
    for optional in (WATER, HIGHWAY):
        assert 0.2 < (labels == optional).any((1, 2)).mean() < 1


def test_the_map_is_drawn_in_the_colours_of_its_labels(drawn: Drawn) -> None:
    labels, _, street_maps = drawn
    colours = np.array([label.colour for label in MAP_CLASSES])
    clear = inner(labels)
    assert clear.mean() > 0.3
    error = np.abs(street_maps[clear].astype(int) - colours[labels[clear]]).max(-1)
    assert (error <= 1).mean() > 0.99, "all but where something thinner than a pixel passes"
    pictures = torch.from_numpy(street_maps).permute(0, 3, 1, 2)
    read = read_labels(pictures, MAP_CLASSES).numpy()
    assert (read == labels)[clear].mean() > 0.99
    assert (read == labels).mean() > 0.9


def test_the_aerial_view_shows_the_labels(drawn: Drawn) -> None:
    labels, aerial, _ = drawn
    clear = inner(labels)
    seen = {label: aerial[clear & (labels == label)].astype(int) for label in range(6)}
    park, water, road = seen[PARK].mean(0), seen[WATER].mean(0), seen[ROAD].mean(0)
    assert park[1] > 1.3 * max(park[0], park[2]), "parks are green"
    assert water[2] > 1.5 * water[0], "water is blue"
    assert np.ptp(road) < 6, "roads are grey"
    assert seen[HIGHWAY].mean() > road.mean() + 15, "a highway is lighter than a road"


def test_each_house_has_a_roof_of_its_own(drawn: Drawn) -> None:
    labels, aerial, _ = drawn
    spread = [aerial[number][labels[number] == BUILDING].std(0).mean() for number in range(NUMBER)]
    assert np.mean(spread) > 25


def test_rivers_flow_through_and_are_whole() -> None:
    town = maps.Town(192, 0)
    maps.lay_river(town, np.random.default_rng(3))
    river = town.labels.array() == WATER
    assert river.any(1).all(), "from the top to the bottom"
    for row in river:
        assert np.abs(np.diff(np.concatenate([[0], row.astype(int), [0]]))).sum() == 2, "one stretch in each row"


def test_a_turned_town_keeps_its_distances() -> None:
    town = maps.Town(64, 0.3)
    first, second = np.array(town.turned(0.1, 0.2)), np.array(town.turned(0.4, 0.6))
    assert np.linalg.norm(second - first) == pytest.approx(0.5)
    assert town.turned(0.5, 0.5) == pytest.approx((0.5, 0.5))


def test_the_set_is_the_drawings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path))
    data = maps_mini(split="val", number=2)
    labels, aerial, street_map = (torch.from_numpy(part) for part in draw_map(np.random.default_rng([0, 1, 1]), 64))
    assert data.labels is not None
    assert torch.equal(data.labels[1], labels)
    assert torch.equal(data.A[1], aerial.permute(2, 0, 1))
    assert torch.equal(data.B[1], street_map.permute(2, 0, 1))
    assert torch.equal(data.reversed().A, data.B)
    assert (data.classes, data.label_map) == (MAP_CLASSES, "")
