"""Losses that go backward in helpers; steps of every callable kind.

Sources: facebookresearch/pytorch_GAN_zoo 83 and 85, StyleMapGAN 16.
"""

import functools

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import Oracle, kinds, line_of, mlp, moved, only, shares_of

from gantutor.ledger import trace


class Base:
    def __init__(self):
        torch.manual_seed(0)
        self.netG, self.netD = mlp(4, 6), mlp(6, 1)
        self.optimizerG, self.optimizerD = (torch.optim.Adam(n.parameters(), 1e-3) for n in (self.netG, self.netD))

    def getCriterion(self, pred, real):
        return F.softplus(-pred if real else pred).mean()

    def updateD(self, x, z):
        self.optimizerD.zero_grad()
        lossD = self.getCriterion(self.netD(x), True)
        fake = self.netG(z).detach()
        lossDFake = self.getCriterion(self.netD(fake), False)
        lossD += lossDFake
        lossD.backward()
        self.optimizerD.step()

    def updateG(self, x, z):
        self.optimizerG.zero_grad()
        fake = self.netG(z)
        pred = self.netD(fake)
        lossGFake = self.getCriterion(pred, True)
        lossGFake.backward()
        self.gdpp(fake, x).backward()
        self.optimizerG.step()

    def gdpp(self, fake, x):
        return (fake.T @ fake - x.T @ x).square().mean()

    def optimizeParameters(self, x, z):
        self.updateD(x, z)
        self.updateG(x, z)


x, z = torch.randn(8, 6), torch.randn(8, 4)


@pytest.mark.parametrize("name", ["updateG", "optimizeParameters"])
def test_the_second_loss_on_a_freed_graph_is_found_inside_the_method(name):
    m = Base()
    record = trace(getattr(m, name), x, z)
    found = only(record, "freed graph")
    assert found.line == line_of(record, "self.gdpp(fake, x).backward()")
    assert "`fake`" in found.why
    assert f"line {line_of(record, 'lossGFake.backward()')}" in found.why
    assert "lossGFake.backward(retain_graph=True)" in found.fix
    with Oracle(Base.updateG, {"self.netG": m.netG, "self.netD": m.netD}) as oracle, pytest.raises(RuntimeError):
        getattr(m, name)(x, z)
    assert shares_of(record) == oracle.shares()


def timed(f):  # a decorator without functools.wraps
    def inner(*a):
        return f(*a)

    return inner


@timed
def wrapped(m, x, z):
    m.updateD(x, z)


def make(weight):
    def closure(m, x, z):
        m.optimizerD.zero_grad()
        loss = weight * m.getCriterion(m.netD(x), True)
        loss.backward()
        m.optimizerD.step()

    return closure


class CallableStep:
    def __call__(self, m, x, z):
        m.updateD(x, z)


def by_keyword(m, *, x, z):
    m.updateD(x, z)


m = Base()


def without_arguments():
    m.updateD(x, z)


CALLS = {
    "a decorator without wraps": lambda: trace(wrapped, m, x, z),
    "a closure": lambda: trace(make(2.0), m, x, z),
    "functools.partial": lambda: trace(functools.partial(Base.updateD, m, z=z), x),
    "a bound method": lambda: trace(m.updateD, x, z),
    "a callable object": lambda: trace(CallableStep(), m, x, z),
    "keyword arguments": lambda: trace(by_keyword, m, x=x, z=z),
    "no arguments": lambda: trace(without_arguments),
}


@pytest.mark.parametrize("how", CALLS)
def test_any_callable_is_traced(how):
    record = CALLS[how]()
    assert record.error is None
    assert kinds(record) == []
    assert [name.split(".")[-1] for _, name in moved(record)] == ["netD"]
