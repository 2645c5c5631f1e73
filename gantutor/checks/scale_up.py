"""Checks of notebook 06, and a training run, small enough to see all of it, for the one on checkpoints."""

import copy
import io
import itertools
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantutor.checks.result import CheckResult, Function, ask, compare_answer, exercise, first_line, is_missing, judge

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
    "Arithmetic and memory are exchanged: many operations for each byte keep the arithmetic busy.": lambda *step: {
        "arithmetic": "memory",
        "memory": "arithmetic",
        "launches": "launches",
    }[slowest(*step)],
    "`machine.overhead` is for one launch, and a step has `launches` of them.": (
        lambda flops, bytes, _, machine: slowest(flops, bytes, 1, machine)
    ),
    "The time of the arithmetic is missing.": lambda _, *others: slowest(0, *others),
    "The time of the memory is missing.": lambda flops, _, *others: slowest(flops, 0, *others),
}


@exercise("The slowest of the three, each in seconds.")
def limit(answer: Function) -> str:
    """`answer(flops, bytes, launches, machine)` names what limits such a step on that machine: one of LIMIT_NAMES."""
    found = [ask(answer, *example) for example in EXAMPLES]
    for named in found:
        if not isinstance(named, str) or named not in LIMIT_NAMES:
            return f"{named!r} is none of {', '.join(LIMIT_NAMES)}."
    wrong = [i for i, example in enumerate(EXAMPLES) if found[i] != slowest(*example)]
    if not wrong:
        return ""
    known = (text for text, mistake in LIMIT_MISTAKES.items() if found == [mistake(*step) for step in EXAMPLES])
    flops, bytes, launches, machine = EXAMPLES[wrong[0]]
    times = ", ".join(f"{name} {1000 * s:.3g} ms" for name, s in seconds(*EXAMPLES[wrong[0]]).items())
    counts = f"{flops:.3g} FLOPs, {bytes:.3g} bytes and {launches} launches"
    return next(known, f"For {counts} on {machine} the times are {times}. Yours says {found[wrong[0]]}.")


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


