"""Sheets of images: many small pictures side by side in one WebP, and back.

    read_sheet("emoji_sketch.webp")  # float32 (rows, columns, 3, 64, 64) in [-1, 1]

What stands in a row or a column is said by whoever wrote the sheet, in the table beside it.
"""

import io

import numpy as np
import torch
from torch import Tensor

from gantutor.data.common import Bytes, DataError, embedded_file, how_to_restore
from gantutor.data.images import to_float


def to_sheet(images: Bytes, columns: int, quality: int | None = None) -> bytes:
    """Square images uint8 (N, H, H) or (N, H, H, 3), row by row on one sheet, as a WebP; empty places are white.

    `quality` is that of a lossy WebP, 0 to 100; without it nothing is lost.
    """
    from PIL import Image

    side = images.shape[1]
    empty = np.full((-len(images) % columns, *images.shape[1:]), 255, np.uint8)
    rows = np.concatenate([images, empty]).reshape(-1, columns, *images.shape[1:]).swapaxes(1, 2)
    sheet = rows.reshape(rows.shape[0] * side, columns * side, *images.shape[3:])
    buffer = io.BytesIO()
    lossless = quality is None
    how = {"quality": 100 if quality is None else quality, "method": 6}
    Image.fromarray(sheet).convert("RGB").save(buffer, "webp", lossless=lossless, **how)
    return buffer.getvalue()


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
