"""WGAN's loop over an iterator: clamp, backward(one), backward(mone).

Sources: martinarjovsky/WassersteinGAN 50, Zeleni9/pytorch-wgan 51.
"""

import pytest
import torch
from ledger_helpers import assert_shares_are_the_oracles, at, kinds, model, moved
from torch.utils.data import DataLoader

from gantutor.ledger import cost, trace


def step(m, data_iter):
    one, mone = torch.tensor(1.0), torch.tensor(-1.0)
    for p in m.D.parameters():
        p.requires_grad = True
    for _ in range(3):
        for p in m.D.parameters():
            p.data.clamp_(-0.01, 0.01)
        real = next(data_iter)
        m.D.zero_grad()
        errD_real = m.D(real).mean()
        errD_real.backward(mone)
        with torch.no_grad():
            fake = m.G(torch.randn(len(real), 4))
        errD_fake = m.D(fake).mean()
        errD_fake.backward(one)
        m.opt_D.step()
    for p in m.D.parameters():
        p.requires_grad = False
    m.G.zero_grad()
    errG = m.D(m.G(torch.randn(8, 4))).mean()
    errG.backward(mone)
    m.opt_G.step()


loader = DataLoader(torch.randn(64, 6), batch_size=8)


def endless():
    while True:
        yield from loader


def test_an_iterator_is_used_once_and_the_trace_says_that_it_cannot_be_put_back():
    in_a_list = iter(list(loader))
    for batches in (endless(), iter(loader), in_a_list):
        record = trace(step, model(), batches)
        assert record.error is None
        assert any("data_iter" in text for text in record.not_put_back)
    assert len(list(in_a_list)) == 5
    assert cost(step, model(), endless(), repeats=1).networks["D"].forwards == 7


def test_shares_in_a_loop_are_the_oracles_and_the_clamp_moves_weights_on_its_own_line():
    m = model(kind=torch.optim.RMSprop)
    torch.manual_seed(1)
    record = trace(step, m, iter(loader))
    assert kinds(record) == []
    assert set(moved(record)) == {
        ("p.data.clamp_(-0.01, 0.01)", "D"),
        ("m.opt_D.step()", "D"),
        ("m.opt_G.step()", "G"),
    }
    assert all(p.requires_grad for p in m.D.parameters())  # the flag comes back, too
    two_signs = at(record, "m.opt_D.step()").networks["D"]
    assert len(two_signs.contributions) == 2
    assert sum(share.along for share in two_signs.contributions) == pytest.approx(two_signs.gradient_norm, rel=1e-5)
    torch.manual_seed(1)
    assert_shares_are_the_oracles(record, step, {"G": m.G, "D": m.D}, m, iter(loader))
