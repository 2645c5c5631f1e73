"""What a step costs: operations by network and direction, memory kept for backward, time."""

import statistics
import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from gantutor.ledger.copies import copied, device_of, wait
from gantutor.ledger.flow import storage
from gantutor.ledger.meter import Meter, NetworkCost
from gantutor.ledger.text import count, html_table, table
from gantutor.model_state import networks


@dataclass(frozen=True)
class Cost:
    """What one step costs.

    `flops` are the floating-point operations of matrix products and convolutions, a multiplication and an addition as
    two; `networks` are the networks' shares, `elsewhere` is what belongs to none. `saved_bytes` is the most that graphs
    held for backward at a time, parameters not counted. `milliseconds` is the median of `repeats` steps.
    `device_bytes` is the most memory that a step took on a CUDA device beyond what was taken before it; None elsewhere.
    """

    name: str
    flops: int
    networks: dict[str, NetworkCost]
    elsewhere: int
    saved_bytes: int
    milliseconds: float
    repeats: int
    device_bytes: int | None

    def _summary(self) -> str:
        device = "" if self.device_bytes is None else f", {count(self.device_bytes, 'B')} of device memory"
        return (
            f"{self.name}: {count(self.flops)} FLOPs, {count(self.saved_bytes, 'B')} saved for backward{device}, "
            f"{self.milliseconds:.3g} ms (median of {self.repeats})"
        )

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [name, str(n.forwards), str(n.backwards), count(n.forward_flops), count(n.backward_flops)]
            for name, n in self.networks.items()
        ]
        return ["network", "forwards", "backwards", "FLOPs forward", "FLOPs backward"], rows

    def __str__(self) -> str:
        return f"{self._summary()}\n{table(*self._cells())}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<div>{self._summary()}</div>{html_table(*self._cells())}"


def cost(step: Callable[..., Any], model: Any, *batch: Any, repeats: int = 5) -> Cost:
    """Measure `step(model, *batch)` on copies; the model, the batch and the global random state stay as they are.

    One copy takes `repeats` steps by the clock after a first that does not count; two more copies take a step each, to
    count operations and to weigh what is kept for backward.
    Raises: what the step raises; ValueError for `repeats` below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    milliseconds, device_bytes = clocked(step, model, batch, repeats)
    with copied(model, batch) as (twin, twin_batch), Meter(networks(twin)) as meter:
        step(twin, *twin_batch)
    shares = meter.shares()
    return Cost(
        name=getattr(step, "__name__", repr(step)),
        flops=meter.flops,
        networks=shares,
        elsewhere=meter.flops - sum(share.forward_flops + share.backward_flops for share in shares.values()),
        saved_bytes=peak_saved_bytes(step, model, batch),
        milliseconds=milliseconds,
        repeats=repeats,
        device_bytes=device_bytes,
    )


def clocked(step: Callable[..., Any], model: Any, batch: tuple[Any, ...], repeats: int) -> tuple[float, int | None]:
    """The median time of a step in ms, and on CUDA the most memory it took."""
    device = device_of(model)
    times = []
    with copied(model, batch) as (twin, twin_batch):
        step(twin, *twin_batch)
        wait(device)
        before = peak_from_here(device)
        for _ in range(repeats):
            start = time.perf_counter()
            step(twin, *twin_batch)
            wait(device)
            times.append(1000 * (time.perf_counter() - start))
        peak = torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else None
    return statistics.median(times), peak


def peak_from_here(device: torch.device) -> int:
    """On CUDA: start a new peak, and the bytes taken now."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


class Held:
    """Holds a saved tensor as long as autograd holds this."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Scales:
    """Weighs what graphs hold for backward: every storage once, while any graph holds it; no single numbers."""

    def __init__(self, not_counted: set[int]) -> None:
        self.not_counted = not_counted
        self.holders = Counter[int]()
        self.now = self.peak = 0

    def pack(self, tensor: Tensor) -> Held:
        place, size = storage(tensor), tensor.untyped_storage().nbytes()
        held = Held(tensor.detach())  # an output that its own node holds would otherwise keep itself alive
        if tensor.dim() and place not in self.not_counted:
            if not self.holders[place]:
                self.now += size
                self.peak = max(self.peak, self.now)
            self.holders[place] += 1
            weakref.finalize(held, self._release, place, size).atexit = False
        return held

    def _release(self, place: int, size: int) -> None:
        self.holders[place] -= 1
        if not self.holders[place]:
            self.now -= size


def peak_saved_bytes(step: Callable[..., Any], model: Any, batch: tuple[Any, ...]) -> int:
    """The most bytes that graphs held for backward at a time. Under these hooks autograd checks no change in place."""
    with copied(model, batch) as (twin, twin_batch):
        parameters = {storage(p) for network in networks(twin).values() for p in network.parameters()}
        scales = Scales(parameters)
        with saved_tensors_hooks(scales.pack, lambda held: held.tensor):
            step(twin, *twin_batch)
    return scales.peak
