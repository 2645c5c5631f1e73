"""`python -m gantutor train <kind>`: its options, and the run that they start or that goes on, until its last step.

There is an option for each field of the kind's config, from the field's declaration, and those of the run.
"""

import contextlib
import functools
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click
import torch
from click.core import ParameterSource
from torch import Tensor, distributed
from tqdm import tqdm

from gantutor.configs.settings import Setting, declared_settings
from gantutor.data import DataError
from gantutor.scale import checkpoint, run_folder
from gantutor.scale.distributed import Replicas, join_replicas
from gantutor.scale.run_folder import DEFAULTS, FOLDER_SIZE, MODEL_KINDS, RunConfig, RunFolder, config_fields
from gantutor.scale.speed import SPEED_UPS, keep_memory, recommended, set_allowed, wait_until_ready
from gantutor.training import DivergedError, Run

Loaded = TypeVar("Loaded")
Samples = Callable[[Run], bytes]
READ_EVERY = 0.5  # seconds: to show a loss is to wait for the GPU
AGREE_EVERY = 10  # steps, of several replicas
GRID = 64  # images, in rows of 8
POINTS = 512
ROWS = 8  # of held-out images

ABOUT = """
The run is a folder: config.json, history.csv, samples/, checkpoints/, and TensorBoard's events if it is installed.
Ctrl-C ends it after the current step, and --resume goes on from there; after a crash, from the newest checkpoint.
Either way, with as many replicas, it ends as it would have without a break, on a CPU bit for bit.
"""
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
SYNC_BATCHNORM = (
    "With torchrun: normalise by the statistics of the whole batch. BatchNorm otherwise sees only its own replica's "
    "share, which is other training than on one device: as with split and joint batches in notebook 03, who is "
    "normalised together decides what D can see."
)
SPEED_VALUES = f" With commas: {', '.join(SPEED_UPS)}; or auto: those that change results only by rounding; or none."
SHARES = "BatchNorm that is not synchronised sees other shares, and so do wgan-gp's mixtures"


# The options ----------------------------------------------------------------------------------------------------------


def option_name(name: str) -> str:
    """A field's name as an option: lr_G is --lr-G."""
    return "--model-option" if name == "model_options" else f"--{name.replace('_', '-')}"


def train_command(kind: str, text: str, settings: dict[str, Any]) -> click.Command:
    """`train <kind>`, with an option for each field of the kind's config; `text` says what the kind is."""
    return click.Command(
        kind,
        params=[*field_options(kind), *run_options(kind)],
        callback=functools.partial(run_command, kind),
        help=f"{text}\n\n{ABOUT}\n\b\nExamples:{COMMAND_EXAMPLES[kind]}",
        context_settings=settings,
    )


def field_options(kind: str) -> list[click.Option]:
    """Those of the config, with its defaults and choices."""
    settings = declared_settings(MODEL_KINDS[kind].config)
    return [field_option(kind, name, default, settings[name]) for name, default in config_fields(kind).items()]


def field_option(kind: str, name: str, default: Any, about: Setting) -> click.Option:
    """The option of one field of the config."""
    text, shown = about.help, True if default != "" and name != "z_dim" else "by the data"
    options: dict[str, Any] = {"default": default, "show_default": shown, "type": type(default)}
    if name == "data":
        names = ", ".join(MODEL_KINDS[kind].config.SETS)
        text = f"The data: {names}; or a folder of your own images ({MODEL_KINDS[kind].folder})."
        options["metavar"] = "NAME|FOLDER"
    elif name == "speed":
        text += SPEED_VALUES
        options = {"default": "auto", "show_default": True, "metavar": "NAMES", "type": parse_names}
    elif name == "multipliers":
        options = {"show_default": "1,2,4,4,...", "metavar": "NUMBERS", "type": parse_numbers}
    elif name == "model_options":
        options = {"multiple": True, "metavar": "NAME=VALUE", "type": parse_pair}
        options["callback"] = lambda _, __, pairs: dict(pairs)
    elif name == "steps":
        options["type"] = click.IntRange(min=1)
    elif about.choices:
        options |= {"default": default or None, "type": click.Choice(about.values())}
    return click.Option([option_name(name), name], help=text, **options)


