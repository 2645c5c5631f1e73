"""The options of `python -m gantutor train <kind>`: one for each field of the kind's config, and those of the run."""

import json
from pathlib import Path
from typing import Any

import click

from gantutor.configs.settings import Setting, declared_settings
from gantutor.scale.runs.run_config import CONFIG_CLASSES, DATA_SETS, FOLDER_SIZE, config_fields, option_name
from gantutor.scale.speed import SPEED_UPS

FOLDERS = {
    "dcgan": "any images, in folders of folders too",
    "pix2pix": "A and B side by side in one file, or in two folders A and B under one name",
    "cyclegan": "two folders A and B, or trainA and trainB",
}
SYNC_BATCHNORM = (
    "With torchrun: normalise by the statistics of the whole batch. BatchNorm otherwise sees only its own replica's "
    "share, which is other training than on one device: as with split and joint batches in notebook 03, who is "
    "normalised together decides what D can see."
)
DEFAULT_STEPS = 3000  # of a DCGAN, whose config plans none
LEADING_OPTIONS = ("data", "strategy", "objective", "loss", "batching", "steps", "batch_size")


def parse_numbers(_: click.Context, param: click.Parameter, value: str) -> list[int]:
    """ "1,2,4" as [1, 2, 4]."""
    try:
        return [int(part) for part in value.split(",")] if value else []
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of whole numbers such as 1,2,4,8", param=param) from None


def speed_ups(_: click.Context, param: click.Parameter, value: str) -> list[str] | str:
    """ "compile,bf16" as a list, "none" as an empty one, "auto" as it is."""
    if value in ("auto", "none"):
        return value if value == "auto" else []
    names = value.split(",")
    unknown = [name for name in names if name not in SPEED_UPS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is unknown; choose of {', '.join(SPEED_UPS)}; or auto or none")
    return names


def option_pairs(_: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """("width_G=64",) as {"width_G": 64}."""
    pairs = {}
    for value in values:
        name, sign, given = value.partition("=")
        if not sign:
            raise click.BadParameter(f"{value!r} is not of the form name=value", param=param)
        try:
            pairs[name] = json.loads(given)
        except ValueError:
            pairs[name] = given
    return pairs


SPEED_VALUES = f" With commas: {', '.join(SPEED_UPS)}; or auto: those that change results only by rounding; or none."
READ: dict[str, dict[str, Any]] = {  # the fields that are no single value
    "model_options": {"multiple": True, "metavar": "NAME=VALUE", "callback": option_pairs},
    "multipliers": {"default": "", "show_default": "1,2,4,4,...", "metavar": "NUMBERS", "callback": parse_numbers},
    "speed": {"default": "auto", "show_default": True, "metavar": "NAMES", "callback": speed_ups},
}


def options_of(kind: str) -> list[click.Parameter]:
    """All options of a kind: of its config, with the config's defaults and choices, and of the run."""
    fields = config_fields(kind)
    settings = declared_settings(CONFIG_CLASSES[kind])
    order = [name for name in dict.fromkeys([*LEADING_OPTIONS, *fields]) if name in fields]
    options: list[click.Parameter] = [field_option(kind, name, fields[name], settings[name]) for name in order]
    return [*options, *run_options(kind)]


def field_option(kind: str, name: str, default: Any, about: Setting) -> click.Option:
    """The option of one field of the config."""
    if name == "data":
        names = ", ".join(DATA_SETS[kind])
        text = f"The data: {names}; or a folder of your own images ({FOLDERS[kind]})."
        return click.Option(["--data"], default=default, show_default=True, metavar="NAME|FOLDER", help=text)
    if name in READ:
        more = SPEED_VALUES if name == "speed" else ""
        return click.Option([option_name(name), name], help=about.help + more, **READ[name])
    if name == "steps":
        return whole(name, default, about.help, lowest=1)
    shown = True if default != "" and name != "z_dim" else "by the data"
    if about.choices:
        return click.Option(
            [option_name(name), name],
            default=str(default) or None,
            show_default=shown,
            type=click.Choice([str(value) for value in about.values()]),
            callback=lambda _, __, value: default if value is None else type(default)(value),
            help=about.help,
        )
    return click.Option(
        [option_name(name), name], default=default, show_default=shown, type=type(default), help=about.help
    )


def run_options(kind: str) -> list[click.Parameter]:
    """The options that are no field of the config."""
    steps = (
        [] if "steps" in config_fields(kind) else [whole("steps", DEFAULT_STEPS, "The length of the run.", lowest=1)]
    )
    path = click.Path(file_okay=False, path_type=Path)
    return [
        *steps,
        whole("size", None, f"The side of the images, in pixels; by default {FOLDER_SIZE} for a folder.", lowest=1),
        click.Option(["--download"], is_flag=True, help="Fetch the data, where it is not here yet and can be fetched."),
        click.Option(["--sync-batchnorm"], is_flag=True, help=SYNC_BATCHNORM),
        click.Option(["--folder"], type=path, help="The run's folder; by default runs/KIND-DATA-STRATEGY-NUMBER."),
        click.Option(["--resume"], type=path, help="Go on with the run in this folder, as its config.json says."),
        whole("from_step", None, "With --resume: from the checkpoint of this step, kept by --keep-every.", lowest=1),
        whole("sample_every", 500, "Steps between two images; 0 for none."),
        whole("checkpoint_every", 500, "Steps between two checkpoints.", lowest=1),
        whole("keep_every", 0, "Steps between two checkpoints that stay beside the newest; 0 for none."),
    ]


def whole(name: str, default: int | None, text: str, lowest: int = 0) -> click.Option:
    """An option that is a whole number of at least `lowest`."""
    kind = click.IntRange(min=lowest)
    return click.Option([option_name(name), name], default=default, show_default=True, type=kind, help=text)
