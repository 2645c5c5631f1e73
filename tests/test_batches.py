"""What each of several replicas gives of a batch: together the whole, from generators that stay in the same state."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gantutor.batches import Batches, FileSource, Share
from gantutor.data import DataError, image_folder, load, load_pairs, load_unpaired

SETS: dict[str, tuple[Any, int]] = {
    "ring": (load, 3),
    "digits": (load, 3),
    "facades_mini": (load_pairs, 0),
    "horse2zebra_mini": (load_unpaired, 0),
}


@pytest.mark.parametrize("name", SETS)
def test_the_shares_are_the_whole_batch(name: str) -> None:
    loader, z_dim = SETS[name]
    whole = Batches(loader(name), 6, z_dim, seed=1)
    replicas = [Batches(loader(name), 6, z_dim, seed=1) for _ in range(3)]
    for rank, batches in enumerate(replicas):
        batches.share = Share(rank, 3)
    for _ in range(2):
        wanted, parts = next(whole), [next(batches) for batches in replicas]
        assert all(len(tensor) == 2 for part in parts for tensor in part)
        for place, tensor in enumerate(wanted):
            assert torch.equal(torch.cat([part[place] for part in parts]), tensor)
    states = [batches.state_dict()["generator"] for batches in (whole, *replicas)]
    assert all(torch.equal(state, states[0]) for state in states)


def test_of_files_only_the_share_is_read(tmp_path: Path) -> None:
    for number in range(12):
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(tmp_path / f"{number:02}.png")
    data = image_folder(tmp_path, size=8, max_bytes=0, workers=1)
    assert isinstance(data, FileSource)
    whole, share = Batches(data, 6, 2, seed=1), Batches(data, 6, 2, seed=1)
    share.share = Share(1, 3)
    wanted, z = next(whole)
    drawn = ((wanted[:, 0, 0, 0] + 1) * 127.5 / 20).round().int().tolist()
    others = set(drawn) - set(drawn[2:4])
    assert others
    for number in others:
        data.files[number].unlink()
    found, own_z = next(share)
    assert torch.equal(found, wanted[2:4])
    assert torch.equal(own_z, z[2:4])
    assert torch.equal(whole.state_dict()["generator"], share.state_dict()["generator"])
    whole.load_state_dict(Batches(data, 6, 2, seed=1).state_dict())
    with pytest.raises(DataError, match="is not a readable picture"):
        next(whole)
