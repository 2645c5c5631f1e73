"""Speed-ups that a network or an optimizer has by itself: memory format, one-kernel updates, bfloat16."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gantutor.model_state import optimizers
from gantutor.scale.speed.compiled import forget_compiled
from gantutor.scale.speed.speedup import SpeedUp, SpeedUpRun, unwrap_networks


def never(run: SpeedUpRun) -> str:
    """No run refuses it."""
    return ""


# channels_last --------------------------------------------------------------------------------------------------------


def switch_channels_last(run: SpeedUpRun, on: bool) -> None:
    """Let a pixel's channels lie side by side in the convolutions' weights; images follow them. Adam's moments, too."""
    order = torch.channels_last if on else torch.contiguous_format
    weights = [p for network in unwrap_networks(run.model) for p in network.parameters() if p.dim() == 4]
    if all(weight.is_contiguous(memory_format=order) for weight in weights):
        return
    forget_compiled(run)
    for network in unwrap_networks(run.model):
        network.to(memory_format=order)
    for optimizer in optimizers(run.model).values():
        for parameter, state in optimizer.state.items():
            for name, moment in state.items():
                if isinstance(moment, Tensor) and moment.dim() == 4 and moment.shape == parameter.shape:
                    state[name] = moment.contiguous(memory_format=order)


CHANNELS_LAST = SpeedUp(never, switch_channels_last)


# fused ----------------------------------------------------------------------------------------------------------------


def refuse_fused(run: SpeedUpRun) -> str:
    for name, optimizer in optimizers(run.model).items():
        if not all("fused" in group for group in optimizer.param_groups):
            return f"{name}, {type(optimizer).__name__}, has no update in one kernel; Adam, AdamW and SGD have"
    return ""


def switch_fused(run: SpeedUpRun, on: bool) -> None:
    """Update all of an optimizer's parameters in one kernel."""
    for optimizer in optimizers(run.model).values():
        for group in optimizer.param_groups:
            if bool(group.get("fused")) != on:
                group["fused"] = on or None  # None: torch's own choice
                group["foreach"] = None
        place_counts(optimizer)


def place_counts(optimizer: torch.optim.Optimizer) -> None:
    """Put Adam's step counts where its update wants them: on the device if it must not come back to ask for them."""
    for group in optimizer.param_groups:
        there = group.get("fused") or group.get("capturable")
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].to(parameter.device if there else "cpu")


FUSED = SpeedUp(refuse_fused, switch_fused)


# bf16 -----------------------------------------------------------------------------------------------------------------


class InBf16:
    """A network's forward under autocast: it computes in bfloat16, and what it returns is float32 again.

    Weights, gradients, outputs and losses stay float32, and so does what makes a weight out of others: spectral norm's
    power iteration would not find the largest singular value in bfloat16. A bfloat16 has the range of a float32 and a
    third of its digits, so no gradient falls below the smallest number and the loss needs no scaling, as it does in
    float16.
    It stands in the network's `forward`: copies of the network get copies of it, and the state's names do not change.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __call__(self, x: Tensor) -> Tensor:
        with parametrize.cached():  # a weight that was made once, here, is the same until the end of the block
            for module in self.network.modules():
                for name in getattr(module, "parametrizations", {}):
                    getattr(module, name)
            with torch.autocast(x.device.type, torch.bfloat16):
                y: Tensor = type(self.network).forward(self.network, x)
        return y.float()


def switch_bf16(run: SpeedUpRun, on: bool) -> None:
    """Have every network compute in bfloat16."""
    for network in unwrap_networks(run.model):
        instance: dict[str, Any] = vars(network)
        if isinstance(instance.get("forward"), InBf16) == on:
            continue
        forget_compiled(run)
        if on:
            instance["forward"] = InBf16(network)
        else:
            del instance["forward"]


BF16 = SpeedUp(never, switch_bf16)
