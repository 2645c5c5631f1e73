"""Speed-ups: ways to compute the same step faster, switched on and off between two steps of a run.

A training step knows nothing of them. They change where numbers lie in memory, which kernels compute them and, for
"bf16" alone, how many bits they have on the way. What a step means stays as it is written in steps.py.
"""

import torch

from gantutor.speed.compiled import COMPILED, is_getting_ready, wait_until_ready
from gantutor.speed.memory import keep_memory
from gantutor.speed.recorded import GRAPH
from gantutor.speed.speedup import Run, SpeedUp
from gantutor.speed.switches import BF16, CHANNELS_LAST, FUSED

__all__ = ["SPEED_UPS", "check_speed", "is_getting_ready", "keep_memory", "set_speed", "suited", "wait_until_ready"]

SPEED_UPS: dict[str, SpeedUp] = {  # in the order in which they are switched
    "channels_last": CHANNELS_LAST,
    "fused": FUSED,
    "bf16": BF16,
    "compile": COMPILED,
    "graph": GRAPH,
}


def set_speed(run: Run, names: tuple[str, ...]) -> None:
    """Have a run use exactly these speed-ups from its next step on; safe to call again.

    "compile" makes ready in the background, while the run goes on as before; `wait_until_ready(run)` waits for it.
    Raises: ValueError for a name that does not exist, or why one cannot be used here; nothing has changed then.
    """
    check_speed(run, names)
    for name, speed_up in SPEED_UPS.items():
        speed_up.switch(run, name in names)


def check_speed(run: Run, names: tuple[str, ...]) -> None:
    """Raises: ValueError for a name that does not exist, or why one cannot be used in this run, as it is now."""
    unknown = [name for name in names if name not in SPEED_UPS]
    if unknown:
        raise ValueError(f"speed-up {unknown[0]!r} is unknown; choose some of {', '.join(SPEED_UPS)}")
    for name in names:
        reason = SPEED_UPS[name].refusal(run)
        if reason:
            raise ValueError(f"{name} cannot be used here: {reason}")


def suited(device: torch.device | str) -> tuple[str, ...]:
    """What pays on that kind of device and changes float32 results by rounding alone.

    Chosen for a CPU by measuring each against the plain step, in turns in one process, for the three default records;
    for CUDA by what torch's documentation says. A recording ("graph") would pay there, too, but not every step can be
    recorded, so it has to be asked for.
    """
    return ("channels_last", "fused") if torch.device(device).type in ("cpu", "cuda") else ()
