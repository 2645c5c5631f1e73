"""The emoji sets: matched, split by whole emoji, in the colours of the palette; and the script that builds the file."""

from pathlib import Path

import pytest
import torch
from helpers import load_script

from gantutor.data import DataError, Pairs, common, load_pairs, load_unpaired, sheets
from gantutor.data.common import Arrays
from gantutor.data.emoji import EMOJI_COLOURS, nearest_colours, to_lab
from gantutor.data.pairs import draw_labels

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / "data" / "emoji.npz"
SCRIPT = load_script(REPOSITORY / "data" / "build_emoji.py")
SPLITS = {"train": 874, "val": 100, "test": 100}


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return sheets.decode_sheets(common.read_npz(FILE))


@pytest.fixture(scope="module")
def sets() -> dict[str, Pairs]:
    return {style: load_pairs(f"emoji_{style}") for style in ("flat", "sketch", "palette")}


def judged(pairs: Pairs) -> Pairs:
    assert pairs.held_out is not None
    return pairs.held_out


def as_bytes(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


# The file -------------------------------------------------------------------------------------------------------------


def test_the_licence_counts_the_emoji_and_names_their_packages(arrays: Arrays) -> None:
    licence = FILE.with_suffix(".LICENSE.txt").read_text(encoding="utf-8")
    assert f"{len(arrays['codes']):,} emoji" in licence
    assert all(f"{name} {version}" in licence for name, version in SCRIPT.VERSIONS.items())


def test_the_emoji_are_what_the_script_builds(arrays: Arrays) -> None:
    pytest.importorskip("resvg_py", reason="resvg-py is needed to rebuild the emoji, not to use them")
    try:
        source = SCRIPT.FluentEmoji()
    except DataError as error:
        pytest.skip(str(error))
    assert common.checksum(SCRIPT.build(source)) == common.checksum(arrays)


# The sets -------------------------------------------------------------------------------------------------------------


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
    assert [len(images) for images in (load_unpaired("emoji", number=2).A, load_unpaired("emoji", number=2).B)] == [
        2,
        2,
    ]


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
