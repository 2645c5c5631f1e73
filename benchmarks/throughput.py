"""Pictures a second, data loading included: the course's loop against the loop as it is commonly written.

    python benchmarks/throughput.py [--presets NAME ...] [--threads N ...] [--repeats N] [--redraw]

Both sides have the same networks, batch and number of pictures (benchlib/presets.py). The copied loop
(benchlib/copied.py) reads picture files or PIL images through torchvision's transforms and a DataLoader, with as many
workers as the script has that it follows and with none: what counts is the faster of the two. The course's loop is
`training.Run` with data in memory as tensors and the speed-ups that suit a CPU; gpu.py does this on a GPU. It has two
rows: "same rule" is a strategy with the same gradients, "best" the cheapest of the course whose score after as many
pictures is no worse, which benchmarks/throughput_scores.py finds out: a preset's candidate where it is, else that of
the first row.

Every turn is a process of its own, since what tells the allocator to keep memory cannot be taken back; the sides take
turns, there and back (A B B A), and each round gives one ratio. A process is measured after its warm-up.
"""

import argparse
import dataclasses
import itertools
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

import throughput_scores
from benchlib.machine import machine
from benchlib.presets import PRESETS, Preset
from benchlib.results import Result, draw, parser, read, spread, stem, table, verdict, with_ending, write

SIDES = ("copied", "copied, no workers", "same rule", "best")
COPIED, OURS = SIDES[:2], SIDES[2:]
CLOCK = time.perf_counter
TARGETS = {  # pictures a second against the copied loop's, by kind
    "same rule": {"dcgan": 1.15, "pix2pix": 1.1, "cyclegan": 1.25},
    "best": {"dcgan": 1.4, "pix2pix": 1.2, "cyclegan": 1.3},
}


def turn_copied(preset: Preset, folder: Path, workers: int) -> float:
    """Pictures a second of the copied loop."""
    config: Any = preset.config(preset.load(folder), "cpu")
    model = preset.common(config.start(config.data))
    loop, log = preset.copied_loop(model, getattr(config, "z_dim", 0), "cpu"), []
    batches = iter(preset.loader(folder, workers))
    loop(itertools.islice(batches, preset.warm), log)
    start = CLOCK()
    loop(itertools.islice(batches, preset.steps), log)
    return preset.batch_size * preset.steps / (CLOCK() - start)  # the last `.item()` has waited


def turn_ours(preset: Preset, folder: Path, changes: dict[str, Any]) -> float:
    """Pictures a second of the course's loop."""
    from gantutor.scale import speed

    speed.keep_memory()
    config: Any = preset.config(preset.load(folder), "cpu", **changes)
    run = config.start(config.data)
    speed.set_speed(run, speed.recommended("cpu", run.model))
    for _ in range(preset.warm):
        run.step()
    run.check()
    start = CLOCK()
    for _ in range(preset.steps):
        run.step()
    run.check()
    return preset.batch_size * preset.steps / (CLOCK() - start)


def turn(side: str, preset: Preset, folder: Path) -> float:
    """One turn in this process."""
    if side in COPIED:
        return turn_copied(preset, folder, preset.workers if side == "copied" else 0)
    changes = preset.same if side == "same rule" else preset.best
    return turn_ours(preset, folder, changes)


