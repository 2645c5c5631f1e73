"""Checks of notebook 05."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gantutor.checks.result import NOT_YET, CheckResult, Function, ask, compare_answer, is_missing, judge
from gantutor.cyclegan import REFERENCE_NAMES, mean_l1

OURS = ("G_AB", "G_BA", "D_A", "D_B")


def reference_names(answer: dict[str, Any]) -> CheckResult:
    """`answer` says for each name of the reference implementation which of ours it is: {"G_A": "G_AB", ...}."""
    if is_missing(answer) or any(is_missing(answer.get(name)) for name in REFERENCE_NAMES):
        return NOT_YET
    for name, right in REFERENCE_NAMES.items():
        given = answer[name]
        if given not in OURS:
            return CheckResult(False, f"{name}: {given!r} is none of {', '.join(OURS)}.")
        if given[0] != name[0]:
            return CheckResult(False, f"{name}: a {given[0]} cannot be a {name[0]}.")
        if given != right and name[0] == "G":
            return CheckResult(
                False, f"{name}: the letter is the domain that it starts from, not the one that it makes."
            )
        if given != right:
            return CheckResult(
                False,
                f"{name}: the letter is not the domain that it judges. {name} is the partner of G_{name[-1]}: "
                "which images does that one make?",
            )
    return CheckResult(True, "each discriminator there bears the letter of the generator that it judges.")


def small_generators() -> tuple[nn.Module, nn.Module]:
    """Two float64 networks for images (B, 2, 3, 3), neither of them the other's inverse; always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        G_AB, G_BA = (nn.Sequential(nn.Conv2d(2, 3, 1), nn.Tanh(), nn.Conv2d(3, 2, 1)).double() for _ in range(2))
    return G_AB, G_BA


def small_images() -> tuple[Tensor, Tensor]:
    """real_A and real_B, float64 (2, 2, 3, 3) in [-1, 1]."""
    generator = torch.Generator().manual_seed(1)
    A, B = 2 * torch.rand(2, 2, 2, 3, 3, generator=generator, dtype=torch.float64) - 1
    return A, B


def true_cycle_loss(G_AB: nn.Module, G_BA: nn.Module, real_A: Tensor, real_B: Tensor) -> Tensor:
    return mean_l1(G_BA(G_AB(real_A)), real_A) + mean_l1(G_AB(G_BA(real_B)), real_B)


def only_A(G_AB: nn.Module, G_BA: nn.Module, real_A: Tensor, real_B: Tensor) -> Tensor:
    return mean_l1(G_BA(G_AB(real_A)), real_A)


def only_B(G_AB: nn.Module, G_BA: nn.Module, real_A: Tensor, real_B: Tensor) -> Tensor:
    return mean_l1(G_AB(G_BA(real_B)), real_B)


def one_way(G_AB: nn.Module, G_BA: nn.Module, real_A: Tensor, real_B: Tensor) -> Tensor:
    return mean_l1(G_AB(real_A), real_A) + mean_l1(G_BA(real_B), real_B)


def as_if_paired(G_AB: nn.Module, G_BA: nn.Module, real_A: Tensor, real_B: Tensor) -> Tensor:
    return mean_l1(G_AB(real_A), real_B) + mean_l1(G_BA(real_B), real_A)


def identity(G_AB: nn.Module, G_BA: nn.Module, real_A: Tensor, real_B: Tensor) -> Tensor:
    return mean_l1(G_BA(real_A), real_A) + mean_l1(G_AB(real_B), real_B)


def detached(G_AB: nn.Module, G_BA: nn.Module, real_A: Tensor, real_B: Tensor) -> Tensor:
    return mean_l1(G_BA(G_AB(real_A).detach()), real_A) + mean_l1(G_AB(G_BA(real_B).detach()), real_B)


