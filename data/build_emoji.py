"""Build data/emoji.npz from two npm packages with Microsoft's Fluent emoji: python data/build_emoji.py

flat, shaded  uint8 (bytes,)   all images on white, 64 x 64 pixels each, on one sheet: a lossless WebP
sketch        uint8 (bytes,)   the line drawings of the flat ones, on such a sheet
codes         bytes (N,)       the code points of each emoji, as "1f9d1-200d-1f33e"
split         uint8 (N,)       0 train, 1 val, 2 test

Which emoji are in it:
1. Both packages have it. Code points are compared without fe0f, which changes no picture.
2. No signs: the groups Symbols (keycaps, letters, arrows, buttons) and Flags are left out. What is left are things,
   animals, food, places, faces and people, in which shading has a shape to follow.
3. One of each figure: no skin tones, and no man or woman where there is a person of the same kind.
4. Both draw the same: the silhouettes overlap by MATCH. The others are two drawings of one idea, and nothing that a
   network could learn leads from one to the other.
5. No near copies, as of the 24 clock faces: the images differ by COPY from those of each emoji before. A held-out image
   would otherwise be known from training.

The order is drawn once: the first 100 are the test split, the next 100 the val split. Each colour is rounded to one of
52 levels, 0, 5, ..., 255: half the bytes, and nothing that an eye could see. (A WebP with loss would be smaller, but
four times as far off.)

The packages and resvg-py are needed here and nowhere else; the script says how to get them.
"""

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from gantutor.data.common import Bytes, DataError, checksum, downloads_folder
from gantutor.data.embedded import EMOJI_COLOURS, EMOJI_SHA256, to_lab
from gantutor.data.embedded import SIDE as SMALL

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from benchlib.sheets import to_sheet

FILE = Path(__file__).with_name("emoji.npz")
STYLES = ("flat", "shaded", "sketch")
NO_SOURCES = 3  # the exit status that `make data` passes over

SIGNS = ("Symbols", "Flags")
TONES_AND_GENDERS = r"1f3f[b-f]|-200d-264[02]|^1f46[89]-200d"
MATCH = 0.75  # of the silhouettes' union
COPY = 0.03  # of the range of a colour, on average over both images
HELD_OUT = 100  # each of val and test
LEVEL = 5
APART = 14  # of two colours of the palette, in L*a*b*: plain to see
TILES = 32  # in a row of the sheets that hold the images of one style

SHADED, FLAT = "@lobehub/fluent-emoji-3d", "@iconify-json/fluent-emoji-flat"
VERSIONS = {SHADED: "1.1.0", FLAT: "1.2.6"}
SIDE = 256  # pixels, of the shaded pictures; the flat ones are vectors and drawn as large
STEP = 16  # of 255: a step in any colour that is drawn as a line


