"""Right answers in the shapes of public repositories: exercises accept them, and the ledger finds nothing in them."""

import pytest
import torch
from helpers import build, draw
from ledger_helpers import as_fake, as_real, kinds

from gantutor import checks
from gantutor.ledger import trace


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


def clip_first(gan, reals, zs, z, clip):  # wrong: martinarjovsky/WassersteinGAN 50
    for real, noise in zip(reals, zs, strict=True):
        for p in gan.D.parameters():
            p.data.clamp_(-clip, clip)
        gan.opt_D.zero_grad()
        gan.loss.d_loss(gan.D(real), gan.D(gan.G(noise).detach())).backward()
        gan.opt_D.step()
    gan.opt_G.zero_grad()
    gan.loss.g_loss(gan.D(gan.G(z))).backward()
    gan.opt_G.step()


def wrong_sign(gan, reals, zs, z, clip):  # wrong: Zeleni9/pytorch-wgan 51
    for real, noise in zip(reals, zs, strict=True):
        gan.opt_D.zero_grad()
        gan.loss.d_loss(gan.D(real), gan.D(gan.G(noise).detach())).backward()
        gan.opt_D.step()
        for p in gan.D.parameters():
            p.data.clamp_(-clip, clip)
    gan.opt_G.zero_grad()
    gan.D(gan.G(z)).mean().backward()
    gan.opt_G.step()


@pytest.mark.parametrize(
    ("answer", "words"),
    [(wgan_repository, ""), (clip_first, "clipped before each update"), (wrong_sign, "sign of G's loss")],
)
def test_the_exercise_on_the_critics_steps(answer, words):
    result = checks.k_steps(answer)
    assert result.passed == (not words)
    assert words in result.message


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


def made_twice(gan, real, z):
    with torch.no_grad():
        fake = gan.G(z)
    gan.opt_D.zero_grad()
    gan.loss.d_loss(gan.D(real), gan.D(fake)).backward()
    gan.opt_D.step()
    gan.opt_G.zero_grad()
    gan.loss.g_loss(gan.D(gan.G(z))).backward()
    gan.opt_G.step()


def two_backwards(gan, real, z):  # pytorch/examples' dcgan
    fake = gan.G(z)
    gan.D.zero_grad()
    as_real(gan.D(real)).backward()
    as_fake(gan.D(fake.detach())).backward()
    gan.opt_D.step()
    gan.G.zero_grad()
    as_real(gan.D(fake)).backward()
    gan.opt_G.step()


@pytest.mark.parametrize("step", [frozen, by_inputs, made_twice, two_backwards])
def test_the_ledger_finds_nothing_in_a_right_step(step):
    assert kinds(trace(step, build("points"), *draw("points")[0])) == []
