"""The layers that the U-Net, the ResNet and the PatchGAN share, as the reference implementation builds them.

Source: github.com/junyanz/pytorch-CycleGAN-and-pix2pix, models/networks.py.
"""

from typing import Literal

from torch import nn

REFERENCE_NORMS = ("batch", "instance", "none")


def check_reference_norm(norm: str) -> None:
    """Raises: ValueError for an unknown name, with the names that exist."""
    if norm not in REFERENCE_NORMS:
        raise ValueError(f"norm={norm!r} is unknown; choose one of {', '.join(REFERENCE_NORMS)}")


def reference_norm(norm: str, channels: int) -> nn.Module:
    """A norm of (B, channels, H, W) as the reference has it: InstanceNorm without weights, Identity to hold a place."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels) if norm == "instance" else nn.Identity()


def reference_bias(norm: str) -> bool:
    """Whether the reference gives a convolution that a norm follows a bias; it gives none with norm "none", either."""
    return norm == "instance"


def upsampling_layer(
    upsampling: str, transposed: nn.ConvTranspose2d, padding_mode: Literal["zeros", "reflect"]
) -> nn.Module:
    """Doubles both sides: the given transposed convolution, or in its place "nearest", which leaves no checkerboard.

    "nearest" repeats each pixel and smooths with a 3x3 convolution, padded with "zeros" or by "reflect".
    Raises: ValueError for another name.
    Source: Odena et al., "Deconvolution and Checkerboard Artifacts", 2016.
    """
    if upsampling == "transposed":
        return transposed
    if upsampling != "nearest":
        raise ValueError(f"upsampling={upsampling!r} is unknown; choose transposed or nearest")
    before, after, bias = transposed.in_channels, transposed.out_channels, transposed.bias is not None
    smooth = nn.Conv2d(before, after, 3, padding=1, bias=bias, padding_mode=padding_mode)
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), smooth)
