"""Random small networks, losses, batches and strategies: the ledger and autograd never disagree."""

import contextlib
import copy
import itertools
import math
from dataclasses import dataclass
from types import FrameType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gantutor.gan import BATCHINGS, GAN
from gantutor.ledger import ALIVE, FREED, NO_GRAPH, STALE, compare, cost, trace
from gantutor.ledger.gradients import GradientLedger
from gantutor.ledger.lines import Watch
from gantutor.ledger.source import Source
from gantutor.losses import LOSSES
from gantutor.pitfalls import INPLACE, PITFALLS, SECOND_TIME
from gantutor.steps import STEPS, Step

ALL: dict[str, Step] = {**STEPS, **{name: pitfall.step for name, pitfall in PITFALLS.items()}}
few = settings(max_examples=40)


@dataclass
class Situation:
    """A step that is about to be taken."""

    name: str
    gan: GAN
    real: Tensor
    z: Tensor

    @property
    def step(self) -> Step:
        return ALL[self.name]

    def copies(self) -> tuple[GAN, Tensor, Tensor]:
        """As deep copies, with the gradients that the networks hold."""
        twin = copy.deepcopy(self.gan)
        for ours, theirs in ((twin.G, self.gan.G), (twin.D, self.gan.D)):
            for to, of in zip(ours.parameters(), theirs.parameters(), strict=True):
                to.grad = None if of.grad is None else of.grad.clone()
        return twin, self.real.clone(), self.z.clone()


@st.composite
def mlps(draw: st.DrawFn, inputs: int, outputs: int) -> nn.Sequential:
    sizes = [inputs, *draw(st.lists(st.integers(1, 6), max_size=2))]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers.append(nn.Linear(before, after))
        layers += draw(st.sampled_from([[], [nn.BatchNorm1d(after)], [nn.LayerNorm(after)]]))
        activation = draw(st.sampled_from([nn.ReLU, nn.Tanh, nn.LeakyReLU, nn.Sigmoid, nn.Softplus]))
        layers.append(activation())
        layers += draw(st.sampled_from([[], [], [nn.Dropout(0.3)]]))
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


@st.composite
def situations(draw: st.DrawFn, names: tuple[str, ...] = tuple(ALL)) -> Situation:
    torch.manual_seed(draw(st.integers(0, 1000)))
    dims, z_dim, size = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(2, 5))
    G, D = draw(mlps(z_dim, dims)), draw(mlps(dims, 1))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    gan = GAN.with_adam(
        G.to(dtype), D.to(dtype), draw(st.sampled_from(list(LOSSES))), draw(st.sampled_from(BATCHINGS)), lr_G=0.1
    )
    if draw(st.booleans()):
        gan.opt_D = torch.optim.SGD(D.parameters(), lr=0.1, momentum=0.5)
    real, z = torch.randn(size, dims, dtype=dtype), torch.randn(size, z_dim, dtype=dtype)
    situation = Situation(draw(st.sampled_from(names)), gan, real, z)
    if draw(st.booleans()):
        plain_run(situation, on_the_original=True)  # leaves gradients behind
    return situation


def plain_run(situation: Situation, on_the_original: bool = False) -> tuple[GAN, Exception | None]:
    gan, real, z = (situation.gan, situation.real, situation.z) if on_the_original else situation.copies()
    state = torch.get_rng_state()
    try:
        situation.step(gan, real, z)
    except (RuntimeError, ValueError) as error:
        return gan, error
    finally:
        torch.set_rng_state(state)
    return gan, None


def same_networks(a: GAN, b: GAN) -> bool:
    """Bit for bit: parameters, gradients and buffers."""
    for x, y in ((a.G, b.G), (a.D, b.D)):
        pairs = list(zip(x.state_dict().values(), y.state_dict().values(), strict=True))
        for p, q in zip(x.parameters(), y.parameters(), strict=True):
            if (p.grad is None) != (q.grad is None):
                return False
            if p.grad is not None and q.grad is not None:
                pairs.append((p.grad, q.grad))
        if not all(torch.equal(left.nan_to_num(), right.nan_to_num()) for left, right in pairs):
            return False
    return True


@few
@given(situations())
def test_a_traced_step_does_what_the_step_does(situation: Situation) -> None:
    before, _, _ = situation.copies()
    plain, error = plain_run(situation)
    record = trace(situation.step, situation.gan, situation.real, situation.z)
    assert same_networks(record.model, plain)
    assert same_networks(situation.gan, before)
    assert type(record.error) is type(error)
    assert str(record.error) == str(error)
    assert bool(record.diagnosis) == any(message in str(error) for message in (INPLACE, SECOND_TIME))
    for name, network in (("G", plain.G), ("D", plain.D)):
        state = record.lines[-1].networks[name]
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        assert state.with_gradient == len(gradients)
        norm = torch.nn.utils.get_total_norm(gradients).item()
        assert state.gradient_norm == norm
        shares = [part.norm for part in state.contributions]
        assert norm <= sum(shares) * 1.001 + 1e-6
        assert max(shares, default=0) <= norm + sum(shares) - max(shares, default=0) + 1e-3 * sum(shares) + 1e-6
        assert sum(part.along for part in state.contributions) == pytest.approx(norm, rel=1e-3, abs=1e-6, nan_ok=True)
        assert all(abs(part.along) <= part.norm * 1.001 for part in state.contributions if math.isfinite(norm))


