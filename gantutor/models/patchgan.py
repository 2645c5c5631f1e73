"""The PatchGAN: a discriminator that gives each overlapping patch of an image a logit of its own.

It is nothing but a stack of convolutions; how large a patch is follows from their kernels and strides
(models/receptive_field.py).
Sources: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017, sections 3.2.2 and
6.1.2; and the reference implementation, whose parameter names these are (models/reference.py).
"""

from torch import Tensor, nn

from gantutor.models.dcgan import dcgan_init
from gantutor.models.layers import check_reference_norm, reference_bias, reference_norm

N_LAYERS = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}  # receptive field in pixels -> n_layers


class PatchGAN(nn.Module):
    """Images (B, C, H, W) -> logits (B, 1, h, w), one for each patch."""

    def __init__(self, in_channels: int, n_layers: int, width: int, norm: str) -> None:
        super().__init__()
        bias = reference_bias(norm)
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        before = width
        for layer in range(1, n_layers + 1):
            after = width * min(2**layer, 8)
            stride = 2 if layer < n_layers else 1
            layers += [nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=bias)]
            layers += [reference_norm(norm, after), nn.LeakyReLU(0.2)]
            before = after
        self.model = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, stride=1, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class PixelGAN(nn.Module):
    """Images (B, C, H, W) -> logits (B, 1, H, W): each pixel is judged by its colour alone."""

    def __init__(self, in_channels: int, width: int, norm: str) -> None:
        super().__init__()
        bias = reference_bias(norm)
        self.net = nn.Sequential(
            nn.Conv2d(in_channels, width, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width * 2, 1, bias=bias),
            reference_norm(norm, width * 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width * 2, 1, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def patchgan(in_channels: int = 6, n_layers: int = 3, width: int = 64, norm: str = "batch") -> PatchGAN | PixelGAN:
    """The discriminator of pix2pix (`in_channels` of A and B together) and of CycleGAN (of one domain).

    `n_layers` is the number of halvings: 3 gives the 70x70 patches of the papers, 0 judges single pixels; N_LAYERS has
    it by patch. `width` channels double with each layer up to 8 times. Weights start as `dcgan_init` says.
    Raises: ValueError for a negative `n_layers` or an unknown norm.
    """
    check_reference_norm(norm)
    if n_layers < 0:
        raise ValueError(f"n_layers must be at least 0, got {n_layers}")
    network = PatchGAN(in_channels, n_layers, width, norm) if n_layers else PixelGAN(in_channels, width, norm)
    dcgan_init(network)
    return network
