"""The checks of notebook 03, as those of 01 in test_checks.py; what `dependence` takes for true, autograd finds."""

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import build, draw
from test_checks import both_verdicts
from torch import Tensor, nn

from gantutor import checks
from gantutor.checks.batchnorm_batching import ASKED, KINDS, true_dependence
from gantutor.gan import GAN
from gantutor.models import dcgan
from gantutor.steps import simultaneous

NOTEBOOK = "03_batchnorm_batching.ipynb"
CELLS = {
    "ex-share": checks.share_of_reals,
    "ex-score": checks.safe_score,
    "ex-dependence": checks.dependence,
    "ex-one-view": checks.one_view,
}


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_the_solution_passes_and_the_learners_cell_does_not(cell: str) -> None:
    solution, verdict = both_verdicts(NOTEBOOK, cell, CELLS)
    assert solution.passed
    assert not verdict.passed
    assert not verdict.answered


@pytest.mark.parametrize("check", CELLS.values())
def test_no_answer_and_an_error(check: Callable[..., Any]) -> None:
    for empty in (..., None, lambda *_: ...) if check is not checks.one_view else (..., None):
        assert check(empty) == checks.NOT_YET
    verdict = check(lambda *_: 1 / 0)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert "ZeroDivisionError" in verdict.message


def step(in_D: str, in_G: str, moves: str = "GD", noise: float = 0.0) -> Callable[..., dict]:
    """A training step whose batches are split or joint in each player's step."""

    def logits(gan: GAN, batching: str, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        if batching == "eval":
            gan.D.eval()
        if batching in ("split", "eval"):
            return gan.D(real), gan.D(fake)
        both = gan.D(torch.cat([real, fake]))
        return both[: len(real)], both[len(real) :]

    def taken(gan: GAN, real: Tensor, z: Tensor) -> dict:
        fake = gan.G(z)
        gan.opt_D.zero_grad()
        d_loss = gan.loss.d_loss(*logits(gan, in_D, real, fake.detach() + noise))
        d_loss.backward()
        if "D" in moves:
            gan.opt_D.step()
        gan.opt_G.zero_grad()
        g_loss = gan.loss.g_loss(logits(gan, in_G, real, fake)[1])
        g_loss.backward()
        if "G" in moves:
            gan.opt_G.step()
        return {"d_loss": d_loss.detach()}

    return taken


@pytest.mark.parametrize("batching", ["split", "joint"])
def test_one_kind_of_batch_in_both_steps_passes(batching: str) -> None:
    taken = step(batching, batching)
    assert checks.one_view(taken).passed
    assert checks.one_view(lambda *inputs: [taken(*inputs), None][1]).passed, "whatever it returns"


@pytest.mark.parametrize("batching", ["split", "joint"])
def test_both_players_on_one_forward_of_D_pass(batching: str) -> None:
    def taken(gan: GAN, real: Tensor, z: Tensor) -> None:
        gan.batching = batching
        simultaneous(gan, real, z)

    assert checks.one_view(taken).passed


def test_the_pitfall_unchanged_is_not_answered_yet() -> None:
    verdict = checks.one_view(step("joint", "split"))
    assert (verdict.passed, verdict.answered) == (False, False)
    assert "asked about fakes alone" in verdict.message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (step("split", "joint"), "the reverse mismatch"),
        (step("split", "eval"), "G's step asks D in evaluation mode"),
        (step("joint", "eval"), "G's step asks D in evaluation mode"),
        (step("split", "split", noise=1.0), "D's gradient is neither"),
        (step("split", "split", moves="D"), "G was not updated"),
        (step("joint", "joint", moves="G"), "D was not updated"),
    ],
)
def test_a_wrong_step_gets_its_message(answer: Callable[..., Any], message: str) -> None:
    verdict = checks.one_view(answer)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert message in verdict.message, verdict.message


