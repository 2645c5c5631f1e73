"""The configs of runs of pix2pix and CycleGAN, and what these share: a rate that falls, dropout with a memory."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gantutor.configs.base import DEVICE, LOSS, SEED, SPEED, STRATEGY, Config, TrainStep
from gantutor.configs.settings import check_settings, setting
from gantutor.cyclegan import CYCLEGAN_STEPS, CycleGAN
from gantutor.data import PAIRED, UNPAIRED, Pairs, Unpaired
from gantutor.draws import Draws, seeded
from gantutor.image_pool import ImagePool
from gantutor.losses import TRANSLATION_LOSSES, translation_loss
from gantutor.model_state import optimizers
from gantutor.models import N_LAYERS, REFERENCE_NORMS, output_side, patchgan, resnet, unet
from gantutor.pix2pix import OBJECTIVES, PIX2PIX_STEPS, Pix2Pix
from gantutor.training import Run, pick_device
from gantutor.traits import check_step

SKIPS = {"unet": True, "encoder_decoder": False}  # the generators: do they have skips?
UPSAMPLINGS = ("nearest", "transposed")
MODES = ("train", "eval")


def decay_factor(t: int, steps: int) -> float:
    """The share of the rate that is left for step t, from 0 on: 1 for the first half of `steps`, then down to 0.

        factor = 1 − max(0, t + 1 − half) / (steps − half + 1), half = steps // 2

    The papers' schedule, in steps instead of epochs; with `steps` = 0 the rate stays.
    """
    constant = steps // 2
    return max(0.0, 1 - max(0, t + 1 - constant) / (steps - constant + 1)) if steps else 1.0


class LRDecay:
    """`last`, a step, with all optimizers at the rate `lr` times what `decay_factor` leaves of it.

    The optimizers are told their rate at every step, since a run that diverges goes on with copies of them. A step that
    raises does not count.
    """

    def __init__(self, last: TrainStep, lr: float, steps: int) -> None:
        self.last, self.lr, self.steps = last, lr, steps
        self.t = 0

    @property
    def __name__(self) -> str:
        return getattr(self.last, "__name__", "the step")

    @property
    def rate(self) -> float:
        """Of the next step."""
        return self.lr * decay_factor(self.t, self.steps)

    def __call__(self, model: Any, *batch: Tensor) -> dict[str, Tensor]:
        return self.around(model, lambda: self.last(model, *batch))

    def around(self, model: Any, update: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What stands around an update: the rate of this step before it, and the count after it."""
        for optimizer in optimizers(model).values():
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):  # the "graph" speed-up reads it where it lies
                    group["lr"].fill_(self.rate)
                else:
                    group["lr"] = self.rate
        report = update()
        self.t += 1
        return report

    def state_dict(self) -> dict[str, int]:
        """How far the rate has fallen."""
        return {"t": self.t}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self.t = state["t"]


class SeededDropout(nn.Module):
    """Dropout that draws from a generator of its own, and not from torch's global one.

    In a panel the run views take turns and a cell may draw meanwhile: each run keeps its own sequence. A copy of the
    network goes on as the original does. The numbers are drawn on the CPU: the same masks on every device.
    """

    def __init__(self, p: float, seed: int) -> None:
        super().__init__()
        self.p = p
        self.generator = torch.Generator().manual_seed(seed)
        self.draws = Draws()

    def forward(self, x: Tensor) -> Tensor:
        """x with each number set to 0 with probability p and divided by 1 − p otherwise; in evaluation mode x."""
        if not self.training:
            return x
        shape = x.shape
        kept = self.draws(lambda: torch.rand(shape, generator=self.generator) >= self.p, x.device)
        return x * kept / (1 - self.p)


