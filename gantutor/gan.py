"""The GAN that every training step changes: two networks, two optimizers, a loss, and how D's batches are formed."""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gantutor.losses import LOSSES, Loss
from gantutor.model_state import generators

BATCHINGS = ("split", "joint", "joint_in_D_step", "joint_in_G_step")
JOINT_FOR_D = ("joint", "joint_in_D_step")


@dataclass
class GAN:
    """A generator, a discriminator, their optimizers, the loss, and how real and fake are batched for D.

    `batching` matters only where D has BatchNorm, which normalises with the statistics of the batch it is given:
    "split" scores real and fake in two calls, and in G's step the fakes alone; "joint" scores both in one call, in G's
    step too. The two others mix them: "joint_in_D_step" is joint in D's step and split in G's, "joint_in_G_step" is
    split in D's step and joint in G's.
    """

    G: nn.Module
    D: nn.Module
    opt_G: torch.optim.Optimizer
    opt_D: torch.optim.Optimizer
    loss: Loss
    batching: str = "split"

    def __post_init__(self) -> None:
        if self.batching not in BATCHINGS:
            raise ValueError(f"batching={self.batching!r} is unknown; choose one of {', '.join(BATCHINGS)}")

    @classmethod
    def with_adam(
        cls,
        G: nn.Module,
        D: nn.Module,
        loss: str = "non-saturating",
        batching: str = "split",
        lr_G: float = 2e-4,
        lr_D: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
    ) -> "GAN":
        """A GAN whose players use Adam; the rates and betas are DCGAN's (Radford et al., 2016, section 4).

        Raises: ValueError for an unknown loss or batching, with the names that exist.
        """
        if loss not in LOSSES:
            raise ValueError(f"loss={loss!r} is unknown; choose one of {', '.join(LOSSES)}")
        opt_G = torch.optim.Adam(G.parameters(), lr_G, betas)
        opt_D = torch.optim.Adam(D.parameters(), lr_D, betas)
        return cls(G, D, opt_G, opt_D, LOSSES[loss], batching)

    @property
    def joint_for_D(self) -> bool:
        """Does D's step score real and fake in one call?"""
        return self.batching in JOINT_FOR_D

    def logits(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """D's scores of `real` and of `fake` in D's step."""
        if self.joint_for_D:
            logits_real, logits_fake = self.D(torch.cat([real, fake])).split([len(real), len(fake)])
            return logits_real, logits_fake
        return self.D(real), self.D(fake)

    def logits_for_G(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor | None]:
        """What `loss.g_loss` is given in G's step: D's scores of `fake`, and of `real`.

        Where the two are split, `real` is scored only for a relativistic loss, and is None for the others.
        """
        if self.batching in ("joint", "joint_in_G_step"):
            logits_real, logits_fake = self.D(torch.cat([real, fake])).split([len(real), len(fake)])
            return logits_fake, logits_real
        with torch.no_grad():
            logits_of_real = self.D(real) if self.loss.relativistic else None
        return self.D(fake), logits_of_real

    @torch.no_grad()
    def sample(self, z: Tensor) -> Tensor:
        """G(z) for looking at: in evaluation mode, without a graph, and without a trace in G (no statistics move)."""
        with evaluating(self.G):
            return self.G(z)

    @torch.no_grad()
    def prob_real(self, x: Tensor) -> Tensor:
        """σ(D(x)), the probability that D gives to x being real, for looking at (as `sample` is)."""
        with evaluating(self.D):
            return self.D(x).sigmoid()

    def fake_gradient(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Minus the gradient of G's loss, −∂L_G/∂fake: where that loss pushes each fake; the shape of `fake`.

        The minus sign makes it the direction of descent, not the gradient itself. A relativistic loss needs as many
        `real` to compare the fakes with.
        """
        fake = fake.detach().requires_grad_()
        with evaluating(self.D), torch.enable_grad():
            logits_real = None if real is None else self.D(real)
            (gradient,) = torch.autograd.grad(self.loss.g_loss(self.D(fake), logits_real), fake)
        return -gradient

    def check(self, real: Tensor, z: Tensor) -> None:
        """Look at one batch before training starts: do the shapes, types and ranges fit the networks?

        Raises: ValueError, saying what came and what was expected.
        """
        for name, batch in (("real", real), ("z", z)):
            check_batch(name, batch, self.G)
        if len(real) < 2:
            raise ValueError(f"a batch needs at least 2 samples, got {len(real)}")
        fake = attempt(self.G, z, "G does not take z")
        if fake.shape != real.shape:
            raise ValueError(f"G(z) has shape {tuple(fake.shape)}, but real has shape {tuple(real.shape)}")
        check_logits("D", attempt(self.D, fake, "D does not take real"), len(real), patches=False)


@contextlib.contextmanager
def training_for_a_look(network: nn.Module) -> Iterator[None]:
    """Training mode for a while, with copies of the statistics and the generators' states: none of the network's moves.

    Only buffers are copied. What was compiled for a step's shapes is not called: it would compile again for others.
    """
    modes = [(module, module.training) for module in network.modules()]
    kept = [(m._buffers, name, held) for m, _ in modes for name, held in m._buffers.items() if held is not None]
    drawn = [(generator, generator.get_state()) for generator in generators(network).values()]
    compiled, network._compiled_call_impl = network._compiled_call_impl, None
    for buffers, name, held in kept:
        buffers[name] = held.clone()
    network.train()
    try:
        yield
    finally:
        network._compiled_call_impl = compiled
        for buffers, name, held in kept:
            buffers[name] = held
        for generator, state in drawn:
            generator.set_state(state)
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


@contextlib.contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Make no gradients for these networks' weights for a while; gradients still go through them to their inputs.

    What was computed inside stays so afterwards. Around D in G's step it saves a third of what D costs there.
    """
    parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_()


def check_batch(name: str, batch: Tensor, network: nn.Module, images: bool = False) -> None:
    """Raises: ValueError unless `batch` is finite, typed and placed as `network`, and images (B, C, H, W) in [-1, 1].

    `images` says that it must be images; else four axes do.
    """
    if images and (batch.dim() != 4 or not len(batch)):
        raise ValueError(f"{name} must be a batch of images (B, C, H, W), got shape {tuple(batch.shape)}")
    wanted = next(network.parameters())
    if batch.dtype != wanted.dtype or batch.device != wanted.device:
        raise ValueError(
            f"{name} is {batch.dtype} on {batch.device}, but the networks are {wanted.dtype} on {wanted.device}"
        )
    if not torch.isfinite(batch).all():
        raise ValueError(f"{name} holds values that are NaN or infinite")
    if batch.dim() == 4 and batch.abs().max() > 1.001:
        low, high = batch.min().item(), batch.max().item()
        raise ValueError(f"images must lie in [-1, 1], as G's tanh does; {name} spans [{low:.3g}, {high:.3g}]")


def attempt(network: nn.Module, batch: Tensor, does: str) -> Tensor:
    """A copy of `network` in evaluation mode on `batch`. Raises: ValueError that begins with `does` if it cannot."""
    try:
        return copy.deepcopy(network).eval()(batch)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{does} of shape {tuple(batch.shape)}: {error}") from error


def check_logits(who: str, logits: Tensor, count: int, patches: bool = True) -> None:
    """Raises: ValueError unless D's logits are (B, 1, h, w) with B = `count`; (B, 1) is enough if not `patches`."""
    if type(logits.grad_fn).__name__ == "SigmoidBackward0":
        raise ValueError(f"{who} ends in a sigmoid, and the losses take logits: leave the sigmoid out")
    if logits.shape[:2] != (count, 1) or (patches and logits.dim() != 4):
        form = "(B, 1, h, w)" if patches else "(B, 1) or (B, 1, H, W)"
        raise ValueError(f"{who} must return logits {form} for B={count}; got {tuple(logits.shape)}")
