"""Checks of notebook 02.

A step is run on two tiny networks whose gradients are known, each loss's share apart, and whose `.grad` holds something
left over. What its optimizers were given then tells which line is missing, misplaced or too much.
"""

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from gantutor.checks.result import CheckResult, Function, exercise, is_missing, is_same, judge, misconception, names_in
from gantutor.gan import GAN
from gantutor.losses import LOSSES

LEFT_OVER = 0.05  # what every parameter's .grad holds before the step
RATE = 0.5  # both players': large, so that a step that came too early shows
RAISES = {
    "second time": "A backward goes through a part of the graph that an earlier backward has freed. Find the line that "
    "freed it.",
    "inplace operation": "A kept graph holds weights that an optimizer has moved since. Keeping more of the graph does "
    "not help. Which tensor was made with the old weights?",
    "does not require grad": "This loss has no way back to any parameter: its graph was cut off, or never made.",
}

# What a step did ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Watched:
    """What a step did.

    Args:
        updates: the players in the order in which they moved, with the gradient that each was given.
        gan: the GAN after the step.
        used: which of "retain_graph" and "inputs=" its backwards have used.
    """

    updates: list[tuple[str, Tensor]]
    gan: GAN
    used: set[str]

    @property
    def order(self) -> str:
        return "".join(player for player, _ in self.updates)

    def numbers(self) -> Tensor:
        """All gradients in their order, and the weights that are left."""
        gradients = [gradient for _, gradient in self.updates]
        return torch.cat([*gradients, flat(self.gan.D.parameters()), flat(self.gan.G.parameters())])


def small_gan(loss: str) -> GAN:
    """Two float64 networks and SGD, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        G, D = (nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, out)).double() for out in (2, 1))
    return GAN(G, D, torch.optim.SGD(G.parameters(), RATE), torch.optim.SGD(D.parameters(), RATE), LOSSES[loss])


def batch(seed: int) -> tuple[Tensor, Tensor]:
    """(real, z), each (4, 2) in float64."""
    real, z = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return real + 1, z


def flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def watch_step(step: Function, gan: GAN, *inputs: Any) -> Watched:
    """Take the step once on a copy whose gradients hold LEFT_OVER.

    Raises: what the step raises, and for one of autograd's errors a RuntimeError that explains it.
    """
    gan, inputs = copy.deepcopy((gan, inputs))
    for parameter in [*gan.G.parameters(), *gan.D.parameters()]:
        parameter.grad = torch.full_like(parameter, LEFT_OVER)
    updates = recorded(gan)
    backward = torch.autograd.backward  # Tensor.backward calls it
    with mock.patch.object(torch.autograd, "backward", wraps=backward) as calls:
        try:
            step(gan, *inputs)
        except RuntimeError as error:
            for part, hint in RAISES.items():
                if part in str(error):
                    raise RuntimeError(hint) from error
            raise
    given = [inspect.signature(backward).bind(*call.args, **call.kwargs).arguments for call in calls.call_args_list]
    used = {"retain_graph"} if any(one.get("retain_graph") for one in given) else set()
    used |= {"inputs="} if any(one.get("inputs") is not None for one in given) else set()
    return Watched(updates, gan, used)


def recorded(gan: GAN) -> list[tuple[str, Tensor]]:
    """A list that from now on gains an entry whenever an optimizer steps: the player, and its gradient, flat."""
    updates: list[tuple[str, Tensor]] = []

    def record(player: str, network: nn.Module) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            updates.append(
                (player, flat(torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()))
            )

        return hook

    gan.opt_G.register_step_pre_hook(record("G", gan.G))
    gan.opt_D.register_step_pre_hook(record("D", gan.D))
    return updates


def gradient_shares(gan: GAN, real: Tensor, z: Tensor) -> dict[str, Tensor]:
    """Each loss's gradient in each player, before either moves: "d in D", "g in G", "d in G", "g in D"."""
    fake = gan.G(z)
    losses = {"d": gan.loss.d_loss(gan.D(real), gan.D(fake)), "g": gan.loss.g_loss(gan.D(fake))}
    return {
        f"{name} in {player}": flat(torch.autograd.grad(loss, list(network.parameters()), retain_graph=True))
        for name, loss in losses.items()
        for player, network in (("D", gan.D), ("G", gan.G))
    }


