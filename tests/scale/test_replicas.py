"""Two processes that share a batch, against one; and virtual batch norm, for which the batch does not matter."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from helpers import build, gradient, relative_error
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gantutor.models import VirtualBatchNorm, virtual_batchnorm
from gantutor.scale.replicas import Outcome, SyncedBatchNorm, on_replicas, synced


def halves(count: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    real, fake = torch.rand(2, count, 1, 28, 28, generator=generator, dtype=torch.float64)
    return real, 1 - 2 * fake


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    return on_replicas(build("dcgan-batch").D, *halves())


def test_synced_replicas_are_one_process(outcomes: dict[str, Outcome]) -> None:
    one, synced = outcomes["one"], outcomes["synced"]
    assert relative_error(synced.gradient, one.gradient) < 1e-12
    assert relative_error(synced.logits_real, one.logits_real) < 1e-12
    assert relative_error(synced.logits_fake, one.logits_fake) < 1e-12


def test_replicas_alone_normalise_their_own_share(outcomes: dict[str, Outcome]) -> None:
    D, (real, fake) = build("dcgan-batch").D, halves()
    shares, gradients = [], []
    for rows in (slice(0, 4), slice(4, 8)):
        replica = copy.deepcopy(D)
        logits_real, logits_fake = replica(real[rows]), replica(fake[rows])
        loss = nn.functional.softplus(-logits_real).mean() + nn.functional.softplus(logits_fake).mean()
        loss.backward()
        shares.append(logits_real)
        gradients.append(gradient(replica))
    alone = outcomes["alone"]
    assert relative_error(alone.logits_real, torch.cat(shares)) < 1e-12
    assert relative_error(alone.gradient, sum(gradients) / 2) < 1e-12
    assert relative_error(alone.gradient, outcomes["one"].gradient) > 0.01


@pytest.mark.parametrize(("reals", "fakes"), [(8, 6), (7, 7), (2, 2)])
def test_shares_must_be_equal(reals: int, fakes: int) -> None:
    with pytest.raises(ValueError, match=f"2 samples or more; got {reals} reals and {fakes} fakes"):
        on_replicas(nn.Identity(), torch.zeros(reals, 1), torch.zeros(fakes, 1))


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A group of this process only: what is synchronised must then be what it is without."""
    dist.init_process_group("gloo", init_method=(tmp_path / "meet").as_uri(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


LAYERS: dict[str, tuple[type[_BatchNorm], dict[str, Any], tuple[int, ...]]] = {
    "images": (nn.BatchNorm2d, {}, (4, 3, 5, 5)),
    "points": (nn.BatchNorm1d, {}, (4, 3)),
    "momentum and eps": (nn.BatchNorm2d, {"momentum": 0.7, "eps": 0.3}, (4, 3, 2, 2)),
    "the mean of all": (nn.BatchNorm2d, {"momentum": None}, (4, 3, 2, 2)),
    "not affine": (nn.BatchNorm2d, {"affine": False}, (4, 3, 2, 2)),
    "nothing tracked": (nn.BatchNorm2d, {"track_running_stats": False}, (4, 3, 2, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_synced_batchnorm_stands_in_for_batchnorm(alone: None, name: str) -> None:
    kind, options, shape = LAYERS[name]
    layer = kind(3, **options).double()
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    ours = synced(copy.deepcopy(layer))
    assert isinstance(ours, SyncedBatchNorm)
    for batch in range(3):
        x = (torch.randn(shape, dtype=torch.float64) * (batch + 1) + 10).requires_grad_()
        twin = x.detach().clone().requires_grad_()
        wanted, found = layer(x), ours(twin)
        assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)
        wanted.pow(3).sum().backward()
        found.pow(3).sum().backward()
        assert torch.allclose(twin.grad, x.grad, rtol=1e-10, atol=1e-10)
        for mine, theirs in zip(ours.parameters(), layer.parameters(), strict=True):
            assert torch.allclose(mine.grad, theirs.grad, rtol=1e-12, atol=1e-12)
    assert ours.state_dict().keys() == layer.state_dict().keys()
    for key, value in layer.state_dict().items():
        assert torch.allclose(ours.state_dict()[key], value, rtol=1e-12, atol=1e-12), key
    assert torch.allclose(ours.eval()(x), layer.eval()(x), rtol=1e-12, atol=1e-12)


def test_synced_batchnorm_keeps_small_differences_of_large_numbers(alone: None) -> None:
    x = 1000 + torch.randn(64, 3, 8, 8)
    assert torch.allclose(synced(nn.BatchNorm2d(3))(x), nn.BatchNorm2d(3)(x), atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = torch.randn(64, 3, 8, 8).bfloat16()
        ours, theirs = synced(nn.BatchNorm2d(3))(coarse), nn.BatchNorm2d(3)(coarse)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert torch.allclose(ours, theirs, atol=2**-6)


def test_a_synced_network_has_the_same_parameters_and_statistics() -> None:
    D = build("dcgan-batch").D
    parameters, state = list(D.parameters()), D.state_dict()
    twin = synced(D)
    assert sum(isinstance(module, SyncedBatchNorm) for module in twin.modules()) > 0
    assert not any(isinstance(module, nn.BatchNorm2d) for module in twin.modules())
    assert all(ours is theirs for ours, theirs in zip(twin.parameters(), parameters, strict=True))
    assert {key: value.data_ptr() for key, value in twin.state_dict().items()} == {
        key: value.data_ptr() for key, value in state.items()
    }
    twin.eval()
    assert not any(module.training for module in twin.modules())


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
