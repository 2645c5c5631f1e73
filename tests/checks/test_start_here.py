"""The checks of notebook 00; `who_moves` is compared with what a step really does."""

from typing import Any

import pytest
import torch
from helpers import build, draw, gradient, weights
from test_checks import rejected

from gantutor import checks


@pytest.mark.parametrize(
    ("filled", "changed", "message"),
    [
        ({"D"}, {"G", "D"}, "so it is with the detach"),
        ({"G"}, {"D"}, "every network that it passes"),
        ({"G", "D"}, {"G", "D"}, "backward.. is right. .*the parameters that it was given"),
        ({"G", "fake"}, {"D"}, "names .* got {.*'fake'"),
        ([["G"]], {"D"}, "names .* got"),
        ({"G", "D"}, "d", "names .* got 'd'"),
        ({"G", "D"}, torch.nn.Linear(1, 1), "names .* got Linear"),
    ],
)
def test_a_wrong_set_gets_its_message(filled: Any, changed: Any, message: str) -> None:
    rejected(checks.who_moves(filled, changed), message)


def test_names_may_come_in_any_collection_and_half_an_answer_is_no_answer_yet() -> None:
    for filled, changed in ((["D", "G"], "D"), (("G", "D"), ("D",)), (frozenset("GD"), ["D"])):
        assert checks.who_moves(filled, changed).passed
    assert checks.who_moves({"G", "D"}, ...) == checks.who_moves(..., {"D"}) == checks.NOT_YET


def test_the_truth_is_what_a_step_without_detach_does() -> None:
    gan, (real, z) = build("points"), draw("points")[0]
    gan.opt_D.zero_grad()
    gan.loss.d_loss(*gan.logits(real, gan.G(z))).backward()
    networks = {"G": gan.G, "D": gan.D}
    filled = {name for name, network in networks.items() if gradient(network).norm() > 0}
    before = {name: weights(network) for name, network in networks.items()}
    gan.opt_D.step()
    changed = {name for name, network in networks.items() if not torch.equal(weights(network), before[name])}
    assert checks.who_moves(filled, changed).passed
