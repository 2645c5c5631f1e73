"""A step, line by line: which gradients, graphs and statistics each line left behind, and what it cost."""

import contextlib
import dataclasses
import io
import itertools
import linecache
import sys
from collections.abc import Callable
from datetime import timedelta
from types import FrameType
from typing import Any

import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from gantutor.ledger.findings import find
from gantutor.ledger.reach import Reach, Snapshot, Variables, function_of
from gantutor.ledger.recorder import LoopEnds, Recorder, Watch
from gantutor.ledger.records import FREED, STALE, Failure, Place, Trace
from gantutor.ledger.source import Source, variables_of
from gantutor.precision import float32_precision

MESSAGES = {FREED: "backward through the graph a second time", STALE: "modified by an inplace operation"}
RANKS_WAIT = timedelta(seconds=10)  # with which a rank waits for the others
MEETINGS = [0]  # how often all ranks have met
CELLS = itertools.count(1)


def trace(step: Callable[..., Any], *args: Any, max_iterations: int = 3, timed: bool = False, **kwargs: Any) -> Trace:
    """Run `step(*args, **kwargs)` once, write down what is true after every statement, and put everything back.

    `step` is any callable: a function, a method, a closure, a `functools.partial`, a callable object. Its networks and
    optimizers are found wherever it can reach them, and have the names that its code has for them; the attributes of
    its first argument have their own names. The statements are those of `step` itself: a function that it calls is part
    of the line that calls it. Nothing is copied: parameters, gradients, optimizers, modes, lists, random states and the
    rest are put back in place afterwards, and what cannot be is listed. A step that raises is recorded up to and with
    the line that raised. The numbers are those of IEEE's float32, whatever the global setting.

    Args:
        step: what to run.
        *args, **kwargs: what to give to it.
        max_iterations: after how many turns a training loop in `step` is stopped.
        timed: whether to run the step a second time, with nothing on but a clock, for the milliseconds.

    Raises: TypeError or ValueError where the step's source cannot be read; RuntimeError on one rank of several.
    """
    function, _, _, _ = function_of(step)
    source = Source.of(function)
    reach = Reach.of(step, args, kwargs)
    record = run_recorded(source, reach, lambda: step(*args, **kwargs), max_iterations)
    if not timed:
        return record
    clocked = times(source, lambda: step(*args, **kwargs), reach)
    if [line.number for line in record.lines] != [number for number, _ in clocked]:
        return record
    lines = (dataclasses.replace(line, milliseconds=ms) for line, (_, ms) in zip(record.lines, clocked, strict=True))
    return dataclasses.replace(record, lines=tuple(lines), timed=True)


def run_recorded(source: Source, reach: Reach, run: Callable[[], Any], max_iterations: int) -> Trace:
    """Run something under a Recorder."""
    meet_all_ranks(reach)
    result, error = None, None
    recorder = Recorder(source, reach, max_iterations)
    with float32_precision("ieee"), recorder.recording():
        try:
            result = run()
        except LoopEnds:
            pass
        except Exception as raised:
            error = without_frames(raised)
    return written_down(recorder, result, error)


def written_down(recorder: Recorder, result: Any, error: Exception | None) -> Trace:
    """A recorder's notes as a Trace. Raises: a fault of the ledger's own."""
    if recorder.watch.fault is not None:
        raise recorder.watch.fault
    source = recorder.source
    explained = explain(recorder.failure, error, recorder.raised_at)
    record = Trace(
        name=source.name,
        source=source.text,
        first_line=source.first_line,
        docstring=source.docstring,
        arguments=source.arguments,
        before=recorder.networks,
        lines=tuple(
            dataclasses.replace(line, networks={**recorder.networks, **line.networks}) for line in recorder.lines
        ),
        result=result,
        error=error,
        diagnosis=explained,
        failure=recorder.failure if explained else None,
        optimizers={name: recorder.holds(optimizer) for name, optimizer in recorder.reach.optimizers.items()},
        unwatched=tuple(recorder.unwatched),
        not_put_back=tuple(dict.fromkeys(recorder.not_put_back)),
        stopped=recorder.stopped,
        kept=recorder.kept,
        nonfinite=recorder.nonfinite,
    )
    return dataclasses.replace(record, findings=find(record))


def without_frames(error: Exception) -> Exception:
    """The error and what led to it, without tracebacks: those would keep every frame, and so every graph, alive."""
    inner: BaseException | None = error
    while inner is not None:
        inner.__traceback__ = None
        inner = inner.__cause__ or inner.__context__
    return error