def after(gan: GAN, player: str, gradient: Tensor) -> GAN:
    """The GAN when `player` has moved along this gradient."""
    moved = copy.deepcopy(gan)
    network = moved.G if player == "G" else moved.D
    nn.utils.vector_to_parameters(flat(network.parameters()) - RATE * gradient, network.parameters())
    return moved


# Two updates of G, and both at once -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Due:
    """What a player is to be given, and the wrong gradients that are known, each by what it says about the step."""

    player: str
    gradient: Tensor
    known: dict[str, Tensor]

    def fault(self, found: Tensor) -> str:
        """What is wrong with the gradient that the player was given, or ""."""
        if is_same(found, self.gradient):
            return ""
        size = ((found - self.gradient).norm() / self.gradient.norm()).item()
        return misconception(found, self.known) or f"This is another gradient, {size:.0%} off. Did a loss change?"


def two_updates_of_G(answer: Function) -> CheckResult:
    """D once, then G twice, each time on the g_loss of that moment; as printed, the second backward of G raises."""
    gan, (real, z) = small_gan("non-saturating"), batch(1)
    old = gradient_shares(gan, real, z)
    then = after(gan, "D", old["d in D"])
    first = gradient_shares(then, real, z)["g in G"]
    second = gradient_shares(after(then, "G", first), real, z)["g in G"]
    again = {
        "It is G's first gradient once more: the fake, or the backward, is that of before.": first,
        "G's first gradient was not cleared: both are added up.": first + second,
    }
    updates = [
        Due("D", old["d in D"], known_of_D(old)),
        Due("G", first, {**known_of_G(old, first), "G meets the D of before; D has moved already.": old["g in G"]}),
        Due("G", second, {**again, **known_of_G(old, second)}),
    ]

    def check(answer: Function) -> str:
        return fault_of(watch_step(answer, gan, real, z), updates, "one update of D, and then two of G")

    result = judge(
        answer, check, "D moves once, then G twice, each time on the gradient for the G and the D of that moment."
    )
    as_printed = RAISES["inplace operation"] in result.message  # what the step does before anybody changes it
    return CheckResult(False, result.message, answered=False) if as_printed else result


@exercise("Each loss reaches its own player alone, and both saw the other as it was.")
def both_at_once(answer: Function) -> str:
    """Both gradients before either step, with neither retain_graph nor inputs=."""
    gan, (real, z) = small_gan("non-saturating"), batch(1)
    old = gradient_shares(gan, real, z)
    by_new_D = gradient_shares(after(gan, "D", old["d in D"]), real, z)["g in G"]
    by_new_G = gradient_shares(after(gan, "G", old["g in G"]), real, z)["d in D"]
    known_D = {**known_of_D(old), "D judges a fake made by the G that has moved; G was to wait.": by_new_G}
    known_G = {**known_of_G(old, old["g in G"]), "G is scored by a D that has moved already; D was to wait.": by_new_D}
    wanted = {"D": Due("D", old["d in D"], known_D), "G": Due("G", old["g in G"], known_G)}

    found = watch_step(answer, gan, real, z)
    if not found.updates:
        raise NotImplementedError
    order = found.order if sorted(found.order) == ["D", "G"] else "DG"
    kept = [f"It is right, but it uses {name}. Write it without." for name in sorted(found.used, reverse=True)]
    return fault_of(found, [wanted[player] for player in order], "one update of D and one of G") or "".join(kept[:1])


def fault_of(found: Watched, updates: Sequence[Due], in_words: str) -> str:
    """What is wrong with a step that was to make these updates, or ""."""
    if list(found.order) != [update.player for update in updates]:
        return f"The step is to make {in_words}; here the optimizers move {', '.join(found.order) or 'nobody'}."
    for place, (update, (_, given)) in enumerate(zip(updates, found.updates, strict=True), start=1):
        if fault := update.fault(given):
            return f"Update {place}, of {update.player}: {fault}"
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


# The ledger -----------------------------------------------------------------------------------------------------------

PUZZLE = {  # after these lines of the notebook's step: whose gradients G and D hold
    "A": {"G": {"g_loss"}, "D": {"g_loss"}},
    "B": {"G": {"g_loss"}, "D": set()},
    "C": {"G": {"g_loss", "d_loss"}, "D": {"d_loss"}},
    "D": {"G": {"g_loss", "d_loss"}, "D": {"d_loss"}},
}


