"""The loop of the command line: steps until the last, with what they leave in the run's folder, or until a signal."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

import torch
from torch import distributed
from tqdm import tqdm

from gantutor.scale import checkpoint
from gantutor.scale.distributed import Replicas
from gantutor.scale.runs.folder import RunFolder
from gantutor.scale.runs.run_config import RunConfig, fixed_fields
from gantutor.scale.runs.samples import Samples
from gantutor.training import Run

Loaded = TypeVar("Loaded")
READ_EVERY = 0.5  # seconds: to show a loss is to wait for the GPU
AGREE_EVERY = 10  # steps, of several replicas


class Interruptions:
    """`signal` is that of Ctrl-C or SIGTERM, once it has come; a second one, more than a second later, ends at once.

    (torchrun sends its replicas again what the terminal has sent them already.)
    """

    def __init__(self) -> None:
        self.signal = 0
        self.since = 0.0

    @contextlib.contextmanager
    def watched(self) -> Iterator["Interruptions"]:
        """Catch the two signals for a while."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal and time.monotonic() - self.since > 1:
            raise KeyboardInterrupt
        self.signal, self.since = number, self.since or time.monotonic()

    def agreed(self, run: Run, replicas: Replicas) -> int:
        """The signal after which to stop at this step, or 0: replicas must all stop at the same one."""
        if replicas.count == 1:
            return self.signal
        if run.t % AGREE_EVERY:
            return 0
        signals = torch.tensor(self.signal, device=replicas.device)
        distributed.all_reduce(signals, distributed.ReduceOp.MAX)
        return int(signals.item())


def go(
    run: Run,
    run_config: RunConfig,
    folder: RunFolder | None,
    draw: Samples,
    interruptions: Interruptions,
    replicas: Replicas,
    say: Callable[[str], None],
) -> int:
    """Take the steps that are left, and return the signal that came between, or 0.

    Only one of several replicas has a `folder`, and that one speaks. All of them draw the samples, since G's norm may
    ask them all. Raises: DivergedError, CheckpointError, OSError; the newest checkpoint is then of a step before.
    """
    steps, first = run_config["steps"], run.t
    with Bar(run, steps, quiet=folder is None) as bar, interruptions.watched():
        while run.t < steps:
            run.step()
            if folder is not None and run.t == first + 1 and not folder.open(run_config, first):
                say("(TensorBoard is not installed; history.csv and samples/ have what it would show)")
            bar.show()
            stop = interruptions.agreed(run, replicas)
            pictured = due(run.t, run_config["sample_every"], steps)
            saved = stop or due(run.t, run_config["checkpoint_every"], steps)
            keep = due(run.t, run_config["keep_every"], 0)
            picture = draw(run) if pictured else b""
            if folder is not None and pictured:
                folder.write_sample(run.t, picture)
            if folder is not None and (saved or keep):
                save_run(run, run_config, folder, keep)
                if bar.is_off:
                    say(bar.line())
            if stop and run.t < steps:
                return stop
    return 0


def in_turn(replicas: Replicas, load: Callable[[], Loaded]) -> Loaded:
    """What `load` gives, on replica 0 first: the others then find what it has downloaded or made."""
    if replicas.rank:
        distributed.barrier()
    data = load()
    if replicas.count > 1 and not replicas.rank:
        distributed.barrier()
    return data


def due(t: int, every: int, last: int) -> bool:
    """Whether step t is one of every `every`th, or the last; never where `every` is 0."""
    return bool(every) and (t % every == 0 or t == last)


def save_run(run: Run, run_config: RunConfig, folder: RunFolder, keep: bool) -> None:
    """The checkpoint, and the history that it has. After a kill in between, whoever resumes writes what is missing."""
    folder.tell_board(run.history)
    if keep:
        checkpoint.save_checkpoint(folder.checkpoint_path(run.t), run, fixed_fields(run_config))
    checkpoint.save_checkpoint(folder.checkpoint, run, fixed_fields(run_config))
    folder.write_history(run.history)


class Bar:
    """tqdm's progress bar with the losses; off where nobody watches a terminal."""

    def __init__(self, run: Run, steps: int, quiet: bool) -> None:
        self.run, self.steps = run, steps
        self.bar = tqdm(initial=run.t, total=steps, unit="step", disable=True if quiet else None, file=sys.stderr)
        self.is_off = self.bar.disable
        self.told, self.since = run.t, time.perf_counter()  # the newest line of the log
        self.read = 0.0

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self) -> None:
        self.bar.update()
        if not self.is_off and time.monotonic() - self.read > READ_EVERY:
            self.bar.set_postfix_str(self.losses(), refresh=False)
            self.read = time.monotonic()

    def losses(self) -> str:
        return ", ".join(f"{name} {value.item():.3f}" for name, value in self.run.last.items() if name.endswith("loss"))

    def line(self) -> str:
        """What a log is told with each checkpoint; the rate is that since the line before."""
        now = time.perf_counter()
        rate = (self.run.t - self.told) / (now - self.since)
        self.told, self.since = self.run.t, now
        return f"step {self.run.t} of {self.steps}: {self.losses()}, {rate:.1f} steps/s"
