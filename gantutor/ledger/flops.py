"""Floating-point operations, by torch's own formulas."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class FlopCounter(TorchDispatchMode):
    """Counts in `total` as `torch.utils.flop_counter.FlopCounterMode` does: matrix products and convolutions.

    A multiplication and an addition are two operations. FlopCounterMode itself follows modules, too, and with that it
    raises in `autograd.grad` with respect to a leaf, which is what a gradient penalty calls (torch 2.11 to 2.15).
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None and func is not torch.ops.prim.device.default:
            with self:
                result = func.decompose(*args, **kwargs)  # under inference_mode a composite operation arrives whole
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=result)
        return result
