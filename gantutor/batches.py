"""Endless batches of a data set, as training draws them: from one generator, so that a run can stop and go on."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Batch = tuple[Tensor, ...]


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
    of all stay in the same state. Where `data` are files, the batch after the one returned is read in the background:
    there `sample(n, generator)` is the same as `start_reading(draw_rows(n, generator)).result()`.
    """

    def __init__(self, data: Any, batch_size: int, z_dim: int, seed: int) -> None:
        self.data, self.batch_size, self.z_dim = data, batch_size, z_dim
        self.generator = torch.Generator(data.device).manual_seed(seed)
        self.share = Share()
        self._guess: Any = None  # what is being read

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Batch:
        size, share = self.batch_size, self.share
        if not self.z_dim:
            return tuple(share.of(images) for images in self.data.sample(size, self.generator))
        if hasattr(self.data, "start_reading"):
            return self._next_of_files(self.data)
        real = share.of(self.data.sample(size, self.generator))
        return real, self._draw_z()

    def _next_of_files(self, files: Any) -> Batch:
        """One batch, while the files of the batch after it are being read.

        A copy of the generator draws the rows that come next if nothing changes until then: the guess. The next call
        draws the rows for good, and a guess of other rows is thrown away.
        """
        rows = self.share.rows(self.batch_size)
        drawn, guess = files.draw_rows(self.batch_size, self.generator)[rows], self._guess
        z = self._draw_z()
        if guess is not None and guess.rows != drawn:
            guess.cancel()
            guess = None
        reading = guess or files.start_reading(drawn)
        copied = torch.Generator(self.generator.device)
        copied.set_state(self.generator.get_state())
        self._guess = files.start_reading(files.draw_rows(self.batch_size, copied)[rows])
        return reading.result(), z

    def _draw_z(self) -> Tensor:
        """This replica's share of z, (B, z_dim)."""
        z = torch.randn(self.batch_size, self.z_dim, generator=self.generator, device=self.data.device)
        return self.share.of(z)

    def state_dict(self) -> dict[str, Tensor]:
        """Where in the sequence they are: what comes next depends on nothing else."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there. Raises: what torch raises for a state of another kind of generator."""
        self.generator.set_state(state["generator"])
