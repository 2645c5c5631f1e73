"""The loop of the command line: steps until the last, with what they leave in the run's folder, or until a signal."""

import contextlib
import io
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from torch import Tensor, distributed
from tqdm import tqdm

from gantutor.scale import checkpoint
from gantutor.scale.distributed import Replicas
from gantutor.scale.run_folder import RunConfig, RunFolder, fixed_fields
from gantutor.training import Run

Samples = Callable[[Run], bytes]
READ_EVERY = 0.5  # seconds: to show a loss is to wait for the GPU
AGREE_EVERY = 10  # steps, of several replicas
GRID = 64  # images, in rows of 8
POINTS = 512
ROWS = 8  # of held-out images


class Interruptions:
    """`signal` is that of Ctrl-C or SIGTERM, once it has come; a second one, more than a second later, ends at once.

    (torchrun sends its replicas again what the terminal has sent them already.)
    """

    def __init__(self) -> None:
        self.signal = 0
        self.since = 0.0

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Catch the two signals for a while."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
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

    Only one of several replicas has a `folder`, and that one speaks: by a progress bar in a terminal, to a log by a
    line with each checkpoint. All of them draw the samples, since G's norm may ask them all.
    Raises: DivergedError, CheckpointError, OSError; the newest checkpoint is then of a step before.
    """
    steps, first = run_config["steps"], run.t
    told, since, read = first, time.perf_counter(), 0.0
    hidden = True if folder is None else None  # None: hidden where nobody watches a terminal
    bar = tqdm(initial=first, total=steps, unit="step", disable=hidden, file=sys.stderr)
    with bar, interruptions.watched():
        while run.t < steps:
            run.step()
            if folder is not None and run.t == first + 1 and not folder.open(run_config, first):
                say("(TensorBoard is not installed; history.csv and samples/ have what it would show)")
            bar.update()
            if not bar.disable and time.monotonic() - read > READ_EVERY:
                bar.set_postfix_str(losses(run), refresh=False)
                read = time.monotonic()
            stop = interruptions.agreed(run, replicas)
            pictured = due(run.t, run_config["sample_every"], steps)
            picture = draw(run) if pictured else b""
            if folder is not None and pictured:
                folder.write_sample(run.t, picture)
            keep = due(run.t, run_config["keep_every"], 0)
            if folder is not None and (stop or keep or due(run.t, run_config["checkpoint_every"], steps)):
                save_run(run, run_config, folder, keep)
                if bar.disable:
                    now = time.perf_counter()
                    say(f"step {run.t} of {steps}: {losses(run)}, {(run.t - told) / (now - since):.1f} steps/s")
                    told, since = run.t, now
            if stop and run.t < steps:
                return stop
    return 0


def losses(run: Run) -> str:
    """Those of the newest step."""
    return ", ".join(f"{name} {value.item():.3f}" for name, value in run.last.items() if name.endswith("loss"))


def due(t: int, every: int, last: int) -> bool:
    """Whether step t is one of every `every`th, or the last; never where `every` is 0."""
    return bool(every) and (t % every == 0 or t == last)


def save_run(run: Run, run_config: RunConfig, folder: RunFolder, keep: bool) -> None:
    """The checkpoint, and the history that it has. After a kill in between, whoever resumes writes what is missing."""
    folder.tell_board(run.history)
    for path in [folder.checkpoint_path(run.t)] * keep + [folder.checkpoint]:
        checkpoint.save_checkpoint(path, run, fixed_fields(run_config))
    folder.write_history(run.history)


# Images of how far a run is -------------------------------------------------------------------------------------------


def samples_of(config: Any, data: Any) -> Samples:
    """A function from a run of that config to an image, as PNG bytes; it changes no run.

    It shows G of the same z each time, or the same held-out images (those of training where there are none): pairs as
    input, G's output and target; of two domains, images of A, translated and translated back, and the same from B.
    """
    if data.kind == "pairs":
        A, B = (data if data.held_out is None else data.held_out).first(ROWS)
        return lambda run: png_grid([A, run.model.translate(A, config.mode), B])
    if data.kind == "unpaired":
        A, B = data.test(min(ROWS, len(data.test_A), len(data.test_B)))

        def draw(run: Run) -> bytes:
            found = run.model.translate(A, B)
            return png_grid([A, found["fake_B"], found["rec_A"], B, found["fake_A"], found["rec_B"]])

        return draw
    count = POINTS if data.kind == "points" else GRID
    z = torch.randn(count, config.z_dim, generator=torch.Generator().manual_seed(0)).to(data.device)
    if data.kind == "points":
        real = data.sample(count, torch.Generator(data.device).manual_seed(0))
        return lambda run: png_plot(real, run.model.sample(z))
    return lambda run: png_grid(list(run.model.sample(z).unflatten(0, (-1, 8)).unbind(1)))


def png_grid(columns: list[Tensor]) -> bytes:
    """Batches (n, C, H, W) in [-1, 1], one beside the other; grey becomes colour."""
    from torchvision.utils import save_image

    images = torch.stack([column.cpu().expand(-1, 3, -1, -1) for column in columns], dim=1).flatten(0, 1)
    out = io.BytesIO()
    save_image(images, out, format="png", nrow=len(columns), normalize=True, value_range=(-1, 1))
    return out.getvalue()


def png_plot(real: Tensor, fake: Tensor) -> bytes:
    """Points (N, 2) in the plane, whatever the process has set for its figures."""
    from matplotlib import style
    from matplotlib.figure import Figure

    from gantutor.plots import show_points

    out = io.BytesIO()
    with style.context("default"):
        figure = Figure(figsize=(4, 4), layout="constrained")
        ax = figure.subplots()
        show_points(ax, real, fake)
        ax.legend(loc="upper right")
        figure.savefig(out, format="png")
    return out.getvalue()
