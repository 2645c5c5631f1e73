"""The emoji sets: one emoji in two styles by the same artists, flat and shaded, embedded at 64 pixels.

    load_pairs("emoji_flat")  # A flat, B shaded
    load_pairs("emoji_sketch")  # A a line drawing of the flat one, B shaded: the colours are not in the input
    load_pairs("emoji_palette")  # A the flat one in the colours of a palette, B shaded: for Paint
    load_unpaired("emoji")  # flat ones, and shaded ones of other emoji

Microsoft's Fluent emoji, MIT: data/emoji.LICENSE.txt. How they were chosen: data/build_emoji.py.
"""

from typing import Any

import torch
from torch import Tensor

from gantutor.data.common import Arrays, check_positive, embedded_file, read_embedded
from gantutor.data.pairs import Label, Pairs, Unpaired, draw_labels
from gantutor.data.sheets import SIDE, as_images, decode_sheets, split_pairs

EMOJI_SHA256 = "9adfde1d19f5b3b75c2b154b0a17052e5204a3f8715d35f091abc394602075c8"  # of the decoded arrays


def emoji_pairs(
    style: str,
    device: str | torch.device = "cpu",
    split: str = "train",
    size: int = SIDE,
    number: int | None = None,
    flip: bool = True,
    jitter: bool = False,
) -> Pairs:
    """The pairs of one split, A in `style` and B shaded. No emoji is in two splits.

    Args:
        style: "flat", "sketch" or "palette": flat, in the colours of EMOJI_COLOURS alone. These are the `classes` then,
            and their numbers the `labels`.
        split: "train", "val" (100) or "test" (100). The train set has the test set with it as `held_out`.
        size: there is no other than 64.
        number: takes only the first.
        flip, jitter: augment the train set; the others are as drawn.

    Raises: ValueError for another split, size or a number below 1; DataError for a missing or damaged file.
    """

    def fields(arrays: Arrays) -> dict[str, Any]:
        A, B = (as_images(arrays[name]) for name in ("flat" if style == "palette" else style, "shaded"))
        if style != "palette":
            return {"A": A, "B": B}
        labels = nearest_colours(A)
        A = draw_labels(labels, EMOJI_COLOURS)
        return {"A": A, "B": B, "labels": labels, "classes": EMOJI_COLOURS, "label_map": "A"}

    return split_pairs(f"emoji_{style}", read_emoji, fields, device, split, size, number, flip, jitter)


def read_emoji() -> Arrays:
    return read_embedded(embedded_file("emoji.npz"), EMOJI_SHA256, decode_sheets)


def emoji_unpaired(
    device: str | torch.device = "cpu",
    size: int = SIDE,
    number: int | None = None,
    flip: bool = True,
    jitter: bool = False,
) -> Unpaired:
    """Flat emoji, and shaded ones of other emoji: A is the first half of the train split, B the second.

    The test images are the 100 of the test split, each with its true partner. Options as in `emoji_pairs`.
    Raises: ValueError for another size or a number below 1; DataError for a missing or damaged file.
    """
    check_positive("number", number)
    pairs = emoji_pairs("flat", device, size=size)
    assert pairs.held_out is not None
    half = len(pairs) // 2
    A, B, tests = pairs.A[:half][:number], pairs.B[half:][:number], pairs.held_out
    return Unpaired("emoji", A, B, tests.A, tests.B, ("flat", "shaded"), has_truth=True, flip=flip, jitter=jitter)


# The commonest colours of the training emoji that an eye tells apart, the commonest first: data/build_emoji.py finds
# them. White is the background.
EMOJI_COLOURS = (
    Label("white", (255, 255, 255)),
    Label("light orange", (255, 175, 45)),
    Label("red", (250, 50, 45)),
    Label("light grey", (210, 210, 210)),
    Label("blue", (0, 165, 235)),
    Label("grey", (155, 155, 155)),
    Label("yellow", (250, 215, 65)),
    Label("dark purple", (85, 55, 100)),
    Label("darkest purple", (50, 25, 65)),
    Label("sand", (245, 175, 95)),
    Label("raspberry", (250, 45, 95)),
    Label("green", (0, 210, 105)),
    Label("brown", (110, 70, 50)),
    Label("orange", (255, 105, 35)),
    Label("crimson", (200, 10, 75)),
    Label("light brown", (165, 105, 85)),
    Label("dark grey", (100, 100, 100)),
    Label("dull purple", (100, 90, 150)),
    Label("dark brown", (65, 40, 50)),
    Label("sky blue", (40, 200, 250)),
    Label("dark green", (70, 145, 25)),
    Label("hot pink", (245, 10, 140)),
    Label("light green", (135, 215, 45)),
    Label("dark blue", (0, 115, 185)),
    Label("light blue", (175, 220, 255)),
    Label("purple", (140, 100, 195)),
    Label("cream", (255, 220, 165)),
    Label("black", (35, 35, 35)),
    Label("golden brown", (210, 135, 60)),
    Label("bright blue", (80, 145, 255)),
    Label("magenta", (185, 30, 130)),
    Label("light pink", (250, 185, 170)),
)

# From linear red, green and blue to X, Y and Z as shares of those of white.
XYZ = torch.tensor(
    [
        [0.4124 / 0.9505, 0.3576 / 0.9505, 0.1805 / 0.9505],
        [0.2126, 0.7152, 0.0722],
        [0.0193 / 1.0890, 0.1192 / 1.0890, 0.9505 / 1.0890],
    ],
    dtype=torch.float64,
)


def nearest_colours(pictures: Tensor) -> Tensor:
    """Pictures uint8 (..., 3, H, W) to numbers in EMOJI_COLOURS, uint8 (..., H, W): the nearest by `to_lab`."""
    red, green, blue = pictures.int().unbind(-3)
    found, places = (red << 16 | green << 8 | blue).unique(return_inverse=True)  # far fewer than pixels
    colours = torch.stack([found >> 16, found >> 8 & 255, found & 255], dim=1)
    palette = torch.tensor([label.colour for label in EMOJI_COLOURS], device=pictures.device)
    return torch.cdist(to_lab(colours), to_lab(palette)).argmin(1).byte()[places]


def to_lab(colours: Tensor) -> Tensor:
    """sRGB colours, 0 ... 255 (N, 3), to CIE L*a*b* (N, 3), where a distance is about what an eye sees.

    Source: IEC 61966-2-1 (sRGB) and CIE 15 (L*a*b*), for the white D65.
    """
    shares = colours.double() / 255
    linear = torch.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    xyz = linear @ XYZ.T.to(colours.device)
    roots = torch.where(xyz > (6 / 29) ** 3, xyz ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = roots.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)
