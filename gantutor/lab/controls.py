"""The controls of one lane: a widget for each field of an Experiment."""

from collections.abc import Callable
from typing import Any

import ipywidgets as W

from gantutor.data import DATA
from gantutor.experiment import Experiment
from gantutor.gan import BATCHINGS
from gantutor.losses import LOSSES
from gantutor.models import MODELS, NORMS_D, NORMS_G
from gantutor.steps import STEPS
from gantutor.training import devices


class Controls:
    """Widgets that show an experiment; `widget` holds them all, those that apply at once apart from those at Reset."""

    def __init__(self, experiment: Experiment) -> None:
        e = experiment
        data = [e.data] if e.data not in list(DATA) else list(DATA)
        names = {choice: choice if isinstance(choice, str) else choice.name for choice in data}
        self.fields: dict[str, W.Widget] = {
            "strategy": self._choice("strategy", list(STEPS), e.strategy),
            "loss": self._choice("loss", list(LOSSES), e.loss),
            "batching": self._choice("batching", list(BATCHINGS), e.batching),
            "d_steps": W.IntSlider(min=1, max=5, value=e.d_steps, description="D steps"),
            "lr_G": self._rate("lr G", e.lr_G),
            "lr_D": self._rate("lr D", e.lr_D),
            "norm_G": self._choice("norm in G", list(NORMS_G), e.norm_G),
            "norm_D": self._choice("norm in D", list(NORMS_D), e.norm_D),
            "model": self._choice("networks", list(MODELS), e.model),
            "data": self._choice("data", [(names[choice], choice) for choice in data], e.data),
            "device": self._choice("device", ["auto", *devices()], e.device),
            "seed": W.BoundedIntText(min=0, max=2**31 - 1, value=e.seed, description="seed"),
        }
        for field in self.fields.values():
            field.style.description_width = "initial"
            field.layout.width = "190px"
        self.check({name: getattr(e, name) for name in self.fields})
        self.fields["data"].observe(self._suit_data, "value")
        live = [field for name, field in self.fields.items() if name in Experiment.LIVE]
        late = [field for name, field in self.fields.items() if name not in Experiment.LIVE]
        row = {"flex_flow": "row wrap", "grid_gap": "0 4px"}
        self.widget = W.VBox(
            [
                W.Box(live, layout=W.Layout(**row)),
                W.HTML("<small>These apply at Reset:</small>"),
                W.Box(late, layout=W.Layout(**row)),
            ]
        )

    @staticmethod
    def _choice(description: str, options: list[Any], value: Any) -> W.Dropdown:
        return W.Dropdown(options=options, value=value, description=description)

    @staticmethod
    def _rate(description: str, value: float) -> W.FloatLogSlider:
        return W.FloatLogSlider(
            min=-5,
            max=-1,
            step=0.05,
            value=value,
            description=description,
            readout_format=".1e",
            continuous_update=False,
        )

    def on_change(self, listener: Callable[[str, Any], None]) -> None:
        """Call `listener(field, value)` when a control is moved."""
        for name, field in self.fields.items():
            field.observe(lambda change, name=name: listener(name, change["new"]), "value")

    def set(self, **values: Any) -> None:
        """Move controls, the data's first, since that moves others.

        Raises: ValueError for a field without one, or a value that it cannot show, before any is moved.
        """
        self.check(values)
        for name in sorted(values, key=lambda name: name != "data"):
            self.fields[name].value = values[name]

    def check(self, values: dict[str, Any]) -> None:
        """Raises: ValueError for a field without a control, or a value that its control cannot show."""
        for name, value in values.items():
            if name not in self.fields:
                raise ValueError(f"{name!r} has no control; there are {', '.join(self.fields)}")
            field = self.fields[name]
            if isinstance(field, W.Dropdown):
                options = [option if isinstance(option, str) else option[1] for option in field.options]
                if value not in options:
                    raise ValueError(
                        f"{name}={value!r} cannot be chosen here; there are {', '.join(map(str, options))}"
                    )
                continue
            low, high = field.min, field.max
            if isinstance(field, W.FloatLogSlider):
                low, high = field.base**low, field.base**high
            if not low <= value <= high:  # the widget would move to its end without a word
                raise ValueError(f"{name} goes from {low:g} to {high:g} in the panel, got {value!r}")

    def read(self, experiment: Experiment) -> Experiment:
        """The experiment with every field as its control says; other networks get z and options of their own."""
        fields: dict[str, Any] = {name: field.value for name, field in self.fields.items()}
        if fields["model"] != experiment.model:
            fields |= {"z_dim": 0, "model_options": {}}
        return experiment.replace(**fields)

    def _suit_data(self, change: dict[str, Any]) -> None:
        """Other data: offer the networks and norms that suit it."""
        suited = Experiment(data=change["new"])
        self.set(model=suited.model, norm_G=suited.norm_G, norm_D=suited.norm_D)
