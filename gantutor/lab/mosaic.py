"""Rows of pictures in the panel: what images are to each other is seen where they stand side by side."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gantutor.lab.blit_figure import View
from gantutor.plots import png, tile

MOST = 128  # pixels that are sent of a picture's side


def mosaic(columns: Sequence[Tensor]) -> bytes:
    """PNG of rows of pictures: `columns` are batches (n, C, H, W) in [-1, 1], one below the other, on white.

    Grey pictures stand beside coloured ones as grey; what is larger than MOST is averaged down.
    """
    columns = [column.detach().float().cpu().clamp(-1, 1) for column in columns]
    columns = [column.expand(-1, 3, -1, -1) if column.shape[1] == 1 else column for column in columns]
    rows = torch.stack(columns, dim=1).flatten(0, 1)
    shrink = -(-max(rows.shape[2:]) // MOST)
    if shrink > 1:
        rows = F.avg_pool2d(rows, shrink)
    return png(tile(F.pad(rows, (1, 1, 1, 1), value=1.0), len(columns)))


def mosaic_view(
    name: str, title: str, alt: str, columns: tuple[str, ...], images: Tensor, cell: int, beside: bool = False
) -> View:
    """The view of such a mosaic: a row for each of `images` (n, C, H, W), each `cell` CSS pixels wide."""
    n, _, height, width = images.shape
    tall = round(n * cell * (height + 2) / (width + 2))
    return View(name, title, alt, cell * len(columns), tall, columns=columns, beside=beside)


def tinted(images: Tensor, share: np.ndarray, colours: np.ndarray) -> Tensor:
    """Images (n, C, H, W) in grey, with a colour map laid over them: `share` (n, H, W) in [0, 1] picks the colour.

    `colours` is (256, 3) in [0, 1].
    """
    grey = images.float().cpu().mean(dim=1, keepdim=True)
    picked = colours[(share * 255).round().astype(int)]
    tint = 2 * torch.from_numpy(picked).float().permute(0, 3, 1, 2) - 1
    return 0.4 * grey + 0.6 * tint
