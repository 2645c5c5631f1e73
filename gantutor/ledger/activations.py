"""What each layer of a network hands on."""

from typing import Any

import torch
from torch import Tensor, nn

from gantutor.ledger.reach import undone


def activations(network: nn.Module, *batches: Tensor) -> list[dict[str, Tensor]]:
    """A forward for each batch, and for each forward the layers' outputs in their order, by name ("3 BatchNorm2d").

    The forwards run without a graph, in the network's mode, and are undone: nothing changes in the network, its running
    statistics and the global random state. Containers are not recorded; a layer that runs twice in a forward has its
    later outputs under "3 BatchNorm2d (2)".
    """
    found: list[dict[str, Tensor]] = []
    with torch.no_grad(), undone(network, *batches):
        for name, layer in layers(network).items():
            layer.register_forward_hook(ActivationRecorder(f"{name} {type(layer).__name__}".strip(), found))
        for batch in batches:
            found.append({})
            network(batch)
    return found


def layers(network: nn.Module) -> dict[str, nn.Module]:
    """The modules that compute: those with no children, where a parametrization (spectral norm) is not one."""
    inside = {name: module for name, module in network.named_modules() if "parametrizations" not in name.split(".")}
    return {
        name: module
        for name, module in inside.items()
        if all(child == "parametrizations" for child, _ in module.named_children())
    }


class ActivationRecorder:
    """A forward hook that writes a layer's output under the layer's name into the newest record."""

    def __init__(self, name: str, found: list[dict[str, Tensor]]) -> None:
        self.name, self.found = name, found

    def __call__(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        record, name, times = self.found[-1], self.name, 1
        while name in record:
            times += 1
            name = f"{self.name} ({times})"
        if isinstance(output, Tensor):
            record[name] = output.detach().clone()  # a later layer may write into it
