"""The command line: `python -m gantutor train dcgan|pix2pix|cyclegan` takes the same steps as the notebooks."""

import functools
import os
import sys
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from pathlib import Path

    from gantutor.scale.distributed import Replicas
    from gantutor.scale.runs import RunConfig, RunFolder
    from gantutor.training import DivergedError, Run

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
KIND_HELP = {
    "dcgan": "A GAN on points or small images.",
    "pix2pix": "Images to images, learnt from pairs.",
    "cyclegan": "Images to images and back, learnt without pairs.",
}
COMMAND_EXAMPLES = {
    "dcgan": """
    python -m gantutor train dcgan --data digits --strategy one_stage --norm-D none
    python -m gantutor train dcgan --data path/to/images --size 64 --model-option width_G=64 --model-option width_D=64
    torchrun --nproc-per-node 4 -m gantutor train dcgan --data mnist --download --batch-size 256 --sync-batchnorm
    python -m gantutor train dcgan --resume runs/dcgan-digits-one_stage-1 --steps 10000""",
    "pix2pix": """
    python -m gantutor train pix2pix --data emoji_sketch
    python -m gantutor train pix2pix --data facades --download --width-G 64 --width-D 64 --upsampling transposed \\
        --multipliers 1,2,4,8,8,8,8,8 --patch 70 --batch-size 1 --lr 2e-4 --steps 80000
    python -m gantutor train pix2pix --resume runs/pix2pix-emoji_sketch-d_first_detach-1""",
    "cyclegan": """
    python -m gantutor train cyclegan --patch 16
    python -m gantutor train cyclegan --data path/to/images --size 128 --blocks 6 --downsamplings 2
    python -m gantutor train cyclegan --resume runs/cyclegan-emoji-g_first_shared-1""",
}
ABOUT = """
The run is a folder: config.json, history.csv, samples/, checkpoints/, and TensorBoard's events if it is installed.
Ctrl-C ends it after the current step, and --resume goes on from there; after a crash, from the newest checkpoint.
Either way, with as many replicas, it ends as it would have without a break, on a CPU bit for bit.
"""
SHARES = "BatchNorm that is not synchronised sees other shares, and so do wgan-gp's mixtures"


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="gantutor", prog_name="gantutor")
def main() -> None:
    """How GANs train. The course itself is in notebooks/; this trains the same models without one."""


class Train(click.Group):
    """Builds the command of a kind when it is asked for: it needs torch, and `--help` should not wait for that."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(KIND_HELP)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return command(cmd_name) if cmd_name in KIND_HELP else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Models"):
            formatter.write_dl(list(KIND_HELP.items()))


@main.command("train", cls=Train)
def train_group() -> None:
    """Train a model; `train dcgan --help` and its like show what can be set."""


def command(kind: str) -> click.Command:
    """`train <kind>`, with an option for each field of the kind's config."""
    from gantutor.scale.runs.options import options_of

    return click.Command(
        kind,
        params=options_of(kind),
        callback=functools.partial(run_command, kind),
        help=f"{KIND_HELP[kind]}\n\n{ABOUT}\n\b\nExamples:{COMMAND_EXAMPLES[kind]}",
        context_settings=CONTEXT,
    )


