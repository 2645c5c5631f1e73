"""What the runs of pix2pix and CycleGAN share: a rate that falls, dropout with a memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gantutor.configs.base import Config, TrainStep
from gantutor.draws import Draws
from gantutor.model_state import optimizers
from gantutor.training import Run
from gantutor.traits import check_step
from gantutor.translation import translation_loss


def check_loss(config: Config, **networks: Any) -> None:
    """Before `check_settings`, which knows only the losses that can be chosen; an unknown strategy is left to it.

    Raises: ValueError for a loss that the strategy does not take on such `networks` (`why_not`), with the reason.
    """
    loss = translation_loss(config.loss)
    if config.strategy in config.STRATEGIES:
        check_step(config.step, loss, **networks)


def decay_factor(t: int, steps: int) -> float:
    """The share of the rate that is left for step t, from 0 on: 1 for the first half of `steps`, then down to 0.

    What `translation.linear_decay` gives for both halves; with `steps` = 0 the rate stays.
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


def rate_of(run: Run) -> str:
    """What the panel says of the learning rate."""
    step: Any = run.train_step
    length = f"of {step.steps} · " if step.steps else ""
    return f"{length}lr {step.rate:.1e}" if step.rate else f"{length}lr 0: it has fallen to its end"


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
    """Put an SeededDropout in the place of each nn.Dropout, in place."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Dropout):
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, SeededDropout(module.p, seed))
            seed += 1
