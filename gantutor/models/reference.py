"""Checkpoints of the reference implementation of pix2pix and CycleGAN, loaded by name.

The U-Net, the ResNet and the PatchGAN of this package, built with the reference's settings, compute the same functions
under the same parameter names as github.com/junyanz/pytorch-CycleGAN-and-pix2pix.
"""

import copy
import pickle
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
MOST_LETTERS = 500  # of what an error message says of the differences


def load_reference_state_dict(network: nn.Module, source: str | Path | Mapping[str, Tensor]) -> None:
    """Load a state dict of the reference, or the file of one, into `network`, which is left alone if it does not fit.

    Taken in stride: the prefix "module." of nn.DataParallel, the statistics that InstanceNorm kept in old checkpoints,
    and the counter that BatchNorm did not keep in older ones.
    Raises: FileNotFoundError; ValueError for what is no state dict, or is one of another network, with the names and
    shapes that differ.
    """
    network.load_state_dict(matched_state_dict(network, source))


def matched_state_dict(network: nn.Module, source: str | Path | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `load_reference_state_dict` will load: the same names and shapes as `network.state_dict()` has.

    Raises: as `load_reference_state_dict`.
    """
    what = "the state dict" if isinstance(source, Mapping) else str(source)
    given = as_state_dict(source if isinstance(source, Mapping) else read_state(Path(source)), what)
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.InstanceNorm2d)}
    given = {name: tensor for name, tensor in given.items() if not is_statistic(name, norms)}
    counters = {name: x for name, x in network.state_dict().items() if name.endswith("num_batches_tracked")}
    found = counters | given
    try:
        copy.deepcopy(network).load_state_dict(found)
    except RuntimeError as error:
        raise ValueError(f"{what} does not fit {type(network).__name__}: {shortened(error)}") from None
    return found


def shortened(error: Exception) -> str:
    """Torch's message without its first line, which names every difference."""
    return textwrap.shorten(str(error).partition("\n")[2], MOST_LETTERS, placeholder=" …")


def is_statistic(name: str, norms: set[str]) -> bool:
    """Whether `name` is a running statistic of one of the named norms."""
    module, _, buffer = name.rpartition(".")
    return module in norms and buffer in STATISTICS


def as_state_dict(content: Any, what: str) -> dict[str, Tensor]:
    """A mapping from names to tensors, without DataParallel's prefix. Raises: ValueError for anything else."""
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        has = ", ".join(map(repr, content)) if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise ValueError(f"{what} is not a state dict, which maps names to tensors; it has {has:.200}")
    prefix = "module." if all(name.startswith("module.") for name in content) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in content.items()}


def read_state(path: Path) -> Any:
    """What `torch.save` has put into a file, tensors and plain containers only: a checkpoint must not run code.

    Raises: FileNotFoundError; ValueError for a file that is something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # a pickle that torch.save has not written
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is not a file of weights that torch.load can read safely: {reason}") from error
