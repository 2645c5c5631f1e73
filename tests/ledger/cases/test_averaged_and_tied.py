"""An average of G kept with .data, gradients clamped by hand, a trunk that D and Q share.

Sources: FastGAN-pytorch 4 and 34, VAE-GAN 1.
"""

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import REAL, Z, as_fake, as_real, assert_shares_are_the_oracles, at, kinds, line_of, mlp, moved
from torch import nn

from gantutor.ledger import trace


class M:
    def __init__(self):
        torch.manual_seed(0)
        self.G, self.G_ema = mlp(4, 6), mlp(4, 6)
        self.G_ema.load_state_dict(self.G.state_dict())
        trunk = nn.Sequential(nn.Linear(6, 16), nn.LeakyReLU(0.2))
        self.D, self.Q = nn.Sequential(trunk, nn.Linear(16, 1)), nn.Sequential(trunk, nn.Linear(16, 3))
        self.opt_D = torch.optim.Adam(self.D.parameters(), 1e-3)
        self.opt_G = torch.optim.Adam([*self.G.parameters(), *self.Q[1].parameters()], 1e-3)


def step(m):
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


def test_the_average_moves_on_its_own_line_and_has_no_gradient():
    record = trace(step, M())
    assert kinds(record) == []
    assert {text for text, name in moved(record) if name == "G_ema"} == {"a.data.mul_(0.9).add_(b.data, alpha=0.1)"}
    assert all(line.networks["G_ema"].with_gradient == 0 for line in record.lines)


def test_a_clamp_of_gradients_is_no_losses_share():
    record = trace(step, M())
    before, clamped = (at(record, text).networks["D"] for text in ("d_loss.backward()", "m.opt_D.step()"))
    assert {share.line for share in clamped.contributions if share.loss} == {line_of(record, "d_loss.backward()")}
    assert clamped.gradient_norm < before.gradient_norm
    assert sum(share.along for share in clamped.contributions) == pytest.approx(clamped.gradient_norm, rel=1e-5)


def test_a_shared_trunk_has_both_losses_and_each_head_its_own():
    """The trunk is listed once, with D; Q adds its head."""
    m = M()
    record = trace(step, m)
    reaches = {name: at(record, f"{name} = ").tensors[name].reaches for name in ("d_loss", "g_loss", "info")}
    assert reaches == {"d_loss": ("D",), "g_loss": ("G", "D"), "info": ("G", "D", "Q")}
    assert_shares_are_the_oracles(record, step, {"G": m.G, "D": m.D, "Q": m.Q}, m)
