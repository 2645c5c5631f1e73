"""R1: why does the real image require a gradient?

Sources: podgorskiy/ALAE 55, style-based-gan-pytorch 84, giraffe 44, wgan-gp 4.
"""

import pytest
import torch
from ledger_helpers import REAL, Z, as_fake, as_real, assert_shares_are_the_oracles, at, kinds, line_of, model, only
from torch import nn

from gantutor.ledger import cost, trace


def smooth_model():
    return model(D=nn.Sequential(nn.Linear(6, 16), nn.Softplus(), nn.Linear(16, 1)))


def r1(m, real):
    m.opt_D.zero_grad()
    real.requires_grad = True
    real_predict = m.D(real)
    loss_real = as_real(real_predict)
    loss_real.backward(retain_graph=True)
    (grad_real,) = torch.autograd.grad(outputs=real_predict.sum(), inputs=real, create_graph=True)
    penalty = (grad_real.flatten(1).norm(2, dim=1) ** 2).mean()
    penalty = 10 / 2 * penalty
    penalty.backward()
    loss_fake = as_fake(m.D(m.G(Z).detach()))
    loss_fake.backward()
    m.opt_D.step()


def copied_too_late(m, real):
    predict = m.D(real)
    copy = real.clone().requires_grad_()
    torch.autograd.grad(predict.sum(), copy, create_graph=True)


def not_asked(m, real):
    predict = m.D(real)
    torch.autograd.grad(predict.sum(), real, create_graph=True)


def test_r1_adds_to_D_alone_and_the_image_is_a_leaf_that_is_given_back():
    m, real = smooth_model(), REAL.clone()
    record = trace(r1, m, real)
    assert kinds(record) == []
    assert not real.requires_grad
    assert real.grad is None
    applied = at(record, "m.opt_D.step()").networks
    lines = [line_of(record, f"{name}.backward") for name in ("loss_real", "penalty", "loss_fake")]
    assert [share.line for share in applied["D"].contributions] == lines
    assert applied["G"].with_gradient == 0
    assert record.lines[-1].tensors["real"].gradient_norm > 0  # each backward leaves one there, which nobody needs
    assert cost(r1, m, real, repeats=1).networks["D"].forwards == 2
    assert_shares_are_the_oracles(record, r1, {"G": m.G, "D": m.D}, m, real)


@pytest.mark.parametrize(
    ("step", "words"), [(copied_too_late, "was not used for `predict`"), (not_asked, "does not require a gradient")]
)
def test_the_two_errors_of_a_penalty_that_cannot_reach_its_image(step, words):
    record = trace(step, smooth_model(), REAL)
    assert record.error is not None
    found = only(record, "penalty cannot reach")
    assert words in found.why
    assert "requires_grad_()" in found.fix
