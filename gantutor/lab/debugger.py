"""The step debugger: a trace to go through line by line, forwards and backwards; or two, side by side."""

import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as W
from PIL import Image

from gantutor.lab.a11y import Accessibility
from gantutor.lab.page import close_widgets, mimebundle
from gantutor.lab.stepview import Scale, StepView
from gantutor.ledger import Trace


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
        scale = Scale.of(*traces)
        titles = titles or [trace.name for trace in traces]
        self.views = [
            StepView(trace, title, f"step-{i}", scale)
            for i, (trace, title) in enumerate(zip(traces, titles, strict=True))
        ]
        self.last = max(len(trace.lines) for trace in traces)
        self.errors = [len(trace.lines) for trace in traces if trace.error is not None]
        self._build()
        self._show(0)

    # What a cell calls, and the buttons too --------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """How many lines have run."""
        return int(self.slider.value)

    def go(self, position: int) -> "Debugger":
        """To the state after `position` lines; beyond an end is that end."""
        self.slider.value = min(max(position, 0), self.last)
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

    def snapshot(self) -> Image.Image:
        """All of it as one picture."""
        pictures = [view.picture() for view in self.views]
        page = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
        for i, picture in enumerate(pictures):
            page.paste(picture, (0, sum(p.height for p in pictures[:i])))
        return page

    def close(self) -> None:
        """Take it off the page."""
        close_widgets([self.widget])

    # The widgets -----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.status = W.HTML()
        self.slider = W.IntSlider(min=0, max=self.last, description="lines run", continuous_update=True)
        self.slider.style.description_width = "initial"
        self.slider.observe(lambda change: self._show(change["new"]), "value")
        buttons = [
            self._button("Start", "fast-backward", "To before the first line", self.to_start),
            self._button("Back", "step-backward", "One line back", self.back),
            self._button("Next", "step-forward", "Run the next line", self.next),
            self._button("End", "fast-forward", "Run to the end", self.to_end),
        ]
        if self.errors:
            buttons.append(self._button("Error", "bolt", "Run to the line that raises", self.to_error))
        self.buttons = {button.description: button for button in buttons}
        self.accessibility = Accessibility()
        row = W.Layout(flex_flow="row wrap", align_items="flex-start")
        self.widget = W.VBox(
            [
                W.HBox([*buttons, self.slider], layout=W.Layout(flex_flow="row wrap")),
                self.status,
                W.Box([view.widget for view in self.views], layout=row),
                self.accessibility,
            ]
        )
        self.widget.add_class("gt-panel")
        self.widget.add_class("gt-debugger")

    def _button(self, description: str, icon: str, tooltip: str, action: Callable[[], Any]) -> W.Button:
        button = W.Button(description=description, icon=icon, tooltip=tooltip, layout=W.Layout(width="auto"))
        button.on_click(lambda _: action())
        return button

    def _show(self, position: int) -> None:
        for view in self.views:
            view.show(position)
        single = len(self.views) == 1
        texts = [view.says() if single else f"{view.title}: {view.says()}" for view in self.views]
        lines = "".join(f"<div>{html.escape(text)}</div>" for text in texts)
        self.status.value = f'<div role="status">{lines}</div>'
        self.accessibility.alt = {view.name: view.alt() for view in self.views}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return mimebundle(self.widget, self.snapshot(), "gantutor debugger")
