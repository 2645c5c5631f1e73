"""`summer2winter_mini`: one landscape under two palettes. What snow covers is a class of its own in the layout."""

from collections.abc import Sequence

import numpy as np

from gantutor.data.drawing import (
    SUPERSAMPLING,
    Bytes,
    Floats,
    LabelDrawing,
    material,
    ramp,
    small_image,
    soft_noise,
)

(
    SKY, ROCK, PEAK, HILL, MEADOW, LAKE, HOUSE, HOUSE_ROOF, HOUSE_DOOR, TRUNK, NEEDLES, UPPER_NEEDLES, LEAVES,
    UPPER_LEAVES,
) = range(14)  # fmt: skip

# Red, green and blue 0 ... 255 of each class, in the order above.
SUMMER = [
    (160, 198, 240), (97, 107, 140), (110, 118, 148), (87, 143, 51), (69, 128, 36), (62, 120, 180), (176, 120, 84),
    (150, 50, 40), (70, 45, 35), (86, 60, 40), (34, 88, 42), (40, 98, 48), (62, 122, 40), (74, 138, 50),
]  # fmt: skip
WINTER = [
    (196, 206, 220), (140, 152, 172), (240, 243, 250), (229, 234, 244), (242, 245, 252), (190, 212, 226),
    (176, 120, 84), (240, 244, 250), (70, 45, 35), (86, 60, 40), (46, 74, 62), (238, 242, 248), (150, 132, 120),
    (240, 243, 248),
]  # fmt: skip
PALETTES = np.array([SUMMER, WINTER], np.float32) / 255

# How strongly each class takes part in each pattern, in summer and in winter.
GRASSY = np.zeros((2, 14), np.float32)
GRASSY[:, [HILL, MEADOW]] = ((0.3, 0.35), (0.06, 0.06))
STONY = np.zeros((2, 14), np.float32)
STONY[:, [ROCK, PEAK]] = ((0.3, 0.3), (0.25, 0.12))


def draw_season(rng: np.random.Generator, size: int, domains: Sequence[int] = (0, 1)) -> tuple[Bytes, ...]:
    """The images uint8 (size, size, 3) of one landscape: in summer (domain 0) and in winter (domain 1)."""
    side = SUPERSAMPLING * size
    labels, tints = lay_out_landscape(rng, side)
    grass, stone = material("grass", rng, side, 0.55), material("gravel", rng, side, 0.8)
    clouds = np.clip(2.5 * (soft_noise(rng, side, 5) - 0.55), 0, 1)
    brightness = rng.uniform(0.92, 1.05)
    pictures = []
    for domain in domains:
        image = PALETTES[domain][labels]
        pattern = tints * (1 + GRASSY[domain][labels] * grass + STONY[domain][labels] * stone)
        image *= (brightness * pattern)[..., None]
        paint_sky(image, labels == SKY, clouds, winter=bool(domain))
        pictures.append(small_image(image))
    return tuple(pictures)


def paint_sky(
    image: Floats, sky: "np.ndarray[tuple[int, int], np.dtype[np.bool_]]", clouds: Floats, winter: bool
) -> None:
    """Lighter towards the horizon, with clouds, in place: blue and white in summer, grey in winter."""
    side = len(sky)
    zenith, horizon = ((0.62, 0.68, 0.76), (0.88, 0.9, 0.93)) if winter else ((0.3, 0.56, 0.92), (0.75, 0.88, 0.98))
    down = np.clip(ramp(0, 2, side), 0, 1)[:, None, None]
    clear = np.array(zenith) * (1 - down) + np.array(horizon) * down
    cloud = clouds[..., None] * (1 - down)
    white = np.array((0.76, 0.79, 0.83)) if winter else np.ones(3)
    image[sky] = (clear * (1 - cloud) + white * cloud)[sky]