def parse_pair(text: str) -> tuple[str, Any]:
    """ "width_G=64" as ("width_G", 64)."""
    name, sign, given = text.partition("=")
    if not sign:
        raise click.BadParameter(f"{text!r} is not of the form name=value")
    try:
        return name, json.loads(given)
    except ValueError:
        return name, given


def parse_numbers(text: str) -> list[int]:
    """ "1,2,4" as [1, 2, 4]."""
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of whole numbers such as 1,2,4,8") from None


def parse_names(text: str) -> list[str] | str:
    """ "compile,bf16" as a list, "none" as an empty one, "auto" as it is."""
    return text if text == "auto" else [] if text == "none" else text.split(",")


def run_options(kind: str) -> list[click.Option]:
    """The options that are no field of the config."""
    path = click.Path(file_okay=False, path_type=Path)
    steps = [] if "steps" in config_fields(kind) else [whole("steps", "The length of the run.", lowest=1)]
    return [
        *steps,
        whole("size", f"The side of the images, in pixels; by default {FOLDER_SIZE} for a folder.", lowest=1),
        click.Option(["--download"], is_flag=True, help="Fetch the data, where it is not here yet and can be fetched."),
        click.Option(["--sync-batchnorm"], is_flag=True, help=SYNC_BATCHNORM),
        click.Option(["--folder"], type=path, help="The run's folder; by default runs/KIND-DATA-STRATEGY-NUMBER."),
        click.Option(["--resume"], type=path, help="Go on with the run in this folder, as its config.json says."),
        whole("from_step", "With --resume: from the checkpoint of this step, kept by --keep-every.", lowest=1),
        whole("sample_every", "Steps between two images; 0 for none."),
        whole("checkpoint_every", "Steps between two checkpoints.", lowest=1),
        whole("keep_every", "Steps between two checkpoints that stay beside the newest; 0 for none."),
    ]


def whole(name: str, text: str, lowest: int = 0) -> click.Option:
    """An option that is a whole number of at least `lowest`."""
    kind, default = click.IntRange(min=lowest), DEFAULTS.get(name)
    return click.Option([option_name(name), name], default=default, show_default=True, type=kind, help=text)


# The run --------------------------------------------------------------------------------------------------------------


def run_command(
    kind: str, resume: Path | None, folder: Path | None, from_step: int | None, download: bool, **options: Any
) -> None:
    """Train, and end with the exit status of a signal that came between: 130 for Ctrl-C, 143 for SIGTERM."""
    source = click.get_current_context().get_parameter_source
    given = {name: value for name, value in options.items() if source(name) is not ParameterSource.DEFAULT}
    try:
        if from_step and not resume:
            raise ValueError("--from-step is for a run that goes on: it needs --resume")
        if folder and resume:
            raise ValueError("--resume goes on in its own folder: leave --folder out")
        resumed = RunFolder(resume) if resume else None
        run_config = run_folder.resume_config(kind, resumed, given) if resumed else run_folder.new_config(kind, given)
        saved = resumed.saved_at(from_step) if resumed else None
        with join_replicas(run_config["device"]) as replicas:
            place = None if replicas.rank else resumed or run_folder.new_folder(folder, run_config)
            try:
                stopped = train_run(run_config, place, replicas, saved, download)
            finally:
                if place:
                    place.close()
    except DataError as error:
        hint = "" if download or "download=True" not in str(error) else "; here that is --download"
        raise failure(f"{error}{hint}") from error
    except (checkpoint.CheckpointError, ValueError, OSError) as error:
        raise failure(str(error)) from error
    if stopped:
        sys.exit(128 + stopped)


def failure(message: str) -> click.ClickException:
    """The error as it is shown: that of one of torchrun's replicas says whose it is."""
    rank = os.environ.get("RANK", "0")
    return click.ClickException(message if rank == "0" else f"(replica {rank}) {message}")


