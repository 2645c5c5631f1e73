"""Data sets by name: densities in the plane that never run out, small images as one tensor, large ones in their files.

    data = load("digits")
    real = data.sample(64, generator)  # float32 (64, 1, 28, 28) in [-1, 1], on the data's device

Every set draws with replacement, from the `torch.Generator` that it is given and from nothing else: the same seed gives
the same samples, bit for bit on a CPU. The generator lives on the data's device.

For image-to-image translation there are pairs, A the input and B the target, and domains without pairs:

    A, B = load_pairs("emoji_flat").sample(4, generator)  # each float32 (4, 3, 64, 64) in [-1, 1]
    A, B = load_unpaired("emoji").sample(4, generator)  # each float32 (4, 3, 64, 64): A[i] is not B[i]'s
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch

from gantutor.data.common import DataError
from gantutor.data.downloads import CYCLEGAN, MNIST, PIX2PIX, official_pairs, official_unpaired, torchvision_set
from gantutor.data.embedded import digits, emoji_pairs, emoji_unpaired, maps_mini
from gantutor.data.images import Images, Label, Pairs, Unpaired
from gantutor.data.own_images import Folder, image_folder, paired_folder, unpaired_folders
from gantutor.data.points import Points, drawn, grid, moons, ring, spiral

POINT_SETS: dict[str, Callable[..., Points]] = {"ring": ring, "grid": grid, "moons": moons, "spiral": spiral}

DATA: dict[str, Callable[..., Points | Images]] = {
    **POINT_SETS,
    "digits": digits,
    **{name: partial(torchvision_set, name) for name in MNIST},
}

PAIRED: dict[str, Callable[..., Pairs]] = {
    **{f"emoji_{style}": partial(emoji_pairs, style) for style in ("flat", "sketch", "palette")},
    "maps_mini": maps_mini,
    **{name: partial(official_pairs, name) for name in PIX2PIX},
}

UNPAIRED: dict[str, Callable[..., Unpaired]] = {
    "emoji": emoji_unpaired,
    **{name: partial(official_unpaired, name) for name in CYCLEGAN},
}

DOWNLOADED = {*MNIST, *PIX2PIX, *CYCLEGAN}  # the others are embedded or drawn here
Data = TypeVar("Data")


def ready_sets(sets: Iterable[str]) -> list[str]:
    """The names of the sets that need nothing: a click on one of them starts no download."""
    return [name for name in sets if name not in DOWNLOADED]


def load(name: str, device: str | torch.device = "cpu", **options: Any) -> Points | Images:
    """The data set called `name`, on `device`; `options` are those of the function in DATA.

    Raises: ValueError for an unknown name or option value, with those that exist; DataError for missing or damaged
    files.
    """
    return named_set("data set", name, DATA, "image_folder(path)")(device=device, **options)


def load_pairs(name: str, device: str | torch.device = "cpu", **options: Any) -> Pairs:
    """The paired set called `name`, on `device`; `options` are those of the function in PAIRED.

    Raises: as `load`.
    """
    return named_set("paired set", name, PAIRED, "paired_folder(path)")(device=device, **options)


def load_unpaired(name: str, device: str | torch.device = "cpu", **options: Any) -> Unpaired:
    """The unpaired set called `name`, on `device`; `options` are those of the function in UNPAIRED.

    Raises: as `load`.
    """
    return named_set("unpaired set", name, UNPAIRED, "unpaired_folders(path_A, path_B)")(device=device, **options)


def named_set(what: str, name: str, sets: Mapping[str, Callable[..., Data]], folder_reader: str) -> Callable[..., Data]:
    """Raises: ValueError with the names that exist, and what is there for one's own images."""
    if name not in sets:
        raise ValueError(
            f"{what} {name!r} is unknown; choose one of {', '.join(sets)}; {folder_reader} is for your own images"
        )
    return sets[name]
