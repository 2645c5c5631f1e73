"""The DCGAN: convolutions all the way, for images of 28, 32 or 64 pixels.

Source: Radford et al., "Unsupervised Representation Learning with Deep Convolutional GANs", 2016, section 3.
"""

from collections.abc import Sequence

from torch import nn

from gantutor.models.layers import apply_spectral_norm, check_norms, norm_layer

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