def train_run(
    run_config: RunConfig, folder: RunFolder | None, replicas: Replicas, saved: Path | None, download: bool
) -> int:
    """Build the run, put it into the state `saved`, and let it go to its last step or a signal, which is returned.

    Replica 0 has a `folder` and speaks. Raises: what its parts raise; all that they expect to go wrong has a message.
    """
    kind, device = run_config["kind"], replicas.device.type
    data = in_turn(replicas, lambda: run_folder.load_data(run_config, device, download))
    is_auto = run_config["speed"] == "auto"
    config = run_folder.build_config({**run_config, "device": device}, data, () if is_auto else run_config["speed"])
    replicas.check(config, run_config["sync_batchnorm"])
    was = run_config.get("replicas", replicas.count)
    now = {"device": run_config["device"], "pictures": run_folder.image_counts(data), "replicas": replicas.count}
    run_config = {**run_folder.fill_config(run_config, config), **now}
    torch.manual_seed(config.seed)
    keep_memory()
    try:
        run = config.start(data)
    except TypeError as error:  # from the networks' builder
        raise ValueError(f"--model-option: {error}") from error
    if is_auto:
        names = recommended(device, run.model)
        set_allowed(run, tuple(name for name in names if replicas.count == 1 or name != "graph"))
    if saved and saved.exists():
        checkpoint.load_checkpoint(saved, run, run_folder.fixed_fields(run_config))
        if folder and saved == folder.checkpoint:
            folder.write_history(run.history)  # the run may have been killed between the two
    if run.t >= run_config["steps"]:
        if folder:
            hint = "" if "steps" in config_fields(kind) else ": more --steps go on"
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
    try:
        stopped = go(run, run_config, folder, samples_of(config, data), replicas)
    except DivergedError as error:
        raise failure(ended(error, run, folder)) from error
    if folder:
        click.echo(f"{folder.path} is at step {run.t}")
        if stopped:
            click.echo(f"Go on: {launcher()} train {kind} --resume {folder.path}")
    return stopped


def in_turn(replicas: Replicas, load: Callable[[], Loaded]) -> Loaded:
    """What `load` gives, on replica 0 first: the others then find what it has downloaded or made."""
    if replicas.rank:
        distributed.barrier()
    data = load()
    if replicas.count > 1 and not replicas.rank:
        distributed.barrier()
    return data


def ended(error: DivergedError, run: Run, folder: RunFolder | None) -> str:
    """What a run that diverged leaves, in words; replica 0 writes its losses down."""
    what = str(error).split(";")[0]
    if folder is None:
        return what
    folder.write_history(run.history, error.step)
    left = "keeps its newest checkpoint" if folder.checkpoint.exists() else "has no checkpoint yet"
    return (
        f"{what}. {folder.path} {left}; the losses up to here are in {folder.history.name}. "
        "Start anew with a lower learning rate and another --folder"
    )


def launcher() -> str:
    """What has started this process: torchrun says how many replicas there are on each machine."""
    count = os.environ.get("LOCAL_WORLD_SIZE")
    return "python -m gantutor" if count is None else f"torchrun --nproc-per-node {count} -m gantutor"


# The loop -------------------------------------------------------------------------------------------------------------


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


def go(run: Run, run_config: RunConfig, folder: RunFolder | None, draw: Samples, replicas: Replicas) -> int:
    """Take the steps that are left, and return the signal that came between, or 0.

    Only one of several replicas has a `folder`, and that one speaks: by a progress bar in a terminal, to a log by a
    line with each checkpoint. All of them draw the samples, since G's norm may ask them all.
    Raises: DivergedError, CheckpointError, OSError; the newest checkpoint is then of a step before.
    """
    steps, first = run_config["steps"], run.t
    told, since, read = first, time.perf_counter(), 0.0
    interruptions = Interruptions()
    hidden = True if folder is None else None  # None: hidden where nobody watches a terminal
    bar = tqdm(initial=first, total=steps, unit="step", disable=hidden, file=sys.stderr)
    with bar, interruptions.watched():
        while run.t < steps:
            run.step()
            if folder is not None and run.t == first + 1 and not folder.open(run_config, first):
                click.echo("(TensorBoard is not installed; history.csv and samples/ have what it would show)")
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
                    click.echo(f"step {run.t} of {steps}: {losses(run)}, {(run.t - told) / (now - since):.1f} steps/s")
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
        checkpoint.save_checkpoint(path, run, run_folder.fixed_fields(run_config))
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
