"""`facades_mini`, drawn for benchmarks: label maps and house fronts, in the classes and colours of the CMP database.

The label map says where the parts are. It does not say what the wall is made of, nor whether this is a dark house with
light trim and the sky in its panes or a light one with dark trim and dark panes. So there is more than one right answer
to a label map, as there is for photographs, and the average of them all shows next to nothing: the case for which
pix2pix needs its discriminator.

Source of classes and colours: Tylecek and Sara, "Spatial Pattern Templates", 2013; `roof` stands where CMP has `deco`.
"""

import colorsys
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchlib.drawing import (
    SUPERSAMPLING,
    Floats,
    LabelDrawing,
    cast_shadow,
    drawn_pairs,
    material,
    small_image,
    small_labels,
    soft_noise,
)
from gantutor.data.common import Bytes
from gantutor.data.images import Label

BACKGROUND, WALL, WINDOW, DOOR, CORNICE, SILL, BALCONY, BLIND, ROOF, MOLDING, PILLAR, SHOP = range(12)
FACADE_CLASSES = (
    Label("background", (0, 0, 170)),
    Label("wall", (0, 0, 255)),
    Label("window", (0, 85, 255)),
    Label("door", (0, 170, 255)),
    Label("cornice", (0, 255, 255)),
    Label("sill", (85, 255, 170)),
    Label("balcony", (170, 255, 85)),
    Label("blind", (255, 255, 0)),
    Label("roof", (255, 170, 0)),
    Label("molding", (255, 85, 0)),
    Label("pillar", (255, 0, 0)),
    Label("shop", (170, 0, 0)),
)
THIN = 1 / 64  # of the side: one pixel of the smallest set
RAISED = np.isin(np.arange(12), (BALCONY, CORNICE, SILL, MOLDING, PILLAR))  # these cast a shadow on the wall


class FacadeDrawing(LabelDrawing):
    """A label map that is made of rectangles."""

    def rectangle(self, label: int, left: float, top: float, right: float, bottom: float) -> None:
        """The pixels whose centres lie inside; at least one pixel wide and high, so that no thin part is lost."""
        x0, y0 = round(left * self.side), round(top * self.side)
        x1, y1 = max(round(right * self.side) - 1, x0), max(round(bottom * self.side) - 1, y0)
        self.pencil.rectangle([x0, y0, x1, y1], fill=label)


def ramp(start: float, end: float, side: int) -> Floats:
    """(side,) from `start` to `end`."""
    return np.linspace(start, end, side, dtype=np.float32)


def colour(hue: float, saturation: float, value: float) -> Floats:
    """Red, green, blue in [0, 1] of a colour in HSV, its hue taken modulo 1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)


class House:
    """The proportions of one front, in parts of the side: what all its storeys and columns have in common."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.left, self.right = rng.uniform(0, 0.08), rng.uniform(0.92, 1)
        self.top, self.ground = rng.uniform(0.08, 0.22), rng.uniform(0.74, 0.82)  # where the ground floor begins
        self.storeys, self.columns = int(rng.integers(2, 5)), int(rng.integers(3, 7))
        self.column_width = (self.right - self.left) / self.columns
        self.storey_height = (self.ground - self.top - 0.04) / self.storeys
        self.window_width = self.column_width * rng.uniform(0.4, 0.62)
        self.window_height = self.storey_height * rng.uniform(0.5, 0.68)
        self.arched, self.has_sills = rng.random() < 0.25, rng.random() < 0.75
        self.blinds = rng.choice([0, 0, 0.4])  # the share of windows with a blind
        self.balcony_storey = int(rng.integers(self.storeys)) if rng.random() < 0.5 else -1  # -1: none
        self.pillars, self.shops = rng.random() < 0.3, rng.random() < 0.55
        self.door = int(rng.integers(self.columns))  # its column


def lay_out_house(house: House, rng: np.random.Generator, side: int) -> tuple[Bytes, Bytes]:
    """Class numbers (side, side), and 1 where its glass has a frame or a bar."""
    labels, frames = FacadeDrawing(side, BACKGROUND), FacadeDrawing(side)
    left, right, top, ground = house.left, house.right, house.top, house.ground
    if rng.random() < 0.6:
        height, slope = rng.uniform(0.04, 0.08), rng.uniform(0.02, 0.1)
        labels.polygon(ROOF, [(left, top), (right, top), (right - slope, top - height), (left + slope, top - height)])
    labels.rectangle(WALL, left, top, right, 1)
    labels.rectangle(CORNICE, max(left - 0.01, 0), top, min(right + 0.01, 1), top + 0.03)
    if house.pillars:
        for edge in np.linspace(left, right, house.columns + 1):
            labels.rectangle(PILLAR, max(left, edge - THIN), top + 0.03, min(right, edge + THIN), ground)
    for storey in range(house.storeys):
        lower = top + 0.04 + (storey + 1) * house.storey_height
        if rng.random() < 0.25 and storey < house.storeys - 1:
            labels.rectangle(MOLDING, left, lower - THIN, right, lower)
        for column in range(house.columns):
            lay_window(labels, frames, house, storey, column, rng)
    labels.rectangle(MOLDING, left, ground, right, ground + 1.5 * THIN)
    for column in range(house.columns):
        lay_ground_floor(labels, frames, house, column)
    return labels.array(), frames.array()


