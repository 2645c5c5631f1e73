"""A lane of the panel: one experiment with its run, its controls and its views."""

import time
from dataclasses import replace
from typing import Any

import ipywidgets as W

from gantutor.experiment import Record
from gantutor.experiment.record import Step
from gantutor.lab.canvas import View, panel_style
from gantutor.lab.controls import Controls
from gantutor.lab.costmeter import CostMeter
from gantutor.lab.film import Shot, rows_of
from gantutor.lab.pair_picture import PairPicture
from gantutor.lab.pictures import ImagePicture, PointPicture
from gantutor.lab.unpaired_picture import UnpairedPicture
from gantutor.training import Run

PICTURES: dict[str, Any] = {  # by the data's kind
    "points": PointPicture,
    "images": ImagePicture,
    "pairs": PairPicture,
    "unpaired": UnpairedPicture,
}


class Lane:
    """One experiment: its run, its controls, its views."""

    CHARTS_EVERY_S = 0.5  # the charts move slowly and cost most
    ROOM = 400  # CSS pixels for a lane's pictures where two lanes share a page of 1,300

    def __init__(
        self,
        experiment: Record,
        label: str,
        cost_meter: bool = False,
        narrow: bool = False,
        speed_ups: bool = False,
    ) -> None:
        self.experiment, self.label, self.narrow = experiment, label, narrow
        self.meter = CostMeter() if cost_meter else None
        self.controls = Controls(experiment, speed_ups)
        self.pictures = W.Box(layout=W.Layout(flex_flow="row wrap", align_items="flex-start", grid_gap="8px"))
        self.pngs: dict[str, bytes] = {}
        self.images: dict[str, W.Image] = {}
        self._looks_like: tuple[Any, ...] = ()
        self._charts_at = 0.0
        self.restart(experiment, *self.prepare(experiment))
        self.paint(everything=True)

    def prepare(self, experiment: Record) -> tuple[Any, Run]:
        """The data and a new run for `restart`; nothing has changed yet, should this raise."""
        e = self.experiment
        same_data = self.images and (experiment.data, experiment.device) == (e.data, e.device)
        data = self.data if same_data else experiment.load()
        return data, experiment.start(data)

    def restart(self, experiment: Record, data: Any, run: Run) -> None:
        """Go over to that run, for `paint` to show; views are built anew only if what they show has another form."""
        self.experiment, self.data, self.run = experiment, data, run
        if self.meter is not None:
            self.meter.restart()
        make = PICTURES[data.kind]
        form = {name: getattr(experiment, name) for name in make.FIELDS}
        looks_like = (data, form)
        if looks_like != self._looks_like:
            self._looks_like = looks_like
            with panel_style():
                self.picture = make(data, **form)
            *column, charts = rows_of(self.picture.views)
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
        moving = {view.name for view in self.picture.views if not view.still} - {"charts"}
        names = set(self.images) if everything else moving
        if time.perf_counter() - self._charts_at > self.CHARTS_EVERY_S:
            names.add("charts")
        if "charts" in names:
            self._charts_at = time.perf_counter()
        fresh = self.picture.paint(self.run, names, self.experiment)
        self.pngs.update(fresh)
        for name, data in fresh.items():
            self.images[name].value = data
        if "charts" in names:  # after the pictures: a new setting is measured, which takes some steps' time
            self.follow()

    def follow(self, step: Step | None = None) -> None:
        """Let the cost meter, if there is one, know how far the run is, and that `step` comes next."""
        if self.meter is not None:
            self.meter.follow(self.experiment, self.data, self.run, step)

    def views(self) -> list[Shot]:
        return [
            Shot(view.title, self.pngs[view.name], view.width, view.height, view.columns, view.beside)
            for row in self.rows
            for view in row
        ]


def narrowed(row: list[View], room: int) -> list[View]:
    """Views that stand beside each other, made smaller where they need more than `room` CSS pixels."""
    share = (room - 14 * (len(row) - 1)) / sum(view.width for view in row)
    if len(row) == 1 or share >= 1:
        return row
    return [replace(view, width=int(view.width * share), height=round(view.height * share)) for view in row]