class FluentEmoji:
    """The emoji that both packages hold, by their code points: "1f340", "1f9d1-200d-1f33e". fe0f is left out.

    `folder` is the node_modules with the packages in it.
    Raises: DataError for a package that is missing or has another version, and where resvg-py is not installed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = npm_folder() / "node_modules" if folder is None else folder
        for name, version in VERSIONS.items():
            check_package(folder / name, version)
        try:
            import resvg_py
        except ImportError:
            raise DataError(
                "The flat emoji are SVG, and resvg-py, which draws it, is not installed. Install it: "
                "pip install resvg-py, or gantutor with its extra: pip install 'gantutor[data]'"
            ) from None
        self.draw_svg = resvg_py.svg_to_bytes
        flat = folder / FLAT
        self.icons: dict[str, Any] = read_json(flat / "icons.json")["icons"]
        groups = read_json(flat / "metadata.json")["categories"]
        self.groups = {name: group for group, names in groups.items() for name in names}
        self.names = {
            without_selector(code): name for code, name in read_json(flat / "chars.json").items() if name in self.icons
        }
        self.files = {without_selector(file.stem): file for file in sorted((folder / SHADED / "assets").glob("*.webp"))}
        self.codes = sorted(self.names.keys() & self.files.keys())

    def group(self, code: str) -> str:
        """The group that Unicode puts it in, as "Animals & Nature"; "" for none."""
        return self.groups.get(self.names[code], "")

    def flat(self, code: str) -> Any:
        """The flat drawing, an Image of Pillow's, RGBA of 256 pixels."""
        icon = self.icons[self.names[code]]
        box = f"0 0 {icon.get('width', 32)} {icon.get('height', 32)}"
        sized = f'viewBox="{box}" width="{SIDE}" height="{SIDE}"'  # or else a box that is not square gets its own shape
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" {sized}>{icon["body"]}</svg>'
        png = bytes(self.draw_svg(svg_string=svg, width=SIDE, height=SIDE))
        return Image.open(io.BytesIO(png)).convert("RGBA")

    def shaded(self, code: str) -> Any:
        """The shaded picture, an Image of Pillow's, RGBA of 256 pixels."""
        with Image.open(self.files[code]) as file:
            return ImageOps.pad(file.convert("RGBA"), (SIDE, SIDE))

    def draw(self, code: str) -> list[Bytes]:
        """Flat and shaded on white, and the flat one as a line drawing: uint8 (64, 64, 3) each."""
        flat = on_white(self.flat(code))
        pictures = (flat, on_white(self.shaded(code)), np.repeat(lines(flat)[..., None], 3, axis=2))
        return [np.array(Image.fromarray(picture).reduce(SIDE // SMALL)) for picture in pictures]


def npm_folder() -> Path:
    """Where npm is told to install the two packages."""
    return downloads_folder() / "npm"


def check_package(folder: Path, version: str) -> None:
    """Raises: DataError with the command that gets both packages, where this one is missing or another version."""
    try:
        found = read_json(folder / "package.json")["version"]
    except (OSError, ValueError, KeyError):
        found = "missing"
    if found != version:
        wanted = " ".join(f"{name}@{number}" for name, number in VERSIONS.items())
        raise DataError(
            f"The emoji are drawn from two npm packages, and {folder} is {found}; expected version {version}. "
            f"Get both: npm install --prefix {npm_folder()} {wanted}"
        )


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def without_selector(code: str) -> str:
    """The code points without fe0f, which only asks for a picture instead of a letter."""
    return "-".join(point for point in code.split("-") if point != "fe0f")


def on_white(picture: Any) -> Bytes:
    """An RGBA Image of Pillow's on a white sheet, uint8 (H, W, 3)."""
    return np.array(Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB"))


def lines(picture: Bytes) -> Bytes:
    """Black lines on white, four pixels wide, uint8 (H, W): where a colour steps by more than STEP."""
    levels = picture.astype(np.int16)
    steps = np.zeros(picture.shape[:2], np.int16)
    steps[:, 1:-1] = np.abs(levels[:, 2:] - levels[:, :-2]).max(-1)
    steps[1:-1] = np.maximum(steps[1:-1], np.abs(levels[2:] - levels[:-2]).max(-1))
    for axis in (0, 1):  # a pixel wider on each side
        padded = np.pad(steps, [(int(axis == other),) * 2 for other in (0, 1)])
        steps = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=axis).max(-1)
    return np.where(steps > STEP, 0, 255).astype(np.uint8)


def build(source: FluentEmoji) -> dict[str, np.ndarray]:
    """The arrays, the images decoded: uint8 (N, 64, 64, 3)."""
    kept = []
    for code in source.codes:
        if source.group(code) in SIGNS or re.search(TONES_AND_GENDERS, code) or overlap(source, code) < MATCH:
            continue
        images = [np.uint8(np.rint(image / LEVEL) * LEVEL) for image in source.draw(code)]
        both = np.stack(images[:2]).astype(np.float32) / 255
        if all(np.abs(both - other).mean() >= COPY for _, _, other in kept):
            kept.append((code, images, both))
    order = np.random.RandomState(0).permutation(len(kept))  # its numbers never change, as default_rng's may
    arrays = {style: np.stack([kept[place][1][index] for place in order]) for index, style in enumerate(STYLES)}
    split = np.zeros(len(kept), np.uint8)
    split[:HELD_OUT], split[HELD_OUT : 2 * HELD_OUT] = 2, 1
    return {**arrays, "codes": np.array([kept[place][0] for place in order], np.bytes_), "split": split}


def overlap(source: FluentEmoji, code: str) -> float:
    """How much of the two silhouettes' union is in both."""
    flat, shaded = (np.asarray(picture)[..., 3] > 127 for picture in (source.flat(code), source.shaded(code)))
    return (flat & shaded).sum() / max((flat | shaded).sum(), 1)


def commonest_colours(images: np.ndarray, number: int) -> list[tuple[int, ...]]:
    """The `number` commonest colours of images uint8 (N, H, W, 3), each APART from those before it."""
    colours, counts = np.unique(images.reshape(-1, 3), axis=0, return_counts=True)
    places, found = to_lab(torch.from_numpy(colours)).numpy(), []
    for _ in range(number):
        commonest = counts.argmax()
        found.append(tuple(colours[commonest].tolist()))
        counts[np.linalg.norm(places - places[commonest], axis=1) < APART] = 0
    return found


if __name__ == "__main__":
    try:
        arrays = build(FluentEmoji())
    except DataError as error:
        print(f"{FILE} is left as it is. {error}")
        sys.exit(NO_SOURCES)
    unfinished = FILE.with_suffix(".unfinished.npz")
    sheets = {style: np.frombuffer(to_sheet(arrays[style], TILES), np.uint8) for style in STYLES}
    np.savez_compressed(unfinished, **{**arrays, **sheets})
    unfinished.replace(FILE)
    print(f"{FILE}: {len(arrays['codes'])} emoji, {FILE.stat().st_size:,} bytes")
    if checksum(arrays) != EMOJI_SHA256:
        print(f'Another file than gantutor.data.embedded knows. If that is meant: EMOJI_SHA256 = "{checksum(arrays)}"')
    palette = commonest_colours(arrays["flat"][arrays["split"] == 0], len(EMOJI_COLOURS))
    if palette != [label.colour for label in EMOJI_COLOURS]:
        print(f"Its commonest colours are others than gantutor.data.embedded knows: {palette}")
