"""What a GPU makes of the course, in one command of at most five minutes: does it work, how fast is it, what pays?

    make gpu [GPU_ARGS="--parts nets frames --out FOLDER"]
    python benchmarks/gpu.py [--parts NAME ...] [--out FOLDER] [--device cuda] [--seconds 300] [--commit NAME]

Each part runs in a process of its own, with a share of the time as its limit. It writes down each figure as soon as it
has it, so what a part has measured by then is kept, and the next part follows. The result is one NAME.json, NAME.md and
NAME.png for each GPU, with the GPU's name and the commit in them. It uses the Python that runs it: torch, the package's
own dependencies and, for the tests, pytest and hypothesis. Where Jupyter is missing the notebooks' cells run in plain
Python, with widgets that do nothing.

    tests      the tests marked `cuda`
    notebooks  the code cells of notebooks 00, 02 and 06, in order
    nets       pictures a second, end to end, against the loop that people copy, by time, in turns
    speed_ups  a step's time with each speed-up, and with those together that may be, against the plain one's
    frames     what the panel's pictures take of the time, and the bytes that they send
    limits     the roofline's limits, and what they predict of three steps
"""

import argparse
import contextlib
import copy
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from benchlib.gpu_report import FPS, paint, text
from benchlib.machine import gpu_name, machine, suffix
from benchlib.plain_cells import code_cells, run_cells
from benchlib.presets import Preset, save
from benchlib.results import RESULTS, Result, draw, read, with_ending, write
from torch import nn
from torch.nn import functional as F

from gantutor.data import load_pairs, load_unpaired
from gantutor.ledger.cost import wait
from gantutor.model_state import networks

ROOT = Path(__file__).resolve().parent.parent
HOME = RESULTS / "gpu"
SHARES = {"tests": 40, "notebooks": 55, "nets": 100, "speed_ups": 56, "frames": 24, "limits": 18}  # seconds of 300
GRACE = 0.04  # of a part's time, to end by itself
NOTEBOOKS = ("00_start_here", "02_detach_or_retain_graph", "06_scale_up")

Keep = Callable[[dict[str, Any]], None]  # adds a row to what the part has found


class Clock:
    """How much of a part's time is left."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.end = seconds, time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self.end - time.monotonic()


# tests ----------------------------------------------------------------------------------------------------------------


class Reporter:
    """A plugin of pytest's that keeps each outcome as it comes."""

    def __init__(self, keep: Keep) -> None:
        self.keep = keep

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            failure = str(report.longrepr)[-1500:] if report.outcome == "failed" else ""
            self.keep({"test": report.nodeid, "outcome": report.outcome, "text": failure})

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.keep({"test": report.nodeid, "outcome": "failed", "text": str(report.longrepr)[-1500:]})