def squared(G_AB: nn.Module, G_BA: nn.Module, real_A: Tensor, real_B: Tensor) -> Tensor:
    return (G_BA(G_AB(real_A)) - real_A).square().mean() + (G_AB(G_BA(real_B)) - real_B).square().mean()


def summed(G_AB: nn.Module, G_BA: nn.Module, real_A: Tensor, real_B: Tensor) -> Tensor:
    return (G_BA(G_AB(real_A)) - real_A).abs().sum() + (G_AB(G_BA(real_B)) - real_B).abs().sum()


def halved(G_AB: nn.Module, G_BA: nn.Module, real_A: Tensor, real_B: Tensor) -> Tensor:
    return true_cycle_loss(G_AB, G_BA, real_A, real_B) / 2


CYCLE_MISTAKES: dict[str, Function] = {
    "this is the cycle of A alone: the images of B go round, too.": only_A,
    "this is the cycle of B alone: the images of A go round, too.": only_B,
    "this compares fakes with the reals that they were made from. Translate them back first.": one_way,
    "this compares fakes with reals of the other set, as if they were pairs. There are none.": as_if_paired,
    "this is the identity term: each generator is shown what it should make.": identity,
    "the value is right, but no gradient reaches the generator that went first: something is detached.": detached,
    "these are squared differences; the cycle loss is an L1: mean |x - y|.": squared,
    "this is a sum over pixels; the weight of 10 is meant for the mean.": summed,
    "this is half of it: the two cycles are added, not averaged.": halved,
}


def cycle_loss(answer: Function) -> CheckResult:
    """`answer(G_AB, G_BA, real_A, real_B)` is L1(rec_A, real_A) + L1(rec_B, real_B), as a scalar with a graph."""
    generators, images = small_generators(), small_images()
    weights = [p for G in generators for p in G.parameters()]

    def shown(function: Function) -> Tensor:
        """The value, and all gradients; 0 where none arrives."""
        value = function(*generators, *images)
        found = torch.autograd.grad(value, weights, allow_unused=True) if value.requires_grad else [None] * len(weights)
        parts = [torch.zeros_like(p) if g is None else g for p, g in zip(weights, found, strict=True)]
        return torch.cat([value.detach().flatten(), *[part.flatten() for part in parts]])

    def check(answer: Function) -> str:
        value = ask(answer, *generators, *images)
        if not isinstance(value, Tensor) or value.dim():
            shape = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            return f"a loss is one number, a tensor of shape (); yours is {shape}."
        wanted = true_cycle_loss(*generators, *images).item()
        otherwise = f"on two small generators the value should be {wanted:.4g}, with gradients in both."
        return compare_answer(answer, true_cycle_loss, CYCLE_MISTAKES, shown, otherwise)

    return judge(answer, check, "the right value, and the right gradients in both generators.")


