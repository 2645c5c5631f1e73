"""Two domains without pairs: what a record accepts, that the halves share no scene, and the truth of the drawn sets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gantutor.data import UNPAIRED, Unpaired, load_pairs, load_unpaired, ready_sets
from gantutor.data.fruit import draw_fruit
from gantutor.data.horses import draw_horses
from gantutor.data.seasons import draw_season

DRAWN = [name for name in ready_sets(UNPAIRED) if name != "emoji"]
NUMBER = 24


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Unpaired]:
    """All drawn sets, with 24 training images of each domain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANTUTOR_DATA", str(tmp_path_factory.mktemp("data")))
        return {name: load_unpaired(name, number=NUMBER) for name in DRAWN}


# --- the record -------------------------------------------------------------------------------------------------------


def numbered(**options: Any) -> Unpaired:
    """Images that are all of one value: A 0 to 9, B 100 to 106."""
    A = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 3, 8, 8).clone()
    B = torch.arange(100, 107, dtype=torch.uint8)[:, None, None, None].expand(7, 3, 8, 8).clone()
    return Unpaired("numbered", A, B, A[:2] + 50, B[:2] + 50, **options)


@given(n=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), flip=st.booleans(), jitter=st.booleans())
def test_a_seed_decides_the_samples(n: int, seed: int, flip: bool, jitter: bool) -> None:
    data = numbered(flip=flip, jitter=jitter)
    state = torch.get_rng_state()
    A, B = data.sample(n, seeded(seed))
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"
    assert all(torch.equal(*both) for both in zip((A, B), data.sample(n, seeded(seed)), strict=True))
    for images, lowest, count in ((A, 0, 10), (B, 100, 7)):
        values = ((images + 1) * 127.5).round()
        assert (images.shape, images.dtype) == ((n, 3, 8, 8), torch.float32)
        assert lowest <= values.min()
        assert values.max() < lowest + count


def test_a_and_b_are_drawn_apart() -> None:
    A, B = (((images + 1) * 127.5).round()[:, 0, 0, 0].long() for images in numbered().sample(2000, seeded()))
    pairs = set(zip(A.tolist(), B.tolist(), strict=True))
    assert len(pairs) == 10 * 7, "every image of A meets every image of B"


def test_a_and_b_are_flipped_apart() -> None:
    ramp = (torch.arange(8, dtype=torch.uint8) * 10).expand(1, 3, 8, 8)
    A, B = Unpaired("ramp", ramp, ramp, ramp, ramp, flip=True).sample(200, seeded())
    flipped = [(images[:, 0, 0, 0] > images[:, 0, 0, 7]) for images in (A, B)]
    assert all(70 < int(side.sum()) < 130 for side in flipped)
    assert 70 < int((flipped[0] != flipped[1]).sum()) < 130


def test_the_mask_is_where_the_truth_differs_visibly() -> None:
    test_A = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    test_B = test_A.clone()
    test_B[0, 1, 0, 0] = 109
    test_B[0, 2, 1, 1] = 91
    test_B[0, :, 0, 1] = 108  # too little to see
    data = Unpaired("x", test_A, test_B, test_A, test_B, has_truth=True)
    assert data.changed.tolist() == [[[True, False], [False, True]]]
    with pytest.raises(ValueError, match="numbered has no truth"):
        _ = numbered().changed


BYTES = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"A": BYTES.float()}, r"x, A: expected images uint8 \(N, C, H, W\).*float32"),
        ({"test_B": BYTES[0]}, r"x, test_B: .*\(3, 8, 8\)"),
        ({"B": BYTES[:, :, :4]}, r"x, B: expected images \(3, 8, 8\) on cpu, as A has, got \(3, 4, 8\)"),
        ({"test_A": BYTES.to("meta")}, "x, test_A: .* on meta"),
        ({"test_A": BYTES[:1], "has_truth": True}, "1 test images of A and 2 of B"),
    ],
)
def test_a_record_says_what_came_and_what_was_expected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Unpaired("x", **{"A": BYTES, "B": BYTES, "test_A": BYTES, "test_B": BYTES, **fields})


def test_a_draw_and_a_name_are_checked() -> None:
    with pytest.raises(ValueError, match="n=0: expected at least 1"):
        numbered().sample(0, seeded())
    with pytest.raises(ValueError, match="'horses' is unknown; choose one of emoji, horse2zebra_mini, summer2winter_m"):
        load_unpaired("horses")


# --- the drawn sets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRAWN)
def test_the_sets_are_small_pictures_with_truth(sets: dict[str, Unpaired], name: str) -> None:
    data = sets[name]
    assert data.A.shape == data.B.shape == (NUMBER, 3, 48, 48)
    assert data.test_A.shape == data.test_B.shape == (60, 3, 48, 48)
    assert data.has_truth
    assert "A" not in data.domains
    for images in (data.A, data.B, data.test_A, data.test_B):
        assert len({image.numpy().tobytes() for image in images}) == len(images), "no image twice"


