"""Side by side: are these steps the same update, and what does each layer of a network make of these batches?"""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gantutor.ledger.reach import Reach, Snapshot, roots_of, told_of_optimizers, undone
from gantutor.ledger.records import Shown
from gantutor.model_state import parameters_of
from gantutor.precision import float32_precision, widened

GRADIENT, WEIGHTS, BUFFERS = DIFFERENCE_KINDS = ("gradient", "weights", "buffers")
Outcome = dict[tuple[str, str], Tensor]  # by network and kind: all numbers, in one row


# Steps ----------------------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
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

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        columns = list(dict.fromkeys((found.network, found.kind) for found in self.differences))
        rows = [
            [f"{a} | {b}", *(str(self.between(a, b, *column)) for column in columns)]
            for a, b in itertools.combinations(self.steps, 2)
        ]
        return ["", *[f"{network}: {kind}" for network, kind in columns]], rows

    def _end(self) -> list[str]:
        return [f"{name} raises {type(error).__name__}: {error}" for name, error in self.errors.items()]


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
    start = {name: one_row(player.parameters.values()) for name, player in reach.players.items()}
    outcomes: dict[str, Outcome] = {}
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
        if kind != BUFFERS or reach.players[name].buffers
    ]
    return Comparison(tuple(outcomes), tuple(differences), errors)


def outcome(run: Callable[[], Any], reach: Reach) -> Outcome:
    """Each network's applied gradients, weights and buffers after a step."""
    # Of each network at least an empty row on its device, also where nothing moves it.
    gradients = {name: [next(iter(player.parameters.values())).new_empty(0)] for name, player in reach.players.items()}

    def before_step(optimizer: Optimizer) -> None:
        """Add the gradient of each network that the optimizer moves."""
        moved = {id(p) for p in parameters_of(optimizer)}
        for name, player in reach.players.items():
            own = [p for p in player.parameters.values() if id(p) in moved]
            gradients[name] += [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in own]

    with told_of_optimizers(before_step, lambda _: None):
        run()
    found: Outcome = {}
    for name, player in reach.players.items():
        found[name, GRADIENT] = one_row(gradients[name])
        found[name, WEIGHTS] = one_row(player.parameters.values())
        found[name, BUFFERS] = one_row(player.buffers.values())
    return found


def one_row(tensors: Iterable[Tensor]) -> Tensor:
    """A copy of all their numbers in one row, on the first one's device."""
    rows = [tensor.detach().flatten() for tensor in tensors]
    return torch.cat([row.to(rows[0].device) for row in rows]) if rows else torch.empty(0)


def difference(a: str, b: str, network: str, kind: str, left: Tensor, right: Tensor, start: Tensor) -> Difference:
    """Compare number by number; `start` are the weights before. A step that updates more often meets zeros."""
    longest = max(len(left), len(right))
    x, y = (widened(nn.functional.pad(each, (0, longest - len(each)))) for each in (left, right))
    origin = widened(start) if kind == WEIGHTS else torch.zeros_like(x)
    gap, size = (x - y).norm().item(), max((x - origin).norm().item(), (y - origin).norm().item())
    eps = torch.finfo(start.dtype).eps
    rounding = eps**0.75 * size + 10 * eps * origin.norm().item()
    return Difference(a, b, network, kind, torch.equal(left, right), gap / size if gap else 0.0, gap <= rounding)


# Layers ---------------------------------------------------------------------------------------------------------------


def activations(network: nn.Module, *batches: Tensor) -> list[dict[str, Tensor]]:
    """A forward for each batch, and for each forward the layers' outputs in their order, by name ("3 BatchNorm2d").

    The forwards run without a graph, in the network's mode, and are undone: nothing changes in the network, its running
    statistics and the global random state. Containers are not recorded; a layer that runs twice in a forward has its
    later outputs under "3 BatchNorm2d (2)".
    """
    found: list[dict[str, Tensor]] = []

    def keep(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        names = (f"{name} ({times})" if times > 1 else name for times in itertools.count(1))
        if isinstance(output, Tensor):
            free = next(each for each in names if each not in found[-1])
            found[-1][free] = output.detach().clone()  # a later layer may write into it

    with torch.no_grad(), undone(network, *batches):
        for name, layer in layers(network).items():
            layer.register_forward_hook(functools.partial(keep, f"{name} {type(layer).__name__}".strip()))
        for batch in batches:
            found.append({})
            network(batch)
    return found


def layers(network: nn.Module) -> dict[str, nn.Module]:
    """The modules that compute: those with no children, where a parametrization (spectral norm) is not one."""
    return {
        name: module
        for name, module in network.named_modules()
        if "parametrizations" not in name.split(".") and set(dict(module.named_children())) <= {"parametrizations"}
    }
