"""What a learner's training step did, on two tiny networks whose gradients are known, each loss's share apart."""

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from gantutor.checks.result import Function
from gantutor.gan import GAN
from gantutor.losses import LOSSES

LEFT_OVER = 0.05  # what every parameter's .grad holds before the step
RATE = 0.5  # both players': large, so that a step that came too early shows


@dataclass(frozen=True)
class Watched:
    """What a step did.

    Args:
        updates: the players in the order in which they moved, with the gradient that each was given.
        gan: the GAN after the step.
        used: which of "retain_graph" and "inputs=" its backwards have used.
    """

    updates: tuple[tuple[str, Tensor], ...]
    gan: GAN
    used: frozenset[str] = frozenset()

    @property
    def order(self) -> str:
        return "".join(player for player, _ in self.updates)

    def numbers(self) -> Tensor:
        """All gradients in their order, and the weights that are left."""
        return torch.cat(
            [*[gradient for _, gradient in self.updates], flat_weights(self.gan.D), flat_weights(self.gan.G)]
        )


def small_gan(loss: str) -> GAN:
    """Two float64 networks and SGD, the same every time; every parameter's `.grad` holds LEFT_OVER."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        G, D = (nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, out)) for out in (2, 1))
    G, D = G.double(), D.double()
    return GAN(G, D, torch.optim.SGD(G.parameters(), RATE), torch.optim.SGD(D.parameters(), RATE), LOSSES[loss])


def batch(seed: int, size: int = 4) -> tuple[Tensor, Tensor]:
    """(real, z), each (size, 2) in float64."""
    generator = torch.Generator().manual_seed(seed)
    real, z = torch.randn(2, size, 2, generator=generator, dtype=torch.float64)
    return real + 1, z


def flat_weights(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def watch_step(step: Function, gan: GAN, *inputs: Any) -> Watched:
    """Take the step once on a copy whose gradients hold something left over. Raises: what the step raises."""
    gan, inputs = copy.deepcopy((gan, inputs))
    for parameter in [*gan.G.parameters(), *gan.D.parameters()]:
        parameter.grad = torch.full_like(parameter, LEFT_OVER)
    updates = recorded(gan)
    with options_used() as used:
        step(gan, *inputs)
    return Watched(tuple(updates), gan, frozenset(used))


@contextlib.contextmanager
def options_used() -> Iterator[set[str]]:
    """A set that gains "retain_graph" and "inputs=" when a backward in the block uses them."""
    used: set[str] = set()

    def watched(function: Function) -> Function:
        signature = inspect.signature(function)

        def call(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs).arguments
            used.update({"retain_graph"} if given.get("retain_graph") else ())
            used.update({"inputs="} if function is backward and given.get("inputs") is not None else ())
            return function(*args, **kwargs)

        return call

    backward, grad = torch.autograd.backward, torch.autograd.grad  # Tensor.backward calls the first
    with (
        mock.patch.object(torch.autograd, "backward", watched(backward)),
        mock.patch.object(torch.autograd, "grad", watched(grad)),
    ):
        yield used


def recorded(gan: GAN) -> list[tuple[str, Tensor]]:
    """A list that from now on gains an entry whenever an optimizer steps: the player, and its gradient, flat."""
    updates: list[tuple[str, Tensor]] = []

    def record(player: str, network: nn.Module) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()]
            updates.append((player, torch.cat([part.flatten() for part in parts]).clone()))

        return hook

    for player, network, optimizer in (("G", gan.G, gan.opt_G), ("D", gan.D, gan.opt_D)):
        optimizer.register_step_pre_hook(record(player, network))
    return updates


def gradient_shares(gan: GAN, real: Tensor, z: Tensor) -> dict[str, Tensor]:
    """Each loss's gradient in each player, before either moves: "d in D", "g in G", "d in G", "g in D"."""
    fake = gan.G(z)
    d_loss, g_loss = gan.loss.d_loss(gan.D(real), gan.D(fake)), gan.loss.g_loss(gan.D(fake))
    found = {}
    for name, loss in (("d", d_loss), ("g", g_loss)):
        for player, network in (("D", gan.D), ("G", gan.G)):
            parts = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
            found[f"{name} in {player}"] = torch.cat([part.flatten() for part in parts])
    return found


def after(gan: GAN, player: str, gradient: Tensor) -> GAN:
    """The GAN when `player` has moved along this gradient."""
    moved = copy.deepcopy(gan)
    network = moved.G if player == "G" else moved.D
    nn.utils.vector_to_parameters(flat_weights(network) - RATE * gradient, network.parameters())
    return moved


def is_near(found: Tensor, wanted: Tensor) -> bool:
    """Whether two gradients, or two networks' weights, are the same up to rounding."""
    return torch.allclose(found, wanted, atol=1e-9)
