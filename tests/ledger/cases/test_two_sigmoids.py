"""D ends in a Sigmoid and the loss takes logits (soumith/ganhacks 36 and 67, torchgan 116); smoothed labels."""

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import kinds, line_of, mlp, only
from torch import nn

from gantutor.gan import GAN
from gantutor.ledger import compare, trace
from gantutor.losses import NonSaturating
from gantutor.steps import STEPS

real, z = torch.randn(64, 6).clamp(-1, 1), torch.randn(64, 4)


class M:
    def __init__(self, last):
        torch.manual_seed(0)
        self.D = mlp(6, 1, last=last)
        self.opt_D = torch.optim.Adam(self.D.parameters(), 1e-3)


def with_logits(m, real):
    m.opt_D.zero_grad()
    output = m.D(real).view(-1)
    errD_real = F.binary_cross_entropy_with_logits(output, torch.ones_like(output))
    errD_real.backward()
    m.opt_D.step()


def with_softplus(m, real):
    m.opt_D.zero_grad()
    output = m.D(real).view(-1)
    errD_real = F.softplus(-output).mean()
    errD_real.backward()
    m.opt_D.step()


def with_probabilities(m, real):
    m.opt_D.zero_grad()
    output = m.D(real).view(-1)
    errD_real = F.binary_cross_entropy(output, torch.full_like(output, 0.9))
    errD_real.backward()
    m.opt_D.step()


@pytest.mark.parametrize("step", [with_logits, with_softplus])
def test_a_sigmoid_before_a_loss_on_logits_is_found(step):
    record = trace(step, M(nn.Sigmoid()), real)
    found = only(record, "two sigmoids")
    assert found.line == line_of(record, "errD_real = ")
    assert "D" in found.why
    assert kinds(trace(step, M(None), real)) == []


def test_probabilities_for_a_loss_on_probabilities_are_right():
    assert kinds(trace(with_probabilities, M(nn.Sigmoid()), real)) == []


def test_the_packages_own_check_and_trace_say_it_too():
    gan = GAN.with_adam(mlp(4, 6, last=nn.Tanh()), mlp(6, 1, last=nn.Sigmoid()))
    with pytest.raises(ValueError, match=r"(?i)sigmoid"):
        gan.check(real, z)
    assert set(kinds(trace(STEPS["d_first_detach"], gan, real, z))) == {"two sigmoids"}


class Smooth(NonSaturating):
    def d_loss(self, logits_real, logits_fake):
        smooth = F.binary_cross_entropy_with_logits(logits_real, torch.full_like(logits_real, 0.9))
        return smooth + F.softplus(logits_fake).mean()


def test_a_loss_of_ones_own_is_traced_and_compared():
    gan = GAN.with_adam(mlp(4, 6), mlp(6, 1))
    gan.loss = Smooth()
    assert kinds(trace(STEPS["d_first_detach"], gan, real, z)) == []
    pair = {name: STEPS[name] for name in ("d_first_detach", "d_first_retain_graph")}
    same = compare(pair, gan, real, z)
    assert all(found.near for found in same.differences)
