"""The controls of one run view: a widget for each control that the experiment's config names."""

from collections.abc import Callable
from typing import Any

import ipywidgets as W
import traitlets

from gantutor.configs import Config
from gantutor.configs.settings import Setting


class SwitchRow(W.Box):
    """A row of toggle buttons; `value` is the tuple of those that are pressed."""

    value = traitlets.Tuple()

    def __init__(self, label: str, options: tuple[str, ...], value: tuple[str, ...]) -> None:
        self._following = False  # the buttons are moved, and not by the reader
        self.buttons = {name: W.ToggleButton(description=name, tooltip=f"{label}: {name}") for name in options}
        for button in self.buttons.values():
            button.layout.width = "auto"
            button.observe(self._read, "value")
        row = W.Layout(flex_flow="row wrap", align_items="center", grid_gap="2px")
        super().__init__([W.Label(label), *self.buttons.values()], value=value, layout=row)

    @traitlets.observe("value")
    def _press(self, change: dict[str, Any]) -> None:
        self._following = True
        for name, button in self.buttons.items():
            button.value = name in change["new"]
        self._following = False

    def _read(self, _: dict[str, Any]) -> None:
        if not self._following:
            self.value = tuple(name for name, button in self.buttons.items() if button.value)


class Controls:
    """Widgets that show an experiment; `widget` holds them all, those that apply at once apart from those at Reset.

    With `speed_ups` there is a row of switches for them, too.
    """

    def __init__(self, config: Config, speed_ups: bool = False) -> None:
        self.recommended_for = config.recommended_for
        self._listener: Callable[[str, Any], None] = lambda field, value: None
        self.fields: dict[str, W.Widget] = {
            name: build_widget(about, getattr(config, name))
            for name, about in config.controls().items()
            if speed_ups or not about.several
        }
        self.check({name: getattr(config, name) for name in self.fields})
        self.fields["data"].observe(self._follow_data, "value")
        live = [field for name, field in self.fields.items() if name in config.live_fields()]
        late = [field for name, field in self.fields.items() if name not in config.live_fields()]
        row = {"flex_flow": "row wrap", "grid_gap": "0 4px"}
        self.widget = W.VBox(
            [
                W.Box(live, layout=W.Layout(**row)),
                W.HTML("<small>These apply at Reset:</small>"),
                W.Box(late, layout=W.Layout(**row)),
            ]
        )

    def on_change(self, listener: Callable[[str, Any], None]) -> None:
        """Call `listener(field, value)` when a control is moved."""
        self._listener = listener
        for name, field in self.fields.items():
            field.observe(lambda change, name=name: self._listener(name, change["new"]), "value")

    def put_back(self, field: str, refused: Any, value: Any) -> None:
        """Move a control from a value that was refused to what holds in the run, unless somebody has moved it since."""
        if self.fields[field].value == refused:
            self.fields[field].value = value

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
            if isinstance(field, SwitchRow):
                unknown = [option for option in value if option not in field.buttons]
                if unknown:
                    raise ValueError(f"{name} has no {unknown[0]!r}; there are {', '.join(field.buttons)}")
                continue
            if isinstance(field, W.Dropdown):
                options = [option if isinstance(option, str) else option[1] for option in field.options]
                if value not in options:
                    listed = ", ".join(str(getattr(option, "name", option)) for option in options)
                    raise ValueError(f"{name}={value!r} cannot be chosen here; there are {listed}")
                continue
            low, high = field.min, field.max
            if isinstance(field, W.FloatLogSlider):
                low, high = field.base**low, field.base**high
            if not low <= value <= high:  # the widget would move to its end without a word
                raise ValueError(f"{name} goes from {low:g} to {high:g} in the panel, got {value!r}")

    def read(self, config: Config) -> Config:
        """The experiment with every field as its control says."""
        return config.chosen(**{name: field.value for name, field in self.fields.items()})

    def _follow_data(self, change: dict[str, Any]) -> None:
        """Other data: offer the networks and norms that suit it."""
        self.set(**self.recommended_for(change["new"]))


def build_widget(about: Setting, value: Any) -> W.Widget:
    """The widget of a setting, at that value; its tooltip is the setting's sentence."""
    if about.several:
        return SwitchRow(about.label, about.values(), value)
    widget = build_plain_widget(about, value)
    widget.tooltip = about.help
    widget.style.description_width = "initial"
    widget.layout.width = f"{about.width}px"
    return widget


def build_plain_widget(about: Setting, value: Any) -> W.Widget:
    shown = {"value": value, "description": about.label}
    if about.choices:
        options = [o if isinstance(o, str) else (getattr(o, "name", str(o)), o) for o in about.values()]
        return W.Dropdown(options=options, **shown)
    low, high = about.log10 or about.between or (None, None)
    shown |= {"min": low, "max": high}
    if about.log10:
        return W.FloatLogSlider(step=0.05, readout_format=".1e", continuous_update=False, **shown)
    if about.step:
        return W.FloatSlider(step=about.step, readout_format=".3g", continuous_update=False, **shown)
    return W.IntSlider(**shown) if about.slider else W.BoundedIntText(**shown)
