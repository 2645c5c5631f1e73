"""What a run looks like, as data: small arrays with names, headings and texts. Looking changes nothing in the run.

    look = views_of(config, data)      # fixes the z, or the held-out images, that are shown of every step
    look(run, config)                  # a list of View

Three read them: the panel in the browser (lab/front), the still picture (still.py) and recordings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gantutor.metrics import js_divergence
from gantutor.plots import on_pixels, tinted, to_pixels
from gantutor.training import Run

ViewArrays = dict[str, np.ndarray]

MOST = 128  # pixels that are shown of an image's side
MOST_LOGITS = 4096


@dataclass(frozen=True)
class Curve:
    """One curve of a chart: a column of the history, what it is called there, and whose it is (`plots.COLOURS`)."""

    column: str
    label: str
    whose: str


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture of a run at one step.

    Attributes:
        name: Unique in the list that it is in.
        kind: What is in `arrays`.
            "images": `images`, uint8 (N, H, W) or (N, H, W, 3), row by row, `columns` in a row.
            "plane": any of `surface`, uint8 (S, S), D's probability of real from 0 to 255, the lowest row first; `real`
            and `fake`, (n, 2); `arrows`, (n, 2), from the first fakes on; `lines`, (lines, points, 2). All in [-3, 3]².
            "curves": the new values of each of `curves`, float32; where there is a `step`, too, all values, at those.
            "histogram": D's logits, `real` and `fake`, float32 (n,).
        title: What stands above it.
        alt: What a screen reader says.
        arrays: What changes from step to step.
        fixed: The same for what stays in a whole run.
        columns: Images in a row.
        headings: Above the columns, one each.
        curves: What is drawn in "curves".
        log: Whether the axis of the values is logarithmic.
    """

    name: str
    kind: str
    title: str
    alt: str
    arrays: ViewArrays = field(default_factory=dict)
    fixed: ViewArrays = field(default_factory=dict)
    columns: int = 1
    headings: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    log: bool = False

    @property
    def of_history(self) -> bool:
        """Whether it is drawn from the run's history."""
        return bool(self.curves) and "step" not in self.arrays


class Views:
    """The views of one kind of data; `terms` are further losses that its steps report, as `x_loss`."""

    TERMS: ClassVar[tuple[str, ...]] = ()

    def __call__(self, run: Run, config: Any, since: int = 0) -> list[View]:
        """The views of a run, with its curves from step `since` on."""
        *shown, last = self.pictures(run, config)
        losses, *others = charts(run, since, self.TERMS)
        return [*shown, losses, last, *others] if last.curves else [*shown, last, losses, *others]

    def pictures(self, run: Run, config: Any) -> list[View]:
        """All views but the charts of every run; a chart of one's own comes last."""
        raise NotImplementedError


class ImageViews(Views):
    """G's images of fixed z, and real images."""

    COLUMNS, ROWS = 8, 4

    def __init__(self, data: Any, config: Any) -> None:
        generator = torch.Generator(data.device).manual_seed(0)
        n = self.COLUMNS * self.ROWS
        self.z = torch.randn(n, config.z_dim, generator=generator, device=data.device)
        self.real = View(
            name="real", kind="images", title="Real images", alt=f"{n} real images.", columns=self.COLUMNS,
            fixed={"images": to_pixels(data.sample(n, generator), MOST)},
        )  # fmt: skip

    def pictures(self, run: Run, config: Any) -> list[View]:
        n = len(self.z)
        fake = View(
            name="fake", kind="images", title=f"G(z), the same {n} z at every step",
            alt=f"{n} images that G makes, of the same z at every step.", columns=self.COLUMNS,
            arrays={"images": to_pixels(run.model.sample(self.z), MOST)},
        )  # fmt: skip
        return [fake, self.real]


