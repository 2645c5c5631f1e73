"""What stands on the page, with or without a front end, and how it is taken off."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import ipywidgets as W
from PIL import Image

from gantutor.lab.runner import Runner


class Panel(W.VBox):
    """The widget on the page; closing it ends the training thread."""

    runner: Runner

    def close(self) -> None:
        self.runner.close()
        if self.comm is not None:  # not yet closed
            close_widgets(self.children)
        super().close()


def close_widgets(widgets: Sequence[W.Widget]) -> None:
    """Close widgets and all that is theirs: each would stay registered, with what its callbacks hold."""
    for widget in widgets:
        close_widgets(getattr(widget, "children", ()))
        for part in (getattr(widget, "style", None), widget.layout, widget):
            if isinstance(part, W.Widget):
                part.close()


def mimebundle(widget: W.Widget, picture: Image.Image, text: str) -> dict[str, Any]:
    """Live where there is a front end, a picture where there is none, and always the same text (for nbval)."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    live = dict(widget._repr_mimebundle_())
    return {**live, "image/png": base64.b64encode(out.getvalue()).decode(), "text/plain": text}
