"""Spectral norm, old and new.

Sources: pytorch/pytorch 55368: several statements on a line; 62293: two forwards, one backward.
"""

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import Oracle, kinds, mlp, only, shares_of
from torch import nn

from gantutor.ledger import cost, trace


class M:
    def __init__(self, norm):
        torch.manual_seed(0)
        self.G, self.D = mlp(4, 6), mlp(6, 1, norm)
        self.opt_G, self.opt_D = (torch.optim.Adam(n.parameters(), 1e-3) for n in (self.G, self.D))


def step(m, real, z):
    fake = m.G(z)
    m.opt_D.zero_grad()
    d_loss = F.relu(1 - m.D(real)).mean() + F.relu(1 + m.D(fake.detach())).mean()
    d_loss.backward()
    m.opt_D.step()
    m.opt_G.zero_grad()
    g_loss = -m.D(fake).mean()
    g_loss.backward()
    m.opt_G.step()


def two_forwards(m, real, z):
    d_real = m.D(real)
    d_fake = m.D(m.G(z).detach())
    d_loss = d_fake.mean() - d_real.mean()
    m.opt_D.zero_grad()
    d_loss.backward()
    m.opt_D.step()


real, z = torch.randn(8, 6), torch.randn(8, 4)


@pytest.mark.parametrize("norm", ["spectral", "old spectral"])
def test_a_step_is_traced_before_and_after_training_and_its_buffers_come_back(norm):
    m = M(norm)
    step(m, real, z)
    before = {name: value.clone() for name, value in m.D.state_dict().items()}
    record = trace(step, m, real, z)
    assert kinds(record) == kinds(trace(two_forwards, m, real, z)) == []
    assert cost(step, m, real, z, repeats=1).networks["D"].forwards == 3
    assert all(torch.equal(value, before[name]) for name, value in m.D.state_dict().items())
    with Oracle(step, {"G": m.G, "D": m.D}) as oracle:
        step(m, real, z)
    assert shares_of(record) == oracle.shares()


class One:
    def __init__(self):
        self.model = nn.utils.parametrizations.spectral_norm(nn.Linear(2, 5))
        self.opt1, self.opt2 = torch.optim.SGD(self.model.parameters(), 1), torch.optim.SGD(self.model.parameters(), 1)


def oneliners(m, x):
    output = m.model(x)
    loss = output.abs().mean()
    m.opt1.zero_grad(); loss.backward(retain_graph=True); m.opt1.step()  # fmt: skip  # noqa: E702
    m.opt2.zero_grad(); loss.backward(); m.opt2.step()  # fmt: skip  # noqa: E702


def test_several_statements_on_a_line():
    record = trace(oneliners, One(), torch.randn(7, 2))
    found = only(record, "changed in place")
    first = oneliners.__code__.co_firstlineno
    assert found.line == first + 4
    assert "`model.parametrizations.weight.original`" in found.why or "weight" in found.why
    assert f"line {first + 3}" in found.why
    assert "m.opt1.step()" in found.why
