"""Whole loops for a step, iterators, files, and what grows from iteration to iteration.

Sources: martinarjovsky/WassersteinGAN 50, Zeleni9/pytorch-wgan 51 (clamp, backward(one), backward(mone)); the loop, the
log and the files of pytorch/examples' dcgan.
"""

import pytest
import torch
from ledger_helpers import as_fake, as_real, assert_shares_are_the_oracles, at, finds, kinds, model, moved, step_of
from torch.utils.data import DataLoader

from gantutor.ledger import compare, cost, trace

loader = DataLoader(torch.randn(64, 6), batch_size=8)

# WGAN's loop over an iterator


def critic(m, data_iter):
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


def endless():
    while True:
        yield from loader


def test_an_iterator_is_used_once_and_the_trace_says_that_it_cannot_be_put_back():
    in_a_list = iter(list(loader))
    for batches in (endless(), iter(loader), in_a_list):
        record = trace(critic, model(), batches)
        assert record.error is None
        assert any("data_iter" in text for text in record.not_put_back)
    assert len(list(in_a_list)) == 5
    assert cost(critic, model(), endless(), repeats=1).networks["D"].forwards == 7


def test_shares_in_a_loop_are_the_oracles_and_the_clamp_moves_weights_on_its_own_line():
    m = model(kind=torch.optim.RMSprop)
    torch.manual_seed(1)
    record = trace(critic, m, iter(loader))
    assert kinds(record) == []
    assert set(moved(record)) == {
        *{("p.data.clamp_(-0.01, 0.01)", "D"), ("m.opt_D.step()", "D"), ("m.opt_G.step()", "G")}
    }
    assert all(p.requires_grad for p in m.D.parameters())  # the flag comes back, too
    two_signs = at(record, "m.opt_D.step()").networks["D"]
    assert len(two_signs.contributions) == 2
    assert sum(share.along for share in two_signs.contributions) == pytest.approx(two_signs.gradient_norm, rel=1e-5)
    torch.manual_seed(1)
    assert_shares_are_the_oracles(record, critic, {"G": m.G, "D": m.D}, m, iter(loader))


# A whole training loop


def logging_model():
    m = model()
    m.history, m.total = [], 0.0
    return m


def train(m, batches):
    for real in batches:
        fake = m.G(torch.randn(len(real), 4))
        m.opt_D.zero_grad()
        errD = as_real(m.D(real)) + as_fake(m.D(fake.detach()))
        errD.backward()
        m.opt_D.step()
        m.opt_G.zero_grad()
        errG = as_real(m.D(fake))
        errG.backward()
        m.opt_G.step()
        m.history.append((errD.item(), errG.item()))


def batches(n):
    return [torch.randn(8, 6) for _ in range(n)]


@pytest.mark.parametrize(("there", "options", "traced"), [(2, {}, 2), (80, {}, 3), (5, {"max_iterations": 4}, 4)])
def test_a_loop_stops_after_three_iterations_or_as_many_as_one_asks_for_and_says_so(there, options, traced):
    m = logging_model()
    record = trace(train, m, batches(there), **options)
    assert kinds(record) == []
    assert record.error is None
    assert [line.text for line in record.lines].count("m.opt_G.step()") == traced
    assert len(str(record)) < 30_000
    assert (f"Stopped after {traced} turns" in str(record)) == (there > traced)
    assert m.history == []


KEEPS = """
def step(m, batches):
    for real in batches:
        m.opt_D.zero_grad()
        errD = as_real(m.D(real))
        errD.backward({options})
        m.opt_D.step()
        {keeps}
"""


@pytest.mark.parametrize(
    ("keeps", "options"), [("m.history.append(errD)", "retain_graph=True"), ("m.total += errD", "")]
)
def test_graphs_that_are_kept_from_iteration_to_iteration_are_found(keeps, options):
    step = step_of(KEEPS.format(keeps=keeps, options=options), as_real=as_real)
    found = finds(trace(step, logging_model(), batches(8)), "kept graph", keeps)
    assert found.fix == keeps.replace("errD", "errD.item()")


def never_cleared(m, batches):
    for real in batches:
        errD = as_real(m.D(real))
        errD.backward()
        m.opt_D.step()


def accumulated(m, batches):  # four small batches for one update: this is right
    m.opt_D.zero_grad()
    for real in batches:
        errD = as_real(m.D(real)) / len(batches)
        errD.backward()
    m.opt_D.step()


def test_a_gradient_that_is_never_cleared_and_one_that_is_collected_on_purpose():
    found = finds(trace(never_cleared, logging_model(), batches(8)), "not cleared", "errD.backward()")
    assert found.fix.startswith("m.opt_D.zero_grad()")
    record = trace(accumulated, logging_model(), batches(4), max_iterations=4)
    assert kinds(record) == []
    assert len(at(record, "m.opt_D.step()").networks["D"].contributions) == 4


# A history, a counter, files and a global loader

m, iters, losses = model(), 0, []
data_iter = iter(loader)


def logs(folder):
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
    global data_iter
    record = trace(logs, tmp_path)
    assert kinds(record) == []
    assert losses == []  # a list is put back
    assert len(list(tmp_path.iterdir())) == 1  # a file is not
    assert any("data_iter" in text for text in record.not_put_back)
    assert str(record).splitlines()[-1].startswith("Not put back: ")
    data_iter = iter(loader)
    cost(logs, tmp_path, repeats=1)
    compare({"a": logs, "b": logs}, tmp_path)
    of_cost = 1 + 1 + 1  # to warm up, by the clock, and to count
    assert len(list(data_iter)) == 8 - of_cost - 2
    record = trace(logs, tmp_path)  # an empty iterator is the step's own error
    assert isinstance(record.error, StopIteration)
    assert record.lines[-1].text == "real = next(data_iter)"
