"""The U-Net: its skips, its noise, its upsampling and its start."""

from typing import Any

import pytest
import torch
from torch import nn

from gantutor.models import unet


def dropouts(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, nn.Dropout)]


@pytest.mark.parametrize(("side", "count"), [(8, 1), (64, 1), (128, 2), (256, 3), (512, 4)])
def test_dropout_acts_near_the_bottleneck(side: int, count: int) -> None:
    network = unet(side, width=1)
    assert len(dropouts(network)) == count
    assert dropouts(unet(side, width=1, dropout=0.0)) == []
    if side == 256:  # the paper's three, as the reference places them
        deeper = ["model.model.1" + ".model.3" * depth + ".model.7" for depth in (3, 4, 5)]
        assert sorted(dropouts(network), key=len) == deeper


@pytest.mark.parametrize(
    "options", [{}, {"norm": "instance"}, {"upsampling": "nearest", "norm": "none"}, {"skips": False}]
)
def test_every_weight_takes_part_and_images_keep_their_size(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = unet(16, 2, 3, width=4, **options).double()
    B = network(torch.rand(2, 2, 16, 32, dtype=torch.float64))
    assert B.shape == (2, 3, 16, 32)
    assert B.abs().max() <= 1
    (B * torch.rand_like(B)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


@pytest.mark.parametrize("skips", [True, False])
def test_without_skips_all_passes_through_the_bottleneck(skips: bool) -> None:
    network = unet(16, width=4, norm="none", skips=skips).eval()
    innermost = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    innermost.weight.data.zero_()
    A, other = torch.rand(2, 1, 3, 16, 16)
    assert torch.equal(network(A), network(other)) != skips


def test_nearest_upsampling_leaves_no_checkerboard() -> None:
    """Of a constant feature map the last layer makes a constant image away from its borders, or one that ripples."""

    def ripple(upsampling: str) -> float:
        torch.manual_seed(0)
        doubling = unet(64, width=4, norm="none", upsampling=upsampling).model.model[3]
        with torch.no_grad():
            out = doubling(torch.full((1, 8, 32, 32), 0.5))[..., 8:-8, 8:-8]
        return (out - out.mean(dim=(2, 3), keepdim=True)).abs().max().item()

    assert ripple("nearest") < 1e-6 < 1e-3 < ripple("transposed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 48}, "side must be a power of two of at least 8, got 48"),
        ({"side": 4}, "at least 8, got 4"),
        ({"norm": "group"}, "norm='group' is unknown; choose one of batch, instance, none"),
        ({"multipliers": (1, 2)}, "16 pixels are halved 4 times; got 2 multipliers"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_a_wrong_argument_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unet(**{"side": 16, "width": 1, **options})


def test_a_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"this UNet takes .* H and W multiples of 16, got \(1, 3, 16, 24\)"):
        unet(16, width=1)(torch.zeros(1, 3, 16, 24))
