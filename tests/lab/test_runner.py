"""The thread that owns the training: commands between ticks, frames within their share, no error and no thread lost."""

import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from panel_helpers import Page, until

from gantutor.configs import GANConfig
from gantutor.gan import BATCHINGS
from gantutor.lab import Lab, runner
from gantutor.lab.runner import Runner, pause_all
from gantutor.losses import LOSSES
from gantutor.steps import STEPS
from gantutor.training import Run

LIMIT_S = 60.0  # what takes longer than this counts as a deadlock


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("gantutor-")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    assert threads() == []
    yield
    runner.close_all()
    assert threads() == []


class Recorder:
    """A runner with a tick that counts, and lists of what it was told and what it told."""

    def __init__(self, name: str = "test", **options: Any) -> None:
        self.ticks = 0
        self.frames: list[tuple[int, bool]] = []  # at which tick, and whether it was a last one
        self.states: list[str] = []
        self.by: set[str] = set()  # the threads that ticked
        self.on_tick: Callable[[], object] = lambda: time.sleep(0.0005)
        self.runner = Runner(
            name, self._step, lambda last: self.frames.append((self.ticks, last)), self.states.append, **options
        )

    def _step(self) -> None:
        self.by.add(threading.current_thread().name)
        self.on_tick()
        self.ticks += 1

    def held(self) -> threading.Event:
        """Play, and return within a tick that lasts until the event is set."""
        inside, gate = threading.Event(), threading.Event()
        self.on_tick = lambda: (inside.set(), gate.wait(LIMIT_S))
        self.runner.play()
        assert inside.wait(LIMIT_S)
        return gate

    def played(self, ticks: int = 3) -> None:
        """Play, until that many more ticks were taken."""
        goal = self.ticks + ticks
        self.runner.play()
        until(lambda: self.ticks >= goal)


# Commands -------------------------------------------------------------------------------------------------------------


def test_post_returns_at_once_and_wait_is_a_barrier_that_gives_up_in_time() -> None:
    r, done = Recorder(), list[int]()
    gate = r.held()
    for number in range(100):
        r.runner.post(partial(done.append, number))
    with pytest.raises(TimeoutError, match=r"did not answer within 0.05 s"):
        r.runner.wait(timeout=0.05)
    assert done == [], "a command ran within a tick"
    gate.set()
    r.runner.wait()
    assert done == list(range(100)), "commands keep their order"


def test_play_and_pause() -> None:
    r = Recorder()
    r.runner.wait()
    assert r.ticks == 0, "it stands until it is told to play"
    r.played()
    r.runner.pause()
    r.runner.wait()
    ticks = r.ticks
    assert r.frames[-1] == (ticks, True), "what stands still is what was reached"
    assert r.states == ["playing", "paused"]
    time.sleep(0.05)
    assert r.ticks == ticks
    r.played()
    assert r.by == {"gantutor-test"}


def test_a_thousand_commands_get_one_frame() -> None:
    """Each change asks for a frame. Drawn one by one, a dragged slider would stop the training for as long."""
    r = Recorder()
    gate, applied = threading.Event(), []
    r.runner.post(lambda: gate.wait(LIMIT_S))
    for number in range(1000):
        r.runner.post(lambda number=number: (applied.append(number), r.runner.want_frame()))
    gate.set()
    r.runner.wait()
    r.runner.wait()
    assert len(applied) == 1000
    assert r.frames == [(0, True)]


def test_a_rest_after_each_step_ends_with_a_command() -> None:
    r = Recorder()
    r.runner.rest_s = LIMIT_S
    r.played(1)
    time.sleep(0.1)
    rested = r.ticks
    time.sleep(0.1)
    assert r.ticks == rested
    for _ in range(3):
        before = r.ticks
        r.runner.wait()
        until(lambda before=before: r.ticks > before)
    assert r.ticks <= rested + 3


# Errors ---------------------------------------------------------------------------------------------------------------


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize("where", ["tick", "frame"])
def test_an_error_is_shown_until_pause_or_play_and_play_recovers(where: str) -> None:
    r = Recorder(max_fps=lambda: 1000.0, share=0.9)
    fails, tick, frame = raising(ZeroDivisionError("by hand")), r.on_tick, r.runner.on_frame
    if where == "tick":
        r.on_tick = fails
    else:
        r.runner.on_frame = lambda last: fails()
    r.runner.play()
    until(lambda: r.runner.error is not None)
    with pytest.raises(ZeroDivisionError, match="by hand"):
        r.runner.wait()
    assert r.states == ["playing", "error: ZeroDivisionError: by hand"]
    assert not r.runner.playing
    if where == "frame":
        r.runner.pause()
        r.runner.wait()
        assert r.states[-1] == "paused"
    r.on_tick, r.runner.on_frame = tick, frame
    r.played()
    r.runner.wait()
    assert r.states[-1] == "playing"
    assert threads() == ["gantutor-test"]