def shares_of_a_batch(counts: list[int]) -> tuple[list[Tensor], Tensor]:
    """The gradients (3,) of a mean over shares of so many images, and that of the whole batch's mean."""
    x = torch.randn(sum(counts), 3, generator=torch.Generator().manual_seed(len(counts)), dtype=torch.float64)

    def gradient(rows: Tensor) -> Tensor:
        w = torch.ones(3, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(F.softplus(rows @ w).mean(), w)[0]

    return [gradient(rows) for rows in x.split(counts)], gradient(x)


@exercise("Every image counts the same, whichever replica it was given to.")
def averaged(answer: Function) -> str:
    """`answer(gradients, counts)` is the gradient of the mean over the whole batch.

    `gradients` holds that of the mean over each replica's share, `counts` how many images each share has.
    """

    def of(function: Function) -> list[Any]:
        return [ask(function, shares_of_a_batch(counts)[0], list(counts)) for counts in SHARE_COUNTS]

    for value in of(answer):
        if not isinstance(value, Tensor) or value.shape != (3,):
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            return f"One gradient of shape (3,) is wanted, as each replica has it; yours is {shape}."
    otherwise = f"For shares of {SHARE_COUNTS} images the results are not the gradients of the whole batches."
    return compare_answer(answer, weighted, AVERAGE_MISTAKES, lambda f: torch.stack(of(f)), otherwise)


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


class SmallRun:
    """A GAN for points on a line: G, D, opt_G, opt_D, the `generator` that it draws from, and `t`, its steps so far.

    D has BatchNorm, and the rate falls with t.
    """

    def __init__(self, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.G = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
            self.D = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.LeakyReLU(0.2), nn.Linear(4, 1))
        self.opt_G, self.opt_D = (torch.optim.Adam(network.parameters(), 0.05) for network in (self.G, self.D))
        self.generator = torch.Generator().manual_seed(seed)
        self.t = 0

    def step(self) -> None:
        """One step, D first."""
        for optimizer in (self.opt_G, self.opt_D):
            optimizer.param_groups[0]["lr"] = 0.05 / (1 + self.t)
        x, z = torch.randn(4, 1, generator=self.generator), torch.randn(4, 2, generator=self.generator)
        real, fake = torch.cat([x, 2 * x], 1), self.G(z)

        self.opt_D.zero_grad()
        (F.softplus(-self.D(real)).mean() + F.softplus(self.D(fake.detach())).mean()).backward()
        self.opt_D.step()

        self.opt_G.zero_grad()
        F.softplus(-self.D(fake)).mean().backward()
        self.opt_G.step()
        self.t += 1

    def go_on(self, steps: int) -> Self:
        """Itself, when it has taken more steps."""
        for _ in range(steps):
            self.step()
        return self

    def numbers(self) -> Tensor:
        """What it has come to, flat: the weights, D's running statistics, and t."""
        saved = [*self.G.state_dict().values(), *self.D.state_dict().values(), torch.tensor(self.t)]
        return torch.cat([value.flatten().double() for value in saved])

    def take_over(self, other: "SmallRun", *parts: str) -> None:
        """Continue in these of PARTS where the other one is."""
        theirs = copy.deepcopy(
            {
                **{name: getattr(other, name).state_dict() for name in ("G", "opt_G", "opt_D")},
                **{"D": dict(other.D.named_parameters()), "statistics": dict(other.D.named_buffers())},
            }
        )
        for name in parts:
            if name == "t":
                self.t = other.t
            elif name == "generator":
                self.generator.set_state(other.generator.get_state())
            elif name.startswith("opt"):
                getattr(self, name).load_state_dict(theirs[name])
            else:
                (self.G if name == "G" else self.D).load_state_dict(theirs[name], strict=False)


def resumed(state: Function, resume: Function) -> CheckResult:
    """`state(run)` is all that a SmallRun has to keep, `resume(run, kept)` puts a fresh one there, in place.

    What was kept must load with `weights_only=True`, must not move on with the run, and the resumed run must go on as
    the run would have gone on, bit for bit.
    """

    def after(saved: Any) -> Tensor:
        """What a fresh run has come to that was put there and went on."""
        run = SmallRun(seed=1)
        if resume(run, saved) is ...:
            raise NotImplementedError
        return run.go_on(3).numbers()

    def check(state: Function) -> str:
        if is_missing(resume):
            raise NotImplementedError
        right, run = interrupted().go_on(3).numbers(), interrupted()
        saved = ask(state, run)
        early, unloadable = through_a_file(saved)
        if unloadable:
            return unloadable
        if not torch.equal(run.go_on(3).numbers(), right):
            return "Taking the state has changed the run: it does not go on like one that was left alone."
        late, _ = through_a_file(saved)
        found = after(early)
        if not torch.equal(found, right):
            return as_if_forgotten(found)
        if not torch.equal(after(late), right):
            return "What you kept has moved on with the run: state_dict() gives the weights themselves. Keep copies."
        return ""

    return judge(state, check, "Nobody can tell the resumed run from one that was never interrupted.")


def interrupted() -> SmallRun:
    """A run of 3 steps; before the last one it went on with other data, so that no seed alone brings it back."""
    run = SmallRun(seed=0).go_on(2)
    run.generator.manual_seed(2)
    return run.go_on(1)


def through_a_file(saved: Any) -> tuple[Any, str]:
    """What comes back when it is saved and loaded with `weights_only=True`; and what is wrong with it, or ""."""
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    try:
        return torch.load(file, weights_only=True), ""
    except Exception as error:
        instead = "Keep tensors, numbers and dicts of them; loading objects runs code out of the file."
        return None, f"What you kept does not load with weights_only=True. {instead} {first_line(error)}"


def as_if_forgotten(found: Tensor) -> str:
    """Which parts are missing in a resumed run that has come to `found`: the fewest without which it does just that."""
    until_then = interrupted()
    for number in range(1, len(PARTS)):
        for forgotten in itertools.combinations(PARTS, number):
            run = SmallRun(seed=1)
            run.take_over(until_then, *(name for name in PARTS if name not in forgotten))
            if torch.equal(run.go_on(3).numbers(), found):
                return "The run goes on as if it had forgotten " + " and ".join(PARTS[name] for name in forgotten) + "."
    if any(torch.equal(SmallRun(seed).go_on(6).numbers(), found) for seed in (0, 1, 2)):
        return "This trains again from the beginning, and comes to another run. Put back what was kept."
    if torch.equal(SmallRun(seed=1).go_on(3).numbers(), found):
        return "Your `resume` has put nothing into the run: it goes on as a fresh one."
    return "The resumed run leaves the other one, though not as if it had forgotten a part: is each in its place?"
