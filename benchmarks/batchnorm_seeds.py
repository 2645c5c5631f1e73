"""The BatchNorm batching pitfall over seeds: which norm in D, network, loss and batching trains, how often it fails.

    python benchmarks/batchnorm_seeds.py [--json FILE] [--fresh]

About half an hour of CPU time on one thread. Each run is written to the table as it ends; started again, the script
goes on where it was stopped, and does nothing but print the table where nothing is missing. Notebook 03 shows the
table. A run is determined by its row and `settings`, bit for bit on one machine with one thread.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from benchlib.tables import Name, Row, arguments, complete
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gantutor.configs import GANConfig
from gantutor.data import Images, load
from gantutor.gan import BATCHINGS, GAN
from gantutor.metrics import Judge, classes_covered, frechet_distance, run_failed, train_judge
from gantutor.models import NORMS_D, virtual_batchnorm
from gantutor.training import DivergedError

TABLE = Path(__file__).parent.parent / "data" / "batchnorm_seeds.json"
SETTINGS: dict[str, Any] = {
    "dcgan": {"size": 28, "steps": 300, "batch_size": 48, "model_options": {"width_G": 16, "width_D": 8}},
    "classic": {"size": 8, "steps": 300, "batch_size": 64, "model_options": {}},
    "lr": 1e-3,  # both players'
    "samples": 1000,
    "seed_of_z": 10000,
    "references": 48,  # virtual batch norm's
    # The tutorials' MLP at the size and rate for which they wrote it.
    "classic 28": {"size": 28, "steps": 300, "batch_size": 64, "model_options": {}, "model": "classic", "lr": 2e-4},
}
SEEDS = range(5)
LOSSES = ("non-saturating", "hinge")
BATCH_SIZES = (4, 16, 256)  # besides those of the settings
NAMES = ("model", "norm_D", "loss", "batching", "batch_size", "seed")  # what a row is called by
called = itemgetter(*NAMES)

# BatchNorm in D that takes its mean and variance over other groups of activations than usual: it tests why one network
# fails where the other does not. The network, and what stands in the place of its BatchNorm, by norm_D.
REGROUPED: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    # 16 features of the MLP share them, as all positions of a convolution's channel do.
    "batch, shared": ("classic", lambda: nn.Sequential(nn.Unflatten(1, (16, 16)), nn.BatchNorm1d(16), nn.Flatten())),
    # Each position of the DCGAN's 16 channels has its own, as each feature of an MLP has.
    "batch, per unit": (
        "dcgan",
        lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16 * 7 * 7), nn.Unflatten(1, (16, 7, 7))),
    ),
}


def regroup(gan: GAN, norm: str, rate: float) -> None:
    """Put the layers of that name in the place of D's BatchNorm, in place, and give D a new optimizer."""
    (place,) = (place for place, layer in enumerate(gan.D) if isinstance(layer, _BatchNorm))
    gan.D[place] = REGROUPED[norm][1]()
    gan.opt_D = GAN.with_adam(gan.G, gan.D, lr_D=rate).opt_D


def wanted() -> Iterator[tuple[Any, ...]]:
    """Every run of the table, the ones with BatchNorm first.

    Where D scores each image by itself all batchings are the same function, so two of them are enough to show it;
    virtual batch norm, which costs more, is run with one.
    """
    for norm, model, loss in itertools.product((*NORMS_D, "virtual"), ("dcgan", "classic"), LOSSES):
        if (model, norm) != ("classic", "instance"):  # it would turn each of an MLP's features into 0
            batchings = (
                BATCHINGS if norm == "batch" else ("split",) if norm == "virtual" else ("split", "joint_in_D_step")
            )
            for batching, seed in itertools.product(batchings, SEEDS):
                yield model, norm, loss, batching, SETTINGS[model]["batch_size"], seed
    for norm, loss, batching, seed in itertools.product(REGROUPED, LOSSES, ("split", "joint_in_G_step"), SEEDS):
        model = REGROUPED[norm][0]
        yield model, norm, loss, batching, SETTINGS[model]["batch_size"], seed
    for batching, seed in itertools.product(BATCHINGS, SEEDS):
        yield "classic 28", "batch", LOSSES[0], batching, SETTINGS["classic 28"]["batch_size"], seed
    for size, batching, seed in itertools.product(BATCH_SIZES, BATCHINGS, SEEDS):
        yield "classic", "batch", LOSSES[0], batching, size, seed


