"""The checks of notebook 01: answers as learners write them."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_checks import judged
from torch import nn

from gantutor import checks

bce_logits = F.binary_cross_entropy_with_logits
ones, zeros = torch.ones_like, torch.zeros_like

WRONG = [
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
]


@pytest.mark.parametrize(("check", "wrong"), WRONG)
def test_a_wrong_answer_gets_its_message(
    check: Callable[..., Any], wrong: list[tuple[Callable[..., Any], str]]
) -> None:
    judged(check, wrong)


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (checks.optimal_D, lambda p, q, s, k: s * torch.sigmoid(p.log() - q.log() - math.log(k))),
        (checks.optimal_D, lambda p, q, s, k: s * p.numpy() / (p.numpy() + k * q.numpy())),
        (checks.kl_loss, lambda x: -x.mean() + math.log(4)),
        (checks.kl_loss, lambda x: bce_logits(x, ones(x)) - bce_logits(x, zeros(x))),
        (checks.keras_batchnorm, lambda n: nn.BatchNorm1d(n, 1e-3, 0.2).eval()),
    ],
)
def test_another_way_to_the_right_answer_passes(check: Callable[..., Any], answer: Callable[..., Any]) -> None:
    assert check(answer).passed
