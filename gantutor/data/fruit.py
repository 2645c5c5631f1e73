"""`apple2orange_mini`: apples on a table, and oranges of the same size in the same places."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gantutor.data.drawing import (
    SUPERSAMPLING,
    Bytes,
    Floats,
    LabelDrawing,
    colour,
    material,
    ramp,
    small_image,
)

STEM, LEAF = 1, 2
PART_COLOURS = np.array([(0, 0, 0), (85, 55, 30), (70, 140, 50)], np.float32) / 255


@dataclass(frozen=True)
class Fruit:
    """Its middle and its radius in parts of the side, its tone in [0, 1], and how its stem leans."""

    x: float
    y: float
    radius: float
    tone: float
    lean: float


def draw_fruit(rng: np.random.Generator, size: int, domains: Sequence[int] = (0, 1)) -> tuple[Bytes, ...]:
    """The images uint8 (size, size, 3) of one table: with apples (domain 0) and with oranges (domain 1)."""
    side = SUPERSAMPLING * size
    table = paint_table(rng, side)
    number = int(rng.integers(1, 4))
    fruits = [pick(rng, number) for _ in range(number)]
    fruits.sort(key=lambda fruit: fruit.y)  # the near ones last, over the far ones
    light = np.array((rng.uniform(-0.6, 0.6), -0.6, 0.75))
    light /= np.linalg.norm(light)
    pores = material("gravel", rng, side, 0.3)
    pictures = []
    for domain in domains:
        image = table.copy()
        for fruit in fruits:
            (paint_orange if domain else paint_apple)(image, fruit, light, pores)
        pictures.append(small_image(image))
    return tuple(pictures)


def paint_table(rng: np.random.Generator, side: int) -> Floats:
    """A wall above, a table below: their colours are free, and the same for both fruits."""
    wood = colour(rng.uniform(0.05, 0.12), rng.uniform(0.1, 0.5), rng.uniform(0.45, 0.9))
    wall = colour(rng.uniform(0, 1), rng.uniform(0.05, 0.25), rng.uniform(0.6, 0.95))
    edge, down = rng.uniform(0.35, 0.6), ramp(0, 1, side)[:, None, None]
    grain = material("gravel", rng, side, 0.3)[..., None]
    return np.where(down > edge, wood * (1 + 0.25 * grain), wall * (1 - 0.25 * down))


def pick(rng: np.random.Generator, number: int) -> Fruit:
    radius = rng.uniform(0.26, 0.38) if number == 1 else rng.uniform(0.17, 0.28)
    return Fruit(rng.uniform(0.25, 0.75), rng.uniform(0.42, 0.75), radius, rng.uniform(), rng.uniform(-0.5, 0.5))


def paint_apple(image: Floats, fruit: Fruit, light: Floats, pores: Floats) -> None:
    """Red with yellow streaks, dented at the top, glossy, with a stem and perhaps a leaf; in place."""
    x, y, z = ball(len(image), fruit)
    dent = 0.3 * np.exp(-((x / 0.3) ** 2)) * (y < -0.4)
    streaks = 0.25 * np.clip(0.5 + 0.5 * np.sin(6 * x / (z + 0.3) + 9 * fruit.tone), 0, 1)[..., None]
    skin = colour(0.99 + 0.03 * fruit.tone, 0.85, 0.8) * (1 - streaks) + np.array((0.95, 0.7, 0.25)) * streaks
    cast(image, fruit)
    cover(image, x**2 + y**2 + dent, fruit, skin * lit(x, y, z, light) + gloss(x, y, light, 0.02, 0.7))
    parts, top, r = LabelDrawing(len(image)), fruit.y - 0.82 * fruit.radius, fruit.radius
    parts.line(STEM, [(fruit.x, top + 0.1 * r), (fruit.x + 0.4 * fruit.lean * r, top - 0.35 * r)], 0.1 * r)
    if fruit.tone > 0.4:
        parts.ellipse(LEAF, fruit.x + 0.05 * r, top - 0.32 * r, fruit.x + 0.55 * r, top - 0.08 * r)
    stick(image, parts)


def paint_orange(image: Floats, fruit: Fruit, light: Floats, pores: Floats) -> None:
    """Orange, with pores and a soft gloss, and the green button of its stem; in place."""
    x, y, z = ball(len(image), fruit)
    skin = colour(0.075 + 0.03 * fruit.tone, 0.92, 0.97) * (1 + 0.35 * pores[..., None])
    cast(image, fruit)
    cover(image, x**2 + y**2, fruit, skin * lit(x, y, z, light) + gloss(x, y, light, 0.05, 0.25))
    parts, top, r = LabelDrawing(len(image)), fruit.y - 0.82 * fruit.radius, fruit.radius
    parts.ellipse(LEAF, fruit.x - 0.1 * r, top + 0.06 * r, fruit.x + 0.1 * r, top + 0.18 * r)
    stick(image, parts)


def ball(side: int, fruit: Fruit) -> tuple[Floats, Floats, Floats]:
    """Right, down and towards the eye on a ball of radius 1 about the fruit: (1, side), (side, 1), (side, side)."""
    x = (ramp(0, 1, side)[None, :] - fruit.x) / fruit.radius
    y = (ramp(0, 1, side)[:, None] - fruit.y) / fruit.radius
    return x, y, np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))


def lit(x: Floats, y: Floats, z: Floats, light: Floats) -> Floats:
    """Lambert's law with a little light from everywhere, (side, side, 1)."""
    return (0.3 + 0.85 * np.clip(light[0] * x + light[1] * y + light[2] * z, 0, 1))[..., None]


def gloss(x: Floats, y: Floats, light: Floats, width: float, strength: float) -> Floats:
    """The mirror image of the light, (side, side, 1)."""
    return (strength * np.exp(-((x - 0.5 * light[0]) ** 2 + (y - 0.5 * light[1]) ** 2) / width))[..., None]


def cast(image: Floats, fruit: Fruit) -> None:
    """The fruit's shadow on the table, in place."""
    x = (ramp(0, 1, len(image))[None, :] - fruit.x - 0.04) / (1.1 * fruit.radius)
    y = (ramp(0, 1, len(image))[:, None] - fruit.y - 0.92 * fruit.radius) / (0.25 * fruit.radius)
    image *= (1 - 0.5 * np.exp(-(x**2 + y**2)))[..., None]


def cover(image: Floats, distance: Floats, fruit: Fruit, paint: Floats) -> None:
    """Paint where the squared distance is below 1, with an edge of about a pixel, in place."""
    inside = np.clip((1 - distance) * fruit.radius * len(image) / 1.5, 0, 1)[..., None]
    image += (paint - image) * inside


def stick(image: Floats, parts: LabelDrawing) -> None:
    """Stem and leaf on top, in place."""
    labels = parts.array()
    image[labels > 0] = PART_COLOURS[labels[labels > 0]]
