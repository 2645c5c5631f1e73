"""Answers as learners write them: the wrong ones get their message, and other ways to the right one pass."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_checks import judged
from torch import Tensor, nn

from gantutor import checks
from gantutor.checks.pix2pix_exercises import STACKS, field_of
from gantutor.checks.scale_up import weighted
from gantutor.models import patchgan
from gantutor.models import receptive_field as computed_field
from gantutor.models.patchgan import convolutions

bce_logits = F.binary_cross_entropy_with_logits


ones = torch.ones_like


def length_of(term: Callable[[Tensor], Tensor], fake_B: Tensor) -> Tensor:
    fake = fake_B.clone().requires_grad_()
    return torch.autograd.grad(term(fake), fake)[0].norm()


def l1_length(f: Tensor, r: Tensor) -> Tensor:
    return length_of(lambda fake: F.l1_loss(fake, r), f)


def gan_length(D: nn.Module, A: Tensor, f: Tensor) -> Tensor:
    return length_of(lambda fake: bce_logits(logits := D(torch.cat([A, fake], 1)), ones(logits)), f)


def by_backward(D: nn.Module, A: Tensor, f: Tensor, r: Tensor) -> Tensor:
    """As most would write it: two backwards, which leave gradients in D."""
    lengths = []
    for which in ("gan", "l1"):
        fake = f.clone().requires_grad_()
        loss = F.softplus(-D(torch.cat([A, fake], 1))).mean() if which == "gan" else F.l1_loss(fake, r)
        loss.backward()
        lengths.append(fake.grad.norm())
    return lengths[0] / lengths[1]


def train_mode(G: nn.Module, A: Tensor) -> Tensor:
    with torch.no_grad():
        return copy.deepcopy(G).train()(A)


def left_in_training(G: nn.Module, A: Tensor) -> Tensor:
    state = copy.deepcopy(G.state_dict())
    with torch.no_grad():
        B = G.train()(A)
    G.load_state_dict(state)
    return B


def asked(G: nn.Module, A: Tensor, training: bool, dropout: bool) -> Tensor:
    G = copy.deepcopy(G).train(training)
    for module in G.modules():
        if isinstance(module, nn.Dropout):
            module.train(dropout)
    return G(A)


def measured(layers: list) -> int:
    """By the gradient of one output of a stack of convolutions."""
    if not layers:
        return 1
    x = torch.zeros(1, 1, 300, requires_grad=True)
    y = x
    for kernel, stride in layers:
        y = F.conv1d(y, torch.ones(1, 1, kernel), stride=stride)
    y[0, 0, 0].backward()
    return int((x.grad != 0).sum())


def in_evaluation(D: nn.Module, images: Tensor) -> Tensor:
    was_training = D.training
    D.eval()
    with torch.no_grad():
        scores = D(images)
    D.train(was_training)
    return scores


def trains_afterwards(D: nn.Module, images: Tensor) -> Tensor:
    scores = D.eval()(images)
    D.train()
    return scores


def changes_a_weight(D: nn.Module, images: Tensor) -> Tensor:
    scores = in_evaluation(D, images)
    next(D.parameters()).data.mul_(1.1)
    return scores


def leaves_gradients(D: nn.Module, images: Tensor) -> Tensor:
    scores = trains_afterwards(D, images)
    scores.sum().backward()
    return scores.detach()


def by_recursion(calls: list[float], momentum: float = 0.1) -> float:
    share = 0.0
    for call in [*calls] * 500:
        share = (1 - momentum) * share + momentum * call
    return share


# Wrong answers, and a part of the message that each must get, and no other of its check.
WRONG: list[tuple[Callable[..., Any], list[tuple[Callable[..., Any], str]]]] = [
    (
        checks.optimal_D,
        [
            (
                lambda p, q, s, k: p / (p + q),
                "s and k are missing: this is the best D of the unchanged game. Right for s = 1, k = 1.",
            ),
            (lambda p, q, s, k: (s * p / (p + k * q)).mean(), "one value for each x"),
            (lambda p, q, s, k: p * q, "At p = 0.7, q = 0, s = 1, k = 1 the best D is 1; yours gives 0."),
            (
                lambda p, q, s, k: torch.where(q > 0.55, 0.9, s * p / (p + k * q)),
                "At p = 0, q = 0.6, s = 1, k = 1 the best D is 0; yours gives 0.9.",
            ),
        ],
    ),
    (
        checks.kl_loss,
        [
            (lambda x: -x, "a scalar is wanted, yours has shape (4, 1)"),
            (lambda x: -x.mean() / 2, "yours is -0.125."),
            (
                lambda x: -x.clamp(-3, 1).mean() * 3,
                "In a batch of 4 the slope at logit -2 must be -0.25; yours is -0.75.",
            ),
            (lambda x: -torch.logit(x.sigmoid()).mean(), "Right for the usual logits."),
            (lambda x: -x.detach().mean(), "No gradient gets through"),
        ],
    ),
    (
        checks.keras_batchnorm,
        [
            (lambda n: nn.BatchNorm1d(n, 0.8), "instead of 1: a number has gone into eps"),
            (lambda n: nn.BatchNorm1d(n, momentum=0.8), "the share of the old mean"),
            (lambda n: nn.BatchNorm1d(n), "The layer normalises. But after the first batch"),
            (lambda n: nn.BatchNorm1d(3, momentum=0.2), "Your answer raised RuntimeError"),
            (lambda n: nn.BatchNorm2d(n, momentum=0.2), "Your answer raised ValueError"),
            (lambda n: 0.2, "you returned float"),
            (lambda n: nn.LayerNorm(n), "LayerNorm as you made it keeps no running mean"),
        ],
    ),
    (
        checks.balancing_lambda,
        [
            (
                lambda D, A, f, r: gan_length(D, A, r) / l1_length(f, r),
                "Your λ is 2.104 where 2.441 is right, for two random pairs",
            ),
            (lambda D, A, f, r: (f - r).abs(), "One number is wanted, yours has the shape (2, 3, 6, 6)"),
            (by_backward, "left with gradients"),
        ],
    ),
    (
        checks.field_of_layers,
        [
            (lambda layers: field_of(layers) if layers else 0, "For layers = [] it is 1; yours gives 0."),
        ],
    ),
    (
        checks.paper_test_time,
        [
            (lambda G, A: copy.deepcopy(G).eval()(A), "This is eval()"),
            (lambda G, A: asked(G, A, True, False), "dropout is off"),
            (lambda G, A: asked(G, A, False, True), "its running statistics, not those"),
            (lambda G, A: torch.cat([copy.deepcopy(G).train()(a) for a in A.split(1)]), "One image at a time"),
            (lambda G, A: copy.deepcopy(G).train()(A), "carry a graph"),
            (lambda G, A: G.train()(A).detach(), "running_mean has changed"),
            (left_in_training, "Restore the mode"),
            (lambda G, A: A, "not G's images in training mode"),
            (lambda G, A: train_mode(G, A)[0], "Return G's images"),
        ],
    ),
    (
        checks.image_range,
        [
            (lambda x: x.float().mul(2).sub(255), "Yours gives -255 where -1 is right"),
            (lambda x: x * 2 - 255, "got torch.uint8. Integers cannot hold"),
            (lambda x: (x * 2 - 255).float() / 255, "uint8 wraps around at 256: "),
            (lambda x: x.double() / 127.5 - 1, "float32 is wanted, got torch.float64."),
            (lambda x: (x / 127.5 - 1).flatten(), "shape must stay (2, 1, 2, 2), got (8,)"),
            (lambda x: (x / 127.5 - 1).clamp(-0.5, 1), "Yours gives -0.5 where -1 is right"),
            (lambda x: x / 127.5 - torch.nan, "Yours gives nan where"),
            (lambda x: x.tolist(), "A tensor is wanted, got list"),
        ],
    ),
    (
        checks.safe_score,
        [
            (lambda D, images: in_evaluation(D.requires_grad_(False), images), "no longer require a gradient"),
            (changes_a_weight, "The scores are right, but D's 0.weight has changed"),
            (leaves_gradients, "is left with gradients"),
            (lambda D, images: D(images), "D's 3.running_mean has changed"),
            (lambda D, images: copy.deepcopy(D).train()(images), "depends on its company"),
            (lambda D, images: torch.cat([copy.deepcopy(D).train()(one[None]) for one in images]), "they are not D's"),
            (lambda D, images: D.eval()(images), "left in evaluation mode"),
            (trains_afterwards, "left in training mode"),
            (lambda D, images: in_evaluation(D, images).mean(), "yours is ()"),
        ],
    ),
    (
        checks.share_of_reals,
        [
            (lambda calls, momentum: by_recursion(calls[::-1], momentum), "wrong order"),
            (lambda calls, momentum: by_recursion(calls, 0.1), "For calls [1, 0] and momentum 0.5"),
            (lambda calls, momentum: 0.299, "For calls [0.5, 0.5] and momentum 0.1 the share is not 0.299"),
            (lambda calls, momentum: "a third", "raised ValueError"),
        ],
    ),
    (
        checks.averaged,
        [
            (
                lambda gradients, counts: -weighted(gradients, counts),
                "For shares of [5, 1, 2] images yours gives ",
            ),
            (lambda gradients, counts: gradients, "yours is list"),
            (lambda gradients, counts: torch.stack(gradients), "yours is (3, 3)"),
        ],
    ),
]


@pytest.mark.filterwarnings("error")  # a learner would see the check's warnings
@pytest.mark.parametrize(("check", "wrong"), WRONG)
def test_a_wrong_answer_gets_its_message(
    check: Callable[..., Any], wrong: list[tuple[Callable[..., Any], str]]
) -> None:
    judged(check, wrong)


RIGHT: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (checks.image_range, lambda x: x.to(torch.float32).div_(127.5).sub_(1)),
    (checks.image_range, lambda x: (x.numpy() / 127.5 - 1).astype("float32")),
    (checks.optimal_D, lambda p, q, s, k: s * torch.sigmoid(p.log() - q.log() - math.log(k))),
    (checks.optimal_D, lambda p, q, s, k: s * p.numpy() / (p.numpy() + k * q.numpy())),
    (checks.kl_loss, lambda x: -x.mean() + math.log(4)),
    (checks.kl_loss, lambda x: bce_logits(x, ones(x)) - bce_logits(x, torch.zeros_like(x))),
    (checks.keras_batchnorm, lambda n: nn.BatchNorm1d(n, 1e-3, 0.2).eval()),
    (checks.safe_score, lambda *given: in_evaluation(*given).numpy()),
    (checks.safe_score, lambda D, x: copy.deepcopy(D).eval()(x)),
    (checks.share_of_reals, lambda *asked: np.float64(by_recursion(*asked))),
    (checks.balancing_lambda, lambda D, A, f, r: gan_length(D, A, f) / l1_length(f, r)),
    (checks.field_of_layers, measured),
    (checks.paper_test_time, torch.no_grad()(lambda G, A: copy.deepcopy(G).train()(A))),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_another_way_to_the_right_answer_passes(check: Callable[..., Any], answer: Callable[..., Any]) -> None:
    verdict = check(answer)
    assert verdict.passed, verdict.message


def test_the_right_field_is_the_packages() -> None:
    for n_layers, stack in ((1, STACKS[4]), (3, STACKS[5])):
        D = patchgan(6, n_layers, 2)
        assert tuple((kernel, stride) for kernel, stride, _ in convolutions(D)) == stack
        assert field_of(stack) == computed_field(D).size
