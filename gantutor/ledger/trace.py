"""A step, line by line: which gradients, graphs and statistics each line left behind, and what it cost."""

import contextlib
import dataclasses
import io
from collections.abc import Callable
from types import FrameType
from typing import Any

from gantutor.ledger.copies import copied, device_of
from gantutor.ledger.flops import FlopCounter
from gantutor.ledger.lines import Watch
from gantutor.ledger.recorder import Recorder
from gantutor.ledger.records import Line, Trace
from gantutor.ledger.source import Source
from gantutor.precision import float32_precision


def trace(step: Callable[..., Any], model: Any, *batch: Any) -> Trace:
    """Run `step(model, *batch)` on a copy of both, and write down what is true after every statement of `step`.

    `model` is any object with networks among its attributes. The statements are those of `step` itself: a function that
    it calls is part of the line that calls it. The model, the batch and the global random state stay as they are.
    A step that raises is recorded up to and with the line that raised.
    The numbers are those of IEEE's float32, whatever the global setting; the times are those of the setting.
    The milliseconds come from a second run, on another copy and with nothing on but a clock, since counting FLOPs takes
    longer than many a line; what that run prints is dropped.
    Raises: TypeError or ValueError where `step` is not a function whose source can be read.
    """
    source, error, result = Source(step), None, None
    with float32_precision("ieee"), copied(model, batch) as (twin, twin_batch), FlopCounter() as counter:
        recorder = Recorder(source, twin, counter)
        watch = Watch(source, device_of(twin), recorder.after, recorder.before_backward)
        try:
            with recorder.values.watch(recorder.networks), watch.on():
                result = step(twin, *twin_batch)
        except Exception as raised:
            error = without_frames(raised)
    if watch.fault is not None:
        raise watch.fault  # the ledger's own
    return Trace(
        name=source.name,
        source=source.text,
        first_line=source.first_line,
        docstring=source.docstring,
        arguments=source.arguments,
        before=recorder.before,
        lines=timed(recorder.lines, times(source, step, model, batch)),
        result=result,
        error=error,
        diagnosis=recorder.diagnosis(error),
    )


def without_frames(error: Exception) -> Exception:
    """The error and what led to it, without tracebacks: those would keep every frame, and so every graph, alive."""
    inner: BaseException | None = error
    while inner is not None:
        inner.__traceback__ = None
        inner = inner.__cause__ or inner.__context__
    return error


def times(source: Source, step: Callable[..., Any], model: Any, batch: tuple[Any, ...]) -> list[tuple[int, float]]:
    """The lines of a run with nothing but a clock, and their milliseconds."""
    found: list[tuple[int, float]] = []

    def after(line: int, frame: FrameType, milliseconds: float) -> None:
        found.append((line, milliseconds))

    with copied(model, batch) as (twin, twin_batch), contextlib.redirect_stdout(io.StringIO()):
        watch = Watch(source, device_of(twin), after)
        with contextlib.suppress(Exception), watch.on():
            step(twin, *twin_batch)
    return found


def timed(lines: list[Line], clocked: list[tuple[int, float]]) -> tuple[Line, ...]:
    """The lines with the clock's times; with their own if the second run, unlike any pure step, went another way."""
    if [line.number for line in lines] != [number for number, _ in clocked]:
        return tuple(lines)
    pairs = zip(lines, clocked, strict=True)
    return tuple(dataclasses.replace(line, milliseconds=milliseconds) for line, (_, milliseconds) in pairs)
