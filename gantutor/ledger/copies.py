"""Running a step where it leaves nothing behind: on a copy of the model, with the random state given back."""

import contextlib
import copy
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from gantutor.model_state import networks


def device_of(model: Any) -> torch.device:
    """Where the first network's parameters are; the CPU if there are none."""
    parameters = (parameter for network in networks(model).values() for parameter in network.parameters())
    first = next(parameters, None)
    return torch.device("cpu") if first is None else first.device


@contextlib.contextmanager
def copied(model: Any, batch: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """A copy of the model and of the batch; on leaving, the random states of Python, NumPy and torch are as before.

    The copy holds the gradients that the model holds, which `copy.deepcopy` alone would drop.
    """
    device = device_of(model)
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 -- a step may use the global generator
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        twin, twin_batch = copy.deepcopy((model, batch))
        for name, network in networks(model).items():
            for ours, theirs in zip(networks(twin)[name].parameters(), network.parameters(), strict=True):
                ours.grad = None if theirs.grad is None else theirs.grad.detach().clone()
        try:
            yield twin, twin_batch
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def wait(device: torch.device) -> None:
    """Until the device has done all it was given; a clock would otherwise measure the queueing alone."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
