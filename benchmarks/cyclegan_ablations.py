"""CycleGAN over seeds, as it is and with a part taken out, held against the truth that it never sees; and pix2pix.

    python benchmarks/cyclegan_ablations.py [--json FILE] [--fresh]

About 16 minutes of CPU time on one thread. Each run is written to the table as it ends; started again, the script goes
on where it was stopped, and does nothing but print the table where nothing is missing. Notebook 05 loads the table. A
run is determined by its row and `settings`, bit for bit on one machine with one thread.

"pix2pix" has the same generator and a discriminator of the same size, and is shown the 400 training horses with the
zebras that they would be, one network for each direction.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from benchlib.tables import Name, Row, arguments, complete
from gantutor.data.scenes import channels_first, scenes
from gantutor.data.unpaired_sets import draw_domains
from torch import Tensor

from gantutor.batches import Batches
from gantutor.configs import CycleGANConfig
from gantutor.configs.image_translation import LRDecay
from gantutor.data import Pairs, Unpaired, horses, load_unpaired
from gantutor.data.images import to_float
from gantutor.metrics import Judge, l1, train_judge
from gantutor.models import N_LAYERS, patchgan, resnet
from gantutor.pix2pix import Pix2Pix, d_first_detach
from gantutor.training import DivergedError, Run

TABLE = Path(__file__).parent.parent / "data" / "cyclegan_ablations.json"
SETTINGS: dict[str, Any] = {
    "data": "horse2zebra_mini",
    "steps": 600,  # the rate falls linearly in the second half
    "lr": 4e-4,
    "noise": 0.04,  # its standard deviation, of a range of 2: five of 255 grey levels
}
SEEDS = range(3)
# What is changed of CycleGANConfig's recipe. The identity term's weight is relative to the cycle term's, so that
# without the latter both are gone: compare "no cycle" with "no identity".
ARMS: dict[str, dict[str, Any]] = {
    "full": {},
    "no identity": {"lambda_identity": 0.0},
    "no cycle": {"lambda_cycle": 0.0, "lambda_identity": 0.0},
    "no pool": {"pool_size": 0},
    "D first": {"strategy": "d_first_shared"},
    "pix2pix": {},
}
NAMES = ("arm", "seed")  # what a row is called by
SCORES = ("changed", "unchanged", "colour", "fooled", "cycle", "cycle_noisy")


def wanted() -> Iterator[tuple[Any, ...]]:
    """Every run, seed by seed, so that a table that was stopped early has something of everything."""
    for seed, arm in itertools.product(SEEDS, ARMS):
        yield arm, seed


class Scores:
    """The held-out pictures with their truth, and a judge that tells the two domains apart."""

    def __init__(self) -> None:
        self.data: Unpaired = load_unpaired(SETTINGS["data"])
        self.A, self.B = self.data.test(len(self.data.test_A))
        self.judge: Judge = domain_judge(self.data)

    def of(self, direction: str, fake: Tensor) -> Row:
        """Of the translations of all test pictures in a direction, "AB" or "BA", by the first four names in SCORES.

        `changed` and `unchanged` are L1 to the truth on the pixels that the true translation changes and on the others;
        `colour` is the shift of the other pixels' mean colour; `fooled` the share that the judge takes for the domain.
        """
        truth, domain = (self.B, 1) if direction == "AB" else (self.A, 0)
        changed = self.data.changed
        return {
            "changed": l1(fake, truth, changed),
            "unchanged": l1(fake, truth, ~changed),
            "colour": colour_shift(fake, truth, ~changed),
            "fooled": (self.judge(fake).argmax(1) == domain).float().mean().item(),
        }

    def copying(self) -> Row:
        """What a generator scores that changes nothing."""
        return {f"{direction}_{name}": value for direction in ("AB", "BA") for name, value in self.copied(direction)}

    def copied(self, direction: str) -> list[tuple[str, float]]:
        return list(self.of(direction, self.A if direction == "AB" else self.B).items())


def domain_judge(data: Unpaired) -> Judge:
    """A classifier of the training pictures: 0 for domain A, 1 for B."""
    labels = torch.cat([torch.zeros(len(data.A)), torch.ones(len(data.B))]).long()
    return train_judge(to_float(torch.cat([data.A, data.B])), labels)


def colour_shift(images: Tensor, truth: Tensor, where: Tensor) -> float:
    """How far each picture's mean colour is from the truth's, |.| / 2, over the pixels in the mask (N, H, W)."""
    mask = where[:, None]
    mean_difference = ((images - truth) * mask).sum((2, 3)) / mask.sum((2, 3))
    return mean_difference.abs().mean().item() / 2


def true_pairs() -> Pairs:
    """The training pictures of domain A, each with the picture of B that it would be."""
    draw = partial(draw_domains, draw=horses.draw_horses, domains=(0, 1))
    A, B = scenes("pairs-horse2zebra_mini", draw, [horses.__file__], "train", 48, 400, 0)
    return Pairs("horse2zebra_mini, paired", channels_first(A), channels_first(B), flip=True)


def train_cyclegan(arm: str, seed: int, scores: Scores) -> Row:
    """`cycle` is the L1 of real and reconstructed pictures on the pixels that the true translation changes;
    `cycle_noisy` is that with noise on the fake.
    """
    experiment = CycleGANConfig(
        scores.data, lr=SETTINGS["lr"], steps=SETTINGS["steps"], seed=seed, device="cpu", **ARMS[arm]
    )
    run = experiment.start(scores.data)
    row: Row = {"diverged": ticked(run)}
    made = run.model.translate(scores.A, scores.B)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for direction, back, start in (("AB", run.model.G_BA, scores.A), ("BA", run.model.G_AB, scores.B)):
            fake = made["fake_" + direction[1]]
            noise = SETTINGS["noise"] * torch.randn(fake.shape, generator=generator)
            row |= {f"{direction}_{name}": value for name, value in scores.of(direction, fake).items()}
            row[f"{direction}_cycle"] = l1(back(fake), start, scores.data.changed)
            row[f"{direction}_cycle_noisy"] = l1(back(fake + noise), start, scores.data.changed)
    return row


def train_pix2pix(seed: int, scores: Scores) -> Row:
    row: Row = {"diverged": False}
    pairs = true_pairs()
    for direction, start, data in (("AB", scores.A, pairs), ("BA", scores.B, pairs.reversed())):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            G = resnet(3, width=16, downsamplings=1, upsampling="nearest", end_kernel=5)
            model = Pix2Pix.with_adam(G, patchgan(6, N_LAYERS[34], 32, "instance"), "lsgan")
        step = LRDecay(d_first_detach, SETTINGS["lr"], SETTINGS["steps"])
        row["diverged"] |= ticked(run := Run(model, step, Batches(data, 1, 0, seed)))
        fake = run.model.translate(start)
        row |= {f"{direction}_{name}": value for name, value in scores.of(direction, fake).items()}
    return row


def ticked(run: Run) -> bool:
    """Take all the steps; whether a loss was no number."""
    try:
        for _ in range(SETTINGS["steps"]):
            run.step()
    except DivergedError:
        return True
    return False


def train_row(arm: str, seed: int, scores: Scores) -> Row:
    row = train_pix2pix(seed, scores) if arm == "pix2pix" else train_cyclegan(arm, seed, scores)
    return {"arm": arm, "seed": seed, **{k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}}


def show(rows: list[Row]) -> None:
    """A line for each arm and direction: the mean over seeds, and from lowest to highest."""
    print(f"{'':22}{'seeds':>6}" + "".join(f"{name:>24}" for name in SCORES))
    for arm, direction in itertools.product(ARMS, ("AB", "BA")):
        runs = [row for row in rows if row["arm"] == arm]
        cells = ""
        for name in SCORES:
            values = [row[f"{direction}_{name}"] for row in runs if f"{direction}_{name}" in row]
            spread = f"{statistics.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})" if values else ""
            cells += f"{spread:>24}"
        print(f"{arm:18}{direction:4}{len(runs):>6}{cells}")


def ready(missing: list[Name]) -> tuple[Callable[..., Row], Row]:
    """The scores, and what copying gets of them."""
    scores = Scores()
    copying = {name: round(value, 5) for name, value in scores.copying().items()}
    return lambda arm, seed: train_row(arm, seed, scores), {"copying": copying}


def main() -> None:
    options = arguments(__doc__, TABLE)
    show(complete(options, "benchmarks/cyclegan_ablations.py", SETTINGS, list(wanted()), itemgetter(*NAMES), ready))


if __name__ == "__main__":
    main()
