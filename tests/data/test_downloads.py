"""Downloads from a server on this machine: whole or not there, resumed after a break, and unpacked safely."""

import contextlib
import gc
import gzip
import hashlib
import http.server
import io
import os
import resource
import shutil
import socket
import stat
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from gantutor.data import DataError, Images, downloads, load, load_pairs, load_unpaired
from gantutor.data.downloads import CYCLEGAN, MNIST, PIX2PIX, unpack

PAIR_FOLDERS = {"train": 6, "val": 2, "test": 3}
DOMAIN_FOLDERS = {"trainA": 5, "trainB": 4, "testA": 2, "testB": 3}
rng = np.random.default_rng(0)


def jpeg(width: int, height: int = 16) -> bytes:
    """Noise, so that an archive of a few of them is long enough to be cut anywhere."""
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def pictures(name: str, folders: dict[str, int], width: int) -> dict[str, bytes]:
    return {f"{name}/{part}/{index + 1}.jpg": jpeg(width) for part, count in folders.items() for index in range(count)}


def tar_bytes(files: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member)
    return buffer.getvalue()


def zip_bytes(files: dict[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


FACADES = pictures("facades", PAIR_FOLDERS, 32)
HORSES = pictures("horse2zebra", DOMAIN_FOLDERS, 16)
TAR, ZIP = tar_bytes(FACADES), zip_bytes(HORSES)  # type: ignore[arg-type]
TAR_PATH, ZIP_PATH = "/pix2pix/datasets/facades.tar.gz", "/cyclegan/datasets/horse2zebra.zip"


def idx_bytes(array: np.ndarray) -> bytes:
    """A uint8 array in the idx format: two zeros, 8 for uint8, the number of axes, their lengths, the bytes."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


IDX = {
    "train-images-idx3-ubyte": rng.integers(0, 256, (60, 28, 28)),
    "train-labels-idx1-ubyte": rng.integers(0, 10, 60),
    "t10k-images-idx3-ubyte": rng.integers(0, 256, (20, 28, 28)),
    "t10k-labels-idx1-ubyte": rng.integers(0, 10, 20),
}
IDX_GZ = {f"/{name}.gz": gzip.compress(idx_bytes(array)) for name, array in IDX.items()}


class Server:
    """Serves `files` by path. After `break_after` bytes it hangs up, once; `ranges` False: it knows no Range."""

    def __init__(self) -> None:
        self.files = {TAR_PATH: TAR, ZIP_PATH: ZIP, **IDX_GZ}
        self.kind, self.tag, self.ranges, self.silent = "application/x-gzip", '"1"', True, ""
        self.break_after: int | None = None
        self.requests: list[tuple[str, str | None]] = []
        self.sent = 0
        self.closing = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:  # a client that hangs up is no news
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.requests.append((handler.path, wanted))
        if self.silent == handler.path:
            self.closing.wait(20)
            return
        content = self.files.get(handler.path)
        if content is None:
            handler.send_error(404)
            return
        start = 0
        if wanted and self.ranges and handler.headers.get("If-Range") == self.tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            handler.send_response(200)
        handler.send_header("Content-Type", self.kind)
        handler.send_header("ETag", self.tag)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        body = content[start:]
        if self.break_after is not None:
            body, self.break_after = body[: self.break_after], None
        handler.wfile.write(body)
        self.sent += len(body)

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """The server, with small sets of the true layouts; the package and torchvision are told to use it."""
    server = Server()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("GANTUTOR_OFFICIAL", f"{server.url}/")
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path))
    monkeypatch.setitem(PIX2PIX, "facades", PAIR_FOLDERS)
    monkeypatch.setitem(CYCLEGAN, "horse2zebra", DOMAIN_FOLDERS)
    resources = [(path.lstrip("/"), hashlib.md5(content).hexdigest()) for path, content in IDX_GZ.items()]
    for class_name in MNIST.values():
        monkeypatch.setattr(getattr(torchvision.datasets, class_name), "mirrors", [f"{server.url}/"])
        monkeypatch.setattr(getattr(torchvision.datasets, class_name), "resources", resources)
    yield server
    server.close()


def facades(**options: Any) -> Any:
    return load_pairs("facades", size=16, **{"download": True, **options})


def horses(**options: Any) -> Any:
    return load_unpaired("horse2zebra", size=16, **{"download": True, **options})


def left_behind(root: Path) -> list[str]:
    """Every file under `root`, and every folder without one."""
    return sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() or not any(path.iterdir())
    )


# MNIST and its like ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MNIST)
def test_a_download_leaves_the_whole_set(name: str, server: Server, tmp_path: Path) -> None:
    data = load(name, download=True)
    assert isinstance(data, Images)
    assert data.labels is not None
    assert (data.name, data.shape) == (name, (1, 28, 28))
    np.testing.assert_array_equal(data.images[:, 0], IDX["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(data.labels, IDX["train-labels-idx1-ubyte"])
    server.requests.clear()
    test = load(name, split="test", size=32, download=True)
    assert not server.requests, "what is there is not fetched again"
    assert isinstance(test, Images)
    np.testing.assert_array_equal(test.images[:, 0, 2:-2, 2:-2], IDX["t10k-images-idx3-ubyte"])
    assert test.images[:, 0, :2].max() == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torchvision does not close a 404
@pytest.mark.parametrize("fault", ["cut off", "wrong bytes", "not found", "silent"])
def test_a_failed_download_leaves_nothing_that_loads(
    fault: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "SECONDS_WITHOUT_A_BYTE", 0.3)
    path = "/train-labels-idx1-ubyte.gz"
    if fault == "silent":
        server.silent = path
    else:
        spoilt = {"cut off": IDX_GZ[path][:20], "wrong bytes": bytes(50), "not found": None}[fault]
        server.files[path] = spoilt  # type: ignore[assignment]
    with pytest.raises(DataError, match=r'mnist could not be downloaded(.|\n)*load\("digits"\) needs no download'):
        load("mnist", download=True)
    assert socket.getdefaulttimeout() is None
    with pytest.raises(DataError, match=r'mnist is missing or damaged .*load\("mnist", download=True\)'):
        load("mnist")
    gc.collect()  # so that the socket's warning comes here and not in another test


@pytest.mark.parametrize("content", [b"<html>404</html>" * 40, idx_bytes(IDX["train-images-idx3-ubyte"])[:-1]])
def test_a_damaged_set_is_named_and_fetched_again(content: bytes, server: Server, tmp_path: Path) -> None:
    load("mnist", download=True)
    (tmp_path / "MNIST/raw/train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match="mnist is missing or damaged"):
        load("mnist")
    assert len(load("mnist", download=True)) == len(load("mnist")) == 60


# The papers' sets -----------------------------------------------------------------------------------------------------


def test_pairs_are_turned_and_carry_their_test_pairs(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = facades(jitter=False)
    shown = capsys.readouterr().err
    assert "facades.tar.gz: 100%" in shown
    assert "unpacking facades.tar.gz" in shown
    assert (data.name, len(data), data.shape, data.flip, data.jitter) == ("facades", 6, (3, 16, 16), True, False)
    assert (data.held_out.name, len(data.held_out), data.held_out.flip) == ("facades", 3, False)
    picture = np.asarray(Image.open(io.BytesIO(FACADES["facades/train/1.jpg"])))
    assert np.array_equal(data.A[0].permute(1, 2, 0), picture[:, 16:]), "the labels are on the right"
    assert np.array_equal(data.B[0].permute(1, 2, 0), picture[:, :16])
    assert left_behind(tmp_path / "pix2pix") == sorted(FACADES)
    server.requests.clear()
    val = load_pairs("facades", size=16, split="val", number=1)
    assert (len(val), val.flip, val.jitter, val.held_out) == (1, False, False, None)
    assert not server.requests
    with pytest.raises(ValueError, match="split='all' is unknown; choose one of 'train', 'val', 'test'"):
        load_pairs("facades", split="all")


def test_domains_keep_their_names_and_have_no_truth(server: Server, tmp_path: Path) -> None:
    data = horses()
    assert (data.name, data.domains, data.has_truth) == ("horse2zebra", ("horse", "zebra"), False)
    assert [len(part) for part in (data.A, data.B, data.test_A, data.test_B)] == [5, 4, 2, 3]
    assert left_behind(tmp_path / "cyclegan") == sorted(HORSES)
    with pytest.raises(DataError, match=r"14 images of 16 pixels need .* take fewer"):
        horses(max_bytes=10_000)
    assert len(horses(max_bytes=10_000, number=3).A) == 3


def test_a_set_with_a_missing_picture_is_fetched_again(server: Server, tmp_path: Path) -> None:
    facades()
    (tmp_path / "pix2pix/facades/train/3.jpg").unlink()
    with pytest.raises(DataError, match=r'train has 5 images; expected 6. Get the set: load_pairs\("facades", downl'):
        facades(download=False)
    assert len(facades()) == 6
    assert left_behind(tmp_path / "pix2pix") == sorted(FACADES)


# Broken downloads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["", "new file", "no ranges", "no version", "no notes"])
def test_a_broken_download_goes_on_where_it_broke_off_or_starts_again(
    change: str, server: Server, tmp_path: Path
) -> None:
    third = len(TAR) // 3
    server.break_after = third
    if change == "no version":
        server.tag = 'W/"1"'  # a weak ETag does not promise the same bytes
    with pytest.raises(DataError, match=r"(broke off after|cannot be had).*[Tt]ry again"):
        facades()
    assert left_behind(tmp_path / "pix2pix") == ["facades.tar.gz.part", "facades.tar.gz.part.version"]
    if change == "new file":
        server.tag, server.files[TAR_PATH] = '"2"', tar_bytes(dict(reversed(FACADES.items())))
    if change == "no notes":
        (tmp_path / "pix2pix/facades.tar.gz.part.version").unlink()
    server.ranges = change != "no ranges"
    assert len(facades()) == 6
    asked = None if change in ("no version", "no notes") else f"bytes={third}-"
    assert [wanted for _, wanted in server.requests] == [None, asked]
    if not change:
        assert server.sent == len(TAR), "no byte came twice"
    assert left_behind(tmp_path / "pix2pix") == sorted(FACADES)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("page", "is not an archive: the server sent text/html"),
        ("other bytes", r"facades\.tar\.gz is damaged or refused"),
        ("another set", "is not the set: facades/train has 0 images; expected 6"),
        ("not found", "the server answered 404"),
        ("silent", "cannot be had"),
        ("no server", "cannot be had .*refused"),
        ("other protocol", "no address that can be downloaded; expected http"),
    ],
)
def test_what_cannot_be_right_leaves_nothing(
    fault: str, message: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "SECONDS_WITHOUT_A_BYTE", 0.2)
    server.silent = TAR_PATH if fault == "silent" else ""
    if fault == "page":
        server.kind = "text/html; charset=utf-8"
    if fault == "other bytes":
        server.files[TAR_PATH] = b"<html>gone</html>" * 100
    if fault == "another set":
        server.files[TAR_PATH] = tar_bytes(pictures("maps", PAIR_FOLDERS, 32))
    if fault == "not found":
        del server.files[TAR_PATH]
    if fault == "no server":
        with socket.create_server(("127.0.0.1", 0)) as unused:
            monkeypatch.setenv("GANTUTOR_OFFICIAL", f"http://127.0.0.1:{unused.getsockname()[1]}")
    if fault == "other protocol":
        monkeypatch.setenv("GANTUTOR_OFFICIAL", "file:///etc")
    with pytest.raises(ValueError if fault == "other protocol" else DataError, match=message):
        facades()
    assert left_behind(tmp_path) in ([], ["pix2pix"])


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: writing more is an OSError, as on a full disk.

    pytest's stderr is a file, too: a progress bar that cannot write there would keep its lock for good.
    """
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_disk_that_fills_up_keeps_what_has_come(server: Server, tmp_path: Path) -> None:
    with room_for(len(TAR) // 2), pytest.raises(DataError, match=r"cannot be had .*what has come is kept"):
        facades()
    assert 0 < (tmp_path / "pix2pix/facades.tar.gz.part").stat().st_size <= len(TAR) // 2
    shutil.rmtree(tmp_path / "pix2pix")
    (tmp_path / "pix2pix").mkdir()
    (tmp_path / "pix2pix/facades.tar.gz").write_bytes(TAR)
    with room_for(100), pytest.raises(DataError, match=r"cannot be unpacked into .* it is kept"):
        facades()
    assert left_behind(tmp_path / "pix2pix") == ["facades.tar.gz"]
    server.requests.clear()
    assert len(facades()) == 6
    assert server.requests == [], "the archive was there"


# Archives that are not what they should be ----------------------------------------------------------------------------


def tar_link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def zip_link(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


NAMES = ("../evil.jpg", "a/../../../evil.jpg", "/evil/evil.jpg", "a\\..\\..\\evil.jpg", "C:/evil.jpg", "~/evil.jpg")
HOSTILE = {
    **{f"tar {name}": tar_bytes({name: b"x"}) for name in NAMES},
    **{f"zip {name}": zip_bytes({name: b"x"}) for name in NAMES},
    "tar symbolic link": tar_bytes({}, tar_link("link.jpg", tarfile.SYMTYPE, "/etc/passwd")),
    "tar hard link": tar_bytes({}, tar_link("link.jpg", tarfile.LNKTYPE, "/etc/passwd")),
    "tar device": tar_bytes({}, tar_link("zero", tarfile.CHRTYPE, "")),
    "tar pipe": tar_bytes({}, tar_link("pipe", tarfile.FIFOTYPE, "")),
    "zip symbolic link": zip_bytes({zip_link("link.jpg"): b"/etc/passwd"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    archive, folder = tmp_path / f"x.{'tar.gz' if name.startswith('tar') else 'zip'}", tmp_path / "outer" / "a" / "b"
    archive.write_bytes(HOSTILE[name])
    folder.mkdir(parents=True)
    with contextlib.suppress(Exception):  # the standard library refuses it, or makes another name of it
        unpack(archive, folder)
    outside = [path for path in (tmp_path / "outer").rglob("*") if path != folder and folder not in path.parents]
    assert outside == [tmp_path / "outer" / "a"]
    assert not Path("/evil").exists()
    assert all(path.is_dir() or (path.is_file() and not path.is_symlink()) for path in folder.rglob("*"))
    assert all(os.stat(path).st_nlink == 1 for path in folder.rglob("*") if path.is_file())
