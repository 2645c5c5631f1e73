"""Who put what into a network's gradients: found by looking at them again and again, and comparing."""

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from gantutor.ledger.records import Contribution


class GradientLedger:
    """A network's gradients, and the increments that add up to them since each was last cleared.

    `look(line)` charges what has changed since the last look to `line`. A gradient that is gone, or all zeros, was
    cleared, and so are its increments.
    """

    def __init__(self, network: nn.Module) -> None:
        self.parameters = list(network.parameters())
        self.seen: list[Tensor | None] = [None for _ in self.parameters]
        self.increments: list[dict[tuple[int, int], Tensor]] = [{} for _ in self.parameters]  # by (look, line)
        self.looks = 0
        self.look(0)

    @torch.no_grad()
    def look(self, line: int) -> None:
        self.looks += 1
        for i, parameter in enumerate(self.parameters):
            before, now = self.seen[i], parameter.grad
            if now is None or not now.any():
                self.increments[i].clear()
                self.seen[i] = None
            elif before is None or not same(now, before):
                self.seen[i] = copy = now.detach().clone()
                self.increments[i][self.looks, line] = copy if before is None else copy - before

    def contributions(self) -> tuple[Contribution, ...]:
        """The increments over the whole network, in the order in which they came."""
        norm = self.norm()
        found = []
        for moment in sorted({moment for increments in self.increments for moment in increments}):
            pairs = [
                (increments[moment], seen)
                for increments, seen in zip(self.increments, self.seen, strict=True)
                if moment in increments and seen is not None
            ]
            product = sum(torch.sum(part * total).item() for part, total in pairs)
            size = get_total_norm([part for part, _ in pairs]).item()
            found.append(Contribution(moment[1], size, product / norm if norm else 0.0))
        return tuple(found)

    def norm(self) -> float:
        """The L2 norm of all gradients; 0 where there is none."""
        return get_total_norm([p.grad for p in self.parameters if p.grad is not None]).item()


def same(a: Tensor, b: Tensor) -> bool:
    """Every bit the same, where NaN is the same as NaN: the gradients of a run that diverged do not change, either."""
    return torch.equal(a, b) or (a.shape == b.shape and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True))
