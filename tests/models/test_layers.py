"""Virtual batch norm, for which the batch does not matter."""

import pytest
import torch
from helpers import build
from torch import nn

from gantutor.models import VirtualBatchNorm, virtual_batchnorm


def test_virtual_batchnorm_by_hand() -> None:
    layer = nn.BatchNorm1d(1)
    layer.weight.data.fill_(2.0)
    layer.bias.data.fill_(1.0)
    virtual = VirtualBatchNorm(layer, references=3)
    found = virtual(torch.tensor([[0.0], [1.0], [5.0], [10.0]]))[:, 0]
    reference = torch.tensor([0.0, 1.0, 5.0])
    together = torch.tensor([0.0, 1.0, 5.0, 10.0])  # the sample and the reference
    wanted = 1 + 2 * (reference - reference.mean()) / (reference.var(unbiased=False) + 1e-5).sqrt()
    last = 1 + 2 * (10 - together.mean()) / (together.var(unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(found, torch.cat([wanted, last[None]]))


@pytest.mark.parametrize("networks", ["points-batch", "dcgan-batch"])
def test_with_virtual_batchnorm_each_image_has_its_own_score(networks: str) -> None:
    gan = build(networks)
    shape = (2,) if networks == "points-batch" else (1, 28, 28)
    real, fake, reference = torch.rand(3, 5, *shape, dtype=torch.float64)
    parameters = list(gan.D.parameters())
    D = virtual_batchnorm(gan.D, reference)
    assert all(ours is theirs for ours, theirs in zip(D.parameters(), parameters, strict=True))
    assert not any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in D.modules())
    assert any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in gan.D.modules()), "D itself stays"
    together = D(torch.cat([real, 5 * fake]))
    assert torch.allclose(together[:5], D(real), atol=1e-12, rtol=1e-12)
    assert torch.allclose(together[:1], D(real[:1]), atol=1e-12, rtol=1e-12)
    assert not torch.allclose(virtual_batchnorm(gan.D, 2 * reference)(real), D(real))


def test_virtual_batchnorm_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="has no BatchNorm"):
        virtual_batchnorm(build("dcgan").D, torch.rand(4, 1, 28, 28))
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        virtual_batchnorm(build("dcgan-batch").D, torch.rand(1, 1, 28, 28))
