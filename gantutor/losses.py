"""What D and G minimise, as functions of D's logits (its scores before any sigmoid).

Every loss has the same two calls, `d_loss(logits_real, logits_fake)` and `g_loss(logits_fake, logits_real=None)`.
Logits have any shape whose first axis is the batch; both calls return the mean, a scalar. The lines `d_loss = ...` in
the docstrings are the definitions; a test evaluates them and compares, in float64, value and gradient from logit -40
to 40. What a training step must know of a loss are attributes of its class: `traits.why_not` reads them.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Loss:
    """The common form of all losses below."""

    formula: str  # G's loss of a fake's logit l, for labels; a relativistic one also has r, the logit of a real
    relativistic = False  # True where g_loss compares the fakes' logits with logits_real
    has_penalty = False  # True where D's loss has a term that needs D itself: `penalty`
    constant_ratio = False  # True where slope_ratio is the same number for every logit
    no_ratio = ""  # why there is no slope_ratio, where there is none
    floor = -math.inf  # steps.one_stage takes lower logits for this one: slope_ratio would overflow there

    def d_loss(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        """What D minimises: a scalar."""
        raise NotImplementedError

    def g_loss(self, logits_fake: Tensor, logits_real: Tensor | None = None) -> Tensor:
        """What G minimises: a scalar. Only a relativistic loss looks at `logits_real`."""
        raise NotImplementedError

    def slope_ratio(self, logits_fake: Tensor) -> Tensor:
        """(dL_G/dlogit) / (dL_D/dlogit) at each fake's logit; same shape as `logits_fake`.

        It turns the gradient that D's loss sends to a fake into the one that G's loss would send (steps.one_stage).
        Raises: ValueError where no factor can, with the reason.
        Source: Shen et al., "Training Generative Adversarial Networks in One Stage", CVPR 2021, section 3.
        """
        raise ValueError(self.no_ratio)

    def prob_real(self, logits: Tensor) -> Tensor:
        """What the logits say of being real, from 0 to 1, for looking at: σ(l) unless the loss has targets for l."""
        return logits.sigmoid()

    def penalty(self, D: nn.Module, real: Tensor, fake: Tensor) -> Tensor | float:
        """A term of D's loss that needs D itself and not only its logits; 0 unless the loss `has_penalty`.

        Graphs that `real` and `fake` carry are not followed. D must score each image by itself: with BatchNorm in D the
        gradient is not that of one image's score.
        """
        return 0.0


class Minimax(Loss):
    """The saturating loss: G minimises exactly what D maximises.

        d_loss = mean(-log(sigmoid(real))) + mean(-log(1 - sigmoid(fake)))
        g_loss = mean(log(1 - sigmoid(fake)))
        slope_ratio = -1

    Source: Goodfellow et al., "Generative Adversarial Nets", 2014, equation 1.
    """

    formula = "log(1 − σ(l))"
    constant_ratio = True

    def d_loss(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        return -F.logsigmoid(logits_real).mean() - F.logsigmoid(-logits_fake).mean()

    def g_loss(self, logits_fake: Tensor, logits_real: Tensor | None = None) -> Tensor:
        return F.logsigmoid(-logits_fake).mean()

    def slope_ratio(self, logits_fake: Tensor) -> Tensor:
        return -torch.ones_like(logits_fake)


class NonSaturating(Loss):
    """The loss in use: G maximises log D(G(z)), whose gradient is largest where D is sure that the fake is fake.

        d_loss = mean(-log(sigmoid(real))) + mean(-log(1 - sigmoid(fake)))
        g_loss = mean(-log(sigmoid(fake)))
        slope_ratio = -exp(-fake)

    Source: Goodfellow et al., 2014, section 3, below equation 1.
    """

    formula = "−log σ(l)"
    floor = -64.0  # exp(64) is 6e27: in range for float32 and bfloat16, whose exp overflows above 88

    def d_loss(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        return -F.logsigmoid(logits_real).mean() - F.logsigmoid(-logits_fake).mean()

    def g_loss(self, logits_fake: Tensor, logits_real: Tensor | None = None) -> Tensor:
        return -F.logsigmoid(logits_fake).mean()

    def slope_ratio(self, logits_fake: Tensor) -> Tensor:
        return -torch.exp(-logits_fake.clamp(min=self.floor))


class LeastSquares(Loss):
    """LSGAN with targets 0 (fake) and 1 (real, and what G wants).

        d_loss = mean((real - 1) ** 2) / 2 + mean(fake ** 2) / 2
        g_loss = mean((fake - 1) ** 2) / 2

    Source: Mao et al., "Least Squares Generative Adversarial Networks", 2017, equation 9.
    """

    formula = "(l − 1)² / 2"
    no_ratio = "lsgan has no slope ratio: at a fake's logit of 0 D's slope is 0, but G's is -1"

    def d_loss(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        return (logits_real - 1).square().mean() / 2 + logits_fake.square().mean() / 2

    def g_loss(self, logits_fake: Tensor, logits_real: Tensor | None = None) -> Tensor:
        return (logits_fake - 1).square().mean() / 2

    def prob_real(self, logits: Tensor) -> Tensor:
        return logits.clamp(0, 1)


class SquaredError(LeastSquares):
    """LSGAN as the CycleGAN paper and the reference implementation write it, without LeastSquares' halves.

        d_loss = mean((real - 1) ** 2) + mean(fake ** 2)
        g_loss = mean((fake - 1) ** 2)

    The factor matters where other losses are added: lambda_L1, lambda_cycle and lambda_identity are relative to it.
    Source: Zhu et al., "Unpaired Image-to-Image Translation", 2017, section 4.
    """

    formula = "(l − 1)²"

    def d_loss(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        return 2 * super().d_loss(logits_real, logits_fake)

    def g_loss(self, logits_fake: Tensor, logits_real: Tensor | None = None) -> Tensor:
        return 2 * super().g_loss(logits_fake)


class Hinge(Loss):
    """D stops caring about scores beyond its margin of 1; G's loss is linear.

        d_loss = mean(relu(1 - real)) + mean(relu(1 + fake))
        g_loss = -mean(fake)

    Source: Lim and Ye, "Geometric GAN", 2017; Miyato et al., "Spectral Normalization", 2018, equations 16 and 17.
    """

    formula = "−l"
    no_ratio = "hinge has no slope ratio: at a fake's logit below -1 D's slope is 0, but G's is -1"

    def d_loss(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        return F.relu(1 - logits_real).mean() + F.relu(1 + logits_fake).mean()

    def g_loss(self, logits_fake: Tensor, logits_real: Tensor | None = None) -> Tensor:
        return -logits_fake.mean()


class Wasserstein(Loss):
    """D is a critic; its scores are unbounded, so D must be kept Lipschitz from outside (spectral norm or clipping).

        d_loss = mean(fake) - mean(real)
        g_loss = -mean(fake)
        slope_ratio = -1

    Source: Arjovsky et al., "Wasserstein GAN", 2017, algorithm 1.
    """

    formula = "−l"
    constant_ratio = True

    def d_loss(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        return logits_fake.mean() - logits_real.mean()

    def g_loss(self, logits_fake: Tensor, logits_real: Tensor | None = None) -> Tensor:
        return -logits_fake.mean()

    def slope_ratio(self, logits_fake: Tensor) -> Tensor:
        return -torch.ones_like(logits_fake)


class WassersteinGP(Wasserstein):
    """The Wasserstein loss, D kept Lipschitz by a gradient penalty: `penalty` is lambda_gp · gradient_penalty.

        d_loss = mean(fake) - mean(real)
        g_loss = -mean(fake)
        slope_ratio = -1

    The weights of the mixtures are B evenly spaced values in (0, 1), not B random ones. Real and fake are paired at
    random already, so the expectation is that of uniform weights up to the spacing, with less variance, and a training
    step stays a function of its arguments alone.
    Source: Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, equation 3.
    """

    has_penalty = True

    def __init__(self, lambda_gp: float = 10.0) -> None:
        self.lambda_gp = lambda_gp

    def penalty(self, D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        weights = (torch.arange(len(real), device=real.device, dtype=real.dtype) + 0.5) / len(real)
        return self.lambda_gp * gradient_penalty(D, real, fake, weights)


class R1(NonSaturating):
    """The non-saturating loss, D kept flat at the real images: `penalty` is the mean of gamma/2 · ‖∂D(real)/∂real‖₂².

        d_loss = mean(-log(sigmoid(real))) + mean(-log(1 - sigmoid(fake)))
        g_loss = mean(-log(sigmoid(fake)))
        slope_ratio = -exp(-fake)

    Source: Mescheder et al., "Which Training Methods for GANs do actually Converge?", 2018, section 4.1, R₁.
    """

    has_penalty = True

    def __init__(self, gamma: float = 10.0) -> None:
        self.gamma = gamma

    def penalty(self, D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return self.gamma / 2 * gradients_of(D, real).square().sum(dim=1).mean()


class R2(R1):
    """The non-saturating loss, D kept flat at the fakes: `penalty` is the mean of gamma/2 · ‖∂D(fake)/∂fake‖₂².

        d_loss = mean(-log(sigmoid(real))) + mean(-log(1 - sigmoid(fake)))
        g_loss = mean(-log(sigmoid(fake)))
        slope_ratio = -exp(-fake)

    Source: Mescheder et al., 2018, section 4.1, R₂.
    """

    def penalty(self, D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return super().penalty(D, fake, real)


class Relativistic(Loss):
    """D judges by how much a real image looks more real than a fake; G wants the opposite. Each fake has one partner.

        d_loss = mean(-log(sigmoid(real - fake)))
        g_loss = mean(-log(sigmoid(fake - real)))

    R3GAN's loss is this one with both the penalties of `R1` and `R2`.
    Raises: ValueError for logits of different shapes, and in `g_loss` for no `logits_real`.
    Source: Jolicoeur-Martineau, "The relativistic discriminator", 2018, RSGAN; Huang et al., "The GAN is dead; long
    live the GAN!", 2024, section 2, RpGAN.
    """

    formula = "−log σ(l − r)"
    relativistic = True
    no_ratio = "relativistic has no slope ratio: the slope at a fake depends on the real image that it is paired with"

    def d_loss(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        return self.g_loss(logits_real, logits_fake)

    def g_loss(self, logits_fake: Tensor, logits_real: Tensor | None = None) -> Tensor:
        if logits_real is None or logits_real.shape != logits_fake.shape:
            shape = logits_real if logits_real is None else tuple(logits_real.shape)
            raise ValueError(f"relativistic pairs each fake with a real image: {tuple(logits_fake.shape)} and {shape}")
        return -F.logsigmoid(logits_fake - logits_real).mean()


def gradients_of(D: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """∂D(x)/∂x of each image of the batch, flat: (B, ...) to (B, N). A backward through it reaches D's weights."""
    x = x.detach().requires_grad_()
    (gradients,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    return gradients.flatten(1)


def gradient_penalty(D: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, weights: Tensor) -> Tensor:
    """mean((‖∂D(x)/∂x‖₂ − 1)²) at x = weights · real + (1 − weights) · fake.

    `real` and `fake` are (B, ...), `weights` is (B,) in [0, 1].
    Raises: ValueError where the two have different shapes.
    Source: Gulrajani et al., 2017, equation 3 and section 4, "No critic batch normalization".
    """
    if real.shape != fake.shape:
        raise ValueError(f"a mixture needs as many real as fake: {tuple(real.shape)} and {tuple(fake.shape)}")
    weights = weights.view(-1, *[1] * (real.dim() - 1))
    return (gradients_of(D, weights * real + (1 - weights) * fake).norm(dim=1) - 1).square().mean()


LOSSES: dict[str, Loss] = {
    "minimax": Minimax(),
    "non-saturating": NonSaturating(),
    "lsgan": LeastSquares(),
    "hinge": Hinge(),
    "wgan": Wasserstein(),
    "wgan-gp": WassersteinGP(),
    "non-saturating-r1": R1(),
    "non-saturating-r2": R2(),
    "relativistic": Relativistic(),
}

# Those of pix2pix and CycleGAN. The papers' "vanilla" loss is the non-saturating one.
# Their steps give a loss D's logits, and nothing else.
TRANSLATION_LOSSES: dict[str, Loss] = {
    **{name: loss for name, loss in LOSSES.items() if not (loss.has_penalty or loss.relativistic)},
    "lsgan": SquaredError(),
}


def translation_loss(name: str) -> Loss:
    """The loss of that name, also one that the steps refuse. Raises: ValueError for another, with those they take."""
    losses = {**LOSSES, **TRANSLATION_LOSSES}
    if name not in losses:
        raise ValueError(f"loss={name!r} is unknown; choose one of {', '.join(TRANSLATION_LOSSES)}")
    return losses[name]
