"""Sets of images on the device: `Images` of one domain, `Pairs` that belong together, `Unpaired` ones of two."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gantutor.data.common import check_choice, check_draw, check_like, check_uint8

JITTER = 286 / 256  # an image of 256 is enlarged to 286, and 256 of it are cut out


class Label(NamedTuple):
    """A class of a label map: its name, and the red, green and blue (0 ... 255) that it is drawn in."""

    name: str
    colour: tuple[int, int, int]


class OnDevice:
    """What the sets share: their first tensor gives the shape and the device of all."""

    @property
    def _first(self) -> Tensor:
        return next(value for value in vars(self).values() if isinstance(value, Tensor))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image, of A where there are two domains: (C, H, W)."""
        return tuple(self._first.shape[1:])

    @property
    def device(self) -> torch.device:
        return self._first.device


@dataclass(frozen=True, eq=False)
class Images(OnDevice):
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


@dataclass(frozen=True, eq=False)
class Pairs(OnDevice):
    """All pairs of a set: the inputs `A` and the targets `B`, uint8 (N, C, H, W) of one height and width.

    `labels` uint8 (N, H, W) holds the class of each pixel where it is known, an index into `classes`. `label_map` says
    which of the two is the drawing of the labels ("A", "B", or "" for neither): it is never interpolated between two
    colours. `flip` and `jitter` are the augmentation that `sample` applies. `held_out` are pairs for judging.
    Raises: ValueError for tensors of another dtype or shape, or on two devices.
    """

    name: str
    A: Tensor
    B: Tensor
    labels: Tensor | None = None
    classes: tuple[Label, ...] = ()
    label_map: str = ""
    flip: bool = False
    jitter: bool = False
    held_out: "Pairs | None" = None

    kind: ClassVar[str] = "pairs"

    def __post_init__(self) -> None:
        check_choice("label_map", self.label_map, ("", "A", "B"))
        check_uint8(f"{self.name}, A", self.A)
        many, side = len(self), self.shape[1:]
        check_like(f"{self.name}, B", self.B, torch.uint8, (many, self.B.shape[1], *side), self.device)
        if self.labels is None:
            return
        check_like(f"{self.name}, labels", self.labels, torch.uint8, (many, *side), self.device)
        highest = int(self.labels.max())
        if highest >= len(self.classes):
            raise ValueError(f"{self.name}: a label is {highest}, but there are {len(self.classes)} classes")

    def __repr__(self) -> str:
        held_out = f", {len(self.held_out):,} more held out" if self.held_out else ""
        shapes = f"{self.shape} → {tuple(self.B.shape[1:])}"
        return f"<Pairs {self.name}: {len(self):,} of {shapes} on {self.device}{held_out}>"

    def __len__(self) -> int:
        return len(self.A)

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`n` pairs (A, B) drawn with replacement and augmented, float32 (n, C, H, W) in [-1, 1].

        Raises: ValueError for n < 1 or a generator on another device.
        """
        hard = [self.label_map == "A", self.label_map == "B"]
        A, B = augment(draw(n, generator, self.A, self.B), hard, generator, flip=self.flip, jitter=self.jitter)
        return A, B

    def first(self, n: int) -> tuple[Tensor, Tensor]:
        """The first `n` pairs as they are, float32 (n, C, H, W) in [-1, 1]: for judging and for showing."""
        return to_float(self.A[:n]), to_float(self.B[:n])

    def reversed(self) -> "Pairs":
        """The same pairs the other way round: B is the input, A the target; the held-out pairs, too."""
        return dataclasses.replace(
            self,
            A=self.B,
            B=self.A,
            label_map={"A": "B", "B": "A", "": ""}[self.label_map],
            held_out=self.held_out and self.held_out.reversed(),
        )


def with_held_out(
    part: Callable[[str, int | None], Pairs], split: str, number: int | None, judged: tuple[str, int | None]
) -> Pairs:
    """The first `number` of one split, made by `part(split, number)`.

    The train split is augmented as `part` has it, and has with it what it is `judged` by; the others are as they are.
    """
    if split != "train":
        return dataclasses.replace(part(split, number), flip=False, jitter=False)
    return dataclasses.replace(part(split, number), held_out=with_held_out(part, judged[0], judged[1], judged))


@dataclass(frozen=True, eq=False)
class Unpaired(OnDevice):
    """The training images `A` and `B` of two domains, and held-out ones, uint8 (N, C, H, W), each of its own number.

    `domains` names the two. Where `has_truth`, test_B[i] is what the perfect translation would make of test_A[i], and
    the other way round: the generators never see it, so that they can be measured against it. `flip` and `jitter` are
    the augmentation that `sample` applies.
    Raises: ValueError for tensors of another dtype or shape, or on two devices.
    """

    name: str
    A: Tensor
    B: Tensor
    test_A: Tensor
    test_B: Tensor
    domains: tuple[str, str] = ("A", "B")
    has_truth: bool = False
    flip: bool = False
    jitter: bool = False

    kind: ClassVar[str] = "unpaired"

    def __post_init__(self) -> None:
        check_uint8(f"{self.name}, A", self.A)
        for which in ("B", "test_A", "test_B"):
            images = getattr(self, which)
            check_like(f"{self.name}, {which}", images, torch.uint8, (len(images), *self.shape), self.device)
        if self.has_truth and len(self.test_A) != len(self.test_B):
            raise ValueError(
                f"{self.name}: {len(self.test_A)} test images of A and {len(self.test_B)} of B; "
                "with the truth known there must be as many of both"
            )

    def __repr__(self) -> str:
        many_A, many_B, tests_A, tests_B = (f"{len(images):,}" for images in (self.A, self.B, self.test_A, self.test_B))
        sides = f"{many_A} of {self.domains[0]} and {many_B} of {self.domains[1]}"
        return f"<Unpaired {self.name}: {sides}, {self.shape}, on {self.device}, {tests_A} and {tests_B} more to test>"

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`n` images of each domain, drawn apart, with replacement, and augmented: float32 (n, C, H, W) in [-1, 1].

        Raises: ValueError for n < 1 or a generator on another device.
        """
        (A,), (B,) = (
            augment(draw(n, generator, images), [False], generator, flip=self.flip, jitter=self.jitter)
            for images in (self.A, self.B)
        )
        return A, B

    def test(self, n: int) -> tuple[Tensor, Tensor]:
        """The first `n` test images of each as they are, float32 (n, C, H, W) in [-1, 1]; pairs if `has_truth`."""
        return to_float(self.test_A[:n]), to_float(self.test_B[:n])


