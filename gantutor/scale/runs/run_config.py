"""What a run is made from: config.json, the config that it comes to, and the data.

A run config is one flat dict: the fields of the config, where `data` is a name or the path of a folder, and beside them
`kind` (a name of CONFIG_CLASSES), `size`, `steps`, `sync_batchnorm`, `replicas` (on how many it was last), `pictures`
(how many images the data had), and how often the run leaves something in its folder.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gantutor.configs import Config, CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.data import (
    DATA,
    PAIRED,
    POINT_SETS,
    UNPAIRED,
    DataError,
    NamedSet,
    Points,
    Unpaired,
    image_folder,
    paired_folder,
    unpaired_folders,
)

RunConfig = dict[str, Any]

CONFIG_CLASSES: dict[str, type[Config]] = {
    "dcgan": GANConfig,
    "pix2pix": Pix2PixConfig,
    "cyclegan": CycleGANConfig,
}
DATA_SETS: dict[str, Mapping[str, NamedSet[Any]]] = {"dcgan": DATA, "pix2pix": PAIRED, "cyclegan": UNPAIRED}
FOLDER_SIZE = 64  # pixels, of one's own images; a set with a name has a size of its own

# What may change when a run goes on. For a DCGAN `steps`, too: the others' learning rate falls by it.
INTERVALS = ("sample_every", "checkpoint_every", "keep_every")
CHANGEABLE = ("device", "speed", "replicas", *INTERVALS, "versions")
REQUIRED = ("size", "steps", "sync_batchnorm", "replicas", "pictures", *INTERVALS)  # beside the fields of the config


def two_folders(path: Path, **options: Any) -> Any:
    """`unpaired_folders` of path/A and path/B, or path/trainA and path/trainB. Raises: DataError for neither."""
    for A, B in (("A", "B"), ("trainA", "trainB")):
        if (path / A).is_dir() and (path / B).is_dir():
            return unpaired_folders(path / A, path / B, **options)
    raise DataError(f"{path} needs two folders of images, A and B or trainA and trainB")


FOLDER_READERS: dict[str, Callable[..., Any]] = {
    "dcgan": image_folder,
    "pix2pix": paired_folder,
    "cyclegan": two_folders,
}


def config_fields(kind: str) -> dict[str, Any]:
    """The fields of the kind's config, by name, and their defaults; "" and 0 where the data decides."""
    return {
        field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        for field in dataclasses.fields(CONFIG_CLASSES[kind])  # type: ignore[arg-type]
    }


def resolve_data_name(kind: str, data: str) -> str:
    """A name of the kind's data as it is, anything else as a whole path: a run may go on from another folder."""
    return data if data in DATA_SETS[kind] else str(Path(data).expanduser().resolve())


def is_known(kind: str, data: str) -> bool:
    """Whether `data` of a run config is a name that the kind's data still has, or the whole path of a folder."""
    return data in DATA_SETS[kind] or Path(data).is_absolute()


def load_data(kind: str, name: str, size: int | None, device: str, download: bool = False) -> Any:
    """The data set of that name, or one's own images in the folder of that name.

    `download` fetches what is missing of the sets that are not made here.
    Raises: ValueError for what is neither, or a size that the set cannot have; DataError, as the set's function does.
    """
    sets = DATA_SETS[kind]
    if name in sets:
        options: RunConfig = {"size": size} if size else {}
        if size and name in POINT_SETS:
            raise ValueError(f"--size is the side of an image, and {name} has none")
        if download and sets[name].needs == "download":
            options["download"] = True
        return sets[name](device=device, **options)
    if not Path(name).is_dir():
        raise ValueError(
            f"--data: {name} is no folder; give one of your own images, or choose one of {', '.join(sets)}"
        )
    return FOLDER_READERS[kind](Path(name), size=size or FOLDER_SIZE, device=device)


def image_counts(data: Any) -> list[int]:
    """How many images a set has, of each domain if it has two; nothing for points, which never run out."""
    parts = [data.A, data.B] if isinstance(data, Unpaired) else [] if isinstance(data, Points) else [data]
    return [len(part) for part in parts]


def build_config(run_config: RunConfig, data: Any, speed: tuple[str, ...] = ()) -> Config:
    """The config of a run config. Raises: ValueError, as the config does."""
    fields = config_fields(run_config["kind"])
    values = {name: run_config[name] for name in fields if name in run_config}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    data = run_config["data"] if run_config["data"] in DATA_SETS[run_config["kind"]] else data
    return CONFIG_CLASSES[run_config["kind"]](**{**values, **lists, "data": data, "speed": speed})


def fill_config(run_config: RunConfig, config: Config) -> RunConfig:
    """The run config with what the config made of it: it fills in what was left open."""
    settled = {
        name: getattr(config, name) for name in config_fields(run_config["kind"]) if name not in ("data", "speed")
    }
    return {
        **run_config,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in settled.items()},
    }


def missing_fields(run_config: RunConfig) -> list[str]:
    """What a run has to know and this run config does not say."""
    return [name for name in dict.fromkeys([*config_fields(run_config["kind"]), *REQUIRED]) if name not in run_config]


def is_changeable(kind: str, name: str) -> bool:
    """Whether a run may go on with another value."""
    return name in CHANGEABLE or (name == "steps" and "steps" not in config_fields(kind))


def fixed_fields(run_config: RunConfig) -> RunConfig:
    """The part of a run config that must not change: the same gives the same run."""
    return {name: value for name, value in run_config.items() if not is_changeable(run_config["kind"], name)}


def contradictions(run_config: RunConfig, given: RunConfig) -> list[str]:
    """What in `given` would make another run of a started one, as the command line spells it."""
    return [
        f"{option_name(name)} was {format_value(run_config.get(name))}, is {format_value(value)}"
        for name, value in given.items()
        if value != run_config.get(name) and not is_changeable(run_config["kind"], name)
    ]


def option_name(name: str) -> str:
    """A field's name as an option: lr_G is --lr-G."""
    return "--model-option" if name == "model_options" else f"--{name.replace('_', '-')}"


def format_value(value: Any) -> str:
    """A field's value as the command line has it."""
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items()) or "none"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
