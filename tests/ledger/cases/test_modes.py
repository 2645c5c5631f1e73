"""eval() in the middle of a step, and forgotten (junyanz 1329, pytorch/examples 119, 804, 807, ganomaly 83)."""

import torch
import torch.nn.functional as F
from ledger_helpers import at, kinds, line_of, mlp, only

from gantutor.ledger import trace


class M:
    def __init__(self):
        torch.manual_seed(0)
        self.netG, self.netD = mlp(4, 6, "batch"), mlp(6, 1, "batch")
        self.optG, self.optD = (torch.optim.Adam(n.parameters(), 1e-3) for n in (self.netG, self.netD))


def forgotten(m, real, z):
    m.netG.eval()
    with torch.no_grad():
        fake = m.netG(z)
    m.netD.zero_grad()
    errD = F.softplus(-m.netD(real)).mean() + F.softplus(m.netD(fake)).mean()
    errD.backward()
    m.optD.step()
    m.netG.zero_grad()
    errG = F.softplus(-m.netD(m.netG(z))).mean()
    errG.backward()
    m.optG.step()


def in_train(m, real, z):
    m.netG.eval()
    with torch.no_grad():
        fake = m.netG(z)
    m.netG.train()
    m.netD.zero_grad()
    errD = F.softplus(-m.netD(real)).mean() + F.softplus(m.netD(fake)).mean()
    errD.backward()
    m.optD.step()
    m.netG.zero_grad()
    errG = F.softplus(-m.netD(m.netG(z))).mean()
    errG.backward()
    m.optG.step()


real, z = torch.randn(8, 6), torch.randn(8, 4)


def test_a_network_that_is_trained_in_eval_mode_is_named_with_the_line_that_set_it():
    m = M()
    record = trace(forgotten, m, real, z)
    found = only(record, "wrong mode")
    assert found.line == line_of(record, "errG = ")
    assert f"line {line_of(record, 'm.netG.eval()')}" in found.why
    assert found.fix.startswith("m.netG.train()")
    assert m.netG.training
    assert [line.networks["netG"].training for line in record.lines] == [False] * len(record.lines)


def test_sampling_in_eval_mode_and_going_back_is_right():
    record = trace(in_train, M(), real, z)
    assert kinds(record) == []
    assert at(record, "m.netG.eval()").networks["netG"].training is False
    assert record.lines[-1].networks["netG"].training is True
    assert record.lines[-1].networks["netG"].batchnorms[0].batches == 1


def test_a_batch_of_one_image_is_torchs_own_error():
    record = trace(in_train, M(), real[:1], z[:1])
    assert "more than 1 value per channel" in str(record.error)
    assert kinds(record) == []
