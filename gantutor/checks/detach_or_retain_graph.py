"""Checks of notebook 02.

A step is run on two tiny networks whose gradients are known, each loss's share apart, and whose `.grad` holds something
left over. What its optimizers were given then tells which line is missing, misplaced or too much.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gantutor.checks.result import NOT_YET, CheckResult, Function, is_missing, judge
from gantutor.checks.watched import (
    LEFT_OVER,
    Watched,
    after,
    batch,
    gradient_shares,
    is_near,
    small_gan,
    watch_step,
)
from gantutor.gan import GAN

RAISES = {
    "second time": "A backward goes through a part of the graph that an earlier backward has freed. Find the line that "
    "freed it.",
    "inplace operation": "A kept graph holds weights that an optimizer has moved since. Keeping more of the graph does "
    "not help. Which tensor was made with the old weights?",
    "does not require grad": "This loss has no way back to any parameter: its graph was cut off, or never made.",
}


@dataclass(frozen=True)
class Due:
    """What a player is to be given, and the wrong gradients that are known, each by what it says about the step."""

    player: str
    gradient: Tensor
    known: dict[str, Tensor]

    def fault(self, found: Tensor) -> str:
        """What is wrong with the gradient that the player was given, or ""."""
        if is_near(found, self.gradient):
            return ""
        size = ((found - self.gradient).norm() / self.gradient.norm()).item()
        same = (text for text, wrong in self.known.items() if is_near(found, wrong))
        return next(same, f"This is another gradient, {size:.0%} off. Did a loss change?")


def two_updates_of_G(answer: Function) -> CheckResult:
    """D once, then G twice, each time on the g_loss of that moment; as printed, the second backward of G raises."""
    gan, (real, z) = small_gan("non-saturating"), batch(1)
    old = gradient_shares(gan, real, z)
    then = after(gan, "D", old["d in D"])
    first = gradient_shares(then, real, z)["g in G"]
    second = gradient_shares(after(then, "G", first), real, z)["g in G"]
    updates = [
        Due("D", old["d in D"], known_of_D(old)),
        Due("G", first, {**known_of_G(old, first), "G meets the D of before; D has moved already.": old["g in G"]}),
        Due(
            "G",
            second,
            {
                "It is G's first gradient once more: the fake, or the backward, is that of before.": first,
                "G's first gradient was not cleared: both are added up.": first + second,
                **known_of_G(old, second),
            },
        ),
    ]
    praise = "D moves once, then G twice, each time on the gradient for the G and the D of that moment."

    def check(answer: Function) -> str:
        return fault_of(watch(answer, gan, real, z), updates, "one update of D, and then two of G")

    return not_yet_if(RAISES["inplace operation"], judge(answer, check, praise))


def both_at_once(answer: Function) -> CheckResult:
    """Both gradients before either step, with neither retain_graph nor inputs=."""
    gan, (real, z) = small_gan("non-saturating"), batch(1)
    old = gradient_shares(gan, real, z)
    by_new_D = gradient_shares(after(gan, "D", old["d in D"]), real, z)["g in G"]
    by_new_G = gradient_shares(after(gan, "G", old["g in G"]), real, z)["d in D"]
    known_D = {**known_of_D(old), "D judges a fake made by the G that has moved; G was to wait.": by_new_G}
    known_G = {
        **known_of_G(old, old["g in G"]),
        "G is scored by a D that has moved already; D was to wait.": by_new_D,
    }
    wanted = {"D": Due("D", old["d in D"], known_D), "G": Due("G", old["g in G"], known_G)}
    praise = "Each loss reaches its own player alone, and both saw the other as it was."

    def check(answer: Function) -> str:
        found = watch(answer, gan, real, z)
        if isinstance(found, Watched):
            if not found.updates:
                raise NotImplementedError
            order = found.order if sorted(found.order) == ["D", "G"] else "DG"
            fault = fault_of(found, [wanted[player] for player in order], "one update of D and one of G")
            kept = "It is right, but it uses {}. Write it without."
            used = next((name for name in ("retain_graph", "inputs=") if name in found.used), "")
            return fault or (kept.format(used) if used else "")
        return found

    return judge(answer, check, praise)


def watch(answer: Function, gan: GAN, real: Tensor, z: Tensor) -> Watched | str:
    """What the step did; or in words why it raised one of autograd's errors."""
    try:
        return watch_step(answer, gan, real, z)
    except RuntimeError as error:
        hint = next((hint for part, hint in RAISES.items() if part in str(error)), "")
        if not hint:
            raise
        return f"It raises. {hint}"


