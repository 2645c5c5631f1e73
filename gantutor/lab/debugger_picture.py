"""The debugger as one still picture, for where there is no front end: the code, the drawing and what happened."""

import io
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path
from PIL import Image

from gantutor.lab.story import Story
from gantutor.ledger import ALIVE, FREED, NO_GRAPH, STALE
from gantutor.plots import COLOURS

WRONG, UPDATED, LIT, FAULT, GREY = "#C00000", "#C98500", "#FFF3CD", "#F8D7DA", "#8A8A8A"
LOSS_COLOURS = {
    "0": "#8C6D1F",
    "1": "#5D6D7E",
    "2": "#2A8C8C",
    "before": GREY,
    **{name: COLOURS[name] for name in "DG"},
}
EDGES: dict[str, dict[str, Any]] = {
    "": {"ec": "#DDDDDD", "lw": 0.7}, ALIVE: {"ec": COLOURS["ink"], "lw": 1.3},
    FREED: {"ec": GREY, "lw": 1.3, "ls": "--"}, STALE: {"ec": WRONG, "lw": 1.3},
    NO_GRAPH: {"ec": GREY, "lw": 1.1, "ls": ":"}, "data": {"ec": GREY, "lw": 1.1, "ls": ":"},
}  # fmt: skip
FRAMES = {"": "#DDDDDD", STALE: WRONG, ALIVE: COLOURS["ink"], "network": COLOURS["ink"]}
BORDER, ROW, MONO, WRAP, LEAST = 10, 16, 6.03, 88, 560  # CSS pixels, and letters in a line of notes


def debugger_picture(stories: Sequence[Story], position: int) -> Image.Image:
    """The stories one below the other after so many lines, two dots to a CSS pixel."""
    blocks = [TracePicture(story, min(position, len(story.trace.lines))) for story in stories]
    width, height = max(block.width for block in blocks), sum(block.height for block in blocks)
    with style.context("default"):  # whatever the notebook has set
        figure = Figure(figsize=(width / 100, height / 100), dpi=200)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        top = 0.0
        for block in blocks:
            block.paint(axes, top)
            top += block.height
        out = io.BytesIO()
        FigureCanvasAgg(figure).print_png(out)
    return Image.open(out).convert("RGB")


class TracePicture:
    """One trace: its code at the left, its drawing and the notes at the right."""

    def __init__(self, story: Story, position: int) -> None:
        self.story, self.position = story, position
        self.scene, self.code = story.scene(position), story.code()
        reached = {line.number for line in story.trace.lines[:position]}
        found = [str(finding) for finding in story.trace.findings if finding.line in reached]
        says = [story.status(position), *story.happened(position), *(found or [story.fault(position)])]
        rows = story.table(position)
        gradients = [
            f"{row['name']}: ‖∇‖ {row['norm']}  {', '.join(text for text, _ in row['shares'])}" for row in rows
        ]
        self.notes = [
            part for text in "\n".join([*gradients, *says]).splitlines() for part in textwrap.wrap(text, WRAP)
        ]
        self.left = BORDER + MONO * (6 + max(len(text) for _, text in self.code))
        wide, self.below = self.scene["size"]
        self.width = self.left + max(wide, LEAST) + BORDER
        self.height = 2 * BORDER + ROW * 1.5 + max(ROW * len(self.code), self.below + ROW * (len(self.notes) + 1))

    def paint(self, axes: Axes, top: float) -> None:
        top += BORDER + ROW / 2
        write(axes, BORDER, top, self.story.title, 12, weight="bold")
        top += ROW
        line = self.story.trace.lines[self.position - 1] if self.position else None
        for i, (number, text) in enumerate(self.code):
            if line is not None and line.number <= number <= line.last:
                fill = FAULT if self.story.raised(self.position) else LIT
                axes.add_patch(
                    Rectangle((BORDER / 2, top + ROW * (i - 0.5)), self.left - BORDER, ROW, color=fill, lw=0)
                )
            write(axes, BORDER, top + ROW * i, f"{number:>4}  {text}", 10, family="DejaVu Sans Mono")
        for edge in self.scene["edges"]:
            paint_edge(axes, self.left, top, **edge)
        for box in self.scene["boxes"]:
            paint_box(axes, self.left + box["x"], top + box["y"], box)
        for i, text in enumerate(self.notes):
            write(axes, self.left, top + self.below + ROW * (i + 1), text, 10.5)


