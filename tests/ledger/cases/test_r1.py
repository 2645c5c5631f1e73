"""R1: why does the real image require a gradient?.

Sources: podgorskiy/ALAE 55, style-based-gan-pytorch 84, giraffe 44, wgan-gp 4.
"""

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import Oracle, at, kinds, line_of, mlp, shares_of
from torch import nn

from gantutor.ledger import cost, trace


class M:
    def __init__(self):
        torch.manual_seed(0)
        self.G, self.D = mlp(4, 6), nn.Sequential(nn.Linear(6, 16), nn.Softplus(), nn.Linear(16, 1))
        self.opt_G, self.opt_D = (torch.optim.Adam(n.parameters(), 1e-3) for n in (self.G, self.D))


def r1(m, real, z):
    m.opt_D.zero_grad()
    real.requires_grad = True
    real_predict = m.D(real)
    loss_real = F.softplus(-real_predict).mean()
    loss_real.backward(retain_graph=True)
    (grad_real,) = torch.autograd.grad(outputs=real_predict.sum(), inputs=real, create_graph=True)
    penalty = (grad_real.flatten(1).norm(2, dim=1) ** 2).mean()
    penalty = 10 / 2 * penalty
    penalty.backward()
    fake = m.G(z)
    loss_fake = F.softplus(m.D(fake.detach())).mean()
    loss_fake.backward()
    m.opt_D.step()


def copied_too_late(m, real, z):
    m.opt_D.zero_grad()
    predict = m.D(real)
    copy = real.clone().requires_grad_()
    torch.autograd.grad(predict.sum(), copy, create_graph=True)


def not_asked(m, real, z):
    predict = m.D(real)
    torch.autograd.grad(predict.sum(), real, create_graph=True)


real, z = torch.randn(8, 6), torch.randn(8, 4)


def test_r1_adds_to_D_alone_and_the_image_is_a_leaf_that_is_given_back():
    m = M()
    record = trace(r1, m, real, z)
    assert kinds(record) == []
    assert not real.requires_grad
    assert real.grad is None
    applied = at(record, "m.opt_D.step()").networks
    lines = [line_of(record, f"{name}.backward") for name in ("loss_real", "penalty", "loss_fake")]
    assert [share.line for share in applied["D"].contributions] == lines
    assert applied["G"].with_gradient == 0
    leaf = [line.tensors["real"].gradient_norm for line in record.lines if "real" in line.tensors]
    assert leaf[-1] > 0  # each backward leaves a gradient in the image too, which nobody needs
    with Oracle(r1, {"G": m.G, "D": m.D}) as oracle:
        r1(m, real.clone(), z)
    assert shares_of(record) == oracle.shares()
    assert cost(r1, m, real, z, repeats=1).networks["D"].forwards == 2


@pytest.mark.parametrize(
    ("step", "words"), [(copied_too_late, "was not used for `predict`"), (not_asked, "does not require a gradient")]
)
def test_the_two_errors_of_a_penalty_that_cannot_reach_its_image(step, words):
    record = trace(step, M(), real, z)
    assert record.error is not None
    assert kinds(record) == ["penalty cannot reach"]
    assert words in record.findings[0].why
    assert "requires_grad_()" in record.findings[0].fix
