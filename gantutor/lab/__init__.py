"""The live panel, the step debugger and the canvas to paint on. The only place that knows widgets.

What needs no widgets (the runner, the pictures) can be imported where there are none.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantutor.lab.debugger import Debugger
    from gantutor.lab.paint import Paint
    from gantutor.lab.panel import Lab

__all__ = ["Debugger", "Lab", "Paint"]

WIDGETS = {"Debugger": "debugger", "Lab": "panel", "Paint": "paint"}


def __getattr__(name: str) -> Any:
    if name not in WIDGETS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{WIDGETS[name]}"), name)
