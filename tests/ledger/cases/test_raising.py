"""Steps that raise, or that lose a graph and do not.

Sources: pytorch/pytorch 46638, the label tensor of pytorch/examples' dcgan (the "inplace" error whose cause is no
optimizer); pytorch/pytorch 19806, leftthomas/SRGAN 79 ("element 0 of tensors does not require grad"); pytorch/pytorch
55368 (several statements on a line), 62293 (spectral norm: two forwards, one backward).
"""

import contextlib
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
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
    step_of,
)
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as criterion

from gantutor.ledger import cost, trace

NAMES = {
    "torch": torch,
    "F": F,
    "Z": Z,
    "REAL": REAL,
    "as_real": as_real,
    "as_fake": as_fake,
    "nullcontext": contextlib.nullcontext,
}

# Changed in place

STEP = """
def step(m):
    m.opt_G.zero_grad()
    fake = m.G(Z).sigmoid()
    flat = fake.view(-1)
    loss = (fake * fake).mean() + as_real(m.D(fake))
    with torch.no_grad():
        {line}
    loss.backward()
    m.opt_G.step()
"""
CHANGED = {  # the line between forward and backward, and the tensor that it changes
    "fake[:, :3] = REAL[:, :3]": "`fake`",  # inpainting: paste the known pixels in place
    "fake += 0.1": "`fake`",
    "flat.clamp_(0.2, 0.8)": "`fake`",  # through a view
    "torch._foreach_mul_(list(m.D.parameters()), 0.99)": "`D.2.weight`",  # an average that is taken too early
}


@pytest.mark.parametrize("line", CHANGED)
def test_the_tensor_and_the_line_that_changed_it_are_named(line):
    record = trace(step_of(STEP.format(line=line), **NAMES), model())
    found = finds(record, "changed in place", "loss.backward()", CHANGED[line], by=line)
    assert found.line == record.lines[-1].number


def label_refilled(m):
    m.opt_D.zero_grad()
    label = torch.full((len(REAL), 1), 1.0)
    loss_real = criterion(m.D(REAL), label)
    fake = m.G(Z)
    label.fill_(0.0)
    loss = loss_real + criterion(m.D(fake.detach()), label)
    loss.backward()
    m.opt_D.step()


def refilled_after_the_backward(m):
    m.opt_D.zero_grad()
    label = torch.full((len(REAL), 1), 1.0)
    criterion(m.D(REAL), label).backward()
    label.fill_(0.0)
    as_fake(m.D(m.G(Z).detach())).backward()
    m.opt_D.step()


def test_a_label_that_is_filled_anew_is_a_new_tensor_in_the_corrected_line_and_may_be_after_the_backward():
    found = finds(
        trace(label_refilled, model()), "changed in place", "loss.backward()", "`label`", by="label.fill_(0.0)"
    )
    assert found.fix == "label = torch.full_like(label, 0.0)"
    record = trace(refilled_after_the_backward, model())
    assert kinds(record) == []
    assert len(at(record, "m.opt_D.step()").networks["D"].contributions) == 2


class Skip(nn.Module):  # an activation in place behind a tensor that a skip connection has used
    def __init__(self):
        super().__init__()
        self.a, self.b, self.act = nn.Linear(4, 6), nn.Linear(6, 6), nn.LeakyReLU(0.2, inplace=True)

    def forward(self, z):
        h = torch.sigmoid(self.a(z))
        return torch.sigmoid(self.b(self.act(h)) + h)


def inside(m):
    m.opt_G.zero_grad()
    fake = m.G(Z)
    loss = as_real(m.D(fake))
    loss.backward()
    m.opt_G.step()


def test_a_change_inside_a_networks_forward_is_on_the_line_that_calls_it():
    found = finds(trace(inside, model(G=Skip())), "changed in place", "loss.backward()", by="fake = m.G(Z)")
    assert found.fix.startswith("inplace=False")


def clamped_behind_autograd(m):  # p.data: torch does not see it, and nothing raises
    m.opt_G.zero_grad()
    loss = as_real(m.D(m.G(Z)))
    for p in m.D.parameters():
        p.data.clamp_(-0.01, 0.01)
    loss.backward()
    m.opt_G.step()


def moved_by_a_fused_optimizer(m):  # it does not count its changes, so that the bug of the old scores raises nothing
    logits = m.D(m.G(Z))
    m.opt_D.zero_grad()
    d_loss = as_fake(logits)
    d_loss.backward(retain_graph=True)
    m.opt_D.step()
    m.opt_G.zero_grad()
    g_loss = as_real(logits)
    g_loss.backward()
    m.opt_G.step()


