"""Networks in a script, on self, in containers, tied, averaged, behind helpers: each has its name and its shares.

Sources: pytorch/pytorch 39141, MorvanZhou/PyTorch-Tutorial 89 (a script); junyanz/pytorch-CycleGAN-and-pix2pix 344,
594, 1001, 439 (a class), 260 and 603 (netD_A judges B), simple_CycleGAN 3; mingyuliutw/UNIT 92, BicycleGAN 8, the
shape of HiFi-GAN (several D); facebookresearch/pytorch_GAN_zoo 83 and 85, StyleMapGAN 16 (helpers); FastGAN-pytorch 4
and 34, VAE-GAN 1 (an average, a shared trunk); 1Konny/FactorVAE 15, YannDubs/disentangling-vae 62 and 77 (encoders).
"""

import functools
import itertools
import random
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import (
    REAL,
    Oracle,
    Z,
    as_fake,
    as_real,
    assert_shares_are_the_oracles,
    at,
    finds,
    kinds,
    line_of,
    mlp,
    moved,
    shares_of,
)
from torch import nn

from gantutor.ledger import compare, cost, trace
from gantutor.ledger.records import Backward


def adam(*networks):
    return torch.optim.Adam([p for net in networks for p in net.parameters()], 1e-3)


# A script

torch.manual_seed(0)
G, D = mlp(5, 15), mlp(15, 1, last=nn.Sigmoid())
opt_D, opt_G = adam(D), adam(G)


def as_posted():
    paintings = torch.randn(64, 15)
    made = G(torch.randn(64, 5))
    p0, p1 = D(paintings), D(made)
    D_loss = -torch.mean(torch.log(p0) + torch.log(1.0 - p1))
    G_loss = torch.mean(torch.log(1.0 - p1))
    opt_D.zero_grad()
    D_loss.backward(retain_graph=True)
    opt_D.step()
    opt_G.zero_grad()
    G_loss.backward()
    opt_G.step()


def score_again(m):  # the networks in an object, the optimizers global
    made = m.G(torch.randn(64, 5))
    opt_D.zero_grad()
    D_loss = -torch.mean(torch.log(D(torch.randn(64, 15))) + torch.log(1.0 - D(made.detach())))
    D_loss.backward()
    opt_D.step()
    opt_G.zero_grad()
    G_loss = torch.mean(torch.log(1.0 - m.D(made)))
    G_loss.backward()
    opt_G.step()


def test_the_posted_step_is_explained_by_the_names_of_the_script_and_put_back():
    before = [p.detach().clone() for p in D.parameters()]
    record = trace(as_posted)
    assert set(record.before) == {"G", "D"}
    assert isinstance(record.error, RuntimeError)
    finds(record, "changed in place", "G_loss.backward()", "`D.2.weight`", by="opt_D.step()", fix="p1 = D(made)")
    assert all(torch.equal(a, b) for a, b in zip(before, D.parameters(), strict=True))
    assert not opt_D.state


def test_the_step_that_scores_again_has_nothing_to_say_and_moves_nothing():
    m, parameters = SimpleNamespace(G=G, D=D), [*G.parameters(), *D.parameters()]
    for p in parameters:
        p.grad = torch.ones_like(p)  # as a step leaves them that ends before zero_grad
    before = [p.detach().clone() for p in parameters]
    kept = D(G(torch.randn(4, 5))).mean()
    record = trace(score_again, m)
    assert kinds(record) == []
    assert moved(record) == [("opt_D.step()", "D"), ("opt_G.step()", "G")]
    sent = at(record, "D_loss.backward()")
    assert [share.line for share in sent.networks["D"].contributions] == [sent.number]
    assert all(torch.equal(a, b) and b.grad.eq(1).all() for a, b in zip(before, parameters, strict=True))
    kept.backward()  # raises if a weight's version was changed
    same = compare({"once": score_again, "again": score_again}, m)
    assert all(found.equal for found in same.differences)
    assert cost(score_again, m, repeats=1).networks["D"].forwards == 3


