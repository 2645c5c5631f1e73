"""Networks and images of known numbers, for the tests of image-to-image translation."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantutor.cyclegan import CycleGAN
from gantutor.data import Pairs, Unpaired
from gantutor.image_pool import ImagePool
from gantutor.lab.runner import pause_all
from gantutor.models import patchgan, resnet, unet
from gantutor.pix2pix import Pix2Pix

UNET = {"width": 2, "multipliers": (1, 2, 2), "dropout": 0.0}
RESNET = {"width": 2, "downsamplings": 1, "end_kernel": 3}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def to_bytes(images: Tensor) -> Tensor:
    """Floats in [-1, 1] as the uint8 that they came from."""
    return ((images + 1) * 127.5).round().byte()


def spread(*networks: nn.Module) -> None:
    """Ten times larger weights: the papers' small start leaves networks this narrow all but deaf."""
    for network in networks:
        for parameter in network.parameters():
            parameter.data *= 10 if parameter.dim() == 4 else 1


def build_pix2pix(norm: str = "batch", norm_G: str = "", dropout: float = 0.0, **settings: Any) -> Pix2Pix:
    """A small float64 model for pictures of 8 pixels, A with two channels and B with three."""
    torch.manual_seed(0)
    G = unet(8, 2, 3, norm=norm_G or norm, **{**UNET, "dropout": dropout})
    D = patchgan(5 if settings.get("conditional", True) else 3, 1, 4, norm)
    spread(G, D)
    return Pix2Pix.with_adam(G.double(), D.double(), lr_G=1e-3, lr_D=1e-3, **settings)


def build_cyclegan(norm: str = "instance", pool: int = 3, **settings: Any) -> CycleGAN:
    """A small float64 model for pictures of 8 pixels with two channels in both domains."""
    torch.manual_seed(0)
    G_AB, G_BA = (resnet(1, 2, 2, norm=norm, **RESNET) for _ in range(2))
    D_A, D_B = (patchgan(2, 1, 4, norm) for _ in range(2))
    networks = [network.double() for network in (G_AB, G_BA, D_A, D_B)]
    spread(*networks)
    return CycleGAN.with_adam(
        *networks, lr_G=1e-3, lr_D=1e-3, pool_A=ImagePool(pool, 0), pool_B=ImagePool(pool, 1), **settings
    )


def pictures(count: int, channels: int, side: int = 8, seed: int = 1) -> Tensor:
    """(count, channels, side, side) in [-1, 1], float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, side, side, generator=generator, dtype=torch.float64) * 2 - 1


def gradients(network: nn.Module) -> list[Tensor]:
    """What a network's parameters hold, zeros where they hold nothing."""
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in network.parameters()]


def bce(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def mse(logits: Tensor, target: float) -> Tensor:
    return F.mse_loss(logits, torch.full_like(logits, target))


@contextlib.contextmanager
def no_waiting() -> Iterator[None]:
    """Whatever waits for the GPU raises. The mode is the whole process's, so that no panel may play meanwhile."""
    pause_all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls the mode a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def on_cuda(record: Any) -> Any:
    """The record, and its data if that is no name, on the GPU."""
    data = record.data
    if isinstance(data, Pairs | Unpaired):
        halves = {name: value.cuda() for name, value in vars(data).items() if isinstance(value, Tensor)}
        data = dataclasses.replace(data, **halves)
    return record.replace(device="cuda", data=data)
