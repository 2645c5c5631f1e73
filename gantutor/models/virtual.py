"""Virtual batch normalisation: BatchNorm whose statistics come from a batch that never changes."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


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
