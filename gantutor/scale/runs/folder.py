"""The folder of a run: config.json, history.csv, samples/, checkpoints/, and tensorboard/ where that is installed.

Each file is whole at every moment: it is written as a checkpoint is. What the history and the events say is
what the newest checkpoint says, after any interruption.
"""

import contextlib
import csv
import importlib.metadata
import io
import itertools
import json
import math
import platform
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gantutor.scale import checkpoint
from gantutor.scale.runs.run_config import CONFIG_CLASSES, RunConfig, missing_fields
from gantutor.training import History

RUNS = Path("runs")  # of the current folder
VERSIONED = ("gantutor", "torch", "torchvision")


def free_folder(kind: str, data: str, strategy: str) -> Path:
    """Make runs/<kind>-<data>-<strategy>-<n>, with the first n that is not there."""
    stem = f"{kind}-{Path(data).name}-{strategy}"
    for n in itertools.count(1):
        path = RUNS / f"{stem}-{n}"
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            break
    return path


def versions() -> dict[str, str]:
    """What ran, for whoever reads the run config."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in VERSIONED}}


class RunFolder:
    """The folder at `path`, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.history = path / "history.csv"
        self.diverged = path / "diverged.csv"
        self.checkpoint = path / "checkpoints" / "latest.pt"
        self.board: Any = None
        self.told = 0  # steps that the board has heard of

    @property
    def has_run(self) -> bool:
        return self.config.exists()

    def read_config(self) -> RunConfig:
        """Raises: ValueError for a folder without a run, or a run config that is none."""
        if not self.has_run:
            raise ValueError(f"{self.path} has no run in it: {self.config.name} is missing")
        try:
            run_config = json.loads(self.config.read_text(encoding="utf-8"))
        except ValueError:
            run_config = None
        if not isinstance(run_config, dict) or run_config.get("kind") not in CONFIG_CLASSES:
            raise ValueError(f"{self.config} holds no run config")
        lacking = ", ".join(missing_fields(run_config))
        if lacking:
            raise ValueError(f"{self.config} is damaged, or of another version of gantutor: it lacks {lacking}")
        return run_config

    def write_sample(self, t: int, picture: bytes) -> None:
        """Keep the PNG of step t, and show it in TensorBoard."""
        write_whole(self.path / "samples" / f"step_{t:06}.png", picture)
        if self.board is not None:
            pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
            self.board.add_image("samples", pixels, t, dataformats="HWC")

    def write_history(self, history: History) -> None:
        """Write history.csv."""
        write_whole(self.history, history_csv(history, len(history)))

    def write_diverged(self, history: History, step: int) -> None:
        """Write diverged.csv, with the steps up to that at which a loss was no number; history.csv stays."""
        write_whole(self.diverged, history_csv(history, step))

    def checkpoint_path(self, t: int) -> Path:
        """Where the checkpoint of step t is kept beside the newest."""
        return self.checkpoint.with_name(f"step_{t:06}.pt")

    def checkpoint_steps(self) -> list[int]:
        """The steps whose checkpoints are kept, in their order."""
        names = [path.stem.removeprefix("step_") for path in self.checkpoint.parent.glob("step_*.pt")]
        return sorted(int(name) for name in names if name.isdecimal())

    def open(self, run_config: RunConfig, t: int) -> bool:
        """Make the folder say which run has gone on from step t; False where TensorBoard is not installed."""
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.config, (json.dumps({**run_config, "versions": versions()}, indent=2) + "\n").encode())
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return False
        self.board = SummaryWriter(self.path / "tensorboard", purge_step=t + 1)  # a killed run left later events
        self.told = t
        return True

    def tell_board(self, history: History) -> None:
        """Give TensorBoard the steps that it has not heard of."""
        if self.board is None:
            return
        for name in history.keys():  # noqa: SIM118 -- a History is no dict
            for t, value in enumerate(history[name][self.told :], start=self.told + 1):
                if not math.isnan(value):
                    self.board.add_scalar(name, value, t)
        self.told = len(history)
        self.board.flush()

    def close(self) -> None:
        """End the events; a folder that was made for a run which took no step goes."""
        with contextlib.suppress(OSError):  # it is not there, or not empty
            self.path.rmdir()
        if self.board is not None:
            self.board.close()


def history_csv(history: History, steps: int) -> bytes:
    """The first steps as CSV, a row for each, `step` first; nothing where a step did not report a number."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    names = history.keys()
    rows.writerow(["step", *names])
    columns = [history[name][:steps].tolist() for name in names]
    for step, row in enumerate(zip(*columns, strict=True), start=1):
        rows.writerow([step, *("" if math.isnan(value) else repr(value) for value in row)])
    return out.getvalue().encode()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, in a folder that is made for it. Raises: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.replace(path, content)
