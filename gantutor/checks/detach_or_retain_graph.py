"""Checks of notebook 02.

A step is run on two tiny networks whose gradients are known, each loss's share apart, and whose `.grad` holds something
left over. What its optimizers were given then tells which line is missing, misplaced or too much.
"""

import copy
import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from gantutor.checks.result import Function, exercise, first_fault, is_missing, is_same, misconception, names_in
from gantutor.draws import seeded
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
class Update:
    """An optimizer's step: the player that it moves, the gradient that it was given, flat, and the GAN just before."""

    player: str
    gradient: Tensor
    gan: GAN


@dataclass(frozen=True)
class Watched:
    """What a step did.

    Args:
        updates: what the optimizers did, in order.
        gan: the GAN after the step.
        used: which of "retain_graph" and "inputs=" its backwards have used.
    """

    updates: list[Update]
    gan: GAN
    used: set[str]

    @property
    def order(self) -> str:
        return "".join(update.player for update in self.updates)


def small_gan(loss: str) -> GAN:
    """Two float64 networks and SGD, the same every time."""
    with seeded(7):
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


def all_weights(network: nn.Module) -> Tensor:
    return flat(network.parameters())


def recorded(gan: GAN) -> list[Update]:
    """A list that from now on gains an entry whenever an optimizer steps; its GANs have the loss of now."""
    updates: list[Update] = []
    loss = gan.loss

    def record(player: str, network: nn.Module) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            gradient = flat(torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters())
            before = replace(copy.deepcopy(gan), loss=loss)
            for each in (before.G, before.D):
                each.requires_grad_()  # who is frozen now
            updates.append(Update(player, gradient, before))

        return hook

    gan.opt_G.register_step_pre_hook(record("G", gan.G))
    gan.opt_D.register_step_pre_hook(record("D", gan.D))
    return updates


def gradient_shares(gan: GAN, real: Tensor, z: Tensor) -> dict[str, Tensor]:
    """Each loss's gradient in each player, as the two are now: "d in D", "g in G", "d in G", "g in D"."""
    fake = gan.G(z)
    losses = {"d": gan.loss.d_loss(gan.D(real), gan.D(fake)), "g": gan.loss.g_loss(gan.D(fake))}
    return {
        f"{name} in {player}": flat(torch.autograd.grad(loss, list(network.parameters()), retain_graph=True))
        for name, loss in losses.items()
        for player, network in (("D", gan.D), ("G", gan.G))
    }


