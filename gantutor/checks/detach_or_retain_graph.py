"""Checks of notebook 02.

A step is run on two tiny networks whose gradients are known, each loss's share apart, and whose `.grad` holds something
left over. What its optimizers were given then tells which line is missing, misplaced or too much.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gantutor.checks.result import NOT_YET, CheckResult, Function, is_missing, judge
from gantutor.checks.watched import (
    LEFT_OVER,
    Watched,
    after,
    batch,
    flat_weights,
    gradient_shares,
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
class Update:
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


def is_near(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found, wanted, atol=1e-9)


def two_updates_of_G(answer: Function) -> CheckResult:
    """D once, then G twice, each time on the g_loss of that moment; as printed, the second backward of G raises."""
    gan, (real, z) = small_gan("non-saturating"), batch(1)
    old = gradient_shares(gan, real, z)
    then = after(gan, "D", old["d in D"])
    first = gradient_shares(then, real, z)["g in G"]
    second = gradient_shares(after(then, "G", first), real, z)["g in G"]
    updates = [
        Update("D", old["d in D"], known_of_D(old)),
        Update("G", first, {**known_of_G(old, first), "G meets the D of before; D has moved already.": old["g in G"]}),
        Update(
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


def simultaneous(answer: Function) -> CheckResult:
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
    wanted = {"D": Update("D", old["d in D"], known_D), "G": Update("G", old["g in G"], known_G)}
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


def fault_of(found: Watched | str, updates: Sequence[Update], in_words: str) -> str:
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
    right, stray = shares["d in D"], shares["g in D"]
    left = torch.full_like(right, LEFT_OVER)
    return {
        "D holds g_loss's share, too. g_loss.backward() leaves it in D on its way to G.": right + stray,
        "D holds what was left over from before the step. opt_D.zero_grad() is missing.": right + left,
        "D was never cleared. It holds what was left over, and g_loss's share on top.": right + left + stray,
        "D is given g_loss's gradient alone: its own was cleared after d_loss.backward().": stray,
        "D is given no gradient. Clear it before d_loss.backward(), not after.": torch.zeros_like(right),
    }


def known_of_G(shares: dict[str, Tensor], right: Tensor) -> dict[str, Tensor]:
    """Wrong gradients in G where `right` is its due, by what is wrong."""
    stray, left = shares["d in G"], torch.full_like(right, LEFT_OVER)
    return {
        "G holds d_loss's share, too. d_loss.backward() ran on into G, and nobody cleared it there.": right + stray,
        "G holds what was left over from before the step. opt_G.zero_grad() is missing.": right + left,
        "G was never cleared. It holds what was left over, and d_loss's share on top.": right + left + stray,
        "G is given no gradient. Its half works on a detached fake, or clears after backward.": torch.zeros_like(right),
        "G is given d_loss's gradient alone, which makes it worse at fooling D.": stray,
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


FAULTS = {
    "The weights are not clipped: after a step of size 0.5 some are beyond the limit.": "no clip",
    "The clipping comes before opt_D.step(), which leaves the limits again.": "clip before",
    "The weights are clipped once, after D's last update; clip them after each.": "clip at the end",
    "The gradients are clipped; the paper clips the weights.": "clip gradients",
    "G is clipped, too; only the critic must be Lipschitz.": "clip G",
    "D's gradients are not cleared between its updates: each holds those of all before it.": "no zero_grad D",
    "D's gradients are never cleared, not even at the start: opt_D.zero_grad() is never called.": "never clear D",
    "G is given what was left over from before the step, too: opt_G.zero_grad() is missing.": "never clear G",
    "G's gradients are never cleared: they hold left-overs, and D's losses' share on top.": "never clear G, leaked",
    "D sees the same batch in all its updates; each is to have one of its own.": "same batch",
    "D's fakes are made once, for all updates, from the first z.": "same fakes",
    "G is given what D's losses left in it, too: detach D's fakes, or clear G after them.": "leaked",
    "G's step is on the fakes of D's last update; it was to take z.": "last z",
    "The sign of D's loss is wrong: this critic learns to rate fakes above reals.": "sign D",
    "The sign of G's loss is wrong: this G learns to please a critic that rates it low.": "sign G",
}


def critic_steps(gan: GAN, reals: Any, zs: Any, z: Tensor, clip: float, fault: str = "") -> None:
    """k updates of D, one for each of `reals` and `zs`, its weights clipped after each; then G's, on `z`.

    `fault` is one of FAULTS, to be recognised. Source: Arjovsky et al., "Wasserstein GAN", 2017, algorithm 1.
    """

    def clamp(tensors: Any) -> None:
        for tensor in tensors:
            tensor.data.clamp_(-clip, clip)

    for never, optimizer in (("never clear D", gan.opt_D), ("never clear G", gan.opt_G)):
        if never not in fault:
            optimizer.zero_grad()
    for real, z_d in zip(reals, zs, strict=True):
        if fault not in ("no zero_grad D", "never clear D"):
            gan.opt_D.zero_grad()
        fake = gan.G(zs[0] if fault == "same fakes" else z_d)
        logits_real = gan.D(reals[0] if fault == "same batch" else real)
        logits_fake = gan.D(fake if "leaked" in fault else fake.detach())
        d_loss = gan.loss.d_loss(logits_real, logits_fake) * (-1 if fault == "sign D" else 1)
        d_loss.backward()
        if fault == "clip before":
            clamp(gan.D.parameters())
        if fault == "clip gradients":
            clamp(p.grad for p in gan.D.parameters())
        gan.opt_D.step()
        if fault not in ("no clip", "clip before", "clip gradients", "clip at the end"):
            clamp(gan.D.parameters())
    if fault == "clip at the end":
        clamp(gan.D.parameters())
    if fault != "leaked" and "never clear G" not in fault:
        gan.opt_G.zero_grad()
    g_loss = gan.loss.g_loss(gan.D(gan.G(zs[-1] if fault == "last z" else z))) * (-1 if fault == "sign G" else 1)
    g_loss.backward()
    gan.opt_G.step()
    if fault == "clip G":
        clamp(gan.G.parameters())


def k_steps(answer: Function) -> CheckResult:
    """`answer(gan, reals, zs, z, clip)` does what `critic_steps` does, in any words, for any k = len(reals)."""
    gan, clip = small_gan("wgan"), 0.1
    rounds = [batch(seed) for seed in (2, 3, 4)]
    z = batch(5)[1]

    def run(step: Function) -> Any:
        return watch_step(lambda gan, *inputs: step(gan, *inputs, clip), gan, *map(list, zip(*rounds, strict=True)), z)

    def check(answer: Function) -> str:
        right, found = run(critic_steps), run(answer)
        if not found.updates:
            raise NotImplementedError
        if found.order != right.order:
            ds, gs = found.order.count("D"), found.order.count("G")
            if gs == len(rounds):
                return "G moves after each of D's updates; it is to move once, after all of them."
            if (ds, gs) == (len(rounds), 1):
                return "G moves before D's updates are done; it is to meet the critic that has caught up."
            return f"{len(rounds)} batches make {len(rounds)} updates of D and then 1 of G, not {ds} and {gs}."
        if torch.allclose(found.numbers(), right.numbers(), atol=1e-9):
            return ""
        same = (
            text
            for text, fault in FAULTS.items()
            if torch.allclose(found.numbers(), run(partial(critic_steps, fault=fault)).numbers(), atol=1e-9)
        )
        return next(same, "The order is right. " + first_difference(found, right))

    praise = f"{len(rounds)} updates of a clipped critic, each on its own batch, then one of G on the newest critic."
    return judge(answer, check, praise)


def first_difference(found: Watched, right: Watched) -> str:
    """Where two runs with the same order of updates part: an update's gradient, or else the weights at the end."""
    for place, ((player, given), (_, due)) in enumerate(zip(found.updates, right.updates, strict=True), start=1):
        if not is_near(given, due):
            off = ((given - due).norm() / due.norm()).item()
            return f"But update {place}, of {player}, is given a gradient that is {off:.0%} off."
    player = next(
        name for name in "DG" if not is_near(*(flat_weights(getattr(run.gan, name)) for run in (found, right)))
    )
    return f"All gradients are right, too, but {player}'s weights at the end are not. Look at the clipping."
