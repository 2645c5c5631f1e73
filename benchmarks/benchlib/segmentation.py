"""The FCN-score of the pix2pix paper in miniature: can a network that reads true images read the generated ones?

segmenter = train_segmenter(true_pictures, labels, classes=12)
segmentation_score(segmenter, G(A), labels)  # close to the score of the true images where G's are like them

The score knows no right colour: a red and a grey house read alike. So it judges what L1 cannot, whether the image
shows what its label map asks for. Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial
Networks", 2017, section 4.1 (there an FCN-8s on Cityscapes).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantutor.draws import seeded
from gantutor.metrics.judge import check_floats
from gantutor.precision import widened

BATCH_SIZE = 4


class SegmentationScore(NamedTuple):
    """Three shares in [0, 1]; n_ij counts the pixels of class i that were read as j, t_i all pixels of class i.

    pixel_accuracy = Σ n_ii / Σ t_i
    class_accuracy = mean of n_ii / t_i
    class_iou      = mean of n_ii / (t_i + Σ_j n_ji − n_ii)
    The means are over the classes that the label maps have.
    Source: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", 2015, section 5.
    """

    pixel_accuracy: float
    class_accuracy: float
    class_iou: float


class Segmenter(nn.Module):
    """Images (N, C, H, W) in [-1, 1] to logits (N, classes, H, W): four scales down, and up again by adding.

    Source: Long, Shelhamer and Darrell, 2015, section 4.2 (skips); Lin et al., "Feature Pyramid Networks", 2017.
    """

    def __init__(self, channels: int, classes: int, width: int = 16) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 4 * width]
        self.down = nn.ModuleList(
            block(before, after, stride)
            for before, after, stride in zip([channels, *widths], widths, (1, 2, 2, 2), strict=False)
        )
        self.up = nn.ModuleList(nn.Conv2d(widths[level + 1], widths[level], 1) for level in range(3))
        self.head = nn.Conv2d(width, classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        levels = [images]
        for down in self.down:
            levels.append(down(levels[-1]))
        features = levels[-1]
        for level in (2, 1, 0):  # each scale hears from the next coarser one
            finer = levels[level + 1]
            wider = F.interpolate(self.up[level](features), finer.shape[2:], mode="nearest")
            features = F.relu(finer + wider)
        return self.head(features)


def block(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """Two convolutions; BatchNorm makes so short a training reliable."""
    layers: list[nn.Module] = []
    for before, step in ((channels_in, stride), (channels_out, 1)):
        layers += [nn.Conv2d(before, channels_out, 3, stride=step, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(channels_out), nn.ReLU()]
    return nn.Sequential(*layers)


def train_segmenter(images: Tensor, labels: Tensor, classes: int, steps: int = 200, seed: int = 0) -> Segmenter:
    """A Segmenter of float32 `images` (N, C, H, W) in [-1, 1], trained on their `labels` (N, H, W), and frozen.

    The same seed gives the same segmenter, bit for bit on a CPU; the global random state is left alone.
    Raises: ValueError for images or labels of another shape, type or range.
    """
    check_labels(images, labels, classes)
    with seeded(seed):
        segmenter = Segmenter(images.shape[1], classes)
        draws = torch.randint(len(images), (steps, BATCH_SIZE)).to(images.device)
    segmenter = segmenter.to(images.device)
    optimizer = torch.optim.Adam(segmenter.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for drawn in draws:
        optimizer.zero_grad()
        F.cross_entropy(segmenter(images[drawn]), labels[drawn].long()).backward()
        optimizer.step()
        schedule.step()
    return segmenter.requires_grad_(False).eval()


@torch.no_grad()
def segmentation_score(segmenter: Segmenter, images: Tensor, labels: Tensor) -> SegmentationScore:
    """How much of `labels` (N, H, W) the segmenter finds in `images`, float32 (N, C, H, W) in [-1, 1].

    Raises: ValueError for images or labels of another shape, type or range.
    """
    classes = segmenter.head.out_channels
    check_labels(images, labels, classes)
    counts = torch.zeros(classes, classes, dtype=torch.int64, device=images.device)
    for some_images, some_labels in zip(images.split(50), labels.split(50), strict=True):
        read = segmenter(some_images).argmax(1)
        pairs = some_labels.long() * classes + read
        counts += torch.bincount(pairs.flatten(), minlength=classes**2).view(classes, classes)
    return score_of_counts(counts)


def score_of_counts(counts: Tensor) -> SegmentationScore:
    """The three shares from n_ij, whole numbers (classes, classes): row i is the truth, column j what was read."""
    counts = widened(counts)
    right, true, read = counts.diagonal(), counts.sum(1), counts.sum(0)
    there = true > 0
    return SegmentationScore(
        (right.sum() / true.sum()).item(),
        (right / true)[there].mean().item(),
        (right / (true + read - right))[there].mean().item(),
    )


def check_labels(images: Tensor, labels: Tensor, classes: int) -> None:
    """Raises: ValueError saying what came and what was expected."""
    check_floats(images)
    expected = (len(images), *images.shape[2:])
    if labels.shape != expected or labels.is_floating_point():
        raise ValueError(
            f"expected whole labels of shape {expected}, got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"expected labels from 0 to {classes - 1}, got {int(labels.min())} to {int(labels.max())}")
