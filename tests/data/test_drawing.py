"""The drawn towns: what is in them, and the set."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import load_script

from gantutor.data import common, drawing, load_pairs
from gantutor.data.drawing import BUILDING, HIGHWAY, LAND, MAP_CLASSES, PARK, ROAD, WATER, draw_map

NUMBER = 60
Drawn = tuple[np.ndarray, ...]


@pytest.fixture(scope="module")
def towns() -> Drawn:
    """Labels (60, 64, 64), and two pictures of each (60, 64, 64, 3)."""
    rows = [draw_map(np.random.default_rng([0, 0, index]), 64) for index in range(NUMBER)]
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


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
    assert (error <= 1).mean() > 0.99, "all but where something thinner than a pixel passes"
    seen = {label: aerial[clear & (labels == label)].astype(int).mean(0) for label in range(6)}
    assert seen[PARK][1] > 1.3 * max(seen[PARK][0], seen[PARK][2]), "parks are green"
    assert seen[WATER][2] > 1.5 * seen[WATER][0], "water is blue"
    assert np.ptp(seen[ROAD]) < 6, "roads are grey"
    assert seen[HIGHWAY].mean() > seen[ROAD].mean() + 15, "a highway is lighter than a road"
    roofs = [picture[town == BUILDING].std(0).mean() for picture, town in zip(aerial, labels, strict=True)]
    assert np.mean(roofs) > 25, "each house has a roof of its own"


# The sets -------------------------------------------------------------------------------------------------------------


def test_a_set_is_the_drawings_and_its_splits_share_none() -> None:
    train = load_pairs("maps_mini", number=3, jitter=True)
    assert train.held_out is not None
    val, test = (load_pairs("maps_mini", split=split, number=3, jitter=True) for split in ("val", "test"))
    assert (train.flip, train.jitter, len(train.held_out), test.flip, test.jitter) == (True, True, 100, False, False)
    assert torch.equal(train.held_out.B[:3], test.B)
    for stream, part in enumerate((train, val, test)):
        labels, A, B = (torch.from_numpy(array) for array in draw_map(np.random.default_rng([0, stream, 1]), 64))
        assert part.labels is not None
        assert torch.equal(part.labels[1], labels)
        assert torch.equal(part.A[1], A.permute(2, 0, 1))
        assert torch.equal(part.B[1], B.permute(2, 0, 1))
        assert (part.classes, part.label_map) == (MAP_CLASSES, "")
    assert not torch.equal(load_pairs("maps_mini", number=3, seed=1).B, train.B)


def test_another_size_shows_the_same_scenes() -> None:
    small, large = (load_pairs("maps_mini", split="test", number=4, size=size) for size in (64, 128))
    assert small.labels is not None
    assert large.labels is not None
    assert (small.labels == large.labels[:, ::2, ::2]).float().mean() > 0.85
    shrunk = F.avg_pool2d(large.B.float(), 2)
    error, other = ((images - small.B.float()).abs().mean() for images in (shrunk, shrunk.roll(1, 0)))
    assert error < 14
    assert other > 2 * error, "two scenes are less alike"


def test_many_scenes_show_their_progress_and_few_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    for number, shown in ((drawing.DRAWN_WITHOUT_BAR, True), (3, False)):
        load_pairs("maps_mini", split="val", number=number)
        assert ("drawing maps_mini (val, 64 pixels): 100%" in capsys.readouterr().err) == shown


def test_the_textures_are_what_the_script_builds() -> None:
    pytest.importorskip("skimage", reason="scikit-image is needed to rebuild the textures, not to use them")
    script = load_script(Path(__file__).parents[2] / "data" / "build_textures.py")
    assert common.checksum(script.build()) == drawing.TEXTURES_SHA256