def paint_edge(
    axes: Axes, left: float, top: float, id: str, points: list[list[float]], state: str, sent: str, cut: Any, stops: str
) -> None:
    """Straight across a column, then in a curve to the next; a gradient goes the other way."""
    at = [(left + x, top + y) for x, y in points]
    way, codes = [at[0]], [Path.MOVETO]
    for i, ((before_x, before_y), (x, y)) in enumerate(pairwise(at)):
        middle = (before_x + x) / 2
        way += [(middle, before_y), (middle, y), (x, y)] if i % 2 else [(x, y)]
        codes += [Path.CURVE4] * 3 if i % 2 else [Path.LINETO]
    axes.add_patch(PathPatch(Path(way, codes), fc="none", zorder=1, **EDGES[state]))
    (x, y), (to_x, to_y) = at[1:3]
    middle, height = (x + to_x) / 2, (y + to_y) / 2
    if sent:
        axes.add_patch(PathPatch(Path(way, codes), fc="none", ec=LOSS_COLOURS[sent], lw=3, alpha=0.8, zorder=2))
        back = {"arrowstyle": "-|>", "color": LOSS_COLOURS[sent], "mutation_scale": 13}
        axes.annotate("", (x, y), (to_x, to_y), arrowprops=back, zorder=3)
    if cut is not None and state:
        for shift in (-4, 3):
            axes.plot([middle + shift - 3, middle + shift + 3], [height + 9, height - 9], lw=2.2 if stops else 1.4,
                      color=LOSS_COLOURS[stops] if stops else COLOURS["ink"], zorder=4)  # fmt: skip


def paint_box(axes: Axes, x: float, y: float, box: dict[str, Any]) -> None:
    width, height, mark = box["w"], box["h"], box["mark"]
    state = box.get("state", "network")
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, "round,pad=0,rounding_size=5", fc="white", ec="none", zorder=5)
    )
    shares = box.get("shares", [])
    for i, (share, whose) in enumerate(shares):  # side by side: norms of vectors do not add
        wide, high = (width - 4) / len(shares), (height - 4) * share
        corner = x + 2 + i * wide, y + height - 2 - high
        axes.add_patch(Rectangle(corner, wide, high, color=LOSS_COLOURS[whose], alpha=0.38, lw=0, zorder=6))
    edge = WRONG if mark == "broken" else UPDATED if mark == "updated" else FRAMES.get(state, GREY)
    frame: dict[str, Any] = {"ec": edge, "lw": 2.4 if mark == "updated" else 1.0, "ls": "--" if state == FREED else "-"}
    axes.add_patch(FancyBboxPatch((x, y), width, height, "round,pad=0,rounding_size=5", fc="none", zorder=7, **frame))
    look: dict[str, Any] = {"ha": "center", "color": COLOURS["ink" if state else "faint"]}
    lift, weight = (7 if box["note"] else 0), "bold" if "network" in box else "normal"
    write(
        axes, x + width / 2, y + height / 2 - lift, box["label"], 13 if "network" in box else 11, weight=weight, **look
    )
    write(axes, x + width / 2, y + height / 2 + 9, box["note"], 9.5, **look)
    if mark == "broken":
        axes.plot([x], [y + height / 2], "X", ms=11, color=WRONG, mec="white", zorder=9)


def write(axes: Axes, x: float, y: float, text: str, size: float, **look: Any) -> None:
    """Text of so many CSS pixels; a `$` in it is a dollar."""
    axes.text(x, y, text, size=0.72 * size, parse_math=False, va="center_baseline", zorder=8, **look)
