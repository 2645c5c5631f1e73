"""What the configs of all experiments have in common, and what the live panel asks of them."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self

from gantutor.configs.controls import Control
from gantutor.speed import SPEED_UPS
from gantutor.training import Run, pick_device

TrainStep = Callable[..., dict[str, Any]]


class Config:
    """The base of the frozen dataclasses that say what to train, on what, and how.

    The fields in LIVE can change between two steps of a run (`apply`), the others need a new start. COSTS are those
    that the cost of a step depends on, besides `strategy`; HALF_STEPS the updates of one player alone, by name;
    `steps` is the length of the run that the config plans, 0 for one without an end; `speed` names the speed-ups that
    it uses, of gantutor.speed.SPEED_UPS. STRATEGIES are the steps that `strategy` may name.
    """

    STRATEGIES: ClassVar[Mapping[str, TrainStep]] = {}
    LIVE: ClassVar[tuple[str, ...]] = ()
    COSTS: ClassVar[tuple[str, ...]] = ()
    HALF_STEPS: ClassVar[dict[str, TrainStep]] = {}
    data: Any
    strategy: str
    device: str
    seed: int
    steps: int = 0
    speed: tuple[str, ...] = ()

    @property
    def step(self) -> TrainStep:
        """The training step that `strategy` names."""
        return self.STRATEGIES[self.strategy]

    def load(self) -> Any:
        """The data set, on the device."""
        return self.named_data(str(pick_device(self.device))) if isinstance(self.data, str) else self.data

    def named_data(self, device: str) -> Any:
        """The data set whose name `data` is."""
        raise NotImplementedError

    def start(self, data: Any = None) -> Run:
        """Build the networks and the optimizers, and a run at step 0; `data` is what `load()` gives."""
        raise NotImplementedError

    def apply(self, run: Run) -> None:
        """Make a run that `start` has made go on with this config's LIVE fields from its next step on."""
        raise NotImplementedError

    def trial(self, data: Any) -> tuple[TrainStep, tuple[Any, ...]]:
        """A step and a batch to measure the step's cost with; no run's own."""
        raise NotImplementedError

    def controls(self) -> tuple[Control, ...]:
        """The fields that a learner may choose, in the order in which they stand in the panel."""
        raise NotImplementedError

    def recommended_for(self, data: Any) -> dict[str, Any]:
        """The fields that go with other data."""
        return {}

    def is_live(self, field: str, value: Any) -> bool:
        """Whether a run of this config can take over that value between two steps."""
        return field in self.LIVE

    def chosen(self, **fields: Any) -> Self:
        """This config with what the controls say."""
        return self.replace(**fields)

    def progress(self, run: Run) -> str:
        """What is worth saying about how far the run is, besides its step."""
        return ""

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


def check_names(config: Any, choices: dict[str, Iterable[Any]]) -> None:
    """Raises: ValueError for a field whose value is none of its choices, with those that exist."""
    for name, valid in choices.items():
        if getattr(config, name) not in valid:
            listed = ", ".join(map(str, valid))
            raise ValueError(f"{name}={getattr(config, name)!r} is unknown; choose one of {listed}")


def check_whole(config: Any, lowest: dict[str, int]) -> None:
    """Raises: ValueError for a field that is not a whole number, or below its lowest."""
    for name, low in lowest.items():
        if not isinstance(getattr(config, name), int) or getattr(config, name) < low:
            raise ValueError(f"{name} must be a whole number of at least {low}, got {getattr(config, name)!r}")


def order_speed_ups(config: Any) -> None:
    """Put the config's `speed` in the order of SPEED_UPS. Raises: ValueError for a name that is none of them."""
    names = config.speed
    if isinstance(names, str) or not all(name in SPEED_UPS for name in names):
        raise ValueError(f"speed={names!r} holds an unknown name; choose some of {', '.join(SPEED_UPS)}")
    object.__setattr__(config, "speed", tuple(name for name in SPEED_UPS if name in names))


def check_finite(config: Any, *names: str) -> None:
    """Raises: ValueError for a field that is not a finite number of at least 0."""
    for name in names:
        if not 0 <= getattr(config, name) < math.inf:
            raise ValueError(f"{name} must be a finite number of at least 0, got {getattr(config, name)!r}")
