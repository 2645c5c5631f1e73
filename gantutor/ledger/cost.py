"""What a step asks of the machine: operations, by network and direction or by kind; memory kept for backward; time.

Autograd numbers the nodes of its graphs in the order in which they are made. The numbers that came while a network's
forward ran are its nodes; what a backward computes in such a node is the network's, too, and so are the nodes that it
makes there with `create_graph=True`.
"""

import bisect
import contextlib
import dataclasses
import functools
import statistics
import time
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node, saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from gantutor.ledger.reach import Reach, Snapshot, storage_of, told_of_optimizers, undone
from gantutor.ledger.records import Shown, count
from gantutor.ledger.source import Leave, tracing, until_return

BACKWARD, GRAD = torch.autograd.backward.__code__, torch.autograd.grad.__code__
NOBODY = 0  # the call that is none: what runs in no network's forward

# What an operation's name contains, in this order. What an optimizer does is counted as "optimizer", whatever it is;
# "pointwise" is all the rest: activations, losses and their sums, random numbers.
OPERATION_KINDS = {
    "convolution": ("convolution",),
    "matrix product": ("mm", "matmul", "mv", "dot"),
    "norm": ("batch_norm", "layer_norm", "group_norm"),
    "padding, upsampling": ("pad", "upsample", "pool"),
    "copy": ("copy", "clone", "cat", "stack", "repeat", "index", "gather"),
    "pointwise": ("",),
    "optimizer": (),
}
RANDOM = ("bernoulli_", "exponential_", "normal_", "random_", "uniform_")
OVERWRITES = ("copy_", "fill_", "zero_", *RANDOM)  # in place, and not read before
PICKS = ("index", "index_select", "gather", "embedding")  # read as much as they give


class Operations(TorchDispatchMode):
    """Sees every operation that runs inside it, before and after it is done; `busy` while it is to look away.

    An operation that is made of others is seen as these: under inference_mode it arrives whole.
    """

    busy = False

    def before(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An operation is about to be done."""

    def after(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """It is done."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.busy or func.namespace == "prim":
            return func(*args, **kwargs)
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:
                whole = func.decompose(*args, **kwargs)
            if whole is not NotImplemented:
                return whole
        self.before(func, args, kwargs)
        name = func._overloadpacket.__name__
        changed = args[0] if name.startswith("_foreach_") and name.endswith("_") else []
        versions = [-1 if tensor.is_inference() else tensor._version for tensor in changed]
        result = func(*args, **kwargs)
        for tensor, version in zip(changed, versions, strict=True):
            if version >= 0 and tensor._version == version:  # a CPU's loop over a list, whose changes a mode hides
                torch.autograd.graph.increment_version(tensor)
        self.after(func, args, kwargs, result)
        return result


def flops_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int:
    """The floating-point operations of a matrix product or a convolution, a multiplication and an addition as two."""
    formula = flop_registry.get(func._overloadpacket)
    return formula(*args, **kwargs, out_val=result) if formula else 0


# Whose: by network and direction --------------------------------------------------------------------------------------


@dataclass(frozen=True)
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


@dataclass
class Forward:
    """A call of a network: whose, inside which other call, its operations, and the backwards that went through it."""

    network: str
    outer: int
    forward_flops: int = 0
    backward_flops: int = 0
    backwards: set[int] = dataclasses.field(default_factory=set)


class Counting(Operations):
    """Counts operations, and whose they are; it must be told of functions that are called (`enter`)."""

    def __init__(self, reach: Reach) -> None:
        super().__init__()
        self.reach = reach
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

    def after(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        node = torch._C._current_autograd_node() if self.number else None
        call = self.current if node is None else self.owner(node)
        self._made_by(call)
        flops = flops_of(func, args, kwargs, result)
        if node is None:
            self.calls[call].forward_flops += flops
            return
        self.calls[call].backward_flops += flops
        while call != NOBODY:
            self.calls[call].backwards.add(self.number)
            call = self.calls[call].outer

    def _made_by(self, call: int) -> None:
        """All nodes that were made since the last time are that call's."""
        now = torch._C._autograd._get_sequence_nr()
        if now > self._last:
            if self._owners[-1] != call:
                self._starts.append(self._last)
                self._owners.append(call)
            self._last = now


@dataclass(frozen=True, repr=False)
class Cost(Shown):
    """What one step costs.

    `flops` are the floating-point operations of matrix products and convolutions, a multiplication and an addition as
    two; `networks` are the networks' shares, and `elsewhere` is what belongs to none of them. `saved_bytes` is the most
    that graphs held for backward at a time, parameters not counted.
    `milliseconds` is the median of `repeats` steps. `device_bytes` is the most memory that a step took on a CUDA device
    beyond what was taken before it; None elsewhere.
    """

    name: str
    flops: int
    networks: dict[str, NetworkCost]
    elsewhere: NetworkCost
    saved_bytes: int
    milliseconds: float
    repeats: int
    device_bytes: int | None

    def _start(self) -> list[str]:
        device = "" if self.device_bytes is None else f", {count(self.device_bytes, 'B')} of device memory"
        return [
            f"{self.name}: {count(self.flops)} FLOPs, {count(self.saved_bytes, 'B')} saved for backward{device}, "
            f"{self.milliseconds:.3g} ms (median of {self.repeats})"
        ]

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [name, str(n.forwards), str(n.backwards), count(n.forward_flops), count(n.backward_flops)]
            for name, n in self.networks.items()
        ]
        rest = self.elsewhere
        if rest.forward_flops or rest.backward_flops:
            rows.append(["no network", "", "", count(rest.forward_flops), count(rest.backward_flops)])
        return ["network", "forwards", "backwards", "FLOPs forward", "FLOPs backward"], rows


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
        milliseconds, device_bytes = clocked(lambda: step(*args, **kwargs), reach.device, repeats)
        snapshot.restore()
        scales = Scales({storage_of(p) for player in reach.players.values() for p in player.parameters.values()})
        counting = Counting(reach)
        on_call = lambda frame, *_: until_return(frame, counting.enter(frame))  # noqa: E731
        with saved_tensors_hooks(scales.pack, lambda held: held), counting.on(), tracing(on_call):
            step(*args, **kwargs)
    finally:
        snapshot.restore()
    return Cost(
        name=getattr(step, "__name__", None) or type(step).__name__,
        flops=counting.flops,
        networks={network: counting.share(network) for network in reach.players},
        elsewhere=counting.share(""),
        saved_bytes=scales.peak,
        milliseconds=milliseconds,
        repeats=repeats,
        device_bytes=device_bytes,
    )


def clocked(run: Callable[[], Any], device: torch.device, repeats: int) -> tuple[float, int | None]:
    """The median time in ms of `repeats` runs after a first that does not count; on CUDA, the most memory they took."""
    run()
    on_cuda, before, times = device.type == "cuda", 0, []
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    for _ in range(repeats):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times), torch.cuda.max_memory_allocated(device) - before if on_cuda else None


