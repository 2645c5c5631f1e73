"""Losses that go to 0 or to NaN (many threads: "discriminator loss is 0"; neosr 31, google/compare_gan 9)."""

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import REAL, Z, as_fake, as_real, assert_shares_are_the_oracles, at, kinds, line_of, model, only

from gantutor.ledger import trace


def margins_met(m):  # a D that is sure of everything
    m.opt_D.zero_grad()
    logits_real, logits_fake = m.D(REAL) + 5, m.D(m.G(Z).detach()) - 5
    loss = F.relu(1 - logits_real).mean() + F.relu(1 + logits_fake).mean()
    loss.backward()
    m.opt_D.step()


def saturated(m):
    m.opt_G.zero_grad()
    p = torch.sigmoid(m.D(m.G(Z)) - 120)
    loss = torch.log(1 - p).mean()
    loss.backward()
    m.opt_G.step()


@pytest.mark.parametrize(("step", "network"), [(margins_met, "D"), (saturated, "G")])
def test_a_gradient_of_0_from_a_loss_is_neither_none_nor_cleared(step, network):
    """The table shows it, and no record tells a saturated loss from one at its lowest."""
    record = trace(step, model())
    state = at(record, "loss.backward()").networks[network]
    assert [(share.line, share.norm) for share in state.contributions] == [(line_of(record, "loss.backward()"), 0)]
    assert at(record, "loss = ").tensors["loss"].value == 0
    assert kinds(record) == []


def log_of_zero(m):
    m.opt_D.zero_grad()
    p = torch.sigmoid(m.D(REAL) - 120)
    d_loss = -torch.log(p).mean()
    d_loss.backward()
    m.opt_D.step()
    m.opt_G.zero_grad()
    as_real(m.D(m.G(Z))).backward()
    m.opt_G.step()


def test_the_first_nan_or_infinity_has_its_line():
    record = trace(log_of_zero, model(kind=torch.optim.SGD))
    found = only(record, "not a number")
    assert found.line == record.nonfinite.place.line == line_of(record, "d_loss = ")
    assert "`d_loss`" in found.what
    assert "inf" in found.what


def cancels(m):
    m.opt_G.zero_grad()
    logits = m.D(m.G(Z))
    d_part = as_fake(logits)
    d_part.backward(retain_graph=True)
    g_part = -as_fake(logits)
    g_part.backward()


def test_two_shares_that_cancel_are_two_shares():
    m = model()
    record = trace(cancels, m)
    state = record.lines[-1].networks["G"]
    assert state.gradient_norm < 1e-6 * state.contributions[0].norm
    lines = [line_of(record, "d_part.backward"), line_of(record, "g_part.backward")]
    assert [share.line for share in state.contributions] == lines
    assert_shares_are_the_oracles(record, cancels, {"G": m.G, "D": m.D}, m)
