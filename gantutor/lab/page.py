"""What stands on the page, with or without a front end, and how it is taken off."""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as W
from PIL import Image

FRONT = Path(__file__).parent / "front"


def front_script(*names: str) -> str:
    """Modules of lab/front as one module, without their imports of each other; the last has the `export default`."""
    source = "\n".join((FRONT / name).read_text(encoding="utf-8") for name in names)
    source = re.sub(r"^import .*\n", "", source, flags=re.MULTILINE)
    return re.sub(r"^export (?!default)", "", source, flags=re.MULTILINE)


def close_widgets(widgets: Sequence[W.Widget]) -> None:
    """Close widgets and all that is theirs: each would stay registered, with what its callbacks hold."""
    for widget in widgets:
        close_widgets(getattr(widget, "children", ()))
        for part in (getattr(widget, "style", None), getattr(widget, "layout", None), widget):
            if isinstance(part, W.Widget):
                part.close()


def mimebundle(widget: W.Widget, picture: Image.Image, text: str) -> dict[str, Any]:
    """Live where there is a front end, a picture where there is none, and always the same text (for nbval)."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    found: Any = widget._repr_mimebundle_()
    live = dict(found[0] if isinstance(found, tuple) else found)
    return {**live, "image/png": base64.b64encode(out.getvalue()).decode(), "text/plain": text}
