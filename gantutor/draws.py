"""What is drawn on the CPU: from a seed; and in the middle of a step, dropout's masks and an image pool's choices.

A recorded step (a CUDA graph) does the same to the GPU each time it is replayed. What changes from step to step must
lie ready at a fixed place, so draws can be noted in one step, and then drawn anew at their places before each replay.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

Draw = Callable[[], Tensor]


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from torch's global generator as after this seed, and leave its state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class Draws:
    """The draws of a layer or a pool: `draws(draw, device)` is what `draw()` gives on the CPU, brought to the device.

    A copy of a layer has draws of its own, and none noted.
    """

    def __init__(self) -> None:
        self._noted: list[tuple[Draw, Tensor]] = []
        self._is_noting = False
        self._places: Iterator[Tensor] | None = None

    def __call__(self, draw: Draw, device: torch.device) -> Tensor:
        if self._places is not None:
            return next(self._places)
        drawn = draw().to(device, non_blocking=True)
        if self._is_noting:
            self._noted.append((draw, drawn))
        return drawn

    def __deepcopy__(self, _: dict[int, Any]) -> "Draws":
        return Draws()

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note what is drawn, and where it lies."""
        self._noted, self._is_noting = [], True
        try:
            yield
        finally:
            self._is_noting = False

    @contextlib.contextmanager
    def repeating(self) -> Iterator[None]:
        """Draw nothing: hand out the places that were noted, in their order."""
        self._places = iter([place for _, place in self._noted])
        try:
            yield
        finally:
            self._places = None

    def redraw(self) -> None:
        """Draw all anew, in order, at the places that were noted."""
        for draw, place in self._noted:
            place.copy_(draw(), non_blocking=True)
