"""What a speed-up is: a refusal and a switch; and what it may touch of a run."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gantutor.parts import networks

Report = dict[str, Tensor]
Take = Callable[..., Report]


class Run(Protocol):
    """What a speed-up touches of a `gantutor.training.Run`."""

    model: Any
    step: Any
    batches: Any
    take: Take


class SpeedUp(NamedTuple):
    """`refusal(run)` says why it cannot be used, "" if it can; `switch(run, on)` switches it, and may be repeated."""

    refusal: Callable[[Run], str]
    switch: Callable[[Run, bool], None]


def own_networks(model: Any) -> list[nn.Module]:
    """A model's networks, out of their wrappers where several processes train them."""
    found = networks(model).values()
    return [network.module if isinstance(network, DistributedDataParallel) else network for network in found]


def is_shared(run: Run) -> bool:
    """Whether several processes train these networks."""
    return any(isinstance(network, DistributedDataParallel) for network in networks(run.model).values())


def device_of(run: Run) -> torch.device:
    """Where the run's networks are."""
    return next(parameter.device for network in own_networks(run.model) for parameter in network.parameters())


def without(take: Any, kind: type) -> Take:
    """What takes the steps when all of that kind, each of which stands before an `inner` one, are gone."""
    inner: Any = getattr(take, "inner", None)
    if isinstance(take, kind):
        return without(inner, kind)
    if inner is not None:
        take.inner = without(inner, kind)
    found: Take = take
    return found