# A class, with all on self


class Pix2Pix:
    def __init__(self):
        torch.manual_seed(0)
        self.netG = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
        self.netD = nn.Sequential(nn.Conv2d(2, 4, 4, 2, 1), nn.LeakyReLU(0.2, True), nn.Conv2d(4, 1, 4, 1, 1))
        self.criterionGAN, self.criterionL1 = nn.MSELoss(), nn.L1Loss()
        self.optimizer_G, self.optimizer_D = adam(self.netG), adam(self.netD)
        self.optimizers = [self.optimizer_G, self.optimizer_D]
        self.real_A, self.real_B = torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16)

    def forward(self):
        self.fake_B = self.netG(self.real_A)

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
        self.loss_G = self.loss_G_GAN + self.criterionL1(self.fake_B, self.real_B) * 100
        self.loss_G.backward()

    def optimize_parameters(self):
        self.forward()
        self.netD.requires_grad_(True)
        self.optimizer_D.zero_grad()
        self.backward_D()
        self.optimizer_D.step()
        self.netD.requires_grad_(False)
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


def test_a_bound_method_is_traced_as_it_is_before_and_after_training_with_the_lines_inside_the_methods():
    m = Pix2Pix()
    networks = {"self.netG": m.netG, "self.netD": m.netD}
    for _ in range(2):
        record = trace(m.optimize_parameters)
        assert record.error is None
        assert kinds(record) == []
        assert moved(record) == [("self.optimizer_D.step()", "self.netD"), ("self.optimizer_G.step()", "self.netG")]
        m.netD.requires_grad_(True)  # the second step begins with a frozen D; hooks need one that is not
        with Oracle(Pix2Pix.backward_G, networks) as oracle:
            m.optimize_parameters()  # from now on self.fake_B is no leaf, and self.loss_D has a graph
        assert shares_of(record) == oracle.shares()
    assert kinds(trace(Pix2Pix.optimize_parameters, m)) == []  # the function of the class is the same
    assert cost(m.optimize_parameters, repeats=1).networks["self.netD"].forwards == 3
    assert all(found.equal for found in compare({"a": m.optimize_parameters, "b": m.optimize_parameters}).differences)


def test_a_penalty_on_the_fake_with_its_graph_raises_in_the_second_round():
    record = trace(WithPenalty().optimize_parameters)
    finds(record, "freed graph", "self.loss_D.backward()", "`self.fake_B`", fix="detach", which=1)


# Losses that go backward in helpers; steps of every callable kind


class Base:
    def __init__(self):
        torch.manual_seed(0)
        self.netG, self.netD = mlp(4, 6), mlp(6, 1)
        self.optimizerG, self.optimizerD = adam(self.netG), adam(self.netD)

    def updateD(self, x, z):
        self.optimizerD.zero_grad()
        lossD = as_real(self.netD(x))
        lossDFake = as_fake(self.netD(self.netG(z).detach()))
        lossD += lossDFake
        lossD.backward()
        self.optimizerD.step()

    def updateG(self, x, z):
        self.optimizerG.zero_grad()
        fake = self.netG(z)
        lossGFake = as_real(self.netD(fake))
        lossGFake.backward()
        self.gdpp(fake, x).backward()
        self.optimizerG.step()

    def gdpp(self, fake, x):
        return (fake.T @ fake - x.T @ x).square().mean()

    def optimizeParameters(self, x, z):
        self.updateD(x, z)
        self.updateG(x, z)


@pytest.mark.parametrize("name", ["updateG", "optimizeParameters"])
def test_the_second_loss_on_a_freed_graph_is_found_inside_the_method(name):
    m = Base()
    record = trace(getattr(m, name), REAL, Z)
    first = f"line {line_of(record, 'lossGFake.backward()')}"
    fix = "lossGFake.backward(retain_graph=True)"
    finds(record, "freed graph", "self.gdpp(fake, x).backward()", "`fake`", first, fix=fix)
    with Oracle(Base.updateG, {"self.netG": m.netG, "self.netD": m.netD}) as oracle, pytest.raises(RuntimeError):
        getattr(m, name)(REAL, Z)
    assert shares_of(record) == oracle.shares()