def seed_dropout(network: nn.Module, seed: int) -> None:
    """Put a SeededDropout in the place of each nn.Dropout, in place."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Dropout):
            network.set_submodule(name, SeededDropout(module.p, seed))
            seed += 1


class TranslationConfig(Config):
    """The base of both: a loss that the strategy takes, and one rate, which falls in the second half of `steps`."""

    lr: float

    def check(self, **networks: Any) -> None:
        """Raises: ValueError for a setting that is not allowed, and for a loss that the strategy does not take.

        The loss comes first: `check_settings` knows only those that can be chosen. It knows an unknown strategy, too.
        """
        loss = translation_loss(self.loss)
        if self.strategy in self.STRATEGIES:
            check_step(self.step, loss, **networks)
        check_settings(self)

    def run_of(self, model: Any, data: Any) -> Run:
        """A run of that model at step 0."""
        run = Run(model, LRDecay(self.step, self.lr, self.steps), self.batches(data, self.seed))
        self.apply(run)
        return run

    def apply(self, run: Run) -> None:
        run.model.loss = TRANSLATION_LOSSES[self.loss]
        decay = run.train_step
        decay.last, decay.lr, decay.steps = self.step, self.lr, self.steps
        super().apply(run)

    def progress(self, run: Run) -> str:
        """How many steps are planned, and the rate of the next one."""
        step = run.train_step
        length = f"of {step.steps} · " if step.steps else ""
        return f"{length}lr {step.rate:.1e}" if step.rate else f"{length}lr 0: it has fallen to its end"


@dataclass(frozen=True)
class Pix2PixConfig(TranslationConfig):
    """Which pairs to learn from, and how: as `GANConfig`, for `gantutor.pix2pix`.

    `data` is a name of `gantutor.data.PAIRED` or a `Pairs`. `objective` is a name of OBJECTIVES: it says which terms G
    minimises and what D is shown, `lambda_L1` how much the L1 term weighs where there is one. `generator` is "unet" or
    "encoder_decoder"; `multipliers`, one for each halving, are by default 1, 2, 4, 4, ... `patch` is the receptive
    field of D in pixels, a key of N_LAYERS. `norm` is G's and D's. `lr` is both players' rate; in the second half of
    `steps` it falls linearly to 0, and with `steps` = 0 it stays. `mode` is how the panel's images are made: "train",
    as the paper does at test time, by the statistics of the images shown and with dropout; or "eval".
    `speed` names speed-ups of `gantutor.scale.speed`.
    The live fields can change between two steps, an objective if D is shown the same (A and B, or B alone). The steps
    leave the global random state alone, too: dropout has generators of its own.
    The defaults are a recipe for 64 pixels and 90 seconds on one CPU core; the paper's for 256 pixels are width_G and
    width_D 64, multipliers 1 2 4 8 8 8 8 8, "transposed", patch 70, batch_size 1, lr 2e-4.
    Raises: ValueError for an unknown name, a number out of range, or a loss that the strategy does not take.
    """

    data: str | Pairs = setting("emoji_flat", "data", "The pairs: a name, or a set of your own.", choices=PAIRED)
    strategy: str = setting("d_first_detach", **STRATEGY, choices=PIX2PIX_STEPS)
    objective: str = setting(
        "L1 + cGAN", "objective", "Which terms G minimises, and what D is shown.", choices=OBJECTIVES, live=True
    )
    loss: str = setting("non-saturating", **LOSS, choices=TRANSLATION_LOSSES)
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
    seed: int = setting(0, **SEED)
    device: str = setting("auto", **DEVICE)
    speed: tuple[str, ...] = setting((), **SPEED)

    STRATEGIES = PIX2PIX_STEPS
    SETS = PAIRED

    def __post_init__(self) -> None:
        self.check(patches=True)

    @property
    def terms(self) -> dict[str, Any]:
        """What the objective and its weight come to, as settings of Pix2Pix."""
        settings = OBJECTIVES[self.objective]
        return {**settings, "lambda_L1": self.lambda_L1 if settings["lambda_L1"] else 0.0}

    def start(self, data: Pairs | None = None) -> Run:
        device, data = pick_device(self.device), data or self.load()
        channels_A, channels_B = data.A.shape[1], data.B.shape[1]
        height, width = data.A.shape[2:]
        side = math.gcd(height, width, 2**16)  # the largest power of two that both are multiples of
        multipliers = self.multipliers or [min(2**level, 4) for level in range(side.bit_length() - 1)]
        with seeded(self.seed):
            G = unet(
                side, channels_A, channels_B, self.width_G, multipliers, self.norm, self.dropout, self.upsampling,
                SKIPS[self.generator],
            )  # fmt: skip
            shown = channels_A + channels_B if self.terms["conditional"] else channels_B
            D = patchgan(shown, N_LAYERS[self.patch], self.width_D, self.norm)
        output_side(D, min(height, width))
        seed_dropout(G, self.seed)
        return self.run_of(Pix2Pix.with_adam(G.to(device), D.to(device), self.loss, **self.terms), data)

    def apply(self, run: Run) -> None:
        if self.terms["conditional"] != run.model.conditional:
            raise ValueError(f"objective={self.objective!r} needs another D than this run has: it needs a new start")
        run.model.lambda_L1, run.model.lambda_gan = self.terms["lambda_L1"], self.terms["lambda_gan"]
        super().apply(run)

    def is_live(self, field: str, value: Any) -> bool:
        if field == "objective":
            return bool(OBJECTIVES[value]["conditional"] == self.terms["conditional"])
        return super().is_live(field, value)


@dataclass(frozen=True)
class CycleGANConfig(TranslationConfig):
    """Which two sets of images to learn from, and how: as `GANConfig`, for `gantutor.cyclegan`.

    `data` is a name of `gantutor.data.UNPAIRED` or an `Unpaired`. `patch` is the receptive field of D_A and D_B in
    pixels, a key of N_LAYERS. `norm_G` is that of both generators, `norm_D` that of both discriminators. `lr` is
    everybody's rate; in the second half of `steps` it falls linearly to 0, and with `steps` = 0 it stays.
    `speed` names speed-ups of `gantutor.scale.speed`.
    The live fields can change between two steps; a smaller pool forgets what it has no room for.
    The defaults are a recipe for 64 pixels and 70 seconds on one CPU core; the paper's for 256 pixels are width_G and
    width_D 64, blocks 9, downsamplings 2, norm_G "instance", "transposed", end_kernel 7, patch 70, lr 2e-4. With
    norm_G "none" the default departs from the paper on purpose: instance norm divides by the spread of an image, so G
    could not see how strong its colours are. norm_D "instance" is the paper's.
    Raises: ValueError for an unknown name, a number out of range, or a loss or norm that the strategy does not take.
    """

    data: str | Unpaired = setting(
        "emoji", "data", "The two domains: a name, or a set of your own.", choices=UNPAIRED, width=230
    )
    strategy: str = setting("g_first_shared", **STRATEGY, choices=CYCLEGAN_STEPS)
    loss: str = setting("lsgan", **LOSS, choices=TRANSLATION_LOSSES)
    lambda_gan: float = setting(
        1.0, "λ GAN", "The weight of the adversarial term.", between=(0, 5), step=0.1, live=True
    )
    lambda_cycle: float = setting(10.0, "λ cycle", "The weight of the cycle.", between=(0, 20), step=0.5, live=True)
    lambda_identity: float = setting(
        0.5, "λ identity", "The weight of the identity term, as a share of the cycle's.",
        between=(0, 2), step=0.1, live=True,
    )  # fmt: skip
    pool_size: int = setting(
        50, "pool", "Earlier fakes of which D is shown some; 0 for none.", between=(0, 1000), live=True, width=130
    )
    lr: float = setting(
        4e-4, "lr", "All networks' learning rate; it falls to 0 in the second half of the steps.",
        log10=(-5, -1), live=True,
    )  # fmt: skip
    steps: int = setting(1000, "lr falls to 0 at", "The length of the run.", between=(0, 10**6), live=True)
    norm_G: str = setting("none", "norm in G", "The norm in G.", choices=REFERENCE_NORMS, width=150)
    norm_D: str = setting("instance", "norm in D", "The norm in D.", choices=REFERENCE_NORMS, width=150)
    patch: int = setting(34, "patch", "The receptive field of D, in pixels.", choices=N_LAYERS, width=110)
    blocks: int = setting(3, "blocks", "Residual blocks of each generator.", between=(0, 9), width=110)
    downsamplings: int = setting(1, "", "Halvings before the residual blocks.")
    upsampling: str = setting("nearest", "upsampling", "How G makes its image larger.", choices=UPSAMPLINGS)
    end_kernel: int = setting(5, "", "The side of G's first and last kernel, in pixels.", at_least=1)
    width_G: int = setting(16, "", "Channels of G at full resolution.", at_least=1)
    width_D: int = setting(32, "", "Channels of D's first layer.", at_least=1)
    batch_size: int = setting(
        1, "batch", "Samples a step; with torchrun, of all replicas together.", at_least=1, between=(1, 256), width=110
    )
    seed: int = setting(0, **SEED)
    device: str = setting("auto", **DEVICE)
    speed: tuple[str, ...] = setting((), **SPEED)

    STRATEGIES = CYCLEGAN_STEPS
    SETS = UNPAIRED

    def __post_init__(self) -> None:
        self.check(batchnorm_G="G_AB" if self.norm_G == "batch" else "")

    def start(self, data: Unpaired | None = None) -> Run:
        device, data = pick_device(self.device), data or self.load()
        channels, height, width = data.shape
        with seeded(self.seed):
            G_AB, G_BA = (
                resnet(
                    self.blocks, channels, channels, self.width_G, self.norm_G, self.downsamplings,
                    self.upsampling, self.end_kernel,
                ).to(device)
                for _ in range(2)
            )  # fmt: skip
            D_A, D_B = (
                patchgan(channels, N_LAYERS[self.patch], self.width_D, self.norm_D).to(device) for _ in range(2)
            )
        output_side(D_A, min(height, width))
        model = CycleGAN.with_adam(G_AB, G_BA, D_A, D_B, self.loss)
        model.pool_A, model.pool_B = (ImagePool(self.pool_size, 2 * self.seed + i) for i in range(2))
        return self.run_of(model, data)

    def apply(self, run: Run) -> None:
        for name in ("lambda_gan", "lambda_cycle", "lambda_identity"):
            setattr(run.model, name, getattr(self, name))
        for pool in (run.model.pool_A, run.model.pool_B):
            pool.resize(self.pool_size)
        super().apply(run)
