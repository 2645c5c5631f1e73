"""What a step asks of the machine: operations launched, bytes moved, arithmetic; by kind of operation."""

import contextlib
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from gantutor.ledger.cost import composite, wait
from gantutor.ledger.reach import undone
from gantutor.ledger.records import count, html_table, table
from gantutor.model_state import optimizers

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


@dataclass(frozen=True)
class TrafficShare:
    """What the operations of one kind come to."""

    launches: int
    bytes: int
    flops: int


@dataclass(frozen=True)
class Traffic:
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
        return Traffic(
            self.name,
            {
                kind: of
                if kind == "optimizer"
                else TrafficShare(of.launches, round(share * of.bytes), round(share * of.flops))
                for kind, of in self.kinds.items()
            },
        )

    def _summary(self) -> str:
        return (
            f"{self.name}: {self.launches} launches, {count(self.bytes, 'B')} moved, {count(self.flops)} FLOPs, "
            f"{self.intensity:.3g} FLOPs per byte"
        )

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [
                kind,
                str(share.launches),
                count(share.bytes, "B"),
                f"{share.bytes / (self.bytes or 1):.0%}",
                count(share.flops),
            ]
            for kind, share in self.kinds.items()
        ]
        return ["kind", "launches", "moved", "of all", "FLOPs"], rows

    def __str__(self) -> str:
        return f"{self._summary()}\n{table(*self._cells())}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<div>{self._summary()}</div>{html_table(*self._cells())}"


def traffic(step: Callable[..., Any], model: Any, *batch: Any) -> Traffic:
    """Count what `step(model, *batch)` asks of the machine; the model stays as it is.

    It takes a first step that does not count, in which the optimizers make their moments. A model and a batch on
    torch's meta device, which have shapes and no values, are counted as on a CPU, and nothing is computed.
    Raises: what the step raises.
    """
    with undone(model, *batch) as reach:
        step(model, *batch)
        with Counter(reach.device) as counter, counter.watching(model):
            step(model, *batch)
    return Traffic(
        getattr(step, "__name__", repr(step)),
        {kind: TrafficShare(*counter.kinds[kind]) for kind in OPERATION_KINDS if kind in counter.kinds},
    )


def seconds_by_kind(step: Callable[..., Any], model: Any, *batch: Any, repeats: int = 5) -> dict[str, float]:
    """How many seconds the operations of each kind take in `step(model, *batch)`: the median of `repeats` steps.

    They are undone; the device is waited for after each operation, so that on a GPU their launches are in it. What lies
    between two operations, such as Python's own work, is not. Raises: what the step raises.
    """
    found: dict[str, list[float]] = defaultdict(list)
    with undone(model, *batch) as reach:
        step(model, *batch)
        for _ in range(repeats):
            with Counter(reach.device, clocked=True) as counter, counter.watching(model):
                step(model, *batch)
            for kind, seconds in counter.seconds.items():
                found[kind].append(seconds)
    return {kind: statistics.median(found[kind]) for kind in OPERATION_KINDS if kind in found}


class Counter(TorchDispatchMode):
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

    @contextlib.contextmanager
    def watching(self, model: Any) -> Iterator[None]:
        """While this lasts, what the model's optimizers do is counted as theirs."""
        with contextlib.ExitStack() as stack:
            for optimizer in optimizers(model).values():
                stack.callback(optimizer.register_step_pre_hook(lambda *_: self._optimize(True)).remove)
                stack.callback(optimizer.register_step_post_hook(lambda *_: self._optimize(False)).remove)
            yield

    def _optimize(self, begins: bool) -> None:
        self.optimizing = begins

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._overloadpacket.__name__
        whole = composite(func, self, args, kwargs)
        if whole is not NotImplemented:
            return whole
        start = perf_counter()
        result = func(*args, **kwargs)
        if self.clocked:
            wait(self.device)
        if not name.startswith(("empty", "new_empty")):
            self._count(func, name, args, kwargs, result, perf_counter() - start)
        return result

    def _count(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, seconds: float
    ) -> None:
        given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
        reads, writes = tensors_read(name, given, result), written(func, given, result)
        if not writes and all_tensors_in(result):
            return  # a view
        here = [x for x in (*reads, *writes) if not self.accelerated or x.device.type == self.device.type]
        if not here:
            return
        kind = (
            "optimizer"
            if self.optimizing
            else next(k for k, w in OPERATION_KINDS.items() if any(word in name for word in w))
        )
        formula = flop_registry.get(func._overloadpacket)
        in_lists = name.startswith(("_foreach_", "_fused_")) and not self.accelerated
        if self.clocked:
            self.seconds[kind] += seconds
        total = self.kinds[kind]
        total[0] += next(len(x) for x in given.values() if isinstance(x, list | tuple)) if in_lists else 1
        total[1] += sum(size(x) for x in here)
        total[2] += formula(*args, **kwargs, out_val=result) if formula else 0


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
        return all_tensors_in([*(x for key, x in given.items() if key not in skipped), result])
    return all_tensors_in([x for key, x in given.items() if key not in skipped])


def written(func: Any, given: dict[str, Any], result: Any) -> list[Tensor]:
    """The tensors that an operation writes: new ones, and those that it changes in place."""
    changed = all_tensors_in(
        [
            given.get(argument.name)
            for argument in func._schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write and argument.name != "grads"
        ]  # the fused optimizers may unscale `grads`, and do so for a GradScaler only
    )
    known = {storage_id(x) for x in all_tensors_in(given)}
    return [*changed, *(x for x in all_tensors_in(result) if storage_id(x) not in known)]


def storage_id(tensor: Tensor) -> int:
    """Which storage holds a tensor; on the meta device all addresses are 0."""
    return tensor.untyped_storage()._cdata


def size(tensor: Tensor) -> int:
    """The bytes of a tensor's elements; what `expand` repeats lies in memory once."""
    elements = 1
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= length if stride else min(length, 1)
    return elements * tensor.element_size()
