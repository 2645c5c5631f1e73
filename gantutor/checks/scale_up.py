"""Checks of notebook 06; the one on checkpoints has a file of its own."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gantutor.checks.result import CheckResult, Function, ask, compare_answer, judge

# What limits a step ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """What a machine can do, as `Limits` of scale/limits.py says it: FLOP/s, bytes/s, and seconds for each launch."""

    flops: dict[str, float]
    bandwidth: float
    overhead: float


LIMIT_NAMES = ("launches", "arithmetic", "memory")
MACHINES = (  # one like a CPU, one like a GPU
    Machine({"float32": 1e11}, 2e10, 2.5e-6),
    Machine({"float32": 5e13}, 3e12, 2e-5),
)


def counts_of(machine: Machine, seconds: Sequence[float]) -> tuple[float, float, int, Machine]:
    """FLOPs, bytes and launches that take so many seconds each, in the order of LIMIT_NAMES."""
    launches, arithmetic, memory = seconds
    return (
        float(f"{arithmetic * machine.flops['float32']:.3g}"),
        float(f"{memory * machine.bandwidth:.3g}"),
        round(launches / machine.overhead),
        machine,
    )


# The times in each order and near to each other, so that no factor can be forgotten; and a single tiny operation.
EXAMPLES = (
    *(counts_of(machine, order) for machine in MACHINES for order in itertools.permutations((0.05, 0.036, 0.026))),
    (2.0, 4.0, 1, MACHINES[0]),
)


def seconds(flops: float, bytes: float, launches: int, machine: Any) -> dict[str, float]:
    """How long each of the three would take alone."""
    return {
        "launches": launches * machine.overhead,
        "arithmetic": flops / machine.flops["float32"],
        "memory": bytes / machine.bandwidth,
    }


def slowest(flops: float, bytes: float, launches: int, machine: Any) -> str:
    alone = seconds(flops, bytes, launches, machine)
    return max(alone, key=lambda name: alone[name])


def fastest(flops: float, bytes: float, launches: int, machine: Any) -> str:
    alone = seconds(flops, bytes, launches, machine)
    return min(alone, key=lambda name: alone[name])


def most(flops: float, bytes: float, launches: int, machine: Any) -> str:
    counts = {"launches": launches, "arithmetic": flops, "memory": bytes}
    return max(counts, key=lambda name: counts[name])


def roofline_only(flops: float, bytes: float, launches: int, machine: Any) -> str:
    ridge = machine.flops["float32"] / machine.bandwidth
    return "arithmetic" if flops / bytes > ridge else "memory"


def under_the_other_roof(flops: float, bytes: float, launches: int, machine: Any) -> str:
    alone = seconds(flops, bytes, launches, machine)
    swapped = {"arithmetic": "memory", "memory": "arithmetic", "launches": "launches"}
    return swapped[max(alone, key=lambda name: alone[name])]


def launched_once(flops: float, bytes: float, launches: int, machine: Any) -> str:
    return slowest(flops, bytes, 1, machine)


def without_arithmetic(flops: float, bytes: float, launches: int, machine: Any) -> str:
    return slowest(0, bytes, launches, machine)


def without_memory(flops: float, bytes: float, launches: int, machine: Any) -> str:
    return slowest(flops, 0, launches, machine)


LIMIT_MISTAKES: dict[str, Function] = {
    "That is the one that takes the least time. The step is limited by the one that takes the most.": fastest,
    "That is the largest number. But operations, bytes and launches are not times yet: divide by what the machine can "
    "do in a second.": most,
    "The time of the launches is missing. Operations per byte alone say which roof is lower, and a step of tiny "
    "operations can be far below both.": roofline_only,
    "Arithmetic and memory are exchanged: many operations for each byte keep the arithmetic busy.": (
        under_the_other_roof
    ),
    "`machine.overhead` is for one launch, and a step has `launches` of them.": launched_once,
    "The time of the arithmetic is missing.": without_arithmetic,
    "The time of the memory is missing.": without_memory,
}


def limit(answer: Function) -> CheckResult:
    """`answer(flops, bytes, launches, machine)` names what limits such a step on that machine: one of LIMIT_NAMES."""

    def check(answer: Function) -> str:
        found = [ask(answer, *example) for example in EXAMPLES]
        for named in found:
            if not isinstance(named, str) or named not in LIMIT_NAMES:
                return f"{named!r} is none of {', '.join(LIMIT_NAMES)}."
        right = [slowest(*example) for example in EXAMPLES]
        if found == right:
            return ""
        for message, wrong in LIMIT_MISTAKES.items():
            if found == [wrong(*example) for example in EXAMPLES]:
                return message
        place = next(index for index, named in enumerate(found) if named != right[index])
        flops, bytes, launches, machine = EXAMPLES[place]
        times = ", ".join(f"{name} {1000 * s:.3g} ms" for name, s in seconds(*EXAMPLES[place]).items())
        counts = f"{flops:.3g} FLOPs, {bytes:.3g} bytes and {launches} launches"
        return f"For {counts} on {machine} the times are {times}. Yours says {found[place]}."

    return judge(answer, check, "The slowest of the three, each in seconds.")


# Gradients of unequal shares ------------------------------------------------------------------------------------------


def weighted(gradients: list[Tensor], counts: list[int]) -> Tensor:
    """The whole batch's mean, of each share's mean."""
    return sum(n * g for g, n in zip(gradients, counts, strict=True)) / sum(counts)  # type: ignore[return-value]


def mean_of_means(gradients: list[Tensor], counts: list[int]) -> Tensor:
    return torch.stack(gradients).mean(0)


def added(gradients: list[Tensor], counts: list[int]) -> Tensor:
    return torch.stack(gradients).sum(0)


def not_divided(gradients: list[Tensor], counts: list[int]) -> Tensor:
    return weighted(gradients, counts) * sum(counts)


def divided_by_replicas(gradients: list[Tensor], counts: list[int]) -> Tensor:
    return not_divided(gradients, counts) / len(counts)


def divided_by_counts(gradients: list[Tensor], counts: list[int]) -> Tensor:
    return added([g / n for g, n in zip(gradients, counts, strict=True)], counts)


def counted_once(gradients: list[Tensor], counts: list[int]) -> Tensor:
    return added(gradients, counts) / sum(counts)


def first_one(gradients: list[Tensor], counts: list[int]) -> Tensor:
    return gradients[0]


AVERAGE_MISTAKES: dict[str, Function] = {
    "This is the mean of the means: right for equal shares, but here an image in a small share counts for more than "
    "one in a large share.": mean_of_means,
    "This adds the means up: with more replicas the step would be longer.": added,
    "Each mean times its count is the sum over its share. The whole batch's mean is the sum of these, divided by the "
    "number of all images.": not_divided,
    "The sums are right, but divided by the number of replicas instead of the number of images.": divided_by_replicas,
    "This divides by the counts. Each gradient is a mean already. Multiply, to get its share's sum back.": (
        divided_by_counts
    ),
    "Each gradient is a mean already: undo that (times its count) before you divide by all images.": counted_once,
    "This is the first replica's gradient: the others have worked for nothing.": first_one,
}


SHARE_COUNTS = ([5, 1, 2], [2, 7], [1, 6, 1, 3])


def shares_of_a_batch(counts: list[int]) -> tuple[list[Tensor], Tensor]:
    """The gradients (3,) of a mean over shares of so many images, and that of the whole batch's mean."""
    x = torch.randn(sum(counts), 3, generator=torch.Generator().manual_seed(len(counts)), dtype=torch.float64)

    def gradient(rows: Tensor) -> Tensor:
        w = torch.ones(3, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(F.softplus(rows @ w).mean(), w)[0]

    return [gradient(rows) for rows in x.split(counts)], gradient(x)


def averaged(answer: Function) -> CheckResult:
    """`answer(gradients, counts)` is the gradient of the mean over the whole batch.

    `gradients` holds that of the mean over each replica's share, `counts` how many images each share has.
    """

    def of(function: Function, counts: list[int]) -> Any:
        return ask(function, [g.clone() for g in shares_of_a_batch(counts)[0]], list(counts))

    def check(answer: Function) -> str:
        for counts in SHARE_COUNTS:
            value = of(answer, counts)
            if not isinstance(value, Tensor) or value.shape != (3,):
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                return f"One gradient of shape (3,) is wanted, as each replica has it; yours is {shape}."
        known = {
            message: wrong
            for message, wrong in AVERAGE_MISTAKES.items()
            if all(
                torch.allclose(of(answer, counts).double(), of(wrong, counts), atol=1e-5, equal_nan=True)
                for counts in SHARE_COUNTS
            )
        }
        for counts in SHARE_COUNTS:
            otherwise = f"For shares of {counts} images the result is not the gradient of the whole batch."
            fault = compare_answer(
                answer, weighted, known, lambda function, counts=counts: of(function, counts).double(), otherwise
            )
            if fault:
                return fault
        return ""

    return judge(answer, check, "Every image counts the same, whichever replica it was given to.")
