"""`Unpaired`: two sets of images that belong to two domains, with nothing to say which belongs to which."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gantutor.data.common import check_draw
from gantutor.data.images import to_float
from gantutor.data.pairs import augment, check_uint8_images

VISIBLE = 8  # of 255: a smaller difference between an image and its truth is smoothing, not change


@dataclass(frozen=True, eq=False)
class Unpaired:
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
        parts = {"A": self.A, "B": self.B, "test_A": self.test_A, "test_B": self.test_B}
        for which, images in parts.items():
            check_uint8_images(f"{self.name}, {which}", images)
            if images.shape[1:] != self.A.shape[1:] or images.device != self.A.device:
                raise ValueError(
                    f"{self.name}, {which}: expected images {self.shape} on {self.device}, as A has, "
                    f"got {tuple(images.shape[1:])} on {images.device}"
                )
        if self.has_truth and len(self.test_A) != len(self.test_B):
            raise ValueError(
                f"{self.name}: {len(self.test_A)} test images of A and {len(self.test_B)} of B; "
                "with the truth known there must be as many of both"
            )

    def __repr__(self) -> str:
        (A, B), sides = self.domains, (self.A, self.B, self.test_A, self.test_B)
        many_A, many_B, tests_A, tests_B = (f"{len(images):,}" for images in sides)
        return (
            f"<Unpaired {self.name}: {many_A} of {A} and {many_B} of {B}, {self.shape}, on {self.device}, "
            f"{tests_A} and {tests_B} more to test>"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image: (C, H, W)."""
        return tuple(self.A.shape[1:])

    @property
    def device(self) -> torch.device:
        return self.A.device

    @property
    def changed(self) -> Tensor:
        """The pixels that the true translation changes, bool (M, H, W): where test_A and test_B differ visibly.

        Raises: ValueError where the truth is not known.
        """
        if not self.has_truth:
            raise ValueError(f"{self.name} has no truth: nobody knows what the translation of a test image should be")
        return (self.test_A.int() - self.test_B.int()).abs().amax(1) > VISIBLE

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`n` images of each domain, drawn apart, with replacement, and augmented: float32 (n, C, H, W) in [-1, 1].

        Raises: ValueError for n < 1 or a generator on another device.
        """
        check_draw(n, generator, self.device)
        drawn = []
        for images in (self.A, self.B):
            chosen = torch.randint(len(images), (n,), generator=generator, device=self.device)
            drawn += augment([to_float(images[chosen])], [False], generator, flip=self.flip, jitter=self.jitter)
        return drawn[0], drawn[1]

    def test(self, n: int) -> tuple[Tensor, Tensor]:
        """The first `n` test images of each as they are, float32 (n, C, H, W) in [-1, 1]; pairs if `has_truth`."""
        return to_float(self.test_A[:n]), to_float(self.test_B[:n])
