"""How long it takes to start: `import gantutor`, the notebooks' first imports and the command line, against torch.

    python benchmarks/start_up.py [--repeats N] [--redraw]

Each is a process of its own, and each round has one of every kind, there and back; a ratio is to `import torch` alone
in the same round. A notebook's first imports are those of its first code cell that imports something.
"""

import ast
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchlib.machine import machine
from benchlib.results import Result, draw, parser, read, spread, stem, table, write

ROOT = Path(__file__).parent.parent
TORCH = "import torch"


def starts() -> dict[str, list[str]]:
    """What Python is called with, by what the table calls it."""
    found = {
        TORCH: ["-c", TORCH],
        "import gantutor": ["-c", "import gantutor"],
        **{f"{path.stem}, first imports": ["-c", first_imports(path)] for path in notebooks()},
    }
    if (ROOT / "gantutor" / "__main__.py").exists():
        found["python -m gantutor --help"] = ["-m", "gantutor", "--help"]
    return found


def notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def first_imports(path: Path) -> str:
    """The import lines of the first cell that has any."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            lines = "\n".join(line for line in "".join(cell["source"]).splitlines() if not line.startswith("%"))
            imports = [node for node in ast.parse(lines).body if isinstance(node, ast.Import | ast.ImportFrom)]
            if imports:
                return "\n".join(map(ast.unparse, imports))
    return ""


def seconds(arguments: Sequence[str], folder: str) -> float:
    """The time of one process, in a folder with nothing in it."""
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def measured(found: dict[str, list[str]], repeats: int) -> dict[str, list[float]]:
    """The seconds of each; a first round, which fills the file cache, does not count."""
    times: dict[str, list[float]] = {name: [] for name in found}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repeats + 1):
            for name in list(found)[:: 1 if number % 2 else -1]:
                spent = seconds(found[name], folder)
                if number:
                    times[name].append(round(spent, 4))
    return times


def ratios(times: dict[str, list[float]], name: str) -> list[float]:
    return [mine / alone for mine, alone in zip(times[name], times[TORCH], strict=True)]


def text(result: Result) -> str:
    times = result["seconds"]
    rows = [[name, spread(values), spread(ratios(times, name))] for name, values in times.items()]
    return f"# Starting\n\n{table(['', 'seconds', f'of {TORCH}'], rows)}\n"


def paint(result: Result) -> Any:
    import matplotlib.pyplot as plt

    from gantutor.plots import COLOURS

    times = result["seconds"]
    figure, ax = plt.subplots(figsize=(8, 0.8 + 0.35 * len(times)))
    ax.barh(range(len(times)), [statistics.median(values) for values in times.values()], color=COLOURS["D"])
    for place, values in enumerate(times.values()):
        ax.plot([min(values), max(values)], [place, place], color=COLOURS["ink"], lw=1)
    ax.set_yticks(range(len(times)), list(times))
    ax.invert_yaxis()
    ax.set(xlabel="seconds (line: lowest to highest)")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=5).parse_args(arguments)
    path = stem(options.out, "start_up")
    if not options.redraw:
        write(path, {"machine": machine(), "seconds": measured(starts(), options.repeats)})
    draw(path, read(path), text, paint)


if __name__ == "__main__":
    main()
