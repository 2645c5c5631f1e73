"""Data sets by name: densities in the plane that never run out, small images as one tensor, large ones through workers.

    data = load("digits")
    real = data.sample(64, generator)  # float32 (64, 1, 28, 28) in [-1, 1], on the data's device

Every set draws with replacement, from the `torch.Generator` that it is given and from nothing else: the same seed gives
the same samples, bit for bit on a CPU. The generator lives on the data's device.
"""

from collections.abc import Callable
from typing import Any

import torch

from gantutor.data.common import DataError
from gantutor.data.downloads import fashion_mnist, kmnist, mnist
from gantutor.data.images import Images
from gantutor.data.pictures import Folder, image_folder
from gantutor.data.points import Points, grid, moons, ring, spiral
from gantutor.data.uci_digits import digits

POINT_SETS: dict[str, Callable[..., Points]] = {"ring": ring, "grid": grid, "moons": moons, "spiral": spiral}

DATA: dict[str, Callable[..., Points | Images]] = {
    **POINT_SETS,
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "kmnist": kmnist,
}


def load(name: str, device: str | torch.device = "cpu", **options: Any) -> Points | Images:
    """The data set called `name`, on `device`; `options` are those of the function in DATA.

    Raises: ValueError for an unknown name or option value, with those that exist; DataError for missing or damaged
    files.
    """
    if name not in DATA:
        raise ValueError(
            f"data set {name!r} is unknown; choose one of {', '.join(DATA)}; "
            "image_folder(path) is for your own pictures"
        )
    return DATA[name](device=device, **options)


__all__ = ["DATA", "POINT_SETS", "DataError", "Folder", "Images", "Points", "image_folder", "load"]
