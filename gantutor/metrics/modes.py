"""Scores of points in the plane: which modes of a mixture a generator covers."""

import torch
from torch import Tensor


def modes_covered(points: Tensor, modes: Tensor, std: float, share: float = 0.25) -> tuple[int, float]:
    """How many modes of a mixture the points cover, and the fraction of points that lie near any mode.

    `points` is (N, 2), `modes` (M, 2) holds the centres of M equally likely Gaussians of standard deviation `std`.
    A point is near a mode within 4 `std` of it; a mode is covered if it has at least `share` times N / M points.
    Source: Srivastava et al., "VEEGAN", 2017, section 4.1 (there 3 std and one point).
    """
    nearest, mode = torch.cdist(points, modes).min(dim=1)
    near = nearest < 4 * std
    counts = torch.bincount(mode[near], minlength=len(modes))
    return int((counts >= share * len(points) / len(modes)).sum()), near.float().mean().item()
