"""What a learner does with a notebook in JupyterLab: open it, run it, look at it."""

from pathlib import Path

import nbformat
from labserver import LabServer
from nbformat import NotebookNode
from playwright.sync_api import Page, expect

SCREENSHOTS = Path(__file__).parent.parent.parent / "build" / "screenshots"

# Lab draws only the cells in view, so what has run is read from the notebook's model and not from the page.
STATE = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const cells = [...panel.content.model.cells].filter(cell => cell.type === 'code' && cell.sharedModel.source.trim());
    const errors = cells.flatMap(cell => cell.outputs.toJSON()).filter(output => output.output_type === 'error');
    const waiting = cells.filter(cell => cell.executionCount === null || cell.executionState === 'running');
    return {
        errors: errors.map(error => `${error.ename}: ${error.evalue}`),
        waiting: waiting.length,
        done: errors.length > 0 || waiting.length === 0,
    };
}"""

KERNEL = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
CONNECTED = """() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus
    === 'connected'"""


# Another notebook in the same page and with the same kernel, emptied: neither Lab nor torch is loaded again.
REOPEN = """async path => {
    const app = window.jupyterapp;
    const kernel = app.shell.currentWidget.sessionContext.session.kernel;
    const code = `%reset -f
import gc, ipywidgets
ipywidgets.Widget.close_all()
gc.collect()`;
    await kernel.requestExecute({ code, store_history: false }).done;
    for (const widget of [...app.shell.widgets('main')]) widget.dispose();
    const warm = { id: kernel.id, name: kernel.name };
    await app.commands.execute('docmanager:open', { path, factory: 'Notebook', kernel: warm });
}"""

# As in Colab: what is sent while no message is handled is lost. Runs in the kernel; `live` is a panel or a Paint.
LOSES_PUSHES = """
import threading

def lose_pushes(live):
    handlers, receive, send = set(), live.stream.receive, live.widget.send

    def within(content):
        handlers.add(threading.get_ident())
        receive(content)
        handlers.discard(threading.get_ident())

    def dropping(content, buffers=None):
        if threading.get_ident() in handlers:
            send(content, buffers)

    live.stream.receive, live.widget.send = within, dropping
"""


def open_notebook(page: Page, url: str, name: str) -> None:
    """Open a notebook of the server in an empty Lab and wait until its kernel can be spoken to.

    Lab's indicator says "idle" before the kernel's websocket is open, and a Run All in between is lost.
    """
    if page.evaluate(CONNECTED):
        page.evaluate(REOPEN, name)
    else:
        page.goto(f"{url}/lab/tree/{name}?reset", wait_until="domcontentloaded")
    expect(page.locator(".jp-Notebook .jp-Cell").first).to_be_visible(timeout=60_000)
    page.wait_for_function(CONNECTED, timeout=60_000)


def run_all(page: Page, seconds: float = 180) -> None:
    """Run > Run All Cells, and wait until every cell has run.

    Raises: AssertionError where a cell raises; playwright's TimeoutError after `seconds`.
    """
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(f"() => ({STATE})().done", timeout=seconds * 1000)
    errors = page.evaluate(STATE)["errors"]
    assert not errors, errors


def run_whole(page: Page, lab: LabServer, notebook: Path) -> None:
    """Open a copy of a notebook and run all of it; Lab saves what it opens, so the original is left alone."""
    (lab.notebooks / notebook.name).write_text(notebook.read_text(encoding="utf-8"), encoding="utf-8")
    open_notebook(page, lab.url, notebook.name)
    run_all(page)


def run_tagged(page: Page, lab: LabServer, notebook: Path) -> None:
    """The same with the cells tagged `setup` and `browser` alone, so that the tests need not train everything twice."""
    copy = lab.notebooks / f"{notebook.stem}_tagged.ipynb"
    nbformat.write(tagged(nbformat.read(notebook, as_version=4)), copy)
    open_notebook(page, lab.url, copy.name)
    run_all(page)


# Runs a cell put at the end of the notebook, and gives what it printed.
RUN_CELL = """async source => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    const run = name => window.jupyterapp.commands.execute(`notebook:${name}`);
    notebook.activeCellIndex = notebook.widgets.length - 1;
    await run('insert-cell-below');
    notebook.activeCell.model.sharedModel.setSource(source);
    await run('run-cell');
    const outputs = notebook.widgets.at(-1).model.outputs.toJSON();
    const error = outputs.find(output => output.output_type === 'error');
    if (error) throw new Error(`${error.ename}: ${error.evalue}`);
    return outputs.filter(output => output.output_type === 'stream').map(output => output.text).flat().join('');
}"""


def run_cell(page: Page, source: str) -> str:
    """Add a cell at the notebook's end, run it, and return what it printed. Raises: playwright's Error if it raises."""
    printed: str = page.evaluate(RUN_CELL, source)
    return printed


def tagged(notebook: NotebookNode) -> NotebookNode:
    """The notebook without the code cells that are tagged neither `setup` nor `browser`.

    Raises: ValueError where none is tagged `browser`.
    """
    kept = [cell for cell in notebook.cells if {"setup", "browser"} & set(cell.metadata.get("tags", []))]
    if not any("browser" in cell.metadata.tags for cell in kept):
        raise ValueError('no cell is tagged "browser"')
    return nbformat.v4.new_notebook(cells=kept, metadata=notebook.metadata)


def write_notebook(path: Path, *cells: tuple[str, str]) -> Path:
    """A notebook of code cells, each given as (tag, source)."""
    made = [nbformat.v4.new_code_cell(source, metadata={"tags": [tag]}) for tag, source in cells]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel}), path)
    return path


def change_theme(page: Page, theme: str) -> None:
    """Go over to "light" or "dark"; Lab keeps that for the tests that follow, and covers itself for a moment."""
    change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
    page.evaluate(change, f"JupyterLab {theme.title()}")
    expect(page.locator("#jupyterlab-splash")).to_have_count(0)


def screenshot(page: Page, name: str) -> Path:
    """Keep the page as build/screenshots/NAME.png, to be looked at."""
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path)
    return path
