"""One trace in the step debugger: the source with a line lit, the drawing, the gradients and what they cost so far."""

import html
import io
import textwrap
from dataclasses import dataclass

import ipywidgets as W
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from gantutor.lab.flowchart import Flowchart
from gantutor.ledger import Line, NetworkState, Trace
from gantutor.ledger.records import count, together

LIT, FAULT = "#FFF3CD", "#F8D7DA"


@dataclass(frozen=True)
class Scale:
    """The most that any trace beside this one keeps for backward, in bytes, and computes, in FLOPs: full bars."""

    saved_bytes: int
    flops: int

    @classmethod
    def of(cls, *traces: Trace) -> "Scale":
        lines = [line for trace in traces for line in trace.lines]
        return cls(max(line.saved_bytes for line in lines), max(line.flops for line in lines))


class StepView:
    """The widgets of one trace; `show(position)` puts them to the state after so many lines."""

    def __init__(self, trace: Trace, title: str, name: str, scale: Scale) -> None:
        self.trace, self.title, self.name, self.scale = trace, title, name, scale
        self.position = 0
        self.drawing = Flowchart(trace)
        self.pngs = [self.drawing.paint(position) for position in range(len(trace.lines) + 1)]  # now, not at a click
        numbered = enumerate(trace.source.rstrip().splitlines(), trace.first_line)
        self.code = [(number, text) for number, text in numbered if number not in trace.docstring]  # it would take room
        self.source, self.ledger = W.HTML(), W.HTML()
        self.image = W.Image(format="png", layout=W.Layout(width="99%", max_width=f"{self.drawing.WIDTH}px"))
        self.image.add_class(f"gt-view-{name}")
        heading = W.HTML(f"<b>{html.escape(title)}</b>")
        code = W.VBox([self.source], layout=W.Layout(flex="1 1 380px", min_width="0"))
        state = W.VBox([self.image, self.ledger], layout=W.Layout(flex="1 1 390px", min_width="0"))
        # Beside each other; where there is no room, the state comes above the code, nearer to the buttons.
        both = W.Box([code, state], layout=W.Layout(flex_flow="row wrap-reverse", align_items="flex-end"))
        self.widget = W.VBox([heading, both], layout=W.Layout(flex="1 1 390px", min_width="0", padding="4px"))
        self.widget.add_class("gt-run-view")

    @property
    def line(self) -> Line | None:
        """The line that has just run; None at the start."""
        return self.trace.lines[self.position - 1] if self.position else None

    @property
    def raised(self) -> bool:
        return self.trace.error is not None and self.position == len(self.trace.lines)

    def show(self, position: int) -> None:
        """The state after `position` lines, or after the last one."""
        self.position = min(position, len(self.trace.lines))
        self.source.value = self._source()
        self.ledger.value = self._ledger()
        self.image.value = self.pngs[self.position]

    def lit(self) -> range:
        """The numbers of the lines of the statement that has just run."""
        return range(self.line.number, self.line.last + 1) if self.line else range(0)

    # In words --------------------------------------------------------------------------------------------------------

    def says(self) -> str:
        """What the status line says."""
        if self.line is None:
            return "before the first line"
        text = f"line {self.line.number}: {self.line.text}"
        return f"{text} raises {type(self.trace.error).__name__}" if self.raised else text

    def fault(self) -> str:
        """What went wrong, once the line that raises has run."""
        return self.trace.diagnosis or str(self.trace.error) if self.raised else ""

    def alt(self) -> str:
        """The drawing in words."""
        states = self.line.tensors.items() if self.line else ()
        tensors = ", ".join(f"{name}: {state.state}" for name, state in states if name in self.drawing.layout.at)
        gradients = ", ".join(f"{name} {self._gradient(state)}" for name, state in self._networks().items())
        return (
            f"{self.trace.name}, {self.says()}. {self.fault()} Gradients: {gradients}. Graphs: {tensors or 'none yet'}."
        )

    def _gradient(self, state: NetworkState) -> str:
        if not state.with_gradient:
            return "none"
        parts = [f"{part.norm:.2g} {self._sender(part.line)}" for part in state.contributions]
        return together(parts, state.gradient_norm)

    def _sender(self, number: int) -> str:
        return f"{self.drawing.sent_by.get(number, '')} (line {number})" if number else "(before)"

    def _networks(self) -> dict[str, NetworkState]:
        return self.line.networks if self.line else self.trace.before

    # As HTML ---------------------------------------------------------------------------------------------------------

    def _source(self) -> str:
        lit = self.lit()
        lines = []
        for number, text in self.code:
            colour = f";background:{FAULT if self.raised else LIT};color:#000" if number in lit else ""
            mark = "▶" if number in lit[:1] else " "
            lines.append(
                f'<div style="padding-left:11ch;text-indent:-11ch{colour}">'
                f'<span style="opacity:.55">{mark}{number:>4} </span>{html.escape(text) or " "}</div>'
            )
        style = "font:12px/1.45 monospace;white-space:pre-wrap;overflow-wrap:anywhere"
        return f'<div class="gt-source" style="{style}">{"".join(lines)}</div>'

    def _ledger(self) -> str:
        rows = []
        normed = any(state.batchnorms for state in self.trace.before.values())
        for name, state in self._networks().items():
            updates = [line.number for line in self.trace.lines[: self.position] if line.networks[name].changed]
            cells = [
                f"<b>{html.escape(name)}</b>",
                f"{state.gradient_norm:.2g}" if state.with_gradient else "none",
                self._chips(state),
                f"{state.with_gradient} of {state.parameters}",
                ", ".join(map(str, updates)) or "-",
                *([str(max((norm.batches for norm in state.batchnorms), default=0))] if normed else []),
            ]
            rows.append(
                "<tr>" + "".join(f'<td style="padding:0 8px;text-align:left">{c}</td>' for c in cells) + "</tr>"
            )
        heads = ["", "‖∇‖", "from", "tensors", "updated on", *(["BatchNorm counted"] if normed else [])]
        head = "".join(f'<th scope="col" style="padding:0 8px;text-align:left">{text}</th>' for text in heads)
        saved, flops = (self.line.saved_bytes, self.line.flops) if self.line else (0, 0)
        spent = sum(line.milliseconds for line in self.trace.lines[: self.position])
        bars = bar("kept for backward", saved, self.scale.saved_bytes, count(saved, "B"))
        bars += bar("computed so far", flops, self.scale.flops, f"{count(flops)} FLOPs, {spent:.1f} ms")
        fault = f'<div style="background:{FAULT};color:#000;padding:2px 8px">{html.escape(self.fault())}</div>'
        table = f'<table style="font-size:12px;line-height:1.4"><thead><tr>{head}</tr></thead>{"".join(rows)}</table>'
        return table + bars + (fault if self.raised else "")

    def _chips(self, state: NetworkState) -> str:
        return " and ".join(
            f'<span style="white-space:nowrap;border-bottom:3px solid {self.drawing.colour(part.line)}">'
            f"{part.norm:.2g} {html.escape(self._sender(part.line))}</span>"
            for part in state.contributions
        )

    # As a picture ----------------------------------------------------------------------------------------------------

    def picture(self) -> Image.Image:
        """The same as one picture, for where there is no front end."""
        font = ImageFont.truetype(font_manager.findfont("DejaVu Sans Mono"), 11)
        shown = Image.open(io.BytesIO(self.pngs[self.position])).convert("RGB")
        shown = shown.resize((self.drawing.WIDTH, self.drawing.height), Image.Resampling.LANCZOS)
        notes = [f"{name}: gradient {self._gradient(state)}" for name, state in self._networks().items()]
        if self.line:
            notes.append(
                f"kept for backward {count(self.line.saved_bytes, 'B')}, {count(self.line.flops)} FLOPs so far"
            )
        notes += textwrap.wrap(f"{self.says()}. {self.fault()}", 72)
        left = round(max(font.getlength(f"{0:>6}  {text}") for _, text in self.code)) + 16
        size = (left + shown.width, 24 + max(16 * len(self.code), shown.height + 16 * len(notes)) + 8)
        page = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(page)
        draw.text((8, 4), self.title, fill="black", font=font)
        for i, (number, text) in enumerate(self.code):
            if number in self.lit():
                draw.rectangle((4, 23 + 16 * i, left - 6, 39 + 16 * i), fill=FAULT if self.raised else LIT)
            draw.text((8, 24 + 16 * i), f"{number:>4}  {text}", fill="black", font=font)
        page.paste(shown, (left, 24))
        for i, text in enumerate(notes):
            draw.text((left + 8, 24 + shown.height + 16 * i), text, fill="black", font=font)
        return page


def bar(label: str, value: float, most: float, text: str) -> str:
    """A labelled bar, `value` of `most` long."""
    share = 100 * value / most if most else 0
    return (
        '<div style="display:flex;align-items:center;font-size:12px;line-height:1.5">'
        f'<span style="width:9.5em">{label}</span>'
        '<span style="flex:1;height:9px;background:#8883;margin:0 8px">'
        f'<span style="display:block;height:9px;width:{share:.1f}%;background:#888"></span></span>'
        f'<span style="width:12em">{text}</span></div>'
    )
