"""Build data/emoji.npz from two npm packages with Microsoft's Fluent emoji: python data/build_emoji.py

flat, shaded  uint8 (bytes,)   all images on white, 64 x 64 pixels each, on one sheet: a lossless WebP
sketch        uint8 (bytes,)   the line drawings of the flat ones, grey, on such a sheet
codes         bytes (N,)       the code points of each emoji, as "1f9d1-200d-1f33e"
split         uint8 (N,)       0 train, 1 val, 2 test

Which emoji are in it:
1. Both packages have it. Code points are compared without fe0f, which changes no picture.
2. No signs: the groups Symbols (keycaps, letters, arrows, buttons) and Flags are left out. What is left are things,
   animals, food, places, faces and people, in which shading has a shape to follow.
3. One of each figure: no skin tones, and no man or woman where there is a person of the same kind.
4. Both draw the same: the silhouettes overlap by MATCH. The others are two drawings of one idea, and nothing that a
   network could learn leads from one to the other.
5. No near copies, as of the 24 clock faces: the images differ by COPY from those of each emoji before. A held-out image
   would otherwise be known from training.

The order is drawn once: the first 100 are the test split, the next 100 the val split. Each colour is rounded to one of
52 levels, 0, 5, ..., 255: half the bytes, and nothing that an eye could see. (A WebP with loss would be smaller, but
four times as far off.)

The packages and resvg-py are needed here and for larger sizes, and nowhere else; the script says how to get them.
"""

import re
import sys
from pathlib import Path

import numpy as np
import torch

from gantutor.data.arrays import checksum
from gantutor.data.common import DataError
from gantutor.data.emoji import EMOJI_COLOURS, EMOJI_SHA256, NATIVE, STYLES, TILES, FluentEmoji, to_lab
from gantutor.data.sheets import to_sheet

FILE = Path(__file__).with_name("emoji.npz")
NO_SOURCES = 3  # the exit status that `make data` passes over

SIGNS = ("Symbols", "Flags")
TONES_AND_GENDERS = r"1f3f[b-f]|-200d-264[02]|^1f46[89]-200d"
MATCH = 0.75  # of the silhouettes' union
COPY = 0.03  # of the range of a colour, on average over both images
HELD_OUT = 100  # each of val and test
LEVEL = 5
APART = 14  # of two colours of the palette, in L*a*b*: plain to see


def build(source: FluentEmoji) -> dict[str, np.ndarray]:
    """The arrays, the images decoded: flat and shaded uint8 (N, 64, 64, 3), sketch uint8 (N, 64, 64)."""
    kept = []
    for code in source.codes:
        if source.group(code) in SIGNS or re.search(TONES_AND_GENDERS, code) or overlap(source, code) < MATCH:
            continue
        images = [np.uint8(np.rint(image / LEVEL) * LEVEL) for image in source.draw(code, NATIVE)]
        both = np.stack(images[:2]).astype(np.float32) / 255
        if all(np.abs(both - other).mean() >= COPY for _, _, other in kept):
            kept.append((code, images, both))
    order = np.random.RandomState(0).permutation(len(kept))  # its numbers never change, as default_rng's may
    arrays = {style: np.stack([kept[place][1][index] for place in order]) for index, style in enumerate(STYLES)}
    split = np.zeros(len(kept), np.uint8)
    split[:HELD_OUT], split[HELD_OUT : 2 * HELD_OUT] = 2, 1
    return {**arrays, "codes": np.array([kept[place][0] for place in order], np.bytes_), "split": split}


def overlap(source: FluentEmoji, code: str) -> float:
    """How much of the two silhouettes' union is in both."""
    flat, shaded = (np.asarray(picture)[..., 3] > 127 for picture in (source.flat(code), source.shaded(code)))
    return (flat & shaded).sum() / max((flat | shaded).sum(), 1)


def commonest_colours(images: np.ndarray, number: int) -> list[tuple[int, ...]]:
    """The `number` commonest colours of images uint8 (N, H, W, 3), each APART from those before it."""
    colours, counts = np.unique(images.reshape(-1, 3), axis=0, return_counts=True)
    places, found = to_lab(torch.from_numpy(colours)).numpy(), []
    for _ in range(number):
        commonest = counts.argmax()
        found.append(tuple(colours[commonest].tolist()))
        counts[np.linalg.norm(places - places[commonest], axis=1) < APART] = 0
    return found


if __name__ == "__main__":
    try:
        arrays = build(FluentEmoji())
    except DataError as error:
        print(f"{FILE} is left as it is. {error}")
        sys.exit(NO_SOURCES)
    unfinished = FILE.with_suffix(".unfinished.npz")
    sheets = {style: np.frombuffer(to_sheet(arrays[style], TILES), np.uint8) for style in STYLES}
    np.savez_compressed(unfinished, **{**arrays, **sheets})
    unfinished.replace(FILE)
    print(f"{FILE}: {len(arrays['codes'])} emoji, {FILE.stat().st_size:,} bytes")
    if checksum(arrays) != EMOJI_SHA256:
        print(
            f'It is another file than gantutor.data.emoji knows. If that is meant: EMOJI_SHA256 = "{checksum(arrays)}"'
        )
    palette = commonest_colours(arrays["flat"][arrays["split"] == 0], len(EMOJI_COLOURS))
    if palette != [label.colour for label in EMOJI_COLOURS]:
        print(f"Its commonest colours are others than gantutor.data.emoji knows: {palette}")
