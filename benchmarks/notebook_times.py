"""How long each notebook takes from top to bottom, and which of its cells take the longest.

    python benchmarks/notebook_times.py [--notebooks 00 01 ...] [--repeats N] [--redraw]

Each notebook runs in a kernel of its own, in its own folder, as `pytest --nbval` runs it; with one torch thread unless
OMP_NUM_THREADS says otherwise, as the tests have it. The budget is 2 minutes on two cores, 3 for pix2pix and CycleGAN.
"""

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from benchlib.machine import machine
from benchlib.results import Result, draw, parser, read, spread, stem, table, verdict, write
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
SLOWEST = 3
LONGER = {"04": 3.0, "05": 3.0}  # minutes; the others have
BUDGET = 2.0


def found() -> dict[str, Path]:
    """The notebooks by their number."""
    return {path.name[:2]: path for path in sorted(NOTEBOOKS.glob("*.ipynb"))}


def executed(path: Path) -> list[float]:
    """Run a notebook: the seconds of each of its cells. Raises: CellExecutionError where one fails."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": path.parent}})
    spent = []
    with client.setup_kernel():
        for place, cell in enumerate(notebook.cells):
            start = time.perf_counter()
            client.execute_cell(cell, place)
            spent.append(round(time.perf_counter() - start, 3))
    return spent


def measured(path: Path, repeats: int) -> Result:
    """The seconds of a notebook's cells in each run."""
    cells = nbformat.read(path, as_version=4).cells
    return {
        "notebook": path.stem,
        "cells": [first_line(cell) for cell in cells],
        "seconds": [executed(path) for _ in range(repeats)],
    }


def first_line(cell: Any) -> str:
    """What a cell is known by: the line of its last statement's beginning is mostly a call, so the last unindented."""
    if cell.cell_type != "code":
        return ""
    lines = [line for line in cell.source.splitlines() if line[:1] not in ("", " ", "#", ")", "]", "}")]
    return lines[-1] if lines else ""


def slowest(row: Result) -> list[tuple[float, int]]:
    """The median seconds and the places of the cells that take the longest."""
    medians = [statistics.median(runs) for runs in zip(*row["seconds"], strict=True)]
    return sorted(((spent, place) for place, spent in enumerate(medians)), reverse=True)[:SLOWEST]


def minutes(row: Result) -> list[float]:
    return [sum(run) / 60 for run in row["seconds"]]


def text(result: Result) -> str:
    rows, judged = [], ""
    for row in result["rows"]:
        cells = "; ".join(f"{spent:.1f} s, cell {place}: `{row['cells'][place]}`" for spent, place in slowest(row))
        rows.append([row["notebook"], spread(minutes(row)), cells.replace("|", "\\|")])
        budget = LONGER.get(row["notebook"][:2], BUDGET)
        judged += verdict(f"{row['notebook']}, minutes", statistics.median(minutes(row)), high=budget)
    return f"# Notebooks\n\n{table(['', 'minutes', 'slowest cells'], rows)}\n{judged}\n"


def paint(result: Result) -> Any:
    import matplotlib.pyplot as plt

    from gantutor.plots import COLOURS

    rows = result["rows"]
    figure, ax = plt.subplots(figsize=(8, 0.9 + 0.4 * len(rows)))
    for place, row in enumerate(rows):
        left = 0.0
        for spent, cell in slowest(row):
            ax.barh(place, spent / 60, left=left, color=COLOURS["G"], edgecolor="white")
            ax.text(left + spent / 120, place, str(cell), ha="center", va="center", fontsize=7, clip_on=True)
            left += spent / 60
        ax.barh(place, max(statistics.median(minutes(row)) - left, 0), left=left, color=COLOURS["faint"])
        budget = LONGER.get(row["notebook"][:2], BUDGET)
        ax.plot([budget, budget], [place - 0.4, place + 0.4], color=COLOURS["ink"], lw=2, ls=":")
    ax.set_yticks(range(len(rows)), [row["notebook"] for row in rows])
    ax.invert_yaxis()
    ax.set(xlabel="minutes: the slowest cells (with their place), the others in grey (dotted: budget)")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    made = parser(__doc__, repeats=1)
    made.add_argument("--notebooks", nargs="+", choices=found(), default=list(found()))
    options = made.parse_args(arguments)
    path = stem(options.out, "notebook_times")
    if not options.redraw:
        result: Result = {"machine": machine(threads=[int(os.environ["OMP_NUM_THREADS"])]), "rows": []}
        for number in options.notebooks:
            result["rows"].append(measured(found()[number], options.repeats))
            write(path, result)
    draw(path, read(path), text, paint)


if __name__ == "__main__":
    main()
