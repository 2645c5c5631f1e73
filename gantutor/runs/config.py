"""What a run is made from: config.json, the record that it comes to, and the data.

A config is one flat dict: the fields of the record, where `data` is a name or the path of a folder, and beside them
`kind` (a name of KINDS), `size`, `steps`, `sync_batchnorm`, `replicas` (on how many it was last), `pictures` (how many
the data had), and how often the run leaves something in its folder.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gantutor.data import (
    DATA,
    PAIRED,
    POINT_SETS,
    UNPAIRED,
    DataError,
    Points,
    Unpaired,
    image_folder,
    paired_folder,
    unpaired_folders,
)
from gantutor.data.official import CYCLEGAN, PIX2PIX
from gantutor.experiment import CycleGANExperiment, Experiment, Pix2PixExperiment, Record

Config = dict[str, Any]

KINDS: dict[str, type[Record]] = {
    "dcgan": Experiment,
    "pix2pix": Pix2PixExperiment,
    "cyclegan": CycleGANExperiment,
}
NAMED: dict[str, dict[str, Callable[..., Any]]] = {"dcgan": DATA, "pix2pix": PAIRED, "cyclegan": UNPAIRED}
FETCHED = ("mnist", "fashion_mnist", "kmnist", *PIX2PIX, *CYCLEGAN)
OWN_SIZE = 64  # pixels, of one's own pictures; a set with a name has a size of its own

# What may change when a run goes on. For a DCGAN `steps`, too: the others' learning rate falls by it.
OFTEN = ("sample_every", "checkpoint_every", "keep_every")
FREE = ("device", "speed", "replicas", *OFTEN, "versions")
NEEDED = ("size", "steps", "sync_batchnorm", "replicas", "pictures", *OFTEN)  # beside the fields of the record


def two_folders(path: Path, **options: Any) -> Any:
    """`unpaired_folders` of path/A and path/B, or path/trainA and path/trainB. Raises: DataError for neither."""
    for A, B in (("A", "B"), ("trainA", "trainB")):
        if (path / A).is_dir() and (path / B).is_dir():
            return unpaired_folders(path / A, path / B, **options)
    raise DataError(f"{path} needs two folders of pictures, A and B or trainA and trainB")


OWN: dict[str, Callable[..., Any]] = {"dcgan": image_folder, "pix2pix": paired_folder, "cyclegan": two_folders}


def record_fields(kind: str) -> dict[str, Any]:
    """The fields of the kind's record, by name, and their defaults; "" and 0 where the data decides."""
    return {
        field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        for field in dataclasses.fields(KINDS[kind])  # type: ignore[arg-type]
    }


def named(kind: str, data: str) -> str:
    """A name of the kind's data as it is, anything else as a whole path: a run may go on from another folder."""
    return data if data in NAMED[kind] else str(Path(data).expanduser().resolve())


def load_data(kind: str, name: str, size: int | None, device: str, download: bool = False) -> Any:
    """The data set of that name, or one's own pictures in the folder of that name.

    `download` fetches what is missing of the sets that are not made here.
    Raises: ValueError for what is neither, or a size that the set cannot have; DataError, as the set's function does.
    """
    sets = NAMED[kind]
    if name in sets:
        options: Config = {"size": size} if size else {}
        if size and name in POINT_SETS:
            raise ValueError(f"--size is the side of a picture, and {name} has none")
        if download and name in FETCHED:
            options["download"] = True
        return sets[name](device=device, **options)
    if not Path(name).is_dir():
        raise ValueError(
            f"--data: {name} is no folder; give one of your own pictures, or choose one of {', '.join(sets)}"
        )
    return OWN[kind](Path(name), size=size or OWN_SIZE, device=device)


def counted(data: Any) -> list[int]:
    """How many pictures a set has, of each domain if it has two; nothing for points, which never run out."""
    parts = [data.A, data.B] if isinstance(data, Unpaired) else [] if isinstance(data, Points) else [data]
    return [len(part) for part in parts]


def record_of(config: Config, data: Any, speed: tuple[str, ...] = ()) -> Record:
    """The record of a config. Raises: ValueError, as the record does."""
    fields = record_fields(config["kind"])
    values = {name: config[name] for name in fields if name in config}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    data = config["data"] if config["data"] in NAMED[config["kind"]] else data
    return KINDS[config["kind"]](**{**values, **lists, "data": data, "speed": speed})


def filled(config: Config, record: Record) -> Config:
    """The config with what the record made of it: it fills in what was left open."""
    settled = {name: getattr(record, name) for name in record_fields(config["kind"]) if name not in ("data", "speed")}
    return {**config, **{name: list(value) if isinstance(value, tuple) else value for name, value in settled.items()}}


def missing(config: Config) -> list[str]:
    """What a run has to know and this config does not say."""
    return [name for name in dict.fromkeys([*record_fields(config["kind"]), *NEEDED]) if name not in config]


def is_free(kind: str, name: str) -> bool:
    """Whether a run may go on with another value."""
    return name in FREE or (name == "steps" and "steps" not in record_fields(kind))


def deciding(config: Config) -> Config:
    """The part of a config that must not change: the same gives the same run."""
    return {name: value for name, value in config.items() if not is_free(config["kind"], name)}


def contradictions(config: Config, given: Config) -> list[str]:
    """What in `given` would make another run of a started one, as the command line spells it."""
    return [
        f"{spelled(name)} was {shown(config.get(name))}, is {shown(value)}"
        for name, value in given.items()
        if value != config.get(name) and not is_free(config["kind"], name)
    ]


def spelled(name: str) -> str:
    """A field's name as an option: lr_G is --lr-G."""
    return "--model-option" if name == "model_options" else f"--{name.replace('_', '-')}"


def shown(value: Any) -> str:
    """A field's value as the command line has it."""
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items()) or "none"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
