"""What the panel shows of a run of pix2pix. Painting changes nothing in the run."""

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantutor.configs import Pix2PixConfig
from gantutor.data import Pairs
from gantutor.lab.charts import Charts
from gantutor.lab.mosaic import mosaic, mosaic_view, tinted
from gantutor.models import receptive_field
from gantutor.plots import SURFACE
from gantutor.training import Run


class PairPainter:
    """Held-out pairs: input, G's output, target; D's verdict on each patch of output and target; and the charts.

    Both networks are asked in the config's `mode`. By default that is the paper's, "train": BatchNorm takes the
    statistics of the pictures shown, and dropout is on. The networks are copies, so that no statistics move.
    """

    FIELDS: tuple[str, ...] = ()
    ROWS, CELL = 4, 96

    def __init__(self, data: Pairs) -> None:
        from matplotlib import colormaps

        pairs, kind = (data.held_out, "held-out") if data.held_out is not None else (data, "training")
        self.A, self.B = pairs.first(self.ROWS)
        self.charts = Charts("L1")
        self.colours: Any = colormaps[SURFACE](np.arange(256))[:, :3]
        rows = len(self.A)
        self.views = [
            mosaic_view(
                "pairs",
                f"G on {kind} pairs",
                f"{rows} {kind} pairs: the input, what G makes of it, the target",
                ("input", "output", "target"),
                self.B,
                self.CELL,
            ),
            mosaic_view(
                "patches",
                "D: green real, purple fake",
                f"D's verdict on each patch of {rows} outputs and targets, from purple (fake) to green (real)",
                ("of output", "of target"),
                self.B,
                self.CELL,
                beside=True,
            ),
            self.charts.view,
        ]

    def paint(self, run: Run, names: set[str], config: Pix2PixConfig) -> dict[str, bytes]:
        """PNG bytes of the views in `names`."""
        shown: dict[str, bytes] = {}
        if names & {"pairs", "patches"}:
            fake_B = run.model.translate(self.A, config.mode)
        if "pairs" in names:
            shown["pairs"] = mosaic([self.A, fake_B, self.B])
        if "patches" in names:
            shares = [self.prob_real(run.model, B, config.mode) for B in (fake_B, self.B)]
            shown["patches"] = mosaic(
                [tinted(B, share, self.colours) for B, share in zip((fake_B, self.B), shares, strict=True)]
            )
        if "charts" in names:
            shown["charts"] = self.charts.paint(run)
        return shown

    @torch.no_grad()
    def prob_real(self, model: Any, B: Tensor, mode: str) -> np.ndarray:
        """How real D finds the place of each pixel of B, (n, H, W) in [0, 1].

        That is σ(logit), but for least squares the logit itself, whose targets are 0 and 1.
        """
        if mode == "eval":
            logits = model.scores(self.A, B)
        else:
            logits = dataclasses.replace(model, D=copy.deepcopy(model.D).train()).logits(self.A, B)
        return on_pixels(model.loss.prob_real(logits)[:, 0], model.D, B.shape[2:]).cpu().numpy()


def on_pixels(values: Tensor, D: torch.nn.Module, size: torch.Size) -> Tensor:
    """One value for each patch (n, h, w) to one for each pixel (n, H, W): that of the patch whose middle is nearest."""
    field = receptive_field(D)
    middle = field.first + (field.size - 1) / 2
    rows, columns = (
        ((torch.arange(pixels) - middle) / field.stride).round().long().clamp(0, patches - 1).to(values.device)
        for pixels, patches in zip(size, values.shape[1:], strict=True)
    )
    return values[:, rows[:, None], columns]
