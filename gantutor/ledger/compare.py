"""Are these steps the same update? Gradients, weights and statistics after one step from identical copies."""

import html
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gantutor.ledger.copies import copied
from gantutor.ledger.text import html_table, table
from gantutor.model_state import networks, optimizers
from gantutor.precision import float32_precision, widened

GRADIENT, WEIGHTS, BUFFERS = DIFFERENCE_KINDS = ("gradient", "weights", "buffers")


@dataclass(frozen=True)
class Difference:
    """How far two steps are apart in one network's gradient, weights or buffers (BatchNorm's statistics).

    `equal` is bit for bit; `relative` is ‖a − b‖ / max(‖a‖, ‖b‖), from 0 to 2 for opposites, where for weights the
    denominator is how far the step has moved them. `near` is whether so little may be rounding.
    """

    a: str
    b: str
    network: str
    kind: str
    equal: bool
    relative: float
    near: bool

    def __str__(self) -> str:
        if self.equal:
            return "equal bit for bit"
        return f"equal within {self.relative:.1g}" if self.near else f"different by {self.relative:.2g}"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: a Difference for each pair of steps, network and kind.

    `steps` are the names of those that ran; `errors` is what the others raised.
    """

    steps: tuple[str, ...]
    differences: tuple[Difference, ...]
    errors: dict[str, Exception]

    def between(self, a: str, b: str, network: str, kind: str = GRADIENT) -> Difference:
        """The difference of two steps, in either order. Raises: KeyError where there is none."""
        for found in self.differences:
            if {found.a, found.b} == {a, b} and (found.network, found.kind) == (network, kind):
                return found
        raise KeyError(f"nothing was compared for {a}, {b}, {network}, {kind}")

    def same(self, network: str, kind: str = GRADIENT) -> list[list[str]]:
        """The steps in groups that are equal bit for bit."""
        groups: list[list[str]] = []
        for step in self.steps:
            group = next((g for g in groups if self.between(g[0], step, network, kind).equal), None)
            if group is None:
                groups.append([step])
            else:
                group.append(step)
        return groups

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        columns = list(dict.fromkeys((found.network, found.kind) for found in self.differences))
        cells = {(found.a, found.b, found.network, found.kind): str(found) for found in self.differences}
        rows = [
            [f"{a} | {b}", *[cells[a, b, network, kind] for network, kind in columns]]
            for a, b in itertools.combinations(self.steps, 2)
        ]
        return ["", *[f"{network}: {kind}" for network, kind in columns]], rows

    def _errors(self) -> list[str]:
        return [f"{name} raises {type(error).__name__}: {error}" for name, error in self.errors.items()]

    def __str__(self) -> str:
        return "\n".join([table(*self._cells()), *self._errors()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self._cells()) + "".join(f"<div>{html.escape(line)}</div>" for line in self._errors())


def compare(steps: Mapping[str, Callable[..., Any]], model: Any, *batch: Any) -> Comparison:
    """Take each step once, from identical copies of the model, the batch and the random state.

    A network's gradient is what its optimizer was given at each `step()`: what `.grad` holds later may be another
    loss's. A network that no optimizer moved counts as given zeros. A step that raises is left out, its error kept.
    All compute with IEEE's float32, whatever the global setting.
    Rounding is what is below eps^(3/4), 6e-6 for float32 and 2e-12 for float64; for weights, which are large sums of
    small steps, 10 eps of their own size are added. Adam makes a full step of a gradient that is nothing but rounding,
    as that of a bias before BatchNorm: then weights differ where gradients do not.
    Raises: ValueError for a model without networks.
    """
    if not networks(model):
        raise ValueError(f"{type(model).__name__} has no networks among its attributes")
    outcomes: dict[str, dict[tuple[str, str], list[Tensor]]] = {}
    errors: dict[str, Exception] = {}
    for name, step in steps.items():
        try:
            with float32_precision("ieee"):
                outcomes[name] = outcome(step, model, batch)
        except Exception as error:
            errors[name] = error.with_traceback(None)
    differences = [
        difference(a, b, name, kind, outcomes[a][name, kind], outcomes[b][name, kind], weights(network))
        for a, b in itertools.combinations(outcomes, 2)
        for name, network in networks(model).items()
        for kind in DIFFERENCE_KINDS
        if weights(network) and (kind != BUFFERS or outcomes[a][name, BUFFERS])
    ]
    return Comparison(tuple(outcomes), tuple(differences), errors)


def outcome(step: Callable[..., Any], model: Any, batch: tuple[Any, ...]) -> dict[tuple[str, str], list[Tensor]]:
    """Each network's applied gradients, weights and buffers after a step on a copy, as lists of tensors."""
    with copied(model, batch) as (twin, twin_batch):
        players = networks(twin)
        applied: dict[str, list[Tensor]] = {name: [] for name in players}
        hooks = [
            optimizer.register_step_pre_hook(gradient_hook(players, applied)) for optimizer in optimizers(twin).values()
        ]
        step(twin, *twin_batch)
        for hook in hooks:
            hook.remove()
    found = {(name, GRADIENT): gradients for name, gradients in applied.items()}
    for name, network in players.items():
        found[name, WEIGHTS] = weights(network)
        found[name, BUFFERS] = list(network.buffers())
    return found


def weights(network: nn.Module) -> list[Tensor]:
    """A network's parameters as plain tensors."""
    return [parameter.detach() for parameter in network.parameters()]


def gradient_hook(players: dict[str, nn.Module], applied: dict[str, list[Tensor]]) -> Callable[..., None]:
    """A hook for an optimizer: adds each network's gradient, in one piece, for those networks that it moves."""

    def hook(optimizer: Optimizer, *_: Any) -> None:
        moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, network in players.items():
            parts = [gradient_or_zero(p).flatten() for p in network.parameters() if id(p) in moved]
            if parts:
                applied[name].append(torch.cat(parts))

    return hook


def gradient_or_zero(parameter: Tensor) -> Tensor:
    """The gradient that an optimizer finds at a parameter."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach()


def difference(
    a: str, b: str, network: str, kind: str, left: list[Tensor], right: list[Tensor], start: list[Tensor]
) -> Difference:
    """Compare tensor by tensor; `start` are the weights before. A step that updates more often meets zeros."""
    pairs = list(itertools.zip_longest(left, right))
    equal = len(left) == len(right) and all(torch.equal(x, y) for x, y in pairs)
    xs = [torch.zeros_like(y) if x is None else x for x, y in pairs]
    ys = [torch.zeros_like(x) if y is None else y for x, y in pairs]
    gap, eps = distance(xs, ys), max(torch.finfo(weights.dtype).eps for weights in start)
    if kind == WEIGHTS:
        size = max(distance(xs, start), distance(ys, start))
        rounding = eps**0.75 * size + 10 * eps * distance(start)
    else:
        size = max(distance(xs), distance(ys))
        rounding = eps**0.75 * size
    return Difference(a, b, network, kind, equal, 0.0 if gap == 0 else gap / size, gap <= rounding)


def distance(left: list[Tensor], right: list[Tensor] | None = None) -> float:
    """‖left − right‖₂ over all numbers together; from zero without `right`."""
    right = right or [torch.zeros_like(tensor) for tensor in left]
    return sum((widened(x) - widened(y)).square().sum().item() for x, y in zip(left, right, strict=True)) ** 0.5
