"""What reading ahead is worth: a batch of a folder of pictures right after the last one, and after a pause.

    python benchmarks/folder.py [--repeats N] [--redraw]

Training is the pause: while a step is taken, the workers read the next batch. Here a repeat sleeps instead, so that
the cores are free. "read now" is a batch that could not be guessed: `Folder.sample` from a generator of its own.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchlib.machine import machine
from benchlib.results import Result, draw, parser, read, spread, stem, table, verdict, write

from gantutor.batches import Batches
from gantutor.data import Folder
from gantutor.data.own_images import WORKERS, find_images

PICTURES, SIDE, SIZE, BATCH = 256, 256, 64, 64
PAUSE_S = 1.0
KINDS = ("read now", "right after the last", "after a pause")


def save_pictures(folder: Path, count: int) -> None:
    """JPEG files of smooth noise, as large as a photograph of that size."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{number:04}.jpg", quality=90)


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 6)


def measured(repeats: int, count: int = PICTURES, size: int = BATCH, pause: float = PAUSE_S) -> dict[str, list[float]]:
    """The seconds of each kind of batch; a first round, which starts the workers, does not count."""
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as path:
        save_pictures(Path(path), count)
        folder = Folder("pictures", find_images(Path(path)), SIZE, 3, torch.device("cpu"), WORKERS)
        batches, generator = Batches(folder, size, 8, seed=0), torch.Generator().manual_seed(1)
        for number in range(repeats + 1):
            found = {"read now": seconds(lambda: folder.sample(size, generator))}
            next(batches)
            found["right after the last"] = seconds(lambda: next(batches))
            time.sleep(pause)
            found["after a pause"] = seconds(lambda: next(batches))
            time.sleep(pause)  # the guess after it is read, too: the next round begins with workers that wait
            if number:
                for kind, spent in found.items():
                    times[kind].append(spent)
    return times


def share(times: dict[str, list[float]]) -> float:
    """What a batch after a pause takes of one without: the median over the rounds of their ratio."""
    ratios = [paused / plain for paused, plain in zip(times[KINDS[2]], times[KINDS[1]], strict=True)]
    return float(np.median(ratios))


def text(result: Result) -> str:
    times = result["seconds"]
    rows = [[kind, spread([1000 * value for value in values])] for kind, values in times.items()]
    return (
        f"# Reading ahead\n\nBatches of {result['batch']}, JPEG files of {result['side']} pixels read as "
        f"{result['size']}, {result['workers']} workers.\n\n{table(['a batch', 'ms'], rows)}\n"
        f"{verdict('after a pause, of one without', share(times), high=0.1)}"
    )


def paint(result: Result) -> Any:
    import matplotlib.pyplot as plt

    from gantutor.plots import COLOURS

    times = result["seconds"]
    figure, ax = plt.subplots(figsize=(8, 2))
    ax.barh(range(len(times)), [1000 * np.median(values) for values in times.values()], color=COLOURS["D"])
    for place, values in enumerate(times.values()):
        ax.plot([1000 * min(values), 1000 * max(values)], [place, place], color=COLOURS["ink"], lw=1)
    ax.set_yticks(range(len(times)), list(times))
    ax.invert_yaxis()
    ax.set(xlabel="milliseconds a batch (line: lowest to highest)")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=15).parse_args(arguments)
    path = stem(options.out, "folder")
    if not options.redraw:
        what = {"batch": BATCH, "side": SIDE, "size": SIZE, "workers": WORKERS}
        write(path, {"machine": machine(), **what, "seconds": measured(options.repeats)})
    draw(path, read(path), text, paint)


if __name__ == "__main__":
    main()
