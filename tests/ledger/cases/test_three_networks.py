"""Encoder, decoder and D, one optimizer for two networks.

Sources: 1Konny/FactorVAE 15, YannDubs/disentangling-vae 62 and 77.
"""

import torch
import torch.nn.functional as F
from ledger_helpers import assert_shares_are_the_oracles, line_of, mlp, only

from gantutor.ledger import trace

x, x2 = torch.randn(8, 6), torch.randn(8, 6)


class M:
    def __init__(self):
        torch.manual_seed(0)
        self.E, self.Dec, self.D = mlp(6, 4), mlp(2, 6), mlp(2, 2)
        self.optim_VAE = torch.optim.Adam([*self.E.parameters(), *self.Dec.parameters()], 1e-3)
        self.optim_D = torch.optim.Adam(self.D.parameters(), 1e-3)


def forward(m, x):
    mu, logvar = m.E(x).chunk(2, 1)
    z = mu + torch.randn_like(mu) * (logvar / 2).exp()
    return m.Dec(z), z


def vae_loss_of(recon, D_z):
    return F.mse_loss(recon, x) + 6.4 * (D_z[:, :1] - D_z[:, 1:]).mean()


def D_loss_of(m, D_z):
    z_pperm = forward(m, x2)[1][torch.randperm(len(x2))].detach()
    zeros, ones = torch.zeros(len(x), dtype=torch.long), torch.ones(len(x), dtype=torch.long)
    return 0.5 * (F.cross_entropy(D_z, zeros) + F.cross_entropy(m.D(z_pperm), ones))


def scores_from_before(m):  # FactorVAE 15
    recon, z = forward(m, x)
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
    recon, z = forward(m, x)
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
    record = trace(scores_from_before, M())
    found = only(record, "changed in place")
    assert found.line == line_of(record, "D_tc_loss.backward()")
    assert "`E.2.weight`" in found.why
    assert f"line {line_of(record, 'm.optim_VAE.step()')}" in found.why
    assert "detach" in found.fix


def test_with_the_steps_at_the_end_the_encoder_follows_Ds_loss_and_nothing_raises():
    m = M()
    torch.manual_seed(3)
    record = trace(steps_at_the_end, m)
    assert record.error is None
    found = only(record, "another's gradient")
    assert found.line == line_of(record, "m.optim_VAE.step()")
    assert "E" in found.what
    assert "`D_tc_loss`" in found.what
    assert "detach" in found.fix
    torch.manual_seed(3)
    assert_shares_are_the_oracles(record, steps_at_the_end, {"E": m.E, "Dec": m.Dec, "D": m.D}, m)
