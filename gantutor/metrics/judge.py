"""How near two batches are and what they cover, in the eyes of a small classifier that has learned the data's classes.

judge = train_judge(images, labels)
frechet_distance(judge.features(fake), judge.features(real))  # 0 where both look alike to the judge
classes_covered(judge(fake))  # the distance alone can hide that a class is missing
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantutor.draws import seeded


class Judge(nn.Module):
    """A classifier of images (N, C, H, W) in [-1, 1]: two convolutions, a hidden layer of 64 features, the logits."""

    def __init__(self, shape: Sequence[int], classes: int, width: int = 16) -> None:
        super().__init__()
        channels, height, image_width = shape
        pixels = math.ceil(height / 4) * math.ceil(image_width / 4)
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * pixels, 64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, classes)

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees: (N, 64), not negative."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.head(self.features(images))


def train_judge(images: Tensor, labels: Tensor, steps: int = 300, seed: int = 0) -> Judge:
    """A Judge of float32 images (N, C, H, W) in [-1, 1], trained on their `labels` (N,), 0 to classes - 1, and frozen.

    The same seed gives the same judge, bit for bit on a CPU; the global random state is left alone.
    Raises: ValueError for images or labels of another shape, range or number.
    """
    check_floats(images)
    if labels.shape != (len(images),):
        raise ValueError(f"expected a label for each of {len(images)} images, got shape {tuple(labels.shape)}")
    with seeded(seed):
        judge = Judge(images.shape[1:], int(labels.max()) + 1)
        draws = torch.randint(len(images), (steps, 128)).to(images.device)
    judge = judge.to(images.device)
    optimizer = torch.optim.Adam(judge.parameters(), 3e-3)
    for drawn in draws:
        optimizer.zero_grad()
        F.cross_entropy(judge(images[drawn]), labels[drawn].long()).backward()
        optimizer.step()
    return judge.requires_grad_(False).eval()


def check_floats(images: Tensor) -> None:
    """Raises: ValueError for what is not float (N, C, H, W) in [-1, 1] with something in it."""
    if images.dim() != 4 or not images.is_floating_point() or not images.numel() or not images.abs().max() <= 1.001:
        reach = f" in [{images.min().item():.3g}, {images.max().item():.3g}]" if images.numel() else ""
        came = f"{images.dtype} of shape {tuple(images.shape)}{reach}"
        raise ValueError(f"expected float images (N, C, H, W) in [-1, 1], got {came}")


@torch.no_grad()
def frechet_distance(a: Tensor, b: Tensor) -> float:
    """How far apart two sets of features (N, F) and (M, F) are, each taken for a Gaussian; 0 for the same.

        ‖mean(a) − mean(b)‖² + trace(C_a + C_b − 2 (C_a C_b)^½),  C the covariances

    Computed in float64 from the triangular factors of the centred features, C = RᵀR / (N − 1): the trace of the root is
    the sum of the singular values of R_a R_bᵀ. Features that do not vary, or N < F, are no problem for that.
    Raises: ValueError for anything but two tables with the same number of columns and at least two rows.
    Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017, equation 6.
    """
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"expected features (N, F) and (M, F) with N, M > 1, got {tuple(a.shape)}, {tuple(b.shape)}")
    a, b = a.cpu().double(), b.cpu().double()
    root_a, root_b = (torch.linalg.qr(x - x.mean(0), mode="r").R / (len(x) - 1) ** 0.5 for x in (a, b))
    overlap = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + root_a.square().sum() + root_b.square().sum() - 2 * overlap
    return max(distance.item(), 0.0)  # rounding


def classes_covered(logits: Tensor, share: float = 0.25) -> int:
    """How many classes get at least `share` of the N / classes images that are their due, from a judge's logits (N, K).

    Raises: ValueError for logits that are not a table.
    """
    if logits.dim() != 2:
        raise ValueError(f"expected logits (N, classes), got shape {tuple(logits.shape)}")
    samples, classes = logits.shape
    counts = torch.bincount(logits.argmax(dim=1), minlength=classes)
    return int((counts >= share * samples / classes).sum())


def js_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """The Jensen-Shannon divergence of two distributions over the same cells, in nats.

        JS = H((p + q) / 2) − (H(p) + H(q)) / 2,  H(p) = −Σ p ln p

    It is 0 where p and q are equal and ln 2 where they have no cell in common. (The Kullback-Leibler divergence is
    infinite as soon as one cell has p > 0 and q = 0, which on a grid is nearly always.)
    Source: Lin, "Divergence Measures Based on the Shannon Entropy", 1991, equation 4.1.
    """
    both = np.stack([p, q, (p + q) / 2])
    entropy_p, entropy_q, entropy = -np.sum(both * np.log(both, where=both > 0, out=np.zeros(both.shape)), axis=1)
    return max(0.0, float(entropy - (entropy_p + entropy_q) / 2))


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
