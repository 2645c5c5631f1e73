"""How fast the playground trains and draws in Chromium, with each strategy.

    python benchmarks/playground.py [--repeats N] [--seconds N] [--redraw]

The page plays at full speed, at batch 64, with everything drawn, in a window of 1366 x 768. Counted are the steps of
its worker, by the clock and, for a machine that others use as well, by the worker's CPU time; the frames of the page;
and how long after the start of loading the first frame of the run is there. Targets, on an idle machine: at least 250
steps a second, 60 frames a second, and something that moves within 2 seconds.
"""

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchlib.machine import machine
from benchlib.results import Result, draw, parser, read, spread, stem, table, verdict, write
from playwright.sync_api import sync_playwright

from gantutor.steps import STEPS

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "browser"))

TARGET_STEPS, TARGET_FRAMES, TARGET_START = 250, 60, 2
PROCESSES = Path("/proc")

# The steps and the frames of so many seconds, each a second, and the longest wait for a frame in milliseconds.
COUNT = """seconds => new Promise(resolve => {
  const steps = () => Number(document.body.dataset.steps), start = performance.now(), first = steps();
  let frames = 0, longest = 0, last = start;
  requestAnimationFrame(function look(now) {
    frames++;
    longest = Math.max(longest, now - last);
    last = now;
    const passed = (now - start) / 1000;
    if (passed < seconds) requestAnimationFrame(look);
    else resolve({ steps: (steps() - first) / passed, frames: frames / passed, longest });
  });
})"""


def measured(repeats: int, seconds: float) -> dict[str, list[dict[str, float]]]:
    """What COUNT gives for each strategy, in turns; each turn is a new page, which first warms up for two seconds."""
    from chromium import ARGUMENTS, CHROMIUM
    from playground_twin import DOCS, served

    if CHROMIUM is None:
        raise SystemExit("playground.py drives a Chromium, and there is none")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in STEPS}
    with served(DOCS) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for _ in range(repeats):
            for name in STEPS:
                page = browser.new_page(viewport={"width": 1366, "height": 768})
                opened = time.perf_counter()
                page.goto(f"{address}playground/#step={name}")
                page.wait_for_function("Number(document.body.dataset.steps) > 0")
                start = time.perf_counter() - opened
                page.wait_for_timeout(2000)
                before = worker_seconds()
                counted = page.evaluate(COUNT, seconds)
                spent = worker_seconds() - before
                counted |= {"start": start, "per_cpu": counted["steps"] * seconds / spent if spent else 0.0}
                found[name].append({what: round(value, 2) for what, value in counted.items()})
                page.close()
        browser.close()
    return found


def worker_seconds() -> float:
    """The CPU time of the workers of this process's Chromium; 0 where the system does not tell."""
    seconds = 0.0
    for process in children(os.getpid()):
        for task in (PROCESSES / str(process) / "task").glob("*"):
            name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
            if name.startswith("DedicatedWorker"):
                seconds += sum(map(int, rest.split()[11:13])) / os.sysconf("SC_CLK_TCK")
    return seconds


def children(process: int) -> set[int]:
    """The processes that a process has started, and theirs, and so on."""
    parents = {}
    for stat in PROCESSES.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found, fresh = set[int](), {process}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh}
        found |= fresh
    return found


COLUMNS = {
    "steps": "steps a second",
    "per_cpu": "steps a second of CPU time",
    "frames": "frames a second",
    "longest": "longest frame, ms",
    "start": "first frame of the run, s",
}


def text(result: Result) -> str:
    turns = result["turns"]
    rows = [
        [name, *(spread([turn[what] for turn in turns[name]], 1 if what == "start" else 0) for what in COLUMNS)]
        for name in turns
    ]
    head = table(["strategy", *COLUMNS.values()], rows)
    middle = {what: statistics.median(turn[what] for turn in turns["d_first_detach"]) for what in COLUMNS}
    judged = verdict("steps a second, d_first_detach", middle["steps"], TARGET_STEPS, digits=0)
    judged += verdict("steps a second of CPU time, d_first_detach", middle["per_cpu"], TARGET_STEPS, digits=0)
    judged += verdict("frames a second, d_first_detach", middle["frames"], TARGET_FRAMES, digits=0)
    judged += verdict("seconds to the first frame, d_first_detach", middle["start"], high=TARGET_START, digits=1)
    return f"# The playground in Chromium\n\n{head}\n{judged}\n"


def paint(result: Result) -> Any:
    import matplotlib.pyplot as plt

    from gantutor.plots import COLOURS

    turns = result["turns"]
    figure, ax = plt.subplots(figsize=(8, 0.8 + 0.35 * len(turns)))
    middles = [statistics.median(turn["steps"] for turn in found) for found in turns.values()]
    ax.barh(range(len(turns)), middles, color=COLOURS["ink"])
    ax.axvline(TARGET_STEPS, ls="--", lw=1, color=COLOURS["faint"])
    ax.set_yticks(range(len(turns)), list(turns))
    ax.invert_yaxis()
    ax.set(xlabel="steps a second in Chromium (dashed: the target)")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=3)
    options.add_argument("--seconds", type=float, default=4, help="how long to count (default 4)")
    chosen = options.parse_args(arguments)
    path = stem(chosen.out, "playground")
    if not chosen.redraw:
        write(path, {"machine": machine(), "turns": measured(chosen.repeats, chosen.seconds)})
    draw(path, read(path), text, paint)


if __name__ == "__main__":
    main()
