"""Spectral norm, old and new.

Sources: pytorch/pytorch 55368: several statements on a line; 62293: two forwards, one backward.
"""

from types import SimpleNamespace

import pytest
import torch
from ledger_helpers import REAL, Z, as_fake, as_real, assert_shares_are_the_oracles, kinds, mlp, model, only
from torch import nn

from gantutor.ledger import cost, trace


def step(m):
    fake = m.G(Z)
    m.opt_D.zero_grad()
    d_real = m.D(REAL)
    d_fake = m.D(fake.detach())
    d_loss = as_real(d_real) + as_fake(d_fake)
    d_loss.backward()
    m.opt_D.step()
    m.opt_G.zero_grad()
    g_loss = -m.D(fake).mean()
    g_loss.backward()
    m.opt_G.step()


@pytest.mark.parametrize("norm", ["spectral", "old spectral"])
def test_a_step_is_traced_before_and_after_training_and_its_buffers_come_back(norm):
    m = model(D=mlp(6, 1, norm))
    assert kinds(trace(step, m)) == []
    step(m)
    before = {name: value.clone() for name, value in m.D.state_dict().items()}
    record = trace(step, m)
    assert kinds(record) == []
    assert cost(step, m, repeats=1).networks["D"].forwards == 3
    assert all(torch.equal(value, before[name]) for name, value in m.D.state_dict().items())
    assert_shares_are_the_oracles(record, step, {"G": m.G, "D": m.D}, m)


def oneliners(m, x):
    output = m.net(x)
    loss = output.abs().mean()
    m.opt1.zero_grad(); loss.backward(retain_graph=True); m.opt1.step()  # fmt: skip  # noqa: E702
    m.opt2.zero_grad(); loss.backward(); m.opt2.step()  # fmt: skip  # noqa: E702


def test_several_statements_on_a_line():
    net = nn.utils.parametrizations.spectral_norm(nn.Linear(2, 5))
    opt1, opt2 = (torch.optim.SGD(net.parameters(), 1) for _ in range(2))
    found = only(
        trace(oneliners, SimpleNamespace(net=net, opt1=opt1, opt2=opt2), torch.randn(7, 2)), "changed in place"
    )
    first = oneliners.__code__.co_firstlineno
    assert found.line == first + 4
    assert "weight" in found.why
    assert f"line {first + 3}" in found.why
    assert "m.opt1.step()" in found.why
