"""The stream of messages between a panel and its views in the browser: one, in order, each way.

To the browser go three things. The *scene* is what stays for a run: views, controls, texts. The *state* is what people
do: settings, status, marks. A *frame* is what the run looks like at a step. Each has a number, so that a message
that comes twice does no harm. Frames are pushed by whoever made them, mostly the training
thread. The browser answers about once a second: a tab that nobody sees, or a browser that cannot follow, then gets no
frames. Colab shows only what is sent while a message is handled, and there pushes are lost: the browser notices it by
the answer to a beat, and *asks* from then on.

From the browser come commands, each with the sender's name and the command's number, and what says how far it is.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anywidget
import numpy as np
import traitlets

from gantutor.lab.messages import TEXTS
from gantutor.lab.page import front_script, front_style
from gantutor.training import History
from gantutor.views import View

FULL_FPS, UNSURE_FPS = 60.0, 1.0
FRESH_S, GONE_S = 2.0, 60.0  # how old the last answer may be for the full rate, and for any frame
ASK_S = 1.0  # how long an answer may wait for a new frame


class Front(anywidget.AnyWidget):
    """The model of front/panel.js. What people do travels as custom messages, never as its state."""

    _esm = front_script(
        "dom.js", "source.js", "recorded.js", "pictures.js", "charts.js", "controls.js", "draw.js", "panel.js"
    )
    _css = front_style("panel.css")
    texts: Any = traitlets.Dict(TEXTS).tag(sync=True)
    picture = traitlets.Unicode().tag(sync=True)  # a PNG in base 64, for a saved notebook that has no kernel

    def __init__(self) -> None:
        super().__init__()
        self.on_close: Callable[[], None] = lambda: None

    def close(self) -> None:
        """Take it off every page, and end what is behind it."""
        self.on_close()
        if self.comm is not None:  # not yet closed
            self.layout.close()
        super().close()


@dataclass(frozen=True)
class Frame:
    """What all run views look like at one moment.

    Attributes:
        step: The first run's.
        views: Each run's, its curves without values: those are the first `rows` of its history.
        histories: Each run's.
        rows: How many steps each history had.
        line: What stands beside the buttons.
        meters: The rows of each run's cost meter.
        values: What each run's settings are, as the front end has them.
        phases: In slow motion, who is or was updated in each run, and whether that is done.
        done: Then, how much of the step after `step` has been shown, from 0 to 1.
    """

    step: int
    views: Sequence[Sequence[View]]
    histories: Sequence[History] = ()
    rows: Sequence[int] = ()
    line: str = ""
    meters: Sequence[Any] = ()
    values: Sequence[dict[str, Any]] = ()
    phases: Sequence[tuple[str, bool]] = ()
    done: float = 0.0

    def curves(self, number: int, since: int = 0) -> dict[str, np.ndarray]:
        """The columns of a run's history from step `since` on, up to this frame, float32."""
        columns = self.histories[number].since(since)
        return {name: values[: self.rows[number] - since].astype(np.float32) for name, values in columns.items()}


@dataclass
class Have:
    """How far a receiver is: the numbers of its scene, state and frame, and each run's steps in its curves."""

    scene: int = -1
    state: int = -1
    frame: int = -1
    rows: list[int] = field(default_factory=list)


@dataclass
class Viewer:
    """A view in a browser."""

    seen_at: float  # when it was last known to keep up
    visible: bool = True
    asks: bool = False
    sent: int = 0  # the number of its last command
    have: Have = field(default_factory=Have)


