"""Small runs that many tests start from, and what two runs are compared by."""

from typing import Any

import torch
from torch import Tensor

from gantutor.configs import CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.configs.translation_configs import SeededDropout
from gantutor.data import Pairs, Unpaired
from gantutor.image_pool import ImagePool
from gantutor.model_state import networks, optimizers
from gantutor.training import Run


def noise(n: int, seed: int, size: int = 16, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, size, size), generator=generator, dtype=torch.uint8)


PAIRS = Pairs("noise", noise(9, 0), noise(9, 1), flip=True)
HEAPS = Unpaired("heaps", noise(9, 0), noise(7, 1), noise(5, 2), noise(5, 3), ("dots", "dashes"), flip=True)
P2P = Pix2PixConfig(data=PAIRS, width_G=4, width_D=4, patch=16, batch_size=2, steps=0)
CYC = CycleGANConfig(data=HEAPS, width_G=4, width_D=4, blocks=1, patch=16, pool_size=3, steps=0)
CONFIGS: dict[str, Any] = {"pix2pix": P2P, "cyclegan": CYC}
OTHER: dict[str, dict[str, Any]] = {  # for each LIVE field a value that takes effect in the third step
    "pix2pix": {
        "strategy": "g_first_detach",
        "objective": "cGAN",
        "loss": "hinge",
        "lambda_L1": 1.0,
        "lr": 1e-2,
        "steps": 6,
        "speed": ("bf16",),
    },
    "cyclegan": {
        "strategy": "d_first_shared",
        "loss": "hinge",
        "lambda_gan": 3.0,
        "lambda_cycle": 1.0,
        "lambda_identity": 0.0,
        "pool_size": 0,
        "lr": 1e-2,
        "steps": 6,
        "speed": ("bf16",),
    },
}
GAN_OTHER: dict[str, Any] = {
    **{"strategy": "simultaneous", "loss": "wgan", "batching": "joint", "lr_G": 3e-3, "lr_D": 4e-3, "d_steps": 3},
    "speed": ("bf16",),
}
RING = GANConfig(data="ring", batch_size=8, model_options={"width": 8}, device="cpu")
SMALL: dict[str, Any] = {
    "gan": GANConfig(data="digits", batch_size=8, model_options={"width_G": 8, "width_D": 8}, device="cpu"),
    "pix2pix": Pix2PixConfig(
        data=Pairs("noise", noise(9, 0), noise(9, 1)), width_G=8, width_D=8, patch=16, batch_size=2, device="cpu"
    ),
    "cyclegan": CycleGANConfig(
        data=Unpaired("heaps", noise(9, 0), noise(7, 1), noise(5, 2), noise(5, 3), ("dots", "dashes")),
        width_G=8, width_D=8, blocks=1, patch=16, pool_size=3, device="cpu",
    ),
}  # fmt: skip


def state(run: Run) -> list[Tensor]:
    """All that the next step depends on: weights, statistics, moments, pools, chance."""
    tensors = [tensor for network in networks(run.model).values() for tensor in network.state_dict().values()]
    for network in networks(run.model).values():
        tensors += [m.generator.get_state() for m in network.modules() if isinstance(m, SeededDropout)]
    for optimizer in optimizers(run.model).values():
        tensors += [torch.as_tensor(x) for moments in optimizer.state.values() for x in moments.values()]
    for pool in (value for value in vars(run.model).values() if isinstance(value, ImagePool)):
        tensors += [*pool.images, pool.generator.get_state()]
    return [tensor.clone() for tensor in tensors]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) > 0 and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def difference(a: Any, b: Any) -> float:
    """The largest difference between two states of the same form; 0 is bit for bit."""
    if isinstance(a, dict):
        return 1.0 if list(a) != list(b) else max((difference(a[name], b[name]) for name in a), default=0.0)
    if isinstance(a, list | tuple) and len(a) == len(b):
        return max((difference(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape:
        return 0.0 if torch.equal(a, b) else float((a.double() - b.double()).abs().max())
    return float(type(a) is not type(b) or isinstance(a, Tensor) or a != b)


def equal_runs(a: Run, b: Run) -> bool:
    """All that the next step depends on, and the history, bit for bit."""
    return difference(a.state_dict(), b.state_dict()) == 0


def after(config: Any, steps: int, *speed: str) -> Run:
    """A run of that config after some steps, with these speed-ups."""
    run: Run = config.replace(speed=speed or config.speed).start()
    for _ in range(steps):
        run.step()
    return run
