"""The figure that paints the drawing of the debugger.

Only `Figure` objects on Agg canvases, never pyplot, which is not thread safe.
"""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from gantutor.plots import png

SMALL: Any = {"font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7,
              "axes.spines.top": False, "axes.spines.right": False}  # fmt: skip
# Ticks are made when limits change, from whatever matplotlib's settings are by then: these stay.
TICKS: Any = {"which": "both", "labelsize": 7, "color": "black", "labelcolor": "black"}


def panel_style() -> AbstractContextManager[None]:
    """Draw as the panel does, whatever the notebook has set; for the thread that makes a figure."""
    return style.context(["default", SMALL])


class BlitFigure:
    """A figure that is laid out and drawn once, and then has only its moving artists drawn again (blitting).

    `width` and `height` are CSS pixels, `sharpness` the dots to each, `colours` the size of the palette or 0.
    """

    def __init__(self, width: int, height: int, colours: int, sharpness: int = 1) -> None:
        self.colours = colours
        self.figure = Figure(figsize=(width / 100, height / 100), dpi=100 * sharpness)
        self.canvas = FigureCanvasAgg(self.figure)
        self.moving: list[Any] = []
        self._background: Any = None
        self._laid_out = False

    def plain_axes(self) -> Any:
        """Axes that fill the figure, without frame or ticks: their maker lays out what is in them."""
        self._laid_out = True
        axes = self.figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        return axes

    def subplots(self, rows: int = 1, columns: int = 1) -> Any:
        axes = self.figure.subplots(rows, columns)
        for each in np.ravel(axes):
            each.tick_params(**TICKS)
            each.grid(False, which="both")
        return axes

    def stale(self) -> None:
        """Something that stands still has changed: draw it all at the next paint."""
        self._background = None

    def paint(self) -> bytes:
        if not self._laid_out:  # once: the layout moves a little each time, but the same run must give the same picture
            self._laid_out = True
            ConstrainedLayoutEngine().execute(self.figure)
        if self._background is None:
            for artist in self.moving:
                artist.set_animated(True)
            self.canvas.draw()
            self._background = self.canvas.copy_from_bbox(self.figure.bbox)
        self.canvas.restore_region(self._background)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        return png(np.asarray(self.canvas.buffer_rgba())[..., :3], colours=self.colours)
