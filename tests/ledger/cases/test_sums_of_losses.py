"""Losses at 0 and NaN, two sigmoids, evaluation mode, and right answers in the shapes of public repositories.

Sources: "discriminator loss is 0", neosr 31, google/compare_gan 9; soumith/ganhacks 36 and 67, torchgan 116 (a sigmoid
before a loss on logits); junyanz 1329, pytorch/examples 119, 804, 807, ganomaly 83 (eval() in the middle of a step, and
forgotten); martinarjovsky/WassersteinGAN (an answer to an exercise).
"""

import pytest
import torch
import torch.nn.functional as F
from helpers import build, draw
from ledger_helpers import (
    REAL,
    Z,
    as_fake,
    as_real,
    assert_shares_are_the_oracles,
    at,
    finds,
    kinds,
    line_of,
    mlp,
    model,
)
from torch import nn

from gantutor import checks
from gantutor.gan import GAN
from gantutor.ledger import compare, trace
from gantutor.losses import NonSaturating
from gantutor.steps import STEPS

# 0 and NaN


def margins_met(m):  # a D that is sure of everything
    m.opt_D.zero_grad()
    logits_real, logits_fake = m.D(REAL) + 5, m.D(m.G(Z).detach()) - 5
    loss = F.relu(1 - logits_real).mean() + F.relu(1 + logits_fake).mean()
    loss.backward()
    m.opt_D.step()


def saturated(m):
    m.opt_G.zero_grad()
    p = torch.sigmoid(m.D(m.G(Z)) - 120)
    loss = torch.log(1 - p).mean()
    loss.backward()
    m.opt_G.step()


@pytest.mark.parametrize(("step", "network"), [(margins_met, "D"), (saturated, "G")])
def test_a_gradient_of_0_from_a_loss_is_neither_none_nor_cleared(step, network):
    """The table shows it, and no record tells a saturated loss from one at its lowest."""
    record = trace(step, model())
    sent = at(record, "loss.backward()")
    assert [(share.line, share.norm) for share in sent.networks[network].contributions] == [(sent.number, 0)]
    assert at(record, "loss = ").tensors["loss"].value == 0
    assert kinds(record) == []


def log_of_zero(m):
    m.opt_D.zero_grad()
    p = torch.sigmoid(m.D(REAL) - 120)
    d_loss = -torch.log(p).mean()
    d_loss.backward()
    m.opt_D.step()
    m.opt_G.zero_grad()
    as_real(m.D(m.G(Z))).backward()
    m.opt_G.step()


def test_the_first_nan_or_infinity_has_its_line():
    record = trace(log_of_zero, model(kind=torch.optim.SGD))
    assert finds(record, "not a number", "d_loss = ", "`d_loss`", "inf").line == record.nonfinite.place.line


def cancels(m):
    m.opt_G.zero_grad()
    logits = m.D(m.G(Z))
    d_part = as_fake(logits)
    d_part.backward(retain_graph=True)
    g_part = -as_fake(logits)
    g_part.backward()


def test_two_shares_that_cancel_are_two_shares():
    m = model()
    record = trace(cancels, m)
    state = record.lines[-1].networks["G"]
    assert state.gradient_norm < 1e-6 * state.contributions[0].norm
    lines = [line_of(record, "d_part.backward"), line_of(record, "g_part.backward")]
    assert [share.line for share in state.contributions] == lines
    assert_shares_are_the_oracles(record, cancels, {"G": m.G, "D": m.D}, m)


# A sigmoid before a loss on logits


def on_logits(output):
    return F.binary_cross_entropy_with_logits(output, torch.ones_like(output))


def on_probabilities(output):
    return F.binary_cross_entropy(output, torch.full_like(output, 0.9))


def scores(m, criterion):
    m.opt_D.zero_grad()
    output = m.D(REAL).view(-1)
    loss = criterion(output)
    loss.backward()
    m.opt_D.step()


