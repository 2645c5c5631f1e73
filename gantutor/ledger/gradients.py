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
        """The increments as norms over the whole network, in the order in which they came."""
        moments = sorted({moment for increments in self.increments for moment in increments})
        parts = [
            (line, [increments[look, line] for increments in self.increments if (look, line) in increments])
            for look, line in moments
        ]
        return tuple(Contribution(line, get_total_norm(part).item()) for line, part in parts)

    def norm(self) -> float:
        """The L2 norm of all gradients; 0 where there is none."""
        return get_total_norm([p.grad for p in self.parameters if p.grad is not None]).item()


def same(a: Tensor, b: Tensor) -> bool:
    """Every bit the same, where NaN is the same as NaN: the gradients of a run that diverged do not change, either."""
    return torch.equal(a, b) or (a.shape == b.shape and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True))
