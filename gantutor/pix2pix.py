"""pix2pix: an image A becomes an image B, learnt from pairs; and its step in the course's orders.

A step is one plain function, `step(model, real_A, real_B) -> report`, as in steps.py; both batches are (B, C, H, W) in
[-1, 1]. There is no z: the noise is G's dropout, which draws from torch's global random state, so the same step repeats
itself from the same state. The report holds detached tensors: the scalars `d_loss`, `g_loss` (the adversarial term,
unweighted) and `l1_loss` (unweighted), and D's scores `logits_real` and `logits_fake` as D's update saw them.

D's loss is halved, as in the paper and the reference implementation. (Adam, which divides by the size of the gradient,
hardly notices.) G's step goes through D with D's weights frozen: no gradients are made for them that nobody would use.
Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017, sections 3.1 and 3.3;
github.com/junyanz/pytorch-CycleGAN-and-pix2pix, models/pix2pix_model.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gantutor.gan import attempt, check_batch, check_logits, evaluating, frozen, training_for_a_look
from gantutor.losses import Loss, translation_loss
from gantutor.traits import Traits, check_step

Report = dict[str, Tensor]


@dataclass
class Pix2Pix:
    """A generator from A to B, a discriminator, their optimizers, and what G minimises:

        lambda_gan · loss.g_loss(D's scores of fake_B) + lambda_L1 · mean(|fake_B − real_B|)

    A `conditional` D is shown A and B together, as channels of one image; else B alone. So with three channels each, D
    has six input channels or three.
    Raises: ValueError for a loss with a penalty and for a relativistic one, which the steps do not take.
    """

    G: nn.Module
    D: nn.Module
    opt_G: torch.optim.Optimizer
    opt_D: torch.optim.Optimizer
    loss: Loss
    lambda_L1: float = 100.0
    lambda_gan: float = 1.0
    conditional: bool = True

    def __post_init__(self) -> None:
        check_step(d_first_detach, self.loss)

    @classmethod
    def with_adam(
        cls,
        G: nn.Module,
        D: nn.Module,
        loss: str = "non-saturating",
        lr_G: float = 2e-4,
        lr_D: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        **settings: Any,
    ) -> "Pix2Pix":
        """A model whose players use Adam, with the paper's rates; `settings` are the fields from `lambda_L1` on.

        `loss` is a name of `losses.TRANSLATION_LOSSES`. Raises: ValueError for another.
        """
        opt_G = torch.optim.Adam(G.parameters(), lr_G, betas)
        opt_D = torch.optim.Adam(D.parameters(), lr_D, betas)
        return cls(G, D, opt_G, opt_D, translation_loss(loss), **settings)

    def logits(self, A: Tensor, B: Tensor) -> Tensor:
        """D's scores of the images B, made from A or real: (B, 1, h, w), one for each patch."""
        return self.D(torch.cat([A, B], dim=1) if self.conditional else B)

    @torch.no_grad()
    def translate(self, A: Tensor, mode: str = "eval") -> Tensor:
        """G(A) for looking at, without a graph or a trace in G: no statistics move.

        "eval" has BatchNorm use its running statistics and switches dropout off; "train" is what the paper does at
        test time, BatchNorm with the statistics of this batch and dropout on.
        Raises: ValueError for another mode.
        """
        if mode == "eval":
            with evaluating(self.G):
                return self.G(A)
        if mode != "train":
            raise ValueError(f"mode={mode!r} is unknown; choose eval or train")
        with training_for_a_look(self.G):
            return self.G(A)

    @torch.no_grad()
    def scores(self, A: Tensor, B: Tensor, mode: str = "eval") -> Tensor:
        """`logits` for looking at, as `translate` is: without a graph or a trace in D."""
        with evaluating(self.D) if mode == "eval" else training_for_a_look(self.D):
            return self.logits(A, B)

    def check(self, real_A: Tensor, real_B: Tensor) -> None:
        """Look at one batch before training starts: do the pairs fit each other and the networks?

        Raises: ValueError, saying what came and what was expected.
        """
        check_batch("real_A", real_A, self.G, images=True)
        check_batch("real_B", real_B, self.G, images=True)
        if real_A.shape[2:] != real_B.shape[2:] or len(real_A) != len(real_B):
            raise ValueError(f"A and B must come in pairs: shapes {tuple(real_A.shape)} and {tuple(real_B.shape)}")
        fake_B = attempt(self.G, real_A, "G does not take real_A")
        if fake_B.shape != real_B.shape:
            raise ValueError(f"G(A) has shape {tuple(fake_B.shape)}, but real_B has shape {tuple(real_B.shape)}")
        seen = torch.cat([real_A, fake_B], dim=1) if self.conditional else fake_B
        what = "A and B together" if self.conditional else "B alone (conditional=False)"
        check_logits("D", attempt(self.D, seen, f"D does not take {what}"), len(real_A))


def pix2pix_report(d_loss: Tensor, g_loss: Tensor, l1_loss: Tensor, logits_real: Tensor, logits_fake: Tensor) -> Report:
    """What a step returns. Nothing here reads a value (`.item()`), which would make a GPU wait."""
    return {
        "d_loss": d_loss.detach(),
        "g_loss": g_loss.detach(),
        "l1_loss": l1_loss.detach(),
        "logits_real": logits_real.detach(),
        "logits_fake": logits_fake.detach(),
    }


@Traits(logits_only=True)
def d_first_detach(model: Pix2Pix, real_A: Tensor, real_B: Tensor) -> Report:
    """As the paper and the reference do it: D first, on the detached fake; then G against the updated D."""
    fake_B = model.G(real_A)

    model.opt_D.zero_grad()
    logits_real, logits_fake = model.logits(real_A, real_B), model.logits(real_A, fake_B.detach())
    d_loss = model.loss.d_loss(logits_real, logits_fake) / 2
    d_loss.backward()
    model.opt_D.step()

    model.opt_G.zero_grad()
    with frozen(model.D):
        g_loss = model.loss.g_loss(model.logits(real_A, fake_B))
    l1_loss = (fake_B - real_B).abs().mean()
    (model.lambda_gan * g_loss + model.lambda_L1 * l1_loss).backward()
    model.opt_G.step()
    return pix2pix_report(d_loss, g_loss, l1_loss, logits_real, logits_fake)


@Traits(logits_only=True)
def g_first_detach(model: Pix2Pix, real_A: Tensor, real_B: Tensor) -> Report:
    """G first, against a D that has not seen this batch; then D on the same fake, detached."""
    fake_B = model.G(real_A)

    model.opt_G.zero_grad()
    with frozen(model.D):
        g_loss = model.loss.g_loss(model.logits(real_A, fake_B))
    l1_loss = (fake_B - real_B).abs().mean()
    (model.lambda_gan * g_loss + model.lambda_L1 * l1_loss).backward()
    model.opt_G.step()

    model.opt_D.zero_grad()
    logits_real, logits_fake = model.logits(real_A, real_B), model.logits(real_A, fake_B.detach())
    d_loss = model.loss.d_loss(logits_real, logits_fake) / 2
    d_loss.backward()
    model.opt_D.step()
    return pix2pix_report(d_loss, g_loss, l1_loss, logits_real, logits_fake)


@Traits(two_backwards="D", logits_only=True)
def simultaneous(model: Pix2Pix, real_A: Tensor, real_B: Tensor) -> Report:
    """Both backwards on one graph, before either player moves; `inputs=` keeps each gradient to its own player.

    The same update as `g_first_detach`, and D scores the fake once instead of twice.
    """
    fake_B = model.G(real_A)
    logits_real, logits_fake = model.logits(real_A, real_B), model.logits(real_A, fake_B)
    d_loss = model.loss.d_loss(logits_real, logits_fake) / 2
    g_loss = model.loss.g_loss(logits_fake)
    l1_loss = (fake_B - real_B).abs().mean()

    model.opt_D.zero_grad()
    model.opt_G.zero_grad()
    d_loss.backward(retain_graph=True, inputs=list(model.D.parameters()))
    (model.lambda_gan * g_loss + model.lambda_L1 * l1_loss).backward(inputs=list(model.G.parameters()))
    model.opt_D.step()
    model.opt_G.step()
    return pix2pix_report(d_loss, g_loss, l1_loss, logits_real, logits_fake)


@Traits(rescales=True, logits_only=True)
def one_stage(model: Pix2Pix, real_A: Tensor, real_B: Tensor) -> Report:
    """One backward through D serves both: what D's loss sends to the fake, rescaled, is what G's loss would send.

    The same update as `simultaneous`. A pixel lies in many patches, and what it receives is a sum over their logits:
    only a ratio that is the same for all of them can be taken out of that sum.
    Raises: ValueError for a loss whose ratio is not constant.
    Source: Shen et al., "Training Generative Adversarial Networks in One Stage", CVPR 2021, algorithm 2.
    """
    check_step(one_stage, model.loss, patches=True)
    fake_B = model.G(real_A)
    received = fake_B.detach().requires_grad_()  # the fake as a leaf: d_loss.backward() leaves its gradient here
    logits_real, logits_fake = model.logits(real_A, real_B), model.logits(real_A, received)
    d_loss = model.loss.d_loss(logits_real, logits_fake) / 2
    g_loss = model.loss.g_loss(logits_fake)
    l1_loss = (fake_B - real_B).abs().mean()
    ratio = 2 * model.loss.slope_ratio(logits_fake.detach()).flatten()[0]  # 2, since D's loss is halved

    model.opt_D.zero_grad()
    model.opt_G.zero_grad()
    d_loss.backward()
    pushed = (fake_B * (ratio * received.grad)).sum()  # its gradient at the fake is what g_loss's would be
    (model.lambda_gan * pushed + model.lambda_L1 * l1_loss).backward()
    model.opt_D.step()
    model.opt_G.step()
    return pix2pix_report(d_loss, g_loss, l1_loss, logits_real, logits_fake)


Pix2PixStep = Callable[[Pix2Pix, Tensor, Tensor], Report]

# Of the orders in steps.py two are missing: `d_first_retain_graph`, which is `d_first_detach` at a higher price, and
# `d_first_regenerate`, since dropout would make another fake the second time.
PIX2PIX_STEPS: dict[str, Pix2PixStep] = {
    "d_first_detach": d_first_detach,
    "g_first_detach": g_first_detach,
    "simultaneous": simultaneous,
    "one_stage": one_stage,
}

# The rows of the paper's table 1, as settings of Pix2Pix. With "L1" D still learns to tell real from fake in any of
# PIX2PIX_STEPS, and G does not listen.
OBJECTIVES: dict[str, dict[str, Any]] = {
    "L1": {"lambda_L1": 100.0, "lambda_gan": 0.0, "conditional": True},
    "GAN": {"lambda_L1": 0.0, "lambda_gan": 1.0, "conditional": False},
    "cGAN": {"lambda_L1": 0.0, "lambda_gan": 1.0, "conditional": True},
    "L1 + GAN": {"lambda_L1": 100.0, "lambda_gan": 1.0, "conditional": False},
    "L1 + cGAN": {"lambda_L1": 100.0, "lambda_gan": 1.0, "conditional": True},
}
