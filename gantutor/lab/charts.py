"""The charts of a run: losses, D's logits, gradient norms."""

import math
from typing import Any

import numpy as np
import torch
from matplotlib.ticker import FuncFormatter, NullFormatter
from torch import Tensor

from gantutor.lab.blit_figure import BlitFigure, View
from gantutor.plots import COLOURS
from gantutor.training import Run


def power_of_ten(value: float, _: int) -> str:
    """10⁻² for 0.01."""
    return "10" + f"{round(math.log10(value))}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


class Charts:
    """Losses, D's logits and gradient norms of a run; `terms` are further losses that its steps report.

    The losses of the players and the terms, `x_loss` each, have axes of their own, since their sizes differ. Logits of
    several discriminators (`logits_real_A`, `logits_real_B`) are counted together; `reach` is how far their axis goes
    at the least.
    """

    WIDTH, ROW, FOOT = 340, 100, 40  # CSS pixels: across, of each chart, and below them all
    BINS = 30
    POINTS = 300  # a curve's, at the most: more are averaged

    def __init__(self, *terms: str, reach: float = 5.0) -> None:
        rows = 4 if terms else 3
        terms_text = f", of the terms {', '.join(terms)}" if terms else ""
        self.view = View(
            "charts",
            "The losses; D's scores in its latest update; the gradients applied",
            f"Loss curves{terms_text}, histograms of D's logits on real and fake, and gradient norms",
            self.WIDTH,
            rows * self.ROW + self.FOOT,
        )
        self.canvas = BlitFigure(self.view.width, self.view.height, colours=48)
        self.losses, *between, self.logits, self.norms = self.canvas.subplots(rows)
        self.lines, self.curves = {}, {"losses": ["d_loss", "g_loss"], "norms": ["grad_D", "grad_G"]}
        above: Any = {"loc": "lower right", "bbox_to_anchor": (1, 0.9), "ncols": 2, "frameon": False}
        for axes, names in ((self.losses, self.curves["losses"]), (self.norms, self.curves["norms"])):
            for name in names:
                player = "D" if name in ("d_loss", "grad_D") else "G"
                (self.lines[name],) = axes.plot([], [], lw=1, color=COLOURS[player], label=player)
        self.losses.set_ylabel("loss")
        self.losses.legend(**above)
        if terms:
            (self.terms,) = between
            self.curves["terms"] = [f"{term.lower()}_loss" for term in terms]
            for term, name, colour in zip(terms, self.curves["terms"], (COLOURS["G"], COLOURS["ink"]), strict=False):
                (self.lines[name],) = self.terms.plot([], [], lw=1, color=colour, label=term)
            self.terms.set_ylabel("G's terms")
            self.terms.legend(**above)
        self.norms.set(ylabel="‖gradient‖", xlabel="step", yscale="log")
        # A log axis would write 10² by mathtext, whose parser is shared and not thread safe: a cell may draw meanwhile.
        self.norms.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
        self.norms.yaxis.set_minor_formatter(NullFormatter())
        self.bars = {}
        for name in ("real", "fake"):
            self.bars[name] = self.logits.stairs(
                np.zeros(self.BINS), np.arange(self.BINS + 1), fill=True, alpha=0.5, color=COLOURS[name], label=name
            )
        self.logits.set(ylabel="share", xlabel="D's logits", ylim=(0, 1))
        self.logits.legend(**above)
        self.limits: dict[str, tuple[float, float]] = {}
        self.reach = self.least_reach = reach  # of the axis of the logits
        self._length = 0
        self.canvas.moving = [*self.lines.values(), *self.bars.values()]
        self._limit("steps", 0, 200.0)

    def paint(self, run: Run) -> bytes:
        history = run.history
        if len(history) < self._length:  # another run
            self.limits.clear()
        self._length = len(history)
        reported = history.keys()
        curves = {name: self._thin(history[name]) for name in self.lines if name in reported}
        end = 200.0
        while end < len(history):
            end *= 2
        self._limit("steps", 0, end)
        for name, (steps, values) in curves.items():
            self.lines[name].set_data(steps, values)
        for name in self.lines.keys() - curves.keys():
            self.lines[name].set_data([], [])
        for which, names in self.curves.items():
            self._fit(which, [curves[name][1] for name in names if name in curves], log=which == "norms")
        self._histograms(run.last)
        return self.canvas.paint()

    def _thin(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        every = max(1, len(values) // self.POINTS)
        whole = len(values) // every * every
        parts = values[:whole].reshape(-1, every)
        return np.arange(1, len(parts) + 1) * every, parts.mean(axis=1)

    def _histograms(self, report: dict[str, Tensor]) -> None:
        scores = {}
        for name in self.bars:
            parts = [value.flatten() for key, value in report.items() if key.startswith(f"logits_{name}")]
            if parts:
                scores[name] = torch.cat(parts).cpu().numpy()
        far = max((float(np.abs(values).max()) for values in scores.values() if len(values)), default=1.0)
        while self.reach < far and self.reach < 1e6:
            self.reach *= 2
        while self.reach > self.least_reach and far < self.reach / 4:
            self.reach /= 2
        self._limit("logits", -self.reach, self.reach)
        edges = np.linspace(-self.reach, self.reach, self.BINS + 1)
        for name, bar in self.bars.items():
            values = scores.get(name, np.zeros(0))
            counts = np.histogram(values, edges)[0] / max(1, len(values))
            bar.set_data(counts, edges)

    def _fit(self, which: str, values: list[np.ndarray], log: bool = False) -> None:
        """Let an axis grow in steps, and never shrink within a run: a new limit costs as much as ten frames."""
        everything = np.concatenate(values) if values else np.zeros(0)
        everything = everything[np.isfinite(everything)]
        if log:
            everything = everything[everything > 0]
            low = 10.0 ** math.floor(math.log10(everything.min())) if len(everything) else 0.1
            high = 10.0 ** math.ceil(math.log10(everything.max())) if len(everything) else 10.0
            self._grow(which, low, max(high, low * 10))
            return
        high, low = (0.5 if which == "terms" else 2.5), 0.0
        while len(everything) and high < everything.max():
            high *= 2
        while len(everything) and low > everything.min():
            low = min(low * 2, -1.0)
        self._grow(which, low, high)

    def _grow(self, which: str, low: float, high: float) -> None:
        known_low, known_high = self.limits.get(which, (low, high))
        self._limit(which, min(low, known_low), max(high, known_high))

    def _limit(self, which: str, low: float, high: float) -> None:
        if self.limits.get(which) == (low, high):
            return
        self.limits[which] = (low, high)
        if which == "steps":
            self.losses.set_xlim(low, high)
            self.norms.set_xlim(low, high)
            if "terms" in self.curves:
                self.terms.set_xlim(low, high)
        elif which == "logits":
            self.logits.set_xlim(low, high)
        else:
            getattr(self, which).set_ylim(low, high)
        self.canvas.stale()
