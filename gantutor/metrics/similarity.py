"""What a generated image is like: how near it is to the true one, how sharp, how colourful, its hues and shades."""

import torch
import torch.nn.functional as F
from torch import Tensor


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


def chroma(images: Tensor) -> Tensor:
    """Where each pixel lies on the colour wheel: (N, H, W), complex. Its angle is the hue, red at 0; grey lies at 0.

        c = r + g·exp(2πi/3) + b·exp(4πi/3)

    `images` is float (N, 3, H, W). Raises: ValueError for another shape.
    """
    if images.dim() != 4 or images.shape[1] != 3:
        raise ValueError(f"expected colour images (N, 3, H, W), got {tuple(images.shape)}")
    corners = torch.polar(torch.ones(3), torch.arange(3) * 2 * torch.pi / 3).to(images.device)
    return torch.einsum("nchw,c->nhw", images.to(corners.dtype), corners)


def hue_shift(images: Tensor, truth: Tensor) -> Tensor:
    """The angle in degrees between the hues of two batches, 0 to 180, for each image: (N,).

        Σ w |∠(x, y)| / Σ w  over an image's pixels, with w = min(|x|, |y|), where x and y are `chroma`

    So a pixel that is grey in one of the two does not count, and an image with no other pixel has a shift of 0.
    `images` and `truth` are float (N, 3, H, W) in [-1, 1]. Raises: ValueError for two shapes, or not three channels.
    """
    check_alike(images, truth)
    x, y = chroma(images), chroma(truth)
    weight = torch.minimum(x.abs(), y.abs())
    angle = torch.rad2deg((x * y.conj()).angle().abs())
    return (weight * angle).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1e-6)


def flat_areas(images: Tensor) -> Tensor:
    """Where a drawing has one colour and is not white: bool (N, H, W), true if all of a pixel's 3x3 are alike.

    `images` is float (N, C, H, W) in [-1, 1].
    """
    spread = F.max_pool2d(images, 3, 1, 1) + F.max_pool2d(-images, 3, 1, 1)
    return (spread.amax(1) < 0.02) & (images.amin(1) < 0.95)


def shading(images: Tensor, areas: Tensor) -> float:
    """How much the brightness of neighbouring pixels differs inside `areas` (N, H, W): 0 for a flat drawing.

        mean |Δ| / 2 of neighbours left and right, and of neighbours above and below, both in the area
    `images` is float (N, C, H, W) in [-1, 1], and so the difference of black and white is 1.
    Raises: ValueError for areas of another shape, or without two neighbours.
    """
    brightness = images.mean(1)
    if areas.shape != brightness.shape:
        raise ValueError(f"expected areas {tuple(brightness.shape)}, got {tuple(areas.shape)}")
    steps = torch.cat(
        [
            brightness.diff(dim=axis)[areas.narrow(axis, 1, size - 1) & areas.narrow(axis, 0, size - 1)]
            for axis, size in ((1, areas.shape[1]), (2, areas.shape[2]))
        ]
    )
    if not len(steps):
        raise ValueError("the areas hold no two neighbouring pixels")
    return steps.abs().mean().item() / 2
