"""eval() in the middle of a step, and forgotten (junyanz 1329, pytorch/examples 119, 804, 807, ganomaly 83)."""

import torch
from ledger_helpers import REAL, Z, as_fake, as_real, at, kinds, line_of, mlp, model, only

from gantutor.ledger import trace


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
    record = trace(forgotten, m)
    found = only(record, "wrong mode")
    assert found.line == line_of(record, "g_loss = ")
    assert f"line {line_of(record, 'm.G.eval()')}" in found.why
    assert found.fix.startswith("m.G.train()")
    assert m.G.training


def test_sampling_in_eval_mode_and_going_back_is_right():
    record = trace(in_train, batch_model(), REAL)
    assert kinds(record) == []
    assert at(record, "m.G.eval()").networks["G"].training is False
    assert record.lines[-1].networks["G"].training is True
    assert record.lines[-1].networks["G"].batchnorms[0].batches == 1


def test_a_batch_of_one_image_is_torchs_own_error():
    record = trace(in_train, batch_model(), REAL[:1])
    assert "more than 1 value per channel" in str(record.error)
    assert kinds(record) == []
