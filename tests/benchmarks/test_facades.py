"""Drawn house fronts, and the segmentation score on counts made by hand and on images made worse on purpose."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from benchlib import drawing, facades
from benchlib.facades import (
    BACKGROUND,
    BALCONY,
    BLIND,
    CORNICE,
    DOOR,
    FACADE_CLASSES,
    MOLDING,
    PILLAR,
    SHOP,
    WALL,
    WINDOW,
    draw_facade,
    facades_mini,
)  # fmt: skip
from benchlib.segmentation import Segmenter, score_of_counts, segmentation_score, train_segmenter
from torch import Tensor

from gantutor.data import Pairs
from gantutor.metrics import l1


@pytest.fixture(scope="module")
def houses() -> tuple[np.ndarray, ...]:
    """Labels (60, 64, 64) and pictures (60, 64, 64, 3)."""
    rows = [draw_facade(np.random.default_rng([0, 0, index]), 64) for index in range(60)]
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def test_every_class_occurs(houses: tuple[np.ndarray, ...]) -> None:
    share = np.bincount(houses[0].ravel(), minlength=12) / houses[0].size
    assert (share > 0.004).all(), dict(zip([label.name for label in FACADE_CLASSES], share.round(4), strict=True))
    always = {BACKGROUND, WALL, WINDOW, DOOR, CORNICE, MOLDING}
    assert all(always <= set(scene.ravel().tolist()) for scene in houses[0])
    assert all(0.1 < (houses[0] == label).any((1, 2)).mean() < 1 for label in (PILLAR, SHOP, BALCONY, BLIND))
    first = facades_mini(number=1)
    assert first.label_map == "A"
    assert tuple(first.A[0, :, 63, 0].tolist()) == FACADE_CLASSES[houses[0][0, 63, 0]].colour


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
    return facades_mini(number=150)


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


def test_another_size_shows_the_same_scenes() -> None:
    small, large = (facades_mini(split="test", number=4, size=size) for size in (64, 128))
    assert small.labels is not None
    assert large.labels is not None
    assert (small.labels == large.labels[:, ::2, ::2]).float().mean() > 0.85
    shrunk = F.avg_pool2d(large.B.float(), 2)
    error, other = ((images - small.B.float()).abs().mean() for images in (shrunk, shrunk.roll(1, 0)))
    assert error < 14
    assert other > 2 * error, "two scenes are less alike"
