""" "element 0 of tensors does not require grad" and its silent relatives.

Sources: pytorch/pytorch 19806, leftthomas/SRGAN 79.
"""

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import REAL, Z, as_real, at, kinds, line_of, model, moved, only

from gantutor.ledger import trace


def rebuilt(m):
    m.opt_G.zero_grad()
    pred = m.D(m.G(Z))
    loss = torch.tensor(as_real(pred).item())
    loss.backward()
    m.opt_G.step()


def through_data(m):
    m.opt_G.zero_grad()
    fake = torch.autograd.Variable(m.G(Z).data)
    as_real(m.D(fake)).backward()
    m.opt_G.step()


def through_numpy(m):
    m.opt_G.zero_grad()
    fake = torch.from_numpy(m.G(Z).detach().numpy())
    as_real(m.D(fake)).backward()
    m.opt_G.step()


def argmax_fake(m):  # a text GAN: the sample is an index
    m.opt_G.zero_grad()
    fake = F.one_hot(m.G(Z).argmax(1), 6).float()
    as_real(m.D(fake)).backward()
    m.opt_G.step()


def rounded(m):  # a graph all the way, and a gradient of exactly 0
    m.opt_G.zero_grad()
    fake = m.G(Z).round()
    loss = as_real(m.D(fake))
    loss.backward()
    m.opt_G.step()


def detached_at_the_top(m):
    fake = m.G(Z).detach()
    m.opt_G.zero_grad()
    as_real(m.D(fake)).backward()
    m.opt_G.step()


def under_no_grad(m):
    m.opt_G.zero_grad()
    with torch.no_grad():
        fake = m.G(Z)
    as_real(m.D(fake)).backward()
    m.opt_G.step()


def frozen_G(m):  # the switch of D's half was never turned back
    for p in m.G.parameters():
        p.requires_grad = False
    m.opt_G.zero_grad()
    as_real(m.D(m.G(Z))).backward()
    m.opt_G.step()


CUT = {  # the line on which the graph was lost, and what lost it
    rebuilt: ("loss = ", ".item()"),
    through_data: ("fake = ", ".data"),
    through_numpy: ("fake = ", "detach"),
    argmax_fake: ("fake = ", "argmax"),
    rounded: ("fake = ", "round"),
    detached_at_the_top: ("fake = ", "detach"),
    under_no_grad: ("fake = ", "no_grad"),
    frozen_G: ("p.requires_grad = False", "requires_grad"),
}


@pytest.mark.parametrize("step", CUT)
def test_the_line_on_which_Gs_graph_was_lost_is_named(step):
    m = model()
    record = trace(step, m)
    text, word = CUT[step]
    found = only(record, "loss cannot reach")
    assert (record.error is None) == (step is not rebuilt)
    assert found.line == line_of(record, text)
    assert word in found.why
    assert "G" in found.what
    assert ("m.opt_G.step()", "G") not in moved(record) or step is rounded
    assert all(p.requires_grad for p in m.G.parameters())
    if step is rounded:  # a gradient of exactly 0 is not none and not cleared
        state = at(record, "loss.backward()").networks["G"]
        assert (state.with_gradient, [share.norm for share in state.contributions]) == (state.parameters, [0])


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
