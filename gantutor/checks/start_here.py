"""Checks of notebook 00."""

from typing import Any

import torch
from torch import Tensor

from gantutor.checks.result import NOT_YET, CheckResult, Function, ask, compare_answer, is_missing, judge


def image_range(answer: Function) -> CheckResult:
    """uint8 pixels 0 ... 255 to float32 in [-1, 1]: x / 127.5 − 1."""
    pixels = torch.tensor([0, 51, 102, 255], dtype=torch.uint8).view(1, 1, 2, 2)
    known: dict[str, Function] = {
        "this is [0, 1], what a sigmoid would give; tanh gives −1 for black.": lambda x: x / 255,
        "this is [−1, 0]: the range has length 2, so divide by half of 255.": lambda x: x / 255 - 1,
        "this is [−½, ½]: half of the range of tanh.": lambda x: x / 255 - 0.5,
        "it is centred, but still 255 wide.": lambda x: x.float() - 127.5,
        "nearly: there are 255 steps from 0 to 255, so white is not quite 1 here.": lambda x: x / 128 - 1,
        "it is upside down: black must be −1.": lambda x: 1 - x / 127.5,
    }

    def right(x: Tensor) -> Tensor:
        return x / 127.5 - 1

    def check(answer: Function) -> str:
        images = ask(answer, pixels.clone())
        if not isinstance(images, Tensor) or images.shape != pixels.shape:
            return f"the shape must stay {tuple(pixels.shape)}, got {tuple(getattr(images, 'shape', ()))}."
        if images.dtype != torch.float32:
            return f"float32 is wanted, got {images.dtype}; uint8 arithmetic wraps around at 256."
        return compare_answer(
            answer, right, known, lambda f: f(pixels).float(), "0 must become −1 and 255 must become 1."
        )

    return judge(answer, check, "x / 127.5 − 1: black is −1, white is 1, as G's tanh has it.")


def who_moves(changed_by_opt_D: Any, filled_by_g_loss_backward: Any) -> CheckResult:
    """In `steps.d_first_detach`: opt_D.step() changes D alone, g_loss.backward() leaves gradients in G and in D."""
    if is_missing(changed_by_opt_D) or is_missing(filled_by_g_loss_backward):
        return NOT_YET
    changed, filled = set(changed_by_opt_D), set(filled_by_g_loss_backward)
    if not (changed | filled) <= {"G", "D"}:
        return CheckResult(False, 'answer with sets of the names "G" and "D".')
    if changed != {"D"}:
        return CheckResult(
            False, "an optimizer changes the parameters that it was given, whatever gradients others hold."
        )
    if "G" not in filled:
        return CheckResult(False, "without a gradient from g_loss G could not learn: this fake is not detached.")
    if "D" not in filled:
        return CheckResult(
            False,
            "the way from g_loss to G leads through D, and backward fills what it passes; that is why D's own half of "
            "the step begins with opt_D.zero_grad().",
        )
    return CheckResult(True, "opt_D moves D alone; g_loss.backward() fills both, and only opt_G makes use of it.")
