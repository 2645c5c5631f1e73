"""netD_A judges B; D's update before G's backward (simple_CycleGAN 3).

Sources: junyanz/pytorch-CycleGAN-and-pix2pix 260 and 603.
"""

import itertools
import random

import torch
from ledger_helpers import assert_shares_are_the_oracles, at, kinds, line_of, mlp, moved, only

from gantutor.ledger import cost, trace


class M:
    def __init__(self):
        torch.manual_seed(0)
        self.netG_A, self.netG_B, self.netD_A, self.netD_B = mlp(6, 6), mlp(6, 6), mlp(6, 1), mlp(6, 1)
        self.optimizer_G = torch.optim.Adam(itertools.chain(self.netG_A.parameters(), self.netG_B.parameters()), 2e-4)
        self.optimizer_D = torch.optim.Adam(itertools.chain(self.netD_A.parameters(), self.netD_B.parameters()), 2e-4)
        self.pool = []

    def query(self, x):
        self.pool.append(x.detach())
        return random.choice(self.pool)


def step(m, real_A, real_B):
    fake_B = m.netG_A(real_A); rec_A = m.netG_B(fake_B)  # fmt: skip  # noqa: E702
    fake_A = m.netG_B(real_B); rec_B = m.netG_A(fake_A)  # fmt: skip  # noqa: E702
    for net in (m.netD_A, m.netD_B):
        net.requires_grad_(False)
    m.optimizer_G.zero_grad()
    loss_G_A = (m.netD_A(fake_B) - 1).square().mean()
    loss_G_B = (m.netD_B(fake_A) - 1).square().mean()
    loss_cycle_A = (rec_A - real_A).abs().mean() * 10
    loss_cycle_B = (rec_B - real_B).abs().mean() * 10
    loss_G = loss_G_A + loss_G_B + loss_cycle_A + loss_cycle_B
    loss_G.backward()
    m.optimizer_G.step()
    for net in (m.netD_A, m.netD_B):
        net.requires_grad_(True)
    m.optimizer_D.zero_grad()
    loss_D_A = ((m.netD_A(real_B) - 1).square().mean() + m.netD_A(m.query(fake_B)).square().mean()) / 2
    loss_D_A.backward()
    loss_D_B = ((m.netD_B(real_A) - 1).square().mean() + m.netD_B(fake_A.detach()).square().mean()) / 2
    loss_D_B.backward()
    m.optimizer_D.step()


def late(m, real_A, real_B):
    fake_B = m.netG_A(real_A)
    rec_A = m.netG_B(fake_B)
    pred = m.netD_A(fake_B)
    m.optimizer_D.zero_grad()
    loss_D = ((m.netD_A(real_B) - 1).square().mean() + m.netD_A(fake_B.detach()).square().mean()) / 2
    loss_D.backward()
    m.optimizer_D.step()
    m.optimizer_G.zero_grad()
    loss_G = (pred - 1).square().mean() + (rec_A - real_A).abs().mean()
    loss_G.backward()
    m.optimizer_G.step()


a, b = torch.randn(8, 6), torch.randn(8, 6)


def test_D_A_is_reached_from_fake_B_and_four_networks_have_their_shares():
    m = M()
    record = trace(step, m, a, b)
    assert kinds(record) == []
    link = at(record, "loss_G_A = ").tensors["loss_G_A"].link
    assert (link.through, link.made_from) == (("netD_A",), ("fake_B",))
    reaches = {name: at(record, f"{name} = ").tensors[name].reaches for name in ("fake_B", "loss_cycle_A", "loss_D_A")}
    assert reaches == {"fake_B": ("netG_A",), "loss_cycle_A": ("netG_A", "netG_B"), "loss_D_A": ("netD_A",)}
    assert moved(record) == [
        ("m.optimizer_G.step()", "netG_A"), ("m.optimizer_G.step()", "netG_B"),
        ("m.optimizer_D.step()", "netD_A"), ("m.optimizer_D.step()", "netD_B"),
    ]  # fmt: skip
    assert m.pool == []  # the pool, too, is as it was
    networks = {name: value for name, value in vars(m).items() if name.startswith("net")}
    assert_shares_are_the_oracles(record, step, networks, m, a, b)
    assert kinds(trace(step, m, a, b)) == []  # with a pool that holds images
    assert cost(step, m, a, b, repeats=1).networks["netG_A"].forwards == 2


def test_scores_from_before_Ds_update_are_stale():
    record = trace(late, M(), a, b)
    found = only(record, "changed in place")
    assert "`netD_A.2.weight`" in found.why
    assert f"line {line_of(record, 'm.optimizer_D.step()')}" in found.why
    assert "pred = m.netD_A(fake_B)" in found.fix