def test_a_change_that_autograd_does_not_see_raises_nothing_and_is_called_mixed_weights():
    record = trace(clamped_behind_autograd, model())
    assert ("p.data.clamp_(-0.01, 0.01)", "D") in moved(record)
    finds(record, "mixed weights", "loss.backward()", "through `.data`", by="p.data.clamp_(-0.01, 0.01)")
    m = model()
    m.opt_D = torch.optim.Adam(m.D.parameters(), fused=True)
    fused = trace(moved_by_a_fused_optimizer, m)
    assert record.error is fused.error is None
    finds(fused, "mixed weights", "g_loss.backward()", "by opt_D", by="m.opt_D.step()")
    only(trace(moved_by_a_fused_optimizer, model()), "changed in place")


def goes_into_D_alone(m):  # G has moved, and the second backward does not go there
    logits = m.D(m.G(Z))
    m.opt_G.zero_grad()
    as_real(logits).backward(retain_graph=True)
    m.opt_G.step()
    m.opt_D.zero_grad()
    as_fake(logits).backward(inputs=list(m.D.parameters()))
    m.opt_D.step()


def test_weights_that_a_backward_does_not_need_are_not_mixed():
    assert kinds(trace(goes_into_D_alone, model())) == []


def oneliners(m, x):
    output = m.net(x)
    loss = output.abs().mean()
    m.opt1.zero_grad(); loss.backward(retain_graph=True); m.opt1.step()  # fmt: skip  # noqa: E702
    m.opt2.zero_grad(); loss.backward(); m.opt2.step()  # fmt: skip  # noqa: E702


def test_several_statements_on_a_line():
    net = nn.utils.parametrizations.spectral_norm(nn.Linear(2, 5))
    opt1, opt2 = (torch.optim.SGD(net.parameters(), 1) for _ in range(2))
    record = trace(oneliners, SimpleNamespace(net=net, opt1=opt1, opt2=opt2), torch.randn(7, 2))
    first = f"line {line_of(record, 'm.opt1')}"
    finds(record, "changed in place", "m.opt2.zero_grad()", "weight", first, "m.opt1.step()")


def with_spectral_norm(m):
    fake = m.G(Z)
    m.opt_D.zero_grad()
    d_real = m.D(REAL)
    d_fake = m.D(fake.detach())
    d_loss = as_real(d_real) + as_fake(d_fake)
    d_loss.backward()
    m.opt_D.step()
    m.opt_G.zero_grad()
    g_loss = -m.D(fake).mean()
    g_loss.backward()
    m.opt_G.step()


@pytest.mark.parametrize("norm", ["spectral", "old spectral"])
def test_a_step_is_traced_before_and_after_training_and_its_buffers_come_back(norm):
    m = model(D=mlp(6, 1, norm))
    assert kinds(trace(with_spectral_norm, m)) == []
    with_spectral_norm(m)
    before = {name: value.clone() for name, value in m.D.state_dict().items()}
    record = trace(with_spectral_norm, m)
    assert kinds(record) == []
    assert cost(with_spectral_norm, m, repeats=1).networks["D"].forwards == 3
    assert all(torch.equal(value, before[name]) for name, value in m.D.state_dict().items())
    assert_shares_are_the_oracles(record, with_spectral_norm, {"G": m.G, "D": m.D}, m)


# A lost graph

LOSES = """
def step(m):
    m.opt_D.zero_grad()
    as_fake(m.D(m.G(Z).detach())).backward()  # D's half cuts, as it should
    m.opt_D.step()
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


@pytest.mark.parametrize("how", LOST)
def test_the_line_on_which_Gs_graph_was_lost_is_named(how):
    line, context, word = LOST[how]
    m = model()
    record = trace(step_of(LOSES.format(line=line, context=context), **NAMES), m)
    found = finds(record, "loss cannot reach", line, "G")
    assert word in found.why
    assert record.error is None
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
    finds(record, "loss cannot reach", "loss = ", ".item()")


def wrong_optimizer(m):
    m.opt_G.zero_grad()
    loss = as_real(m.D(m.G(Z)))
    loss.backward()
    m.opt_D.step()


def test_the_other_players_optimizer():
    assert finds(trace(wrong_optimizer, model()), "unused gradient", "m.opt_D.step()").fix == "m.opt_G.step()"
    assert kinds(trace(inside, model())) == []


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

    finds(trace(step, model()), "changed in place", "g_loss.backward()", by="m.opt_D.step()")
