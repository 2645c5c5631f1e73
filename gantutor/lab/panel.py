"""The live panel: one run view, or several in lock step, and the buttons that drive them."""

import html
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import ipywidgets as W

from gantutor.configs import Config, GANConfig
from gantutor.configs.base import TrainStep
from gantutor.lab.a11y import Accessibility
from gantutor.lab.page import Panel, close_widgets, mimebundle
from gantutor.lab.recording import LABELS, Frame, Recording, compose
from gantutor.lab.run_view import RunView
from gantutor.lab.runner import Runner
from gantutor.scale.speed import check_speed, is_getting_ready
from gantutor.training import DivergedError

__all__ = ["Lab", "close_widgets"]


class Lab:
    """Train one experiment live, or several side by side from the same seed and the same batches, in lock step.

    >>> lab = Lab(Experiment(data="ring"))              # one
    >>> lab = Lab(a, a.replace(loss="minimax"))         # A/B
    >>> lab = Lab(Pix2PixConfig())                  # or CycleGANConfig: any config of gantutor.configs
    >>> lab.advance(200)                                # in a cell what Play does live
    >>> lab                                             # the panel; without a front end a picture

    `name` is the panel's identity: making another of that name, as running the cell again does, ends this one's thread.
    `keep_frames` keeps every frame shown in `recording`, to be exported. `cost_meter` shows what a step of each setting
    tried costs, and what the run has spent. `speed_ups` shows switches for them.
    """

    def __init__(
        self,
        *configs: Config,
        name: str = "lab",
        keep_frames: bool = False,
        cost_meter: bool = False,
        speed_ups: bool = False,
    ) -> None:
        configs = configs or (GANConfig(),)
        if len(configs) > len(LABELS):
            raise ValueError(f"a panel has room for {len(LABELS)} experiments, got {len(configs)}")
        self.runner = Runner(name, self._step, self._frame, self._show_state)  # first: it ends the thread of that name
        narrow = len(configs) > 1
        self.run_views = [
            RunView(config, label, cost_meter, narrow, speed_ups)
            for config, label in zip(configs, LABELS, strict=False)
        ]
        self.runner.share = self._share()
        self.recording = Recording()
        self.keep_frames = keep_frames
        self._build()
        self._show_state("paused")
        self._show_progress()

    # What a cell calls -----------------------------------------------------------------------------------------------

    @property
    def run(self) -> Any:
        """The (first) run view's run: its model, history and step count."""
        return self.run_views[0].run

    @property
    def runs(self) -> list[Any]:
        """Every run view's run."""
        return [run_view.run for run_view in self.run_views]

    def advance(self, steps: int) -> None:
        """Take `steps` steps now, return when they are done, and show how many a second that were.

        Raises: what a step raises.
        """
        began = time.perf_counter()
        self.runner.advance(steps)
        self._show_progress(steps / (time.perf_counter() - began))

    def set(self, run_view: int = 0, **fields: Any) -> None:
        """Do what the controls do: `lab.set(loss="minimax")`, in run view B `lab.set(1, loss="minimax")`.

        Raises: ValueError for a name or value that the experiment does not take.
        """
        self.run_views[run_view].controls.check(fields)  # these raise here, in the cell
        changed = self.run_views[run_view].config.replace(**fields)
        fields = in_order(self.run_views[run_view].config, fields)
        if "speed" in fields:
            check_speed(self.run_views[run_view].run, changed.speed)
        self.run_views[run_view].controls.set(**{name: getattr(changed, name) for name in fields})

    def reset(self) -> None:
        """Start all run views again, as their controls say; returns when it is done."""
        self.runner.post(self._restart)
        self.runner.wait()

    def snapshot(self) -> Any:
        """The panel's views as one PIL image."""
        notes = [run_view.meter.lines() for run_view in self.run_views if run_view.meter is not None]
        return compose(Frame(self.run.t, [run_view.views() for run_view in self.run_views]), notes)

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
        for run_view in self.run_views:
            run_view.controls.on_change(partial(self._changed, run_view))
            title = [W.HTML(f"<b>{run_view.label}</b>")] if len(self.run_views) > 1 else []
            meter = [run_view.meter.widget] if run_view.meter is not None else []
            box = W.VBox(
                [*title, run_view.controls.widget, *meter, run_view.pictures],
                layout=W.Layout(flex="1 1 380px", padding="4px"),
            )
            box.add_class("gt-run-view")
            boxes.append(box)
        alt = {view.name: view.alt for run_view in self.run_views for view in run_view.painter.views}
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

    def _half_steps(self) -> dict[str, TrainStep]:
        """The updates of one player alone that every run view's experiment has."""
        first, *others = [run_view.config.HALF_STEPS for run_view in self.run_views]
        return {name: step for name, step in first.items() if all(other.get(name) is step for other in others)}

    def _post(self, action: Callable[[], None], _: W.Button) -> None:
        self.runner.post(action)

    def _play_or_pause(self, change: dict[str, Any]) -> None:
        if change["new"] != self._button_says:  # else the button only follows what the runner did
            self._button_says = change["new"]
            (self.runner.play if change["new"] else self.runner.pause)()

    def _changed(self, run_view: RunView, field: str, value: Any) -> None:
        if field in run_view.config.live_fields():
            self.runner.post(lambda: self._apply(run_view, field, value))
        else:
            self._say_later(run_view, field, value)

    # What the training thread does -----------------------------------------------------------------------------------

    def _step(self, step: Any = None) -> None:
        """One step in every run view. A run view that is ahead, because another one raised, waits for it."""
        behind = min(run_view.run.t for run_view in self.run_views)
        for run_view in self.run_views:
            if run_view.run.t == behind:
                try:
                    run_view.run.step(step)
                except DivergedError:
                    run_view.config.apply(run_view.run)  # the run went back to a state older than what the controls say
                    raise
        if self.runner.playing and behind + 1 in {run_view.config.steps for run_view in self.run_views}:
            self.runner.pause_now()
            self._say(f"paused: step {behind + 1} is the last that was planned")

    def _one(self, step: Any) -> None:
        self.runner.pause_now()
        for run_view in self.run_views:
            run_view.follow(step)
        self._step(step)
        self._frame(last=True)

    def _share(self) -> float:
        """Frames' share of the time: a step on points is so short that smooth pictures may cost more."""
        return 0.25 if all(run_view.data.kind == "points" for run_view in self.run_views) else 0.05

    def _apply(self, run_view: RunView, field: str, value: Any) -> None:
        if not run_view.config.is_live(field, value):
            self._say_later(run_view, field, value)
            return
        run_view.follow()  # what was done until now is the old setting's
        try:
            changed = run_view.config.replace(**{field: value})
            changed.apply(run_view.run)
        except ValueError as refusal:
            run_view.config.apply(run_view.run)
            run_view.controls.put_back(field, value, getattr(run_view.config, field))  # which is applied before this:
            self.runner.post(partial(self._say, f"{self._of(run_view)}{refusal}"))
            return
        run_view.config = changed
        self._say(f"{self._of(run_view)}{field} = {describe_value(value)} from step {run_view.run.t + 1} on")
        self.runner.want_frame()

    def _restart(self) -> None:
        self.runner.pause_now()
        configs = [run_view.controls.read(run_view.config) for run_view in self.run_views]
        prepared = [run_view.prepare(config) for run_view, config in zip(self.run_views, configs, strict=True)]
        for run_view, config, (data, run) in zip(self.run_views, configs, prepared, strict=True):
            run_view.restart(config, data, run)
        self.runner.share = self._share()
        self.accessibility.alt = {view.name: view.alt for run_view in self.run_views for view in run_view.painter.views}
        self.recording.clear()
        self._frame(last=True)

    def _frame(self, last: bool) -> None:
        for run_view in self.run_views:
            run_view.paint(everything=last)
        self._show_progress()
        if self.keep_frames:
            self.recording.add(Frame(self.run.t, [run_view.views() for run_view in self.run_views]))

    # What the reader is told -----------------------------------------------------------------------------------------

    def _of(self, run_view: RunView) -> str:
        return f"{run_view.label}: " if len(self.run_views) > 1 else ""

    def _say_later(self, run_view: RunView, field: str, value: Any) -> None:
        self._say(f"{self._of(run_view)}{field} = {describe_value(value)} applies at Reset")

    def _say(self, text: str) -> None:
        self.status.value = f'<div role="status">{html.escape(text)}</div>'

    def _show_state(self, state: str) -> None:
        playing = self._button_says = state == "playing"
        self.play.value = playing
        self.play.description, self.play.icon = ("Pause", "pause") if playing else ("Play", "play")
        self._say(state)

    def _show_progress(self, steps_per_second: float = 0.0) -> None:
        rate = self.runner.steps_per_second if self.runner.playing else steps_per_second
        first = self.run_views[0]
        parts = [" ".join(["step", str(self.run.t), first.config.progress(self.run)]).strip()]
        parts += [f"{rate:.0f} steps/s"] if rate else []
        parts += [str(first.data.device)]
        parts += ["compiling"] if any(is_getting_ready(run) for run in self.runs) else []
        self.progress.value = " · ".join(parts)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return mimebundle(self.widget, self.snapshot(), "gantutor lab")


def in_order(config: Config, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields in an order in which a run can take them over one by one.

    Raises: ValueError where there is none, with a reason.
    """
    taken, order, left = config, {}, dict(fields)
    while left:
        for name in left:
            try:
                taken = taken.replace(**{name: fields[name]}) if name in config.live_fields() else taken
            except ValueError as error:
                refusal = error
            else:
                order[name] = left.pop(name)
                break
        else:
            raise refusal
    return order


def describe_value(value: Any) -> str:
    """A control's value in words."""
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(getattr(value, "name", value))
