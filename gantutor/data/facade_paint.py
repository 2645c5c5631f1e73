"""How a label map becomes a house front: `facades_mini`.

The label map says where the parts are. It does not say what the wall is made of, nor whether this is a dark house with
light trim and the sky in its panes or a light one with dark trim and dark panes. So there is more than one right answer
to a label map, as there is for photographs, and the average of them all shows next to nothing: the case for which
pix2pix needs its discriminator.
"""

from dataclasses import dataclass

import numpy as np

from gantutor.data.drawing import (
    SUPERSAMPLING,
    Bytes,
    Floats,
    cast_shadow,
    colour,
    material,
    ramp,
    small_image,
    small_labels,
    soft_noise,
)
from gantutor.data.facades import (
    BACKGROUND,
    BALCONY,
    BLIND,
    CORNICE,
    DOOR,
    MOLDING,
    PILLAR,
    ROOF,
    SHOP,
    SILL,
    WALL,
    WINDOW,
    lay_out_house,
    plan,
)  # fmt: skip

RAISED = np.isin(np.arange(12), (BALCONY, CORNICE, SILL, MOLDING, PILLAR))  # these cast a shadow on the wall


@dataclass(frozen=True)
class Look:
    """What the label map does not tell. Colours are (3,) in [0, 1]; `glass` is at the top and at the street."""

    wall: Floats
    texture: str
    seen: float  # the share of the texture's width that is on the wall
    roughness: float
    trim: Floats
    glass: Floats
    balcony: Floats
    gaps: float  # how much lighter the balcony is between its bars
    blind: Floats
    shop: Floats


def draw_facade(rng: np.random.Generator, size: int) -> tuple[Bytes, Bytes]:
    """One pair: class numbers uint8 (size, size) and the image uint8 (size, size, 3)."""
    house = plan(rng)
    labels, frames = lay_out_house(house, rng, SUPERSAMPLING * size)
    return small_labels(labels), small_image(paint_facade(labels, frames, rng))


def choose_look(rng: np.random.Generator) -> Look:
    """A dark house or a light one, each of one of two materials."""
    tone = rng.uniform(0.95, 1.05)
    if rng.random() < 0.5:
        if rng.random() < 0.6:
            wall = colour(rng.uniform(0, 0.05), rng.uniform(0.5, 0.65), rng.uniform(0.4, 0.58))
            texture, seen, roughness = "brick", 0.95, 1.0
        else:
            wall = colour(rng.uniform(0, 0.6), rng.uniform(0.05, 0.25), rng.uniform(0.33, 0.48))
            texture, seen, roughness = "gravel", 0.8, 0.4
        return Look(
            wall, texture, seen, roughness,
            trim=np.array((0.92, 0.9, 0.85)) * tone, glass=np.array(((0.72, 0.82, 0.93), (0.5, 0.6, 0.72))) * tone,
            balcony=np.array((0.86, 0.84, 0.79)), gaps=-0.5,
            blind=colour(rng.uniform(0.25, 0.65), 0.45, 0.4), shop=np.array((0.85, 0.74, 0.5)) * tone,
        )  # fmt: skip
    if rng.random() < 0.6:
        wall = colour(rng.uniform(0.06, 0.14), rng.uniform(0.15, 0.45), rng.uniform(0.8, 0.95))
        texture, seen, roughness = "gravel", 0.25, 0.25
    else:
        wall = colour(rng.uniform(0.05, 0.6), rng.uniform(0.02, 0.12), rng.uniform(0.75, 0.88))
        texture, seen, roughness = "gravel", 0.8, 0.3
    return Look(
        wall, texture, seen, roughness,
        trim=0.55 * wall * np.array((1, 0.92, 0.85)), glass=np.array(((0.34, 0.4, 0.48), (0.12, 0.15, 0.2))) * tone,
        balcony=np.array((0.13, 0.13, 0.14)), gaps=2.4,
        blind=np.array((0.97, 0.95, 0.92)) * tone, shop=np.array((0.3, 0.26, 0.22)) * tone,
    )  # fmt: skip


def paint_facade(labels: Bytes, frames: Bytes, rng: np.random.Generator) -> Floats:
    """The image (side, side, 3), about [0, 1]: each class its colour, its pattern and its shade; then light."""
    side = len(labels)
    look = choose_look(rng)
    upper, lower = np.zeros((2, 12, 3), np.float32)  # the colour of each class at the top and at the street
    upper[BACKGROUND], lower[BACKGROUND] = choose_sky(rng)
    upper[WALL], lower[WALL] = look.wall * rng.uniform(0.97, 1.05), look.wall * rng.uniform(0.82, 0.95)
    upper[WINDOW], lower[WINDOW] = look.glass
    upper[[CORNICE, SILL, MOLDING, PILLAR]] = look.trim
    upper[SHOP], upper[BALCONY], upper[BLIND] = look.shop, look.balcony, look.blind
    upper[DOOR] = colour(rng.random(), rng.uniform(0.35, 0.65), rng.uniform(0.25, 0.6))
    upper[ROOF] = colour(rng.uniform(0, 0.08), rng.uniform(0.15, 0.5), rng.uniform(0.25, 0.45))
    lower = np.where(lower.any(1, keepdims=True), lower, upper)

    # How strongly each class takes part in each pattern.
    textured, clouded, planked, slatted = np.zeros((4, 12), np.float32)
    textured[[WALL, ROOF]] = look.roughness, 0.8
    clouded[[WINDOW, SHOP]] = 0.5, 0.7
    planked[[DOOR, BALCONY]] = 0.35, look.gaps
    slatted[[BLIND, ROOF]] = -0.22, -0.2
    cell = np.arange(side) * 64 // side  # one cell is one pixel of the smallest set
    fine = np.arange(side) * 128 // side
    pattern = 1 + textured[labels] * material(look.texture, rng, side, look.seen)
    pattern += clouded[labels] * (soft_noise(rng, side, 9) - 0.5)
    pattern += planked[labels] * (cell % 2)[None, :] + slatted[labels] * (fine % 2)[:, None]

    image = upper[labels] + (lower - upper)[labels] * ramp(0, 1, side)[:, None, None]
    image *= pattern[..., None]
    image[(frames == 1) & ((labels == WINDOW) | (labels == SHOP))] = look.trim
    one = max(side // 64, 1)
    shadow = cast_shadow(RAISED[labels], right=one // 2, down=one) & (labels != BACKGROUND)
    light = ramp(rng.uniform(0.93, 1.04), rng.uniform(0.93, 1.04), side)[None, :]
    image *= (np.where(labels == BACKGROUND, 1, light) * np.where(shadow, 0.62, 1))[..., None]
    image += rng.normal(0, 0.02, (side, side, 1)).astype(np.float32)
    return image


def choose_sky(rng: np.random.Generator) -> Floats:
    """At the zenith and at the street: blue, or grey all over."""
    if rng.random() < 0.6:
        return np.array(((0.55, 0.72, 0.92), (0.85, 0.9, 0.96)))
    return np.array(((0.78, 0.8, 0.83), (0.78, 0.8, 0.83)))
