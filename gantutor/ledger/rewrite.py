"""Statements rewritten: what a finding proposes to write instead. Text in, text out; "" where a text cannot be parsed."""

import ast
from collections.abc import Callable

CUTS = ("detach", "item", "numpy", "tolist", "argmax", "round", "data")


def parsed(text: str) -> list[ast.stmt]:
    """The statements of a line; none if it does not stand alone, such as the head of a loop."""
    try:
        return ast.parse(text.strip()).body
    except SyntaxError:
        return []


class Replace(ast.NodeTransformer):
    """Puts `change(node)` in the place of every expression for which it is not None, inner ones first."""

    def __init__(self, change: Callable[[ast.expr], ast.expr | None]) -> None:
        self.change = change

    def visit(self, node: ast.AST) -> ast.AST:
        node = self.generic_visit(node)
        changed = self.change(node) if isinstance(node, ast.expr) else None
        return node if changed is None else changed


def rewritten(text: str, change: Callable[[ast.expr], ast.expr | None]) -> str:
    """The line with expressions changed."""
    return "; ".join(ast.unparse(Replace(change).visit(node)) for node in parsed(text))


def reads(text: str, name: str) -> bool:
    """Whether a line reads the value of `name` (`fake`, `self.fake_B`, `fakes[0]`)."""
    return any(is_read(node, name) for statement in parsed(text) for node in ast.walk(statement))


def is_read(node: ast.AST, name: str) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Load) and isinstance(node, ast.expr) and ast.unparse(node) == name


def with_detach(text: str, name: str) -> str:
    """`D(fake)` → `D(fake.detach())`."""
    return rewritten(text, lambda node: method_call(node, "detach") if is_read(node, name) else None)


def method_call(node: ast.expr, method: str) -> ast.expr:
    return ast.Call(ast.Attribute(node, method, ast.Load()), [], [])


def without_cuts(text: str) -> str:
    """`fake = G(z).detach()` → `fake = G(z)`; also `.data`, `.item()`, `.numpy()` and what wraps their results."""

    def change(node: ast.expr) -> ast.expr | None:
        if isinstance(node, ast.Attribute) and node.attr == "data":
            return node.value
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return None
        if node.func.attr in CUTS and not node.args and not is_torch(node.func.value):
            return node.func.value
        wraps = ("Variable", "from_numpy", "tensor", "as_tensor")
        return node.args[0] if node.func.attr in wraps and len(node.args) == 1 else None

    return rewritten(text, change)


def is_torch(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("torch", "np", "numpy", "F")


def assigned(text: str) -> list[str]:
    """The names that a line assigns, as the code writes them."""
    targets: list[ast.expr] = []
    for node in parsed(text):
        if isinstance(node, ast.Assign):
            targets += node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets.append(node.target)
    flat = [x for t in targets for x in (t.elts if isinstance(t, ast.Tuple | ast.List) else [t])]
    return [ast.unparse(target) for target in flat]


def made_again(text: str, name: str) -> str:
    """The part of a line that makes `name`: of `p0, p1 = D(x), D(y)` and `p1` it is `p1 = D(y)`."""
    for node in parsed(text):
        if not isinstance(node, ast.Assign):
            continue
        targets, values = node.targets[0], node.value
        if isinstance(targets, ast.Tuple) and isinstance(values, ast.Tuple) and len(targets.elts) == len(values.elts):
            for target, value in zip(targets.elts, values.elts, strict=True):
                if ast.unparse(target) == name:
                    return f"{name} = {ast.unparse(value)}"
        if name in assigned(ast.unparse(node)):
            return ast.unparse(node)
    return text.strip()


def out_of_place(text: str) -> str:
    """A change in place as a new tensor: `x.fill_(0.0)` → `x = torch.full_like(x, 0.0)`, `x += y` → `x = x + y`."""
    for node in parsed(text):
        if isinstance(node, ast.AugAssign):
            return ast.unparse(ast.Assign([node.target], ast.BinOp(read(node.target), node.op, node.value), lineno=0))
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            whole = ast.unparse(node.targets[0].value)
            return f"{whole} = {whole}.clone(); {ast.unparse(node)}"
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr.endswith("_"):
            whole, method = ast.unparse(call.func.value), call.func.attr.rstrip("_")
            given = ", ".join(ast.unparse(each) for each in [*call.args, *call.keywords])
            if method == "fill":
                return f"{whole} = torch.full_like({whole}, {given})"
            return f"{whole} = {whole}.{method}({given})"
    return ""


def read(target: ast.expr) -> ast.expr:
    """A target of an assignment as an expression that is read."""
    expression = ast.parse(ast.unparse(target), mode="eval").body
    return expression


def with_keyword(text: str, method: str, keyword: str) -> str:
    """`loss.backward()` → `loss.backward(retain_graph=True)`, for the last call of that method or function in a line."""
    name, _, value = keyword.partition("=")

    def change(node: ast.expr) -> ast.expr | None:
        if isinstance(node, ast.Call) and called(node) == method:
            others = [each for each in node.keywords if each.arg != name]
            given = ast.keyword(name, ast.parse(value, mode="eval").body)
            return ast.Call(node.func, node.args, [*others, given])
        return None

    return rewritten(text, change)


def called(node: ast.Call) -> str:
    """The last part of what is called: `backward`, `grad`."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def as_number(text: str, name: str) -> str:
    """`history.append(loss)` → `history.append(loss.item())`, wherever the line reads `name`."""
    return rewritten(text, lambda node: method_call(node, "item") if is_read(node, name) else None)
