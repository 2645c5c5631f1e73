"""What a panel may offer of a config: a control for each field that a learner chooses, `width` CSS pixels wide."""

from dataclasses import dataclass
from typing import Any

from gantutor.speed import SPEED_UPS


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    field: str
    label: str
    options: tuple[Any, ...]
    width: int = 190


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`, typed in, or pulled along as a `slider`."""

    field: str
    label: str
    low: int
    high: int
    slider: bool = False
    width: int = 190


@dataclass(frozen=True)
class Weight:
    """A number from `low` to `high`, in steps."""

    field: str
    label: str
    low: float
    high: float
    step: float
    width: int = 190


@dataclass(frozen=True)
class Rate:
    """A positive number on a logarithmic scale, from 10**low to 10**high."""

    field: str
    label: str
    low: int = -5
    high: int = -1
    width: int = 190


@dataclass(frozen=True)
class SpeedUps:
    """Some of several values, a tuple of them."""

    field: str
    label: str
    options: tuple[str, ...]


Control = Choice | Whole | Weight | Rate | SpeedUps
SEED = Whole("seed", "seed", 0, 2**31 - 1)
SPEED = SpeedUps("speed", "speed-ups", tuple(SPEED_UPS))
