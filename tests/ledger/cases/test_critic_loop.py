"""WGAN's loop over an iterator: clamp, backward(one), backward(mone).

Sources: martinarjovsky/WassersteinGAN 50, Zeleni9/pytorch-wgan 51.
"""

import copy

import torch
from ledger_helpers import Oracle, at, kinds, mlp, moved, shares_of
from torch.utils.data import DataLoader

from gantutor.ledger import cost, trace


class M:
    def __init__(self):
        torch.manual_seed(0)
        self.netG, self.netD = mlp(4, 6), mlp(6, 1)
        self.optimizerG = torch.optim.RMSprop(self.netG.parameters(), 5e-5)
        self.optimizerD = torch.optim.RMSprop(self.netD.parameters(), 5e-5)


def step(m, data_iter):
    one, mone = torch.tensor(1.0), torch.tensor(-1.0)
    for p in m.netD.parameters():
        p.requires_grad = True
    for _ in range(3):
        for p in m.netD.parameters():
            p.data.clamp_(-0.01, 0.01)
        real = next(data_iter)
        m.netD.zero_grad()
        errD_real = m.netD(real).mean()
        errD_real.backward(mone)
        with torch.no_grad():
            fake = m.netG(torch.randn(len(real), 4))
        errD_fake = m.netD(fake).mean()
        errD_fake.backward(one)
        m.optimizerD.step()
    for p in m.netD.parameters():
        p.requires_grad = False
    m.netG.zero_grad()
    errG = m.netD(m.netG(torch.randn(8, 4))).mean()
    errG.backward(mone)
    m.optimizerG.step()


loader = DataLoader(torch.randn(64, 6), batch_size=8)


def endless(loader):
    while True:
        yield from loader


def test_an_iterator_is_used_once_and_the_trace_says_that_it_cannot_be_put_back():
    for batches in (endless(loader), iter(loader), iter([torch.randn(8, 6) for _ in range(9)])):
        record = trace(step, M(), batches)
        assert record.error is None
        assert any("data_iter" in text for text in record.not_put_back)
    batches = iter([torch.randn(8, 6) for _ in range(9)])
    trace(step, M(), batches)
    assert len(list(batches)) == 6
    assert cost(step, M(), endless(loader), repeats=1).networks["netD"].forwards == 7


def test_shares_in_a_loop_are_the_oracles_and_the_clamp_moves_weights_on_its_own_line():
    m, data = M(), [torch.randn(8, 6) for _ in range(9)]
    torch.manual_seed(1)
    record = trace(step, m, iter(data))
    assert kinds(record) == []
    torch.manual_seed(1)
    twin = copy.deepcopy(m)
    with Oracle(step, {"netG": twin.netG, "netD": twin.netD}) as oracle:
        step(twin, iter(data))
    assert shares_of(record) == oracle.shares()
    assert set(moved(record)) == {
        ("p.data.clamp_(-0.01, 0.01)", "netD"),
        ("m.optimizerD.step()", "netD"),
        ("m.optimizerG.step()", "netG"),
    }
    assert all(p.requires_grad for p in m.netD.parameters())  # the flag comes back, too


def test_the_two_signs_add_up_to_the_critics_gradient():
    record = trace(step, M(), iter(loader))
    state = at(record, "m.optimizerD.step()").networks["netD"]
    assert len(state.contributions) == 2
    assert abs(sum(share.along for share in state.contributions) - state.gradient_norm) < 1e-5 * state.gradient_norm
