"""Training steps as articles print them that raise, or that train on a wrong gradient without a word.

Each is kept with what it must show, and a test holds it to that. The first word of a name is the player that moves
first; `steps.STEPS` holds what works.
"""

from dataclasses import dataclass

from torch import Tensor

from gantutor.gan import GAN
from gantutor.steps import Report, Step, report


@dataclass(frozen=True)
class Pitfall:
    """A step that is wrong: `raises` is in its RuntimeError's message, or else `wrong` names the player misled.

    `fixed` names the step in STEPS that does what this one meant to do.
    """

    step: Step
    fixed: str
    raises: str = ""
    wrong: str = ""


def d_first_same_logits(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """Keeps the graph and uses D's logits for both players, with D's update in between.

    The kept graph holds the D of before the update, whose weights opt_D.step() has overwritten in place. Until PyTorch
    1.4 this trained silently, G on a mix of the old D and the new.
    """
    fake = gan.G(z)

    gan.opt_D.zero_grad()
    logits_real, logits_fake = gan.logits(real, fake)
    d_loss = gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)
    d_loss.backward(retain_graph=True)
    gan.opt_D.step()

    gan.opt_G.zero_grad()
    g_loss = gan.loss.g_loss(logits_fake, logits_real)
    g_loss.backward()  # raises
    gan.opt_G.step()
    return report(d_loss, g_loss, logits_real, logits_fake)


def d_first_detached_logits(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """Detaches the fake, as one should, and then takes G's loss on the logits of the detached fake.

    D's backward has freed the graph of these logits; and had it not, the graph would end at the detach, before G.
    """
    fake = gan.G(z)

    gan.opt_D.zero_grad()
    logits_real, logits_fake = gan.logits(real, fake.detach())
    d_loss = gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)
    d_loss.backward()
    gan.opt_D.step()

    gan.opt_G.zero_grad()
    g_loss = gan.loss.g_loss(logits_fake, logits_real)
    g_loss.backward()  # raises
    gan.opt_G.step()
    return report(d_loss, g_loss, logits_real, logits_fake)


def d_first_rescored(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """ "D(fake) is computed again for G, so neither retain_graph nor detach is needed."

    D's part of the graph is new, but G's is not: d_loss.backward() ran on into it and freed it.
    """
    fake = gan.G(z)

    gan.opt_D.zero_grad()
    logits_real, logits_fake = gan.logits(real, fake)
    d_loss = gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)
    d_loss.backward()
    gan.opt_D.step()

    gan.opt_G.zero_grad()
    g_loss = gan.loss.g_loss(*gan.logits_for_G(real, fake))
    g_loss.backward()  # raises
    gan.opt_G.step()
    return report(d_loss, g_loss, logits_real, logits_fake)


def g_first_no_detach(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """ "G first needs no detach, since the optimizers are separate and opt_D.zero_grad() cleans up."

    An optimizer chooses what is updated, not where a backward goes: d_loss's runs into G, whose graph is gone.
    """
    fake = gan.G(z)

    gan.opt_G.zero_grad()
    g_loss = gan.loss.g_loss(*gan.logits_for_G(real, fake))
    g_loss.backward()
    gan.opt_G.step()

    gan.opt_D.zero_grad()
    logits_real, logits_fake = gan.logits(real, fake)
    d_loss = gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)
    d_loss.backward()  # raises
    gan.opt_D.step()
    return report(d_loss, g_loss, logits_real, logits_fake)


def g_first_retain_graph(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """The same with retain_graph=True: G's graph is there, but opt_G.step() has overwritten the weights it saved."""
    fake = gan.G(z)

    gan.opt_G.zero_grad()
    g_loss = gan.loss.g_loss(*gan.logits_for_G(real, fake))
    g_loss.backward(retain_graph=True)
    gan.opt_G.step()

    gan.opt_D.zero_grad()
    logits_real, logits_fake = gan.logits(real, fake)
    d_loss = gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)
    d_loss.backward()  # raises
    gan.opt_D.step()
    return report(d_loss, g_loss, logits_real, logits_fake)


def d_first_early_zero_grad(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """Clears both gradients first, as one is used to: nothing raises, and G moves on g_loss's gradient *plus* d_loss's.

    For the minimax, Wasserstein and hinge losses the two cancel, but for D's update in between (and hinge's margin).
    """
    fake = gan.G(z)

    gan.opt_D.zero_grad()
    gan.opt_G.zero_grad()  # too early: d_loss.backward() fills G's gradients after this
    logits_real, logits_fake = gan.logits(real, fake)
    d_loss = gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)
    d_loss.backward(retain_graph=True)
    gan.opt_D.step()

    g_loss = gan.loss.g_loss(*gan.logits_for_G(real, fake))
    g_loss.backward()
    gan.opt_G.step()
    return report(d_loss, g_loss, logits_real, logits_fake)


def d_first_no_zero_grad_D(gan: GAN, real: Tensor, z: Tensor) -> Report:
    """Never clears D's gradients: D moves on the sum of all its gradients so far and of what G's losses left in it."""
    fake = gan.G(z)

    logits_real, logits_fake = gan.logits(real, fake.detach())
    d_loss = gan.loss.d_loss(logits_real, logits_fake) + gan.loss.penalty(gan.D, real, fake)
    d_loss.backward()
    gan.opt_D.step()

    gan.opt_G.zero_grad()
    g_loss = gan.loss.g_loss(*gan.logits_for_G(real, fake))
    g_loss.backward()
    gan.opt_G.step()
    return report(d_loss, g_loss, logits_real, logits_fake)


INPLACE = "modified by an inplace operation"
SECOND_TIME = "backward through the graph a second time"

PITFALLS: dict[str, Pitfall] = {
    "d_first_same_logits": Pitfall(d_first_same_logits, fixed="d_first_retain_graph", raises=INPLACE),
    "d_first_detached_logits": Pitfall(d_first_detached_logits, fixed="d_first_detach", raises=SECOND_TIME),
    "d_first_rescored": Pitfall(d_first_rescored, fixed="d_first_detach", raises=SECOND_TIME),
    "g_first_no_detach": Pitfall(g_first_no_detach, fixed="g_first_detach", raises=SECOND_TIME),
    "g_first_retain_graph": Pitfall(g_first_retain_graph, fixed="g_first_detach", raises=INPLACE),
    "d_first_early_zero_grad": Pitfall(d_first_early_zero_grad, fixed="d_first_retain_graph", wrong="G"),
    "d_first_no_zero_grad_D": Pitfall(d_first_no_zero_grad_D, fixed="d_first_detach", wrong="D"),
}
