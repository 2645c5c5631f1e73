"""The controls of one run view, as data: what each offers, and what it says now."""

from dataclasses import replace
from typing import Any

from gantutor.configs import Config
from gantutor.configs.settings import Setting
from gantutor.lab.messages import translated


class Controls:
    """`values` is what the controls say, by field: of the live fields what the run does, of the others what Reset does.

    `settings` are the declarations of the fields that have a control, in the reader's language; speed-ups have theirs
    with `speed_ups`. The front end knows a choice by its place in `options`, since a data set of one's own is no text.
    """

    def __init__(self, config: Config, speed_ups: bool = False) -> None:
        self.settings = {
            name: replace(about, label=translated(about.label), help=translated(about.help))
            for name, about in config.controls().items()
            if speed_ups or not about.several
        }
        self.options = {name: about.values() for name, about in self.settings.items()}
        self.values = {name: getattr(config, name) for name in self.settings}
        self.check(self.values)

    def offer(self, name: str, value: Any) -> None:
        """Let a choice have one more option, in the place of one that has the same name."""
        self.options[name] = (*(o for o in self.options[name] if choice_name(o) != choice_name(value)), value)

    def check(self, values: dict[str, Any]) -> None:
        """Raises: ValueError for a field without a control, or a value that its control cannot show."""
        for name, value in values.items():
            if name not in self.settings:
                raise ValueError(f"{name!r} has no control; there are {', '.join(self.settings)}")
            about, options = self.settings[name], self.options[name]
            listed = ", ".join(map(choice_name, options))
            if about.several:
                unknown = [option for option in value if option not in options]
                if unknown:
                    raise ValueError(f"{name} has no {unknown[0]!r}; there are {listed}")
            elif about.choices:
                if value not in options:
                    raise ValueError(f"{name}={value!r} cannot be chosen here; there are {listed}")
            else:
                low, high = limits(about)
                if not low <= value <= high:
                    raise ValueError(f"{name} goes from {low:g} to {high:g} in the panel, got {value!r}")

    def planned(self, config: Config, fields: dict[str, Any]) -> tuple[dict[str, Any], Config]:
        """What the controls would say with those values, and the config that Reset would then start.

        Other data bring the networks and norms that suit them. Raises: ValueError where such a config is not possible.
        """
        follow = config.recommended_for(fields["data"]) if "data" in fields else {}
        values = {**self.values, **{name: v for name, v in follow.items() if name in self.settings}, **fields}
        return values, config.chosen(**values)

    def declare(self, live: tuple[str, ...]) -> list[dict[str, Any]]:
        """What the front end makes the controls from."""
        declared = []
        for name, about in self.settings.items():
            low, high = about.log10 or about.between or (0, 0)
            declared.append({
                "name": name, "label": about.label, "help": about.help, "kind": kind_of(about), "live": name in live,
                "options": [choice_name(option) for option in self.options[name]],
                "low": low, "high": high, "step": 0.05 if about.log10 else about.step or 1,
            })  # fmt: skip
        return declared

    def encode(self, config: Config | None = None) -> dict[str, Any]:
        """The values, or those of a config, as the front end has them."""
        values = {name: getattr(config, name) for name in self.settings} if config else self.values
        return {name: self._encoded(name, value) for name, value in values.items()}

    def _encoded(self, name: str, value: Any) -> Any:
        about = self.settings[name]
        return self.options[name].index(value) if about.choices and not about.several else value

    def decode(self, name: str, value: Any) -> Any:
        """A value that came from the front end. Raises: ValueError for one that the control does not have."""
        if name in self.settings and (kind := kind_of(self.settings[name])) in ("choice", "several"):
            options = self.options[name]
            value = options[int(value)] if kind == "choice" else tuple(o for o in options if o in value)
        self.check({name: value})
        return value


def kind_of(about: Setting) -> str:
    """How a setting is chosen: "choice", "several", "log" and "range" (pulled along), or "number" (typed in)."""
    if about.choices:
        return "several" if about.several else "choice"
    return "log" if about.log10 else "range" if about.step or about.slider else "number"


def limits(about: Setting) -> tuple[float, float]:
    """The smallest and the largest number that a control shows."""
    if about.log10:
        return 10.0 ** about.log10[0], 10.0 ** about.log10[1]
    return about.between or (about.at_least, float("inf"))


def choice_name(option: Any) -> str:
    """A choice in words: a data set of one's own has a name."""
    return str(getattr(option, "name", option))
