"""Multilayer perceptrons: one for points in the plane, and the one of the classic tutorials for small images."""

import math
from collections.abc import Sequence

from torch import nn

from gantutor.models.layers import apply_spectral_norm, check_norms, norm_layer


def mlp_points(
    shape: Sequence[int] = (2,), z_dim: int = 2, width: int = 64, norm_G: str = "none", norm_D: str = "none"
) -> tuple[nn.Sequential, nn.Sequential]:
    """G: z (B, z_dim) -> points (B, 2). D: points -> logits (B, 1). Two hidden layers each, ReLU and LeakyReLU.

    `shape` is the shape of one point; a value in 1-D is shape (1,).
    Raises: ValueError for images, or an unknown norm.
    """
    check_norms(norm_G, norm_D)
    if len(shape) != 1:
        raise ValueError(f"points have a shape such as (2,); the data has {tuple(shape)}")
    (dims,) = shape
    G = nn.Sequential(
        nn.Linear(z_dim, width), *norm_layer(norm_G, width, 1), nn.ReLU(),
        nn.Linear(width, width), *norm_layer(norm_G, width, 1), nn.ReLU(),
        nn.Linear(width, dims),
    )  # fmt: skip
    D = nn.Sequential(
        nn.Linear(dims, width), nn.LeakyReLU(0.2),
        nn.Linear(width, width), *norm_layer(norm_D, width, 1), nn.LeakyReLU(0.2),
        nn.Linear(width, 1),
    )  # fmt: skip
    if norm_D == "spectral":
        apply_spectral_norm(D)
    return G, D


def mlp_classic(
    shape: Sequence[int] = (1, 28, 28),
    z_dim: int = 100,
    norm_G: str = "batch",
    norm_D: str = "none",
    eps: float = 1e-5,
) -> tuple[nn.Sequential, nn.Sequential]:
    """The fully connected GAN of the classic tutorials: G 128-256-512-1024, D 512-256, images of any `shape` (C, H, W).

    `eps` is that of G's BatchNorm. The tutorials write `BatchNorm1d(n, 0.8)` and mean a momentum; the second positional
    argument is eps, so `eps=0.8` gives their networks, and the default gives what they meant to build.
    """
    check_norms(norm_G, norm_D)
    pixels = math.prod(shape)

    layers: list[nn.Module] = [nn.Linear(z_dim, 128), nn.LeakyReLU(0.2)]
    for before, after in ((128, 256), (256, 512), (512, 1024)):
        layers += [nn.Linear(before, after), *norm_layer(norm_G, after, 1), nn.LeakyReLU(0.2)]
    G = nn.Sequential(*layers, nn.Linear(1024, pixels), nn.Tanh(), nn.Unflatten(1, tuple(shape)))
    for layer in G:
        if isinstance(layer, nn.BatchNorm1d):
            layer.eps = eps

    D = nn.Sequential(
        nn.Flatten(),
        nn.Linear(pixels, 512), nn.LeakyReLU(0.2),
        nn.Linear(512, 256), *norm_layer(norm_D, 256, 1), nn.LeakyReLU(0.2),
        nn.Linear(256, 1),
    )  # fmt: skip
    if norm_D == "spectral":
        apply_spectral_norm(D)
    return G, D