class Scores:
    """The data of one size, and the judge of what is made from them."""

    def __init__(self, size: int) -> None:
        data = load("digits", size=size)
        assert isinstance(data, Images)
        assert data.labels is not None
        self.data = data
        images = data.images.float() / 127.5 - 1
        self.judge: Judge = train_judge(images, data.labels)
        self.real = self.judge.features(images)

    def of(self, fake: Tensor) -> tuple[float, int]:
        """The Frechet distance to all reals, and the classes covered."""
        return frechet_distance(self.judge.features(fake), self.real), classes_covered(self.judge(fake))


def train_row(name: tuple[Any, ...], scores: Scores) -> Row:
    """Train one GAN and score it; `d_accuracy` is D's in the first 100 steps, on the batches it is trained on."""
    row: Row = dict(zip(NAMES, name, strict=True))
    settings = SETTINGS[row["model"]]
    virtual = row["norm_D"] == "virtual"
    rate = settings.get("lr", SETTINGS["lr"])
    experiment = GANConfig(
        scores.data,
        model=settings.get("model", row["model"]),
        norm_D="batch" if virtual or row["norm_D"] in REGROUPED else row["norm_D"],
        **{name: row[name] for name in ("loss", "batching", "batch_size", "seed")},
        lr_G=rate,
        lr_D=rate,
        device="cpu",
        model_options=settings["model_options"],
    )
    run = experiment.start(scores.data)
    if virtual:
        reference = scores.data.sample(SETTINGS["references"], torch.Generator().manual_seed(row["seed"]))
        run.model.D = virtual_batchnorm(run.model.D, reference)
    if row["norm_D"] in REGROUPED:
        regroup(run.model, row["norm_D"], rate)
    generator = torch.Generator().manual_seed(SETTINGS["seed_of_z"])
    z = torch.randn(SETTINGS["samples"], experiment.z_dim, generator=generator)
    start, accuracies, diverged = scores.of(run.model.sample(z))[0], [], False
    try:
        for _ in range(settings["steps"]):
            report = run.step()
            right = torch.cat([report["logits_real"] > 0, report["logits_fake"] < 0])
            accuracies.append(right.float().mean().item())
    except DivergedError:
        diverged = True
    distance, classes = scores.of(run.model.sample(z))
    figures = {"distance_at_start": start, "distance": distance, "d_accuracy": statistics.mean(accuracies[:100])}
    return {**row, **{key: round(value, 4) for key, value in figures.items()}, "classes": classes, "diverged": diverged}


def show(rows: list[Row]) -> None:
    """A line for each condition: the middle seed and the spread."""
    print(f"{'':60}{'distance, median (all seeds)':>34}{'classes':>16}{'fail':>6}{'D early':>9}")
    for condition, group in itertools.groupby(rows, key=lambda row: [row[name] for name in NAMES[:-1]]):
        runs = list(group)
        distances = sorted(row["distance"] for row in runs)
        classes = sorted(row["classes"] for row in runs)
        spread = f"{statistics.median(distances):.0f} ({distances[0]:.0f} to {distances[-1]:.0f})"
        covered = f"{statistics.median(classes):g} ({classes[0]} to {classes[-1]})"
        accuracy = statistics.mean(row["d_accuracy"] for row in runs)
        words = "{:11}{:10}{:16}{:17}{:6}".format(*map(str, condition))
        print(f"{words:60}{spread:>34}{covered:>16}{sum(map(run_failed, runs)):>4}/{len(runs)}{accuracy:9.2f}")


def ready(missing: list[Name]) -> tuple[Callable[..., Row], Row]:
    """The data and the judges of the sizes that are missing, and what trains with them."""
    scores = {size: Scores(size) for size in {SETTINGS[name[0]]["size"] for name in missing}}
    return lambda *name: train_row(name, scores[SETTINGS[name[0]]["size"]]), {}


def main() -> None:
    options = arguments(__doc__, TABLE)
    show(complete(options, "benchmarks/batchnorm_seeds.py", SETTINGS, list(wanted()), called, ready))


if __name__ == "__main__":
    main()
