"""The data sets: what they are, that a seed decides everything, and that damaged files never train a network."""

import functools
import gc
import gzip
import hashlib
import http.server
import io
import math
import multiprocessing
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.datasets
from helpers import load_script
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from gantutor.data import (
    DATA,
    DataError,
    Folder,
    Images,
    Pairs,
    Points,
    Unpaired,
    common,
    downloads,
    image_folder,
    load,
    ready_sets,
)
from gantutor.data.arrays import checksum
from gantutor.data.images import ARRAYS, SHA256, read_digits, to_float
from gantutor.data.own_images import read_image

REPOSITORY = Path(__file__).parents[2]
POINTS = ("ring", "grid", "moons", "spiral")
IDX_SETS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def attempt(action: Callable[[], Any]) -> tuple[Any, str]:
    """What `action` returns and "", or None and the message of its DataError."""
    try:
        return action(), ""
    except DataError as error:
        return None, str(error)


# --- all sets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Ring", "", "cifar10", "image_folder"])
def test_an_unknown_name_lists_the_valid_ones(name: str) -> None:
    with pytest.raises(ValueError, match="ring, grid, moons, spiral, digits, mnist, fashion_mnist, kmnist"):
        load(name)


def test_every_name_is_in_data() -> None:
    assert list(DATA) == [*POINTS, "digits", *IDX_SETS]


@pytest.mark.parametrize("name", [*POINTS, "digits"])
@settings(max_examples=20)
@given(n=st.integers(1, 300), seed=st.integers(0, 2**32 - 1))
def test_a_seed_decides_the_samples_and_nothing_else_does(name: str, n: int, seed: int) -> None:
    data = load_once(name)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = data.sample(n, seeded(seed))
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"
    torch.manual_seed(2)
    assert torch.equal(data.sample(n, seeded(seed)), first)
    assert first.shape == (n, *data.shape)
    assert first.dtype == torch.float32
    assert first.abs().max() <= (1 if data.kind == "images" else 3)


load_once = functools.cache(load)


@pytest.mark.parametrize("name", [*POINTS, "digits"])
def test_successive_samples_differ(name: str) -> None:
    generator = seeded()
    assert not torch.equal(load_once(name).sample(20, generator), load_once(name).sample(20, generator))


@pytest.mark.parametrize("name", ["ring", "digits"])
@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "n=0: expected at least 1"),
        (-3, ValueError, "n=-3"),
        (2.0, TypeError, "n=2.0"),
        (True, TypeError, "bool"),
    ],
)
def test_the_number_of_samples_is_checked(name: str, n: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_once(name).sample(n, seeded())


@pytest.mark.parametrize("name", ["ring", "digits"])
def test_the_generator_is_checked(name: str) -> None:
    with pytest.raises(TypeError, match=r"expected a torch.Generator on cpu, got int"):
        load_once(name).sample(4, 0)  # type: ignore[arg-type]
    elsewhere = load(name, device="meta")  # stands for a GPU where there is none
    with pytest.raises(ValueError, match=r"the generator is on cpu, the data on meta; use torch.Generator\('meta'\)"):
        elsewhere.sample(4, seeded())


def test_a_device_that_is_not_there_is_one_line() -> None:
    missing = next(name for name in ("mps", "cuda", "xpu") if not torch.get_device_module(name).is_available())
    with pytest.raises(ValueError, match=f"device='{missing}' cannot be used here: .") as caught:
        load("ring", device=missing)
    assert "\n" not in str(caught.value)


def test_cuda_with_and_without_an_index_is_one_device() -> None:
    cuda, first, second = torch.device("cuda"), torch.device("cuda:0"), torch.device("cuda:1")
    assert common.same_device(cuda, first)
    assert common.same_device(second, cuda)
    assert not common.same_device(first, second)
    assert not common.same_device(first, torch.device("cpu"))


@pytest.mark.cuda
@pytest.mark.parametrize("name", [*POINTS, "digits"])
def test_on_a_gpu(name: str) -> None:
    data = load(name, device="cuda")
    samples = data.sample(64, torch.Generator("cuda").manual_seed(0))
    assert samples.device.type == data.device.type == "cuda"
    assert torch.equal(samples, data.sample(64, torch.Generator("cuda").manual_seed(0)))
    with pytest.raises(ValueError, match="the generator is on cpu"):
        data.sample(64, seeded())


@pytest.mark.parametrize("name", list(IDX_SETS))
def test_what_has_to_be_downloaded_is_not_called_ready(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path))
    assert ready_sets(DATA) == [*POINTS, "digits"]
    with pytest.raises(DataError, match="download=True"):
        DATA[name]()


