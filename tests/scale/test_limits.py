"""The limits of a machine: what they say of a step, by numbers to be checked in the head; and their measurement."""

from typing import Any

import pytest
import torch

from gantutor.batches import Batches
from gantutor.data import load
from gantutor.ledger import Traffic, TrafficShare
from gantutor.scale.limits import Limits, Scaling, drawing, measure, scales_to

CPU = torch.device("cpu")
MACHINE = Limits("machine", {"float32": 100.0, "bfloat16": 400.0}, bandwidth=10.0, overhead=0.5, overlaps=False)
STEP = Traffic("step", {"convolution": TrafficShare(2, 20, 1000), "pointwise": TrafficShare(4, 60, 0)})


# What they say


def test_the_bounds_of_a_step() -> None:
    assert MACHINE.bounds(STEP) == {"launches": 6 * 0.5, "arithmetic": 10.0, "memory": 8.0, "data": 0.0}
    assert MACHINE.bounds(STEP, "bfloat16", data=1.5)["arithmetic"] == 2.5
    assert MACHINE.bounds(STEP, data=1.5)["data"] == 1.5


def test_the_largest_bound_limits() -> None:
    assert MACHINE.limited_by(STEP) == "arithmetic"
    assert MACHINE.limited_by(STEP, "bfloat16") == "memory"
    assert MACHINE.limited_by(STEP, data=11.0) == "data"
    assert Limits("slow", MACHINE.flops, MACHINE.bandwidth, 2.0, overlaps=True).limited_by(STEP) == "launches"


def test_the_prediction_adds_what_cannot_overlap() -> None:
    """Convolutions: 10 s of arithmetic, which hide 2 s of memory. The pointwise operations: 6 s of memory."""
    assert MACHINE.predicted(STEP) == (10 + 6) + 6 * 0.5
    assert MACHINE.predicted(STEP, "bfloat16", data=1.5) == (2.5 + 6) + 6 * 0.5 + 1.5
    overlapping = Limits("GPU", MACHINE.flops, MACHINE.bandwidth, MACHINE.overhead, overlaps=True)
    assert overlapping.predicted(STEP) == 10 + 6
    assert overlapping.predicted(STEP, data=20.0) == 20
    slow = Limits("slow", MACHINE.flops, MACHINE.bandwidth, overhead=5.0, overlaps=True)
    assert slow.predicted(STEP) == 6 * 5


def test_the_roof_has_its_ridge_where_memory_and_arithmetic_meet() -> None:
    assert [MACHINE.roof(intensity) for intensity in (1.0, 10.0, 40.0)] == [10, 100, 100]
    assert [MACHINE.roof(intensity, "bfloat16") for intensity in (1.0, 10.0, 40.0)] == [10, 100, 400]


# Several devices

SHARED_STEP = Traffic("step", {"convolution": TrafficShare(4, 40, 2000), "optimizer": TrafficShare(2, 30, 0)})


def on_paper(overlaps: bool, overhead: float = 0.5, **options: Any) -> Scaling:
    machine = Limits("paper", {"float32": 100.0}, bandwidth=10.0, overhead=overhead, overlaps=overlaps)
    return Scaling(machine, SHARED_STEP, **{"sent": 60.0, "bandwidth": 30.0, "latency": 0.1, **options})


def test_scaling_by_hand() -> None:
    """The batch: 20 s of arithmetic, of which four devices take 5 s each. Weights: 3 s each. Launches: 3 s each."""
    paper, exchange = on_paper(overlaps=False), 2 * 3 / 4 * 2 + 6 * 2 * 0.1
    assert paper.exchange(1) == 0
    assert paper.seconds(1, 1.0) == paper.limits.predicted(SHARED_STEP)
    assert paper.exchange(4) == pytest.approx(exchange)
    assert paper.strong(1) == paper.weak(1) == 1
    assert paper.strong(4) == pytest.approx((20 + 3 + 3) / (4 * (5 + 3 + 3 + exchange)))
    assert paper.weak(4) == pytest.approx(26 / (26 + exchange))


def test_a_step_that_its_launches_limit_gains_nothing_from_a_share() -> None:
    """On a device that overlaps. On one that does not, the smaller share still saves arithmetic."""
    free = {"sent": 0.0, "latency": 0.0}
    assert on_paper(True, 20.0, **free).seconds(4, 0.25) == on_paper(True, 20.0, **free).seconds(1, 1.0)
    assert on_paper(False, 20.0, **free).seconds(4, 0.25) < on_paper(False, 20.0, **free).seconds(1, 1.0)


def test_scales_to_the_last_number_that_is_efficient() -> None:
    efficiency = {2: 0.9, 3: 0.6, 4: 0.5, 5: 0.4}
    assert scales_to(lambda count: efficiency[count]) == 4
    assert scales_to(lambda count: efficiency[count], least=0.95) == 1
    assert scales_to(lambda count: 1.0, most=64) == 64
    convolutions = Traffic("step", {"convolution": TrafficShare(1, 0, 10**6)})
    free = Scaling(Limits("paper", {"float32": 1.0}, 1.0, 0.0, overlaps=True), convolutions, sent=0, bandwidth=1.0)
    assert scales_to(free.strong) > 200, "nothing to send and nothing fixed"
    assert scales_to(free.weak) == 1024


# Their measurement


def test_drawing_leaves_what_comes_next() -> None:
    ours, theirs = (Batches(load("ring", "cpu"), 16, 2, seed=3) for _ in range(2))
    next(ours), next(theirs)
    assert 0 < drawing(ours, CPU, seconds=0.01) < 0.1
    for mine, other in zip(next(ours), next(theirs), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.cuda
def test_a_gpu() -> None:
    found = measure("cuda")
    assert found.device == torch.cuda.get_device_name()
    assert set(found.flops) == {"float32", "tf32", "bfloat16"}
    assert found.flops["bfloat16"] > found.flops["float32"] > 1e11
    assert found.bandwidth > 1e10
    assert found.overlaps
