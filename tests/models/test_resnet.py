"""The ResNet generator: its sizes, its borders, its norm and its start."""

from typing import Any

import pytest
import torch

from gantutor.models import resnet
from gantutor.models.resnet import ResidualBlock


@pytest.mark.parametrize(
    "options", [{}, {"downsamplings": 0}, {"downsamplings": 1, "upsampling": "nearest"}, {"end_kernel": 5}]
)
def test_images_keep_their_size_and_every_weight_takes_part(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = resnet(1, 1, 2, width=4, norm="none", **options).double()
    B = network(torch.rand(2, 1, 16, 24, dtype=torch.float64))
    assert B.shape == (2, 2, 16, 24)
    assert B.abs().max() <= 1
    (B * torch.rand_like(B)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_borders_are_reflected() -> None:
    """A constant image stays constant up to its borders, where padding with zeros would show."""
    torch.manual_seed(0)
    network = resnet(2, width=4, norm="none", downsamplings=0).double()
    B = network(torch.full((1, 3, 16, 16), 0.5, dtype=torch.float64))
    assert (B - B[..., :1, :1]).abs().max() < 1e-12
    assert B.abs().min() > 1e-6


def test_without_a_norm_an_image_keeps_its_size_on_the_way() -> None:
    """He's weights: the noise that comes out before the last layer is about as large as what went in."""
    torch.manual_seed(0)
    network = resnet(3, width=32, norm="none", downsamplings=1, upsampling="nearest", end_kernel=5)
    last = network.model[-2]
    assert 0.3 < network.model[:-3](torch.randn(4, 3, 32, 32)).std() < 3
    assert last.weight.std().item() == pytest.approx(0.3 * (2 / (last.in_channels * 25)) ** 0.5, rel=0.05)
    assert not last.bias.any()
    block = next(module for module in network.modules() if isinstance(module, ResidualBlock))
    x = torch.randn(2, 64, 16, 16)
    assert (block(x) - x).std() < 0.5, "a block hardly changes its input"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "layer"}, "norm='layer' is unknown; choose one of batch, instance, none"),
        ({"end_kernel": 4}, "end_kernel must be odd and positive, got 4"),
        ({"upsampling": "bilinear"}, "upsampling='bilinear' is unknown; choose one of transposed, nearest"),
    ],
)
def test_a_wrong_argument_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resnet(**{"width": 1, **options})


def test_a_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"this ResNet takes .* H and W multiples of 4, got \(1, 3, 18, 16\)"):
        resnet(1, width=1)(torch.zeros(1, 3, 18, 16))
