"""How a step's cost grows with the batch, the pictures' side and the networks' width: operations, memory, time.

    python benchmarks/growth.py [--models NAME ...] [--repeats N] [--redraw]

One thing is varied at a time, by doublings from a small preset; in a log-log plot a power law is a line, and the slope
that is given is the power between the two largest settings. Operations grow with the batch and the number of pixels
(slope 2 in the side) in proportion, and with the square of the width; time does only where the arithmetic takes the
time. DCGAN grows faster with the side: a doubling adds a layer, twice as wide as the last. The order of the step is
`simultaneous`.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from benchlib.machine import machine
from benchlib.results import Result, draw, parser, read, spread, stem, table, write
from torch import Tensor

from gantutor import pix2pix, steps
from gantutor.gan import GAN
from gantutor.ledger import cost
from gantutor.models import dcgan, patchgan, unet

Sizes = dict[str, int]  # "batch", "side", "width"


def start_dcgan(batch: int, side: int, width: int) -> tuple[Any, tuple[Tensor, ...]]:
    """A model and a batch of noise."""
    G, D = dcgan((1, side, side), 64, width, width)
    return GAN.with_adam(G, D), (torch.rand(batch, 1, side, side) * 2 - 1, torch.randn(batch, 64))


def start_pix2pix(batch: int, side: int, width: int) -> tuple[Any, tuple[Tensor, ...]]:
    """A model and a batch of noise."""
    model = pix2pix.Pix2Pix.with_adam(unet(side, width=width), patchgan(6, 2, width))
    A, B = (torch.rand(batch, 3, side, side) * 2 - 1 for _ in range(2))
    return model, (A, B)


STARTED: dict[str, tuple[Callable[..., tuple[Any, tuple[Tensor, ...]]], Callable[..., Any]]] = {
    "DCGAN": (start_dcgan, steps.simultaneous),
    "pix2pix": (start_pix2pix, pix2pix.simultaneous),
}
BASE: dict[str, Sizes] = {
    "DCGAN": {"batch": 32, "side": 32, "width": 16},
    "pix2pix": {"batch": 2, "side": 64, "width": 16},
}
VARIED: dict[str, dict[str, list[int]]] = {
    "DCGAN": {"batch": [8, 16, 32, 64, 128], "side": [32, 64], "width": [8, 16, 32, 64]},
    "pix2pix": {"batch": [1, 2, 4, 8], "side": [32, 64, 128], "width": [8, 16, 32]},
}
FIGURES = {"flops": "GFLOP", "saved_bytes": "MiB saved", "milliseconds": "ms"}
COUNTED = ("flops", "saved_bytes")
UNITS = {"flops": 1e9, "saved_bytes": 2**20, "milliseconds": 1.0}


def all_measured(models: Sequence[str], repeats: int, varied: dict[str, dict[str, list[int]]]) -> list[Result]:
    """A row for each setting; they take turns, there and back, so that a busy moment does not fall on one alone."""
    settings = [(model, name, value) for model in models for name, values in varied[model].items() for value in values]
    rows: list[Result] = []
    turns: list[Callable[[], Any]] = []
    for model, name, value in settings:
        torch.manual_seed(0)
        start_run, step = STARTED[model]
        gan, batch = start_run(**{**BASE[model], name: value})
        found = cost(step, gan, *batch, repeats=1)
        rows.append(
            {
                "model": model, "varied": name, "value": value, "flops": found.flops, "saved_bytes": found.saved_bytes,
                "milliseconds": [],
            }
        )  # fmt: skip
        turns.append(partial(step, gan, *batch))
    for number in range(repeats + 1):
        for row, turn in list(zip(rows, turns, strict=True))[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            turn()
            if number:  # the first is for warming up
                row["milliseconds"].append(round(1000 * (time.perf_counter() - start), 3))
    return rows


def figure_of(row: Result, name: str) -> float:
    value = row[name]
    return (statistics.median(value) if isinstance(value, list) else value) / UNITS[name]


def slope(rows: list[Result], name: str) -> float:
    """The power with which a figure grows between the two largest settings."""
    below, above = rows[-2:]
    growth = figure_of(above, name) / figure_of(below, name)
    return math.log(growth) / math.log(above["value"] / below["value"])


def series(result: Result) -> dict[tuple[str, str], list[Result]]:
    """The rows by model and by what is varied."""
    found: dict[tuple[str, str], list[Result]] = {}
    for row in result["rows"]:
        found.setdefault((row["model"], row["varied"]), []).append(row)
    return found


def text(result: Result) -> str:
    parts = ["# How a step's cost grows\n\n"]
    for (model, varied), rows in series(result).items():
        others = ", ".join(f"{name} {value}" for name, value in BASE[model].items() if name != varied)
        cells: list[list[object]] = [
            [row["value"], *(f"{figure_of(row, name):.3g}" for name in COUNTED), spread(row["milliseconds"], 1)]
            for row in rows
        ]
        cells.append(["slope", *(f"{slope(rows, name):.2f}" for name in FIGURES)])
        parts.append(f"## {model}: {varied} ({others})\n\n{table([varied, *FIGURES.values()], cells)}\n")
    return "".join(parts)


def paint(result: Result) -> Any:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullLocator

    from gantutor.plots import COLOURS

    colours = dict(zip(FIGURES, (COLOURS["D"], COLOURS["real"], COLOURS["G"]), strict=True))
    found = series(result)
    models = list(dict.fromkeys(model for model, _ in found))
    names = list(dict.fromkeys(varied for _, varied in found))
    figure, axes = plt.subplots(
        len(models), len(names), figsize=(4 * len(names), 3 * len(models)), sharey=True, squeeze=False
    )
    for (model, varied), rows in found.items():
        ax = axes[models.index(model), names.index(varied)]
        values = [row["value"] for row in rows]
        for name, what in FIGURES.items():
            heights = [figure_of(row, name) / figure_of(rows[0], name) for row in rows]
            label = f"{what.removeprefix('G').removeprefix('MiB ')}: slope {slope(rows, name):.2f}"
            ax.loglog(values, heights, "o-", ms=4, color=colours[name], label=label)
        ax.set_xticks(values, list(map(str, values)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set(title=f"{model}: {varied}", ylabel="times the smallest" if varied == names[0] else "")
        ax.legend(fontsize=8)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    made = parser(__doc__, repeats=7)
    made.add_argument("--models", nargs="+", choices=STARTED, default=list(STARTED))
    options = made.parse_args(arguments)
    path = stem(options.out, "growth")
    if not options.redraw:
        write(path, {"machine": machine(), "rows": all_measured(options.models, options.repeats, VARIED)})
    draw(path, read(path), text, paint)


if __name__ == "__main__":
    main()
