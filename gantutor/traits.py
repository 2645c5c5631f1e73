"""What the rest of the package must know of a training step, noted beside the step; and why a step refuses a loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from gantutor.losses import Loss

AnyStep = TypeVar("AnyStep", bound=Callable[..., Any])


@dataclass(frozen=True)
class Traits:
    """As a decorator, `@Traits(...)` notes the traits as the step's attribute `traits`, and returns the same function.

    Attributes:
        two_backwards: "G" or "D", if two backwards go through one forward of that network.
        rescales: Whether G's gradient is made from D's, by the loss's `slope_ratio`.
        logits_only: Whether the losses are given D's logits only: no penalty, and no logits of real images for G.
        joins_domains: Whether a generator is given images of both domains in one batch.
    """

    two_backwards: str = ""
    rescales: bool = False
    logits_only: bool = False
    joins_domains: bool = False

    def __call__(self, step: AnyStep) -> AnyStep:
        vars(step)["traits"] = self
        return step


def traits_of(step: Callable[..., Any]) -> Traits:
    """The traits of a step, or of the `last` step of what wraps one (NCritic, LRDecay)."""
    found: Traits = getattr(getattr(step, "last", step), "traits", Traits())
    return found


def why_not(
    step: Callable[..., Any],
    loss: Loss,
    *,
    joint: bool = False,
    batchnorm_D: bool = False,
    batchnorm_G: str = "",
    patches: bool = False,
) -> str | None:
    """Why a step cannot train with a loss on such networks, or None where it can.

    Args:
        step: A strategy, such as those of STEPS.
        loss: The loss that it would use.
        joint: Whether D's step scores real and fake in one call.
        batchnorm_D: Whether D has BatchNorm that normalises by the batch.
        batchnorm_G: The name of a generator that has BatchNorm, if one has.
        patches: Whether D gives an image several logits.
    """
    traits, name = traits_of(step), getattr(step, "__name__", "the step")
    if traits.joins_domains and batchnorm_G:
        return (
            f"{batchnorm_G} has BatchNorm, which would normalise one domain's images with the other's statistics: use "
            "instance norm, or the step g_first_separate"
        )
    if traits.logits_only and loss.has_penalty:
        return f"{name} is a step of pix2pix or CycleGAN, which have no gradient penalty: choose a loss without one"
    if traits.logits_only and loss.relativistic:
        return f"{name} is a step of pix2pix or CycleGAN, where G's loss is not given D's logits of real images"
    if not traits.rescales:
        return None
    if loss.no_ratio:
        return f"{name} makes G's gradient from D's, but {loss.no_ratio}"
    if batchnorm_D and (joint or not loss.constant_ratio):
        return (
            f"{name} is not exact here: BatchNorm in D makes each logit depend on the whole batch. Use another norm in "
            "D; or split batches with the minimax or a Wasserstein loss, whose ratio is constant"
        )
    if patches and not loss.constant_ratio:
        return (
            f"{name} is not exact here: it needs one logit per image for this loss: patches overlap, so a pixel's "
            "gradient is a sum over logits with different ratios. Use the minimax or a Wasserstein loss"
        )
    return None


def check_step(step: Callable[..., Any], loss: Loss, **networks: Any) -> None:
    """Raises: ValueError where `why_not(step, loss, **networks)` has a reason."""
    if reason := why_not(step, loss, **networks):
        raise ValueError(reason)
