"""The embedded sets: matched, split, in their colours, and what the scripts build; sheets of images."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from benchlib.drawing import BUILDING, HIGHWAY, LAND, PARK, ROAD, WATER
from benchlib.sheets import to_sheet, write_sheet
from helpers import load_script

from gantutor.data import DataError, Images, Pairs, common, embedded, load, load_pairs, load_unpaired
from gantutor.data.common import Arrays
from gantutor.data.embedded import (
    EMOJI_COLOURS,
    MAP_CLASSES,
    decode_sheets,
    from_sheet,
    nearest_colours,
    read_sheet,
    to_lab,
)
from gantutor.data.images import draw_labels

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / "data" / "emoji.npz"
SCRIPT = load_script(REPOSITORY / "data" / "build_emoji.py")
SPLITS = {"train": 874, "val": 100, "test": 100}


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return decode_sheets(common.read_npz(FILE))


@pytest.fixture(scope="module")
def sets() -> dict[str, Pairs]:
    return {style: load_pairs(f"emoji_{style}") for style in ("flat", "sketch", "palette")}


@pytest.fixture(scope="module")
def towns() -> Pairs:
    return load_pairs("maps_mini", jitter=True)


def judged(pairs: Pairs) -> Pairs:
    assert pairs.held_out is not None
    return pairs.held_out


def as_bytes(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


# The files ------------------------------------------------------------------------------------------------------------


def test_the_licence_counts_the_emoji_and_names_their_packages(arrays: Arrays) -> None:
    licence = FILE.with_suffix(".LICENSE.txt").read_text(encoding="utf-8")
    packages = [f"{name} {version}" for name, version in SCRIPT.VERSIONS.items()]
    assert all(words in licence for words in (f"{len(arrays['codes']):,} emoji", *packages))


@pytest.mark.parametrize("name", ["digits", "emoji", "maps", "textures"])
def test_the_file_is_what_its_script_builds(name: str) -> None:
    pytest.importorskip({"emoji": "resvg_py", "textures": "skimage"}.get(name, "numpy"), reason="to rebuild it")
    script = load_script(REPOSITORY / "data" / f"build_{name}.py")
    try:
        built = script.build(script.FluentEmoji()) if name == "emoji" else script.build()
    except DataError as error:
        pytest.skip(str(error))
    found = common.read_npz(REPOSITORY / "data" / f"{name}.npz")
    assert common.checksum(built) == common.checksum(decode_sheets(found) if "split" in found else found)


# The digits -----------------------------------------------------------------------------------------------------------


def digits(**options: object) -> Images:
    data = load("digits", **options)
    assert isinstance(data, Images)
    assert data.labels is not None
    return data


def test_the_splits_are_the_whole_and_share_nothing() -> None:
    built = common.read_npz(REPOSITORY / "data" / "digits.npz")
    train, test, whole = (digits(split=split, size=8) for split in ("train", "test", "all"))
    assert [len(train), len(test), len(whole)] == [1347, 450, 1797]
    order = torch.from_numpy(np.argsort(built["held_out"], kind="stable"))  # the train images, then the test images
    assert torch.equal(torch.cat([train.images, test.images]), whole.images[order])
    assert torch.equal(torch.cat([train.labels, test.labels]), whole.labels[order])
    np.testing.assert_array_equal(whole.labels.numpy(), built["labels"])
    np.testing.assert_array_equal((whole.images[:, 0].float() * 16 / 255).round().byte(), built["images"])


# The emoji ------------------------------------------------------------------------------------------------------------


def test_the_paired_sets_have_the_same_targets(sets: dict[str, Pairs]) -> None:
    for style, pairs in sets.items():
        assert (pairs.name, pairs.shape, pairs.flip, pairs.jitter) == (f"emoji_{style}", (3, 64, 64), True, False)
        assert (judged(pairs).flip, judged(pairs).held_out) == (False, None)
        assert torch.equal(pairs.B, sets["flat"].B)
        assert torch.equal(judged(pairs).B, judged(sets["flat"]).B)
        fewer = load_pairs(pairs.name, number=3)
        assert (len(fewer), len(judged(fewer))) == (3, 100)
        assert torch.equal(fewer.A, pairs.A[:3])


def test_the_splits_share_no_emoji_nor_nearly_one(sets: dict[str, Pairs], arrays: Arrays) -> None:
    flat = sets["flat"]
    parts = {split: load_pairs("emoji_flat", split=split) for split in SPLITS}
    assert {split: len(part) for split, part in parts.items()} == SPLITS
    assert torch.equal(judged(flat).A, parts["test"].A)
    assert len(set.union(*(as_bytes(part.B) for part in parts.values()))) == sum(SPLITS.values())
    assert torch.equal(parts["test"].A[0].permute(1, 2, 0), torch.from_numpy(arrays["flat"][arrays["split"] == 2][0]))
    small = [torch.nn.functional.avg_pool2d(images.float() / 255, 4).flatten(1) for images in (flat.B, judged(flat).B)]
    assert torch.cdist(small[1], small[0], p=1).min() > 0.01 * small[0].shape[1]


def test_the_halves_share_no_emoji_and_the_truth_is_held_out(sets: dict[str, Pairs]) -> None:
    data, flat = load_unpaired("emoji"), sets["flat"]
    half = SPLITS["train"] // 2
    assert (data.name, data.domains, data.has_truth, data.flip) == ("emoji", ("flat", "shaded"), True, True)
    assert torch.equal(data.A, flat.A[:half])
    assert torch.equal(data.B, flat.B[half : 2 * half]), "the shaded ones of other emoji"
    assert torch.equal(data.test_A, judged(flat).A)
    assert torch.equal(data.test_B, judged(flat).B)
    few = load_unpaired("emoji", number=2)
    assert [len(few.A), len(few.B), len(few.test_A)] == [2, 2, 100]


# The palette ----------------------------------------------------------------------------------------------------------


def test_lab_on_known_colours() -> None:
    colours = torch.tensor([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255], [119, 119, 119]], dtype=torch.uint8)
    known = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86], [50.03, 0, 0]]
    assert torch.allclose(to_lab(colours), torch.tensor(known).double(), atol=0.1)


def test_the_set_for_painting_is_the_flat_one_in_the_nearest_colours(sets: dict[str, Pairs]) -> None:
    names = [label.name for label in EMOJI_COLOURS]
    pixels = torch.tensor([[[250, 250, 250], [245, 55, 50]], [[0, 160, 230], [30, 30, 30]]], dtype=torch.uint8)
    labels = nearest_colours(pixels.permute(2, 0, 1)[None])
    assert (labels.dtype, labels.shape) == (torch.uint8, (1, 2, 2))
    assert [names[number] for number in labels.flatten()] == ["white", "red", "blue", "black"]
    painted = sets["palette"]
    for one, other in ((painted, sets["flat"]), (judged(painted), judged(sets["flat"]))):
        assert (one.classes, one.label_map) == (EMOJI_COLOURS, "A")
        assert one.labels is not None
        assert torch.equal(draw_labels(one.labels, EMOJI_COLOURS), one.A)
        assert torch.equal(nearest_colours(one.A), one.labels), "its own colours stay"
        assert (one.A.float() - other.A.float()).abs().mean() < 6, "of 255"
    assert painted.labels is not None
    assert len(painted.labels.unique()) == len(EMOJI_COLOURS), "every colour is of use"


# The towns ------------------------------------------------------------------------------------------------------------


def test_every_class_occurs_and_has_a_name_and_a_colour_of_its_own(towns: Pairs) -> None:
    assert towns.labels is not None
    labels = towns.labels[:60].numpy()
    assert len({label.name for label in MAP_CLASSES}) == len({label.colour for label in MAP_CLASSES}) == 6
    share = np.bincount(labels.ravel(), minlength=6) / labels.size
    assert (share > 0.004).all(), dict(zip([label.name for label in MAP_CLASSES], share.round(4), strict=True))
    assert all({LAND, ROAD, BUILDING} <= set(scene.ravel().tolist()) for scene in labels)
    assert all(0.1 < (labels == label).any((1, 2)).mean() < 1 for label in (WATER, HIGHWAY))
    assert MAP_CLASSES[WATER].name == "water"
    assert share[WATER] > 0.03, "rivers, not only ponds"


def test_a_map_is_drawn_in_the_colours_of_its_labels_and_the_aerial_view_shows_them(towns: Pairs) -> None:
    assert towns.labels is not None
    labels = towns.labels[:60].numpy()
    aerial, street_maps = (side[:60].permute(0, 2, 3, 1).numpy() for side in (towns.A, towns.B))
    values = towns.labels[:60, None].float()
    clear = (F.max_pool2d(values, 3, 1, 1) == -F.max_pool2d(-values, 3, 1, 1))[:, 0].numpy()  # no edge is smoothed
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


def test_the_splits_share_no_town(towns: Pairs) -> None:
    val, test = (load_pairs("maps_mini", split=split, jitter=True) for split in ("val", "test"))
    assert [len(pairs) for pairs in (towns, val, test)] == [200, 50, 100]
    assert (towns.flip, towns.jitter, test.flip, test.jitter) == (True, True, False, False)
    assert torch.equal(judged(towns).B, test.B)
    assert len(set.union(*(as_bytes(pairs.B) for pairs in (towns, val, test)))) == 350
    assert (towns.classes, towns.label_map) == (MAP_CLASSES, "")
    assert torch.equal(load_pairs("maps_mini", number=3).A, towns.A[:3])


# Sheets ---------------------------------------------------------------------------------------------------------------

NUMBERS, ROWS, COLUMNS = np.ogrid[:7, :16, :16]
IMAGES = np.stack(np.broadcast_arrays(9 * NUMBERS, ROWS, COLUMNS), axis=-1).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of data/."""
    monkeypatch.setattr(embedded, "embedded_file", lambda name: tmp_path / name)
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
