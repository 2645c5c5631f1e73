"""What pix2pix and CycleGAN share: their losses, a frozen discriminator, a look at a batch."""

import contextlib
import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gantutor.losses import LOSSES, LeastSquares, Loss


class SquaredError(LeastSquares):
    """LSGAN as the CycleGAN paper and the reference implementation write it, without LeastSquares' halves.

        d_loss = mean((real - 1) ** 2) + mean(fake ** 2)
        g_loss = mean((fake - 1) ** 2)

    The factor matters where other losses are added: lambda_L1, lambda_cycle and lambda_identity are relative to it.
    Source: Zhu et al., "Unpaired Image-to-Image Translation", 2017, section 4.
    """

    formula = "(l − 1)²"

    def d_loss(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        return 2 * super().d_loss(logits_real, logits_fake)

    def g_loss(self, logits_fake: Tensor, logits_real: Tensor | None = None) -> Tensor:
        return 2 * super().g_loss(logits_fake)


# The papers' "vanilla" loss is the non-saturating one. Their steps give a loss D's logits, and nothing else.
TRANSLATION_LOSSES: dict[str, Loss] = {
    **{name: loss for name, loss in LOSSES.items() if not (loss.has_penalty or loss.relativistic)},
    "lsgan": SquaredError(),
}


def translation_loss(name: str) -> Loss:
    """The loss of that name, also one that the steps refuse. Raises: ValueError for another, with those they take."""
    losses = {**LOSSES, **TRANSLATION_LOSSES}
    if name not in losses:
        raise ValueError(f"loss={name!r} is unknown; choose one of {', '.join(TRANSLATION_LOSSES)}")
    return losses[name]


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


def check_images(name: str, images: Tensor, network: nn.Module) -> None:
    """Raises: ValueError unless `images` is a finite batch (B, C, H, W) in [-1, 1], typed and placed as `network`."""
    if images.dim() != 4 or not len(images):
        raise ValueError(f"{name} must be a batch of images (B, C, H, W), got shape {tuple(images.shape)}")
    wanted = next(network.parameters())
    if images.dtype != wanted.dtype or images.device != wanted.device:
        raise ValueError(
            f"{name} is {images.dtype} on {images.device}, but the networks are {wanted.dtype} on {wanted.device}"
        )
    if not torch.isfinite(images).all():
        raise ValueError(f"{name} holds values that are NaN or infinite")
    if images.abs().max() > 1.001:
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"images must lie in [-1, 1], as G's tanh does; {name} spans [{low:.3g}, {high:.3g}]")


@torch.no_grad()
def attempt(network: nn.Module, images: Tensor, does: str) -> Tensor:
    """A copy of `network` in evaluation mode on `images`. Raises: ValueError that begins with `does` if it cannot."""
    try:
        return copy.deepcopy(network).eval()(images)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{does} of shape {tuple(images.shape)}: {error}") from error


def check_logits(who: str, logits: Tensor, count: int) -> None:
    """Raises: ValueError unless a discriminator's logits are (B, 1, h, w) with B = `count`."""
    if logits.dim() != 4 or logits.shape[:2] != (count, 1):
        raise ValueError(f"{who} must return logits (B, 1, h, w) for B={count}; got {tuple(logits.shape)}")
