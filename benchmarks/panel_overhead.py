"""What the live panel costs: training steps a second with it and without it, and how soon a toggle is seen.

    python benchmarks/panel_overhead.py [--repeats N] [--seconds N] [--redraw]

Both sides train in a thread of their own, by the same Runner: one under a Lab whose messages are packed and signed as
for a browser, the other with nothing to show. They take turns on the same machine in the same process, and each pair of
turns gives one ratio, by the clock, and by CPU time for a machine that others use as well. What the browser adds, 6 to
12 ms to draw a frame, is not in it. Targets: at most 5 % on digits; toggle to picture in 150 ms (median).

The allocator is told to keep what is freed. By default glibc hands a thread's memory back after a step and fetches it
again in the next, 2 to 5 ms of page faults on digits, unless something else lies on top of it. The panel's figures do,
so that the loop without a panel came out slower than the one with it.
"""

import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import comm
from benchlib.machine import machine
from benchlib.results import Result, draw, parser, read, stem, table, verdict, write
from comm.base_comm import BaseComm
from jupyter_client.session import Session

from gantutor.configs import GANConfig
from gantutor.lab import Lab
from gantutor.lab.runner import Runner

KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_ARENA_MAX": "1"}
TARGET_OVERHEAD, TARGET_LATENCY_S = 0.05, 0.150


class Wire(BaseComm):  # type: ignore[misc]
    """A comm that packs and signs every message, and then has nobody to send it to."""

    session = Session(key=b"benchmark")

    def publish_msg(self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **_: Any) -> None:
        content = {"data": data or {}, "comm_id": self.comm_id}
        self.session.serialize(self.session.msg(msg_type, content=content, metadata=metadata))
        b"".join(buffers or [])


def turn(runner: Runner, seconds: float) -> tuple[float, float]:
    """Play for so long: seconds a step, by the clock and by CPU time, from the first step's end to the last one's."""
    ends: list[tuple[float, float]] = []
    step = runner.step

    def timed() -> None:
        step()
        ends.append((time.perf_counter(), time.process_time()))

    runner.step = timed
    runner.play()
    time.sleep(seconds)
    runner.pause()
    runner.wait()
    runner.step = step
    (first, first_cpu), (last, last_cpu) = ends[0], ends[-1]
    return (last - first) / (len(ends) - 1), (last_cpu - first_cpu) / (len(ends) - 1)


class Frames:
    """Counts and times a lab's frames, and tells when the first one after a change has been painted."""

    def __init__(self, lab: Lab) -> None:
        self.count, self.spent_s = 0, 0.0
        self.applied, self.painted = threading.Event(), threading.Event()
        self._paint = lab.runner.on_frame
        lab.runner.on_frame = self._on_frame
        lab.status.observe(lambda _: self.applied.set(), "value")

    def _on_frame(self, last: bool) -> None:
        start = time.perf_counter()
        self._paint(last)
        self.count += 1
        self.spent_s += time.perf_counter() - start
        if self.applied.is_set():
            self.painted.set()


def overhead(data: str, pairs: int, seconds: float) -> Result:
    """Steps a second with the panel and without, in turns."""
    experiment = GANConfig(data=data)
    lab = Lab(experiment, name="panel")
    frames = Frames(lab)
    plain = experiment.start()
    plain_runner = Runner("plain", plain.step, lambda last: None, lambda state: None)
    times: dict[str, list[tuple[float, float]]] = {"panel": [], "plain": []}
    turn(plain_runner, 0.5), turn(lab.runner, 0.5)  # warm up
    frames.count, frames.spent_s, played_s = 0, 0.0, 0.0
    for number in range(pairs):
        for side in ("panel", "plain") if number % 2 else ("plain", "panel"):
            start = time.perf_counter()
            times[side].append(turn(lab.runner if side == "panel" else plain_runner, seconds))
            played_s += time.perf_counter() - start if side == "panel" else 0.0
    lab.close()
    plain_runner.close()
    turns = list(zip(times["panel"], times["plain"], strict=True))
    costs = [1 - plain[0] / panel[0] for panel, plain in turns]  # of the steps a second, how many are lost
    return {
        "steps_per_s_plain": 1 / statistics.median(plain for plain, _ in times["plain"]),
        "steps_per_s_panel": 1 / statistics.median(panel for panel, _ in times["panel"]),
        "overhead": costs,
        "overhead_cpu": [1 - plain[1] / panel[1] for panel, plain in turns],
        "frames_per_s": frames.count / played_s,
        "frame_ms": 1000 * frames.spent_s / frames.count,
        "share_in_frames": frames.spent_s / played_s,
    }