def pool_exchange(answer: Function) -> CheckResult:
    """`answer(images, fake, size, swap, place)` is what a pool, the list `images`, gives D for one new `fake`.

    While there are fewer than `size`, the fake is stored and returned. Then, if `swap`, it takes the `place` of a
    stored one, which is returned; else it is returned itself. What is stored and what is returned has no graph.
    """

    def check(answer: Function) -> str:
        weight = torch.ones(1, requires_grad=True)
        stored: list[Tensor] = []
        for number in range(2):
            fake = torch.full((1, 2, 2), float(number)) * weight
            given = ask(answer, stored, fake, 2, bool(number), 0)
            if not isinstance(given, Tensor) or given.shape != fake.shape:
                return f"an image of shape {tuple(fake.shape)} should be returned, got {describe(given)}."
            if len(stored) != number + 1:
                return f"while there is room each fake is stored: after {number + 1} there are {len(stored)}."
            if not torch.equal(given, fake):
                return "while there is room the new fake itself is returned, whatever the coin says."
        if any(image.requires_grad for image in stored):
            return (
                "a stored fake drags its graph along: memory grows with the pool, and its backward would go into a "
                "generator that has moved since. Detach before storing."
            )
        if given.requires_grad:
            return "what is returned still has a graph: D's backward would go on into G. Return it detached."
        new = torch.full((1, 2, 2), 7.0) * weight
        given = answer(stored, new, 2, True, 1)
        if len(stored) != 2:
            return f"a full pool of 2 holds {len(stored)} after a swap: the new one takes the place of the old one."
        values = [image.mean().item() for image in stored]
        if given.mean().item() == 7:
            what = "stored the new fake and returned it, too" if 7.0 in values else "returned the new one all the same"
            return f"the coin said swap, and you {what}: D should be shown the old one from the place."
        if 7.0 not in values:
            return "an old fake was returned, but the new one was not stored in its place: it is lost."
        if values != [0.0, 7.0] or given.mean().item() != 1:
            return "a swap happens at `place`: the one that was there is returned, the others stay where they are."
        if stored[1].requires_grad or given.requires_grad:
            return "while there was room you detached; a swap has to, too."
        before = [image.clone() for image in stored]
        newest = torch.full((1, 2, 2), 9.0) * weight
        given = answer(stored, newest, 2, False, 0)
        if given.mean().item() != 9:
            return "the coin said no, so the new fake itself is returned."
        if len(stored) != 2 or not all(map(torch.equal, stored, before)):
            return "the coin said no, so the pool stays as it is; yours has changed."
        return "what is returned still has a graph when the coin says no: detach." if given.requires_grad else ""

    return judge(answer, check, "every fake is shown or still there, none is lost, and none drags a graph along.")


def describe(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


# In which networks backward leaves a gradient, if nothing is frozen. `d_loss_B` is computed on what the pool returns.
REACHES: dict[str, set[str]] = {
    "adversarial_B": {"G_AB", "D_B"},
    "cycle_A": {"G_AB", "G_BA"},
    "identity_B": {"G_AB"},
    "d_loss_B": {"D_B"},
}
REACH_MISTAKES: dict[tuple[str, frozenset[str]], str] = {
    ("adversarial_B", frozenset({"G_AB"})): "the way to G_AB leads through D_B, and D_B is not frozen: it is filled, "
    "too.",
    ("adversarial_B", frozenset({"G_AB", "D_A"})): "fake_B is an image of domain B: who judges those?",
    ("cycle_A", frozenset({"G_BA"})): "rec_A is made by G_BA, but of fake_B, and who made that?",
    ("cycle_A", frozenset({"G_AB"})): "rec_A = G_BA(fake_B): backward goes through G_BA first.",
    ("identity_B", frozenset({"G_BA"})): "idt_B is an image of domain B: made by the generator that makes B.",
    ("identity_B", frozenset({"G_AB", "G_BA"})): "idt_B is made of real_B in one go; nothing is translated back.",
    ("d_loss_B", frozenset({"D_B", "G_AB"})): "the pool detaches what it is given, so backward ends at the fake.",
}


def reaches(answer: dict[str, Iterable[str]]) -> CheckResult:
    """`answer` says for each term of REACHES in which networks its backward leaves a gradient: {"cycle_A": {...}}."""
    if is_missing(answer) or any(is_missing(answer.get(term)) for term in REACHES):
        return NOT_YET
    for term, right in REACHES.items():
        named = answer[term]
        given = frozenset({named} if isinstance(named, str) else named)
        unknown = sorted(map(str, given - set(OURS)))
        if unknown:
            return CheckResult(False, f"{term}: {', '.join(unknown)} is none of {', '.join(OURS)}.")
        if given != right:
            there = sorted(given - right)
            otherwise = f"there is no way to {there[0]}." if there else f"{sorted(right - given)[0]} is missing."
            return CheckResult(False, f"{term}: {REACH_MISTAKES.get((term, given), otherwise)}")
    return CheckResult(True, "a backward fills every network on its way, and ends where something was detached.")
