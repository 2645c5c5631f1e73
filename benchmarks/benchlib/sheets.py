"""Pictures of trained runs that notebooks show: one WebP beside the table (gantutor.data.sheets reads it)."""

import os
from pathlib import Path

from torch import Tensor

from gantutor.data.sheets import to_sheet


def write_sheet(path: Path, images: Tensor, quality: int = 80) -> None:
    """Images (rows, columns, 3, H, H) in [-1, 1] as a lossy WebP, in one piece."""
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 1, 3, 4, 2).flatten(0, 1)
    part = path.with_suffix(".part")
    part.write_bytes(to_sheet(pixels.numpy(), columns=images.shape[1], quality=quality))
    os.replace(part, path)
