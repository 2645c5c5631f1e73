"""A run on disk: what it is made from, which config.json says, and its folder.

A run config is one flat dict: the fields of the config, where `data` is a name or the path of a folder, and beside them
`kind` (a name of MODEL_KINDS), `size`, `steps`, `sync_batchnorm`, `replicas` (on how many it was last), `pictures` (how
many images the data had), and how often the run leaves something in its folder.
"""

import contextlib
import csv
import dataclasses
import importlib.metadata
import io
import itertools
import json
import math
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from gantutor.configs import Config, CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.data import (
    DOWNLOADED,
    POINT_SETS,
    DataError,
    Points,
    Unpaired,
    image_folder,
    paired_folder,
    unpaired_folders,
)
from gantutor.scale.checkpoint import replace
from gantutor.training import History

RunConfig = dict[str, Any]

RUNS = Path("runs")  # of the current folder
VERSIONED = ("gantutor", "torch", "torchvision")
FOLDER_SIZE = 64  # pixels, of one's own images; a set with a name has a size of its own
INTERVALS = {"sample_every": 500, "checkpoint_every": 500, "keep_every": 0}  # steps
DEFAULTS = {"size": None, "steps": 3000, "sync_batchnorm": False, **INTERVALS}  # of what is no field of the config
FOUND = ("replicas", "pictures")  # what a run config says besides, when the run has started

# What may change when a run goes on. For a DCGAN `steps`, too: the others' learning rate falls by it.
CHANGEABLE = ("device", "speed", "replicas", *INTERVALS, "versions")


def two_folders(path: Path, **options: Any) -> Any:
    """`unpaired_folders` of path/A and path/B, or path/trainA and path/trainB. Raises: DataError for neither."""
    for A, B in (("A", "B"), ("trainA", "trainB")):
        if (path / A).is_dir() and (path / B).is_dir():
            return unpaired_folders(path / A, path / B, **options)
    raise DataError(f"{path} needs two folders of images, A and B or trainA and trainB")


class Kind(NamedTuple):
    """A kind of model: its config, what reads a folder of one's own images, and how these must lie."""

    config: type[Config]
    read_folder: Callable[..., Any]
    folder: str


MODEL_KINDS = {
    "dcgan": Kind(GANConfig, image_folder, "any images, in folders of folders too"),
    "pix2pix": Kind(
        Pix2PixConfig,
        paired_folder,
        "A and B side by side in one file, or in two folders A and B under one name",
    ),
    "cyclegan": Kind(CycleGANConfig, two_folders, "two folders A and B, or trainA and trainB"),
}


def config_fields(kind: str) -> dict[str, Any]:
    """The fields of the kind's config, by name, and their defaults; "" and 0 where the data decides."""
    return {
        field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        for field in dataclasses.fields(MODEL_KINDS[kind].config)  # type: ignore[arg-type]
    }


# What decides a run ---------------------------------------------------------------------------------------------------


def new_config(kind: str, given: RunConfig) -> RunConfig:
    """The run config of a new run: what is given, and the defaults of the rest."""
    run_config = {**DEFAULTS, **config_fields(kind), "speed": "auto", **given, "kind": kind}
    return {**run_config, "data": resolve_data_name(kind, run_config["data"])}


def resume_config(kind: str, folder: "RunFolder", given: RunConfig) -> RunConfig:
    """The run config of the run in a folder, which goes on, with what is given; its checkpoint refuses another run.

    Raises: ValueError for a run of another kind, and for one on a data set that is gone.
    """
    path, run_config, sets = folder.path, folder.read_config(), MODEL_KINDS[kind].config.SETS
    if run_config["kind"] != kind:
        raise ValueError(f"{path} is a run of {run_config['kind']}: train {run_config['kind']} --resume {path}")
    if run_config["data"] not in sets and not Path(run_config["data"]).is_absolute():
        raise ValueError(
            f"{path} was trained on the data set {run_config['data']!r}, which this version of gantutor no longer has. "
            f"Start a new run on another (--data: {', '.join(sets)}), or go on with the version that made it"
        )
    if "data" in given:
        given = {**given, "data": resolve_data_name(kind, given["data"])}
    return {**run_config, **given}


def resolve_data_name(kind: str, data: str) -> str:
    """A name of the kind's data as it is, anything else as a whole path: a run may go on from another folder."""
    return data if data in MODEL_KINDS[kind].config.SETS else str(Path(data).expanduser().resolve())


def fixed_fields(run_config: RunConfig) -> RunConfig:
    """The part of a run config that must not change: the same gives the same run."""
    free = CHANGEABLE if "steps" in config_fields(run_config["kind"]) else (*CHANGEABLE, "steps")
    return {name: value for name, value in run_config.items() if name not in free}


# What it comes to -----------------------------------------------------------------------------------------------------


def load_data(run_config: RunConfig, device: str, download: bool = False) -> Any:
    """The data set that a run config names, or one's own images in the folder that it names.

    `download` fetches what is missing of the sets that are not made here.
    Raises: ValueError for what is neither, or a size that the set cannot have; DataError, as the set's function does.
    """
    kind, name, size = MODEL_KINDS[run_config["kind"]], run_config["data"], run_config["size"]
    sets = kind.config.SETS
    if name not in sets:
        if not Path(name).is_dir():
            raise ValueError(
                f"--data: {name} is no folder; give one of your own images, or choose one of {', '.join(sets)}"
            )
        return kind.read_folder(Path(name), size=size or FOLDER_SIZE, device=device)
    if size and name in POINT_SETS:
        raise ValueError(f"--size is the side of an image, and {name} has none")
    options = {"size": size} if size else {}
    if download and name in DOWNLOADED:
        options["download"] = True
    return sets[name](device=device, **options)


