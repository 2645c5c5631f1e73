"""Downloads from a server on this machine: whole or not there, resumed after a break, and unpacked safely."""

import contextlib
import errno
import gc
import gzip
import hashlib
import http.server
import io
import socket
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
from gantutor.data.downloads import CYCLEGAN, PIX2PIX, unpack

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


def tar_bytes(files: dict[str, bytes], link: str = "") -> bytes:
    """`link` is the name of a symbolic link that leads out of any folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in (*files, *[link] * bool(link)):
            member, content = tarfile.TarInfo(name), files.get(name, b"")
            member.size = len(content)
            if name == link:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


FACADES = pictures("facades", PAIR_FOLDERS, 32)
HORSES = pictures("horse2zebra", DOMAIN_FOLDERS, 16)
TAR, ZIP = tar_bytes(FACADES), zip_bytes(HORSES)
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
        self.files: dict[str, bytes | None] = {TAR_PATH: TAR, ZIP_PATH: ZIP, **IDX_GZ}
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

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is no news
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
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [f"{server.url}/"])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
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


def test_a_download_leaves_the_whole_set(server: Server) -> None:
    data = load("mnist", download=True)
    assert isinstance(data, Images)
    assert data.labels is not None
    assert (data.name, data.shape) == ("mnist", (1, 28, 28))
    np.testing.assert_array_equal(data.images[:, 0], IDX["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(data.labels, IDX["train-labels-idx1-ubyte"])
    server.requests.clear()
    test = load("mnist", split="test", size=32, download=True)
    assert not server.requests, "what is there is not fetched again"
    assert isinstance(test, Images)
    np.testing.assert_array_equal(test.images[:, 0, 2:-2, 2:-2], IDX["t10k-images-idx3-ubyte"])
    assert test.images[:, 0, :2].max() == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torchvision does not close a 404
@pytest.mark.parametrize("fault", ["cut off", "wrong bytes", "not found", "silent"])
def test_a_failed_download_leaves_nothing_that_loads(
    fault: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "SECONDS_WITHOUT_A_BYTE", 0.3)
    path = "/train-labels-idx1-ubyte.gz"
    if fault == "silent":
        server.silent = path
    else:
        server.files[path] = {"cut off": IDX_GZ[path][:20], "wrong bytes": bytes(50)}.get(fault)
    with pytest.raises(DataError, match=r'mnist could not be downloaded(.|\n)*load\("digits"\) needs no download'):
        load("mnist", download=True)
    assert socket.getdefaulttimeout() is None
    with pytest.raises(DataError, match=r'mnist is missing or damaged .*load\("mnist", download=True\)'):
        load("mnist")
    gc.collect()  # so that the socket's warning comes here and not in another test


def test_a_damaged_set_is_named_and_fetched_again(server: Server, tmp_path: Path) -> None:
    load("mnist", download=True)
    (tmp_path / "MNIST/raw/train-images-idx3-ubyte").write_bytes(idx_bytes(IDX["train-images-idx3-ubyte"])[:-1])
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
    data, few = horses(), horses(number=3)
    assert (data.name, data.domains, data.has_truth) == ("horse2zebra", ("horse", "zebra"), False)
    assert [len(part) for part in (data.A, data.B, data.test_A, data.test_B)] == [5, 4, 2, 3]
    assert [len(part) for part in (few.A, few.B, few.test_A, few.test_B)] == [3, 3, 2, 3]
    assert left_behind(tmp_path / "cyclegan") == sorted(HORSES)


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
        ({"kind": "text/html; charset=utf-8"}, "is not an archive: the server sent text/html"),
        ({"files": {TAR_PATH: b"<html>gone</html>" * 100}}, r"facades\.tar\.gz is damaged or refused"),
        (
            {"files": {TAR_PATH: tar_bytes(pictures("maps", PAIR_FOLDERS, 32))}},
            "is not the set: facades/train has 0 im",
        ),
        ({"files": {}}, "the server answered 404"),
        ({"silent": TAR_PATH}, "cannot be had"),
        ({"url": "http://127.0.0.1:1"}, "cannot be had .*refused"),
        ({"url": "file:///etc"}, "no address that can be downloaded; expected http"),
    ],
)
def test_what_cannot_be_right_leaves_nothing(
    fault: dict[str, Any], message: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "SECONDS_WITHOUT_A_BYTE", 0.2)
    vars(server).update(fault)
    monkeypatch.setenv("GANTUTOR_OFFICIAL", server.url)
    with pytest.raises(ValueError if server.url.startswith("file") else DataError, match=message):
        facades()
    assert left_behind(tmp_path) in ([], ["pix2pix"])


def test_a_disk_that_fills_up_keeps_what_has_come(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(source: Any, target: Any = None, *_: Any) -> None:
        if target and not isinstance(target, Path):
            target.write(source.read(100))
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", no_room)
        with pytest.raises(DataError, match=r"cannot be had .*what has come is kept"):
            facades()
    assert left_behind(tmp_path / "pix2pix") == ["facades.tar.gz.part", "facades.tar.gz.part.version"]
    with monkeypatch.context() as patch:
        patch.setattr(downloads, "unpack", no_room)
        with pytest.raises(DataError, match=r"cannot be unpacked into .* it is kept"):
            facades()
    assert left_behind(tmp_path / "pix2pix") == ["facades.tar.gz"]
    server.requests.clear()
    assert len(facades()) == 6
    assert server.requests == [], "the archive was there"


# Archives that are not what they should be ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
def test_nothing_leads_out_of_the_folder(suffix: str, tmp_path: Path) -> None:
    """The standard library refuses it, or makes another name of it: it was asked in the right way."""
    folder, archive = tmp_path / "outer" / "a" / "b", tmp_path / f"x.{suffix}"
    folder.mkdir(parents=True)
    files = [{name: b"x"} for name in ("../evil.jpg", "a/../../../evil.jpg", f"{tmp_path}/evil.jpg")]
    for content in map(zip_bytes, files) if suffix == "zip" else (*map(tar_bytes, files), tar_bytes({}, "link.jpg")):
        archive.write_bytes(content)
        with contextlib.suppress(Exception):
            unpack(archive, folder)
        outside = {path.name for path in tmp_path.rglob("*") if folder not in path.parents}
        assert outside == {"outer", "a", "b", archive.name}
        assert not any(path.is_symlink() for path in folder.rglob("*"))