class PointViews(Views):
    """Real and fake points on D's verdict, where G's loss pushes the fakes, and what G does to a grid of z.

    Besides, how far G's points are from the data: `js_divergence` of their shares in CELLS² equal cells of the plane,
    16,384 real ones against the same 1,024 of G. So few find about 0.02 nats also between a distribution and itself.
    It is taken where somebody looks and the run is longer by a thirtieth than at the value before.
    """

    SIDE, FAKES, ARROWS, LINES, LIMIT = 40, 256, 80, 13, 3.0
    REAL_COUNTED, FAKES_COUNTED, CELLS = 16384, 1024, 30

    def __init__(self, data: Any, config: Any) -> None:
        generator = torch.Generator(data.device).manual_seed(0)
        z = torch.randn(self.FAKES, config.z_dim, generator=generator, device=data.device)
        reals = data.sample(512, generator)
        self.partners = reals[: self.ARROWS]  # what a relativistic loss compares the fakes with
        self.real = as_float(reals)
        line = torch.linspace(-2, 2, self.LINES, device=data.device)
        along = torch.linspace(-2, 2, 2 * self.LINES, device=data.device)
        across, length = torch.meshgrid(line, along, indexing="ij")
        grid = torch.stack([torch.cat([across, length]), torch.cat([length, across])], dim=-1)
        latent = torch.zeros(*grid.shape[:2], config.z_dim, device=data.device)
        latent[..., : min(2, config.z_dim)] = grid[..., : min(2, config.z_dim)]
        self.shape = (*grid.shape[:2], 2)  # of the lines that G makes of the grid
        self.z = torch.cat([latent.view(-1, config.z_dim), z])
        more = self.FAKES_COUNTED - self.FAKES
        self.more_z = torch.randn(more, config.z_dim, generator=generator, device=data.device)
        self.real_shares = self.shares(as_float(data.sample(self.REAL_COUNTED, generator)))
        self.seen: dict[int, float] = {}  # the divergence by step
        ticks = torch.linspace(-self.LIMIT, self.LIMIT, self.SIDE, device=data.device)
        y, x = torch.meshgrid(ticks, ticks, indexing="ij")
        self.plane = torch.stack([x, y], dim=-1).view(-1, 2)

    def pictures(self, run: Run, config: Any) -> list[View]:
        gan = run.model
        made = gan.sample(self.z)
        fake = made[-self.FAKES :]
        gradient = gan.fake_gradient(fake[: self.ARROWS], self.partners if gan.loss.relativistic else None)
        longest = gradient.norm(dim=1).max().clamp(min=1e-12)
        made_points = as_float(made)
        fake_points = made_points[-self.FAKES :]
        surface = (gan.prob_real(self.plane).view(self.SIDE, self.SIDE) * 255).round().byte()
        return [
            View(
                name="plane", kind="plane", title="σ(D(x)); arrows: −∂g_loss/∂fake",
                alt="Real and fake points on D's verdict, from purple, fake, to green, real. "
                "Arrows show where G's loss pushes the fakes.",
                arrays={
                    "surface": surface.cpu().numpy(), "fake": fake_points,
                    "arrows": as_float(0.6 * gradient / longest),
                },
                fixed={"real": self.real},
            ),
            View(
                name="grid", kind="plane", title="G of a grid of z in [−2, 2]²",
                alt="The lines that G makes of a square grid of z, among real points.",
                arrays={"lines": made_points[: -self.FAKES].reshape(self.shape)}, fixed={"real": self.real},
            ),
            self.divergence(run, fake_points),
        ]  # fmt: skip

    def divergence(self, run: Run, fake: np.ndarray) -> View:
        """The divergence over the steps that were looked at; `fake` are the points of G that are shown now."""
        last = max(self.seen, default=-1)
        if run.t > last + last // 30:
            counted = np.concatenate([fake, as_float(run.model.sample(self.more_z))])
            self.seen[run.t] = js_divergence(self.real_shares, self.shares(counted))
        columns = {"step": list(self.seen), "js": list(self.seen.values())}
        return View(
            name="divergence", kind="curves", title="JS divergence of data and G",
            alt="The Jensen-Shannon divergence of data and G, from 0 to ln 2 = 0.69, over the steps.",
            arrays={name: np.array(values, np.float32) for name, values in columns.items()},
            curves=(Curve("js", "JS", "ink"),),
        )  # fmt: skip

    def shares(self, points: np.ndarray) -> np.ndarray:
        """What share of points (n, 2) lies in each cell, (CELLS²,); who is beyond the edge counts in the cell there."""
        scaled = (np.nan_to_num(points) + self.LIMIT) * (self.CELLS / (2 * self.LIMIT))
        column, row = scaled.clip(0, self.CELLS - 1).astype(int).T
        return np.bincount(row * self.CELLS + column, minlength=self.CELLS**2) / len(points)


class PairViews(Views):
    """Held-out pairs: input, G's output, target; and D's verdict on each patch of output and target.

    Both networks are asked in the config's `mode`. By default that is the paper's, "train": BatchNorm takes the
    statistics of the images shown, and dropout is on; the networks' own statistics do not move.
    """

    ROWS = 4
    TERMS = ("L1",)

    def __init__(self, data: Any, config: Any) -> None:
        pairs, self.which = (data, "training") if data.held_out is None else (data.held_out, "held-out")
        self.A, self.B = pairs.first(self.ROWS)

    def pictures(self, run: Run, config: Any) -> list[View]:
        fake_B, rows = run.model.translate(self.A, config.mode), len(self.A)
        verdicts = [tinted(B, self.prob_real(run.model, B, config.mode)) for B in (fake_B, self.B)]
        return [
            in_columns(
                "pairs", f"G on {self.which} pairs",
                f"{rows} {self.which} pairs: the input, what G makes of it, the target.",
                {"input": self.A, "output": fake_B, "target": self.B},
            ),
            in_columns(
                "patches", "D's verdict: green real, purple fake",
                f"D's verdict on each patch of {rows} outputs and targets, from purple, fake, to green, real.",
                {"of output": verdicts[0], "of target": verdicts[1]},
            ),
        ]  # fmt: skip

    @torch.no_grad()
    def prob_real(self, model: Any, B: Tensor, mode: str) -> Tensor:
        """How real D finds the place of each pixel of B, (n, H, W) in [0, 1].

        That is σ(logit), but for least squares the logit itself, whose targets are 0 and 1.
        """
        logits = model.scores(self.A, B, mode)
        return on_pixels(model.loss.prob_real(logits)[:, 0], model.D, B.shape[2:])


