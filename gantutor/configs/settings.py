"""A setting of a run is declared once: its default, what it may be, and how it is named and explained.

    lr_G: float = setting(1e-3, "lr G", "G's learning rate.", log10=(-5, -1), live=True)

From this line come the check of its values (`check_settings`), its control in the panel (lab/controls.py), its
option on the command line (scale/command.py) and its row in docs/settings.md (docs/settings.py).
"""

import dataclasses
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of one field of a config.

    Args:
        label: Its name in the panel; "" for a field that has no control there.
        help: One sentence for the tooltip, the command line and the docs.
        choices: The values that it may have; a function where they depend on the machine, and are not checked here.
        several: Whether it is a tuple of some of the choices, kept in their order.
        at_least: The smallest number that is accepted. The value is a whole number if the default is one.
        between: From where to where the control in the panel goes.
        step: The control's step, for a number that is not whole.
        log10: As `between`, on a logarithmic scale: from 10**low to 10**high.
        slider: Whether a whole number is pulled along; else it is typed in.
        live: Whether it can change between two steps of a run; else it needs a new start.
        costs: Whether the cost of a step depends on it.
        width: Of the control, in CSS pixels.
    """

    label: str
    help: str
    choices: Collection[Any] | Callable[[], Collection[Any]] = ()
    several: bool = False
    at_least: float = 0
    between: tuple[float, float] | None = None
    step: float | None = None
    log10: tuple[int, int] | None = None
    slider: bool = False
    live: bool = False
    costs: bool = False
    width: int = 190

    def values(self) -> tuple[Any, ...]:
        """The choices, on this machine."""
        return tuple(self.choices() if callable(self.choices) else self.choices)


def setting(default: Any, label: str, help: str, **about: Any) -> Any:
    """A field of a config with this default; the rest is described in `Setting`."""
    known = {"setting": Setting(label=label, help=help, **about)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=known)
    return dataclasses.field(default=default, metadata=known)


def declared_settings(config: Any) -> dict[str, Setting]:
    """The settings of a config or its class, by the field's name, in the order of their declaration."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(config)}


def check_settings(config: Any) -> None:
    """Check every field by its declaration, and bring `several` names into the order of their choices.

    Raises: ValueError for a name or a number that is not allowed, with those that are.
    """
    for field in dataclasses.fields(config):
        about: Setting = field.metadata["setting"]
        value = getattr(config, field.name)
        if about.several:
            if isinstance(value, str) or not all(name in about.values() for name in value):
                listed = ", ".join(about.values())
                raise ValueError(f"{field.name}={value!r} holds an unknown name; choose some of {listed}")
            object.__setattr__(config, field.name, tuple(name for name in about.values() if name in value))
        elif about.choices:
            is_data_set = field.name == "data" and not isinstance(value, str)
            if not callable(about.choices) and not is_data_set and value not in about.choices:
                listed = ", ".join(map(str, about.choices))
                raise ValueError(f"{field.name}={value!r} is unknown; choose one of {listed}")
        elif isinstance(field.default, float):
            if not about.at_least <= value < math.inf:
                raise ValueError(f"{field.name} must be a finite number of at least {about.at_least}, got {value!r}")
        elif isinstance(field.default, int) and (not isinstance(value, int) or value < about.at_least):
            raise ValueError(f"{field.name} must be a whole number of at least {about.at_least}, got {value!r}")
