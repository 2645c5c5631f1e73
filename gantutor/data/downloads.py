"""Sets that are downloaded on request: MNIST and its like, and those of the pix2pix and CycleGAN papers.

    load("mnist", download=True)  # once; then load("mnist")
    load_pairs("facades", download=True)
    load_unpaired("horse2zebra", download=True)

They are their authors' and their sources', under terms of their own (torchvision and the readme of the reference
implementation name them); gantutor contains none of them.
"""

import dataclasses
import errno
import os
import shutil
import socket
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from gantutor.data.common import DataError, check_choice, downloads_folder, usable_device
from gantutor.data.images import Images, Pairs, Unpaired, with_held_out
from gantutor.data.own_images import find_images, list_images, paired_folder, read_domains

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SECONDS_WITHOUT_A_BYTE = 30.0  # then a server counts as gone

# MNIST and its like, by torchvision -----------------------------------------------------------------------------------

# Handwritten digits (LeCun, Cortes and Burges), clothing (Xiao, Rasul and Vollgraf, 2017), cursive Japanese characters
# (Clanuwat et al., 2018): 70,000 images each, and the classes that read them.
MNIST = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}


def torchvision_set(
    name: str, device: str | torch.device = "cpu", split: str = "train", size: int = 28, download: bool = False
) -> Images:
    """Grey images (1, size, size) of one split, "train" or "test"; `size` 32 is 28 with a black margin.

    `download=True` fetches what is missing or damaged.
    Raises: ValueError for another split or size; DataError for missing or damaged files, or a failed download.
    """
    import torchvision.datasets

    check_choice("split", split, ("train", "test"))
    check_choice("size", size, (28, 32))
    device = usable_device(device)
    dataset, root = getattr(torchvision.datasets, MNIST[name]), downloads_folder()
    try:
        found = dataset(root, train=split == "train")
    except Exception as error:  # torchvision raises whatever missing or damaged files lead it into
        if not download:
            raise DataError(
                f'{name} is missing or damaged in {root} ({error}). Get it: load("{name}", download=True)'
            ) from error
        found = fetch_torchvision(name, dataset, root, split)
    images = F.pad(found.data[:, None], ((size - 28) // 2,) * 4)
    return Images(name, images.to(device), found.targets.to(device))


def fetch_torchvision(name: str, dataset: Any, root: Path, split: str) -> Any:
    """Let torchvision download all four files anew, and check their MD5. Raises: DataError for whatever goes wrong."""
    raw = root / dataset.__name__ / "raw"
    shutil.rmtree(raw, ignore_errors=True)  # torchvision takes what is there for whole
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_WITHOUT_A_BYTE)  # torchvision would wait for ever
    try:
        return dataset(root, train=split == "train", download=True)
    except Exception as error:  # network, checksum, a server's page instead of a file, a full disk
        raise DataError(
            f"{name} could not be downloaded to {root}: {error}\n"
            f'Try again: load("{name}", download=True), or put the files into {raw} yourself; load("digits") needs no '
            "download"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)


# The papers' sets -----------------------------------------------------------------------------------------------------

# The server of both papers' authors, as in the reference implementation's scripts. $GANTUTOR_OFFICIAL names another.
BASE_URL = "http://efrosgans.eecs.berkeley.edu"

# How many images the folders of each set hold. Pairs are judged by the test split, or by "val" where there is none.
Parts = dict[str, int]
PIX2PIX: dict[str, Parts] = {
    "facades": {"train": 400, "val": 100, "test": 106},
    "maps": {"train": 1096, "val": 1098},
    "edges2shoes": {"train": 49825, "val": 200},
    "edges2handbags": {"train": 138567, "val": 200},
    "night2day": {"train": 17823, "val": 10, "test": 2287},
}
INPUT_IS_RIGHT = ("facades",)  # the others have the input on the left
CYCLEGAN: dict[str, Parts] = {
    "horse2zebra": {"trainA": 1067, "trainB": 1334, "testA": 120, "testB": 140},
    "apple2orange": {"trainA": 995, "trainB": 1019, "testA": 266, "testB": 248},
    "summer2winter_yosemite": {"trainA": 1231, "trainB": 962, "testA": 309, "testB": 238},
    "monet2photo": {"trainA": 1072, "trainB": 6287, "testA": 121, "testB": 751},
    "maps": {"trainA": 1096, "trainB": 1096, "testA": 1098, "testB": 1098},
    "facades": {"trainA": 400, "trainB": 400, "testA": 106, "testB": 106},
}


def official_pairs(
    name: str, split: str = "train", download: bool = False, number: int | None = None, **options: Any
) -> Pairs:
    """One split of a set of the pix2pix paper, turned so that A is the input; "train" has the test pairs with it.

    `download=True` fetches what is missing or damaged. `number` takes only the first; at most 200 pairs are held out.
    The other options are those of `paired_folder`: `size`, `device`, `flip`, `jitter`.
    Raises: ValueError for another split; DataError for missing or damaged files, a failed download or too
    many images.
    """
    parts = PIX2PIX[name]
    check_choice("split", split, tuple(parts))
    folder = ready_folder("pix2pix", f"{name}.tar.gz", parts, download, "load_pairs")

    def part(split: str, number: int | None) -> Pairs:
        read = paired_folder(folder / split, held_out=0, number=number, **options)
        return dataclasses.replace(read.reversed() if name in INPUT_IS_RIGHT else read, name=name)

    return with_held_out(part, split, number, ("test" if "test" in parts else "val", 200))


def official_unpaired(
    name: str,
    device: str | torch.device = "cpu",
    size: int = 256,
    download: bool = False,
    number: int | None = None,
    flip: bool = True,
    jitter: bool = True,
) -> Unpaired:
    """A set of the CycleGAN paper; options as in `official_pairs`, `number` of each domain at the most.

    Nobody knows the right translation of its test images: it has no truth.
    Raises: DataError for missing or damaged files, a failed download or too many images.
    """
    device = usable_device(device)
    folder = ready_folder("cyclegan", f"{name}.zip", CYCLEGAN[name], download, "load_unpaired")
    files = [find_images(folder / part)[:number] for part in CYCLEGAN[name]]
    A, B, test_A, test_B = (images.to(device) for images in read_domains(files, size, name))
    first, _, second = name.removesuffix("_yosemite").partition("2")
    named = (first, second) if second else ("A", "B")
    return Unpaired(name, A, B, test_A, test_B, named, flip=flip, jitter=jitter)


def ready_folder(kind: str, file: str, parts: Parts, download: bool, function: str) -> Path:
    """The folder that holds the set of a paper, whole.

    Raises: DataError where it does not and `download` is False, or where the download fails.
    """
    name = file.partition(".")[0]
    folder = downloads_folder() / kind / name
    missing = shortfall(folder, parts)
    if missing and not download:
        raise DataError(f'{missing}. Get the set: {function}("{name}", download=True)')
    if missing:
        base = os.environ.get("GANTUTOR_OFFICIAL") or BASE_URL
        fetch_archive(f"{base.rstrip('/')}/{kind}/datasets/{file}", folder, parts)
    return folder


def shortfall(folder: Path, parts: Parts) -> str:
    """What is missing in `folder`, in words; "" where every part has as many images as it should."""
    for part, count in parts.items():
        found = len(list_images(folder / part))
        if found < count:
            return f"{folder / part} has {found:,} images; expected {count:,}"
    return ""


def fetch_archive(url: str, folder: Path, parts: Parts) -> None:
    """Download, unpack beside `folder`, check, and only then rename: what is there is whole at every moment.

    An archive that is damaged or not what it should be is thrown away; one that only found no room is kept.
    Raises: DataError for whatever goes wrong.
    """
    archive = folder.parent / url.rpartition("/")[2]
    if not archive.is_file():
        fetch(url, archive)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder.parent) as temporary:
        try:
            unpack(archive, Path(temporary))
        except Exception as error:  # the bytes may lead into any
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise DataError(f"{archive} cannot be unpacked into {folder.parent} ({error}); it is kept") from error
            archive.unlink()
            what = str(error) or type(error).__name__
            raise DataError(f"{archive} is damaged or refused ({what}). Get it again") from error
        if missing := shortfall(Path(temporary, folder.name), parts):
            archive.unlink()
            raise DataError(f"{archive.name} from {url} is not the set: {missing.removeprefix(f'{temporary}/')}")
        if folder.exists():  # an older, incomplete one
            os.replace(folder, Path(temporary, "older"))
        os.replace(Path(temporary, folder.name), folder)
    archive.unlink()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .tar.gz or a .zip into `folder`. The standard library lets no member leave it.

    Raises: whatever the standard library raises for an archive that is damaged or that it refuses.
    """
    from tqdm import tqdm

    progress = partial(tqdm, desc=f"unpacking {archive.name}", unit="file")
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder, progress(file.namelist()))
    else:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, progress(tar), filter="data")


# One large file -------------------------------------------------------------------------------------------------------


def fetch(url: str, path: Path) -> None:
    """Download `url` to `path`, going on with what an earlier, broken download has left in `path`.part.

    Raises: DataError for whatever goes wrong; what has come is kept, so that the next call goes on. ValueError for an
    address that is not http or https.
    """
    from tqdm import tqdm

    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no address that can be downloaded; expected http:// or https://")
    part, notes = Path(f"{path}.part"), Path(f"{path}.part.version")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(request(url, part, notes), timeout=SECONDS_WITHOUT_A_BYTE) as response:
            check_response(url, path, response)
            start = part.stat().st_size if response.status == 206 else 0
            total = start + response.length
            notes.write_text(f"{url} {version(response)}")
            with part.open("r+b" if start else "wb") as file:
                file.truncate(start)
                file.seek(start)
                with tqdm.wrapattr(file, "write", total, initial=start, desc=path.name) as target:
                    shutil.copyfileobj(response, target, 2**18)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing is left to fetch, or the file has changed
            part.unlink(missing_ok=True)
        raise DataError(f"{url} cannot be had: the server answered {error.code} ({error.reason}). Try again") from error
    except (HTTPException, OSError) as error:  # the network, or a full disk
        raise DataError(f"{url} cannot be had ({error}). Try again: what has come is kept in {part}") from error
    if part.stat().st_size < total:
        raise DataError(
            f"{url} broke off after {part.stat().st_size:,} of {total:,} bytes. Try again: it goes on from there"
        )
    os.replace(part, path)
    notes.unlink()


def request(url: str, part: Path, notes: Path) -> urllib.request.Request:
    """A request from the end of `part` on, if that is of this address and the server still has its version."""
    asked = urllib.request.Request(url, headers={"User-Agent": "gantutor", "Accept-Encoding": "identity"})
    known_url, _, known = notes.read_text().partition(" ") if notes.is_file() else ("", "", "")
    if known_url == url and known and part.is_file():
        asked.add_header("Range", f"bytes={part.stat().st_size}-")
        asked.add_header("If-Range", known)
    return asked


def version(response: HTTPResponse) -> str:
    """What tells this version of the file from another: a strong ETag or the date, "" for neither."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def check_response(url: str, path: Path, response: HTTPResponse) -> None:
    """Raises: DataError for a page instead of an archive, or an unknown length."""
    kind = response.headers.get_content_type()
    if kind.startswith("text/"):
        raise DataError(
            f"{url} is not an archive: the server sent {kind}, perhaps a page that says why. "
            f"Open the address in a browser, and put {path.name} into {path.parent} yourself"
        )
    if response.length is None:
        raise DataError(f"{url}: the server does not say how long the file is")
