"""The browser's half of Paint: paint_drawing.js is what the tools do to a label map, paint.js the page around it."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets


def read_script(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


class PaintCanvas(anywidget.AnyWidget):
    """What the browser and the kernel share. `drawn`, `stroke` and `sent` come from the browser, the rest from here."""

    _esm = read_script("paint_drawing.js") + read_script("paint.js")
    _css = read_script("paint.css")
    shape: Any = traitlets.List().tag(sync=True)  # height and width
    classes: Any = traitlets.List().tag(sync=True)  # name and "#rrggbb"
    examples = traitlets.Bytes(b"").tag(sync=True)
    drawn = traitlets.Bytes(b"").tag(sync=True, from_json=lambda view, _: bytes(view))
    stroke = traitlets.Int(0).tag(sync=True)  # all drawings of one number are one for Undo
    sent = traitlets.Int(0).tag(sync=True)
    answered = traitlets.Int(0).tag(sync=True)
    map = traitlets.Bytes(b"").tag(sync=True)
    picture = traitlets.Bytes(b"").tag(sync=True)  # a PNG
    alt = traitlets.Unicode("").tag(sync=True)
    milliseconds = traitlets.Float(0).tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)  # what went wrong
