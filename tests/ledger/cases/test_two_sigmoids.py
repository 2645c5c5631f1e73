"""D ends in a Sigmoid and the loss takes logits (soumith/ganhacks 36 and 67, torchgan 116); smoothed labels."""

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import REAL, Z, as_real, kinds, line_of, mlp, model, only
from torch import nn

from gantutor.gan import GAN
from gantutor.ledger import compare, trace
from gantutor.losses import NonSaturating
from gantutor.steps import STEPS


def on_logits(output):
    return F.binary_cross_entropy_with_logits(output, torch.ones_like(output))


def on_probabilities(output):
    return F.binary_cross_entropy(output, torch.full_like(output, 0.9))


def step(m, criterion):
    m.opt_D.zero_grad()
    output = m.D(REAL).view(-1)
    loss = criterion(output)
    loss.backward()
    m.opt_D.step()


@pytest.mark.parametrize("criterion", [on_logits, as_real])
def test_a_sigmoid_before_a_loss_on_logits_is_found(criterion):
    record = trace(step, model(D=mlp(6, 1, last=nn.Sigmoid())), criterion)
    found = only(record, "two sigmoids")
    assert found.line == line_of(record, "loss = ")
    assert "D" in found.why
    assert kinds(trace(step, model(), criterion)) == []


def test_probabilities_for_a_loss_on_probabilities_are_right():
    assert kinds(trace(step, model(D=mlp(6, 1, last=nn.Sigmoid())), on_probabilities)) == []


def test_the_packages_own_check_and_trace_say_it_too():
    gan = GAN.with_adam(mlp(4, 6, last=nn.Tanh()), mlp(6, 1, last=nn.Sigmoid()))
    with pytest.raises(ValueError, match=r"(?i)sigmoid"):
        gan.check(REAL.clamp(-1, 1), Z)
    assert kinds(trace(STEPS["d_first_detach"], gan, REAL, Z)) == ["two sigmoids"]


class Smooth(NonSaturating):
    def d_loss(self, logits_real, logits_fake):
        smooth = F.binary_cross_entropy_with_logits(logits_real, torch.full_like(logits_real, 0.9))
        return smooth + F.softplus(logits_fake).mean()


def test_a_loss_of_ones_own_is_traced_and_compared():
    gan = GAN.with_adam(mlp(4, 6), mlp(6, 1))
    gan.loss = Smooth()
    assert kinds(trace(STEPS["d_first_detach"], gan, REAL, Z)) == []
    pair = {name: STEPS[name] for name in ("d_first_detach", "d_first_retain_graph")}
    assert all(found.near for found in compare(pair, gan, REAL, Z).differences)
