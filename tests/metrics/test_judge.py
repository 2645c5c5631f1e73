"""The judge and what it counts, against features and points laid by hand, where the answer is known."""

import math

import numpy as np
import pytest
import torch

from gantutor.data import Images, load
from gantutor.metrics import classes_covered, frechet_distance, js_divergence, modes_covered, train_judge

MODES = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])


def at(*places: tuple[float, float, int]) -> torch.Tensor:
    """`count` points at each (x, y, count)."""
    return torch.tensor([[float(x), float(y)] for x, y, count in places for _ in range(count)])


@pytest.mark.parametrize(
    ("points", "covered", "near"),
    [
        (at((0, 0, 25), (10, 0, 25), (0, 10, 25), (10, 10, 25)), 4, 1.0),
        (at((0, 0, 100)), 1, 1.0),  # all in one mode: collapse
        (at((5, 5, 100)), 0, 0.0),  # between the modes
        (at((1.9, 0, 50), (10, 1.9, 50)), 2, 1.0),  # just near: within 4 · 0.5
        (at((2.1, 0, 50), (10, 2.1, 50)), 0, 0.0),  # just not
        (at((0, 0, 93), (10, 0, 7)), 2, 1.0),  # 7 of 100 points: more than a quarter of the 25 that are due
        (at((0, 0, 94), (10, 0, 6)), 1, 1.0),  # 6 are less
        (at((0, 0, 40), (5, 5, 60)), 1, 0.4),
    ],
)
def test_points_laid_by_hand(points: torch.Tensor, covered: int, near: float) -> None:
    found, fraction = modes_covered(points, MODES, 0.5)
    assert (found, type(found)) == (covered, int)
    assert fraction == pytest.approx(near)


def gaussian(seed: int, n: int, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Samples whose mean is exactly `shift` and whose covariance is exactly diagonal, `scale`²."""
    x = torch.randn(n, len(scale), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = torch.linalg.qr(x - x.mean(0)).Q * (n - 1) ** 0.5
    return x * scale + shift


def test_frechet_distance_of_diagonal_gaussians() -> None:
    one, two = torch.tensor([1.0, 2.0, 0.0, 3.0]), torch.tensor([2.0, 0.5, 1.0, 0.0])
    shift = torch.tensor([1.0, 0.0, -2.0, 0.0])
    a, b = gaussian(0, 50, one, torch.zeros(4)), gaussian(1, 80, two, shift)
    closed_form = (shift.square().sum() + (one - two).square().sum()).item()  # the roots of both commute
    assert frechet_distance(a, b) == pytest.approx(closed_form, rel=1e-10)


def test_frechet_distance_is_the_formula() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(200, 8, generator=generator) @ torch.randn(8, 8, generator=generator) for _ in range(2))
    b += 0.3
    mean_a, mean_b, cov_a, cov_b = a.double().mean(0), b.double().mean(0), a.double().T.cov(), b.double().T.cov()
    root = torch.from_numpy(linalg.sqrtm((cov_a @ cov_b).numpy()).real)
    formula = (mean_a - mean_b).square().sum() + (cov_a + cov_b - 2 * root).trace()
    assert frechet_distance(a, b) == pytest.approx(formula.item(), rel=1e-8) == frechet_distance(b, a)


def test_frechet_distance_where_a_naive_root_fails() -> None:
    features = 1e3 + torch.randn(20, 64, generator=torch.Generator().manual_seed(0))  # fewer samples than features
    features[:, 7] = 1e3  # a unit that never changes
    assert frechet_distance(features, features.flip(0)) < 1e-9
    assert frechet_distance(features, features + 0.1) == pytest.approx(64 * 0.1**2, rel=1e-3)


@pytest.mark.parametrize("shapes", [((5,), (5,)), ((5, 3), (5, 4)), ((1, 3), (5, 3)), ((5, 3, 1), (5, 3, 1))])
def test_frechet_distance_refuses_other_shapes(shapes: tuple) -> None:
    with pytest.raises(ValueError, match=r"with N, M > 1, got \("):
        frechet_distance(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


@pytest.mark.parametrize(
    ("counts", "share", "covered"),
    [([25, 25, 25, 25], 0.25, 4), ([97, 1, 1, 1], 0.25, 1), ([80, 7, 7, 6], 0.25, 3), ([80, 7, 7, 6], 0.24, 4)],
)
def test_classes_are_counted(counts: list[int], share: float, covered: int) -> None:
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    found = classes_covered(torch.nn.functional.one_hot(labels, 4) * 5.0 - 100.0, share)
    assert (found, type(found)) == (covered, int)
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        classes_covered(torch.zeros(3))


def pixels(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    digits = load("digits", size=8, split=split)
    assert isinstance(digits, Images)
    assert digits.labels is not None
    return digits.images.float() / 127.5 - 1, digits.labels


def test_a_judge_knows_digits() -> None:
    images, labels = pixels("train")
    held_out, wanted = pixels("test")
    judge = train_judge(images, labels)
    logits, features = judge(held_out), judge.features(held_out)
    assert (logits.argmax(dim=1) == wanted).float().mean() > 0.95
    assert [classes_covered(each) for each in (logits, judge(held_out[wanted < 4]))] == [10, 4]
    assert torch.equal(judge.head(features), logits)
    real, noise = judge.features(images), torch.rand(450, 1, 8, 8, generator=torch.Generator()) * 2 - 1
    near, some, far = (
        frechet_distance(each, real) for each in (features, judge.features(held_out[wanted < 4]), judge.features(noise))
    )
    assert 10 * near < some < far


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4).long(), r"got torch\.uint8"),
        (torch.zeros(4, 8, 8), torch.zeros(4).long(), r"shape \(4, 8, 8\)"),
        (torch.full((4, 1, 8, 8), 255.0), torch.zeros(4).long(), r"in \[255, 255\]"),
        (torch.full((4, 1, 8, 8), torch.nan), torch.zeros(4).long(), r"in \[nan, nan\]"),
        (torch.zeros(0, 1, 8, 8), torch.zeros(0).long(), r"of shape \(0, 1, 8, 8\)"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(3).long(), r"each of 4 images, got shape \(3,\)"),
    ],
)
def test_a_judge_refuses_what_does_not_fit(images: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_judge(images, labels, steps=1)


def test_the_jensen_shannon_divergence_by_hand() -> None:
    halves = [np.array([1, 1, 0]) / 2, np.array([0, 1, 1]) / 2]
    assert js_divergence(*halves) == pytest.approx(math.log(2) / 2)  # H(1/4, 1/2, 1/4) = 1.5 ln 2, and both have ln 2
    assert js_divergence(halves[0], halves[0]) == 0
    assert js_divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(math.log(2))
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6])
    m = (p + q) / 2
    kullback_leibler = [sum(a * math.log(a / b) for a, b in zip(x, m, strict=True)) for x in (p, q)]
    assert js_divergence(p, q) == js_divergence(q, p) == pytest.approx(sum(kullback_leibler) / 2)
