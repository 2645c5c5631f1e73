"""What stands on the page, and how it is taken off."""

from collections.abc import Sequence

import ipywidgets as W

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
