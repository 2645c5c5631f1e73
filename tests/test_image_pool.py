"""The pool of fakes: what goes in comes out, once or later, and nothing else does."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gantutor.image_pool import ImagePool


def numbered(first: int, count: int) -> torch.Tensor:
    """`count` images of one pixel, whose value is their number."""
    return torch.arange(first, first + count, dtype=torch.float64).view(-1, 1, 1, 1)


def numbers(images: torch.Tensor) -> list[int]:
    return [int(number) for number in images.flatten()]


@given(st.integers(0, 6), st.lists(st.integers(1, 5), min_size=1, max_size=30), st.integers(0, 2**32))
def test_every_image_was_given_and_none_is_lost(size, counts, seed) -> None:
    """A query returns, in place i, image i itself or one given before; and what leaves the pool is returned."""
    pool, given_so_far, returned = ImagePool(size, seed), 0, []
    for count in counts:
        batch = numbered(given_so_far, count).requires_grad_()
        out = pool.query(batch * 1)
        assert out.shape == batch.shape
        assert not out.requires_grad
        assert all(number <= given_so_far + i for i, number in enumerate(numbers(out)))
        given_so_far += count
        returned += numbers(out)
        kept = numbers(torch.stack(pool.images)) if pool.images else []
        assert len(kept) == len(set(kept)) == len(pool) == min(size, given_so_far)
        assert not any(image.requires_grad for image in pool.images)
        assert set(returned) | set(kept) == set(range(given_so_far))
        assert all(returned.count(number) == 1 for number in set(returned) if number >= size)
        assert all(returned.count(number) in (1, 2) for number in set(returned) if number < size)


def test_half_of_the_images_of_a_full_pool_are_older_ones() -> None:
    pool = ImagePool(50)
    assert numbers(pool.query(numbered(0, 50))) == list(range(50))
    out = numbers(pool.query(numbered(50, 4000)))
    exchanged = [number for i, number in enumerate(out) if number != 50 + i]
    assert len(exchanged) / 4000 == pytest.approx(0.5, abs=0.03)
    ages = [50 + i - number for i, number in enumerate(out) if number >= 50 and number != 50 + i]
    assert sum(ages) / len(ages) == pytest.approx(100, rel=0.1)  # one in 2 · 50 queries takes a given place


def test_a_copy_goes_on_as_the_original_does() -> None:
    pool = ImagePool(3)
    pool.query(numbered(0, 20))
    twin = copy.deepcopy(pool)
    expected = numbers(twin.query(numbered(20, 40)))
    assert numbers(torch.stack(pool.images)) != numbers(torch.stack(twin.images))
    assert numbers(pool.query(numbered(20, 40))) == expected
