"""Checks of notebook 05."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from gantutor.checks.result import NOT_YET, CheckResult, Function, ask, is_missing, judge

OURS = ("G_AB", "G_BA", "D_A", "D_B")

# What the reference prints while it trains, and which of our terms that is.
REFERENCE_LOG = {
    "D_A": "d_loss_B",
    "G_A": "adversarial_B",
    "cycle_A": "cycle_A",
    "idt_A": "identity_B",
}
OUR_TERMS = tuple(f"{term}_{domain}" for term in ("d_loss", "adversarial", "cycle", "identity") for domain in "AB")
LOG_HINTS = {
    "D_A": "netD_A is the partner of netG_A. Which images does netG_A make?",
    "G_A": "This is how well netG_A fools its partner. To which domain do its images belong?",
    "cycle_A": "There rec_A = netG_B(netG_A(real_A)), and it is compared with real_A.",
    "idt_A": "There idt_A = netG_A(real_B), and it is compared with real_B.",
}


def reference_log(answer: Any) -> CheckResult:
    """`answer` says for each name in the reference's log which of our terms it is: {"D_A": "d_loss_A", ...}."""
    if is_missing(answer):
        return NOT_YET
    if not isinstance(answer, Mapping):
        return not_a_dict(answer)
    if any(is_missing(answer.get(name)) for name in REFERENCE_LOG):
        return NOT_YET
    for name, right in REFERENCE_LOG.items():
        given = answer[name]
        if given not in OUR_TERMS:
            return CheckResult(False, f"{name}: {given!r} is none of {', '.join(OUR_TERMS)}.")
        if given != right:
            kind = "" if given[:-1] == right[:-1] else f"{given} is another kind of term. "
            return CheckResult(False, f"{name}: {kind}{LOG_HINTS[name]}")
    return CheckResult(True, "Three of the four letters are crossed. Only the cycle has the same letter in both.")


def not_a_dict(answer: Any) -> CheckResult:
    return CheckResult(False, f"The answer should be a dict, as in the cell, and not {type(answer).__name__}.")


def pool_exchange(answer: Function) -> CheckResult:
    """`answer(images, fake, size, swap, place)` is what a pool, the list `images`, gives D for one new `fake`.

    While there are fewer than `size`, the fake is stored and returned. Then, if `swap`, it takes the `place` of a
    stored one, which is returned; else it is returned itself. What is stored and what is returned has no graph, and
    the fake that came keeps its own.
    """

    def check(answer: Function) -> str:
        return next((fault for size in (2, 3) if (fault := fault_of_pool(answer, size))), "")

    return judge(answer, check, "Every fake is shown or still there, none is lost, and none keeps a graph.")


def fault_of_pool(answer: Function, size: int) -> str:
    """What is wrong with a pool that has room for `size`, or ""."""
    weight = torch.ones(1, requires_grad=True)
    stored: list[Tensor] = []

    def give(number: int, swap: bool, place: int) -> tuple[Any, str]:
        """What the answer returns for a new fake, filled with `number`, and a fault of the kind that has no turn."""
        fake = torch.full((1, 2, 2), float(number)) * weight
        given = ask(answer, stored, fake, size, swap, place)
        if not fake.requires_grad:
            return given, (
                "The fake that came has lost its graph, so G cannot learn from it any more: detach() makes a new "
                "tensor, detach_() changes the old one."
            )
        if not isinstance(given, Tensor) or given.shape != fake.shape:
            return given, f"An image of shape {tuple(fake.shape)} should be returned, got {describe(given)}."
        if not all(isinstance(image, Tensor) and image.shape == fake.shape for image in stored):
            return given, "The list should hold images, each as it came."
        return given, ""

    for number in range(size):
        given, fault = give(number, swap=bool(number % 2), place=0)
        if fault:
            return fault
        if len(stored) != number + 1:
            return (
                f"A pool with room for {size} should hold {number + 1} after fake number {number + 1}; yours holds "
                f"{len(stored)}. While there is room, each fake is stored."
            )
        if given.mean().item() != number:
            return "While there is room the new fake itself is returned, whatever the coin says."
        if stored[-1].requires_grad:
            return (
                "A stored fake keeps its graph: memory grows with the pool, and its backward would go into a "
                "generator that has moved since. Detach before storing."
            )
        if given.requires_grad:
            return "What is returned still has a graph: D's backward would go on into G. Return it detached."
    for turn, place in enumerate((1, 0, size - 1)):
        before, new = [image.mean().item() for image in stored], 10 + turn
        given, fault = give(new, swap=True, place=place)
        if fault:
            return fault
        values, shown = [image.mean().item() for image in stored], given.mean().item()
        if len(stored) != size:
            return (
                f"A full pool of {size} holds {len(stored)} after a swap: the new fake takes the place of an old one."
            )
        if shown == new:
            what = "stored the new fake and returned it, too" if new in values else "returned the new one all the same"
            return f"The coin said swap, and you {what}: D should be shown the old one from place {place}."
        if new not in values:
            return "An old fake was returned, but the new one was not stored in its place: it is lost."
        if values != [*before[:place], new, *before[place + 1 :]] or shown != before[place]:
            origin = before.index(shown) if shown in before else "nowhere"
            instead = "moved others" if shown == before[place] else f"returned the one from place {origin}"
            return (
                f"A swap happens at `place`, here {place}: the one that was there is returned, the others stay. Yours "
                f"{instead}."
            )
        if stored[place].requires_grad or given.requires_grad:
            return "While there was room you detached; a swap has to, too."
    before = [image.mean().item() for image in stored]
    given, fault = give(20, swap=False, place=0)
    if fault:
        return fault
    if given.mean().item() != 20:
        return "The coin said no, so the new fake itself is returned."
    if [image.mean().item() for image in stored] != before:
        return "The coin said no, so the pool stays as it is; yours has changed."
    return "What is returned still has a graph when the coin says no: detach." if given.requires_grad else ""


