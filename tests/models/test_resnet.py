"""The ResNet generator: the reference implementation's function, its sizes, its borders."""

import math

import pytest
import torch
from image_helpers import filled, fingerprint, wave_image
from torch import nn

from gantutor.models import resnet, resnet_6, resnet_9
from gantutor.models.resnet import ResidualBlock


def reference_names(blocks: int, width: int) -> dict[str, tuple[int, ...]]:
    """The reference's weights and biases with InstanceNorm, which has none of its own, by name and shape."""
    wide = 4 * width
    shapes: dict[str, tuple[int, ...]] = {"model.1.weight": (width, 3, 7, 7)}
    shapes |= {"model.4.weight": (2 * width, width, 3, 3), "model.7.weight": (wide, 2 * width, 3, 3)}
    for block in range(10, 10 + blocks):
        shapes |= {f"model.{block}.conv_block.{place}.weight": (wide, wide, 3, 3) for place in (1, 5)}
    first = 10 + blocks  # a transposed convolution's weight has the incoming channels first
    shapes |= {f"model.{first}.weight": (wide, 2 * width, 3, 3), f"model.{first + 3}.weight": (2 * width, width, 3, 3)}
    shapes[f"model.{first + 7}.weight"] = (3, width, 7, 7)
    transposed = (f"model.{first}.weight", f"model.{first + 3}.weight")
    biases = {
        name[: -len("weight")] + "bias": (shape[1 if name in transposed else 0],) for name, shape in shapes.items()
    }
    return shapes | biases


@pytest.mark.parametrize(("build", "blocks"), [(resnet_6, 6), (resnet_9, 9)])
def test_names_and_shapes_are_the_reference_s(build, blocks) -> None:
    network = build(width=4)
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == reference_names(blocks, 4)


def test_the_paper_s_network_has_11_million_weights() -> None:
    weights = sum(math.prod(shape) for shape in reference_names(9, 64).values())
    assert weights == 11_378_179  # counted in the reference's resnet_9blocks, norm "instance"


# The reference's networks (models/networks.py, commit c941617), ResnetGenerator(3, 3, ngf=4, norm, use_dropout,
# n_blocks), filled as tests/image_helpers.py does, in evaluation mode.
REFERENCE_OUTPUTS = {  # (blocks, norm, dropout, scale of the weights): fingerprint
    (6, "instance", 0.0, 0.1): [-0.16994976, 0.16305470, -0.20659113, 0.07518735],
    (9, "batch", 0.5, 0.05): [0.16483583, 0.02301903, 0.14415523, 0.15484891],
}


@pytest.mark.parametrize(("blocks", "norm", "dropout", "scale"), REFERENCE_OUTPUTS)
def test_it_computes_the_reference_s_function(blocks, norm, dropout, scale) -> None:
    network = filled(resnet(blocks, width=4, norm=norm, dropout=dropout), scale)
    with torch.no_grad():
        found = fingerprint(network(wave_image(3, 32)))
    assert found == pytest.approx(REFERENCE_OUTPUTS[blocks, norm, dropout, scale], abs=2e-8)


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
@pytest.mark.parametrize("downsamplings", [0, 1, 2])
@pytest.mark.parametrize("end_kernel", [5, 7])
def test_images_keep_their_size_and_every_weight_takes_part(upsampling, downsamplings, end_kernel) -> None:
    torch.manual_seed(0)
    network = resnet(
        1, 1, 2, width=4, norm="none", downsamplings=downsamplings, upsampling=upsampling, end_kernel=end_kernel
    ).double()
    A = torch.rand(2, 1, 16, 24, dtype=torch.float64)
    B = network(A)
    assert B.shape == (2, 2, 16, 24)
    assert B.abs().max() <= 1
    (B * torch.rand_like(B)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_the_norm_is_per_image() -> None:
    """An image's translation does not depend on the others in its batch, nor on the mode."""
    torch.manual_seed(0)
    network = resnet(2, width=4).double()
    A = torch.rand(3, 3, 16, 16, dtype=torch.float64)
    alone = torch.cat([network(image[None]) for image in A])
    torch.testing.assert_close(network(A), alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(network.eval()(A), alone, rtol=0, atol=1e-12)
    assert not list(network.buffers())
    assert not any(isinstance(module, nn.Dropout) for module in network.modules())


def test_borders_are_reflected() -> None:
    """A constant image stays constant up to its borders, where padding with zeros would show."""
    torch.manual_seed(0)
    network = resnet(2, width=4, norm="none", downsamplings=0).double()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data *= 10
    B = network(torch.full((1, 3, 16, 16), 0.5, dtype=torch.float64))
    assert (B - B[..., :1, :1]).abs().max() < 1e-12
    assert B.abs().min() > 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "layer"}, "norm='layer' is unknown; choose one of batch, instance, none"),
        ({"n_blocks": -1}, "must be at least 0, got -1 and 2"),
        ({"downsamplings": -1}, "must be at least 0, got 9 and -1"),
        ({"end_kernel": 4}, "end_kernel must be odd and positive, got 4"),
        ({"upsampling": "bilinear"}, "upsampling='bilinear' is unknown"),
        ({"dropout": -0.1}, r"dropout must lie in \[0, 1\), got -0.1"),
    ],
)
def test_a_wrong_argument_is_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        resnet(**{"width": 1, **options})


def test_a_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"H and W multiples of 4, got \(1, 3, 18, 16\)"):
        resnet(1, width=1)(torch.zeros(1, 3, 18, 16))


def test_without_a_norm_an_image_keeps_its_size_on_the_way() -> None:
    """He's weights: the noise that comes out before the last layer is about as large as what went in."""
    torch.manual_seed(0)
    network = resnet(3, width=32, norm="none", downsamplings=1, upsampling="nearest", end_kernel=5)
    x = torch.randn(4, 3, 32, 32)
    last = network.model[-2]
    assert 0.3 < network.model[:-3](x).std() < 3
    expected = 0.3 * (2 / (last.in_channels * 25)) ** 0.5
    assert last.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert last.bias.abs().max() == 0
    block = next(module for module in network.modules() if isinstance(module, ResidualBlock))
    assert (block(x := torch.randn(2, 64, 16, 16)) - x).std() < 0.5, "a block hardly changes its input"


def test_with_a_norm_weights_start_as_in_the_paper() -> None:
    torch.manual_seed(0)
    network = resnet(1, width=16, norm="instance")
    assert network.model[-2].weight.std().item() == pytest.approx(0.02, rel=0.1)