def test_a_data_set_is_shown_in_one_line(tmp_path: Path) -> None:
    save_pictures(tmp_path, 3)
    pictures = torch.zeros(1200, 3, 8, 8, dtype=torch.uint8)
    held_out = Pairs("x", pictures[:7], pictures[:7, :1])
    shown = {
        load("ring"): "<Points ring: endless, (2,) each, on cpu>",
        load("digits"): "<Images digits: 1,347 of (1, 28, 28) on cpu>",
        image_folder(tmp_path, size=8, max_bytes=1): f"<Folder {tmp_path.name}: 3 of (3, 8, 8) on cpu>",
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


def test_the_import_is_light() -> None:
    heavy = "{'torchvision', 'PIL', 'sklearn', 'matplotlib'} & set(sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, gantutor.data; print({heavy})"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "set()"


# --- densities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "number"), [("ring", 8), ("grid", 25)])
def test_mixtures_are_equally_likely_gaussians_around_their_modes(name: str, number: int) -> None:
    data, n = load(name), 40_000
    assert isinstance(data, Points)
    assert data.modes is not None
    assert data.modes.shape == (number, 2)
    samples = data.sample(n, seeded())
    distance, nearest = torch.cdist(samples, data.modes).min(dim=1)
    within = (distance < 3 * data.std).float().mean().item()
    expected = 1 - math.exp(-(3**2) / 2)  # of a 2-D Gaussian
    assert within == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / n))
    counts = torch.bincount(nearest, minlength=number)
    assert (counts - n / number).abs().max() < 5 * math.sqrt(n / number)
    noise = samples - data.modes[nearest]
    assert noise.std(dim=0).numpy() == pytest.approx([data.std] * 2, rel=0.03)
    assert noise.mean(dim=0).abs().max() < 5 * data.std / math.sqrt(n)


