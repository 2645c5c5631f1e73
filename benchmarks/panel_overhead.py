"""What the live panel costs: training steps a second with it and without it, and how soon a toggle is seen.

    python benchmarks/panel_overhead.py [--json FILE]

Both sides train in a thread of their own, by the same Runner: one under a Lab whose messages are packed and signed as
for a browser, the other with nothing to show. They take turns on the same machine in the same process, and each pair of
turns gives one ratio, by the clock, and by CPU time for a machine that others use as well. What the browser adds, 6 to
12 ms to draw a frame, is not in it. Targets: at most 5 % on digits; toggle to picture in 150 ms (median).

The allocator is told to keep what is freed. By default glibc hands a thread's memory back after a step and fetches it
again in the next, 2 to 5 ms of page faults on digits, unless something else lies on top of it. The panel's figures do,
so that the loop without a panel came out slower than the one with it.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import threading
import time
from typing import Any

import comm
import torch
from comm.base_comm import BaseComm
from jupyter_client.session import Session

from gantutor.experiment import Experiment
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
    tick = runner.tick

    def timed() -> None:
        tick()
        ends.append((time.perf_counter(), time.process_time()))

    runner.tick = timed
    runner.play()
    time.sleep(seconds)
    runner.pause()
    runner.wait()
    runner.tick = tick
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


def overhead(data: str, pairs: int, seconds: float) -> dict[str, float]:
    """Steps a second with the panel and without, in turns."""
    experiment = Experiment(data=data)
    lab = Lab(experiment, name="panel")
    frames = Frames(lab)
    plain = experiment.start()
    bare = Runner("plain", plain.tick, lambda last: None, lambda state: None)
    times: dict[str, list[tuple[float, float]]] = {"panel": [], "plain": []}
    turn(bare, 0.5), turn(lab.runner, 0.5)  # warm up
    frames.count, frames.spent_s, played_s = 0, 0.0, 0.0
    for number in range(pairs):
        for side in ("panel", "plain") if number % 2 else ("plain", "panel"):
            start = time.perf_counter()
            times[side].append(turn(lab.runner if side == "panel" else bare, seconds))
            played_s += time.perf_counter() - start if side == "panel" else 0.0
    lab.close()
    bare.close()
    turns = list(zip(times["panel"], times["plain"], strict=True))
    costs = [1 - plain[0] / panel[0] for panel, plain in turns]  # of the steps a second, how many are lost
    return {
        "steps_per_s_plain": 1 / statistics.median(plain for plain, _ in times["plain"]),
        "steps_per_s_panel": 1 / statistics.median(panel for panel, _ in times["panel"]),
        "overhead": statistics.median(costs),
        "overhead_cpu": statistics.median(1 - plain[1] / panel[1] for panel, plain in turns),
        "overhead_lowest": min(costs),
        "overhead_highest": max(costs),
        "frames_per_s": frames.count / played_s,
        "frame_ms": 1000 * frames.spent_s / frames.count,
        "share_in_frames": frames.spent_s / played_s,
    }


def latency(data: str, toggles: int) -> dict[str, float]:
    """Seconds from a control's move until the picture is painted that shows it, while the panel plays."""
    lab = Lab(Experiment(data=data), name="panel")
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
    return {
        "median_s": statistics.median(waited),
        "p95_s": statistics.quantiles(waited, n=20)[-1],
        "worst_s": max(waited),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", help="write the numbers to this file, too")
    parser.add_argument("--pairs", type=int, default=12, help="turns of each side on digits")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a turn")
    arguments = parser.parse_args()
    if os.environ.keys().isdisjoint(KEEP_MEMORY):  # read once, when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})
    comm.create_comm = Wire

    result: dict[str, Any] = {
        "machine": {
            "cores": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        },
        "overhead": {
            "digits": overhead("digits", arguments.pairs, arguments.seconds),
            "ring": overhead("ring", max(2, arguments.pairs // 2), arguments.seconds / 2),
        },
        "latency": {data: latency(data, 40) for data in ("digits", "ring")},
    }
    machine = result["machine"]
    print(
        f"{machine['cores']} cores, {machine['torch_threads']} torch threads, torch {machine['torch']}, "
        f"load {machine['load_average']:.1f} at the start\n"
        f"{'':8}{'steps/s':>9}{'panel':>9}{'costs (lowest to highest)':>28}{'in CPU time':>13}"
        f"{'frames/s':>10}{'ms/frame':>10}{'in frames':>11}"
    )
    for data, row in result["overhead"].items():
        span = f"{row['overhead']:.1%} ({row['overhead_lowest']:.1%} to {row['overhead_highest']:.1%})"
        print(
            f"{data:8}{row['steps_per_s_plain']:9.1f}{row['steps_per_s_panel']:9.1f}{span:>28}{row['overhead_cpu']:13.1%}"
            f"{row['frames_per_s']:10.1f}{row['frame_ms']:10.1f}{row['share_in_frames']:11.1%}"
        )
    for data, row in result["latency"].items():
        numbers = " · ".join(f"{name[:-2]} {1000 * value:.0f} ms" for name, value in row.items())
        print(f"toggle to picture, {data}: {numbers}")
    digits, slowest = (
        result["overhead"]["digits"]["overhead"],
        max(row["median_s"] for row in result["latency"].values()),
    )
    print(f"overhead on digits at most {TARGET_OVERHEAD:.0%}: {'yes' if digits <= TARGET_OVERHEAD else 'NO'}")
    print(f"toggle to picture below {1000 * TARGET_LATENCY_S:.0f} ms: {'yes' if slowest < TARGET_LATENCY_S else 'NO'}")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