def tests(keep: Keep, device: str, clock: Clock) -> None:
    """The tests marked `cuda`, in the files that have some."""
    import pytest

    files = sorted(path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.cuda" in path.read_text())
    options = ["-o", "addopts=", "-q", "-m", "cuda", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    pytest.main([*options, *map(str, files)], plugins=[Reporter(keep)])


# notebooks ------------------------------------------------------------------------------------------------------------


def notebooks(keep: Keep, device: str, clock: Clock) -> None:
    """Each notebook in a process's main module of its own; what is left of the time is shared out evenly."""
    for number, name in enumerate(NOTEBOOKS):
        seconds = 0.95 * clock.left / (len(NOTEBOOKS) - number)  # the rest is for what stands around it
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "cells"
            run_apart(["--cells", name, "--partial", str(part)], seconds)
            found = rows_in(part)
        total = len(code_cells(name))
        keep({"notebook": name, "cells": total, "ran": len(found), "seconds": round(seconds, 1), "failed": [
            {"cell": row["cell"], "text": row["error"]} for row in found if row["error"]
        ]})  # fmt: skip


# nets -----------------------------------------------------------------------------------------------------------------

ORDER = {
    "cuda": ("dcgan_28", "pix2pix_256", "cyclegan_256", "dcgan_64", "pix2pix_64", "cyclegan_64"),
    "cpu": ("dcgan_28", "pix2pix_64", "cyclegan_64"),
}
TURN_S, ROUNDS, WARM, SAME_STEPS = 0.7, 3, 6, 20
PICTURES = 24  # of a set that is enlarged to a preset's size


class Side:
    """One way to train: `steps(n)` takes n steps and waits for the GPU."""

    def __init__(self, steps: Callable[[int], None], precision: str) -> None:
        self.steps, self.precision = steps, precision
        self.rates: list[float] = []  # pictures a second

    def turn(self, batch_size: int, seconds: float) -> None:
        """Steps for that long, a few at a time."""
        with precision_of(self.precision):
            self.steps(2)
            taken, some, start = 0, 1, time.perf_counter()
            while (spent := time.perf_counter() - start) < seconds:
                self.steps(some)
                taken, some = taken + some, min(2 * some, 64)
            spent = time.perf_counter() - start
        self.rates.append(batch_size * taken / spent)


def precision_of(name: str) -> contextlib.AbstractContextManager[None]:
    """ "default" is torch's: TF32 in convolutions, IEEE's float32 in products."""
    from gantutor.precision import float32_precision

    return contextlib.nullcontext() if name == "default" else float32_precision(name)


def copied_side(preset: Preset, folder: Path, device: str, precision: str) -> Side:
    """The loop that people copy, with the workers of the script that it follows."""
    config: Any = preset.config(preset.load(folder, device), device)
    model = preset.common(config.start(config.data))
    log: list[tuple[float, ...]] = []
    loop = preset.copied_loop(model, getattr(config, "z_dim", 0), device)
    batches: Iterator[Any] = itertools.chain.from_iterable(
        iter(preset.loader(folder, preset.workers, device)) for _ in itertools.count()
    )

    def steps(count: int) -> None:
        loop(itertools.islice(batches, count), log)  # its `.item()` waits
        log.clear()

    return Side(steps, precision)


def our_side(
    preset: Preset, folder: Path, device: str, changes: dict[str, Any], speed: tuple[str, ...], precision: str
) -> Side:
    """The course's loop with those speed-ups. Raises: ValueError for one that cannot be used."""
    config: Any = preset.config(preset.load(folder, device), device, **changes)
    run = config.replace(speed=("fused", *speed)).start(config.data)

    def steps(count: int) -> None:
        for _ in range(count):
            run.step()
        wait(torch.device(device))

    return Side(steps, precision)


def sides_of(preset: Preset, folder: Path, device: str) -> dict[str, Callable[[], Side]]:
    """What is measured of a preset. `graph` is a recorded step; "ieee" has no TF32 on either side."""
    graph = ("graph",) if device == "cuda" else ()
    low = (*graph, "bf16", "channels_last")
    sides = {
        "copied": lambda: copied_side(preset, folder, device, "default"),
        "same rule": lambda: our_side(preset, folder, device, preset.same, (), "default"),
        "same rule, graph": lambda: our_side(preset, folder, device, preset.same, graph, "default"),
        "best, graph": lambda: our_side(preset, folder, device, preset.best, graph, "default"),
        "same rule, graph, bf16": lambda: our_side(preset, folder, device, preset.same, low, "default"),
        "copied, ieee": lambda: copied_side(preset, folder, device, "ieee"),
        "same rule, graph, ieee": lambda: our_side(preset, folder, device, preset.same, graph, "ieee"),
    }
    if preset.best == preset.same:
        del sides["best, graph"]
    return sides


def write_images(preset: Preset, folder: Path) -> None:
    """The image files that both sides read: a few small ones, enlarged."""
    if preset.kind == "dcgan":
        return
    data: Any = (
        load_pairs("emoji_flat", number=PICTURES)
        if preset.kind == "pix2pix"
        else load_unpaired("emoji", number=PICTURES)
    )
    A, B = (
        F.interpolate(images.float(), preset.size, mode="bicubic").clamp(0, 255).byte() for images in (data.A, data.B)
    )
    if preset.kind == "pix2pix":
        save(torch.cat([A, B], dim=3), folder)
    else:
        save(A, folder / "A")
        save(B, folder / "B")


def nets(keep: Keep, device: str, clock: Clock) -> None:
    """The presets one after another, the three that count first."""
    from throughput import scores_in, settled

    whole = clock.seconds
    for name in ORDER[device]:
        if clock.left < 0.1 * whole:
            return
        preset = settled(name, scores_in(RESULTS))
        row: Result = {"preset": name, "label": preset.label, "batch_size": preset.batch_size,
                       "workers": preset.workers, "same": preset.same, "best": preset.best,
                       "rates": {}, "errors": {}}  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            write_images(preset, Path(folder))
            try:
                row["same_rule"] = same_rule(preset, Path(folder), device)
            except Exception as error:
                row["errors"]["same rule as the copied loop"] = told(error)
            keep(row)
            sides: dict[str, Side] = {}
            for side, build in sides_of(preset, Path(folder), device).items():
                try:
                    sides[side] = build()
                    sides[side].turn(preset.batch_size, 0.0)  # what warms up, and is recorded
                    sides[side].steps(WARM)
                except Exception as error:
                    sides.pop(side, None)
                    row["errors"][side] = told(error)
            for side in sides.values():
                side.rates.clear()
            for number in range(ROUNDS):
                for side in list(sides.values())[:: 1 if number % 2 == 0 else -1]:
                    side.turn(preset.batch_size, min(TURN_S, whole / 80))
                row["rates"] = {label: [round(rate, 1) for rate in side.rates] for label, side in sides.items()}
                keep(row)
                if clock.left < 0.05 * whole:
                    return


def same_rule(preset: Preset, folder: Path, device: str) -> dict[str, float]:
    """How far the course's steps, recorded where they can be, are from the copied loop's, from the same weights.

    Both take the same 20 batches, without dropout and TF32. Each figure is ‖difference‖ / ‖movement‖ of all weights:
    "float64" and "float32" of ours and theirs; "rounding" of theirs in float32 and theirs in float64, which is what
    float32 alone does.
    """
    ours: dict[torch.dtype, list[nn.Module]] = {}
    theirs: dict[torch.dtype, list[nn.Module]] = {}
    for dtype in (torch.float64, torch.float32):
        ours[dtype], theirs[dtype], start = after_the_same_batches(preset, folder, device, dtype)
    moved = distance(theirs[torch.float32], start)
    return {
        "steps": SAME_STEPS,
        "float64": distance(ours[torch.float64], theirs[torch.float64]) / moved,
        "float32": distance(ours[torch.float32], theirs[torch.float32]) / moved,
        "rounding": distance(theirs[torch.float32], theirs[torch.float64]) / moved,
    }


def after_the_same_batches(preset: Preset, folder: Path, device: str, dtype: torch.dtype) -> Any:
    """Our networks, theirs and those at the start."""
    from gantutor.precision import float32_precision

    fields = {"dropout": 0.0} if preset.kind == "pix2pix" else {}
    config: Any = preset.config(preset.load(folder, device), device, **fields)
    if hasattr(config, "lr"):  # a recorded step keeps its rate in float32, and these networks notice the difference
        config = config.replace(lr=float(torch.tensor(config.lr, dtype=torch.float32)))
    run = config.start(config.data)
    for network in networks(run.model).values():
        network.to(dtype)
    theirs, start = copy.deepcopy(run.model), list(networks(copy.deepcopy(run.model)).values())
    if device == "cuda":
        config.replace(speed=("fused", "graph")).apply(run)
    if hasattr(config, "lr"):  # the copied loop's rate does not decay
        run.train_step.steps = 0
        for optimizer in (theirs.opt_G, theirs.opt_D):
            optimizer.param_groups[0]["lr"] = config.lr
    z_dim = getattr(config, "z_dim", 0)
    loop, log = preset.copied_loop(theirs, z_dim, device), []
    batches = [tuple(x.to(dtype) for x in next(run.batches)) for _ in range(SAME_STEPS)]
    run.batches = iter(batches)
    with float32_precision("ieee"), default_dtype(dtype):
        for first, second in batches:
            run.step()
            with mock.patch.object(torch, "randn", return_value=second) if z_dim else contextlib.nullcontext():
                loop(iter([(first, None) if z_dim else {"A": first, "B": second}]), log)
    return list(networks(run.model).values()), list(networks(theirs).values()), start


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def distance(left: list[nn.Module], right: list[nn.Module]) -> float:
    """‖left − right‖₂ over all weights."""
    pairs = [
        pair for a, b in zip(left, right, strict=True) for pair in zip(a.parameters(), b.parameters(), strict=True)
    ]
    return sum((a.detach().double() - b.detach().double()).square().sum().item() for a, b in pairs) ** 0.5


def told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:400]}"


