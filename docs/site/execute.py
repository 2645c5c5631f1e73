"""Run a notebook as it stands, and write it with its outputs.

Before its first cell, live.py makes what is live in it leave its data in the outputs, and in files beside them.
"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
# What `--small` runs of notebook 00; the others, and the other cells, stay as they are.
SMALL = {"setup", "live-drawing", "live-guess", "live-panel", "same-guess", "same-inline", "same-check", "ex1-cell"}


def run(source: Path, small: bool, target: Path) -> None:
    notebook = nbformat.read(source, as_version=4)
    skipped = {}
    for cell in notebook.cells:
        if small and cell.cell_type == "code" and cell.id not in SMALL:
            skipped[cell.id], cell.source = cell.source, ""
    files = str(target.resolve().parent)
    first = f"import sys; sys.path.insert(0, {str(HERE)!r}); import live; live.install({files!r}, {small})"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    NotebookClient(
        notebook, timeout=900, store_widget_state=False, resources={"metadata": {"path": str(source.parent)}}
    ).execute()
    del notebook.cells[0]
    for cell in notebook.cells:
        cell.source = skipped.get(cell.id, cell.source)
    nbformat.write(notebook, target)
