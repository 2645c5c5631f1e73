"""A step with a log, a history, a counter, files and a global loader, as people have it (pytorch/examples' dcgan)."""

import torch
import torch.nn.functional as F
from ledger_helpers import kinds, mlp

from gantutor.ledger import compare, cost, trace


class M:
    def __init__(self):
        torch.manual_seed(0)
        self.netG, self.netD = mlp(4, 6), mlp(6, 1)
        self.optG, self.optD = (torch.optim.Adam(n.parameters(), 1e-3) for n in (self.netG, self.netD))


m, iters, losses = M(), 0, []
loader = torch.utils.data.DataLoader(torch.randn(64, 6), batch_size=8)
data_iter = iter(loader)


def step(folder):
    global iters
    real = next(data_iter)
    fake = m.netG(torch.randn(8, 4))
    m.netD.zero_grad()
    errD = F.softplus(-m.netD(real)).mean() + F.softplus(m.netD(fake.detach())).mean()
    errD.backward()
    m.optD.step()
    losses.append(errD.item())
    torch.save(fake.detach(), folder / f"fake_{iters}.pt")
    iters += 1


def test_a_trace_runs_the_step_once_and_says_what_it_cannot_put_back(tmp_path):
    before, files = iters, len(losses)
    record = trace(step, tmp_path)
    assert kinds(record) == []
    assert (iters, len(losses), len(list(tmp_path.iterdir()))) == (before + 1, files + 1, 1)
    assert any("data_iter" in text for text in record.left)
    assert any("once" in text for text in str(record).splitlines()[-10:]) or record.left


def test_cost_runs_it_as_often_as_it_is_asked_and_compare_once_for_each(tmp_path):
    global data_iter
    data_iter = iter(loader)
    before = iters
    cost(step, tmp_path, repeats=0)
    assert iters == before + 1
    compare({"a": step, "b": step}, tmp_path)
    assert iters == before + 3


def test_an_empty_iterator_is_the_steps_own_error(tmp_path):
    global data_iter
    data_iter = iter(())
    record = trace(step, tmp_path)
    assert isinstance(record.error, StopIteration)
    assert record.lines[-1].text == "real = next(data_iter)"
    data_iter = iter(loader)
