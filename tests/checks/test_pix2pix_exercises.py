"""The checks of notebook 04: answers as learners write them."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_checks import judged
from torch import Tensor, nn

from gantutor import checks
from gantutor.checks.pix2pix_exercises import STACKS, field_of
from gantutor.models import patchgan
from gantutor.models import receptive_field as computed_field
from gantutor.models.patchgan import convolutions

CELLS = {
    "ex-balance": checks.balancing_lambda,
    "ex-field": checks.field_of_layers,
    "ex-test-time": checks.paper_test_time,
}
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


# The misconceptions as learners write them, and a part of the message that each must get, and no other.
WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "ex-balance": [
        (
            lambda D, A, f, r: gan_length(D, A, r) / l1_length(f, r),
            "Your λ is 2.104 where 2.441 is right, for two random pairs",
        ),
        (lambda D, A, f, r: (f - r).abs(), "One number is wanted, yours has the shape (2, 3, 6, 6)"),
        (by_backward, "left with gradients"),
    ],
    "ex-field": [
        (lambda layers: field_of(layers) if layers else 0, "For layers = [] it is 1; yours gives 0."),
    ],
    "ex-test-time": [
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
}


@pytest.mark.filterwarnings("error")  # a learner would see the check's warnings
@pytest.mark.parametrize("cell", WRONG)
def test_a_misconception_gets_its_own_message(cell: str) -> None:
    judged(CELLS[cell], WRONG[cell])


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


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("ex-balance", lambda D, A, f, r: gan_length(D, A, f) / l1_length(f, r)),
        ("ex-field", measured),
        ("ex-test-time", torch.no_grad()(lambda G, A: copy.deepcopy(G).train()(A))),
    ],
)
def test_another_way_to_the_right_answer_passes(cell: str, answer: Callable[..., Any]) -> None:
    verdict = CELLS[cell](answer)
    assert verdict.passed, verdict.message


def test_the_right_field_is_the_packages() -> None:
    for n_layers, stack in ((1, STACKS[4]), (3, STACKS[5])):
        D = patchgan(6, n_layers, 2)
        assert tuple((kernel, stride) for kernel, stride, _ in convolutions(D)) == stack
        assert field_of(stack) == computed_field(D).size
