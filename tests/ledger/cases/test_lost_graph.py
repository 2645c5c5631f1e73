""" "element 0 of tensors does not require grad" and its silent relatives.

Sources: pytorch/pytorch 19806, leftthomas/SRGAN 79.
"""

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import at, kinds, line_of, mlp, moved, only

from gantutor.ledger import trace


class M:
    def __init__(self):
        torch.manual_seed(0)
        self.netG, self.netD = mlp(4, 6), mlp(6, 1)
        self.optG, self.optD = (torch.optim.Adam(n.parameters(), 1e-3) for n in (self.netG, self.netD))


def rebuilt(m, real, z):
    m.netG.zero_grad()
    fake = m.netG(z)
    pred = m.netD(fake)
    errG = torch.tensor(F.softplus(-pred).mean().item())
    errG.backward()
    m.optG.step()


def through_data(m, real, z):
    m.netG.zero_grad()
    fake = torch.autograd.Variable(m.netG(z).data)
    errG = F.softplus(-m.netD(fake)).mean()
    errG.backward()
    m.optG.step()


def through_numpy(m, real, z):
    m.netG.zero_grad()
    fake = torch.from_numpy(m.netG(z).detach().numpy())
    errG = F.softplus(-m.netD(fake)).mean()
    errG.backward()
    m.optG.step()


def argmax_fake(m, real, z):  # a text GAN: the sample is an index
    m.netG.zero_grad()
    fake = F.one_hot(m.netG(z).argmax(1), 6).float()
    errG = F.softplus(-m.netD(fake)).mean()
    errG.backward()
    m.optG.step()


def rounded(m, real, z):  # a graph all the way, and a gradient of exactly 0
    m.netG.zero_grad()
    fake = m.netG(z).round()
    errG = F.softplus(-m.netD(fake)).mean()
    errG.backward()
    m.optG.step()


def detached_at_the_top(m, real, z):
    fake = m.netG(z).detach()
    m.netG.zero_grad()
    errG = F.softplus(-m.netD(fake)).mean()
    errG.backward()
    m.optG.step()


def under_no_grad(m, real, z):
    m.netG.zero_grad()
    with torch.no_grad():
        fake = m.netG(z)
    errG = F.softplus(-m.netD(fake)).mean()
    errG.backward()
    m.optG.step()


def frozen_G(m, real, z):  # the switch of D's half was never turned back
    for p in m.netG.parameters():
        p.requires_grad = False
    m.netG.zero_grad()
    fake = m.netG(z)
    errG = F.softplus(-m.netD(fake)).mean()
    errG.backward()
    m.optG.step()


real, z = torch.randn(8, 6), torch.randn(8, 4)
CUT = {  # the line on which the graph was lost, and what lost it
    rebuilt: ("errG = ", ".item()"),
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
    m = M()
    record = trace(step, m, real, z)
    text, word = CUT[step]
    found = only(record, "loss cannot reach")
    assert (record.error is None) == (step is not rebuilt)
    assert found.line == line_of(record, text)
    assert word in found.why
    assert "netG" in found.what
    assert ("m.optG.step()", "netG") not in moved(record) or step is rounded
    assert all(p.requires_grad for p in m.netG.parameters())


def test_a_gradient_of_exactly_0_is_not_none_and_not_cleared():
    state = at(trace(rounded, M(), real, z), "errG.backward()").networks["netG"]
    assert (state.with_gradient, state.gradient_norm) == (state.parameters, 0)
    assert [share.norm for share in state.contributions] == [0]


def wrong_optimizer(m, real, z):
    m.optG.zero_grad()
    fake = m.netG(z)
    errG = F.softplus(-m.netD(fake)).mean()
    errG.backward()
    m.optD.step()


def test_the_other_players_optimizer():
    record = trace(wrong_optimizer, M(), real, z)
    found = only(record, "unused gradient")
    assert found.line == line_of(record, "m.optD.step()")
    assert found.fix == "m.optG.step()"


def mean_method(m, real, z):  # SRGAN 79 proposes torch.mean(...) for .mean(): they are the same
    fake = m.netG(z)
    fake_out = m.netD(fake).mean()
    m.netD.zero_grad()
    d_loss = 1 - m.netD(real).mean() + fake_out
    d_loss.backward(retain_graph=True)
    m.optD.step()
    m.netG.zero_grad()
    g_loss = 1 - fake_out
    g_loss.backward()
    m.optG.step()


def mean_function(m, real, z):
    fake = m.netG(z)
    fake_out = torch.mean(m.netD(fake))
    m.netD.zero_grad()
    d_loss = 1 - m.netD(real).mean() + fake_out
    d_loss.backward(retain_graph=True)
    m.optD.step()
    m.netG.zero_grad()
    g_loss = 1 - fake_out
    g_loss.backward()
    m.optG.step()


def test_a_superstition_changes_nothing():
    found = [only(trace(step, M(), real, z), "changed in place") for step in (mean_method, mean_function)]
    assert all("m.optD.step()" in each.why for each in found)


def test_a_step_with_the_whole_graph_has_nothing_to_say():
    def right(m, real, z):
        m.optG.zero_grad()
        errG = F.softplus(-m.netD(m.netG(z))).mean()
        errG.backward()
        m.optG.step()

    assert kinds(trace(right, M(), real, z)) == []
