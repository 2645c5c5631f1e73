"""The "inplace" error whose cause is no optimizer.

Sources: pytorch/pytorch 46638, the label tensor of pytorch/examples' dcgan.
"""

import pytest
import torch
from ledger_helpers import REAL, Z, as_fake, as_real, at, kinds, line_of, model, moved, only
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


def fake_masked(m):  # inpainting: paste the known pixels in place
    m.opt_G.zero_grad()
    fake = m.G(Z).sigmoid()
    fake[:, :3] = REAL[:, :3]
    loss = as_real(m.D(fake))
    loss.backward()
    m.opt_G.step()


def fake_scaled(m):
    m.opt_G.zero_grad()
    fake = m.G(Z)
    L2 = (fake * fake).mean()
    fake += 0.1 * torch.randn_like(fake)
    loss = as_real(m.D(fake)) + L2
    loss.backward()
    m.opt_G.step()


def through_a_view(m):
    m.opt_G.zero_grad()
    fake = m.G(Z)
    flat = fake.view(-1)
    L2 = (fake * fake).mean()
    flat.clamp_(0.2, 0.8)
    loss = L2 + m.D(fake).mean()
    loss.backward()
    m.opt_G.step()


def averaged_too_early(m):  # weights overwritten under no_grad between forward and backward
    m.opt_G.zero_grad()
    loss = as_real(m.D(m.G(Z)))
    with torch.no_grad():
        for p in m.D.parameters():
            p.mul_(0.99)
    loss.backward()
    m.opt_G.step()


WHO = {  # the tensor, and the line that changed it
    label_refilled: ("`label`", "label.fill_(0.0)"),
    fake_masked: ("`fake`", "fake[:, :3] = REAL[:, :3]"),
    fake_scaled: ("`fake`", "fake += 0.1 * torch.randn_like(fake)"),
    through_a_view: ("`fake`", "flat.clamp_(0.2, 0.8)"),
    averaged_too_early: ("`D.2.weight`", "p.mul_(0.99)"),
}


@pytest.mark.parametrize("step", WHO)
def test_the_tensor_and_the_line_that_changed_it_are_named(step):
    record = trace(step, model())
    tensor, text = WHO[step]
    found = only(record, "changed in place")
    assert found.line == line_of(record, "loss.backward()") == record.lines[-1].number
    assert tensor in found.why
    assert f"line {line_of(record, text)}, `{text}`" in found.why
    if step is label_refilled:
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
