"""The embedded sets: `digits`, and pairs of 64 pixels, `emoji` and `maps_mini`; and sheets, many pictures in one WebP.

    load("digits")  # 1,797 of them, 8x8 in the file: data/digits.LICENSE.txt has their source and licence

    load_pairs("emoji_flat")  # A flat, B shaded: one emoji in two styles by the same artists
    load_pairs("emoji_sketch")  # A a line drawing of the flat one, B shaded: the colours are not in the input
    load_pairs("emoji_palette")  # A the flat one in the colours of a palette, B shaded: for Paint
    load_unpaired("emoji")  # flat ones, and shaded ones of other emoji
    load_pairs("maps_mini")  # drawn aerial views of a town, and their street maps

The emoji are Microsoft's Fluent emoji, MIT: data/emoji.LICENSE.txt. How they were chosen: data/build_emoji.py. How the
towns are drawn: data/build_maps.py. Each view has one right map; the other way round, the colours of the roofs and the
places of the trees are free.

    read_sheet("emoji_sketch.webp")  # float32 (rows, columns, 3, 64, 64) in [-1, 1]

What stands in a row or a column of a sheet is said by whoever wrote it, in the table beside it.
"""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gantutor.data.common import (
    Arrays,
    Bytes,
    DataError,
    channels_first,
    check_choice,
    check_positive,
    embedded_file,
    how_to_restore,
    read_embedded,
    usable_device,
)
from gantutor.data.images import Images, Label, Pairs, Unpaired, draw_labels, to_float, with_held_out

SIDE = 64
SPLITS = ("train", "val", "test")  # what the numbers of the array "split" mean
EMOJI_SHA256 = "9adfde1d19f5b3b75c2b154b0a17052e5204a3f8715d35f091abc394602075c8"  # of the decoded arrays
MAPS_SHA256 = "fa79a729eaf19a84bae0b071d4178259dcdfddbfb3febe9668553c493db88be6"

# The classes of a town; and the commonest colours of the training emoji that an eye tells apart, the commonest first:
# data/build_emoji.py finds them. White is the background.
LABEL_COLOURS = json.loads(embedded_file("label_colours.json").read_text(encoding="utf-8"))
MAP_CLASSES, EMOJI_COLOURS = (
    tuple(Label(name, tuple(colour)) for name, colour in LABEL_COLOURS[of]) for of in ("maps", "emoji")
)

# Sheets ---------------------------------------------------------------------------------------------------------------


