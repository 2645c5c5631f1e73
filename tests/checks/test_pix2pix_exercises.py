"""The checks of notebook 04, as those of 01 in test_checks.py."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_checks import both_verdicts
from torch import Tensor, nn

from gantutor import checks
from gantutor.checks.pix2pix_exercises import STACKS, field_of
from gantutor.models import patchgan
from gantutor.models import receptive_field as computed_field
from gantutor.models.patchgan import convolutions

NOTEBOOK = "04_pix2pix.ipynb"
CELLS = {
    "ex-balance": checks.balancing_lambda,
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


@pytest.mark.parametrize("check", CELLS.values())
@pytest.mark.parametrize("answer", ["text", [1, 2], (), {"a": 1}, np.zeros(3), torch.zeros(2, 2), 3, True, 1j])
def test_an_answer_of_another_kind_is_judged(check: Callable[..., Any], answer: Any) -> None:
    for given in (answer, lambda *_: answer):
        verdict = check(given)
        assert not verdict.passed
        assert verdict.message[0].isupper()


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


def with_D_frozen(D: nn.Module, *images: Tensor) -> Tensor:
    D.requires_grad_(False)
    found = by_backward(D, *images)
    D.requires_grad_(True)
    return found


def left_frozen(D: nn.Module, *images: Tensor) -> Tensor:
    return by_backward(D.requires_grad_(False), *images)


def emptied_after(D: nn.Module, *images: Tensor) -> Tensor:
    found = by_backward(D, *images)
    D.zero_grad()
    return found


def on_a_copy(D: nn.Module, *images: Tensor) -> float:
    return by_backward(copy.deepcopy(D), *images).item()


def with_numpy(D: nn.Module, A: Tensor, f: Tensor, r: Tensor) -> Any:
    """The L1 term's gradient is ±1/N at each of N pixels, so its length is 1/√N."""
    return np.float64(gan_length(D, A, f).item()) * np.sqrt(f.numel())


def trained_meanwhile(D: nn.Module, *images: Tensor) -> Tensor:
    found = on_a_copy(D, *images)
    with torch.no_grad():
        next(D.parameters()).mul_(0.9)
    return found


def minimax_length(D: nn.Module, A: Tensor, f: Tensor) -> Tensor:
    return length_of(lambda fake: torch.log(1 - D(torch.cat([A, fake], 1)).sigmoid()).mean(), f)


def at_the_weights(D: nn.Module, A: Tensor, f: Tensor, r: Tensor) -> Tensor:
    D = copy.deepcopy(D)
    F.softplus(-D(torch.cat([A, f], 1))).mean().backward()
    return torch.cat([p.grad.flatten() for p in D.parameters()]).norm() / l1_length(f, r)


def absolute(D: nn.Module, A: Tensor, f: Tensor, r: Tensor) -> Tensor:
    gradients = []
    for term in (lambda x: F.softplus(-D(torch.cat([A, x], 1))).mean(), lambda x: F.l1_loss(x, r)):
        fake = f.clone().requires_grad_()
        gradients.append(torch.autograd.grad(term(fake), fake)[0])
    return gradients[0].abs().mean() / gradients[1].abs().mean()


def each_image_alone(D: nn.Module, A: Tensor, f: Tensor, r: Tensor) -> Tensor:
    pairs = zip(A.split(1), f.split(1), r.split(1), strict=True)
    return torch.stack([gan_length(D, a, x) / l1_length(x, y) for a, x, y in pairs]).mean()


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


