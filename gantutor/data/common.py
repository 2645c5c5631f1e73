"""What all data sets share: their error, where their files are, and the checks of what they are asked for."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent

Data = TypeVar("Data")


class DataError(Exception):
    """A data file is missing, damaged or cannot be had; the message says which one and what to do."""


@dataclass(frozen=True)
class NamedSet(Generic[Data]):
    """A data set that has a name: `load` makes it, and a call does the same.

    `needs` says what has to be got before it can be loaded: "download", or "" for nothing, since the set is embedded
    or drawn here.
    """

    load: Callable[..., Data]
    needs: str = ""

    def __call__(self, **options: Any) -> Data:
        return self.load(**options)


def ready_sets(sets: Mapping[str, NamedSet[Any]]) -> list[str]:
    """The names of the sets that need nothing: a click on one of them starts no download."""
    return [name for name, named in sets.items() if not named.needs]


def embedded_file(name: str) -> Path:
    """Where an embedded data file is: in data/ in a checkout, inside the package where it was installed from a wheel.

    Raises: DataError where it is in neither.
    """
    if in_checkout() and (CHECKOUT / "data" / name).is_file():
        return CHECKOUT / "data" / name
    if (PACKAGE / "_data" / name).is_file():
        return PACKAGE / "_data" / name
    raise DataError(f"{embedded_folder() / name} is missing. {how_to_restore(name)}")


def embedded_folder() -> Path:
    return CHECKOUT / "data" if in_checkout() else PACKAGE / "_data"


def how_to_restore(name: str) -> str:
    """The sentence that ends the error about an embedded file."""
    if not in_checkout():
        return "It is part of gantutor: install it again."
    return f"Get it again: git checkout data/{name} (README.md says what made it)"


def downloads_folder() -> Path:
    """Where downloads go: $GANTUTOR_DATA, else data/downloads in a checkout, else the user's cache folder."""
    if os.environ.get("GANTUTOR_DATA"):
        return Path(os.environ["GANTUTOR_DATA"]).expanduser()
    if in_checkout():
        return CHECKOUT / "data" / "downloads"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gantutor"


def in_checkout() -> bool:
    return (CHECKOUT / "pyproject.toml").is_file()


def check_draw(n: int, generator: torch.Generator, device: torch.device) -> None:
    """What `sample(n, generator)` can be asked for.

    Raises: ValueError for n < 1 or a generator on another device; TypeError for what is neither.
    """
    check_positive("n", n)
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"expected a torch.Generator on {device}, got {type(generator).__name__}")
    if not same_device(generator.device, device):
        raise ValueError(
            f"the generator is on {generator.device}, the data on {device}; use torch.Generator({str(device)!r})"
        )


def check_positive(name: str, value: int) -> None:
    """Raises: TypeError for what is not a whole number, ValueError for one below 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: expected a whole number, got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name}={value}: expected at least 1")


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raises: ValueError with the choices that exist."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(map(repr, choices))}")


def usable_device(device: str | torch.device) -> torch.device:
    """The device with its index, as a tensor there reports it ("cuda" -> "cuda:0").

    Raises: ValueError for a device that this machine does not have.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch's own message can be sixty lines long
        raise ValueError(f"device={str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from None


def same_device(a: torch.device, b: torch.device) -> bool:
    """Whether both name one device; "cuda" without an index is any of them."""
    return a.type == b.type and (a.index is None or b.index is None or a.index == b.index)


def usable_cpus() -> int:
    """How many cores this process may use; its affinity can leave it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