def test_curves_are_their_formulas() -> None:
    u, v = torch.rand(2, 1000, generator=seeded())
    s, sign = u.numpy(), np.where(v.numpy() < 0.5, 1, -1)
    k = np.floor(8 * s)
    formulas = {
        "ring": (2 * np.cos(2 * np.pi * k / 8), 2 * np.sin(2 * np.pi * k / 8)),
        "moons": (1.6 * sign * (np.cos(np.pi * s) - 1 / 2), 1.6 * sign * (np.sin(np.pi * s) - 1 / 4)),
        "spiral": (
            2.4 * np.sqrt(s) * np.cos(4 * np.pi * np.sqrt(s)),
            2.4 * np.sqrt(s) * np.sin(4 * np.pi * np.sqrt(s)),
        ),
    }
    for name, formula in formulas.items():
        data = load(name)
        assert isinstance(data, Points)
        np.testing.assert_allclose(data.curve(u, v).numpy(), np.stack(formula, axis=1), atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", ["moons", "spiral"])
def test_the_noise_around_a_curve_has_the_std_it_says(name: str) -> None:
    data = load(name)
    assert isinstance(data, Points)
    assert data.modes is None
    fine = torch.linspace(0, 1, 2001)[:-1]
    curve = torch.cat([data.curve(fine, torch.zeros(2000)), data.curve(fine, torch.ones(2000))])
    distance = torch.cdist(data.sample(2000, seeded()), curve).min(dim=1).values
    assert (distance < 3 * data.std).float().mean() > 0.99
    assert (distance < data.std).float().mean().item() == pytest.approx(0.683, abs=0.05)


# --- digits -----------------------------------------------------------------------------------------------------------


def build_digits() -> dict[str, np.ndarray]:
    script = load_script(REPOSITORY / "data" / "build_digits.py")
    arrays: dict[str, np.ndarray] = script.build()
    return arrays


def test_the_embedded_digits_are_what_the_script_builds() -> None:
    built, embedded = build_digits(), read_digits(REPOSITORY / "data" / "digits.npz")
    assert list(built) == list(embedded) == list(ARRAYS)
    for name, array in built.items():
        assert array.dtype == embedded[name].dtype == np.uint8
        assert array.shape == embedded[name].shape == ARRAYS[name]
        np.testing.assert_array_equal(array, embedded[name])


def test_the_embedded_digits_are_small_and_have_their_licence_beside_them() -> None:
    assert (REPOSITORY / "data" / "digits.npz").stat().st_size < 200_000
    licence = (REPOSITORY / "data" / "digits.LICENSE.txt").read_text()
    assert "10.24432/C50P49" in licence
    assert "CC BY 4.0" in licence


def test_the_splits_are_the_whole_and_share_nothing() -> None:
    built = build_digits()
    train, test, whole = (load("digits", split=split, size=8) for split in ("train", "test", "all"))
    assert [len(train), len(test), len(whole)] == [1347, 450, 1797]
    order = np.argsort(built["held_out"], kind="stable")  # the train images, then the test images
    assert torch.equal(torch.cat([train.images, test.images]), whole.images[torch.from_numpy(order)])
    assert torch.equal(torch.cat([train.labels, test.labels]), whole.labels[torch.from_numpy(order)])
    np.testing.assert_array_equal(whole.labels.numpy(), built["labels"])
    assert min(test.labels.bincount(minlength=10)) > 30


def test_the_native_size_holds_the_original_numbers() -> None:
    original = torch.from_numpy(build_digits()["images"])
    shown = load("digits", split="all", size=8).images[:, 0]
    assert torch.equal((shown.float() * 16 / 255).round().byte(), original)


def test_digits_of_28_pixels_are_strokes_in_the_middle_20() -> None:
    original = torch.from_numpy(build_digits()["images"]) / 16
    data = load("digits", split="all")
    images = data.images.float() / 255
    assert data.shape == (1, 28, 28)
    assert images[..., :2, :].max() == images[..., -2:, :].max() == 0
    assert images[..., :2].max() == images[..., -2:].max() == 0
    assert images[..., 4:-4, 4:-4].sum() / images.sum() > 0.95
    assert ((images < 0.1) | (images > 0.9)).float().mean() > 0.8, "soft edges, but not a blur"
    assert images.amax(dim=(1, 2, 3)).min() > 0.9
    cells = F.adaptive_avg_pool2d(images[..., 4:-4, 4:-4], 8)[:, 0]
    correlation = torch.corrcoef(torch.stack([cells.flatten(), original.flatten()]))[0, 1]
    assert correlation > 0.95


def test_digits_of_32_pixels_are_those_of_28_in_a_wider_margin() -> None:
    padded = load("digits", size=32).images
    assert padded.shape[1:] == (1, 32, 32)
    assert torch.equal(padded[..., 2:-2, 2:-2], load("digits").images)
    assert padded.sum() == padded[..., 2:-2, 2:-2].sum()


@pytest.mark.parametrize("option", [{"split": "val"}, {"size": 64}, {"size": "28"}])
def test_digits_options_are_checked(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(ValueError, match=f"{name}=.* is unknown; choose one of "):
        load("digits", **option)


INTACT = (REPOSITORY / "data" / "digits.npz").read_bytes()


@settings(max_examples=150)
@given(cut=st.integers(0, len(INTACT)), position=st.integers(0, len(INTACT) - 1), flip=st.integers(0, 255))
def test_a_damaged_file_is_named_or_changes_nothing(
    cut: int, position: int, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(INTACT)
    damaged[position] ^= flip
    path = tmp_path_factory.getbasetemp() / "digits.npz"
    for content in (INTACT[:cut], bytes(damaged)):
        path.write_bytes(content)
        arrays, message = attempt(lambda: read_digits(path))
        if arrays is None:
            assert str(path) in message
            assert "git checkout data/digits.npz" in message
        else:
            assert checksum(arrays) == SHA256
            assert len(content) == len(INTACT)


def test_one_wrong_label_is_found(tmp_path: Path) -> None:
    arrays = build_digits()
    arrays["labels"][5] ^= 1
    np.savez_compressed(tmp_path / "digits.npz", **arrays)
    with pytest.raises(DataError, match="checksum is wrong"):
        read_digits(tmp_path / "digits.npz")


def test_embedded_files_are_found_in_a_checkout_and_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "CHECKOUT", tmp_path)
    monkeypatch.setattr(common, "PACKAGE", tmp_path / "gantutor")
    in_wheel, in_checkout = tmp_path / "gantutor" / "_data" / "digits.npz", tmp_path / "data" / "digits.npz"
    with pytest.raises(DataError, match=r"_data.digits.npz is missing. It is part of gantutor: install it again"):
        load("digits")
    in_wheel.parent.mkdir(parents=True)
    in_wheel.write_bytes(INTACT)
    assert common.embedded_file("digits.npz") == in_wheel
    in_checkout.parent.mkdir()
    in_checkout.write_bytes(INTACT)
    assert common.embedded_file("digits.npz") == in_wheel, "a folder data/ beside an installed package is not ours"

    (tmp_path / "pyproject.toml").touch()
    assert common.embedded_file("digits.npz") == in_checkout
    assert len(load("digits")) == 1347
    in_wheel.unlink()
    in_checkout.unlink()
    with pytest.raises(DataError, match=r"data.digits.npz is missing. Get it again: git checkout data/digits.npz"):
        load("digits")


# --- images -----------------------------------------------------------------------------------------------------------


def test_bytes_become_floats_from_minus_one_to_one() -> None:
    floats = to_float(torch.arange(256, dtype=torch.uint8))
    assert floats[0] == -1
    assert floats[255] == 1
    assert torch.allclose(floats, torch.linspace(-1, 1, 256), atol=1e-6)


def test_images_are_drawn_with_replacement_and_all_alike() -> None:
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 3, 2, 2)
    data = Images("ten", images, torch.arange(10))
    drawn = ((data.sample(5000, seeded())[:, 0, 0, 0] + 1) * 127.5).round().long()
    assert (drawn.bincount(minlength=10) - 500).abs().max() < 5 * math.sqrt(500)
    assert (len(data), data.shape, data.kind, data.device.type) == (10, (3, 2, 2), "images", "cpu")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(4, 1, 8, 8), None, r"expected images uint8 \(N, C, H, W\).* got torch.float32 \(4, 1, 8, 8\)"),
        (torch.zeros(4, 8, 8, dtype=torch.uint8), None, r"got torch.uint8 \(4, 8, 8\)"),
        (torch.zeros(0, 1, 8, 8, dtype=torch.uint8), None, r"got torch.uint8 \(0, 1, 8, 8\)"),
        (torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(3).long(), r"int64 \(4,\), got torch.int64 \(3,\)"),
        (torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4), "got torch.float32"),
        (torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4, device="meta").long(), "the labels on meta"),
    ],
)  # fmt: skip
def test_images_say_what_came_and_what_was_expected(
    images: torch.Tensor, labels: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Images("mine", images, labels)


# --- mnist and its relatives ------------------------------------------------------------------------------------------


def idx_bytes(array: np.ndarray) -> bytes:
    """A uint8 array in the idx format: two zeros, 8 for uint8, the number of axes, their lengths, the bytes."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def idx_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (60, 28, 28)),
        "train-labels-idx1-ubyte": rng.integers(0, 10, 60),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (20, 28, 28)),
        "t10k-labels-idx1-ubyte": rng.integers(0, 10, 20),
    }


def write_idx(root: Path, class_name: str = "MNIST") -> Path:
    raw = root / class_name / "raw"
    raw.mkdir(parents=True)
    for name, array in idx_arrays().items():
        (raw / name).write_bytes(idx_bytes(array))
    return raw


@pytest.mark.parametrize(("name", "class_name"), IDX_SETS.items())
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_idx_files_in_torchvisions_layout_load(
    name: str, class_name: str, split: str, prefix: str, tmp_path: Path
) -> None:
    write_idx(tmp_path, class_name)
    arrays = idx_arrays()
    data = load(name, root=tmp_path, split=split)
    assert isinstance(data, Images)
    np.testing.assert_array_equal(data.images[:, 0].numpy(), arrays[f"{prefix}-images-idx3-ubyte"])
    assert data.labels is not None
    np.testing.assert_array_equal(data.labels.numpy(), arrays[f"{prefix}-labels-idx1-ubyte"])
    assert (data.name, data.shape) == (name, (1, 28, 28))
    theirs = getattr(torchvision.datasets, class_name)(tmp_path, train=split == "train")
    assert torch.equal(theirs.data, data.images[:, 0])

    padded = load(name, root=tmp_path, split=split, size=32)
    assert padded.shape == (1, 32, 32)
    assert torch.equal(padded.images[..., 2:-2, 2:-2], data.images)
    assert padded.sample(8, seeded()).shape == (8, 1, 32, 32)


def test_the_root_is_the_environments_or_in_the_checkout_or_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GANTUTOR_DATA", raising=False)
    assert common.downloads_folder() == REPOSITORY / "data" / "downloads"
    assert "/data/downloads/" in (REPOSITORY / ".gitignore").read_text().splitlines()
    write_idx(tmp_path)
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path))
    assert len(load("mnist")) == 60
    monkeypatch.delenv("GANTUTOR_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(common, "CHECKOUT", tmp_path)
    assert common.downloads_folder() == tmp_path / "cache" / "gantutor"


@pytest.mark.parametrize("option", [{"split": "all"}, {"size": 64}])
def test_mnist_options_are_checked(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is unknown; choose one of "):
        load("mnist", root=tmp_path, **option)


def test_a_set_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'train-images-idx3-ubyte is missing. Get it: load\("kmnist", download=True\)'):
        load("kmnist", root=tmp_path)
    (write_idx(tmp_path) / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="train-labels-idx1-ubyte is missing"):
        load("mnist", root=tmp_path)
    assert len(load("mnist", root=tmp_path, split="test")) == 20


@settings(max_examples=40)
@given(data=st.data(), name=st.sampled_from(["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]))
def test_a_truncated_idx_file_is_named(
    data: st.DataObject, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("idx")
    file = write_idx(root) / name
    whole = file.read_bytes()
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DataError, match=rf'{name} is damaged .*load\("mnist", download=True\)'):
        load("mnist", root=root)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"<html>404</html>" * 40, "train-images-idx3-ubyte is damaged"),
        ("train-images-idx3-ubyte", idx_bytes(np.zeros((60, 32, 32))), r"\(N, 28, 28\), got \(60, 32, 32\)"),
        ("train-labels-idx1-ubyte", idx_bytes(np.zeros(59)), "has 60 images, train-labels-idx1-ubyte has 59 labels"),
        ("train-labels-idx1-ubyte", idx_bytes(np.zeros((60, 1, 1))), "train-labels-idx1-ubyte is damaged"),
    ],
)  # fmt: skip
def test_an_idx_file_with_something_else_in_it_is_named(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (write_idx(tmp_path) / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load("mnist", root=tmp_path)


class Mirror:
    """A server on this machine that has the four archives, and can be told to spoil one of them."""

    spoiled = "train-labels-idx1-ubyte.gz"

    def __init__(self) -> None:
        self.archives = {f"{name}.gz": gzip.compress(idx_bytes(array)) for name, array in idx_arrays().items()}
        self.fault = ""
        self.asked: list[str] = []
        self.closing = threading.Event()
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                mirror.asked.append(name)
                content = mirror.archives[name]
                fault = mirror.fault if name == mirror.spoiled else ""
                if fault == "not found":
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if fault == "cut off":
                    content = content[: len(content) // 2]
                if fault == "wrong bytes":
                    content = bytes(len(content))
                if fault == "silent":
                    self.wfile.write(content[:10])
                    mirror.closing.wait(20)
                    return
                self.wfile.write(content)

            def log_message(self, *arguments: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *arguments: Any) -> None:  # a client that hangs up is no news
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def closed_address() -> str:
    """Where no server listens (any more)."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return f"http://127.0.0.1:{unused.getsockname()[1]}/"


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    mirror = Mirror()
    resources = [(name, hashlib.md5(content).hexdigest()) for name, content in mirror.archives.items()]
    for class_name in IDX_SETS.values():
        monkeypatch.setattr(getattr(torchvision.datasets, class_name), "mirrors", [mirror.address])
        monkeypatch.setattr(getattr(torchvision.datasets, class_name), "resources", resources)
    monkeypatch.setenv("no_proxy", "*")
    yield mirror
    mirror.close()


@pytest.mark.parametrize("name", IDX_SETS)
def test_a_download_leaves_the_whole_set_and_nothing_else(name: str, mirror: Mirror, tmp_path: Path) -> None:
    root = tmp_path / "not" / "there yet"
    data = load(name, root=root, download=True)
    np.testing.assert_array_equal(data.images[:, 0].numpy(), idx_arrays()["train-images-idx3-ubyte"])
    files = sorted(path.relative_to(root / IDX_SETS[name] / "raw").as_posix() for path in root.rglob("*ubyte*"))
    assert files == sorted(idx_arrays())
    assert [path.name for path in root.iterdir()] == [IDX_SETS[name]]

    mirror.asked.clear()
    load(name, root=root, split="test", download=True)
    assert not mirror.asked, "what is there is not fetched again"
    assert len(load(name, root=root, split="test")) == 20


def test_a_download_shows_its_progress(mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("mnist", root=tmp_path, download=True)
    assert "100%" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torchvision does not close a 404
@pytest.mark.parametrize("fault", ["cut off", "wrong bytes", "not found", "silent"])
def test_a_failed_download_leaves_nothing_that_loads(
    fault: str, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "SECONDS_WITHOUT_A_BYTE", 0.3)
    mirror.fault = fault
    start = time.monotonic()
    with pytest.raises(DataError, match=r'mnist could not be downloaded(.|\n)*load\("mnist", download=True\)'):
        load("mnist", root=tmp_path, download=True)
    assert time.monotonic() - start < 15, "a silent server must not be waited for"
    assert mirror.spoiled in mirror.asked
    assert list(tmp_path.iterdir()) == []
    assert socket.getdefaulttimeout() is None
    with pytest.raises(DataError, match="is missing"):
        load("mnist", root=tmp_path)

    mirror.fault = ""
    assert len(load("mnist", root=tmp_path, download=True)) == 60
    gc.collect()  # so that the socket's warning comes here and not in another test


def test_a_second_mirror_helps(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [closed_address(), mirror.address])
    assert len(load("mnist", root=tmp_path, download=True)) == 60


def test_without_a_network_the_error_says_so(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [closed_address()])
    with pytest.raises(DataError, match=r'load\("digits"\) needs no download'):
        load("mnist", root=tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(dataset: Any) -> None:
        Path(dataset.raw_folder).mkdir(parents=True)
        (Path(dataset.raw_folder) / "train-images-idx3-ubyte").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", stop)
    with pytest.raises(KeyboardInterrupt):
        load("mnist", root=tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


def test_a_download_mends_a_damaged_set_and_keeps_what_is_not_its_own(mirror: Mirror, tmp_path: Path) -> None:
    raw = write_idx(tmp_path)
    (raw / "train-images-idx3-ubyte").write_bytes(b"half")
    (raw / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is damaged"):
        load("mnist", root=tmp_path)
    assert len(load("mnist", root=tmp_path, download=True)) == 60
    assert len(load("mnist", root=tmp_path)) == 60
    assert (raw / "notes.txt").read_text() == "mine"


def test_a_root_that_cannot_be_written_is_named(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"could not be downloaded to .*file.folder: "):
        load("mnist", root=tmp_path / "file" / "folder", download=True)


# --- one's own images -----------------------------------------------------------------------------------------------


def colour(index: int) -> tuple[int, int, int]:
    return (index * 9 % 256, index * 31 % 256, 255 - index * 9 % 256)


def save_pictures(folder: Path, number: int = 12) -> list[Path]:
    """Images of one colour each, in nested folders, in the order of their names."""
    files = []
    for index in range(number):
        file = folder / f"{index // 5}" / f"{index % 5}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 14), colour(index)).save(file)
        files.append(file)
    return files


def test_a_small_folder_becomes_one_tensor_in_the_order_of_the_names(tmp_path: Path) -> None:
    save_pictures(tmp_path / "mine")
    (tmp_path / "mine" / "notes.txt").write_text("no image")
    (tmp_path / "mine" / "0" / "._0.png").write_bytes(b"what a Mac leaves beside a image")
    (tmp_path / "mine" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "mine" / ".ipynb_checkpoints" / "0.png").write_bytes(b"no image")
    data = image_folder(tmp_path / "mine", size=8)
    assert isinstance(data, Images)
    assert (data.name, data.shape, data.labels, len(data)) == ("mine", (3, 8, 8), None, 12)
    expected = torch.tensor([colour(index) for index in range(12)], dtype=torch.uint8)
    assert torch.equal(data.images, expected[:, :, None, None].expand(12, 3, 8, 8))
    assert image_folder(str(tmp_path / "mine"), size=8, channels=1).shape == (1, 8, 8)


needs_fork = pytest.mark.filterwarnings(
    "ignore:.*fork:DeprecationWarning"
)  # from Python 3.12 on, in any process with threads


@needs_fork
def test_a_large_folder_is_read_by_workers_and_gives_the_same_samples(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    one_tensor = image_folder(tmp_path, size=8, max_bytes=12 * 3 * 8 * 8)
    folder = image_folder(tmp_path, size=8, max_bytes=12 * 3 * 8 * 8 - 1, workers=2)
    assert isinstance(one_tensor, Images)
    assert isinstance(folder, Folder)
    for attribute in ("name", "shape", "kind", "device", "labels"):
        assert getattr(folder, attribute) == getattr(one_tensor, attribute), attribute
    assert len(folder) == 12

    torch.manual_seed(0)
    state = torch.get_rng_state()
    same, other = seeded(5), seeded(5)
    for n in (1, 7, 64, 200, 3):
        samples = folder.sample(n, same)
        assert samples.shape == (n, 3, 8, 8)
        assert samples.dtype == torch.float32
        assert torch.equal(samples, one_tensor.sample(n, other))
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"
    assert len(folder.sample(200, seeded()).flatten(1).unique(dim=0)) == 12, "every file is drawn"
    assert torch.equal(folder.sample(7, seeded(9)), folder.sample(7, seeded(9)))
    with pytest.raises(ValueError, match="n=0"):
        folder.sample(0, seeded())


@needs_fork
def test_workers_outlive_an_interrupt_and_end_with_their_folder(tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    save_pictures(tmp_path)
    folder = image_folder(tmp_path, size=8, max_bytes=0, workers=2)
    assert set(multiprocessing.active_children()) == before, "no worker before the first sample"
    first = folder.sample(8, seeded())
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker.pid or 0, signal.SIGINT)
    assert torch.equal(folder.sample(8, seeded()), first)
    assert set(multiprocessing.active_children()) - before == workers

    ring = [folder]
    ring.append(ring)  # type: ignore[arg-type]  # a traceback that is kept makes such a cycle, too
    start = time.monotonic()
    del folder, ring
    gc.collect()
    assert time.monotonic() - start < 4, "nobody waits for a worker that was not told to end"
    for worker in workers:  # the pool's thread joins them, too, and `is_alive` can be wrong while it does
        assert connection.wait([worker.sentinel], 30), "a worker outlives its folder"
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":
            thread.join(5)
            assert not thread.is_alive()


@needs_fork
@pytest.mark.parametrize("moment", ["killed between samples", "killed while reading", "interrupted"])
def test_a_folder_recovers_from_what_stopped_it(tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(multiprocessing.active_children())
    files = save_pictures(tmp_path)
    folder = image_folder(tmp_path, size=8, max_bytes=0, workers=1)
    assert isinstance(folder, Folder)
    first = folder.sample(8, seeded())
    (worker,) = set(multiprocessing.active_children()) - before
    if moment == "killed between samples":
        os.kill(worker.pid or 0, signal.SIGKILL)
    elif moment == "killed while reading":
        files[0].rename(tmp_path / "first")
        os.mkfifo(files[0])  # it is never written to, so the worker waits
        reading = folder.start_reading([0, 1])
        os.kill(worker.pid or 0, signal.SIGKILL)
        (tmp_path / "first").rename(files[0])
        assert torch.equal(reading.result(), folder.start_reading([0, 1]).result())
    else:
        with monkeypatch.context() as patch:
            patch.setattr("concurrent.futures.Future.result", interrupt)
            with pytest.raises(KeyboardInterrupt):
                folder.sample(8, seeded())
    assert torch.equal(folder.sample(8, seeded()), first)


def interrupt(*arguments: Any) -> None:
    raise KeyboardInterrupt


@needs_fork
def test_workers_that_are_killed_again_and_again_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pictures(tmp_path)
    folder = image_folder(tmp_path, size=8, max_bytes=0, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr("gantutor.data.own_images.read_pictures", end_this_process)
        with pytest.raises(RuntimeError, match="killed twice, maybe because memory ran out"):
            folder.sample(8, seeded())
    assert folder.sample(8, seeded()).shape == (8, 3, 8, 8)


def end_this_process(*arguments: Any) -> None:
    os._exit(1)


ENDLESS = """
import multiprocessing, sys, time
import torch
from gantutor.data import image_folder
folder = image_folder(sys.argv[1], size=8, max_bytes=0, workers=2)
folder.sample(8, torch.Generator())
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to look for processes in")
def test_workers_end_with_a_process_that_was_killed(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        workers = process.stdout.readline().split()
        process.kill()
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while any(is_running(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(worker) for worker in workers)


def is_running(pid: str) -> bool:
    """Whether there is such a process, and it is none that has ended and waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(("affinity", "all_cpus", "usable"), [({0}, 8, 1), (None, 8, 8), (None, None, 1)])
def test_the_cpu_affinity_counts(
    affinity: set[int] | None, all_cpus: int | None, usable: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: all_cpus)
    if affinity is None:
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    else:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: affinity, raising=False)
    assert common.usable_cpus() == usable


@needs_fork
def test_a_truncated_picture_is_named_now_or_when_it_is_drawn(tmp_path: Path) -> None:
    bad = save_pictures(tmp_path)[7]
    rng = np.random.default_rng(0)
    content = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(content, "png")
    bad.write_bytes(content.getvalue()[:3000])
    with pytest.raises(DataError, match=r"1.2.png is not a readable image \(.*\). Replace it"):
        image_folder(tmp_path, size=8)
    folder = image_folder(tmp_path, size=8, max_bytes=0, workers=2)
    with pytest.raises(DataError, match=r"1.2.png is not a readable image") as caught:
        folder.sample(200, seeded())
    assert "Traceback" not in str(caught.value)
    Image.new("RGB", (9, 9)).save(bad)
    assert folder.sample(200, seeded()).shape == (200, 3, 8, 8)


@settings(max_examples=40)
@given(data=st.data(), kind=st.sampled_from(["png", "jpeg", "gif", "bmp", "webp"]))
def test_a_picture_cut_anywhere_is_read_or_named(
    data: st.DataObject, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3)).save(buffer, kind)
    whole = buffer.getvalue()
    path = tmp_path_factory.getbasetemp() / f"cut.{kind}"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    picture, message = attempt(lambda: read_image(path, 16, 3))
    if picture is None:
        assert str(path) in message
    else:  # a format's last bytes may say nothing
        assert picture.shape == (3, 16, 16)


def test_folders_without_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        image_folder(tmp_path / "nowhere")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"a has no images in it or in its folders; a image's name ends in .jpg, "):
        image_folder(tmp_path / "a")
    with pytest.raises(DataError, match=r"notes.txt is not a folder"):
        image_folder(tmp_path / "a" / "notes.txt")
    (tmp_path / "a" / "x.png").write_text("not a image")
    with pytest.raises(DataError, match=r"x.png is not a readable image"):
        image_folder(tmp_path / "a")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 0}, ValueError, "size=0: expected at least 1"),
        ({"size": 64.0}, TypeError, "size=64.0: expected a whole number"),
        ({"channels": 4}, ValueError, "channels=4 is unknown; choose one of 1, 3"),
        ({"workers": 0}, ValueError, "workers=0"),
    ],
)
def test_image_folder_options_are_checked(
    options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    save_pictures(tmp_path, 1)
    with pytest.raises(error, match=message):
        image_folder(tmp_path, **options)


def test_pictures_of_every_mode_become_rgb_and_grey(tmp_path: Path) -> None:
    grey = np.full((10, 10), 200)
    pictures = {
        "rgb": (Image.new("RGB", (10, 10), (200, 0, 0)), (200, 0, 0)),
        "grey": (Image.fromarray(grey.astype(np.uint8)), (200, 200, 200)),
        "grey and alpha": (Image.new("LA", (10, 10), (200, 0)), (255, 255, 255)),
        "alpha": (Image.new("RGBA", (10, 10), (200, 0, 0, 0)), (255, 255, 255)),
        "half alpha": (Image.new("RGBA", (10, 10), (0, 0, 0, 128)), (127, 127, 127)),
        "palette": (Image.new("RGB", (10, 10), (200, 0, 0)).convert("P", palette=Image.Palette.ADAPTIVE), (200, 0, 0)),
        "black and white": (Image.new("1", (10, 10), 1), (255, 255, 255)),
        "sixteen bits": (Image.fromarray((grey * 257).astype(np.uint16)), (200, 200, 200)),
    }  # fmt: skip
    for name, (picture, expected) in pictures.items():
        picture.save(tmp_path / f"{name}.png")
        shown = read_image(tmp_path / f"{name}.png", 4, 3)
        assert shown.dtype == torch.uint8
        assert shown.is_contiguous()
        assert torch.equal(shown, torch.tensor(expected, dtype=torch.uint8)[:, None, None].expand(3, 4, 4)), name
        assert read_image(tmp_path / f"{name}.png", 4, 1).shape == (1, 4, 4)

    see_through = Image.new("P", (10, 10), 1)
    see_through.putpalette([0, 0, 0, 200, 0, 0])
    see_through.save(tmp_path / "gif.gif", transparency=1)
    assert (read_image(tmp_path / "gif.gif", 4, 3) == 255).all()
    Image.new("CMYK", (10, 10)).save(tmp_path / "print.jpg")
    assert (read_image(tmp_path / "print.jpg", 4, 3) > 250).all()


def test_the_middle_square_is_kept_and_upright(tmp_path: Path) -> None:
    wide = Image.new("RGB", (90, 30), "red")
    ImageDraw.Draw(wide).rectangle((30, 0, 59, 29), fill="blue")
    wide.save(tmp_path / "wide.png")
    assert torch.equal(read_image(tmp_path / "wide.png", 15, 3)[:, 7, 7], torch.tensor([0, 0, 255], dtype=torch.uint8))
    assert read_image(tmp_path / "wide.png", 15, 3)[0].float().mean() < 10

    turned = Image.new("RGB", (64, 64), "black")
    ImageDraw.Draw(turned).rectangle((0, 0, 31, 63), fill="white")  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise to see it upright": the left half comes to the top
    turned.save(tmp_path / "turned.jpg", exif=exif)
    shown = read_image(tmp_path / "turned.jpg", 16, 1)[0].float()
    assert shown[:7].min() > 240
    assert shown[9:].max() < 15


def test_a_big_jpeg_loses_little_by_being_decoded_small(tmp_path: Path) -> None:
    big = Image.new("RGB", (1600, 1200), "white")
    for x in range(0, 1600, 120):
        ImageDraw.Draw(big).rectangle((x, 0, x + 59, 1199), fill="navy")
    big.save(tmp_path / "big.jpg", quality=95)
    big.save(tmp_path / "big.png")
    jpeg, png = (read_image(tmp_path / f"big.{kind}", 128, 3).float() for kind in ("jpg", "png"))
    assert (jpeg - png).abs().mean() < 2
    assert (jpeg - png).abs().max() < 32