def fault_of(found: Watched | str, updates: Sequence[Due], in_words: str) -> str:
    """What is wrong with a step that was to make these updates, or ""."""
    if isinstance(found, str):
        return found
    players = [player for player, _ in found.updates]
    if players != [update.player for update in updates]:
        return f"The step is to make {in_words}; here the optimizers move {', '.join(players) or 'nobody'}."
    for place, (update, (player, given)) in enumerate(zip(updates, found.updates, strict=True), start=1):
        fault = update.fault(given)
        if fault:
            return f"Update {place}, of {player}: {fault}"
    return ""


def known_of_D(shares: dict[str, Tensor]) -> dict[str, Tensor]:
    """Wrong gradients in D, by what is wrong."""
    right, unwanted = shares["d in D"], shares["g in D"]
    left = torch.full_like(right, LEFT_OVER)
    return {
        "D holds g_loss's share, too. g_loss.backward() leaves it in D on its way to G.": right + unwanted,
        "D holds what was left over from before the step. opt_D.zero_grad() is missing.": right + left,
        "D was never cleared. It holds what was left over, and g_loss's share on top.": right + left + unwanted,
        "D is given g_loss's gradient alone: its own was cleared after d_loss.backward().": unwanted,
        "D is given no gradient. Clear it before d_loss.backward(), not after.": torch.zeros_like(right),
    }


def known_of_G(shares: dict[str, Tensor], right: Tensor) -> dict[str, Tensor]:
    """Wrong gradients that G may be given instead of `right`, by what is wrong."""
    unwanted, left = shares["d in G"], torch.full_like(right, LEFT_OVER)
    return {
        "G holds d_loss's share, too. d_loss.backward() ran on into G, and nobody cleared it there.": right + unwanted,
        "G holds what was left over from before the step. opt_G.zero_grad() is missing.": right + left,
        "G was never cleared. It holds what was left over, and d_loss's share on top.": right + left + unwanted,
        "G is given no gradient. Its half works on a detached fake, or clears after backward.": torch.zeros_like(right),
        "G is given d_loss's gradient alone, which makes it worse at fooling D.": unwanted,
    }


def not_yet_if(as_printed: str, result: CheckResult) -> CheckResult:
    """A step that still does what it did as printed is not answered yet."""
    return CheckResult(False, result.message, answered=False) if as_printed in result.message else result


PUZZLE = {  # after these lines of the notebook's step: whose gradients G and D hold
    "A": {"G": {"g_loss"}, "D": {"g_loss"}},
    "B": {"G": {"g_loss"}, "D": set()},
    "C": {"G": {"g_loss", "d_loss"}, "D": {"d_loss"}},
    "D": {"G": {"g_loss", "d_loss"}, "D": {"d_loss"}},
}


def ledger(answer: Any) -> CheckResult:
    """`answer` is {line: {network: set of losses}}, as PUZZLE is; other collections of names are sets, too."""
    if is_missing(answer):
        return NOT_YET
    wanted = 'Answer with sets of the names "d_loss" and "g_loss", for G and for D after each line; nothing is set().'
    told: dict[str, dict[str, set[str]]] = {line: {} for line in PUZZLE}
    for line, name in [(line, name) for line in PUZZLE for name in "GD"]:
        try:
            place = answer[line] if is_missing(answer[line]) else answer[line][name]
        except Exception:
            return CheckResult(False, f"Line {line}: nothing is found for {name}. {wanted}")
        if is_missing(place):
            return NOT_YET
        losses = list(place) if isinstance(place, Iterable) and not isinstance(place, str) else [place]
        if isinstance(place, str) or any(loss not in ("d_loss", "g_loss") for loss in map(str, losses)):
            return CheckResult(False, f"Line {line}: for {name} there is {place!r}. {wanted}")
        told[line][name] = set(map(str, losses))
    faults = {
        ("A", "the way from g_loss to G leads through D, and backward fills every parameter that it passes."): (
            told["A"] != PUZZLE["A"]
        ),
        ("B", "an optimizer clears its own parameters; opt_D knows nothing of G's."): told["B"]["G"] != {"g_loss"},
        ("B", "what g_loss left in D is cleared here, before D's own comes."): told["B"]["D"] != set(),
        ("C", "backward adds to what a parameter holds; it does not take its place."): told["C"]["G"] == {"d_loss"},
        ("C", "the fake is not detached, so d_loss.backward() runs on into G."): told["C"]["G"] == {"g_loss"},
        ("C", "d_loss's gradient reaches D, which is empty since line B, and G, which still holds g_loss's."): (
            told["C"] != PUZZLE["C"]
        ),
        ("D", "step() moves parameters along their gradients, and clears none."): told["D"] != PUZZLE["D"],
    }
    for (line, why), is_wrong in faults.items():
        if is_wrong:
            yours = ", ".join(f"{name} holds {' and '.join(sorted(told[line][name])) or 'nothing'}" for name in "GD")
            return CheckResult(False, f"Line {line}: you say that {yours}. But {why}")
    return CheckResult(True, "Backward adds wherever it passes, zero_grad clears its own, step clears nothing.")
