"""The checks of notebook 00, as those of 01 in test_checks.py; `who_moves` is held to what a step really does."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import build, draw
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


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x / 255, r"this is \[0, 1\]"),
        (lambda x: x / 255 - 1, r"this is \[−1, 0\]"),
        (lambda x: x / 255 - 0.5, "half of the range of tanh"),
        (lambda x: x.float() - 127.5, "still 255 wide"),
        (lambda x: x / 128 - 1, "not quite 1"),
        (lambda x: 1 - x / 127.5, "upside down"),
        (lambda x: x * 2 - 255, "uint8 arithmetic wraps"),
        (lambda x: x.double() / 127.5 - 1, "float32 is wanted"),
        (lambda x: (x / 127.5 - 1).flatten(), "the shape must stay"),
        (lambda x: x / 100, "0 must become −1"),
        (lambda x: x.nothing, "your answer raised AttributeError"),
    ],
)
def test_a_wrong_range_gets_its_message(answer: Callable[..., Any], message: str) -> None:
    verdict = checks.image_range(answer)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert re.search(message, verdict.message), verdict.message


@pytest.mark.parametrize(
    ("changed", "filled", "message"),
    [
        ({"G", "D"}, {"G", "D"}, "the parameters that it was given"),
        ({"G"}, {"G", "D"}, "the parameters that it was given"),
        ({"D"}, {"G"}, "leads through D"),
        ({"D"}, {"D"}, "G could not learn"),
        ({"D"}, {"G", "fake"}, "the names"),
    ],
)
def test_a_wrong_set_gets_its_message(changed: set[str], filled: set[str], message: str) -> None:
    verdict = checks.who_moves(changed, filled)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert re.search(message, verdict.message), verdict.message


def test_the_truth_is_what_a_step_does() -> None:
    gan, (real, z) = build("points"), draw("points")[0]
    fake = gan.G(z)
    before = [parameter.clone() for parameter in gan.G.parameters()]
    logits_real, logits_fake = gan.logits(real, fake.detach())
    gan.loss.d_loss(logits_real, logits_fake).backward()
    weights_of_D = [parameter.clone() for parameter in gan.D.parameters()]
    gan.opt_D.step()
    assert all(torch.equal(a, b) for a, b in zip(before, gan.G.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(weights_of_D, gan.D.parameters(), strict=True))
    gan.opt_D.zero_grad()
    gan.loss.g_loss(gan.logits_for_G(real, fake)).backward()
    filled = {name for name in ("G", "D") if any(p.grad is not None for p in getattr(gan, name).parameters())}
    assert checks.who_moves({"D"}, filled).passed
