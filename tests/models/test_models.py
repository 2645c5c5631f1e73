"""The networks: shapes, sizes, initialisation, and which norm stands where."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import is_parametrized

from gantutor.models import MODELS, NORMS_D, NORMS_G, dcgan, dcgan_init, mlp_classic, mlp_points
from gantutor.models.norms import norm_layer

# Shapes each model must draw; a model that is not listed is tested at its default shape.
SHAPES = {
    "points": [(2,), (1,), (3,)],
    "classic": [(1, 28, 28), (3, 8, 12)],
    "dcgan": [(channels, side, side) for channels in (1, 3) for side in (28, 32, 64)],
}
LAYER = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "group": nn.GroupNorm, "layer": nn.GroupNorm}
SMALL = {"dcgan": {"width_G": 8, "width_D": 8}}


def norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, _NormBase | nn.GroupNorm)]


def spectral(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if is_parametrized(module, "weight")]


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("z_dim", [1, 7])
@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name in MODELS for shape in SHAPES.get(name, [None])])
def test_G_draws_the_shape_from_z_and_D_returns_one_logit(name: str, shape: tuple[int, ...], z_dim: int) -> None:
    torch.manual_seed(0)
    G, D = MODELS[name](z_dim=z_dim, **({"shape": shape} if shape else {}), **SMALL.get(name, {}))
    fake = G(torch.randn(3, z_dim))
    assert shape is None or fake.shape == (3, *shape)
    assert fake.dtype == torch.float32
    logits = D(fake)
    assert logits.shape == (3, 1)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", MODELS)
def test_images_lie_between_minus_1_and_1_however_large_z(name: str) -> None:
    torch.manual_seed(0)
    G, _ = MODELS[name](z_dim=4)
    drawn = G(100 * torch.randn(8, 4))
    if drawn.dim() == 4:
        assert drawn.abs().max() <= 1
        assert drawn.abs().max() > 0.05  # not all grey
    else:
        assert drawn.abs().max() > 1  # points are not squeezed


@pytest.mark.parametrize("norm", NORMS_G)
@pytest.mark.parametrize("name", MODELS)
def test_every_norm_in_G(name: str, norm: str) -> None:
    torch.manual_seed(0)
    if norm == "instance" and name != "dcgan":
        with pytest.raises(ValueError, match="instance norm needs images"):
            MODELS[name](norm_G=norm)
        return
    G, D = MODELS[name](z_dim=5, norm_G=norm, norm_D="none")
    assert bool(norms(G)) == (norm != "none")
    assert not norms(D) + spectral(G) + spectral(D)
    G(torch.randn(2, 5)).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in G.parameters())


@pytest.mark.parametrize("norm", NORMS_D)
@pytest.mark.parametrize("name", MODELS)
def test_every_norm_in_D(name: str, norm: str) -> None:
    torch.manual_seed(0)
    if norm == "instance" and name != "dcgan":
        with pytest.raises(ValueError, match="instance norm needs images"):
            MODELS[name](norm_D=norm)
        return
    G, D = MODELS[name](z_dim=5, norm_G="none", norm_D=norm)
    assert bool(norms(D)) == (norm not in ("none", "spectral"))
    assert bool(spectral(D)) == (norm == "spectral")
    assert not norms(G) + spectral(G)
    D(G(torch.randn(2, 5))).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in D.parameters())


@pytest.mark.parametrize("norm", LAYER)
@pytest.mark.parametrize(("side", "doublings"), [(28, 2), (32, 3), (64, 4)])
def test_dcgan_has_no_norm_on_Gs_output_and_on_Ds_first_layer(side: int, doublings: int, norm: str) -> None:
    G, D = dcgan((1, side, side), width_G=8, width_D=8, norm_G=norm, norm_D=norm)
    assert [type(layer) for layer in norms(G)] == [LAYER[norm]] * doublings
    assert [type(layer) for layer in norms(D)] == [LAYER[norm]] * (doublings - 1)
    assert [type(layer) for layer in G[-2:]] == [nn.ConvTranspose2d, nn.Tanh]
    assert [type(layer) for layer in D[:2]] == [nn.Conv2d, nn.LeakyReLU]
    for before, after in [*itertools.pairwise(G), *itertools.pairwise(D)]:
        if isinstance(after, LAYER[norm]):
            assert before.bias is None  # the norm has its own
    # "group" takes 8 groups and "layer" one.
    groups = {layer.num_groups for layer in norms(D) if isinstance(layer, nn.GroupNorm)}
    assert groups == {"group": {8}, "layer": {1}}.get(norm, set())


def test_every_normalised_network_learns_scale_and_shift() -> None:
    for norm in LAYER:
        (layer,) = norm_layer(norm, 16, 2)
        assert isinstance(layer, LAYER[norm])
        assert sum(parameter.numel() for parameter in layer.parameters()) == 32


def test_dcgan_of_64_pixels_has_the_size_of_the_pytorch_example() -> None:
    """That example has no bias at all: 3,576,704 and 2,765,568. Ours keeps one where no norm follows: 3, and 64 + 1."""
    G, D = dcgan((3, 64, 64), z_dim=100, width_G=64, width_D=64)
    assert size(G) == 3_576_704 + 3
    assert size(D) == 2_765_568 + 64 + 1


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize(("side", "first", "doublings"), [(28, 7, 2), (32, 4, 3), (64, 4, 4)])
def test_dcgan_has_the_size_its_widths_say(side: int, first: int, doublings: int, norm: str) -> None:
    channels, z_dim, width_G, width_D = 3, 5, 6, 4
    G, D = dcgan((channels, side, side), z_dim, width_G, width_D, norm, norm)
    # Channels from the smallest feature map to half the image's side: width_G at the end, doubled for each step back.
    wide = [width_G * 2**i for i in reversed(range(doublings))]
    per_channel = 2 if norm == "batch" else 1  # weight and bias of a BatchNorm, or the bias of a convolution
    weights = z_dim * wide[0] * first**2 + sum(a * b * 16 for a, b in itertools.pairwise([*wide, channels]))
    assert size(G) == weights + per_channel * sum(wide) + channels

    wide = [width_D * 2**i for i in range(doublings)]
    weights = sum(a * b * 16 for a, b in itertools.pairwise([channels, *wide])) + wide[-1] * first**2
    assert size(D) == weights + wide[0] + per_channel * sum(wide[1:]) + 1


def test_mlps_have_the_size_their_layers_say() -> None:
    G, D = mlp_classic()
    linear = [(100, 128), (128, 256), (256, 512), (512, 1024), (1024, 784)]
    assert size(G) == sum(a * b + b for a, b in linear) + 2 * (256 + 512 + 1024) == 1_510_032
    assert size(D) == sum(a * b + b for a, b in [(784, 512), (512, 256), (256, 1)]) == 533_505

    G, D = mlp_points((2,), z_dim=3, width=10)
    assert size(G) == (3 * 10 + 10) + (10 * 10 + 10) + (10 * 2 + 2)
    assert size(D) == (2 * 10 + 10) + (10 * 10 + 10) + (10 + 1)


@pytest.mark.parametrize("norm_D", ["batch", "spectral"])
def test_dcgan_weights_start_as_in_the_paper(norm_D: str) -> None:
    torch.manual_seed(0)
    G, D = dcgan((3, 32, 32), z_dim=100, width_G=32, width_D=32, norm_D=norm_D)
    for module in [*G.modules(), *D.modules()]:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            start = module.parametrizations.weight.original if is_parametrized(module) else module.weight
            wanted_mean = 0.0
        elif isinstance(module, nn.BatchNorm2d):
            start, wanted_mean = module.weight, 1.0
        else:
            continue
        n = start.numel()  # 5 standard errors of a mean, and of a standard deviation
        assert start.mean().item() == pytest.approx(wanted_mean, abs=5 * 0.02 / math.sqrt(n))
        assert start.std().item() == pytest.approx(0.02, rel=5 / math.sqrt(2 * n))
        assert module.bias is None or not module.bias.any()


def test_dcgan_init_starts_any_network_in_place() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 64, 4), nn.BatchNorm2d(64), nn.Linear(4, 4))
    network[1].bias.data.fill_(5)
    linear = network[2].weight.clone()
    assert dcgan_init(network) is None
    assert network[0].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not network[0].bias.any()
    assert network[1].weight.mean().item() == pytest.approx(1, abs=0.02)
    assert not network[1].bias.any()
    assert torch.equal(network[2].weight, linear)  # the paper's networks have none


@pytest.mark.parametrize("name", MODELS)
def test_spectral_norm_holds_every_weight_of_D_at_largest_singular_value_1(name: str) -> None:
    torch.manual_seed(0)
    G, D = MODELS[name](z_dim=5, norm_D="spectral")
    layers = [module for module in D.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    assert spectral(D) == layers
    with torch.no_grad():
        for layer in layers:
            layer.parametrizations.weight.original *= 10  # as training might
        fake = G(torch.randn(4, 5))
        for _ in range(10):
            D(fake)
        for layer in layers:
            largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
            assert largest == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("eps", [1e-5, 0.8])
def test_eps_reaches_mlp_classics_batchnorm_and_the_momentum_stays(eps: float) -> None:
    """Claim 16: `BatchNorm1d(n, 0.8)` sets eps, so that is what `eps=0.8` reproduces."""
    torch.manual_seed(0)
    G, _ = mlp_classic(eps=eps)
    layers = norms(G)
    assert [layer.num_features for layer in layers] == [256, 512, 1024]
    assert [(layer.eps, layer.momentum) for layer in layers] == [(eps, 0.1)] * 3
    tutorial = nn.BatchNorm1d(256, 0.8)
    assert (tutorial.eps, tutorial.momentum) == (0.8, 0.1)
    x = 0.1 * torch.randn(64, 256)
    assert torch.equal(layers[0](x), tutorial(x)) == (eps == 0.8)


def test_eps_defaults_to_pytorchs_and_changes_nothing_else() -> None:
    torch.manual_seed(0)
    G, D = mlp_classic()
    torch.manual_seed(0)
    G_tutorial, D_tutorial = mlp_classic(eps=0.8)
    assert {layer.eps for layer in norms(G)} == {nn.BatchNorm1d(1).eps}
    for a, b in ((G, G_tutorial), (D, D_tutorial)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_unknown_norms_list_the_ones_that_exist(name: str) -> None:
    with pytest.raises(ValueError, match=r"norm_G='bach' is unknown; choose one of " + ", ".join(NORMS_G)):
        MODELS[name](norm_G="bach")
    with pytest.raises(ValueError, match=r"norm_D='weight' is unknown; choose one of " + ", ".join(NORMS_D)):
        MODELS[name](norm_D="weight")
    with pytest.raises(ValueError, match="norm_G='spectral' is unknown"):
        MODELS[name](norm_G="spectral")  # D's alone


@pytest.mark.parametrize("shape", [(1, 30, 30), (1, 28, 32), (3, 128, 128)])
def test_dcgan_lists_the_sizes_it_draws(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"one of 28, 32, 64.*\(" + ", ".join(map(str, shape))):
        dcgan(shape)


@pytest.mark.parametrize("width", [4, 10])
def test_group_norm_takes_any_width(width: int) -> None:
    D = mlp_points(width=width, norm_D="group")[1]
    assert D(torch.randn(2, 2)).shape == (2, 1)
    dcgan(width_G=width + 1, width_D=width + 1, norm_G="group", norm_D="group")


@pytest.mark.parametrize(("name", "shape"), [("dcgan", (2,)), ("points", (1, 28, 28))])
def test_a_shape_of_the_wrong_kind_says_what_came(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"the data has (shape )?\(" + ", ".join(map(str, shape))):
        MODELS[name](shape)


def test_the_same_seed_builds_the_same_networks() -> None:
    for name in MODELS:
        built = []
        for _ in range(2):
            torch.manual_seed(3)
            built.append([parameter for network in MODELS[name]() for parameter in network.parameters()])
        assert all(torch.equal(a, b) for a, b in zip(*built, strict=True))
