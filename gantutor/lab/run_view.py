"""A run view of the panel: one experiment with its run, its controls and what it looks like."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch.optim import Optimizer

from gantutor.configs import Config
from gantutor.configs.base import TrainStep
from gantutor.lab.controls import Controls, choice_name
from gantutor.lab.costmeter import CostMeter
from gantutor.lab.messages import say
from gantutor.lab.recording import Take
from gantutor.lab.stream import Frame
from gantutor.model_state import load_state, model_state, optimizers, parameters_of
from gantutor.scale.speed import check_speed
from gantutor.training import DivergedError, Run
from gantutor.views import View, views_of


class RunView:
    """One experiment: its run, its controls, its views, and `marks`, the steps after which a setting changed.

    A change is on trial until a step was taken with it: if that step raises, the run goes on as it was.
    """

    def __init__(self, config: Config, label: str, cost_meter: bool = False, speed_ups: bool = False) -> None:
        self.config, self.label = config, label
        self.meter = CostMeter() if cost_meter else None
        self.controls = Controls(config, speed_ups)
        self.data: Any = None
        self.restart(config, *self.prepare(config))

    def prepare(self, config: Config) -> tuple[Any, Run]:
        """The data and a new run for `restart`; nothing has changed yet, should this raise."""
        same = self.data is not None and (config.data, config.device) == (self.config.data, self.config.device)
        data = self.data if same else config.load()
        return data, config.start(data)

    def restart(self, config: Config, data: Any, run: Run) -> None:
        """Go over to that run."""
        self.config, self.data, self.run = config, data, run
        self.look = views_of(config, data)
        self.marks: list[tuple[int, str]] = []
        self.phases: list[Phase] = []  # of the last step, if it was taken slowly
        self._trial: tuple[Config, str, Any] | None = None  # the config before, the field, the state before
        if self.meter is not None:
            self.meter.restart()

    def views(self, since: int = 0) -> list[View]:
        """What the run looks like now, with its curves from step `since` on."""
        return self.look(self.run, self.config, since)

    def record(self, config: Config, steps: int, frames: int) -> Take:
        """A run of that config, recorded from its start on, in about so many frames."""
        data, run = self.prepare(config)
        look, kept, every, error = views_of(config, data), [], -(-steps // frames), ""
        values = [self.controls.encode(config)]
        try:
            for t in range(steps + 1):
                if t > 0:
                    run.step()
                if t % every == 0 or t == steps:
                    line = say("line_step", step=t)
                    kept.append(Frame(t, [look(run, config, t)], [run.history], [t], line, values=values))
        except DivergedError as stopped:
            error = f"DivergedError: {stopped}"
        return Take(kept, error=error)

    def follow(self, step: TrainStep | None = None) -> None:
        """Let the cost meter, if there is one, know how far the run is, and that `step` comes next."""
        if self.meter is not None:
            self.meter.follow(self.config, self.data, self.run, step)

    # Steps -----------------------------------------------------------------------------------------------------------

    def step(self, step: TrainStep | None = None, slowly: bool = False) -> str:
        """Take a step, `slowly` for its `phases`. What there is to say of it, as where a change was taken back.

        Raises: what the step raises, unless it is the first one after a change.
        """
        said = ""
        self.phases = []
        try:
            if slowly:
                with watched(self.run, partial(self.views, self.run.t)) as phases:
                    self.run.step(step)
                self.phases = phases
            else:
                self.run.step(step)
        except DivergedError:
            self.config.apply(self.run)  # the run went back to a state older than what the controls say
            raise
        except Exception as error:  # memory runs out as a RuntimeError or a MemoryError
            if self._trial is None:
                raise
            said = self._go_back(error)
            self.run.step(step)
        self._trial = None
        return said

    def _go_back(self, error: Exception) -> str:
        assert self._trial is not None
        (before, field, state), self._trial = self._trial, None
        load_state(self.run.model, state["model"])
        if state["step"]:
            self.run.train_step.load_state_dict(state["step"])
        before.apply(self.run)
        for name in before.live_fields():
            if name in self.controls.values and getattr(self.config, name) != getattr(before, name):
                self.controls.values[name] = getattr(before, name)
        self.config = before
        self.marks = [mark for mark in self.marks if mark[0] < self.run.t]
        return self._stays(f"{type(error).__name__}: {error}", field)

    def _state(self) -> dict[str, Any]:
        """A copy of what a step changes, but for the history."""
        step = self.run.train_step
        steps = step.state_dict() if hasattr(step, "state_dict") else {}
        return copy.deepcopy({"model": model_state(self.run.model), "step": steps})

    # Changes ---------------------------------------------------------------------------------------------------------

    def choose(self, field: str, value: Any) -> str:
        """Do what the control says, at once or at Reset, or change nothing; returns what there is to say, as why not.

        Raises: ValueError for a value that the control does not have.
        """
        self.controls.check({field: value})
        if not self.config.is_live(field, value):
            try:
                self.controls.values, _ = self.controls.planned(self.config, {field: value})
            except ValueError as refusal:
                return self._stays(str(refusal), field)
            return say("later", field=field, value=in_words(value))
        self.follow()  # what was done until now is the old setting's
        before = self.config
        try:
            trial = self._trial or (before, field, self._state())
            changed = before.replace(**{field: value})
            changed.apply(self.run)
        except (ValueError, RuntimeError, MemoryError) as refusal:
            before.apply(self.run)
            return self._stays(str(refusal), field)
        value = getattr(changed, field)
        if value != getattr(before, field):
            self._trial = trial
            self.marks.append((self.run.t, say("mark", field=self._label(field), value=in_words(value))))
        self.config, self.controls.values[field] = changed, value
        return say("from_step", field=field, value=in_words(value), step=self.run.t + 1)

    def _label(self, field: str) -> str:
        return self.controls.settings[field].label

    def _stays(self, reason: str, field: str) -> str:
        reason = reason if reason.endswith(".") else f"{reason}."
        return say("went_back", reason=reason, field=field, value=in_words(self.controls.values[field]))

    def why_not(self, field: str, value: Any) -> str:
        """Why this value cannot be chosen now, or "" where it can."""
        try:
            if not self.config.is_live(field, value):
                self.controls.planned(self.config, {field: value})
            else:
                changed = self.config.replace(**{field: value})
                if field == "speed":
                    check_speed(self.run, changed.speed)
        except ValueError as refusal:
            return str(refusal)
        return ""

    def refusals(self) -> dict[str, dict[int, str]]:
        """Of each field the choices that are not possible now, by their place, with the reason."""
        found: dict[str, dict[int, str]] = {}
        for field, options in self.controls.options.items():
            several = self.controls.settings[field].several
            for i, option in enumerate(options):
                if reason := self.why_not(field, (*self.config.speed, option) if several else option):
                    found.setdefault(field, {})[i] = reason
        return found


@dataclass(frozen=True)
class Phase:
    """What a run looked like before an update or, if `moved`, after it; `who` is "D" where that is opt_D's."""

    who: str
    moved: bool
    views: list[View]


