"""The panel's cost meter: what a step of each setting tried costs, and what the run has spent so far."""

import html
from dataclasses import dataclass
from typing import Any

import ipywidgets as W

from gantutor.configs import Config
from gantutor.configs.base import TrainStep
from gantutor.configs.settings import declared_settings
from gantutor.ledger import Cost, cost
from gantutor.ledger.records import count
from gantutor.plots import COLOURS
from gantutor.training import Run

SHADES = {"forward": 0.45, "backward": 1.0}


@dataclass
class Spent:
    """What a setting costs a step, or the name of the error that it raises, and the steps taken with it."""

    cost: Cost | None
    error: str = ""
    steps: int = 0

    @property
    def flops(self) -> int:
        """Of all these steps."""
        return self.steps * self.cost.flops if self.cost else 0


class CostMeter:
    """Counts a run's operations: `spent` by setting, which is a strategy, and whatever else a step's cost depends on.

    A setting is measured once, on copies of the model, when it is met. D's extra updates (`d_steps`) count with it.
    """

    def __init__(self) -> None:
        self.widget = W.HTML()
        self.spent: dict[str, Spent] = {}
        self.now = ""
        self.t = 0

    def restart(self) -> None:
        """Another run begins."""
        self.spent.clear()
        self.now, self.t = "", 0

    def follow(self, config: Config, data: Any, run: Run, step: TrainStep | None = None) -> None:
        """Charge the steps since the last call to the setting of then; now it is that of `experiment`, or `step`."""
        if self.now:
            self.spent[self.now].steps += run.t - self.t
        self.t = run.t
        self.now = getattr(step, "__name__", "the step") if step else cost_label(config)
        if self.now not in self.spent:
            self.spent[self.now] = measure_step(config, data, run, step)
        self.widget.value = self._table()

    def lines(self) -> list[str]:
        """The meter in words, for a picture."""
        return [f"{name}: {', '.join(cells(spent))}" for name, spent in self.spent.items()] + [self._total()]

    def _total(self) -> str:
        return f"so far {count(sum(spent.flops for spent in self.spent.values()))} FLOPs in {self.t} steps"

    def _table(self) -> str:
        most = max([1, *(spent.cost.flops for spent in self.spent.values() if spent.cost)])
        body = "".join(self._row(name, spent, most) for name, spent in self.spent.items())
        heads = ("", "a step: G, D; forward pale, backward full", "FLOPs", "kept", "time", "steps")
        head = "".join(f'<th scope="col" style="text-align:left;padding:0 6px">{text}</th>' for text in heads)
        table = f'<table class="gt-meter" style="font-size:12px;line-height:1.4"><tr>{head}</tr>{body}</table>'
        return f"{table}<small>{self._total()}</small>"

    def _row(self, name: str, spent: Spent, most: int) -> str:
        weight = "bold" if name == self.now else "normal"
        bar = bars(spent.cost, most) if spent.cost else ""
        inner = "".join(f'<td style="padding:0 6px;white-space:nowrap">{cell}</td>' for cell in (bar, *cells(spent)))
        return f'<tr style="font-weight:{weight}"><td style="padding:0 6px">{html.escape(name)}</td>{inner}</tr>'


def cells(spent: Spent) -> tuple[str, ...]:
    """FLOPs, bytes and milliseconds of a step, and how many were taken."""
    if spent.cost is None:
        return (f"raises {spent.error}", "", "", f"{spent.steps} steps")
    c = spent.cost
    return f"{count(c.flops)}", f"{count(c.saved_bytes, 'B')}", f"{c.milliseconds:.3g} ms", f"{spent.steps} steps"


def bars(cost: Cost, most: int) -> str:
    """A step's operations as one bar, by network and direction."""
    parts = [
        (getattr(share, f"{direction}_flops"), COLOURS.get(name[0], COLOURS["ink"]), shade)
        for name, share in cost.networks.items()
        for direction, shade in SHADES.items()
    ]
    spans = "".join(
        f'<span style="width:{220 * flops / most:.1f}px;background:{colour};opacity:{shade};height:9px"></span>'
        for flops, colour, shade in parts
    )
    return f'<span style="display:inline-flex;width:222px;vertical-align:middle">{spans}</span>'


def cost_label(config: Config) -> str:
    """What a step's cost depends on, as far as it can change in a run; what is as usual is left out."""
    usual = type(config)()
    parts = [
        f"{name} {getattr(config, name)}"
        for name, about in declared_settings(config).items()
        if about.costs and name != "strategy" and getattr(config, name) != getattr(usual, name)
    ]
    return ", ".join([config.strategy, *parts])


def measure_step(config: Config, data: Any, run: Run, step: TrainStep | None) -> Spent:
    """What one step of this experiment, or `step`, costs, on copies; or what it raises."""
    usual, batch = config.trial(data)
    try:
        return Spent(cost(step or usual, run.model, *batch, repeats=3))
    except (RuntimeError, ValueError) as error:
        return Spent(None, type(error).__name__)
