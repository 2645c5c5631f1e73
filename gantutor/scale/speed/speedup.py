"""What a speed-up is: a refusal and a switch; and what it may touch of a run."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gantutor.model_state import networks

Report = dict[str, Tensor]
StepRunner = Callable[..., Report]


class SpeedUpRun(Protocol):
    """What a speed-up touches of a `gantutor.training.Run`."""

    model: Any
    train_step: Any
    batches: Any
    step_runner: StepRunner
    refit: Callable[[Any], None]


class SpeedUp(NamedTuple):
    """`refusal(run)` says why it cannot be used, "" if it can; `switch(run, on)` switches it, and may be repeated."""

    refusal: Callable[[SpeedUpRun], str]
    switch: Callable[[SpeedUpRun, bool], None]


def unwrap_networks(model: Any) -> list[nn.Module]:
    """A model's networks, out of their wrappers where several processes train them."""
    found = networks(model).values()
    return [network.module if isinstance(network, DistributedDataParallel) else network for network in found]


def is_shared(run: SpeedUpRun) -> bool:
    """Whether several processes train these networks."""
    return any(isinstance(network, DistributedDataParallel) for network in networks(run.model).values())


def run_device(run: SpeedUpRun) -> torch.device:
    """Where the run's networks are."""
    return next(parameter.device for network in unwrap_networks(run.model) for parameter in network.parameters())


def without(step_runner: Any, kind: type) -> StepRunner:
    """What takes the steps when all of that kind, each of which stands before an `inner` one, are gone."""
    inner: Any = getattr(step_runner, "inner", None)
    if isinstance(step_runner, kind):
        return without(inner, kind)
    if inner is not None:
        step_runner.inner = without(inner, kind)
    found: StepRunner = step_runner
    return found
