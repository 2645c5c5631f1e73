"""The drawing of the step debugger: tensors and networks, graphs alive and dead, and gradients on their way."""

import re
from collections.abc import Sequence
from typing import Any

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from gantutor.lab.blit_figure import BlitFigure, panel_style
from gantutor.lab.layout import Box, Edge, Layout
from gantutor.ledger import ALIVE, FREED, NO_GRAPH, STALE, Line, Link, Trace
from gantutor.plots import COLOURS

Polyline = Sequence[tuple[float, float]]
BROKEN, MOVED, UNSEEN = "#CC0000", "#E69F00", "#E4E4E4"
WORDS = {ALIVE: "graph alive", FREED: "graph freed", STALE: "graph stale", NO_GRAPH: "no graph"}
LINE = {
    ALIVE: {"color": COLOURS["ink"], "lw": 1.6},
    FREED: {"color": COLOURS["faint"], "lw": 1.6, "ls": (0, (4, 2))},
    STALE: {"color": BROKEN, "lw": 1.6},
    NO_GRAPH: {"color": COLOURS["faint"], "lw": 1.2, "ls": (0, (1, 2))},
}


def colour_of(loss: str, order: Sequence[str]) -> str:
    """The colour of what a loss sends back: D's for d_loss or errD, G's likewise, others by their place in `order`."""
    player = re.match(r"(?i)([dg])_?(?:loss|err)|.*(?:loss|err|cost)_?([dg])(?:_|$)", loss)
    if player:
        return COLOURS[(player[1] or player[2]).upper()]
    return (COLOURS["fake"], COLOURS["real"], COLOURS["ink"])[list(order).index(loss) % 3]


