"""gantutor: how GANs train, in code that can be read and claims that can be run.

The names below are what a notebook uses; `from gantutor import Experiment, Lab, checks`. They are loaded when they are
first asked for, so that `import gantutor` needs no torch. Everything else is imported from its module.
"""

import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantutor import checks
    from gantutor.configs import CycleGANConfig, Pix2PixConfig
    from gantutor.configs import GANConfig as Experiment
    from gantutor.data import load
    from gantutor.lab import Debugger, Lab, Paint
    from gantutor.ledger import compare, cost, trace
    from gantutor.losses import LOSSES
    from gantutor.pitfalls import PITFALLS
    from gantutor.steps import STEPS

# Each name, and where it is.
PLACES = {
    "LOSSES": "gantutor.losses:LOSSES",
    "PITFALLS": "gantutor.pitfalls:PITFALLS",
    "STEPS": "gantutor.steps:STEPS",
    "CycleGANConfig": "gantutor.configs:CycleGANConfig",
    "Debugger": "gantutor.lab:Debugger",
    "Experiment": "gantutor.configs:GANConfig",
    "Lab": "gantutor.lab:Lab",
    "Paint": "gantutor.lab:Paint",
    "Pix2PixConfig": "gantutor.configs:Pix2PixConfig",
    "checks": "gantutor.checks",
    "compare": "gantutor.ledger:compare",
    "cost": "gantutor.ledger:cost",
    "load": "gantutor.data:load",
    "trace": "gantutor.ledger:trace",
}
__all__ = list(PLACES)


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(PLACES)}")
    return pkgutil.resolve_name(PLACES[name])


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext gantutor` makes the cell magic `%%trace`."""
    pkgutil.resolve_name("gantutor.ledger.trace:register_magic")(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *PLACES})
