"""The reference implementation: its names, shapes and functions are ours, and its checkpoints load or are refused."""

import copy
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gantutor.models import load_reference_state_dict, patchgan, resnet, unet

# Names, shapes and functions ------------------------------------------------------------------------------------------


# The modules of the reference that have a weight, and with * a bias, in its order, behind what all names begin with:
# UnetGenerator(num_downs=4), ResnetGenerator(n_blocks=1), NLayerDiscriminator(n_layers=3), PixelDiscriminator.
@pytest.mark.parametrize(
    ("network", "head", "modules"),
    [
        (
            unet(16, width=4), "model.model.",
            "0 1.model.1 1.model.2* 1.model.3.model.1 1.model.3.model.2* 1.model.3.model.3.model.1 "
            "1.model.3.model.3.model.3 1.model.3.model.3.model.4* 1.model.3.model.5 1.model.3.model.6* 1.model.5 "
            "1.model.6* 3*",
        ),
        (resnet(1, width=4), "model.", "1* 4* 7* 10.conv_block.1* 10.conv_block.5* 11* 14* 18*"),
        (patchgan(6, 3, 4), "model.", "0* 2 3* 5 6* 8 9* 11*"),
        (patchgan(6, 0, 4), "net.", "0* 2 3* 5"),
    ],
)  # fmt: skip
def test_names_are_the_reference_s(network: nn.Module, head: str, modules: str) -> None:
    wanted = [
        f"{head}{name.rstrip('*')}.{part}"
        for name in modules.split()
        for part in (("weight", "bias") if name.endswith("*") else ("weight",))
    ]
    assert [name for name, _ in network.named_parameters()] == wanted


def filled(network: nn.Module, scale: float) -> nn.Module:
    """The network in float64 and evaluation mode, every number in its state dict a sine of its place."""
    network = network.double().eval()
    for number, (name, tensor) in enumerate(network.state_dict().items()):
        if tensor.is_floating_point():
            wave = torch.sin(0.7 * torch.arange(tensor.numel(), dtype=torch.float64) + number).view(tensor.shape)
            offset = 0 if name.endswith(("bias", "running_mean")) else 1
            tensor.copy_(scale * wave if tensor.dim() > 1 else offset + 0.2 * wave)
    return network


# The reference's networks (models/networks.py, commit c941617), filled as ours, and what they make of the image below:
# mean, standard deviation and two pixels, enough to tell two functions apart.
@pytest.mark.parametrize(
    ("network", "channels", "side", "scale", "expected"),
    [
        (unet(64, 3, 3, width=4), 3, 64, 0.1, [0.15027069, 0.16818239, 0.06429415, 0.10879302]),
        (unet(64, 1, 2, width=4, norm="instance"), 1, 64, 0.1, [-0.18873033, 0.12361743, -0.20394943, -0.23649908]),
        (resnet(6, width=4), 3, 32, 0.1, [-0.16994976, 0.16305470, -0.20659113, 0.07518735]),
        (resnet(9, width=4, norm="batch"), 3, 32, 0.05, [0.16483583, 0.02301903, 0.14415523, 0.15484891]),
        (patchgan(6, 3, 4, "batch"), 6, 64, 0.1, [0.09730394, 0.04466275, 0.06233299, 0.07173718]),
        (patchgan(6, 3, 4, "instance"), 6, 64, 0.1, [0.08459951, 0.16813550, -0.02316880, -0.07720174]),
        (patchgan(3, 2, 4, "none"), 3, 64, 0.1, [-0.19966137, 0.07143747, -0.15587098, -0.21700075]),
        (patchgan(6, 0, 4, "batch"), 6, 16, 0.5, [-0.11461267, 0.10040698, -0.09637493, -0.08088413]),
    ],
)
def test_they_compute_the_reference_s_functions(
    network: nn.Module, channels: int, side: int, scale: float, expected: list[float]
) -> None:
    places = torch.arange(channels * side * side, dtype=torch.float64)
    image = torch.sin(0.3 * places + 0.001 * places.square() / side).view(1, channels, side, side)
    with torch.no_grad():
        out = filled(network, scale)(image)
    found = [out.mean().item(), out.std().item(), out[0, 0, 1, 2].item(), out[0, -1, -3, -2].item()]
    assert found == pytest.approx(expected, abs=2e-8)


