"""Two processes that share a batch, against one."""

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers import build, gradient, relative_error
from torch import Tensor, nn

from gantutor.scale.replicas import on_replicas


def halves(count: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    real, fake = torch.rand(2, count, 1, 28, 28, generator=generator, dtype=torch.float64)
    return real, 1 - 2 * fake


@pytest.mark.slow
def test_replicas_alone_normalise_their_own_share_and_synced_ones_are_one_process() -> None:
    D, (real, fake) = build("dcgan-batch").D, halves()
    found = on_replicas(D, real, fake)
    assert relative_error(found["synced"], found["one"]) < 1e-12
    gradients = []
    for rows in (slice(0, 4), slice(4, 8)):
        replica = copy.deepcopy(D)
        logits_real, logits_fake = replica(real[rows]), replica(fake[rows])
        (F.softplus(-logits_real).mean() + F.softplus(logits_fake).mean()).backward()
        gradients.append(gradient(replica))
    assert relative_error(found["alone"], sum(gradients) / 2) < 1e-12
    assert relative_error(found["alone"], found["one"]) > 0.01


@pytest.mark.parametrize(("reals", "fakes"), [(8, 6), (7, 7), (2, 2)])
def test_shares_must_be_equal(reals: int, fakes: int) -> None:
    with pytest.raises(ValueError, match=f"2 samples or more; got {reals} reals and {fakes} fakes"):
        on_replicas(nn.Identity(), torch.zeros(reals, 1), torch.zeros(fakes, 1))
