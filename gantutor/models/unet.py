"""The U-Net of pix2pix: an encoder down to a few pixels, a decoder back, and at each size a skip from one to the other.

Sources: Ronneberger et al., "U-Net", 2015; Isola et al., "Image-to-Image Translation with Conditional Adversarial
Networks", 2017, section 6.1.1; and the reference implementation, whose parameter names these are (models/reference.py).
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gantutor.models.gans import dcgan_init
from gantutor.models.layers import (
    REFERENCE_NORMS,
    ImageNetwork,
    check_name,
    reference_bias,
    reference_norm,
    upsampling_layer,
)


class UNetBlock(nn.Module):
    """One halving, whatever lies `inside` it, and one doubling.

    x: (B, outer, H, W) -> (B, 2 outer, H, W): x itself, the skip, beside what came back from below; without `skip`
    (B, outer, H, W). The innermost block has nothing inside and no norm on its way down, where 1x1 pixels are left.
    """

    def __init__(
        self, outer: int, inner: int, inside: "UNetBlock | None", norm: str, dropout: float, upsampling: str, skip: bool
    ) -> None:
        super().__init__()
        self.skip = skip
        bias = reference_bias(norm)
        below = inner if inside is None or not skip else 2 * inner
        layers: list[nn.Module] = [nn.LeakyReLU(0.2), nn.Conv2d(outer, inner, 4, stride=2, padding=1, bias=bias)]
        if inside is not None:
            layers += [reference_norm(norm, inner), inside]
        layers += [nn.ReLU(), doubling(below, outer, bias, upsampling), reference_norm(norm, outer)]
        layers += [nn.Dropout(dropout)] if dropout else []
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        back = self.model(x)
        return torch.cat([x, back], dim=1) if self.skip else back


class UNet(ImageNetwork):
    """The generator of pix2pix; `multiple` is the smallest image that it can halve."""


def doubling(before: int, after: int, bias: bool, upsampling: str) -> nn.Module:
    """(B, before, H, W) -> (B, after, 2H, 2W)."""
    transposed = nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=bias)
    return upsampling_layer(upsampling, transposed, "zeros")


def unet(
    side: int = 256,
    in_channels: int = 3,
    out_channels: int = 3,
    width: int = 64,
    multipliers: Sequence[int] | None = None,
    norm: str = "batch",
    dropout: float = 0.5,
    upsampling: str = "transposed",
    skips: bool = True,
) -> UNet:
    """The generator of pix2pix for images of `side` pixels, a power of two of at least 8, halved down to a single one.

    Without `skips` it is the paper's encoder-decoder, in which all must pass through the bottleneck.

    `width` times `multipliers`, one for each halving, are the channels; by default 1, 2, 4, 8, 8, ... `norm` is
    "batch", "instance" or "none"; `upsampling` is "transposed", as in the paper, or "nearest", which leaves no
    checkerboard. `dropout` is the paper's noise: it acts from the fifth halving on, the innermost left out (in a net
    that is too small for that, in the block around the innermost), and draws from torch's global random state.
    Weights start as `dcgan_init` says.
    Raises: ValueError for an argument out of range, with what is expected.
    """
    check_name("norm", norm, REFERENCE_NORMS)
    halvings = side.bit_length() - 1
    if side < 8 or side != 2**halvings:
        raise ValueError(f"side must be a power of two of at least 8, got {side}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
    multipliers = multipliers or [min(2**level, 8) for level in range(halvings)]
    if len(multipliers) != halvings:
        raise ValueError(f"{side} pixels are halved {halvings} times; got {len(multipliers)} multipliers")
    channels = [width * multiplier for multiplier in multipliers]

    noisy = range(min(4, halvings - 2), halvings - 1)
    block: UNetBlock | None = None
    for level in range(halvings - 1, 0, -1):
        rate = dropout if level in noisy else 0.0
        block = UNetBlock(channels[level - 1], channels[level], block, norm, rate, upsampling, skips)
    assert block is not None
    outside = nn.Sequential(  # the outermost halving and doubling, without norms
        nn.Conv2d(in_channels, channels[0], 4, stride=2, padding=1, bias=reference_bias(norm)),
        block,
        nn.ReLU(),
        doubling(2 * channels[0] if skips else channels[0], out_channels, True, upsampling),
        nn.Tanh(),
    )
    network = UNet(nn.Sequential(OrderedDict(model=outside)), side)  # in the reference this is a block of its own
    dcgan_init(network)
    return network