def from_sheet(content: bytes, side: int) -> Bytes:
    """All places of a sheet, uint8 (rows, columns, side, side, 3). Raises: ValueError where they do not fill it."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as file:
        sheet = np.array(file.convert("RGB"))
    height, width, _ = sheet.shape
    if height % side or width % side:
        raise ValueError(f"a sheet of {width} x {height} pixels is not made of images of {side}")
    tiles = sheet.reshape(height // side, side, width // side, side, 3).swapaxes(1, 2)
    return np.ascontiguousarray(tiles)


def read_sheet(name: str, side: int = 64) -> Tensor:
    """The images of an embedded sheet, float32 (rows, columns, 3, side, side) in [-1, 1].

    Raises: DataError for a file that is missing or damaged.
    """
    path = embedded_file(name)
    try:
        tiles = from_sheet(path.read_bytes(), side)
    except (OSError, ValueError) as error:  # Pillow's for what is no picture is an OSError
        raise DataError(f"{path} is damaged ({error}). {how_to_restore(name)}") from error
    return to_float(torch.from_numpy(tiles).permute(0, 1, 4, 2, 3).contiguous())


def decode_sheets(arrays: Arrays) -> Arrays:
    """The sheets, uint8 (bytes,), as images, uint8 (N, 64, 64, 3); the arrays that have N entries as they are."""
    count = len(arrays["split"])
    for name, array in arrays.items():
        if len(array) != count:
            tiles = from_sheet(array.tobytes(), SIDE)
            arrays[name] = tiles.reshape(-1, *tiles.shape[2:])[:count].copy()
    return arrays


# The digits -----------------------------------------------------------------------------------------------------------

DIGITS_SHA256 = "b6e141bd52712d498ce15d9ccebe68b564bdaba74205256d1a3dc6fd4c4ceb90"


def digits(device: str | torch.device = "cpu", split: str = "train", size: int = 28) -> Images:
    """Grey digits (1, size, size), white on black. `split`: "train" (1,347), "test" (450, held out) or "all".

    `size` 8 is native; 28 puts the digit into the middle 20x20 pixels, as MNIST does; 32 is 28 with a wider margin.
    Raises: ValueError for another split or size; DataError for a missing or damaged file.
    """
    check_choice("split", split, ("train", "test", "all"))
    check_choice("size", size, (8, 28, 32))
    device = usable_device(device)
    arrays = read_embedded("digits.npz", DIGITS_SHA256)
    images, labels, held_out = (torch.from_numpy(arrays[name]) for name in ("images", "labels", "held_out"))
    if split != "all":
        chosen = held_out == (split == "test")
        images, labels = images[chosen], labels[chosen]
    return Images("digits", enlarge_digits(images[:, None] / 16, size).to(device), labels.long().to(device))


def enlarge_digits(ink: Tensor, size: int) -> Tensor:
    """Ink per cell, (N, 1, 8, 8) in [0, 1], to images uint8 (N, 1, size, size). Always on the CPU: the same everywhere.

    A cell is the ink of 4x4 pixels; bicubic interpolation and a soft threshold give about the stroke they came from:
        v = sigmoid(9 (bicubic(ink) − 0.45)),  stretched so that no ink gives 0 and full ink 1
    """
    if size == 8:
        return (ink * 255).round().byte()
    cells = F.pad(ink, (2, 2, 2, 2))
    smooth = F.interpolate(cells, size=(30, 30), mode="bicubic", align_corners=False)[..., 1:-1, 1:-1]
    none, full = (torch.sigmoid(torch.tensor(9 * (level - 0.45))) for level in (0.0, 1.0))
    stroke = (torch.sigmoid(9 * (smooth - 0.45)) - none) / (full - none)
    images = (stroke.clamp(0, 1) * 255).round().byte()
    return F.pad(images, ((size - 28) // 2,) * 4)


# The pairs ------------------------------------------------------------------------------------------------------------


def split_pairs(
    name: str,
    arrays: Arrays,
    fields: Callable[[Arrays], dict[str, Any]],
    device: str | torch.device = "cpu",
    split: str = "train",
    size: int = SIDE,
    number: int | None = None,
    flip: bool = True,
    jitter: bool = False,
) -> Pairs:
    """The pairs of one split of an embedded file: `fields` makes those of a `Pairs` of the chosen rows of its arrays.

    Args:
        name: of the set.
        arrays: of the file; the images are uint8 (N, 64, 64, 3).
        fields: what makes the fields of a `Pairs` of some rows of the arrays.
        device: where the images lie.
        split: "train", "val" or "test". The train set has the test set with it as `held_out`.
        size: there is no other than 64.
        number: takes only the first.
        flip, jitter: augment the train set; the others are as drawn.

    Raises: ValueError for another split, size or a number below 1.
    """
    check_choice("split", split, SPLITS)
    check_choice("size", size, (SIDE,))
    check_positive("number", number)
    device = usable_device(device)

    def part(split: str, number: int | None) -> Pairs:
        chosen = arrays["split"] == SPLITS.index(split)
        found = fields({name: array[chosen][:number] for name, array in arrays.items()})
        tensors: dict[str, Any] = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in found.items()}
        return Pairs(name, **tensors, flip=flip, jitter=jitter)

    return with_held_out(part, split, number, ("test", None))


def as_images(array: Bytes) -> Tensor:
    """(N, H, W, 3) as a tensor (N, 3, H, W)."""
    return channels_first(torch.from_numpy(array))


def emoji_pairs(style: str, **options: Any) -> Pairs:
    """The emoji, A in `style` and B shaded, with the options of `split_pairs`. No emoji is in two splits.

    `style` is "flat", "sketch" or "palette": flat, in the colours of EMOJI_COLOURS alone. These are the `classes` then,
    and their numbers the `labels`. Train has 874, val and test have 100 each.
    Raises: as `split_pairs`; DataError for a missing or damaged file.
    """

    def fields(arrays: Arrays) -> dict[str, Any]:
        A, B = (as_images(arrays[name]) for name in ("flat" if style == "palette" else style, "shaded"))
        if style != "palette":
            return {"A": A, "B": B}
        labels = nearest_colours(A)
        A = draw_labels(labels, EMOJI_COLOURS)
        return {"A": A, "B": B, "labels": labels, "classes": EMOJI_COLOURS, "label_map": "A"}

    return split_pairs(f"emoji_{style}", read_embedded("emoji.npz", EMOJI_SHA256, decode_sheets), fields, **options)


def emoji_unpaired(number: int | None = None, flip: bool = True, jitter: bool = False, **options: Any) -> Unpaired:
    """Flat emoji, and shaded ones of other emoji: A is the first half of the train split, B the second.

    The test images are the 100 of the test split, each with its true partner. The options are `device` and `size`, too,
    as in `split_pairs`. Raises: as `emoji_pairs`.
    """
    check_positive("number", number)
    pairs = emoji_pairs("flat", **options)
    assert pairs.held_out is not None
    half = len(pairs) // 2
    A, B, tests = pairs.A[:half][:number], pairs.B[half:][:number], pairs.held_out
    return Unpaired("emoji", A, B, tests.A, tests.B, ("flat", "shaded"), has_truth=True, flip=flip, jitter=jitter)


def maps_mini(**options: Any) -> Pairs:
    """Towns, A the aerial view and B the map, with the options of `split_pairs`: 200 train, 50 val, 100 test.

    `labels` are the class of each pixel, in MAP_CLASSES. Raises: as `emoji_pairs`.
    """

    def fields(arrays: Arrays) -> dict[str, Any]:
        A, B, labels = as_images(arrays["aerial"]), as_images(arrays["map"]), torch.from_numpy(arrays["labels"])
        return {"A": A, "B": B, "labels": labels[..., 0], "classes": MAP_CLASSES}

    return split_pairs("maps_mini", read_embedded("maps.npz", MAPS_SHA256, decode_sheets), fields, **options)


# Their colours --------------------------------------------------------------------------------------------------------

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
