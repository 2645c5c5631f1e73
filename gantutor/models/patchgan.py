"""The PatchGAN: a discriminator that gives each overlapping patch of an image a logit of its own.

It is nothing but a stack of convolutions; how large a patch is follows from their kernels and strides
(`receptive_field`), and can be measured by a logit's gradient (`measured_field`).
Sources: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017, sections 3.2.2 and
6.1.2; and the reference implementation, whose parameter names these are (models/reference.py).
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gantutor.models.gans import dcgan_init
from gantutor.models.layers import REFERENCE_NORMS, check_name, reference_bias, reference_norm

N_LAYERS = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}  # receptive field in pixels -> n_layers


class PatchGAN(nn.Sequential):
    """Images (B, C, H, W) -> logits (B, 1, h, w), one for each patch."""

    def __init__(self, in_channels: int, n_layers: int, width: int, norm: str) -> None:
        bias = reference_bias(norm)
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        before = width
        for layer in range(1, n_layers + 1):
            after = width * min(2**layer, 8)
            stride = 2 if layer < n_layers else 1
            layers += [nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=bias)]
            layers += [reference_norm(norm, after), nn.LeakyReLU(0.2)]
            before = after
        layers += [nn.Conv2d(before, 1, 4, stride=1, padding=1)]
        super().__init__(OrderedDict(model=nn.Sequential(*layers)))


class PixelGAN(nn.Sequential):
    """Images (B, C, H, W) -> logits (B, 1, H, W): each pixel is judged by its colour alone."""

    def __init__(self, in_channels: int, width: int, norm: str) -> None:
        bias = reference_bias(norm)
        net = nn.Sequential(
            nn.Conv2d(in_channels, width, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width * 2, 1, bias=bias),
            reference_norm(norm, width * 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width * 2, 1, 1, bias=bias),
        )
        super().__init__(OrderedDict(net=net))


def patchgan(in_channels: int = 6, n_layers: int = 3, width: int = 64, norm: str = "batch") -> PatchGAN | PixelGAN:
    """The discriminator of pix2pix (`in_channels` of A and B together) and of CycleGAN (of one domain).

    `n_layers` is the number of halvings: 3 gives the 70x70 patches of the papers, 0 judges single pixels; N_LAYERS has
    it by patch. `width` channels double with each layer up to 8 times. Weights start as `dcgan_init` says.
    Raises: ValueError for an unknown norm.
    """
    check_name("norm", norm, REFERENCE_NORMS)
    network = PatchGAN(in_channels, n_layers, width, norm) if n_layers else PixelGAN(in_channels, width, norm)
    dcgan_init(network)
    return network


class Field(NamedTuple):
    """The pixels that one output of a stack of convolutions sees along one axis, all numbers in pixels.

    Output i sees the `size` pixels from `first` + i `stride` on. They reach beyond the image at its edges, where
    padding is seen.
    """

    size: int
    stride: int
    first: int

    def span(self, i: int) -> tuple[int, int]:
        """The first pixel that output i sees, and the one after the last."""
        start = self.first + i * self.stride
        return start, start + self.size


def convolutions(network: nn.Module) -> list[tuple[int, int, int]]:
    """(kernel, stride, padding) of each convolution, first to last; all are square."""
    found = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    return [(conv.kernel_size[0], conv.stride[0], int(conv.padding[0])) for conv in found]


def receptive_field(network: nn.Module) -> Field:
    """What one logit of a discriminator sees, if no norm looks at the whole image.

    With kernels k_i, strides s_i and paddings p_i, and j_i the product of all strides before layer i:
    size = 1 + sum((k_i - 1) j_i), stride = product of all s_i, first = -sum(p_i j_i).
    BatchNorm in training mode and InstanceNorm add, through their mean and variance, a little of every pixel.
    """
    size, jump, first = 1, 1, 0
    for kernel, stride, padding in convolutions(network):
        size += (kernel - 1) * jump
        first -= padding * jump
        jump *= stride
    return Field(size, jump, first)


def output_side(network: nn.Module, side: int) -> int:
    """How many logits a discriminator has along a side of `side` pixels: 30 for 256 and three layers.

    Each layer turns n into floor((n + 2p - k) / s) + 1.
    Raises: ValueError where nothing is left.
    """
    left = side
    for kernel, stride, padding in convolutions(network):
        left = (left + 2 * padding - kernel) // stride + 1
        if left < 1:
            raise ValueError(f"images of {side} pixels are too small: this discriminator has no logit left for them")
    return left


def measured_field(network: nn.Module, shape: tuple[int, int, int], row: int, column: int) -> Tensor:
    """Which pixels move one logit, measured: |∂ logit(row, column) / ∂ pixel| summed over channels, (H, W).

    `shape` is (C, H, W). The network is asked as it stands: in evaluation mode BatchNorm does not mix pixels.
    """
    weight = next(network.parameters())
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, *shape, generator=generator).to(weight).requires_grad_()
    (gradient,) = torch.autograd.grad(network(image)[0, 0, row, column], image)
    return gradient[0].abs().sum(dim=0)
