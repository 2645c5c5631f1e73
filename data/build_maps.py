"""Build data/maps.npz, which it draws: python data/build_maps.py

aerial, map  uint8 (bytes,)   all images of 64 x 64 pixels on one sheet: a lossless WebP
labels       uint8 (bytes,)   the class of each pixel, on such a sheet
split        uint8 (N,)       0 train, 1 val, 2 test

benchmarks/benchlib/drawing.py draws the scenes. As in the emoji's file, each colour is rounded to one of 52 levels.
"""

import sys
from pathlib import Path

import numpy as np

from gantutor.data.common import checksum
from gantutor.data.embedded import MAPS_SHA256, SIDE

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from benchlib.drawing import draw_map
from benchlib.sheets import to_sheet

FILE = Path(__file__).with_name("maps.npz")
NUMBERS = (200, 50, 100)  # of train, val and test
LEVEL = 5
TILES = 25  # in a row of a sheet


def build() -> dict[str, np.ndarray]:
    """The arrays, the images decoded: uint8 (N, 64, 64, 3)."""
    split = np.repeat(np.arange(3, dtype=np.uint8), NUMBERS)
    places = [(0, part, place) for part, number in enumerate(NUMBERS) for place in range(number)]
    drawn = [draw_map(np.random.default_rng(place), SIDE) for place in places]
    labels, aerial, street_map = (np.stack(column) for column in zip(*drawn, strict=True))
    rounded = [np.uint8(np.rint(images / LEVEL) * LEVEL) for images in (aerial, street_map)]
    return {"aerial": rounded[0], "map": rounded[1], "labels": np.repeat(labels[..., None], 3, axis=3), "split": split}


if __name__ == "__main__":
    arrays = build()
    sheets = {name: np.frombuffer(to_sheet(arrays[name], TILES), np.uint8) for name in ("aerial", "map", "labels")}
    unfinished = FILE.with_suffix(".unfinished.npz")
    np.savez_compressed(unfinished, **{**arrays, **sheets})
    unfinished.replace(FILE)
    print(f"{FILE}: {len(arrays['split'])} pairs, {FILE.stat().st_size:,} bytes")
    if checksum(arrays) != MAPS_SHA256:
        print(f'Another file than gantutor.data.embedded knows. If that is meant: MAPS_SHA256 = "{checksum(arrays)}"')
