"""The segmentation score on counts made by hand and on pictures made worse on purpose; L1 and SSIM on known values."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gantutor.data import Pairs, load_pairs
from gantutor.data.procedural.facades import FACADE_CLASSES
from gantutor.metrics import Segmenter, l1, saturation, segmentation_score, sharpness, ssim, train_segmenter
from gantutor.metrics.segmentation import score_of_counts

# --- the three shares -------------------------------------------------------------------------------------------------


def test_counts_made_by_hand() -> None:
    #                       read as 0, 1, 2
    counts = torch.tensor([[8, 2, 0], [1, 3, 0], [0, 6, 0]])
    score = score_of_counts(counts)
    assert score.pixel_accuracy == pytest.approx(11 / 20)
    assert score.class_accuracy == pytest.approx((8 / 10 + 3 / 4 + 0 / 6) / 3)
    assert score.class_iou == pytest.approx((8 / 11 + 3 / 12 + 0 / 6) / 3)


def test_a_class_that_no_label_map_has_is_left_out() -> None:
    counts = torch.tensor([[8, 1, 1], [0, 0, 0], [0, 0, 5]])  # class 1 is read, but not there
    score = score_of_counts(counts)
    assert score.class_accuracy == pytest.approx((8 / 10 + 5 / 5) / 2)
    assert score.class_iou == pytest.approx((8 / 10 + 5 / 6) / 2)
    assert all(math.isfinite(share) for share in score)


@given(st.lists(st.lists(st.integers(0, 1000), min_size=4, max_size=4), min_size=4, max_size=4))
def test_bounds(rows: list[list[int]]) -> None:
    counts = torch.tensor(rows)
    if counts.sum() == 0:
        return
    score = score_of_counts(counts)
    assert 0 <= score.class_iou <= score.class_accuracy + 1e-12 <= 1 + 2e-12
    assert 0 <= score.pixel_accuracy <= 1
    order = torch.tensor([2, 0, 3, 1])
    assert score_of_counts(counts[order][:, order]) == pytest.approx(score), "the classes' order changes nothing"
    diagonal = counts.diagonal().clamp(min=1).diag()
    assert score_of_counts(diagonal) == (1, 1, 1)


# --- the segmenter ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANTUTOR_DATA", str(tmp_path_factory.mktemp("data")))
        return load_pairs("facades_mini", number=150)


@pytest.fixture(scope="module")
def segmenter(pairs: Pairs) -> Segmenter:
    assert pairs.labels is not None
    return train_segmenter(pairs.first(150)[1], pairs.labels, len(FACADE_CLASSES), steps=100)


def blurred(images: Tensor, width: int) -> Tensor:
    margin = width // 2
    return F.avg_pool2d(F.pad(images, (margin,) * 4, mode="replicate"), width, 1)


def test_true_pictures_read_better_than_blurred_and_blurred_better_than_noise(
    pairs: Pairs, segmenter: Segmenter
) -> None:
    assert pairs.held_out is not None
    assert pairs.held_out.labels is not None
    truth, labels = pairs.held_out.first(50)[1], pairs.held_out.labels[:50]
    noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    average = pairs.first(150)[1].mean(0).expand_as(truth)
    true, little, much, mean, wrong, nothing = (
        segmentation_score(segmenter, images, labels)
        for images in (truth, blurred(truth, 3), blurred(truth, 5), average, truth.roll(1, 0), noise)
    )
    assert true.pixel_accuracy > 0.85
    assert true.class_iou > 0.55
    for better, worse in ((true, little), (little, much), (much, mean), (much, wrong), (much, nothing)):
        assert all(share > lower for share, lower in zip(better, worse, strict=True)), (better, worse)
    assert true.class_iou > 1.5 * little.class_iou
    assert little.class_iou > 1.1 * much.class_iou
    assert much.class_iou > 1.3 * mean.class_iou
    assert much.class_iou > 1.3 * nothing.class_iou


def test_the_score_knows_no_right_colour(pairs: Pairs, segmenter: Segmenter) -> None:
    """The same layouts with other walls: L1 calls them wrong, the score does not."""
    from gantutor.data.procedural import drawing, facades

    painted: list[list[Any]] = [[], [], []]
    for seed in range(20):
        labels, frames = facades.lay_out_house(
            facades.plan(np.random.default_rng(seed)), np.random.default_rng(seed), 192
        )
        painted[0].append(drawing.small_labels(labels))
        for place in (1, 2):
            painted[place].append(
                drawing.small_image(facades.paint_facade(labels, frames, np.random.default_rng([seed, place])))
            )
    truth, other = (torch.from_numpy(np.stack(column)).permute(0, 3, 1, 2) / 127.5 - 1 for column in painted[1:])
    labels = torch.from_numpy(np.stack(painted[0]))
    assert l1(other, truth) > 0.08
    scores = [segmentation_score(segmenter, images, labels).class_iou for images in (truth, other)]
    assert scores[1] == pytest.approx(scores[0], abs=0.08)


def test_a_seed_decides_the_segmenter_and_it_is_frozen(pairs: Pairs) -> None:
    assert pairs.labels is not None
    images, labels = pairs.first(8)[1], pairs.labels[:8]
    state = torch.get_rng_state()
    first, same, other = (train_segmenter(images, labels, 12, steps=3, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), state), "the global random state was used"
    assert not first.training
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert torch.equal(first(images), same(images))
    assert not torch.equal(first(images), other(images))
    assert first(images).shape == (8, 12, 64, 64)
    assert first(images[:, :, :50, :38]).shape == (8, 12, 50, 38), "fully convolutional: any size"
    torch.testing.assert_close(first(images[:1]), first(images)[:1])  # no image reads another's statistics


IMAGES, LABELS = torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES.byte(), LABELS, r"expected float images .* got torch.uint8"),
        (IMAGES + 2, LABELS, r"in \[2, 2\]"),
        (IMAGES * math.nan, LABELS, r"in \[nan, nan\]"),
        (IMAGES[0], LABELS, r"of shape \(3, 8, 8\)"),
        (IMAGES[:0], LABELS[:0], r"of shape \(0, 3, 8, 8\)"),
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


# --- L1 and SSIM ------------------------------------------------------------------------------------------------------


def waves() -> tuple[Tensor, Tensor]:
    place = torch.arange(3 * 24 * 20, dtype=torch.float64).view(1, 3, 24, 20)
    x = 0.9 * torch.sin(0.37 * place)
    return x, (x + 0.3 * torch.cos(1.7 * place)).clamp(-1, 1)


# By scikit-image 0.26: structural_similarity(x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
# data_range=2), averaged over the channels.
@pytest.mark.parametrize(
    ("pair", "value"),
    [
        (waves(), 0.9457820829479747),
        ((waves()[0], waves()[0] / 2), 0.6557679346007337),
        ((waves()[0], -waves()[0]), 0.8528886166704664),
        ((torch.full_like(waves()[0], 0.2), torch.full_like(waves()[0], 0.6)), 0.6003996003996004),
    ],
)
def test_ssim_is_the_one_of_scikit_image(pair: tuple[Tensor, Tensor], value: float) -> None:
    assert ssim(*pair) == pytest.approx(value, abs=1e-9)
    assert ssim(pair[1], pair[0]) == pytest.approx(value, abs=1e-9), "symmetric"
    batch = [torch.cat([images, images]) for images in pair]
    assert ssim(*batch) == pytest.approx(value, abs=1e-9), "a mean over the batch"


def test_sharpness_is_that_of_the_neighbours(pairs: Pairs) -> None:
    steps = torch.tensor([-1.0, 1.0, -1.0, 1.0]).expand(1, 3, 4, 4)  # black beside white, across only
    assert sharpness(steps) == sharpness(steps.mT) == 0.5
    assert sharpness(torch.ones(1, 3, 4, 4)) == 0
    truth = pairs.first(20)[1]
    assert sharpness(truth) > sharpness(blurred(truth, 3)) > sharpness(blurred(truth, 5))


def test_saturation_is_the_span_of_a_pixels_colours() -> None:
    red, grey = torch.tensor([1.0, -1.0, -1.0]), torch.tensor([0.2, 0.2, 0.2])
    pixels = torch.stack([red, grey], dim=1).view(1, 3, 1, 2)
    assert saturation(pixels[..., :1]) == 1
    assert saturation(pixels[..., 1:]) == 0
    assert saturation(pixels.expand(2, 3, 5, 2)) == 0.5


def test_ssim_of_equals_is_one_and_blur_lowers_it(pairs: Pairs) -> None:
    truth = pairs.first(20)[1]
    assert ssim(truth, truth) == pytest.approx(1, abs=1e-12)
    assert 0.9 > ssim(blurred(truth, 3), truth) > ssim(blurred(truth, 5), truth) > 0


def test_l1_by_hand_and_under_a_mask() -> None:
    truth = torch.full((1, 3, 2, 2), -1.0)
    images = truth.clone()
    images[0, :, 0, 0] = 1.0  # white for black
    images[0, 0, 1, 1] = 0.0  # half the way in one of three channels
    assert l1(images, truth) == pytest.approx((1 + 1 / 6) / 4)
    where = torch.tensor([[[False, False], [False, True]]])
    assert l1(images, truth, where) == pytest.approx(1 / 6)
    assert l1(images, truth, ~where) == pytest.approx(1 / 3)


@pytest.mark.parametrize("score", [l1, ssim])
def test_two_shapes_are_refused(score: Any) -> None:
    with pytest.raises(ValueError, match=r"alike, got \(1, 3, 12, 12\) and \(1, 3, 12, 11\)"):
        score(torch.zeros(1, 3, 12, 12), torch.zeros(1, 3, 12, 11))
    with pytest.raises(ValueError, match="alike"):
        score(torch.zeros(3, 12, 12), torch.zeros(3, 12, 12))


def test_small_images_and_empty_masks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 11x11 pixels, got \(1, 3, 10, 12\)"):
        ssim(torch.zeros(1, 3, 10, 12), torch.zeros(1, 3, 10, 12))
    images = torch.zeros(1, 3, 4, 4)
    for mask in (torch.zeros(1, 4, 4, dtype=torch.bool), torch.ones(1, 4, 4), torch.ones(1, 3, 4, 4) > 0):
        with pytest.raises(ValueError, match=r"where: expected a mask \(1, 4, 4\) of bool with a pixel in it, got"):
            l1(images, images, mask)
