""" "element 0 of tensors does not require grad" and its silent relatives.

Sources: pytorch/pytorch 19806, leftthomas/SRGAN 79.
"""

import contextlib

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import REAL, Z, as_real, at, kinds, line_of, model, moved, only, step_of

from gantutor.ledger import trace

STEP = """
def step(m):
    m.opt_G.zero_grad()
    with {context}:
        {line}
    loss = as_real(m.D(fake))
    loss.backward()
    m.opt_G.step()
"""
LOST = {  # the line on which the graph was lost, what is around it, and what lost it
    "data": ("fake = torch.autograd.Variable(m.G(Z).data)", "nullcontext()", "`.data`"),
    "numpy": ("fake = torch.from_numpy(m.G(Z).detach().numpy())", "nullcontext()", "detach"),
    "argmax": ("fake = F.one_hot(m.G(Z).argmax(1), 6).float()", "nullcontext()", "argmax"),  # as a text GAN samples
    "round": ("fake = m.G(Z).round()", "nullcontext()", "round"),  # a graph all the way, and a gradient of exactly 0
    "detach": ("fake = m.G(Z).detach()", "nullcontext()", "detach"),
    "no_grad": ("fake = m.G(Z)", "torch.no_grad()", "no_grad"),
    "frozen": ("m.G.requires_grad_(False); fake = m.G(Z)", "nullcontext()", "requires_grad"),  # and never turned back
}
NAMES = {"torch": torch, "F": F, "Z": Z, "as_real": as_real, "nullcontext": contextlib.nullcontext}


@pytest.mark.parametrize("how", LOST)
def test_the_line_on_which_Gs_graph_was_lost_is_named(how):
    line, context, word = LOST[how]
    m = model()
    record = trace(step_of(STEP.format(line=line, context=context), **NAMES), m)
    found = only(record, "loss cannot reach")
    assert record.error is None
    assert found.line == line_of(record, line)
    assert word in found.why
    assert "G" in found.what
    assert ("m.opt_G.step()", "G") not in moved(record) or how == "round"
    assert all(p.requires_grad for p in m.G.parameters())
    if how == "round":  # a gradient of exactly 0 is not none and not cleared
        state = at(record, "loss.backward()").networks["G"]
        assert (state.with_gradient, [share.norm for share in state.contributions]) == (state.parameters, [0])


def rebuilt(m):
    m.opt_G.zero_grad()
    pred = m.D(m.G(Z))
    loss = torch.tensor(as_real(pred).item())
    loss.backward()
    m.opt_G.step()


def test_a_loss_that_is_made_of_a_number_raises():
    record = trace(rebuilt, model())
    assert record.error is not None
    found = only(record, "loss cannot reach")
    assert found.line == line_of(record, "loss = ")
    assert ".item()" in found.why


def right(m):
    m.opt_G.zero_grad()
    loss = as_real(m.D(m.G(Z)))
    loss.backward()
    m.opt_G.step()


def wrong_optimizer(m):
    m.opt_G.zero_grad()
    loss = as_real(m.D(m.G(Z)))
    loss.backward()
    m.opt_D.step()


def test_the_other_players_optimizer():
    record = trace(wrong_optimizer, model())
    found = only(record, "unused gradient")
    assert found.line == line_of(record, "m.opt_D.step()")
    assert found.fix == "m.opt_G.step()"
    assert kinds(trace(right, model())) == []


@pytest.mark.parametrize("mean", [torch.Tensor.mean, torch.mean])
def test_a_superstition_changes_nothing(mean):  # SRGAN 79 proposes torch.mean(...) for .mean(): they are the same
    def step(m):
        fake = m.G(Z)
        fake_out = mean(m.D(fake))
        m.opt_D.zero_grad()
        d_loss = 1 - m.D(REAL).mean() + fake_out
        d_loss.backward(retain_graph=True)
        m.opt_D.step()
        m.opt_G.zero_grad()
        g_loss = 1 - fake_out
        g_loss.backward()
        m.opt_G.step()

    assert "m.opt_D.step()" in only(trace(step, model()), "changed in place").why
