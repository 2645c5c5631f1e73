"""The checks of notebook 00; `who_moves` is compared with what a step really does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import build, draw, gradient, weights
from test_checks import judged, rejected

from gantutor import checks


def test_a_wrong_range_gets_its_message() -> None:
    wrong = [
        (lambda x: x.float().mul(2).sub(255), "Yours gives -255 where -1 is right"),
        (lambda x: x * 2 - 255, "got torch.uint8. Integers cannot hold"),
        (lambda x: (x * 2 - 255).float() / 255, "uint8 wraps around at 256: "),
        (lambda x: x.double() / 127.5 - 1, "float32 is wanted, got torch.float64."),
        (lambda x: (x / 127.5 - 1).flatten(), "shape must stay (2, 1, 2, 2), got (8,)"),
        (lambda x: (x / 127.5 - 1).clamp(-0.5, 1), "Yours gives -0.5 where -1 is right"),
        (lambda x: x / 127.5 - torch.nan, "Yours gives nan where"),
        (lambda x: x.tolist(), "A tensor is wanted, got list"),
    ]
    judged(checks.image_range, wrong)


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: x.to(torch.float32).div_(127.5).sub_(1),
        lambda x: (x.numpy() / 127.5 - 1).astype("float32"),
        lambda x: torch.lerp(torch.tensor(-1.0), torch.tensor(1.0), x / 255),
    ],
)
def test_other_ways_to_the_right_range_pass(answer: Callable[..., Any]) -> None:
    assert checks.image_range(answer).passed, checks.image_range(answer).message


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
