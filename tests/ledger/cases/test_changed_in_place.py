"""The "inplace" error whose cause is no optimizer.

Sources: pytorch/pytorch 46638, the label tensor of pytorch/examples' dcgan.
"""

import pytest
import torch
from ledger_helpers import REAL, Z, as_fake, as_real, at, kinds, line_of, model, moved, only, step_of
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as criterion

from gantutor.ledger import trace


def label_refilled(m):
    m.opt_D.zero_grad()
    label = torch.full((len(REAL), 1), 1.0)
    loss_real = criterion(m.D(REAL), label)
    fake = m.G(Z)
    label.fill_(0.0)
    loss = loss_real + criterion(m.D(fake.detach()), label)
    loss.backward()
    m.opt_D.step()


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
    record = trace(step_of(STEP.format(line=line), torch=torch, Z=Z, REAL=REAL, as_real=as_real), model())
    found = only(record, "changed in place")
    assert found.line == line_of(record, "loss.backward()") == record.lines[-1].number
    assert CHANGED[line] in found.why
    assert f"line {line_of(record, line)}, `{line}`" in found.why


def test_a_label_that_is_filled_anew_is_a_new_tensor_in_the_corrected_line():
    record = trace(label_refilled, model())
    found = only(record, "changed in place")
    assert "`label`" in found.why
    assert f"line {line_of(record, 'label.fill_(0.0)')}, `label.fill_(0.0)`" in found.why
    assert found.fix == "label = torch.full_like(label, 0.0)"


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
    record = trace(inside, model(G=Skip()))
    found = only(record, "changed in place")
    assert f"line {line_of(record, 'fake = m.G(Z)')}" in found.why
    assert found.fix.startswith("inplace=False")


def clamped_behind_autograd(m):  # p.data: torch does not see it, and nothing raises
    m.opt_G.zero_grad()
    loss = as_real(m.D(m.G(Z)))
    for p in m.D.parameters():
        p.data.clamp_(-0.01, 0.01)
    loss.backward()
    m.opt_G.step()


def test_a_change_through_data_raises_nothing_and_is_called_mixed_weights():
    record = trace(clamped_behind_autograd, model())
    assert record.error is None
    assert ("p.data.clamp_(-0.01, 0.01)", "D") in moved(record)
    found = only(record, "mixed weights")
    assert found.line == line_of(record, "loss.backward()")
    assert f"line {line_of(record, 'p.data.clamp_')}" in found.why


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


def test_so_is_what_a_fused_optimizer_does():
    m = model()
    m.opt_D = torch.optim.Adam(m.D.parameters(), fused=True)
    record = trace(moved_by_a_fused_optimizer, m)
    assert record.error is None
    found = only(record, "mixed weights")
    assert found.line == line_of(record, "g_loss.backward()")
    assert f"line {line_of(record, 'm.opt_D.step()')}" in found.why
    assert "by opt_D" in found.why
    assert kinds(trace(moved_by_a_fused_optimizer, model())) == ["changed in place"]


def refilled_after_the_backward(m):
    m.opt_D.zero_grad()
    label = torch.full((len(REAL), 1), 1.0)
    criterion(m.D(REAL), label).backward()
    label.fill_(0.0)
    as_fake(m.D(m.G(Z).detach())).backward()
    m.opt_D.step()


def test_refilling_after_the_backward_is_right():
    record = trace(refilled_after_the_backward, model())
    assert kinds(record) == []
    assert len(at(record, "m.opt_D.step()").networks["D"].contributions) == 2
