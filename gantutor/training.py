"""The loop: it draws batches, calls the step, keeps a history, and stops when a loss is no longer a number.

It knows no model: a model is anything that a step can change and `copy.deepcopy` can copy.
"""

import contextlib
import copy
import math
import threading
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from gantutor.batches import Batch
from gantutor.model_state import load_state, model_state, networks, optimizers, parameters_of


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes CUDA, else MPS, else the CPU.

    Raises: ValueError where the machine lacks it, with the names that it has.
    """
    there = devices()
    if name == "auto":
        return torch.device(there[0])
    if name not in there:
        raise ValueError(f"device {name!r} is not on this machine; choose one of {', '.join(there)} or auto")
    return torch.device(name)


def devices() -> list[str]:
    """The devices of this machine, fastest first."""
    there = ["cuda"] if torch.cuda.is_available() else []
    there += ["mps"] if torch.backends.mps.is_available() else []
    return [*there, "cpu"]


class History:
    """The scalars of every step: `history["d_loss"]` is an array with one value a step, NaN where there was none.

    Values wait on their device until `flush`, so that a GPU is not stopped at every step; all come in one transfer. A
    cell may read while the live panel's thread writes.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._columns: dict[str, array[float]] = {}
        self._waiting: list[dict[str, Tensor]] = []
        self._read = 0

    def __len__(self) -> int:
        with self._lock:
            return self._read + len(self._waiting)

    def __getitem__(self, name: str) -> np.ndarray:
        with self._lock:
            self.flush()
            if name not in self._columns:
                raise KeyError(f"no {name!r} was reported; there are {', '.join(self._columns) or 'no steps yet'}")
            return np.array(self._columns[name])

    def keys(self) -> list[str]:
        with self._lock:
            self.flush()
            return list(self._columns)

    def append(self, report: dict[str, Tensor]) -> None:
        """Keep the scalars of one step's report."""
        row = {name: value for name, value in report.items() if value.dim() == 0}
        with self._lock:
            self._waiting.append(row)

    def flush(self) -> None:
        """Fetch what waits on the device."""
        with self._lock:
            waiting = [value.float() for row in self._waiting for value in row.values()]
            values = iter(torch.stack(waiting).tolist() if waiting else [])
            for row in self._waiting:
                for name in [name for name in row if name not in self._columns]:
                    self._columns[name] = array("d", [math.nan] * self._read)
                fetched = dict(zip(row, values, strict=False))  # the values go on in the next row
                for name, column in self._columns.items():
                    column.append(fetched.get(name, math.nan))
                self._read += 1
            self._waiting.clear()

    def since(self, step: int) -> dict[str, np.ndarray]:
        """The values of each column after the first `step` steps."""
        with self._lock:
            self.flush()
            return {name: np.array(column[step:]) for name, column in self._columns.items()}

    def state_dict(self) -> dict[str, Any]:
        """How many steps there were, and the columns by name, float64, one value a step."""
        with self._lock:
            self.flush()
            columns = {name: torch.tensor(column, dtype=torch.float64) for name, column in self._columns.items()}
            return {"steps": self._read, "columns": columns}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold these steps and no others."""
        with self._lock:
            self._waiting.clear()
            self._read = state["steps"]
            self._columns = {name: array("d", column.tolist()) for name, column in state["columns"].items()}


class DivergedError(RuntimeError):
    """A loss became NaN or infinite at `step` (the first is 1); `good` is a copy of the model as after `good_step`."""

    def __init__(self, what: str, step: int, strategy: str, good: Any, good_step: int) -> None:
        super().__init__(f"{what} at step {step} of {strategy}; the state after step {good_step} is kept (.good)")
        self.step, self.strategy, self.good, self.good_step = step, strategy, good, good_step


class Run:
    """A training run that goes one step at a time.

    Between two steps anything may change: `train_step`, and whatever it reads in `model`. `history` gains a row a step:
    the step's scalars, and the norm of the gradient that each optimizer `model.opt_X` applied last, as `grad_X`.
    `last` is the whole report of the newest step. On a CPU the losses are looked at after every step; on a GPU that
    would make it wait, so there every 50 steps, when the history fetches what waits on the device. `step_runner` takes
    the steps; a speed-up may put another in its place. `refit(run)` is called when the model, or its state, was
    replaced; it gives it the speed-ups that the settings have.
    """

    CHECK_EVERY = 50  # steps, on a GPU
    SNAPSHOT_EVERY = 200

    def __init__(self, model: Any, train_step: Any, batches: Any) -> None:
        self.model, self.train_step, self.batches = model, train_step, batches
        self.history = History()
        self.last: dict[str, Tensor] = {}
        self.step_runner: Callable[..., dict[str, Tensor]] = measured
        self.refit: Callable[[Any], None] = lambda run: None
        self.t = 0
        self.good, self.good_step = copy.deepcopy(model), 0
        self._batch: Batch | None = None  # a step that raises leaves its batch for the next try
        self._unchecked: list[tuple[int, str, list[str]]] = []  # step, strategy, its losses' names

    def step(self, train_step: Callable[..., dict[str, Tensor]] | None = None) -> dict[str, Tensor]:
        """Take one step; `train_step` replaces `self.train_step` this once.

        Raises: ValueError if the first batch does not fit the model, DivergedError.
        """
        batch = self._batch = self._batch or next(self.batches)
        if self.t == 0 and hasattr(self.model, "check"):
            self.model.check(*batch)
        train_step = train_step or self.train_step
        strategy = getattr(train_step, "__name__", "the step")
        report = self.step_runner(self.model, train_step, *batch)
        self._batch = None
        self.t += 1
        self.last = report
        self.history.append(report)
        self._unchecked.append((self.t, strategy, [name for name in report if name.endswith("loss")]))
        if len(self._unchecked) >= (1 if batch[0].device.type == "cpu" else self.CHECK_EVERY):
            self.check()
        return report

    def check(self) -> None:
        """Fetch the history, and look at the losses that were not looked at yet.

        Raises: DivergedError, the model set back to the good state, as fast as it was.
        """
        unchecked, self._unchecked = self._unchecked, []
        columns = self.history.since(len(self.history) - len(unchecked))
        for row, (t, strategy, names) in enumerate(unchecked):
            for name in names:
                if not math.isfinite(value := columns[name][row]):
                    self.model = copy.deepcopy(self.good)
                    self.refit(self)
                    raise DivergedError(f"{name} is {value:.3g}", t, strategy, self.good, self.good_step)
        if self.t >= self.good_step + self.SNAPSHOT_EVERY and is_finite(self.model):
            self.good, self.good_step = copy.deepcopy(self.model), self.t

    def state_dict(self) -> dict[str, Any]:
        """All that the steps to come depend on, not copied; but for settings and torch's global random state.

        Raises: AttributeError for batches that cannot say where they are.
        """
        return {
            "t": self.t,
            "model": model_state(self.model),
            "step": self.train_step.state_dict() if hasattr(self.train_step, "state_dict") else {},
            "batches": self.batches.state_dict(),
            "batch": self._batch,
            "history": self.history.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, which is now the good state, too.

        Raises: what its parts raise for a state that does not fit; some of them may have been loaded then.
        """
        load_state(self.model, state["model"])
        if state["step"]:
            self.train_step.load_state_dict(state["step"])
        self.batches.load_state_dict(state["batches"])
        self.history.load_state_dict(state["history"])
        self.t, self._batch = state["t"], state["batch"]
        self.last, self._unchecked = {}, []
        self.good, self.good_step = copy.deepcopy(self.model), self.t
        self.refit(self)  # a recorded step reads the moments where they lay before


