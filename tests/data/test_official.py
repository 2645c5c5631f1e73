"""The official sets from a server on this machine: whole or not there, resumed after a break, and unpacked safely."""

import contextlib
import http.server
import io
import resource
import shutil
import socket
import stat
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gantutor.data import (
    CYCLEGAN,
    PAIRED,
    PIX2PIX,
    UNPAIRED,
    DataError,
    fetch,
    load_pairs,
    load_unpaired,
    official,
    ready_sets,
)
from gantutor.data.fetch import unpack
from gantutor.data.official import Official

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
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return buffer.getvalue()


def zip_bytes(files: dict[str, bytes], *extra: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
        for member, content in extra:
            file.writestr(member, content)
    return buffer.getvalue()


FACADES = pictures("facades", PAIR_FOLDERS, 32)
HORSES = pictures("horse2zebra", DOMAIN_FOLDERS, 16)
TAR, ZIP = tar_bytes(FACADES), zip_bytes(HORSES)


class Server:
    """Serves `files` by path. `break_after` bytes it hangs up, once; `ranges` False: it knows no Range."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.kind, self.tag, self.ranges, self.silent = "application/x-gzip", '"1"', True, False
        self.break_after: int | None = None
        self.shift = 0  # the answer to a Range begins so many bytes too late
        self.requests: list[tuple[str, str | None]] = []
        self.sent = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.requests.append((handler.path, wanted))
        if self.silent:
            time.sleep(1)
            return
        content = self.files.get(handler.path)
        if content is None:
            handler.send_error(404)
            return
        start = 0
        if wanted and self.ranges and handler.headers.get("If-Range") == self.tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-")) + self.shift
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
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server, with two small sets of the official layout; the package is told to use it, by the environment."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setitem(PIX2PIX, "facades", Official("p/facades.tar.gz", PAIR_FOLDERS, reversed=True))
    monkeypatch.setitem(CYCLEGAN, "horse2zebra", Official("c/horse2zebra.zip", DOMAIN_FOLDERS))
    server = Server()
    server.files = {"/p/facades.tar.gz": TAR, "/c/horse2zebra.zip": ZIP}
    monkeypatch.setenv("GANTUTOR_OFFICIAL", server.url)
    yield server
    server.close()


def facades(root: Path, **options: Any) -> Any:
    return load_pairs("facades", root=root, size=16, **{"download": True, **options})


def horses(root: Path, **options: Any) -> Any:
    return load_unpaired("horse2zebra", root=root, size=16, **{"download": True, **options})


def left_behind(root: Path) -> list[str]:
    """Every file under `root`, and every folder without one."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() or not any(path.iterdir()))


# --- whole sets -------------------------------------------------------------------------------------------------------


def test_the_official_sets_are_there_by_name() -> None:
    assert {"facades", "maps", "edges2shoes", "edges2handbags", "night2day"} <= set(PAIRED)
    assert {"horse2zebra", "apple2orange", "summer2winter_yosemite", "monet2photo", "maps", "facades"} <= set(UNPAIRED)


def test_only_sets_that_need_no_download_are_ready() -> None:
    assert ready_sets(PAIRED) == ["emoji_flat", "emoji_sketch", "emoji_palette", "facades_mini", "maps_mini"]
    assert not set(PIX2PIX) & set(ready_sets(PAIRED))
    assert {"emoji", "maps_mini"} <= set(ready_sets(UNPAIRED))
    assert not set(CYCLEGAN) & set(ready_sets(UNPAIRED))


def test_pairs_are_downloaded_once_and_turned_so_that_a_is_the_input(server: Server, tmp_path: Path) -> None:
    data = facades(tmp_path)
    assert (data.name, len(data), data.shape, data.flip, data.jitter) == ("facades", 6, (3, 16, 16), True, True)
    assert (len(data.held_out), data.held_out.flip, data.held_out.jitter) == (3, False, False)
    first = np.asarray(Image.open(io.BytesIO(FACADES["facades/train/1.jpg"])))
    assert np.array_equal(data.A[0].permute(1, 2, 0).numpy(), first[:, 16:]), "labels are on the right"
    assert np.array_equal(data.B[0].permute(1, 2, 0).numpy(), first[:, :16])
    assert left_behind(tmp_path / "pix2pix") == sorted(FACADES), "no archive, no part, no temporary folder"
    again = facades(tmp_path, download=False, split="val")
    assert (len(again), again.flip, again.held_out) == (2, False, None)
    assert len(facades(tmp_path, number=4)) == 4
    assert len(server.requests) == 1


def test_domains_are_downloaded_and_have_no_truth(server: Server, tmp_path: Path) -> None:
    server.kind = "application/zip"
    data = horses(tmp_path)
    assert (data.name, data.domains, data.has_truth) == ("horse2zebra", ("horse", "zebra"), False)
    assert [len(part) for part in (data.A, data.B, data.test_A, data.test_B)] == [5, 4, 2, 3]
    assert left_behind(tmp_path / "cyclegan") == sorted(HORSES)
    third = np.asarray(Image.open(io.BytesIO(HORSES["horse2zebra/testB/3.jpg"])))
    assert np.array_equal(data.test_B[2].permute(1, 2, 0).numpy(), third)


def test_a_set_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'train has 0 images; expected 400. .* load_pairs\("facades", download=True\)'):
        load_pairs("facades", root=tmp_path)
    with pytest.raises(DataError, match=r'load_unpaired\("monet2photo", download=True\)'):
        load_unpaired("monet2photo", root=tmp_path)
    with pytest.raises(ValueError, match="split='all' is unknown; choose one of 'train', 'val'"):
        load_pairs("maps", root=tmp_path, split="all")


