"""Loading checkpoints of the reference implementation: what is taken in stride, and what is refused."""

import copy
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from gantutor.models import load_reference_state_dict, patchgan, resnet, unet

BUILD = {
    "unet": lambda **options: unet(8, width=2, **options),
    "unet, instance": lambda **options: unet(8, width=2, norm="instance", **options),
    "resnet": lambda **options: resnet(1, width=2, **options),
    "resnet, batch": lambda **options: resnet(1, width=2, norm="batch", **options),
    "patchgan": lambda **options: patchgan(3, 1, 2, **options),
    "pixel": lambda **options: patchgan(3, 0, 2, **options),
}


def model_state(network: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(network.state_dict())


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", BUILD)
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("from_file", [True, False])
def test_a_state_dict_is_loaded_by_name(kind, prefix, from_file, tmp_path) -> None:
    """In whatever order its names come, with or without the prefix of DataParallel."""
    source, network = BUILD[kind](), BUILD[kind]()
    given = OrderedDict((prefix + name, tensor) for name, tensor in reversed(model_state(source).items()))
    assert not same(model_state(source), model_state(network))
    if from_file:
        torch.save(given, tmp_path / "latest_net_G.pth")
        load_reference_state_dict(network, tmp_path / "latest_net_G.pth")
    else:
        load_reference_state_dict(network, given)
    assert same(model_state(source), model_state(network))


@pytest.mark.parametrize("kind", ["resnet", "unet, instance"])
def test_the_statistics_of_old_instance_norms_are_dropped(kind) -> None:
    source, network = BUILD[kind](), BUILD[kind]()
    given = model_state(source)
    norms = [name for name, module in source.named_modules() if isinstance(module, nn.InstanceNorm2d)]
    assert norms
    for name in norms:
        given |= {f"{name}.running_mean": torch.ones(3), f"{name}.running_var": torch.ones(3)}
        given[f"{name}.num_batches_tracked"] = torch.tensor(7)
    load_reference_state_dict(network, given)
    assert same(model_state(source), model_state(network))


def test_the_statistics_of_batchnorm_are_not() -> None:
    given = model_state(BUILD["unet"]())
    (mean, *_) = [name for name in given if name.endswith("running_mean")]
    del given[mean]
    with pytest.raises(ValueError, match=f"{mean} .* is missing"):
        load_reference_state_dict(BUILD["unet"](), given)
    given = model_state(BUILD["patchgan"]()) | {"model.1.running_mean": torch.ones(2)}
    with pytest.raises(ValueError, match=r"model\.1\.running_mean \(2,\) is not expected"):
        load_reference_state_dict(BUILD["patchgan"](), given)


def test_an_old_batchnorm_has_no_counter() -> None:
    source, network = BUILD["unet"](), BUILD["unet"]()
    given = {name: tensor for name, tensor in model_state(source).items() if not name.endswith("num_batches_tracked")}
    load_reference_state_dict(network, given)
    assert same(model_state(source), model_state(network))


def test_a_file_of_an_old_pytorch_is_read(tmp_path) -> None:
    """The reference's published checkpoints are older than PyTorch's zip format."""
    source, network = BUILD["unet"](), BUILD["unet"]()
    torch.save(model_state(source), tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    load_reference_state_dict(network, tmp_path / "net.pth")
    assert same(model_state(source), model_state(network))


def test_a_checkpoint_of_half_precision_is_converted() -> None:
    source, network = BUILD["patchgan"](), BUILD["patchgan"]()
    load_reference_state_dict(network, {name: tensor.half() for name, tensor in model_state(source).items()})
    assert all(tensor.dtype != torch.half for tensor in network.state_dict().values())
    torch.testing.assert_close(
        network.state_dict()["model.0.weight"], source.state_dict()["model.0.weight"], atol=1e-4, rtol=0
    )


MISFITS = {
    "another network": (
        "resnet",
        lambda: model_state(BUILD["patchgan"]()),
        r"does not fit ResNet: model.1.weight \(2, 3, 7, 7\) is missing",
    ),
    "another width": (
        "patchgan",
        lambda: model_state(patchgan(3, 1, 4)),
        r"model.0.weight has shape \(4, 3, 4, 4\), expected \(2, 3, 4, 4\); .*model.2.weight has shape",
    ),
    "more than an error should list": ("resnet", lambda: model_state(unet(64, width=1)), r"; and \d\d more$"),
    "a layer more": (
        "patchgan", lambda: model_state(BUILD["patchgan"]()) | {"extra.weight": torch.ones(2)},
        r"does not fit PatchGAN: extra.weight \(2,\) is not expected$",
    ),
    "an optimizer's": ("pixel", lambda: {"state": {}, "param_groups": []}, "'state': dict, 'param_groups': list"),
    "nothing": ("pixel", dict, "it has nothing"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_a_misfit_is_named_and_leaves_the_network_alone(case) -> None:
    kind, given, message = MISFITS[case]
    network = BUILD[kind]()
    before = model_state(network)
    with pytest.raises(ValueError, match=message):
        load_reference_state_dict(network, given())
    assert same(before, model_state(network))


class Evil:
    """What an unsafe pickle does when it is opened."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("the file was executed",))


def test_a_file_is_read_without_running_it(tmp_path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"model.0.weight": Evil()}, path)
    with pytest.raises(ValueError, match=r"is not a file of weights that torch\.load can read safely"):
        load_reference_state_dict(BUILD["pixel"](), path)


@pytest.mark.parametrize("content", [b"", b"<html>404: not found</html>", pickle.dumps({"a": 1})])
def test_a_file_of_something_else_is_refused(content, tmp_path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.pth is not a"):
        load_reference_state_dict(BUILD["pixel"](), path)


def test_a_truncated_file_is_refused(tmp_path) -> None:
    whole, path = tmp_path / "whole.pth", tmp_path / "net.pth"
    torch.save(model_state(BUILD["unet"]()), whole)
    path.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"net\.pth is not a file of weights"):
        load_reference_state_dict(BUILD["unet"](), path)


def test_a_whole_network_or_a_list_is_refused(tmp_path) -> None:
    path = tmp_path / "net.pth"
    torch.save(BUILD["pixel"](), path)
    with pytest.raises(ValueError, match="can read safely"):
        load_reference_state_dict(BUILD["pixel"](), path)
    torch.save([torch.ones(2)], path)
    with pytest.raises(ValueError, match=r"net\.pth holds a list, expected a state dict"):
        load_reference_state_dict(BUILD["pixel"](), path)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*nowhere\.pth"):
        load_reference_state_dict(BUILD["pixel"](), tmp_path / "nowhere.pth")