def explain(failure: Failure | None, error: Exception | None, needed: Place | None) -> str:
    """One sentence on one of autograd's two famous errors that was foreseen; "" for another error.

    `needed` is the statement that raised.
    """
    if failure is None or not isinstance(error, RuntimeError) or MESSAGES[failure.kind] not in str(error):
        return ""
    made = f"a graph made on line {failure.made.line}" if failure.made else "a graph from before the step"
    graph = f"the graph of `{failure.graph_of}`" if failure.graph_of else made
    by = "the same line" if failure.by == needed else f"line {failure.by}"
    if failure.by is None:
        by = "something before the step" if failure.before_step else "something that has no line here"
    if failure.kind == FREED:
        return (
            f"Line {needed} goes back through {graph}, but {by} has gone through it before and freed what it had saved."
        )
    unnamed = f"a tensor inside `{failure.inside}`" if failure.inside else "a tensor inside"
    tensor = f"`{failure.culprit}`" if failure.culprit else unnamed
    when = f"on line {failure.made.line}" if failure.made else "before the step"
    return (
        f"Line {needed} goes back through {graph}, which needs {tensor} as it was {when}, but {by} has changed it in "
        "place since."
    )


def times(source: Source, run: Callable[[], Any], reach: Reach) -> list[tuple[int, float]]:
    """The lines of a run with nothing but a clock, and their milliseconds; what it prints is dropped."""
    found: list[tuple[int, float]] = []

    def after(line: int, frame: FrameType, milliseconds: float) -> None:
        found.append((line, milliseconds))

    snapshot = Snapshot(reach, at_once=True)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            with contextlib.suppress(Exception), Watch(source, after, device=reach.device).on():
                run()
        finally:
            snapshot.restore()
    return found


def meet_all_ranks(reach: Reach) -> None:
    """Wait for the other processes, if networks are spread over several: each must run the step, or all would hang.

    Raises: RuntimeError where another rank does not come.
    """
    if not any(isinstance(m, DistributedDataParallel) for player in reach.players.values() for m in player.wrapped):
        return
    store, rank, world = dist.distributed_c10d._get_default_store(), dist.get_rank(), dist.get_world_size()
    turn = f"gantutor.ledger/{MEETINGS[0]}"
    store.set(f"{turn}/{rank}", "here")
    for other in range(world):
        try:
            store.wait([f"{turn}/{other}"], RANKS_WAIT)
        except RuntimeError:
            store.delete_key(f"{turn}/{rank}")
            raise RuntimeError(
                f"Rank {rank} traces a step of {world} ranks, and rank {other} does not: the step would wait for it "
                "forever. Call the ledger on every rank, and print on one."
            ) from None
    MEETINGS[0] += 1


# Cells and blocks -----------------------------------------------------------------------------------------------------


class watching:  # noqa: N801 -- used as a verb
    """Trace the statements of a `with` block, in a script, a function or a cell, and print the trace at its end.

    >>> with ledger.watching() as watch:
    ...     for real in loader: ...
    >>> watch.trace

    What the block changes in networks, optimizers, lists and random states is put back; its variables stay.
    A loop that trains is left after `max_iterations` turns. An error in the block goes on after it is written down.
    """

    def __init__(self, max_iterations: int = 3) -> None:
        self.max_iterations = max_iterations

    def __enter__(self) -> "watching":
        frame = sys._getframe(1)
        code, lines = frame.f_code, linecache.getlines(frame.f_code.co_filename)
        source = Source.of_module(f"line {frame.f_lineno}", code, lines, block=frame.f_lineno)
        reach = Reach()
        reach.extend([*variables_of(frame, ())[0].items(), ("", Variables(frame.f_globals, code))])
        meet_all_ranks(reach)
        self.recorder = Recorder(source, reach, self.max_iterations)
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(float32_precision("ieee"))
        self.stack.enter_context(self.recorder.recording(frame))
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        self.recorder.watch.finish()
        self.stack.close()
        self.trace = written_down(self.recorder, None, error if isinstance(error, Exception) else None)
        print(self.trace)
        return isinstance(error, LoopEnds)


def trace_cell(cell: str, namespace: dict[str, Any], max_iterations: int = 3) -> Trace:
    """Run a notebook's cell in its namespace and trace it. Lines are numbered as in the cell; the first is `%%trace`.

    Variables that were there before are put back; those that the cell makes stay.
    """
    text, name = "\n" + cell, f"<traced cell {next(CELLS)}>"
    lines = text.splitlines(keepends=True)
    linecache.cache[name] = (len(text), None, lines, name)
    source = Source.of_module("the cell", compile(text, name, "exec"), lines)
    reach = Reach()
    reach.extend([("", Variables(namespace, source.code))])
    return run_recorded(source, reach, lambda: exec(source.code, namespace), max_iterations)


def register_magic(shell: Any) -> None:
    """`%load_ext gantutor` makes the magic `%%trace [name] [max_iterations]`, which may keep its trace under a name."""

    def magic(line: str, cell: str) -> Trace:
        numbers = [int(word) for word in line.split() if word.isdigit()]
        record = trace_cell(shell.transform_cell(cell), shell.user_ns, *numbers)
        shell.user_ns.update(dict.fromkeys((word for word in line.split() if word.isidentifier()), record))
        return record

    shell.register_magic_function(magic, "cell", "trace")
