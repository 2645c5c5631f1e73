"""The panel's cost meter: what a step of each setting tried costs, and what the run has spent so far."""

from dataclasses import dataclass
from typing import Any

from gantutor.configs import Config
from gantutor.configs.base import TrainStep
from gantutor.configs.settings import declared_settings
from gantutor.lab.messages import say
from gantutor.ledger import Cost, cost
from gantutor.ledger.records import count
from gantutor.training import Run


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

    def lines(self) -> list[str]:
        """The meter in words, for a picture."""
        return [f"{name}: {', '.join(cells(spent))}" for name, spent in self.spent.items()] + [self._total()]

    def _total(self) -> str:
        flops = sum(spent.flops for spent in self.spent.values())
        return say("meter_total", flops=count(flops), steps=self.t)

    def rows(self) -> dict[str, Any]:
        """The meter as data: its total, and a row a setting; `bars` are shares of the dearest setting's FLOPs."""
        most = max([1, *(spent.cost.flops for spent in self.spent.values() if spent.cost)])
        rows = [
            {"name": name, "now": name == self.now, "bars": bars(spent.cost, most), "cells": cells(spent)}
            for name, spent in self.spent.items()
        ]
        return {"total": self._total(), "rows": rows}


def cells(spent: Spent) -> tuple[str, ...]:
    """FLOPs, bytes and milliseconds of a step, and how many were taken."""
    if spent.cost is None:
        return (say("meter_raises", error=spent.error), "", "", f"{spent.steps} steps")
    c = spent.cost
    return f"{count(c.flops)}", f"{count(c.saved_bytes, 'B')}", f"{c.milliseconds:.3g} ms", f"{spent.steps} steps"


def bars(cost: Cost | None, most: int) -> list[tuple[str, str, float]]:
    """A step's operations by player and direction: whose, which, and the share of `most`."""
    return [
        (name.rpartition(".")[2][0], direction, getattr(share, f"{direction}_flops") / most)  # D of "gan.D"
        for name, share in (cost.networks if cost else {}).items()
        for direction in ("forward", "backward")
    ]


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