# Checkpoints ----------------------------------------------------------------------------------------------------------

BUILD: dict[str, Callable[[], nn.Module]] = {
    "unet": lambda: unet(8, width=2),
    "resnet": lambda: resnet(1, width=2),
    "patchgan": lambda: patchgan(3, 1, 2),
    "pixel": lambda: patchgan(3, 0, 2),
}


def model_state(network: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(network.state_dict())


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("kind", "prefix", "how"),
    [("unet", "", "dict"), ("resnet", "module.", "file"), ("patchgan", "module.", "dict"), ("pixel", "", "old file")],
)
def test_a_state_dict_is_loaded_by_name(kind: str, prefix: str, how: str, tmp_path: Path) -> None:
    """In whatever order its names come, with or without DataParallel's prefix, and from before PyTorch's zip format."""
    source, network = BUILD[kind](), BUILD[kind]()
    given = OrderedDict((prefix + name, tensor) for name, tensor in reversed(model_state(source).items()))
    torch.save(given, tmp_path / "net.pth", _use_new_zipfile_serialization=how != "old file")
    load_reference_state_dict(network, given if how == "dict" else tmp_path / "net.pth")
    assert same(model_state(source), model_state(network))


def test_the_statistics_of_old_instance_norms_are_dropped_and_an_old_batchnorm_has_no_counter() -> None:
    source, network = BUILD["resnet"](), BUILD["resnet"]()
    norms = [name for name, module in source.named_modules() if isinstance(module, nn.InstanceNorm2d)]
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    extra = {f"{name}.{part}": torch.ones(3) for name in norms for part in statistics}
    load_reference_state_dict(network, model_state(source) | extra)
    assert same(model_state(source), model_state(network))

    source, network = BUILD["unet"](), BUILD["unet"]()
    given = {name: tensor for name, tensor in model_state(source).items() if not name.endswith("num_batches_tracked")}
    load_reference_state_dict(network, given)
    assert same(model_state(source), model_state(network))
    (mean, *_) = [name for name in given if name.endswith("running_mean")]
    del given[mean]
    with pytest.raises(ValueError, match=f"Missing key.*{mean}"):
        load_reference_state_dict(network, given)


class Evil:
    """What an unsafe pickle does when it is opened."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("the file was executed",))


# The network, what it is given (bytes are the file's own), and what is said of it.
MISFITS: list[tuple[str, Any, str]] = [
    ("resnet", model_state(BUILD["patchgan"]()), r'does not fit ResNet: Missing key\(s\) in .*: "model.1.weight"'),
    ("patchgan", model_state(patchgan(3, 1, 4)), r"size mismatch for model\.0\.weight: .*Size\(\[4, 3, 4, 4\]\)"),
    ("resnet", model_state(unet(64, width=1)), r" …$"),
    (
        "patchgan",
        {**model_state(BUILD["patchgan"]()), "extra.weight": torch.ones(2)},
        r'does not fit PatchGAN: Unexpected key\(s\) in state_dict: "extra.weight"',
    ),
    ("pixel", {"state": {}, "param_groups": []}, "it has 'state', 'param_groups'"),
    ("pixel", {}, "Missing key"),
    ("pixel", b"", "can read safely"),
    ("pixel", b"<html>404: not found</html>", "can read safely"),
    ("pixel", pickle.dumps({"a": 1}), r"net\.pth is not a"),
    ("pixel", Evil(), "can read safely"),
    ("pixel", BUILD["pixel"](), "can read safely"),
    ("pixel", [torch.ones(2)], r"net\.pth is not a state dict, .* it has a list"),
]


@pytest.mark.parametrize(("kind", "given", "message"), MISFITS)
def test_a_misfit_is_named_is_never_run_and_leaves_the_network_alone(
    kind: str, given: Any, message: str, tmp_path: Path
) -> None:
    path, network = tmp_path / "net.pth", BUILD[kind]()
    before = model_state(network)
    if isinstance(given, bytes):
        path.write_bytes(given)
    else:
        torch.save(given, path)
    with pytest.raises(ValueError, match=message):
        load_reference_state_dict(network, path)
    assert same(before, model_state(network))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="can read safely"):
        load_reference_state_dict(network, path)
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*nowhere\.pth"):
        load_reference_state_dict(network, tmp_path / "nowhere.pth")
