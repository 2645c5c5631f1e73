"""Replicas' shares of a batch are together the whole; files are read ahead, and change nothing of what is drawn."""

import concurrent.futures
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_helpers import no_waiting
from PIL import Image
from torch import Tensor

from gantutor.batches import Batches, Share
from gantutor.data import DataError, Folder, Images, image_folder, load, load_unpaired

SETS: dict[str, tuple[Any, int]] = {"ring": (load, 3), "digits": (load, 3), "emoji": (load_unpaired, 0)}


@pytest.mark.parametrize("name", SETS)
def test_the_shares_are_the_whole_batch(name: str) -> None:
    loader, z_dim = SETS[name]
    data = loader(name)
    whole, *replicas = (Batches(data, 6, z_dim, seed=1) for _ in range(4))
    for rank, batches in enumerate(replicas):
        batches.share = Share(rank, 3)
    for _ in range(2):
        wanted, parts = next(whole), [next(batches) for batches in replicas]
        assert all(len(tensor) == 2 for part in parts for tensor in part)
        for place, tensor in enumerate(wanted):
            assert torch.equal(torch.cat([part[place] for part in parts]), tensor)
    states = [batches.state_dict()["generator"] for batches in (whole, *replicas)]
    assert all(torch.equal(state, states[0]) for state in states)


# Files ----------------------------------------------------------------------------------------------------------------


def save(folder: Path) -> None:
    """Twelve pictures, each of one colour."""
    for number in range(12):
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(folder / f"{number:02}.png")


def both(folder: Path) -> tuple[Images, Folder]:
    """The same pictures in memory and in their files."""
    save(folder)
    in_memory, in_files = image_folder(folder, size=8), image_folder(folder, size=8, max_bytes=0, workers=2)
    assert isinstance(in_memory, Images)
    assert isinstance(in_files, Folder)
    return in_memory, in_files


def read_ahead(*streams: Batches) -> None:
    """Wait until the threads have nothing left to do."""
    for batches in streams:
        guess: Any = batches._guess
        concurrent.futures.wait(guess.images)


def same(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def test_of_files_only_the_share_is_read(tmp_path: Path) -> None:
    save(tmp_path)
    data = image_folder(tmp_path, size=8, max_bytes=0, workers=1)
    assert isinstance(data, Folder)
    whole, share = Batches(data, 6, 2, seed=1), Batches(data, 6, 2, seed=1)
    share.share = Share(1, 3)
    wanted, z = next(whole)
    drawn = ((wanted[:, 0, 0, 0] + 1) * 127.5 / 20).round().int().tolist()
    others = set(drawn) - set(drawn[2:4])
    assert others
    read_ahead(whole)
    for number in others:
        data.files[number].unlink()
    found, own_z = next(share)
    assert torch.equal(found, wanted[2:4])
    assert torch.equal(own_z, z[2:4])
    assert torch.equal(whole.state_dict()["generator"], share.state_dict()["generator"])
    whole.load_state_dict(Batches(data, 6, 2, seed=1).state_dict())
    with pytest.raises(DataError, match="is not a readable image"):
        next(whole)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Images, Folder]:
    return both(tmp_path_factory.mktemp("pictures"))


ACTIONS = ["next", "next", "next", "draw", "save", "load", "share", "size"]


@settings(max_examples=30)
@given(actions=st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from(ACTIONS)), min_size=5, max_size=20))
def test_whatever_happens_files_give_the_same_batches(
    actions: list[tuple[int, str]], sources: tuple[Images, Folder]
) -> None:
    """Two streams of one Folder: each draws what a stream of the same pictures in memory draws."""
    streams = [[Batches(data, 6, 2, seed=seed) for data in sources] for seed in (0, 1)]
    saved = [[batches.state_dict() for batches in pair] for pair in streams]
    for number, action in actions:
        in_memory, in_files = streams[number]
        if action == "next":
            assert same(next(in_files), next(in_memory))
        for place, batches in enumerate((in_memory, in_files)):
            if action == "draw":
                torch.rand(1, generator=batches.generator)
            elif action == "save":
                saved[number][place] = batches.state_dict()
            elif action == "load":
                batches.load_state_dict(saved[number][place])
            elif action == "share":
                batches.share = Share(1, 2) if batches.share.count == 1 else Share()
            elif action == "size":
                batches.batch_size = 14 - batches.batch_size
        assert torch.equal(in_memory.generator.get_state(), in_files.generator.get_state())


@pytest.mark.cuda
def test_no_batch_waits_for_this_gpu(tmp_path: Path) -> None:
    save(tmp_path)
    data = image_folder(tmp_path, size=8, device="cuda", max_bytes=0, workers=1)
    batches, again = Batches(data, 6, 2, seed=1), Batches(data, 6, 2, seed=1)
    next(batches)  # the first allocations may wait
    with no_waiting():
        found = [next(batches) for _ in range(3)]
    next(again)
    assert all(same(batch, next(again)) for batch in found)
    assert found[0][0].is_cuda
