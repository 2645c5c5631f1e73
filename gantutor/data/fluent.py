"""Microsoft's Fluent emoji, each drawn in two styles, read from the two npm packages that hold them.

data/build_emoji.py makes emoji.npz of them. The larger sizes of the emoji sets are drawn from them when they are asked
for, which needs the package resvg-py (the extra "data").
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from gantutor.data.common import DataError, downloads_folder
from gantutor.data.procedural.drawing import Bytes

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
