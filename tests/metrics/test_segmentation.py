"""The segmentation score on counts made by hand and on images made worse on purpose."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gantutor.data import Pairs, drawing, facades, load_pairs
from gantutor.data.facades import FACADE_CLASSES
from gantutor.metrics import Segmenter, l1, segmentation_score, train_segmenter
from gantutor.metrics.segmentation import score_of_counts


def test_counts_made_by_hand() -> None:
    #                                        read as 0, 1, 2
    score = score_of_counts(torch.tensor([[8, 2, 0], [1, 3, 0], [0, 6, 0]]))
    assert score.pixel_accuracy == pytest.approx(11 / 20)
    assert score.class_accuracy == pytest.approx((8 / 10 + 3 / 4 + 0 / 6) / 3)
    assert score.class_iou == pytest.approx((8 / 11 + 3 / 12 + 0 / 6) / 3)
    absent = score_of_counts(torch.tensor([[8, 1, 1], [0, 0, 0], [0, 0, 5]]))  # class 1 is read, but not there
    assert absent.class_accuracy == pytest.approx((8 / 10 + 5 / 5) / 2)
    assert absent.class_iou == pytest.approx((8 / 10 + 5 / 6) / 2)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return load_pairs("facades_mini", number=150)


@pytest.fixture(scope="module")
def segmenter(pairs: Pairs) -> Segmenter:
    assert pairs.labels is not None
    return train_segmenter(pairs.first(150)[1], pairs.labels, len(FACADE_CLASSES), steps=100)


def blurred(images: Tensor, width: int) -> Tensor:
    return F.avg_pool2d(F.pad(images, (width // 2,) * 4, mode="replicate"), width, 1)


def test_true_images_read_better_than_blurred_and_blurred_better_than_noise(pairs: Pairs, segmenter: Segmenter) -> None:
    assert pairs.held_out is not None
    assert pairs.held_out.labels is not None
    truth, labels = pairs.held_out.first(50)[1], pairs.held_out.labels[:50]
    noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    true, little, much, wrong, nothing = (
        segmentation_score(segmenter, images, labels)
        for images in (truth, blurred(truth, 3), blurred(truth, 5), truth.roll(1, 0), noise)
    )
    assert true.pixel_accuracy > 0.85
    assert true.class_iou > 0.55
    for better, worse in ((true, little), (little, much), (much, wrong), (much, nothing)):
        assert all(share > lower for share, lower in zip(better, worse, strict=True)), (better, worse)


def test_the_score_knows_no_right_colour(segmenter: Segmenter) -> None:
    """The same layouts with other walls: L1 calls them wrong, the score does not."""
    labels, looks = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        house, frames = facades.lay_out_house(facades.House(rng), rng, 192)
        labels += [drawing.small_labels(house)]
        looks += [[drawing.small_image(facades.paint_facade(house, frames, rng)) for _ in range(2)]]
    truth, other = torch.from_numpy(np.array(looks)).permute(1, 0, 4, 2, 3) / 127.5 - 1
    assert l1(other, truth) > 0.08
    scores = [segmentation_score(segmenter, images, torch.from_numpy(np.stack(labels))) for images in (truth, other)]
    assert scores[1].class_iou == pytest.approx(scores[0].class_iou, abs=0.08)


def test_a_seed_decides_the_segmenter_and_it_is_frozen(pairs: Pairs) -> None:
    assert pairs.labels is not None
    images, labels = pairs.first(8)[1], pairs.labels[:8]
    first, same, other = (train_segmenter(images, labels, 12, steps=3, seed=seed) for seed in (4, 4, 5))
    assert not first.training
    assert torch.equal(first(images), same(images))
    assert not torch.equal(first(images), other(images))
    assert first(images[:, :, :50, :38]).shape == (8, 12, 50, 38), "fully convolutional: any size"
    torch.testing.assert_close(first(images[:1]), first(images)[:1])  # no image reads another's statistics


IMAGES, LABELS = torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES * math.nan, LABELS, r"expected float images .* in \[nan, nan\]"),
        (IMAGES, LABELS[:1], r"whole labels of shape \(2, 8, 8\), got torch.uint8 of shape \(1, 8, 8\)"),
        (IMAGES, LABELS.float(), "got torch.float32"),
        (IMAGES, LABELS + 4, "labels from 0 to 3, got 4 to 4"),
        (IMAGES, LABELS.int() - 1, "labels from 0 to 3, got -1 to -1"),
    ],
)
def test_what_comes_is_checked(images: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_segmenter(images, labels, 4, steps=1)
    with pytest.raises(ValueError, match=message):
        segmentation_score(Segmenter(3, 4), images, labels)