def lay_out_landscape(rng: np.random.Generator, side: int) -> tuple[Bytes, Floats]:
    """Classes (side, side), and a factor for each pixel: no two trees have quite the same green."""
    labels, tints = LabelDrawing(side, SKY), LabelDrawing(side, 100)
    horizon = rng.uniform(0.35, 0.55)
    mountains = horizon - 0.06 - np.abs(ridge(rng, 1.1, rng.uniform(0.08, 0.22)))
    hill = horizon + ridge(rng, 1.6, 0.04)
    meadow = horizon + rng.uniform(0.12, 0.22) + ridge(rng, 1.8, 0.06)
    fill_below(labels, PEAK, mountains)
    fill_below(labels, ROCK, mountains + 0.05 + np.abs(ridge(rng, 0.5, 0.02)))
    fill_below(labels, HILL, hill)
    fill_below(labels, MEADOW, meadow)
    if rng.random() < 0.35:
        x, y, wide, high = rng.uniform((0.2, 0.72, 0.15, 0.03), (0.8, 0.85, 0.3, 0.06))
        labels.ellipse(LAKE, x - wide, y - high, x + wide, y + high)
    if rng.random() < 0.4:
        left, width = rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.16)
        lay_house(labels, left, horizon + 0.1, width)
    places = [(rng.uniform(), rng.uniform()) for _ in range(rng.integers(5, 14))]
    for x, depth in sorted(places, key=lambda place: place[1]):  # the near ones last, over the far ones
        ground = hill[int(x * (len(hill) - 1))]
        tint = int(rng.integers(85, 116))
        lay_tree(labels, tints, x, ground + depth * (0.95 - ground), 0.1 + 0.22 * depth, tint, rng.random() < 0.5)
    return labels.array(), tints.array().astype(np.float32) / 100


def ridge(rng: np.random.Generator, roughness: float, height: float) -> Floats:
    """A line of hills over 50 places from left to right, up to `height`: Σ sin(2π k c_k x + φ_k) / k^roughness."""
    k = np.arange(1, 6)[:, None]
    stretch, phase = rng.uniform(0.5, 1.1, (5, 1)), rng.uniform(0, 2 * np.pi, (5, 1))
    line = (np.sin(2 * np.pi * k * stretch * np.linspace(0, 1, 50) + phase) / k**roughness).sum(0)
    return np.asarray(line / np.abs(line).max() * height)


def fill_below(labels: LabelDrawing, label: int, line: Floats) -> None:
    outline = zip(np.linspace(0, 1, len(line)).tolist(), line.tolist(), strict=True)
    labels.polygon(label, [(0, 1), *outline, (1, 1)])


def lay_house(labels: LabelDrawing, left: float, bottom: float, width: float) -> None:
    top, right = bottom - 0.6 * width, left + width
    labels.rectangle(HOUSE, left, top, right, bottom)
    labels.polygon(HOUSE_ROOF, [(left - 0.01, top), (right + 0.01, top), (left + width / 2, top - 0.5 * width)])
    labels.rectangle(HOUSE_DOOR, left + 0.36 * width, top + 0.2 * width, left + 0.64 * width, bottom)


def lay_tree(
    labels: LabelDrawing, tints: LabelDrawing, x: float, bottom: float, height: float, tint: int, conifer: bool
) -> None:
    """A fir of three tiers or a broad crown on a trunk; snow would lie on their upper parts."""
    if conifer:
        labels.rectangle(TRUNK, x - 0.05 * height, bottom - 0.15 * height, x + 0.05 * height, bottom)
        for tier in range(3):
            top, half = bottom - height * (1 - 0.26 * tier), height * (0.16 + 0.09 * tier)
            outline = [(x, top), (x - half, top + 0.36 * height), (x + half, top + 0.36 * height)]
            labels.polygon(NEEDLES, outline)
            tints.polygon(tint, outline)
            upper = [(x, top), (x - 0.62 * half, top + 0.2 * height), (x + 0.62 * half, top + 0.2 * height)]
            labels.polygon(UPPER_NEEDLES, upper)
        return
    labels.rectangle(TRUNK, x - 0.04 * height, bottom - 0.5 * height, x + 0.04 * height, bottom)
    for right, up, radius in ((0, 0.68, 0.26), (-0.16, 0.55, 0.2), (0.16, 0.55, 0.2)):
        middle, level, reach = x + right * height, bottom - up * height, radius * height
        labels.ellipse(LEAVES, middle - reach, level - reach, middle + reach, level + reach)
        tints.ellipse(tint, middle - reach, level - reach, middle + reach, level + reach)
    labels.ellipse(UPPER_LEAVES, x - 0.2 * height, bottom - 0.94 * height, x + 0.2 * height, bottom - 0.72 * height)
