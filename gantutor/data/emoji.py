"""The emoji sets: one emoji in two styles by the same artists, flat and shaded, embedded at 64 pixels.

    load_pairs("emoji_flat")  # A flat, B shaded
    load_pairs("emoji_sketch")  # A a line drawing of the flat one, B shaded
    load_pairs("emoji_palette")  # A the flat one in the colours of a palette, B shaded: for Paint
    load_unpaired("emoji")  # flat ones, and shaded ones of other emoji

Microsoft's Fluent emoji, MIT: data/emoji.LICENSE.txt. How they were chosen: data/build_emoji.py.
"""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantutor.data.arrays import Arrays, checksum, load_or_make, make_each, read_npz
from gantutor.data.common import (
    DataError,
    check_choice,
    check_positive,
    downloads_folder,
    embedded_file,
    how_to_restore,
    usable_device,
)
from gantutor.data.pairs import Label, Pairs, Unpaired, draw_labels
from gantutor.data.procedural.drawing import Bytes
from gantutor.data.sheets import from_sheet

NATIVE = 64
EMOJI_SIZES = (NATIVE, 128, 256)
EMOJI_SPLITS = ("train", "val", "test")  # what the numbers of the array "split" mean
STYLES = ("flat", "shaded", "sketch")
TILES = 32  # in a row of the sheets that hold the images of one style; data/build_emoji.py writes them
EMOJI_SHA256 = "e739ba97fe44818b0e7df0ff77af93d00ac69aa28fc94b5655608c006bad9e54"  # of the decoded arrays


def emoji_flat(device: str | torch.device = "cpu", **options: Any) -> Pairs:
    """Flat → shaded; options as in `emoji_pairs`."""
    return emoji_pairs("emoji_flat", "flat", device, **options)


def emoji_sketch(device: str | torch.device = "cpu", **options: Any) -> Pairs:
    """Line drawing → shaded; options as in `emoji_pairs`. The colours are not in the input."""
    return emoji_pairs("emoji_sketch", "sketch", device, **options)


def emoji_palette(device: str | torch.device = "cpu", **options: Any) -> Pairs:
    """Flat, in the colours of EMOJI_COLOURS alone → shaded; options as in `emoji_pairs`.

    `labels` are the numbers of the colours, and `classes` the palette: what Paint draws with.
    """
    return in_palette(emoji_pairs("emoji_palette", "flat", device, **options))


def in_palette(pairs: Pairs) -> Pairs:
    labels = nearest_colours(pairs.A)
    return dataclasses.replace(
        pairs,
        A=draw_labels(labels, EMOJI_COLOURS),
        labels=labels,
        classes=EMOJI_COLOURS,
        label_map="A",
        held_out=pairs.held_out and in_palette(pairs.held_out),
    )


def emoji_pairs(
    name: str,
    style: str,
    device: str | torch.device,
    split: str = "train",
    size: int = NATIVE,
    number: int | None = None,
    flip: bool = True,
    jitter: bool = False,
) -> Pairs:
    """The pairs of one split, A in `style` and B shaded. No emoji is in two splits.

    Args:
        split: "train", "val" (100) or "test" (100). The train set has the test set with it as `held_out`.
        size: 64 is embedded; 128 and 256 are drawn from two npm packages that have to be there.
        number: takes only the first.
        flip, jitter: augment the train set; the others are as drawn.

    Raises: ValueError for another split, size or a number below 1; DataError for a damaged file or missing packages.
    """
    check_choice("split", split, EMOJI_SPLITS)
    if number is not None:
        check_positive("number", number)
    device = usable_device(device)
    arrays = load_arrays(size)

    def chosen(part: str, count: int | None) -> tuple[Tensor, Tensor]:
        A, B = (images_of(arrays, style_of_side, part)[:count] for style_of_side in (style, "shaded"))
        return A.to(device), B.to(device)

    if split != "train":
        return Pairs(name, *chosen(split, number))
    held_out = Pairs(name, *chosen("test", None))
    return Pairs(name, *chosen("train", number), flip=flip, jitter=jitter, held_out=held_out)


