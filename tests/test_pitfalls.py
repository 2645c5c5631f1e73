"""Every pitfall does what its entry says: it raises that error, or misleads that player alone (claims 1 to 6)."""

import re

import pytest
import torch
from helpers import (
    Run,
    build,
    draw,
    gradient,
    relative_error,
    run,
    same_state,
    same_weights,
)

from gantutor.gan import BATCHINGS
from gantutor.losses import LOSSES
from gantutor.pitfalls import INPLACE, PITFALLS, SECOND_TIME
from gantutor.steps import STEPS

RAISING = [name for name, pitfall in PITFALLS.items() if pitfall.raises]
SILENT = [name for name, pitfall in PITFALLS.items() if pitfall.wrong]


CASES = [
    *(("points", loss, "split") for loss in LOSSES),
    *(("points-batch", "non-saturating", batching) for batching in BATCHINGS),
    ("dcgan", "minimax", "joint_in_D_step"),
    ("dcgan", "relativistic", "joint"),
    ("dcgan-batch", "hinge", "joint_in_G_step"),
    ("points-batch", "relativistic", "joint"),
]
cases = pytest.mark.parametrize(("networks", "loss", "batching"), CASES)
without_penalty = pytest.mark.parametrize(
    ("networks", "loss", "batching"), [case for case in CASES if not LOSSES[case[1]].has_penalty]
)


def compare(name: str, networks: str, loss: str, batching: str = "split", count: int = 2) -> tuple[Run, Run]:
    """The pitfall and what fixes it, from the same start on the same batches."""
    gan, batches = build(networks, loss, batching), draw(networks, count)
    return run(gan, PITFALLS[name].step, batches), run(gan, STEPS[PITFALLS[name].fixed], batches)


@pytest.mark.parametrize("name", PITFALLS)
def test_an_entry_says_what_is_wrong_and_what_fixes_it(name: str) -> None:
    pitfall = PITFALLS[name]
    assert pitfall.step.__name__ == name
    assert name not in STEPS
    assert pitfall.fixed in STEPS
    assert (pitfall.raises, pitfall.wrong) in [(INPLACE, ""), (SECOND_TIME, ""), ("", "G"), ("", "D")]


@cases
@pytest.mark.parametrize("name", RAISING)
def test_it_raises_whatever_the_networks_the_loss_and_the_batching(
    name: str, networks: str, loss: str, batching: str
) -> None:
    with pytest.raises(RuntimeError, match=re.escape(PITFALLS[name].raises)):
        PITFALLS[name].step(build(networks, loss, batching), *draw(networks)[0])


@cases
@pytest.mark.parametrize("name", SILENT)
def test_it_misleads_the_named_player_and_only_that_one(name: str, networks: str, loss: str, batching: str) -> None:
    """In the first step the other player's gradient is the fixed step's, bit for bit. The named player's is wrong by
    4 % or more: in the first step, or, where what is left over from the first step is the fault, in the second.
    """
    wrong, right = compare(name, networks, loss, batching)
    named, other = ("G", "D") if PITFALLS[name].wrong == "G" else ("D", "G")
    assert torch.equal(wrong.gradients[other][0], right.gradients[other][0])
    errors = [relative_error(wrong.gradients[named][i], right.gradients[named][i]) for i in (0, 1)]
    if errors[0] == 0:
        # A relativistic g_loss that scores real, too, leaves in D minus what d_loss did, but for its update.
        cancels = LOSSES[loss].relativistic and batching in ("joint", "joint_in_G_step")
        assert errors[1] > (0 if cancels else 0.3)
    else:
        assert errors[0] > 0.04
    assert not same_weights(wrong.gan, right.gan)


@without_penalty
def test_early_zero_grad_adds_d_losss_gradient_to_Gs(networks: str, loss: str, batching: str) -> None:
    """Claim 3: not just wrong, but wrong by exactly what d_loss sends through the fakes into G."""
    wrong, right = compare("d_first_early_zero_grad", networks, loss, batching, count=1)
    gan, ((real, z),) = build(networks, loss, batching), draw(networks)
    gan.loss.d_loss(*gan.logits(real, gan.G(z))).backward()
    share = gradient(gan.G)
    assert share.norm() > 0.04 * right.gradients["G"][0].norm()
    torch.testing.assert_close(wrong.gradients["G"][0], right.gradients["G"][0] + share, rtol=1e-12, atol=1e-14)


@without_penalty
def test_no_zero_grad_D_is_right_once_and_then_sums_up(networks: str, loss: str, batching: str) -> None:
    """Claim 3: step 2 adds what step 1 left in D: d_loss's gradient of step 1 and g_loss's, which nobody asked for."""
    wrong, right = compare("d_first_no_zero_grad_D", networks, loss, batching)
    first, first_right = compare("d_first_no_zero_grad_D", networks, loss, batching, count=1)
    assert torch.equal(first.gradients["D"][0], first_right.gradients["D"][0])
    assert same_state(first.gan, first_right.gan)
    left_over = gradient(first.gan.D)
    assert relative_error(left_over, first.gradients["D"][0]) > 0.05  # g_loss's part of it
    torch.testing.assert_close(wrong.gradients["D"][1], right.gradients["D"][1] + left_over, rtol=1e-12, atol=1e-14)
    assert not same_weights(wrong.gan, right.gan)
