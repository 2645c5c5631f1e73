"""Penalties (caogang/wgan-gp 21, igul222/improved_wgan_training 18, eriklindernoren/PyTorch-GAN 6, junyanz 1201)."""

import copy

import pytest
import torch
from ledger_helpers import Oracle, at, kinds, line_of, mlp, only, shares_of
from torch import nn

from gantutor.ledger import compare, cost, trace


class M:
    def __init__(self):
        torch.manual_seed(0)
        self.G, self.D = mlp(4, 6), nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
        self.opt_G, self.opt_D = (torch.optim.Adam(n.parameters(), 1e-3) for n in (self.G, self.D))


def penalty(D, real, fake, create):
    a = torch.linspace(0.05, 0.95, len(real))[:, None]
    mixed = (a * real + (1 - a) * fake).requires_grad_(True)
    scores = D(mixed)
    grads = torch.autograd.grad(scores, mixed, torch.ones_like(scores), create_graph=create, retain_graph=True)[0]
    return ((grads.norm(2, dim=1) - 1) ** 2).mean() * 10


def right(m, real, z):
    fake = m.G(z).detach()
    m.opt_D.zero_grad()
    gp = penalty(m.D, real, fake, True)
    d_loss = m.D(fake).mean() - m.D(real).mean() + gp
    d_loss.backward()
    m.opt_D.step()


def constant(m, real, z):
    fake = m.G(z).detach()
    m.opt_D.zero_grad()
    gp = penalty(m.D, real, fake, False)
    d_loss = m.D(fake).mean() - m.D(real).mean() + gp
    d_loss.backward()
    m.opt_D.step()


def constant_alone(m, real, z):
    fake = m.G(z).detach()
    m.opt_D.zero_grad()
    gp = penalty(m.D, real, fake, False)
    gp.backward()
    m.opt_D.step()


def three(m, real, z):
    one, mone = torch.tensor(1.0), torch.tensor(-1.0)
    fake = m.G(z)
    m.D.zero_grad()
    D_real = m.D(real).mean()
    D_real.backward(mone)
    D_fake = m.D(fake.detach()).mean()
    D_fake.backward(one)
    gp = penalty(m.D, real, fake.data, True)
    gp.backward()
    m.opt_D.step()


def graph_in_grad(m, real, z):
    fake = m.G(z).detach()
    m.opt_D.zero_grad()
    d_loss = m.D(fake).mean() - m.D(real).mean()
    d_loss.backward(create_graph=True)
    norm = torch.cat([p.grad.flatten() for p in m.D.parameters()]).norm()
    reg = (norm - 1) ** 2
    reg.backward()
    m.opt_D.step()


real, z = torch.randn(8, 6), torch.randn(8, 4)


@pytest.mark.parametrize("step", [right, three])
def test_a_right_penalty_has_shares_as_the_oracle_sees_them(step):
    m = M()
    record = trace(step, m, real, z)
    assert kinds(record) == []
    with Oracle(step, {"G": m.G, "D": m.D}) as oracle:
        step(copy.copy(m), real, z)
    assert shares_of(record) == oracle.shares()


@pytest.mark.parametrize("step", [constant, constant_alone])
def test_a_penalty_without_create_graph_is_a_constant(step):
    record = trace(step, M(), real, z)
    assert (record.error is None) == (step is constant)
    found = only(record, "constant penalty")
    assert "create_graph=True" in found.fix
    assert "`gp`" in found.what
    assert at(record, "gp = ").tensors["gp"].state == "no graph"


@pytest.mark.filterwarnings("ignore:Using backward")
def test_a_backward_that_leaves_a_graph_in_grad_is_a_leak():
    record = trace(graph_in_grad, M(), real, z)
    found = only(record, "kept graph")
    assert found.line == line_of(record, "d_loss.backward(create_graph=True)")
    assert "torch.autograd.grad" in found.fix


def test_the_three_backwards_are_the_same_update_as_the_sum():
    same = compare({"right": right, "constant": constant, "three": three}, M(), real, z)
    assert same.between("right", "three", "D").near
    assert not same.between("right", "constant", "D").near


def test_cost_counts_every_product_once():
    found = cost(right, M(), real, z, repeats=1)
    assert found.networks["D"].forwards == 3
    parts = [*found.networks.values(), found.elsewhere]
    assert sum(part.forward_flops + part.backward_flops for part in parts) == found.flops