def emoji_unpaired(
    device: str | torch.device = "cpu",
    size: int = NATIVE,
    number: int | None = None,
    flip: bool = True,
    jitter: bool = False,
) -> Unpaired:
    """Flat emoji, and shaded ones of other emoji: A is the first half of the train split, B the second.

    The test images are the 100 of the test split, each with its true partner. Options as in `emoji_pairs`.
    Raises: ValueError for another size or a number below 1; DataError for a damaged file or missing packages.
    """
    if number is not None:
        check_positive("number", number)
    device = usable_device(device)
    arrays = load_arrays(size)
    flat, shaded = (images_of(arrays, style, "train") for style in ("flat", "shaded"))
    half = len(flat) // 2
    tests = (images_of(arrays, style, "test") for style in ("flat", "shaded"))
    A, B, test_A, test_B = (images.to(device) for images in (flat[:half][:number], shaded[half:][:number], *tests))
    return Unpaired("emoji", A, B, test_A, test_B, ("flat", "shaded"), has_truth=True, flip=flip, jitter=jitter)


def load_arrays(size: int) -> Arrays:
    """Every emoji in all STYLES, its code points and its split; another size has the same emoji in the same order.

    Raises: ValueError for another size; DataError for a damaged file or missing packages.
    """
    check_choice("size", size, EMOJI_SIZES)
    native = read_emoji(embedded_file("emoji.npz"))
    if size == NATIVE:
        return native

    def make() -> Arrays:
        source = FluentEmoji()
        codes = [code.decode() for code in native["codes"]]
        drawn = make_each(f"emoji of {size} pixels", len(codes), lambda index: source.draw(codes[index], size))
        return dict(zip(STYLES, drawn, strict=True))

    sources = [Path(__file__), embedded_file("emoji.npz")]
    return {**native, **load_or_make(f"emoji-{size}", sources, make)}


def images_of(arrays: Arrays, style: str, split: str) -> Tensor:
    """The images in one style that belong to one split, uint8 (N, 3, H, W)."""
    images = torch.from_numpy(arrays[style][arrays["split"] == EMOJI_SPLITS.index(split)])
    colours = images if images.dim() == 4 else images[..., None].expand(*images.shape, 3)
    return colours.permute(0, 3, 1, 2).contiguous()


def read_emoji(path: Path) -> Arrays:
    """The arrays in `path`, decoded, and proved to be the ones that were built.

    Raises: DataError for anything else.
    """
    try:
        arrays = read_npz(path)
        for style in STYLES:
            tiles = from_sheet(arrays[style].tobytes(), NATIVE)
            arrays[style] = tiles.reshape(-1, *tiles.shape[2:])[: len(arrays["codes"])].copy()
        arrays["sketch"] = arrays["sketch"][..., 0]
        intact = checksum(arrays) == EMOJI_SHA256
    except Exception as error:  # a damaged zip or WebP makes numpy and Pillow raise one of a dozen
        raise DataError(f"{path} is damaged ({error}). {how_to_restore(path.name)}") from error
    if not intact:
        raise DataError(f"{path} does not hold what it should (its checksum is wrong). {how_to_restore(path.name)}")
    return arrays


