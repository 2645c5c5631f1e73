"""Data sets by name: densities in the plane that never run out, small images as one tensor, large ones through workers.

    data = load("digits")
    real = data.sample(64, generator)  # float32 (64, 1, 28, 28) in [-1, 1], on the data's device

Every set draws with replacement, from the `torch.Generator` that it is given and from nothing else: the same seed gives
the same samples, bit for bit on a CPU. The generator lives on the data's device.

For image-to-image translation there are pairs, A the input and B the target, and domains without pairs:

    A, B = load_pairs("emoji_flat").sample(4, generator)  # each float32 (4, 3, 64, 64) in [-1, 1]
    A, B = load_unpaired("emoji").sample(4, generator)  # each float32 (4, 3, 64, 64): A[i] is not B[i]'s
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from gantutor.data.common import DataError, NamedSet, ready_sets
from gantutor.data.downloads import fashion_mnist, kmnist, mnist
from gantutor.data.emoji import emoji_flat, emoji_palette, emoji_sketch, emoji_unpaired
from gantutor.data.images import Images, digits
from gantutor.data.official import CYCLEGAN, PIX2PIX, official_pairs, official_unpaired
from gantutor.data.own_images import Folder, image_folder, paired_folder, unpaired_folders
from gantutor.data.pairs import Label, Pairs, Unpaired
from gantutor.data.points import Points, grid, moons, ring, spiral
from gantutor.data.procedural import facades_mini, maps_mini, unpaired_maps_mini

POINT_SETS: dict[str, Callable[..., Points]] = {"ring": ring, "grid": grid, "moons": moons, "spiral": spiral}

DATA: dict[str, NamedSet[Points | Images]] = {
    **{name: NamedSet(points) for name, points in POINT_SETS.items()},
    "digits": NamedSet(digits),
    "mnist": NamedSet(mnist, "download"),
    "fashion_mnist": NamedSet(fashion_mnist, "download"),
    "kmnist": NamedSet(kmnist, "download"),
}

PAIRED: dict[str, NamedSet[Pairs]] = {
    "emoji_flat": NamedSet(emoji_flat),
    "emoji_sketch": NamedSet(emoji_sketch),
    "emoji_palette": NamedSet(emoji_palette),
    "facades_mini": NamedSet(facades_mini),
    "maps_mini": NamedSet(maps_mini),
    **{name: NamedSet(partial(official_pairs, name), "download") for name in PIX2PIX},
}

UNPAIRED: dict[str, NamedSet[Unpaired]] = {
    "emoji": NamedSet(emoji_unpaired),
    "maps_mini": NamedSet(unpaired_maps_mini),
    **{name: NamedSet(partial(official_unpaired, name), "download") for name in CYCLEGAN},
}


def load(name: str, device: str | torch.device = "cpu", **options: Any) -> Points | Images:
    """The data set called `name`, on `device`; `options` are those of the function in DATA.

    Raises: ValueError for an unknown name or option value, with those that exist; DataError for missing or damaged
    files.
    """
    check_name("data set", name, DATA, "image_folder(path)")
    return DATA[name](device=device, **options)


def load_pairs(name: str, device: str | torch.device = "cpu", **options: Any) -> Pairs:
    """The paired set called `name`, on `device`; `options` are those of the function in PAIRED.

    Raises: ValueError for an unknown name or option value, with those that exist; DataError for missing or damaged
    files.
    """
    check_name("paired set", name, PAIRED, "paired_folder(path)")
    return PAIRED[name](device=device, **options)


def load_unpaired(name: str, device: str | torch.device = "cpu", **options: Any) -> Unpaired:
    """The unpaired set called `name`, on `device`; `options` are those of the function in UNPAIRED.

    Raises: ValueError for an unknown name or option value, with those that exist; DataError for missing or damaged
    files.
    """
    check_name("unpaired set", name, UNPAIRED, "unpaired_folders(path_A, path_B)")
    return UNPAIRED[name](device=device, **options)


def check_name(what: str, name: str, names: Iterable[str], folder_reader: str) -> None:
    """Raises: ValueError with the names that exist, and what is there for one's own images."""
    if name not in names:
        raise ValueError(
            f"{what} {name!r} is unknown; choose one of {', '.join(names)}; {folder_reader} is for your own images"
        )


__all__ = [
    "DATA",
    "PAIRED",
    "POINT_SETS",
    "UNPAIRED",
    "DataError",
    "Folder",
    "Images",
    "Label",
    "NamedSet",
    "Pairs",
    "Points",
    "Unpaired",
    "image_folder",
    "load",
    "load_pairs",
    "load_unpaired",
    "paired_folder",
    "ready_sets",
    "unpaired_folders",
]