def wait(device: torch.device) -> None:
    """Until the device has done all it was given; a clock would otherwise measure the queueing alone."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class Scales:
    """Weighs what graphs hold for backward: every storage once, while any graph holds it; no single numbers."""

    def __init__(self, not_counted: set[int]) -> None:
        self.not_counted = not_counted
        self.holders = Counter[int]()
        self.now = self.peak = 0

    def pack(self, tensor: Tensor) -> Tensor:
        place, size = storage_of(tensor), tensor.untyped_storage().nbytes()
        held = tensor.detach()  # an output that its own node holds would otherwise keep itself alive
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


# Of which kind, and how many bytes it moves ---------------------------------------------------------------------------


@dataclass(frozen=True)
class TrafficShare:
    """What the operations of one kind come to."""

    launches: int
    bytes: int
    flops: int


@dataclass(frozen=True, repr=False)
class Traffic(Shown):
    """What one step asks of the machine, by kind of operation.

    `launches` are the operations handed to the device; a list operation (`_foreach_`, `_fused_`) is one on an
    accelerator and one for each tensor on a CPU. Views and allocations are none.
    `bytes` are what moves if each operation reads each of its inputs from memory once and writes each of its outputs
    once: the least without any cache between two operations. A cache that keeps what the last operation wrote makes it
    less; an operation that goes through its input twice, as BatchNorm does, makes it more.
    `flops` are as in `Cost`: matrix products and convolutions, a multiplication and an addition as two.
    """

    name: str
    kinds: dict[str, TrafficShare]

    @property
    def launches(self) -> int:
        return sum(share.launches for share in self.kinds.values())

    @property
    def bytes(self) -> int:
        return sum(share.bytes for share in self.kinds.values())

    @property
    def flops(self) -> int:
        return sum(share.flops for share in self.kinds.values())

    @property
    def intensity(self) -> float:
        """FLOPs per byte."""
        return self.flops / self.bytes if self.bytes else 0.0

    def scaled(self, share: float) -> "Traffic":
        """The same step on `share` of the batch: bytes and FLOPs in proportion, and as many launches.

        What the optimizers do is as much for any batch. That a layer reads its weights for any batch, too, is left out.
        """
        scaled = {
            kind: TrafficShare(of.launches, round(share * of.bytes), round(share * of.flops))
            for kind, of in self.kinds.items()
            if kind != "optimizer"
        }
        return Traffic(self.name, self.kinds | scaled)

    def _start(self) -> list[str]:
        return [
            f"{self.name}: {self.launches} launches, {count(self.bytes, 'B')} moved, {count(self.flops)} FLOPs, "
            f"{self.intensity:.3g} FLOPs per byte"
        ]

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [kind, str(of.launches), count(of.bytes, "B"), f"{of.bytes / (self.bytes or 1):.0%}", count(of.flops)]
            for kind, of in self.kinds.items()
        ]
        return ["kind", "launches", "moved", "of all", "FLOPs"], rows


def traffic(step: Callable[..., Any], model: Any, *batch: Any) -> Traffic:
    """Count what `step(model, *batch)` asks of the machine; the model stays as it is.

    It takes a first step that does not count, in which the optimizers make their moments. A model and a batch on
    torch's meta device, which have shapes and no values, are counted as on a CPU, and nothing is computed.
    Raises: what the step raises.
    """
    with undone(model, *batch) as reach:
        step(model, *batch)
        with TrafficCounter(reach.device).on() as counter:
            step(model, *batch)
    kinds = {kind: TrafficShare(*counter.kinds[kind]) for kind in OPERATION_KINDS if kind in counter.kinds}
    return Traffic(getattr(step, "__name__", repr(step)), kinds)


def seconds_by_kind(step: Callable[..., Any], model: Any, *batch: Any, repeats: int = 5) -> dict[str, float]:
    """How many seconds the operations of each kind take in `step(model, *batch)`: the median of `repeats` steps.

    They are undone; the device is waited for after each operation, so that on a GPU their launches are in it. What lies
    between two operations, such as Python's own work, is not. Raises: what the step raises.
    """
    found: dict[str, list[float]] = defaultdict(list)
    with undone(model, *batch) as reach:
        step(model, *batch)
        for _ in range(repeats):
            with TrafficCounter(reach.device, clocked=True).on() as counter:
                step(model, *batch)
            for kind, seconds in counter.seconds.items():
                found[kind].append(seconds)
    return {kind: statistics.median(found[kind]) for kind in OPERATION_KINDS if kind in found}


class TrafficCounter(Operations):
    """Counts every operation that runs inside it on `device`: `kinds[kind]` is [launches, bytes, flops].

    `clocked`: `seconds[kind]` are the seconds that they took, each waited for.
    """

    def __init__(self, device: torch.device, clocked: bool = False) -> None:
        super().__init__()
        self.device, self.clocked = device, clocked
        self.accelerated = device.type not in ("cpu", "meta")
        self.kinds: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        self.seconds: dict[str, float] = defaultdict(float)
        self.optimizing = False
        self.start = 0.0

    @contextlib.contextmanager
    def on(self) -> Iterator["TrafficCounter"]:
        """Count what runs inside, and what optimizers do as theirs."""
        begins, ends = (lambda _, on=on: setattr(self, "optimizing", on) for on in (True, False))
        with told_of_optimizers(begins, ends), self:
            yield self

    def before(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.start = time.perf_counter()

    def after(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if self.clocked:
            wait(self.device)
        seconds, name = time.perf_counter() - self.start, func._overloadpacket.__name__
        given = by_name(func, args, kwargs)
        reads, writes = tensors_read(name, given, result), tensors_written(func, given, result)
        here = [x for x in (*reads, *writes) if not self.accelerated or x.device.type == self.device.type]
        is_view = not writes and all_tensors_in(result)
        if name.startswith(("empty", "new_empty")) or is_view or not here:
            return
        kinds = (kind for kind, words in OPERATION_KINDS.items() if any(word in name for word in words))
        kind = "optimizer" if self.optimizing else next(kinds)
        in_lists = name.startswith(("_foreach_", "_fused_")) and not self.accelerated
        self.seconds[kind] += seconds
        total = self.kinds[kind]
        total[0] += next(len(x) for x in given.values() if isinstance(x, list | tuple)) if in_lists else 1
        total[1] += sum(size(x) for x in here)
        total[2] += flops_of(func, args, kwargs, result)


def by_name(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What an operation is given."""
    return dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs


