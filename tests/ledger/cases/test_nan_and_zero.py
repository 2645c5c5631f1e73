"""Losses that go to 0 or to NaN (many threads: "discriminator loss is 0"; neosr 31, google/compare_gan 9)."""

import torch
import torch.nn.functional as F
from ledger_helpers import Oracle, at, kinds, line_of, mlp, only, shares_of

from gantutor.ledger import trace


class M:
    def __init__(self):
        torch.manual_seed(0)
        self.G, self.D = mlp(4, 6), mlp(6, 1)
        self.opt_G, self.opt_D = (torch.optim.SGD(n.parameters(), 1e-3) for n in (self.G, self.D))


def margins_met(m, real, z):  # a D that is sure of everything
    m.opt_D.zero_grad()
    logits_real, logits_fake = m.D(real) + 5, m.D(m.G(z).detach()) - 5
    d_loss = F.relu(1 - logits_real).mean() + F.relu(1 + logits_fake).mean()
    d_loss.backward()
    m.opt_D.step()


def saturated(m, real, z):
    m.opt_G.zero_grad()
    p = torch.sigmoid(m.D(m.G(z)) - 120)
    g_loss = torch.log(1 - p).mean()
    g_loss.backward()
    m.opt_G.step()


def log_of_zero(m, real, z):
    m.opt_D.zero_grad()
    p = torch.sigmoid(m.D(real) - 120)
    d_loss = -torch.log(p).mean()
    d_loss.backward()
    m.opt_D.step()
    fake = m.G(z)
    m.opt_G.zero_grad()
    g_loss = F.softplus(-m.D(fake)).mean()
    g_loss.backward()
    m.opt_G.step()


def cancels(m, real, z):
    m.opt_G.zero_grad()
    logits = m.D(m.G(z))
    d_part = F.softplus(logits).mean()
    d_part.backward(retain_graph=True)
    g_part = -F.softplus(logits).mean()
    g_part.backward()


real, z = torch.randn(8, 6), torch.randn(8, 4)


def test_a_gradient_of_0_from_a_loss_is_neither_none_nor_cleared():
    record = trace(margins_met, M(), real, z)
    state = at(record, "d_loss.backward()").networks["D"]
    assert [(share.line, share.norm) for share in state.contributions] == [(line_of(record, "d_loss.backward()"), 0)]
    assert at(record, "d_loss = ").tensors["d_loss"].value == 0
    assert kinds(record) == []


def test_a_saturated_loss_sends_G_nothing():
    record = trace(saturated, M(), real, z)
    state = at(record, "g_loss.backward()").networks["G"]
    assert [share.norm for share in state.contributions] == [0]
    assert kinds(record) == []  # the table shows it; no record tells it from a loss at its lowest


def test_the_first_nan_or_infinity_has_its_line():
    record = trace(log_of_zero, M(), real, z)
    found = only(record, "not a number")
    assert found.line == line_of(record, "d_loss = ")
    assert "`d_loss`" in found.what
    assert "inf" in found.what
    assert record.nonfinite.place.line == found.line


def test_two_shares_that_cancel_are_two_shares():
    m = M()
    record = trace(cancels, m, real, z)
    state = record.lines[-1].networks["G"]
    assert state.gradient_norm < 1e-6 * state.contributions[0].norm
    assert [share.line for share in state.contributions] == [
        line_of(record, "d_part.backward"), line_of(record, "g_part.backward")
    ]  # fmt: skip
    with Oracle(cancels, {"G": m.G, "D": m.D}) as oracle:
        cancels(m, real, z)
    assert shares_of(record) == oracle.shares()
