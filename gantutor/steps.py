"""Training steps: the same GAN, updated in different orders.

A step is one plain function, `step(gan, real, z) -> report`. It changes only `gan`; every random draw is an argument.
`real` is (B, ...) as D takes it, `z` is (B, z_dim) as G takes it. The report holds detached tensors: the scalars
`d_loss` and `g_loss`, and D's scores `logits_real` and `logits_fake` as D's update saw them (`g_only`, without such an
update, has `g_loss` and G's `logits_fake`). The functions repeat each other's lines on purpose: the order of the lines
is the lesson.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from gantutor.gan import GAN
from gantutor.traits import Traits, check_step

Report = dict[str, Tensor]


def report(d_loss: Tensor, g_loss: Tensor, logits_real: Tensor, logits_fake: Tensor) -> Report:
    """What a step returns. Nothing here reads a value (`.item()`), which would make a GPU wait."""
    return {
        "d_loss": d_loss.detach(),
        "g_loss": g_loss.detach(),
        "logits_real": logits_real.detach(),
        "logits_fake": logits_fake.detach(),
    }


def d_first_detach(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """D first. `detach` ends D's backward at the fake; G's step scores the same fake again, with the updated D."""
    fake = gan.G(z)

    gan.opt_D.zero_grad()
    logits_real, logits_fake = gan.logits(real, fake.detach())
    d_loss = gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)
    d_loss.backward()
    gan.opt_D.step()

    gan.opt_G.zero_grad()
    g_loss = gan.loss.g_loss(*gan.logits_for_G(real, fake))
    g_loss.backward()  # leaves gradients in D, too: the next opt_D.zero_grad() removes them
    gan.opt_G.step()
    return report(d_loss, g_loss, logits_real, logits_fake)


@Traits(two_backwards="G")
def d_first_retain_graph(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """D first, no detach: D's backward runs on into G, so it must keep G's graph, and G must forget what it received.

    Valid because D(fake) is computed again after D's update; `d_first_same_logits` in PITFALLS shows what is not.
    """
    fake = gan.G(z)

    gan.opt_D.zero_grad()
    logits_real, logits_fake = gan.logits(real, fake)
    d_loss = gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)
    d_loss.backward(retain_graph=True)
    gan.opt_D.step()

    gan.opt_G.zero_grad()  # after d_loss.backward(), which has put d_loss's gradient into G
    g_loss = gan.loss.g_loss(*gan.logits_for_G(real, fake))
    g_loss.backward()
    gan.opt_G.step()
    return report(d_loss, g_loss, logits_real, logits_fake)


def g_first_detach(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """G first, against a D that has not seen this batch; then D on the same fake, detached.

    Neither player sees the other's update, so this is `simultaneous`, in more FLOPs.
    """
    fake = gan.G(z)

    gan.opt_G.zero_grad()
    g_loss = gan.loss.g_loss(*gan.logits_for_G(real, fake))
    g_loss.backward()
    gan.opt_G.step()

    gan.opt_D.zero_grad()  # removes what g_loss.backward() has left in D
    logits_real, logits_fake = gan.logits(real, fake.detach())
    d_loss = gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)
    d_loss.backward()
    gan.opt_D.step()
    return report(d_loss, g_loss, logits_real, logits_fake)


def d_first_regenerate(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """D first, on a fake made without a graph; G makes the same fake again for its own step.

    The least memory, one forward of G more. BatchNorm in G counts the batch twice.
    """
    with torch.no_grad():
        fake = gan.G(z)

    gan.opt_D.zero_grad()
    logits_real, logits_fake = gan.logits(real, fake)
    d_loss = gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)
    d_loss.backward()
    gan.opt_D.step()

    fake = gan.G(z)

    gan.opt_G.zero_grad()
    g_loss = gan.loss.g_loss(*gan.logits_for_G(real, fake))
    g_loss.backward()
    gan.opt_G.step()
    return report(d_loss, g_loss, logits_real, logits_fake)


@Traits(two_backwards="D")
def simultaneous(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """Both backwards on one graph, before either player moves; `inputs=` keeps each gradient to its own player.

    D scores the fake once for both players, batched as in D's step: "joint_in_D_step" is the same as "joint" here, and
    "joint_in_G_step" the same as "split".
    """
    fake = gan.G(z)
    logits_real, logits_fake = gan.logits(real, fake)
    d_loss = gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)
    g_loss = gan.loss.g_loss(logits_fake, logits_real)

    gan.opt_D.zero_grad()
    gan.opt_G.zero_grad()
    d_loss.backward(retain_graph=True, inputs=list(gan.D.parameters()))
    g_loss.backward(inputs=list(gan.G.parameters()))
    gan.opt_D.step()
    gan.opt_G.step()
    return report(d_loss, g_loss, logits_real, logits_fake)


@Traits(rescales=True)
def one_stage(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """One backward through D serves both: what D's loss sends to each fake, rescaled, is what G's loss would send.

    The same update as `simultaneous` for a third of a backward less; batched as there.
    Raises: ValueError where the rescaling is not exact (see `check_one_stage` and `ratio_per_fake`).
    Source: Shen et al., "Training Generative Adversarial Networks in One Stage", CVPR 2021, algorithm 2.
    """
    check_one_stage(gan)
    fake = gan.G(z)
    received = fake.detach().requires_grad_()  # the fake as a leaf: d_loss.backward() leaves its gradient here
    logits_real, logits_fake = gan.logits(real, received)
    d_loss = gan.loss.d_loss(logits_real, floored(gan, logits_fake)) + gan.loss.penalty(gan.D, real, fake)
    g_loss = gan.loss.g_loss(logits_fake, logits_real)
    ratio = ratio_per_fake(gan, fake, logits_fake)

    gan.opt_D.zero_grad()
    gan.opt_G.zero_grad()
    d_loss.backward()
    fake.backward(received.grad * ratio)
    gan.opt_D.step()
    gan.opt_G.step()
    return report(d_loss, g_loss, logits_real, logits_fake)


def check_one_stage(gan: GAN) -> None:
    """Refuse what `one_stage` is not exact for, before anything has moved.

    A ratio that is the same for all logits can be taken out of any backward. One that differs from logit to logit can
    be applied at the fakes only if each fake decides its own logit and no other. And in a joint batch BatchNorm hands
    the fakes a share of the reals' loss, too, which no ratio turns into anything.
    Raises: ValueError, with the reason that `traits.why_not` has.
    """
    norms = [module for module in gan.D.modules() if isinstance(module, _BatchNorm)]
    by_batch = any(norm.training or norm.running_mean is None for norm in norms)
    check_step(one_stage, gan.loss, joint=gan.joint_for_D, batchnorm_D=by_batch)


def ratio_per_fake(gan: GAN, fake: Tensor, logits_fake: Tensor) -> Tensor:
    """The loss's slope ratio for each fake, (B, 1, ...) to be multiplied with its gradient (B, ...).

    Raises: ValueError for several logits an image, unless they all have the same ratio.
    """
    ratio = gan.loss.slope_ratio(logits_fake.detach()).flatten(1)
    check_step(one_stage, gan.loss, patches=ratio.shape[1] > 1)
    return ratio[:, 0].view(-1, *[1] * (fake.dim() - 1))


def floored(gan: GAN, logits_fake: Tensor) -> Tensor:
    """The logits with those below the loss's floor set to it; their gradients pass as if nothing had been set.

    Far below 0 the non-saturating loss has the slopes σ(l) for D and -1 for G. σ(l) underflows, and the ratio of the
    two overflows float32 below l = -88. At the floor of -64 D's slope is 2e-28 where it should be less, and G's is -1.
    """
    return logits_fake.clamp(min=gan.loss.floor).detach() + (logits_fake - logits_fake.detach())


def d_only(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """Half a step: D's update alone."""
    with torch.no_grad():
        fake = gan.G(z)

    gan.opt_D.zero_grad()
    logits_real, logits_fake = gan.logits(real, fake)
    d_loss = gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)
    d_loss.backward()
    gan.opt_D.step()
    return report(d_loss, gan.loss.g_loss(logits_fake, logits_real), logits_real, logits_fake)


def g_only(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """Half a step: G's update alone."""
    fake = gan.G(z)

    gan.opt_G.zero_grad()
    logits_fake, logits_real = gan.logits_for_G(real, fake)
    g_loss = gan.loss.g_loss(logits_fake, logits_real)
    g_loss.backward()
    gan.opt_G.step()
    return {"g_loss": g_loss.detach(), "logits_fake": logits_fake.detach()}


Step = Callable[[GAN, Tensor, Tensor], Report]

STEPS: dict[str, Step] = {
    "d_first_retain_graph": d_first_retain_graph,
    "d_first_detach": d_first_detach,
    "g_first_detach": g_first_detach,
    "d_first_regenerate": d_first_regenerate,
    "simultaneous": simultaneous,
    "one_stage": one_stage,
}