# speed-ups ------------------------------------------------------------------------------------------------------------


def defaults(device: str) -> dict[str, Any]:
    """The default configs that speed_ups.py measures, on the device."""
    from speed_ups import CONFIGS

    return {name: config.replace(device=device) for name, config in CONFIGS.items()}


TOGETHER = (
    ("graph",), ("fused", "graph"), ("channels_last", "fused", "graph"), ("fused", "bf16", "graph"),
    ("channels_last", "fused", "bf16", "graph"), ("fused",), ("channels_last",), ("bf16",),
)  # fmt: skip
REDUCE_OVERHEAD = ("compile(mode=reduce-overhead)",)  # torch's own way to record what it has compiled; not ours
COMPILED = (("compile",), REDUCE_OVERHEAD, ("fused", "compile", "graph"), ("fused", "bf16", "compile", "graph"))


def speed_ups(keep: Keep, device: str, clock: Clock) -> None:
    """All configs with what is ready at once, then what has to be compiled first, as long as there is time."""
    from speed_ups import ready

    loaded = {name: (config, config.load()) for name, config in defaults(device).items()}
    plain = {name: ready(config, data)[0] for name, (config, data) in loaded.items()}
    for names in (*TOGETHER, *COMPILED):
        for name, (config, data) in loaded.items():
            if clock.left < 0.05 * clock.seconds:
                return
            row: Result = {"config": name, "speed": " + ".join(names)}
            keep(row | measure_speed(config, data, plain[name], names, min(0.25, clock.seconds / 200)))


