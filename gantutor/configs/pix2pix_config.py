"""The config of a run of pix2pix."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from gantutor.batches import Batches
from gantutor.configs.base import Config, TrainStep, check_finite, check_names, check_whole, order_speed_ups
from gantutor.configs.controls import SEED, Choice, Control, Rate, Weight, Whole
from gantutor.configs.image_translation import LRDecay, rate_of, seed_dropout
from gantutor.data import PAIRED, Pairs, load_pairs, ready_sets
from gantutor.models import N_LAYERS, output_side, patchgan, unet
from gantutor.models.layers import REFERENCE_NORMS
from gantutor.pix2pix import OBJECTIVES, PIX2PIX_STEPS, Pix2Pix
from gantutor.speed import set_speed
from gantutor.training import Run, devices, pick_device
from gantutor.traits import check_step
from gantutor.translation import TRANSLATION_LOSSES, translation_loss

SKIPS = {"unet": True, "encoder_decoder": False}  # the generators: do they have skips?
UPSAMPLINGS = ("nearest", "transposed")
MODES = ("train", "eval")


@dataclass(frozen=True)
class Pix2PixConfig(Config):
    """Which pairs to learn from, and how: as `GANConfig`, for `gantutor.pix2pix`.

    `data` is a name of `gantutor.data.PAIRED` or a `Pairs`. `objective` is a name of OBJECTIVES: it says which terms G
    minimises and what D is shown, `lambda_L1` how much the L1 term weighs where there is one. `generator` is "unet" or
    "encoder_decoder"; `multipliers`, one for each halving, are by default 1, 2, 4, 4, ... `patch` is the receptive
    field of D in pixels, a key of N_LAYERS. `norm` is G's and D's. `lr` is both players' rate; in the second half of
    `steps` it falls linearly to 0, and with `steps` = 0 it stays. `mode` is how the panel's images are made: "train",
    as the paper does at test time, by the statistics of the images shown and with dropout; or "eval".
    `speed` names speed-ups of `gantutor.speed.SPEED_UPS`.
    The fields in LIVE can change between two steps, an objective if D is shown the same (A and B, or B alone).
    The defaults are a recipe for 64 pixels and 90 seconds on one CPU core; the paper's for 256 pixels are width_G and
    width_D 64, multipliers 1 2 4 8 8 8 8 8, "transposed", patch 70, batch_size 1, lr 2e-4.
    Raises: ValueError for an unknown name, a number out of range, or a loss that the strategy does not take.
    """

    data: str | Pairs = "emoji_flat"
    strategy: str = "d_first_detach"
    objective: str = "L1 + cGAN"
    loss: str = "non-saturating"
    lambda_L1: float = 100.0
    lr: float = 5e-4
    steps: int = 1500
    mode: str = "train"
    generator: str = "unet"
    patch: int = 16
    norm: str = "batch"
    dropout: float = 0.5
    upsampling: str = "nearest"
    width_G: int = 24
    width_D: int = 24
    multipliers: tuple[int, ...] = ()
    batch_size: int = 4
    seed: int = 0
    device: str = "auto"
    speed: tuple[str, ...] = ()

    STRATEGIES = PIX2PIX_STEPS
    LIVE = ("strategy", "objective", "loss", "lambda_L1", "lr", "steps", "mode", "speed")
    COSTS = ("loss",)

    def __post_init__(self) -> None:
        check_names(
            self,
            {
                "strategy": PIX2PIX_STEPS,
                "objective": OBJECTIVES,
                "mode": MODES,
                "generator": SKIPS,
                "patch": N_LAYERS,
                "norm": REFERENCE_NORMS,
                "upsampling": UPSAMPLINGS,
                **({"data": PAIRED} if isinstance(self.data, str) else {}),
            },
        )
        check_whole(self, {"steps": 0, "width_G": 1, "width_D": 1, "batch_size": 1, "seed": 0})
        check_finite(self, "lambda_L1", "lr", "dropout")
        order_speed_ups(self)
        check_step(self.step, translation_loss(self.loss), patches=True)

    @property
    def terms(self) -> dict[str, Any]:
        """What the objective and its weight come to, as settings of Pix2Pix."""
        settings = OBJECTIVES[self.objective]
        return {**settings, "lambda_L1": self.lambda_L1 if settings["lambda_L1"] else 0.0}

    def named_data(self, device: str) -> Pairs:
        return load_pairs(str(self.data), device)

    def start(self, data: Pairs | None = None) -> Run:
        """Build the networks and the optimizers, and a run at step 0; `data` is what `load()` gives.

        The global random state is left alone, by the run's steps, too: its dropout has generators of its own.
        Raises: ValueError for images that the networks do not take.
        """
        device = pick_device(self.device)
        data = data or self.load()
        channels_A, channels_B = data.A.shape[1], data.B.shape[1]
        height, width = data.A.shape[2:]
        side = 1
        while math.gcd(height, width) % (2 * side) == 0:
            side *= 2
        multipliers = self.multipliers or [min(2**level, 4) for level in range(side.bit_length() - 1)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            G = unet(
                side, channels_A, channels_B, self.width_G, multipliers, self.norm, self.dropout, self.upsampling,
                SKIPS[self.generator],
            )  # fmt: skip
            shown = channels_A + channels_B if self.terms["conditional"] else channels_B
            D = patchgan(shown, N_LAYERS[self.patch], self.width_D, self.norm)
        output_side(D, min(height, width))
        seed_dropout(G, self.seed)
        model = Pix2Pix.with_adam(G.to(device), D.to(device), self.loss, **self.terms)
        step = LRDecay(self.step, self.lr, self.steps)
        run = Run(model, step, Batches(data, self.batch_size, 0, self.seed))
        set_speed(run, self.speed)
        return run

    def apply(self, run: Run) -> None:
        """Make a run that `start` has made go on with this config's LIVE fields from its next step on.

        Raises: ValueError for an objective that shows D something else than the run's does, and for a speed-up that
        cannot be used, with the reason.
        """
        model, step = run.model, run.train_step
        if self.terms["conditional"] != model.conditional:
            raise ValueError(f"objective={self.objective!r} needs another D than this run has: it needs a new start")
        model.loss = TRANSLATION_LOSSES[self.loss]
        model.lambda_L1, model.lambda_gan = self.terms["lambda_L1"], self.terms["lambda_gan"]
        lr_decay: Any = step
        lr_decay.last, lr_decay.lr, lr_decay.steps = self.step, self.lr, self.steps
        set_speed(run, self.speed)

    def is_live(self, field: str, value: Any) -> bool:
        """Whether a run of this config can take over that value between two steps."""
        if field == "objective":
            return bool(OBJECTIVES[value]["conditional"] == self.terms["conditional"])
        return super().is_live(field, value)

    def trial(self, data: Pairs) -> tuple[TrainStep, tuple[Any, ...]]:
        """A step and a batch to measure the step's cost with; no run's own."""
        return self.step, next(Batches(data, self.batch_size, 0, seed=0))

    def progress(self, run: Run) -> str:
        """How many steps are planned, and the rate of the next one."""
        return rate_of(run)

    def controls(self) -> tuple[Control, ...]:
        """The fields that a learner may choose, in the order in which they stand in the panel."""
        named = dict.fromkeys([*ready_sets(PAIRED), self.data])  # a click must not start a download
        return (
            Choice("strategy", "strategy", tuple(PIX2PIX_STEPS)),
            Choice("objective", "objective", tuple(OBJECTIVES)),
            Choice("loss", "loss", tuple(TRANSLATION_LOSSES)),
            Weight("lambda_L1", "λ L1", 0, 200, 5),
            Rate("lr", "lr"),
            Whole("steps", "lr falls to 0 at", 0, 10**6),
            Choice("mode", "test mode", MODES, 150),
            Choice("generator", "generator", tuple(SKIPS)),
            Choice("patch", "patch", tuple(N_LAYERS), 110),
            Choice("norm", "norm", REFERENCE_NORMS, 130),
            Weight("dropout", "dropout", 0, 0.9, 0.05, 180),
            Choice("upsampling", "upsampling", UPSAMPLINGS),
            Choice("data", "data", tuple(named) if isinstance(self.data, str) else (self.data,)),
            Whole("batch_size", "batch", 1, 256, width=110),
            Choice("device", "device", ("auto", *devices()), 140),
            SEED,
        )
