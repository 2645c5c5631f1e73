"""How separable two batches are in some layer's activations: the AUC of a linear probe on samples it has not seen."""

import torch
from torch import Tensor

from gantutor.precision import widened


def auc(positive: Tensor, negative: Tensor) -> float:
    """The probability that a positive scores above a negative, ties counting half: the area under the ROC curve.

    `positive` (N,) and `negative` (M,) are scores. 1/2 is chance.
    """
    difference = positive[:, None] - negative[None, :]
    return (widened(difference > 0).mean() + widened(difference == 0).mean() / 2).item()


def probe_auc(real: Tensor, fake: Tensor, ridge: float = 0.1) -> float:
    """The AUC with which a linear probe of activations (N, ...) tells real from fake: 1/2 is chance, 1 is perfect.

    The probe is ridge regression on ±1, which for ridge → 0 is Fisher's discriminant. It is fitted to the even samples
    and scored on the odd ones, then the other way round, and the two areas are averaged. `ridge` is the penalty as a
    share of the features' mean square, summed over features. Solved in the dual, (N, N), as features outnumber samples.
    Raises: ValueError for fewer than 4 of either, or different shapes of one sample.
    """
    if min(len(real), len(fake)) < 4 or real.shape[1:] != fake.shape[1:]:
        raise ValueError(f"expected at least 4 samples of one shape each, got {tuple(real.shape)}, {tuple(fake.shape)}")
    real, fake = widened(real.detach().flatten(1)), widened(fake.detach().flatten(1))
    areas = []
    for fitted, held_out in ((0, 1), (1, 0)):
        x = torch.cat([real[fitted::2], fake[fitted::2]])
        n_real, n_fake = len(real[fitted::2]), len(fake[fitted::2])
        y = torch.cat([torch.full((n_real,), 1.0 / n_real), torch.full((n_fake,), -1.0 / n_fake)]).to(x)
        middle = (x[:n_real].mean(0) + x[n_real:].mean(0)) / 2
        gram = (x - middle) @ (x - middle).T
        penalty = ridge * gram.diagonal().mean() + torch.finfo(x.dtype).tiny
        direction = (x - middle).T @ torch.linalg.solve(gram + penalty * torch.eye(len(x)).to(x), y)
        areas.append(auc(real[held_out::2] @ direction, fake[held_out::2] @ direction))
    return sum(areas) / 2