def is_finite(model: Any) -> bool:
    """Whether all that training goes on from is finite: weights, BatchNorm's statistics, the optimizers' moments."""
    numbers = [tensor for network in networks(model).values() for tensor in network.state_dict().values()]
    for optimizer in optimizers(model).values():
        numbers += [x for state in optimizer.state.values() for x in state.values() if isinstance(x, Tensor)]
    return bool(torch.stack([tensor.isfinite().all().to(numbers[0].device) for tensor in numbers]).all())


def measured(model: Any, step: Callable[..., dict[str, Tensor]], *batch: Tensor) -> dict[str, Tensor]:
    """Take the step: its report, and `grad_X` as `gradient_norms` has it."""
    with gradient_norms(model) as norms:
        report = step(model, *batch)
    return {**report, **norms}


@contextlib.contextmanager
def gradient_norms(model: Any) -> Iterator[dict[str, Tensor]]:
    """Watch the optimizers `model.opt_X`: fills `grad_X` with the L2 norm of the gradient that each applied last.

    Read at the moment of `opt_X.step()`, since what a network's `.grad` holds later may be another loss's.
    """
    norms: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            gradients = [p.grad for p in parameters_of(optimizer) if p.grad is not None]
            norms[name] = get_total_norm(gradients)

        return hook

    with contextlib.ExitStack() as stack:
        for name, optimizer in optimizers(model).items():
            handle = optimizer.register_step_pre_hook(watch(name.replace("opt_", "grad_")))
            stack.callback(handle.remove)
        yield norms
