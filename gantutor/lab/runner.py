"""One thread that owns the training.

Widget callbacks may arrive on any thread, so they only post commands and return; the thread applies them between two
steps. Whoever holds `_owner` may touch the models, and nobody else.
"""

import atexit
import contextlib
import math
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator

RATE_S = 0.5  # the rate that is shown is that of at least so long

_LIVE: dict[str, "Runner"] = {}  # a cell that is run again replaces its runner, and never adds one


class Runner:
    """Calls `step` again and again while it plays, and `on_frame(last)` now and then and, with `last`, where it stops.

    A frame is due at most `max_fps()` times a second, and so seldom that frames take at most `share` of the time.
    `on_state` is called with "playing", "paused" or "error: ...", from the thread that caused it. The run pauses by
    itself after `budget_s` seconds of play, since a forgotten one would keep a shared machine busy for ever.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], object],
        on_frame: Callable[[bool], None],
        on_state: Callable[[str], None],
        max_fps: Callable[[], float] = lambda: 60.0,
        share: float = 0.05,
        budget_s: float = 1800.0,
    ) -> None:
        self.name, self.step, self.on_frame, self.on_state = name, step, on_frame, on_state
        self.max_fps, self.share, self.budget_s = max_fps, share, budget_s
        self.playing = False
        self.error: BaseException | None = None
        self.steps_per_second = 0.0
        self.rest_s = 0.0  # after each step, while it plays; a command ends it
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._owner = threading.RLock()
        self._wake = threading.Event()
        self._closed = False
        self._reserved = False  # a caller waits for the models
        self.frame_wanted = False  # a command has changed what is to be seen
        self._waiting: list[threading.Event] = []
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._play_until = 0.0
        self._frame_cost = 0.0  # seconds, smoothed
        self._frame_ended = 0.0
        self._rate_since, self._rate_steps = 0.0, 0  # what the rate is counted from
        if name in _LIVE:
            _LIVE[name].close()
        _LIVE[name] = self

    # From any thread -------------------------------------------------------------------------------------------------

    def post(self, command: Callable[[], None]) -> None:
        """Have `command()` run between two steps. Returns at once."""
        if self._closed:
            return
        self._commands.put(command)
        with self._start_lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._main, name=f"gantutor-{self.name}", daemon=True)
                self._thread.start()
        self._wake.set()

    def play(self) -> None:
        self.post(self.play_now)

    def pause(self) -> None:
        self.post(self.pause_now)

    def wait(self, timeout: float = 30.0) -> None:
        """Return when everything posted so far is done, and what it has changed is shown.

        Raises: TimeoutError; and what went wrong in the thread, if anything did.
        """
        done = threading.Event()
        self.post(lambda: self._waiting.append(done))
        if not self._closed and not done.wait(timeout):
            raise TimeoutError(f"the training thread did not answer within {timeout:g} s")
        if self.error is not None:
            raise self.error

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Own the models in the caller's thread: the training waits."""
        self._reserved = True  # the thread lets go of the models after its current step
        try:
            self._owner.acquire()
        finally:
            self._reserved = False
            self._wake.set()  # should this be interrupted, the thread goes on
        try:
            yield
        finally:
            self._owner.release()

    def advance(self, steps: int) -> None:
        """Pause, and take `steps` steps here, in the caller's thread, with a frame each second and one at the end.

        Raises: what a step raises; the runner shows it, too.
        """
        with self.hold():
            try:
                self._apply_commands()
                self.pause_now()
                began = time.perf_counter()
                for _ in range(steps):
                    self._step()
                    if time.perf_counter() - max(began, self._frame_ended) > 1.0:
                        self.frame()
                self.frame(last=True)
            except Exception as error:
                self._fail(error)
                raise

    def close(self) -> None:
        """End the thread. Safe to call twice, and from any thread."""
        self._closed = True
        self.playing = False
        self._wake.set()
        if _LIVE.get(self.name) is self:
            del _LIVE[self.name]
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=30.0)

    # From whoever owns the models ------------------------------------------------------------------------------------

    def frame(self, last: bool = False) -> None:
        """Show the state now, and learn what that costs."""
        start = time.perf_counter()
        if start - self._rate_since >= RATE_S:
            self.steps_per_second = self._rate_steps / (start - self._rate_since)
            self._rate_since, self._rate_steps = start, 0
        self.on_frame(last)
        self._frame_ended = time.perf_counter()
        cost = self._frame_ended - start
        self._frame_cost = cost if self._frame_cost == 0 else 0.8 * self._frame_cost + 0.2 * cost

    def want_frame(self) -> None:
        """For a command: show the state when the commands that wait are all applied. A thousand get one frame."""
        self.frame_wanted = True

    def _frame_is_due(self) -> bool:
        fps = self.max_fps()
        pause = max(1 / fps, self._frame_cost * (1 - self.share) / self.share) if fps else math.inf
        return time.perf_counter() - self._frame_ended >= pause

    def _step(self) -> None:
        self.step()
        self._rate_steps += 1

    def play_now(self) -> None:
        """What `play` posts."""
        self.error = None
        self.playing = True
        self._play_until = time.perf_counter() + self.budget_s
        self._frame_ended = self._rate_since = time.perf_counter()
        self._rate_steps, self.steps_per_second = 0, 0.0
        self.on_state("playing")

    def pause_now(self) -> None:
        """What `pause` posts. An error that was shown gives way to "paused"."""
        self.error = None
        if self.playing:
            self.playing = False
            self.frame(last=True)
        self.on_state("paused")

    def _fail(self, error: BaseException) -> None:
        self.playing = False
        self.error = error
        self.on_state("error: " + "".join(traceback.format_exception_only(error)).strip())

    def _apply_commands(self) -> None:
        while not self._closed:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                break
            command()
        if self.frame_wanted and not self._closed:
            self.frame_wanted = False
            self.frame(last=True)
        while self._waiting:
            self._waiting.pop().set()

    def _main(self) -> None:
        while not self._closed:
            try:
                with self._owner:
                    self._apply_commands()
                    if self.playing:
                        self._step()
                        if time.perf_counter() > self._play_until:
                            self.pause_now()
                        elif self._frame_is_due():
                            self.frame()
            except Exception as error:
                self._fail(error)
                continue  # commands may wait behind the one that raised
            idle = not self.playing or self._reserved
            if idle or self.rest_s:
                self._wake.wait(None if idle else self.rest_s)
                self._wake.clear()


def pause_all() -> None:
    """Pause every runner, and return when none takes a step: what follows may set what holds for the whole process."""
    for runner in list(_LIVE.values()):
        runner.pause()
        runner.wait()


@atexit.register
def close_all() -> None:
    """End every thread, so that none is inside torch while Python shuts down."""
    for runner in list(_LIVE.values()):
        runner.close()
