"""CycleGAN over seeds, as it is and with a part changed, held against the partners that it never sees.

    python benchmarks/cyclegan_ablations.py [--json FILE] [--fresh]

About 11 minutes of CPU time on one thread. Each run is written to the table as it ends; started again, the script goes
on where it was stopped, and does nothing but print the table where nothing is missing. What the runs make of the first
held-out images is kept in a sheet beside the table. Notebook 05 loads both. A run is determined by its row and
`settings`, bit for bit on one machine with one thread.
"""

import itertools
import statistics
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from benchlib.sheets import keep, write_whole
from benchlib.tables import Name, Row, arguments, complete
from benchlib.training import trained
from torch import Tensor

from gantutor.configs import CycleGANConfig
from gantutor.data import Unpaired, load_unpaired
from gantutor.metrics import flat_areas, hue_shift, l1, shading
from gantutor.plots import quantise

TABLE = Path(__file__).parent.parent / "data" / "cyclegan_ablations.json"
SETTINGS: dict[str, Any] = {
    "data": "emoji",
    "steps": 400,  # the rate falls linearly in the second half
    "levels": [256, 64, 16, 8, 4],  # of each colour, that a fake keeps before it is translated back
    "reach": 4,  # grey levels of 255 by which a change may move a pixel, aimed or by chance
    "changed": 20,  # held-out images whose translations are changed, in one way or the other
    "shown": 8,  # held-out images in the sheet
    "kinds": ["fake_B", "rec_A", "fake_A"],  # what a row of the sheet has of each, kind by kind
}
SEEDS = range(5)
# What is changed of CycleGANConfig's recipe. The identity term's weight is relative to the cycle term's, so that
# without the latter both are gone: compare "no cycle" with "no identity".
ARMS: dict[str, dict[str, Any]] = {
    "full": {},
    "no identity": {"lambda_identity": 0.0},
    "no cycle": {"lambda_cycle": 0.0, "lambda_identity": 0.0},
    "no pool": {"pool_size": 0},
}
SCORES_ALONE = ("no pool",)  # arms that the sheet has no images of: to the eye they are like those of "full"
NAMES = ("arm", "seed")  # what a row is called by
SCORES = ("truth", "hue", "cycle", "shading")


def pictured() -> list[Name]:
    """The runs of which the sheet has a row each, seed by seed, so that a table stopped early has some of each arm."""
    return [(arm, seed) for seed, arm in itertools.product(SEEDS, ARMS) if arm not in SCORES_ALONE]


def wanted() -> list[Name]:
    """Every run; those in the sheet stand first, so that a row of it and a row of the table have the same number."""
    return [*pictured(), *itertools.product(SCORES_ALONE, SEEDS)]


class Scores:
    """The held-out images with their true partners."""

    def __init__(self) -> None:
        self.data: Unpaired = load_unpaired(SETTINGS["data"])
        self.A, self.B = self.data.test(len(self.data.test_A))
        self.areas = flat_areas(self.A)

    def of(self, start: Tensor, fake: Tensor, truth: Tensor, rec: Tensor) -> Row:
        """One direction's scores, by the names in SCORES, and for each image how far its hues are off and come back."""
        far, back = hue_shift(fake, truth), hue_shift(rec, start)
        return {
            "truth": l1(fake, truth),
            "hue": far.mean().item(),
            "cycle": l1(rec, start),
            "shading": shading(fake, self.areas),
            "hues_fake": far.round().int().tolist(),
            "hues_rec": back.round().int().tolist(),
        }

    def copying(self) -> Row:
        """What a generator scores that changes nothing."""
        ways = {"AB": (self.A, self.B), "BA": (self.B, self.A)}
        of = {way: self.of(start, start, truth, start) for way, (start, truth) in ways.items()}
        return {f"{way}_{name}": of[way][name] for way in ways for name in SCORES}


