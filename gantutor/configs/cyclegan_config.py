"""The config of a run of CycleGAN."""

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
from gantutor.configs.image_translation import LRDecay, check_loss, rate_of
from gantutor.configs.pix2pix_config import UPSAMPLINGS
from gantutor.configs.settings import check_settings, setting
from gantutor.cyclegan import CYCLEGAN_STEPS, CycleGAN
from gantutor.data import UNPAIRED, Unpaired, load_unpaired
from gantutor.image_pool import ImagePool
from gantutor.models import N_LAYERS, REFERENCE_NORMS, output_side, patchgan, resnet
from gantutor.training import Run, pick_device
from gantutor.translation import TRANSLATION_LOSSES


@dataclass(frozen=True)
class CycleGANConfig(Config):
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
    strategy: str = strategy_setting("g_first_shared", CYCLEGAN_STEPS)
    loss: str = loss_setting("lsgan", TRANSLATION_LOSSES)
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
    seed: int = seed_setting()
    device: str = device_setting()
    speed: tuple[str, ...] = speed_setting()

    STRATEGIES = CYCLEGAN_STEPS

    def __post_init__(self) -> None:
        check_loss(self, batchnorm_G="G_AB" if self.norm_G == "batch" else "")
        check_settings(self)

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
                    self.blocks, channels, channels, self.width_G, self.norm_G, 0.0, self.downsamplings,
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
        run = Run(model, LRDecay(self.step, self.lr, self.steps), Batches(data, self.batch_size, 0, self.seed))
        self.apply(run)
        return run

    def apply(self, run: Run) -> None:
        """Make a run that `start` has made go on with this config's live fields from its next step on.

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
        self.set_speed(run)

    def trial(self, data: Unpaired) -> tuple[TrainStep, tuple[Any, ...]]:
        """A step and a batch to measure the step's cost with; no run's own."""
        return self.step, next(Batches(data, self.batch_size, 0, seed=0))

    def progress(self, run: Run) -> str:
        """How many steps are planned, and the rate of the next one."""
        return rate_of(run)
