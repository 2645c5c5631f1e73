"""Two domains without pairs: what a record accepts, that the halves share no scene, and the truth of the drawn sets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gantutor.data import Unpaired, load_pairs, load_unpaired
from gantutor.data.procedural.maps import draw_map

NUMBER = 24


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Unpaired:
    """The drawn set, with 24 training images of each domain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANTUTOR_DATA", str(tmp_path_factory.mktemp("data")))
        return load_unpaired("maps_mini", number=NUMBER)


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
    with pytest.raises(ValueError, match="'horses' is unknown; choose one of emoji, maps_mini, "):
        load_unpaired("horses")


# --- the drawn set ----------------------------------------------------------------------------------------------------


def test_the_towns_are_small_images_with_truth(towns: Unpaired) -> None:
    assert towns.A.shape == towns.B.shape == (NUMBER, 3, 48, 48)
    assert towns.test_A.shape == towns.test_B.shape == (60, 3, 48, 48)
    assert towns.has_truth
    assert towns.domains == ("aerial", "map")
    for images in (towns.A, towns.B, towns.test_A, towns.test_B):
        assert len({image.numpy().tobytes() for image in images}) == len(images), "no image twice"


def test_the_training_halves_share_no_town(towns: Unpaired) -> None:
    """The counterpart of no image of A is in B, and of none of B in A."""
    drawn = [draw_map(np.random.default_rng([0, 0, index]), 48) for index in range(NUMBER)]
    counterparts = {street_map.tobytes() for _, _, street_map in drawn}
    assert not {image.permute(1, 2, 0).numpy().tobytes() for image in towns.B} & counterparts
    again = torch.from_numpy(drawn[3][1]).permute(2, 0, 1)
    assert torch.equal(towns.A[3], again), "the stream is the one that was checked"


def test_another_size_shows_the_same_town() -> None:
    for index in range(5):
        small, large = (draw_map(np.random.default_rng([7, index]), size)[1].astype(float) for size in (48, 96))
        shrunk = large.reshape(48, 2, 48, 2, 3).mean((1, 3))
        assert np.abs(shrunk - small).mean() < 10


def test_maps_are_those_of_the_paired_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path))
    large = load_unpaired("maps_mini", size=64, number=3)
    pairs = load_pairs("maps_mini", number=3)
    assert torch.equal(large.A, pairs.A)
    assert not torch.equal(large.B, pairs.B), "the maps are of other towns"
    assert pairs.held_out is not None
    assert torch.equal(large.test_B, pairs.held_out.B[:60])


@pytest.mark.parametrize("option", [{"size": 50}, {"number": 0}])
def test_options_are_checked(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(ValueError, match=f"{name}={option[name]}"):
        load_unpaired("maps_mini", **option)


@pytest.mark.cuda
def test_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path))
    data = load_unpaired("maps_mini", device="cuda", number=5, jitter=True)
    A, B = data.sample(8, torch.Generator("cuda").manual_seed(0))
    assert A.device.type == B.device.type == "cuda"