def test_a_set_that_has_lost_pictures_is_named_and_mended(server: Server, tmp_path: Path) -> None:
    facades(tmp_path)
    (tmp_path / "pix2pix/facades/train/3.jpg").unlink()
    with pytest.raises(DataError, match="train has 5 images; expected 6"):
        facades(tmp_path, download=False)
    assert len(facades(tmp_path)) == 6
    assert left_behind(tmp_path / "pix2pix") == sorted(FACADES)


def test_an_argument_names_another_server_before_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANTUTOR_OFFICIAL", "http://127.0.0.1:1")
    assert len(facades(tmp_path, base_url=f"{server.url}/")) == 6
    monkeypatch.delenv("GANTUTOR_OFFICIAL")
    asked = []
    monkeypatch.setattr(official, "fetch_archive", lambda url, *_: asked.append(url))
    with pytest.raises(DataError, match="not a folder"):
        facades(tmp_path / "other")
    assert asked == [f"{official.BASE_URL}/p/facades.tar.gz"]


def test_too_many_pictures_are_refused_before_they_are_read(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"14 images of 16 pixels need .* take fewer"):
        horses(tmp_path, max_bytes=10_000)
    assert len(horses(tmp_path, max_bytes=10_000, number=3, download=False).A) == 3


def test_a_download_shows_its_progress(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facades(tmp_path)
    shown = capsys.readouterr().err
    assert "facades.tar.gz: 100%" in shown
    assert "unpacking facades.tar.gz" in shown


# --- broken downloads -------------------------------------------------------------------------------------------------


def test_a_broken_download_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.break_after = len(TAR) // 3
    with pytest.raises(DataError, match=r"(broke off after|cannot be had).*[Tt]ry again"):
        facades(tmp_path)
    assert left_behind(tmp_path / "pix2pix") == ["facades.tar.gz.part", "facades.tar.gz.part.json"]
    assert len(facades(tmp_path)) == 6
    assert [wanted for _, wanted in server.requests] == [None, f"bytes={len(TAR) // 3}-"]
    assert server.sent == len(TAR), "no byte came twice"
    assert left_behind(tmp_path / "pix2pix") == sorted(FACADES)


def test_a_file_that_has_changed_meanwhile_is_fetched_from_its_start(server: Server, tmp_path: Path) -> None:
    server.break_after = len(TAR) // 3
    with pytest.raises(DataError):
        facades(tmp_path)
    server.tag = '"2"'
    server.files["/p/facades.tar.gz"] = tar_bytes(dict(reversed(FACADES.items())))
    assert len(facades(tmp_path)) == 6


@pytest.mark.parametrize("fault", ["no ranges", "no version", "damaged notes"])
def test_without_a_sure_way_to_go_on_it_starts_again(fault: str, server: Server, tmp_path: Path) -> None:
    server.break_after = len(TAR) // 3
    if fault == "no version":
        server.tag = 'W/"1"'  # a weak ETag does not promise the same bytes
    with pytest.raises(DataError):
        facades(tmp_path)
    if fault == "damaged notes":
        (tmp_path / "pix2pix/facades.tar.gz.part.json").write_text("[")
    server.ranges = fault != "no ranges"
    assert len(facades(tmp_path)) == 6


def test_a_server_that_goes_on_elsewhere_is_not_believed(server: Server, tmp_path: Path) -> None:
    server.break_after = len(TAR) // 3
    with pytest.raises(DataError):
        facades(tmp_path)
    server.shift = 7
    with pytest.raises(DataError, match="not where the part ends"):
        facades(tmp_path)
    assert left_behind(tmp_path / "pix2pix") == []
    assert len(facades(tmp_path)) == 6


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("page", "is not an archive: the server sent text/html"),
        ("other bytes", r"is not an archive: it begins with b'<h', expected b'\\x1f\\x8b'"),
        ("not found", "the server answered 404"),
        ("silent", "cannot be had"),
    ],
)
def test_what_is_no_archive_leaves_nothing(
    fault: str, message: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "SECONDS_WITHOUT_A_BYTE", 0.2)
    server.silent = fault == "silent"
    if fault == "page":
        server.kind = "text/html; charset=utf-8"
    if fault in ("page", "other bytes"):
        server.files["/p/facades.tar.gz"] = b"<html>gone</html>" * 100
    if fault == "not found":
        server.files.clear()
    with pytest.raises(DataError, match=message):
        facades(tmp_path)
    assert left_behind(tmp_path / "pix2pix") == []


