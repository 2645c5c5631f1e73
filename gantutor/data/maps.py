"""`maps_mini`: drawn aerial views of a town and their street maps.

Each photograph has one right map. The other way round, the colours of the roofs and the places of the trees are free.
"""

import itertools
import math

import numpy as np

from gantutor.data.common import Bytes
from gantutor.data.drawing import (
    SUPERSAMPLING,
    Floats,
    LabelDrawing,
    Point,
    cast_shadow,
    material,
    small_image,
    small_labels,
    soft_noise,
)
from gantutor.data.pairs import Label

LAND, PARK, WATER, ROAD, HIGHWAY, BUILDING = range(6)
MAP_CLASSES = (
    Label("land", (242, 239, 233)),
    Label("park", (200, 230, 190)),
    Label("water", (170, 211, 235)),
    Label("road", (255, 255, 255)),
    Label("highway", (250, 205, 110)),
    Label("building", (217, 208, 201)),
)
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
