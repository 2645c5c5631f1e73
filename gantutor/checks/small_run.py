"""The check of notebook 06 on checkpoints, and the training run that it judges: small enough to see all of it."""

import copy
import io
import itertools
from collections.abc import Iterator
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantutor.checks.result import NOT_YET, CheckResult, Function, ask, first_line, is_missing, judge

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
        for name in parts:
            if name == "t":
                self.t = other.t
            elif name == "generator":
                self.generator.set_state(other.generator.get_state())
            elif name in ("opt_G", "opt_D"):
                getattr(self, name).load_state_dict(copy.deepcopy(getattr(other, name).state_dict()))
            else:
                for mine, theirs in zip(self.tensors(name), other.tensors(name), strict=True):
                    mine.copy_(theirs)

    def tensors(self, name: str) -> Iterator[Tensor]:
        """Those of "G", "D" or "statistics"."""
        found = self.D.buffers() if name == "statistics" else getattr(self, name).parameters()
        return (tensor.detach() for tensor in found)


def resumed(state: Function, resume: Function) -> CheckResult:
    """`state(run)` is all that a SmallRun has to keep, `resume(run, kept)` puts a fresh one there, in place.

    What was kept must load with `weights_only=True`, must not move on with the run, and the resumed run must go on as
    the run would have gone on, bit for bit.
    """
    if is_missing(state) or is_missing(resume):
        return NOT_YET
    start, more = 3, 3

    def after(saved: Any) -> Tensor:
        """What a fresh run has come to that was put there and went on."""
        run = SmallRun(seed=1)
        if resume(run, saved) is ...:
            raise NotImplementedError
        return run.go_on(more).numbers()

    def check(state: Function) -> str:
        right = interrupted(start).go_on(more).numbers()
        run = interrupted(start)
        saved = ask(state, run)
        early, unloadable = through_a_file(saved)
        if unloadable:
            return unloadable
        if not torch.equal(run.go_on(more).numbers(), right):
            return "Taking the state has changed the run: it does not go on like one that was left alone."
        late, _ = through_a_file(saved)
        found = after(early)
        if not torch.equal(found, right):
            return as_if_forgotten(found, start, more)
        if not torch.equal(after(late), right):
            return (
                "What you kept has moved on with the run: state_dict() hands out the weights themselves. Keep copies "
                "(copy.deepcopy), or the checkpoint in memory is always the newest."
            )
        return ""

    return judge(state, check, "Nobody can tell the resumed run from one that was never interrupted.")


def interrupted(steps: int) -> SmallRun:
    """A run of so many steps; before the last one it went on with other data, so that no seed alone brings it back."""
    run = SmallRun(seed=0).go_on(steps - 1)
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
        return None, (
            "What you kept does not load with weights_only=True. Keep tensors, numbers and dicts of them, no objects: "
            f"loading those runs code out of the file. {first_line(error)}"
        )


def as_if_forgotten(found: Tensor, start: int, more: int) -> str:
    """Which parts are missing in a resumed run that has come to `found`: the fewest without which it does just that."""
    until_then = interrupted(start)
    for number in range(1, len(PARTS)):
        for forgotten in itertools.combinations(PARTS, number):
            run = SmallRun(seed=1)
            run.take_over(until_then, *(name for name in PARTS if name not in forgotten))
            if torch.equal(run.go_on(more).numbers(), found):
                return "The run goes on as if it had forgotten " + " and ".join(PARTS[name] for name in forgotten) + "."
    again = (SmallRun(seed=seed).go_on(start + more).numbers() for seed in (0, 1, 2))
    if any(torch.equal(numbers, found) for numbers in again):
        return "This trains again from the beginning, and comes to another run. Put back what was kept."
    if torch.equal(SmallRun(seed=1).go_on(more).numbers(), found):
        return "Your `resume` has put nothing into the run: it goes on as a fresh one."
    return (
        "The resumed run leaves the uninterrupted one, though not as if it had forgotten a part: is each in its place?"
    )
