"""The checks of notebook 03; what `dependence` takes for true, autograd finds."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import build, draw
from test_checks import judged, rejected
from torch import Tensor, nn

from gantutor import checks
from gantutor.checks.batchnorm_batching import ASKED, KINDS, true_dependence
from gantutor.gan import GAN
from gantutor.models import dcgan
from gantutor.steps import simultaneous


def step(in_D: str, in_G: str, moves: str = "GD", noise: float = 0.0, minimax: bool = False) -> Callable[..., None]:
    """A training step whose batches are split or joint in each player's step."""

    def logits(gan: GAN, batching: str, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        gan.D.train(batching != "eval")
        if batching in ("split", "eval"):
            return gan.D(real), gan.D(fake)
        both = gan.D(torch.cat([real, fake]))
        return both[: len(real)], both[len(real) :]

    def taken(gan: GAN, real: Tensor, z: Tensor) -> None:
        fake = gan.G(z)
        gan.opt_D.zero_grad()
        gan.loss.d_loss(*logits(gan, in_D, real, fake.detach() + noise)).backward()
        if "D" in moves:
            gan.opt_D.step()
        gan.opt_G.zero_grad()
        scores = logits(gan, in_G, real, fake)[1]
        (nn.functional.logsigmoid(-scores).mean() if minimax else gan.loss.g_loss(scores)).backward()
        if "G" in moves:
            gan.opt_G.step()

    return taken


@pytest.mark.parametrize("batching", ["split", "joint"])
def test_one_kind_of_batch_in_both_steps_passes(batching: str) -> None:
    def on_one_forward(gan: GAN, real: Tensor, z: Tensor) -> None:
        gan.batching = batching
        simultaneous(gan, real, z)

    assert checks.one_view(step(batching, batching)).passed
    assert checks.one_view(on_one_forward).passed


def test_a_wrong_step_gets_its_message_and_the_pitfall_unchanged_is_not_answered_yet() -> None:
    wrong = [
        (step("split", "joint"), "the reverse mismatch"),
        (step("split", "eval"), "G's step asks D in evaluation mode"),
        (step("joint", "eval"), "G's step asks D in evaluation mode"),
        (step("split", "split", noise=1.0), "D's gradient is neither"),
        (step("split", "split", moves="D"), "G was not updated"),
        (step("joint", "joint", moves="G"), "D was not updated"),
        (step("split", "split", minimax=True), "G's is not"),
    ]
    judged(checks.one_view, wrong)
    verdict = checks.one_view(step("joint", "split"))
    assert (verdict.passed, verdict.answered) == (False, False)
    assert "asked about fakes alone" in verdict.message


def matrix(joint_in_D: bool, joint_in_G: bool, per_image: bool = False) -> Callable[[str, str, str], Tensor]:
    """The matrices of somebody who believes that these steps are joint, whatever the batching."""

    def answer(norm: str, batching: str, player: str) -> Tensor:
        joint = joint_in_D if player == "D" else joint_in_G
        whole = torch.eye(4) if per_image or norm != "batch" else torch.ones(4, 4) if joint else KINDS
        return whole if player == "D" else whole[2:]

    return answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            matrix(False, False, per_image=True),
            '"split", player "D": row 0, column 1 must be 1. BatchNorm uses the mean',
        ),
        (matrix(False, False), '"joint", player "D": row 0, column 2 must be 1. D\'s step is joint here'),
        (matrix(True, True), '"split", player "D": row 0, column 2 must be 0. D\'s step is split here'),
        (matrix(False, True), '"split", player "G": row 0, column 0 must be 0. G\'s step is split here'),
        (lambda *asked: 1 - true_dependence(*asked), "exchanged"),
        (lambda *asked: true_dependence(*asked[:2], "D"), r'"G": expected a matrix \(2, 4\), yours has shape \(4, 4\)'),
        (lambda *asked: torch.triu(true_dependence(*asked)), "row 1, column 0 must be 1. Ask which images"),
        (lambda norm, *rest: true_dependence("batch", *rest), '"group", .* row 0, column 1 .* one image at a time'),
    ],
)
def test_a_wrong_matrix_gets_its_message(answer: Callable[..., Any], message: str) -> None:
    rejected(checks.dependence(answer), message)


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
