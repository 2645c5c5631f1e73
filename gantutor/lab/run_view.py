"""A run view of the panel: one experiment with its run, its controls and its views."""

import time
from dataclasses import replace
from typing import Any

import ipywidgets as W

from gantutor.configs import Config
from gantutor.configs.base import TrainStep
from gantutor.lab.blit_figure import View, panel_style
from gantutor.lab.control_widgets import Controls
from gantutor.lab.costmeter import CostMeter
from gantutor.lab.gan_painters import ImagePainter, PointPainter
from gantutor.lab.pair_painter import PairPainter
from gantutor.lab.recording import ViewImage, rows_of
from gantutor.lab.unpaired_painter import UnpairedPainter
from gantutor.training import Run

PAINTERS: dict[str, Any] = {  # by the data's kind
    "points": PointPainter,
    "images": ImagePainter,
    "pairs": PairPainter,
    "unpaired": UnpairedPainter,
}


class RunView:
    """One experiment: its run, its controls, its views."""

    CHARTS_EVERY_S = 0.5  # the charts move slowly and cost most
    ROOM = 400  # CSS pixels for a run view's pictures where two run views share a page of 1,300

    def __init__(
        self,
        config: Config,
        label: str,
        cost_meter: bool = False,
        narrow: bool = False,
        speed_ups: bool = False,
    ) -> None:
        self.config, self.label, self.narrow = config, label, narrow
        self.meter = CostMeter() if cost_meter else None
        self.controls = Controls(config, speed_ups)
        self.pictures = W.Box(layout=W.Layout(flex_flow="row wrap", align_items="flex-start", grid_gap="8px"))
        self.pngs: dict[str, bytes] = {}
        self.images: dict[str, W.Image] = {}
        self._looks_like: tuple[Any, ...] = ()
        self._charts_at = 0.0
        self.restart(config, *self.prepare(config))
        self.paint(everything=True)

    def prepare(self, config: Config) -> tuple[Any, Run]:
        """The data and a new run for `restart`; nothing has changed yet, should this raise."""
        e = self.config
        same_data = self.images and (config.data, config.device) == (e.data, e.device)
        data = self.data if same_data else config.load()
        return data, config.start(data)

    def restart(self, config: Config, data: Any, run: Run) -> None:
        """Go over to that run, for `paint` to show; views are built anew only if what they show has another form."""
        self.config, self.data, self.run = config, data, run
        if self.meter is not None:
            self.meter.restart()
        make = PAINTERS[data.kind]
        form = {name: getattr(config, name) for name in make.FIELDS}
        looks_like = (data, form)
        if looks_like != self._looks_like:
            self._looks_like = looks_like
            with panel_style():
                self.painter = make(data, **form)
            *column, charts = rows_of(self.painter.views)
            self.rows = [narrowed(row, self.ROOM) for row in column] if self.narrow else column
            self.rows.append(charts)
            self.images = {view.name: self._image(view) for row in self.rows for view in row}
            *column, charts = [[self._framed(view) for view in row] for row in self.rows]
            beside: Any = {"flex_flow": "row wrap", "grid_gap": "8px"}
            boxes = [row[0] if len(row) == 1 else W.Box(row, layout=W.Layout(**beside)) for row in column]
            self.pictures.children = [W.VBox(boxes), *charts]

    def _image(self, view: View) -> W.Image:
        image = W.Image(format="png", width=view.width, height=view.height)
        image.add_class(f"gt-view-{view.name}")
        if view.pixelated:
            image.add_class("gt-pixelated")
        return image

    def _framed(self, view: View) -> W.VBox:
        headings = "".join(f'<span style="flex:1;text-align:center">{column}</span>' for column in view.columns)
        row = f'<span style="display:flex;width:{view.width}px">{headings}</span>' if headings else ""
        title = W.HTML(f'<small style="display:block;line-height:1.3">{view.title}{row}</small>')
        room = W.Layout(width=f"{view.width + 6}px")  # or a title that is longer than the picture would widen it
        return W.VBox([title, self.images[view.name]], layout=room)

    def paint(self, everything: bool) -> None:
        moving = {view.name for view in self.painter.views if not view.still} - {"charts"}
        names = set(self.images) if everything else moving
        if time.perf_counter() - self._charts_at > self.CHARTS_EVERY_S:
            names.add("charts")
        if "charts" in names:
            self._charts_at = time.perf_counter()
        fresh = self.painter.paint(self.run, names, self.config)
        self.pngs.update(fresh)
        for name, data in fresh.items():
            self.images[name].value = data
        if "charts" in names:  # after the pictures: a new setting is measured, which takes some steps' time
            self.follow()

    def follow(self, step: TrainStep | None = None) -> None:
        """Let the cost meter, if there is one, know how far the run is, and that `step` comes next."""
        if self.meter is not None:
            self.meter.follow(self.config, self.data, self.run, step)

    def views(self) -> list[ViewImage]:
        return [
            ViewImage(view.title, self.pngs[view.name], view.width, view.height, view.columns, view.beside)
            for row in self.rows
            for view in row
        ]


def narrowed(row: list[View], room: int) -> list[View]:
    """Views that stand beside each other, made smaller where they need more than `room` CSS pixels."""
    share = (room - 14 * (len(row) - 1)) / sum(view.width for view in row)
    if len(row) == 1 or share >= 1:
        return row
    return [replace(view, width=int(view.width * share), height=round(view.height * share)) for view in row]
