"""A notebook's code cells in a kernel of their own, with what they assert written down."""

import copy
import hashlib
import re
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from benchlib import asserted
from benchlib.asserted import MIME, NAME

INSIDE = Path(asserted.__file__).read_text(encoding="utf-8")  # not imported there: the notebook gets no name from it
INSTALL = f"exec({INSIDE!r}, {{'__name__': 'in the kernel'}})"
REPORT = f"{NAME}.report()"
TIMEOUT_S = 600
SEED = re.compile(r"^seed = \d+$", flags=re.MULTILINE)

Failure = dict[str, str]


def digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def code_of(notebook: NotebookNode) -> dict[str, str]:
    """The source of each code cell, by the cell's id, in order."""
    return {cell.id: cell.source for cell in notebook.cells if cell.cell_type == "code"}


def with_seed(notebook: NotebookNode, seed: int) -> NotebookNode:
    """A copy whose set-up cell says `seed = …`. Raises: ValueError unless exactly one line there sets it."""
    changed = copy.deepcopy(notebook)
    setup = [cell for cell in changed.cells if "setup" in cell.metadata.get("tags", [])]
    if len(setup) != 1 or len(SEED.findall(setup[0].source)) != 1:
        raise ValueError('a notebook needs one cell tagged "setup", with one line "seed = 0"')
    setup[0].source = SEED.sub(f"seed = {seed}", setup[0].source)
    return changed


def execute(notebook: NotebookNode, folder: Path, last: str = "") -> dict[str, Any]:
    """Run the code cells, as far as the cell `last` if one is named; one that fails does not stop the others.

    Returns: `seconds` on the wall, `cpu_seconds` of the kernel, the number of `assertions`, the `comparisons` in them
    with their cell, and the `failures`.
    """
    cells = [*copy.deepcopy(notebook).cells, nbformat.v4.new_code_cell()]  # the last place is for cells of our own
    whole = nbformat.v4.new_notebook(cells=list(cells), metadata=notebook.metadata)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(whole, timeout=TIMEOUT_S, kernel_name="python3", allow_errors=True, resources=resources)
    found: dict[str, Any] = {"seconds": 0.0, "cpu_seconds": 0.0, "assertions": 0, "comparisons": [], "failures": []}

    def ask(code: str) -> list[NotebookNode]:
        """What a cell of our own displays; it leaves no trace in the history."""
        cell = nbformat.v4.new_code_cell(code)
        client.execute_cell(cell, len(cells) - 1, store_history=False)
        if any(output.output_type == "error" for output in cell.outputs):
            raise RuntimeError(cell.outputs[-1].evalue)
        return list(cell.outputs)

    with client.setup_kernel():
        ask(INSTALL)
        start = time.perf_counter()
        for place, cell in enumerate(cells[:-1]):
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            try:
                client.execute_cell(cell, place)
                found["failures"] += [describe_error(cell.id, output) for output in cell.outputs if is_error(output)]
                (seen,) = (output.data[MIME] for output in ask(REPORT) if MIME in output.get("data", {}))
            except (DeadKernelError, CellTimeoutError) as error:
                found["failures"].append({"cell": cell.id, "error": type(error).__name__, "message": "", "line": ""})
                break
            found["seconds"] = round(time.perf_counter() - start, 1)
            found["cpu_seconds"] = seen["cpu_seconds"]
            found["assertions"] += seen["assertions"]
            found["comparisons"] += [{"cell": cell.id, **comparison} for comparison in seen["comparisons"]]
            if cell.id == last:
                break
    return found


def is_error(output: NotebookNode) -> bool:
    return bool(output.output_type == "error")


def describe_error(cell: str, output: NotebookNode) -> Failure:
    """An error's name and message, and the line of the cell: the first one that the traceback marks."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(output.traceback))
    marked = re.search(r"^-+> *\d+ (.*)$", plain, flags=re.MULTILINE)
    line = marked[1].strip() if marked else ""
    return {"cell": cell, "error": output.ename, "message": output.evalue, "line": line}
