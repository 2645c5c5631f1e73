"""Who put what into a network's gradients: every backward is watched as it adds to `.grad`, every other write is noted.

A share is the vector that one backward has added, as it arrived, so that shares which cancel are seen, too. The only
share of a parameter is its `.grad` itself and is not kept twice.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge
from torch.nn.utils import get_total_norm

from gantutor.ledger.records import Contribution

SCALES = ("mul_", "div_", "_foreach_mul_", "_foreach_div_", "_amp_foreach_non_finite_check_and_unscale_")


@dataclasses.dataclass
class GradientSlot:
    """A parameter's gradient: the tensor that was last seen there, and its shares by sender; None is all of the tensor.

    `arriving`: a backward is adding to it. `before`: what it was before a write that is no backward's.
    """

    parameter: Tensor
    seen: Tensor | None
    shares: dict[int, Tensor | None]
    arriving: bool = False
    before: Tensor | None = None


class GradientLedger:
    """The gradients of some parameters, and the shares that add up to them since each was last cleared.

    `senders` has the line and the loss of every sender, by its number; 0 is what was there before the step.
    `sender()` is the number of the backward that runs now, or a new one for the line that runs now.
    """

    def __init__(self, parameters: Iterable[Tensor], senders: list[tuple[int, str]], sender: Callable[[], int]) -> None:
        self.senders, self.sender = senders, sender
        self.slots = [
            GradientSlot(p, p.grad, {} if p.grad is None or not p.grad.any() else {0: None}) for p in parameters
        ]
        self.told: tuple[tuple[Contribution, ...], float] | None = None  # as long as nothing changes
        self.nodes = [accumulator(slot.parameter) for slot in self.slots]  # kept, or autograd would make new ones
        self.hooks = [
            node.register_prehook(self._arrives(slot)) for node, slot in zip(self.nodes, self.slots, strict=True)
        ]

    def written(self, gradient: Tensor, factor: Any) -> None:
        """An operation outside of any backward is about to write to a gradient; `factor` is what it multiplies with."""
        for slot in self.slots:
            if slot.parameter.grad is None or slot.parameter.grad.data_ptr() != gradient.data_ptr():
                continue
            self.look(slot)
            self.told = None
            if factor is None:
                if slot.before is None:
                    slot.before = gradient.detach().clone()
                    part_with(slot)
            elif not factor:
                slot.shares = {}
            else:
                slot.shares = {n: vector if vector is None else vector * factor for n, vector in slot.shares.items()}

    def contributions(self) -> tuple[tuple[Contribution, ...], float]:
        """The shares over all parameters, in the order in which they came; and the norm of the gradient."""
        for slot in self.slots:
            self.look(slot)
        if self.told is None:
            self.told = self._contributions()
        return self.told

    def shares(self, parameters: set[int]) -> tuple[int, ...]:
        """The senders of the shares that some parameters hold, by their ids."""
        return tuple(sorted({n for s in self.slots if id(s.parameter) in parameters for n in self.look(s).shares}))

    def arrived(self, number: int) -> float | None:
        """The norm of what a sender has added; None where nothing arrived."""
        vectors = [
            share_vector(vector, slot)
            for slot in self.slots
            for n, vector in self.look(slot).shares.items()
            if n == number
        ]
        return get_total_norm(vectors).item() if vectors else None

    def look(self, slot: GradientSlot) -> GradientSlot:
        """See whether a gradient was cleared, set, or written to, since it was last looked at."""
        gradient = slot.parameter.grad
        if slot.arriving:
            slot.arriving = False
        elif gradient is slot.seen and slot.before is None:
            return slot
        elif gradient is not None and gradient is slot.seen and slot.before is not None:
            change = gradient.detach() - slot.before
            if change.any():
                number = self.sender()
                earlier = slot.shares.get(number)
                slot.shares[number] = change if earlier is None else earlier + change
        elif gradient is not None:
            slot.shares = {self.sender(): None}
        slot.seen, slot.before, self.told = gradient, None, None
        if gradient is None:
            slot.shares = {}
        return slot

    def _arrives(self, slot: GradientSlot) -> Callable[[tuple[Tensor, ...]], None]:
        def hook(gradients: tuple[Tensor, ...]) -> None:
            if gradients[0] is not None:
                self.look(slot)
                number, slot.arriving, self.told = self.sender(), True, None
                if slot.parameter.grad is None or not slot.shares:
                    slot.shares = {number: None}
                else:
                    part_with(slot)
                    slot.shares[number] = gradients[0].detach().clone()

        return hook

    def _contributions(self) -> tuple[tuple[Contribution, ...], float]:
        norm = get_total_norm([p.grad for p in self._parameters() if p.grad is not None]).item()
        found = []
        for number in sorted({number for slot in self.slots for number in slot.shares}):
            pairs = [
                (share_vector(slot.shares[number], slot), slot.parameter.grad)
                for slot in self.slots
                if number in slot.shares
            ]
            product = sum(torch.sum(share * total).item() for share, total in pairs if total is not None)
            size = get_total_norm([share for share, _ in pairs]).item()
            line, loss = self.senders[number]
            found.append(Contribution(line, size, product / norm if norm else 0.0, loss))
        return tuple(found), norm

    def _parameters(self) -> list[Tensor]:
        return [slot.parameter for slot in self.slots]


def part_with(slot: GradientSlot) -> None:
    """Keep the share that is all of a gradient apart, since the gradient is about to become something else."""
    for number, vector in slot.shares.items():
        slot.shares[number] = share_vector(vector, slot).clone() if vector is None else vector


def share_vector(vector: Tensor | None, slot: GradientSlot) -> Tensor:
    """A share as a vector."""
    if vector is not None:
        return vector
    assert slot.parameter.grad is not None
    return slot.parameter.grad.detach()


def accumulator(parameter: Tensor) -> Node:
    """The node at the end of every graph that adds to a parameter's gradient."""
    needed = parameter.requires_grad
    parameter.requires_grad_(True)
    node = get_gradient_edge(parameter).node
    parameter.requires_grad_(needed)
    return node


def factor_of(operation: str, arguments: dict[str, Any]) -> Any:
    """What an operation multiplies all of a tensor with: a number, 0 where it clears it, None for any other change."""
    if operation in ("zero_", "_foreach_zero_") or (operation == "fill_" and arguments.get("value") == 0):
        return 0.0
    if operation not in SCALES:
        return None
    other = arguments.get("other", arguments.get("scalar", arguments.get("tensor", arguments.get("inv_scale"))))
    if isinstance(other, Tensor) and other.numel() == 1:
        other = other.item()
    if not isinstance(other, int | float):
        return None
    return 1 / other if "div" in operation else other
