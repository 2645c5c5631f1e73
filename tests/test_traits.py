"""What a step says of itself is true; and what it cannot train with is refused before the first step, with a reason."""

import inspect
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from run_cases import CONFIGS, RING

from gantutor.configs import Config
from gantutor.cyclegan import CYCLEGAN_STEPS
from gantutor.gan import BATCHINGS
from gantutor.losses import LOSSES
from gantutor.pix2pix import PIX2PIX_STEPS
from gantutor.steps import STEPS
from gantutor.traits import traits_of

KINDS: dict[str, dict[str, Callable[..., Any]]] = {
    "gan": dict(STEPS), "pix2pix": dict(PIX2PIX_STEPS), "cyclegan": dict(CYCLEGAN_STEPS)
}  # fmt: skip
EVERY = [(kind, name) for kind, steps in KINDS.items() for name in steps]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_two_backwards_through_one_graph_are_noted(kind: str, name: str) -> None:
    """They need retain_graph=True; what the first sends on into G is then either kept away by `inputs=` or not."""
    source = inspect.getsource(KINDS[kind][name])
    wanted = "" if "retain_graph=True" not in source else "D" if "inputs=" in source else "G"
    assert traits_of(KINDS[kind][name]).two_backwards == wanted
    assert wanted == {"d_first_retain_graph": "G", "simultaneous": "D"}.get(name, "")


def refusal(config: Config, **fields: Any) -> str:
    """Why the config cannot have these fields; "" where it can."""
    try:
        config.replace(**fields)
    except ValueError as reason:
        return str(reason)
    return ""


@pytest.mark.parametrize("strategy", STEPS)
def test_every_combination_is_taken_or_refused_with_the_reason(strategy: str) -> None:
    """Of those that are taken, every loss and every batching takes a step."""
    for loss, batching, norm in itertools.product(LOSSES, BATCHINGS, ("batch", "none")):
        fields = {"strategy": strategy, "loss": loss, "batching": batching, "norm_D": norm}
        wanted = ""
        if strategy == "one_stage":
            exact = loss in ("minimax", "wgan", "wgan-gp") and batching in ("split", "joint_in_G_step")
            wanted = "BatchNorm in D" if norm == "batch" and not exact else ""
            wanted = "slope ratio" if loss in ("lsgan", "hinge", "relativistic") else wanted
        found = refusal(RING, **fields)
        assert (wanted in found) if wanted else found == ""
        if not wanted and (batching == "split" or loss == "minimax"):
            report = RING.replace(**fields).start().step()
            assert torch.isfinite(report["d_loss"] + report["g_loss"])


@pytest.mark.parametrize(("kind", "strategy"), [(kind, name) for kind, name in EVERY if kind != "gan"])
def test_every_loss_of_an_image_translation_trains_or_is_refused(kind: str, strategy: str) -> None:
    for loss, norm in itertools.product(LOSSES, ("batch", "instance")):
        wanted = ""
        if norm == "batch" and "shared" in strategy:
            wanted = "G_AB has BatchNorm"
        elif loss in ("wgan-gp", "non-saturating-r1", "non-saturating-r2"):
            wanted = "no gradient penalty"
        elif loss == "relativistic":
            wanted = "not given D's logits of real images"
        elif strategy == "one_stage" and loss not in ("minimax", "wgan"):
            wanted = "patches overlap" if loss == "non-saturating" else "slope ratio"
        fields = {"strategy": strategy, "loss": loss, "norm" if kind == "pix2pix" else "norm_G": norm}
        found = refusal(CONFIGS[kind], **fields)
        assert (wanted in found) if wanted else found == ""
        if not wanted:
            report = CONFIGS[kind].replace(**fields).start().step()
            assert torch.isfinite(report["d_loss"] + report["g_loss"])
