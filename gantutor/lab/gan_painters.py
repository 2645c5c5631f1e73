"""What the panel shows of a GAN's run, by the kind of its data. Painting changes nothing in the run.

A picture is made for a data set and for those fields of a config that are in its FIELDS. Its views are the charts, the
last, and whatever else there is to see; `paint(run, names, experiment)` gives the views in `names` as PNG bytes.
"""

import numpy as np
import torch

from gantutor.configs import Config, GANData
from gantutor.lab.blit_figure import BlitFigure, View
from gantutor.lab.charts import Charts
from gantutor.plots import COLOURS, MARKERS, SURFACE, png, tile
from gantutor.training import Run


class ImagePainter:
    """G's images of fixed z, real images beside them, and the charts."""

    FIELDS = ("z_dim",)
    COLUMNS, ROWS = 8, 4

    def __init__(self, data: GANData, z_dim: int) -> None:
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
            View("real", "Real images", f"{n} real images", *size, pixelated=True, still=True),
            self.charts.view,
        ]

    def paint(self, run: Run, names: set[str], config: Config) -> dict[str, bytes]:
        """PNG bytes of the views in `names`."""
        painters = {
            "fake": lambda: png(tile(run.model.sample(self.z), self.COLUMNS)),
            "real": lambda: self.real,
            "charts": lambda: self.charts.paint(run),
        }
        return {name: painters[name]() for name in names}


class PointPainter:
    """Real and fake points on D's decision surface, where G's loss pushes the fakes, and what G does to a grid of z."""

    FIELDS = ("z_dim",)
    SIDE, FAKES, ARROWS, LINES, LIMIT = 40, 256, 80, 17, 3.0

    def __init__(self, data: GANData, z_dim: int) -> None:
        generator = torch.Generator(data.device).manual_seed(0)
        self.z = torch.randn(self.FAKES, z_dim, generator=generator, device=data.device)
        reals = data.sample(512, generator)
        self.partners, real = reals[: self.ARROWS], reals.cpu().numpy()  # partners of a relativistic loss's fakes
        line = torch.linspace(-2, 2, self.LINES, device=data.device)
        along = torch.linspace(-2, 2, 4 * self.LINES, device=data.device)
        across, length = torch.meshgrid(line, along, indexing="ij")
        grid = torch.stack([torch.cat([across, length]), torch.cat([length, across])], dim=-1)  # (2·LINES, 4·LINES, 2)
        self.latent = torch.zeros(*grid.shape[:2], z_dim, device=data.device)
        self.latent[..., : min(2, z_dim)] = grid[..., : min(2, z_dim)]
        ticks = torch.linspace(-self.LIMIT, self.LIMIT, self.SIDE, device=data.device)
        y, x = torch.meshgrid(ticks, ticks, indexing="ij")
        self.plane = torch.stack([x, y], dim=-1).view(-1, 2)

        self.canvas = BlitFigure(480, 255, colours=0)
        left, right = self.canvas.subplots(1, 2)
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
        (self.fake,) = left.plot([], [], MARKERS["fake"], ms=3, mew=0, color=COLOURS["fake"], alpha=0.8, label="fake")
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
                480,
                255,
            ),
            self.charts.view,
        ]

    def paint(self, run: Run, names: set[str], config: Config) -> dict[str, bytes]:
        """PNG bytes of the views in `names`."""
        painters = {"plane": lambda: self._paint_plane(run), "charts": lambda: self.charts.paint(run)}
        return {name: painters[name]() for name in names}

    def _paint_plane(self, run: Run) -> bytes:
        gan = run.model
        fakes = gan.sample(self.z)
        gradient = gan.fake_gradient(fakes[: self.ARROWS], self.partners).cpu().numpy()
        prob_real = gan.prob_real(self.plane).view(self.SIDE, self.SIDE).cpu().numpy()
        lines = gan.sample(self.latent.view(-1, self.latent.shape[-1])).view(*self.latent.shape[:2], 2).cpu().numpy()
        fakes = fakes.cpu().numpy()

        self.surface.set_data(prob_real)
        self.fake.set_data(*fakes.T)
        self.arrows.set_offsets(fakes[: self.ARROWS])
        self.arrows.set_UVC(*(0.6 * gradient / max(float(np.hypot(*gradient.T).max()), 1e-12)).T)
        gap = np.full((len(lines), 1, 2), np.nan)  # lifts the pen between two lines
        self.grid.set_data(*np.concatenate([lines, gap], axis=1).reshape(-1, 2).T)
        return self.canvas.paint()
