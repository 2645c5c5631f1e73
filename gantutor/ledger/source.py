"""The source of a step: which statement a line belongs to, where in the user's code something happens, and a tracer."""

import ast
import contextlib
import dis
import functools
import inspect
import linecache
import os
import sys
import sysconfig
import textwrap
import time
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gantutor.ledger.records import Place

SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
LIBRARIES = tuple(  # folders whose code is not the user's
    str(folder) + os.sep
    for folder in (
        *(sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")),
        *torch.__path__,
        Path(__file__).parent,
    )
)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


Block = ast.FunctionDef | ast.Lambda | ast.With | ast.Module

Leave = Callable[[Any, bool], None]  # is told what a call has returned, and whether it raised


@dataclass(frozen=True)
class Statement:
    """A statement: its first and last line, of a compound one its header's, and how it reads in one line.

    Where several begin on one line, it is the first of them, and reads as the whole line does.
    """

    node: ast.stmt | None
    first: int
    last: int
    text: str


class Source:
    """Statements that run in one frame: a function's own, a cell's, or those of a `with` block.

    Lines are numbered as in the file or cell, which is how a traceback numbers them. `names` are those of variables
    from outside, `docstring` the numbers of its lines.
    """

    def __init__(self, name: str, code: types.CodeType, block: Block, first_line: int, lines: list[str]) -> None:
        """`lines` are all of the file; those from `first_line` to the block's end belong to the source."""
        self.name, self.code, self.first_line, self._file = name, code, first_line, lines
        body = [ast.copy_location(ast.Expr(block.body), block.body)] if isinstance(block, ast.Lambda) else block.body
        self.lines = range(first_line, getattr(block, "end_lineno", len(lines)) + 1)
        self.text = textwrap.dedent("".join(lines[first_line - 1 : self.lines.stop - 1]))
        self.arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        self.names = mentioned_names(code)
        self.docstring = range(0)
        if isinstance(block, ast.FunctionDef) and ast.get_docstring(block) is not None:
            self.docstring = range(body[0].lineno, (body[0].end_lineno or 0) + 1)
        self._at: dict[int, Statement] = {}  # by each of its lines
        for node in statements(body):
            first, last = extent(node)
            text = ast.unparse(node).splitlines()[0]
            if first in self._at and self._at[first].first == first:
                node, text = self._at[first].node or node, lines[first - 1].strip()
            self._at.update(dict.fromkeys(range(first, last + 1), Statement(node, first, last, text)))

    @classmethod
    def of(cls, function: types.FunctionType) -> "Source":
        """A function's. Raises: ValueError where its source cannot be had, TypeError for a generator or a coroutine."""
        if function.__code__.co_flags & SUSPENDS:
            raise TypeError(f"A trace follows a plain function, line by line; {function.__name__} suspends itself.")
        return cls.of_code(function.__code__)

    @classmethod
    def of_code(cls, code: types.CodeType) -> "Source":
        """That of the function with this code. Raises: ValueError where it cannot be had."""
        linecache.checkcache(code.co_filename)
        lines = linecache.getlines(code.co_filename)
        with contextlib.suppress(SyntaxError):
            for node in ast.walk(ast.parse("".join(lines))):
                if isinstance(node, ast.FunctionDef | ast.Lambda) and is_made_of(code, node):
                    return cls(code.co_name, code, node, code.co_firstlineno, lines)
        raise ValueError(f"{code.co_name} has no source to show: define it in a file or a notebook cell.")

    @classmethod
    def of_module(cls, name: str, code: types.CodeType, lines: list[str], block: int = 0) -> "Source":
        """A cell's or a file's; with `block`, that of the `with` statement on this line."""
        tree = ast.parse("".join(lines))
        if not block:
            return cls(name, code, tree, 1, lines)
        found = next(n for n in ast.walk(tree) if isinstance(n, ast.With) and n.lineno <= block <= n.body[0].lineno)
        return cls(name, code, found, extent(found.body[0])[0], lines)

    def at(self, line: int) -> Statement:
        """The statement that a line belongs to; the line itself where it is none, as `except` is."""
        return self._at.get(line) or Statement(None, line, line, self._file[line - 1].strip())

    def place(self, line: int) -> Place:
        """The statement that `line` is in."""
        return Place(self.at(line).first, self.at(line).text)

    def ends_with_block(self, line: int, current: int) -> bool:
        """Whether going from `current` to `line` is a `with` block's end: Python comes back to its header for that."""
        node = self.at(line).node
        return isinstance(node, ast.With) and line < current <= (node.end_lineno or 0)


@functools.cache
def source_of(code: types.CodeType) -> Source | None:
    """The source of a function that the step calls; None where there is none to be had."""
    try:
        return Source.of_code(code)
    except ValueError:
        return None


@functools.cache
def is_library(filename: str) -> bool:
    """Whether a file is Python's, torch's, an installed package's or the ledger's own."""
    return filename.startswith((*LIBRARIES, "<frozen"))


def users_frames(frame: types.FrameType | None, outermost: types.FrameType | None) -> Iterator[types.FrameType]:
    """The frames of the user's code from `frame` up to the step's own, which is always the last."""
    while frame is not None and frame is not outermost:
        if not is_library(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back
    if outermost is not None:
        yield outermost


def variables_of(frame: types.FrameType, names: Iterable[str]) -> dict[str, Any]:
    """A function's own variables, none at a module's top; and those of its module that have one of these names."""
    own = {} if frame.f_locals is frame.f_globals else frame.f_locals
    return {**own, **{name: frame.f_globals[name] for name in names if name in frame.f_globals}}


def place_of(frame: types.FrameType | None, outermost: types.FrameType, source: Source) -> Place:
    """Where the user's code is, as deep as it goes; `outermost` is the frame of the step, with its `source`."""
    for inner in users_frames(frame, outermost):
        if inner is not outermost and not inner.f_code.co_name.startswith("<"):
            found = source_of(inner.f_code)
            if found is not None:
                place = found.place(inner.f_lineno)
                return Place(place.line, place.text, inner.f_code.co_name)
    return source.place(outermost.f_lineno)


@functools.cache
def mentioned_names(code: types.CodeType) -> tuple[str, ...]:
    """The variables outside of it that a code names, in the functions inside it, too; no attributes."""
    found = [each.argval for each in dis.get_instructions(code) if each.opname.endswith(("_GLOBAL", "_NAME"))]
    inner = [name for each in code.co_consts if isinstance(each, types.CodeType) for name in mentioned_names(each)]
    return tuple(dict.fromkeys((*code.co_freevars, *found, *inner)))


def is_made_of(code: types.CodeType, node: ast.FunctionDef | ast.Lambda) -> bool:
    """Whether a function's code was made of a node in its file; of lambdas there may be two on a line."""
    if isinstance(node, ast.FunctionDef):
        return (code.co_name, code.co_firstlineno) == (node.name, extent(node)[0])
    return (node.body.lineno, node.body.col_offset) in {(line, column) for line, _, column, _ in code.co_positions()}


def statements(nodes: list[Any]) -> Iterator[ast.stmt]:
    """Statements, outer ones before inner ones, but none inside another function or class."""
    for node in nodes:
        if isinstance(node, ast.stmt):
            yield node
        if isinstance(node, (ast.stmt, ast.excepthandler, ast.match_case)) and not isinstance(node, DEFINITIONS):
            yield from statements(list(ast.iter_child_nodes(node)))


def extent(node: Any) -> tuple[int, int]:
    """The first and the last line of a statement; the last line of a compound one's header."""
    first = min([node.lineno, *[decorator.lineno for decorator in getattr(node, "decorator_list", [])]])
    inside = getattr(node, "cases", None) or getattr(node, "body", None)
    if not isinstance(inside, list):
        return first, node.end_lineno
    start = inside[0].pattern.lineno if isinstance(inside[0], ast.match_case) else extent(inside[0])[0]
    return first, max(node.lineno, start - 1)


# Following it ---------------------------------------------------------------------------------------------------------


class Watch:
    """Follows the statements of a source itself, and the calls that they make.

    `before(line, frame)` is called before a statement begins, and `after(line, frame, milliseconds)` when it is done,
    however deep it called; one in a loop as often as it is run. `enter` is called with the frame of every function that
    is called inside; what it returns is told how that ended. Time spent in these does not count.
    """

    def __init__(
        self,
        source: Source,
        before: Callable[[int, types.FrameType], None],
        after: Callable[[int, types.FrameType, float], None],
        enter: Callable[[types.FrameType], Leave | None],
    ) -> None:
        self.source, self.before, self.after, self.enter = source, before, after, enter
        self.frame: types.FrameType | None = None  # while the source runs
        self.line = 0  # the statement that is being executed
        self.since = 0.0
        self.fault: Exception | None = None

    @contextlib.contextmanager
    def on(self, frame: types.FrameType | None = None) -> Iterator[None]:
        """Watch what runs inside; `frame` is that of the source if it runs already.

        A callback that raises is not called again; `fault` keeps what it raised, which the function must not see.
        """
        if frame is not None:
            self.frame, frame.f_trace = frame, self._on_event
        with tracing(self._on_call):
            yield
            self.finish()
        if frame is not None:
            frame.f_trace = None

    def finish(self) -> None:
        """The statement that runs is the last."""
        if self.frame is not None:
            self._done(self.frame)
            self.line = 0

    def _on_call(self, frame: types.FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        if self.frame is None and frame.f_code is self.source.code:
            self.frame = frame
            return self._on_event
        leave = self._call(self.enter, frame) if self.line else None
        return until_return(frame, functools.partial(self._call, leave) if leave else None)

    def _on_event(self, frame: types.FrameType, event: str, arg: Any) -> Callable[..., Any]:
        if event == "line":
            line = self.source.at(frame.f_lineno).first
            if line != self.line and not self.source.ends_with_block(line, self.line):
                self._done(frame)
                self.line = line if frame.f_lineno in self.source.lines else 0
                if self.line:
                    self.before(line, frame)
                self.since = time.perf_counter()
        elif event == "return":
            self._done(frame)
            self.line, self.frame = 0, None
        return self._on_event

    def _done(self, frame: types.FrameType) -> None:
        if self.line:
            self._call(self.after, self.line, frame, 1000 * (time.perf_counter() - self.since))

    def _call(self, callback: Callable[..., Any], *args: Any) -> Any:
        start = time.perf_counter()
        try:
            return callback(*args) if self.fault is None else None
        except Exception as fault:
            self.fault = fault
            return None
        finally:
            self.since += time.perf_counter() - start


@contextlib.contextmanager
def tracing(on_call: Callable[[types.FrameType, str, Any], Any]) -> Iterator[None]:
    """Tell of every function that is called inside; another tracer (a debugger's, coverage's) comes back afterwards."""
    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


def until_return(frame: types.FrameType, leave: Leave | None) -> Any:
    """A tracer of one call, which tells `leave` how it ended; None where nobody wants to know."""
    if leave is None:
        return None
    frame.f_trace_lines = raised = False

    def on_event(frame: types.FrameType, event: str, arg: Any) -> Any:
        nonlocal raised
        raised = raised or event == "exception"
        if event == "return":
            leave(arg, raised and arg is None)
        return on_event

    return on_event
