"""What stands on a page where nothing is live: an executed notebook as HTML, read without a network."""

import re

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

LIVE = "application/vnd.jupyter.widget-view+json"
CELLS = (
    """from gantutor import Debugger, Experiment, Lab, trace
config = Experiment("ring", device="cpu")
run = config.start()
Lab(config)""",
    "Debugger(trace(config.step, run.model, *next(run.batches)))",
)


@pytest.mark.slow
def test_nbconvert_shows_the_picture_of_what_was_live() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    assert notebook.metadata.widgets, "nbclient has kept the widgets' state, by which nbconvert prefers them"
    for cell, name in zip(notebook.cells, ("lab", "debugger"), strict=True):
        (output,) = cell.outputs
        assert output.data["text/plain"] == f"gantutor {name}"
        assert LIVE not in output.data
    page, _ = HTMLExporter().from_notebook_node(notebook)
    pictures = re.findall(r'<img[^>]*src="data:image/png;base64,[^"]{1000}', page)
    assert len(pictures) == len(CELLS)
