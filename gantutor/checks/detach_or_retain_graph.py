"""Checks of notebook 02.

A step is run on two tiny networks whose gradients are known, each loss's share apart, and whose `.grad` holds something
left over. What its optimizers were given then tells which line is missing, misplaced or too much.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from gantutor.checks.result import NOT_YET, CheckResult, Function, is_missing, judge
from gantutor.checks.watched import LEFT_OVER, after, batch, flat_weights, gradient_shares, small_gan, watch_step
from gantutor.gan import GAN

RAISES = {
    "second time": "a backward goes through a part of the graph that an earlier backward has freed. Which part, and "
    "does anybody need it there?",
    "inplace operation": "a kept graph holds weights that an optimizer has moved since. Keeping more does not help: "
    "make the backward stop before it, or run it before the step.",
    "does not require grad": "this loss has no way back to any parameter: its graph was cut off, or never made.",
}
NO_ZERO_GRAD = "{0} is given what was left over from before the step, too: opt_{0}.zero_grad() is missing."


def fix_d_first(answer: Function) -> CheckResult:
    """D first on one fake; as printed, G's part of the graph is freed by d_loss.backward() (`d_first_rescored`)."""
    praise = "D is given d_loss's gradient, G g_loss's from the updated D, and nothing else reaches either."
    return not_yet_if("an earlier backward has freed", judge_fix(answer, "DG", praise))


def fix_g_first(answer: Function) -> CheckResult:
    """G first, then D on the same fake; as printed, d_loss.backward() runs into G's moved weights."""
    praise = "G moved first, and d_loss.backward() ends at the detached fake: G's moved weights are not asked for."
    return not_yet_if("a kept graph holds weights", judge_fix(answer, "GD", praise))


def fix_simultaneous(answer: Function) -> CheckResult:
    """Both backwards before either moves; as printed, each player's gradient holds the other loss's share, too."""
    praise = "each loss reaches its own player alone, and both saw the other as it was."
    return not_yet_if("it is as printed", judge_fix(answer, "", praise))


def not_yet_if(as_printed: str, verdict: CheckResult) -> CheckResult:
    """A step that still does what it did as printed is not answered yet."""
    return CheckResult(False, verdict.message, answered=False) if as_printed in verdict.message else verdict


def judge_fix(answer: Function, order: str, praise: str) -> CheckResult:
    """Judge a fixed step by the order of its updates and by the gradients that the optimizers were given.

    `order` is "DG", where G is scored by the updated D; "GD", or "" for both backwards before either step, where it is
    scored by the D of before.
    """
    gan, (real, z) = small_gan("non-saturating"), batch(1)
    old = gradient_shares(gan, real, z)
    of_updated_D = gradient_shares(after(gan, "D", old["d in D"]), real, z)["g in G"]
    of_updated_G = gradient_shares(after(gan, "G", old["g in G"]), real, z)["d in D"]
    right = {"D": old["d in D"], "G": of_updated_D if order == "DG" else old["g in G"]}
    left = {player: torch.full_like(gradient, LEFT_OVER) for player, gradient in right.items()}
    known = {
        "G": {
            "G's gradient holds d_loss's share, too: d_loss.backward() ran on into G, and nobody cleared it there "
            "before g_loss.backward().": right["G"] + old["d in G"],
            NO_ZERO_GRAD.format("G"): right["G"] + left["G"],
            "G's gradient was never cleared: it holds what was left over, and d_loss's share on top.": (
                right["G"] + left["G"] + old["d in G"]
            ),
            "G is given no gradient: its own half, too, works on a detached fake, or clears after backward.": (
                torch.zeros_like(right["G"])
            ),
            "G is given d_loss's gradient alone: that makes it worse at fooling D.": old["d in G"],
            "G is scored by the D of before its update; in this step D has moved already.": old["g in G"],
            "G is scored by a D that has moved already; in this step it is to meet the D of before.": of_updated_D,
        },
        "D": {
            "D's gradient holds g_loss's share, too, which wants D to take fakes for real: g_loss.backward() leaves it "
            "in D on its way to G.": right["D"] + old["g in D"],
            NO_ZERO_GRAD.format("D"): right["D"] + left["D"],
            "D's gradient was never cleared: it holds what was left over, and g_loss's share on top.": (
                right["D"] + left["D"] + old["g in D"]
            ),
            "D is given g_loss's gradient alone: its own was cleared after d_loss.backward().": old["g in D"],
            "D is given no gradient: clear before d_loss.backward(), not after.": torch.zeros_like(right["D"]),
            "D judges a new fake, made by the G that has moved: right for another step, and one forward of G more. "
            "Here D is to judge the fake that is there.": of_updated_G,
        },
    }

    def is_(found: Tensor, wanted: Tensor) -> bool:
        return torch.allclose(found, wanted, atol=1e-9)

    def check(answer: Function) -> str:
        try:
            found = watch_step(answer, gan, real, z)
        except RuntimeError as error:
            hint = next((hint for part, hint in RAISES.items() if part in str(error)), "")
            if not hint:
                raise
            return f"it raises: {hint}"
        if sorted(found.order) != ["D", "G"]:
            return f"each player must move once; here the optimizers' steps are {', '.join(found.order) or 'none'}."
        if order and found.order != order:
            return f"{order[0]} was to move first, and here {found.order[0]} does: a fix keeps the order."
        sums = {"D": old["d in D"] + old["g in D"], "G": old["g in G"] + old["d in G"]}
        if not order and all(is_(found.given(player), sums[player]) for player in "DG"):
            return "it is as printed."
        for player in "DG":
            gradient, wanted = found.given(player), right[player]
            if not is_(gradient, wanted):
                size = ((gradient - wanted).norm() / wanted.norm()).item()
                same = (text for text, value in known[player].items() if is_(gradient, value))
                return next(same, f"{player} is given another gradient, {size:.0%} off: did a loss change?")
        return ""

    return judge(answer, check, praise)


