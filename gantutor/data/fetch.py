"""Download one large file, resumed after a break, and unpack what somebody else has packed, inside one folder."""

import gzip
import json
import lzma
import os
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import Any

from gantutor.data.common import DataError

SECONDS_WITHOUT_A_BYTE = 30.0  # then a server counts as gone
CHUNK = 2**18
ARCHIVES = {".gz": b"\x1f\x8b", ".zip": b"PK\x03\x04"}  # what the content of each begins with


def download(url: str, path: Path) -> None:
    """Fetch `url` to `path`, going on with what an earlier, broken download has left in `path`.part.

    A download that breaks off leaves its part, so that the next call goes on; one that cannot be right (a page instead
    of an archive, a full disk) leaves nothing.
    Raises: DataError for whatever goes wrong; ValueError for an address that is not http or https.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no address that can be downloaded; expected http:// or https://")
    part, notes = Path(f"{path}.part"), Path(f"{path}.part.json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_from(url, part, notes) as response:
            check_kind(url, path, response)
            start, total = span(response)
            if response.status == 206 and start != size_of(part):
                forget(part, notes)
                raise DataError(f"{url}: the server went on at byte {start:,}, not where the part ends. Try again")
            check_room(path, total - start)
            notes.write_text(json.dumps({"url": url, "version": version(response)}))
            receive(response, part, start, total)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing is left to fetch, or the file has changed
            forget(part, notes)
        raise DataError(f"{url} cannot be had: the server answered {error.code} ({error.reason}). Try again") from error
    except (HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise DataError(f"{url} cannot be had ({error}). Try again: what has come is kept") from error
    except OSError as error:  # above all a full disk
        forget(part, notes)
        raise DataError(f"{url} cannot be written to {path.parent} ({error}). Nothing was kept") from error
    if size_of(part) < total:
        raise DataError(f"{url} broke off after {size_of(part):,} of {total:,} bytes. Try again: it goes on from there")
    check_start(url, path, part, notes)
    os.replace(part, path)
    notes.unlink()


def open_from(url: str, part: Path, notes: Path) -> Any:
    """The response, from the end of the part on if there is one and the server still has that version of the file."""
    request = urllib.request.Request(url, headers={"User-Agent": "gantutor", "Accept-Encoding": "identity"})
    known = read_notes(notes)
    if size_of(part) and known.get("url") == url and known.get("version"):
        request.add_header("Range", f"bytes={size_of(part)}-")
        request.add_header("If-Range", known["version"])
    return urllib.request.urlopen(request, timeout=SECONDS_WITHOUT_A_BYTE)


def read_notes(notes: Path) -> dict[str, str]:
    try:
        known = json.loads(notes.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def version(response: HTTPResponse) -> str:
    """What tells this version of the file from another: a strong ETag or the date, "" for neither."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def span(response: HTTPResponse) -> tuple[int, int]:
    """The first byte that comes, and how many the whole file has.

    Raises: DataError where the server does not say.
    """
    try:
        if response.status == 206:
            first, total = response.headers["Content-Range"].removeprefix("bytes ").split("/")
            return int(first.split("-")[0]), int(total)
        return 0, int(response.headers["Content-Length"])
    except (TypeError, ValueError, AttributeError):
        raise DataError(f"{response.url}: the server does not say how long the file is") from None


def receive(response: HTTPResponse, part: Path, start: int, total: int) -> None:
    from tqdm import tqdm

    with (
        part.open("ab" if start else "wb") as file,
        tqdm(total=total, initial=start, desc=part.stem, unit="B", unit_scale=True, unit_divisor=1024) as progress,
    ):
        while chunk := read_some(response):
            file.write(chunk)
            progress.update(len(chunk))


def read_some(response: HTTPResponse) -> bytes:
    """Raises: ConnectionError for whatever stops the network: what stops the disk is an OSError of another kind."""
    try:
        return response.read(CHUNK)
    except OSError as error:
        raise ConnectionError(str(error)) from error


def check_kind(url: str, path: Path, response: HTTPResponse) -> None:
    """Raises: DataError for a page instead of an archive."""
    kind = response.headers.get_content_type()
    if kind.startswith("text/"):
        raise DataError(
            f"{url} is not an archive: the server sent {kind}, perhaps a page that says why. "
            f"Open the address in a browser, and put {path.name} into {path.parent} yourself"
        )


def check_room(path: Path, needed: int) -> None:
    """Raises: DataError where the disk has less free."""
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise DataError(f"{path.name} needs {needed:,} bytes, but {path.parent} has {free:,} free. Nothing was written")


def check_start(url: str, path: Path, part: Path, notes: Path) -> None:
    """Raises: DataError for content that does not begin as an archive of that name does; the part is gone then."""
    expected = ARCHIVES[path.suffix]
    with part.open("rb") as file:
        found = file.read(len(expected))
    if found != expected:
        forget(part, notes)
        raise DataError(f"{url} is not an archive: it begins with {found!r}, expected {expected!r}. Nothing was kept")


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def forget(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


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
