"""Autocast with one GradScaler and two optimizers.

Sources: Lornatang/ESRGAN-PyTorch 5, huggingface/accelerate 174, neosr 31 and 50.
"""

import pytest
import torch
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
    moved,
    only,
)

from gantutor.ledger import compare, cost, trace
from gantutor.ledger.records import Backward, OptimizerStep

SCALE = 2.0**16


def scaled_model(**networks):
    m = model(**networks)
    m.scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    return m


def step(m):
    m.opt_D.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fake = m.G(Z)
        d_loss_real, d_loss_fake = as_real(m.D(REAL)), as_fake(m.D(fake.detach()))
    m.scaler.scale(d_loss_real).backward()
    m.scaler.scale(d_loss_fake).backward()
    m.scaler.unscale_(m.opt_D)
    torch.nn.utils.clip_grad_norm_(m.D.parameters(), 0.1)
    m.scaler.step(m.opt_D)

    m.opt_G.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        g_loss = as_real(m.D(fake))
    m.scaler.scale(g_loss).backward()
    m.scaler.step(m.opt_G)
    m.scaler.update()


def old_scores(m):  # ESRGAN-PyTorch 5: one graph, kept, with D's update before G's backward
    m.opt_D.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        real_output, fake_output = m.D(REAL), m.D(m.G(Z))
        d_loss, g_loss = as_real(real_output) + as_fake(fake_output), as_real(fake_output)
    m.scaler.scale(d_loss).backward(retain_graph=True)
    m.scaler.step(m.opt_D)
    m.scaler.update()
    m.opt_G.zero_grad()
    m.scaler.scale(g_loss).backward()
    m.scaler.step(m.opt_G)
    m.scaler.update()


def test_shares_are_in_the_scale_that_the_optimizer_applies_and_have_their_losses_names():
    m = scaled_model()
    record = trace(step, m)
    assert kinds(record) == []
    assert moved(record) == [("m.scaler.step(m.opt_D)", "D"), ("m.scaler.step(m.opt_G)", "G")]
    sent = {name: at(record, f"m.scaler.scale({name})") for name in ("d_loss_real", "d_loss_fake", "g_loss")}
    assert all(line.of(Backward)[0].losses == (name,) for name, line in sent.items())
    unscaled, clipped = (
        at(record, text).networks["D"] for text in ("m.scaler.unscale_", "torch.nn.utils.clip_grad_norm_")
    )
    assert [share.line for share in unscaled.contributions] == [sent["d_loss_real"].number, sent["d_loss_fake"].number]
    assert clipped.gradient_norm == pytest.approx(min(0.1, unscaled.gradient_norm), rel=1e-3)
    assert sum(share.along for share in clipped.contributions) == pytest.approx(clipped.gradient_norm, rel=1e-3)
    assert (m.scaler.get_scale(), m.scaler._per_optimizer_states) == (SCALE, {})  # it comes back
    assert cost(step, m, repeats=1).networks["D"].forwards == 3
    assert_shares_are_the_oracles(record, step, {"G": m.G, "D": m.D}, m)


def plain(m):
    m.opt_D.zero_grad()
    as_real(m.D(REAL)).backward()
    m.opt_D.step()


def scaled(m):
    m.opt_D.zero_grad()
    m.scaler.scale(as_real(m.D(REAL))).backward()
    m.scaler.step(m.opt_D)


def test_a_scaled_step_is_the_same_update_as_the_plain_one():
    same = compare({"plain": plain, "scaled": scaled}, scaled_model())
    assert same.between("plain", "scaled", "D").near
    assert same.between("plain", "scaled", "D", "weights").near


def test_autocast_trains_on_mixed_weights_without_a_word_and_the_ledger_says_so():
    record = trace(old_scores, scaled_model())
    assert record.error is None
    finds(record, "mixed weights", "m.scaler.scale(g_loss).backward()", by="m.scaler.step(m.opt_D)")
    with_batchnorm = only(trace(old_scores, scaled_model(D=mlp(6, 1, "batch"))), "changed in place")  # it raises
    assert "m.scaler.step(m.opt_D)" in with_batchnorm.why


def overflow(m):
    m.opt_D.zero_grad()
    d_loss = (m.D(REAL) * 1e35).mean()
    m.scaler.scale(d_loss).backward()
    m.scaler.step(m.opt_D)
    m.scaler.update()


def test_a_step_that_the_scaler_skips_moves_nothing_is_said_and_is_no_mistake():
    record = trace(overflow, scaled_model())
    assert moved(record) == []
    assert [step.skipped for line in record.lines for step in line.of(OptimizerStep)] == [True]
    assert record.nonfinite.place.line == line_of(record, "m.scaler.scale(d_loss).backward()")
    assert kinds(record) == []
    line = line_of(record, "m.scaler.step(m.opt_D)")
    assert f"\nLine {line}, `m.scaler.step(m.opt_D)`, was left out: the GradScaler has found an infinite" in str(record)
    assert "was left out" not in str(trace(step, scaled_model()))
