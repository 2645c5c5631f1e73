"""Endless batches of a data set, as training draws them: from one generator, so that a run can stop and go on."""

from typing import Any, Protocol

import torch
from torch import Tensor

Batch = tuple[Tensor, ...]


class Source(Protocol):
    """What batches are drawn from: the data sets of `gantutor.data`."""

    @property
    def device(self) -> torch.device: ...

    def sample(self, n: int, generator: torch.Generator) -> Any: ...


class Batches:
    """Without end: (real, z) for a set of images or points, (real_A, real_B) for one of two domains.

    `batch_size` samples of `data`, each with its z from N(0, 1), (batch_size, z_dim); `z_dim` = 0 for two domains,
    whose sets give a pair of batches. The same seed gives the same batches, bit for bit on a CPU, whatever else the
    program draws.
    """

    def __init__(self, data: Source, batch_size: int, z_dim: int, seed: int) -> None:
        self.data, self.batch_size, self.z_dim = data, batch_size, z_dim
        self.generator = torch.Generator(data.device).manual_seed(seed)

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Batch:
        drawn = self.data.sample(self.batch_size, self.generator)
        if not self.z_dim:
            return tuple(drawn)
        z = torch.randn(self.batch_size, self.z_dim, generator=self.generator, device=self.data.device)
        return drawn, z

    def state_dict(self) -> dict[str, Tensor]:
        """Where in the sequence they are: what comes next depends on nothing else."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there. Raises: what torch raises for a state of another kind of generator."""
        self.generator.set_state(state["generator"])
