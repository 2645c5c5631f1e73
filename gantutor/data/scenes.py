"""Scenes drawn from a seed, one by one, and kept: what the embedded paired and unpaired sets are made of."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantutor.data import drawing
from gantutor.data.arrays import Arrays, load_or_make, make_each
from gantutor.data.common import embedded_file

# Draws one scene of a size from a generator: its arrays, (size, size) or (size, size, 3), uint8.
Drawer = Callable[[np.random.Generator, int], tuple[Any, ...]]

STREAMS = ("train", "val", "test", "other half")  # each has scenes of its own; the last is domain B's training half


def scenes(
    name: str, draw: Drawer, sources: Iterable[str], stream: str, size: int, number: int, seed: int
) -> list[Any]:
    """What `draw` returns for each of `number` scenes, stacked; from the cache where it is there.

    `sources` are the files that define `draw`: when they change, all is drawn anew. A scene depends on the seed, the
    stream and its place in it alone.
    """
    place = STREAMS.index(stream)

    def make() -> Arrays:
        columns = make_each(
            f"{name} ({stream}, {size} pixels)",
            number,
            lambda index: draw(np.random.default_rng([seed, place, index]), size),
        )
        return {f"column_{which}": column for which, column in enumerate(columns)}

    recipe = [Path(drawing.__file__), *map(Path, sources), embedded_file("textures.npz")]
    found = load_or_make(f"{name}-{stream.replace(' ', '-')}-{size}-{number}-{seed}", recipe, make)
    return [found[f"column_{which}"] for which in range(len(found))]


def channels_first(pictures: "np.ndarray[Any, Any]") -> Tensor:
    """(N, H, W, 3) to a tensor (N, 3, H, W)."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
