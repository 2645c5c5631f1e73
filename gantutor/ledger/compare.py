"""Are these steps the same update? Gradients, weights and statistics after one step from the same start."""

import functools
import html
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gantutor.ledger.reach import Player, Reach, Snapshot, roots_of
from gantutor.ledger.records import html_table, table
from gantutor.model_state import parameters_of
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


def compare(steps: Mapping[str, Callable[..., Any]], *args: Any, **kwargs: Any) -> Comparison:
    """Take each step once, `step(*args, **kwargs)`, from the same weights, batch and random state; put all back.

    A network's gradient is what its optimizer was given at each `step()`: what `.grad` holds later may be another
    loss's. A network that no optimizer moved counts as given zeros. A step that raises is left out, its error kept.
    All compute with IEEE's float32, whatever the global setting.
    Rounding is what is below eps^(3/4), 6e-6 for float32 and 2e-12 for float64; for weights, which are large sums of
    small steps, 10 eps of their own size are added. Adam makes a full step of a gradient that is nothing but rounding,
    as that of a bias before BatchNorm: then weights differ where gradients do not.
    Raises: ValueError where the steps reach no networks.
    """
    reach = Reach()
    for step in steps.values():
        reach.extend(*roots_of(step, args, kwargs))
    if not reach.players:
        raise ValueError(
            "These steps reach no networks: neither their arguments nor the names in their code lead to any."
        )
    snapshot = Snapshot(reach, at_once=True)
    start = {name: weights(player) for name, player in reach.players.items()}
    outcomes: dict[str, dict[tuple[str, str], list[Tensor]]] = {}
    errors: dict[str, Exception] = {}
    for name, step in steps.items():
        try:
            with float32_precision("ieee"):
                outcomes[name] = outcome(functools.partial(step, *args, **kwargs), reach)
        except Exception as error:
            errors[name] = error.with_traceback(None)
        finally:
            snapshot.restore()
    differences = [
        difference(a, b, name, kind, outcomes[a][name, kind], outcomes[b][name, kind], start[name])
        for a, b in itertools.combinations(outcomes, 2)
        for name in reach.players
        for kind in DIFFERENCE_KINDS
        if kind != BUFFERS or outcomes[a][name, BUFFERS]
    ]
    return Comparison(tuple(outcomes), tuple(differences), errors)


def outcome(run: Callable[[], Any], reach: Reach) -> dict[tuple[str, str], list[Tensor]]:
    """Each network's applied gradients, weights and buffers after a step, as lists of tensors."""
    applied: dict[str, list[Tensor]] = {name: [] for name in reach.players}
    hooks = [o.register_step_pre_hook(gradient_hook(reach.players, applied)) for o in reach.optimizers.values()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    found = {(name, GRADIENT): gradients for name, gradients in applied.items()}
    for name, player in reach.players.items():
        found[name, WEIGHTS] = weights(player)
        found[name, BUFFERS] = [buffer.clone() for buffer in player.buffers.values()]
    return found


def weights(player: Player) -> list[Tensor]:
    """Copies of a network's parameters."""
    return [parameter.detach().clone() for parameter in player.parameters.values()]


def gradient_hook(players: dict[str, Player], applied: dict[str, list[Tensor]]) -> Callable[..., None]:
    """A hook for an optimizer: adds each network's gradient, in one piece, for those networks that it moves."""

    def hook(optimizer: Optimizer, *_: Any) -> None:
        moved = {id(p) for p in parameters_of(optimizer)}
        for name, player in players.items():
            parts = [gradient_or_zero(p).flatten() for p in player.parameters.values() if id(p) in moved]
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