def measure_speed(config: Any, data: Any, plain: Any, names: tuple[str, ...], seconds: float) -> Result:
    """Seconds a step with those speed-ups and of the plain run, in turns; or why they are refused."""
    from speed_ups import ready, turn

    from gantutor.scale.speed import check_speed

    row: Result = {"ready_s": 0.0, "plain": [], "seconds": [], "refused": ""}
    try:
        if names == REDUCE_OVERHEAD:
            fast, row["ready_s"] = reduced(config, data)
        else:
            check_speed(config.start(data), names)
            fast, row["ready_s"] = ready(config.replace(speed=names), data)
        steps = max(2, round(seconds / turn(plain, 5, data.device)))
        for number in range(4):
            for run, kept in ((plain, "plain"), (fast, "seconds"))[:: 1 if number % 2 else -1]:
                row[kept].append(turn(run, steps, data.device))
    except Exception as error:
        row["refused"] = told(error)
    return row


def reduced(config: Any, data: Any) -> tuple[Any, float]:
    """A run whose networks torch compiles and configs by itself, and the seconds until it is ready."""
    run = config.start(data)
    start = time.perf_counter()
    for network in networks(run.model).values():
        network._compiled_call_impl = torch.compile(network._call_impl, dynamic=False, mode="reduce-overhead")
    inner = run.step_runner

    def take(*arguments: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return inner(*arguments)

    run.step_runner = take
    for _ in range(4):
        run.step()
    wait(data.device)
    return run, time.perf_counter() - start


# frames ---------------------------------------------------------------------------------------------------------------


def frames(keep: Keep, device: str, clock: Clock) -> None:
    """A run that plays in the panel's thread, with its views made as for a page, and without."""
    from gantutor.configs import GANConfig
    from gantutor.lab.runner import Runner
    from gantutor.views import views_of

    kinds: dict[str, Any] = {
        "digits": GANConfig(device=device),
        "ring": GANConfig("ring", device=device),
        "pix2pix": defaults(device)["pix2pix 64"],
    }
    for name, config in kinds.items():
        run = config.start(data := config.load())
        look = views_of(config, data)
        for _ in range(5):
            run.step()
        found: Result = {"data": name, "plain": [], "with_frames": [], "frames": 0, "bytes": 0, "painted_s": 0.0}

        def paint(last: bool, found: Result = found, look: Any = look, run: Any = run, config: Any = config) -> None:
            start = time.perf_counter()
            views = look(run, config, since=run.t)
            found["painted_s"] += time.perf_counter() - start
            found["frames"] += 1
            found["bytes"] += sum(array.nbytes for view in views for array in view.arrays.values())

        sides = {
            "plain": Runner(f"{name} plain", run.step, lambda last: None, lambda state: None),
            "with_frames": Runner(f"{name} frames", run.step, paint, lambda state: None, lambda: FPS, share=0.99),
        }
        seconds = min(0.8, clock.seconds / 30)
        for number in range(2):
            for side, runner in list(sides.items())[:: 1 if number % 2 else -1]:
                before, start = run.t, time.perf_counter()
                runner.play()
                time.sleep(seconds)
                runner.pause()
                runner.wait()
                found[side].append((run.t - before) / (time.perf_counter() - start))
            found["played_s"] = (number + 1) * seconds
        for runner in sides.values():
            runner.close()
        keep(found)


# limits ---------------------------------------------------------------------------------------------------------------


def limits(keep: Keep, device: str, clock: Clock) -> None:
    """The limits, and of three steps what they predict, which one is met first, and what is measured."""
    from speed_ups import ready, turn

    from gantutor.ledger import traffic
    from gantutor.scale.limits import drawing, measure

    found = measure(device)
    keep({"device": found.device, "flops": found.flops, "bandwidth": found.bandwidth, "overhead": found.overhead})
    for name, config in defaults(device).items():
        data = config.load()
        run, _ = ready(config, data)
        asked, drawn = traffic(run.train_step, run.model, *next(run.batches)), drawing(run.batches, data.device, 0.1)
        keep({
            "step": name, "flops": asked.flops, "bytes": asked.bytes, "launches": asked.launches,
            "limited_by": found.limited_by(asked, data=drawn),
            "predicted_ms": 1000 * found.predicted(asked, data=drawn),
            "measured_ms": 1000 * statistics.median(turn(run, 10, data.device) for _ in range(5)),
        })  # fmt: skip


PARTS: dict[str, Callable[[Keep, str, Clock], None]] = {
    "tests": tests, "notebooks": notebooks, "nets": nets, "speed_ups": speed_ups, "frames": frames, "limits": limits,
}  # fmt: skip


# one part in a process of its own -------------------------------------------------------------------------------------


def run_apart(arguments: Sequence[str], seconds: float) -> str:
    """Run this script with those arguments for at most so long: "" if it ended well, or what happened."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")]),
                   "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}  # fmt: skip
    command = [sys.executable, __file__, *arguments]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        code = process.wait(timeout=seconds)
        return "" if code == 0 else f"ended with {code}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the workers of its loaders
        process.wait()
        return f"stopped after {seconds:.0f} s"


def keeper(path: Path) -> Keep:
    """Adds rows to a file, which is whole after each."""
    rows: list[dict[str, Any]] = []

    def keep(row: dict[str, Any]) -> None:
        if row not in rows:
            rows.append(row)  # a row that is kept again has grown
        write(path, {"rows": rows})

    return keep


def rows_in(path: Path) -> list[dict[str, Any]]:
    """What a keeper has written by now; nothing if it was stopped before its first row."""
    return list(read(path)["rows"]) if with_ending(path, ".json").exists() else []


def commit() -> str:
    """The commit of the checkout, with a + where files have changed since; "unknown" without git."""
    try:
        name, changed = (
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + "+" * bool(changed)


# the command ----------------------------------------------------------------------------------------------------------


def main(options: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--out", type=Path, help="where the result goes (default benchmarks/results/gpu; a new folder for a CPU)"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=300, help="for all parts together (default 300)")
    parser.add_argument("--commit", default="", help="the commit's name, where there is no git")
    parser.add_argument(
        "--redraw", action="store_true", help="measure nothing: tables and plots from the figures there"
    )
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--cells", help=argparse.SUPPRESS)
    parser.add_argument("--partial", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(options)
    if given.cells:
        return run_cells(keeper(given.partial), given.cells)
    if given.part:
        return PARTS[given.part](keeper(given.partial), given.device, Clock(given.seconds))
    if given.device == "cuda" and not given.redraw and not torch.cuda.is_available():
        parser.error("no CUDA device is here; --device cpu tries the command itself, and its figures mean nothing")
    if given.device == "cpu":
        given.out = given.out or Path(tempfile.mkdtemp(prefix="gantutor-"))
        if HOME in (given.out.resolve(), *given.out.resolve().parents):
            parser.error(f"figures of a CPU do not go to {HOME.name}/: name another folder with --out")
    if given.redraw:
        for figures in sorted((given.out or HOME).glob("*.json")):
            draw(figures.with_suffix(""), read(figures.with_suffix("")), text, paint)
        return
    path = (given.out or HOME) / (suffix(given.device).lstrip(".") or "cpu")
    measure_all(path, given.parts, given.device, given.seconds, given.commit or commit())
    draw(path, read(path), text, paint)
    print(f"{path}.json, .md and .png")


def measure_all(path: Path, parts: Sequence[str], device: str, seconds: float, name_of_commit: str) -> None:
    """Each part in turn; the result is written after each. Parts that are not run stay as an earlier call left them."""
    result: Result = {"gpu": gpu_name(device), "commit": name_of_commit, "machine": machine(device), "parts": {}}
    if with_ending(path, ".json").exists():
        result["parts"] = read(path)["parts"]
    for part in parts:
        limit = SHARES[part] * seconds / 300
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            partial = Path(folder) / "part"
            words = ["--part", part, "--partial", str(partial), "--device", device, "--seconds", str(limit)]
            ended = run_apart(words, limit * (1 + GRACE))
            rows = rows_in(partial)
        result["parts"][part] = {"seconds": time.monotonic() - start, "ended": ended, "rows": rows,
                                 "commit": name_of_commit}  # fmt: skip
        write(path, result)
        print(f"{part}: {len(rows)} rows in {result['parts'][part]['seconds']:.0f} s {ended}", flush=True)


if __name__ == "__main__":
    main()
