"""A whole training loop for a step, as pytorch/examples' dcgan has it; and what grows from iteration to iteration."""

import pytest
import torch
import torch.nn.functional as F
from ledger_helpers import at, kinds, line_of, mlp, only

from gantutor.ledger import trace


class M:
    def __init__(self):
        torch.manual_seed(0)
        self.netG, self.netD = mlp(4, 6), mlp(6, 1)
        self.optG, self.optD = (torch.optim.Adam(n.parameters(), 1e-3) for n in (self.netG, self.netD))
        self.history, self.total = [], 0.0


def train(m, batches):
    for real in batches:
        fake = m.netG(torch.randn(len(real), 4))
        m.optD.zero_grad()
        errD = F.softplus(-m.netD(real)).mean() + F.softplus(m.netD(fake.detach())).mean()
        errD.backward()
        m.optD.step()
        m.optG.zero_grad()
        errG = F.softplus(-m.netD(fake)).mean()
        errG.backward()
        m.optG.step()
        m.history.append((errD.item(), errG.item()))


def batches(n):
    return [torch.randn(8, 6) for _ in range(n)]


@pytest.mark.parametrize(("there", "traced"), [(2, 2), (80, 3)])
def test_a_loop_stops_after_three_iterations_and_says_so(there, traced):
    m = M()
    record = trace(train, m, batches(there))
    assert kinds(record) == []
    assert record.error is None
    assert [line.text for line in record.lines].count("m.optG.step()") == traced
    assert len(str(record)) < 30_000
    assert ("Stopped after 3 turns" in str(record)) == (there > traced)
    assert m.history == []


def test_more_iterations_on_request():
    record = trace(train, M(), batches(9), max_iterations=5)
    assert [line.text for line in record.lines].count("m.optG.step()") == 5


def keeps_losses(m, batches):
    for real in batches:
        m.optD.zero_grad()
        errD = F.softplus(-m.netD(real)).mean()
        errD.backward(retain_graph=True)
        m.optD.step()
        m.history.append(errD)


def keeps_a_sum(m, batches):
    for real in batches:
        m.optD.zero_grad()
        errD = F.softplus(-m.netD(real)).mean()
        errD.backward()
        m.optD.step()
        m.total += errD


@pytest.mark.parametrize(
    ("step", "text", "fix"),
    [
        (keeps_losses, "m.history.append(errD)", "m.history.append(errD.item())"),
        (keeps_a_sum, "m.total += errD", "m.total += errD.item()"),
    ],
)
def test_graphs_that_are_kept_from_iteration_to_iteration_are_found(step, text, fix):
    record = trace(step, M(), batches(8))
    found = only(record, "kept graph")
    assert found.line == line_of(record, text)
    assert found.fix == fix


def never_cleared(m, batches):
    for real in batches:
        errD = F.softplus(-m.netD(real)).mean()
        errD.backward()
        m.optD.step()


def accumulated(m, batches):  # four small batches for one update: this is right
    m.optD.zero_grad()
    for real in batches:
        errD = F.softplus(-m.netD(real)).mean() / len(batches)
        errD.backward()
    m.optD.step()


def test_a_gradient_that_is_never_cleared_and_one_that_is_collected_on_purpose():
    found = only(trace(never_cleared, M(), batches(8)), "not cleared")
    assert found.fix.startswith("m.optD.zero_grad()")
    record = trace(accumulated, M(), batches(4), max_iterations=4)
    assert kinds(record) == []
    assert len(at(record, "m.optD.step()").networks["netD"].contributions) == 4
    assert max(len(line) for line in str(record).splitlines()) < 300