def lay_window(
    labels: FacadeDrawing, frames: FacadeDrawing, house: House, storey: int, column: int, rng: np.random.Generator
) -> None:
    """One window above the ground floor, with what belongs to it."""
    middle = house.left + (column + 0.5) * house.column_width
    centre = house.top + 0.04 + (storey + 0.5) * house.storey_height
    left, right = middle - house.window_width / 2, middle + house.window_width / 2
    upper, lower = centre - house.window_height / 2, centre + house.window_height / 2
    labels.rectangle(WINDOW, left, upper, right, lower)
    if house.arched:
        rise = house.window_width * 0.35
        labels.ellipse(WINDOW, left, upper - rise, right, upper + rise)
    glaze(frames, left, upper, right, lower)
    if rng.random() < house.blinds:
        labels.rectangle(BLIND, left, upper, right, upper + house.window_height * rng.uniform(0.35, 0.6))
    if house.has_sills:
        labels.rectangle(SILL, left - THIN, lower, right + THIN, lower + THIN)
    if storey == house.balcony_storey or (house.balcony_storey >= 0 and rng.random() < 0.15):
        wider, height = house.column_width * 0.12, house.window_height * 0.3
        labels.rectangle(BALCONY, left - wider, lower - height, right + wider, lower + THIN)


def lay_ground_floor(labels: FacadeDrawing, frames: FacadeDrawing, house: House, column: int) -> None:
    """The door, a shop window or an ordinary one."""
    left = house.left + (column + 0.12) * house.column_width
    right = house.left + (column + 0.88) * house.column_width
    height, inset = 1 - house.ground, house.column_width * 0.08
    if column == house.door:
        labels.rectangle(DOOR, left + inset, house.ground + 0.22 * height, right - inset, 1)
    elif house.shops:
        upper, lower = house.ground + 0.24 * height, 1 - 0.14 * height
        labels.rectangle(SHOP, left, upper, right, lower)
        glaze(frames, left, upper, right, lower, across=0)
    else:
        upper, lower = house.ground + 0.28 * height, 1 - 0.28 * height
        labels.rectangle(WINDOW, left + inset, upper, right - inset, lower)
        glaze(frames, left + inset, upper, right - inset, lower)


def glaze(frames: FacadeDrawing, left: float, upper: float, right: float, lower: float, across: float = 0.35) -> None:
    """A frame, an upright bar in the middle and one across at a share of the height, each two thirds of a THIN."""
    bar = THIN * 0.67
    frames.rectangle(1, left, upper, right, lower)
    level, upright = upper + max(across * (lower - upper), bar / 2), (left + right) / 2
    for pane_left, pane_right in ((left + bar, upright - bar / 2), (upright + bar / 2, right - bar)):
        frames.rectangle(0, pane_left, level + bar / 2, pane_right, lower - bar)
        if across:
            frames.rectangle(0, pane_left, upper + bar, pane_right, level - bar / 2)


# --- from the label map to the house front ---


def draw_facade(rng: np.random.Generator, size: int) -> tuple[Bytes, Bytes]:
    """One pair: class numbers uint8 (size, size) and the image uint8 (size, size, 3)."""
    house = House(rng)
    labels, frames = lay_out_house(house, rng, SUPERSAMPLING * size)
    return small_labels(labels), small_image(paint_facade(labels, frames, rng))


# Walls, more of the first kind than of the second: the ranges of hue, saturation and value; the texture, the share of
# its width that is on the wall, and how strong it is.
DARK_WALLS: tuple[Any, ...] = (
    ((0, 0.05), (0.5, 0.65), (0.4, 0.58), "brick", 0.95, 1.0),
    ((0, 0.6), (0.05, 0.25), (0.33, 0.48), "gravel", 0.8, 0.4),
)
LIGHT_WALLS: tuple[Any, ...] = (
    ((0.06, 0.14), (0.15, 0.45), (0.8, 0.95), "gravel", 0.25, 0.25),
    ((0.05, 0.6), (0.02, 0.12), (0.75, 0.88), "gravel", 0.8, 0.3),
)


def choose_look(rng: np.random.Generator) -> SimpleNamespace:
    """What the label map does not tell: a dark house or a light one, each of one of two materials.

    Colours are (3,) in [0, 1]. `glass` is at the top and at the street; `gaps` says how much lighter the balcony is
    between its bars.
    """
    tone, dark = rng.uniform(0.95, 1.05), rng.random() < 0.5
    *ranges, texture, seen, roughness = (DARK_WALLS if dark else LIGHT_WALLS)[int(rng.random() >= 0.6)]
    wall = colour(*(rng.uniform(*reach) for reach in ranges))
    look = SimpleNamespace(wall=wall, texture=texture, seen=seen, roughness=roughness)
    if dark:
        look.trim, look.shop = tone * np.array((0.92, 0.9, 0.85)), tone * np.array((0.85, 0.74, 0.5))
        look.glass = tone * np.array(((0.72, 0.82, 0.93), (0.5, 0.6, 0.72)))
        look.balcony, look.gaps = np.array((0.86, 0.84, 0.79)), -0.5
        look.blind = colour(rng.uniform(0.25, 0.65), 0.45, 0.4)
    else:
        look.trim, look.shop = 0.55 * wall * np.array((1, 0.92, 0.85)), tone * np.array((0.3, 0.26, 0.22))
        look.glass = tone * np.array(((0.34, 0.4, 0.48), (0.12, 0.15, 0.2)))
        look.balcony, look.gaps = np.array((0.13, 0.13, 0.14)), 2.4
        look.blind = tone * np.array((0.97, 0.95, 0.92))
    return look


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


facades_mini = partial(drawn_pairs, "facades_mini", draw_facade, FACADE_CLASSES)
