"""Unpack an archive that somebody else has made: ordinary files and folders, inside the folder given, and no more."""

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from gantutor.data.common import DataError

DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
    FileExistsError, IsADirectoryError, NotADirectoryError,  # two members are in each other's way
)  # fmt: skip
# The standard library's own check of each member, on top of ours; Python 3.11.0 to 3.11.3 do not have it.
CHECKED: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
JUNK = ("__MACOSX", ".DS_Store")


class NoRoomError(DataError):
    """The archive may well be right, but it cannot be written out here."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .tar.gz or a .zip into `folder`, which must be there; without links, devices or paths that leave it.

    Raises: DataError naming the member that is refused, for a truncated or damaged archive, or for a full disk. The
    caller throws the folder away then.
    """
    read: Callable[[Path, Path], None] = unpack_zip if archive.suffix == ".zip" else unpack_tar
    try:
        read(archive, folder)
    except DAMAGED as error:
        raise DataError(f"{archive} is damaged or truncated ({error or type(error).__name__}). Get it again") from error
    except OSError as error:  # above all a full disk
        raise NoRoomError(f"{archive} cannot be unpacked into {folder} ({error})") from error


def unpack_tar(archive: Path, folder: Path) -> None:
    from tqdm import tqdm

    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tqdm(tar, desc=f"unpacking {archive.name}", unit="file"):
            if not member.isreg() and not member.isdir():
                raise DataError(
                    f"{archive}: {member.name!r} is a link or a device. It is refused, with all of the archive"
                )
            if wanted(archive, member.name):
                check_unpacked_room(archive, folder, member.size)
                tar.extract(member, folder, set_attrs=False, **CHECKED)
        while stream.read(2**20):  # to the very end, where gzip checks its CRC; tarfile stops before
            pass


def unpack_zip(archive: Path, folder: Path) -> None:
    from tqdm import tqdm

    with zipfile.ZipFile(archive) as file:
        for member in tqdm(file.infolist(), desc=f"unpacking {archive.name}", unit="file"):
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(
                    f"{archive}: {member.filename!r} is a link or a device. It is refused, with all of the archive"
                )
            if member.flag_bits & 1:
                raise DataError(f"{archive}: {member.filename!r} is encrypted; expected an open archive")
            if not wanted(archive, member.orig_filename):
                continue
            target = folder / member.filename
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            check_unpacked_room(archive, folder, member.file_size)
            target.parent.mkdir(parents=True, exist_ok=True)
            with file.open(member) as source, target.open("xb") as copy:  # reading to the end checks the CRC
                shutil.copyfileobj(source, copy)


def wanted(archive: Path, name: str) -> bool:
    """Whether a member is to be unpacked: not what a Mac has added.

    Raises: DataError for a name that could lead out of the folder, on this system or another.
    """
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or any(sign in name for sign in ("\\", ":", "\0")):
        raise DataError(f"{archive}: {name!r} would lead out of the folder. It is refused, with all of the archive")
    return not any(part in JUNK or part.startswith("._") for part in parts)


def check_unpacked_room(archive: Path, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoRoomError(f"{archive}: the next file needs {needed:,} bytes, but {folder} has {free:,} free")
