"""A notebook's code cells in plain Python, as far as they go, where Jupyter is not installed."""

import ast
import json
import linecache
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchlib import inert

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def code_cells(name: str) -> list[dict[str, Any]]:
    content = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def run_cells(keep: Callable[[dict[str, Any]], None], name: str) -> None:
    """Run a notebook's code cells in order, as far as the time goes; a cell that fails does not stop the others."""
    inert.install()
    import matplotlib

    matplotlib.use("agg")
    os.chdir(NOTEBOOKS)
    module: dict[str, Any] = {"__name__": "__main__"}
    for cell in code_cells(name):
        error = ""
        try:
            run_cell("".join(cell["source"]), f"{name}[{cell['id']}]", module)
        except Exception as raised:
            expected = "raises-exception" in cell["metadata"].get("tags", ())
            last = traceback.extract_tb(raised.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            error = "" if expected else f"{type(raised).__name__}: {str(raised)[:600]} ({where})"
        keep({"cell": cell["id"], "error": error})


def run_cell(source: str, file: str, module: dict[str, Any]) -> None:
    """Run a cell as IPython would: its last expression is made to show itself."""
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    lines = [line for line in source.splitlines() if not line.lstrip().startswith("%")]
    tree = ast.parse("\n".join(lines), file)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, file, "exec"), module)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), file, "eval"), module)
        for name in ("_repr_mimebundle_", "_repr_html_", "_repr_png_", "__repr__"):
            show = getattr(type(value), name, None)
            if value is not None and show is not None:
                show(value)
                break
