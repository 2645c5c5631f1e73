"""The config of a GAN's run."""

import itertools
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from gantutor.batches import Batch
from gantutor.configs.base import DEVICE, LOSS, SEED, SPEED, STRATEGY, Config
from gantutor.configs.settings import check_settings, setting
from gantutor.data import DATA, POINT_SETS, Folder, Images, Points
from gantutor.draws import seeded
from gantutor.gan import BATCHINGS, GAN, JOINT_FOR_D
from gantutor.losses import LOSSES
from gantutor.models import MODELS, NORMS_D, NORMS_G
from gantutor.steps import STEPS, Report, Step, d_only, g_only
from gantutor.training import Run, pick_device
from gantutor.traits import check_step

GANData = Points | Images | Folder


@dataclass(frozen=True)
class GANConfig(Config):
    """What to train, on what, and how. `start()` gives a Run; the same config gives the same run, bit for bit on a CPU.

    `data` is a name of `gantutor.data.DATA` or a data set; `model` a name of `gantutor.models.MODELS`, by default
    "points" for points and "dcgan" for images; `model_options` are passed to it (`width_G`, `eps`, ...).
    `d_steps` is the number of D's updates for each of G's: all but the last see batches of their own.
    `speed` names speed-ups of `gantutor.scale.speed`; without them a step takes the plain way.
    The live fields can change between two steps (`apply`), the others need a new start.
    Raises: ValueError for an unknown name, a number out of range, or a loss or a D that the strategy cannot train with.
    """

    data: str | GANData = setting("digits", "data", "The data: a name, or a data set of your own.", choices=DATA)
    strategy: str = setting("d_first_detach", **STRATEGY, choices=STEPS)
    loss: str = setting("non-saturating", **LOSS, choices=LOSSES)
    batching: str = setting(
        "split", "batching",
        "Whether D scores real and fake apart or in one batch; with BatchNorm that matters (notebook 03).",
        choices=BATCHINGS, live=True, costs=True,
    )  # fmt: skip
    d_steps: int = setting(
        1, "D steps", "Updates of D for each of G's.", at_least=1, between=(1, 5), slider=True, live=True, costs=True
    )
    lr_G: float = setting(1e-3, "lr G", "G's learning rate.", log10=(-5, -1), live=True)
    lr_D: float = setting(1e-3, "lr D", "D's learning rate.", log10=(-5, -1), live=True)
    norm_G: str = setting("", "norm in G", "The norm in G.", choices=NORMS_G)
    norm_D: str = setting("", "norm in D", "The norm in D.", choices=NORMS_D)
    model: str = setting("", "networks", "The networks.", choices=MODELS)
    batch_size: int = setting(64, "", "Samples a step; with torchrun, of all replicas together.", at_least=2)
    z_dim: int = setting(0, "", "Numbers in z.", at_least=1)
    seed: int = setting(0, **SEED)
    device: str = setting("auto", **DEVICE)
    speed: tuple[str, ...] = setting((), **SPEED)
    model_options: dict[str, Any] = setting(
        {}, "", "An option of the networks, as in width_G=64; may be given again for another."
    )

    STRATEGIES = STEPS
    SETS = DATA
    HALF_STEPS = {"D only": d_only, "G only": g_only}  # noqa: RUF012 -- Config says that it is the class's

    def __post_init__(self) -> None:
        is_points = isinstance(self.data, Points) or (isinstance(self.data, str) and self.data in POINT_SETS)
        model = self.model or ("points" if is_points else "dcgan")
        fill = {
            "model": model,
            "norm_G": self.norm_G or ("none" if model == "points" else "batch"),
            "norm_D": self.norm_D or ("batch" if model == "dcgan" else "none"),
            "z_dim": self.z_dim or {"points": 2, "classic": 100}.get(model, 64),
        }
        for name, value in fill.items():
            object.__setattr__(self, name, value)
        check_settings(self)
        check_step(self.step, LOSSES[self.loss], joint=self.batching in JOINT_FOR_D, batchnorm_D=self.norm_D == "batch")

    def start(self, data: GANData | None = None) -> Run:
        device, data = pick_device(self.device), data or self.load()
        with seeded(self.seed):
            G, D = MODELS[self.model](
                data.shape, z_dim=self.z_dim, norm_G=self.norm_G, norm_D=self.norm_D, **self.model_options
            )
        n_critic = NCritic(self.batches(data, self.seed + 1))
        run = Run(GAN.with_adam(G.to(device), D.to(device)), n_critic, self.batches(data, self.seed))
        self.apply(run)
        return run

    def apply(self, run: Run) -> None:
        gan = run.model
        gan.loss, gan.batching = LOSSES[self.loss], self.batching
        for optimizer, lr in ((gan.opt_G, self.lr_G), (gan.opt_D, self.lr_D)):
            for group in optimizer.param_groups:
                group["lr"] = lr
        run.train_step.last, run.train_step.d_steps = self.step, self.d_steps
        super().apply(run)

    def trial(self, data: GANData) -> tuple["NCritic", Batch]:
        batch = next(self.batches(data, seed=0))
        return NCritic(itertools.repeat(batch), self.step, self.d_steps), batch

    def recommended_for(self, data: str | GANData) -> dict[str, Any]:
        recommended = GANConfig(data=data)
        return {name: getattr(recommended, name) for name in ("model", "norm_G", "norm_D")}

    def chosen(self, **fields: Any) -> Self:
        if fields["model"] != self.model:  # other networks get z and options of their own
            fields |= {"z_dim": 0, "model_options": {}}
        return self.replace(**fields)


class NCritic:
    """`last`, a step, after `d_steps` - 1 updates of D alone on batches of their own.

    Source: Goodfellow et al., 2014, algorithm 1, with k = `d_steps`.
    """

    def __init__(self, extra_batches: Any, last: Step = d_only, d_steps: int = 1) -> None:
        self.extra_batches, self.last, self.d_steps = extra_batches, last, d_steps

    @property
    def __name__(self) -> str:
        return self.last.__name__

    def __call__(self, gan: GAN, real: Tensor, z: Tensor) -> Report:
        for _ in range(self.d_steps - 1):
            d_only(gan, *next(self.extra_batches))
        return self.last(gan, real, z)

    def state_dict(self) -> dict[str, Any]:
        """Where the extra batches are."""
        return dict(self.extra_batches.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.extra_batches.load_state_dict(state)