def test_without_a_server_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(DataError, match=r"facades\.tar\.gz cannot be had .*refused"):
        load_pairs("facades", root=tmp_path, download=True, base_url=address)
    for url in ("file:///etc/passwd", "ftp://somewhere/x"):
        with pytest.raises(ValueError, match="no address that can be downloaded; expected http"):
            load_pairs("facades", root=tmp_path, download=True, base_url=url)


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: writing more is an OSError, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_disk_that_fills_up_while_downloading_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with room_for(len(TAR) // 2), pytest.raises(DataError, match=r"cannot be written to .*Nothing was kept"):
        facades(tmp_path)
    assert left_behind(tmp_path / "pix2pix") == []
    assert len(facades(tmp_path)) == 6


def test_a_disk_that_fills_up_while_unpacking_keeps_the_whole_archive_only(server: Server, tmp_path: Path) -> None:
    (tmp_path / "pix2pix").mkdir()
    (tmp_path / "pix2pix/facades.tar.gz").write_bytes(TAR)
    with room_for(100), pytest.raises(DataError, match="cannot be unpacked into"):
        facades(tmp_path)
    assert left_behind(tmp_path / "pix2pix") == ["facades.tar.gz"]
    assert len(facades(tmp_path)) == 6
    assert server.requests == [], "the archive was there"


def test_too_little_room_is_seen_before_anything_is_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=rf"needs {len(TAR):,} bytes, but .* has 1,000 free. Nothing was written"):
        facades(tmp_path)
    assert left_behind(tmp_path / "pix2pix") == []


