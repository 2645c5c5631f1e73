"""Tables 1 to 3 of the pix2pix paper in miniature: segmentation scores by objective, generator and patch size.

    python benchmarks/pix2pix_tables.py [--json FILE] [--fresh]

About 18 minutes of CPU time on one thread. Each run is written to the table as it ends; started again, the script goes
on where it was stopped, and does nothing but print the table where nothing is missing. Notebook 04 loads the table.
A run is determined by its row and `settings`, bit for bit on one machine with one thread; the speed-up changes the
order of sums, and nothing else.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchlib.facades import facades_mini
from benchlib.segmentation import Segmenter, segmentation_score, train_segmenter
from benchlib.tables import Name, Row, arguments, complete
from benchlib.training import trained_pix2pix, translated
from torch import Tensor

from gantutor.configs import Pix2PixConfig
from gantutor.data import Pairs
from gantutor.data.images import to_float
from gantutor.metrics import l1, sharpness
from gantutor.pix2pix import OBJECTIVES

TABLE = Path(__file__).parent.parent / "data" / "pix2pix_tables.json"
SETTINGS: dict[str, Any] = {
    # The rest are Pix2PixConfig's defaults. Two thirds of their width, which halves the time.
    "experiment": {"data": "facades_mini", "steps": 1000, "width_G": 16, "width_D": 16, "speed": ["channels_last"]},
    "mode": "eval",  # how G is asked
}
SEEDS = range(5)
PATCH = 16  # of tables 1 and 2, in pixels of 64: a quarter of the side, as the paper's 70 is of 256
METRICS = ("pixel_accuracy", "class_accuracy", "class_iou")  # the paper's three
NAMES = ("objective", "generator", "patch", "seed")  # what a row is called by
called = itemgetter(*NAMES)


def wanted() -> Iterator[tuple[Any, ...]]:
    """Every run, seed by seed, so that a table that was stopped early has something of everything."""
    conditions = [
        *((objective, "unet", PATCH) for objective in OBJECTIVES),
        *((objective, "encoder_decoder", PATCH) for objective in ("L1", "L1 + cGAN")),
        *(("L1 + cGAN", "unet", patch) for patch in (1, 70)),
    ]
    for seed, condition in itertools.product(SEEDS, conditions):
        yield (*condition, seed)


class Reader:
    """The data, and the network that reads pictures: trained on true ones, asked about generated ones."""

    def __init__(self) -> None:
        self.data: Pairs = facades_mini()
        assert self.data.labels is not None
        assert self.data.held_out is not None
        assert self.data.held_out.labels is not None
        self.held_out, self.labels = self.data.held_out, self.data.held_out.labels
        self.A, self.B = self.held_out.first(len(self.held_out))
        self.segmenter: Segmenter = train_segmenter(to_float(self.data.B), self.data.labels, len(self.data.classes))

    def scores(self, pictures: Tensor) -> Row:
        """Of pictures made from the held-out label maps. `sharpness` is the size of the differences between
        neighbours, as a share of that in the true pictures."""
        found = segmentation_score(self.segmenter, pictures, self.labels)._asdict()
        return {**found, "l1": l1(pictures, self.B), "sharpness": sharpness(pictures) / sharpness(self.B)}


def experiment(data: Pairs, objective: str, generator: str, patch: int, seed: int) -> Pix2PixConfig:
    """The run of a row, on the data that SETTINGS names."""
    row = {"objective": objective, "generator": generator, "patch": patch, "seed": seed}
    return Pix2PixConfig(**{**SETTINGS["experiment"], "data": data, **row}, device="cpu")


def train_row(name: tuple[Any, ...], reader: Reader) -> Row:
    """Train one model and score what it makes of the held-out label maps."""
    row: Row = dict(zip(NAMES, name, strict=True))
    model, diverged = trained_pix2pix(experiment(reader.data, *name), reader.data)
    pictures = translated(model, reader.A, SETTINGS["mode"])
    figures = {key: round(value, 4) for key, value in reader.scores(pictures).items()}
    return {**row, **figures, "diverged": diverged}


def show(rows: list[Row]) -> None:
    """A line for each condition: the mean over seeds, and from lowest to highest."""
    print(f"{'':36}" + "".join(f"{metric.replace('_', ' '):>24}" for metric in METRICS) + f"{'L1':>8}{'sharpness':>11}")
    order = sorted(rows, key=lambda row: [str(row[name]) for name in NAMES])
    for condition, group in itertools.groupby(order, key=lambda row: [row[name] for name in NAMES[:-1]]):
        runs = list(group)
        cells = []
        for metric in METRICS:
            values = [row[metric] for row in runs]
            cells.append(f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        plain = [statistics.mean(row[score] for row in runs) for score in ("l1", "sharpness")]
        words = "{:11}{:17}{:>4}".format(*map(str, condition))
        print(f"{words:36}" + "".join(f"{cell:>24}" for cell in cells) + f"{plain[0]:8.3f}{plain[1]:11.2f}")


def ready(missing: list[Name]) -> tuple[Callable[..., Row], Row]:
    """The reader, and what it finds in the true pictures and in those of a fresh generator."""
    reader = Reader()
    untrained = experiment(reader.data, "L1", "unet", PATCH, 0).start(reader.data).model
    fresh = translated(untrained, reader.A, SETTINGS["mode"])
    found = {
        what: {key: round(value, 4) for key, value in reader.scores(pictures).items()}
        for what, pictures in (("truth", reader.B), ("untrained", fresh))
    }
    return lambda *name: train_row(name, reader), found


def main() -> None:
    options = arguments(__doc__, TABLE)
    show(complete(options, "benchmarks/pix2pix_tables.py", SETTINGS, list(wanted()), called, ready))


if __name__ == "__main__":
    main()
