"""An experiment by name: everything that decides a run, in one record."""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gantutor.data import DATA, POINT_SETS, Folder, Images, Points, load
from gantutor.gan import BATCHINGS, GAN
from gantutor.losses import LOSSES
from gantutor.models import MODELS
from gantutor.models.norms import check_norms
from gantutor.steps import STEPS, Report, Step, d_only
from gantutor.training import Batch, Run, batches, pick_device

Data = Points | Images | Folder


@dataclass(frozen=True)
class Experiment:
    """What to train, on what, and how. `start()` gives a Run; the same record gives the same run, bit for bit on a CPU.

    `data` is a name of `gantutor.data.DATA` or a data set; `model` a name of `gantutor.models.MODELS`, by default
    "points" for points and "dcgan" for images; `model_options` are passed to it (`width_G`, `eps`, ...).
    `d_steps` is the number of D's updates for each of G's: all but the last see batches of their own.
    The fields in LIVE can change between two steps (`apply`), the others need a new start.
    Raises: ValueError for an unknown name or a number out of range.
    """

    data: str | Data = "digits"
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
    model_options: dict[str, Any] = field(default_factory=dict)

    LIVE = ("strategy", "loss", "batching", "lr_G", "lr_D", "d_steps")

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
        for name, valid in choices.items():
            if getattr(self, name) not in valid:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; choose one of {', '.join(valid)}")
        check_norms(self.norm_G, self.norm_D)
        for name, lowest in (("d_steps", 1), ("batch_size", 2), ("z_dim", 1), ("seed", 0)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < lowest:
                raise ValueError(f"{name} must be a whole number of at least {lowest}, got {getattr(self, name)!r}")
        for name in ("lr_G", "lr_D"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a finite number of at least 0, got {getattr(self, name)!r}")

    def replace(self, **changes: Any) -> "Experiment":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def load(self) -> Data:
        """The data set, on the device."""
        return load(self.data, pick_device(self.device)) if isinstance(self.data, str) else self.data

    def start(self, data: Data | None = None) -> Run:
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
        extra_batches = batches(data, self.batch_size, self.z_dim, self.seed + 1)
        run = Run(gan, KStep(extra_batches), batches(data, self.batch_size, self.z_dim, self.seed))
        self.apply(run)
        return run

    def apply(self, run: Run) -> None:
        """Make a run that `start` has made go on with this record's LIVE fields from its next step on."""
        gan = run.model
        gan.loss, gan.batching = LOSSES[self.loss], self.batching
        for optimizer, lr in ((gan.opt_G, self.lr_G), (gan.opt_D, self.lr_D)):
            for group in optimizer.param_groups:
                group["lr"] = lr
        k_step: Any = run.step
        k_step.last, k_step.d_steps = STEPS[self.strategy], self.d_steps


class KStep:
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
