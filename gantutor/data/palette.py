"""The colours of the flat emoji: a palette to paint with, and any picture drawn in it.

labels = nearest_colours(pictures)  # uint8 (..., H, W): the number of the colour that looks most alike
draw_labels(labels, EMOJI_COLOURS)  # uint8 (..., 3, H, W): the pictures in those colours alone
"""

import torch
from torch import Tensor

from gantutor.data.pairs import Label

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
