"""The normalisations a network can be built with, by name."""

import math

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

NORMS_G = ("batch", "instance", "group", "layer", "none")
NORMS_D = (*NORMS_G, "spectral")


def check_norms(norm_G: str, norm_D: str) -> None:
    """Raises: ValueError for an unknown name, with the names that exist."""
    if norm_G not in NORMS_G:
        raise ValueError(f"norm_G={norm_G!r} is unknown; choose one of {', '.join(NORMS_G)}")
    if norm_D not in NORMS_D:
        raise ValueError(f"norm_D={norm_D!r} is unknown; choose one of {', '.join(NORMS_D)}")


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
