"""The scores against points and features laid by hand, where the answer can be counted."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gantutor.data import load
from gantutor.metrics import auc, classes_covered, frechet_distance, modes_covered, probe_auc, train_judge

MODES = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
STD = 0.5  # so a point is near within 2


def at(*places: tuple[float, float, int]) -> torch.Tensor:
    """`count` points at each (x, y, count)."""
    return torch.tensor([[float(x), float(y)] for x, y, count in places for _ in range(count)])


@pytest.mark.parametrize(
    ("points", "covered", "near"),
    [
        (at((0, 0, 25), (10, 0, 25), (0, 10, 25), (10, 10, 25)), 4, 1.0),
        (at((0, 0, 100)), 1, 1.0),  # all in one mode: collapse
        (at((5, 5, 100)), 0, 0.0),  # between the modes
        (at((1.9, 0, 50), (10, 1.9, 50)), 2, 1.0),  # just near
        (at((2.1, 0, 50), (10, 2.1, 50)), 0, 0.0),  # just not
        (at((0, 0, 93), (10, 0, 7)), 2, 1.0),  # 7 of 100 points: more than a quarter of the 25 that are due
        (at((0, 0, 94), (10, 0, 6)), 1, 1.0),  # 6 are less
        (at((0, 0, 40), (5, 5, 60)), 1, 0.4),
        (at((-1, 0, 50), (99, 99, 50)), 1, 0.5),
    ],
)
def test_points_laid_by_hand(points: torch.Tensor, covered: int, near: float) -> None:
    found, fraction = modes_covered(points, MODES, STD)
    assert (found, type(found)) == (covered, int)
    assert fraction == pytest.approx(near)


def test_share_and_std_are_what_they_say() -> None:
    points = at((0, 0, 94), (10, 0, 6))
    assert modes_covered(points, MODES, STD, share=0.24)[0] == 2
    assert modes_covered(points, MODES, STD, share=0.25)[0] == 1
    assert modes_covered(at((2.1, 0, 10)), MODES, std=0.53)[1] == 1.0
    assert modes_covered(at((2.1, 0, 10)), MODES, std=0.52)[1] == 0.0


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_the_data_itself_covers_all_its_modes(name: str) -> None:
    data = load(name)
    points = data.sample(2500, torch.Generator().manual_seed(0))
    covered, near = modes_covered(points, data.modes, data.std)
    assert covered == len(data.modes)
    assert near > 0.999  # a Gaussian in the plane has 0.03 % beyond 4 std


coordinate = st.floats(-20, 20, width=32)


@given(
    st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=40),
    st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=9),
    st.floats(0.01, 5),
    st.floats(0.01, 1),
)
def test_bounds(points: list, modes: list, std: float, share: float) -> None:
    found, near = modes_covered(torch.tensor(points), torch.tensor(modes), std, share)
    assert 0 <= found <= len(modes)
    assert 0 <= near <= 1
    assert found <= near * len(modes) / share + 1e-6, "covered modes need share · N / M near points each"
    shuffled = torch.tensor(points)[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))]
    assert modes_covered(shuffled, torch.tensor(modes), std, share) == (found, pytest.approx(near))
    if found:
        assert near > 0


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
    assert frechet_distance(a, b) == pytest.approx(formula.item(), rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(formula.item(), rel=1e-8)


def test_frechet_distance_where_a_naive_root_fails() -> None:
    features = 1e3 + torch.randn(20, 64, generator=torch.Generator().manual_seed(0))  # fewer samples than features
    features[:, 7] = 1e3  # a unit that never changes
    assert frechet_distance(features, features) < 1e-9
    assert frechet_distance(features, features.flip(0)) < 1e-9
    rotation = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    moved = features + 0.1
    turned = frechet_distance(features.double() @ rotation, moved.double() @ rotation)
    assert frechet_distance(features, moved) == pytest.approx(0.64, rel=1e-3) == turned  # 64 · 0.1²


@pytest.mark.parametrize("shapes", [((5,), (5,)), ((5, 3), (5, 4)), ((1, 3), (5, 3)), ((5, 3, 1), (5, 3, 1))])
def test_frechet_distance_refuses_other_shapes(shapes: tuple) -> None:
    with pytest.raises(ValueError, match=r"with N, M > 1, got \(") as error:
        frechet_distance(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
    assert str(shapes[0]) in str(error.value)


@pytest.mark.parametrize(
    ("counts", "share", "covered"),
    [([25, 25, 25, 25], 0.25, 4), ([97, 1, 1, 1], 0.25, 1), ([80, 7, 7, 6], 0.25, 3), ([80, 7, 7, 6], 0.24, 4)],
)
def test_classes_are_counted(counts: list[int], share: float, covered: int) -> None:
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    logits = torch.nn.functional.one_hot(labels, 4) * 5.0 - 100.0
    found = classes_covered(logits, share)
    assert (found, type(found)) == (covered, int)


def test_a_class_that_never_comes_is_not_covered() -> None:
    assert classes_covered(torch.tensor([[1.0, 0.0, 0.0]] * 3)) == 1
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        classes_covered(torch.zeros(3))


def pixels(size: int, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    digits = load("digits", size=size, split=split)
    return digits.images.float() / 127.5 - 1, digits.labels


@pytest.mark.parametrize("size", [8, 28])
def test_a_judge_knows_digits(size: int) -> None:
    images, labels = pixels(size, "train")
    held_out, wanted = pixels(size, "test")
    state = torch.random.get_rng_state()
    judge = train_judge(images, labels)
    assert torch.equal(torch.random.get_rng_state(), state)
    logits = judge(held_out)
    assert (logits.argmax(dim=1) == wanted).float().mean() > 0.95
    assert classes_covered(logits) == 10
    assert classes_covered(judge(held_out[wanted < 4])) == 4

    features = judge.features(held_out)
    assert torch.equal(judge.head(features), logits)
    assert features.shape == (len(held_out), 64)
    real = judge.features(images)
    near = frechet_distance(features, real)
    some = frechet_distance(judge.features(held_out[wanted < 4]), real)
    noise = frechet_distance(judge.features(torch.rand(450, 1, size, size, generator=torch.Generator()) * 2 - 1), real)
    assert 10 * near < some < noise


def test_the_seed_makes_the_judge_and_nothing_moves_it_later() -> None:
    images, labels = pixels(8, "test")
    one, same, other = (train_judge(images, labels, steps=5, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one(images), same(images))
    assert not torch.equal(one(images), other(images))
    assert not one.training
    assert not any(parameter.requires_grad for parameter in one.parameters())


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4).long(), r"got torch\.uint8"),
        (torch.zeros(4, 8, 8), torch.zeros(4).long(), r"shape \(4, 8, 8\)"),
        (torch.full((4, 1, 8, 8), 255.0), torch.zeros(4).long(), r"in \[255, 255\]"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(3).long(), r"each of 4 images, got shape \(3,\)"),
    ],
)
def test_a_judge_refuses_what_does_not_fit(images: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_judge(images, labels, steps=1)


scores = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=20)


@given(scores, scores)
def test_auc_counts_pairs(positive: list[float], negative: list[float]) -> None:
    pairs = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    found = auc(torch.tensor(positive), torch.tensor(negative))
    assert found == pytest.approx(sum(pairs) / len(pairs))
    assert auc(torch.tensor(negative), torch.tensor(positive)) == pytest.approx(1 - found)


def test_probe_auc_is_fishers_discriminant_on_what_it_has_not_seen() -> None:
    discriminant = pytest.importorskip("sklearn.discriminant_analysis").LinearDiscriminantAnalysis()
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(5, 5, generator=generator)
    real, fake = (torch.randn(400, 5, generator=generator) @ mix + shift for shift in (0.0, 0.4))
    areas = []
    labels = torch.cat([torch.ones(200), torch.zeros(200)])
    for seen, unseen in ((0, 1), (1, 0)):
        discriminant.fit(torch.cat([real[seen::2], fake[seen::2]]), labels)
        scored = discriminant.decision_function(torch.cat([real[unseen::2], fake[unseen::2]]))
        areas.append(metrics.roc_auc_score(labels, scored))
    assert probe_auc(real, fake, ridge=1e-9) == pytest.approx(sum(areas) / 2, abs=2e-3)


def test_probe_auc_at_its_ends() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 100, 3, 10, 10, generator=generator)  # more features than samples
    assert 0.35 < probe_auc(a, b) < 0.65, "the same distribution: chance, where the samples seen are told apart"
    assert probe_auc(a, b + 1.0) > 0.99
    assert probe_auc(a, 3 * a) < 0.6, "only the spread differs, and no linear probe sees that"
    assert probe_auc(torch.zeros(8, 2), torch.zeros(8, 2)) == 0.5
    with pytest.raises(ValueError, match=r"got \(3, 2\), \(8, 2\)"):
        probe_auc(torch.zeros(3, 2), torch.zeros(8, 2))