class Flowchart:
    """Draws a trace as it stands after so many lines; 0 is before the first."""

    WIDTH, ROW = 520, 60  # CSS pixels; there are two dots to each
    TENSOR, NETWORK = 0.38, 0.29  # half of their widths, in columns

    def __init__(self, trace: Trace) -> None:
        self.trace, self.layout = trace, Layout(trace)
        self.height = round(self.ROW * (self.layout.height + 0.9))
        with panel_style():
            self.canvas = BlitFigure(self.WIDTH, self.height, colours=64, sharpness=2)
            self.axes = self.canvas.plain_axes()
            rows = self.layout.height / 2
            self.axes.set(xlim=(-0.5, self.layout.width - 0.5), ylim=(-rows - 0.45, rows + 0.45))
        self.data = {  # what is there before the first line
            name: state
            for name, state in trace.lines[0].tensors.items()
            if re.split(r"[.\[]", name)[0] in trace.arguments
        }
        self.losses = list(dict.fromkeys(name for line in trace.lines for name in line.backwards))
        self.sent_by = {line.number: line.backwards[0] for line in trace.lines if line.backwards}

    def paint(self, position: int) -> bytes:
        """PNG of the state after `position` lines."""
        with panel_style():
            for artist in [*self.axes.lines, *self.axes.patches, *self.axes.texts]:
                artist.remove()
            line = self.trace.lines[position - 1] if position else None
            for edge in self.layout.edges:
                self._edge(edge, line)
            for box in self.layout.boxes.values():
                self._box(box, line)
            for name in self.layout.at:
                self._tensor(name, line)
            for loss, edge, behind in self.sent(line) if line else ():
                self._arrow((edge.after if behind else edge.before)[::-1], colour_of(loss, self.losses))
            if self.trace.error is not None and position == len(self.trace.lines):
                self._fault()
            self.canvas.stale()
            return self.canvas.paint()

    # What is drawn ---------------------------------------------------------------------------------------------------

    def _edge(self, edge: Edge, line: Line | None) -> None:
        link = link_of(edge.target, line)
        if link is None:
            self._way(edge.before, color=UNSEEN, lw=1)
            self._way(edge.after, color=UNSEEN, lw=1)
            return
        self._way(edge.after, **LINE[link.state])
        if edge.source in link.made_from:
            self._way(edge.before, **LINE[link.state])
            return
        self._way(edge.before, **LINE[NO_GRAPH])
        if edge.before and link_of(edge.source, line) is not None:  # no data, but the end of a graph
            x, y = edge.before[0]
            x += (self.TENSOR + 1 - self.NETWORK) / 2 if edge.boxes else 0.5
            for place in (x - 0.04, x + 0.04):
                self.axes.plot([place, place], [y - 0.1, y + 0.1], color=COLOURS["ink"], lw=1.5, zorder=7)
            self._text(x + 0.12, self.layout.at[edge.source][1] + 0.33, "detached", size=6.5, ha="right")

    def _box(self, box: Box, line: Line | None) -> None:
        low, height = box.low - 0.36, box.high - box.low + 0.72
        state = line.networks[box.network] if line else self.trace.before[box.network]
        moved = state.changed and line is not None
        parts = [(part.norm, self.colour(part.line)) for part in state.contributions]
        largest = max((norm for norm, _ in parts), default=0.0) or 1.0
        self._block(box.column, low, height, fc="white", lw=0)
        for i, (norm, colour) in enumerate(parts):  # side by side, as high as each is large: norms do not stack
            self._block(box.column, low, height * norm / largest, (i, len(parts)), fc=colour, alpha=0.3, lw=0)
        self._block(box.column, low, height, fc="none", ec=MOVED if moved else COLOURS["ink"], lw=3.2 if moved else 1.2)
        middle = (box.low + box.high) / 2
        self._text(box.column, middle + 0.1, box.network, size=11, weight="bold")
        note = "updated" if moved else f"‖∇‖ {state.gradient_norm:.2g}" if parts else "∇ none"
        self._text(box.column, middle - 0.2, note, size=6.5)

    def _tensor(self, name: str, line: Line | None) -> None:
        x, y = self.layout.at[name]
        state = line.tensors.get(name) if line else self.data.get(name)
        kind = state.state if state else ""
        edge = {"": UNSEEN, ALIVE: COLOURS["ink"], STALE: BROKEN}.get(kind, "#999999")
        self.axes.add_patch(
            FancyBboxPatch(
                (x - self.TENSOR, y - 0.24), 2 * self.TENSOR, 0.48, "round,pad=0.02,rounding_size=0.08",
                fc="white", ec=edge, lw=1.2, zorder=4,
            )
        )  # fmt: skip
        short = name if len(name) <= 12 else name[:11] + "…"
        self._text(x, y + (0.06 if state else 0), short, size=8, color=COLOURS["ink" if state else "faint"])
        if state:
            note = "data" if kind == NO_GRAPH and state.link is None else WORDS[kind]
            self._text(x, y - 0.14, note, size=6, color=BROKEN if kind == STALE else "#777777")

    def _fault(self) -> None:
        """A cross where the backward that raised came to the part of the graph that was freed or changed before."""
        name, state = self.broken()
        edge = next((edge for edge in self.layout.edges if edge.target == name), None)
        if edge is not None:
            (x, y), (to_x, to_y) = (edge.after or edge.before)[-2:]
            x, y = (x + self.NETWORK + to_x - self.TENSOR) / 2, (y + to_y) / 2
            self.axes.plot([x], [y], "X", ms=13, color=BROKEN, mec="white", mew=1.2, zorder=9)
            self._text(x, y + 0.34, "freed" if state == FREED else "changed", size=7, color=BROKEN)

    # What it says ----------------------------------------------------------------------------------------------------

    def sent(self, line: Line) -> list[tuple[str, Edge, bool]]:
        """What the line's backwards have sent back: the loss, an edge, and whether on its half behind the networks."""
        received = {
            name for name, state in line.networks.items() if any(c.line == line.number for c in state.contributions)
        }
        return [
            (loss, edge, behind) for loss in line.backwards for edge, behind in self._from(loss, line, received, set())
        ]

    def _from(self, name: str, line: Line, received: set[str], seen: set[str]) -> list[tuple[Edge, bool]]:
        """The halves of edges on which a gradient came from tensor `name` to a network or a leaf that received one."""
        link = link_of(name, line)
        if link is None or name in seen:
            return []
        seen.add(name)
        found: list[tuple[Edge, bool]] = []
        for edge in self.layout.edges:
            if edge.target != name:
                continue
            source = line.tensors.get(edge.source)
            further = self._from(edge.source, line, received, seen) if edge.source in link.made_from else []
            is_leaf = edge.source in link.made_from and source is not None and source.gradient_norm is not None
            if further or is_leaf:
                found += [(edge, False), *further]
            if edge.after and (further or is_leaf or received & set(link.through)):
                found.append((edge, True))
        return found

    def broken(self) -> tuple[str, str]:
        """The tensor behind which the backward that raised met a graph that was FREED or STALE before it, and which."""
        *_, before, line = [None, *self.trace.lines]
        waiting, seen = list(line.backwards) if line else [], set[str]()
        while waiting:
            name = waiting.pop(0)
            link = link_of(name, before) or link_of(name, line)
            if link is not None and name not in seen:
                seen.add(name)
                if link.state in (FREED, STALE):
                    return name, link.state
                waiting += link.made_from
        return "", ALIVE

    def colour(self, number: int) -> str:
        """The colour of what the backward on that line has sent."""
        loss = self.sent_by.get(number)
        return COLOURS["faint"] if loss is None else colour_of(loss, self.losses)

    # How it is drawn -------------------------------------------------------------------------------------------------

    def _way(self, points: Polyline, **style: Any) -> None:
        if points:
            self.axes.plot(*zip(*points, strict=True), zorder=1, solid_capstyle="round", **style)

    def _block(self, column: int, bottom: float, height: float, strip: tuple[int, int] = (0, 1), **style: Any) -> None:
        """A rectangle as wide as a network, or the i-th of n strips of it."""
        place, count = strip
        width = 2 * self.NETWORK / count
        left = column - self.NETWORK + place * width
        self.axes.add_patch(Rectangle((left, bottom), width, height, zorder=3, **style))

    def _arrow(self, points: Polyline, colour: str) -> None:
        """Along the way, from a bit after its first point to a bit before its last."""
        self._way(points, color=colour, lw=4, alpha=0.75)
        *_, (x, y), (to_x, to_y) = points
        middle = (x + 0.45 * (to_x - x), y + 0.45 * (to_y - y))
        further = (x + 0.62 * (to_x - x), y + 0.62 * (to_y - y))
        self.axes.add_patch(
            FancyArrowPatch(middle, further, arrowstyle="-|>", mutation_scale=16, color=colour, zorder=6)
        )

    def _text(self, x: float, y: float, text: str, **style: Any) -> None:
        style = {"color": COLOURS["ink"], "ha": "center", "va": "center", "zorder": 8, "parse_math": False, **style}
        self.axes.text(x, y, text, **style)


def link_of(name: str, line: Line | None) -> Link | None:
    """Where a tensor comes from as of a line."""
    state = line.tensors.get(name) if line else None
    return state.link if state else None