def timed(f):  # a decorator without functools.wraps
    return lambda *a: f(*a)


@timed
def wrapped(m, x, z):
    m.updateD(x, z)


def make(weight):
    def closure(m, x):
        m.optimizerD.zero_grad()
        loss = weight * as_real(m.netD(x))
        loss.backward()
        m.optimizerD.step()

    return closure


class CallableStep:
    def __call__(self, m, x, z):
        m.updateD(x, z)


def by_keyword(m, *, x, z):
    m.updateD(x, z)


base = Base()


def without_arguments():
    base.updateD(REAL, Z)


CALLS = {
    "a decorator without wraps": lambda: trace(wrapped, base, REAL, Z),
    "a closure": lambda: trace(make(2.0), base, REAL),
    "functools.partial": lambda: trace(functools.partial(Base.updateD, base, z=Z), REAL),
    "a bound method": lambda: trace(base.updateD, REAL, Z),
    "a callable object": lambda: trace(CallableStep(), base, REAL, Z),
    "keyword arguments": lambda: trace(by_keyword, base, x=REAL, z=Z),
    "no arguments": lambda: trace(without_arguments),
}


@pytest.mark.parametrize("how", CALLS)
def test_any_callable_is_traced(how):
    record = CALLS[how]()
    assert record.error is None
    assert kinds(record) == []
    assert [name.split(".")[-1] for _, name in moved(record)] == ["netD"]


# CycleGAN: four networks, two optimizers, a pool


class CycleGAN:
    def __init__(self):
        torch.manual_seed(0)
        self.netG_A, self.netG_B, self.netD_A, self.netD_B = mlp(6, 6), mlp(6, 6), mlp(6, 1), mlp(6, 1)
        self.optimizer_G, self.optimizer_D = adam(self.netG_A, self.netG_B), adam(self.netD_A, self.netD_B)
        self.pool = []

    def query(self, x):
        self.pool.append(x.detach())
        return random.choice(self.pool)


def cycle(m, real_A, real_B):
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
    m = CycleGAN()
    record = trace(cycle, m, a, b)
    assert kinds(record) == []
    link = at(record, "loss_G_A = ").tensors["loss_G_A"].link
    assert (link.through, link.made_from) == (("netD_A",), ("fake_B",))
    reaches = {name: at(record, f"{name} = ").tensors[name].reaches for name in ("fake_B", "loss_cycle_A", "loss_D_A")}
    assert reaches == {"fake_B": ("netG_A",), "loss_cycle_A": ("netG_A", "netG_B"), "loss_D_A": ("netD_A",)}
    steps = {"m.optimizer_G.step()": ("netG_A", "netG_B"), "m.optimizer_D.step()": ("netD_A", "netD_B")}
    assert moved(record) == [(text, name) for text, names in steps.items() for name in names]
    assert m.pool == []  # the pool, too, is as it was
    networks = {name: value for name, value in vars(m).items() if name.startswith("net")}
    assert_shares_are_the_oracles(record, cycle, networks, m, a, b)
    assert kinds(trace(cycle, m, a, b)) == []  # with a pool that holds images
    assert cost(cycle, m, a, b, repeats=1).networks["netG_A"].forwards == 2


def test_scores_from_before_Ds_update_are_stale():
    record, step, fix = trace(late, CycleGAN(), a, b), "m.optimizer_D.step()", "pred = m.netD_A(fake_B)"
    finds(record, "changed in place", "loss_G.backward()", "`netD_A.2.weight`", by=step, fix=fix)


# Several discriminators

SHAPES = {
    "list": (list, ("Ds[0]", "Ds[1]")),
    "ModuleList": (nn.ModuleList, ("Ds[0]", "Ds[1]")),
    "dict": (lambda ds: dict(zip(("msd", "mpd"), ds, strict=True)), ("Ds['msd']", "Ds['mpd']")),
}


