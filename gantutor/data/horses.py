"""`horse2zebra_mini`: brown horses on a meadow, and the same animals as zebras. Only the coat changes.

How the stripes lie is free: there is no telling from the horse. The coat's brown is free the other way round, within
less. All are drawn from one silhouette (textures.npz), so this is a toy; but one in which the truth is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gantutor.data.drawing import (
    SUPERSAMPLING,
    Bytes,
    Floats,
    material,
    ramp,
    silhouette,
    small_image,
    soft_noise,
)

PROPORTION = 0.8  # the silhouette's height by its width
LIGHT, DARK = np.array((0.95, 0.94, 0.9), np.float32), np.array((0.08, 0.07, 0.07), np.float32)


@dataclass(frozen=True)
class Animal:
    """Where it is (side, side) in [0, 1], how light falls on it (side, 1), and how large it is."""

    cover: Floats
    shade: Floats
    width: float


def draw_horses(rng: np.random.Generator, size: int, domains: Sequence[int] = (0, 1)) -> tuple[Bytes, ...]:
    """The images uint8 (size, size, 3) of one scene: with horses (domain 0) and with zebras (domain 1)."""
    side = SUPERSAMPLING * size
    meadow = paint_meadow(rng, side)
    alone = rng.random() < 0.7
    animals = [place_animal(rng, side, alone) for _ in range(1 if alone else 2)]
    brown = np.array((0.48, 0.24, 0.1)) * rng.uniform(0.75, 1.25)
    stripes = stripe_field(rng, side)
    pictures = []
    for domain in domains:
        image = meadow.copy()
        for animal in animals:
            coat = striped(animal, stripes) if domain else animal.shade[..., None] * brown
            cover = animal.cover[..., None]
            image = image * (1 - cover) + coat * cover
        pictures.append(small_image(image))
    return tuple(pictures)


def paint_meadow(rng: np.random.Generator, side: int) -> Floats:
    """Sky above, grass between green and dry below: calm, so that the animals are what there is to learn."""
    horizon, dryness = rng.uniform(0.25, 0.5), rng.uniform(0, 1)
    down = ramp(0, 1, side)[:, None, None]
    sky = np.array((0.55, 0.72, 0.92)) * (1 - down) + np.array((0.88, 0.92, 0.95)) * down
    grass = np.array((0.36, 0.52, 0.2)) * (1 - dryness) + np.array((0.66, 0.58, 0.3)) * dryness
    ground = grass * (1 + 0.28 * material("grass", rng, side, 0.55)[..., None])
    return np.where(down > horizon, ground, sky)


def place_animal(rng: np.random.Generator, side: int, alone: bool) -> Animal:
    """One animal standing, large where it is alone."""
    width = rng.uniform(0.65, 0.95) if alone else rng.uniform(0.45, 0.62)
    height = width * PROPORTION * rng.uniform(0.9, 1.1)
    left, top = rng.uniform(-0.05, 1.05 - width), min(rng.uniform(0.3, 0.55), 1 - 0.9 * height)
    cover = silhouette(side, left, top, width, height, angle=rng.uniform(-8, 8), mirrored=rng.random() < 0.5)
    shade = 1.15 - 0.5 * np.clip((ramp(0, 1, side) - top) / height, 0, 1)
    return Animal(cover, shade[:, None], width)


def stripe_field(rng: np.random.Generator, side: int) -> tuple[Floats, Floats]:
    """Where in its period the stripe is, in radians, for an animal of width 1, and what bends and shifts it."""
    period, slope = rng.uniform(0.1, 0.125), rng.uniform(-0.35, 0.35)
    x, y = ramp(0, 1, side)[None, :], ramp(0, 1, side)[:, None]
    across = 2 * np.pi * (x * np.cos(slope) + 0.6 * y * np.sin(slope)) / period
    return across, rng.uniform(0, 6) + 4 * soft_noise(rng, side, 6)


def striped(animal: Animal, stripes: tuple[Floats, Floats]) -> Floats:
    """The zebra's coat (side, side, 3): as many stripes on a small animal as on a large one."""
    across, bend = stripes
    wave = np.sin(across * 0.7 / animal.width + bend)
    light = np.clip(2.5 * wave + 0.5, 0, 1)[..., None]
    return (LIGHT * light + DARK * (1 - light)) * (0.65 + 0.35 * animal.shade[..., None])
