"""Checks of notebook 06, and a training run, small enough to see all of it, for the one on checkpoints."""

import io
import itertools
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Adam

from gantutor.checks.result import Function, ask, compare_on, exercise, first_line, worst
from gantutor.draws import seeded
from gantutor.gan import GAN
from gantutor.losses import LOSSES
from gantutor.steps import d_first_detach

# What limits a step ---------------------------------------------------------------------------------------------------


LIMIT_NAMES = ("launches", "arithmetic", "memory")
MACHINES = (  # as `Limits` of scale/limits.py: FLOP/s, bytes/s, seconds for each launch; like a CPU, and like a GPU
    SimpleNamespace(flops={"float32": 1e11}, bandwidth=2e10, overhead=2.5e-6),
    SimpleNamespace(flops={"float32": 5e13}, bandwidth=3e12, overhead=2e-5),
)

# FLOPs, bytes and launches that take so many seconds: in each order and near to each other, so that no factor can be
# forgotten; and a single tiny operation.
ORDERS = tuple(itertools.permutations((0.05, 0.036, 0.026)))
EXAMPLES = (
    *((a * m.flops["float32"], b * m.bandwidth, round(c / m.overhead), m) for m in MACHINES for c, a, b in ORDERS),
    (2.0, 4.0, 1, MACHINES[0]),
)


def seconds(flops: float, bytes: float, launches: int, machine: Any) -> dict[str, float]:
    """How long each of the three would take alone."""
    return {
        "launches": launches * machine.overhead,
        "arithmetic": flops / machine.flops["float32"],
        "memory": bytes / machine.bandwidth,
    }


def largest(numbers: dict[str, float]) -> str:
    return max(numbers, key=lambda name: numbers[name])


def slowest(flops: float, bytes: float, launches: int, machine: Any) -> str:
    return largest(seconds(flops, bytes, launches, machine))


LIMIT_MISTAKES: dict[str, Function] = {
    "That is the one that takes the least time. The step is limited by the one that takes the most.": (
        lambda *step: largest({name: -alone for name, alone in seconds(*step).items()})
    ),
    "That is the largest number. But operations, bytes and launches are not times yet: divide by what the machine can "
    "do in a second.": lambda flops, bytes, launches, _: largest(
        {"launches": launches, "arithmetic": flops, "memory": bytes}
    ),
    "The time of the launches is missing. Operations per byte alone say which roof is lower, and a step of tiny "
    "operations can be far below both.": lambda flops, bytes, _, machine: slowest(flops, bytes, 0, machine),
    "Arithmetic and memory are exchanged: many operations for each byte keep the arithmetic busy.": (
        lambda *step: {"arithmetic": "memory", "memory": "arithmetic"}.get(slowest(*step), "launches")
    ),
    "`machine.overhead` is for one launch, and a step has `launches` of them.": (
        lambda flops, bytes, _, machine: slowest(flops, bytes, 1, machine)
    ),
    "The time of the arithmetic is missing.": lambda _, *others: slowest(0, *others),
    "The time of the memory is missing.": lambda flops, _, *others: slowest(flops, 0, *others),
}


@exercise("The slowest of the three, each in seconds.")
def limit(answer: Function) -> str:
    """`answer(flops, bytes, launches, machine)` names what limits such a step on that machine: one of LIMIT_NAMES."""

    def place(case: tuple[float, float, int, Any], found: Any, _: str) -> str:
        if found not in LIMIT_NAMES:
            return f"{found!r} is none of {', '.join(LIMIT_NAMES)}."
        times = ", ".join(f"{name} {1000 * s:.3g} ms" for name, s in seconds(*case).items())
        counts = f"{case[0]:.3g} FLOPs, {case[1]:.3g} bytes and {case[2]} launches"
        return f"For {counts} on {case[3]} the times are {times}. Yours says {found}."

    return compare_on(EXAMPLES, answer, slowest, LIMIT_MISTAKES, place)


# Gradients of unequal shares ------------------------------------------------------------------------------------------


def sum_over_images(gradients: list[Tensor], counts: list[int]) -> Tensor:
    return torch.stack([n * g for g, n in zip(gradients, counts, strict=True)]).sum(0)


def weighted(gradients: list[Tensor], counts: list[int]) -> Tensor:
    """The whole batch's mean, of each share's mean."""
    return sum_over_images(gradients, counts) / sum(counts)


AVERAGE_MISTAKES: dict[str, Function] = {
    "This is the mean of the means: right for equal shares, but here an image in a small share counts for more than "
    "one in a large share.": lambda gradients, counts: torch.stack(gradients).mean(0),
    "This adds the means up: with more replicas the step would be longer.": lambda gradients, counts: sum(gradients),
    "Each mean times its count is the sum over its share. The whole batch's mean is the sum of these, divided by the "
    "number of all images.": sum_over_images,
    "The sums are right, but divided by the number of replicas instead of the number of images.": (
        lambda gradients, counts: sum_over_images(gradients, counts) / len(counts)
    ),
    "This divides by the counts. Each gradient is a mean already. Multiply, to get its share's sum back.": (
        lambda gradients, counts: sum(g / n for g, n in zip(gradients, counts, strict=True))
    ),
    "Each gradient is a mean already: undo that (times its count) before you divide by all images.": (
        lambda gradients, counts: sum(gradients) / sum(counts)
    ),
    "This is the first replica's gradient: the others have worked for nothing.": lambda gradients, counts: gradients[0],
}
SHARE_COUNTS = ([5, 1, 2], [2, 7], [1, 6, 1, 3])


