"""What the options say of a run: the run config of a new one, its folder, or which run goes on, and from where."""

from pathlib import Path
from typing import Any

import click

from gantutor.scale.runs.folder import RunFolder, free_folder
from gantutor.scale.runs.run_config import DATA_SETS, RunConfig, contradictions, is_known, resolve_data_name

NOT_IN_CONFIG = ("folder", "resume", "from_step", "download")  # options that are not in a run config


def new_config(kind: str, options: dict[str, Any]) -> RunConfig:
    """The run config of a new run."""
    run_config = {name: value for name, value in options.items() if name not in NOT_IN_CONFIG}
    return {"kind": kind, **run_config, "data": resolve_data_name(kind, options["data"])}


def new_folder(path: Path | None, run_config: RunConfig) -> Path:
    """`path`, or one in runs/ that is free. Raises: UsageError for a folder that has a run in it."""
    path = path or free_folder(run_config["kind"], run_config["data"], run_config["strategy"])
    if RunFolder(path).has_run:
        raise click.UsageError(f"{path} has a run in it: go on with it by --resume {path}, or name another --folder")
    return path


def resume_config(kind: str, options: dict[str, Any], given: list[str]) -> RunConfig:
    """The run config of the run that goes on, with what may change as it was given.

    Raises: UsageError for what may not change, and for a run on a data set that is gone.
    """
    path = options["resume"]
    run_config = RunFolder(path).read_config()
    if run_config["kind"] != kind:
        raise click.UsageError(f"{path} is a run of {run_config['kind']}: train {run_config['kind']} --resume {path}")
    if not is_known(kind, run_config["data"]):
        raise click.UsageError(
            f"{path} was trained on the data set {run_config['data']!r}, which this version of gantutor no longer has. "
            f"Start a new run on another (--data: {', '.join(DATA_SETS[kind])}), or go on with the version that made it"
        )
    if "folder" in given:
        raise click.UsageError("--resume goes on in its own folder: leave --folder out")
    wanted = {name: options[name] for name in given if name not in NOT_IN_CONFIG}
    if "data" in wanted:
        wanted["data"] = resolve_data_name(kind, wanted["data"])
    refused = contradictions(run_config, wanted)
    if refused:
        raise click.UsageError(
            f"{'; '.join(refused)}. That would be another run than the one in {path}: leave it out to go on "
            "with that one, or start anew without --resume"
        )
    return {**run_config, **wanted}


def saved_at(path: Path, step: int | None) -> Path:
    """The checkpoint to go on from: that of `step`, or the newest, which need not be there yet.

    Raises: UsageError for a step whose checkpoint was not kept.
    """
    folder = RunFolder(path)
    if step is None:
        return folder.checkpoint
    if not folder.checkpoint_path(step).exists():
        there = ", ".join(map(str, folder.checkpoint_steps())) or "none"
        raise click.UsageError(f"{path} keeps no checkpoint of step {step}; there are: {there}")
    return folder.checkpoint_path(step)
