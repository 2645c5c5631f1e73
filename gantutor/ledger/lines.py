"""Running a function under a line tracer."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch

from gantutor.ledger.copies import wait
from gantutor.ledger.source import Source

BACKWARDS = (torch.autograd.backward.__code__, torch.autograd.grad.__code__)


class Watch:
    """Calls `after(line, frame, milliseconds)` when a statement of the function itself is done, however deep it called.

    A statement in a loop is done as often as it is run. `before_backward(line, frame, call)` is called on the way into
    every backward, whose own frame is `call`, also one inside a function that the step calls. Time spent in these two
    does not count.
    """

    def __init__(
        self,
        source: Source,
        device: torch.device,
        after: Callable[[int, FrameType, float], None],
        before_backward: Callable[[int, FrameType, FrameType], None] | None = None,
    ) -> None:
        self.source, self.device, self.after, self.before_backward = source, device, after, before_backward
        self.frame: FrameType | None = None  # while the function runs
        self.line = 0  # the statement that is being executed
        self.since = 0.0
        self.fault: Exception | None = None

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Watch what runs inside; another tracer (a debugger's, coverage's) comes back afterwards.

        A callback that raises is not called again; `fault` keeps what it raised, which the function must not see.
        """
        previous = sys.gettrace()
        sys.settrace(self._on_call)
        try:
            yield
        finally:
            sys.settrace(previous)
            self.frame = None

    def _on_call(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        if self.frame is None and frame.f_code is self.source.code:
            self.frame = frame
            return self._on_event
        if self.line and frame.f_code in BACKWARDS and self.before_backward is not None:
            self._call(self.before_backward, self.line, self.frame, frame)
        return None

    def _on_event(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any]:
        if event == "line":
            line = self.source.statement(frame.f_lineno)
            if line != self.line and not self.source.ends_with_block(line, self.line):
                self._done(frame)
                self.line, self.since = line, time.perf_counter()
        elif event == "return":
            self._done(frame)
            self.line, self.frame = 0, None
        return self._on_event

    def _done(self, frame: FrameType) -> None:
        if self.line:
            wait(self.device)
            self._call(self.after, self.line, frame, 1000 * (time.perf_counter() - self.since))

    def _call(self, callback: Callable[..., None], *args: Any) -> None:
        start = time.perf_counter()
        try:
            if self.fault is None:
                callback(*args)
        except Exception as fault:
            self.fault = fault
        self.since += time.perf_counter() - start
