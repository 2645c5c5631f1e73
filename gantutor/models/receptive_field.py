"""What one logit of a PatchGAN sees: computed from its kernels and strides, and measured by its gradient."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


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
