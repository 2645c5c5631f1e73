"""The checks of notebook 04, as those of 01 in test_checks.py."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_checks import both_verdicts
from torch import Tensor, nn

from gantutor import checks
from gantutor.checks.pix2pix_exercises import STACKS, field_of
from gantutor.models import patchgan
from gantutor.models import receptive_field as computed_field
from gantutor.models.receptive_field import convolutions

NOTEBOOK = "04_pix2pix.ipynb"
CELLS = {
    "ex-g-loss": checks.pix2pix_g_loss,
    "ex-field": checks.field_of_layers,
    "ex-test-time": checks.paper_test_time,
}


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_the_solution_passes_and_the_learners_cell_does_not(cell: str) -> None:
    solution, verdict = both_verdicts(NOTEBOOK, cell, CELLS)
    assert solution.passed
    assert verdict == checks.NOT_YET


@pytest.mark.parametrize("check", CELLS.values())
def test_no_answer_and_an_error(check: Callable[..., Any]) -> None:
    for empty in (..., None, lambda *_: ..., lambda *_: None):
        assert check(empty) == checks.NOT_YET
    verdict = check(lambda *_: 1 / 0)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert "ZeroDivisionError" in verdict.message


bce_logits = F.binary_cross_entropy_with_logits
ones, zeros = torch.ones_like, torch.zeros_like


def train_mode(G: nn.Module, A: Tensor) -> Tensor:
    with torch.no_grad():
        return copy.deepcopy(G).train()(A)


def left_in_training(G: nn.Module, A: Tensor) -> Tensor:
    state = copy.deepcopy(G.state_dict())
    with torch.no_grad():
        B = G.train()(A)
    G.load_state_dict(state)
    return B


def put_back(G: nn.Module, A: Tensor) -> Tensor:
    was_training, state = G.training, copy.deepcopy(G.state_dict())
    with torch.no_grad():
        B = G.train()(A)
    G.load_state_dict(state)
    G.train(was_training)
    return B


def without_dropout(G: nn.Module, A: Tensor) -> Tensor:
    G = copy.deepcopy(G).train()
    for module in G.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return G(A)


def dropout_alone(G: nn.Module, A: Tensor) -> Tensor:
    G = copy.deepcopy(G).eval()
    for module in G.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    return G(A)


# The misconceptions as learners write them, and a part of the message that each must get, and no other.
WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "ex-g-loss": [
        (lambda x, f, r: bce_logits(x, ones(x)) + F.l1_loss(f, r), "lambda_L1 is missing"),
        (lambda x, f, r: 100 * bce_logits(x, ones(x)) + F.l1_loss(f, r), "at the wrong term"),
        (lambda x, f, r: 100 * F.l1_loss(f, r), "the L1-only generator"),
        (lambda x, f, r: bce_logits(x, ones(x)), "the cGAN alone"),
        (lambda x, f, r: bce_logits(x, ones(x)) + 100 * F.mse_loss(f, r), "this is L2"),
        (lambda x, f, r: bce_logits(x, ones(x)) + 100 * F.l1_loss(f, r, reduction="sum"), "instead of the mean"),
        (lambda x, f, r: torch.log(1 - x.sigmoid()).mean() + 100 * F.l1_loss(f, r), "the minimax loss"),
        (lambda x, f, r: bce_logits(x, zeros(x)) + 100 * F.l1_loss(f, r), "D's own term"),
        (lambda x, f, r: bce_logits(x, ones(x)) / 2 + 100 * F.l1_loss(f, r), "the halved loss is D's"),
        (lambda x, f, r: bce_logits(x, ones(x)) + 100 * f.abs().mean(), "the wrong pair"),
        (lambda x, f, r: (bce_logits(x, ones(x)) + 100 * F.l1_loss(f, r)).item(), "no gradient gets through"),
        (lambda x, f, r: -F.logsigmoid(x), "one loss is wanted"),
        (lambda x, f, r: (x**2).mean(), "For these inputs it is"),
    ],
    "ex-field": [
        (lambda layers: sum(k for k, _ in layers), "kernels overlap"),
        (lambda layers: 1 + sum(k - 1 for k, _ in layers), "the strides are missing"),
        (
            lambda layers: 1 + sum((k - 1) * prod(s for _, s in layers[: i + 1]) for i, (k, _) in enumerate(layers)),
            "own",
        ),
        (lambda layers: prod(s for _, s in layers), "how far apart"),
        (lambda layers: 1 + sum(k * prod(s for _, s in layers[:i]) for i, (k, _) in enumerate(layers)), "was there"),
        (lambda layers: field_of(layers[::-1]), "turned round"),
        (lambda layers: 7, "for one 3 x 3 layer 3"),
    ],
    "ex-test-time": [
        (lambda G, A: copy.deepcopy(G).eval()(A), "this is eval()"),
        (without_dropout, "dropout is off"),
        (dropout_alone, "its running statistics, not those"),
        (lambda G, A: torch.cat([copy.deepcopy(G).train()(a) for a in A.split(1)]), "one image at a time"),
        (lambda G, A: copy.deepcopy(G).train()(A), "carry a graph"),
        (lambda G, A: G.train()(A).detach(), "asking has changed G"),
        (left_in_training, "put the mode back"),
        (lambda G, A: A, "not G's images in training mode"),
        (lambda G, A: train_mode(G, A)[0], "return G's images"),
    ],
}


def prod(values: Any) -> int:
    result = 1
    for value in values:
        result *= value
    return result


@pytest.mark.parametrize(("cell", "wrong"), list(WRONG.items()), ids=list(WRONG))
def test_a_misconception_gets_its_own_message(cell: str, wrong: list[tuple[Callable[..., Any], str]]) -> None:
    parts = {part for _, part in wrong}
    for answer, part in wrong:
        verdict = CELLS[cell](answer)
        assert (verdict.passed, verdict.answered) == (False, True)
        assert {other for other in parts if other in verdict.message} == {part}, verdict.message


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("ex-g-loss", lambda x, f, r: F.softplus(-x).mean() + 100.0 * (r - f).abs().mean()),
        ("ex-g-loss", lambda x, f, r: nn.BCEWithLogitsLoss()(x, ones(x)) + 100 * nn.L1Loss()(f, r)),
        ("ex-test-time", train_mode),
        ("ex-test-time", put_back),
        ("ex-test-time", torch.no_grad()(lambda G, A: copy.deepcopy(G).train()(A))),
    ],
)
def test_another_way_to_the_right_answer_passes(cell: str, answer: Callable[..., Any]) -> None:
    verdict = CELLS[cell](answer)
    assert verdict.passed, verdict.message


def test_the_receptive_field_from_the_back_passes() -> None:
    def from_the_back(layers: list) -> int:
        size = 1
        for kernel, stride in reversed(layers):
            size = (size - 1) * stride + kernel
        return size

    assert checks.field_of_layers(from_the_back).passed


def test_the_right_field_is_the_packages() -> None:
    for n_layers, stack in ((1, STACKS[3]), (3, STACKS[4])):
        D = patchgan(6, n_layers, 2)
        assert tuple((kernel, stride) for kernel, stride, _ in convolutions(D)) == stack
        assert field_of(stack) == computed_field(D).size


def test_a_check_draws_no_random_number() -> None:
    before = torch.random.get_rng_state()
    checks.pix2pix_g_loss(lambda x, f, r: x.mean())
    checks.paper_test_time(train_mode)
    assert torch.equal(before, torch.random.get_rng_state())
