"""Sheets of images: many small pictures side by side in one WebP, and back.

    read_sheet("emoji_sketch.webp")  # float32 (rows, columns, 3, 64, 64) in [-1, 1]

What stands in a row or a column is said by whoever wrote the sheet, in the table beside it.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantutor.data.common import (
    Arrays,
    Bytes,
    DataError,
    channels_first,
    check_choice,
    check_positive,
    embedded_file,
    how_to_restore,
    usable_device,
)
from gantutor.data.images import to_float
from gantutor.data.pairs import Pairs, with_held_out

SIDE = 64
SPLITS = ("train", "val", "test")  # what the numbers of the array "split" mean


def from_sheet(content: bytes, side: int) -> Bytes:
    """All places of a sheet, uint8 (rows, columns, side, side, 3). Raises: ValueError where they do not fill it."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as file:
        sheet = np.array(file.convert("RGB"))
    height, width, _ = sheet.shape
    if height % side or width % side:
        raise ValueError(f"a sheet of {width} x {height} pixels is not made of images of {side}")
    tiles = sheet.reshape(height // side, side, width // side, side, 3).swapaxes(1, 2)
    return np.ascontiguousarray(tiles)


def read_sheet(name: str, side: int = 64) -> Tensor:
    """The images of an embedded sheet, float32 (rows, columns, 3, side, side) in [-1, 1].

    Raises: DataError for a file that is missing or damaged.
    """
    path = embedded_file(name)
    try:
        tiles = from_sheet(path.read_bytes(), side)
    except (OSError, ValueError) as error:  # Pillow's for what is no picture is an OSError
        raise DataError(f"{path} is damaged ({error}). {how_to_restore(name)}") from error
    return to_float(torch.from_numpy(tiles).permute(0, 1, 4, 2, 3).contiguous())


def decode_sheets(arrays: Arrays) -> Arrays:
    """The sheets, uint8 (bytes,), as images, uint8 (N, 64, 64, 3); the arrays that have N entries as they are."""
    count = len(arrays["split"])
    for name, array in arrays.items():
        if len(array) != count:
            tiles = from_sheet(array.tobytes(), SIDE)
            arrays[name] = tiles.reshape(-1, *tiles.shape[2:])[:count].copy()
    return arrays


def split_pairs(
    name: str,
    read: Callable[[], Arrays],
    fields: Callable[[Arrays], dict[str, Any]],
    device: str | torch.device,
    split: str,
    size: int,
    number: int | None,
    flip: bool,
    jitter: bool,
) -> Pairs:
    """The pairs of one split of an embedded file: `fields` makes those of a `Pairs` of the chosen rows of its arrays.

    Raises: ValueError for another split, size or a number below 1; DataError, as `read` does.
    """
    check_choice("split", split, SPLITS)
    check_choice("size", size, (SIDE,))
    check_positive("number", number)
    device, arrays = usable_device(device), read()

    def part(split: str, number: int | None, **options: Any) -> Pairs:
        chosen = arrays["split"] == SPLITS.index(split)
        found = fields({name: array[chosen][:number] for name, array in arrays.items()})
        tensors: dict[str, Any] = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in found.items()}
        return Pairs(name, **tensors, **options)

    return with_held_out(part, split, number, ("test", None), flip, jitter)


def as_images(array: Bytes) -> Tensor:
    """(N, H, W, 3) as a tensor (N, 3, H, W)."""
    return channels_first(torch.from_numpy(array))