@exercise("Backward adds wherever it passes, zero_grad clears its own, step clears nothing.")
def ledger(answer: Any) -> str:
    """`answer` is {line: {network: set of losses}}, as PUZZLE is; other collections of names are sets, too."""
    wanted = 'Answer with sets of the names "d_loss" and "g_loss", for G and D after each line; nothing is set().'
    told: dict[str, dict[str, set[str]]] = {line: {} for line in PUZZLE}
    for line, name in [(line, name) for line in PUZZLE for name in "GD"]:
        try:
            place = answer[line] if is_missing(answer[line]) else answer[line][name]
        except Exception:
            return f"Line {line}: nothing is found for {name}. {wanted}"
        if is_missing(place):
            raise NotImplementedError
        losses = names_in(place, ("d_loss", "g_loss"))
        if losses is None:
            return f"Line {line}: for {name} there is {place!r}. {wanted}"
        told[line][name] = losses
    C, wrong = told["C"], {line: told[line] != PUZZLE[line] for line in PUZZLE}
    faults = {
        "the way from g_loss to G leads through D, and backward fills every parameter that it passes.": wrong["A"],
        "an optimizer clears its own parameters; opt_D knows nothing of G's.": told["B"]["G"] != {"g_loss"},
        "what g_loss left in D is cleared here, before D's own comes.": wrong["B"],
        "backward adds to what a parameter holds; it does not take its place.": C["G"] == {"d_loss"},
        "the fake is not detached, so d_loss.backward() runs on into G.": C["G"] == {"g_loss"},
        "d_loss's gradient reaches D, which is empty since line B, and G, which still holds g_loss's.": wrong["C"],
        "step() moves parameters along their gradients, and clears none.": wrong["D"],
    }
    for why, is_wrong in faults.items():
        if is_wrong:
            line = next(line for line in PUZZLE if wrong[line])
            yours = ", ".join(f"{name} holds {' and '.join(sorted(told[line][name])) or 'nothing'}" for name in "GD")
            return f"Line {line}: you say that {yours}. But {why}"
    return ""


# The critic's k steps -------------------------------------------------------------------------------------------------

FAULTS = {
    "The weights are not clipped: after a step of size 0.5 some are beyond the limit.": "no clip",
    "The weights are clipped before each update, and not after it: the last one leaves the limits.": "clip first",
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

    def clamp(tensors: Iterable[Any]) -> None:
        for tensor in tensors:
            tensor.data.clamp_(-clip, clip)

    if fault != "never clear D":
        gan.opt_D.zero_grad()
    if "never clear G" not in fault:
        gan.opt_G.zero_grad()
    for real, z_d in zip(reals, zs, strict=True):
        if fault not in ("no zero_grad D", "never clear D"):
            gan.opt_D.zero_grad()
        if fault == "clip first":
            clamp(gan.D.parameters())
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
        if "clip" not in fault or fault == "clip G":
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


@exercise("3 updates of a clipped critic, each on its own batch, then one of G on the newest critic.")
def k_steps(answer: Function) -> str:
    """`answer(gan, reals, zs, z, clip)` does what `critic_steps` does, in any words, for any k = len(reals)."""
    (reals, zs), k = zip(*map(batch, (2, 3, 4)), strict=True), 3

    def run(step: Function, **fault: str) -> Watched:
        inputs = list(reals), list(zs), batch(5)[1]
        return watch_step(lambda gan, *inputs: step(gan, *inputs, 0.1, **fault), small_gan("wgan"), *inputs)

    right, found = run(critic_steps), run(answer)
    ds, gs = found.order.count("D"), found.order.count("G")
    if not found.updates:
        raise NotImplementedError
    if found.order == right.order:
        if is_same(found.numbers(), right.numbers()):
            return ""
        known = misconception(found.numbers(), FAULTS, lambda fault: run(critic_steps, fault=fault).numbers())
        updates = [Due(player, gradient, {}) for player, gradient in right.updates]
        clipping = "All gradients are right, but not the weights at the end. Look at the clipping."
        return known or f"The order is right. {fault_of(found, updates, '') or clipping}"
    if gs == k:
        return "G moves after each of D's updates; it is to move once, after all of them."
    if (ds, gs) == (k, 1):
        return "G moves before D's updates are done; it is to meet the critic that has caught up."
    return f"{k} batches make {k} updates of D and then 1 of G, not {ds} and {gs}."