def hidden(back: Callable[[Tensor], Tensor], start: Tensor, fake: Tensor, truth: Tensor) -> Row:
    """What `back`, which undoes a translation, needs of a fake; and of a true partner, which hides nothing.

    `quantised` is the L1 of start and back(fake) for each of `levels`; `moved` how far the output then moves, for the
    fake and for the partner; `aimed` and `noise` are [before, after] a change of at most `reach` grey levels.
    """
    start, fake, truth = (images[: SETTINGS["changed"]] for images in (start, fake, truth))
    with torch.no_grad():
        of_fake, of_truth = back(fake), back(truth)
        found: Row = {
            "quantised": [l1(back(quantise(fake, levels)), start) for levels in SETTINGS["levels"]],
            "moved_fake": [l1(back(quantise(fake, levels)), of_fake) for levels in SETTINGS["levels"]],
            "moved_partner": [l1(back(quantise(truth, levels)), of_truth) for levels in SETTINGS["levels"]],
        }
    for name, given, made in (("fake", fake, of_fake), ("partner", truth, of_truth)):
        before = l1(made, start)
        for kind, change in (("aimed", aimed), ("noise", noisy)):
            with torch.no_grad():
                after = l1(back(change(back, given, start)), start)
            found[f"{kind}_{name}"] = [before, after]
    return found


@torch.enable_grad()
def aimed(back: Callable[[Tensor], Tensor], image: Tensor, target: Tensor, rounds: int = 8) -> Tensor:
    """`image`, changed by at most `reach` grey levels so that back(image) is far from `target`."""
    reach = SETTINGS["reach"] / 127.5
    x = image
    for _ in range(rounds):
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad((back(x) - target).abs().mean(), x)
        x = (image + (x + 2 * reach / rounds * slope.sign() - image).clamp(-reach, reach)).clamp(-1, 1)
    return x.detach()


def noisy(back: Callable[[Tensor], Tensor], image: Tensor, target: Tensor) -> Tensor:
    """`image`, every number of it up or down by `reach` grey levels, by chance."""
    signs = 2 * torch.randint(0, 2, image.shape, generator=torch.Generator().manual_seed(0)) - 1
    return (image + signs * SETTINGS["reach"] / 127.5).clamp(-1, 1)


def train_row(arm: str, seed: int, scores: Scores, sheet: Path) -> Row:
    config = CycleGANConfig(scores.data, steps=SETTINGS["steps"], seed=seed, device="cpu", **ARMS[arm])
    run = config.start(scores.data)
    row: Row = {"arm": arm, "seed": seed, "diverged": trained(run, SETTINGS["steps"])}
    made, model = run.model.translate(scores.A, scores.B), run.model
    for way, start, fake, truth, rec, back in (
        ("AB", scores.A, made["fake_B"], scores.B, made["rec_A"], model.G_BA),
        ("BA", scores.B, made["fake_A"], scores.A, made["rec_B"], model.G_AB),
    ):
        found = {**scores.of(start, fake, truth, rec), **hidden(back, start, fake, truth)}
        row |= {f"{way}_{name}": rounded(value) for name, value in found.items()}
    if arm not in SCORES_ALONE:
        keep(sheet, (arm, seed), torch.cat([made[kind][: SETTINGS["shown"]] for kind in SETTINGS["kinds"]]))
    return row


def rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 5) if isinstance(value, float) else value


def show(rows: list[Row]) -> None:
    """A line for each arm and direction: the mean over seeds, and from lowest to highest."""
    print(f"{'':22}{'seeds':>6}" + "".join(f"{name:>24}" for name in SCORES))
    for arm, way in itertools.product(ARMS, ("AB", "BA")):
        runs = [row for row in rows if row["arm"] == arm]
        cells = ""
        for name in SCORES:
            values = [row[f"{way}_{name}"] for row in runs]
            spread = f"{statistics.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})" if values else ""
            cells += f"{spread:>24}"
        print(f"{arm:18}{way:4}{len(runs):>6}{cells}")


def main() -> None:
    options = arguments(__doc__, TABLE)
    sheet = options.json.with_suffix(".webp")

    def ready(missing: list[Name]) -> tuple[Callable[..., Row], Row]:
        scores = Scores()
        copying = {name: rounded(value) for name, value in scores.copying().items()}
        return lambda arm, seed: train_row(arm, seed, scores, sheet), {"copying": copying}

    show(complete(options, "benchmarks/cyclegan_ablations.py", SETTINGS, wanted(), itemgetter(*NAMES), ready))
    write_whole(sheet, pictured(), [])


if __name__ == "__main__":
    main()