def image_counts(data: Any) -> list[int]:
    """How many images a set has, of each domain if it has two; nothing for points, which never run out."""
    parts = [data.A, data.B] if isinstance(data, Unpaired) else [] if isinstance(data, Points) else [data]
    return [len(part) for part in parts]


def build_config(run_config: RunConfig, data: Any, speed: tuple[str, ...] = ()) -> Config:
    """The config of a run config. Raises: ValueError, as the config does."""
    kind = MODEL_KINDS[run_config["kind"]]
    values = {name: run_config[name] for name in config_fields(run_config["kind"])}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    data = run_config["data"] if run_config["data"] in kind.config.SETS else data
    return kind.config(**{**values, **lists, "data": data, "speed": speed})


def fill_config(run_config: RunConfig, config: Config) -> RunConfig:
    """The run config with what the config made of it: it fills in what was left open."""
    settled = {name: getattr(config, name) for name in config_fields(run_config["kind"])}
    return {**run_config, **settled, "data": run_config["data"], "speed": run_config["speed"]}


# The folder -----------------------------------------------------------------------------------------------------------


def new_folder(path: Path | None, run_config: RunConfig) -> "RunFolder":
    """That of a new run: `path`, or runs/<kind>-<data>-<strategy>-<n>, which is made, with the first n that is free.

    Raises: ValueError for a folder that has a run in it.
    """
    if path and RunFolder(path).config.exists():
        raise ValueError(f"{path} has a run in it: go on with it by --resume {path}, or name another --folder")
    stem = f"{run_config['kind']}-{Path(run_config['data']).name}-{run_config['strategy']}"
    numbers = itertools.count(1)
    while path is None:
        with contextlib.suppress(FileExistsError):
            free = RUNS / f"{stem}-{next(numbers)}"
            free.mkdir(parents=True)
            path = free
    return RunFolder(path)


def versions() -> dict[str, str]:
    """What ran, for whoever reads the run config."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in VERSIONED}}


class RunFolder:
    """The folder at `path`: config.json, history.csv, samples/, checkpoints/, and tensorboard/ where that is installed.

    It need not be there yet. Each file is whole at every moment: it is written as a checkpoint is. What the history and
    the events say is what the newest checkpoint says when a run has gone on, after any interruption.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.history = path / "history.csv"
        self.checkpoint = path / "checkpoints" / "latest.pt"
        self.board: Any = None
        self.told = 0  # steps that the board has heard of

    def read_config(self) -> RunConfig:
        """Raises: ValueError for a folder without a run, or a run config that is none."""
        if not self.config.exists():
            raise ValueError(f"{self.path} has no run in it: {self.config.name} is missing")
        try:
            run_config = json.loads(self.config.read_text(encoding="utf-8"))
        except ValueError:
            run_config = None
        if not isinstance(run_config, dict) or run_config.get("kind") not in MODEL_KINDS:
            raise ValueError(f"{self.config} holds no run config")
        needed = {**config_fields(run_config["kind"]), **DEFAULTS, **dict.fromkeys(FOUND)}
        if lacking := ", ".join(name for name in needed if name not in run_config):
            raise ValueError(f"{self.config} is damaged, or of another version of gantutor: it lacks {lacking}")
        return run_config

    def checkpoint_path(self, t: int) -> Path:
        """Where the checkpoint of step t is kept beside the newest."""
        return self.checkpoint.with_name(f"step_{t:06}.pt")

    def checkpoint_steps(self) -> list[int]:
        """The steps whose checkpoints are kept, in their order."""
        names = [path.stem.removeprefix("step_") for path in self.checkpoint.parent.glob("step_*.pt")]
        return sorted(int(name) for name in names if name.isdecimal())

    def saved_at(self, step: int | None) -> Path:
        """The checkpoint to go on from: that of `step`, or the newest, which need not be there yet.

        Raises: ValueError for a step whose checkpoint was not kept.
        """
        if step is None or step in self.checkpoint_steps():
            return self.checkpoint if step is None else self.checkpoint_path(step)
        there = ", ".join(map(str, self.checkpoint_steps())) or "none"
        raise ValueError(f"{self.path} keeps no checkpoint of step {step}; there are: {there}")

    def open(self, run_config: RunConfig, t: int) -> bool:
        """Make the folder say which run has gone on from step t; False where TensorBoard is not installed."""
        replace(self.config, (json.dumps({**run_config, "versions": versions()}, indent=2) + "\n").encode())
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return False
        self.board = SummaryWriter(self.path / "tensorboard", purge_step=t + 1)  # a killed run left later events
        self.told = t
        return True

    def write_sample(self, t: int, picture: bytes) -> None:
        """Keep the PNG of step t, and show it in TensorBoard."""
        replace(self.path / "samples" / f"step_{t:06}.png", picture)
        if self.board is not None:
            pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
            self.board.add_image("samples", pixels, t, dataformats="HWC")

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

    def write_history(self, history: History, steps: int | None = None) -> None:
        """Write history.csv: the first `steps`, or all; nothing where a step did not report a number."""
        out = io.StringIO()
        rows = csv.writer(out, lineterminator="\n")
        names = history.keys()
        rows.writerow(["step", *names])
        columns = [history[name][:steps].tolist() for name in names]
        for step, row in enumerate(zip(*columns, strict=True), start=1):
            rows.writerow([step, *("" if math.isnan(value) else repr(value) for value in row)])
        replace(self.history, out.getvalue().encode())

    def close(self) -> None:
        """End the events; a folder that was made for a run which took no step goes."""
        with contextlib.suppress(OSError):  # it is not there, or not empty
            self.path.rmdir()
        if self.board is not None:
            self.board.close()