def augment(
    images: Sequence[Tensor], hard: Sequence[bool], generator: torch.Generator, flip: bool, jitter: bool
) -> list[Tensor]:
    """Flip and jitter several batches (n, C, H, W) alike: the i-th of each is cut and mirrored in the same place.

    `jitter` enlarges to 286/256 and cuts the old size out of it at a random place; `flip` mirrors left and right with
    probability 1/2. A `hard` batch is enlarged by its nearest pixels, so that no new values arise (float labels too).
    Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017, section 6.2.
    """
    n, _, height, width = images[0].shape
    device = generator.device
    if jitter:
        tall, wide = round(height * JITTER), round(width * JITTER)
        top = torch.randint(tall - height + 1, (n,), generator=generator, device=device)
        left = torch.randint(wide - width + 1, (n,), generator=generator, device=device)
        images = [
            cut(enlarge(batch, (tall, wide), is_hard), top, left, height, width)
            for batch, is_hard in zip(images, hard, strict=True)
        ]
    if flip:
        mirrored = (torch.rand(n, generator=generator, device=device) < 0.5)[:, None, None, None]
        images = [torch.where(mirrored, batch.flip(3), batch) for batch in images]
    return list(images)


def enlarge(batch: Tensor, size: tuple[int, int], hard: bool) -> Tensor:
    """(n, C, H, W) to (n, C, *size): bicubic, as the reference implementation does, or the nearest pixels."""
    if hard:
        return F.interpolate(batch, size, mode="nearest-exact")
    return F.interpolate(batch, size, mode="bicubic", align_corners=False).clamp_(-1, 1)


def cut(batch: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """From each image of (n, C, H, W) its own window, with the upper left corner (top[i], left[i])."""
    windows = batch.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(batch), device=top.device), :, top, left]


def draw_labels(labels: Tensor, classes: Sequence[Label]) -> Tensor:
    """Class numbers (..., H, W) to images uint8 (..., 3, H, W)."""
    colours = torch.tensor([label.colour for label in classes], dtype=torch.uint8, device=labels.device)
    return colours[labels.long()].movedim(-1, -3).contiguous()
