"""What the options say of a run: the config of a new one, its folder, or which run goes on, and from where."""

from pathlib import Path
from typing import Any

import click

from gantutor.runs.config import Config, contradictions, named
from gantutor.runs.folder import RunFolder, free_folder

ASIDE = ("folder", "resume", "from_step", "download")  # options that are not in a run's config


def new(kind: str, options: dict[str, Any]) -> Config:
    """The config of a new run."""
    config = {name: value for name, value in options.items() if name not in ASIDE}
    return {"kind": kind, **config, "data": named(kind, options["data"])}


def new_folder(path: Path | None, config: Config) -> Path:
    """`path`, or one in runs/ that is free. Raises: UsageError for a folder that has a run in it."""
    path = path or free_folder(config["kind"], config["data"], config["strategy"])
    if RunFolder(path).has_run:
        raise click.UsageError(f"{path} has a run in it: go on with it by --resume {path}, or name another --folder")
    return path


def started(kind: str, options: dict[str, Any], given: list[str]) -> Config:
    """The config of the run that goes on, with what may change as it was given.

    Raises: UsageError for what may not change.
    """
    path = options["resume"]
    config = RunFolder(path).read_config()
    if config["kind"] != kind:
        raise click.UsageError(f"{path} is a run of {config['kind']}: train {config['kind']} --resume {path}")
    if "folder" in given:
        raise click.UsageError("--resume goes on in its own folder: leave --folder out")
    wanted = {name: options[name] for name in given if name not in ASIDE}
    if "data" in wanted:
        wanted["data"] = named(kind, wanted["data"])
    refused = contradictions(config, wanted)
    if refused:
        raise click.UsageError(
            f"{'; '.join(refused)}. That would be another run than the one in {path}: leave it out to go on "
            "with that one, or start anew without --resume"
        )
    return {**config, **wanted}


def saved_at(path: Path, step: int | None) -> Path:
    """The checkpoint to go on from: that of `step`, or the newest, which need not be there yet.

    Raises: UsageError for a step whose checkpoint was not kept.
    """
    folder = RunFolder(path)
    if step is None:
        return folder.checkpoint
    if not folder.kept(step).exists():
        there = ", ".join(map(str, folder.kept_steps())) or "none"
        raise click.UsageError(f"{path} keeps no checkpoint of step {step}; there are: {there}")
    return folder.kept(step)