def test_an_interrupt_leaves_no_half_set(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(official, "check_decoding", interrupted)
    with pytest.raises(KeyboardInterrupt):
        facades(tmp_path)
    assert left_behind(tmp_path / "pix2pix") == ["facades.tar.gz"]


# --- archives that are not what they should be ------------------------------------------------------------------------


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(3, max(len(TAR), len(ZIP)) - 1), kind=st.sampled_from(["tar", "zip"]))
def test_a_truncated_archive_is_refused_wherever_it_is_cut(cut: int, kind: str, tmp_path: Path, server: Server) -> None:
    root = tmp_path / "truncated"
    shutil.rmtree(root, ignore_errors=True)
    whole, path = (TAR, "/p/facades.tar.gz") if kind == "tar" else (ZIP, "/c/horse2zebra.zip")
    server.files[path] = whole[: min(cut, len(whole) - 1)]
    with pytest.raises(DataError, match=r"is damaged or truncated|is not the set|is not an archive"):
        (facades if kind == "tar" else horses)(root)
    assert [path for path in left_behind(root) if "/" in path] == []


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, max(len(TAR), len(ZIP)) - 1), kind=st.sampled_from(["tar", "zip"]))
def test_a_flipped_bit_is_refused_or_changes_nothing(place: int, kind: str, tmp_path: Path) -> None:
    whole, files = (TAR, FACADES) if kind == "tar" else (ZIP, HORSES)
    content = bytearray(whole)
    content[place % len(whole)] ^= 1
    archive, folder = tmp_path / f"x.{'tar.gz' if kind == 'tar' else 'zip'}", tmp_path / "out"
    archive.write_bytes(content)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        unpack(archive, folder)
    except DataError:
        return
    found = sorted((folder / name).read_bytes() for name in left_behind(folder) if (folder / name).is_file())
    assert set(found) <= set(files.values()), "what was unpacked is what was packed"


