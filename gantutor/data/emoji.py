"""`edges2emoji`: the edges of emoji, and the emoji. Drawn from Noto Color Emoji (Google, SIL Open Font License 1.1).

The font is not a part of gantutor: it is used where it is installed (Debian and Ubuntu: fonts-noto-color-emoji).
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gantutor.data.arrays import Arrays, load_or_make, make_each
from gantutor.data.common import DataError, check_choice, check_positive, usable_device
from gantutor.data.drawing import Bytes
from gantutor.data.pairs import Pairs
from gantutor.data.scenes import channels_first

FONT = "NotoColorEmoji.ttf"
STRIKE = 109  # the one size, in pixels, in which the font holds its images
CANVAS = 128
UNICODE_BLOCKS = ((0x2600, 0x27C0), (0x1F300, 0x1F3FB), (0x1F400, 0x1F6FF), (0x1F7E0, 0x1F7EC), (0x1F90C, 0x1FAFF))
HELD_OUT = 100
EDGE = 40  # of 255: a step in any colour that is drawn as an edge


def edges2emoji(
    device: str | torch.device = "cpu",
    split: str = "train",
    size: int = 64,
    number: int | None = None,
    seed: int = 0,
    flip: bool = True,
    jitter: bool = False,
    font: str | Path | None = None,
) -> Pairs:
    """Edges → emoji, 32, 64 or 128 pixels high and wide: all that the font has but 200, or its "val" or "test" 100.

    The seed decides which are held out. Options as in `drawn_pairs`; `font` is the file, where it is not found.
    Raises: ValueError for another split or size; DataError where the font is not installed or has no emoji.
    """
    check_choice("split", split, ("train", "val", "test"))
    check_choice("size", size, (32, 64, 128))
    if number is not None:
        check_positive("number", number)
    device = usable_device(device)
    path = find_font() if font is None else Path(font).expanduser()
    A, B = (channels_first(pictures) for pictures in all_emoji(path, size))
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(A)))
    places = {"test": order[:HELD_OUT], "val": order[HELD_OUT : 2 * HELD_OUT], "train": order[2 * HELD_OUT :]}

    def chosen(part: str, count: int | None) -> tuple[Any, Any]:
        return A[places[part][:count]].to(device), B[places[part][:count]].to(device)

    if split != "train":
        return Pairs("edges2emoji", *chosen(split, number))
    held_out = Pairs("edges2emoji", *chosen("test", None))
    return Pairs("edges2emoji", *chosen("train", number), flip=flip, jitter=jitter, held_out=held_out)


def find_font() -> Path:
    """Raises: DataError where it is in none of the folders in which Linux and macOS keep fonts."""
    data_home = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser()
    folders = [data_home / "fonts", *map(Path, ("/usr/local/share/fonts", "/usr/share/fonts", "/Library/Fonts"))]
    for folder in folders:
        for path in sorted(folder.rglob(FONT)):
            return path
    raise DataError(
        f"edges2emoji needs the font {FONT}, which is in none of {', '.join(map(str, folders))}. Install it (Debian, "
        "Ubuntu: fonts-noto-color-emoji) or name the file: font=..."
    )


def all_emoji(path: Path, size: int) -> tuple[Bytes, Bytes]:
    """The edges and the images of all emoji, uint8 (N, size, size, 3) each; from the cache where they are there.

    Raises: DataError for a file that is no font with at least 300 emoji.
    """
    from PIL import ImageFont

    try:
        font = ImageFont.truetype(path, STRIKE)
    except OSError as error:
        raise DataError(f"{path} is not the font {FONT} ({error})") from error
    codes = [code for first, last in UNICODE_BLOCKS for code in range(first, last)]

    def make() -> Arrays:
        (pictures,) = make_each("edges2emoji", len(codes), lambda index: (draw(font, codes[index]),))
        inked = (pictures < 250).mean((1, 2, 3))  # what the font lacks is an empty sheet
        pictures = pictures[(inked > 0.08) & (pictures.std((1, 2, 3)) > 20)]
        pictures = pictures[sorted({picture.tobytes(): place for place, picture in enumerate(pictures)}.values())]
        if len(pictures) < 300:
            raise DataError(f"{path} has {len(pictures)} emoji; expected the font {FONT}, with more than a thousand")
        return {
            "A": np.stack([shrink(edges(one), size) for one in pictures]),
            "B": np.stack([shrink(one, size) for one in pictures]),
        }

    found = load_or_make(f"edges2emoji-{size}", [Path(__file__), path], make)
    return found["A"], found["B"]


def draw(font: Any, code: int) -> Bytes:
    """One emoji in the middle of a white sheet, uint8 (128, 128, 3)."""
    from PIL import Image, ImageDraw

    sheet = Image.new("RGB", (CANVAS, CANVAS), "white")
    pencil = ImageDraw.Draw(sheet)
    left, top, right, bottom = pencil.textbbox((0, 0), chr(code), font=font, embedded_color=True)
    place = ((CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2)
    pencil.text(place, chr(code), font=font, embedded_color=True)
    return np.array(sheet)


def edges(picture: Bytes) -> Bytes:
    """Black lines on white, uint8 (H, W, 3): where any colour steps by more than EDGE between two neighbours."""
    levels = picture.astype(np.int16)
    across, down = (np.abs(np.diff(levels, axis=axis)).max(-1) > EDGE for axis in (1, 0))
    lines = np.zeros(picture.shape[:2], bool)
    for step, here, there in ((across, np.s_[:, :-1], np.s_[:, 1:]), (down, np.s_[:-1], np.s_[1:])):
        lines[here] |= step
        lines[there] |= step
    return np.repeat(np.where(lines, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def shrink(picture: Bytes, size: int) -> Bytes:
    from PIL import Image

    return np.array(Image.fromarray(picture).reduce(CANVAS // size) if size < CANVAS else picture)
