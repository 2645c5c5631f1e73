"""One's own images as pairs and as two domains: what is read, what is held out, and that bad files are named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gantutor.data import DataError, own_images, paired_folder, unpaired_folders
from gantutor.data.own_images import held_out_places

RED, BLUE = (200, 20, 30), (10, 40, 220)


def save(path: Path, width: int, height: int, colour: Any = RED, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (width, height), colour).save(path)
    return path


def save_side_by_side(folder: Path, number: int, height: int = 20) -> None:
    """Pairs with A red and B blue, the number of the pair as green."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        picture = np.zeros((height, 2 * height, 3), np.uint8)
        picture[:, :height] = (200, index, 30)
        picture[:, height:] = (10, index, 220)
        Image.fromarray(picture).save(folder / f"{index:03}.png")


def test_side_by_side_becomes_a_and_b(tmp_path: Path) -> None:
    save_side_by_side(tmp_path / "mine", 10)
    data = paired_folder(tmp_path / "mine", size=16)
    assert (data.name, len(data), data.shape, data.flip, data.jitter) == ("mine", 9, (3, 16, 16), True, True)
    assert data.held_out is not None
    assert (len(data.held_out), data.held_out.flip, data.held_out.jitter) == (1, False, False)
    assert (data.A[:, 0] == 200).all()
    assert (data.B[:, 2] == 220).all()
    assert torch.equal(data.A[:, 1], data.B[:, 1]), "each A with its own B"
    assert data.A[:, 1, 0, 0].tolist() == list(range(1, 10)), "in the order of the names"
    assert data.labels is None


def test_two_folders_are_matched_by_name_not_by_place(tmp_path: Path) -> None:
    for index, name in enumerate(["b/one", "a", "c"]):
        save(tmp_path / "A" / f"{name}.png", 20, 20, (200, index, 30))
        save(tmp_path / "B" / f"{name}.bmp", 40, 40, (10, index, 220))  # another suffix and another scale are fine
    data = paired_folder(tmp_path, size=8, held_out=0)
    assert data.held_out is None
    assert data.A[:, 1, 0, 0].tolist() == data.B[:, 1, 0, 0].tolist() == [1, 0, 2]
    assert data.reversed().A[0, :, 0, 0].tolist() == [10, 1, 220]


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 90, (90, 90, 90)),
        ("LA", (90, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 100, 200, 128), (127, 177, 227)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 257 * 77, (77, 77, 77)),
    ],
)
def test_grey_is_repeated_and_what_is_transparent_becomes_white(
    mode: str, colour: Any, expected: tuple[int, int, int], tmp_path: Path
) -> None:
    save(tmp_path / "both.png", 40, 20, colour, mode)
    data = paired_folder(tmp_path, size=8, held_out=0)
    for images in (data.A, data.B):
        assert (images[0].float() - torch.tensor(expected)[:, None, None]).abs().max() <= 1


def test_non_square_halves_are_cut_to_their_middle_squares(tmp_path: Path) -> None:
    picture = np.zeros((10, 60, 3), np.uint8)
    picture[:, 10:20], picture[:, 40:50] = RED, BLUE
    Image.fromarray(picture).save(tmp_path / "wide.png")
    data = paired_folder(tmp_path, size=10, held_out=0)
    assert data.A[0, :, 5, 5].tolist() == list(RED)
    assert data.B[0, :, 5, 5].tolist() == list(BLUE)
    assert (data.A[0, 0] > 150).all(), "nothing of the black around it"


@pytest.mark.parametrize(
    ("width", "height"), [(41, 20), (20, 20), (20, 41), (1, 1)], ids=["odd", "square", "upright", "dot"]
)
def test_a_file_that_cannot_be_halved_is_named(width: int, height: int, tmp_path: Path) -> None:
    save_side_by_side(tmp_path, 3)
    save(tmp_path / "bad.png", width, height)
    with pytest.raises(DataError, match=rf"bad\.png is {width}x{height} pixels; expected A and B of one size side by"):
        paired_folder(tmp_path, size=8)


@pytest.mark.parametrize("lonely", ["A", "B"])
def test_files_without_a_partner_are_named(lonely: str, tmp_path: Path) -> None:
    for side in "AB":
        save(tmp_path / side / "both.png", 8, 8)
    other = "B" if lonely == "A" else "A"
    save(tmp_path / lonely / "alone.png", 8, 8)
    with pytest.raises(DataError, match=rf"alone\.png has no partner of the same name in .*{other}$"):
        paired_folder(tmp_path, size=8)
    save(tmp_path / lonely / "alone2.png", 8, 8)
    with pytest.raises(DataError, match=r"alone\.png and 1 more has no partner"):
        paired_folder(tmp_path, size=8)


