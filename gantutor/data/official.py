"""The data sets of the pix2pix and CycleGAN papers, downloaded on request from their authors' server.

    load_pairs("facades", download=True)         # once; then load_pairs("facades")
    load_unpaired("horse2zebra", download=True)

They are the authors' and their sources', under terms of their own (the readme of the reference implementation lists
them); gantutor contains none of them.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from gantutor.data.common import DataError, check_choice, downloads_folder, usable_device
from gantutor.data.fetch import NoRoomError, unpack
from gantutor.data.fetch import download as fetch_file
from gantutor.data.own_images import MAX_BYTES, check_bytes, decode, find_images, paired_folder, read_all, read_domain
from gantutor.data.pairs import Pairs, Unpaired

# The server of both papers' authors, as in the reference implementation's scripts. $GANTUTOR_OFFICIAL names another.
BASE_URL = "http://efrosgans.eecs.berkeley.edu"
DECODED = 200  # images of each folder that are decoded after a download; all are when they are loaded


@dataclass(frozen=True)
class Official:
    """Where a set is on the server, how many images its folders hold, and on which side of a pair the input is."""

    address: str
    folders: dict[str, int]
    reversed: bool = False  # the input is on the right
    judged_on: str = "test"


PIX2PIX = {
    "facades": Official("pix2pix/datasets/facades.tar.gz", {"train": 400, "val": 100, "test": 106}, reversed=True),
    "maps": Official("pix2pix/datasets/maps.tar.gz", {"train": 1096, "val": 1098}, judged_on="val"),
    "edges2shoes": Official("pix2pix/datasets/edges2shoes.tar.gz", {"train": 49825, "val": 200}, judged_on="val"),
    "edges2handbags": Official(
        "pix2pix/datasets/edges2handbags.tar.gz", {"train": 138567, "val": 200}, judged_on="val"
    ),
    "night2day": Official("pix2pix/datasets/night2day.tar.gz", {"train": 17823, "val": 10, "test": 2287}),
}


def domains(train_A: int, train_B: int, test_A: int, test_B: int) -> dict[str, int]:
    return {"trainA": train_A, "trainB": train_B, "testA": test_A, "testB": test_B}


CYCLEGAN = {
    "horse2zebra": Official("cyclegan/datasets/horse2zebra.zip", domains(1067, 1334, 120, 140)),
    "apple2orange": Official("cyclegan/datasets/apple2orange.zip", domains(995, 1019, 266, 248)),
    "summer2winter_yosemite": Official("cyclegan/datasets/summer2winter_yosemite.zip", domains(1231, 962, 309, 238)),
    "monet2photo": Official("cyclegan/datasets/monet2photo.zip", domains(1072, 6287, 121, 751)),
    "maps": Official("cyclegan/datasets/maps.zip", domains(1096, 1096, 1098, 1098)),
    "facades": Official("cyclegan/datasets/facades.zip", domains(400, 400, 106, 106)),
}


def official_pairs(
    name: str,
    device: str | torch.device = "cpu",
    split: str = "train",
    size: int = 256,
    download: bool = False,
    root: str | Path | None = None,
    base_url: str | None = None,
    number: int | None = None,
    flip: bool = True,
    jitter: bool = True,
    max_bytes: int = MAX_BYTES,
) -> Pairs:
    """One split of a set of the pix2pix paper, turned so that A is the input; "train" has the test pairs with it.

    `download=True` fetches what is missing or damaged. `root` is $GANTUTOR_DATA, else data/downloads in a checkout,
    else the user's cache folder; `base_url` is $GANTUTOR_OFFICIAL, else BASE_URL. `number` takes only the first; at
    most 200 pairs are held out.
    Raises: ValueError for another split; DataError for missing or damaged files, a failed download or too
    many images.
    """
    source = PIX2PIX[name]
    check_choice("split", split, tuple(source.folders))
    folder = ready("pix2pix", name, source, download, root, base_url)
    is_train = split == "train"
    read = partial(paired_folder, size=size, device=device, held_out=0, max_bytes=max_bytes)
    pairs = read(folder / split, number=number, flip=flip and is_train, jitter=jitter and is_train)
    judged = read(folder / source.judged_on, number=200, flip=False, jitter=False) if is_train else None
    pairs = Pairs(name, pairs.A, pairs.B, flip=pairs.flip, jitter=pairs.jitter, held_out=judged)
    return pairs.reversed() if source.reversed else pairs


def official_unpaired(
    name: str,
    device: str | torch.device = "cpu",
    size: int = 256,
    download: bool = False,
    root: str | Path | None = None,
    base_url: str | None = None,
    number: int | None = None,
    flip: bool = True,
    jitter: bool = True,
    max_bytes: int = MAX_BYTES,
) -> Unpaired:
    """A set of the CycleGAN paper; options as in `official_pairs`, `number` of each domain at the most.

    Nobody knows the right translation of its test images: it has no truth.
    Raises: DataError for missing or damaged files, a failed download or too many images.
    """
    source = CYCLEGAN[name]
    device = usable_device(device)
    folder = ready("cyclegan", name, source, download, root, base_url)
    files = [find_images(folder / part)[:number] for part in source.folders]
    check_bytes(folder, sum(map(len, files)), size, max_bytes)
    parts = [read_domain(found, size, f"{name}, {part}") for part, found in zip(source.folders, files, strict=True)]
    A, B, test_A, test_B = (part.to(device) for part in parts)
    first, _, second = name.removesuffix("_yosemite").partition("2")
    named = (first, second) if second else ("A", "B")
    return Unpaired(name, A, B, test_A, test_B, named, flip=flip, jitter=jitter)


def ready(
    kind: str, name: str, source: Official, download: bool, root: str | Path | None, base_url: str | None
) -> Path:
    """The folder that holds the set, whole.

    Raises: DataError where it does not and `download` is False, or where the download fails.
    """
    folder = (downloads_folder() if root is None else Path(root).expanduser()) / kind / name
    missing = shortfall(folder, source)
    if missing and not download:
        function = "load_pairs" if kind == "pix2pix" else "load_unpaired"
        raise DataError(f'{missing}. Get the set: {function}("{name}", download=True)')
    if missing:
        base = base_url or os.environ.get("GANTUTOR_OFFICIAL") or BASE_URL
        fetch_archive(f"{base.rstrip('/')}/{source.address}", folder, source)
    return folder


def shortfall(folder: Path, source: Official) -> str:
    """What is missing in `folder`, in words; "" where every part has as many images as it should."""
    for part, count in source.folders.items():
        found = count_images(folder / part)
        if found < count:
            return f"{folder / part} has {found:,} images; expected {count:,}"
    return ""


def count_images(folder: Path) -> int:
    try:
        return len(find_images(folder))
    except DataError:  # no such folder, or an empty one
        return 0


def fetch_archive(url: str, folder: Path, source: Official) -> None:
    """Download, unpack beside `folder`, check, and only then rename: what is there is whole at every moment.

    An archive that is damaged or not what it should be is thrown away; one that only found no room is kept.
    Raises: DataError for whatever goes wrong.
    """
    archive = folder.parent / Path(source.address).name
    if not archive.is_file():
        fetch_file(url, archive)
    temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder.parent))
    try:
        unpack(archive, temporary)
        unpacked = temporary / folder.name
        missing = shortfall(unpacked, source)
        if missing:
            raise DataError(f"{archive.name} from {url} is not the set: {missing.removeprefix(f'{temporary}/')}")
        for part in source.folders:
            check_decoding(find_images(unpacked / part))
        if folder.exists():  # an older, incomplete one
            os.replace(folder, temporary / "older")
        os.replace(unpacked, folder)
        archive.unlink()
    except NoRoomError:
        raise
    except DataError:
        archive.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_decoding(files: list[Path]) -> None:
    """Decode DECODED of the images, evenly spaced. Raises: DataError naming the one that cannot be."""
    every = max(len(files) // DECODED, 1)
    read_all(files[::every], lambda file: decode(file, 3).size, files[0].parent.name)