def test_an_error_in_a_command_is_shown_and_what_waits_behind_it_is_done() -> None:
    """Whether the thread sleeps when they are posted, or plays."""
    r = Recorder()
    done: list[int] = []
    for round_ in range(20):
        r.runner.pause()
        r.runner.wait()
        time.sleep(0.002)  # the thread sleeps
        for _ in range(3):
            r.runner.post(raising(ValueError("bad")))
        r.runner.post(lambda round_=round_: done.append(round_))
        with pytest.raises(ValueError, match="bad"):
            r.runner.wait(timeout=5)
        assert done == list(range(round_ + 1))
    assert r.states[-1] == "error: ValueError: bad"
    r.played()
    r.runner.post(raising(ValueError("while playing")))
    with pytest.raises(ValueError, match="while playing"):
        r.runner.wait()
    assert not r.runner.playing
    r.played()


# advance --------------------------------------------------------------------------------------------------------------


def test_advance_runs_in_the_callers_thread() -> None:
    r = Recorder()
    r.runner.advance(7)
    assert (r.ticks, r.by, threads()) == (7, {threading.current_thread().name}, [])
    assert r.frames[-1] == (7, True)
    assert r.states == ["paused"]
    r.runner.advance(0)
    assert r.ticks == 7


def test_advance_while_playing_pauses_and_takes_exactly_its_steps() -> None:
    r = Recorder()
    for _ in range(20):
        r.played(2)
        before = []
        r.on_tick = lambda before=before, r=r: (
            before.append(r.ticks) if threading.current_thread() is threading.main_thread() else time.sleep(0.0005)
        )
        r.runner.advance(5)
        assert len(before) == 5
        assert before == list(range(before[0], before[0] + 5)), "the thread ticked in between"
        assert not r.runner.playing
        assert r.ticks == before[0] + 5
    assert r.by == {"gantutor-test", "MainThread"}


def test_advance_has_its_turn_after_the_tick_that_is_running() -> None:
    """A thread that takes a lock again at once leaves others no gap; it must make way."""
    r = Recorder()

    def busy() -> None:
        end = time.perf_counter() + 0.003
        while time.perf_counter() < end:
            pass

    r.on_tick = busy
    waited = 0
    for _ in range(10):
        r.played(1)
        before = r.ticks
        r.runner.advance(1)
        waited += r.ticks - 1 - before
    assert waited <= 30, "ticks in 10 waits"


def test_what_is_posted_during_advance_is_done_after_it() -> None:
    r = Recorder()
    order: list[str] = []

    def tick() -> None:
        if not order:
            r.runner.post(lambda: order.append("command"))
        order.append("tick")

    r.on_tick = tick
    r.runner.advance(3)
    r.runner.wait()
    assert order == ["tick", "tick", "tick", "command"]


@pytest.mark.parametrize("error", [ArithmeticError("third"), KeyboardInterrupt()])
def test_what_ends_advance_is_raised_in_the_cell_and_leaves_the_runner_usable(error: BaseException) -> None:
    r = Recorder()
    fails, tick = iter([False, False, True]), r.on_tick
    r.on_tick = lambda: raising(error)() if next(fails, False) else None
    with pytest.raises(type(error)):
        r.runner.advance(9)
    assert r.ticks == 2
    assert r.states[-1] == ("error: ArithmeticError: third" if isinstance(error, Exception) else "paused")
    r.runner.advance(3)
    assert (r.ticks, r.states[-1]) == (5, "paused")
    r.on_tick = tick
    r.played()