PUZZLE = {  # after these lines of the notebook's step: whose gradients G and D hold
    "A": {"G": {"g_loss"}, "D": {"g_loss"}},
    "B": {"G": {"g_loss"}, "D": set()},
    "C": {"G": {"g_loss", "d_loss"}, "D": {"d_loss"}},
    "D": {"G": {"g_loss", "d_loss"}, "D": {"d_loss"}},
}


def ledger(answer: Any) -> CheckResult:
    """`answer` is {line: {network: set of losses}}, as PUZZLE is; lists and tuples are sets, too."""
    if is_missing(answer):
        return NOT_YET
    wanted = 'answer with sets of the names "d_loss" and "g_loss", for G and for D after each line; nothing is set().'
    told: dict[str, dict[str, set[str]]] = {line: {} for line in PUZZLE}
    for line, name in [(line, name) for line in PUZZLE for name in "GD"]:
        try:
            place = answer[line] if is_missing(answer[line]) else answer[line][name]
        except (KeyError, IndexError, TypeError):
            return CheckResult(False, f"line {line}: nothing is found for {name}; {wanted}")
        if is_missing(place):
            return NOT_YET
        several = isinstance(place, set | frozenset | list | tuple)
        if not several or any(loss not in ("d_loss", "g_loss") for loss in place):
            return CheckResult(False, f"line {line}: for {name} there is {place!r}; {wanted}")
        told[line][name] = set(place)
    faults = {
        "line A: the way from g_loss to G leads through D, and backward fills every parameter that it passes.": (
            told["A"] != PUZZLE["A"]
        ),
        "line B: an optimizer clears its own parameters; opt_D knows nothing of G's.": told["B"]["G"]
        != PUZZLE["B"]["G"],
        "line B: what g_loss left in D is cleared here, before D's own comes.": told["B"]["D"] != PUZZLE["B"]["D"],
        "line C: backward adds to what a parameter holds; it does not take its place.": told["C"]["G"] == {"d_loss"},
        "line C: the fake is not detached, so d_loss.backward() runs on into G.": told["C"]["G"] == {"g_loss"},
        "line C: d_loss's gradient reaches D, which is empty since line B, and G, which still holds g_loss's.": (
            told["C"] != PUZZLE["C"]
        ),
        "line D: step() moves parameters along their gradients, and clears none.": told["D"] != PUZZLE["D"],
    }
    fault = next((text for text, wrong in faults.items() if wrong), "")
    praise = "backward adds wherever it passes, zero_grad clears its own, step clears nothing."
    return CheckResult(not fault, fault or praise)


FAULTS = {
    "the weights are not clipped: after a step of size 0.5 some are beyond the limit.": "no clip",
    "the clipping comes before opt_D.step(), which leaves the limits again.": "clip before",
    "the gradients are clipped; the paper clips the weights.": "clip gradients",
    "G is clipped, too; only the critic must be Lipschitz.": "clip G",
    "D's gradients are not cleared between its updates: each holds those of all before it.": "no zero_grad D",
    "D's gradients are never cleared, not even at the start: opt_D.zero_grad() is never called.": "never clear D",
    "G is given what was left over from before the step, too: opt_G.zero_grad() is missing.": "never clear G",
    "G's gradients are never cleared: they hold left-overs, and D's losses' share on top.": "never clear G, leaked",
    "D sees the same batch in all its updates; each is to have one of its own.": "same batch",
    "D's fakes are made once, for all updates, from the first z.": "same fakes",
    "G is given what D's losses left in it, too: detach D's fakes, or clear G after them.": "leaked",
    "G's step is on the fakes of D's last update; it was to take z.": "last z",
    "the sign of D's loss is wrong: this critic learns to rate fakes above reals.": "sign D",
    "the sign of G's loss is wrong: this G learns to please a critic that rates it low.": "sign G",
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
        if fault not in ("no clip", "clip before", "clip gradients"):
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
        off = (flat_weights(found.gan.G) - flat_weights(right.gan.G)).norm() / flat_weights(right.gan.G).norm()
        return next(same, f"the order is right, but the gradients are not: G's weights end {off:.0%} off.")

    praise = f"{len(rounds)} updates of a clipped critic, each on its own batch, then one of G on the newest critic."
    return judge(answer, check, praise)