@few
@given(situations())
def test_contributions_sum_to_the_gradient(situation: Situation) -> None:
    gan, real, z = situation.copies()
    ledgers = [GradientLedger(gan.G), GradientLedger(gan.D)]

    def after(line: int, *_: Any) -> None:
        for ledger in ledgers:
            ledger.look(line)
            for parameter, increments in zip(ledger.parameters, ledger.increments, strict=True):
                found = sum(increments.values(), torch.zeros_like(parameter))
                wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                scale = sum((x.abs().max().item() for x in increments.values()), 1e-30)
                torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * scale)

    watch = Watch(Source(situation.step), torch.device("cpu"), after)
    with contextlib.suppress(RuntimeError, ValueError), watch.on():
        situation.step(gan, real, z)
    if watch.fault is not None:
        raise watch.fault


@settings(max_examples=80)
@given(situations(), st.data())
def test_a_state_is_what_a_backward_at_that_place_finds(situation: Situation, data: st.DataObject) -> None:
    record = trace(situation.step, situation.gan, situation.real, situation.z)
    k = data.draw(st.integers(0, len(record.lines) - 1))
    name = data.draw(st.sampled_from(sorted(record.lines[k].tensors)))
    claimed = record.lines[k].tensors[name]
    found: list[tuple[str, set[str]]] = []
    gan, real, z = situation.copies()
    seen = 0

    def after(line: int, frame: FrameType, milliseconds: float) -> None:
        nonlocal seen
        if seen == k:
            found.append(backward(frame.f_locals[name], gan))
        seen += 1

    state = torch.get_rng_state()
    with contextlib.suppress(Exception), Watch(Source(situation.step), torch.device("cpu"), after).on():
        situation.step(gan, real, z)
    torch.set_rng_state(state)
    ((state_found, reached),) = found
    assert claimed.state == state_found
    if state_found == ALIVE:
        assert reached == set(claimed.reaches)


def backward(tensor: Tensor, gan: GAN) -> tuple[str, set[str]]:
    """What becomes of going back from `tensor` here and now, and which networks receive a gradient."""
    if tensor.grad_fn is None:
        return NO_GRAPH, set()
    for parameter in [*gan.G.parameters(), *gan.D.parameters()]:
        parameter.grad = None
    try:
        tensor.sum().backward()
    except RuntimeError as error:
        return (FREED if SECOND_TIME in str(error) else STALE if INPLACE in str(error) else str(error)), set()
    networks = {"G": gan.G, "D": gan.D}
    return ALIVE, {n for n, network in networks.items() if any(p.grad is not None for p in network.parameters())}


@few
@given(situations(names=tuple(STEPS)))
def test_a_cost_is_the_sum_of_its_parts(situation: Situation) -> None:
    _, error = plain_run(situation)
    if error is not None:  # one_stage, where it refuses
        return
    found = cost(situation.step, situation.gan, situation.real, situation.z, repeats=1)
    assert found.flops == sum(share.forward_flops + share.backward_flops for share in found.networks.values())
    assert found.elsewhere == 0
    record = trace(situation.step, situation.gan, situation.real, situation.z)
    assert found.flops == record.lines[-1].flops
    assert found.saved_bytes >= max(line.saved_bytes for line in record.lines)
    if not situation.gan.loss.has_penalty:
        with FlopCounterMode(display=False) as counter:
            situation.step(*situation.copies())
        assert found.flops == counter.get_total_flops()


@few
@given(situations(), st.sampled_from(sorted(ALL)))
def test_a_comparison_is_symmetric_and_agrees_with_torch_equal(situation: Situation, other: str) -> None:
    one, two = situation, Situation(other, situation.gan, situation.real, situation.z)
    (a, a_error), (b, b_error) = plain_run(one), plain_run(two)
    steps = {"one": one.step, "two": two.step}
    found, turned = (
        compare(chosen, situation.gan, situation.real, situation.z) for chosen in (steps, dict(reversed(steps.items())))
    )
    assert set(found.errors) == {n for n, error in (("one", a_error), ("two", b_error)) if error is not None}
    for gap in found.differences:
        back = turned.between(gap.b, gap.a, gap.network, gap.kind)
        assert (gap.equal, gap.near, gap.relative) == (back.equal, back.near, back.relative)
        x, y = getattr(a, gap.network), getattr(b, gap.network)
        pairs = list(zip(x.parameters(), y.parameters(), strict=True))
        if gap.kind == "weights":
            assert gap.equal == all(torch.equal(p, q) for p, q in pairs)
            assert (gap.relative == 0) == gap.equal
        if gap.kind == "buffers":
            assert gap.equal == all(torch.equal(p, q) for p, q in zip(x.buffers(), y.buffers(), strict=True))
