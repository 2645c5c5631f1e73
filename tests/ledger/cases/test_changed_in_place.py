"""The "inplace" error whose cause is no optimizer.

Sources: pytorch/pytorch 46638, the label tensor of pytorch/examples' dcgan.
"""

import pytest
import torch
from ledger_helpers import at, kinds, line_of, mlp, moved, only
from torch import nn

from gantutor.ledger import trace

criterion = nn.BCELoss()


class M:
    def __init__(self, G=None):
        torch.manual_seed(0)
        self.netG, self.netD = G or mlp(4, 6, last=nn.Sigmoid()), mlp(6, 1, last=nn.Sigmoid())
        self.optG, self.optD = (torch.optim.Adam(n.parameters(), 1e-3) for n in (self.netG, self.netD))


def label_refilled(m, real, z):
    m.netD.zero_grad()
    label = torch.full((len(real), 1), 1.0)
    errD_real = criterion(m.netD(real), label)
    fake = m.netG(z)
    label.fill_(0.0)
    errD_fake = criterion(m.netD(fake.detach()), label)
    errD = errD_real + errD_fake
    errD.backward()
    m.optD.step()


def fake_masked(m, real, z):  # inpainting: paste the known pixels in place
    m.netG.zero_grad()
    fake = m.netG(z)
    fake[:, :3] = real[:, :3]
    errG = criterion(m.netD(fake), torch.ones(len(real), 1))
    errG.backward()
    m.optG.step()


def fake_scaled(m, real, z):
    m.netG.zero_grad()
    fake = m.netG(z)
    errL2 = (fake * fake).mean()
    fake += 0.1 * torch.randn_like(fake)
    errG = criterion(m.netD(fake), torch.ones(len(real), 1)) + errL2
    errG.backward()
    m.optG.step()


def through_a_view(m, real, z):
    m.netG.zero_grad()
    fake = m.netG(z)
    flat = fake.view(-1)
    errL2 = (fake * fake).mean()
    flat.clamp_(0.2, 0.8)
    errG = errL2 + m.netD(fake).mean()
    errG.backward()
    m.optG.step()


def averaged_too_early(m, real, z):  # weights overwritten under no_grad between forward and backward
    m.netG.zero_grad()
    errG = criterion(m.netD(m.netG(z)), torch.ones(len(real), 1))
    with torch.no_grad():
        for p in m.netD.parameters():
            p.mul_(0.99)
    errG.backward()
    m.optG.step()


real, z = torch.rand(8, 6), torch.randn(8, 4)
WHO = {  # the tensor, and the line that changed it
    label_refilled: ("`label`", "label.fill_(0.0)"),
    fake_masked: ("`fake`", "fake[:, :3] = real[:, :3]"),
    fake_scaled: ("`fake`", "fake += 0.1 * torch.randn_like(fake)"),
    through_a_view: ("`fake`", "flat.clamp_(0.2, 0.8)"),
    averaged_too_early: ("`netD.2.weight`", "p.mul_(0.99)"),
}


@pytest.mark.parametrize("step", WHO)
def test_the_tensor_and_the_line_that_changed_it_are_named(step):
    record = trace(step, M(), real, z)
    tensor, text = WHO[step]
    found = only(record, "changed in place")
    assert found.line == line_of(record, "err", -1) == record.lines[-1].number
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


def inside(m, real, z):
    m.netG.zero_grad()
    fake = m.netG(z)
    errG = criterion(m.netD(fake), torch.ones(len(real), 1))
    errG.backward()
    m.optG.step()


def test_a_change_inside_a_networks_forward_is_on_the_line_that_calls_it():
    record = trace(inside, M(Skip()), real, z)
    found = only(record, "changed in place")
    assert f"line {line_of(record, 'fake = m.netG(z)')}" in found.why
    assert found.fix.startswith("inplace=False")


def clamped_behind_autograd(m, real, z):  # p.data: torch does not see it, and nothing raises
    m.netG.zero_grad()
    errG = criterion(m.netD(m.netG(z)), torch.ones(len(real), 1))
    for p in m.netD.parameters():
        p.data.clamp_(-0.01, 0.01)
    errG.backward()
    m.optG.step()


def test_a_change_through_data_raises_nothing_and_is_called_mixed_weights():
    record = trace(clamped_behind_autograd, M(), real, z)
    assert record.error is None
    assert ("p.data.clamp_(-0.01, 0.01)", "netD") in moved(record)
    found = only(record, "mixed weights")
    assert found.line == line_of(record, "errG.backward()")
    assert f"line {line_of(record, 'p.data.clamp_')}" in found.why


def test_refilling_after_the_backward_is_right():
    def two_backwards(m, real, z):
        m.netD.zero_grad()
        label = torch.full((len(real), 1), 1.0)
        errD_real = criterion(m.netD(real), label)
        errD_real.backward()
        label.fill_(0.0)
        errD_fake = criterion(m.netD(m.netG(z).detach()), label)
        errD_fake.backward()
        m.optD.step()

    record = trace(two_backwards, M(), real, z)
    assert kinds(record) == []
    assert len(at(record, "m.optD.step()").networks["netD"].contributions) == 2
