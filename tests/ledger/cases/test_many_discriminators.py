"""Several discriminators in a list, a ModuleList or a dict.

Sources: mingyuliutw/UNIT 92, junyanz/BicycleGAN 8, the shape of HiFi-GAN.
"""

import itertools

import pytest
import torch
from ledger_helpers import REAL, Z, assert_shares_are_the_oracles, at, kinds, mlp
from torch import nn

from gantutor.ledger import cost, trace
from gantutor.ledger.records import Backward

SHAPES = {
    "list": (list, ("Ds[0]", "Ds[1]")),
    "ModuleList": (nn.ModuleList, ("Ds[0]", "Ds[1]")),
    "dict": (lambda ds: dict(zip(("msd", "mpd"), ds, strict=True)), ("Ds['msd']", "Ds['mpd']")),
}


class M:
    def __init__(self, shape):
        torch.manual_seed(0)
        self.G, ds = mlp(4, 6), [mlp(6, 1), mlp(6, 1)]
        self.Ds = shape(ds)
        self.opt_G = torch.optim.Adam(self.G.parameters(), 1e-3)
        self.opt_D = torch.optim.Adam(itertools.chain(*[d.parameters() for d in ds]), 1e-3)

    def ds(self):
        return self.Ds.values() if isinstance(self.Ds, dict) else self.Ds


def features(d, x):
    found = []
    for layer in d:  # the layers are called one by one, the network never
        x = layer(x)
        found.append(x)
    return found


def step(m):
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
    m = M(shape)
    record = trace(step, m)
    assert kinds(record) == []
    assert set(record.before) == {"G", *names}
    assert at(record, "losses['D'].backward").of(Backward)[0].losses == ("losses['D']",)
    found = cost(step, m, repeats=1)
    parts = [*found.networks.values(), found.elsewhere]
    assert sum(part.forward_flops + part.backward_flops for part in parts) == found.flops
    one = 2 * 8 * (6 * 16 + 16 * 1)  # a forward of a D, in operations
    assert [found.networks[name].forward_flops for name in names] == [4 * one] * 2
    assert_shares_are_the_oracles(record, step, dict(zip(("G", *names), (m.G, *m.ds()), strict=True)), m)
