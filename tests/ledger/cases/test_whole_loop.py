"""A whole training loop for a step, as pytorch/examples' dcgan has it; and what grows from iteration to iteration."""

import pytest
import torch
from ledger_helpers import as_fake, as_real, at, kinds, line_of, model, only

from gantutor.ledger import trace


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


@pytest.mark.parametrize(("there", "options", "traced"), [(2, {}, 2), (80, {}, 3), (9, {"max_iterations": 5}, 5)])
def test_a_loop_stops_after_three_iterations_or_as_many_as_one_asks_for_and_says_so(there, options, traced):
    m = logging_model()
    record = trace(train, m, batches(there), **options)
    assert kinds(record) == []
    assert record.error is None
    assert [line.text for line in record.lines].count("m.opt_G.step()") == traced
    assert len(str(record)) < 30_000
    assert (f"Stopped after {traced} turns" in str(record)) == (there > traced)
    assert m.history == []


def keeps_losses(m, batches):
    for real in batches:
        m.opt_D.zero_grad()
        errD = as_real(m.D(real))
        errD.backward(retain_graph=True)
        m.opt_D.step()
        m.history.append(errD)


def keeps_a_sum(m, batches):
    for real in batches:
        m.opt_D.zero_grad()
        errD = as_real(m.D(real))
        errD.backward()
        m.opt_D.step()
        m.total += errD


@pytest.mark.parametrize(
    ("step", "text", "fix"),
    [
        (keeps_losses, "m.history.append(errD)", "m.history.append(errD.item())"),
        (keeps_a_sum, "m.total += errD", "m.total += errD.item()"),
    ],
)
def test_graphs_that_are_kept_from_iteration_to_iteration_are_found(step, text, fix):
    record = trace(step, logging_model(), batches(8))
    found = only(record, "kept graph")
    assert found.line == line_of(record, text)
    assert found.fix == fix


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
    found = only(trace(never_cleared, logging_model(), batches(8)), "not cleared")
    assert found.fix.startswith("m.opt_D.zero_grad()")
    record = trace(accumulated, logging_model(), batches(4), max_iterations=4)
    assert kinds(record) == []
    assert len(at(record, "m.opt_D.step()").networks["D"].contributions) == 4
