"""Paired images: what a record accepts, that A, B and their labels stay together, and the cache of the drawn sets."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import load_script
from hypothesis import given
from hypothesis import strategies as st

from gantutor.data import DataError, Label, Pairs, arrays, load_pairs
from gantutor.data.pairs import augment, draw_labels, read_labels
from gantutor.data.procedural import drawing

CLASSES = (Label("night", (0, 0, 0)), Label("day", (250, 240, 230)), Label("grass", (20, 200, 30)))


DRAWN = ["facades_mini", "maps_mini"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(n: int = 5, height: int = 12, width: int = 12) -> Pairs:
    """Pairs in which each pixel says where it comes from: A = B = (row, column, number of the pair)."""
    row = torch.arange(height)[None, :, None].expand(n, height, width)
    column = torch.arange(width)[None, None, :].expand(n, height, width)
    number = torch.arange(n)[:, None, None].expand(n, height, width)
    images = torch.stack([row, column, number], dim=1).byte()
    return Pairs("numbered", images, images.clone())


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    return ((images + 1) * 127.5).round().byte()


# --- the record -------------------------------------------------------------------------------------------------------


@given(n=st.integers(1, 50), seed=st.integers(0, 2**32 - 1), flip=st.booleans(), jitter=st.booleans())
def test_a_seed_decides_the_samples_and_a_and_b_stay_together(n: int, seed: int, flip: bool, jitter: bool) -> None:
    data = numbered()
    data = Pairs("numbered", data.A, data.B, flip=flip, jitter=jitter)
    state = torch.get_rng_state()
    A, B = data.sample(n, seeded(seed))
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"
    assert all(torch.equal(*both) for both in zip((A, B), data.sample(n, seeded(seed)), strict=True))
    assert torch.equal(A, B), "A and B were drawn, cut or mirrored differently"
    assert (A.shape, A.dtype) == ((n, *data.shape), torch.float32)
    assert A.abs().max() <= 1


def test_without_augmentation_a_sample_is_the_data() -> None:
    data = numbered()
    A, _ = data.sample(30, seeded())
    numbers = to_bytes(A)[:, 2, 0, 0].long()
    assert set(numbers.tolist()) == set(range(5)), "drawn with replacement, all of them"
    assert torch.equal(to_bytes(A), data.A[numbers])
    assert torch.equal(to_bytes(data.first(3)[1]), data.B[:3])


def test_reversed_is_the_way_back() -> None:
    small = numbered(2)
    held_out = Pairs("held", small.A, 255 - small.B, label_map="A")
    data = Pairs("set", small.A, 255 - small.B, label_map="A", flip=True, held_out=held_out)
    back = data.reversed()
    assert torch.equal(back.A, data.B)
    assert torch.equal(back.B, data.A)
    assert (back.label_map, back.flip) == ("B", True)
    assert back.held_out is not None
    assert back.held_out.label_map == "B"
    assert torch.equal(back.held_out.A, held_out.B)
    again = back.reversed()
    assert torch.equal(again.A, data.A)
    assert again.label_map == "A"


BYTES = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"A": BYTES.float()}, r"x, A: expected images uint8 \(N, C, H, W\).*float32"),
        ({"B": BYTES[0]}, r"x, B: .*\(3, 8, 8\)"),
        ({"B": BYTES[:1]}, r"A is \(2, 3, 8, 8\) on cpu, B is \(1, 3, 8, 8\)"),
        ({"B": BYTES[:, :, :4]}, "as many of both, of one size"),
        ({"B": BYTES.to("meta")}, "B is .* on meta"),
        ({"labels": BYTES[:, 0].long()}, r"labels uint8 \(2, 8, 8\) on cpu, got torch.int64"),
        ({"labels": BYTES}, r"got torch.uint8 \(2, 3, 8, 8\)"),
        ({"labels": BYTES[:, 0] + 3, "classes": CLASSES}, "a label is 3, but there are 3 classes"),
        ({"label_map": "C"}, "label_map='C' is unknown; choose one of '', 'A', 'B'"),
    ],
)
def test_a_record_says_what_came_and_what_was_expected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pairs("x", **{"A": BYTES, "B": BYTES, **fields})


def test_a_draw_is_checked() -> None:
    with pytest.raises(ValueError, match="n=0: expected at least 1"):
        numbered().sample(0, seeded())
    with pytest.raises(TypeError, match=r"expected a torch.Generator on cpu, got int"):
        numbered().sample(2, 0)  # type: ignore[arg-type]


# --- the augmentation -------------------------------------------------------------------------------------------------


def test_each_pair_is_flipped_on_its_own_and_half_of_them_are() -> None:
    data = numbered(1)
    A, _ = Pairs("x", data.A, data.B, flip=True).sample(400, seeded())
    columns = to_bytes(A)[:, 1, 0, 0]
    assert set(columns.tolist()) == {0, 11}
    assert abs((columns == 11).float().mean().item() - 0.5) < 4 * math.sqrt(0.25 / 400)


def test_a_flip_mirrors_left_and_right_only() -> None:
    data = numbered(1)
    A, _ = Pairs("x", data.A, data.B, flip=True).sample(20, seeded())
    for image in to_bytes(A):
        assert torch.equal(image, data.A[0]) or torch.equal(image, data.A[0].flip(2))


@pytest.mark.parametrize(("size", "enlarged"), [(64, 72), (128, 143), (256, 286)])
def test_jitter_enlarges_as_the_paper_does_and_cuts_everywhere(size: int, enlarged: int) -> None:
    ramp = torch.linspace(-1, 1, size).expand(200, 1, size, size)  # the column as a value
    (cut,) = augment([ramp], [True], seeded(), flip=False, jitter=True)
    assert cut.shape == ramp.shape
    whole = torch.nn.functional.interpolate(ramp[:1], (enlarged, enlarged), mode="nearest-exact")[0, 0, 0]
    windows = {tuple(whole[left : left + size].tolist()): left for left in range(enlarged - size + 1)}
    found = {windows[tuple(row.tolist())] for row in cut[:, 0, 0]}
    assert found == set(windows.values()), "every place is cut at, the first and the last, too"


def test_jitter_cuts_several_batches_alike_each_image_elsewhere() -> None:
    data = numbered(1, 64, 64)
    picture = data.first(1)[0].expand(50, -1, -1, -1)
    smooth, hard = augment([picture, picture], [False, True], seeded(), flip=True, jitter=True)
    assert (smooth - hard).abs().max() < 0.04, "hard and smooth are enlarged alike, up to a pixel"
    assert len({tuple(image[:2, 0, 0].tolist()) for image in hard}) > 20


def test_jitter_gives_a_label_map_no_new_colour() -> None:
    labels = torch.randint(3, (4, 64, 64), generator=seeded(), dtype=torch.uint8)
    drawing_of_labels = draw_labels(labels, CLASSES)
    for label_map, gives_new in (("A", False), ("", True)):
        data = Pairs("x", drawing_of_labels, drawing_of_labels, labels, CLASSES, label_map=label_map, jitter=True)
        A, _ = data.sample(8, seeded())
        colours = {tuple(pixel) for pixel in to_bytes(A).permute(0, 2, 3, 1).reshape(-1, 3).tolist()}
        assert (colours > {label.colour for label in CLASSES}) == gives_new


def test_bicubic_jitter_stays_in_range() -> None:
    black_and_white = torch.randint(2, (2, 3, 64, 64), generator=seeded(), dtype=torch.uint8) * 255
    A, _ = Pairs("x", black_and_white, black_and_white, jitter=True).sample(8, seeded())
    assert A.min() == -1
    assert A.max() == 1


# --- label maps -------------------------------------------------------------------------------------------------------


def test_label_maps_become_pictures_and_back() -> None:
    labels = torch.randint(3, (2, 5, 7), generator=seeded(), dtype=torch.uint8)
    pictures = draw_labels(labels, CLASSES)
    assert pictures.shape == (2, 3, 5, 7)
    assert tuple(pictures[0, :, 0, 0].tolist()) == CLASSES[int(labels[0, 0, 0])].colour
    assert torch.equal(read_labels(pictures, CLASSES), labels)
    assert torch.equal(read_labels(draw_labels(labels[0], CLASSES), CLASSES), labels[0]), "one image alone"
    off = (pictures.int() + torch.randint(-5, 6, pictures.shape, generator=seeded())).clamp(0, 255).byte()
    assert torch.equal(read_labels(off, CLASSES), labels), "a JPEG's small errors change no class"


# --- the drawn sets and their cache -----------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path))
    return tmp_path / "made"


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_pairs_are_the_same_from_the_cache_and_for_any_number(name: str, cache: Path) -> None:
    drawn = load_pairs(name, split="val", number=6)
    (file,) = cache.iterdir()
    before = file.stat().st_mtime_ns
    kept = load_pairs(name, split="val", number=6)
    assert file.stat().st_mtime_ns == before
    fewer = load_pairs(name, split="val", number=3)
    for field in ("A", "B", "labels"):
        assert torch.equal(getattr(drawn, field), getattr(kept, field))
        assert torch.equal(getattr(drawn, field)[:3], getattr(fewer, field))
    assert drawn.A.shape == drawn.B.shape == (6, 3, 64, 64)
    assert drawn.labels is not None
    assert drawn.labels.shape == (6, 64, 64)


@pytest.mark.parametrize("name", DRAWN)
def test_the_splits_share_no_picture_and_a_seed_changes_all(name: str, cache: Path) -> None:
    pictures: set[bytes] = set()
    for number, options in enumerate([{"split": "train"}, {"split": "val"}, {"split": "test"}, {"seed": 1}], start=1):
        data = load_pairs(name, number=8, **options)
        pictures |= {image.numpy().tobytes() for image in data.B}
        assert len(pictures) == 8 * number


def test_the_train_set_is_augmented_and_carries_the_test_set(cache: Path) -> None:
    train = load_pairs("facades_mini", number=5, jitter=True)
    assert (train.flip, train.jitter) == (True, True)
    held_out = train.held_out
    assert held_out is not None
    assert (len(held_out), held_out.flip, held_out.jitter, held_out.held_out) == (100, False, False, None)
    test = load_pairs("facades_mini", split="test", jitter=True)
    assert torch.equal(held_out.B, test.B)
    assert (test.flip, test.jitter) == (False, False)


@pytest.mark.parametrize("name", DRAWN)
def test_another_size_shows_the_same_scenes(name: str, cache: Path) -> None:
    small, large = (load_pairs(name, split="test", number=4, size=size) for size in (64, 128))
    assert small.labels is not None
    assert large.labels is not None
    agree = (small.labels == large.labels[:, ::2, ::2]).float().mean()
    assert agree > 0.85
    shrunk = torch.nn.functional.avg_pool2d(large.B.float(), 2)
    assert (shrunk - small.B.float()).abs().mean() < 14
    other = (shrunk.roll(1, 0) - small.B.float()).abs().mean()
    assert other > 2 * (shrunk - small.B.float()).abs().mean(), "two scenes are less alike"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "split='all' is unknown; choose one of 'train', 'val', 'test'"),
        ({"size": 100}, "size=100 is unknown; choose one of 64, 128, 256"),
        ({"number": 0}, "number=0: expected at least 1"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str, cache: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_pairs("facades_mini", **options)


def test_an_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(
        ValueError,
        match="'facade' is unknown; choose one of emoji_flat, emoji_sketch, emoji_palette, facades_mini, maps_mini, ",
    ):
        load_pairs("facade")


@pytest.mark.parametrize("fault", ["cut", "flipped", "empty", "text", "another array"])
def test_a_damaged_cache_is_drawn_again(fault: str, cache: Path) -> None:
    wanted = load_pairs("maps_mini", split="val", number=2)
    (file,) = cache.iterdir()
    content = bytearray(file.read_bytes())
    if fault == "cut":
        content = content[: len(content) // 2]
    elif fault == "flipped":
        content[len(content) // 2] ^= 1
    elif fault == "another array":
        with np.load(io.BytesIO(bytes(content))) as stored:
            changed = {name: stored[name].copy() for name in stored.files}
        changed["column_0"][0, 0, 0] ^= 1
        buffer = io.BytesIO()
        np.savez(buffer, **changed)
        content = bytearray(buffer.getvalue())
    file.write_bytes({"empty": b"", "text": b"<html>"}.get(fault, bytes(content)))
    damaged = file.read_bytes()
    again = load_pairs("maps_mini", split="val", number=2)
    assert torch.equal(again.A, wanted.A)
    assert torch.equal(again.B, wanted.B)
    assert file.read_bytes() != damaged, "the file was fixed"
    assert list(cache.iterdir()) == [file]


def test_a_changed_recipe_meets_no_old_file(cache: Path, tmp_path: Path) -> None:
    source = tmp_path / "recipe.py"
    made = []

    def make() -> arrays.Arrays:
        made.append(len(made))
        return {"column_0": np.array(made[-1])}

    for text, expected in (("a", 0), ("a", 0), ("b", 1), ("a", 0)):
        source.write_text(text)
        assert arrays.load_or_make("set", [source], make)["column_0"] == expected


def test_an_interrupt_while_drawing_or_writing_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_pairs("maps_mini", split="val", number=1)
    assert list(cache.iterdir()) == []


def test_a_full_disk_is_a_warning_and_the_set_is_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="maps_mini-val-64-1-0 cannot be kept in .* made again .*No space left"):
        assert len(load_pairs("maps_mini", split="val", number=1)) == 1
    assert list(cache.iterdir()) == []


def test_many_pictures_show_their_progress_and_few_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    arrays.make_each("squares", arrays.DRAWN_WITHOUT_BAR, lambda index: (np.array(index),))
    assert "drawing squares: 100%" in capsys.readouterr().err
    (numbers,) = arrays.make_each("squares", 3, lambda index: (np.array(index),))
    assert numbers.tolist() == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.cuda
def test_on_a_gpu(cache: Path) -> None:
    data = load_pairs("facades_mini", device="cuda", number=20, jitter=True)
    generator = torch.Generator("cuda").manual_seed(0)
    A, B = data.sample(8, generator)
    assert A.device.type == B.device.type == data.device.type == "cuda"
    assert data.held_out is not None
    assert data.held_out.device.type == "cuda"
    assert all(torch.equal(*both) for both in zip((A, B), data.sample(8, generator.manual_seed(0)), strict=True))
    with pytest.raises(ValueError, match="the generator is on cpu"):
        data.sample(8, seeded())


# --- the embedded textures --------------------------------------------------------------------------------------------

REPOSITORY = Path(__file__).parents[2]


def test_the_textures_are_what_the_script_builds() -> None:
    pytest.importorskip("skimage", reason="scikit-image is needed to rebuild the textures, not to use them")
    script = load_script(REPOSITORY / "data" / "build_textures.py")
    assert arrays.checksum(script.build()) == drawing.TEXTURES_SHA256


def test_the_textures_are_small_and_have_their_licence_beside_them() -> None:
    assert (REPOSITORY / "data" / "textures.npz").stat().st_size < 200_000
    licence = (REPOSITORY / "data" / "textures.LICENSE.txt").read_text(encoding="utf-8")
    assert "CC0" in licence
    for name, array in drawing.textures().items():
        assert array.dtype == np.uint8
        assert f"    {name}" in licence


def test_damaged_textures_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray((REPOSITORY / "data" / "textures.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "textures.npz").write_bytes(content)
    monkeypatch.setattr(drawing, "embedded_file", lambda name: tmp_path / name)
    with pytest.raises(DataError, match=r"textures\.npz .*git checkout data/textures\.npz"):
        drawing.textures.__wrapped__()