def without_momentum(G: nn.Module, A: Tensor) -> Tensor:
    """No copy of G: the running statistics move by nothing."""
    norms = [module for module in G.modules() if isinstance(module, nn.BatchNorm2d)]
    was_training, momenta = G.training, [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked.clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    with torch.inference_mode():
        B = G.train()(A).clone()
    for norm, momentum, count in zip(norms, momenta, counts, strict=True):
        norm.momentum, norm.num_batches_tracked = momentum, count
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
    "ex-balance": [
        (lambda D, A, f, r: l1_length(f, r) / gan_length(D, A, f), "This is 1 / λ"),
        (lambda D, A, f, r: (gan_length(D, A, f) / l1_length(f, r)) ** 2, "squared lengths"),
        (absolute, "sum of absolute values"),
        (each_image_alone, "mean of each image's own ratio"),
        (lambda D, A, f, r: F.softplus(-D(torch.cat([A, f], 1))).mean() / F.l1_loss(f, r), "ratio of the two losses"),
        (at_the_weights, "at D's weights"),
        (lambda D, A, f, r: minimax_length(D, A, f) / l1_length(f, r), "minimax"),
        (
            lambda D, A, f, r: length_of(lambda x: F.softplus(-D(torch.cat([A, x], 1))).sum(), f) / l1_length(f, r),
            "sum over the patches",
        ),
        (
            lambda D, A, f, r: gan_length(D, A, f) / length_of(lambda x: F.l1_loss(x, r, reduction="sum"), f),
            "sum over the pixels",
        ),
        (lambda D, A, f, r: gan_length(D, A, f) / length_of(lambda x: F.mse_loss(x, r), f), "squared differences"),
        (
            lambda D, A, f, r: length_of(lambda x: F.softplus(-D(torch.cat([x, A], 1))).mean(), f) / l1_length(f, r),
            "shown (B, A)",
        ),
        (lambda D, A, f, r: gan_length(D, A, r) / l1_length(f, r), "for two random pairs"),
        (lambda D, A, f, r: 100, "for two random pairs"),
        (lambda D, A, f, r: (f - r).abs(), "One number is wanted, yours is Tensor (2, 3, 6, 6)"),
        (by_backward, "left with gradients"),
        (left_frozen, "no longer require a gradient"),
        (trained_meanwhile, "weights have changed"),
    ],
    "ex-field": [
        (lambda layers: sum(k for k, _ in layers), "Kernels overlap"),
        (lambda layers: 1, "more than one pixel"),
        (lambda layers: 1 + sum(k - 1 for k, _ in layers), "The strides are missing"),
        (
            lambda layers: 1 + sum((k - 1) * prod(s for _, s in layers[: i + 1]) for i, (k, _) in enumerate(layers)),
            "own stride",
        ),
        (lambda layers: prod(s for _, s in layers), "how far apart"),
        (lambda layers: 1 + sum(k * prod(s for _, s in layers[:i]) for i, (k, _) in enumerate(layers)), "was there"),
        (lambda layers: field_of(layers[::-1]), "reversed"),
        (lambda layers: field_of(layers) if layers else 0, "For layers = [] it is 1; yours gives 0."),
        (lambda layers: min(field_of(layers), 16), "it is 70; yours gives 16."),
    ],
    "ex-test-time": [
        (lambda G, A: copy.deepcopy(G).eval()(A), "This is eval()"),
        (without_dropout, "dropout is off"),
        (dropout_alone, "its running statistics, not those"),
        (lambda G, A: torch.cat([copy.deepcopy(G).train()(a) for a in A.split(1)]), "One image at a time"),
        (lambda G, A: copy.deepcopy(G).train()(A), "carry a graph"),
        (lambda G, A: G.train()(A).detach(), "running_mean has changed"),
        (left_in_training, "Restore the mode"),
        (lambda G, A: A, "not G's images in training mode"),
        (lambda G, A: train_mode(G, A)[0], "Return G's images"),
    ],
}


def prod(values: Any) -> int:
    result = 1
    for value in values:
        result *= value
    return result


@pytest.mark.filterwarnings("error")  # a learner would see the check's warnings
@pytest.mark.parametrize(("cell", "wrong"), list(WRONG.items()), ids=list(WRONG))
def test_a_misconception_gets_its_own_message(cell: str, wrong: list[tuple[Callable[..., Any], str]]) -> None:
    parts = {part for _, part in wrong}
    for answer, part in wrong:
        verdict = CELLS[cell](answer)
        assert (verdict.passed, verdict.answered) == (False, True)
        assert {other for other in parts if other in verdict.message} == {part}, verdict.message
        assert verdict.message[0].isupper()


def from_the_back(layers: list) -> int:
    size = 1
    for kernel, stride in reversed(layers):
        size = (size - 1) * stride + kernel
    return size


def with_arrays(layers: list) -> Any:
    kernels, strides = np.array(layers, dtype=int).reshape(-1, 2).T
    before = np.cumprod(np.concatenate([[1], strides]))[:-1]
    return 1 + ((kernels - 1) * before).sum()


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


def emptying(layers: list) -> int:
    size, step = 1, 1
    while layers:
        kernel, stride = layers.pop(0)
        size, step = size + (kernel - 1) * step, step * stride
    return size


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("ex-balance", with_D_frozen),
        ("ex-balance", emptied_after),
        ("ex-balance", on_a_copy),
        ("ex-balance", with_numpy),
        ("ex-balance", lambda D, A, f, r: gan_length(D, A, f) / l1_length(f, r)),
        ("ex-field", from_the_back),
        ("ex-field", with_arrays),
        ("ex-field", measured),
        ("ex-field", emptying),
        ("ex-test-time", train_mode),
        ("ex-test-time", put_back),
        ("ex-test-time", without_momentum),
        ("ex-test-time", lambda G, A: train_mode(G, A).numpy()),
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


def test_a_check_draws_no_random_number() -> None:
    before = torch.random.get_rng_state()
    checks.balancing_lambda(on_a_copy)
    checks.paper_test_time(train_mode)
    assert torch.equal(before, torch.random.get_rng_state())
