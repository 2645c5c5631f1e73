"""A panel's view in a browser, played by the test: it sends what front/source.js sends, and follows what comes."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from gantutor.lab import Lab

TYPES = {"u1": np.uint8, "f4": np.float32}


def until(condition: Callable[[], Any], limit_s: float = 30.0) -> None:
    """Wait for what another thread is to bring about."""
    end = time.perf_counter() + limit_s
    while not condition():
        assert time.perf_counter() < end, "it did not happen"
        time.sleep(0.001)


class Page:
    """One view. `drop(message)` decides what the network loses; what arrives is followed as the browser does."""

    def __init__(
        self, lab: Lab, me: str = "page", drop: Callable[[dict[str, Any]], bool] = lambda message: False
    ) -> None:
        self.lab, self.me, self.drop = lab, me, drop
        self.number = 0
        self.messages: list[dict[str, Any]] = []
        self.scene: dict[str, Any] = {}
        self.state: dict[str, Any] = {}
        self.frame: dict[str, Any] = {}
        self.history: list[dict[str, list[float]]] = []
        self.pulse: list[int] = []
        before = lab.widget.send

        def send(content: dict[str, Any], buffers: Any = None) -> None:
            before(content, buffers)
            if not self.drop(content):
                self._receive(content, (buffers or [b""])[0])

        lab.widget.send = send
        self.send("open")

    def send(self, do: str, **content: Any) -> None:
        self.lab.stream.receive({"me": self.me, "do": do, **content})

    def act(self, do: str, wait: bool = True, **content: Any) -> None:
        """A command, and until it is done unless told otherwise."""
        self.number += 1
        self.send(do, id=self.number, **content)
        if wait:
            self.lab.wait()

    def choose(self, field: str, value: Any, run: int = 0, wait: bool = True) -> None:
        """Move a control."""
        about = next(about for about in self.scene["controls"][run] if about["name"] == field)
        wire = about["options"].index(str(value)) if about["kind"] == "choice" else value
        self.act("set", run=run, field=field, value=wire, wait=wait)

    def shows(self, field: str, run: int = 0) -> Any:
        """What a control says."""
        about = next(about for about in self.scene["controls"][run] if about["name"] == field)
        value = self.state["values"][run][field]
        return about["options"][value] if about["kind"] == "choice" else value

    def pixels(self, run: int = 0) -> dict[str, bytes]:
        """All that the pictures and histograms of a run show."""
        return {
            f"{name} {part}": array.tobytes()
            for name, arrays in self.frame["views"][run].items()
            for part, array in arrays.items()
        }

    def _receive(self, message: dict[str, Any], blob: bytes) -> None:
        self.messages.append(message)
        if message.get("to") == self.me and "pulse" in message:
            self.pulse = message["pulse"]
        scene, state, frame = (message.get(part) for part in ("scene", "state", "frame"))
        if scene and scene["number"] != self.scene.get("number"):
            self.scene, self.state, self.frame = scene, {}, {}
            self.fixed = [{view["name"]: unpack(view["fixed"], blob) for view in views} for views in scene["views"]]
            self.history = [{} for _ in scene["views"]]
        if state and state["number"] > self.state.get("number", -1):
            self.state = state
        if frame and frame["scene"] == self.scene.get("number") and frame["number"] > self.frame.get("number", -1):
            views = [{name: unpack(arrays, blob) for name, arrays in views.items()} for views in frame["views"]]
            self.frame = {**frame, "views": views}
            for i, places in enumerate(frame["curves"]):
                for name, values in unpack(places, blob).items():
                    column = self.history[i].setdefault(name, [float("nan")] * frame["since"][i])
                    assert len(column) >= frame["since"][i], "steps are missing"
                    column.extend(values[len(column) - frame["since"][i] :].tolist())


def unpack(places: dict[str, Any], blob: bytes) -> dict[str, np.ndarray]:
    found = {}
    for name, (offset, kind, shape) in places.items():
        assert offset % 4 == 0
        found[name] = np.frombuffer(blob, TYPES[kind], int(np.prod(shape)), offset).reshape(shape)
    return found
