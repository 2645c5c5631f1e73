"""Pictures of trained runs that notebooks show: one WebP beside the table (gantutor.data.embedded reads it)."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantutor.data.common import Bytes, downloads_folder
from gantutor.data.images import to_bytes


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


def write_sheet(path: Path, images: Tensor, quality: int = 80) -> None:
    """Images (rows, columns, 3, H, H) in [-1, 1] as a lossy WebP, in one piece."""
    pixels = to_bytes(images).permute(0, 1, 3, 4, 2).flatten(0, 1)
    part = path.with_suffix(".part")
    part.write_bytes(to_sheet(pixels.numpy(), columns=images.shape[1], quality=quality))
    os.replace(part, path)


def keep(path: Path, name: tuple[Any, ...], images: Tensor) -> None:
    """The pictures (columns, 3, H, H) of a run, until those of the others are there: nothing is written twice."""
    waiting(path, name).parent.mkdir(parents=True, exist_ok=True)
    torch.save(images, waiting(path, name))


def write_whole(path: Path, names: Sequence[tuple[Any, ...]], above: Sequence[Tensor]) -> bool:
    """A sheet of `above` and the kept pictures, a row for each name, once they are all there. Whether they were."""
    files = [waiting(path, name) for name in names]
    if whole := all(file.exists() for file in files):
        write_sheet(path, torch.stack([*above, *(torch.load(file) for file in files)]))
    return whole


def waiting(path: Path, name: tuple[Any, ...]) -> Path:
    return downloads_folder() / "made" / path.stem / f"{' '.join(map(str, name))}.pt"
