"""How many bits a float32 has: IEEE's 24-bit mantissa, or what a device makes of it; and the widest float there is.

On a CUDA device torch lets convolutions round float32 numbers to TF32, with a mantissa of 10 bits (matrix products only
if asked). That is quick and good enough to train by, but two ways to write the same step then differ by 1e-3 instead of
1e-7. So whatever says that two things are equal computes in `float32_precision("ieee")`.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

NO_FLOAT64 = ("mps",)  # types of devices


@contextlib.contextmanager
def float32_precision(precision: str) -> Iterator[None]:
    """Have products and convolutions take float32 numbers as "ieee" has them, or rounded to "tf32", for a while.

    The setting is the process's: a run that plays in another thread computes so, too, meanwhile.
    """
    before = [(settings, settings.fp32_precision) for settings in backend_settings()]
    try:
        for settings, _ in before:
            settings.fp32_precision = precision
        yield
    finally:
        for settings, was in before:
            settings.fp32_precision = was


def backend_settings() -> list[Any]:
    """What holds the `fp32_precision` of each kind of operation."""
    backends: Any = torch.backends
    cuda, cudnn, mkldnn = backends.cuda, backends.cudnn, backends.mkldnn
    return [cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn]


def widened(x: Tensor) -> Tensor:
    """`x` in float64, on the CPU where its device has none (MPS)."""
    return (x.cpu() if x.device.type in NO_FLOAT64 else x).double()
