"""Images on the device, and the digits: the embedded numbers, their splits and their sizes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import load_script
from image_helpers import seeded, to_bytes

from gantutor.data import Images, common, load
from gantutor.data.images import to_float

REPOSITORY = Path(__file__).parents[2]


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


BYTES = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (BYTES.float(), None, r"expected images uint8 \(N, C, H, W\).* got torch.float32 \(4, 1, 8, 8\)"),
        (BYTES[0], None, r"got torch.uint8 \(1, 8, 8\)"),
        (BYTES[:0], None, r"got torch.uint8 \(0, 1, 8, 8\)"),
        (BYTES, torch.zeros(3).long(), r"labels: expected torch.int64 \(4,\) on cpu, got torch.int64 \(3,\)"),
        (BYTES, torch.zeros(4), "got torch.float32"),
        (BYTES, torch.zeros(4, device="meta").long(), "on meta"),
    ],
)
def test_images_say_what_came_and_what_was_expected(
    images: torch.Tensor, labels: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Images("mine", images, labels)


# The digits -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built() -> dict[str, np.ndarray]:
    return load_script(REPOSITORY / "data" / "build_digits.py").build()


def digits(**options: object) -> Images:
    data = load("digits", **options)
    assert isinstance(data, Images)
    assert data.labels is not None
    return data


@pytest.mark.slow
def test_the_embedded_digits_are_what_the_script_builds(built: dict[str, np.ndarray]) -> None:
    assert common.checksum(built) == common.checksum(common.read_npz(REPOSITORY / "data" / "digits.npz"))


def test_the_splits_are_the_whole_and_share_nothing(built: dict[str, np.ndarray]) -> None:
    train, test, whole = (digits(split=split, size=8) for split in ("train", "test", "all"))
    assert [len(train), len(test), len(whole)] == [1347, 450, 1797]
    order = torch.from_numpy(np.argsort(built["held_out"], kind="stable"))  # the train images, then the test images
    assert torch.equal(torch.cat([train.images, test.images]), whole.images[order])
    assert torch.equal(torch.cat([train.labels, test.labels]), whole.labels[order])
    np.testing.assert_array_equal(whole.labels.numpy(), built["labels"])
    np.testing.assert_array_equal((whole.images[:, 0].float() * 16 / 255).round().byte(), built["images"])
