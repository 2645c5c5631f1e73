"""A script whose loop body uses module-level networks and optimizers.

Sources: pytorch/pytorch 39141, MorvanZhou/PyTorch-Tutorial 89.
"""

from types import SimpleNamespace

import pytest
import torch
from ledger_helpers import at, kinds, line_of, mlp, moved, only
from torch import nn

from gantutor.ledger import compare, cost, trace

torch.manual_seed(0)
G, D = mlp(5, 15), mlp(15, 1, last=nn.Sigmoid())
opt_D, opt_G = torch.optim.Adam(D.parameters(), 1e-3), torch.optim.Adam(G.parameters(), 1e-3)


def as_posted():
    paintings = torch.randn(64, 15)
    made = G(torch.randn(64, 5))
    p0, p1 = D(paintings), D(made)
    D_loss = -torch.mean(torch.log(p0) + torch.log(1.0 - p1))
    G_loss = torch.mean(torch.log(1.0 - p1))
    opt_D.zero_grad()
    D_loss.backward(retain_graph=True)
    opt_D.step()
    opt_G.zero_grad()
    G_loss.backward()
    opt_G.step()


def score_again(m):  # the networks in an object, the optimizers global
    made = m.G(torch.randn(64, 5))
    opt_D.zero_grad()
    D_loss = -torch.mean(torch.log(D(torch.randn(64, 15))) + torch.log(1.0 - D(made.detach())))
    D_loss.backward()
    opt_D.step()
    opt_G.zero_grad()
    G_loss = torch.mean(torch.log(1.0 - m.D(made)))
    G_loss.backward()
    opt_G.step()


def test_the_posted_step_is_explained_by_the_names_of_the_script_and_put_back():
    before = [p.detach().clone() for p in D.parameters()]
    record = trace(as_posted)
    assert set(record.before) == {"G", "D"}
    assert isinstance(record.error, RuntimeError)
    found = only(record, "changed in place")
    assert found.line == line_of(record, "G_loss.backward()")
    assert "`D.2.weight`" in found.why
    assert f"line {line_of(record, 'opt_D.step()')}" in found.why
    assert "p1 = D(made)" in found.fix
    assert all(torch.equal(a, b) for a, b in zip(before, D.parameters(), strict=True))
    assert not opt_D.state


def test_the_step_that_scores_again_has_nothing_to_say_and_moves_nothing():
    m = SimpleNamespace(G=G, D=D)
    for p in [*G.parameters(), *D.parameters()]:
        p.grad = torch.ones_like(p)  # as a step leaves them that ends before zero_grad
    before = [p.detach().clone() for p in D.parameters()]
    kept = D(G(torch.randn(4, 5))).mean()
    record = trace(score_again, m)
    assert kinds(record) == []
    assert moved(record) == [("opt_D.step()", "D"), ("opt_G.step()", "G")]
    shares = at(record, "D_loss.backward()").networks["D"].contributions
    assert [share.line for share in shares] == [line_of(record, "D_loss.backward()")]
    assert all(torch.equal(a, b) for a, b in zip(before, D.parameters(), strict=True))
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in [*G.parameters(), *D.parameters()])
    kept.backward()  # raises if a weight's version was changed
    same = compare({"once": score_again, "again": score_again}, m)
    assert all(found.equal for found in same.differences)
    assert cost(score_again, m, repeats=1).networks["D"].forwards == 3


@pytest.fixture(autouse=True)
def no_gradients():
    opt_D.zero_grad()
    opt_G.zero_grad()
