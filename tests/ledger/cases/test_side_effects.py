"""A step with a log, a history, a counter, files and a global loader, as people have it (pytorch/examples' dcgan)."""

import torch
from ledger_helpers import as_fake, as_real, kinds, model

from gantutor.ledger import compare, cost, trace

m, iters, losses = model(), 0, []
loader = torch.utils.data.DataLoader(torch.randn(64, 6), batch_size=8)
data_iter = iter(loader)


def step(folder):
    global iters
    real = next(data_iter)
    fake = m.G(torch.randn(8, 4))
    m.D.zero_grad()
    errD = as_real(m.D(real)) + as_fake(m.D(fake.detach()))
    errD.backward()
    m.opt_D.step()
    losses.append(errD.item())
    torch.save(fake.detach(), folder / f"fake_{iters}.pt")
    iters += 1


def test_a_trace_runs_the_step_once_and_says_what_it_cannot_put_back(tmp_path):
    record = trace(step, tmp_path)
    assert kinds(record) == []
    assert losses == []  # a list is put back
    assert len(list(tmp_path.iterdir())) == 1  # a file is not
    assert any("data_iter" in text for text in record.not_put_back)
    assert str(record).splitlines()[-1].startswith("Not put back: ")


def test_cost_runs_it_as_often_as_it_is_asked_and_compare_once_for_each(tmp_path):
    global data_iter
    data_iter = iter(loader)
    cost(step, tmp_path, repeats=1)
    compare({"a": step, "b": step}, tmp_path)
    of_cost = 1 + 1 + 1  # to warm up, by the clock, and to count
    assert len(list(data_iter)) == 8 - of_cost - 2


def test_an_empty_iterator_is_the_steps_own_error(tmp_path):
    global data_iter
    data_iter = iter(())
    record = trace(step, tmp_path)
    assert isinstance(record.error, StopIteration)
    assert record.lines[-1].text == "real = next(data_iter)"
    data_iter = iter(loader)