class Blob:
    """ViewArrays one behind the other in one buffer; `add` says where: offset in bytes, type and shape."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, array: np.ndarray) -> list[Any]:
        data = np.ascontiguousarray(array).tobytes()
        data += bytes(-len(data) % 4)
        place = [self.size, array.dtype.str[1:], list(array.shape)]
        self.parts.append(data)
        self.size += len(data)
        return place

    def add_all(self, arrays: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        return {name: self.add(array) for name, array in arrays.items()}


class Stream:
    """Sends what `describe_scene` and `describe_state` give when they change, and frames.

    `command(sender, number, content)` is called for each command; it must return at once. `front` is what stands on the
    page, the panel unless another is given.
    """

    def __init__(
        self,
        describe_scene: Callable[[], dict[str, Any]],
        describe_state: Callable[[], dict[str, Any]],
        command: Callable[[str, int, dict[str, Any]], None],
        front: Front | None = None,
    ) -> None:
        self.describe_scene, self.describe_state, self.command = describe_scene, describe_state, command
        self.widget = front or Front()
        self.widget.on_msg(lambda _, content, buffers: self.receive({**content, "buffers": buffers}))
        self.viewers: dict[str, Viewer] = {}
        self.done: dict[str, int] = {}  # the last command of each viewer that took effect
        self.frame = Frame(0, ())
        self.now, self.pushed = Have(0, 0, 0), Have()
        self.playing = False
        self.shown_at = 0.0
        self._changed = threading.Condition(threading.RLock())

    # From whoever owns the models ------------------------------------------------------------------------------------

    def new_scene(self) -> None:
        """Another run: `describe_scene` has changed. The frame that follows shows it."""
        with self._changed:
            self.now.scene += 1

    def new_state(self, push: bool = True) -> None:
        """`describe_state` has changed; it goes out at once, or with the frame that follows."""
        with self._changed:
            self.now.state += 1
            if push:
                self._push()

    def show(self, frame: Frame) -> None:
        with self._changed:
            self.frame, self.shown_at = frame, time.perf_counter()
            self.now.frame += 1
            self.now.rows = list(frame.rows)
            self._push()

    def fps(self) -> float:
        """How many frames a second the browser should be given now."""
        seen = [viewer.seen_at for viewer in list(self.viewers.values()) if viewer.visible]
        age = time.perf_counter() - max(seen, default=-GONE_S)
        return FULL_FPS if age < FRESH_S else UNSURE_FPS if age < GONE_S else 0.0

    # From the browser ------------------------------------------------------------------------------------------------

    def receive(self, content: dict[str, Any]) -> None:
        """Handle one message; what is not known changes nothing."""
        me, what, now = str(content.get("me", "")), content.get("do"), time.perf_counter()
        if what == "bye":
            self.viewers.pop(me, None)
            return
        viewer = self.viewers.setdefault(me, Viewer(now))
        viewer.visible = what != "hide"
        drawn = float(content.get("drawn") or now)
        viewer.seen_at = now if drawn >= self.shown_at else max(viewer.seen_at, drawn)
        if what in ("open", "show"):
            viewer.have = Have()
            viewer.seen_at = now
            self._answer(me, viewer)
        elif what == "beat":
            with self._changed:
                pushed = self.pushed  # what is new and was not pushed yet is no push that was lost
                self._send({"to": me, "pulse": [pushed.scene, pushed.state, pushed.frame]}, Blob())
        elif what == "ask":
            viewer.asks = True
            with self._changed:
                behind = self.playing or self.done.get(me, 0) < viewer.sent
                self._changed.wait_for(lambda: self._is_news(viewer.have), timeout=ASK_S if behind else 0)
                self._answer(me, viewer)
        elif what != "hide":
            viewer.sent = int(content.get("id", 0))
            viewer.seen_at = now
            self.command(me, viewer.sent, content)

    def _answer(self, me: str, viewer: Viewer) -> None:
        with self._changed:
            message, blob = self._news(viewer.have)
            viewer.have = self._copy()
            self._send({"to": me, "answer": True, **message}, blob)

    def _is_news(self, have: Have) -> bool:
        return (have.scene, have.state, have.frame) != (self.now.scene, self.now.state, self.now.frame)

    def _push(self) -> None:
        self._changed.notify_all()
        if any(viewer.visible and not viewer.asks for viewer in list(self.viewers.values())):
            message, blob = self._news(self.pushed)
            self._send(message, blob)
        self.pushed = self._copy()

    def _copy(self) -> Have:
        return Have(self.now.scene, self.now.state, self.now.frame, list(self.now.rows))

    def _news(self, have: Have) -> tuple[dict[str, Any], Blob]:
        """What a receiver that has so much lacks."""
        message: dict[str, Any] = {"at": time.perf_counter()}
        blob = Blob()
        if have.scene != self.now.scene:
            have = Have()
            views = [[describe_view(view, blob) for view in views] for views in self.frame.views]
            message["scene"] = {"number": self.now.scene, "views": views, **self.describe_scene()}
        if have.state != self.now.state:
            message["state"] = {"number": self.now.state, "done": dict(self.done), **self.describe_state()}
        if have.frame != self.now.frame:
            frame, count = self.frame, len(self.frame.views)
            pictures = [[view for view in views if view.arrays and not view.of_history] for views in frame.views]
            since = have.rows or [0] * count
            message["frame"] = {
                "number": self.now.frame, "scene": self.now.scene, "step": frame.step, "line": frame.line,
                "meters": frame.meters, "phases": frame.phases, "since": since,
                "views": [{view.name: blob.add_all(view.arrays) for view in views} for views in pictures],
                "curves": [blob.add_all(frame.curves(i, since[i])) for i in range(len(frame.histories))],
            }  # fmt: skip
        return message, blob

    def _send(self, message: dict[str, Any], blob: Blob) -> None:
        self.widget.send(message, [b"".join(blob.parts)])


def describe_view(view: View, blob: Blob) -> dict[str, Any]:
    """What of a view stays in a whole run."""
    curves = [[curve.column, curve.label, curve.whose] for curve in view.curves]
    return {
        "name": view.name, "kind": view.kind, "title": view.title, "alt": view.alt, "columns": view.columns,
        "headings": view.headings, "curves": curves, "log": view.log, "fixed": blob.add_all(view.fixed),
    }  # fmt: skip
