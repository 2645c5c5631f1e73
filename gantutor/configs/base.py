"""What the configs of all experiments have in common, and what the live panel asks of them."""

import dataclasses
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from gantutor.batches import Batches
from gantutor.configs.settings import Setting, declared_settings
from gantutor.data import ready_sets
from gantutor.training import Run, devices, pick_device

TrainStep = Callable[..., dict[str, Any]]

SPEED_UP_NAMES = ("channels_last", "fused", "bf16", "compile", "graph")  # by name; what they do is on a floor above
SET_SPEED = "gantutor.scale.speed:set_speed"

# What is said of the fields that every config has; the first two also have `choices`.
STRATEGY: dict[str, Any] = {
    "label": "strategy",
    "help": "The training step: who is updated when, and on whose graph.",
    "live": True,
    "costs": True,
}
LOSS: dict[str, Any] = {"label": "loss", "help": "The adversarial loss.", "live": True, "costs": True}
SEED: dict[str, Any] = {"label": "seed", "help": "What all random draws begin from.", "between": (0, 2**31 - 1)}
DEVICE: dict[str, Any] = {
    "label": "device",
    "help": "Where to train; auto takes a GPU where there is one.",
    "choices": lambda: ("auto", *devices()),
    "width": 140,
}
SPEED: dict[str, Any] = {
    "label": "speed-ups",
    "help": "Speed-ups; gantutor/scale/speed.py says what each changes.",
    "choices": SPEED_UP_NAMES,
    "several": True,
    "live": True,
}


class Config:
    """The base of the frozen dataclasses that say what to train, on what, and how.

    Each field is a `setting`; the live ones can change between two steps of a run (`apply`), the others need a new
    start. STRATEGIES are the steps that `strategy` may name, SETS the data sets that `data` may; HALF_STEPS are the
    updates of one player alone, by name; `steps` is the length of the run that the config plans, 0 for one without an
    end.
    """

    STRATEGIES: ClassVar[Mapping[str, TrainStep]] = {}
    SETS: ClassVar[Mapping[str, Any]] = {}
    HALF_STEPS: ClassVar[dict[str, TrainStep]] = {}
    data: Any
    strategy: str
    loss: str
    batch_size: int
    z_dim: int = 0
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
        return self.SETS[self.data](device=str(pick_device(self.device))) if isinstance(self.data, str) else self.data

    def batches(self, data: Any, seed: int) -> Batches:
        """Batches of the data as the training step takes them."""
        return Batches(data, self.batch_size, self.z_dim, seed)

    def start(self, data: Any = None) -> Run:
        """Build the networks and the optimizers, and a run at step 0; `data` is what `load()` gives.

        The global random state is left alone. Raises: ValueError for images that the networks do not take.
        """
        raise NotImplementedError

    def apply(self, run: Run) -> None:
        """Make a run that `start` has made go on with this config's live fields from its next step on.

        Raises: ValueError for what needs a new start, and for a speed-up that cannot be used, with the reason.
        """
        pkgutil.resolve_name(SET_SPEED)(run, self.speed)

    def trial(self, data: Any) -> tuple[TrainStep, tuple[Any, ...]]:
        """A step and a batch to measure the step's cost with; no run's own."""
        return self.step, next(self.batches(data, seed=0))

    def controls(self) -> dict[str, Setting]:
        """The settings that a learner may choose, by name, in the order in which they stand in the panel.

        Of the data that have to be got first only those in use are offered: a click must not start a download.
        """
        shown = {name: about for name, about in declared_settings(self).items() if about.label}
        offered = (*ready_sets(self.SETS), self.data) if isinstance(self.data, str) else (self.data,)
        return {**shown, "data": dataclasses.replace(shown["data"], choices=tuple(dict.fromkeys(offered)))}

    @classmethod
    def live_fields(cls) -> tuple[str, ...]:
        """The names of the fields that can change between two steps."""
        return tuple(name for name, about in declared_settings(cls).items() if about.live)

    def recommended_for(self, data: Any) -> dict[str, Any]:
        """The fields that go with other data."""
        return {}

    def is_live(self, field: str, value: Any) -> bool:
        """Whether a run of this config can take over that value between two steps."""
        return field in self.live_fields()

    def chosen(self, **fields: Any) -> Self:
        """This config with what the controls say."""
        return self.replace(**fields)

    def progress(self, run: Run) -> str:
        """What is worth saying about how far the run is, besides its step."""
        return ""

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]
