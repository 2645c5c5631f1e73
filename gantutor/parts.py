"""The parts of a model that training and its ledger look for: any object that has networks and optimizers."""

from typing import Any

from torch import nn
from torch.optim import Optimizer


def attributes(model: Any) -> dict[str, Any]:
    """A model's attributes by name; if the model is itself an nn.Module, its children, too."""
    children = dict(model.named_children()) if isinstance(model, nn.Module) else {}
    return {**vars(model), **children}


def networks(model: Any) -> dict[str, nn.Module]:
    """The networks among a model's attributes."""
    return {name: value for name, value in attributes(model).items() if isinstance(value, nn.Module)}


def optimizers(model: Any) -> dict[str, Optimizer]:
    """The optimizers among a model's attributes."""
    return {name: value for name, value in attributes(model).items() if isinstance(value, Optimizer)}
