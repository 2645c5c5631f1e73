"""The files of a result: NAME.json holds the figures, NAME.md the table and NAME.png the plot, both made from it."""

import argparse
import json
import math
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchlib.machine import described, suffix
from gantutor.plots import house_style

RESULTS = Path(__file__).parent.parent / "results"

Result = dict[str, Any]
Painter = Callable[[Result], Any]  # to matplotlib's Figure


def parser(description: str | None, repeats: int = 0) -> argparse.ArgumentParser:
    """The options that all benchmarks have; no `--repeats` where the default is 0."""
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    if repeats:
        made.add_argument("--repeats", type=int, default=repeats, help=f"turns of each side (default {repeats})")
    made.add_argument("--redraw", action="store_true", help="measure nothing: table and plot from the figures there")
    made.add_argument("--out", type=Path, default=RESULTS, help="the folder for the figures, the table and the plot")
    return made


def stem(out: Path, name: str, device: str = "cpu") -> Path:
    """The files' path without an ending."""
    return out / (name + suffix(device))


def read(path: Path) -> Result:
    """The figures beside `path`. Raises: SystemExit where there are none."""
    source = with_ending(path, ".json")
    if not source.exists():
        raise SystemExit(f"{source.name} is not there: measure first, without --redraw")
    return dict(json.loads(source.read_text(encoding="utf-8")))


def write(path: Path, result: Result) -> None:
    """In one piece, so that whoever stops the script leaves whole figures."""
    target = with_ending(path, ".json")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = with_ending(path, ".part")
    part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(part, target)


def draw(path: Path, result: Result, text: Callable[[Result], str], paint: Painter) -> None:
    """Print the table, and keep it and the plot beside the figures."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    written = f"{text(result)}\n{described(result['machine'])}.\n"
    print(written)
    path.parent.mkdir(parents=True, exist_ok=True)
    with_ending(path, ".md").write_text(written, encoding="utf-8")
    house_style()
    figure = paint(result)
    figure.savefig(with_ending(path, ".png"), dpi=110)
    plt.close(figure)


def with_ending(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown, its columns as wide as they must be; the first is text, the others are figures."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * wide[0], *("-" * (width - 1) + ":" for width in wide[1:])]
    padded = [
        [line[0].ljust(wide[0]), *(cell.rjust(width) for cell, width in zip(line[1:], wide[1:], strict=True))]
        for line in [lines[0], rule, *lines[1:]]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded) + "\n"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median, and from the lowest to the highest."""
    middle, low, high = (f"{x:.{digits}f}" for x in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})" if len(values) > 1 else middle


def verdict(name: str, value: float, low: float = -math.inf, high: float = math.inf, digits: int = 2) -> str:
    """One line: a figure against its target, a bound or two; judged on the figure as it is printed."""
    shown = round(value, digits)
    bounds = (
        f"at least {low:g}" if high == math.inf else f"at most {high:g}" if low == -math.inf else f"{low:g} to {high:g}"
    )
    return f"- {name}: {shown:.{digits}f}, target {bounds}: {'reached' if low <= shown <= high else 'NOT reached'}\n"
