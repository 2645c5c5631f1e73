"""What a generated image is like.

How near it is to the true one, pixel by pixel (L1) and window by window (SSIM); and, to be held against the same of the
true one, how sharp it is and how colourful.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gantutor.precision import widened

SSIM_WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2  # the pixels reach from -1 to 1: a range of 2


def l1(images: Tensor, truth: Tensor, where: Tensor | None = None) -> float:
    """mean |x − y| / 2: 0 is equal, 1 is black for white. Over all pixels, or those in the mask `where` (N, H, W).

    `images` and `truth` are float (N, C, H, W) in [-1, 1].
    Raises: ValueError for two shapes, or for a mask of another shape or without a pixel.
    """
    check_alike(images, truth)
    error = (images - truth).abs().mean(1) / 2
    if where is None:
        return error.mean().item()
    if where.shape != error.shape or where.dtype != torch.bool or not where.any():
        raise ValueError(
            f"where: expected a mask {tuple(error.shape)} of bool with a pixel in it, "
            f"got {where.dtype} {tuple(where.shape)} with {int(where.sum())} set"
        )
    return error[where].mean().item()


def ssim(images: Tensor, truth: Tensor) -> float:
    """The structural similarity of float images (N, C, H, W) in [-1, 1], at least 11x11: 1 is equal.

        SSIM = (2 μx μy + C1)(2 σxy + C2) / ((μx² + μy² + C1)(σx² + σy² + C2))
    averaged over all windows that lie inside, with moments under a Gaussian of 1.5 pixels cut off at 11x11.
    Raises: ValueError for two shapes or for smaller images.
    Source: Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment", 2004, equations 13 to 17.
    """
    check_alike(images, truth)
    if min(images.shape[2:]) < SSIM_WINDOW:
        raise ValueError(f"expected images of at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, got {tuple(images.shape)}")
    # In float64: a variance is a small difference of large numbers.
    x, y = (widened(batch).flatten(0, 1)[:, None] for batch in (images, truth))
    distance = torch.arange(SSIM_WINDOW, device=x.device, dtype=torch.float64) - SSIM_WINDOW // 2
    bell = torch.exp(-(distance**2) / (2 * SIGMA**2))
    window = torch.outer(bell, bell) / bell.sum() ** 2
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (
        F.conv2d(product, window[None, None]) for product in (x, y, x * x, y * y, x * y)
    )
    contrast = (2 * (mean_xy - mean_x * mean_y) + C2) / (mean_xx - mean_x**2 + mean_yy - mean_y**2 + C2)
    return ((2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1) * contrast).mean().item()


def sharpness(images: Tensor) -> float:
    """The mean difference |x − y| / 2 between neighbouring pixels, across and down, of float (N, C, H, W) in [-1, 1].

    A blur lowers it; noise raises it.
    """
    return sum(images.diff(dim=axis).abs().mean().item() for axis in (2, 3)) / 4


def saturation(images: Tensor) -> float:
    """The mean over pixels of (largest − smallest channel) / 2, of float (N, C, H, W) in [-1, 1].

    0 is grey, 1 a pure colour such as red.
    """
    return (images.amax(1) - images.amin(1)).mean().item() / 2


def check_alike(images: Tensor, truth: Tensor) -> None:
    """Raises: ValueError for two shapes, or what is not (N, C, H, W) with something in it."""
    if images.shape != truth.shape or images.dim() != 4 or not images.numel():
        raise ValueError(f"expected two batches (N, C, H, W) alike, got {tuple(images.shape)} and {tuple(truth.shape)}")