class UnpairedViews(Views):
    """Held-out images of each domain: translated, translated back, and through the other generator."""

    ROWS = 3
    TERMS = ("cycle", "identity")

    def __init__(self, data: Any, config: Any) -> None:
        self.A, self.B = data.test(self.ROWS)
        self.domains = data.domains

    def pictures(self, run: Run, config: Any) -> list[View]:
        made = {"real_A": self.A, "real_B": self.B, **run.model.translate(self.A, self.B)}
        return [
            in_columns(
                f"{here}_to_{there}", f"{here} to {there}, {name_here} to {name_there}: held-out images",
                f"{len(made[f'real_{here}'])} held-out images of {name_here}: real, as {name_there}, translated back, "
                f"and what the generator that makes {name_here} does to them.",
                {name: made[name] for name in (f"real_{here}", f"fake_{there}", f"rec_{here}", f"idt_{here}")},
            )
            for here, there, name_here, name_there in (("A", "B", *self.domains), ("B", "A", *self.domains[::-1]))
        ]  # fmt: skip


VIEWS_OF: dict[str, type[Any]] = {
    "points": PointViews,
    "images": ImageViews,
    "pairs": PairViews,
    "unpaired": UnpairedViews,
}


def views_of(config: Any, data: Any) -> Views:
    """A function from a run of that config to its views."""
    look: Views = VIEWS_OF[data.kind](data, config)
    return look


def charts(run: Run, since: int, terms: tuple[str, ...] = ()) -> list[View]:
    """The losses, D's logits in its latest update, and the norms of the gradients applied; curves from `since` on."""
    columns = run.history.since(since)

    def chart(name: str, title: str, alt: str, curves: Sequence[tuple[str, str, str]], log: bool = False) -> View:
        drawn = tuple(Curve(*curve) for curve in curves)
        arrays = {c.column: columns[c.column].astype(np.float32) for c in drawn if c.column in columns}
        return View(
            name=name, kind="curves", title=title, alt=f"{alt}, over the steps.", curves=drawn, log=log, arrays=arrays
        )  # fmt: skip

    losses = chart("losses", "Losses", "The losses of D and G", [("d_loss", "D", "D"), ("g_loss", "G", "G")])
    names = f"The terms of G's loss: {', '.join(terms)}"
    of_terms = [(f"{term.lower()}_loss", term, whose) for term, whose in zip(terms, ("G", "ink"), strict=False)]
    rest = [chart("terms", "Terms of G's loss", names, of_terms)] if terms else []
    norms = [("grad_D", "D", "D"), ("grad_G", "G", "G")]
    title, alt = "Norm of the gradient applied", "The norms of the gradients that D and G applied"
    rest.append(chart("gradients", title, alt, norms, log=True))
    logits = View(
        name="logits", kind="histogram", title="D's logits in its latest update",
        alt="Histograms of D's logits on real and on fake. Where they overlap, D cannot tell.",
        arrays={name: logits_of(run.last, name) for name in ("real", "fake")},
    )  # fmt: skip
    return [losses, logits, *rest]


def logits_of(report: dict[str, Tensor], name: str) -> np.ndarray:
    """The logits that a step reports of real or fake, (n,); of several discriminators together."""
    found = [value.flatten() for key, value in report.items() if key.startswith(f"logits_{name}")]
    whole = torch.cat(found) if found else torch.zeros(0)
    return as_float(whole[:: len(whole) // MOST_LOGITS + 1])


def as_float(numbers: Tensor) -> np.ndarray:
    return numbers.detach().float().cpu().numpy()


def in_columns(name: str, title: str, alt: str, columns: dict[str, Tensor]) -> View:
    """Batches of images in columns of these headings; beside coloured images grey ones become colour."""
    coloured = any(images.shape[1] == 3 for images in columns.values())
    cells = [
        images.expand(-1, 3, -1, -1) if coloured and images.shape[1] == 1 else images for images in columns.values()
    ]
    rows = torch.stack([cell.to(cells[0].device) for cell in cells], dim=1).flatten(0, 1)
    return View(
        name=name, kind="images", title=title, alt=alt, columns=len(columns), headings=tuple(columns),
        arrays={"images": to_pixels(rows, MOST)},
    )  # fmt: skip
