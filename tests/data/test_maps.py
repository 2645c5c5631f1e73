"""The embedded towns: what is in them, and that the script builds them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import load_script

from gantutor.data import Pairs, common, load_pairs
from gantutor.data.maps import BUILDING, HIGHWAY, LAND, MAP_CLASSES, PARK, ROAD, WATER
from gantutor.data.sheets import decode_sheets

REPOSITORY = Path(__file__).parents[2]
Drawn = tuple[np.ndarray, ...]


@pytest.fixture(scope="module")
def train() -> Pairs:
    return load_pairs("maps_mini", jitter=True)


@pytest.fixture(scope="module")
def towns(train: Pairs) -> Drawn:
    """Labels (60, 64, 64), and two pictures of each (60, 64, 64, 3)."""
    assert train.labels is not None
    return train.labels[:60].numpy(), *(side[:60].permute(0, 2, 3, 1).numpy() for side in (train.A, train.B))


def test_every_class_occurs_and_has_a_name_and_a_colour_of_its_own(towns: Drawn) -> None:
    labels = towns[0]
    assert len({label.name for label in MAP_CLASSES}) == len({label.colour for label in MAP_CLASSES}) == 6
    share = np.bincount(labels.ravel(), minlength=6) / labels.size
    assert (share > 0.004).all(), dict(zip([label.name for label in MAP_CLASSES], share.round(4), strict=True))
    assert all({LAND, ROAD, BUILDING} <= set(scene.ravel().tolist()) for scene in labels)
    assert all(0.1 < (labels == label).any((1, 2)).mean() < 1 for label in (WATER, HIGHWAY))
    assert MAP_CLASSES[WATER].name == "water"
    assert share[WATER] > 0.03, "rivers, not only ponds"


def inner(labels: np.ndarray) -> np.ndarray:
    """Where all eight neighbours are of the same class: there no edge is smoothed."""
    values = torch.from_numpy(labels).float()[:, None]
    return (F.max_pool2d(values, 3, 1, 1) == -F.max_pool2d(-values, 3, 1, 1))[:, 0].numpy()


def test_a_map_is_drawn_in_the_colours_of_its_labels_and_the_aerial_view_shows_them(towns: Drawn) -> None:
    labels, aerial, street_maps = towns
    clear = inner(labels)
    colours = np.array([label.colour for label in MAP_CLASSES])
    error = np.abs(street_maps[clear].astype(int) - colours[labels[clear]]).max(-1)
    assert (error <= 3).mean() > 0.99, "all but where something thinner than a pixel passes"
    seen = {label: aerial[clear & (labels == label)].astype(int).mean(0) for label in range(6)}
    assert seen[PARK][1] > 1.3 * max(seen[PARK][0], seen[PARK][2]), "parks are green"
    assert seen[WATER][2] > 1.5 * seen[WATER][0], "water is blue"
    assert np.ptp(seen[ROAD]) < 6, "roads are grey"
    assert seen[HIGHWAY].mean() > seen[ROAD].mean() + 15, "a highway is lighter than a road"
    roofs = [picture[town == BUILDING].std(0).mean() for picture, town in zip(aerial, labels, strict=True)]
    assert np.mean(roofs) > 25, "each house has a roof of its own"


def test_the_splits_share_no_town(train: Pairs) -> None:
    assert train.held_out is not None
    val, test = (load_pairs("maps_mini", split=split, jitter=True) for split in ("val", "test"))
    assert [len(pairs) for pairs in (train, val, test)] == [200, 50, 100]
    assert (train.flip, train.jitter, test.flip, test.jitter) == (True, True, False, False)
    assert torch.equal(train.held_out.B, test.B)
    assert len({image.numpy().tobytes() for pairs in (train, val, test) for image in pairs.B}) == 350
    assert (train.classes, train.label_map) == (MAP_CLASSES, "")
    assert torch.equal(load_pairs("maps_mini", number=3).A, train.A[:3])


def test_the_towns_are_what_the_script_builds() -> None:
    built = load_script(REPOSITORY / "data" / "build_maps.py").build()
    assert common.checksum(built) == common.checksum(decode_sheets(common.read_npz(REPOSITORY / "data" / "maps.npz")))


def test_the_textures_are_what_the_script_builds() -> None:
    pytest.importorskip("skimage", reason="scikit-image is needed to rebuild the textures, not to use them")
    built = load_script(REPOSITORY / "data" / "build_textures.py").build()
    assert common.checksum(built) == common.checksum(common.read_npz(REPOSITORY / "data" / "textures.npz"))