def turn_apart(side: str, name: str, folder: Path, threads: int, out: Path) -> float:
    """One turn in a process of its own."""
    command = [sys.executable, __file__, "--turn", side, name, str(folder), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "TQDM_DISABLE": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def settled(name: str, scores: Result) -> Preset:
    """The preset; its `best` is `same` unless its scores are there and no worse."""
    found = throughput_scores.no_worse(scores, name)
    preset = PRESETS[name]
    return preset if found and all(found.values()) else dataclasses.replace(preset, best=preset.same)


def scores_in(out: Path) -> Result:
    """What throughput_scores.py has found so far."""
    path = stem(out, throughput_scores.NAME)
    return read(path) if with_ending(path, ".json").exists() else {"rows": []}


def sides_of(preset: Preset) -> list[str]:
    """A side that would repeat another is left out."""
    left_out = {"copied, no workers"} if preset.workers == 0 else set()
    left_out |= {"best"} if preset.best == preset.same else set()
    return [side for side in SIDES if side not in left_out]


def measured(name: str, threads: int, repeats: int, folder: Path, out: Path) -> Result:
    """The pictures a second of each side, turn by turn."""
    preset = settled(name, scores_in(out))
    preset.prepare(folder)
    sides = sides_of(preset)
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(repeats):
        for side in sides if number % 2 == 0 else reversed(sides):
            rates[side].append(turn_apart(side, name, folder, threads, out))
    return {
        "preset": name,
        "label": preset.label,
        "kind": preset.kind,
        "threads": threads,
        "batch_size": preset.batch_size,
        "steps": preset.steps,
        "workers": preset.workers,
        "same": preset.same,
        "best": preset.best,
        "rates": {side: [round(rate, 3) for rate in values] for side, values in rates.items()},
    }


def reference(row: Result) -> str:
    """The copied loop's faster way."""
    there = [side for side in COPIED if side in row["rates"]]
    return max(there, key=lambda side: statistics.median(row["rates"][side]))


def ratios(row: Result, side: str) -> list[float]:
    """Of a side's turns to those of the copied loop in the same round; "best" is "same rule" where they are one."""
    rates = row["rates"].get(side) or row["rates"]["same rule"]
    return [ours / theirs for ours, theirs in zip(rates, row["rates"][reference(row)], strict=True)]


def targets(row: Result) -> dict[str, float]:
    """What each side of a row should reach."""
    return {side: by_kind[row["kind"]] for side, by_kind in TARGETS.items()}


def text(result: Result) -> str:
    rows, judged = [], ""
    for row in result["rows"]:
        fastest = reference(row)
        workers = f"{row['workers'] if fastest == 'copied' else 0} workers"
        found = [spread(ratios(row, side)) for side in OURS]
        rows.append(
            [
                row["label"],
                row["threads"],
                f"{spread(row['rates'][fastest], 1)}, {workers}",
                *found,
                told(row, result["scores"]),
            ]
        )
        for side, target in targets(row).items():
            name = f"{row['label']}, {row['threads']} threads, {side}".replace("1 threads", "1 thread")
            judged += verdict(name, statistics.median(ratios(row, side)), target)
    rounds = " to ".join(map(str, sorted({len(row["rates"]["same rule"]) for row in result["rows"]})))
    head = ["", "threads", "copied loop, pictures/s", *OURS, "best is"]
    return (
        "# Throughput\n\nPictures a second, data loading included, as a ratio to the copied loop's: median (lowest to "
        f"highest) of {rounds} rounds.\n\n{table(head, rows)}\n{judged}"
    )


def told(row: Result, scores: Result) -> str:
    """The best strategy, and whether its score is no worse."""
    found = throughput_scores.no_worse(scores, row["preset"])
    worse = [name for name, fine in found.items() if not fine]
    judged = f"worse in {', '.join(worse)}" if worse else f"{', '.join(found)} no worse" if found else "not scored"
    candidate = PRESETS[row["preset"]].best
    if row["best"] != row["same"]:
        return f"{spelled(row['best'])} ({judged})"
    return "the same" if candidate == row["same"] else f"the same ({spelled(candidate)}: {judged})"


def spelled(changes: dict[str, Any]) -> str:
    return ", ".join(value if name == "strategy" else f"{name} {value}" for name, value in changes.items())


def paint(result: Result) -> Any:
    import matplotlib.pyplot as plt

    from gantutor.plots import COLOURS

    shown = {"same rule": COLOURS["G"], "best": COLOURS["D"]}
    rows, names = result["rows"], list(shown)
    figure, ax = plt.subplots(figsize=(8, 1 + 0.55 * len(rows)))
    for place, row in enumerate(rows):
        for number, side in enumerate(names):
            values, y = ratios(row, side), place + 0.28 * (number - (len(names) - 1) / 2)
            ax.plot([min(values), max(values)], [y, y], color=shown[side])
            ax.plot(statistics.median(values), y, "o", color=shown[side], label=side if place == 0 else None)
            if side in targets(row):
                label = "target" if place == number == 0 else None
                ax.plot(targets(row)[side], y, "|", ms=11, mew=2, color=COLOURS["ink"], label=label)
    ax.axvline(1, color=COLOURS["ink"], lw=1)
    labels = [f"{row['label']}, {row['threads']} thread{'s' * (row['threads'] > 1)}" for row in rows]
    ax.set_yticks(range(len(rows)), labels)
    ax.invert_yaxis()
    ax.set(xlabel="pictures a second, copied loop = 1 (line: lowest to highest)")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def main(options: Sequence[str] | None = None) -> None:
    made = parser(__doc__, repeats=5)
    made.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    made.add_argument("--threads", nargs="+", type=int, default=[2, 1], help="torch's threads, the same for both sides")
    made.add_argument("--turn", nargs=3, help=argparse.SUPPRESS)
    arguments = made.parse_args(options)
    if arguments.turn:
        side, name, folder = arguments.turn
        print(json.dumps(turn(side, settled(name, scores_in(arguments.out)), Path(folder))))
        return
    path = stem(arguments.out, "throughput")
    if not arguments.redraw:
        result: Result = {"machine": machine("cpu", arguments.threads), "rows": []}
        for threads, name in itertools.product(arguments.threads, arguments.presets):
            with tempfile.TemporaryDirectory() as folder:
                result["rows"].append(measured(name, threads, arguments.repeats, Path(folder), arguments.out))
            write(path, result)
            print(f"{name}, {threads} threads: done", flush=True)
    draw(path, {**read(path), "scores": scores_in(arguments.out)}, text, paint)


if __name__ == "__main__":
    main()
