"""The config of a run of CycleGAN."""

from dataclasses import dataclass
from typing import Any

import torch

from gantutor.batches import Batches
from gantutor.configs.base import Config, TrainStep, check_finite, check_names, check_whole, order_speed_ups
from gantutor.configs.controls import SEED, Choice, Control, Rate, Weight, Whole
from gantutor.configs.image_translation import LRDecay, rate_of
from gantutor.configs.pix2pix_config import UPSAMPLINGS
from gantutor.cyclegan import CYCLEGAN_STEPS, CycleGAN
from gantutor.data import UNPAIRED, Unpaired, load_unpaired, ready_sets
from gantutor.image_pool import ImagePool
from gantutor.models import N_LAYERS, output_side, patchgan, resnet
from gantutor.models.layers import REFERENCE_NORMS
from gantutor.speed import set_speed
from gantutor.training import Run, devices, pick_device
from gantutor.traits import check_step
from gantutor.translation import TRANSLATION_LOSSES, translation_loss


@dataclass(frozen=True)
class CycleGANConfig(Config):
    """Which two sets of images to learn from, and how: as `GANConfig`, for `gantutor.cyclegan`.

    `data` is a name of `gantutor.data.UNPAIRED` or an `Unpaired`. `patch` is the receptive field of D_A and D_B in
    pixels, a key of N_LAYERS. `norm` is that of all four networks. `lr` is everybody's rate; in the second half of
    `steps` it falls linearly to 0, and with `steps` = 0 it stays.
    `speed` names speed-ups of `gantutor.speed.SPEED_UPS`.
    The fields in LIVE can change between two steps; a smaller pool forgets what it has no room for.
    The defaults are a recipe for 64 pixels and 90 seconds on one CPU core; the paper's for 256 pixels are width_G and
    width_D 64, blocks 9, downsamplings 2, "transposed", end_kernel 7, patch 70, lr 2e-4.
    Raises: ValueError for an unknown name, a number out of range, or a loss or norm that the strategy does not take.
    """

    data: str | Unpaired = "emoji"
    strategy: str = "g_first_shared"
    loss: str = "lsgan"
    lambda_gan: float = 1.0
    lambda_cycle: float = 10.0
    lambda_identity: float = 0.5
    pool_size: int = 50
    lr: float = 4e-4
    steps: int = 1500
    norm: str = "instance"
    patch: int = 34
    blocks: int = 3
    downsamplings: int = 1
    upsampling: str = "nearest"
    end_kernel: int = 5
    width_G: int = 16
    width_D: int = 32
    batch_size: int = 1
    seed: int = 0
    device: str = "auto"
    speed: tuple[str, ...] = ()

    STRATEGIES = CYCLEGAN_STEPS
    LIVE = ("strategy", "loss", "lambda_gan", "lambda_cycle", "lambda_identity", "pool_size", "lr", "steps", "speed")
    COSTS = ("loss",)

    def __post_init__(self) -> None:
        check_names(
            self,
            {
                "strategy": CYCLEGAN_STEPS,
                "norm": REFERENCE_NORMS,
                "patch": N_LAYERS,
                "upsampling": UPSAMPLINGS,
                **({"data": UNPAIRED} if isinstance(self.data, str) else {}),
            },
        )
        least = {"pool_size": 0, "steps": 0, "blocks": 0, "downsamplings": 0, "seed": 0}
        check_whole(self, {**least, "end_kernel": 1, "width_G": 1, "width_D": 1, "batch_size": 1})
        check_finite(self, "lambda_gan", "lambda_cycle", "lambda_identity", "lr")
        order_speed_ups(self)
        check_step(self.step, translation_loss(self.loss), batchnorm_G="G_AB" if self.norm == "batch" else "")

    def named_data(self, device: str) -> Unpaired:
        return load_unpaired(str(self.data), device)

    def start(self, data: Unpaired | None = None) -> Run:
        """Build the networks and the optimizers, and a run at step 0; `data` is what `load()` gives.

        The global random state is left alone. Raises: ValueError for images that the networks do not take.
        """
        device = pick_device(self.device)
        data = data or self.load()
        channels, height, width = data.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            G_AB, G_BA = (
                resnet(
                    self.blocks, channels, channels, self.width_G, self.norm, 0.0, self.downsamplings, self.upsampling,
                    self.end_kernel,
                ).to(device)
                for _ in range(2)
            )  # fmt: skip
            D_A, D_B = (patchgan(channels, N_LAYERS[self.patch], self.width_D, self.norm).to(device) for _ in range(2))
        output_side(D_A, min(height, width))
        model = CycleGAN.with_adam(G_AB, G_BA, D_A, D_B, self.loss)
        model.pool_A, model.pool_B = (ImagePool(self.pool_size, 2 * self.seed + i) for i in range(2))
        run = Run(model, LRDecay(self.step, self.lr, self.steps), Batches(data, self.batch_size, 0, self.seed))
        self.apply(run)
        return run

    def apply(self, run: Run) -> None:
        """Make a run that `start` has made go on with this config's LIVE fields from its next step on.

        Raises: ValueError for a speed-up that cannot be used, with the reason.
        """
        model = run.model
        model.loss = TRANSLATION_LOSSES[self.loss]
        model.lambda_gan, model.lambda_cycle = self.lambda_gan, self.lambda_cycle
        model.lambda_identity = self.lambda_identity
        for pool in (model.pool_A, model.pool_B):
            pool.resize(self.pool_size)
        lr_decay: Any = run.train_step
        lr_decay.last, lr_decay.lr, lr_decay.steps = self.step, self.lr, self.steps
        set_speed(run, self.speed)

    def trial(self, data: Unpaired) -> tuple[TrainStep, tuple[Any, ...]]:
        """A step and a batch to measure the step's cost with; no run's own."""
        return self.step, next(Batches(data, self.batch_size, 0, seed=0))

    def progress(self, run: Run) -> str:
        """How many steps are planned, and the rate of the next one."""
        return rate_of(run)

    def controls(self) -> tuple[Control, ...]:
        """The fields that a learner may choose, in the order in which they stand in the panel."""
        named = dict.fromkeys([*ready_sets(UNPAIRED), self.data])  # a click must not start a download
        return (
            Choice("strategy", "strategy", tuple(CYCLEGAN_STEPS)),
            Choice("loss", "loss", tuple(TRANSLATION_LOSSES)),
            Weight("lambda_gan", "λ GAN", 0, 5, 0.1),
            Weight("lambda_cycle", "λ cycle", 0, 20, 0.5),
            Weight("lambda_identity", "λ identity", 0, 2, 0.1),
            Whole("pool_size", "pool", 0, 1000, width=130),
            Rate("lr", "lr"),
            Whole("steps", "lr falls to 0 at", 0, 10**6),
            Choice("norm", "norm", REFERENCE_NORMS, 150),
            Choice("patch", "patch", tuple(N_LAYERS), 110),
            Whole("blocks", "blocks", 0, 9, width=110),
            Choice("upsampling", "upsampling", UPSAMPLINGS),
            Choice("data", "data", tuple(named) if isinstance(self.data, str) else (self.data,), 230),
            Whole("batch_size", "batch", 1, 256, width=110),
            Choice("device", "device", ("auto", *devices()), 140),
            SEED,
        )