@functools.cache
def changed_by(func: Any) -> tuple[str, ...]:
    """The arguments that an operation changes in place, as its schema says."""
    given = func._schema.arguments
    return tuple(each.name for each in given if each.alias_info is not None and each.alias_info.is_write)


def all_tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a value, in its lists, too; each once."""
    return list({id(x): x for x in tree_leaves(value) if isinstance(x, Tensor)}.values())


def tensors_read(name: str, given: dict[str, Any], result: Any) -> list[Tensor]:
    """The tensors that an operation has to read, of those that it is given by name."""
    name = name.removeprefix("_foreach")
    skipped = {"out"}
    if name.lstrip("_") in OVERWRITES or name.endswith("_like") or name.startswith("new_"):
        skipped.add("self")
    if name == "convolution_backward":
        of_input, of_weight, _ = given["output_mask"]
        skipped |= ({"weight"} if not of_input else set()) | ({"input"} if not of_weight else set())
    if name in PICKS:
        skipped |= {"self", "weight"}
    read = [value for key, value in given.items() if key not in skipped]
    return all_tensors_in([*read, result] if name in PICKS else read)


def tensors_written(func: Any, given: dict[str, Any], result: Any) -> list[Tensor]:
    """The tensors that an operation writes: new ones, and those that it changes in place."""
    # The fused optimizers may unscale `grads`, and do so for a GradScaler only.
    changed = all_tensors_in([given.get(name) for name in changed_by(func) if name != "grads"])
    known = {storage_of(x) for x in all_tensors_in(given)}
    return [*changed, *(x for x in all_tensors_in(result) if storage_of(x) not in known)]


def size(tensor: Tensor) -> int:
    """The bytes of a tensor's elements; what `expand` repeats lies in memory once."""
    elements = 1
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= length if stride else min(length, 1)
    return elements * tensor.element_size()
