"""What the panel shows of a run: views painted as PNG bytes by reused matplotlib figures.

Only `Figure` objects on Agg canvases, never pyplot, which is not thread safe. Painting changes nothing in the run.
"""

import math
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from gantutor.experiment import Data
from gantutor.plots import COLOURS, SURFACE, png, tile
from gantutor.training import Run

SMALL: Any = {"font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7, "xtick.labelsize": 7,
         "ytick.labelsize": 7, "axes.spines.top": False, "axes.spines.right": False}  # fmt: skip


@dataclass(frozen=True)
class View:
    """One picture of the panel: its name, its title, what a screen reader says, its size in CSS pixels."""

    name: str
    title: str
    alt: str
    width: int
    height: int
    pixelated: bool = False


class Canvas:
    """A figure that is laid out and drawn once, and then has only its moving artists drawn again (blitting)."""

    def __init__(self, width: int, height: int, colours: int, dpi: int = 100) -> None:
        self.colours = colours
        self.figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi)
        self.canvas = FigureCanvasAgg(self.figure)
        self.moving: list[Any] = []
        self._background: Any = None
        self._laid_out = False

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


class Charts:
    """Losses, D's logits and gradient norms of a run."""

    view = View(
        "charts",
        "The losses; D's scores in its latest update; the gradients applied",
        "Loss curves, histograms of D's logits on real and fake, and gradient norms",
        340,
        340,
    )
    BINS = 30
    POINTS = 300  # a curve's, at the most: more are averaged

    @matplotlib.rc_context(SMALL)
    def __init__(self) -> None:
        self.canvas = Canvas(self.view.width, self.view.height, colours=48)
        self.losses, self.logits, self.norms = self.canvas.figure.subplots(3)
        self.lines = {}
        for axes, names in ((self.losses, ("d_loss", "g_loss")), (self.norms, ("grad_D", "grad_G"))):
            for name in names:
                player = "D" if name in ("d_loss", "grad_D") else "G"
                (self.lines[name],) = axes.plot([], [], lw=1, color=COLOURS[player], label=player)
        self.losses.set_ylabel("loss")
        above: Any = {"loc": "lower right", "bbox_to_anchor": (1, 0.9), "ncols": 2, "frameon": False}
        self.losses.legend(**above)
        self.norms.set(ylabel="‖gradient‖", xlabel="step", yscale="log")
        self.bars = {}
        for name in ("real", "fake"):
            self.bars[name] = self.logits.stairs(
                np.zeros(self.BINS), np.arange(self.BINS + 1), fill=True, alpha=0.5, color=COLOURS[name], label=name
            )
        self.logits.set(ylabel="share", xlabel="D's logits", ylim=(0, 1))
        self.logits.legend(**above)
        self.limits: dict[str, tuple[float, float]] = {}
        self.canvas.moving = [*self.lines.values(), *self.bars.values()]
        self._limit("steps", 0, 100)

    def paint(self, run: Run) -> bytes:
        history = run.history
        shown = [name for name in self.lines if len(history) and name in history.keys()]  # noqa: SIM118
        curves = {name: self._thin(history[name]) for name in shown}
        end = 100.0
        while end < len(history):
            end *= 1.5
        self._limit("steps", 0, end)
        for name, (steps, values) in curves.items():
            self.lines[name].set_data(steps, values)
        for name in self.lines.keys() - curves.keys():
            self.lines[name].set_data([], [])
        self._fit("losses", [curves[name][1] for name in ("d_loss", "g_loss") if name in curves])
        self._fit("norms", [curves[name][1] for name in ("grad_D", "grad_G") if name in curves], log=True)
        self._histograms(run.last)
        return self.canvas.paint()

    def _thin(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        every = max(1, len(values) // self.POINTS)
        whole = len(values) // every * every
        parts = values[:whole].reshape(-1, every)
        return np.arange(1, len(parts) + 1) * every, parts.mean(axis=1)

    def _histograms(self, report: dict[str, Tensor]) -> None:
        scores = {
            name: report[f"logits_{name}"].flatten().cpu().numpy() for name in self.bars if f"logits_{name}" in report
        }
        far = max((float(np.abs(values).max()) for values in scores.values() if len(values)), default=1.0)
        reach = 5.0
        while reach < far and reach < 1e6:
            reach *= 2
        self._limit("logits", -reach, reach)
        edges = np.linspace(-reach, reach, self.BINS + 1)
        for name, bar in self.bars.items():
            values = scores.get(name, np.zeros(0))
            counts = np.histogram(values, edges)[0] / max(1, len(values))
            bar.set_data(counts, edges)

    def _fit(self, which: str, values: list[np.ndarray], log: bool = False) -> None:
        """Let an axis grow in steps, so that most frames leave it as it is."""
        everything = np.concatenate(values) if values else np.zeros(0)
        everything = everything[np.isfinite(everything)]
        if log:
            everything = everything[everything > 0]
            low = 10.0 ** math.floor(math.log10(everything.min())) if len(everything) else 0.1
            high = 10.0 ** math.ceil(math.log10(everything.max())) if len(everything) else 10.0
            self._limit(which, low, max(high, low * 10))
            return
        high, low = 2.5, 0.0
        while len(everything) and high < everything.max():
            high *= 2
        while len(everything) and low > everything.min():
            low = min(low * 2, -1.0)
        self._limit(which, low, high)

    def _limit(self, which: str, low: float, high: float) -> None:
        if self.limits.get(which) == (low, high):
            return
        self.limits[which] = (low, high)
        if which == "steps":
            self.losses.set_xlim(low, high)
            self.norms.set_xlim(low, high)
        elif which == "logits":
            self.logits.set_xlim(low, high)
        else:
            getattr(self, which).set_ylim(low, high)
        self.canvas.stale()


class ImagePicture:
    """G's images of fixed z, real images beside them, and the charts."""

    COLUMNS, ROWS = 8, 4

    def __init__(self, data: Data, z_dim: int) -> None:
        generator = torch.Generator(data.device).manual_seed(0)
        n = self.COLUMNS * self.ROWS
        self.z = torch.randn(n, z_dim, generator=generator, device=data.device)
        self.real = png(tile(data.sample(n, generator), self.COLUMNS))
        self.charts = Charts()
        _, height, width = data.shape
        scale = 320 / (self.COLUMNS * width)
        size = (320, round(self.ROWS * height * scale))
        self.views = [
            View("fake", f"G(z) of the same {n} z", f"{n} images that G makes of the same z", *size, pixelated=True),
            View("real", "Real images", f"{n} real images", *size, pixelated=True),
            Charts.view,
        ]

    def paint(self, run: Run, names: set[str]) -> dict[str, bytes]:
        """PNG bytes of the views in `names`."""
        painters = {
            "fake": lambda: png(tile(run.model.sample(self.z), self.COLUMNS)),
            "real": lambda: self.real,
            "charts": lambda: self.charts.paint(run),
        }
        return {name: painters[name]() for name in names}


class PointPicture:
    """Real and fake points on D's decision surface, where G's loss pushes the fakes, and what G does to a grid of z."""

    SIDE, FAKES, ARROWS, LINES, LIMIT = 40, 256, 80, 17, 3.0

    @matplotlib.rc_context(SMALL)
    def __init__(self, data: Data, z_dim: int) -> None:
        generator = torch.Generator(data.device).manual_seed(0)
        self.z = torch.randn(self.FAKES, z_dim, generator=generator, device=data.device)
        real = data.sample(512, generator).cpu().numpy()
        line = torch.linspace(-2, 2, self.LINES, device=data.device)
        along = torch.linspace(-2, 2, 4 * self.LINES, device=data.device)
        across, length = torch.meshgrid(line, along, indexing="ij")
        grid = torch.stack([torch.cat([across, length]), torch.cat([length, across])], dim=-1)  # (2·LINES, 4·LINES, 2)
        self.latent = torch.zeros(*grid.shape[:2], z_dim, device=data.device)
        self.latent[..., : min(2, z_dim)] = grid[..., : min(2, z_dim)]
        ticks = torch.linspace(-self.LIMIT, self.LIMIT, self.SIDE, device=data.device)
        y, x = torch.meshgrid(ticks, ticks, indexing="ij")
        self.plane = torch.stack([x, y], dim=-1).view(-1, 2)

        self.canvas = Canvas(500, 265, colours=0)
        left, right = self.canvas.figure.subplots(1, 2)
        box = (-self.LIMIT, self.LIMIT)
        for axes in (left, right):
            axes.set(xlim=box, ylim=box, aspect="equal")
        left.set_title("σ(D(x)); arrows: −∂g_loss/∂fake")
        right.set_title("G of a grid of z in [−2, 2]²")
        self.surface = left.imshow(
            np.full((self.SIDE, self.SIDE), 0.5), extent=(*box, *box), origin="lower", cmap=SURFACE, vmin=0, vmax=1,
            alpha=0.55, interpolation="bilinear",
        )  # fmt: skip
        (self.real,) = left.plot(*real.T, ".", ms=3, color=COLOURS["real"], alpha=0.7, label="real")
        (self.fake,) = left.plot([], [], ".", ms=3, color=COLOURS["fake"], alpha=0.8, label="fake")
        zeros = np.zeros(self.ARROWS)
        self.arrows = left.quiver(
            zeros, zeros, zeros, zeros, color=COLOURS["ink"], angles="xy", scale_units="xy", scale=1, width=0.003
        )
        legend = left.legend(loc="upper right", ncols=2, handletextpad=0.1, framealpha=0.9, markerscale=2)
        right.plot(*real.T, ".", ms=2, color=COLOURS["real"], alpha=0.4)
        (self.grid,) = right.plot([], [], lw=0.6, color=COLOURS["fake"])
        self.canvas.moving = [self.surface, self.real, self.fake, self.arrows, self.grid, legend]
        self.charts = Charts()
        self.views = [
            View(
                "plane",
                "D's verdict, real and fake points; what G makes of a grid of z",
                "Real and fake points on D's decision surface, and G's image of a grid of z",
                500,
                265,
            ),
            Charts.view,
        ]

    def paint(self, run: Run, names: set[str]) -> dict[str, bytes]:
        """PNG bytes of the views in `names`."""
        painters = {"plane": lambda: self._paint_plane(run), "charts": lambda: self.charts.paint(run)}
        return {name: painters[name]() for name in names}

    def _paint_plane(self, run: Run) -> bytes:
        gan = run.model
        fakes = gan.sample(self.z)
        push = gan.push(fakes[: self.ARROWS]).cpu().numpy()
        verdict = gan.verdict(self.plane).view(self.SIDE, self.SIDE).cpu().numpy()
        lines = gan.sample(self.latent.view(-1, self.latent.shape[-1])).view(*self.latent.shape[:2], 2).cpu().numpy()
        fakes = fakes.cpu().numpy()

        self.surface.set_data(verdict)
        self.fake.set_data(*fakes.T)
        self.arrows.set_offsets(fakes[: self.ARROWS])
        self.arrows.set_UVC(*(0.6 * push / max(float(np.hypot(*push.T).max()), 1e-12)).T)
        gap = np.full((len(lines), 1, 2), np.nan)  # lifts the pen between two lines
        self.grid.set_data(*np.concatenate([lines, gap], axis=1).reshape(-1, 2).T)
        return self.canvas.paint()