def describe(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


# In which networks backward leaves a gradient, where all four want one unless said otherwise.
REACHES: dict[str, set[str]] = {
    "D_B frozen": {"G_AB"},
    "fake_B detached": {"G_BA"},
    "fake_B not detached": {"G_AB", "D_B"},
    "D_B judges rec_B": {"G_AB", "G_BA", "D_B"},
}
REACH_MISTAKES: dict[tuple[str, frozenset[str]], str] = {
    ("D_B frozen", frozenset({"G_AB", "D_B"})): "D_B's weights do not ask for a gradient, so they get none.",
    ("D_B frozen", frozenset()): "A frozen network still passes the gradient on to its input, fake_B.",
    ("fake_B detached", frozenset({"G_AB", "G_BA"})): "Backward starts at rec_A and ends at the detached fake_B.",
    ("fake_B detached", frozenset({"G_AB"})): "rec_A is made by G_BA, and backward goes through G_BA first.",
    ("fake_B detached", frozenset()): "The detach stands before G_BA. G_BA itself is in the graph.",
    ("fake_B not detached", frozenset({"D_B"})): "Nothing ends the graph at fake_B. Who made fake_B?",
    ("fake_B not detached", frozenset({"G_AB"})): "The way to G_AB goes through D_B.",
    ("D_B judges rec_B", frozenset({"G_AB", "D_B"})): "rec_B = G_AB(fake_A). Who made fake_A?",
    ("D_B judges rec_B", frozenset({"G_AB", "G_BA"})): "The loss is computed from D_B's logits, and D_B is not frozen.",
}


def reaches(answer: Any) -> CheckResult:
    """`answer` says for each term of REACHES in which networks its backward leaves a gradient, as a set of names."""
    if is_missing(answer):
        return NOT_YET
    if not isinstance(answer, Mapping):
        return not_a_dict(answer)
    if any(is_missing(answer.get(term)) for term in REACHES):
        return NOT_YET
    for term, right in REACHES.items():
        named = answer[term]
        if not isinstance(named, Iterable):
            return CheckResult(False, f"{term}: Write a set of names, and not {named!r}.")
        given = frozenset(map(str, {named} if isinstance(named, str) else named))
        unknown = sorted(given - set(OURS))
        if unknown:
            return CheckResult(False, f"{term}: {', '.join(unknown)} is none of {', '.join(OURS)}.")
        if given != right:
            there = sorted(given - right)
            otherwise = f"There is no way to {there[0]}." if there else f"{sorted(right - given)[0]} is missing."
            return CheckResult(False, f"{term}: {REACH_MISTAKES.get((term, given), otherwise)}")
    return CheckResult(True, "A backward fills every network on its way that asks for it, and ends at a detach.")
