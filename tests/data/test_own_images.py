"""One's own images: one tensor or read by threads, pairs, two domains; what is read, and that bad files are named."""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_helpers import seeded
from PIL import Image, ImageDraw

from gantutor.data import DataError, Folder, Images, image_folder, own_images, paired_folder, unpaired_folders
from gantutor.data.own_images import held_out_places, read_image

RED, BLUE = (200, 20, 30), (10, 40, 220)


def save(path: Path, width: int = 20, height: int = 14, colour: Any = RED, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (width, height), colour).save(path)
    return path


def colour(index: int) -> tuple[int, int, int]:
    return (index * 9 % 256, index * 31 % 256, 255 - index * 9 % 256)


def save_pictures(folder: Path, number: int = 12) -> list[Path]:
    """Images of one colour each, in nested folders, in the order of their names."""
    return [save(folder / f"{i // 5}" / f"{i % 5}.png", colour=colour(i)) for i in range(number)]


def save_side_by_side(folder: Path, number: int, height: int = 20) -> None:
    """Pairs with A red and B blue, the number of the pair as green."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        picture = np.zeros((height, 2 * height, 3), np.uint8)
        picture[:, :height], picture[:, height:] = (200, index, 30), (10, index, 220)
        Image.fromarray(picture).save(folder / f"{index:03}.png")


# One image ------------------------------------------------------------------------------------------------------------


def test_pictures_of_every_mode_become_rgb_and_grey(tmp_path: Path) -> None:
    pictures = {
        "rgb.png": (Image.new("RGB", (10, 10), (200, 0, 0)), (200, 0, 0)),
        "grey.png": (Image.new("L", (10, 10), 200), (200, 200, 200)),
        "grey and alpha.png": (Image.new("LA", (10, 10), (200, 0)), (255, 255, 255)),
        "alpha.png": (Image.new("RGBA", (10, 10), (200, 0, 0, 0)), (255, 255, 255)),
        "half alpha.png": (Image.new("RGBA", (10, 10), (0, 0, 0, 128)), (127, 127, 127)),
        "palette.gif": (Image.new("RGB", (10, 10), (200, 0, 0)).convert("P", palette=1), (200, 0, 0)),
        "black and white.png": (Image.new("1", (10, 10), 1), (255, 255, 255)),
        "sixteen bits.png": (Image.new("I;16", (10, 10), 200 * 257), (200, 200, 200)),
        "print.tif": (Image.new("CMYK", (10, 10)), (255, 255, 255)),
    }
    for name, (picture, expected) in pictures.items():
        picture.save(tmp_path / name)
        shown = read_image(tmp_path / name, 4, 3)
        assert shown.is_contiguous()
        assert torch.equal(shown, torch.tensor(expected, dtype=torch.uint8)[:, None, None].expand(3, 4, 4)), name
        assert read_image(tmp_path / name, 4, 1).shape == (1, 4, 4)


def test_the_middle_square_is_kept_and_upright(tmp_path: Path) -> None:
    wide = Image.new("RGB", (90, 30), "red")
    ImageDraw.Draw(wide).rectangle((30, 0, 59, 29), fill="blue")
    wide.save(tmp_path / "wide.png")
    assert read_image(tmp_path / "wide.png", 15, 3)[:, 7, 7].tolist() == [0, 0, 255]
    assert read_image(tmp_path / "wide.png", 15, 3)[0].float().mean() < 10

    turned = Image.new("RGB", (64, 64), "black")
    ImageDraw.Draw(turned).rectangle((0, 0, 31, 63), fill="white")  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise to see it upright": the left half comes to the top
    turned.save(tmp_path / "turned.jpg", exif=exif)
    shown = read_image(tmp_path / "turned.jpg", 16, 1)[0].float()
    assert shown[:7].min() > 240
    assert shown[9:].max() < 15


@pytest.mark.parametrize("content", [b"", b"<html>not here</html>", b"cut"])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_broken_or_cut_file_is_named(content: bytes, kind: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    path = tmp_path / f"broken.{kind}"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2] if content == b"cut" else content)
    for read in (lambda: read_image(path, 16, 3), lambda: image_folder(tmp_path)):
        with pytest.raises(DataError, match=rf"broken.{kind} is not a readable image \(.*\). Replace it"):
            read()


# A folder of images ---------------------------------------------------------------------------------------------------


def test_a_small_folder_becomes_one_tensor_in_the_order_of_the_names(tmp_path: Path) -> None:
    save_pictures(tmp_path / "mine")
    (tmp_path / "mine" / "notes.txt").write_text("no image")
    (tmp_path / "mine" / "0" / "._0.png").write_bytes(b"what a Mac leaves beside an image")
    (tmp_path / "mine" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "mine" / ".ipynb_checkpoints" / "0.png").write_bytes(b"no image")
    data = image_folder(tmp_path / "mine", size=8)
    assert isinstance(data, Images)
    assert (data.name, data.shape, data.labels, len(data)) == ("mine", (3, 8, 8), None, 12)
    expected = torch.tensor([colour(index) for index in range(12)], dtype=torch.uint8)
    assert torch.equal(data.images, expected[:, :, None, None].expand(12, 3, 8, 8))
    assert image_folder(str(tmp_path / "mine"), size=8, channels=1).shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("read", "options", "message"),
    [
        (image_folder, {"path": "nowhere"}, "nowhere is not a folder"),
        (image_folder, {"path": "notes.txt"}, r"notes.txt is not a folder"),
        (
            image_folder,
            {"path": "empty"},
            r"empty has no images in it or in its folders; an image's name ends in .jpg, ",
        ),
        (paired_folder, {"path": "nowhere"}, "nowhere is not a folder"),
        (paired_folder, {"path": "empty"}, "has a folder A, but no folder B"),
        (image_folder, {"size": 0}, "size=0: expected at least 1"),
        (image_folder, {"size": 64.0}, "size=64.0: expected a whole number"),
        (image_folder, {"channels": 4}, "channels=4 is unknown; choose one of 1, 3"),
        (image_folder, {"workers": 0}, "workers=0"),
        (paired_folder, {"held_out": 1.0}, "held_out=1.0: expected a share"),
        (paired_folder, {"number": 0}, "number=0"),
    ],
)
def test_a_folder_without_images_is_named_and_options_are_checked(
    read: Callable[..., Any], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_side_by_side(tmp_path, 2)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty" / "A").mkdir(parents=True)
    with pytest.raises((DataError, ValueError, TypeError), match=message):
        read(**{**options, "path": tmp_path / options.get("path", "")})


# Files read by threads ------------------------------------------------------------------------------------------------


def test_a_large_folder_is_read_by_threads_and_gives_the_same_samples(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    one_tensor = image_folder(tmp_path, size=8, max_bytes=12 * 3 * 8 * 8)
    folder = image_folder(tmp_path, size=8, max_bytes=12 * 3 * 8 * 8 - 1, workers=2)
    assert isinstance(one_tensor, Images)
    assert isinstance(folder, Folder)
    for attribute in ("name", "shape", "kind", "device", "labels"):
        assert getattr(folder, attribute) == getattr(one_tensor, attribute), attribute
    state = torch.get_rng_state()
    same, other = seeded(5), seeded(5)
    for n in (1, 7, 200):
        samples = folder.sample(n, same)
        assert samples.dtype == torch.float32
        assert torch.equal(samples, one_tensor.sample(n, other))
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"
    with pytest.raises(ValueError, match="n=0"):
        folder.sample(0, seeded())


def test_a_bad_file_is_named_when_it_is_drawn(tmp_path: Path) -> None:
    bad = save_pictures(tmp_path)[7]
    whole = bad.read_bytes()
    bad.write_bytes(b"no image")
    folder = image_folder(tmp_path, size=8, max_bytes=0)
    with pytest.raises(DataError, match=r"1.2.png is not a readable image"):
        folder.sample(200, seeded())
    bad.write_bytes(whole)
    assert folder.sample(200, seeded()).shape == (200, 3, 8, 8)


def test_what_is_cancelled_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pictures(tmp_path)
    begun, may_end = threading.Event(), threading.Event()
    monkeypatch.setattr(own_images, "read_image", lambda *_: (begun.set(), may_end.wait(30)))
    folder = image_folder(tmp_path, size=8, max_bytes=0, workers=1)
    assert isinstance(folder, Folder)
    reading = folder.start_reading([3, 4])
    assert begun.wait(30)
    reading.cancel()
    may_end.set()
    assert [image.cancelled() for image in reading.images] == [False, True]


# Pairs ----------------------------------------------------------------------------------------------------------------


def test_side_by_side_becomes_a_and_b_and_many_show_their_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_side_by_side(tmp_path / "mine", own_images.READ_WITHOUT_BAR)
    data = paired_folder(tmp_path / "mine", size=16)
    assert "100%" in capsys.readouterr().err
    assert (data.name, len(data), data.shape, data.flip, data.jitter) == ("mine", 90, (3, 16, 16), True, True)
    assert data.held_out is not None
    assert (len(data.held_out), data.held_out.flip, data.held_out.jitter) == (10, False, False)
    assert (data.A[:, 0] == 200).all()
    assert (data.B[:, 2] == 220).all()
    assert torch.equal(data.A[:, 1], data.B[:, 1]), "each A with its own B"
    seen = data.A[:, 1, 0, 0].tolist()
    assert seen == sorted(set(range(100)) - set(data.held_out.A[:, 1, 0, 0].tolist())), "in the order of the names"
    assert data.labels is None
    few = paired_folder(tmp_path / "mine", size=8, number=4, held_out=0)
    assert few.A[:, 1, 0, 0].tolist() == [0, 1, 2, 3]


def test_two_folders_are_matched_by_name_not_by_place(tmp_path: Path) -> None:
    for index, name in enumerate(["b/one", "a", "c"]):
        save(tmp_path / "A" / f"{name}.png", 20, 20, (200, index, 30))
        save(tmp_path / "B" / f"{name}.bmp", 40, 40, (10, index, 220))  # another suffix and another scale are fine
    data = paired_folder(tmp_path, size=8, held_out=0)
    assert data.held_out is None
    assert data.A[:, 1, 0, 0].tolist() == data.B[:, 1, 0, 0].tolist() == [1, 0, 2]
    assert data.reversed().A[0, :, 0, 0].tolist() == [10, 1, 220]


def test_halves_are_cut_to_their_middle_squares(tmp_path: Path) -> None:
    picture = np.zeros((10, 60, 3), np.uint8)
    picture[:, 10:20], picture[:, 40:50] = RED, BLUE
    Image.fromarray(picture).save(tmp_path / "wide.png")
    data = paired_folder(tmp_path, size=10, held_out=0)
    for images, colour in ((data.A, RED), (data.B, BLUE)):
        assert (images == torch.tensor(colour, dtype=torch.uint8)[:, None, None]).all(), "nothing of the black around"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"odd.png": (41, 20)}, r"odd\.png is 41x20 pixels; expected A and B of one size side by"),
        ({"square.png": (20, 20)}, r"square\.png is 20x20 pixels; expected A and B"),
        (
            dict.fromkeys(["A/both.png", "B/both.png", "A/alone.png"], (20, 14)),
            r"A.alone\.png has no partner of the same",
        ),
        (dict.fromkeys(["A/z.png", "B/z.png", "B/x.png", "B/y.png"], (20, 14)), r"B.x\.png and 1 more has no partner"),
        (
            {"A/x.png": (20, 14), "B/x.jpg": (14, 20)},
            r"A.x\.png is 20x14 pixels, its partner .*x\.jpg is 14x20; expected",
        ),
        ({"A/notes.jpg/x.txt": None, "B/x.png": (20, 14)}, "A has no images in it"),
    ],
)
def test_files_that_make_no_pair_are_named(files: dict[str, Any], message: str, tmp_path: Path) -> None:
    for name, size in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if size:
            save(tmp_path / name, *size)
    with pytest.raises(DataError, match=message):
        paired_folder(tmp_path, size=8)


def test_too_much_for_the_memory_is_said_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_side_by_side(tmp_path, 10)
    monkeypatch.setattr(own_images, "decode", lambda *_: pytest.fail("a file was read"))
    for read in (paired_folder, lambda root, size: unpaired_folders(root, root, size)):
        with pytest.raises(DataError, match=r"20 images of 10000 pixels need 5.6 GiB, more than 4.0; take fewer"):
            read(tmp_path, size=10_000)


@given(count=st.integers(1, 300), share=st.floats(0, 0.99))
def test_some_are_held_out_and_never_all(count: int, share: float) -> None:
    test = held_out_places(count, share)
    assert test.shape == (count,)
    assert 0 <= int(test.sum()) < count
    if share and count > 1:
        assert int(test.sum()) >= 1
        assert abs(int(test.sum()) - count * share) <= 1


# Two domains ----------------------------------------------------------------------------------------------------------


def test_two_folders_become_two_domains(tmp_path: Path) -> None:
    for index in range(12):
        save(tmp_path / "cats" / f"{index:02}.png", 20, 10, (200, index, 30))
    for index in range(5):
        save(tmp_path / "dogs" / f"{index:02}.jpg", 10, 30, (10, 100, 220))
    data = unpaired_folders(tmp_path / "cats", tmp_path / "dogs", size=8, held_out=0.25)
    assert (data.name, data.domains, data.has_truth) == ("cats and dogs", ("cats", "dogs"), False)
    assert [len(part) for part in (data.A, data.test_A, data.B, data.test_B)] == [9, 3, 4, 1]
    seen = sorted(torch.cat([data.A, data.test_A])[:, 1, 0, 0].tolist())
    assert seen == list(range(12)), "each image once: nothing that is judged by was trained on"
    with pytest.raises(ValueError, match="number=0"):
        unpaired_folders(tmp_path / "cats", tmp_path / "dogs", number=0)


def test_a_domain_needs_two_pictures(tmp_path: Path) -> None:
    for name in ("cats/one.png", "dogs/one.png", "dogs/two.png"):
        save(tmp_path / name, 8, 8)
    with pytest.raises(DataError, match="cats has 1 image; expected at least 2"):
        unpaired_folders(tmp_path / "cats", tmp_path / "dogs", size=8)
    save(tmp_path / "cats" / "two.png", 8, 8)
    data = unpaired_folders(tmp_path / "cats", tmp_path / "dogs", size=8, held_out=0)
    assert [len(part) for part in (data.A, data.test_A)] == [1, 1]
