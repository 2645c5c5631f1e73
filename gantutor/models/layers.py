"""The layers that networks are built of: norms by name, virtual batch normalisation, what the image networks share."""

import copy
import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import spectral_norm

NORMS_G = ("batch", "instance", "group", "layer", "none")
NORMS_D = (*NORMS_G, "spectral")


def check_norms(norm_G: str, norm_D: str) -> None:
    """Raises: ValueError for an unknown name, with the names that exist."""
    check_name("norm_G", norm_G, NORMS_G)
    check_name("norm_D", norm_D, NORMS_D)


def check_name(what: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise ValueError(f"{what}={name!r} is unknown; choose one of {', '.join(names)}")


def norm_layer(norm: str, features: int, dims: int) -> list[nn.Module]:
    """The layers that normalise `features` channels of (B, C) data (dims 1) or (B, C, H, W) data (dims 2).

    A list, so that it can be spliced into nn.Sequential: empty for "none", and for "spectral", which is a property of
    the weights (see `apply_spectral_norm`). "group" takes 8 groups (fewer where 8 does not divide the channels),
    "layer" one; "instance" has affine weights as the others. On (B, C) data a channel is a single number, which
    "instance" would normalise to 0: it is refused.
    """
    if norm == "batch":
        return [nn.BatchNorm1d(features) if dims == 1 else nn.BatchNorm2d(features)]
    if norm == "instance":
        if dims == 1:
            raise ValueError("instance norm needs images: it would turn each of an MLP's features into 0")
        return [nn.InstanceNorm2d(features, affine=True)]
    if norm == "group":
        return [nn.GroupNorm(math.gcd(8, features), features)]
    if norm == "layer":
        return [nn.GroupNorm(1, features)]
    return []


def apply_spectral_norm(D: nn.Module) -> None:
    """Divide each weight of `D` by its largest singular value, in place, from now on; call it after initialisation.

    Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018.
    """
    for module in list(D.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d):
            spectral_norm(module)


class VirtualBatchNorm(nn.Module):
    """Normalises each sample with the mean and variance of the reference batch *and itself*, per channel.

    The input is (R + B, C, ...), its first R = `references` entries being the reference batch, normalised with
    its own statistics. `weight` and `bias` are those of the BatchNorm that it replaces; nothing is tracked.
    Source: Salimans et al., "Improved Techniques for Training GANs", 2016, section 3.5.
    """

    def __init__(self, batchnorm: _BatchNorm, references: int) -> None:
        super().__init__()
        self.weight, self.bias, self.eps, self.references = batchnorm.weight, batchnorm.bias, batchnorm.eps, references

    def forward(self, x: Tensor) -> Tensor:
        positions = tuple(range(2, x.dim()))  # of (R + B, C, H, W) or (R + B, C)
        mean, square = (x.mean(positions), x.square().mean(positions)) if positions else (x, x.square())
        together = self.references + 1
        own_weight = torch.full((len(x), 1), 1 / together, dtype=x.dtype, device=x.device)
        own_weight[: self.references] = 0
        mean = own_weight * mean + (1 - own_weight) * mean[: self.references].mean(0)
        square = own_weight * square + (1 - own_weight) * square[: self.references].mean(0)
        variance = (square - mean.square()).clamp(min=0)
        shape = (*mean.shape, *[1] * len(positions))
        normal = (x - mean.view(shape)) / (variance + self.eps).sqrt().view(shape)
        channels = (1, -1, *[1] * len(positions))
        return normal * self.weight.view(channels) + self.bias.view(channels)


class WithReference(nn.Module):
    """A network that takes its reference batch along at every forward, and returns the outputs of the others."""

    def __init__(self, network: nn.Module, reference: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("reference", reference)

    def forward(self, x: Tensor) -> Tensor:
        reference = self.get_buffer("reference")
        return self.network(torch.cat([reference, x]))[len(reference) :]


def virtual_batchnorm(network: nn.Module, reference: Tensor) -> WithReference:
    """A copy of a network's structure in which each BatchNorm is virtual, with `reference` (R, ...) as its batch.

    Every score then depends on its own image and on the reference alone. The price is a forward of R more images at
    each call. The parameters are those of `network` itself, so an optimizer that holds them moves both.
    Raises: ValueError for a network without BatchNorm with weights, or a reference of fewer than 2.
    """
    if len(reference) < 2:
        raise ValueError(f"a reference batch needs at least 2 samples, got {len(reference)}")
    network = copy.deepcopy(network, {id(parameter): parameter for parameter in network.parameters()})
    replaced = 0
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm) and child.affine:
                setattr(parent, name, VirtualBatchNorm(child, len(reference)))
                replaced += 1
    if not replaced:
        raise ValueError(f"{type(network).__name__} has no BatchNorm with weights below it to make virtual")
    return WithReference(network, reference)


# As the reference implementation has them: github.com/junyanz/pytorch-CycleGAN-and-pix2pix, models/networks.py --------

REFERENCE_NORMS = ("batch", "instance", "none")


class ImageNetwork(nn.Module):
    """A (B, C, H, W) -> B (B, C', H, W) in [-1, 1]; H and W are multiples of `multiple`.

    Raises: ValueError for another size.
    """

    def __init__(self, model: nn.Module, multiple: int) -> None:
        super().__init__()
        self.model, self.multiple = model, multiple

    def forward(self, A: Tensor) -> Tensor:
        if A.dim() != 4 or A.shape[2] % self.multiple or A.shape[3] % self.multiple:
            expected = f"images (B, C, H, W) with H and W multiples of {self.multiple}"
            raise ValueError(f"this {type(self).__name__} takes {expected}, got {tuple(A.shape)}")
        return self.model(A)


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
    check_name("upsampling", upsampling, ("transposed", "nearest"))
    if upsampling == "transposed":
        return transposed
    before, after, bias = transposed.in_channels, transposed.out_channels, transposed.bias is not None
    smooth = nn.Conv2d(before, after, 3, padding=1, bias=bias, padding_mode=padding_mode)
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), smooth)
