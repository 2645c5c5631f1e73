"""The score against points laid by hand, where the answer can be counted."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gantutor.data import load
from gantutor.metrics import modes_covered

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
