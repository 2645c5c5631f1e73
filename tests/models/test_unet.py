"""The U-Net: its shapes and skips, and that it is the reference implementation's function."""

import math

import pytest
import torch
from image_helpers import filled, fingerprint, wave_image
from torch import nn

from gantutor.models import encoder_decoder, unet, unet_64, unet_128, unet_256

# What the reference's blocks hold, in order, where "inside" is the next block: the outermost conv, inside, relu, conv,
# tanh; those in between leaky, conv, norm, inside, relu, conv, norm; the innermost leaky, conv, relu, conv, norm.
DEEPER = ".model.3"


def reference_names(levels: int, width: int) -> dict[str, tuple[int, ...]]:
    """The reference's weights of convolutions and norms, by name and shape, three channels to three."""
    channels = [width * 2 ** min(level, 3) for level in range(levels)]
    shapes: dict[str, tuple[int, ...]] = {"model.model.0.weight": (channels[0], 3, 4, 4)}
    up: dict[str, tuple[int, ...]] = {}
    for level in range(1, levels):
        block = "model.model.1" + DEEPER * (level - 1)
        outer, inner = channels[level - 1], channels[level]
        innermost = level == levels - 1
        conv, norm = (3, 4) if innermost else (5, 6)
        shapes[f"{block}.model.1.weight"] = (inner, outer, 4, 4)
        if not innermost:
            shapes |= {f"{block}.model.2.{part}": (inner,) for part in ("weight", "bias")}
        up[f"{block}.model.{conv}.weight"] = (inner if innermost else 2 * inner, outer, 4, 4)
        up |= {f"{block}.model.{norm}.{part}": (outer,) for part in ("weight", "bias")}
    return shapes | up | {"model.model.3.weight": (2 * width, 3, 4, 4), "model.model.3.bias": (3,)}


@pytest.mark.parametrize(("build", "levels"), [(unet_64, 6), (unet_128, 7), (unet_256, 8)])
def test_names_and_shapes_are_the_reference_s(build, levels) -> None:
    parameters = {name: tuple(tensor.shape) for name, tensor in build(width=4).named_parameters()}
    assert parameters == reference_names(levels, 4)
    if levels == 6:  # and one spelt out, so that the rule above is held to something
        deepest = "model.model.1.model.3.model.3.model.3.model.3.model"
        assert parameters[f"{deepest}.1.weight"] == parameters[f"{deepest}.3.weight"] == (32, 32, 4, 4)
        assert parameters["model.model.1.model.5.weight"] == (16, 4, 4, 4)


def test_the_paper_s_network_has_54_million_weights() -> None:
    weights = sum(math.prod(shape) for shape in reference_names(8, 64).values())
    assert weights == 54_413_955  # counted in the reference's unet_256, norm "batch"


# The reference's networks (models/networks.py, commit c941617) with UnetGenerator(in, out, num_downs=6, ngf=4, norm,
# use_dropout=True), weights and image filled as tests/image_helpers.py does, in evaluation mode: `fingerprint`.
REFERENCE_OUTPUTS = {
    ("batch", 3, 3): [0.15027069, 0.16818239, 0.06429415, 0.10879302],
    ("instance", 1, 2): [-0.18873033, 0.12361743, -0.20394943, -0.23649908],
}


@pytest.mark.parametrize(("norm", "before", "after"), REFERENCE_OUTPUTS)
def test_it_computes_the_reference_s_function(norm, before, after) -> None:
    network = filled(unet(64, before, after, width=4, norm=norm))
    with torch.no_grad():
        found = fingerprint(network(wave_image(before, 64)))
    assert found == pytest.approx(REFERENCE_OUTPUTS[norm, before, after], abs=2e-8)


def dropouts(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, nn.Dropout)]


@pytest.mark.parametrize(("side", "count"), [(8, 1), (16, 1), (32, 1), (64, 1), (128, 2), (256, 3), (512, 4)])
def test_dropout_acts_near_the_bottleneck(side, count) -> None:
    network = unet(side, width=1)
    assert len(dropouts(network)) == count
    assert dropouts(unet(side, width=1, dropout=0.0)) == []
    if side == 256:  # the paper's three, as the reference places them
        assert sorted(dropouts(network), key=len) == [
            "model.model.1" + DEEPER * depth + ".model.7" for depth in (3, 4, 5)
        ]


def test_dropout_is_the_noise() -> None:
    network = unet(16, width=4).train()
    A = torch.rand(2, 3, 16, 16)
    torch.manual_seed(0)
    once = network(A)
    assert not torch.equal(once, network(A))
    torch.manual_seed(0)
    assert torch.equal(once, network(A))
    network.eval()
    assert torch.equal(network(A), network(A))


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("skips", [True, False])
def test_every_weight_takes_part_and_images_keep_their_size(norm, upsampling, skips) -> None:
    torch.manual_seed(0)
    network = unet(16, 2, 3, width=4, norm=norm, upsampling=upsampling, skips=skips).double()
    A = torch.rand(2, 2, 16, 32, dtype=torch.float64)
    B = network(A)
    assert B.shape == (2, 3, 16, 32)
    assert B.abs().max() <= 1
    (B * torch.rand_like(B)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_without_skips_all_passes_through_the_bottleneck() -> None:
    """One number at the bottleneck decides all of an encoder-decoder's output, and not all of a U-Net's."""

    def changes(network: nn.Module) -> bool:
        innermost = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
        innermost.weight.data.zero_()
        A, other = torch.rand(2, 1, 3, 16, 16)
        return not torch.equal(network(A), network(other))

    assert not changes(encoder_decoder(16, width=4, norm="none").eval())
    assert changes(unet(16, width=4, norm="none").eval())


def test_nearest_upsampling_leaves_no_checkerboard() -> None:
    """Of a constant feature map the last layer makes a constant image away from its borders, or one that ripples."""

    def ripple(upsampling: str) -> float:
        torch.manual_seed(0)
        doubling = unet(64, width=4, norm="none", upsampling=upsampling).model.model[3]
        with torch.no_grad():
            out = doubling(torch.full((1, 8, 32, 32), 0.5))[..., 8:-8, 8:-8]
        return (out - out.mean(dim=(2, 3), keepdim=True)).abs().max().item()

    assert ripple("nearest") < 1e-6 < 1e-3 < ripple("transposed")


def test_weights_start_as_in_the_reference() -> None:
    torch.manual_seed(0)
    network = unet_64(width=32)
    convs = torch.cat([m.weight.flatten() for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)])
    norms = torch.cat([m.weight.flatten() for m in network.modules() if isinstance(m, nn.BatchNorm2d)])
    assert convs.mean().item() == pytest.approx(0, abs=1e-4)
    assert convs.std().item() == pytest.approx(0.02, rel=0.01)
    assert norms.mean().item() == pytest.approx(1, abs=0.003)
    assert norms.std().item() == pytest.approx(0.02, rel=0.1)
    assert all((p == 0).all() for name, p in network.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 48}, "side must be a power of two of at least 8, got 48"),
        ({"side": 4}, "at least 8, got 4"),
        ({"norm": "group"}, "norm='group' is unknown; choose one of batch, instance, none"),
        ({"multipliers": (1, 2)}, "16 pixels are halved 4 times; got 2 multipliers"),
        ({"upsampling": "bilinear"}, "upsampling='bilinear' is unknown; choose transposed or nearest"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_a_wrong_argument_is_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        unet(**{"side": 16, "width": 1, **options})


def test_a_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"H and W multiples of 16, got \(1, 3, 16, 24\)"):
        unet(16, width=1)(torch.zeros(1, 3, 16, 24))
