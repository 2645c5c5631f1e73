"""The live panel: one lane, or several in lock step, and the buttons that drive them."""

import html
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import ipywidgets as W

from gantutor.experiment import Experiment, Record
from gantutor.experiment.record import Step
from gantutor.lab.a11y import Accessibility
from gantutor.lab.film import LABELS, Film, Frame, compose
from gantutor.lab.lane import Lane
from gantutor.lab.page import Panel, close_widgets, mimebundle
from gantutor.lab.runner import Runner
from gantutor.speed import check_speed, is_getting_ready
from gantutor.training import DivergedError

__all__ = ["Lab", "close_widgets"]


class Lab:
    """Train one experiment live, or several side by side from the same seed and the same batches, in lock step.

    >>> lab = Lab(Experiment(data="ring"))              # one
    >>> lab = Lab(a, a.replace(loss="minimax"))         # A/B
    >>> lab = Lab(Pix2PixExperiment())                  # or CycleGANExperiment: any record of gantutor.experiment
    >>> lab.advance(200)                                # in a cell what Play does live
    >>> lab                                             # the panel; without a front end a picture

    `name` is the panel's identity: making another of that name, as running the cell again does, ends this one's thread.
    `keep_frames` keeps every frame shown in `film`, to be exported. `cost_meter` shows what a step of each setting
    tried costs, and what the run has spent. `speed_ups` shows switches for them.
    """

    def __init__(
        self,
        *experiments: Record,
        name: str = "lab",
        keep_frames: bool = False,
        cost_meter: bool = False,
        speed_ups: bool = False,
    ) -> None:
        experiments = experiments or (Experiment(),)
        if len(experiments) > len(LABELS):
            raise ValueError(f"a panel has room for {len(LABELS)} experiments, got {len(experiments)}")
        self.runner = Runner(name, self._tick, self._frame, self._show_state)  # first: it ends the thread of that name
        narrow = len(experiments) > 1
        self.lanes = [
            Lane(experiment, label, cost_meter, narrow, speed_ups)
            for experiment, label in zip(experiments, LABELS, strict=False)
        ]
        self.runner.share = self._share()
        self.film = Film()
        self.keep_frames = keep_frames
        self._build()
        self._show_state("paused")
        self._show_progress()

    # What a cell calls -----------------------------------------------------------------------------------------------

    @property
    def run(self) -> Any:
        """The (first) lane's run: its model, history and step count."""
        return self.lanes[0].run

    @property
    def runs(self) -> list[Any]:
        """Every lane's run."""
        return [lane.run for lane in self.lanes]

    def advance(self, steps: int) -> None:
        """Take `steps` steps now, return when they are done, and show how many a second that were.

        Raises: what a step raises.
        """
        began = time.perf_counter()
        self.runner.advance(steps)
        self._show_progress(steps / (time.perf_counter() - began))

    def set(self, lane: int = 0, **fields: Any) -> None:
        """Do what the controls do: `lab.set(loss="minimax")`, in lane B `lab.set(1, loss="minimax")`.

        Raises: ValueError for a name or value that the experiment does not take.
        """
        self.lanes[lane].controls.check(fields)  # these raise here, in the cell
        changed = self.lanes[lane].experiment.replace(**fields)
        if "speed" in fields:
            check_speed(self.lanes[lane].run, changed.speed)
        self.lanes[lane].controls.set(**{name: getattr(changed, name) for name in fields})

    def reset(self) -> None:
        """Start all lanes again, as their controls say; returns when it is done."""
        self.runner.post(self._restart)
        self.runner.wait()

    def snapshot(self) -> Any:
        """The panel's views as one PIL image."""
        notes = [lane.meter.lines() for lane in self.lanes if lane.meter is not None]
        return compose(Frame(self.run.t, [lane.views() for lane in self.lanes]), notes)

    def close(self) -> None:
        """End the thread and take the panel off the page."""
        self.runner.close()
        self.widget.close()

    # What the widgets do: post, and return ---------------------------------------------------------------------------

    def _build(self) -> None:
        self.play = W.ToggleButton(description="Play", icon="play", tooltip="Train until Pause")
        self.status = W.HTML()
        self.progress = W.HTML()
        buttons: list[W.Widget] = [self.play]
        actions: tuple[tuple[str, str, str, Callable[[], None]], ...] = (
            ("Step", "step-forward", "One update of D and G", partial(self._one, None)),
            *(
                (name, "", f"One update of {name.split()[0]} alone", partial(self._one, step))
                for name, step in self._half_steps().items()
            ),
            ("Reset", "refresh", "Start again from the seed, as the controls say", self._restart),
        )
        for description, icon, tooltip, action in actions:
            button = W.Button(description=description, icon=icon, tooltip=tooltip)
            button.on_click(partial(self._post, action))
            buttons.append(button)
        for button in buttons:
            button.layout.width = "auto"
        self._button_says = False
        self.play.observe(self._play_or_pause, "value")

        boxes = []
        for lane in self.lanes:
            lane.controls.on_change(partial(self._changed, lane))
            title = [W.HTML(f"<b>{lane.label}</b>")] if len(self.lanes) > 1 else []
            meter = [lane.meter.widget] if lane.meter is not None else []
            box = W.VBox(
                [*title, lane.controls.widget, *meter, lane.pictures], layout=W.Layout(flex="1 1 380px", padding="4px")
            )
            box.add_class("gt-lane")
            boxes.append(box)
        alt = {view.name: view.alt for lane in self.lanes for view in lane.picture.views}
        self.accessibility = Accessibility(alt=alt)
        self.widget = Panel(
            [
                W.HBox([*buttons, self.progress], layout=W.Layout(flex_flow="row wrap")),
                self.status,
                W.Box(boxes, layout=W.Layout(flex_flow="row wrap", align_items="flex-start", grid_gap="12px")),
                self.accessibility,
            ]
        )
        self.widget.runner = self.runner
        self.widget.add_class("gt-panel")

    def _half_steps(self) -> dict[str, Step]:
        """The updates of one player alone that every lane's experiment has."""
        first, *others = [lane.experiment.HALF_STEPS for lane in self.lanes]
        return {name: step for name, step in first.items() if all(other.get(name) is step for other in others)}

    def _post(self, action: Callable[[], None], _: W.Button) -> None:
        self.runner.post(action)

    def _play_or_pause(self, change: dict[str, Any]) -> None:
        if change["new"] != self._button_says:  # else the button only follows what the runner did
            self._button_says = change["new"]
            (self.runner.play if change["new"] else self.runner.pause)()

    def _changed(self, lane: Lane, field: str, value: Any) -> None:
        if field in lane.experiment.LIVE:
            self.runner.post(lambda: self._apply(lane, field, value))
        else:
            self._say_later(lane, field, value)

    # What the training thread does -----------------------------------------------------------------------------------

    def _tick(self, step: Any = None) -> None:
        """One step in every lane. A lane that is ahead, because another one raised, waits for it."""
        behind = min(lane.run.t for lane in self.lanes)
        for lane in self.lanes:
            if lane.run.t == behind:
                try:
                    lane.run.tick(step)
                except DivergedError:
                    lane.experiment.apply(lane.run)  # the run went back to a state older than what the controls say
                    raise
        if self.runner.playing and behind + 1 in {lane.experiment.steps for lane in self.lanes}:
            self.runner.pause_now()
            self._say(f"paused: step {behind + 1} is the last that was planned")

    def _one(self, step: Any) -> None:
        self.runner.pause_now()
        for lane in self.lanes:
            lane.follow(step)
        self._tick(step)
        self._frame(last=True)

    def _share(self) -> float:
        """Frames' share of the time: a step on points is so short that smooth pictures may cost more."""
        return 0.25 if all(lane.data.kind == "points" for lane in self.lanes) else 0.05

    def _apply(self, lane: Lane, field: str, value: Any) -> None:
        if not lane.experiment.is_live(field, value):
            self._say_later(lane, field, value)
            return
        lane.follow()  # what was done until now is the old setting's
        changed = lane.experiment.replace(**{field: value})
        try:
            changed.apply(lane.run)
        except ValueError as refusal:
            lane.experiment.apply(lane.run)
            lane.controls.put_back(field, getattr(lane.experiment, field))
            self._say(f"{self._of(lane)}{refusal}")
            return
        lane.experiment = changed
        self._say(f"{self._of(lane)}{field} = {said(value)} from step {lane.run.t + 1} on")
        self.runner.want_frame()

    def _restart(self) -> None:
        self.runner.pause_now()
        experiments = [lane.controls.read(lane.experiment) for lane in self.lanes]
        prepared = [lane.prepare(experiment) for lane, experiment in zip(self.lanes, experiments, strict=True)]
        for lane, experiment, (data, run) in zip(self.lanes, experiments, prepared, strict=True):
            lane.restart(experiment, data, run)
        self.runner.share = self._share()
        self.accessibility.alt = {view.name: view.alt for lane in self.lanes for view in lane.picture.views}
        self.film.clear()
        self._frame(last=True)

    def _frame(self, last: bool) -> None:
        for lane in self.lanes:
            lane.paint(everything=last)
        self._show_progress()
        if self.keep_frames:
            self.film.add(Frame(self.run.t, [lane.views() for lane in self.lanes]))

    # What the reader is told -----------------------------------------------------------------------------------------

    def _of(self, lane: Lane) -> str:
        return f"{lane.label}: " if len(self.lanes) > 1 else ""

    def _say_later(self, lane: Lane, field: str, value: Any) -> None:
        self._say(f"{self._of(lane)}{field} = {said(value)} applies at Reset")

    def _say(self, text: str) -> None:
        self.status.value = f'<div role="status">{html.escape(text)}</div>'

    def _show_state(self, state: str) -> None:
        playing = self._button_says = state == "playing"
        self.play.value = playing
        self.play.description, self.play.icon = ("Pause", "pause") if playing else ("Play", "play")
        self._say(state)

    def _show_progress(self, steps_per_second: float = 0.0) -> None:
        rate = self.runner.steps_per_second if self.runner.playing else steps_per_second
        first = self.lanes[0]
        parts = [" ".join(["step", str(self.run.t), first.experiment.progress(self.run)]).strip()]
        parts += [f"{rate:.0f} steps/s"] if rate else []
        parts += [str(first.data.device)]
        parts += ["compiling"] if any(is_getting_ready(run) for run in self.runs) else []
        self.progress.value = " · ".join(parts)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return mimebundle(self.widget, self.snapshot(), "gantutor lab")


def said(value: Any) -> str:
    """A control's value in words."""
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(getattr(value, "name", value))
