"""Densities in the plane, drawn by a formula: they never run out, and a GAN on them trains in seconds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from gantutor.data.common import check_draw, usable_device


@dataclass(frozen=True, eq=False)
class Points:
    """An endless set of points: p = curve(u, v) + std · ε, with u, v ~ U[0, 1) and ε ~ N(0, I).

    `curve` maps two (n,) tensors in [0, 1) to (n, 2). `modes` (M, 2) are the centres, where the density has any.
    The samples lie in [-3, 3]² (but for noise beyond 7 std, which nobody will see).
    """

    name: str
    curve: Callable[[Tensor, Tensor], Tensor]
    std: float
    device: torch.device
    modes: Tensor | None = None

    kind: ClassVar[str] = "points"
    shape: ClassVar[tuple[int, ...]] = (2,)

    def __repr__(self) -> str:
        return f"<Points {self.name}: endless, {self.shape} each, on {self.device}>"

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` points, float32 (n, 2).

        Raises: ValueError for n < 1 or a generator on another device.
        """
        check_draw(n, generator, self.device)
        u, v = torch.rand(2, n, generator=generator, device=self.device)
        noise = torch.randn(n, 2, generator=generator, device=self.device)
        return self.curve(u, v) + self.std * noise


def ring(device: str | torch.device = "cpu") -> Points:
    """Eight Gaussians on a circle, 30 standard deviations apart: the test for mode collapse.

    p = 2 (cos 2πk/8, sin 2πk/8) + 0.05 ε,  k ~ U{0, ..., 7}
    """
    angle = 2 * math.pi * torch.arange(8) / 8
    return mixture("ring", 2 * on_circle(angle), 0.05, device)


def grid(device: str | torch.device = "cpu") -> Points:
    """Twenty-five Gaussians on a grid.

    p = (i, j) + 0.05 ε,  i, j ~ U{-2, -1, 0, 1, 2}
    """
    steps = torch.arange(-2.0, 3.0)
    return mixture("grid", torch.cartesian_prod(steps, steps), 0.05, device)


def mixture(name: str, modes: Tensor, std: float, device: str | torch.device) -> Points:
    """Equally likely Gaussians around `modes` (M, 2)."""
    modes = modes.to(usable_device(device))
    return Points(name, lambda u, v: modes[(u * len(modes)).long()], std, modes.device, modes)


def moons(device: str | torch.device = "cpu") -> Points:
    """Two half circles, each around the other's end.

    p = 1.6 ±(cos πu − ½, sin πu − ¼) + 0.08 ε,  u ~ U[0, 1), the sign + or − with equal chance
    """

    def curve(u: Tensor, v: Tensor) -> Tensor:
        half_circle = on_circle(math.pi * u) - torch.tensor([0.5, 0.25], device=u.device)
        return 1.6 * torch.where(v < 0.5, 1.0, -1.0)[:, None] * half_circle

    return Points("moons", curve, 0.08, usable_device(device))


def spiral(device: str | torch.device = "cpu") -> Points:
    """A line wound twice around the centre; the root makes the points about equally dense along it.

    p = 2.4 √u (cos 4π√u, sin 4π√u) + 0.05 ε,  u ~ U[0, 1)
    """

    def curve(u: Tensor, v: Tensor) -> Tensor:
        return 2.4 * u.sqrt()[:, None] * on_circle(4 * math.pi * u.sqrt())

    return Points("spiral", curve, 0.05, usable_device(device))


@dataclass(frozen=True, eq=False)
class Strokes:
    """Segments from `start` to `end`, both (n, 2): u goes along them all, as long in each as its share in `length`."""

    start: Tensor
    end: Tensor
    length: Tensor

    def __call__(self, u: Tensor, v: Tensor) -> Tensor:
        reached = self.length.cumsum(0)
        along = u * reached[-1]
        i = torch.searchsorted(reached, along, right=True).clamp(max=len(reached) - 1)
        left = ((reached[i] - along) / self.length[i])[:, None]
        return self.end[i] + left * (self.start[i] - self.end[i])


def drawn(strokes: Sequence[Sequence[tuple[float, float]]], device: str | torch.device = "cpu") -> Points:
    """Points along lines that somebody has drawn, each equally dense; JSON can keep `strokes`.

    p = a + s (b − a) + 0.05 ε,  s ~ U[0, 1), a segment from a to b with a chance in proportion to its length

    A stroke is a list of corners (x, y) in [-3, 3]². Where two in a row are equal, and in a stroke of one, there is a
    dot, which counts as a segment of length 0.3.
    Raises: ValueError for no stroke, or a corner that is not there.
    """
    pairs = [(a, b) for stroke in strokes for a, b in pairwise(stroke if len(stroke) > 1 else [*stroke] * 2)]
    if not pairs:
        raise ValueError("nothing is drawn: expected a stroke of at least one point (x, y)")
    segments = torch.tensor(pairs, dtype=torch.float32, device=usable_device(device))
    if segments.shape[1:] != (2, 2) or not (segments.abs() <= 3).all():
        raise ValueError("a stroke leaves the plane: expected points (x, y) in [-3, 3]²")
    start, end = segments.unbind(1)
    length = (end - start).norm(dim=1)
    return Points("drawn", Strokes(start, end, length.where(length > 0, 0.3)), 0.05, start.device)


def on_circle(angle: Tensor) -> Tensor:
    """(cos, sin) of angles (n,) in radians: (n, 2)."""
    return torch.stack([angle.cos(), angle.sin()], dim=1)
