"""Checks of notebook 01."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantutor.checks.result import CheckResult, Function, ask, compare_answer, judge


def optimal_D(answer: Function) -> CheckResult:
    """The best D for densities p (data) and q (generator): D*(x) = p / (p + q).

    Source: Goodfellow et al., 2014, proposition 1.
    """
    p = torch.tensor([0.1, 0.5, 2.0, 0.3, 0.0, 0.7], dtype=torch.float64)
    q = torch.tensor([0.4, 0.5, 0.5, 0.1, 0.6, 0.0], dtype=torch.float64)
    known: dict[str, Function] = {
        "this is q/(p + q), the probability of being fake; D answers 'is it real?'.": lambda p, q: q / (p + q),
        "p/q is the ratio of the densities, and exceeds 1; D* is the probability p/(p + q).": lambda p, q: p / q,
        "log(p/q) is D*'s logit; the sigmoid is missing.": lambda p, q: (p / q).log(),
        "a hard decision: the best D says how likely real is, not just which is likelier.": lambda p, q: (p > q).to(p),
        "p alone knows nothing of G; D sees both densities.": lambda p, q: p,
        "(p − q)/(p + q) lies between −1 and 1; a probability lies between 0 and 1.": lambda p, q: (p - q) / (p + q),
    }

    def values(function: Function) -> Tensor:
        return torch.as_tensor(function(p.clone(), q.clone())).to(p)

    def check(answer: Function) -> str:
        found = torch.as_tensor(ask(answer, p.clone(), q.clone()))
        if found.shape != p.shape:
            return f"p and q hold one value for each x, shape {tuple(p.shape)}, but your D has {tuple(found.shape)}."
        slope = f"Set the slope of p log D + q log(1 − D) to 0: for p = {p[0]:g} and q = {q[0]:g} the zero is at 0.2."
        return compare_answer(answer, lambda p, q: p / (p + q), known, values, slope)

    return judge(answer, check, "p/(p + q): one half wherever G's density equals that of the data.")


def jsd_from_d_loss(answer: Function) -> CheckResult:
    """JSD(p, q) in nats from the loss of an optimal D: log 2 − d_loss/2, where d_loss = −V(G, D*)."""
    log2, losses = math.log(2), (2 * math.log(2), 0.9, 0.4, 0.0)
    known: dict[str, Function] = {
        "the sign is wrong: an easy task (a small loss) means densities far apart.": lambda d: d / 2 - log2,
        "d_loss is −V, but this takes it for V.": lambda d: log2 + d / 2,
        "V = −log 4 + 2 JSD: the 2 is missing.": lambda d: 2 * log2 - d,
        "this takes d_loss for the halved loss; here it is the sum of both means.": lambda d: log2 - d,
        "these are bits, from 0 to 1; log is the natural logarithm here.": lambda d: 1 - d / (2 * log2),
        "this is V, not the divergence in it.": lambda d: -d,
    }

    def values(function: Function) -> Tensor:
        return torch.tensor([float(ask(function, loss)) for loss in losses])

    ends = "A loss of log 4 must give 0 and a loss of 0 must give log 2."
    praise = "log 2 − d_loss/2: D's loss, turned upside down, measures how far apart the densities are."
    return judge(answer, lambda answer: compare_answer(answer, lambda d: log2 - d / 2, known, values, ends), praise)


def g_loss(answer: Function) -> CheckResult:
    """The non-saturating loss of G from D's logits on fakes, −mean(log σ(l)): value, gradient, and both at ±200."""
    logits = torch.tensor([[-2.0], [-0.5], [0.0], [1.5]])
    extreme = torch.tensor([[-200.0], [-40.0], [40.0], [200.0]])
    known: dict[str, Function] = {
        "this is the minimax loss log(1 − D), equation 1 of the paper: flat where D is sure of a fake.": (
            lambda x: F.logsigmoid(-x).mean()
        ),
        "this is D's own term for fakes: it would teach G to be recognised.": lambda x: -F.logsigmoid(-x).mean(),
        "the sign is wrong: this would teach G to make log D small.": lambda x: F.logsigmoid(x).mean(),
        "the mean over the batch is missing: this is the sum.": lambda x: -F.logsigmoid(x).sum(),
        "the sigmoid is applied twice: logsigmoid and binary_cross_entropy_with_logits take scores before it.": (
            lambda x: -F.logsigmoid(x.sigmoid()).mean()
        ),
        "the logarithm is missing: this is the mean of D.": lambda x: -x.sigmoid().mean(),
        "there is no sigmoid: this is the loss of the hinge and Wasserstein GANs.": lambda x: -x.mean(),
        "this takes logits for probabilities: the sigmoid is missing.": lambda x: -x.log().mean(),
        "it is halved; only D's loss is, and only in some texts.": lambda x: -F.logsigmoid(x).mean() / 2,
    }

    def right(x: Tensor) -> Tensor:
        return -F.logsigmoid(x).mean()

    def value_and_gradient(function: Function, at: Tensor = logits) -> Tensor:
        at = at.clone().requires_grad_()
        loss = function(at)
        (gradient,) = torch.autograd.grad(loss, at)
        return torch.cat([loss.detach().view(1), gradient.flatten()])

    def check(answer: Function) -> str:
        loss = ask(answer, logits.clone().requires_grad_())
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            return "no gradient gets through: return a tensor made from the logits, without item() or detach()."
        if loss.numel() != 1:
            return f"the mean over the batch is missing: one loss is wanted, yours has shape {tuple(loss.shape)}."
        fault = compare_answer(answer, right, known, value_and_gradient, f"At these logits it is {right(logits):.4g}.")
        if fault or torch.allclose(value_and_gradient(answer, extreme), value_and_gradient(right, extreme)):
            return fault
        return (
            "right in exact arithmetic, but at logits of −40 or −200 float32 rounds the sigmoid before the logarithm "
            "sees it, and the value or the gradient is lost: compute log σ(l) in one function."
        )

    return judge(answer, check, "−mean(log σ(l)), and its gradient is alive wherever D is sure of a fake.")


def keras_batchnorm(answer: Function) -> CheckResult:
    """`answer(features)` gives the layer that Keras calls BatchNormalization(momentum=0.8), for (B, features)."""

    def check(answer: Function) -> str:
        layer = ask(answer, 3)
        if not isinstance(layer, nn.BatchNorm1d):
            return f"return a BatchNorm1d, not {type(layer).__name__}."
        batch = torch.tensor([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0], [3.0, 30.0, 300.0]])
        spread = layer.train()(batch).std(dim=0, unbiased=False)[0].item()
        if spread < 0.99:
            return (
                f"a feature leaves the layer with standard deviation {spread:.2f} instead of 1: the number has gone "
                "into eps, the second positional argument. Name the argument."
            )
        share = (torch.as_tensor(layer.running_mean) / batch.mean(dim=0))[0].item()
        if math.isclose(share, 0.8, abs_tol=1e-3):
            return (
                "now it is a momentum, but Keras's 0.8 is the share of the old mean that is kept, and PyTorch's "
                "momentum is the share of the new one."
            )
        if not math.isclose(share, 0.2, abs_tol=1e-3):
            return f"after one batch the running mean must be 0.2 of the batch's, but it is {share:.3g} of it."
        return ""

    return judge(answer, check, "eps is small, and the running mean keeps 0.8 of the old and takes 0.2 of the new.")
