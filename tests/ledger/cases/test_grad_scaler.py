"""Autocast with one GradScaler and two optimizers.

Sources: Lornatang/ESRGAN-PyTorch 5, huggingface/accelerate 174, neosr 31 and 50.
"""

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import Oracle, at, kinds, line_of, mlp, moved, only, shares_of

from gantutor.ledger import compare, cost, trace
from gantutor.ledger.records import OptimizerStep

SCALE = 2.0**16


class M:
    def __init__(self, norm="none"):
        torch.manual_seed(0)
        self.G, self.D = mlp(4, 6), mlp(6, 1, norm)
        self.opt_G, self.opt_D = (torch.optim.Adam(n.parameters(), 1e-3) for n in (self.G, self.D))
        self.scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)


def step(m, real, z):
    m.opt_D.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fake = m.G(z)
        d_loss_real = F.softplus(-m.D(real)).mean()
        d_loss_fake = F.softplus(m.D(fake.detach())).mean()
    m.scaler.scale(d_loss_real).backward()
    m.scaler.scale(d_loss_fake).backward()
    m.scaler.unscale_(m.opt_D)
    torch.nn.utils.clip_grad_norm_(m.D.parameters(), 0.1)
    m.scaler.step(m.opt_D)

    m.opt_G.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        g_loss = F.softplus(-m.D(fake)).mean()
    m.scaler.scale(g_loss).backward()
    m.scaler.step(m.opt_G)
    m.scaler.update()


def old_scores(m, real, z):  # ESRGAN-PyTorch 5: one graph, kept, with D's update before G's backward
    m.opt_D.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fake = m.G(z)
        real_output, fake_output = m.D(real), m.D(fake)
        d_loss = F.softplus(-real_output).mean() + F.softplus(fake_output).mean()
    m.scaler.scale(d_loss).backward(retain_graph=True)
    m.scaler.step(m.opt_D)
    m.scaler.update()
    m.opt_G.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        g_loss = F.softplus(-fake_output).mean()
    m.scaler.scale(g_loss).backward()
    m.scaler.step(m.opt_G)
    m.scaler.update()


real, z = torch.randn(8, 6), torch.randn(8, 4)


def test_shares_are_in_the_scale_that_the_optimizer_applies_and_have_their_losses_names():
    m = M()
    record = trace(step, m, real, z)
    assert kinds(record) == []
    assert moved(record) == [("m.scaler.step(m.opt_D)", "D"), ("m.scaler.step(m.opt_G)", "G")]
    assert [at(record, f"m.scaler.scale({name})").backwards for name in ("d_loss_real", "d_loss_fake", "g_loss")] == [
        ("d_loss_real",), ("d_loss_fake",), ("g_loss",)
    ]  # fmt: skip
    unscaled = at(record, "m.scaler.unscale_").networks["D"]
    lines = [line_of(record, f"m.scaler.scale({name})") for name in ("d_loss_real", "d_loss_fake")]
    assert [share.line for share in unscaled.contributions] == lines
    clipped = at(record, "torch.nn.utils.clip_grad_norm_").networks["D"]
    assert clipped.gradient_norm == pytest.approx(min(0.1, unscaled.gradient_norm), rel=1e-3)
    assert sum(share.along for share in clipped.contributions) == pytest.approx(clipped.gradient_norm, rel=1e-3)
    with Oracle(step, {"G": m.G, "D": m.D}) as oracle:
        step(m, real, z)
    assert shares_of(record) == oracle.shares(scale=SCALE)


def test_the_scalers_own_state_comes_back():
    m = M()
    trace(step, m, real, z)
    assert m.scaler.get_scale() == SCALE
    assert m.scaler._per_optimizer_states == {}
    assert cost(step, m, real, z, repeats=1).networks["D"].forwards == 3


def plain(m, real, z):
    m.opt_D.zero_grad()
    d_loss = F.softplus(-m.D(real)).mean() + F.softplus(m.D(m.G(z).detach())).mean()
    d_loss.backward()
    m.opt_D.step()


def scaled(m, real, z):
    m.opt_D.zero_grad()
    d_loss = F.softplus(-m.D(real)).mean() + F.softplus(m.D(m.G(z).detach())).mean()
    m.scaler.scale(d_loss).backward()
    m.scaler.step(m.opt_D)


def test_a_scaled_step_is_the_same_update_as_the_plain_one():
    same = compare({"plain": plain, "scaled": scaled}, M(), real, z)
    assert same.between("plain", "scaled", "D").near
    assert same.between("plain", "scaled", "D", "weights").near


def test_autocast_trains_on_mixed_weights_without_a_word_and_the_ledger_says_so():
    record = trace(old_scores, M(), real, z)
    assert record.error is None
    found = only(record, "mixed weights")
    assert found.line == line_of(record, "m.scaler.scale(g_loss).backward()")
    assert f"line {line_of(record, 'm.scaler.step(m.opt_D)')}" in found.why


def test_with_batchnorm_the_same_step_raises():
    m = M("batch")
    record = trace(old_scores, m, real, z)
    found = only(record, "changed in place")
    assert "m.scaler.step(m.opt_D)" in found.why


def overflow(m, real, z):
    m.opt_D.zero_grad()
    d_loss = (m.D(real) * 1e35).mean()
    m.scaler.scale(d_loss).backward()
    m.scaler.step(m.opt_D)
    m.scaler.update()


def test_a_step_that_the_scaler_skips_moves_nothing_and_is_no_mistake():
    record = trace(overflow, M(), real, z)
    assert moved(record) == []
    assert [step.skipped for line in record.lines for step in line.of(OptimizerStep)] == [True]
    assert record.nonfinite.place.line == line_of(record, "m.scaler.scale(d_loss).backward()")
    assert kinds(record) == []
