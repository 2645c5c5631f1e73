"""What each speed-up of `gantutor.scale.speed` is worth: a step's time against the plain one's, for all default configs

    python benchmarks/speed_ups.py [--repeats N] [--redraw]

On a CPU; gpu.py does it on a GPU. The runs of one config take turns in one process, there and back, and each round
gives one ratio to its plain turn. `gantutor.scale.speed.recommended` is chosen by this table. What "compile" needs to
get ready, with nothing on the disk from an earlier time, is a column of its own: it has to be won back. `keep_memory`
is called first, for all of them: a process cannot take it back. See throughput.py.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch
from benchlib.machine import machine
from benchlib.results import Result, draw, parser, read, spread, stem, table, write

from gantutor.configs import Config, CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.ledger.cost import wait
from gantutor.scale.speed import SPEED_UPS, check_speed, keep_memory, recommended, wait_until_ready
from gantutor.training import Run

CONFIGS: dict[str, Config] = {
    "DCGAN 28": GANConfig(),
    "pix2pix 64": Pix2PixConfig(),
    "CycleGAN 64": CycleGANConfig(),
}
TURN_S = 0.4  # a turn's length, roughly
PLAIN = "plain"


def tried() -> dict[str, tuple[str, ...]]:
    """The speed-ups to be measured, alone and together; instance norm gets "channels_last" here, too."""
    together = recommended("cpu")
    return {
        PLAIN: (),
        **{name: (name,) for name in SPEED_UPS},
        " + ".join(together): together,
        " + ".join((*together, "bf16")): (*together, "bf16"),
    }


def ready(config: Config, data: Any) -> tuple[Run, float]:
    """A run that is warm, and the seconds that its speed-ups needed to get ready."""
    run = config.start(data)
    run.step()
    start = time.perf_counter()
    wait_until_ready(run)
    spent = time.perf_counter() - start
    for _ in range(5):
        run.step()
    wait(data.device)
    return run, spent


def turn(run: Run, steps: int, device: torch.device) -> float:
    """Seconds a step."""
    start = time.perf_counter()
    for _ in range(steps):
        run.step()
    wait(device)
    return (time.perf_counter() - start) / steps


def measured(name: str, repeats: int) -> list[Result]:
    """A row for each speed-up that the config's run can have."""
    config = CONFIGS[name].replace(device="cpu")
    data = config.load()
    runs: dict[str, Run] = {}
    rows: list[Result] = []
    for speed, names in tried().items():
        try:
            check_speed(config.start(data), names)
        except ValueError:
            continue
        runs[speed], spent = ready(config.replace(speed=names), data)
        rows.append({"record": name, "speed": speed, "ready_s": round(spent, 2), "seconds": []})
    steps = max(2, round(TURN_S / turn(runs[PLAIN], 2, data.device)))
    for number in range(repeats):
        for row in rows[:: 1 if number % 2 else -1]:
            row["seconds"].append(turn(runs[row["speed"]], steps, data.device))
    return rows


def ratios(result: Result, row: Result) -> list[float]:
    """How many times the plain run's steps a second, round by round."""
    plain = next(r["seconds"] for r in result["rows"] if (r["record"], r["speed"]) == (row["record"], PLAIN))
    return [alone / mine for alone, mine in zip(plain, row["seconds"], strict=True)]


def text(result: Result) -> str:
    parts = ["# What the speed-ups are worth\n\n"]
    for name in dict.fromkeys(row["record"] for row in result["rows"]):
        cells = [
            [row["speed"], spread([1000 * x for x in row["seconds"]], 1), spread(ratios(result, row)), row["ready_s"]]
            for row in result["rows"]
            if row["record"] == name
        ]
        parts.append(f"## {name}\n\n{table(['', 'ms a step', 'times plain', 's to get ready'], cells)}\n")
    return "".join(parts)


def paint(result: Result) -> Any:
    import matplotlib.pyplot as plt

    from gantutor.plots import COLOURS

    names = list(dict.fromkeys(row["record"] for row in result["rows"]))
    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3.2), sharey=True, squeeze=False)
    speeds = list(dict.fromkeys(row["speed"] for row in result["rows"]))
    for ax, name in zip(axes[0], names, strict=True):
        for row in (row for row in result["rows"] if row["record"] == name):
            found, place = ratios(result, row), speeds.index(row["speed"])
            ax.barh(place, statistics.median(found), color=COLOURS["D" if row["speed"] != PLAIN else "real"])
            ax.plot([min(found), max(found)], [place, place], color=COLOURS["ink"], lw=1)
        ax.axvline(1, color=COLOURS["ink"], lw=0.5)
        ax.set_yticks(range(len(speeds)), speeds)
        ax.set(title=name, xlabel="times the plain run's steps a second")
    axes[0, 0].invert_yaxis()
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    made = parser(__doc__, repeats=9)
    made.add_argument("--configs", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    options = made.parse_args(arguments)
    path = stem(options.out, "speed_ups")
    if not options.redraw:
        keep_memory()
        with tempfile.TemporaryDirectory() as empty:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty
            rows = [row for name in options.configs for row in measured(name, options.repeats)]
        write(path, {"machine": machine(), "rows": rows})
    draw(path, read(path), text, paint)


if __name__ == "__main__":
    main()
