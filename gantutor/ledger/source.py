"""The source of a step: which statement a line belongs to, and where in the user's code something happens."""

import ast
import dis
import functools
import inspect
import os
import sysconfig
import textwrap
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from gantutor.ledger.records import Place

SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
TRAINS = ("backward", "manual_backward", "step")
LIBRARIES = tuple(  # folders whose code is not the user's
    str(folder) + os.sep
    for folder in (
        *(sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")),
        *torch.__path__,
        Path(__file__).parent,
    )
)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Source:
    """Statements that run in one frame: a function's own, a cell's, or those of a `with` block.

    Lines are numbered as in the file or cell, which is how a traceback numbers them. Of a decorated function it is the
    function inside, where the decorator uses `functools.wraps`. `names` are those of variables from outside.
    """

    def __init__(
        self, name: str, code: types.CodeType, lines: list[str], first_line: int, body: list[ast.stmt]
    ) -> None:
        self.name, self.code, self.first_line = name, code, first_line
        self.text = textwrap.dedent("".join(lines))
        self._lines = lines
        self._nodes: dict[int, ast.stmt] = {}  # by the first line
        self._shared: set[int] = set()  # lines on which several statements begin
        self._texts: dict[int, str] = {}
        self._first: dict[int, int] = {}  # every line of a statement -> its first line
        self.docstring = range(0)  # the numbers of its lines
        first_is_text = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
        if code.co_name != "<module>" and first_is_text and len(body) > 1:
            self.docstring = range(body[0].lineno, (body[0].end_lineno or body[0].lineno) + 1)
        self.arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        self.names = mentioned_names(code)
        for node in statements(body):
            first, last = extent(node)
            self._shared |= {first} & set(self._nodes)
            self._nodes.setdefault(first, node)
            self._first.update(dict.fromkeys(range(first, last + 1), first))

    @classmethod
    def of(cls, function: types.FunctionType) -> "Source":
        """A function's. Raises: ValueError where its source cannot be had, TypeError for a generator or a coroutine."""
        if function.__code__.co_flags & SUSPENDS:
            raise TypeError(f"A trace follows a plain function, line by line; {function.__name__} suspends itself.")
        if function.__name__ == "<lambda>":
            raise ValueError("A lambda has no lines to follow: write the step as a function, with def.")
        return cls.of_code(function.__code__)

    @classmethod
    def of_code(cls, code: types.CodeType) -> "Source":
        """That of the function with this code. Raises: ValueError where it cannot be had."""
        try:
            lines, first_line = inspect.getsourcelines(code)
            body = parse(lines, first_line).body
        except (OSError, TypeError, SyntaxError, StopIteration) as error:
            raise ValueError(
                f"{code.co_name} has no source to show: define it in a file or a notebook cell."
            ) from error
        return cls(code.co_name, code, lines, first_line, body)

    @classmethod
    def of_module(cls, name: str, code: types.CodeType, lines: list[str], block: int = 0) -> "Source":
        """A cell's or a file's; with `block`, that of the `with` statement on this line."""
        tree = ast.parse("".join(lines))
        if not block:
            return cls(name, code, lines, 1, tree.body)
        found = next(n for n in ast.walk(tree) if isinstance(n, ast.With) and n.lineno <= block <= n.body[0].lineno)
        first, last = found.body[0].lineno, found.end_lineno or 0
        return cls(name, code, lines[first - 1 : last], first, found.body)

    def is_inside(self, line: int) -> bool:
        """Whether a line belongs to these statements."""
        return 0 <= line - self.first_line < len(self._lines)

    def loop_at(self, line: int) -> ast.For | ast.While | None:
        """The loop whose header begins at `line`."""
        node = self._nodes.get(line)
        return node if isinstance(node, ast.For | ast.While) else None

    def trains_after(self, loop: ast.For | ast.While) -> bool:
        """Whether a statement behind a loop calls `backward` or `step`."""
        return any(
            isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr in TRAINS
            for line, node in self._nodes.items()
            if line > (loop.end_lineno or 0)
            for inner in ast.walk(node)
        )

    def statement(self, line: int) -> int:
        """The first line of the statement that `line` is in. A compound statement (`with`, `for`) is its header."""
        return self._first.get(line, line)

    def last_line(self, line: int) -> int:
        """The last line of the statement that begins at `line`; of a compound one, of its header."""
        return max((each for each, first in self._first.items() if first == line), default=line)

    def ends_with_block(self, line: int, current: int) -> bool:
        """Whether going from `current` to `line` is a `with` block's end: Python comes back to its header for that."""
        node = self._nodes.get(line)
        return isinstance(node, ast.With) and line < current <= (node.end_lineno or 0)

    def statement_text(self, line: int) -> str:
        """The statement that begins at `line` in one line, as `ast` writes it; the header of a compound one."""
        if line not in self._texts:
            one = line in self._nodes and line not in self._shared
            text = (
                ast.unparse(self._nodes[line]).splitlines()[0] if one else self._lines[line - self.first_line].strip()
            )
            self._texts[line] = text
        return self._texts[line]

    def place(self, line: int) -> Place:
        """The statement that `line` is in."""
        first = self.statement(line)
        return Place(first, self.statement_text(first))


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


def variables_of(frame: types.FrameType, names: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A function's own variables, none at a module's top; and those of its module that have one of these names."""
    local = {} if frame.f_locals is frame.f_globals else frame.f_locals
    return local, {name: frame.f_globals[name] for name in names if name in frame.f_globals}


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


def parse(lines: list[str], first_line: int) -> ast.FunctionDef:
    """The tree of a function that may be indented, with the line numbers of its file."""
    indented = lines[0][:1].isspace()
    tree = ast.parse("if True:\n" + "".join(lines) if indented else "".join(lines))
    ast.increment_lineno(tree, first_line - 1 - indented)
    return next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def statements(nodes: list[Any]) -> Iterator[ast.stmt]:
    """Statements, outer ones before inner ones, but none inside another function or class."""
    for node in nodes:
        if isinstance(node, ast.stmt):
            yield node
        if isinstance(node, (ast.stmt, ast.excepthandler, ast.match_case)) and not isinstance(node, DEFINITIONS):
            yield from statements(list(ast.iter_child_nodes(node)))


def extent(node: ast.stmt) -> tuple[int, int]:
    """The first and the last line of a statement; the last line of a compound one's header."""
    first = min([node.lineno, *[decorator.lineno for decorator in getattr(node, "decorator_list", [])]])
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if not body:
        return first, node.end_lineno or node.lineno
    inside = body[0].pattern if isinstance(body[0], ast.match_case) else body[0]
    return first, max(node.lineno, extent(inside)[0] - 1 if isinstance(inside, ast.stmt) else inside.lineno - 1)