class Several:
    def __init__(self, shape):
        torch.manual_seed(0)
        self.G, ds = mlp(4, 6), [mlp(6, 1), mlp(6, 1)]
        self.Ds = shape(ds)
        self.opt_G, self.opt_D = adam(self.G), adam(*ds)

    def ds(self):
        return self.Ds.values() if isinstance(self.Ds, dict) else self.Ds


def features(d, x):  # the layers are called one by one, the network never
    return list(itertools.accumulate(d, lambda x, layer: layer(x), initial=x))[1:]


def hifi(m):
    fake = m.G(Z)
    m.opt_D.zero_grad()
    losses = {"D": 0}
    for d in m.ds():
        losses["D"] = losses["D"] + (d(REAL) - 1).square().mean() + d(fake.detach()).square().mean()
    losses["D"].backward()
    m.opt_D.step()
    m.opt_G.zero_grad()
    fmaps = [(features(d, REAL), features(d, fake)) for d in m.ds()]
    losses["G_adv"] = sum((f[-1] - 1).square().mean() for _, f in fmaps)
    losses["G_fm"] = sum((a.detach() - b).abs().mean() for r_, f_ in fmaps for a, b in zip(r_, f_, strict=True))
    losses["G"] = losses["G_adv"] + 2 * losses["G_fm"]
    losses["G"].backward()
    m.opt_G.step()


@pytest.mark.parametrize("kind", SHAPES)
def test_each_discriminator_has_its_name_and_its_share_and_rows_of_a_cost_add_up(kind):
    shape, names = SHAPES[kind]
    m = Several(shape)
    record = trace(hifi, m)
    assert kinds(record) == []
    assert set(record.before) == {"G", *names}
    assert at(record, "losses['D'].backward").of(Backward)[0].losses == ("losses['D']",)
    found = cost(hifi, m, repeats=1)
    parts = [*found.networks.values(), found.elsewhere]
    assert sum(part.forward_flops + part.backward_flops for part in parts) == found.flops
    one = 2 * 8 * (6 * 16 + 16 * 1)  # a forward of a D, in operations
    assert [found.networks[name].forward_flops for name in names] == [4 * one] * 2
    assert_shares_are_the_oracles(record, hifi, dict(zip(("G", *names), (m.G, *m.ds()), strict=True)), m)


# An average of G kept with .data, gradients clamped by hand, a trunk that D and Q share


class Tied:
    def __init__(self):
        torch.manual_seed(0)
        self.G, self.G_ema = mlp(4, 6), mlp(4, 6)
        self.G_ema.load_state_dict(self.G.state_dict())
        trunk = nn.Sequential(nn.Linear(6, 16), nn.LeakyReLU(0.2))
        self.D, self.Q = nn.Sequential(trunk, nn.Linear(16, 1)), nn.Sequential(trunk, nn.Linear(16, 3))
        self.opt_D, self.opt_G = adam(self.D), adam(self.G, self.Q[1])


def averaged(m):
    fake = m.G(Z)
    m.opt_D.zero_grad()
    d_loss = as_real(m.D(REAL)) + as_fake(m.D(fake.detach()))
    d_loss.backward()
    for p in m.D.parameters():
        p.grad.data.clamp_(-0.05, 0.05)
    m.opt_D.step()
    m.opt_G.zero_grad()
    g_loss = as_real(m.D(fake))
    info = F.cross_entropy(m.Q(fake), torch.zeros(len(Z), dtype=torch.long))
    total = g_loss + info
    total.backward()
    m.opt_G.step()
    for a, b in zip(m.G_ema.parameters(), m.G.parameters(), strict=True):
        a.data.mul_(0.9).add_(b.data, alpha=0.1)


