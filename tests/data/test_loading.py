"""All sets by name: a seed decides what is drawn, what is asked for is checked, damaged files are named."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_helpers import seeded

from gantutor.data import (
    DATA,
    PAIRED,
    UNPAIRED,
    DataError,
    Images,
    Pairs,
    Unpaired,
    common,
    embedded,
    image_folder,
    load,
    load_pairs,
    load_unpaired,
    ready_sets,
)

REPOSITORY = Path(__file__).parents[2]
READY = {
    load: ["ring", "grid", "moons", "spiral", "digits"],
    load_pairs: ["emoji_flat", "emoji_sketch", "emoji_palette", "maps_mini"],
    load_unpaired: ["emoji"],
}
SETS: dict[str, Callable[..., Any]] = {name: loader for loader, names in READY.items() for name in names}


@functools.cache
def loaded(name: str) -> Any:
    return SETS[name](name)


@pytest.mark.parametrize(("loader", "sets"), [(load, DATA), (load_pairs, PAIRED), (load_unpaired, UNPAIRED)])
def test_what_needs_no_download_is_ready_and_the_rest_says_how_to_get_it(
    loader: Callable[..., Any], sets: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path))
    assert ready_sets(sets) == READY[loader]
    assert list(sets)[: len(READY[loader])] == READY[loader]
    for name in sets.keys() - READY[loader]:
        with pytest.raises(DataError, match=rf'{loader.__name__}\("{name}", download=True\)'):
            loader(name)
    for unknown in ("Ring", "", "image_folder"):
        with pytest.raises(ValueError, match="is unknown; choose one of " + ", ".join(sets) + "; .* for your own"):
            loader(unknown)


@pytest.mark.parametrize("name", SETS)
def test_a_seed_decides_the_samples_and_nothing_else_does(name: str) -> None:
    data = loaded(name)
    state = torch.get_rng_state()
    for n in (1, 64):
        first, same, other = (data.sample(n, seeded(seed)) for seed in (5, 5, 6))
        first, same, other = (each if isinstance(each, tuple) else (each,) for each in (first, same, other))
        assert all(torch.equal(*both) for both in zip(first, same, strict=True))
        for drawn, again in zip(first, other, strict=True):
            assert not torch.equal(drawn, again)
            assert (drawn.shape, drawn.dtype) == ((n, *data.shape), torch.float32)
            assert drawn.abs().max() <= (3 if data.kind == "points" else 1)
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"


@pytest.mark.parametrize("name", ["ring", "digits"])
def test_a_draw_is_checked(name: str) -> None:
    for n, error, message in (
        (0, ValueError, "n=0: expected at least 1"),
        (2.0, TypeError, "n=2.0: expected a whole number"),
        (True, TypeError, "bool"),
    ):
        with pytest.raises(error, match=message):
            loaded(name).sample(n, seeded())
    with pytest.raises(TypeError, match=r"expected a torch.Generator on cpu, got int"):
        loaded(name).sample(4, 0)
    elsewhere = load(name, device="meta")  # stands for a GPU where there is none
    with pytest.raises(ValueError, match=r"the generator is on cpu, the data on meta; use torch.Generator\('meta'\)"):
        elsewhere.sample(4, seeded())


@pytest.mark.cuda
@pytest.mark.parametrize("name", SETS)
def test_on_a_gpu(name: str) -> None:
    data = SETS[name](name, device="cuda")
    drawn, same = (data.sample(8, torch.Generator("cuda").manual_seed(0)) for _ in range(2))
    drawn, same = (each if isinstance(each, tuple) else (each,) for each in (drawn, same))
    assert data.device.type == "cuda"
    assert all(one.device == data.device and torch.equal(one, other) for one, other in zip(drawn, same, strict=True))
    with pytest.raises(ValueError, match="the generator is on cpu"):
        data.sample(8, seeded())


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("digits", {"split": "val"}, "split='val' is unknown; choose one of 'train', 'test', 'all'"),
        ("digits", {"size": 64}, "size=64 is unknown; choose one of 8, 28, 32"),
        ("emoji_flat", {"split": "all"}, "split='all' is unknown; choose one of 'train', 'val', 'test'"),
        ("maps_mini", {"size": 100}, "size=100 is unknown; choose one of 64"),
        ("emoji", {"number": 0}, "number=0: expected at least 1"),
        ("ring", {"device": "vulcan"}, "device='vulcan' cannot be used here: ."),
    ],
)
def test_options_are_checked(name: str, option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        SETS[name](name, **option)
    assert "\n" not in str(caught.value)


def test_a_data_set_is_shown_in_one_line(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    pictures = torch.zeros(1200, 3, 8, 8, dtype=torch.uint8)
    held_out = Pairs("x", pictures[:7], pictures[:7, :1])
    shown = {
        load("ring"): "<Points ring: endless, (2,) each, on cpu>",
        Images("x", pictures): "<Images x: 1,200 of (3, 8, 8) on cpu>",
        image_folder(tmp_path, size=8, max_bytes=1): f"<Folder {tmp_path.name}: 1 of (3, 8, 8) on cpu>",
        held_out: "<Pairs x: 7 of (3, 8, 8) → (1, 8, 8) on cpu>",
        Pairs("x", pictures, pictures[:, :1], held_out=held_out): (
            "<Pairs x: 1,200 of (3, 8, 8) → (1, 8, 8) on cpu, 7 more held out>"
        ),
        Unpaired("x", pictures, pictures[:9], pictures[:2], pictures[:3], ("flat", "shaded")): (
            "<Unpaired x: 1,200 of flat and 9 of shaded, (3, 8, 8), on cpu, 2 and 3 more to test>"
        ),
    }
    for data, expected in shown.items():
        assert repr(data) == str(data) == expected


# Files ----------------------------------------------------------------------------------------------------------------

EMBEDDED = {
    "digits.npz": (embedded.DIGITS_SHA256, dict, 200_000, ("10.24432/C50P49", "CC BY 4.0")),
    "emoji.npz": (
        embedded.EMOJI_SHA256,
        embedded.decode_sheets,
        5_000_000,
        ("Copyright (c) Microsoft", "Permission is"),
    ),
    "maps.npz": (embedded.MAPS_SHA256, embedded.decode_sheets, 2_000_000, ("MIT", "CC0")),
}


@pytest.mark.parametrize("fault", ["cut", "flipped", "text", "another value"])
@pytest.mark.parametrize("name", EMBEDDED)
def test_a_damaged_file_is_named_and_a_whole_one_is_small_and_has_its_licence(
    name: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256, decode, most, words = EMBEDDED[name]
    file, path = REPOSITORY / "data" / name, tmp_path / name
    whole = file.read_bytes()
    assert len(whole) < most
    licence = file.with_suffix(".LICENSE.txt").read_text(encoding="utf-8")
    assert all(word in licence for word in words)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes({"cut": whole[: len(whole) // 2], "flipped": flipped}.get(fault, b"<html>"))
    if fault == "another value":
        arrays = common.read_npz(file)
        arrays["split" if "split" in arrays else "labels"].flat[300] ^= 1
        np.savez(path, **arrays)
    monkeypatch.setattr(common, "embedded_file", lambda name: tmp_path / name)
    with pytest.raises(DataError, match=rf"{name} .*git checkout data/{name}"):
        common.read_embedded(name, sha256, decode)


def test_files_are_found_in_a_checkout_and_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GANTUTOR_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert common.downloads_folder() == REPOSITORY / "data" / "downloads"
    assert "/data/downloads/" in (REPOSITORY / ".gitignore").read_text().splitlines()
    intact = common.embedded_file("digits.npz")
    assert intact == REPOSITORY / "data" / "digits.npz"

    monkeypatch.setattr(common, "PACKAGE", tmp_path / "gantutor")
    with pytest.raises(DataError, match=r"data.digits.npz is missing. Get it again: git checkout data/digits.npz"):
        load("digits")
    in_wheel = tmp_path / "gantutor" / "_data" / "digits.npz"
    in_wheel.parent.mkdir(parents=True)
    (tmp_path / "data").mkdir()
    for folder in (in_wheel.parent, tmp_path / "data"):
        (folder / "digits.npz").write_bytes(intact.read_bytes())
    assert common.embedded_file("digits.npz") == in_wheel, "a folder data/ beside an installed package is not ours"
    assert len(load("digits")) == 1347
    assert common.downloads_folder() == tmp_path / "cache" / "gantutor"
    in_wheel.unlink()
    with pytest.raises(DataError, match=r"_data.digits.npz is missing. It is part of gantutor: install it again"):
        load("digits")
