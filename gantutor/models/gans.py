"""Pairs of G and D: perceptrons for points and for the small images of the classic tutorials, and the DCGAN."""

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


FIRST_MAPS = {28: (7, 2), 32: (4, 3), 64: (4, 4)}  # size -> (side of the first feature map, number of doublings)


def dcgan(
    shape: Sequence[int] = (1, 28, 28),
    z_dim: int = 64,
    width_G: int = 32,
    width_D: int = 16,
    norm_G: str = "batch",
    norm_D: str = "batch",
) -> tuple[nn.Sequential, nn.Sequential]:
    """G: z (B, z_dim) -> images (B, C, H, H) in [-1, 1]. D: images -> logits (B, 1).

    `width_G` and `width_D` are the channels at half the image's side; each further halving doubles them.
    `shape=(3, 64, 64), z_dim=100, width_G=64, width_D=64` gives the networks of PyTorch's DCGAN example. As in the
    paper there is no norm on G's output and on D's first layer. Weights start as `dcgan_init` says.
    Raises: ValueError for another size or an unknown norm.
    Source: Radford et al., "Unsupervised Representation Learning with Deep Convolutional GANs", 2016, section 3.
    """
    check_norms(norm_G, norm_D)
    if len(shape) != 3 or shape[1] != shape[2] or shape[2] not in FIRST_MAPS:
        sides = ", ".join(map(str, FIRST_MAPS))
        raise ValueError(f"DCGAN draws images (C, H, H) with H one of {sides}; the data has shape {tuple(shape)}")
    channels, side = shape[0], shape[2]
    first, doublings = FIRST_MAPS[side]

    wide = width_G * 2 ** (doublings - 1)
    g: list[nn.Module] = [nn.Unflatten(1, (z_dim, 1, 1)), nn.ConvTranspose2d(z_dim, wide, first, bias=norm_G == "none")]
    for _ in range(doublings - 1):
        g += [*norm_layer(norm_G, wide, 2), nn.ReLU()]
        g += [nn.ConvTranspose2d(wide, wide // 2, 4, stride=2, padding=1, bias=norm_G == "none")]
        wide //= 2
    g += [
        *norm_layer(norm_G, wide, 2),
        nn.ReLU(),
        nn.ConvTranspose2d(wide, channels, 4, stride=2, padding=1),
        nn.Tanh(),
    ]

    wide = width_D
    d: list[nn.Module] = [nn.Conv2d(channels, wide, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    for _ in range(doublings - 1):
        has_bias = norm_D in ("none", "spectral")
        d += [nn.Conv2d(wide, wide * 2, 4, stride=2, padding=1, bias=has_bias)]
        d += [*norm_layer(norm_D, wide * 2, 2), nn.LeakyReLU(0.2)]
        wide *= 2
    d += [nn.Conv2d(wide, 1, first), nn.Flatten()]

    G, D = nn.Sequential(*g), nn.Sequential(*d)
    dcgan_init(G)
    dcgan_init(D)
    if norm_D == "spectral":
        apply_spectral_norm(D)
    return G, D


def dcgan_init(network: nn.Module) -> None:
    """Weights of convolutions from N(0, 0.02²), of BatchNorm from N(1, 0.02²), biases of both 0; in place.

    Source: Radford et al., 2016, section 4 (BatchNorm's from the authors' code).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
