"""Speed-ups: ways to compute the same step faster, switched on and off between two steps of a run.

A training step knows nothing of them. They change where numbers lie in memory, which kernels compute them and, for
"bf16" alone, how many bits they have on the way. What a step means stays as it is written in steps.py.
"""

import functools
from typing import Any

import torch
from torch import nn

from gantutor.scale.speed.compiled import COMPILED, is_getting_ready, wait_until_ready
from gantutor.scale.speed.cuda_graph import GRAPH
from gantutor.scale.speed.memory import keep_memory
from gantutor.scale.speed.speedup import SpeedUp, SpeedUpRun, unwrap_networks
from gantutor.scale.speed.switches import BF16, CHANNELS_LAST, FUSED

__all__ = [
    "SPEED_UPS",
    "check_speed",
    "is_getting_ready",
    "keep_memory",
    "recommended",
    "set_allowed",
    "set_speed",
    "wait_until_ready",
]

SPEED_UPS: dict[str, SpeedUp] = {  # in the order in which they are switched
    "channels_last": CHANNELS_LAST,
    "fused": FUSED,
    "bf16": BF16,
    "compile": COMPILED,
    "graph": GRAPH,
}


def set_speed(run: SpeedUpRun, names: tuple[str, ...]) -> None:
    """Have a run use exactly these speed-ups from its next step on; safe to call again.

    "compile" makes ready in the background, while the run goes on as before; `wait_until_ready(run)` waits for it.
    Raises: ValueError for a name that does not exist, or why one cannot be used here; nothing has changed then.
    """
    check_speed(run, names)
    for name, speed_up in SPEED_UPS.items():
        speed_up.switch(run, name in names)
    run.refit = functools.partial(set_allowed, names=names)


def set_allowed(run: SpeedUpRun, names: tuple[str, ...]) -> None:
    """Have a run use those of the speed-ups that it does not refuse."""
    set_speed(run, tuple(name for name in names if not SPEED_UPS[name].refusal(run)))


def check_speed(run: SpeedUpRun, names: tuple[str, ...]) -> None:
    """Raises: ValueError for a name that does not exist, or why one cannot be used in this run, as it is now."""
    unknown = [name for name in names if name not in SPEED_UPS]
    if unknown:
        raise ValueError(f"speed-up {unknown[0]!r} is unknown; choose some of {', '.join(SPEED_UPS)}")
    for name in names:
        reason = SPEED_UPS[name].refusal(run)
        if reason:
            raise ValueError(f"{name} cannot be used here: {reason}")


def recommended(device: torch.device | str, model: Any = None) -> tuple[str, ...]:
    """What pays on that kind of device, for that model if one is given, and changes float32 results by rounding alone.

    On a CPU it was chosen from benchmarks/speed_ups.py, which measures each against the plain step, in turns, for every
    default config: instance norm wants its images the other way round there, and copies them there and back. On CUDA
    benchmarks/gpu.py decides: a recording ("graph") pays most. Not every step can be recorded: see `set_allowed`.
    """
    kind = torch.device(device).type
    if kind == "cpu" and model is not None and has_instance_norm(model):
        return ("fused",)
    return {"cpu": ("channels_last", "fused"), "cuda": ("fused", "graph")}.get(kind, ())


def has_instance_norm(model: Any) -> bool:
    modules = [module for network in unwrap_networks(model) for module in network.modules()]
    return any(isinstance(module, nn.InstanceNorm2d) for module in modules)
