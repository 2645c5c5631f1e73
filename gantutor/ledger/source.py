"""The source of a step: which statement a line belongs to."""

import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any

SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Source:
    """A function's own statements. Lines are numbered as in its file or cell, which is how a traceback numbers them.

    Of a decorated function it is the function inside, where the decorator uses `functools.wraps`.
    Raises: TypeError for what is not a function written with `def`; ValueError where its source cannot be had.
    """

    def __init__(self, step: Callable[..., Any]) -> None:
        function = inspect.unwrap(step)
        function = getattr(function, "__func__", function)
        if not isinstance(function, types.FunctionType) or function.__code__.co_flags & SUSPENDS:
            raise TypeError(f"a trace follows a plain function, line by line; {step!r} is none")
        if function.__name__ == "<lambda>":
            raise ValueError("a lambda has no lines to follow: write the step as a function, with def")
        self.name, self.code = function.__name__, function.__code__
        try:
            lines, self.first_line = inspect.getsourcelines(function)
        except (OSError, TypeError) as error:
            raise ValueError(f"{self.name} has no source to show: define it in a file or a notebook cell") from error
        self.text = textwrap.dedent("".join(lines))
        self._lines = lines
        self._nodes: dict[int, ast.stmt] = {}  # by the first line
        self._shared: set[int] = set()  # lines on which several statements begin
        self._first: dict[int, int] = {}  # every line of a statement -> its first line
        body = parse(lines, self.first_line).body
        self.docstring = range(0)  # the numbers of its lines
        if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) and len(body) > 1:
            self.docstring = range(body[0].lineno, (body[0].end_lineno or body[0].lineno) + 1)
        self.arguments = self.code.co_varnames[: self.code.co_argcount]
        for node in statements(body):
            first, last = extent(node)
            self._shared |= {first} & set(self._nodes)
            self._nodes.setdefault(first, node)
            self._first.update(dict.fromkeys(range(first, last + 1), first))

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
        if line not in self._nodes or line in self._shared:
            return self._lines[line - self.first_line].strip()
        return ast.unparse(self._nodes[line]).splitlines()[0]


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
