"""The live panel: one run view, or several in lock step. front/panel.js is what it looks like."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from gantutor.configs import Config, GANConfig
from gantutor.configs.base import TrainStep
from gantutor.data import drawn
from gantutor.lab.controls import Controls
from gantutor.lab.messages import say
from gantutor.lab.page import mimebundle
from gantutor.lab.recording import LABELS, Recording, Take, picture, save_page
from gantutor.lab.run_view import RunView, in_words
from gantutor.lab.runner import Runner
from gantutor.lab.stream import Frame, Stream
from gantutor.scale.speed import check_speed, is_getting_ready

PHASE_S = 1.2  # how long slow motion rests at each phase of a step


class Lab:
    """Train one experiment live, or several side by side from the same seed and the same batches, in lock step.

    >>> lab = Lab(Experiment(data="ring"))              # one
    >>> lab = Lab(a, a.replace(loss="minimax"))         # A/B
    >>> lab = Lab(Pix2PixConfig())                  # or CycleGANConfig: any config of gantutor.configs
    >>> lab.advance(200)                                # in a cell what Play does live
    >>> lab                                             # the panel; without a front end a picture

    `name` is the panel's identity: making another of that name, as running the cell again does, ends this one's thread.
    `cost_meter` shows what a step of each setting tried costs, and what the run has spent. `speed_ups` shows switches
    for them. The button Slow shows a step phase by phase; Draw, where the data are points, lets one draw the data.
    `recording` has the frames shown since the last Reset; `save` writes them as a page.
    `status` is what was said last; `error` is what stopped the run, until it goes on.
    """

    def __init__(
        self,
        *configs: Config,
        name: str = "lab",
        cost_meter: bool = False,
        speed_ups: bool = False,
    ) -> None:
        configs = configs or (GANConfig(),)
        if len(configs) > len(LABELS):
            raise ValueError(f"a panel has room for {len(LABELS)} experiments, got {len(configs)}")
        self.status, self.error, self._rate = say("paused"), "", 0.0
        self.slow, self._phases = False, list[Frame]()  # slow motion, and the frames of its step that are still to come
        self.stream = Stream(self._describe_scene, self._describe_state, self._command)
        # The thread of an earlier panel of this name ends.
        self.runner = Runner(name, self._step, self._frame, self._show_state, self.stream.fps)
        self.run_views = [
            RunView(config, label, cost_meter, speed_ups) for config, label in zip(configs, LABELS, strict=False)
        ]
        self.widget = self.stream.widget
        self.widget.on_close = self.runner.close
        self.recording = Recording()
        self.recorded: list[list[Take]] = [[] for _ in self.run_views]  # by `record`, for each run view
        self._frame(last=True)

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
        self.error = ""
        began = time.perf_counter()
        self.runner.advance(steps)
        self._rate = steps / (time.perf_counter() - began)
        self.stream.new_state()

    def play(self) -> None:
        """Train on, in the background, until `pause`."""
        self.runner.play()

    def pause(self) -> None:
        """Stop after the step that is under way."""
        self.runner.pause()

    def wait(self, timeout: float = 30.0) -> None:
        """Return when all that was asked for is done. Raises: TimeoutError; and what has stopped the run."""
        self.runner.wait(timeout)

    def set(self, run_view: int = 0, **fields: Any) -> None:
        """Do what the controls do: `lab.set(loss="minimax")`, in run view B `lab.set(1, loss="minimax")`.

        Raises: ValueError for a name or value that the experiment does not take.
        """
        view = self.run_views[run_view]
        view.controls.check(fields)  # these raise here, in the cell
        changed = view.config.replace(**fields)
        if "speed" in fields:
            check_speed(view.run, changed.speed)
        for name in in_order(view.config, fields):
            self.runner.post(partial(self._choose, view, name, getattr(changed, name)))

    def draw(self, strokes: Sequence[Sequence[tuple[float, float]]]) -> None:
        """Start all run views of points again, on points along `strokes`, as `gantutor.data.drawn` takes them.

        Raises: ValueError for what it refuses.
        """
        drawn(strokes)
        self.runner.post(partial(self._draw, strokes))
        self.runner.wait()

    def reset(self) -> None:
        """Start all run views again, as their controls say; returns when it is done."""
        self.runner.post(self._restart)
        self.runner.wait()

    def snapshot(self) -> Image.Image:
        """What the panel shows, as one image."""
        return picture(self.stream.frame, self._notes())

    def record(self, steps: int, settings: Mapping[str, Sequence[Any]], frames: int = 100) -> None:
        """Train a run for each combination of the settings, from the same seed, for the page that `save` writes.

        >>> lab.record(400, {"loss": ["minimax", "hinge"]})

        The panel's own run waits meanwhile, and is not changed. One that has come so far already is not trained again.

        Args:
            steps: Of each run.
            settings: The values of each setting, by its name.
            frames: How many are kept of each run, about.

        Raises: ValueError for what has no control, or cannot be combined.
        """
        planned = []
        for view, takes in zip(self.run_views, self.recorded, strict=True):
            for values in itertools.product(*settings.values()):
                chosen = dict(zip(settings, values, strict=True))
                view.controls.check(chosen)
                _, config = Controls(view.config, speed_ups=True).planned(view.config, chosen)
                if config != view.config or view.marks or view.run.t < steps:
                    planned.append((view, takes, config, ", ".join(f"{k} = {in_words(v)}" for k, v in chosen.items())))
        for view, takes, config, name in planned:
            self._say(say("recording", what=f"{self._of(view)}{name}"))
            with self.runner.hold():
                take = view.record(config, steps, frames)
            takes[:] = [other for other in takes if other.values != take.values] + [take]
        self._say(say("recorded", runs=len(planned), steps=steps))

    def save(self, path: str | Path, frames: int = 300) -> Path:
        """Write one HTML file that plays the run since its last Reset, and what `record` has trained, without a kernel.

        Of each run at most so many `frames` are taken, evenly spaced. A link that ends in #step=300 opens there.
        """
        shown = [*self.recording.frames, self.stream.frame]
        runs = []
        for i, (view, takes) in enumerate(zip(self.run_views, self.recorded, strict=True)):
            live = Take(shown, i, list(view.marks), self.error)
            again = any(take.values == live.values and take.frames[-1].step >= self.run.t for take in takes)
            runs.append(takes if again else [live, *takes])
        return save_page(path, runs, self._describe_scene(), frames)

    def close(self) -> None:
        """End the thread and take the panel off the page."""
        self.runner.close()
        self.widget.close()

    # What the browser sends: post, and return ------------------------------------------------------------------------

    def _command(self, sender: str, number: int, content: dict[str, Any]) -> None:
        """Do what a button or a control asks for, between two steps, and say that it was done."""
        what, half = content["do"], self._half_steps().get(content.get("player", ""))
        actions: dict[str, Callable[[], None]] = {
            "play": self.runner.play_now,
            "pause": self.runner.pause_now,
            "step": partial(self._one, None),
            "reset": self._restart,
            "set": partial(self._set, content),
            "slow": partial(self._slow, content.get("on") is True),
            "draw": partial(self._draw, content.get("strokes")),
        }
        if half is not None:
            actions["half"] = partial(self._one, half)

        def act() -> None:
            try:
                if what in actions:
                    actions[what]()
            finally:
                self.stream.done[sender] = number
                self.stream.new_state(push=not self.runner.frame_wanted)

        self.runner.post(act)

    def _set(self, content: dict[str, Any]) -> None:
        view, field = self.run_views[int(content["run"])], str(content["field"])
        try:
            value = view.controls.decode(field, content["value"])
        except (ValueError, TypeError, IndexError) as refusal:
            self._say(str(refusal))
            return
        self._choose(view, field, value)

    def _draw(self, strokes: Any) -> None:
        try:
            for view in self.run_views:
                if view.data.kind == "points":
                    data = drawn(strokes, view.data.device)
                    view.controls.offer("data", data)
                    view.choose("data", data)
        except (ValueError, TypeError, RuntimeError) as refusal:
            self._say(str(refusal))
            return
        self._restart()

    def _half_steps(self) -> dict[str, TrainStep]:
        """The updates of one player alone that every run view's experiment has."""
        first, *others = [view.config.HALF_STEPS for view in self.run_views]
        return {name: step for name, step in first.items() if all(other.get(name) is step for other in others)}

    # What the training thread does -----------------------------------------------------------------------------------

    def _step(self, step: Any = None) -> None:
        """One step in every run view. A run view that is ahead, because another one raised, waits for it.

        In slow motion the step's next phase, and a step where none is left.
        """
        slowly = self.slow and step is None
        if slowly and self._phases:
            self._show(self._phases.pop(0))
            return
        behind = min(view.run.t for view in self.run_views)
        for view in self.run_views:
            if view.run.t == behind and (said := view.step(step, slowly)):
                self._say(f"{self._of(view)}{said}")
        if slowly:
            self._phases = self._frames_of_step(behind)
            self._show(self._phases.pop(0))
        if self.runner.playing and behind + 1 in {view.config.steps for view in self.run_views}:
            self.runner.pause_now()
            self._say(say("planned_end", step=behind + 1))

    def _one(self, step: Any) -> None:
        self.runner.pause_now()
        self.error = ""
        for view in self.run_views:
            view.follow(step)
        self._step(step)
        if step or not self.slow:
            self._frame(last=True)

    def _choose(self, view: RunView, field: str, value: Any) -> None:
        self.status = f"{self._of(view)}{view.choose(field, value)}"
        self._look_soon()

    def _slow(self, on: bool) -> None:
        self.slow, self.runner.rest_s = on, PHASE_S if on else 0.0
        self._look_soon()

    def _look_soon(self) -> None:
        """The frame that follows takes the state along."""
        self.stream.new_state(push=False)
        self.runner.want_frame()

    def _restart(self) -> None:
        self.runner.pause_now()
        configs = [view.config.chosen(**view.controls.values) for view in self.run_views]
        prepared = [view.prepare(config) for view, config in zip(self.run_views, configs, strict=True)]
        for view, config, (data, run) in zip(self.run_views, configs, prepared, strict=True):
            view.restart(config, data, run)
        self.error = ""
        self.recording.clear()
        self.stream.new_scene()
        self._frame(last=True)

    def _frame(self, last: bool) -> None:
        if self.slow and not last:
            return  # its phases are its frames
        self._phases.clear()
        for view in self.run_views:
            view.follow()
        self._show(self._made())

    def _made(self) -> Frame:
        return Frame(
            self.run.t,
            [view.views(since=view.run.t) for view in self.run_views],
            [run.history for run in self.runs],
            [len(run.history) for run in self.runs],
            self.progress,
            [view.meter.rows() for view in self.run_views if view.meter is not None],
            [view.controls.encode(view.config) for view in self.run_views],
        )

    def _show(self, frame: Frame) -> None:
        if frame.phases:
            texts = [say(f"{who}_{'after' if moved else 'before'}") for who, moved in frame.phases]
            said = [f"{self._of(view)}{text}" for view, text in zip(self.run_views, texts, strict=True)]
            self.status = " · ".join(said)
            self.stream.new_state(push=False)
        self.stream.show(frame)
        self.recording.add(frame)

    def _frames_of_step(self, step: int) -> list[Frame]:
        """A frame for each phase of the step after `step`; a run with fewer of them waits at its last."""
        phases, end = [view.phases for view in self.run_views], self._made()
        if not all(phases):  # no update was seen, as where a step is replayed from a recording
            return [end]
        moments = [[run[min(i, len(run) - 1)] for run in phases] for i in range(max(map(len, phases)))]
        before = replace(end, step=step, rows=[rows - 1 for rows in end.rows], line=say("line_step", step=step))
        labels = [[(phase.who, phase.moved) for phase in moment] for moment in moments]
        found = [replace(before, views=[phase.views for phase in moment], phases=label, done=i / len(moments))
                 for i, (moment, label) in enumerate(zip(moments[:-1], labels, strict=False), 1)]  # fmt: skip
        return [*found, replace(end, phases=labels[-1])]

    # What the reader is told -----------------------------------------------------------------------------------------

    @property
    def progress(self) -> str:
        """How far the run is, how fast, and where."""
        rate = self.runner.steps_per_second if self.runner.playing else self._rate
        first = self.run_views[0]
        parts = [" ".join([say("line_step", step=self.run.t), first.config.progress(self.run)]).strip()]
        parts += [say("line_rate", rate=rate)] if rate else []
        parts += [str(first.data.device)]
        parts += [say("compiling")] if any(is_getting_ready(run) for run in self.runs) else []
        return " · ".join(parts)

    def _describe_scene(self) -> dict[str, Any]:
        labels = [view.label for view in self.run_views] if len(self.run_views) > 1 else [""]
        controls = [view.controls.declare(view.config.live_fields()) for view in self.run_views]
        draws = any(view.data.kind == "points" for view in self.run_views)
        return {"labels": labels, "controls": controls, "players": list(self._half_steps()), "draws": draws}

    def _describe_state(self) -> dict[str, Any]:
        return {
            "playing": self.runner.playing, "slow": self.slow, "status": self.status,
            "error": self.error, "line": self.progress,
            "values": [view.controls.encode() for view in self.run_views],
            "refusals": [view.refusals() for view in self.run_views],
            "marks": [view.marks for view in self.run_views],
        }  # fmt: skip

    def _notes(self) -> list[list[str]]:
        return [view.meter.lines() if view.meter is not None else [] for view in self.run_views]

    def _of(self, view: RunView) -> str:
        return f"{view.label}: " if len(self.run_views) > 1 else ""

    def _say(self, text: str) -> None:
        self.status = text
        self.stream.new_state()

    def _show_state(self, state: str) -> None:
        """What the runner calls; an error stays in sight until the run goes on."""
        self.stream.playing = self.runner.playing
        if state.startswith("error"):
            self.error = state
        else:
            self.error = "" if state == "playing" else self.error
            self.status = say(state)
        self._rate = 0.0
        self.stream.new_state()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle = mimebundle(self.widget, self.snapshot(), "gantutor lab")
        self.widget.picture = bundle["image/png"]
        return bundle


def in_order(config: Config, fields: dict[str, Any]) -> list[str]:
    """The fields in an order in which a run can take them over one by one; the data first, since others follow them.

    Raises: ValueError where there is none, with a reason.
    """
    taken, order, left = config, [], sorted(fields, key=lambda name: name != "data")
    while left:
        for name in left:
            try:
                taken = taken.replace(**{name: fields[name]}) if name in config.live_fields() else taken
            except ValueError as error:
                refusal = error
            else:
                order.append(name)
                left.remove(name)
                break
        else:
            raise refusal
    return order