def test_a_command_that_fails_in_advance_is_raised_there() -> None:
    r = Recorder()
    gate = r.held()
    r.runner.post(raising(ValueError("posted before")))
    threading.Timer(0.05, gate.set).start()
    with contextlib.suppress(ValueError):  # whoever comes first to the models applies the command
        r.runner.advance(1)
    r.on_tick = lambda: None
    r.runner.advance(3)
    r.played()
    assert "error: ValueError: posted before" in r.states


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system has no signals to a thread")
def test_an_interrupt_while_advance_waits_for_the_thread_leaves_it_playing() -> None:
    r = Recorder()
    gate = r.held()
    main = threading.main_thread().ident
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it would be ignored
    threading.Timer(0.1, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        r.runner.advance(5)  # cannot begin: the thread is within a tick that the gate holds
    signal.signal(signal.SIGINT, handler)
    gate.set()
    goal = r.ticks + 50
    until(lambda: r.ticks > goal)
    r.runner.advance(2)


# One thread, and in the end none --------------------------------------------------------------------------------------


def test_making_it_again_by_name_leaves_one_thread() -> None:
    made = []
    for _ in range(5):
        made.append(Recorder("cell"))
        made[-1].played()
        assert threads() == ["gantutor-cell"]
    ticks = [r.ticks for r in made[:-1]]
    time.sleep(0.02)
    assert [r.ticks for r in made[:-1]] == ticks, "an old one goes on"
    other = Recorder("another")
    other.played()
    assert sorted(threads()) == ["gantutor-another", "gantutor-cell"]


def test_close_twice_and_from_within() -> None:
    r = Recorder()
    r.played()
    r.runner.close()
    r.runner.close()
    assert threads() == []
    ticks = r.ticks
    r.runner.play()
    r.runner.post(raising(ValueError))
    r.runner.wait(timeout=1)
    assert (r.ticks, threads()) == (ticks, []), "what is closed stays closed"
    r.runner.advance(4)  # the models are still there: a cell can take an old panel's run further
    assert r.ticks == ticks + 4

    inner = Recorder()
    inner.on_tick = inner.runner.close
    inner.runner.play()
    until(lambda: inner.ticks == 1 and not threads())
    inner.runner.close()
    by_command = Recorder()
    by_command.runner.post(by_command.runner.close)
    by_command.runner.post(raising(ValueError("after the end")))
    until(lambda: not threads())
    assert by_command.states == []


PLAYS_AT_ITS_END = """
import time
from gantutor import Experiment, Lab

lab = Lab(Experiment(data="ring"))
lab.play()
while lab.run.t < 3:
    time.sleep(0.01)
print("end")
"""


def test_the_interpreter_ends_cleanly_while_a_lab_plays() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PLAYS_AT_ITS_END],
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "end\n", "")


# Frames: at most so many a second, and at most their share of the time ------------------------------------------------


