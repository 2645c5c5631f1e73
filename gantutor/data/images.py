"""A set of images small enough to lie on the device as one tensor: no loader, no workers, one index a batch."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gantutor.data.common import check_draw


@dataclass(frozen=True, eq=False)
class Images:
    """All images of a set: `images` uint8 (N, C, H, W), and `labels` int64 (N,) where there are any.

    Raises: ValueError for tensors of another dtype or shape, or on two devices.
    """

    name: str
    images: Tensor
    labels: Tensor | None = None

    kind: ClassVar[str] = "images"

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4 or not self.images.numel():
            raise ValueError(
                f"{self.name}: expected images uint8 (N, C, H, W), none of them 0, "
                f"got {self.images.dtype} {tuple(self.images.shape)}"
            )
        if self.labels is None:
            return
        if self.labels.dtype != torch.int64 or self.labels.shape != (len(self),):
            raise ValueError(
                f"{self.name}: expected labels int64 ({len(self)},), got {self.labels.dtype} {tuple(self.labels.shape)}"
            )
        if self.labels.device != self.device:
            raise ValueError(f"{self.name}: the images are on {self.device}, the labels on {self.labels.device}")

    def __repr__(self) -> str:
        return f"<Images {self.name}: {len(self):,} of {self.shape} on {self.device}>"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image: (C, H, W)."""
        return tuple(self.images.shape[1:])

    @property
    def device(self) -> torch.device:
        return self.images.device

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` images drawn with replacement, float32 (n, C, H, W) in [-1, 1].

        Raises: ValueError for n < 1 or a generator on another device.
        """
        check_draw(n, generator, self.device)
        chosen = torch.randint(len(self), (n,), generator=generator, device=self.device)
        return to_float(self.images[chosen])


def to_float(images: Tensor) -> Tensor:
    """uint8 0 ... 255 to float32 -1 ... 1: x / 127.5 − 1."""
    return images.float().div_(127.5).sub_(1)