def link(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def zip_member(name: str, mode: int = 0) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    return member


HOSTILE_TAR = {
    "parent": tarfile.TarInfo("../evil.jpg"),
    "deep parent": tarfile.TarInfo("facades/train/../../../evil.jpg"),
    "absolute": tarfile.TarInfo("/tmp/evil.jpg"),
    "backslash": tarfile.TarInfo("facades\\..\\..\\evil.jpg"),
    "drive": tarfile.TarInfo("C:/evil.jpg"),
    "symbolic link": link("facades/train/link.jpg", tarfile.SYMTYPE),
    "inner symbolic link": link("facades/train/link.jpg", tarfile.SYMTYPE, "1.jpg"),
    "hard link": link("facades/train/link.jpg", tarfile.LNKTYPE, "facades/train/1.jpg"),
    "character device": link("facades/zero", tarfile.CHRTYPE),
    "block device": link("facades/disk", tarfile.BLKTYPE),
    "pipe": link("facades/pipe", tarfile.FIFOTYPE),
}
HOSTILE_ZIP = {
    "parent": zip_member("../evil.jpg"),
    "deep parent": zip_member("horse2zebra/trainA/../../../evil.jpg"),
    "absolute": zip_member("/tmp/evil.jpg"),
    "backslash": zip_member("horse2zebra\\..\\..\\evil.jpg"),
    "drive": zip_member("C:/evil.jpg"),
    "symbolic link": zip_member("horse2zebra/trainA/link.jpg", stat.S_IFLNK | 0o777),
    "device": zip_member("horse2zebra/zero", stat.S_IFCHR | 0o666),
}


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("hostile", HOSTILE_TAR)
def test_a_hostile_tar_is_refused_whole(hostile: str, place: str, server: Server, tmp_path: Path) -> None:
    member = HOSTILE_TAR[hostile]
    if place == "last":
        content = tar_bytes(FACADES, member)
    else:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            tar.addfile(member)
        content = buffer.getvalue()
    server.files["/p/facades.tar.gz"] = content
    check_refusal(member.name, tmp_path, facades)


@pytest.mark.parametrize("hostile", HOSTILE_ZIP)
def test_a_hostile_zip_is_refused_whole(hostile: str, server: Server, tmp_path: Path) -> None:
    member = HOSTILE_ZIP[hostile]
    server.files["/c/horse2zebra.zip"] = zip_bytes(HORSES, (member, b"/etc/passwd"))
    check_refusal(member.filename, tmp_path, horses)


def check_refusal(name: str, tmp_path: Path, load: Callable[..., Any]) -> None:
    root = tmp_path / "outer" / "inner" / "root"
    with pytest.raises(DataError, match="refused, with all of the archive") as caught:
        load(root)
    assert repr(name) in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if not path.is_dir() or path.name.startswith(".")] == []
    assert not Path("/tmp/evil.jpg").exists()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.sampled_from(["..", ".", "", "a", "~", "C:", "..\\", "...", " "]), min_size=1, max_size=5),
    kind=st.sampled_from(["tar", "zip"]),
)
def test_no_name_leads_out_of_the_folder(parts: list[str], kind: str, tmp_path: Path) -> None:
    name = "/".join(parts)
    outer = tmp_path / "outer"
    shutil.rmtree(outer, ignore_errors=True)
    folder = outer / "a" / "b"
    folder.mkdir(parents=True)
    archive = tmp_path / f"x.{'tar.gz' if kind == 'tar' else 'zip'}"
    member = tarfile.TarInfo(name)
    archive.write_bytes(tar_bytes({}, member) if kind == "tar" else zip_bytes({}, (zip_member(name or "x"), b"")))
    with contextlib.suppress(DataError):
        unpack(archive, folder)
    assert [path for path in outer.rglob("*") if path != folder and folder not in path.parents] == [outer / "a"]


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_bytes({"a.jpg": b"x"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flags of the member, in both its headers
        content[content.index(signature) + offset] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"'a\.jpg' is encrypted"):
        unpack(tmp_path / "x.zip", tmp_path / "out")


def test_what_a_mac_adds_is_left_out(server: Server, tmp_path: Path) -> None:
    junk = {
        "__MACOSX/horse2zebra/trainA/._1.jpg": b"x",
        "horse2zebra/.DS_Store": b"x",
        "horse2zebra/trainA/._2.jpg": b"x",
    }
    server.files["/c/horse2zebra.zip"] = zip_bytes({**junk, **HORSES})
    assert len(horses(tmp_path).A) == 5
    assert left_behind(tmp_path / "cyclegan") == sorted(HORSES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"facades/val/2.jpg": None}, "is not the set: facades/val has 1 images; expected 2"),
        ({"facades/val/2.jpg": b"\xff\xd8 no"}, r"val/2\.jpg is not a readable image"),
        ({"facades/test/1.jpg": jpeg(32)[:200]}, r"test/1\.jpg is not a readable image"),
    ],
)
def test_a_set_with_a_missing_or_broken_picture_is_refused(
    change: dict[str, bytes | None], message: str, server: Server, tmp_path: Path
) -> None:
    files = {name: content for name, content in {**FACADES, **change}.items() if content is not None}
    server.files["/p/facades.tar.gz"] = tar_bytes(files)
    with pytest.raises(DataError, match=message):
        facades(tmp_path)
    assert left_behind(tmp_path / "pix2pix") == []


def test_an_archive_of_another_set_is_refused(server: Server, tmp_path: Path) -> None:
    server.files["/p/facades.tar.gz"] = tar_bytes(pictures("maps", PAIR_FOLDERS, 32))
    with pytest.raises(DataError, match="is not the set: facades/train has 0 images; expected 6"):
        facades(tmp_path)
    assert left_behind(tmp_path / "pix2pix") == []


def test_the_global_random_state_is_left_alone(server: Server, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    facades(tmp_path).sample(3, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)
