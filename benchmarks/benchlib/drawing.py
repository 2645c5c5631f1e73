"""Drawn scenes: aerial views of a town and their street maps; and the canvas, the materials, the pairs of a drawn set.

Each photograph has one right map. The other way round, the colours of the roofs and the places of the trees are free.

A scene is laid out in the unit square (x to the right, y downwards), so that one seed gives the same scene in every
size. It is painted at SUPERSAMPLING times the size and then averaged, which smooths the edges.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gantutor.data.common import (
    Bytes,
    channels_first,
    check_choice,
    check_positive,
    read_embedded,
    usable_device,
)
from gantutor.data.embedded import MAP_CLASSES
from gantutor.data.images import Label, Pairs, draw_labels, with_held_out

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
    return read_embedded("textures.npz", TEXTURES_SHA256)


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


# The towns ------------------------------------------------------------------------------------------------------------

LAND, PARK, WATER, ROAD, HIGHWAY, BUILDING = range(6)
MAP_COLOURS = np.array([label.colour for label in MAP_CLASSES], np.float32) / 255
PIXEL = 1 / 64  # of the side: one pixel of the smallest set
TREES = 260

GROUND = np.array(
    [(0.5, 0.47, 0.38), (0.24, 0.38, 0.18), (0.12, 0.25, 0.3), (0.4, 0.4, 0.41), (0.52, 0.51, 0.5), (1, 1, 1)],
    np.float32,
)
ROOFS = np.array([(0.62, 0.35, 0.27), (0.75, 0.73, 0.7), (0.45, 0.44, 0.46), (0.82, 0.8, 0.74)], np.float32)


def draw_map(rng: np.random.Generator, size: int) -> tuple[Bytes, Bytes, Bytes]:
    """One pair: class numbers uint8 (size, size), the aerial view and the map, both uint8 (size, size, 3)."""
    side = SUPERSAMPLING * size
    labels, houses = lay_out_town(rng, side)
    aerial = paint_aerial(labels, houses, rng)
    return small_labels(labels), small_image(aerial), small_image(MAP_COLOURS[labels])


class Town:
    """The two layouts, and a grid of streets that is turned about the middle of the image."""

    def __init__(self, side: int, angle: float) -> None:
        self.labels, self.houses = LabelDrawing(side, LAND), LabelDrawing(side)
        self.cos, self.sin = math.cos(angle), math.sin(angle)
        self.count = 0

    def turned(self, x: float, y: float) -> Point:
        x, y = x - 0.5, y - 0.5
        return 0.5 + self.cos * x - self.sin * y, 0.5 + self.sin * x + self.cos * y

    def corners(self, left: float, top: float, right: float, bottom: float) -> list[Point]:
        return [self.turned(x, y) for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))]

    def build(self, left: float, top: float, right: float, bottom: float) -> None:
        """A house; `houses` numbers them 1 to 255, so that each has a roof of its own."""
        corners = self.corners(left, top, right, bottom)
        self.labels.polygon(BUILDING, corners)
        self.houses.polygon(1 + self.count % 255, corners)
        self.count += 1


def lay_out_town(rng: np.random.Generator, side: int) -> tuple[Bytes, Bytes]:
    """Class numbers (side, side), and the number of the house at each pixel, 0 for none."""
    town = Town(side, math.radians(rng.uniform(-25, 25)) if rng.random() < 0.6 else 0)
    half_road = PIXEL * rng.uniform(1.6, 2.4)
    streets = np.cumsum(rng.uniform(0.2, 0.42, 10)) - 0.7
    avenues = np.cumsum(rng.uniform(0.18, 0.36, 12)) - 0.7
    for left, right in itertools.pairwise(streets):
        for top, bottom in itertools.pairwise(avenues):
            if max(left, top) > 1.3 or min(right, bottom) < -0.3:
                continue  # out of the image, however it is turned
            lay_block(town, left + half_road, top + half_road, right - half_road, bottom - half_road, rng)
    for place in streets:
        town.labels.line(ROAD, [town.turned(place, -1), town.turned(place, 2)], 2 * half_road)
    for place in avenues:
        town.labels.line(ROAD, [town.turned(-1, place), town.turned(2, place)], 2 * half_road)
    if rng.random() < 0.45:
        lay_river(town, rng)
    if rng.random() < 0.5:
        start, end = rng.uniform(0, 1, 2)
        town.labels.line(HIGHWAY, [(-0.1, start), (1.1, end)], 3.2 * half_road)
    return town.labels.array(), town.houses.array()


def lay_block(town: Town, left: float, top: float, right: float, bottom: float, rng: np.random.Generator) -> None:
    """What lies between four streets: a park, a park with a pond, or houses in rows."""
    kind = rng.random()
    if kind < 0.22:
        town.labels.polygon(PARK, town.corners(left, top, right, bottom))
    if kind < 0.06:
        angles = np.linspace(0, 2 * math.pi, 20)
        x = (left + right) / 2 + 0.35 * (right - left) * np.cos(angles)
        y = (top + bottom) / 2 + 0.3 * (bottom - top) * np.sin(angles)
        town.labels.polygon(WATER, [town.turned(*point) for point in zip(x, y, strict=True)])
    if kind < 0.22:
        return
    columns, rows = rng.integers(1, 4, 2)
    width, height = (right - left) / columns, (bottom - top) / rows
    for column in range(columns):
        for row in range(rows):
            margin = min(PIXEL * rng.uniform(0.6, 1.6), 0.3 * width, 0.3 * height)
            if rng.random() < 0.82:
                x, y = left + column * width, top + row * height
                town.build(x + margin, y + margin, x + width - margin, y + height - margin)


def lay_river(town: Town, rng: np.random.Generator) -> None:
    """It winds from the top to the bottom, over everything but the highway."""
    y = np.linspace(-0.1, 1.1, 25)
    x = rng.uniform(0.2, 0.8) + rng.uniform(0.05, 0.2) * np.sin(rng.uniform(0, 6) + 3 * y)
    half = rng.uniform(0.04, 0.1)
    town.labels.polygon(WATER, [*zip(x - half, y, strict=True), *zip(x[::-1] + half, y[::-1], strict=True)])


def paint_aerial(labels: Bytes, houses: Bytes, rng: np.random.Generator) -> Floats:
    """The aerial view (side, side, 3), about [0, 1]: light falls from the upper left."""
    side = len(labels)
    one = max(side // 64, 1)
    roofs = ROOFS[rng.integers(0, len(ROOFS), 256)] * rng.uniform(0.85, 1.1, (256, 1)).astype(np.float32)
    building = labels == BUILDING
    image = GROUND[labels]
    image[building] = roofs[houses[building]]

    # How strongly each class takes part in each pattern: land, park, water, road, highway, building.
    stony = np.array([0.6, 0, 0, 0.2, 0.2, 0.2], np.float32)
    grassy = np.array([0, 1.2, 0, 0, 0, 0], np.float32)
    clouded = np.array([0.3, 0.4, 0.25, 0, 0, 0], np.float32)
    pattern = 1 + stony[labels] * material("gravel", rng, side, 0.4)
    pattern += grassy[labels] * material("grass", rng, side, 0.45)
    pattern += clouded[labels] * (soft_noise(rng, side, 10) - 0.5)
    pattern[cast_shadow(building, right=2 * one, down=2 * one) & (labels != WATER)] *= 0.5
    image *= pattern[..., None]
    plant(image, labels, rng)
    return image


def plant(image: Floats, labels: Bytes, rng: np.random.Generator) -> None:
    """Set trees and their shadows on land and parks, in place."""
    side = len(labels)
    places, radii = rng.uniform(0, 1, (TREES, 2)), PIXEL * rng.uniform(0.6, 1.4, TREES)
    greens = np.array((0.14, 0.26, 0.11)) * rng.uniform(0.8, 1.5, (255, 1))
    pixels = (places * side).astype(int)
    trees = LabelDrawing(side)
    for number, ((x, y), (column, row), radius) in enumerate(zip(places, pixels, radii, strict=True)):
        if labels[row, column] in (LAND, PARK):
            trees.ellipse(1 + number % 254, x - radius, y - radius, x + radius, y + radius)
    crowns = trees.array()
    one = max(side // 128, 1)
    image[cast_shadow(crowns > 0, right=one, down=one)] *= 0.35
    image[crowns > 0] = greens[crowns[crowns > 0]]


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

    def part(split: str, number: int | None) -> Pairs:
        from tqdm import tqdm

        number = number or SPLITS[split]
        streams = [(seed, [*SPLITS].index(split), place) for place in range(number)]
        title = f"drawing {name} ({split}, {size} pixels)"
        shown = tqdm(streams, desc=title, unit="picture", disable=number < DRAWN_WITHOUT_BAR)
        scenes = [draw(np.random.default_rng(stream), size) for stream in shown]
        columns = [torch.from_numpy(np.stack(column)).to(device) for column in zip(*scenes, strict=True)]
        labels, images = columns[0], [channels_first(column) for column in columns[1:]]
        A, B = images if len(images) == 2 else (draw_labels(labels, classes), *images)
        return Pairs(name, A, B, labels, classes, "" if len(images) == 2 else "A", flip, jitter)

    return with_held_out(part, split, number, ("test", None))


maps_mini = partial(drawn_pairs, "maps_mini", draw_map, MAP_CLASSES)  # as gantutor.data has it, in any size and number
