"""How the house fronts of `facades_mini` are laid out, in the classes and colours of the CMP Facade Database.

Source of classes and colours: Tylecek and Sara, "Spatial Pattern Templates", 2013; `roof` stands where CMP has `deco`.
"""

from dataclasses import dataclass

import numpy as np

from gantutor.data.drawing import Bytes, LabelDrawing
from gantutor.data.pairs import Label

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


@dataclass(frozen=True)
class House:
    """The proportions of one front, in parts of the side: what all its storeys and columns have in common."""

    left: float
    right: float
    top: float
    ground: float  # where the ground floor begins
    storeys: int
    columns: int
    window_width: float
    window_height: float
    arched: bool
    has_sills: bool
    blinds: float  # the share of windows with a blind
    balcony_storey: int  # -1: none
    pillars: bool
    shops: bool
    door: int  # its column

    @property
    def column_width(self) -> float:
        return (self.right - self.left) / self.columns

    @property
    def storey_height(self) -> float:
        return (self.ground - self.top - 0.04) / self.storeys


def plan(rng: np.random.Generator) -> House:
    """Draw the proportions."""
    left, right = rng.uniform(0, 0.08), rng.uniform(0.92, 1)
    top, ground = rng.uniform(0.08, 0.22), rng.uniform(0.74, 0.82)
    storeys, columns = int(rng.integers(2, 5)), int(rng.integers(3, 7))
    return House(
        left,
        right,
        top,
        ground,
        storeys,
        columns,
        window_width=(right - left) / columns * rng.uniform(0.4, 0.62),
        window_height=(ground - top - 0.04) / storeys * rng.uniform(0.5, 0.68),
        arched=rng.random() < 0.25,
        has_sills=rng.random() < 0.75,
        blinds=rng.choice([0, 0, 0.4]),
        balcony_storey=int(rng.integers(storeys)) if rng.random() < 0.5 else -1,
        pillars=rng.random() < 0.3,
        shops=rng.random() < 0.55,
        door=int(rng.integers(columns)),
    )


def lay_out_house(house: House, rng: np.random.Generator, side: int) -> tuple[Bytes, Bytes]:
    """Class numbers (side, side), and 1 where its glass has a frame or a bar."""
    labels, frames = LabelDrawing(side, BACKGROUND), LabelDrawing(side)
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
    labels: LabelDrawing, frames: LabelDrawing, house: House, storey: int, column: int, rng: np.random.Generator
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


def lay_ground_floor(labels: LabelDrawing, frames: LabelDrawing, house: House, column: int) -> None:
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


def glaze(frames: LabelDrawing, left: float, upper: float, right: float, lower: float, across: float = 0.35) -> None:
    """A frame, an upright bar in the middle and one across at a share of the height, each two thirds of a THIN."""
    bar = THIN * 0.67
    frames.rectangle(1, left, upper, right, lower)
    level, upright = upper + max(across * (lower - upper), bar / 2), (left + right) / 2
    for pane_left, pane_right in ((left + bar, upright - bar / 2), (upright + bar / 2, right - bar)):
        frames.rectangle(0, pane_left, level + bar / 2, pane_right, lower - bar)
        if across:
            frames.rectangle(0, pane_left, upper + bar, pane_right, level - bar / 2)
