"""The generator of CycleGAN: a few halvings, residual blocks at the small size, as many doublings.

Sources: Johnson et al., "Perceptual Losses for Real-Time Style Transfer", 2016; Zhu et al., "Unpaired Image-to-Image
Translation using Cycle-Consistent Adversarial Networks", 2017, section 7.2; and the reference implementation, whose
parameter names these are (models/reference.py).
"""

import functools

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


class ResidualBlock(nn.Module):
    """x + f(x), (B, C, H, W) -> (B, C, H, W); f is two 3x3 convolutions on reflected borders."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        bias = reference_bias(norm)
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            reference_norm(norm, channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            reference_norm(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class ResNet(ImageNetwork):
    """The generator of CycleGAN; `multiple` is 2 to the number of halvings."""


def resnet(
    n_blocks: int = 9,
    in_channels: int = 3,
    out_channels: int = 3,
    width: int = 64,
    norm: str = "instance",
    downsamplings: int = 2,
    upsampling: str = "transposed",
    end_kernel: int = 7,
) -> ResNet:
    """The generator of CycleGAN; the defaults are the paper's for 256 pixels, with 6 blocks for 128.

    `width` channels double with each of the `downsamplings`. `norm` is "instance", "batch" or "none"; `upsampling` is
    "transposed", as in the paper, or "nearest", which leaves no checkerboard; `end_kernel`, odd, is the side of the
    first and the last kernel. Weights start as `dcgan_init` says, and without a norm as `he_init` says.
    Raises: ValueError for an argument out of range, with what is expected.
    """
    check_name("norm", norm, REFERENCE_NORMS)
    if end_kernel < 1 or end_kernel % 2 == 0:
        raise ValueError(f"end_kernel must be odd and positive, got {end_kernel}")
    bias, border = reference_bias(norm), end_kernel // 2

    layers: list[nn.Module] = [nn.ReflectionPad2d(border), nn.Conv2d(in_channels, width, end_kernel, bias=bias)]
    layers += [reference_norm(norm, width), nn.ReLU()]
    wide = width
    for _ in range(downsamplings):
        layers += [nn.Conv2d(wide, 2 * wide, 3, stride=2, padding=1, bias=bias), reference_norm(norm, 2 * wide)]
        layers += [nn.ReLU()]
        wide *= 2
    layers += [ResidualBlock(wide, norm) for _ in range(n_blocks)]
    for _ in range(downsamplings):
        transposed = nn.ConvTranspose2d(wide, wide // 2, 3, stride=2, padding=1, output_padding=1, bias=bias)
        layers += [upsampling_layer(upsampling, transposed, "reflect")]
        layers += [reference_norm(norm, wide // 2), nn.ReLU()]
        wide //= 2
    layers += [nn.ReflectionPad2d(border), nn.Conv2d(width, out_channels, end_kernel), nn.Tanh()]
    network = ResNet(nn.Sequential(*layers), 2**downsamplings)
    (he_init if norm == "none" else dcgan_init)(network)
    return network


def he_init(network: ResNet) -> None:
    """Weights of convolutions from N(0, 2/n) for n inputs, biases 0; in place. For a network without norms.

    An image then keeps its size on the way; after the weights of `dcgan_init`, only a norm brings it back. The last
    convolution of the network and of each block starts smaller, by 0.3, so that a block hardly changes its input.
    Source: He et al., "Delving Deep into Rectifiers", 2015, equation 10.
    """
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    for convolution in convolutions:
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
    blocks = [block for block in network.modules() if isinstance(block, ResidualBlock)]
    lasts = [convolutions[-1], *([m for m in block.modules() if isinstance(m, nn.Conv2d)][-1] for block in blocks)]
    with torch.no_grad():
        for last in lasts:
            last.weight.mul_(0.3)


resnet_9 = functools.partial(resnet, 9)
