"""What a step costs: operations by network and direction, memory kept for backward, time.

Autograd numbers the nodes of its graphs in the order in which they are made. The numbers that came while a network's
forward ran are its nodes; what a backward computes in such a node is the network's, too, and so are the nodes that it
makes there with `create_graph=True`.
"""

import bisect
import contextlib
import dataclasses
import statistics
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node, saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gantutor.ledger.reach import Reach, Snapshot, storage_of
from gantutor.ledger.records import count, html_table, table

Leave = Callable[[Any, bool], None]
BACKWARD, GRAD = torch.autograd.backward.__code__, torch.autograd.grad.__code__
NOBODY = 0  # the call that is none: what runs in no network's forward


@dataclasses.dataclass(frozen=True)
class NetworkCost:
    """A network's share of a step, in calls and in floating-point operations.

    `forwards` are calls of the network, or of a part of it; `backwards` are how often a backward went through what such
    a call made. A whole backward costs two forwards, one for the weights' gradients and one for the inputs'; where it
    costs less, one of them was not asked for.
    """

    forwards: int
    backwards: int
    forward_flops: int
    backward_flops: int


@dataclasses.dataclass
class Forward:
    """A call of a network: whose, inside which other call, its operations, and the backwards that went through it."""

    network: str
    outer: int
    forward_flops: int = 0
    backward_flops: int = 0
    backwards: set[int] = dataclasses.field(default_factory=set)


class Counting(TorchDispatchMode):
    """Counts operations, and whose they are; it must be told of functions that are called (`enter`).

    `busy` while it is to look away.
    """

    def __init__(self, reach: Reach) -> None:
        super().__init__()
        self.reach = reach
        self.busy = False
        self.number = self.backwards = 0  # the number of the backward that runs, 0 for none; and of the last
        self.calls = [Forward("", NOBODY)]
        self.current = NOBODY  # the call under way
        self.first_node = self._last = torch._C._autograd._get_sequence_nr()
        self._starts, self._owners = [0], [NOBODY]  # from which number on the nodes are whose

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Count what runs inside. Backward runs in this thread, on a GPU, too; nothing is compiled."""
        with torch.autograd.set_multithreading_enabled(False), torch.compiler.set_stance("force_eager"), self:
            yield

    @property
    def flops(self) -> int:
        """All operations so far."""
        return sum(call.forward_flops + call.backward_flops for call in self.calls)

    def enter(self, frame: FrameType) -> Leave | None:
        """A function is called; what is to be told what it returns, and whether it raised."""
        if frame.f_code in (BACKWARD, GRAD) and not self.number:
            return self.backward_begins(frame)
        if frame.f_code.co_name == "forward":
            network = self.reach.network_of(frame.f_locals.get("self"), self.current != NOBODY)
            return self.forward_begins(frame, network) if network else None
        return None

    def backward_begins(self, frame: FrameType) -> Leave:
        self.number = self.backwards = self.backwards + 1
        return lambda value, raised: setattr(self, "number", 0)

    def forward_begins(self, frame: FrameType, network: str) -> Leave:
        def leave(value: Any, raised: bool) -> None:
            self._made_by(self.current)
            self.current = self.calls[self.current].outer

        self._made_by(self.current)
        self.calls.append(Forward(network, self.current))
        self.current = len(self.calls) - 1
        return leave

    def before(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An operation is about to be done."""

    def owner(self, node: Node) -> int:
        """The call that made a node."""
        number = node._sequence_nr()
        if not self.first_node <= number < 1 << 62:  # from before, or a leaf's, which has no number
            return NOBODY
        return self._owners[bisect.bisect_right(self._starts, number) - 1]

    def share(self, network: str) -> NetworkCost:
        """What the calls of a network come to; "" is none."""
        own = [call for call in self.calls if call.network == network]
        forward, backward = (sum(getattr(call, f"{way}_flops") for call in own) for way in ("forward", "backward"))
        return NetworkCost(len(own), sum(len(call.backwards) for call in own), forward, backward)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        whole = func(*args, **kwargs) if self.busy else composite(func, self, args, kwargs)
        if whole is not NotImplemented:
            return whole
        self.before(func, args, kwargs)
        result = func(*args, **kwargs)
        node = torch._C._current_autograd_node() if self.number else None
        call = self.current if node is None else self.owner(node)
        self._made_by(call)
        formula = flop_registry.get(func._overloadpacket)
        flops = formula(*args, **kwargs, out_val=result) if formula else 0
        if node is None:
            self.calls[call].forward_flops += flops
        else:
            self.calls[call].backward_flops += flops
            while call != NOBODY:
                self.calls[call].backwards.add(self.number)
                call = self.calls[call].outer
        return result

    def _made_by(self, call: int) -> None:
        """All nodes that were made since the last time are that call's."""
        now = torch._C._autograd._get_sequence_nr()
        if now > self._last:
            if self._owners[-1] != call:
                self._starts.append(self._last)
                self._owners.append(call)
            self._last = now


