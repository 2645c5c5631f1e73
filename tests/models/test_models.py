"""The networks of MODELS: shapes, sizes, initialisation, which norm stands where; virtual batch norm."""

import itertools
import math

import pytest
import torch
from helpers import build
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import is_parametrized

from gantutor.models import (
    MODELS,
    NORMS_D,
    NORMS_G,
    VirtualBatchNorm,
    dcgan,
    mlp_classic,
    mlp_points,
    virtual_batchnorm,
)

# Shapes each model must draw; a model that is not listed is tested at its default shape.
SHAPES = {
    "points": [(2,), (1,)],
    "classic": [(1, 28, 28), (3, 8, 12)],
    "dcgan": [(1, 28, 28), (3, 32, 32), (3, 64, 64)],
}
LAYER = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "group": nn.GroupNorm, "layer": nn.GroupNorm}
SMALL = {"dcgan": {"width_G": 8, "width_D": 8}}


def norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, _NormBase | nn.GroupNorm)]


def spectral(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if is_parametrized(module, "weight")]


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name in MODELS for shape in SHAPES.get(name, [None])])
def test_G_draws_the_shape_from_z_and_D_returns_one_logit(name: str, shape: tuple[int, ...]) -> None:
    built = []
    for _ in range(2):
        torch.manual_seed(0)
        built.append(MODELS[name](z_dim=7, **({"shape": shape} if shape else {}), **SMALL.get(name, {})))
    (G, D), (again, _) = built
    assert all(torch.equal(*both) for both in zip(G.parameters(), again.parameters(), strict=True)), "a seed builds it"
    fake = G(100 * torch.randn(3, 7))
    assert shape is None or fake.shape == (3, *shape)
    assert (fake.abs().max() <= 1) == (fake.dim() == 4), "images lie in [-1, 1] however large z; points are free"
    logits = D(fake)
    assert logits.shape == (3, 1)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(
    ("norm_G", "norm_D"), [*((norm, "none") for norm in NORMS_G), *(("none", norm) for norm in NORMS_D)]
)
@pytest.mark.parametrize("name", MODELS)
def test_every_norm(name: str, norm_G: str, norm_D: str) -> None:
    torch.manual_seed(0)
    if "instance" in (norm_G, norm_D) and name != "dcgan":
        with pytest.raises(ValueError, match="instance norm needs images"):
            MODELS[name](norm_G=norm_G, norm_D=norm_D)
        return
    G, D = MODELS[name](z_dim=5, norm_G=norm_G, norm_D=norm_D)
    assert (bool(norms(G)), bool(norms(D))) == (norm_G != "none", norm_D not in ("none", "spectral"))
    assert (bool(spectral(G)), bool(spectral(D))) == (False, norm_D == "spectral")
    D(G(torch.randn(2, 5))).sum().backward()
    assert all(torch.isfinite(p.grad).all() for network in (G, D) for p in network.parameters())


@pytest.mark.parametrize("norm", LAYER)
def test_dcgan_has_no_norm_on_Gs_output_and_on_Ds_first_layer(norm: str) -> None:
    G, D = dcgan((1, 32, 32), width_G=8, width_D=8, norm_G=norm, norm_D=norm)
    assert [type(layer) for layer in norms(G)] == [LAYER[norm]] * 3
    assert [type(layer) for layer in norms(D)] == [LAYER[norm]] * 2
    assert [type(layer) for layer in G[-2:]] == [nn.ConvTranspose2d, nn.Tanh]
    assert [type(layer) for layer in D[:2]] == [nn.Conv2d, nn.LeakyReLU]
    for before, after in [*itertools.pairwise(G), *itertools.pairwise(D)]:
        if isinstance(after, LAYER[norm]):
            assert before.bias is None, "the norm has its own"
            channels = before.weight.shape[1 if isinstance(before, nn.ConvTranspose2d) else 0]
            assert sum(parameter.numel() for parameter in after.parameters()) == 2 * channels, "scale and shift"
    groups = {layer.num_groups for layer in norms(D) if isinstance(layer, nn.GroupNorm)}
    assert groups == {"group": {8}, "layer": {1}}.get(norm, set())
    dcgan(width_G=5, width_D=5, norm_G=norm, norm_D=norm)  # 8 groups do not divide 5


def test_networks_have_the_size_of_their_originals() -> None:
    """PyTorch's DCGAN example has no bias at all: 3,576,704 and 2,765,568. Ours has one where no norm follows."""
    G, D = dcgan((3, 64, 64), z_dim=100, width_G=64, width_D=64)
    assert (size(G), size(D)) == (3_576_704 + 3, 2_765_568 + 64 + 1)
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
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=0.1)


def test_eps_reaches_mlp_classics_batchnorm_and_changes_nothing_else() -> None:
    """Claim 16: `BatchNorm1d(n, 0.8)` sets eps, so that is what `eps=0.8` reproduces."""
    built = []
    for options in ({}, {"eps": 0.8}):
        torch.manual_seed(0)
        built.append(mlp_classic(**options)[0])
    ours, theirs = (norms(G) for G in built)
    assert [(layer.num_features, layer.eps, layer.momentum) for layer in ours] == [
        (features, nn.BatchNorm1d(1).eps, 0.1) for features in (256, 512, 1024)
    ]
    assert all(torch.equal(*both) for both in zip(*(G.state_dict().values() for G in built), strict=True))
    x, tutorial = 0.1 * torch.randn(64, 256), nn.BatchNorm1d(256, 0.8)
    assert torch.equal(theirs[0](x), tutorial(x))
    assert not torch.equal(ours[0](x), tutorial(x))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        *((name, {"norm_G": "bach"}, "norm_G='bach' is unknown; .* " + ", ".join(NORMS_G)) for name in MODELS),
        *((name, {"norm_D": "weight"}, "unknown; choose one of " + ", ".join(NORMS_D)) for name in MODELS),
        ("dcgan", {"norm_G": "spectral"}, "norm_G='spectral' is unknown"),  # D's alone
        ("dcgan", {"shape": (1, 30, 30)}, r"one of 28, 32, 64; the data has shape \(1, 30, 30\)"),
        ("dcgan", {"shape": (1, 28, 32)}, r"the data has shape \(1, 28, 32\)"),
        ("dcgan", {"shape": (2,)}, r"the data has shape \(2,\)"),
        ("points", {"shape": (1, 28, 28)}, r"the data has \(1, 28, 28\)"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MODELS[name](**options)


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
