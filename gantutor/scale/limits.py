"""The machine's limits, measured, and what they say of a step: which one it meets first, how long it takes at least.

What is measured are the two roofs of the roofline model, and one thing that the model leaves out: the time that an
operation takes however little there is to do.
`Scaling` asks the same model about a step that several devices share.
Source: Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model for Multicore
Architectures", 2009.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from gantutor.ledger import Traffic, traffic
from gantutor.ledger.cost import wait
from gantutor.precision import float32_precision
from gantutor.training import pick_device

SIDES = {"cpu": 512, "cuda": 8192}  # of the square matrices that are multiplied; 2048 on another device
COPIED = {"cpu": 2**27, "cuda": 2**30}  # bytes that are copied, more than a cache holds; 2**27 on another device
DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Limits:
    """What a device can do at most: FLOP/s of a large matrix product by dtype, bytes/s of a large copy, read
    and written, and the seconds that an operation of a step takes where it has next to nothing to do.

    "tf32" is what a CUDA device makes of float32 numbers where it may round them to 10 bits, which torch lets it do in
    convolutions and not in matrix products. `overlaps`: the device works while the program hands over what comes next.
    """

    device: str
    flops: dict[str, float]
    bandwidth: float
    overhead: float
    overlaps: bool

    def bounds(self, traffic: Traffic, dtype: str = "float32", data: float = 0.0) -> dict[str, float]:
        """The seconds that each limit alone would make a step take: the largest is what limits the step.

        `dtype` is a key of `flops`; `data` the seconds that a batch takes to draw (`drawing`). What a cache keeps for
        the next operation takes less than "memory" says.
        """
        return {
            "launches": traffic.launches * self.overhead,
            "arithmetic": traffic.flops / self.flops[dtype],
            "memory": traffic.bytes / self.bandwidth,
            "data": data,
        }

    def limited_by(self, traffic: Traffic, dtype: str = "float32", data: float = 0.0) -> str:
        """The limit that a step meets first: "launches", "arithmetic", "memory" or "data"."""
        bounds = self.bounds(traffic, dtype, data)
        return max(bounds, key=lambda limit: bounds[limit])

    def predicted(self, traffic: Traffic, dtype: str = "float32", data: float = 0.0) -> float:
        """The seconds that a step takes at least, if every operation is as fast as the limits let it be.

        An operation takes as long as its arithmetic or its bytes do, whichever is longer, and the kinds of operations
        follow each other. Where the device `overlaps`, launches and data cost only what the work does not hide.
        """
        work = sum(
            max(share.flops / self.flops[dtype], share.bytes / self.bandwidth) for share in traffic.kinds.values()
        )
        launches = traffic.launches * self.overhead
        return max(work, launches, data) if self.overlaps else work + launches + data

    def roof(self, intensity: float, dtype: str = "float32") -> float:
        """The FLOP/s that a step of so many FLOPs per byte can reach."""
        return min(self.flops[dtype], intensity * self.bandwidth)


@dataclass(frozen=True)
class Scaling:
    """On paper: the seconds of a step on N devices, and how much of them is not lost.

        exchange(N) = 2 · (N − 1) / N · sent / bandwidth + 2 · (N − 1) · messages · latency
        seconds(N, share) = limits.predicted(traffic.scaled(share)) + exchange(N)

    So a step on one device takes what `Limits.predicted` says, and where the device overlaps, sharing the batch saves
    nothing below the launches. What DDP hides behind the backward is not counted: a real step is rather faster.
    Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.

    Args:
        limits: what each device can do.
        traffic: what a step on the whole batch asks of one device.
        sent: the bytes of gradients that go around a ring (`gantutor.scale.distributed.communication`).
        bandwidth: bytes/s of a link between two devices.
        latency: seconds until a message arrives.
        messages: into how many averagings the gradients are put.
    """

    limits: Limits
    traffic: Traffic
    sent: float
    bandwidth: float
    latency: float = 0.0
    messages: int = 2

    def exchange(self, count: int) -> float:
        """Seconds to average the gradients of `count` devices."""
        around = 2 * (count - 1)
        return around / count * self.sent / self.bandwidth + around * self.messages * self.latency

    def seconds(self, count: int, share: float) -> float:
        """Seconds of a step of `count` devices, each with that share of the batch that `traffic` was counted for."""
        return self.limits.predicted(self.traffic.scaled(share)) + self.exchange(count)

    def strong(self, count: int) -> float:
        """How efficiently `count` devices share one batch: their speed-up by their number."""
        return self.seconds(1, 1.0) / (count * self.seconds(count, 1 / count))

    def weak(self, count: int) -> float:
        """How efficiently `count` devices each take a whole batch: the images/s of each, by those of one alone."""
        return self.seconds(1, 1.0) / self.seconds(count, 1.0)


def scales_to(efficiency: Callable[[int], float], least: float = 0.5, most: int = 1024) -> int:
    """The largest number of devices, up to `most`, with at least that efficiency: `Scaling.strong` or `.weak`."""
    return next((count - 1 for count in range(2, most + 1) if efficiency(count) < least), most)


def measure(device: str = "auto") -> Limits:
    """Measure the device's limits, a quarter of a second each.

    On a CPU they are those of `torch.get_num_threads()` threads. Raises: ValueError for a device that is not there.
    """
    place = pick_device(device)
    kinds = ("float32", "tf32", "bfloat16") if place.type == "cuda" else ("float32", "bfloat16")
    threads = torch.get_num_threads()
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type.upper()
    return Limits(
        device=f"{name}, {threads} thread{'s' * (threads > 1)}" if place.type == "cpu" else name,
        flops={kind: matmul_flops(place, kind) for kind in kinds},
        bandwidth=copy_bandwidth(place),
        overhead=launch_overhead(place),
        overlaps=place.type != "cpu",
    )


def matmul_flops(device: torch.device, dtype: str) -> float:
    """FLOP/s of a product of two large square matrices of random numbers (with ones or zeros a GPU is quicker)."""
    side = SIDES.get(device.type, 2048)
    generator = torch.Generator(device).manual_seed(0)
    a, b = torch.randn(2, side, side, device=device, generator=generator).to(DTYPES[dtype])
    product = torch.empty_like(a)
    with float32_precision("tf32" if dtype == "tf32" else "ieee"):
        return 2 * side**3 / best(lambda: torch.mm(a, b, out=product), device)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes/s of a large copy, those read and those written."""
    source = torch.ones(COPIED.get(device.type, 2**27), dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / best(lambda: target.copy_(source), device)


def tiny_step(model: Any, x: Tensor) -> None:
    """One update with nothing to compute; as in a step of a GAN's D, three forwards and backwards go to an update."""
    model.optimizer.zero_grad()
    sum(model.network(x) for _ in range(3)).backward()
    model.optimizer.step()


def launch_overhead(device: torch.device) -> float:
    """Seconds for each operation of a training step, here of 32 layers, in which no operation has anything to do.

    Python, autograd and the allocator are in it: a bare operation in a loop takes less, but no step is made of those.
    """
    with torch.random.fork_rng(devices=[]):
        layers = [layer for _ in range(16) for layer in (nn.Linear(1, 1, device=device), nn.ReLU())]
    network, x = nn.Sequential(*layers), torch.ones(1, 1, device=device)
    model = SimpleNamespace(network=network, optimizer=torch.optim.Adam(network.parameters()))
    return best(lambda: tiny_step(model, x), device) / traffic(tiny_step, model, x).launches


def best(work: Callable[[], Any], device: torch.device, seconds: float = 0.25) -> float:
    """The shortest time of `work` in seconds, of as many runs as there is time for and one at least, after a first."""
    work()
    wait(device)
    times: list[float] = []
    while sum(times) < seconds:
        start = perf_counter()
        work()
        wait(device)
        times.append(perf_counter() - start)
    return min(times)


def drawing(batches: Any, device: torch.device, seconds: float = 0.25) -> float:
    """The shortest time in seconds that `gantutor.batches.Batches` take to draw a batch; what comes next stays."""
    state = batches.state_dict()
    try:
        return best(lambda: next(batches), device, seconds)
    finally:
        batches.load_state_dict(state)