@contextlib.contextmanager
def calls_told_to(enter: Callable[[FrameType], Leave | None]) -> Iterator[None]:
    """Tell of every function that is called inside; another tracer (a debugger's) comes back afterwards."""
    tracer = sys.gettrace()
    sys.settrace(lambda frame, event, arg: until_return(frame, enter(frame)))
    try:
        yield
    finally:
        sys.settrace(tracer)


def until_return(frame: FrameType, leave: Leave | None) -> Any:
    """A tracer of one call, which tells `leave` how it ended; None where nobody wants to know."""
    if leave is None:
        return None
    frame.f_trace_lines = raised = False

    def on_event(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal raised
        raised = raised or event == "exception"
        if event == "return":
            leave(arg, raised and arg is None)
        return on_event

    return on_event


def composite(func: Any, mode: TorchDispatchMode, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of what is no operation itself; NotImplemented for an operation.

    One that is made of others is done by these, as the mode sees them: under inference_mode it arrives whole.
    """
    if func.namespace == "prim":
        return func(*args, **kwargs)
    if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
        with mode:
            return func.decompose(*args, **kwargs)
    return NotImplemented


@dataclass(frozen=True)
class Cost:
    """What one step costs.

    `flops` are the floating-point operations of matrix products and convolutions, a multiplication and an addition as
    two; `networks` are the networks' shares, `elsewhere` is what belongs to none, and `elsewhere_backward` what of that
    backwards did. `saved_bytes` is the most that graphs held for backward at a time, parameters not counted.
    `milliseconds` is the median of `repeats` steps. `device_bytes` is the most memory that a step took on a CUDA device
    beyond what was taken before it; None elsewhere.
    """

    name: str
    flops: int
    networks: dict[str, NetworkCost]
    elsewhere: int
    elsewhere_backward: int
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
        if self.elsewhere:
            forward = self.elsewhere - self.elsewhere_backward
            rows.append(["no network", "", "", count(forward), count(self.elsewhere_backward)])
        return ["network", "forwards", "backwards", "FLOPs forward", "FLOPs backward"], rows

    def __str__(self) -> str:
        return f"{self._summary()}\n{table(*self._cells())}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<div>{self._summary()}</div>{html_table(*self._cells())}"


def cost(step: Callable[..., Any], *args: Any, repeats: int = 5, **kwargs: Any) -> Cost:
    """Measure `step(*args, **kwargs)`, any callable, and put everything back after each time that it runs.

    It runs `repeats` times by the clock after a first that does not count, and once more to count operations and to
    weigh what is kept for backward. What cannot be put back, such as an iterator, is moved on by each of these.
    Raises: what the step raises; ValueError for `repeats` below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    reach = Reach.of(step, args, kwargs)
    snapshot = Snapshot(reach, at_once=True)
    try:
        milliseconds, device_bytes = clocked(lambda: step(*args, **kwargs), reach, repeats)
        snapshot.restore()
        scales = Scales({storage_of(p) for player in reach.players.values() for p in player.parameters.values()})
        counting = Counting(reach)
        with saved_tensors_hooks(scales.pack, lambda held: held.tensor), counting.on(), calls_told_to(counting.enter):
            step(*args, **kwargs)
    finally:
        snapshot.restore()
    elsewhere = counting.share("")
    return Cost(
        name=getattr(step, "__name__", None) or type(step).__name__,
        flops=counting.flops,
        networks={network: counting.share(network) for network in reach.players},
        elsewhere=elsewhere.forward_flops + elsewhere.backward_flops,
        elsewhere_backward=elsewhere.backward_flops,
        saved_bytes=scales.peak,
        milliseconds=milliseconds,
        repeats=repeats,
        device_bytes=device_bytes,
    )


def clocked(run: Callable[[], Any], reach: Reach, repeats: int) -> tuple[float, int | None]:
    """The median time of a step in ms, and on CUDA the most memory it took."""
    device = reach.device
    times = []
    run()
    wait(device)
    before = peak_from_here(device)
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        wait(device)
        times.append(1000 * (time.perf_counter() - start))
    peak = torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else None
    return statistics.median(times), peak


def wait(device: torch.device) -> None:
    """Until the device has done all it was given; a clock would otherwise measure the queueing alone."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def peak_from_here(device: torch.device) -> int:
    """On CUDA: start a new peak, and the bytes taken now."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


class Packed:
    """Holds a saved tensor as long as autograd holds this."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Scales:
    """Weighs what graphs hold for backward: every storage once, while any graph holds it; no single numbers."""

    def __init__(self, not_counted: set[int]) -> None:
        self.not_counted = not_counted
        self.holders = Counter[int]()
        self.now = self.peak = 0

    def pack(self, tensor: Tensor) -> Packed:
        place, size = storage_of(tensor), tensor.untyped_storage().nbytes()
        held = Packed(tensor.detach())  # an output that its own node holds would otherwise keep itself alive
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
