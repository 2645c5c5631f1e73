"""The state of a model: save and restore its networks, optimizers, pools and random generators.

A model is any object that has networks and optimizers as attributes. Its state is what changes from step to step. Its
form (widths, kernels, device) is decided where it is built, and is not in the state.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

KERNELS = ("foreach", "fused", "capturable")  # how an optimizer computes, which is not in its state


def attributes(model: Any) -> dict[str, Any]:
    """A model's attributes by name; if the model is itself an nn.Module, its children, too."""
    children = dict(model.named_children()) if isinstance(model, nn.Module) else {}
    return {**vars(model), **children}


def networks(model: Any) -> dict[str, nn.Module]:
    """The networks among a model's attributes."""
    return {name: value for name, value in attributes(model).items() if isinstance(value, nn.Module)}


def unwrapped(model: Any) -> dict[str, nn.Module]:
    """A model's networks, without DistributedDataParallel around them where several processes train them."""
    return {
        name: network.module if isinstance(network, DistributedDataParallel) else network
        for name, network in networks(model).items()
    }


def model_device(model: Any) -> torch.device:
    """Where a model's networks are."""
    return next(parameter.device for network in networks(model).values() for parameter in network.parameters())


def optimizers(model: Any) -> dict[str, Optimizer]:
    """The optimizers among a model's attributes."""
    return {name: value for name, value in attributes(model).items() if isinstance(value, Optimizer)}


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """All that an optimizer updates."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def stateful(model: Any) -> dict[str, Any]:
    """What has a state among a model's attributes, networks without DistributedDataParallel around them."""
    parts = {name: value for name, value in attributes(model).items() if hasattr(value, "state_dict")}
    return {**parts, **unwrapped(model)}


def generators(model: Any) -> dict[str, torch.Generator]:
    """The generators that layers inside the networks draw from, as `SeededDropout` does."""
    return {
        f"{name}.{inner}": module.generator
        for name, network in unwrapped(model).items()
        for inner, module in network.named_modules()
        if isinstance(getattr(module, "generator", None), torch.Generator)
    }


def model_state(model: Any) -> dict[str, Any]:
    """The state of everything in a model that has one, not copied; a checkpoint stores these two names."""
    return {
        "parts": {name: part.state_dict() for name, part in stateful(model).items()},
        "generators": {name: generator.get_state() for name, generator in generators(model).items()},
    }


def load_state(model: Any, state: dict[str, Any]) -> None:
    """Restore a state that `model_state` gave, in place.

    Raises: ValueError for a state with other names in it; RuntimeError or ValueError for other shapes, and then some
    of it may have been loaded.
    """
    for what, ours in (("parts", stateful(model)), ("generators", generators(model))):
        if ours.keys() != state[what].keys():
            theirs, listed = ", ".join(state[what]) or "none", ", ".join(ours) or "none"
            raise ValueError(f"the {what} saved are {theirs}; the model has {listed}")
    for name, part in stateful(model).items():
        if isinstance(part, Optimizer):
            load_optimizer(part, state["parts"][name])
        else:
            part.load_state_dict(state["parts"][name])
    for name, generator in generators(model).items():
        generator.set_state(state["generators"][name])


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Put an optimizer into a saved state; it goes on with the kernels that it has now.

    Raises: ValueError for other groups, or moments that are not shaped as the parameters.
    """
    kernels = [{name: group[name] for name in KERNELS if name in group} for group in optimizer.param_groups]
    if len(kernels) == len(state["param_groups"]):  # or else torch says so
        groups = [{**theirs, **ours} for theirs, ours in zip(state["param_groups"], kernels, strict=True)]
        state = {**state, "param_groups": groups}
    optimizer.load_state_dict(state)
    for group in optimizer.param_groups:
        group["lr"] = float(group["lr"])  # a recorded step, the speed-up "graph", has it in a tensor
    place_counts(optimizer)
    for parameter, moments in optimizer.state.items():
        for name, moment in moments.items():
            if isinstance(moment, Tensor) and moment.dim():
                if moment.shape != parameter.shape:
                    raise ValueError(f"{name} is {tuple(moment.shape)}, its parameter {tuple(parameter.shape)}")
                # A moment lies in memory as its parameter does.
                moments[name] = torch.empty_like(parameter, dtype=moment.dtype).copy_(moment)


def place_counts(optimizer: Optimizer) -> None:
    """Put Adam's step counts where its update wants them: on the device if it must not come back to ask for them."""
    for group in optimizer.param_groups:
        there = group.get("fused") or group.get("capturable")
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].to(parameter.device if there else "cpu")
