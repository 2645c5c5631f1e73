"""Pictures of trained runs that notebooks show: one WebP beside the table (gantutor.data.sheets reads it)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantutor.data.common import downloads_folder
from gantutor.data.images import to_bytes
from gantutor.data.sheets import to_sheet


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
