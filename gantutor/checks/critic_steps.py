"""The check of the Wasserstein critic's k steps, in notebook 02, with the mistakes that it knows."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from gantutor.checks.result import CheckResult, Function, judge
from gantutor.checks.watched import Watched, batch, flat_weights, is_near, small_gan, watch_step
from gantutor.gan import GAN

FAULTS = {
    "The weights are not clipped: after a step of size 0.5 some are beyond the limit.": "no clip",
    "The clipping comes before opt_D.step(), which leaves the limits again.": "clip before",
    "The weights are clipped before each update: after the last one some are beyond the limit.": "clip first",
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
        if fault not in ("no clip", "clip first", "clip before", "clip gradients", "clip at the end"):
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
