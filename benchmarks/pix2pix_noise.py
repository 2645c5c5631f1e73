"""How much of pix2pix's output depends on its noise: on a z beside A, and on dropout.

    python benchmarks/pix2pix_noise.py [--json FILE] [--fresh]

About 10 minutes of CPU time on one thread. G turns sketches of emoji into shaded ones, and gets a z as a fourth channel
of A: one number for the whole picture, which would be ideal for choosing a colour. D is not shown z. If it were, it
could tell fakes by what B has in common with z, since for real pairs that is nothing. One arm has the L1 term and the
other has not. Each run is written to the table as it ends; started again, the script goes on where it was stopped.
Notebook 04 loads the table, and the pictures beside it. A run is determined by its row and `settings`, bit for bit on
one machine with one thread.
"""

import copy
import itertools
import statistics
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from benchlib.sheets import keep, write_whole
from benchlib.tables import Name, Row, arguments, complete
from torch import Tensor

from gantutor.configs import Pix2PixConfig
from gantutor.configs.translation_configs import SeededDropout, decay_factor, seed_dropout
from gantutor.data import Pairs, load_pairs
from gantutor.draws import seeded
from gantutor.metrics import l1
from gantutor.models import N_LAYERS, patchgan, unet
from gantutor.pix2pix import OBJECTIVES, Pix2Pix, d_first_detach
from gantutor.training import DivergedError

TABLE = Path(__file__).parent.parent / "data" / "pix2pix_noise.json"
SETTINGS: dict[str, Any] = {
    "experiment": {"data": "emoji_sketch", "steps": 1000},  # the rest are Pix2PixConfig's defaults
    "asked": 40,  # the first held-out sketches
    "draws": 16,  # of z, or of the dropout's masks, for each sketch
    "sheet": {"sketches": [0, 1, 2], "draws": 8},  # of the first seed: a row for each objective, sketch by sketch
}
ARMS = ("cGAN", "L1 + cGAN")
SEEDS = range(5)
NAMES = ("objective", "seed")  # what a row is called by
called = itemgetter(*NAMES)


def wanted() -> list[Name]:
    """Every run, seed by seed, so that a table that was stopped early has something of everything."""
    return [(objective, seed) for seed, objective in itertools.product(SEEDS, ARMS)]


class WithNoise(Pix2Pix):
    """A model whose A has z as a fourth channel, for G alone."""

    def logits(self, A: Tensor, B: Tensor) -> Tensor:
        return super().logits(A[:, :3], B)


def build_model(objective: str, seed: int) -> WithNoise:
    """Pix2PixConfig's networks with one input channel more for G, and the terms of the objective."""
    config = Pix2PixConfig()
    with seeded(seed):
        widths = (1, 2, 4, 4, 4, 4)
        G = unet(64, 4, 3, config.width_G, widths, config.norm, config.dropout, config.upsampling)
        D = patchgan(6, N_LAYERS[config.patch], config.width_D, config.norm)
    seed_dropout(G, seed)
    model = WithNoise.with_adam(G, D, config.loss, **OBJECTIVES[objective])
    assert isinstance(model, WithNoise)
    return model


def with_z(A: Tensor, z: Tensor) -> Tensor:
    """A (n, 3, H, W) with a fourth channel that holds each picture's z, (n,)."""
    return torch.cat([A, z.view(-1, 1, 1, 1).expand(-1, 1, *A.shape[2:])], dim=1)


def draw_z(n: int, generator: torch.Generator) -> Tensor:
    """Uniform in [-1, 1], as the pixels are."""
    return torch.rand(n, generator=generator) * 2 - 1


def train(model: WithNoise, data: Pairs, seed: int) -> None:
    config, steps = Pix2PixConfig(), SETTINGS["experiment"]["steps"]
    generator = torch.Generator().manual_seed(seed)
    for t in range(steps):
        for group in (*model.opt_G.param_groups, *model.opt_D.param_groups):
            group["lr"] = config.lr * decay_factor(t, steps)
        A, B = data.sample(config.batch_size, generator)
        report = d_first_detach(model, with_z(A, draw_z(len(A), generator)), B)
        if not torch.isfinite(report["l1_loss"]):
            raise DivergedError("l1_loss", t + 1, "d_first_detach", model, 0)


def mean_colours(pictures: Tensor, drawn: Tensor) -> Tensor:
    """The mean colour (..., 3) of pictures (..., 3, H, W) in [-1, 1] where something is `drawn`, (..., H, W)."""
    where = drawn[..., None, :, :].float()
    return (pictures * where).sum(dim=(-2, -1)) / where.sum(dim=(-2, -1))


@torch.no_grad()
def drawn_again(model: WithNoise, A: Tensor, draws: int, what: str, seed: int) -> Tensor:
    """G's pictures (draws, n, 3, H, W) of A; from draw to draw only z changes, or only the dropout's masks."""
    G, generator = copy.deepcopy(model.G).eval(), torch.Generator().manual_seed(seed)
    if what == "dropout":
        for module in G.modules():
            if isinstance(module, SeededDropout):
                module.train()
    z = draw_z(draws * len(A), generator).view(draws, len(A)) if what == "z" else torch.zeros(draws, len(A))
    return torch.stack([torch.cat([G(some) for some in with_z(A, each).split(20)]) for each in z])


def train_row(objective: str, seed: int, data: Pairs, sheet: Path) -> Row:
    """Train one model. `z` and `dropout`: how far a picture's mean colour varies over draws, as a share of how far the
    true pictures' varies over emoji."""
    model, diverged = build_model(objective, seed), False
    try:
        train(model, data, seed)
    except DivergedError:
        diverged = True
    A, B = held_out(data)
    drawn = (B < 0.8).any(1)  # not white
    spread = mean_colours(B, drawn).std(dim=0).mean()
    pictures = {what: drawn_again(model, A, SETTINGS["draws"], what, seed) for what in ("z", "dropout")}
    shares = {
        what: round((mean_colours(made, drawn).std(dim=0).mean() / spread).item(), 4) for what, made in pictures.items()
    }
    kept = SETTINGS["sheet"]
    if seed == SEEDS[0]:
        first = pictures["z"][: kept["draws"], kept["sketches"]]
        keep(sheet, (objective, seed), first.transpose(0, 1).flatten(0, 1))
    return {
        "objective": objective,
        "seed": seed,
        **shares,
        "l1": round(l1(pictures["z"][0], B), 4),
        "diverged": diverged,
    }


def held_out(data: Pairs) -> tuple[Tensor, Tensor]:
    assert data.held_out is not None
    return data.held_out.first(SETTINGS["asked"])


def show(rows: list[Row]) -> None:
    """A line for each arm: the mean over seeds, and from lowest to highest."""
    for arm, name in itertools.product(ARMS, ("z", "dropout", "l1")):
        values = [row[name] for row in rows if row["objective"] == arm]
        if values:
            print(f"{arm:11}{name:9}{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")


def main() -> None:
    options = arguments(__doc__, TABLE)
    sheet = options.json.with_suffix(".webp")

    def ready(missing: list[Name]) -> tuple[Callable[..., Row], Row]:
        data = load_pairs(SETTINGS["experiment"]["data"])

        def make(objective: str, seed: int) -> Row:
            row = train_row(objective, seed, data, sheet)
            write_whole(sheet, [(arm, SEEDS[0]) for arm in ARMS], [])
            return row

        return make, {}

    show(complete(options, "benchmarks/pix2pix_noise.py", SETTINGS, wanted(), called, ready))


if __name__ == "__main__":
    main()
