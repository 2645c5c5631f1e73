"""Penalties (caogang/wgan-gp 21, igul222/improved_wgan_training 18, eriklindernoren/PyTorch-GAN 6, junyanz 1201)."""

import pytest
import torch
from ledger_helpers import REAL, Z, assert_shares_are_the_oracles, at, kinds, line_of, model, only
from torch import nn

from gantutor.ledger import compare, cost, trace


def smooth_model():
    return model(D=nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1)))


def penalty(D, fake, create):
    a = torch.linspace(0.05, 0.95, len(REAL))[:, None]
    mixed = (a * REAL + (1 - a) * fake).requires_grad_(True)
    scores = D(mixed)
    grads = torch.autograd.grad(scores, mixed, torch.ones_like(scores), create_graph=create, retain_graph=True)[0]
    return ((grads.norm(2, dim=1) - 1) ** 2).mean() * 10


def right(m):
    fake = m.G(Z).detach()
    m.opt_D.zero_grad()
    gp = penalty(m.D, fake, True)
    d_loss = m.D(fake).mean() - m.D(REAL).mean() + gp
    d_loss.backward()
    m.opt_D.step()


def constant(m):
    fake = m.G(Z).detach()
    m.opt_D.zero_grad()
    gp = penalty(m.D, fake, False)
    d_loss = m.D(fake).mean() - m.D(REAL).mean() + gp
    d_loss.backward()
    m.opt_D.step()


def constant_alone(m):
    m.opt_D.zero_grad()
    gp = penalty(m.D, m.G(Z).detach(), False)
    gp.backward()
    m.opt_D.step()


def three(m):
    one, mone = torch.tensor(1.0), torch.tensor(-1.0)
    fake = m.G(Z)
    m.D.zero_grad()
    D_real = m.D(REAL).mean()
    D_real.backward(mone)
    D_fake = m.D(fake.detach()).mean()
    D_fake.backward(one)
    gp = penalty(m.D, fake.data, True)
    gp.backward()
    m.opt_D.step()


def graph_in_grad(m):
    fake = m.G(Z).detach()
    m.opt_D.zero_grad()
    d_loss = m.D(fake).mean() - m.D(REAL).mean()
    d_loss.backward(create_graph=True)
    norm = torch.cat([p.grad.flatten() for p in m.D.parameters()]).norm()
    reg = (norm - 1) ** 2
    reg.backward()
    m.opt_D.step()


@pytest.mark.parametrize("step", [right, three])
def test_a_right_penalty_has_shares_as_the_oracle_sees_them(step):
    m = smooth_model()
    record = trace(step, m)
    assert kinds(record) == []
    assert cost(step, m, repeats=1).networks["D"].forwards == 3
    assert_shares_are_the_oracles(record, step, {"G": m.G, "D": m.D}, m)


@pytest.mark.parametrize("step", [constant, constant_alone])
def test_a_penalty_without_create_graph_is_a_constant(step):
    record = trace(step, smooth_model())
    assert (record.error is None) == (step is constant)
    found = only(record, "constant penalty")
    assert "create_graph=True" in found.fix
    assert "`gp`" in found.what
    assert at(record, "gp = ").tensors["gp"].state == "no graph"


@pytest.mark.filterwarnings("ignore:Using backward")
def test_a_backward_that_leaves_a_graph_in_grad_is_a_leak():
    record = trace(graph_in_grad, smooth_model())
    found = only(record, "kept graph")
    assert found.line == line_of(record, "d_loss.backward(create_graph=True)")
    assert "torch.autograd.grad" in found.fix


def test_the_three_backwards_are_the_same_update_as_the_sum():
    same = compare({"right": right, "constant": constant, "three": three}, smooth_model())
    assert same.between("right", "three", "D").near
    assert not same.between("right", "constant", "D").near
