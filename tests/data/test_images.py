"""Sets of images: what they accept, that A and B stay together or apart, the augmentation, label maps."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_helpers import seeded, to_bytes

from gantutor.data import Images, Label, Pairs, Unpaired
from gantutor.data.images import augment, draw_labels, to_float

CLASSES = (Label("night", (0, 0, 0)), Label("day", (250, 240, 230)), Label("grass", (20, 200, 30)))
BYTES = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)


def numbered(n: int = 5, side: int = 12, **options: Any) -> Pairs:
    """Pairs in which each pixel says where it comes from: A = B = (row, column, number of the pair)."""
    axes = torch.meshgrid(torch.arange(n), torch.arange(side), torch.arange(side), indexing="ij")
    images = torch.stack([axes[1], axes[2], axes[0]], dim=1).byte()
    return Pairs("numbered", images, images.clone(), **options)


def plain(**options: Any) -> Unpaired:
    """Images of one value each: A 0 to 9, B 100 to 106."""
    A, B = (
        torch.arange(low, high).byte()[:, None, None, None].expand(-1, 3, 8, 8) for low, high in ((0, 10), (100, 107))
    )
    return Unpaired("plain", A, B, A[:2] + 50, B[:2] + 50, **options)


# What a set accepts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Images("x", BYTES.float()),
            r"x: expected images uint8 \(N, C, H, W\).* got torch.float32 \(2, 3, 8, 8\)",
        ),
        (lambda: Images("x", BYTES[0]), r"got torch.uint8 \(3, 8, 8\)"),
        (lambda: Images("x", BYTES[:0]), r"got torch.uint8 \(0, 3, 8, 8\)"),
        (lambda: Images("x", BYTES, torch.zeros(3).long()), r"x, labels: .* \(2,\) on cpu, got torch.int64 \(3,\)"),
        (lambda: Pairs("x", BYTES.float(), BYTES), r"x, A: expected images uint8 \(N, C, H, W\).*float32"),
        (lambda: Pairs("x", BYTES, BYTES[:, :, :4]), r"x, B: .* \(2, 3, 8, 8\) on cpu, got torch.uint8 \(2, 3, 4, 8\)"),
        (lambda: Pairs("x", BYTES, BYTES.to("meta")), "on meta"),
        (lambda: Pairs("x", BYTES, BYTES, BYTES[:, 0].long()), r"labels: expected torch.uint8 \(2, 8, 8\) on cpu, got"),
        (lambda: Pairs("x", BYTES, BYTES, BYTES[:, 0] + 3, CLASSES), "a label is 3, but there are 3 classes"),
        (lambda: Pairs("x", BYTES, BYTES, label_map="C"), "label_map='C' is unknown; choose one of '', 'A', 'B'"),
        (lambda: Unpaired("x", BYTES.float(), *[BYTES] * 3), r"x, A: expected images uint8 \(N, C, H, W\).*float32"),
        (lambda: Unpaired("x", BYTES, BYTES, BYTES, BYTES[0]), r"x, test_B: .*\(3, 8, 8\)"),
        (lambda: Unpaired("x", *[BYTES] * 2, BYTES[:1], BYTES, has_truth=True), "1 test images of A and 2 of B"),
    ],
)
def test_a_set_says_what_came_and_what_was_expected(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


# What is drawn --------------------------------------------------------------------------------------------------------


def test_bytes_become_floats_from_minus_one_to_one() -> None:
    floats = to_float(torch.arange(256, dtype=torch.uint8))
    assert (floats[0], floats[255]) == (-1, 1)
    assert torch.allclose(floats, torch.linspace(-1, 1, 256), atol=1e-6)


def test_images_are_drawn_with_replacement_and_all_alike() -> None:
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 3, 2, 2)
    data = Images("ten", images, torch.arange(10))
    drawn = to_bytes(data.sample(5000, seeded()))[:, 0, 0, 0]
    assert (drawn.bincount(minlength=10) - 500).abs().max() < 5 * math.sqrt(500)
    assert (len(data), data.shape, data.kind, data.device.type) == (10, (3, 2, 2), "images", "cpu")


@given(n=st.integers(1, 50), seed=st.integers(0, 2**32 - 1), flip=st.booleans(), jitter=st.booleans())
def test_a_and_b_of_a_pair_stay_together(n: int, seed: int, flip: bool, jitter: bool) -> None:
    A, B = numbered(flip=flip, jitter=jitter).sample(n, seeded(seed))
    assert torch.equal(A, B), "A and B were drawn, cut or mirrored differently"


def test_without_augmentation_a_sample_is_the_data() -> None:
    data = numbered()
    A, _ = data.sample(30, seeded())
    numbers = to_bytes(A)[:, 2, 0, 0].long()
    assert set(numbers.tolist()) == set(range(5)), "drawn with replacement, all of them"
    assert torch.equal(to_bytes(A), data.A[numbers])
    assert torch.equal(to_bytes(data.first(3)[1]), data.B[:3])
    assert torch.equal(to_bytes(plain().test(1)[0]), plain().test_A[:1])


def test_a_and_b_without_partners_are_drawn_and_flipped_apart() -> None:
    A, B = (to_bytes(images)[:, 0, 0, 0].tolist() for images in plain(jitter=True).sample(2000, seeded()))
    assert set(zip(A, B, strict=True)) == {(a, b) for a in range(10) for b in range(100, 107)}
    ramp = (torch.arange(8, dtype=torch.uint8) * 10).expand(1, 3, 8, 8)
    A, B = Unpaired("ramp", ramp, ramp, ramp, ramp, flip=True).sample(200, seeded())
    flipped = [images[:, 0, 0, 0] > images[:, 0, 0, 7] for images in (A, B)]
    assert all(70 < int(side.sum()) < 130 for side in (*flipped, flipped[0] != flipped[1]))


def test_reversed_is_the_way_back() -> None:
    small = numbered(2)
    held_out = Pairs("held", small.A, 255 - small.B, label_map="A")
    data = dataclasses.replace(held_out, flip=True, held_out=held_out)
    back = data.reversed()
    assert (back.label_map, back.flip) == ("B", True)
    assert torch.equal(back.A, data.B)
    assert torch.equal(back.B, data.A)
    assert back.held_out is not None
    assert back.held_out.label_map == "B"
    assert torch.equal(back.held_out.A, held_out.B)
    assert back.reversed().label_map == "A"


# The augmentation -----------------------------------------------------------------------------------------------------


def test_each_pair_is_mirrored_left_and_right_on_its_own_and_half_of_them_are() -> None:
    data = numbered(1, flip=True)
    A = to_bytes(data.sample(400, seeded())[0])
    mirrored = A[:, 1, 0, 0] == 11
    assert abs(mirrored.float().mean().item() - 0.5) < 4 * math.sqrt(0.25 / 400)
    assert torch.equal(A, torch.where(mirrored[:, None, None, None], data.A.flip(3), data.A))


@pytest.mark.parametrize(("size", "enlarged"), [(64, 72), (256, 286)])
def test_jitter_enlarges_as_the_paper_does_and_cuts_everywhere(size: int, enlarged: int) -> None:
    ramp = torch.linspace(-1, 1, size)
    columns = ramp.expand(400, 1, size, size)  # the column as a value, and the row
    (cut,) = augment([torch.cat([columns, columns.mT], dim=1)], [True], seeded(), flip=False, jitter=True)
    whole = torch.nn.functional.interpolate(ramp[None, None], enlarged, mode="nearest-exact")[0, 0]
    windows = {tuple(whole[place : place + size].tolist()): place for place in range(enlarged - size + 1)}
    for lines in (cut[:, 0, 0], cut[:, 1, :, 0]):
        found = {windows[tuple(line.tolist())] for line in lines}
        assert found == set(windows.values()), "every place is cut at, the first and the last, too"


def test_jitter_cuts_several_batches_alike_each_image_elsewhere() -> None:
    picture = numbered(1, 64).first(1)[0].expand(50, -1, -1, -1)
    smooth, hard = augment([picture, picture], [False, True], seeded(), flip=True, jitter=True)
    assert (smooth - hard).abs().max() < 0.04, "hard and smooth are enlarged alike, up to a pixel"
    assert len({tuple(image[:2, 0, 0].tolist()) for image in hard}) > 20


def test_jitter_gives_a_label_map_no_new_colour_and_stays_in_range() -> None:
    labels = torch.randint(3, (4, 64, 64), generator=seeded(), dtype=torch.uint8)
    drawing_of_labels = draw_labels(labels, CLASSES)
    assert tuple(drawing_of_labels[2, :, 3, 4].tolist()) == CLASSES[int(labels[2, 3, 4])].colour
    for label_map, gives_new in (("A", False), ("", True)):
        data = Pairs("x", drawing_of_labels, drawing_of_labels, labels, CLASSES, label_map=label_map, jitter=True)
        A, _ = data.sample(8, seeded())
        colours = {tuple(pixel) for pixel in to_bytes(A).permute(0, 2, 3, 1).reshape(-1, 3).tolist()}
        assert (colours > {label.colour for label in CLASSES}) == gives_new
        assert A.abs().max() <= 1