def latency(data: str, toggles: int) -> list[float]:
    """Seconds, of each toggle, from the control's move until the picture that shows it is painted, while it plays."""
    lab = Lab(GANConfig(data=data), name="panel")
    frames = Frames(lab)
    turn(lab.runner, 0.5)
    lab.runner.play()
    lab.runner.wait()
    pauses, waited = random.Random(0), []
    for number in range(toggles):
        time.sleep(pauses.uniform(0.02, 0.2))
        frames.applied.clear()
        frames.painted.clear()
        start = time.perf_counter()
        lab.set(loss=("minimax", "non-saturating")[number % 2])
        if not frames.painted.wait(10):
            raise TimeoutError("no frame followed the toggle")
        waited.append(time.perf_counter() - start)
    lab.close()
    return waited


def share(values: Sequence[float]) -> str:
    """The median, and from the lowest to the highest, in per cent."""
    return f"{statistics.median(values):.1%} ({min(values):.1%} to {max(values):.1%})"


def text(result: Result) -> str:
    rows = [
        [data, f"{row['steps_per_s_plain']:.1f}", f"{row['steps_per_s_panel']:.1f}", share(row["overhead"]),
         share(row["overhead_cpu"]), f"{row['frames_per_s']:.1f}", f"{row['frame_ms']:.1f}"]
        for data, row in result["overhead"].items()
    ]  # fmt: skip
    head = ["", "steps/s", "with the panel", "lost", "lost, in CPU time", "frames/s", "ms a frame"]
    waits = [
        [data, *(f"{1000 * x:.0f}" for x in (statistics.median(waited), statistics.quantiles(waited, n=20)[-1]))]
        for data, waited in result["latency"].items()
    ]
    lost = statistics.median(result["overhead"]["digits"]["overhead"])
    slowest = max(statistics.median(waited) for waited in result["latency"].values())
    return (
        f"# What the live panel costs\n\n{table(head, rows)}\n"
        f"## From a toggle to the picture that shows it\n\n{table(['', 'ms, median', 'ms, 95 %'], waits)}\n"
        + verdict("lost on digits, %", 100 * lost, high=100 * TARGET_OVERHEAD, digits=1)
        + verdict("toggle to picture, ms", 1000 * slowest, high=1000 * TARGET_LATENCY_S, digits=0)
    )


def paint(result: Result) -> Any:
    import matplotlib.pyplot as plt

    from gantutor.plots import COLOURS

    figure, axes = plt.subplots(1, 2, figsize=(9, 2.4), sharey=True)
    lost = {data: [100 * x for x in row["overhead"]] for data, row in result["overhead"].items()}
    waited = {data: [1000 * x for x in values] for data, values in result["latency"].items()}
    shown = (
        (lost, "% of the steps/s that the panel costs", 100 * TARGET_OVERHEAD),
        (waited, "ms from a toggle to its picture", 1000 * TARGET_LATENCY_S),
    )
    for ax, (found, what, target) in zip(axes, shown, strict=True):
        for place, values in enumerate(found.values()):
            ax.plot(values, [place] * len(values), "o", ms=4, alpha=0.4, color=COLOURS["D"])
            ax.plot(statistics.median(values), place, "|", ms=16, mew=2, color=COLOURS["ink"])
        ax.axvline(target, color=COLOURS["fake"], lw=1)
        ax.set_yticks(range(len(found)), list(found))
        ax.set(xlabel=what, ylim=(-0.5, len(found) - 0.5))
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    made = parser(__doc__, repeats=12)
    made.add_argument("--seconds", type=float, default=1.5, help="of a turn on digits")
    options = made.parse_args(arguments)
    path = stem(options.out, "panel_overhead")
    if not options.redraw:
        if os.environ.keys().isdisjoint(KEEP_MEMORY):  # read once, when a process starts
            os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})
        comm.create_comm = Wire
        found = {
            "digits": overhead("digits", options.repeats, options.seconds),
            "ring": overhead("ring", max(2, options.repeats // 2), options.seconds / 2),
        }
        waited = {data: latency(data, 40) for data in found}
        write(path, {"machine": machine(), "overhead": found, "latency": waited})
    draw(path, read(path), text, paint)


if __name__ == "__main__":
    main()
