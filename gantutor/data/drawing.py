"""What the drawn data sets share: a canvas several times too large, materials, the way to a small picture, the pairs.

A scene is laid out in the unit square (x to the right, y downwards), so that one seed gives the same scene in every
size. It is painted at SUPERSAMPLING times the size and then averaged, which smooths the edges.
"""

import colorsys
import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gantutor.data.common import (
    Bytes,
    channels_first,
    check_choice,
    check_positive,
    embedded_file,
    read_embedded,
    usable_device,
)
from gantutor.data.pairs import Label, Pairs, draw_labels, with_held_out

SUPERSAMPLING = 3
TEXTURES_SHA256 = "5a9f175fca034c46e61a6ac927b596feed93b45fb9bbd3a06f5fb6236964c6d4"

Floats = NDArray[np.floating[Any]]
Point = tuple[float, float]


class LabelDrawing:
    """A label map under construction: shapes in the unit square, drawn with class numbers, later ones on top."""

    def __init__(self, side: int, fill: int = 0) -> None:
        from PIL import Image, ImageDraw

        self.side = side
        self.picture = Image.new("L", (side, side), fill)
        self.pencil = ImageDraw.Draw(self.picture)

    def rectangle(self, label: int, left: float, top: float, right: float, bottom: float) -> None:
        """The pixels whose centres lie inside; at least one pixel wide and high, so that no thin part is lost."""
        x0, y0 = round(left * self.side), round(top * self.side)
        x1, y1 = max(round(right * self.side) - 1, x0), max(round(bottom * self.side) - 1, y0)
        self.pencil.rectangle([x0, y0, x1, y1], fill=label)

    def ellipse(self, label: int, left: float, top: float, right: float, bottom: float) -> None:
        self.pencil.ellipse([value * self.side for value in (left, top, right, bottom)], fill=label)

    def polygon(self, label: int, points: Iterable[Point]) -> None:
        self.pencil.polygon([(x * self.side, y * self.side) for x, y in points], fill=label)

    def line(self, label: int, points: Iterable[Point], width: float) -> None:
        path = [(x * self.side, y * self.side) for x, y in points]
        self.pencil.line(path, fill=label, width=max(round(width * self.side), 1), joint="curve")

    def array(self) -> Bytes:
        """Class numbers (side, side)."""
        return np.array(self.picture)


@functools.cache
def textures() -> dict[str, Bytes]:
    """The embedded grey pictures: brick, grass and gravel, (256, 256).

    Raises: DataError for a missing or damaged file.
    """
    return read_embedded(embedded_file("textures.npz"), TEXTURES_SHA256)


def material(name: str, rng: np.random.Generator, side: int, share: float) -> Floats:
    """A random square cut of a texture, `share` of its width, enlarged to (side, side): mean about 0, within ±0.6."""
    from PIL import Image

    texture = textures()[name]
    width = texture.shape[0] * share
    left, top = rng.uniform(0, texture.shape[0] - width, size=2)
    box = (left, top, left + width, top + width)
    cut = Image.fromarray(texture).resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(cut, np.float32) / 255 - np.float32(texture.mean() / 255)


def soft_noise(rng: np.random.Generator, side: int, cells: int) -> Floats:
    """Smooth random values in [0, 1], (side, side): `cells` x `cells` random numbers, interpolated."""
    from PIL import Image

    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255


def ramp(start: float, end: float, side: int) -> Floats:
    """(side,) from `start` to `end`."""
    return np.linspace(start, end, side, dtype=np.float32)


def colour(hue: float, saturation: float, value: float) -> Floats:
    """Red, green, blue in [0, 1] of a colour in HSV, its hue taken modulo 1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)


def cast_shadow(raised: NDArray[np.bool_], right: int, down: int) -> NDArray[np.bool_]:
    """Where the shadow of `raised` (H, W) falls beside it, `right` and `down` pixels away."""
    shadow = np.zeros_like(raised)
    shadow[down:, right:] = raised[: raised.shape[0] - down, : raised.shape[1] - right]
    return shadow & ~raised


def small_image(image: Floats) -> Bytes:
    """Floats (3 s, 3 s, 3) in [0, 1] (what is beyond is cut off), averaged down to uint8 (s, s, 3)."""
    from PIL import Image

    large = Image.fromarray((image.clip(0, 1) * 255).astype(np.uint8))
    return np.array(large.reduce(SUPERSAMPLING))


def small_labels(labels: Bytes) -> Bytes:
    """Class numbers (3 s, 3 s) to those of the middle pixel of each block, (s, s)."""
    return labels[SUPERSAMPLING // 2 :: SUPERSAMPLING, SUPERSAMPLING // 2 :: SUPERSAMPLING].copy()


# The sets -------------------------------------------------------------------------------------------------------------

SPLITS = {"train": 400, "val": 100, "test": 100}  # how many pairs each has, unless `number` says otherwise
DRAWN_WITHOUT_BAR = 200  # scenes: fewer are drawn without a progress bar

# Draws one scene from a generator: class numbers (size, size), and one or two pictures (size, size, 3), all uint8.
Drawer = Callable[[np.random.Generator, int], tuple[Any, ...]]


def drawn_pairs(
    name: str,
    draw: Drawer,
    classes: tuple[Label, ...],
    device: str | torch.device = "cpu",
    split: str = "train",
    size: int = 64,
    number: int | None = None,
    seed: int = 0,
    flip: bool = True,
    jitter: bool = False,
) -> Pairs:
    """`number` pairs of one split ("train", "val" or "test"), 64, 128 or 256 pixels high and wide.

    The train set is augmented (`flip`, `jitter`) and has the test set with it as `held_out`; the others are as drawn.
    A pair depends on the seed, the split and its place in it alone: more pairs begin with the fewer, and another size
    shows the same scenes.
    Raises: ValueError for another split, size or a number below 1.
    """
    check_choice("split", split, tuple(SPLITS))
    check_choice("size", size, (64, 128, 256))
    check_positive("number", number)
    device = usable_device(device)

    def part(split: str, number: int | None, **options: Any) -> Pairs:
        from tqdm import tqdm

        number = number or SPLITS[split]
        streams = [(seed, [*SPLITS].index(split), place) for place in range(number)]
        title = f"drawing {name} ({split}, {size} pixels)"
        shown = tqdm(streams, desc=title, unit="picture", disable=number < DRAWN_WITHOUT_BAR)
        scenes = [draw(np.random.default_rng(stream), size) for stream in shown]
        columns = [torch.from_numpy(np.stack(column)).to(device) for column in zip(*scenes, strict=True)]
        labels, images = columns[0], [channels_first(column) for column in columns[1:]]
        A, B = images if len(images) == 2 else (draw_labels(labels, classes), *images)
        return Pairs(name, A, B, labels, classes, label_map="" if len(images) == 2 else "A", **options)

    return with_held_out(part, split, number, ("test", None), flip, jitter)
