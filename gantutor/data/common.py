"""What all data sets share: their error, where their files are and how they are read, the checks of what is asked."""

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PACKAGE = Path(__file__).resolve().parents[1]

Arrays = dict[str, NDArray[Any]]
Bytes = NDArray[np.uint8]


class DataError(Exception):
    """A data file is missing, damaged or cannot be had; the message says which one and what to do."""


# Files ----------------------------------------------------------------------------------------------------------------


def in_wheel() -> bool:
    """Whether the package was installed from a wheel, which has the embedded files inside it."""
    return (PACKAGE / "_data").is_dir()


def embedded_file(name: str) -> Path:
    """Where an embedded data file is: in data/ in a checkout, inside the package where it was installed from a wheel.

    Raises: DataError where it is not.
    """
    path = (PACKAGE / "_data" if in_wheel() else PACKAGE.parent / "data") / name
    if not path.is_file():
        raise DataError(f"{path} is missing. {how_to_restore(name)}")
    return path


def how_to_restore(name: str) -> str:
    """The sentence that ends the error about an embedded file."""
    if in_wheel():
        return "It is part of gantutor: install it again."
    return f"Get it again: git checkout data/{name} (README.md says what made it)"


def downloads_folder() -> Path:
    """Where downloads go: $GANTUTOR_DATA, else data/downloads in a checkout, else the user's cache folder."""
    if os.environ.get("GANTUTOR_DATA"):
        return Path(os.environ["GANTUTOR_DATA"]).expanduser()
    if not in_wheel():
        return PACKAGE.parent / "data" / "downloads"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gantutor"


def read_npz(path: Path) -> Arrays:
    with np.load(io.BytesIO(path.read_bytes())) as file:
        return {name: file[name] for name in file.files}


def read_embedded(name: str, sha256: str, decode: Callable[[Arrays], Arrays] = dict) -> Arrays:
    """All arrays of an embedded file, decoded, and proved by their `checksum` to be the ones that were built.

    Raises: DataError for anything else.
    """
    path = embedded_file(name)
    try:
        arrays = decode(read_npz(path))
        found = checksum(arrays)
    except Exception as error:  # a damaged zip makes numpy, and a damaged image Pillow, raise one of a dozen
        raise DataError(f"{path} is damaged ({error}). {how_to_restore(name)}") from error
    if found != sha256:
        raise DataError(f"{path} does not hold what it should (its checksum is wrong). {how_to_restore(name)}")
    return arrays


def channels_first(images: Tensor) -> Tensor:
    """(N, H, W, 3) to (N, 3, H, W)."""
    return images.permute(0, 3, 1, 2).contiguous()


def checksum(arrays: Arrays) -> str:
    """SHA-256 over name, dtype, shape and bytes of each array."""
    sha = hashlib.sha256()
    for name, array in arrays.items():
        sha.update(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    return sha.hexdigest()


# Checks ---------------------------------------------------------------------------------------------------------------


def check_draw(n: int, generator: torch.Generator, device: torch.device) -> None:
    """What `sample(n, generator)` can be asked for.

    Raises: ValueError for n < 1 or a generator on another device; TypeError for what is neither.
    """
    check_positive("n", n)
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"expected a torch.Generator on {device}, got {type(generator).__name__}")
    here = generator.device
    if here.type != device.type or here.index not in (None, device.index):  # "cuda" without an index is any of them
        raise ValueError(f"the generator is on {here}, the data on {device}; use torch.Generator({str(device)!r})")


def check_positive(name: str, value: int | None) -> None:
    """Raises: TypeError for what is not a whole number, ValueError for one below 1. None is none, and passes."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: expected a whole number, got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name}={value}: expected at least 1")


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raises: ValueError with the choices that exist."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(map(repr, choices))}")


def check_uint8(what: str, images: Tensor) -> None:
    """Raises: ValueError for what is not uint8 (N, C, H, W) with something in it."""
    if images.dtype != torch.uint8 or images.dim() != 4 or not images.numel():
        came = f"{images.dtype} {tuple(images.shape)}"
        raise ValueError(f"{what}: expected images uint8 (N, C, H, W), none of them 0, got {came}")


def check_like(what: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...], device: torch.device) -> None:
    """Raises: ValueError saying what came and what was expected."""
    if (tensor.dtype, tuple(tensor.shape), tensor.device) != (dtype, shape, device):
        came = f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
        raise ValueError(f"{what}: expected {dtype} {shape} on {device}, got {came}")


def usable_device(device: str | torch.device) -> torch.device:
    """The device with its index, as a tensor there reports it ("cuda" -> "cuda:0").

    Raises: ValueError for a device that this machine does not have.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch's own message can be sixty lines long
        raise ValueError(f"device={str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from None
