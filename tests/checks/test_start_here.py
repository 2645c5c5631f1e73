"""The checks of notebook 00, as those of 01 in test_checks.py; `who_moves` is compared with what a step really does."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import build, draw, gradient, weights
from test_checks import NOTEBOOKS, read, verdict_of

from gantutor import checks

NOTEBOOK = "00_start_here.ipynb"
CELLS = {"ex1-cell", "ex2-cell"}


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_the_solution_passes_and_the_empty_cell_is_not_yet_answered(cell: str) -> None:
    setup, solved = read(NOTEBOOKS / "solutions" / NOTEBOOK)
    _, empty = read(NOTEBOOKS / NOTEBOOK)
    assert set(solved) == set(empty) == CELLS
    with torch.random.fork_rng():
        assert verdict_of(setup, solved[cell]).passed
        assert verdict_of(setup, empty[cell]) == checks.NOT_YET


def per_image(x: torch.Tensor) -> torch.Tensor:
    x = x.float()
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return (x - low) / (high - low) * 2 - 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x / 255, r"^This is \[0, 1\]"),
        (lambda x: x / 255 - 1, r"^This is \[−1, 0\]"),
        (lambda x: x / 255 - 0.5, "half of the range of tanh"),
        (lambda x: x.float() - 127.5, "still 255 wide"),
        (lambda x: x / 128 - 1, "not quite 1"),
        (lambda x: 1 - x / 127.5, "upside down"),
        (per_image, "^Each image is stretched"),
        (lambda x: 2 * (x.float() - x.min()) / (x.max() - x.min()) - 1, "^The batch is stretched"),
        (lambda x: x * 2 - 255, r"got torch.uint8\. Integers cannot hold"),
        (lambda x: (x * 2 - 255).float() / 255, "uint8 wraps around at 256: .* Yours gives .* where .* is right"),
        (lambda x: x.double() / 127.5 - 1, r"float32 is wanted, got torch.float64\.$"),
        (lambda x: x.numpy() / 127.5 - 1, r"float32 is wanted, got torch.float64\.$"),
        (lambda x: (x / 127.5 - 1).flatten(), r"shape must stay \(2, 1, 2, 2\), got \(8,\)"),
        (lambda x: (x / 127.5 - 1)[:1], r"got \(1, 1, 2, 2\)"),
        (lambda x: x / 100 - 1, "Yours gives 1.55 where 1 is right"),
        (lambda x: (x / 127.5 - 1).clamp(-0.5, 1), "Yours gives -0.5 where -1 is right"),
        (lambda x: x / 127.5 - torch.nan, "Yours gives nan where"),
        (lambda x: torch.zeros(x.shape), "Yours gives 0 where"),
        (lambda x: x.tolist(), "A tensor is wanted, got list"),
        (lambda x: x.nothing, "Your answer raised AttributeError"),
        (3, "Your answer raised TypeError"),
    ],
)
def test_a_wrong_range_gets_its_message(answer: Callable[..., Any], message: str) -> None:
    verdict = checks.image_range(answer)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert re.search(message, verdict.message), verdict.message


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: x / 127.5 - 1,
        lambda x: (x.float() - 127.5) / 127.5,
        lambda x: (x / 255 - 0.5) * 2,
        lambda x: x.to(torch.float32).div_(127.5).sub_(1),
        lambda x: torch.stack([image / 127.5 - 1 for image in x]),
        lambda x: (x.numpy() / 127.5 - 1).astype("float32"),
        lambda x: torch.from_numpy(x.numpy().astype("float32")) / 127.5 - 1,
        lambda x: torch.lerp(torch.tensor(-1.0), torch.tensor(1.0), x / 255),
    ],
)
def test_other_ways_to_the_right_range_pass(answer: Callable[..., Any]) -> None:
    assert checks.image_range(answer).passed, checks.image_range(answer).message


@pytest.mark.parametrize(
    ("filled", "changed", "message"),
    [
        ({"D"}, {"D"}, "so it is with the detach"),
        ({"D"}, {"G", "D"}, "so it is with the detach"),
        ({"G"}, {"D"}, "every network that it passes"),
        (set(), {"D"}, "every network that it passes"),
        ({"G", "D"}, {"G", "D"}, "backward.. is right. .*the parameters that it was given"),
        ({"G", "D"}, {"G"}, "backward.. is right. .*the parameters that it was given"),
        ({"G", "D"}, set(), "backward.. is right. .*the parameters that it was given"),
        ({"G", "fake"}, {"D"}, "names .* got {.*'fake'"),
        (3, {"D"}, "names .* got 3"),
        ({"G", "D"}, 3.5, "names .* got 3.5"),
        ([["G"]], {"D"}, "names .* got"),
        ({"G", "D"}, "d", "names .* got 'd'"),
        ({"G", "D"}, torch.nn.Linear(1, 1), "names .* got Linear"),
    ],
)
def test_a_wrong_set_gets_its_message(filled: Any, changed: Any, message: str) -> None:
    verdict = checks.who_moves(filled, changed)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert re.search(message, verdict.message), verdict.message


@pytest.mark.parametrize(
    ("filled", "changed"), [({"G", "D"}, {"D"}), (["D", "G"], "D"), (("G", "D"), ("D",)), (frozenset("GD"), ["D"])]
)
def test_names_may_come_in_any_collection(filled: Any, changed: Any) -> None:
    assert checks.who_moves(filled, changed).passed


def test_half_an_answer_is_no_answer_yet() -> None:
    assert checks.who_moves({"G", "D"}, ...) == checks.who_moves(..., {"D"}) == checks.NOT_YET


def test_the_truth_is_what_a_step_without_detach_does() -> None:
    gan, (real, z) = build("points"), draw("points")[0]
    fake = gan.G(z)
    gan.opt_D.zero_grad()
    gan.loss.d_loss(*gan.logits(real, fake)).backward()
    networks = {"G": gan.G, "D": gan.D}
    filled = {name for name, network in networks.items() if gradient(network).norm() > 0}
    before = {name: weights(network) for name, network in networks.items()}
    gan.opt_D.step()
    changed = {name for name, network in networks.items() if not torch.equal(weights(network), before[name])}
    assert checks.who_moves(filled, changed).passed