def test_partners_of_two_shapes_are_named(tmp_path: Path) -> None:
    save(tmp_path / "A" / "x.png", 30, 20)
    save(tmp_path / "B" / "x.png", 20, 30)
    with pytest.raises(DataError, match=r"A/x\.png is 30x20 pixels, its partner .*B/x\.png is 20x30; expected two"):
        paired_folder(tmp_path, size=8)


def test_missing_empty_and_half_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        paired_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no images in it"):
        paired_folder(tmp_path)
    save(tmp_path / "A" / "x.png", 8, 8)
    with pytest.raises(DataError, match="has a folder A, but no folder B"):
        paired_folder(tmp_path)
    (tmp_path / "B").mkdir()
    with pytest.raises(DataError, match="B has no images in it"):
        paired_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>not here</html>", b"\x89PNG\r\n\x1a\n broken"])
@pytest.mark.parametrize("folders", [False, True])
def test_a_broken_file_is_named(content: bytes, folders: bool, tmp_path: Path) -> None:
    for index in range(4):
        for side in "AB" if folders else ("",):
            save(tmp_path / side / f"{index}.png", 16, 8)
    broken = tmp_path / ("B" if folders else "") / "2.png"
    broken.write_bytes(content)
    with pytest.raises(DataError, match=r"2\.png is not a readable image"):
        paired_folder(tmp_path, size=8)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    save_side_by_side(tmp_path, 3)
    noise = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.png is not a readable image"):
        paired_folder(tmp_path, size=8)


def test_too_much_for_the_memory_is_said_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_side_by_side(tmp_path, 10)
    monkeypatch.setattr(own_images, "read_pair", lambda *_: pytest.fail("a file was read"))
    with pytest.raises(
        DataError, match=r"20 images of 64 pixels need 0.0 GiB, more than max_bytes=100,000; take fewer"
    ):
        paired_folder(tmp_path, size=64, max_bytes=100_000)


def test_number_takes_the_first(tmp_path: Path) -> None:
    save_side_by_side(tmp_path, 10)
    data = paired_folder(tmp_path, size=64, number=4, held_out=0, max_bytes=100_000)
    assert data.A[:, 1, 0, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("option", [{"size": 0}, {"held_out": 1.0}, {"held_out": -0.1}, {"number": 0}])
def test_options_are_checked(option: dict[str, Any], tmp_path: Path) -> None:
    (name,) = option
    for load in (paired_folder, lambda path, **options: unpaired_folders(path, path, **options)):
        with pytest.raises(ValueError, match=f"{name}={option[name]}"):
            load(tmp_path, **option)


@given(count=st.integers(1, 300), share=st.floats(0, 0.99))
def test_some_are_held_out_and_never_all(count: int, share: float) -> None:
    test = held_out_places(count, share)
    assert test.shape == (count,)
    assert 0 <= int(test.sum()) < count
    if share and count > 1:
        assert int(test.sum()) >= 1
        assert abs(int(test.sum()) - count * share) <= 1


def test_many_pictures_show_their_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_side_by_side(tmp_path, own_images.READ_WITHOUT_BAR, height=4)
    paired_folder(tmp_path, size=4)
    assert "100%" in capsys.readouterr().err


# --- two domains ------------------------------------------------------------------------------------------------------


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
    A, B = data.sample(6, torch.Generator().manual_seed(0))
    assert A.shape == B.shape == (6, 3, 8, 8)


def test_a_domain_needs_two_pictures(tmp_path: Path) -> None:
    save(tmp_path / "cats" / "one.png", 8, 8)
    save(tmp_path / "dogs" / "one.png", 8, 8)
    save(tmp_path / "dogs" / "two.png", 8, 8)
    with pytest.raises(DataError, match="cats has 1 image; expected at least 2"):
        unpaired_folders(tmp_path / "cats", tmp_path / "dogs", size=8)
    save(tmp_path / "cats" / "two.png", 8, 8)
    data = unpaired_folders(tmp_path / "cats", tmp_path / "dogs", size=8, held_out=0)
    assert [len(part) for part in (data.A, data.test_A)] == [1, 1]
    (tmp_path / "dogs" / "two.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"two\.png is not a readable image"):
        unpaired_folders(tmp_path / "cats", tmp_path / "dogs", size=8)