def fault_of(updates: Sequence[Update], due: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> str:
    """What is wrong with the gradients of these updates, or "".

    `due` has for each the right gradient and the wrong ones that are known, by what each says about the step.
    """
    for place, (update, (right, known)) in enumerate(zip(updates, due, strict=True), start=1):
        if not is_same(update.gradient, right):
            off = ((update.gradient - right).norm() / right.norm()).item()
            why = (
                misconception(update.gradient, known) or f"This is another gradient, {off:.0%} off. Did a loss change?"
            )
            return f"Update {place}, of {update.player}: {why}"
    return ""


def wrong_order(found: Watched, in_words: str) -> str:
    moved = ", ".join(found.order) or "nobody"
    return f"The step is to make {in_words}; here the optimizers move {moved}."


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


def known_of_G(right: Tensor, unwanted: Tensor) -> dict[str, Tensor]:
    """Wrong gradients that G may be given, by what is wrong; `unwanted` is what D's losses may leave in it."""
    left = torch.full_like(right, LEFT_OVER)
    return {
        "G holds d_loss's share, too. d_loss.backward() ran on into G, and nobody cleared it there.": right + unwanted,
        "G holds what was left over from before the step. opt_G.zero_grad() is missing.": right + left,
        "G was never cleared. It holds what was left over, and d_loss's share on top.": right + left + unwanted,
        "G is given no gradient. Its half works on a detached fake, or clears after backward.": torch.zeros_like(right),
        "G is given d_loss's gradient alone, which makes it worse at fooling D.": unwanted,
    }


# Two updates of G, and both at once -----------------------------------------------------------------------------------


@exercise(
    "D moves once, then G twice, each time on the gradient for the G and the D of that moment.",
    as_printed=RAISES["inplace operation"],
)
def two_updates_of_G(answer: Function) -> str:
    """D once, then G twice, each time on the g_loss of that moment; as printed, the second backward of G raises."""
    real, z = batch(1)
    found = watch_step(answer, small_gan("non-saturating"), real, z)
    if found.order != "DGG":
        return wrong_order(found, "one update of D, and then two of G")
    old, then, last = (gradient_shares(update.gan, real, z) for update in found.updates)
    first, second, leaked = then["g in G"], last["g in G"], old["d in G"]
    of_before = {"G meets the D of before; D has moved already.": old["g in G"]}
    again = {
        "It is G's first gradient once more: the fake, or the backward, is that of before.": first,
        "G's first gradient was not cleared: both are added up.": first + second,
    }
    due = [
        (old["d in D"], known_of_D(old)),
        (first, of_before | known_of_G(first, leaked)),
        (second, again | known_of_G(second, leaked)),
    ]
    return fault_of(found.updates, due)


@exercise("Each loss reaches its own player alone, and both saw the other as it was.")
def both_at_once(answer: Function) -> str:
    """Both gradients before either step, with neither retain_graph nor inputs=."""
    real, z = batch(1)
    found = watch_step(answer, small_gan("non-saturating"), real, z)
    if not found.updates:
        raise NotImplementedError
    if sorted(found.order) != ["D", "G"]:
        return wrong_order(found, "one update of D and one of G")
    old, moved = (gradient_shares(update.gan, real, z) for update in found.updates)
    by_new_G = {"D judges a fake made by the G that has moved; G was to wait.": moved["d in D"]}
    by_new_D = {"G is scored by a D that has moved already; D was to wait.": moved["g in G"]}
    due = {
        "D": (old["d in D"], known_of_D(old) | by_new_G),
        "G": (old["g in G"], known_of_G(old["g in G"], old["d in G"]) | by_new_D),
    }
    kept = [f"It is right, but it uses {name}. Write it without." for name in sorted(found.used, reverse=True)]
    return fault_of(found.updates, [due[player] for player in found.order]) or "".join(kept[:1])


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
    for line, name in itertools.product(PUZZLE, "GD"):
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
    line = next((line for line in PUZZLE if told[line] != PUZZLE[line]), "")
    if not line:
        return ""
    yours = ", ".join(f"{name} holds {' and '.join(sorted(told[line][name])) or 'nothing'}" for name in "GD")
    why = first_fault({
        "the way from g_loss to G leads through D, and backward fills every parameter that it passes.": line == "A",
        "an optimizer clears its own parameters; opt_D knows nothing of G's.": told["B"]["G"] != {"g_loss"},
        "what g_loss left in D is cleared here, before D's own comes.": line == "B",
        "backward adds to what a parameter holds; it does not take its place.": told["C"]["G"] == {"d_loss"},
        "the fake is not detached, so d_loss.backward() runs on into G.": told["C"]["G"] == {"g_loss"},
        "d_loss's gradient reaches D, which is empty since line B, and G, which still holds g_loss's.": line == "C",
        "step() moves parameters along their gradients, and clears none.": True,
    })  # fmt: skip
    return f"Line {line}: you say that {yours}. But {why}"


# The critic's k steps -------------------------------------------------------------------------------------------------


@exercise("3 updates of a clipped critic, each on its own batch, then one of G on the newest critic.")
def k_steps(answer: Function) -> str:
    """`answer(gan, reals, zs, z, clip)`: an update of D for each of `reals` and `zs`, clipped after it; then G's on z.

    Source: Arjovsky et al., "Wasserstein GAN", 2017, algorithm 1.
    """
    (reals, zs), (real, z), gan, k, clip = zip(*map(batch, (2, 3, 4)), strict=True), batch(5), small_gan("wgan"), 3, 0.1
    found = watch_step(answer, gan, list(reals), list(zs), z, clip)
    ds, gs = found.order.count("D"), found.order.count("G")
    if not found.updates:
        raise NotImplementedError
    if gs == k:
        return "G moves after each of D's updates; it is to move once, after all of them."
    if (ds, gs) != (k, 1):
        return f"{k} batches make {k} updates of D and then 1 of G, not {ds} and {gs}."
    if found.order[-1] != "G":
        return "G moves before D's updates are done; it is to meet the critic that has caught up."

    *of_D, of_G = found.updates
    due, before, leaked = [], torch.zeros_like(of_D[0].gradient), torch.zeros_like(of_G.gradient)
    for update, real_d, z_d in zip(of_D, reals, zs, strict=True):
        shares = gradient_shares(update.gan, real_d, z_d)
        right = shares["d in D"]
        same_batch, same_fakes = (
            gradient_shares(update.gan, *given)["d in D"] for given in ((reals[0], z_d), (real_d, zs[0]))
        )
        mistakes = {
            "D's gradients are not cleared between its updates: each holds those of all before it.": right + before,
            "D sees the same batch in all its updates; each is to have one of its own.": same_batch,
            "D's fakes are made once, for all updates, from the first z.": same_fakes,
            "The sign of D's loss is wrong: this critic learns to rate fakes above reals.": -right,
            "The gradients are clipped; the paper clips the weights.": right.clamp(-clip, clip),
        }
        due.append((right, mistakes | known_of_D(shares)))
        before, leaked = update.gradient, leaked + shares["d in G"]
    right = gradient_shares(of_G.gan, real, z)["g in G"]
    last_fakes = gradient_shares(of_G.gan, real, zs[-1])["g in G"]
    mistakes = {
        "G's step is on the fakes of D's last update; it was to take z.": last_fakes,
        "The sign of G's loss is wrong: this G learns to please a critic that rates it low.": -right,
    }
    due.append((right, mistakes | known_of_G(right, leaked)))

    if not is_same(all_weights(of_D[0].gan.D), all_weights(gan.D)):
        return "The weights are clipped before each update, and not after it: opt_D.step() leaves the limits again."
    return fault_of(found.updates, due) or fault_of_clipping(found, clip)


def fault_of_clipping(found: Watched, clip: float) -> str:
    """What is wrong with the weights, where all gradients are right."""
    *of_D, _ = found.updates
    clipped = [(all_weights(update.gan.D) - RATE * update.gradient).clamp(-clip, clip) for update in of_D]
    wanted = torch.stack([*clipped, clipped[-1]])
    after = torch.stack([*(all_weights(update.gan.D) for update in found.updates[1:]), all_weights(found.gan.D)])
    limit = clip + 1e-6
    beyond = after.abs().amax(dim=1) > limit
    return first_fault({
        "The weights are not clipped: after a step of size 0.5 some are beyond the limit.": beyond[-1],
        "The weights are clipped once, after D's last update; clip them after each.": beyond.any(),
        "G is clipped, too; only the critic must be Lipschitz.": all_weights(found.gan.G).abs().max() <= limit,
        "All gradients are right, but not the weights at the end. Look at the clipping.": not is_same(after, wanted),
    })  # fmt: skip
