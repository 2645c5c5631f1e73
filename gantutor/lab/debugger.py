"""The step debugger: a trace to go through line by line, forwards and backwards; or two, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import traitlets
from PIL import Image

from gantutor.lab import page
from gantutor.lab.debugger_picture import debugger_picture
from gantutor.lab.messages import say
from gantutor.lab.page import front_script, front_style, mimebundle
from gantutor.lab.story import Story
from gantutor.lab.stream import Front
from gantutor.ledger import Trace


class DebuggerFront(Front):
    """The model of front/debugger.js."""

    _esm = front_script("dom.js", "drawing.js", "debugger.js")
    _css = front_style("panel.css", "debugger.css")
    story: Any = traitlets.Dict().tag(sync=True)
    position = traitlets.Int(0).tag(sync=True)


class Debugger:
    """Go through a step line by line, with what each line did to gradients, graphs and memory.

    >>> Debugger(trace(step, gan, real, z))
    >>> Debugger(trace(printed, gan, real, z), trace(fixed, gan, real, z), titles=("as printed", "corrected"))

    A view of traces and nothing more: nothing is run here. The methods do in a cell what the buttons do live.
    """

    def __init__(self, *traces: Trace, titles: Sequence[str] = ()) -> None:
        if not traces:
            raise ValueError("a debugger needs a trace")
        for trace in traces:
            if not trace.lines:
                raise ValueError(f"not one line of {trace.name} was run: {trace.error or 'it has none'}")
        if titles and len(titles) != len(traces):
            raise ValueError(f"{len(traces)} traces need as many titles, got {len(titles)}")
        titles = titles or [trace.name for trace in traces]
        self.stories = [Story(trace, title) for trace, title in zip(traces, titles, strict=True)]
        self.last = max(len(trace.lines) for trace in traces)
        self.errors = [len(trace.lines) for trace in traces if trace.error is not None]
        lines = [line for trace in traces for line in trace.lines]
        full = max(line.saved_bytes for line in lines), max(line.flops for line in lines)
        described = [story.describe(*full) for story in self.stories]
        error = self.errors[0] if self.errors else 0
        self.widget = DebuggerFront()
        self.widget.story = {"traces": described, "last": self.last, "error": error}

    @property
    def position(self) -> int:
        """How many lines have run."""
        return int(self.widget.position)

    def go(self, position: int) -> "Debugger":
        """To the state after `position` lines; beyond an end is that end."""
        self.widget.position = min(max(position, 0), self.last)
        return self

    def next(self) -> "Debugger":
        return self.go(self.position + 1)

    def back(self) -> "Debugger":
        return self.go(self.position - 1)

    def to_start(self) -> "Debugger":
        return self.go(0)

    def to_end(self) -> "Debugger":
        return self.go(self.last)

    def to_error(self) -> "Debugger":
        """To the line that raised. Raises: ValueError where none did."""
        if not self.errors:
            raise ValueError("no line of these steps raises")
        return self.go(self.errors[0])

    def save(self, path: str | Path) -> Path:
        """Write one HTML file that steps without a kernel. `#line=44` behind its name opens it at that line."""
        title = f"{say('debugger')}: {', '.join(story.title for story in self.stories)}"
        front = DebuggerFront._esm, DebuggerFront._css
        return page.write_page(path, title, *front, {"story": self.widget.story, "position": self.position})

    def snapshot(self) -> Image.Image:
        """All of it as one picture, for where there is no front end."""
        return debugger_picture(self.stories, self.position)

    def close(self) -> None:
        """Take it off the page."""
        self.widget.close()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return mimebundle(self.widget, self.snapshot(), "gantutor debugger")
