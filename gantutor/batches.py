"""Endless batches of a data set, as training draws them: from one generator, so that a run can stop and go on."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

Batch = tuple[Tensor, ...]


class DataSource(Protocol):
    """What batches are drawn from: the data sets of `gantutor.data`."""

    @property
    def device(self) -> torch.device: ...

    def sample(self, n: int, generator: torch.Generator) -> Any: ...


@runtime_checkable
class FileSource(DataSource, Protocol):
    """A source for which a row is work, so that it reads only those asked for: `sample(n, generator)[rows]`."""

    def sample_rows(self, n: int, rows: slice, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True)
class Share:
    """The rows of a whole batch that one of `count` replicas keeps: the part `rank` of as many equal ones."""

    rank: int = 0
    count: int = 1

    def rows(self, size: int) -> slice:
        """Its rows of a batch of `size`."""
        return slice(self.rank * size // self.count, (self.rank + 1) * size // self.count)

    def of(self, whole: Tensor) -> Tensor:
        """Its rows of `whole` (B, ...)."""
        return whole[self.rows(len(whole))]


class Batches:
    """Without end: (real, z) for a set of images or points, (real_A, real_B) for one of two domains.

    `batch_size` samples of `data`, each with its z from N(0, 1), (batch_size, z_dim); `z_dim` = 0 for two domains,
    whose sets give a pair of batches. The same seed gives the same batches, bit for bit on a CPU, whatever else the
    program draws. One of several replicas gives its `share` of each batch; it draws the whole, so that the generators
    of all stay in the same state.
    """

    def __init__(self, data: DataSource, batch_size: int, z_dim: int, seed: int) -> None:
        self.data, self.batch_size, self.z_dim = data, batch_size, z_dim
        self.generator = torch.Generator(data.device).manual_seed(seed)
        self.share = Share()

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Batch:
        size, share = self.batch_size, self.share
        if not self.z_dim:
            return tuple(share.of(images) for images in self.data.sample(size, self.generator))
        if isinstance(self.data, FileSource):
            real = self.data.sample_rows(size, share.rows(size), self.generator)
        else:
            real = share.of(self.data.sample(size, self.generator))
        return real, share.of(torch.randn(size, self.z_dim, generator=self.generator, device=self.data.device))

    def state_dict(self) -> dict[str, Tensor]:
        """Where in the sequence they are: what comes next depends on nothing else."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there. Raises: what torch raises for a state of another kind of generator."""
        self.generator.set_state(state["generator"])