def some_gradients(counts: list[int]) -> list[Tensor]:
    """A gradient (3,) for each replica, always the same ones."""
    generator = torch.Generator().manual_seed(len(counts))
    return list(torch.randn(len(counts), 3, generator=generator, dtype=torch.float64))


@exercise("Every image counts the same, whichever replica it was given to.")
def averaged(answer: Function) -> str:
    """`answer(gradients, counts)` is the gradient of the mean over the whole batch.

    `gradients` holds that of the mean over each replica's share, `counts` how many images each share has.
    """

    def place(case: tuple[list[Tensor], list[int]], found: Any, wanted: Tensor) -> str:
        if not isinstance(found, Tensor) or found.shape != wanted.shape:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            return f"One gradient of shape (3,) is wanted, as each replica has it; yours is {shape}."
        i = worst(found, wanted)
        return f"For shares of {case[1]} images yours gives {found[i]:.4g} where the whole batch has {wanted[i]:.4g}."

    cases = [(some_gradients(counts), counts) for counts in SHARE_COUNTS]
    return compare_on(cases, answer, weighted, AVERAGE_MISTAKES, place)


# Checkpoints ----------------------------------------------------------------------------------------------------------

# What such a run consists of, and what it is as if each had been forgotten.
PARTS = {
    "G": "G's weights",
    "D": "D's weights",
    "statistics": "the running statistics of D's BatchNorm (state_dict() has them, parameters() has not)",
    "opt_G": "what opt_G knows (Adam's moments start anew)",
    "opt_D": "what opt_D knows (Adam's moments start anew)",
    "generator": "where its generator is (other z and other data from here on)",
    "t": "its step count t (the rate starts from the top again)",
}


class SmallRun(GAN):
    """A GAN for points on a line: G, D, opt_G, opt_D, the `generator` that it draws from, and `t`, its steps so far.

    D has BatchNorm, and the rate falls with t.
    """

    def __init__(self, seed: int) -> None:
        with seeded(seed):
            G = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
            D = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.LeakyReLU(0.2), nn.Linear(4, 1))
        super().__init__(G, D, Adam(G.parameters()), Adam(D.parameters()), LOSSES["non-saturating"])
        self.generator = torch.Generator().manual_seed(seed)
        self.t = 0

    def go_on(self, steps: int) -> Self:
        """Itself, when it has taken more steps, D first."""
        for _ in range(steps):
            for optimizer in (self.opt_G, self.opt_D):
                optimizer.param_groups[0]["lr"] = 0.05 / (1 + self.t)
            x, z = torch.randn(4, 1, generator=self.generator), torch.randn(4, 2, generator=self.generator)
            d_first_detach(self, torch.cat([x, 2 * x], 1), z)
            self.t += 1
        return self

    def parts(self) -> dict[str, Tensor]:
        """A copy of each of PARTS, flat."""
        of: dict[str, Any] = {"G": self.G.parameters(), "D": self.D.parameters(), "statistics": self.D.buffers()}
        moments = {name: getattr(self, name).state.values() for name in ("opt_G", "opt_D")}
        of |= {name: [x for state in states for x in state.values()] for name, states in moments.items()}
        of |= {"generator": [self.generator.get_state()], "t": [torch.tensor(self.t)]}
        return {name: torch.cat([torch.empty(0), *(x.detach().flatten() for x in of[name])]).double() for name in PARTS}


@exercise("Nobody can tell the resumed run from one that was never interrupted.")
def resumed(state: Function, resume: Function) -> str:
    """`state(run)` is all that a SmallRun has to keep, `resume(run, kept)` puts a fresh one there, in place.

    What was kept must load with `weights_only=True`, must not move on with the run, and the resumed run must be where
    the run was, so that it goes on as the run would have gone on, bit for bit.
    """

    def after(saved: Any) -> SmallRun:
        run = SmallRun(seed=1)
        if resume(run, saved) is ...:
            raise NotImplementedError
        return run

    run, undisturbed = interrupted(), interrupted()
    saved = ask(state, run)
    try:
        early = through_a_file(saved)
    except Exception as error:
        instead = "Keep tensors, numbers and dicts of them; loading objects runs code out of the file."
        return f"What you kept does not load with weights_only=True. {instead} {first_line(error)}"
    if differ(run.go_on(3), undisturbed.go_on(3)):
        return "Taking the state has changed the run: it does not go on like one that was left alone."
    found = after(early)
    if lost := differ(found, interrupted()):
        changed = differ(found, SmallRun(seed=1))
        if not changed:
            return "Your `resume` has put nothing into the run: it goes on as a fresh one."
        if not set(lost) & set(changed):
            return f"The run goes on as if it had forgotten {' and '.join(PARTS[name] for name in lost)}."
        if any(not differ(found, SmallRun(seed).go_on(3)) for seed in (0, 1, 2)):
            return "This trains again from the beginning, and comes to another run. Put back what was kept."
        return "The resumed run leaves the other one, though not as if it had forgotten a part: is each in its place?"
    if differ(after(through_a_file(saved)), interrupted()):
        return "What you kept has moved on with the run: state_dict() gives the weights themselves. Keep copies."
    return ""


def interrupted() -> SmallRun:
    """A run of 3 steps; before the last one it went on with other data, so that no seed alone brings it back."""
    run = SmallRun(seed=0).go_on(2)
    run.generator.manual_seed(2)
    return run.go_on(1)


def through_a_file(saved: Any) -> Any:
    """What comes back when it is saved and loaded with `weights_only=True`. Raises: what torch.load does."""
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def differ(run: SmallRun, other: SmallRun) -> list[str]:
    """The PARTS in which the two are not equal bit for bit."""
    mine, theirs = run.parts(), other.parts()
    return [name for name in PARTS if not torch.equal(mine[name], theirs[name])]
