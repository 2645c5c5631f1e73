"""The emoji sets: one emoji in two styles by the same artists, flat and shaded, embedded at 64 pixels.

    load_pairs("emoji_flat")  # A flat, B shaded
    load_pairs("emoji_sketch")  # A a line drawing of the flat one, B shaded
    load_pairs("emoji_palette")  # A the flat one in the colours of a palette, B shaded: for Paint
    load_unpaired("emoji")  # flat ones, and shaded ones of other emoji

Microsoft's Fluent emoji, MIT: data/emoji.LICENSE.txt. How they were chosen: data/build_emoji.py.
"""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantutor.data import fluent
from gantutor.data.arrays import Arrays, load_or_make, make_each, read_npz
from gantutor.data.common import DataError, check_choice, check_positive, embedded_file, how_to_restore, usable_device
from gantutor.data.pairs import Pairs, draw_labels
from gantutor.data.palette import EMOJI_COLOURS, nearest_colours
from gantutor.data.sheets import from_sheet
from gantutor.data.uci_digits import checksum
from gantutor.data.unpaired import Unpaired

NATIVE = 64
EMOJI_SIZES = (NATIVE, 128, 256)
EMOJI_SPLITS = ("train", "val", "test")  # what the numbers of the array "split" mean
STYLES = ("flat", "shaded", "sketch")
TILES = 32  # in a row of the sheets that hold the images of one style; data/build_emoji.py writes them
EMOJI_SHA256 = "e739ba97fe44818b0e7df0ff77af93d00ac69aa28fc94b5655608c006bad9e54"  # of the decoded arrays


def emoji_flat(device: str | torch.device = "cpu", **options: Any) -> Pairs:
    """Flat → shaded; options as in `emoji_pairs`."""
    return emoji_pairs("emoji_flat", "flat", device, **options)


def emoji_sketch(device: str | torch.device = "cpu", **options: Any) -> Pairs:
    """Line drawing → shaded; options as in `emoji_pairs`. The colours are not in the input."""
    return emoji_pairs("emoji_sketch", "sketch", device, **options)


def emoji_palette(device: str | torch.device = "cpu", **options: Any) -> Pairs:
    """Flat, in the colours of EMOJI_COLOURS alone → shaded; options as in `emoji_pairs`.

    `labels` are the numbers of the colours, and `classes` the palette: what Paint draws with.
    """
    return in_palette(emoji_pairs("emoji_palette", "flat", device, **options))


def in_palette(pairs: Pairs) -> Pairs:
    labels = nearest_colours(pairs.A)
    return dataclasses.replace(
        pairs,
        A=draw_labels(labels, EMOJI_COLOURS),
        labels=labels,
        classes=EMOJI_COLOURS,
        label_map="A",
        held_out=pairs.held_out and in_palette(pairs.held_out),
    )


def emoji_pairs(
    name: str,
    style: str,
    device: str | torch.device,
    split: str = "train",
    size: int = NATIVE,
    number: int | None = None,
    flip: bool = True,
    jitter: bool = False,
) -> Pairs:
    """The pairs of one split, A in `style` and B shaded. No emoji is in two splits.

    Args:
        split: "train", "val" (100) or "test" (100). The train set has the test set with it as `held_out`.
        size: 64 is embedded; 128 and 256 are drawn from two npm packages that have to be there.
        number: takes only the first.
        flip, jitter: augment the train set; the others are as drawn.

    Raises: ValueError for another split, size or a number below 1; DataError for a damaged file or missing packages.
    """
    check_choice("split", split, EMOJI_SPLITS)
    if number is not None:
        check_positive("number", number)
    device = usable_device(device)
    arrays = load_arrays(size)

    def chosen(part: str, count: int | None) -> tuple[Tensor, Tensor]:
        A, B = (images_of(arrays, style_of_side, part)[:count] for style_of_side in (style, "shaded"))
        return A.to(device), B.to(device)

    if split != "train":
        return Pairs(name, *chosen(split, number))
    held_out = Pairs(name, *chosen("test", None))
    return Pairs(name, *chosen("train", number), flip=flip, jitter=jitter, held_out=held_out)


def emoji_unpaired(
    device: str | torch.device = "cpu",
    size: int = NATIVE,
    number: int | None = None,
    flip: bool = True,
    jitter: bool = False,
) -> Unpaired:
    """Flat emoji, and shaded ones of other emoji: A is the first half of the train split, B the second.

    The test images are the 100 of the test split, each with its true partner. Options as in `emoji_pairs`.
    Raises: ValueError for another size or a number below 1; DataError for a damaged file or missing packages.
    """
    if number is not None:
        check_positive("number", number)
    device = usable_device(device)
    arrays = load_arrays(size)
    flat, shaded = (images_of(arrays, style, "train") for style in ("flat", "shaded"))
    half = len(flat) // 2
    tests = (images_of(arrays, style, "test") for style in ("flat", "shaded"))
    A, B, test_A, test_B = (images.to(device) for images in (flat[:half][:number], shaded[half:][:number], *tests))
    return Unpaired("emoji", A, B, test_A, test_B, ("flat", "shaded"), has_truth=True, flip=flip, jitter=jitter)


def load_arrays(size: int) -> Arrays:
    """Every emoji in all STYLES, its code points and its split; another size has the same emoji in the same order.

    Raises: ValueError for another size; DataError for a damaged file or missing packages.
    """
    check_choice("size", size, EMOJI_SIZES)
    native = read_emoji(embedded_file("emoji.npz"))
    if size == NATIVE:
        return native

    def make() -> Arrays:
        source = fluent.FluentEmoji()
        codes = [code.decode() for code in native["codes"]]
        drawn = make_each(f"emoji of {size} pixels", len(codes), lambda index: source.draw(codes[index], size))
        return dict(zip(STYLES, drawn, strict=True))

    sources = [Path(__file__), Path(fluent.__file__), embedded_file("emoji.npz")]
    return {**native, **load_or_make(f"emoji-{size}", sources, make)}


def images_of(arrays: Arrays, style: str, split: str) -> Tensor:
    """The images in one style that belong to one split, uint8 (N, 3, H, W)."""
    images = torch.from_numpy(arrays[style][arrays["split"] == EMOJI_SPLITS.index(split)])
    colours = images if images.dim() == 4 else images[..., None].expand(*images.shape, 3)
    return colours.permute(0, 3, 1, 2).contiguous()


def read_emoji(path: Path) -> Arrays:
    """The arrays in `path`, decoded, and proved to be the ones that were built.

    Raises: DataError for anything else.
    """
    try:
        arrays = read_npz(path)
        for style in STYLES:
            tiles = from_sheet(arrays[style].tobytes(), NATIVE)
            arrays[style] = tiles.reshape(-1, *tiles.shape[2:])[: len(arrays["codes"])].copy()
        arrays["sketch"] = arrays["sketch"][..., 0]
        intact = checksum(arrays) == EMOJI_SHA256
    except Exception as error:  # a damaged zip or WebP makes numpy and Pillow raise one of a dozen
        raise DataError(f"{path} is damaged ({error}). {how_to_restore(path.name)}") from error
    if not intact:
        raise DataError(f"{path} does not hold what it should (its checksum is wrong). {how_to_restore(path.name)}")
    return arrays
