"""The emoji sets: whole, small, matched, split by whole emoji; the larger sizes; what is missing is said."""

import io
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from helpers import load_script
from PIL import Image, ImageDraw

from gantutor.data import DataError, Pairs, Unpaired, emoji, load_pairs, load_unpaired
from gantutor.data.arrays import Arrays, checksum, read_npz
from gantutor.data.emoji import EMOJI_COLOURS, nearest_colours, to_lab
from gantutor.data.pairs import draw_labels

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / "data" / "emoji.npz"
SPLITS = {"train": 874, "val": 100, "test": 100}


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return emoji.read_emoji(FILE)


@pytest.fixture(scope="module")
def flat() -> Pairs:
    return load_pairs("emoji_flat")


def judged(pairs: Pairs) -> Pairs:
    assert pairs.held_out is not None
    return pairs.held_out


def as_bytes(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def build_script() -> ModuleType:
    script = load_script(REPOSITORY / "data" / "build_emoji.py")
    return script


# --- the embedded file ------------------------------------------------------------------------------------------------


def test_the_emoji_are_small_and_have_their_licence_beside_them(arrays: Arrays) -> None:
    assert FILE.stat().st_size < 5_000_000
    licence = (REPOSITORY / "data" / "emoji.LICENSE.txt").read_text(encoding="utf-8")
    for words in ("Copyright (c) Microsoft Corporation", "Copyright (c) 2023 LobeHub", "Permission is hereby granted"):
        assert words in licence
    for name, version in emoji.VERSIONS.items():
        assert f"{name} {version}" in licence
    assert f"{len(arrays['codes']):,} emoji" in licence


def test_no_skin_tones_genders_letters_or_flags(arrays: Arrays) -> None:
    codes = [code.decode() for code in arrays["codes"]]
    assert len(set(codes)) == len(codes) == sum(SPLITS.values())
    points = {point for code in codes for point in code.split("-")}
    assert not points & {"fe0f", "20e3", "2640", "2642", *(f"1f3f{tone}" for tone in "bcdef")}
    numbers = {int(point, 16) for point in points}
    assert not numbers & {*range(0x80), *range(0x1F100, 0x1F270)}, "ASCII, enclosed letters, letters of flags"
    assert not [code for code in codes if re.match("1f46[89]-200d", code)]
    assert {"1f340", "1f98a", "1f9d1-200d-1f33e"} <= set(codes), "the clover, the fox, the farmer"


def test_the_emoji_are_what_the_script_builds(arrays: Arrays) -> None:
    pytest.importorskip("resvg_py", reason="resvg-py is needed to rebuild the emoji, not to use them")
    try:
        source = emoji.FluentEmoji()
    except DataError as error:
        pytest.skip(str(error))
    assert checksum(build_script().build(source)) == checksum(arrays) == emoji.EMOJI_SHA256


def test_without_its_sources_the_script_leaves_the_file_alone(tmp_path: Path) -> None:
    before = FILE.stat().st_mtime_ns
    environment = {**os.environ, "GANTUTOR_DATA": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, str(REPOSITORY / "data" / "build_emoji.py")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == build_script().NO_SOURCES == 3, "the status that `make data` passes over"
    assert "left as it is" in result.stdout
    assert "npm install" in result.stdout
    assert FILE.stat().st_mtime_ns == before


@pytest.mark.parametrize("fault", ["cut", "flipped", "empty", "text", "another order", "another split"])
def test_a_damaged_file_is_named(fault: str, tmp_path: Path) -> None:
    content = bytearray(FILE.read_bytes())
    if fault == "cut":
        content = content[: len(content) // 2]
    elif fault == "flipped":
        content[len(content) // 2] ^= 1
    elif fault in ("another order", "another split"):
        stored = read_npz(FILE)
        if fault == "another order":
            stored["flat"], stored["shaded"] = stored["shaded"], stored["flat"]
        else:
            stored["split"][300] = 2
        buffer = io.BytesIO()
        np.savez(buffer, **stored)
        content = bytearray(buffer.getvalue())
    path = tmp_path / "emoji.npz"
    path.write_bytes({"empty": b"", "text": b"<html>"}.get(fault, bytes(content)))
    with pytest.raises(DataError, match=r"emoji\.npz .*git checkout data/emoji\.npz"):
        emoji.read_emoji(path)


# --- the pairs --------------------------------------------------------------------------------------------------------


def test_both_paired_sets_have_the_same_targets(flat: Pairs) -> None:
    sketch = load_pairs("emoji_sketch")
    for one, other in ((flat, sketch), (judged(flat), judged(sketch))):
        assert one.shape == other.shape == (3, 64, 64)
        assert torch.equal(one.B, other.B)
        assert not torch.equal(one.A, other.A)
    assert (flat.flip, flat.jitter, judged(flat).flip, judged(flat).held_out) == (True, False, False, None)
    assert (flat.name, sketch.name) == ("emoji_flat", "emoji_sketch")


def test_the_splits_share_no_emoji(flat: Pairs, arrays: Arrays) -> None:
    parts = {split: load_pairs("emoji_flat", split=split) for split in SPLITS}
    assert {split: len(part) for split, part in parts.items()} == SPLITS
    assert torch.equal(judged(flat).A, parts["test"].A)
    assert len(set.union(*(as_bytes(part.B) for part in parts.values()))) == sum(SPLITS.values())
    assert torch.equal(parts["test"].A[0].permute(1, 2, 0), torch.from_numpy(arrays["flat"][arrays["split"] == 2][0]))


def test_no_held_out_image_is_nearly_one_of_training(flat: Pairs) -> None:
    small = [torch.nn.functional.avg_pool2d(images.float() / 255, 4).flatten(1) for images in (flat.B, judged(flat).B)]
    nearest = torch.cdist(small[1], small[0], p=1).amin(1) / small[0].shape[1]
    assert nearest.min() > 0.01


def test_flat_and_shaded_are_one_drawing(flat: Pairs) -> None:
    held_out = judged(flat)
    ink = [(images.amin(1) < 235).float() for images in (held_out.A, held_out.B)]
    both, either = (ink[0] * ink[1]).sum((1, 2)), ((ink[0] + ink[1]) > 0).sum((1, 2))
    assert (both / either).median() > 0.9
    right = (held_out.A.float() - held_out.B.float()).abs().mean((1, 2, 3))
    wrong = (held_out.A.float() - held_out.B.roll(1, 0).float()).abs().mean((1, 2, 3))
    assert (right < wrong).float().mean() > 0.95, "each is nearer to its own partner than to another"
    assert right.mean() < wrong.mean() / 3


def test_they_stand_on_white_in_the_middle(flat: Pairs) -> None:
    for images in (flat.A, flat.B, load_pairs("emoji_sketch").A):
        corners = images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert (corners == 255).float().mean() > 0.97
        ink = images.amin(1) < 235
        for axis in (1, 2):
            inked = ink.any(axis).int()
            middles = (inked.argmax(1) + 63 - inked.flip(1).argmax(1)) / 2
            assert abs(middles.median() - 31.5) <= 0.5
            assert (abs(middles - 31.5) < 8).float().mean() > 0.9


def test_a_sketch_is_thin_and_black_where_the_colour_changes(flat: Pairs) -> None:
    sketch = load_pairs("emoji_sketch").A
    assert torch.equal(sketch[:, 0], sketch[:, 1])
    assert torch.equal(sketch[:, 0], sketch[:, 2])
    ink = 1 - sketch[:, 0].float() / 255
    assert 0.05 < ink.mean() < 0.25
    steps = torch.zeros_like(ink)
    levels = flat.A.float()
    steps[:, :, 1:-1] = (levels[:, :, :, 2:] - levels[:, :, :, :-2]).abs().amax(1)
    assert steps[ink > 0.9].mean() > 5 * steps[ink < 0.1].mean()


def test_lines_are_where_a_colour_steps() -> None:
    picture = np.full((20, 24, 3), 255, np.uint8)
    picture[:, 12:] = (255, 255, 255 - emoji.STEP - 1)
    black = emoji.lines(picture) == 0
    assert black.any(0).nonzero()[0].tolist() == [10, 11, 12, 13]
    assert black[:, 10:14].all()
    picture[:, 12:] = 255 - emoji.STEP
    assert not (emoji.lines(picture) == 0).any(), "too small a step"
    assert (emoji.lines(picture.swapaxes(0, 1).copy()) == 255).all()


@pytest.mark.parametrize("name", ["emoji_flat", "emoji_sketch"])
def test_a_number_takes_the_first(name: str) -> None:
    fewer, more = load_pairs(name, number=3), load_pairs(name, number=5)
    assert (len(fewer), len(more), len(judged(fewer))) == (3, 5, 100)
    assert torch.equal(fewer.A, more.A[:3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "split='all' is unknown; choose one of 'train', 'val', 'test'"),
        ({"size": 100}, "size=100 is unknown; choose one of 64, 128, 256"),
        ({"number": 0}, "number=0: expected at least 1"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_pairs("emoji_flat", **options)
    if "split" not in options:
        with pytest.raises(ValueError, match=message):
            load_unpaired("emoji", **options)


# --- the unpaired set -------------------------------------------------------------------------------------------------


def test_the_halves_share_no_emoji_and_the_truth_is_held_out(flat: Pairs) -> None:
    data = load_unpaired("emoji")
    assert isinstance(data, Unpaired)
    half = SPLITS["train"] // 2
    assert (len(data.A), len(data.B), data.domains, data.has_truth) == (half, half, ("flat", "shaded"), True)
    assert torch.equal(data.A, flat.A[:half])
    assert torch.equal(data.B, flat.B[half : 2 * half]), "the shaded ones of other emoji"
    assert not as_bytes(data.B) & as_bytes(flat.B[:half])
    assert torch.equal(data.test_A, judged(flat).A)
    assert torch.equal(data.test_B, judged(flat).B)
    for trained, tested in itertools.product((data.A, data.B), (data.test_A, data.test_B)):
        assert not as_bytes(trained) & as_bytes(tested)


def test_what_shading_changes_is_the_emoji_and_not_the_paper() -> None:
    data = load_unpaired("emoji", number=2)
    assert len(data.A) == len(data.B) == 2
    changed = (data.test_A.int() - data.test_B.int()).abs().amax(1) > 8  # of 255: what can be seen
    paper = (data.test_A.amin(1) == 255) & (data.test_B.amin(1) == 255)
    assert not changed[paper].any()
    assert 0.3 < changed.float().mean() < 0.7


# --- larger sizes, from the two packages ------------------------------------------------------------------------------


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrays: Arrays) -> Path:
    """Two packages that npm could have installed, with the first eight emoji of the file as a disc and a square."""
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path))
    few = {name: array[:8] for name, array in arrays.items()}
    few["split"] = np.array([2, 2, 1, 0, 0, 0, 0, 0], np.uint8)
    monkeypatch.setattr(emoji, "read_emoji", lambda path: few)
    codes = [code.decode() for code in few["codes"]]
    modules = tmp_path / "npm" / "node_modules"
    shaded, flat = (modules / name for name in (emoji.SHADED, emoji.FLAT))
    (shaded / "assets").mkdir(parents=True)
    flat.mkdir(parents=True)
    for folder, name in ((shaded, emoji.SHADED), (flat, emoji.FLAT)):
        (folder / "package.json").write_text(json.dumps({"version": emoji.VERSIONS[name]}))
    for index, code in enumerate(codes):
        picture = Image.new("RGBA", (256, 264 if index == 0 else 256))
        ImageDraw.Draw(picture).rectangle((64, 64, 191, 191), fill=(0, 0, 200, 255))
        picture.save(shaded / "assets" / f"{code}-fe0f.webp", lossless=True)
    body = '<circle cx="16" cy="16" r="8" fill="#c80000"/>'
    (flat / "icons.json").write_text(json.dumps({"icons": {f"icon-{code}": {"body": body} for code in codes}}))
    (flat / "chars.json").write_text(json.dumps({code: f"icon-{code}" for code in codes}))
    (flat / "metadata.json").write_text(json.dumps({"categories": {"Objects": [f"icon-{codes[0]}"]}}))
    return modules


@pytest.mark.parametrize("size", [128, 256])
def test_larger_ones_are_drawn_from_the_packages_and_kept(size: int, packages: Path) -> None:
    pytest.importorskip("resvg_py", reason="resvg-py draws the larger emoji")
    data = load_pairs("emoji_flat", size=size)
    assert (len(data), len(judged(data)), data.shape) == (5, 2, (3, size, size))
    middle, outside = size // 2, size // 8
    for images, colour in ((data.A, (200, 0, 0)), (data.B, (0, 0, 200))):
        assert (images[:, :, middle, middle] == torch.tensor(colour, dtype=torch.uint8)).all()
        assert (images[:, :, outside, outside] == 255).all()
    assert (data.A[:, :, size * 9 // 32, size * 9 // 32] == 255).all(), "beside the disc"
    sketch = load_pairs("emoji_sketch", size=size).A
    assert (sketch[:, :, middle, size // 4] < 60).all(), "the disc's left edge"
    assert (sketch[:, :, middle, middle] == 255).all()
    for file in packages.rglob("*.webp"):
        file.unlink()
    again = load_unpaired("emoji", size=size)
    assert torch.equal(again.test_B, judged(data).B), "from the cache"


def test_missing_packages_say_how_to_get_them(packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = (
        rf"npm install --prefix {re.escape(str(tmp_path / 'npm'))} @lobehub/\S+@1\.1\.0 @iconify-json/\S+@1\.2\.6$"
    )
    (packages / emoji.FLAT / "package.json").write_text('{"version": "9.9.9"}')
    with pytest.raises(
        DataError, match=rf"fluent-emoji-flat is 9\.9\.9; expected version 1\.2\.6\. Get both: {command}"
    ):
        load_pairs("emoji_flat", size=128)
    (packages / emoji.SHADED / "package.json").unlink()
    with pytest.raises(DataError, match=rf"fluent-emoji-3d is missing; .*{command}"):
        load_unpaired("emoji", size=256)


def test_a_missing_resvg_says_what_to_install(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(
        DataError, match=r"resvg-py, which draws it, is not installed\..*pip install 'gantutor\[data\]'"
    ):
        load_pairs("emoji_sketch", size=128)


@pytest.mark.cuda
def test_on_a_gpu() -> None:
    pairs, data = load_pairs("emoji_sketch", device="cuda"), load_unpaired("emoji", device="cuda")
    for sampled in (pairs, data):
        A, B = sampled.sample(8, torch.Generator("cuda").manual_seed(0))
        assert A.device.type == B.device.type == "cuda"
    assert judged(pairs).device.type == "cuda"


# --- the palette ------------------------------------------------------------------------------------------------------


def test_the_palette_is_the_commonest_colours(arrays: Arrays) -> None:
    found = build_script().commonest_colours(arrays["flat"][arrays["split"] == 0], len(EMOJI_COLOURS))
    assert found == [label.colour for label in EMOJI_COLOURS]
    assert len({label.name for label in EMOJI_COLOURS}) == len(EMOJI_COLOURS)


def test_lab_on_known_colours() -> None:
    colours = torch.tensor([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255], [119, 119, 119]], dtype=torch.uint8)
    known = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86], [50.03, 0, 0]]
    assert torch.allclose(to_lab(colours), torch.tensor(known).double(), atol=0.1)


def test_a_picture_takes_the_nearest_colours() -> None:
    names = [label.name for label in EMOJI_COLOURS]
    pixels = torch.tensor([[[250, 250, 250], [245, 55, 50]], [[0, 160, 230], [30, 30, 30]]], dtype=torch.uint8)
    labels = nearest_colours(pixels.permute(2, 0, 1)[None])
    assert labels.dtype == torch.uint8
    assert labels.shape == (1, 2, 2)
    assert [names[number] for number in labels.flatten()] == ["white", "red", "blue", "black"]
    drawn = draw_labels(torch.arange(len(names), dtype=torch.uint8)[None], EMOJI_COLOURS)
    assert nearest_colours(drawn)[0].tolist() == list(range(len(names))), "its own colours stay"


def test_the_set_for_painting_is_the_flat_one_in_the_palette(flat: Pairs) -> None:
    painted = load_pairs("emoji_palette")
    assert (painted.name, painted.label_map, painted.flip) == ("emoji_palette", "A", True)
    for one, other in ((painted, flat), (judged(painted), judged(flat))):
        assert torch.equal(one.B, other.B)
        assert one.classes == EMOJI_COLOURS
        assert one.labels is not None
        assert torch.equal(draw_labels(one.labels, EMOJI_COLOURS), one.A)
        assert torch.equal(nearest_colours(other.A), one.labels)
        assert (one.A.float() - other.A.float()).abs().mean() < 6, "of 255"
    assert painted.labels is not None
    assert len(painted.labels.unique()) == len(EMOJI_COLOURS), "every colour is of use"