def test_an_average_a_clamp_of_gradients_and_a_shared_trunk():
    """The average moves on its own line; the clamp is no loss's share; the trunk is D's, and Q adds its head."""
    m = Tied()
    record = trace(averaged, m)
    assert kinds(record) == []
    assert {text for text, name in moved(record) if name == "G_ema"} == {"a.data.mul_(0.9).add_(b.data, alpha=0.1)"}
    assert all(line.networks["G_ema"].with_gradient == 0 for line in record.lines)
    before, clamped = (at(record, text).networks["D"] for text in ("d_loss.backward()", "m.opt_D.step()"))
    assert {share.line for share in clamped.contributions if share.loss} == {line_of(record, "d_loss.backward()")}
    assert clamped.gradient_norm < before.gradient_norm
    assert sum(share.along for share in clamped.contributions) == pytest.approx(clamped.gradient_norm, rel=1e-5)
    reaches = {name: at(record, f"{name} = ").tensors[name].reaches for name in ("d_loss", "g_loss", "info")}
    assert reaches == {"d_loss": ("D",), "g_loss": ("G", "D"), "info": ("G", "D", "Q")}
    assert_shares_are_the_oracles(record, averaged, {"G": m.G, "D": m.D, "Q": m.Q}, m)


# Encoder, decoder and D, one optimizer for two networks


class FactorVAE:
    def __init__(self):
        torch.manual_seed(0)
        self.E, self.Dec, self.D = mlp(6, 4), mlp(2, 6), mlp(2, 2)
        self.optim_VAE, self.optim_D = adam(self.E, self.Dec), adam(self.D)


def forward(m, x):
    mu, logvar = m.E(x).chunk(2, 1)
    z = mu + torch.randn_like(mu) * (logvar / 2).exp()
    return m.Dec(z), z


def vae_loss_of(recon, D_z):
    return F.mse_loss(recon, a) + 6.4 * (D_z[:, :1] - D_z[:, 1:]).mean()


def D_loss_of(m, D_z):
    z_pperm = forward(m, b)[1][torch.randperm(8)].detach()
    zeros, ones = torch.zeros(8, dtype=torch.long), torch.ones(8, dtype=torch.long)
    return 0.5 * (F.cross_entropy(D_z, zeros) + F.cross_entropy(m.D(z_pperm), ones))


def scores_from_before(m):  # FactorVAE 15
    recon, z = forward(m, a)
    D_z = m.D(z)
    vae_loss = vae_loss_of(recon, D_z)
    m.optim_VAE.zero_grad()
    vae_loss.backward(retain_graph=True)
    m.optim_VAE.step()
    D_tc_loss = D_loss_of(m, D_z)
    m.optim_D.zero_grad()
    D_tc_loss.backward()
    m.optim_D.step()


def steps_at_the_end(m):  # disentangling-vae 77: no error any more, and a wrong gradient in the encoder
    recon, z = forward(m, a)
    D_z = m.D(z)
    vae_loss = vae_loss_of(recon, D_z)
    m.optim_VAE.zero_grad()
    vae_loss.backward(retain_graph=True)
    D_tc_loss = D_loss_of(m, D_z)
    m.optim_D.zero_grad()
    D_tc_loss.backward()
    m.optim_VAE.step()
    m.optim_D.step()


def test_the_graph_that_goes_on_into_the_encoder_raises_and_the_encoders_weight_is_named():
    record, step = trace(scores_from_before, FactorVAE()), "m.optim_VAE.step()"
    finds(record, "changed in place", "D_tc_loss.backward()", "`E.2.weight`", by=step, fix="detach")


def test_with_the_steps_at_the_end_the_encoder_follows_Ds_loss_and_nothing_raises():
    m = FactorVAE()
    torch.manual_seed(3)
    record = trace(steps_at_the_end, m)
    assert record.error is None
    finds(record, "another's gradient", "m.optim_VAE.step()", "E", "`D_tc_loss`", fix="detach")
    torch.manual_seed(3)
    assert_shares_are_the_oracles(record, steps_at_the_end, {"E": m.E, "Dec": m.Dec, "D": m.D}, m)
