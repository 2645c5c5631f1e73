"""Several discriminators in a list, a ModuleList or a dict.

Sources: mingyuliutw/UNIT 92, junyanz/BicycleGAN 8, the shape of HiFi-GAN.
"""

import itertools

import pytest
import torch
from ledger_helpers import Oracle, at, kinds, mlp, shares_of
from torch import nn

from gantutor.ledger import compare, cost, trace

NAMES = {
    "list": ("Ds[0]", "Ds[1]"),
    "modulelist": ("Ds[0]", "Ds[1]"),
    "dict": ("Ds['msd']", "Ds['mpd']"),
}


class M:
    def __init__(self, kind):
        torch.manual_seed(0)
        self.G = mlp(4, 6)
        ds = [mlp(6, 1), mlp(6, 1)]
        self.Ds = {"list": ds, "modulelist": nn.ModuleList(ds), "dict": dict(zip(("msd", "mpd"), ds, strict=True))}[
            kind
        ]
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


def step(m, real, z):
    fake = m.G(z)
    m.opt_D.zero_grad()
    losses = {"D": 0}
    for d in m.ds():
        losses["D"] = losses["D"] + (d(real) - 1).square().mean() + d(fake.detach()).square().mean()
    losses["D"].backward()
    m.opt_D.step()
    m.opt_G.zero_grad()
    fmaps = [(features(d, real), features(d, fake)) for d in m.ds()]
    losses["G_adv"] = sum((f[-1] - 1).square().mean() for _, f in fmaps)
    losses["G_fm"] = sum((a.detach() - b).abs().mean() for r_, f_ in fmaps for a, b in zip(r_, f_, strict=True))
    losses["G"] = losses["G_adv"] + 2 * losses["G_fm"]
    losses["G"].backward()
    m.opt_G.step()


real, z = torch.randn(8, 6), torch.randn(8, 4)


@pytest.mark.parametrize("kind", NAMES)
def test_each_discriminator_has_its_name_and_its_share(kind):
    m = M(kind)
    record = trace(step, m, real, z)
    assert kinds(record) == []
    assert set(record.before) == {"G", *NAMES[kind]}
    assert at(record, "losses['D'].backward").backwards == ("losses['D']",)
    with Oracle(step, dict(zip(("G", *NAMES[kind]), (m.G, *m.ds()), strict=True))) as oracle:
        step(m, real, z)
    assert shares_of(record) == oracle.shares()


@pytest.mark.parametrize("kind", NAMES)
def test_cost_counts_layers_that_are_called_one_by_one_and_rows_add_up(kind):
    found = cost(step, M(kind), real, z, repeats=1)
    parts = [*found.networks.values(), found.elsewhere]
    assert sum(part.forward_flops + part.backward_flops for part in parts) == found.flops
    one = 2 * 8 * (6 * 16 + 16 * 1)  # a forward of a D, in operations
    assert [found.networks[name].forward_flops for name in NAMES[kind]] == [4 * one] * 2
    same = compare({"a": step, "b": step}, M(kind), real, z)
    assert all(difference.equal for difference in same.differences)
