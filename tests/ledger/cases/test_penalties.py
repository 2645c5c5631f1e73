"""Gradient penalties and R1.

Sources: caogang/wgan-gp 4 and 21, igul222/improved_wgan_training 18, eriklindernoren/PyTorch-GAN 6, junyanz 1201;
podgorskiy/ALAE 55, style-based-gan-pytorch 84, giraffe 44 (why does the real image require a gradient?).
"""

import pytest
import torch
from ledger_helpers import REAL, Z, as_fake, as_real, assert_shares_are_the_oracles, at, finds, kinds, line_of, model
from torch import nn

from gantutor.ledger import compare, cost, trace


def smooth_model():
    return model(D=nn.Sequential(nn.Linear(6, 16), nn.Softplus(), nn.Linear(16, 1)))


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
    finds(record, "constant penalty", "grads = ", "`gp`", fix="create_graph=True")
    assert at(record, "gp = ").tensors["gp"].state == "no graph"


def graph_in_grad(m):
    fake = m.G(Z).detach()
    m.opt_D.zero_grad()
    d_loss = m.D(fake).mean() - m.D(REAL).mean()
    d_loss.backward(create_graph=True)
    norm = torch.cat([p.grad.flatten() for p in m.D.parameters()]).norm()
    reg = (norm - 1) ** 2
    reg.backward()
    m.opt_D.step()


@pytest.mark.filterwarnings("ignore:Using backward")
def test_a_backward_that_leaves_a_graph_in_grad_is_a_leak():
    record = trace(graph_in_grad, smooth_model())
    finds(record, "kept graph", "d_loss.backward(create_graph=True)", fix="torch.autograd.grad")


def test_the_three_backwards_are_the_same_update_as_the_sum():
    same = compare({"right": right, "constant": constant, "three": three}, smooth_model())
    assert same.between("right", "three", "D").near
    assert not same.between("right", "constant", "D").near


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


def copied_too_late(m, real):
    predict = m.D(real)
    copy = real.clone().requires_grad_()
    torch.autograd.grad(predict.sum(), copy, create_graph=True)


def not_asked(m, real):
    predict = m.D(real)
    torch.autograd.grad(predict.sum(), real, create_graph=True)


@pytest.mark.parametrize(
    ("step", "words"), [(copied_too_late, "was not used for `predict`"), (not_asked, "does not require a gradient")]
)
def test_the_two_errors_of_a_penalty_that_cannot_reach_its_image(step, words):
    record = trace(step, smooth_model(), REAL)
    assert record.error is not None
    finds(record, "penalty cannot reach", "torch.autograd.grad", words, fix="requires_grad_()")
