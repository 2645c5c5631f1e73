"""The class shape of junyanz/pytorch-CycleGAN-and-pix2pix: all on self, backward in methods.

Sources: issues 344, 594, 1001, 439.
"""

import torch
from ledger_helpers import Oracle, kinds, line_of, moved, only, shares_of
from torch import nn

from gantutor.ledger import compare, cost, trace


class Pix2Pix:
    def __init__(self):
        torch.manual_seed(0)
        self.netG = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
        self.netD = nn.Sequential(nn.Conv2d(2, 4, 4, 2, 1), nn.LeakyReLU(0.2, True), nn.Conv2d(4, 1, 4, 1, 1))
        self.criterionGAN, self.criterionL1 = nn.MSELoss(), nn.L1Loss()
        self.optimizer_G = torch.optim.Adam(self.netG.parameters(), 2e-4)
        self.optimizer_D = torch.optim.Adam(self.netD.parameters(), 2e-4)
        self.optimizers = [self.optimizer_G, self.optimizer_D]
        self.real_A, self.real_B = torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16)

    def forward(self):
        self.fake_B = self.netG(self.real_A)

    def set_requires_grad(self, net, on):
        for p in net.parameters():
            p.requires_grad = on

    def backward_D(self):
        fake_AB = torch.cat((self.real_A, self.fake_B), 1)
        pred_fake = self.netD(fake_AB.detach())
        self.loss_D_fake = self.criterionGAN(pred_fake, torch.zeros_like(pred_fake))
        pred_real = self.netD(torch.cat((self.real_A, self.real_B), 1))
        self.loss_D_real = self.criterionGAN(pred_real, torch.ones_like(pred_real))
        self.loss_D = (self.loss_D_fake + self.loss_D_real) * 0.5
        self.loss_D.backward()

    def backward_G(self):
        pred_fake = self.netD(torch.cat((self.real_A, self.fake_B), 1))
        self.loss_G_GAN = self.criterionGAN(pred_fake, torch.ones_like(pred_fake))
        self.loss_G_L1 = self.criterionL1(self.fake_B, self.real_B) * 100
        self.loss_G = self.loss_G_GAN + self.loss_G_L1
        self.loss_G.backward()

    def optimize_parameters(self):
        self.forward()
        self.set_requires_grad(self.netD, True)
        self.optimizer_D.zero_grad()
        self.backward_D()
        self.optimizer_D.step()
        self.set_requires_grad(self.netD, False)
        self.optimizer_G.zero_grad()
        self.backward_G()
        self.optimizer_G.step()


class WithPenalty(Pix2Pix):  # issue 439: the penalty is given the fake with its graph, and D's half is in a loop
    def gradient_penalty(self, real_AB, fake_AB):
        a = torch.rand(len(real_AB), 1, 1, 1)
        mixed = a * real_AB + (1 - a) * fake_AB
        (g,) = torch.autograd.grad(self.netD(mixed).sum(), mixed, create_graph=True)
        return 10 * ((g.flatten(1).norm(dim=1) - 1) ** 2).mean()

    def backward_D(self):
        fake_AB = torch.cat((self.real_A, self.fake_B), 1)
        real_AB = torch.cat((self.real_A, self.real_B), 1)
        self.gp = self.gradient_penalty(real_AB, fake_AB)
        self.loss_D = self.netD(fake_AB.detach()).mean() - self.netD(real_AB).mean() + self.gp
        self.loss_D.backward()

    def optimize_parameters(self):
        self.forward()
        for _ in range(3):
            self.optimizer_D.zero_grad()
            self.backward_D()
            self.optimizer_D.step()


def test_the_bound_method_is_traced_as_it_is_before_and_after_training():
    m = Pix2Pix()
    for _ in range(2):
        record = trace(m.optimize_parameters)
        assert record.error is None
        assert kinds(record) == []
        assert moved(record) == [
            ("self.optimizer_D.step()", "self.netD"),
            ("self.optimizer_G.step()", "self.netG"),
        ]
        m.optimize_parameters()  # now self.fake_B is no leaf, and self.loss_D has a graph
    assert kinds(trace(Pix2Pix.optimize_parameters, m)) == []  # the function of the class is the same
    assert cost(m.optimize_parameters, repeats=1).networks["self.netD"].forwards == 3
    assert all(found.equal for found in compare({"a": m.optimize_parameters, "b": m.optimize_parameters}).differences)


def test_shares_have_the_lines_inside_the_methods():
    m = Pix2Pix()
    record, networks = trace(m.optimize_parameters), {"self.netG": m.netG, "self.netD": m.netD}
    with Oracle(Pix2Pix.backward_G, networks) as oracle:
        m.optimize_parameters()
    assert shares_of(record) == oracle.shares()


def test_a_penalty_on_the_fake_with_its_graph_raises_in_the_second_round():
    m = WithPenalty()
    record = trace(m.optimize_parameters)
    found = only(record, "freed graph")
    assert found.line == line_of(record, "self.loss_D.backward()", 1)
    assert "`self.fake_B`" in found.why
    assert "detach" in found.fix