# The commonest colours of the training emoji that an eye tells apart, the commonest first: data/build_emoji.py finds
# them. White is the background.
EMOJI_COLOURS = (
    Label("white", (255, 255, 255)),
    Label("light orange", (255, 175, 45)),
    Label("red", (250, 50, 45)),
    Label("light grey", (210, 210, 210)),
    Label("blue", (0, 165, 235)),
    Label("grey", (155, 155, 155)),
    Label("yellow", (250, 215, 65)),
    Label("dark purple", (85, 55, 100)),
    Label("darkest purple", (50, 25, 65)),
    Label("sand", (245, 175, 95)),
    Label("raspberry", (250, 45, 95)),
    Label("green", (0, 210, 105)),
    Label("brown", (110, 70, 50)),
    Label("orange", (255, 105, 35)),
    Label("crimson", (200, 10, 75)),
    Label("light brown", (165, 105, 85)),
    Label("dark grey", (100, 100, 100)),
    Label("dull purple", (100, 90, 150)),
    Label("dark brown", (65, 40, 50)),
    Label("sky blue", (40, 200, 250)),
    Label("dark green", (70, 145, 25)),
    Label("hot pink", (245, 10, 140)),
    Label("light green", (135, 215, 45)),
    Label("dark blue", (0, 115, 185)),
    Label("light blue", (175, 220, 255)),
    Label("purple", (140, 100, 195)),
    Label("cream", (255, 220, 165)),
    Label("black", (35, 35, 35)),
    Label("golden brown", (210, 135, 60)),
    Label("bright blue", (80, 145, 255)),
    Label("magenta", (185, 30, 130)),
    Label("light pink", (250, 185, 170)),
)

# From linear red, green and blue to X, Y and Z as shares of those of white.
XYZ = torch.tensor(
    [
        [0.4124 / 0.9505, 0.3576 / 0.9505, 0.1805 / 0.9505],
        [0.2126, 0.7152, 0.0722],
        [0.0193 / 1.0890, 0.1192 / 1.0890, 0.9505 / 1.0890],
    ],
    dtype=torch.float64,
)


def nearest_colours(pictures: Tensor) -> Tensor:
    """Pictures uint8 (..., 3, H, W) to numbers in EMOJI_COLOURS, uint8 (..., H, W): the nearest by `to_lab`."""
    red, green, blue = pictures.int().unbind(-3)
    found, places = (red << 16 | green << 8 | blue).unique(return_inverse=True)  # far fewer than pixels
    colours = torch.stack([found >> 16, found >> 8 & 255, found & 255], dim=1)
    palette = torch.tensor([label.colour for label in EMOJI_COLOURS], device=pictures.device)
    return torch.cdist(to_lab(colours), to_lab(palette)).argmin(1).byte()[places]


def to_lab(colours: Tensor) -> Tensor:
    """sRGB colours, 0 ... 255 (N, 3), to CIE L*a*b* (N, 3), where a distance is about what an eye sees.

    Source: IEC 61966-2-1 (sRGB) and CIE 15 (L*a*b*), for the white D65.
    """
    shares = colours.double() / 255
    linear = torch.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    xyz = linear @ XYZ.T.to(colours.device)
    roots = torch.where(xyz > (6 / 29) ** 3, xyz ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = roots.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


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
        from PIL import Image

        icon = self.icons[self.names[code]]
        box = f"0 0 {icon.get('width', 32)} {icon.get('height', 32)}"
        sized = f'viewBox="{box}" width="{SIDE}" height="{SIDE}"'  # or else a box that is not square gets its own shape
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" {sized}>{icon["body"]}</svg>'
        png = bytes(self.draw_svg(svg_string=svg, width=SIDE, height=SIDE))
        return Image.open(io.BytesIO(png)).convert("RGBA")

    def shaded(self, code: str) -> Any:
        """The shaded picture, an Image of Pillow's, RGBA of 256 pixels."""
        from PIL import Image, ImageOps

        with Image.open(self.files[code]) as file:
            return ImageOps.pad(file.convert("RGBA"), (SIDE, SIDE))

    def draw(self, code: str, size: int) -> tuple[Bytes, Bytes, Bytes]:
        """Flat and shaded on white, uint8 (size, size, 3), and the flat one as a line drawing, uint8 (size, size)."""
        flat = on_white(self.flat(code))
        return reduce_size(flat, size), reduce_size(on_white(self.shaded(code)), size), reduce_size(lines(flat), size)


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
    from PIL import Image

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


def reduce_size(picture: Bytes, size: int) -> Bytes:
    """A square picture, every block of pixels averaged to one."""
    from PIL import Image

    return np.array(Image.fromarray(picture).reduce(len(picture) // size) if size < len(picture) else picture)
