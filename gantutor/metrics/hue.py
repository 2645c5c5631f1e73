"""How far the colours of an image are from those of another, whatever the brightness."""

import torch
from torch import Tensor

from gantutor.metrics.similarity import check_alike


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
