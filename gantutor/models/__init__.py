"""Networks. `MODELS` maps a name to a function that builds a pair: G takes z (B, z_dim), D returns logits (B, 1)."""

from collections.abc import Callable

from torch import nn

from gantutor.models.dcgan import dcgan, dcgan_init
from gantutor.models.mlp import mlp_classic, mlp_points
from gantutor.models.norms import NORMS_D, NORMS_G

MODELS: dict[str, Callable[..., tuple[nn.Sequential, nn.Sequential]]] = {
    "points": mlp_points,
    "classic": mlp_classic,
    "dcgan": dcgan,
}

__all__ = ["MODELS", "NORMS_D", "NORMS_G", "dcgan", "dcgan_init", "mlp_classic", "mlp_points"]