@pytest.mark.parametrize(
    ("name", "draw"),
    [("horse2zebra_mini", draw_horses), ("summer2winter_mini", draw_season), ("apple2orange_mini", draw_fruit)],
)
def test_the_training_halves_share_no_scene(sets: dict[str, Unpaired], name: str, draw: Any) -> None:
    """B's own scenes are not A's: the counterpart of no image of A is in B, and of none of B in A."""
    data = sets[name]
    counterparts = [draw(np.random.default_rng([0, 0, index]), 48, (1,))[0] for index in range(NUMBER)]
    B = {image.permute(1, 2, 0).numpy().tobytes() for image in data.B}
    assert not B & {picture.tobytes() for picture in counterparts}
    A_again = draw(np.random.default_rng([0, 0, 3]), 48, (0,))[0]
    assert torch.equal(data.A[3], torch.from_numpy(A_again).permute(2, 0, 1)), "the stream is the one that was checked"


@pytest.mark.parametrize("draw", [draw_horses, draw_season, draw_fruit])
def test_both_domains_of_a_scene_are_the_same_alone_or_together(draw: Any) -> None:
    both = draw(np.random.default_rng(1), 48)
    for domain in (0, 1):
        (alone,) = draw(np.random.default_rng(1), 48, (domain,))
        assert np.array_equal(alone, both[domain])


@pytest.mark.parametrize("draw", [draw_horses, draw_season, draw_fruit])
def test_another_size_shows_the_same_scene(draw: Any) -> None:
    for index in range(5):
        small, large = (draw(np.random.default_rng([7, index]), size, (0,))[0].astype(float) for size in (48, 96))
        shrunk = large.reshape(48, 2, 48, 2, 3).mean((1, 3))
        assert np.abs(shrunk - small).mean() < 10


def test_a_zebra_differs_from_its_horse_in_its_coat_alone(sets: dict[str, Unpaired]) -> None:
    data = sets["horse2zebra_mini"]
    changed = data.changed
    assert 0.1 < changed.float().mean() < 0.4, "an animal is a part of the image"
    assert (data.test_A.float().sub(data.test_B.float()).abs().amax(1)[~changed] <= 8).all()
    inside = changed[:, 1:-1, 1:-1]
    grey_A, grey_B = (images.float().mean(1)[:, 1:-1, 1:-1] for images in (data.test_A, data.test_B))
    assert grey_B[inside].std() > 2 * grey_A[inside].std(), "stripes"
    coat = data.test_A.permute(0, 2, 3, 1)[changed].float().mean(0)
    assert coat[0] > 1.5 * coat[2], "a horse is brown"
    stripes = data.test_B.permute(0, 2, 3, 1)[changed].float()
    assert (stripes.amax(1) - stripes.amin(1)).mean() < 30, "a zebra has no colour"


def test_winter_is_white_and_summer_green(sets: dict[str, Unpaired]) -> None:
    data = sets["summer2winter_mini"]
    summer, winter = (images[:, :, 34:].float().mean((0, 2, 3)) for images in (data.test_A, data.test_B))
    assert summer[1] > 1.4 * max(summer[0], summer[2])
    assert winter.min() > 190


def test_an_orange_is_where_the_apple_was(sets: dict[str, Unpaired]) -> None:
    data = sets["apple2orange_mini"]
    apple, orange = (images.permute(0, 2, 3, 1)[data.changed].float().mean(0) for images in (data.test_A, data.test_B))
    assert apple[0] > 2 * apple[1]
    assert orange[1] > 1.4 * apple[1]
    assert orange[1] > 2 * orange[2]
    corners = data.changed[:, [0, 0, -1, -1], [0, -1, 0, -1]].float().mean()
    assert corners < 0.1 < data.changed.float().mean()


def test_maps_are_those_of_the_paired_set(
    sets: dict[str, Unpaired], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path))
    large = load_unpaired("maps_mini", size=64, number=3)
    pairs = load_pairs("maps_mini", number=3)
    assert torch.equal(large.A, pairs.A)
    assert not torch.equal(large.B, pairs.B), "the maps are of other towns"
    assert pairs.held_out is not None
    assert torch.equal(large.test_B, pairs.held_out.B[:60])
    assert sets["maps_mini"].domains == ("aerial", "map")


@pytest.mark.parametrize("option", [{"size": 50}, {"number": 0}])
def test_options_are_checked(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(ValueError, match=f"{name}={option[name]}"):
        load_unpaired("horse2zebra_mini", **option)


@pytest.mark.cuda
def test_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path))
    data = load_unpaired("apple2orange_mini", device="cuda", number=5, jitter=True)
    A, B = data.sample(8, torch.Generator("cuda").manual_seed(0))
    assert A.device.type == B.device.type == data.changed.device.type == "cuda"