def test_a_step_with_another_loss_for_g_gets_its_message() -> None:
    def minimax(gan: GAN, real: Tensor, z: Tensor) -> dict:
        fake = gan.G(z)
        gan.opt_D.zero_grad()
        gan.loss.d_loss(gan.D(real), gan.D(fake.detach())).backward()
        gan.opt_D.step()
        gan.opt_G.zero_grad()
        nn.functional.logsigmoid(-gan.D(fake)).mean().backward()
        gan.opt_G.step()
        return {}

    assert "G's is not" in checks.one_view(minimax).message


def in_evaluation(D: nn.Module, images: Tensor) -> Tensor:
    was_training = D.training
    D.eval()
    with torch.no_grad():
        scores = D(images)
    D.train(was_training)
    return scores


def one_by_one(D: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([in_evaluation(D, image[None]) for image in images])


@pytest.mark.parametrize(
    "answer",
    [in_evaluation, one_by_one, lambda *given: in_evaluation(*given).numpy(), lambda D, x: copy.deepcopy(D).eval()(x)],
)
def test_a_safe_score_passes(answer: Callable[..., Any]) -> None:
    assert checks.safe_score(answer).passed


def trains_afterwards(D: nn.Module, images: Tensor) -> Tensor:
    scores = D.eval()(images)
    D.train()
    return scores


def freezes(D: nn.Module, images: Tensor) -> Tensor:
    return in_evaluation(D.requires_grad_(False), images)


def changes_a_weight(D: nn.Module, images: Tensor) -> Tensor:
    scores = in_evaluation(D, images)
    next(D.parameters()).data.mul_(1.1)
    return scores


def leaves_gradients(D: nn.Module, images: Tensor) -> Tensor:
    with torch.enable_grad():
        D.eval()
        scores = D(images)
        D.train()
    scores.sum().backward()
    return scores.detach()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (freezes, "restore requires_grad"),
        (changes_a_weight, r"has changed D's 0\.weight"),
        (leaves_gradients, "has left gradients in D"),
        (lambda D, images: D(images), r"has changed D's 3\.running_mean"),
        (lambda D, images: copy.deepcopy(D)(images), "depends on its company"),
        (lambda D, images: torch.cat([copy.deepcopy(D)(image[None]) for image in images]), "they are not D's"),
        (lambda D, images: D.eval()(images), "left in evaluation mode"),
        (trains_afterwards, "left in training mode"),
        (lambda D, images: in_evaluation(D, images).mean(), r"yours is \(\)"),
        (lambda D, images: 0.5, r"yours is \(\)"),
    ],
)
def test_an_unsafe_score_gets_its_message(answer: Callable[..., Any], message: str) -> None:
    verdict = checks.safe_score(answer)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert re.search(message, verdict.message), verdict.message


def matrix(joint_in_D: bool, joint_in_G: bool, per_image: bool = False) -> Callable[[str, str, str], Tensor]:
    """The matrices of somebody who believes that these steps are joint, whatever the batching."""

    def answer(norm: str, batching: str, player: str) -> Tensor:
        joint = joint_in_D if player == "D" else joint_in_G
        whole = torch.eye(4) if per_image or norm != "batch" else torch.ones(4, 4) if joint else KINDS
        return whole if player == "D" else whole[2:]

    return answer