class Clock:
    """Time that passes only where the test says so, in place of the runner's `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


def play_for(
    seconds: float, tick_s: float, frame_s: Callable[[float], float], monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[list[float], list[float]]:
    """Play from 100 s on for so many seconds of that clock: when each frame began, and the rates that they showed."""
    clock, stop = Clock(), threading.Event()
    monkeypatch.setattr(runner, "time", clock)
    began: list[float] = []
    rates: list[float] = []

    def tick() -> None:
        clock.now += tick_s
        if clock.now >= 100 + seconds:
            r.pause()
            stop.set()

    def frame(last: bool) -> None:
        if not stop.is_set():
            began.append(clock.now)
            rates.append(r.steps_per_second)
            clock.now += frame_s(clock.now)

    r = Runner("clock", tick, frame, lambda state: None, **options)
    r.play()
    assert stop.wait(LIMIT_S)
    r.wait()
    r.close()
    return began, rates


@pytest.mark.parametrize("share", [0.02, 0.05, 0.25, 0.5])
@pytest.mark.parametrize("frame_s", [0.001, 0.01, 0.04, 0.2])
@pytest.mark.parametrize("tick_s", [0.002, 0.03])
def test_frames_keep_to_their_share_and_rate(
    share: float, frame_s: float, tick_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, _ = play_for(60, tick_s, lambda now: frame_s, monkeypatch, share=share, max_fps=lambda: 10.0)
    spent, rate = len(began) * frame_s / 60, len(began) / 60
    assert spent <= share * 1.02 + frame_s / 60  # the first frame's cost is not known before it is drawn
    assert rate <= 10.0
    period = max(1 / 10.0 + frame_s, frame_s / share)  # and they are as many as these two allow,
    assert rate >= 0.97 / (period + tick_s) - 1 / 60  # but for waiting for a tick's end


def test_frames_become_fewer_when_they_become_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    began, _ = play_for(120, 0.01, lambda now: 0.002 if now < 160 else 0.05, monkeypatch, max_fps=lambda: 10.0)
    before, after = (sum(low <= t < low + 50 for t in began) / 50 for low in (105, 170))
    assert before == pytest.approx(9.5, abs=0.7)
    assert after == pytest.approx(1.0, abs=0.1)


def test_the_rate_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    _, shown = play_for(4, 0.02, lambda now: 0.0, monkeypatch)
    assert shown[0] == 0, "it is counted over half a second"
    assert shown[40:80] == pytest.approx([50] * 40, rel=0.01)


def test_no_frames_are_made_while_none_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert play_for(60, 0.01, lambda now: 0.001, monkeypatch, max_fps=lambda: 0.0) == ([], [])


def test_play_pauses_by_itself_when_its_budget_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(runner, "time", clock)
    r = Recorder(budget_s=30.0)
    r.on_tick = lambda: setattr(clock, "now", clock.now + 1)
    for spent in (31, 62):
        r.runner.play()
        until(lambda spent=spent: r.states == ["playing", "paused"] * (spent // 31))
        r.runner.wait()
        assert r.ticks == spent
        assert r.frames[-1] == (spent, True), "the last picture is that of the last step"


# Toggling as fast as a machine can ------------------------------------------------------------------------------------


def setting(run: Run) -> tuple[Any, ...]:
    """All that decides what a step does."""
    gan: Any = run.model
    step: Any = run.train_step
    rates = tuple(group["lr"] for optimizer in (gan.opt_G, gan.opt_D) for group in optimizer.param_groups)
    return (step.last, step.d_steps, gan.loss, gan.batching, *rates)


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let the threads take turns as often as Python can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty")
def test_a_thousand_toggles_from_four_threads_while_it_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a deadlock nor a step that began under one setting and ended under another, nor two steps at once."""
    seen: list[tuple[Any, Any]] = []
    at_once: list[int] = []
    inside = 0
    tick = Run.step

    def watched(run: Run, step: Any = None) -> Any:
        nonlocal inside
        inside += 1
        at_once.append(inside)
        before = setting(run)
        try:
            return tick(run, step)
        finally:
            seen.append((before, setting(run)))
            inside -= 1

    monkeypatch.setattr(Run, "step", watched)
    config = GANConfig(data="ring", batch_size=8, model_options={"width": 8})
    lab = Lab(config, config.replace(loss="minimax"), name="stress")
    pages = [Page(lab, f"page {number}") for number in range(4)]
    choices: dict[str, list[Any]] = {
        "strategy": list(STEPS),
        "loss": list(LOSSES),
        "batching": list(BATCHINGS),
        "d_steps": [1, 2, 3],
        "lr_G": [1e-4, 1e-3],
        "lr_D": [1e-4, 1e-3],
    }
    commands = [{"do": "step"}, {"do": "half", "player": "D only"}, {"do": "half", "player": "G only"}, {"do": "reset"}]
    failed: list[BaseException] = []

    def toggle(number: int) -> None:
        rng, page = random.Random(number), pages[number]
        try:
            for _ in range(250):
                what = rng.choice([*(5 * list(choices)), *(6 * ["play"]), "pause", "button", "advance"])
                if what in choices:
                    page.choose(what, rng.choice(choices[what]), run=rng.randrange(2), wait=False)
                elif what == "advance":
                    lab.advance(2)
                elif what == "button":
                    page.act(**rng.choice(commands[:3] if rng.random() < 0.8 else commands[3:]), wait=False)
                else:
                    page.act(what, wait=False)
                time.sleep(rng.choice([0, 0, 0.0005, 0.002]))
        except BaseException as error:
            failed.append(error)

    lab.play()
    people = [threading.Thread(target=toggle, args=(number,), daemon=True) for number in range(4)]
    for person in people:
        person.start()
    for person in people:
        person.join(LIMIT_S)
        assert not person.is_alive(), "deadlock"
    assert not failed
    lab.pause()
    lab.wait(LIMIT_S)

    assert pages[0].state["done"] == {page.me: page.number for page in pages}, "a command was lost"
    assert set(at_once) == {1}, "two steps at once"
    assert all(before == after for before, after in seen), "one step under two settings"
    assert len({before for before, _ in seen}) > 20, "hardly any toggle fell between two steps: this shows nothing"

    for run_view in lab.run_views:  # and the runs do what the controls say in the end
        says = run_view.config.chosen(**run_view.controls.values)
        assert setting(run_view.run) == setting(says.start(run_view.data))
    for number in (0, 1):
        lab.set(number, strategy="d_first_detach", batching="split")
    lab.reset()
    lab.advance(3)
    assert [run.t for run in lab.runs] == [3, 3]
    lab.play()
    until(lambda: lab.run.t > 5)
    lab.close()


def test_all_are_paused_before_something_is_set_for_the_whole_process() -> None:
    both = [Recorder(f"r{number}") for number in range(2)]
    for r in both:
        r.played()
    pause_all()
    before = [r.ticks for r in both]
    for r in both:
        assert not r.runner.playing
        r.runner.wait()
    assert [r.ticks for r in both] == before
