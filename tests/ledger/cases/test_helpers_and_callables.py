"""Losses that go backward in helpers; steps of every callable kind.

Sources: facebookresearch/pytorch_GAN_zoo 83 and 85, StyleMapGAN 16.
"""

import functools

import pytest
import torch
from ledger_helpers import REAL, Oracle, Z, as_fake, as_real, kinds, line_of, mlp, moved, only, shares_of

from gantutor.ledger import trace


class Base:
    def __init__(self):
        torch.manual_seed(0)
        self.netG, self.netD = mlp(4, 6), mlp(6, 1)
        self.optimizerG, self.optimizerD = (torch.optim.Adam(n.parameters(), 1e-3) for n in (self.netG, self.netD))

    def updateD(self, x, z):
        self.optimizerD.zero_grad()
        lossD = as_real(self.netD(x))
        lossD += as_fake(self.netD(self.netG(z).detach()))
        lossD.backward()
        self.optimizerD.step()

    def updateG(self, x, z):
        self.optimizerG.zero_grad()
        fake = self.netG(z)
        lossGFake = as_real(self.netD(fake))
        lossGFake.backward()
        self.gdpp(fake, x).backward()
        self.optimizerG.step()

    def gdpp(self, fake, x):
        return (fake.T @ fake - x.T @ x).square().mean()

    def optimizeParameters(self, x, z):
        self.updateD(x, z)
        self.updateG(x, z)


@pytest.mark.parametrize("name", ["updateG", "optimizeParameters"])
def test_the_second_loss_on_a_freed_graph_is_found_inside_the_method(name):
    m = Base()
    record = trace(getattr(m, name), REAL, Z)
    found = only(record, "freed graph")
    assert found.line == line_of(record, "self.gdpp(fake, x).backward()")
    assert "`fake`" in found.why
    assert f"line {line_of(record, 'lossGFake.backward()')}" in found.why
    assert "lossGFake.backward(retain_graph=True)" in found.fix
    with Oracle(Base.updateG, {"self.netG": m.netG, "self.netD": m.netD}) as oracle, pytest.raises(RuntimeError):
        getattr(m, name)(REAL, Z)
    assert shares_of(record) == oracle.shares()


def timed(f):  # a decorator without functools.wraps
    def inner(*a):
        return f(*a)

    return inner


@timed
def wrapped(m, x, z):
    m.updateD(x, z)


def make(weight):
    def closure(m, x):
        m.optimizerD.zero_grad()
        loss = weight * as_real(m.netD(x))
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
    m.updateD(REAL, Z)


CALLS = {
    "a decorator without wraps": lambda: trace(wrapped, m, REAL, Z),
    "a closure": lambda: trace(make(2.0), m, REAL),
    "functools.partial": lambda: trace(functools.partial(Base.updateD, m, z=Z), REAL),
    "a bound method": lambda: trace(m.updateD, REAL, Z),
    "a callable object": lambda: trace(CallableStep(), m, REAL, Z),
    "keyword arguments": lambda: trace(by_keyword, m, x=REAL, z=Z),
    "no arguments": lambda: trace(without_arguments),
}


@pytest.mark.parametrize("how", CALLS)
def test_any_callable_is_traced(how):
    record = CALLS[how]()
    assert record.error is None
    assert kinds(record) == []
    assert [name.split(".")[-1] for _, name in moved(record)] == ["netD"]
