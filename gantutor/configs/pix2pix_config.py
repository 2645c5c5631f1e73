"""The config of a run of pix2pix."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from gantutor.batches import Batches
from gantutor.configs.base import (
    Config,
    TrainStep,
    device_setting,
    loss_setting,
    seed_setting,
    speed_setting,
    strategy_setting,
)
from gantutor.configs.image_translation import LRDecay, check_loss, rate_of, seed_dropout
from gantutor.configs.settings import check_settings, setting
from gantutor.data import PAIRED, Pairs, load_pairs
from gantutor.models import N_LAYERS, REFERENCE_NORMS, output_side, patchgan, unet
from gantutor.pix2pix import OBJECTIVES, PIX2PIX_STEPS, Pix2Pix
from gantutor.training import Run, pick_device
from gantutor.translation import TRANSLATION_LOSSES

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
    `speed` names speed-ups of `gantutor.scale.speed`.
    The live fields can change between two steps, an objective if D is shown the same (A and B, or B alone).
    The defaults are a recipe for 64 pixels and 90 seconds on one CPU core; the paper's for 256 pixels are width_G and
    width_D 64, multipliers 1 2 4 8 8 8 8 8, "transposed", patch 70, batch_size 1, lr 2e-4.
    Raises: ValueError for an unknown name, a number out of range, or a loss that the strategy does not take.
    """

    data: str | Pairs = setting("emoji_flat", "data", "The pairs: a name, or a set of your own.", choices=PAIRED)
    strategy: str = strategy_setting("d_first_detach", PIX2PIX_STEPS)
    objective: str = setting(
        "L1 + cGAN", "objective", "Which terms G minimises, and what D is shown.", choices=OBJECTIVES, live=True
    )
    loss: str = loss_setting("non-saturating", TRANSLATION_LOSSES)
    lambda_L1: float = setting(100.0, "λ L1", "The weight of the L1 term.", between=(0, 200), step=5, live=True)
    lr: float = setting(
        5e-4, "lr", "Both players' learning rate; it falls to 0 in the second half of the steps.",
        log10=(-5, -1), live=True,
    )  # fmt: skip
    steps: int = setting(1500, "lr falls to 0 at", "The length of the run.", between=(0, 10**6), live=True)
    mode: str = setting(
        "train", "test mode",
        "Samples by the statistics of the images shown and with dropout, as the paper has it (train); or not.",
        choices=MODES, live=True, width=150,
    )  # fmt: skip
    generator: str = setting("unet", "generator", "The generator: with skips (unet) or without.", choices=SKIPS)
    patch: int = setting(16, "patch", "The receptive field of D, in pixels.", choices=N_LAYERS, width=110)
    norm: str = setting("batch", "norm", "The norm in both networks.", choices=REFERENCE_NORMS, width=130)
    dropout: float = setting(
        0.5, "dropout", "The probability with which dropout in G sets a number to 0.",
        between=(0, 0.9), step=0.05, width=180,
    )  # fmt: skip
    upsampling: str = setting("nearest", "upsampling", "How G makes its image larger.", choices=UPSAMPLINGS)
    width_G: int = setting(24, "", "Channels of G at full resolution.", at_least=1)
    width_D: int = setting(24, "", "Channels of D's first layer.", at_least=1)
    multipliers: tuple[int, ...] = setting(
        (), "", "Channels after each halving, as multiples of width_G: by default 1, 2, 4, 4, ..."
    )
    batch_size: int = setting(
        4, "batch", "Samples a step; with torchrun, of all replicas together.", at_least=1, between=(1, 256), width=110
    )
    seed: int = seed_setting()
    device: str = device_setting()
    speed: tuple[str, ...] = speed_setting()

    STRATEGIES = PIX2PIX_STEPS

    def __post_init__(self) -> None:
        check_loss(self, patches=True)
        check_settings(self)

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
        self.set_speed(run)
        return run

    def apply(self, run: Run) -> None:
        """Make a run that `start` has made go on with this config's live fields from its next step on.

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
        self.set_speed(run)

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
