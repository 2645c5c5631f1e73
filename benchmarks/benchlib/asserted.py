"""Executed inside a notebook's kernel: it keeps both sides of every comparison that a cell asserts.

IPython keeps a cell's source and then hands its tree to `Instrument`. So line numbers, messages, tracebacks and
`inspect.getsource` stay as they were. Only assert statements that a cell itself executes are rewritten; those inside a
function or a class are left alone. A comparison counts if it is made by `<`, `<=`, `>` or `>=` and must hold for the
assertion to hold: the test itself, a part of `and`, what `not` denies, an element of `all(...)`, what has `.all()`.
"""

import ast
import builtins
import operator
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from IPython import get_ipython
from IPython.display import display

MIME = "application/x-asserted+json"
NAME = "__asserted__"  # among the builtins, so that the notebook's own names stay as they are
OPERATORS: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
BY_SIGN = dict(OPERATORS.values())
LONGEST = 100  # of a comparison's turns in one cell; of more of them only the worst is kept


class Recorder:
    """What the rewritten assertions call."""

    def __init__(self) -> None:
        self.found: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.assertions = 0

    def __call__(self, name: tuple[Any, ...], flipped: bool, parts: Any, left: Any, right: Any, *more: Any) -> Any:
        """The value of `left < right < …`; `more` are functions, because a chain stops at its first false link."""
        holds: Any = True
        for place, (sign, source) in enumerate(parts):
            if place:
                left, right = right, more[place - 1]()
            self.keep((*name, place), source, (sign[0] == "<") != flipped, (len(sign) == 1) != flipped, left, right)
            holds = BY_SIGN[sign](left, right)
            if len(parts) > 1 and not holds:
                break
        return holds

    def keep(self, name: tuple[Any, ...], source: str, upwards: bool, strict: bool, left: Any, right: Any) -> None:
        """Add the pair with the smallest margin, and that margin; nothing where the two are no numbers."""
        try:
            low, high = np.broadcast_arrays(numbers(left), numbers(right))
        except (TypeError, ValueError, RuntimeError):
            return
        if low.size:
            with np.errstate(all="ignore"):
                margin = high - low if upwards else low - high
            margin = np.where(low == high, 0.0, np.where(np.isnan(margin), -np.inf, margin))
            worst = int(margin.argmin())
            pair = [shorten(values.flat[worst]) for values in (low, high, margin)]
            where = {"line": name[0], "column": name[1], "part": name[-1]}
            entry = self.found.setdefault(name, {**where, "source": source, "strict": strict, "pairs": []})
            entry["pairs"].append(pair)

    def report(self) -> None:
        """Display what the last cell has asserted, as data, and forget it."""
        for entry in self.found.values():
            if len(entry["pairs"]) > LONGEST:
                entry["pairs"] = [min(entry["pairs"], key=lambda pair: pair[2])]
        comparisons, cpu_seconds = list(self.found.values()), round(time.process_time(), 1)
        seen = {"assertions": self.assertions, "comparisons": comparisons, "cpu_seconds": cpu_seconds}
        display({MIME: seen}, raw=True)
        self.found, self.assertions = {}, 0


def numbers(value: Any) -> Any:
    """An array of float64. Raises: TypeError, ValueError for what holds no numbers."""
    if isinstance(value, (str, bytes)):
        raise TypeError("a text is no number")
    value = value.detach().cpu().double().numpy() if hasattr(value, "detach") else value
    return np.asarray(value, dtype=float)


def shorten(value: float) -> float:
    return float(f"{value:.6g}")


class Instrument(ast.NodeTransformer):
    """Puts `Recorder` between an assertion and its comparisons."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def leave_alone(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = leave_alone

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        self.recorder.assertions += 1
        node.test = rewrite(node.test, flipped=False)
        return node


def rewrite(node: ast.expr, flipped: bool) -> ast.expr:
    """An expression that must be true (or false, if `flipped`), with its comparisons recorded."""
    if isinstance(node, ast.Compare):
        return record(node, flipped)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        node.operand = rewrite(node.operand, not flipped)
    elif isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or if flipped else ast.And):
        node.values = [rewrite(value, flipped) for value in node.values]
    elif isinstance(node, ast.Call) and not node.keywords:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called == ("any" if flipped else "all") and len(node.args) == 1:
            inside = node.args[0]
            if isinstance(inside, (ast.GeneratorExp, ast.ListComp)):
                inside.elt = rewrite(inside.elt, flipped)
            elif isinstance(inside, (ast.List, ast.Tuple)):
                inside.elts = [rewrite(value, flipped) for value in inside.elts]
            else:
                node.args = [rewrite(inside, flipped)]
        elif called == ("any" if flipped else "all") and isinstance(node.func, ast.Attribute) and not node.args:
            node.func.value = rewrite(node.func.value, flipped)
    return node


def record(node: ast.Compare, flipped: bool) -> ast.expr:
    """A call of the recorder; the comparison as it was, where one of its signs is no order or its value is named."""
    later = node.comparators[1:]
    if (
        not all(type(op) in OPERATORS for op in node.ops)
        or (flipped and later)
        or any(isinstance(inside, ast.NamedExpr) for each in later for inside in ast.walk(each))
    ):
        return node
    sides = [ast.unparse(each) for each in (node.left, *node.comparators)]
    signs = [OPERATORS[type(op)][0] for op in node.ops]
    parts = [(sign, f"{sides[i]} {sign} {sides[i + 1]}") for i, sign in enumerate(signs)]
    if flipped:
        parts = [(sign, f"not {source}") for sign, source in parts]
    arguments = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    call = ast.Call(
        ast.Name(NAME, ast.Load()),
        [
            ast.Constant((node.lineno, node.col_offset)),
            ast.Constant(flipped),
            ast.Constant(tuple(parts)),
            node.left,
            node.comparators[0],
            *(ast.Lambda(arguments, each) for each in later),
        ],
        [],
    )
    return ast.fix_missing_locations(ast.copy_location(call, node))


def install() -> None:
    recorder = Recorder()
    setattr(builtins, NAME, recorder)
    get_ipython().ast_transformers.append(Instrument(recorder))


if __name__ == "in the kernel":
    install()
