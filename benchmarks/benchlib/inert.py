"""Widgets that show nothing, for running a notebook's cells where Jupyter is not installed."""

import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Any

MODULES = ("ipywidgets", "anywidget", "traitlets", "IPython", "IPython.display", "comm")


class Inert:
    """Takes what it is given, keeps what is named, and tells its observers of another value; that is all."""

    comm = None
    children = ()
    base = 10.0  # of a logarithmic slider

    def __init__(self, *_: Any, **named: Any) -> None:
        self.__dict__.update(named)

    def _repr_mimebundle_(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {}

    def observe(self, observer: Any, *_: Any, **__: Any) -> None:
        self.__dict__.setdefault("observers", []).append(observer)

    def __setattr__(self, name: str, value: Any) -> None:
        before = self.__dict__.get(name)
        self.__dict__[name] = value
        if name == "value" and value != before:
            for observer in self.__dict__.get("observers", ()):
                observer({"name": name, "old": before, "new": value, "owner": self})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Inert()

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        return None


class InertModule(ModuleType):
    """A module of which every name is a kind of Inert."""

    __path__: list[str] = []  # noqa: RUF012 -- what makes it a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        kind = Inert if name == "Widget" else type(name, (Inert,), {"__module__": self.__name__})
        setattr(self, name, kind)
        return kind


def install() -> list[str]:
    """Put an inert module in the place of each that is missing, and return their names."""
    missing = [name for name in MODULES if importlib.util.find_spec(name.partition(".")[0]) is None]
    for name in missing:
        sys.modules[name] = InertModule(name)
        sys.modules[name].version_info = (9, 0)  # type: ignore[attr-defined] -- matplotlib asks IPython
        sys.modules[name].get_ipython = lambda: None  # type: ignore[attr-defined]
        sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    return missing