def of_the_other_player(norm: str, batching: str, player: str) -> Tensor:
    whole = true_dependence(norm, {"joint_in_D_step": "joint_in_G_step"}.get(batching, batching), "D")
    return whole if player == "D" else whole[2:]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            matrix(False, False, per_image=True),
            r'"split", player "D": row 0, column 1 must be 1\. BatchNorm uses the mean',
        ),
        (matrix(False, False), r'"joint", player "D": row 0, column 2 must be 1\. D\'s step is joint here'),
        (matrix(True, True), r'"split", player "D": row 0, column 2 must be 0\. D\'s step is split here'),
        (of_the_other_player, r'"joint_in_D_step", player "D": row 0, column 2 must be 1\. D\'s step is joint here'),
        (lambda *asked: 1 - true_dependence(*asked), "exchanged"),
        (lambda *asked: torch.ones(2, 2), r"expected a matrix \(4, 4\), yours has shape \(2, 2\)"),
        (
            lambda *asked: true_dependence(*asked[:2], "D"),
            r'player "G": expected a matrix \(2, 4\), yours has shape \(4, 4\)',
        ),
        (lambda *asked: torch.triu(true_dependence(*asked)), "row 1, column 0 must be 1. Ask which images"),
        (
            lambda norm, *rest: true_dependence("batch", *rest),
            '"group", .* row 0, column 1 must be 0. .* one image at a time',
        ),
    ],
)
def test_a_wrong_matrix_gets_its_message(answer: Callable[..., Any], message: str) -> None:
    verdict = checks.dependence(answer)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert re.search(message, verdict.message), verdict.message


@pytest.mark.parametrize("form", [lambda m: m.bool().tolist(), lambda m: m.numpy(), lambda m: m.int()])
def test_a_matrix_in_another_form_passes(form: Callable[[Tensor], Any]) -> None:
    assert checks.dependence(lambda *asked: form(true_dependence(*asked))).passed


@pytest.mark.parametrize(("norm", "batching", "player"), ASKED)
def test_the_true_matrix_is_what_autograd_finds(norm: str, batching: str, player: str) -> None:
    gan = build("dcgan-batch", batching=batching)
    torch.manual_seed(0)
    _, D = dcgan(width_D=4, norm_D=norm)
    gan.D = D.double()
    real, _ = draw("dcgan-batch", size=2)[0]
    images = torch.cat([real, 1 - 2 * real.flip(0)]).requires_grad_()
    pair = images[:2], images[2:]
    logits = torch.cat(gan.logits(*pair)) if player == "D" else gan.logits_for_G(*pair)[0]
    rows = [torch.autograd.grad(logit, images, retain_graph=True)[0].flatten(1).norm(dim=1) for logit in logits[:, 0]]
    assert torch.equal((torch.stack(rows) > 1e-12).float(), true_dependence(norm, batching, player))


def by_recursion(calls: list[float], momentum: float = 0.1) -> float:
    share = 0.0
    for call in [*calls] * 500:
        share = (1 - momentum) * share + momentum * call
    return share


def in_closed_form(calls: list[float], momentum: float = 0.1) -> Any:
    """As a NumPy number."""
    weights = (1 - momentum) ** np.arange(len(calls))[::-1]
    return np.average(calls, weights=weights)


@pytest.mark.parametrize("answer", [by_recursion, in_closed_form, lambda *asked: torch.tensor(by_recursion(*asked))])
def test_a_right_share_passes(answer: Callable[..., Any]) -> None:
    assert checks.share_of_reals(answer).passed


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda calls, momentum: sum(calls) / len(calls), "All calls weigh the same"),
        (lambda calls, momentum: by_recursion(calls[::-1], momentum), "wrong order"),
        (
            lambda calls, momentum: sum(
                momentum * (1 - momentum) ** age * call for age, call in enumerate(reversed(calls))
            ),
            "one step only",
        ),
        (lambda calls, momentum: calls[-1], "the last call alone"),
        (lambda calls, momentum: by_recursion(calls, 1 - momentum), "exchanged momentum"),
        (lambda calls, momentum: by_recursion(calls, 0.1), r"For calls \[1, 0\] and momentum 0.5"),
        (lambda calls, momentum: 0.299, r"For calls \[0\.5, 0\.5\] and momentum 0\.1 the share is not 0\.299"),
        (lambda calls, momentum: "a third", "raised ValueError"),
    ],
)
def test_a_wrong_share_gets_its_message(answer: Callable[..., Any], message: str) -> None:
    verdict = checks.share_of_reals(answer)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert re.search(message, verdict.message), verdict.message
