"""The browser's half of Paint: paint_drawing.js is what the tools do to a label map, paint.js the page around it."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets


def read_script(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


class PaintCanvas(anywidget.AnyWidget):
    """What a view starts from. All that happens later travels as custom messages (paint.py)."""

    _esm = read_script("paint_drawing.js") + read_script("paint.js")
    _css = read_script("paint.css")
    shape: Any = traitlets.List().tag(sync=True)  # height and width
    classes: Any = traitlets.List().tag(sync=True)  # name and "#rrggbb"
    examples = traitlets.Bytes(b"").tag(sync=True)
    map = traitlets.Bytes(b"").tag(sync=True)
    picture = traitlets.Bytes(b"").tag(sync=True)  # a PNG
    alt = traitlets.Unicode("").tag(sync=True)
