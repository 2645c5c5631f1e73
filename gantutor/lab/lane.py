"""A lane of the panel: one experiment with its run, its controls and its views."""

import time
from typing import Any

import ipywidgets as W

from gantutor.experiment import Data, Experiment
from gantutor.lab.canvas import View, panel_style
from gantutor.lab.controls import Controls
from gantutor.lab.costmeter import CostMeter
from gantutor.lab.film import Shot
from gantutor.lab.pictures import ImagePicture, PointPicture
from gantutor.steps import Step
from gantutor.training import Run


class Lane:
    """One experiment: its run, its controls, its views."""

    CHARTS_EVERY_S = 0.5  # the charts move slowly and cost most

    def __init__(self, experiment: Experiment, label: str, cost_meter: bool = False) -> None:
        self.experiment, self.label = experiment, label
        self.meter = CostMeter() if cost_meter else None
        self.controls = Controls(experiment)
        self.pictures = W.Box(layout=W.Layout(flex_flow="row wrap", align_items="flex-start", grid_gap="8px"))
        self.pngs: dict[str, bytes] = {}
        self.images: dict[str, W.Image] = {}
        self._looks_like: tuple[Any, ...] = ()
        self._charts_at = 0.0
        self.restart(experiment, *self.prepare(experiment))
        self.paint(everything=True)

    def prepare(self, experiment: Experiment) -> tuple[Data, Run]:
        """The data and a new run for `restart`; nothing has changed yet, should this raise."""
        e = self.experiment
        same_data = self.images and (experiment.data, experiment.device) == (e.data, e.device)
        data = self.data if same_data else experiment.load()
        return data, experiment.start(data)

    def restart(self, experiment: Experiment, data: Data, run: Run) -> None:
        """Go over to that run, for `paint` to show; views are built anew only if what they show has another form."""
        self.experiment, self.data, self.run = experiment, data, run
        if self.meter is not None:
            self.meter.restart()
        looks_like = (self.data, experiment.z_dim)
        if looks_like != self._looks_like:
            self._looks_like = looks_like
            make = PointPicture if self.data.kind == "points" else ImagePicture
            with panel_style():
                self.picture = make(self.data, experiment.z_dim)
            self.images = {view.name: self._image(view) for view in self.picture.views}
            *column, charts = [self._framed(view) for view in self.picture.views]
            self.pictures.children = [W.VBox(column), charts]

    def _image(self, view: View) -> W.Image:
        image = W.Image(format="png", width=view.width, height=view.height)
        image.add_class(f"gt-view-{view.name}")
        if view.pixelated:
            image.add_class("gt-pixelated")
        return image

    def _framed(self, view: View) -> W.VBox:
        return W.VBox([W.HTML(f"<small>{view.title}</small>"), self.images[view.name]])

    def paint(self, everything: bool) -> None:
        names = set(self.images) if everything else set(self.images) - {"charts", "real"}
        if time.perf_counter() - self._charts_at > self.CHARTS_EVERY_S:
            names.add("charts")
        if "charts" in names:
            self._charts_at = time.perf_counter()
        fresh = self.picture.paint(self.run, names)
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
        return [Shot(view.title, self.pngs[view.name], view.width, view.height) for view in self.picture.views]
