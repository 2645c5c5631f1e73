"""Checkpoints: a run that was stopped anywhere goes on as if it had not been, bit for bit on a CPU.

A checkpoint is a file of torch.save's with the whole state of a run: networks, optimizers, pools and schedules, the
generators of everything that is drawn, how far the data is, the history. It is read without running any code in it.
"""

import contextlib
import copy
import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.serialization import default_restore_location

from gantutor.model_state import model_device
from gantutor.training import Run, is_finite

FORMAT, VERSION = "gantutor checkpoint", 1


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or loaded; the file that was there, and the run, are as they were."""


def save_checkpoint(path: str | Path, run: Run, config: dict[str, Any]) -> None:
    """Write the state of `run`, and the `config` that it was started from, anything that JSON can hold, to `path`.

    The file is complete or not there at any moment: it is written under the name `path`.tmp in the same folder, brought
    to the disk and then renamed. What is left over of a process that was killed meanwhile is overwritten next time.
    Networks are saved without DistributedDataParallel; all replicas hold the same, so one of them saves.
    Raises: CheckpointError for a disk that is full, a folder that cannot be made, weights that are not finite;
    TypeError for a config that is not JSON; DivergedError for a loss that is not finite and was not looked at yet.
    """
    path = Path(path)
    run.check()
    if not is_finite(run.model):
        raise CheckpointError(
            f"{path} was not written: after step {run.t} the weights are NaN or infinite. Go on from an older "
            "checkpoint with a lower learning rate"
        )
    content = {
        "format": FORMAT,
        "version": VERSION,
        "torch": str(torch.__version__),
        "device": model_device(run.model).type,
        "config": json.dumps(config),
        "state": run.state_dict(),
        "chance": global_rng_state(),  # the name that the format has for it
    }
    buffer = io.BytesIO()  # what goes wrong on the disk then comes as the system's own error
    torch.save(content, buffer)
    try:
        replace(path, buffer.getbuffer())
    except OSError as error:
        raise CheckpointError(
            f"{path} was not written: {error.strerror or error}. What was there before is unchanged, and the run can "
            "go on: make room or choose another folder, and save again"
        ) from error


def replace(path: Path, content: bytes | memoryview) -> None:
    """Put `content` in the place of the file `path`, whole or not at all, in a folder that is made for it.

    Raises: OSError, nothing left behind.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    with contextlib.suppress(OSError):  # not every system can bring a folder to the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load_checkpoint(path: str | Path, run: Run, config: dict[str, Any]) -> None:
    """Put a run that `config` has freshly started into the state that `save_checkpoint` has written to `path`.

    Also torch's global random state. The networks may be in DistributedDataParallel or not, and the speed-ups may be
    others than they were; the step, the history and the data go on where they were.
    Raises: CheckpointError for a file that `read_checkpoint` refuses, another config, another kind of device, a state
    that does not fit the run. The run is unchanged then.
    """
    device = model_device(run.model)
    content = read_checkpoint(path, device)
    differences = list(changes(content["config"], json.loads(json.dumps(config))))
    if differences:
        raise CheckpointError(
            f"{path} belongs to another configuration: {'; '.join(differences)}. Go on with the one it was saved with, "
            "or start a new run"
        )
    if content["device"] != device.type:
        raise CheckpointError(
            f"{path} was saved on {content['device']}, this run is on {device.type}, which draws other random numbers: "
            f"go on with device={content['device']}"
        )
    before, rng_state = copy.deepcopy(run.state_dict()), global_rng_state()
    try:
        run.load_state_dict(content["state"])
        set_global_rng_state(content["chance"])
    except BaseException as error:
        run.load_state_dict(before)
        set_global_rng_state(rng_state)
        if not isinstance(error, Exception):
            raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise CheckpointError(
            f"{path} does not fit this run, which is as it was: {reason}. Start the run that it was saved from"
        ) from error


def read_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What a checkpoint holds: "config", "state" (see `Run.state_dict`), the "torch" and "device" it was made with.

    What was saved from a GPU comes to `device`. No code in the file is run.
    Raises: CheckpointError for a file that is missing, damaged, of a newer format, or something else.
    """
    try:
        with zipfile.ZipFile(path) as members:
            if damaged := members.testzip():  # torch.load does not look at the checksums
                raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        content = torch.load(
            path,
            map_location=lambda x, was: default_restore_location(x, was if was == "cpu" else str(device)),
            weights_only=True,
        )
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}. Name a file that `save_checkpoint` has written, "
            "or start a new run"
        ) from error
    except Exception as error:  # a parser may raise anything for bytes that nobody has meant for it
        code = "it holds more than tensors and plain values, which might be code; none of it was run"
        reason = code if isinstance(error, pickle.UnpicklingError) else str(error) or type(error).__name__
        raise CheckpointError(
            f"{path} is damaged, or no checkpoint of gantutor: {reason}. Go on from an older one, or start a new run"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is a file of torch.save's, but no checkpoint of gantutor")
    if content["version"] > VERSION:
        raise CheckpointError(
            f"{path} has format {content['version']}, and this gantutor reads up to {VERSION}: install a newer one"
        )
    return {**content, "config": json.loads(content["config"])}


def changes(was: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """The fields of a config that differ, in words."""
    for name in {**was, **now}:
        if was.get(name, changes) != now.get(name, changes):
            saved, given = (f"{config[name]!r}" if name in config else "not there" for config in (was, now))
            yield f"{name} was {saved}, is {given}"


def global_rng_state() -> dict[str, Any]:
    """The state of torch's global generators; the CUDA ones only if CUDA is in use."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_global_rng_state(rng_state: dict[str, Any]) -> None:
    """Go on from there, on as many CUDA devices as this machine has."""
    torch.set_rng_state(rng_state["cpu"])
    torch.cuda.set_rng_state_all(rng_state["cuda"][: torch.cuda.device_count()])
