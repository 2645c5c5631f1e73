"""Runs in the kernel that executes a notebook for the site: what is live there leaves what the page needs to be live.

Each such object puts one more MIME type into its cell's output: what kind it is, and its data. What is large goes into
a file of the notebook's folder, by page.pack. The front end itself is not part of it: pages.py takes that from FRONTS.
"""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gantutor import Debugger, Lab, Paint
from gantutor.checks import result
from gantutor.lab import page
from gantutor.lab.debugger import DebuggerFront
from gantutor.lab.paint import PaintFront
from gantutor.lab.stream import Front

FRONTS: dict[str, Any] = {"panel": Front, "debugger": DebuggerFront, "paint": PaintFront}
LIVE = "application/vnd.gantutor.live+json"
SMALL_STEPS = 10


def install(folder: str, small: bool) -> None:
    """Predictions, panels, debuggers and Paint show themselves as pages.py reads it.

    Args:
        folder: For their files.
        small: No panel takes more than a few steps.
    """
    write_parts_into(Path(folder))
    savers: tuple[Any, ...] = (Debugger, Paint)
    for kind in savers:
        kind._repr_mimebundle_ = bundle_of_saved
    Lab._repr_mimebundle_ = panel_bundler(Path(folder))  # type: ignore[method-assign]
    result.Prediction.show = show_question  # type: ignore[method-assign]
    result.Answer._ipython_display_ = show_answer  # type: ignore[method-assign]
    if small:
        advance = Lab.advance
        Lab.advance = lambda self, steps: advance(self, min(steps, SMALL_STEPS))  # type: ignore[method-assign]


def write_parts_into(folder: Path) -> None:
    """Let page.write_page write the data alone, into a file, and return its name beside that of its front end."""
    module: Any = page

    def write_parts(path: Any, title: str, script: str, css: str, state: dict[str, Any], data: bytes = b"") -> Any:
        packed = page.pack(state, data)
        name = f"{hashlib.sha256(packed).hexdigest()[:12]}.bin"
        (folder / name).write_bytes(packed)
        return {"title": title, "front": next(n for n, front in FRONTS.items() if front._esm == script), "data": name}

    folder.mkdir(parents=True, exist_ok=True)
    module.write_page = write_parts


def bundle_of_saved(self: Any, include: Any = None, exclude: Any = None) -> dict[str, Any]:
    return {LIVE: {"kind": "front", **self.save("live.html")}, "text/plain": "live"}


def panel_bundler(folder: Path) -> Callable[..., Any]:
    """A panel leaves its experiments: record.py trains them, with other settings, too."""

    def bundle(self: Lab, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        self.wait()  # for a setting that the cell has just changed
        configs = pickle.dumps([view.config for view in self.run_views])
        name = f"{hashlib.sha256(configs).hexdigest()[:16]}.pickle"
        (folder / name).write_bytes(configs)
        return {LIVE: {"kind": "panel", "configs": name}, "text/plain": "panel"}

    return bundle


def put(kind: str, text: str, **data: Any) -> None:
    result.display(lambda: {LIVE: {"kind": kind, **data}, "text/plain": text})


def show_question(self: result.Prediction) -> None:
    put("question", str(self), question=self.question, options=[str(option) for option in self.options])


def show_answer(self: result.Answer) -> None:
    asked = self.prediction
    put("answer", "The answer", question=asked.question, truth=asked.number(self.truth), why=self.why)
