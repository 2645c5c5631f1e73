"""Small float64 GANs, a way to see the gradients that each player's optimizer was given, and scripts as modules."""

import copy
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from gantutor.gan import GAN
from gantutor.models import dcgan, mlp_points
from gantutor.steps import Report, Step

# name: (builder, options, shape of one real, z_dim). "-batch" has BatchNorm in both players, the others have no norm.
NETWORKS = {
    "points": (mlp_points, {"width": 16}, (2,), 3),
    "points-batch": (mlp_points, {"width": 16, "norm_G": "batch", "norm_D": "batch"}, (2,), 3),
    "dcgan": (dcgan, {"width_G": 4, "width_D": 4, "norm_G": "none", "norm_D": "none"}, (1, 28, 28), 5),
    "dcgan-batch": (dcgan, {"width_G": 4, "width_D": 4}, (1, 28, 28), 5),
}
WITHOUT_BATCHNORM = ["points", "dcgan"]
WITH_BATCHNORM = ["points-batch", "dcgan-batch"]

Batch = tuple[Tensor, Tensor]


def build(networks: str, loss: str = "non-saturating", batching: str = "split", lr: float = 1e-3, seed: int = 0) -> GAN:
    """A float64 GAN. DCGAN's small start leaves networks this narrow all but deaf: ten times larger, logits spread."""
    builder, options, shape, z_dim = NETWORKS[networks]
    torch.manual_seed(seed)
    G, D = builder(shape, z_dim, **options)
    if builder is dcgan:
        for parameter in [*G.parameters(), *D.parameters()]:
            parameter.data *= 10 if parameter.dim() == 4 else 1
    return GAN.with_adam(G.double(), D.double(), loss, batching, lr_G=lr, lr_D=lr)


def draw(networks: str, count: int = 1, size: int = 6, seed: int = 1) -> list[Batch]:
    """`count` batches (real, z). Reals lie in [0, 1], so that a first D can tell them from fakes."""
    _, _, shape, z_dim = NETWORKS[networks]
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.rand(size, *shape, generator=generator, dtype=torch.float64),
            torch.randn(size, z_dim, generator=generator, dtype=torch.float64),
        )
        for _ in range(count)
    ]


@dataclass
class Run:
    """What some steps did to a copy of a GAN. `gradients["G"][i]` is all of G's gradient at its i-th update, flat."""

    gan: GAN
    reports: list[Report]
    gradients: dict[str, list[Tensor]]


def run(gan: GAN, step: Step, batches: list[Batch]) -> Run:
    """Take one step for each batch on a copy of `gan`. A deep copy holds no gradients: what was left over is gone."""
    gan = copy.deepcopy(gan)
    gradients: dict[str, list[Tensor]] = {"G": [], "D": []}
    hooks = [
        optimizer.register_step_pre_hook(lambda *_, to=gradients[player], of=network: to.append(gradient(of)))
        for player, network, optimizer in (("G", gan.G, gan.opt_G), ("D", gan.D, gan.opt_D))
    ]
    reports = [step(gan, real, z) for real, z in batches]
    for hook in hooks:
        hook.remove()  # a later copy of this GAN must not write into these lists
    return Run(gan, reports, gradients)


def gradient(network: nn.Module) -> Tensor:
    """All gradients a network holds, flat; 0 where it holds none."""
    parameters = list(network.parameters())
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]).clone()


def weights(network: nn.Module) -> Tensor:
    """All parameters of a network, flat."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).clone()


def batchnorm_counts(network: nn.Module) -> set[int]:
    """How many batches each BatchNorm of a network has counted."""
    return {int(count) for name, count in network.named_buffers() if name.endswith("num_batches_tracked")}


def same_weights(a: GAN, b: GAN) -> bool:
    """Bit for bit, both players."""
    return torch.equal(weights(a.G), weights(b.G)) and torch.equal(weights(a.D), weights(b.D))


def same_state(a: GAN, b: GAN) -> bool:
    """Bit for bit, both players, with BatchNorm's statistics."""
    before, after = ([*gan.G.state_dict().values(), *gan.D.state_dict().values()] for gan in (a, b))
    return all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """‖found − wanted‖ / ‖wanted‖."""
    return ((found - wanted).norm() / wanted.norm()).item()


def load_script(path: Path) -> ModuleType:
    """A script that is on no path, such as those in data/ and docs/, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script
