"""A set of images that lies on the device as one tensor, `Images`; and `digits`, 1,797 of them, embedded at 8x8.

The file of the digits holds the originals, not the enlargements: it is small, it can be compared with its source number
by number, and how the images were enlarged can be read here. Source and licence: data/digits.LICENSE.txt.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gantutor.data.common import (
    check_choice,
    check_draw,
    check_like,
    check_uint8,
    read_embedded,
    usable_device,
)


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
        check_uint8(self.name, self.images)
        if self.labels is not None:
            check_like(f"{self.name}, labels", self.labels, torch.int64, (len(self),), self.device)

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
        return draw(n, generator, self.images)[0]


def to_float(images: Tensor) -> Tensor:
    """uint8 0 ... 255 to float32 -1 ... 1: x / 127.5 − 1."""
    return images.float().div_(127.5).sub_(1)


def to_bytes(images: Tensor) -> Tensor:
    """float32 -1 ... 1 to uint8 0 ... 255, rounded down; what lies outside becomes an end."""
    return images.detach().float().clamp(-1, 1).add_(1).mul_(127.5).byte()


def draw(n: int, generator: torch.Generator, *sets: Tensor) -> list[Tensor]:
    """`n` images of each set, with replacement, at the same places in all: float32 (n, C, H, W) in [-1, 1].

    Raises: ValueError for n < 1 or a generator on another device.
    """
    check_draw(n, generator, sets[0].device)
    chosen = torch.randint(len(sets[0]), (n,), generator=generator, device=sets[0].device)
    return [to_float(images[chosen]) for images in sets]


DIGITS_SHA256 = "b6e141bd52712d498ce15d9ccebe68b564bdaba74205256d1a3dc6fd4c4ceb90"


def digits(device: str | torch.device = "cpu", split: str = "train", size: int = 28) -> Images:
    """Grey digits (1, size, size), white on black. `split`: "train" (1,347), "test" (450, held out) or "all".

    `size` 8 is native; 28 puts the digit into the middle 20x20 pixels, as MNIST does; 32 is 28 with a wider margin.
    Raises: ValueError for another split or size; DataError for a missing or damaged file.
    """
    check_choice("split", split, ("train", "test", "all"))
    check_choice("size", size, (8, 28, 32))
    device = usable_device(device)
    arrays = read_embedded("digits.npz", DIGITS_SHA256)
    images, labels, held_out = (torch.from_numpy(arrays[name]) for name in ("images", "labels", "held_out"))
    if split != "all":
        chosen = held_out == (split == "test")
        images, labels = images[chosen], labels[chosen]
    return Images("digits", enlarge_digits(images[:, None] / 16, size).to(device), labels.long().to(device))


def enlarge_digits(ink: Tensor, size: int) -> Tensor:
    """Ink per cell, (N, 1, 8, 8) in [0, 1], to images uint8 (N, 1, size, size). Always on the CPU: the same everywhere.

    A cell is the ink of 4x4 pixels; bicubic interpolation and a soft threshold give about the stroke they came from:
        v = sigmoid(9 (bicubic(ink) − 0.45)),  stretched so that no ink gives 0 and full ink 1
    """
    if size == 8:
        return (ink * 255).round().byte()
    cells = F.pad(ink, (2, 2, 2, 2))
    smooth = F.interpolate(cells, size=(30, 30), mode="bicubic", align_corners=False)[..., 1:-1, 1:-1]
    none, full = (torch.sigmoid(torch.tensor(9 * (level - 0.45))) for level in (0.0, 1.0))
    stroke = (torch.sigmoid(9 * (smooth - 0.45)) - none) / (full - none)
    images = (stroke.clamp(0, 1) * 255).round().byte()
    return F.pad(images, ((size - 28) // 2,) * 4)
