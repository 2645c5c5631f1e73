"""Checks of notebook 06; the one on checkpoints has a file of its own."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gantutor.checks.result import CheckResult, Function, ask, compare_answer, judge

# What limits a step ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """What a machine can do, as `gantutor.limits.Limits` says it: FLOP/s, bytes/s, and seconds for each launch."""

    flops: dict[str, float]
    bandwidth: float
    overhead: float


LIMIT_NAMES = ("launches", "arithmetic", "memory")
EXAMPLES = (  # FLOPs, bytes, launches, machine: one for each limit, and a single tiny operation
    (9e6, 4e6, 500, Machine({"float32": 1e12}, 1e11, 1e-5)),
    (1e10, 1e8, 400, Machine({"float32": 1e11}, 2e10, 1e-5)),
    (1e9, 2e9, 500, Machine({"float32": 1e11}, 1e10, 1e-5)),
    (2.0, 4.0, 1, Machine({"float32": 1e11}, 1e10, 1e-5)),
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
    "that is the one that takes the least time. What limits a step is the one that takes the most.": fastest,
    "that is the largest number, but operations, bytes and launches are no times yet: divide by what the machine can "
    "do in a second.": most,
    "this looks at operations per byte alone, as the roofline does: a step of tiny operations is under neither "
    "roof.": roofline_only,
    "arithmetic and memory are exchanged: many operations for each byte keep the arithmetic busy.": (
        under_the_other_roof
    ),
    "`machine.overhead` is for one launch, and a step has `launches` of them.": launched_once,
    "the time of the arithmetic is missing.": without_arithmetic,
    "the time of the memory is missing.": without_memory,
}


def limit(answer: Function) -> CheckResult:
    """`answer(flops, bytes, launches, machine)` names what limits such a step on that machine: one of LIMIT_NAMES."""

    def check(answer: Function) -> str:
        found = [ask(answer, *example) for example in EXAMPLES]
        for named in found:
            if named not in LIMIT_NAMES:
                return f"{named!r} is none of {', '.join(LIMIT_NAMES)}."
        right = [slowest(*example) for example in EXAMPLES]
        if found == right:
            return ""
        for message, wrong in LIMIT_MISTAKES.items():
            if found == [wrong(*example) for example in EXAMPLES]:
                return message
        place = next(index for index, named in enumerate(found) if named != right[index])
        flops, bytes, launches, machine = EXAMPLES[place]
        counts = f"{flops:.0e} FLOPs, {bytes:.0e} bytes and {launches} launches"
        return f"on {machine} a step of {counts} is limited by {right[place]}, not {found[place]}."

    return judge(answer, check, "the slowest of the three, each in seconds.")


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
    "this is the mean of the means: right for equal shares, but here an image in a small share counts for more than "
    "one in a large share.": mean_of_means,
    "this adds the means up: with more replicas the step would be longer.": added,
    "each mean times its count is the sum over its share; the whole batch's mean is all the sums, divided by all "
    "pictures.": not_divided,
    "the sums are right, but divided by the number of replicas instead of the number of images.": divided_by_replicas,
    "this divides by the counts: each gradient is a mean already. Multiply, to get its share's sum back.": (
        divided_by_counts
    ),
    "each gradient is a mean already: undo that (times its count) before you divide by all images.": counted_once,
    "this is the first replica's gradient: the others have worked for nothing.": first_one,
}


def shares_of_a_batch() -> tuple[list[Tensor], list[int], Tensor]:
    """The gradients (3,) of a mean over three unequal shares, their counts, and that of the whole batch's mean."""
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    counts = [5, 1, 2]

    def gradient(rows: Tensor) -> Tensor:
        w = torch.ones(3, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(F.softplus(rows @ w).mean(), w)[0]

    return [gradient(rows) for rows in x.split(counts)], counts, gradient(x)


def averaged(answer: Function) -> CheckResult:
    """`answer(gradients, counts)` is the gradient of the mean over the whole batch.

    `gradients` holds that of the mean over each replica's share, `counts` how many images each share has.
    """
    gradients, counts, _ = shares_of_a_batch()

    def shown(function: Function) -> Tensor:
        return function([g.clone() for g in gradients], list(counts))

    def check(answer: Function) -> str:
        value = ask(answer, [g.clone() for g in gradients], list(counts))
        if not isinstance(value, Tensor) or value.shape != gradients[0].shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            return f"one gradient of shape {tuple(gradients[0].shape)} is wanted; yours is {shape}."
        otherwise = f"for shares of {counts} images it should begin with {weighted(gradients, counts)[0]:.4g}."
        return compare_answer(answer, weighted, AVERAGE_MISTAKES, shown, otherwise)

    return judge(answer, check, "every image counts the same, whoever it was given to.")
