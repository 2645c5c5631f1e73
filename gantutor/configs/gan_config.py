"""The config of a GAN's run."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from gantutor.batches import Batch, Batches
from gantutor.configs.base import Config, check_finite, check_names, check_whole, order_speed_ups
from gantutor.configs.controls import SEED, Choice, Control, Rate, Whole
from gantutor.data import DATA, POINT_SETS, Folder, Images, Points, load
from gantutor.gan import BATCHINGS, GAN, JOINT_FOR_D
from gantutor.losses import LOSSES
from gantutor.models import MODELS, NORMS_D, NORMS_G
from gantutor.models.norms import check_norms
from gantutor.speed import set_speed
from gantutor.steps import STEPS, Report, Step, d_only, g_only
from gantutor.training import Run, devices, pick_device
from gantutor.traits import check_step

GANData = Points | Images | Folder


@dataclass(frozen=True)
class GANConfig(Config):
    """What to train, on what, and how. `start()` gives a Run; the same config gives the same run, bit for bit on a CPU.

    `data` is a name of `gantutor.data.DATA` or a data set; `model` a name of `gantutor.models.MODELS`, by default
    "points" for points and "dcgan" for images; `model_options` are passed to it (`width_G`, `eps`, ...).
    `d_steps` is the number of D's updates for each of G's: all but the last see batches of their own.
    `speed` names speed-ups of `gantutor.speed.SPEED_UPS`; without them a step takes the plain way.
    The fields in LIVE can change between two steps (`apply`), the others need a new start.
    Raises: ValueError for an unknown name, a number out of range, or a loss or a D that the strategy cannot train with.
    """

    data: str | GANData = "digits"
    model: str = ""
    strategy: str = "d_first_detach"
    loss: str = "non-saturating"
    batching: str = "split"
    norm_G: str = ""
    norm_D: str = ""
    lr_G: float = 1e-3
    lr_D: float = 1e-3
    d_steps: int = 1
    batch_size: int = 64
    z_dim: int = 0
    seed: int = 0
    device: str = "auto"
    speed: tuple[str, ...] = ()
    model_options: dict[str, Any] = field(default_factory=dict)

    STRATEGIES = STEPS
    LIVE = ("strategy", "loss", "batching", "lr_G", "lr_D", "d_steps", "speed")
    COSTS = ("loss", "batching", "d_steps")
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
        choices: dict[str, Iterable[str]] = {"strategy": STEPS, "loss": LOSSES, "batching": BATCHINGS, "model": MODELS}
        if isinstance(self.data, str):
            choices["data"] = DATA
        check_names(self, choices)
        check_norms(self.norm_G, self.norm_D)
        check_whole(self, {"d_steps": 1, "batch_size": 2, "z_dim": 1, "seed": 0})
        check_finite(self, "lr_G", "lr_D")
        check_step(self.step, LOSSES[self.loss], joint=self.batching in JOINT_FOR_D, batchnorm_D=self.norm_D == "batch")
        order_speed_ups(self)

    def named_data(self, device: str) -> GANData:
        return load(str(self.data), device)

    def start(self, data: GANData | None = None) -> Run:
        """Build the networks and the optimizers, and a run at step 0; `data` is what `load()` gives.

        The global random state is left alone.
        """
        device = pick_device(self.device)
        data = data or self.load()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            G, D = MODELS[self.model](
                data.shape, z_dim=self.z_dim, norm_G=self.norm_G, norm_D=self.norm_D, **self.model_options
            )
        gan = GAN.with_adam(G.to(device), D.to(device))
        extra_batches = Batches(data, self.batch_size, self.z_dim, self.seed + 1)
        run = Run(gan, NCritic(extra_batches), Batches(data, self.batch_size, self.z_dim, self.seed))
        self.apply(run)
        return run

    def apply(self, run: Run) -> None:
        """Make a run that `start` has made go on with this config's LIVE fields from its next step on.

        Raises: ValueError for a speed-up that cannot be used, with the reason.
        """
        gan = run.model
        gan.loss, gan.batching = LOSSES[self.loss], self.batching
        for optimizer, lr in ((gan.opt_G, self.lr_G), (gan.opt_D, self.lr_D)):
            for group in optimizer.param_groups:
                group["lr"] = lr
        n_critic: Any = run.train_step
        n_critic.last, n_critic.d_steps = self.step, self.d_steps
        set_speed(run, self.speed)

    def trial(self, data: GANData) -> tuple["NCritic", Batch]:
        """A step and a batch to measure the step's cost with; no run's own."""
        batch = next(Batches(data, self.batch_size, self.z_dim, seed=0))
        n_critic = NCritic(itertools.repeat(batch))
        n_critic.last, n_critic.d_steps = self.step, self.d_steps
        return n_critic, batch

    def controls(self) -> tuple[Control, ...]:
        """The fields that a learner may choose, in the order in which they stand in the panel."""
        return (
            Choice("strategy", "strategy", tuple(STEPS)),
            Choice("loss", "loss", tuple(LOSSES)),
            Choice("batching", "batching", BATCHINGS),
            Whole("d_steps", "D steps", 1, 5, slider=True),
            Rate("lr_G", "lr G"),
            Rate("lr_D", "lr D"),
            Choice("norm_G", "norm in G", NORMS_G),
            Choice("norm_D", "norm in D", NORMS_D),
            Choice("model", "networks", tuple(MODELS)),
            Choice("data", "data", tuple(DATA) if isinstance(self.data, str) else (self.data,)),
            Choice("device", "device", ("auto", *devices())),
            SEED,
        )

    def recommended_for(self, data: str | GANData) -> dict[str, Any]:
        """The networks and the norms that go with other data."""
        recommended = GANConfig(data=data)
        return {name: getattr(recommended, name) for name in ("model", "norm_G", "norm_D")}

    def chosen(self, **fields: Any) -> Self:
        """This config with what the controls say; other networks get z and options of their own."""
        if fields["model"] != self.model:
            fields |= {"z_dim": 0, "model_options": {}}
        return self.replace(**fields)


class NCritic:
    """`last`, a step, after `d_steps` - 1 updates of D alone on batches of their own.

    Source: Goodfellow et al., 2014, algorithm 1, with k = `d_steps`.
    """

    def __init__(self, extra_batches: Iterator[Batch]) -> None:
        self.extra_batches = extra_batches
        self.last: Step = d_only
        self.d_steps = 1

    @property
    def __name__(self) -> str:
        return self.last.__name__

    def __call__(self, gan: GAN, real: Tensor, z: Tensor) -> Report:
        for _ in range(self.d_steps - 1):
            d_only(gan, *next(self.extra_batches))
        return self.last(gan, real, z)

    def state_dict(self) -> dict[str, Any]:
        """Where the extra batches are."""
        extra_batches: Any = self.extra_batches
        return extra_batches.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        extra_batches: Any = self.extra_batches
        extra_batches.load_state_dict(state)
