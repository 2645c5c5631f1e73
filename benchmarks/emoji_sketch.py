"""Sketch to shaded emoji by pix2pix, with L1 alone and with L1 + cGAN, at equal steps and over seeds.

    python benchmarks/emoji_sketch.py [--json FILE] [--fresh]

About 12 minutes of CPU time on one thread. The lines say what an emoji is, and not its colours: where L1 alone gives
their median, the cGAN term makes G commit to one. Each run is written to the table as it ends; started again, the
script goes on where it was stopped, and does nothing but print the table where nothing is missing. Notebook 04 loads
the table, and the pictures beside it. A run is determined by its row and `settings`, bit for bit on one machine with
one thread; the speed-up changes the order of sums, and nothing else.
"""

import itertools
import statistics
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchlib.sheets import keep, write_whole
from benchlib.tables import Name, Row, arguments, complete
from benchlib.training import trained_pix2pix, translated
from torch import Tensor

from gantutor.configs import Pix2PixConfig
from gantutor.data import Pairs, load_pairs
from gantutor.metrics import l1, saturation, sharpness

TABLE = Path(__file__).parent.parent / "data" / "emoji_sketch.json"
SHOWN = 40  # pictures of each run on the sheet: the first held-out ones, whose order was drawn
SETTINGS: dict[str, Any] = {
    "experiment": {"data": "emoji_sketch", "steps": 2000, "speed": ["channels_last"]},  # the rest are the defaults
    "mode": "eval",  # how G is asked
    "sheet": {"above": ["sketch", "truth"], "columns": SHOWN},  # then a row for each run, in the order of the table
}
ARMS = ("L1", "L1 + cGAN")
SEEDS = range(5)
NAMES = ("objective", "seed")  # what a row is called by
called = itemgetter(*NAMES)


def wanted() -> list[Name]:
    """Every run, seed by seed, so that a table that was stopped early has something of everything."""
    return [(objective, seed) for seed, objective in itertools.product(SEEDS, ARMS)]


def experiment(objective: str, seed: int) -> Pix2PixConfig:
    """The run of a row, which a panel can train live."""
    return Pix2PixConfig(**SETTINGS["experiment"], objective=objective, seed=seed, device="cpu")


def scores(pictures: Tensor, truth: Tensor) -> Row:
    found = {"l1": l1(pictures, truth), "sharpness": sharpness(pictures), "saturation": saturation(pictures)}
    return {name: round(value, 5) for name, value in found.items()}


def train_row(objective: str, seed: int, data: Pairs, sheet: Path) -> Row:
    """Train one model, score what it makes of the held-out sketches, and keep it for the sheet."""
    model, diverged = trained_pix2pix(experiment(objective, seed), data)
    A, B = held_out(data)
    pictures = translated(model, A, SETTINGS["mode"])
    keep(sheet, (objective, seed), pictures[:SHOWN])
    return {"objective": objective, "seed": seed, **scores(pictures, B), "diverged": diverged}


def held_out(data: Pairs) -> tuple[Tensor, Tensor]:
    assert data.held_out is not None
    return data.held_out.first(len(data.held_out))


def show(rows: list[Row]) -> None:
    """A line for each arm and score: the mean over seeds, and from lowest to highest."""
    for arm, name in itertools.product(ARMS, ("l1", "sharpness", "saturation")):
        values = [row[name] for row in rows if row["objective"] == arm]
        if values:
            print(f"{arm:11}{name:12}{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})")


def main() -> None:
    options = arguments(__doc__, TABLE)
    sheet = options.json.with_suffix(".webp")

    def ready(missing: list[Name]) -> tuple[Callable[..., Row], Row]:
        data = load_pairs(SETTINGS["experiment"]["data"])
        A, B = held_out(data)

        def make(objective: str, seed: int) -> Row:
            row = train_row(objective, seed, data, sheet)
            write_whole(sheet, wanted(), [A[:SHOWN], B[:SHOWN]])
            return row

        return make, {"truth": scores(B, B)}

    show(complete(options, "benchmarks/emoji_sketch.py", SETTINGS, wanted(), called, ready))


if __name__ == "__main__":
    main()
