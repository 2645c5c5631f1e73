"""Checks of notebook 05."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gantutor.checks.result import Function, ask, exercise, first_fault, is_missing, names_in

# What the reference prints while it trains, which of our terms that is, and how to find out.
REFERENCE_LOG = {"D_A": "d_loss_B", "G_A": "adversarial_B", "cycle_A": "cycle_A", "idt_A": "identity_B"}
OUR_TERMS = tuple(f"{term}_{domain}" for term in ("d_loss", "adversarial", "cycle", "identity") for domain in "AB")
LOG_HINTS = {
    "D_A": "netD_A is the partner of netG_A. Which images does netG_A make?",
    "G_A": "This is how well netG_A fools its partner. To which domain do its images belong?",
    "cycle_A": "There rec_A = netG_B(netG_A(real_A)), and it is compared with real_A.",
    "idt_A": "There idt_A = netG_A(real_B), and it is compared with real_B.",
}


@exercise("Three of the four letters are crossed. Only the cycle has the same letter in both.")
def reference_log(answer: Any) -> str:
    """`answer` says for each name in the reference's log which of our terms it is: {"D_A": "d_loss_A", ...}."""

    def wrong(name: str, given: Any, right: str) -> str:
        if given not in OUR_TERMS:
            return f"{given!r} is none of {', '.join(OUR_TERMS)}."
        kind = "" if given[:-1] == right[:-1] else f"{given} is another kind of term. "
        return "" if given == right else kind + LOG_HINTS[name]

    return fault_of_dict(answer, REFERENCE_LOG, wrong)


def fault_of_dict(answer: Any, right: Mapping[str, Any], wrong: Function) -> str:
    """What is wrong with an answer that is to be like the dict `right`; wrong(name, given, right) judges one value.

    Raises: NotImplementedError where a name has no answer yet.
    """
    if not isinstance(answer, Mapping):
        return f"The answer should be a dict, as in the cell, and not {type(answer).__name__}."
    if any(is_missing(answer.get(name)) for name in right):
        raise NotImplementedError
    faults = ((name, wrong(name, answer[name], due)) for name, due in right.items())
    return next((f"{name}: {fault}" for name, fault in faults if fault), "")


@exercise("Every fake is shown or still there, none is lost, and none keeps a graph.")
def pool_exchange(answer: Function) -> str:
    """`answer(images, fake, size, swap, place)` is what a pool, the list `images`, gives D for one new `fake`.

    While there are fewer than `size`, the fake is stored and returned. Then, if `swap`, it takes the `place` of a
    stored one, which is returned; else it is returned itself. What is stored and what is returned has no graph, and
    the fake that came keeps its own.
    """
    for size in (2, 3):
        stored: list[Tensor] = []
        filling = [(number, bool(number % 2), 0) for number in range(size)]
        for new, swap, place in (*filling, (10, True, 1), (11, True, 0), (12, True, size - 1), (20, False, 0)):
            if fault := fault_of_turn(answer, stored, new, size, swap, place):
                return fault
    return ""


def fault_of_turn(answer: Function, stored: list[Tensor], new: int, size: int, swap: bool, place: int) -> str:
    """What is wrong when the answer gets a new fake, an image of the number `new`, or "". It changes `stored`."""
    before = numbers(stored)
    fake = torch.full((1, 2, 2), float(new)) * torch.ones(1, requires_grad=True)
    given = ask(answer, stored, fake, size, swap, place)
    if not fake.requires_grad:
        return "The fake that came has lost its graph: detach() makes a new tensor, but detach_() changes the old one."
    if getattr(given, "shape", None) != fake.shape:
        got = tuple(getattr(given, "shape", [])) or type(given).__name__
        return f"An image of shape {tuple(fake.shape)} should be returned, got {got}."
    now, (shown,) = numbers(stored), numbers([given])
    graph, kept = given.requires_grad, any(image.requires_grad for image in stored)
    if len(before) < size:
        return first_fault({
            f"There is room for {size}: each fake is stored. After {new + 1} fakes yours holds {len(now)}.": (
                len(now) != len(before) + 1
            ),
            "While there is room the new fake itself is returned, whatever the coin says.": shown != new,
            "A stored fake keeps its graph, which leads to a generator that has moved. Detach before storing.": kept,
            "What is returned still has a graph: D's backward would go on into G. Return it detached.": graph,
        })  # fmt: skip
    if not swap:
        return first_fault({
            "The coin said no, so the new fake itself is returned.": shown != new,
            "The coin said no, so the pool stays as it is; yours has changed.": now != before,
            "What is returned still has a graph when the coin says no: detach.": graph,
        })  # fmt: skip
    what = "stored the new fake and returned it, too" if new in now else "returned the new one all the same"
    origin = before.index(shown) if shown in before else "nowhere"
    at_place = f"A swap happens at `place`, here {place}: the one that was there is returned, the others stay."
    return first_fault({
        f"A full pool of {size} holds {len(now)} after a swap: the new fake takes the place of an old one.": (
            len(now) != size
        ),
        f"The coin said swap, and you {what}: D should be shown the old one from place {place}.": shown == new,
        "An old fake was returned, but the new one was not stored in its place: it is lost.": new not in now,
        f"{at_place} Yours returned the one from place {origin}.": shown != before[place],
        f"{at_place} Yours moved others.": now != [*before[:place], new, *before[place + 1 :]],
        "While there was room you detached; a swap has to, too.": kept or graph,
    })  # fmt: skip


def numbers(images: list[Tensor]) -> list[float]:
    return [image.mean().item() for image in images]


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


@exercise("A backward fills every network on its way that asks for it, and ends at a detach.")
def reaches(answer: Any) -> str:
    """`answer` says for each term of REACHES in which networks its backward leaves a gradient, as a set of names."""

    def wrong(term: str, value: Any, right: set[str]) -> str:
        given = names_in(value, ("G_AB", "G_BA", "D_A", "D_B"))
        if given is None:
            return f"{value!r} is no set of the names G_AB, G_BA, D_A and D_B."
        there, missing = sorted(given - right), sorted(right - given)
        otherwise = f"There is no way to {there[0]}." if there else f"{missing[0]} is missing." if missing else ""
        return REACH_MISTAKES.get((term, frozenset(given)), otherwise)

    return fault_of_dict(answer, REACHES, wrong)