@contextlib.contextmanager
def watched(run: Run, views: Callable[[], list[View]]) -> Iterator[list[Phase]]:
    """The phases of the steps that are taken meanwhile, in the order in which the step's own lines have them.

    Where a player's gradient was there before the other one moved, as in `simultaneous`, it is shown before that.
    """
    phases: list[Phase] = []
    ready: dict[str, tuple[Any, int]] = {}  # each player's gradient, and its version, before the latest update

    def before(who: str, *_: Any) -> None:
        gradients = {name: gradient_of(optimizer) for name, optimizer in players.items()}
        if who in ready and ready[who][0] is gradients[who][0] and ready[who][1] == gradients[who][1]:
            phases.insert(-1, Phase(who, False, phases[-2].views))
        else:
            phases.append(Phase(who, False, views()))
        ready.update(gradients)

    def after(who: str, *_: Any) -> None:
        phases.append(Phase(who, True, views()))

    players = {name.removeprefix("opt_"): optimizer for name, optimizer in optimizers(run.model).items()}
    with contextlib.ExitStack() as stack:
        for who, optimizer in players.items():
            stack.callback(optimizer.register_step_pre_hook(partial(before, who)).remove)
            stack.callback(optimizer.register_step_post_hook(partial(after, who)).remove)
        yield phases


def gradient_of(optimizer: Optimizer) -> tuple[Any, int]:
    """The gradient of an optimizer's first parameter, and how often it was written to."""
    gradient = parameters_of(optimizer)[0].grad
    return gradient, -1 if gradient is None else gradient._version


def in_words(value: Any) -> str:
    """A control's value in words."""
    if isinstance(value, tuple):
        return ", ".join(value) or say("none")
    return choice_name(value)
