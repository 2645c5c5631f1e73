"""The still picture of a run: its views as one figure, drawn when somebody asks. No figure is kept.

Only `Figure` on an Agg canvas, never pyplot, which is not thread safe: a cell may draw while a panel plays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from PIL import Image

from gantutor.plots import COLOURS, MARKERS, SURFACE, sheet, smooth
from gantutor.views import PointViews, View

STILL_STYLE: Any = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 8, "legend.fontsize": 8, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
}  # fmt: skip
# In inches: the widths of the two columns of a run, the height of a chart, and of a line of text.
PICTURES, CHARTS, CHART_HEIGHT, TEXT_LINE, EDGE = 3.5, 3.3, 1.3, 0.2, 0.12


@dataclass(frozen=True)
class Column:
    """What is drawn of one run: its heading, its views, and lines of text to stand below them."""

    heading: str
    views: Sequence[View]
    notes: Sequence[str] = ()


def still(columns: Sequence[Column], dpi: int = 100) -> Image.Image:
    """The runs side by side: of each its pictures, its charts beside them, its notes below."""
    high = 2 * TEXT_LINE + max(sum(map(height_of, part)) for column in columns for part in parted(column.views))
    notes = TEXT_LINE * max(len(column.notes) for column in columns)
    wide = PICTURES + CHARTS
    with style.context(["default", STILL_STYLE]):
        figure = Figure((len(columns) * wide, high + notes), dpi=dpi)
        canvas = FigureCanvasAgg(figure)
        for i, column in enumerate(columns):
            draw_column(figure, column, i * wide, high + notes)
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def draw_column(figure: Any, column: Column, left: float, top: float) -> None:
    """Everything has its place in inches: a layout engine's moves by a pixel from one drawing to the next."""
    wide, high = figure.get_size_inches()

    def axes(x: float, y: float, width: float, height: float) -> Any:
        return figure.add_axes((x / wide, y / high, width / wide, height / high))

    figure.text((left + EDGE) / wide, 1 - TEXT_LINE / high, column.heading, fontsize=10)
    for i, note in enumerate(reversed(column.notes)):
        figure.text((left + EDGE) / wide, (TEXT_LINE * i + EDGE / 2) / high, note, fontsize=8)
    pictures, drawn = parted(column.views)
    y = top - 1.5 * TEXT_LINE
    for view in pictures:
        y -= height_of(view)
        over = TEXT_LINE * (2 if view.headings else 1)
        draw_picture(axes(left + EDGE, y + EDGE / 2, PICTURES - 2 * EDGE, height_of(view) - over - EDGE / 2), view)
    y = top - 1.5 * TEXT_LINE
    for view in drawn:
        y -= CHART_HEIGHT
        room = CHARTS - 0.45 - EDGE
        draw_chart(axes(left + PICTURES + 0.45, y + 1.3 * TEXT_LINE, room, CHART_HEIGHT - 2.4 * TEXT_LINE), view)


def parted(views: Sequence[View]) -> tuple[list[View], list[View]]:
    """The pictures, and the charts."""
    return [v for v in views if is_picture(v)], [v for v in views if not is_picture(v)]


def is_picture(view: View) -> bool:
    return view.kind in ("images", "plane")


def height_of(view: View) -> float:
    """Of a view that is as wide as its column, with its title."""
    if not is_picture(view):
        return CHART_HEIGHT
    if view.kind == "plane":
        return 0.8 * PICTURES + TEXT_LINE
    height, width = pixels_of(view).shape[:2]
    return min(PICTURES * height / width, 3.4) + TEXT_LINE * (2 if view.headings else 1)


def pixels_of(view: View) -> np.ndarray:
    """The images of a view as one, uint8 (H, W) or (H, W, 3)."""
    return sheet({**view.fixed, **view.arrays}["images"], view.columns, 2 if view.headings else 0)


def draw_picture(axes: Any, view: View) -> None:
    axes.set_title(view.title, loc="left", pad=16 if view.headings else 4)
    axes.set_anchor("NW")
    if view.kind == "images":
        pixels = pixels_of(view)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
        for i, heading in enumerate(view.headings):
            place = (i + 0.5) * pixels.shape[1] / len(view.headings)
            axes.annotate(heading, (place, 0), (0, 3), textcoords="offset points", ha="center", fontsize=8)
        return
    draw_plane(axes, {**view.fixed, **view.arrays})


def draw_plane(axes: Any, arrays: dict[str, np.ndarray]) -> None:
    limit = PointViews.LIMIT
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
    if "surface" in arrays:
        axes.imshow(
            arrays["surface"], extent=(-limit, limit, -limit, limit), origin="lower", cmap=SURFACE, vmin=0,
            vmax=255, alpha=0.55, interpolation="bilinear",
        )  # fmt: skip
    for name in ("real", "fake"):
        if name in arrays:
            axes.plot(*arrays[name].T, MARKERS[name], ms=2.5, mew=0, color=COLOURS[name], alpha=0.7, label=name)
    if "arrows" in arrays:
        start = arrays["fake"][: len(arrays["arrows"])]
        how: Any = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.003}
        axes.quiver(*start.T, *arrays["arrows"].T, color=COLOURS["ink"], **how)
        axes.legend(loc="upper right", ncols=2, handletextpad=0.1, frameon=True, markerscale=2)
    for line in arrays.get("lines", ()):
        axes.plot(*line.T, lw=0.6, color=COLOURS["fake"])


def draw_chart(axes: Any, view: View) -> None:
    axes.set_title(view.title, loc="left")
    if view.kind == "histogram":
        values = {name: array[np.isfinite(array)] for name, array in view.arrays.items()}
        far = max((float(np.abs(array).max()) for array in values.values() if len(array)), default=1.0)
        for name, array in values.items():
            weights = np.full(len(array), 1 / max(1, len(array)))
            edges = np.linspace(-far, far, 31)
            axes.hist(array, edges, weights=weights, alpha=0.5, color=COLOURS[name], label=name)
    for curve in view.curves:
        values_of = view.arrays.get(curve.column, np.zeros(0))
        steps, colour = view.arrays.get("step", np.arange(1, len(values_of) + 1)), COLOURS[curve.whose]
        axes.plot(steps, values_of, lw=0.5, alpha=0.35, color=colour)
        axes.plot(steps, smooth(values_of, max(1, len(values_of) // 50)), lw=1.3, color=colour, label=curve.label)
    if view.log:
        axes.set_yscale("log")
        # A log axis would write 10² by mathtext, whose parser is shared and not thread safe.
        axes.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
        axes.yaxis.set_minor_formatter(NullFormatter())
    beside: Any = {"loc": "lower right", "bbox_to_anchor": (1.02, 0.97), "ncols": 2, "borderpad": 0}  # the title
    axes.legend(handlelength=0.8, handletextpad=0.4, columnspacing=0.8, **beside)


def power_of_ten(value: float, _: int) -> str:
    """10⁻² for 0.01."""
    return "10" + f"{round(math.log10(value))}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
