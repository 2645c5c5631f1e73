"""Checks of notebook 01."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantutor.checks.result import Function, ask, compare_on, exercise, worst

# Densities of data and fakes at six places, and the games (s, k) of exercise 1; the first is the unchanged one.
P, Q = torch.tensor([[0.1, 0.5, 2.0, 0.3, 0.0, 0.7], [0.4, 0.5, 0.5, 0.1, 0.6, 0.0]], dtype=torch.float64)
GAMES = ((1.0, 1.0), (0.9, 1.0), (1.0, 2.0), (0.8, 3.0))

OPTIMAL_D_MISTAKES: dict[str, Function] = {
    "s and k are missing: this is the best D of the unchanged game.": lambda p, q, s, k: p / (p + q),
    "s is missing: the targets of the reals are still 1.": lambda p, q, s, k: p / (p + k * q),
    "k is missing: each real still meets one fake.": lambda p, q, s, k: s * p / (p + q),
    "The term (1 − s) log(1 − D) is missing: this is the best D for p s log D + k q log(1 − D).": (
        lambda p, q, s, k: s * p / (s * p + k * q)
    ),
    "The reals count k times here. There are k times as many fakes, so k multiplies q.": (
        lambda p, q, s, k: s * p / (p + q / k)
    ),
    "This is 1 − D, the probability of being fake.": lambda p, q, s, k: 1 - s * p / (p + k * q),
    "Smoothing scales the best D; it does not cut it off at s.": lambda p, q, s, k: (p / (p + k * q)).clamp(max=s),
    "This is D's logit; the sigmoid is missing.": lambda p, q, s, k: (s * p / (p + k * q)).logit(),
    "This is the ratio of the two terms, which can exceed 1; D is a probability.": lambda p, q, s, k: s * p / (k * q),
}


@exercise("D* = s p/(p + k q): never above s, and below ½ where q = p as soon as k > 1 or s < 1.")
def optimal_D(answer: Function) -> str:
    """The best D with label smoothing and k fakes for each real: D*(x) = s·p / (p + k·q).

    It maximises p·[s·log D + (1 − s)·log(1 − D)] + k·q·log(1 − D).
    Source: Salimans et al., "Improved Techniques for Training GANs", 2016, section 3.4 (label smoothing).
    """

    def right(p: Tensor, q: Tensor, s: float, k: float) -> Tensor:
        return s * p / (p + k * q)

    def place(case: tuple[Tensor, Tensor, float, float], found: Tensor, wanted: Tensor) -> str:
        found, (p, q, s, k) = torch.as_tensor(found), case
        if found.shape != p.shape:
            return f"p and q hold one value for each x, shape {tuple(p.shape)}; your D has {tuple(found.shape)}."
        i = worst(found, wanted)
        unchanged = "" if (s, k) == GAMES[0] else "Right for s = 1, k = 1. "
        at = f"At p = {p[i]:g}, q = {q[i]:g}, s = {s:g}, k = {k:g} the best D is {wanted[i]:.4g}"
        return f"{unchanged}{at}; yours gives {found[i]:.4g}."

    return compare_on([(P, Q, *game) for game in GAMES], answer, right, OPTIMAL_D_MISTAKES, place)


KL_LOSS_MISTAKES: dict[str, Function] = {
    "This is the non-saturating loss: it descends KL(q‖p) − 2 JSD.": lambda x: -F.logsigmoid(x).mean(),
    "This is the minimax loss: it descends 2 JSD.": lambda x: F.logsigmoid(-x).mean(),
    "The sign is wrong: this climbs KL(q‖p).": lambda x: x.mean(),
    "The mean over the batch is missing: this is the sum.": lambda x: -x.sum(),
    "The two losses are subtracted; add what they descend: (KL − 2 JSD) + 2 JSD.": (
        lambda x: -F.logsigmoid(x).mean() - F.logsigmoid(-x).mean()
    ),
    "JSD is added only once: the minimax loss descends 2 JSD, all of what has to be added.": (
        lambda x: -F.logsigmoid(x).mean() + F.logsigmoid(-x).mean() / 2
    ),
    "This is D's own term for fakes.": lambda x: -F.logsigmoid(-x).mean(),
    "This descends KL(p‖q), the other way round.": lambda x: -x.exp().mean(),
    "The logarithm is missing: this is −D.": lambda x: -x.sigmoid().mean(),
}


@exercise("The slope is −1 at every logit: −log D + log(1 − D) = −l. `wgan` and `hinge` use it for G.")
def kl_loss(answer: Function) -> str:
    """G's loss that descends KL(q‖p) against the best D: L_G = −mean(l), up to a constant; judged by its gradient.

    −log D* follows KL(q‖p) − 2 JSD and log(1 − D*) follows 2 JSD; their sum is −l, since l = log D − log(1 − D).
    """
    usual, extreme = torch.tensor([[[-2.0], [-0.5], [0.0], [1.5]], [[-200.0], [-40.0], [40.0], [200.0]]])

    def slopes_of(loss: Function) -> Function:
        def slopes(at: Tensor) -> Tensor:
            at = at.clone().requires_grad_()
            return torch.autograd.grad(loss(at).sum(), at)[0]

        return slopes

    def place(case: tuple[Tensor], found: Tensor, wanted: Tensor) -> str:
        i = worst(found, wanted)
        at = f"In a batch of 4 the slope at logit {case[0][i].item():g} must be {wanted[i].item():g}"
        return f"{at}; yours is {found[i].item():.4g}."

    loss = ask(answer, usual.clone().requires_grad_())
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        return "No gradient gets through: return a tensor made from the logits, without item() or detach()."
    if loss.numel() != 1:
        return f"The mean over the batch is missing: a scalar is wanted, yours has shape {tuple(loss.shape)}."
    right = slopes_of(lambda x: -x.mean())
    known = {message: slopes_of(wrong) for message, wrong in KL_LOSS_MISTAKES.items()}
    if fault := compare_on([(usual,)], slopes_of(answer), right, known, place):
        return fault
    if fault := compare_on([(extreme,)], slopes_of(answer), right, {}, place):
        why = "In float32 the sigmoid is rounded there: simplify the sum of losses first, or use logsigmoid."
        return f"Right for the usual logits. {fault} {why}"
    return ""


@exercise("eps is small, and the running mean keeps 0.8 of the old and takes 0.2 of the new.")
def keras_batchnorm(answer: Function) -> str:
    """`answer(features)` gives the layer that Keras calls BatchNormalization(momentum=0.8), for (B, features)."""
    return fault_of_layer(answer, 3) or fault_of_layer(answer, 5)


def fault_of_layer(answer: Function, features: int) -> str:
    layer = ask(answer, features)
    if not isinstance(layer, nn.Module):
        return f"A layer is wanted, such as nn.BatchNorm1d; you returned {type(layer).__name__}."
    batch = torch.outer(torch.tensor([1.0, 2.0, 3.0]), 10 ** torch.arange(float(features)))
    spread = layer.train()(batch).std(dim=0, unbiased=False)[0].item()
    running = getattr(layer, "running_mean", None)
    if running is None:
        return f"{type(layer).__name__} as you made it keeps no running mean; BatchNorm1d does."
    share = (running / batch.mean(dim=0))[0].item()
    momentum_is_right = math.isclose(share, 0.2, abs_tol=1e-3)
    if spread < 0.99:
        return "The momentum is right. " * momentum_is_right + (
            f"A feature leaves the layer with standard deviation {spread:.2f} instead of 1: a number has gone "
            "into eps, the second positional argument. Name the argument."
        )
    if math.isclose(share, 0.8, abs_tol=1e-3):
        return "Now it is a momentum. But Keras's 0.8 is the share of the old mean, PyTorch's that of the new one."
    start = "The layer normalises. But after the first batch the running mean must be 0.2 of the batch's"
    return "" if momentum_is_right else f"{start}; it is {share:.3g} of it."
