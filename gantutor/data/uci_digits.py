"""`digits`: 1,797 real handwritten digits, embedded at their native 8x8 and drawn larger when they are loaded.

The file holds the originals, not the enlargements: it is small, it can be compared with its source number by number,
and how the images were enlarged can be read here. Source and licence: data/digits.LICENSE.txt.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gantutor.data.common import DataError, check_choice, embedded_file, how_to_restore, usable_device
from gantutor.data.images import Images

ARRAYS = {"images": (1797, 8, 8), "labels": (1797,), "held_out": (1797,)}  # all uint8
SHA256 = "b6e141bd52712d498ce15d9ccebe68b564bdaba74205256d1a3dc6fd4c4ceb90"


def digits(device: str | torch.device = "cpu", split: str = "train", size: int = 28) -> Images:
    """Grey digits (1, size, size), white on black. `split`: "train" (1,347), "test" (450, held out) or "all".

    `size` 8 is native; 28 puts the digit into the middle 20x20 pixels, as MNIST does; 32 is 28 with a wider margin.
    Raises: ValueError for another split or size; DataError for a missing or damaged file.
    """
    check_choice("split", split, ("train", "test", "all"))
    check_choice("size", size, (8, 28, 32))
    device = usable_device(device)
    arrays = read_digits(embedded_file("digits.npz"))
    images, labels, held_out = (torch.from_numpy(arrays[name]) for name in ARRAYS)
    if split != "all":
        chosen = held_out == (split == "test")
        images, labels = images[chosen], labels[chosen]
    return Images("digits", enlarge_digits(images[:, None] / 16, size).to(device), labels.long().to(device))


def enlarge_digits(ink: Tensor, size: int) -> Tensor:
    """Ink per cell, (N, 1, 8, 8) in [0, 1], to images uint8 (N, 1, size, size). Always on the CPU: the same everywhere.

    A cell is the ink of 4x4 pixels; bicubic interpolation and a soft threshold give about the stroke they came from:
        v = sigmoid(9 (bicubic(ink) − 0.45)),  stretched so that no ink gives 0 and full ink 1
    """
    if size == 8:
        return (ink * 255).round().byte()
    cells = F.pad(ink, (2, 2, 2, 2))
    smooth = F.interpolate(cells, size=(30, 30), mode="bicubic", align_corners=False)[..., 1:-1, 1:-1]
    none, full = (torch.sigmoid(torch.tensor(9 * (level - 0.45))) for level in (0.0, 1.0))
    stroke = (torch.sigmoid(9 * (smooth - 0.45)) - none) / (full - none)
    images = (stroke.clamp(0, 1) * 255).round().byte()
    margin = (size - 28) // 2
    return F.pad(images, (margin, margin, margin, margin))


def read_digits(path: Path) -> dict[str, np.ndarray]:
    """The arrays in `path`, proved to be the ones that were built.

    Raises: DataError for anything else.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in ARRAYS}
        intact = checksum(arrays) == SHA256
    except Exception as error:  # a damaged zip makes numpy raise one of a dozen
        raise DataError(f"{path} is damaged ({error}). {how_to_restore(path.name)}") from error
    if not intact:
        raise DataError(f"{path} does not hold what it should (its checksum is wrong). {how_to_restore(path.name)}")
    return arrays


def checksum(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over name, dtype, shape and bytes of each array."""
    sha = hashlib.sha256()
    for name, array in arrays.items():
        sha.update(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    return sha.hexdigest()
