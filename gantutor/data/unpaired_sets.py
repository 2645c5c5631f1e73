"""The embedded unpaired sets: drawn on first use from a seed, kept in a cache; their true translation is known."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from gantutor.data import fruit, horses, maps, seasons
from gantutor.data.common import check_choice, check_positive, usable_device
from gantutor.data.scenes import channels_first, scenes
from gantutor.data.unpaired import Unpaired

UNPAIRED_SIZES = (48, 64, 128, 256)
TRAIN, TEST = 400, 60  # of each domain

# Draws the images (size, size, 3) of one scene in the domains that are asked for, of 0 and 1.
DomainDrawer = Callable[[np.random.Generator, int, Sequence[int]], tuple[Any, ...]]


def horse2zebra_mini(device: str | torch.device = "cpu", **options: Any) -> Unpaired:
    """Horses and zebras, drawn; options as in `drawn_unpaired`."""
    domains = ("horse", "zebra")
    return drawn_unpaired("horse2zebra_mini", horses.draw_horses, horses.__file__, domains, device, **options)


def summer2winter_mini(device: str | torch.device = "cpu", **options: Any) -> Unpaired:
    """Landscapes in summer and in winter, drawn; options as in `drawn_unpaired`."""
    domains = ("summer", "winter")
    return drawn_unpaired("summer2winter_mini", seasons.draw_season, seasons.__file__, domains, device, **options)


def apple2orange_mini(device: str | torch.device = "cpu", **options: Any) -> Unpaired:
    """Apples and oranges, drawn; options as in `drawn_unpaired`."""
    domains = ("apple", "orange")
    return drawn_unpaired("apple2orange_mini", fruit.draw_fruit, fruit.__file__, domains, device, **options)


def unpaired_maps_mini(device: str | torch.device = "cpu", **options: Any) -> Unpaired:
    """Aerial views of some towns and street maps of others, drawn; options as in `drawn_unpaired`."""
    return drawn_unpaired("maps_mini", draw_map_domains, maps.__file__, ("aerial", "map"), device, **options)


def draw_map_domains(rng: np.random.Generator, size: int, domains: Sequence[int]) -> tuple[Any, ...]:
    _, *pictures = maps.draw_map(rng, size)
    return tuple(pictures[domain] for domain in domains)


def drawn_unpaired(
    name: str,
    draw: DomainDrawer,
    source: str,
    domains: tuple[str, str],
    device: str | torch.device,
    size: int = 48,
    number: int = TRAIN,
    seed: int = 0,
    flip: bool = True,
    jitter: bool = False,
) -> Unpaired:
    """`number` training images of each domain, of scenes that the other domain does not have, and 60 test pairs.

    48, 64, 128 or 256 pixels high and wide; another size shows the same scenes.
    Raises: ValueError for another size or a number below 1.
    """
    check_choice("size", size, UNPAIRED_SIZES)
    check_positive("number", number)
    device = usable_device(device)
    parts = []
    for stream, wanted, count in (("train", (0,), number), ("other half", (1,), number), ("test", (0, 1), TEST)):
        drawer = partial(draw_domains, draw=draw, domains=wanted)
        kept_as = f"unpaired-{name}"  # not the file of the paired set that may have this name
        parts += scenes(kept_as, drawer, [source], stream, size, count, seed)
    A, B, test_A, test_B = (channels_first(pictures).to(device) for pictures in parts)
    return Unpaired(name, A, B, test_A, test_B, domains, has_truth=True, flip=flip, jitter=jitter)


def draw_domains(rng: np.random.Generator, size: int, draw: DomainDrawer, domains: Sequence[int]) -> tuple[Any, ...]:
    return draw(rng, size, domains)