def test_a_sigmoid_before_a_loss_on_logits_is_found_and_one_before_a_loss_on_probabilities_is_right():
    with_sigmoid = mlp(6, 1, last=nn.Sigmoid())
    for criterion in (on_logits, as_real):
        finds(trace(scores, model(D=with_sigmoid), criterion), "two sigmoids", "loss = ", "D")
        assert kinds(trace(scores, model(), criterion)) == []
    assert kinds(trace(scores, model(D=with_sigmoid), on_probabilities)) == []
    gan = GAN.with_adam(mlp(4, 6, last=nn.Tanh()), with_sigmoid)  # the package's own check says it, too
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


# Evaluation mode


def batch_model():
    return model(mlp(4, 6, "batch"), mlp(6, 1, "batch"))


def forgotten(m):
    m.G.eval()
    m.opt_G.zero_grad()
    g_loss = as_real(m.D(m.G(Z)))
    g_loss.backward()
    m.opt_G.step()


def in_train(m, real):
    m.G.eval()
    with torch.no_grad():
        fake = m.G(Z)
    m.G.train()
    m.opt_D.zero_grad()
    d_loss = as_real(m.D(real)) + as_fake(m.D(fake))
    d_loss.backward()
    m.opt_D.step()
    m.opt_G.zero_grad()
    g_loss = as_real(m.D(m.G(Z)))
    g_loss.backward()
    m.opt_G.step()


def test_a_network_that_is_trained_in_eval_mode_is_named_with_the_line_that_set_it():
    m = batch_model()
    found = finds(trace(forgotten, m), "wrong mode", "g_loss = ", by="m.G.eval()")
    assert found.fix.startswith("m.G.train()")
    assert m.G.training


def test_sampling_in_eval_mode_and_going_back_is_right_and_a_batch_of_one_image_is_torchs_own_error():
    record = trace(in_train, batch_model(), REAL)
    assert kinds(record) == []
    assert (at(record, "m.G.eval()").networks["G"].training, record.lines[-1].networks["G"].training) == (False, True)
    assert record.lines[-1].networks["G"].batchnorms[0].batches == 1
    record = trace(in_train, batch_model(), REAL[:1])
    assert "more than 1 value per channel" in str(record.error)
    assert kinds(record) == []


# Right answers in the shapes of public repositories


def wgan_repository(gan, reals, zs, z, clip):
    one = torch.tensor(1.0, dtype=z.dtype)
    for p in gan.D.parameters():
        p.requires_grad = True
    for real, noise in zip(reals, zs, strict=True):
        gan.D.zero_grad()
        gan.D(real).mean().backward(-one)
        with torch.no_grad():
            fake = gan.G(noise)
        gan.D(fake).mean().backward(one)
        gan.opt_D.step()
        for p in gan.D.parameters():
            p.data.clamp_(-clip, clip)
    for p in gan.D.parameters():
        p.requires_grad = False
    gan.G.zero_grad()
    gan.D(gan.G(z)).mean().backward(-one)
    gan.opt_G.step()


def test_the_exercise_on_the_critics_steps_accepts_the_repositorys_answer():
    assert checks.k_steps(wgan_repository).passed


def frozen(gan, real, z):
    fake = gan.G(z)
    gan.opt_D.zero_grad()
    gan.loss.d_loss(gan.D(real), gan.D(fake.detach())).backward()
    gan.opt_D.step()
    for p in gan.D.parameters():
        p.requires_grad = False
    gan.opt_G.zero_grad()
    gan.loss.g_loss(gan.D(fake)).backward()
    gan.opt_G.step()
    for p in gan.D.parameters():
        p.requires_grad = True


def by_inputs(gan, real, z):
    fake = gan.G(z)
    gan.opt_D.zero_grad()
    gan.loss.d_loss(gan.D(real), gan.D(fake)).backward(retain_graph=True, inputs=list(gan.D.parameters()))
    gan.opt_D.step()
    gan.opt_G.zero_grad(set_to_none=False)
    gan.loss.g_loss(gan.D(fake)).backward()
    gan.opt_G.step()


@pytest.mark.parametrize("step", [frozen, by_inputs])
def test_the_ledger_finds_nothing_in_a_right_step(step):
    assert kinds(trace(step, build("points"), *draw("points")[0])) == []
