"""A recorded step: what is drawn in its middle, which thread may replay it, what happens where it cannot be made.

A fake stands in for CUDA's graph. While it captures, a step computes nothing and says what a replay would have to do.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from run_cases import RING, SMALL, after, equal_runs
from torch import Tensor

from gantutor.configs import Config
from gantutor.scale import speed
from gantutor.scale.speed import CUDAGraph, draws_of
from gantutor.training import Run, measured


class FakeGraph:
    """A recording whose replay takes the step that was captured, on the tensors that it was captured with."""

    def __init__(self) -> None:
        self.replay: Callable[[], None] = lambda: None
        self.thread = threading.get_ident()


class Capture:
    """The recordings that were made, and whether one is being made now."""

    def __init__(self) -> None:
        self.made: list[FakeGraph] = []
        self.now: FakeGraph | None = None
        self.fails = False

    @contextlib.contextmanager
    def graph(self, graph: FakeGraph, **_: Any) -> Iterator[None]:
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might be ...")
        self.made.append(graph)
        self.now = graph
        yield
        self.now = None

    def inner(self, model: Any, step: Any, *batch: Tensor) -> dict[str, Tensor]:
        """Takes a step; while capturing, only notes it, with the places that its draws hand out."""
        if self.now is None:
            return measured(model, step, *batch)
        report = {name: torch.zeros_like(value) for name, value in self.example.items()}

        def replay() -> None:
            with contextlib.ExitStack() as stack:
                for draws in draws_of(model):
                    stack.enter_context(draws.repeating())
                for name, value in measured(model, step, *batch).items():
                    report[name].copy_(value)

        self.now.replay = replay
        return report

    example: dict[str, Tensor]


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Capture:
    fake = Capture()
    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", fake.graph)
    monkeypatch.setattr(speed, "make_recordable", lambda model, rates_fall: None)
    return fake


def recorded(config: Config, capture: Capture) -> Run:
    run = config.start()
    capture.example = config.start().step()
    run.step_runner = CUDAGraph(capture.inner, run.train_step)
    return run


@pytest.mark.parametrize("name", SMALL)
def test_replayed_steps_draw_what_plain_ones_draw(name: str, capture: Capture) -> None:
    """pix2pix has dropout, CycleGAN a pool of three, which is full before the first replay and swaps after it."""
    config = SMALL[name]
    run = recorded(config, capture)
    for _ in range(9):
        run.step()
    assert len(capture.made) == 1
    assert equal_runs(run, after(config, 9))


def test_each_thread_records_for_itself(capture: Capture) -> None:
    run = recorded(RING, capture)
    for _ in range(5):
        run.step()
    thread = threading.Thread(target=lambda: [run.step() for _ in range(5)])
    thread.start()
    thread.join()
    assert len({graph.thread for graph in capture.made}) == len(capture.made) == 2
    assert equal_runs(run, after(RING, 10))


def test_what_cannot_be_recorded_is_said_once_and_taken_plainly(capture: Capture) -> None:
    run = recorded(RING, capture)
    for _ in range(3):
        run.step()
    capture.fails = True
    message = r"cannot be recorded, and goes on without: operation not permitted .* something still holds a graph"
    with pytest.raises(RuntimeError, match=message):
        run.step()
    for _ in range(3):
        run.step()
    assert equal_runs(run, after(RING, 6)), "the step that raised has neither moved anything nor lost its batch"
    assert capture.made == []
    run.model.batching = "joint"  # other settings are tried again
    with pytest.raises(RuntimeError, match="the step cannot be recorded, and goes on without: operation not"):
        [run.step() for _ in range(4)]
    capture.fails = False
    run.model.batching = "split"
    for _ in range(4):
        run.step()
    assert len(capture.made) == 1