def run_command(kind: str, **options: Any) -> None:
    """Train, and end with the exit status of a signal that came between: 130 for Ctrl-C, 143 for SIGTERM."""
    from gantutor.data import DataError
    from gantutor.scale.checkpoint import CheckpointError

    context = click.get_current_context()
    names = [str(option.name) for option in context.command.params]  # in the order of --help
    options = {name: options[name] for name in names if name in options}
    given = [name for name in options if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    try:
        stopped = run(kind, options, given)
    except DataError as error:
        hint = "" if options["download"] or "download=True" not in str(error) else "; here that is --download"
        raise failure(f"{error}{hint}") from error
    except CheckpointError as error:
        raise failure(f"{error}{older(error, options['resume'], options['from_step'])}") from error
    except (ValueError, OSError) as error:
        raise failure(str(error)) from error
    if stopped:
        sys.exit(128 + stopped)


def failure(message: str) -> click.ClickException:
    """The error as it is shown: that of one of torchrun's replicas says whose it is."""
    rank = os.environ.get("RANK", "0")
    return click.ClickException(message if rank == "0" else f"(replica {rank}) {message}")


def older(error: Exception, path: "Path | None", step: int | None) -> str:
    """Which checkpoints there are in the place of a damaged one, that of `step` or the newest, to end its message."""
    from gantutor.scale import runs

    if path is None or "from an older one" not in str(error):
        return ""
    steps = [t for t in runs.RunFolder(path).checkpoint_steps() if step is None or t < step]
    return f". Kept are those of step {', '.join(map(str, steps))}: --from-step {steps[-1]}" if steps else ""


def run(kind: str, options: dict[str, Any], given: list[str]) -> int:
    """Start the run or go on with it, to its last step or a signal, which is returned.

    Raises: what its parts raise; all that they expect to go wrong has a message of its own.
    """
    from gantutor.scale import runs
    from gantutor.scale.distributed import join_replicas

    if options["from_step"] and not options["resume"]:
        raise click.UsageError("--from-step is for a run that goes on: it needs --resume")
    run_config = runs.resume_config(kind, options, given) if options["resume"] else runs.new_config(kind, options)
    saved = runs.saved_at(options["resume"], options["from_step"]) if options["resume"] else None
    with join_replicas(run_config["device"]) as replicas:
        folder = None
        if not replicas.rank:
            folder = runs.RunFolder(options["resume"] or runs.new_folder(options["folder"], run_config))
        try:
            return train_run(run_config, folder, replicas, saved, options["download"])
        finally:
            if folder is not None:
                folder.close()


def train_run(
    run_config: "RunConfig", folder: "RunFolder | None", replicas: "Replicas", saved: "Path | None", download: bool
) -> int:
    """Build the run, put it into the state `saved`, and let it go; replica 0 has a `folder` and speaks."""
    import torch

    from gantutor.scale import checkpoint, runs
    from gantutor.scale.speed import keep_memory, recommended, set_allowed, wait_until_ready
    from gantutor.training import DivergedError

    kind, device = run_config["kind"], replicas.device.type
    data = runs.in_turn(
        replicas, lambda: runs.load_data(kind, run_config["data"], run_config["size"], device, download)
    )
    speed = () if run_config["speed"] == "auto" else tuple(run_config["speed"])
    config = runs.build_config({**run_config, "device": device}, data, speed)
    replicas.check(config, run_config["sync_batchnorm"])
    was = run_config.get("replicas", replicas.count)
    now = {"device": run_config["device"], "pictures": runs.image_counts(data), "replicas": replicas.count}
    run_config = {**runs.fill_config(run_config, config), **now}
    torch.manual_seed(config.seed)
    keep_memory()
    try:
        run = config.start(data)
    except TypeError as error:  # from the networks' builder
        raise ValueError(f"--model-option: {error}") from error
    if run_config["speed"] == "auto":
        names = recommended(device, run.model)
        set_allowed(run, tuple(name for name in names if replicas.count == 1 or name != "graph"))
    if saved and saved.exists():
        checkpoint.load_checkpoint(saved, run, runs.fixed_fields(run_config))
        if folder and saved == folder.checkpoint:
            folder.write_history(run.history)  # the run may have been killed between the two
    if run.t >= run_config["steps"]:
        if folder:
            hint = ": more --steps go on" if runs.is_changeable(kind, "steps") else ""
            click.echo(f"{folder.path} is at step {run.t} already{hint}")
        return 0
    replicas.share(run)
    try:
        wait_until_ready(run)  # before there are replicas: compiling takes a step, and they would take it together
    except RuntimeError as error:
        raise ValueError(f"--speed compile: {error}") from error
    replicas.spread(run, run_config["sync_batchnorm"])
    if folder:
        click.echo(f"{folder.path}: from step {run.t} to {run_config['steps']}, on {device}")
    if folder and was != replicas.count:
        click.echo(f"(it was on {was} replicas, is on {replicas.count}: {SHARES})")
    draw = runs.samples_of(config, data)
    try:
        stopped = runs.go(run, run_config, folder, draw, runs.Interruptions(), replicas, click.echo)
    except DivergedError as error:
        raise failure(ended(error, run, folder)) from error
    if folder:
        click.echo(f"{folder.path} is at step {run.t}")
        if stopped:
            click.echo(f"Go on: {launcher()} train {kind} --resume {folder.path}")
    return stopped


def ended(error: "DivergedError", run: "Run", folder: "RunFolder | None") -> str:
    """What a run that diverged leaves, in words; replica 0 writes its losses down."""
    what = str(error).split(";")[0]
    if folder is None:
        return what
    folder.write_diverged(run.history, error.step)
    left = "is as its newest checkpoint left it" if folder.checkpoint.exists() else "has no checkpoint yet"
    return (
        f"{what}. {folder.path} {left}; the losses up to here are in {folder.diverged.name}. "
        "Start anew with a lower learning rate and another --folder"
    )


def launcher() -> str:
    """What has started this process: torchrun says how many replicas there are on each machine."""
    count = os.environ.get("LOCAL_WORLD_SIZE")
    return "python -m gantutor" if count is None else f"torchrun --nproc-per-node {count} -m gantutor"


if __name__ == "__main__":
    main(prog_name="python -m gantutor")
