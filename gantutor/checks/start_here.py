"""Checks of notebook 00."""

from typing import Any

import torch
from torch import Tensor

from gantutor.checks.result import Function, ask, compare_on, exercise, is_same, names_in, worst

# Two batches of two images. In the second, no image has a black or a white pixel: what an answer takes from the images
# themselves, their least or greatest pixel, is then wrong.
PIXELS = torch.tensor([[0, 51, 102, 255, 0, 1, 128, 255], [64, 100, 128, 200, 20, 30, 90, 91]], dtype=torch.uint8)
PIXELS = PIXELS.view(2, 2, 1, 2, 2)


def stretched(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Each image (or batch) from its own least pixel, −1, to its own greatest, 1."""
    low, high = x.float().amin(axes, keepdim=True), x.float().amax(axes, keepdim=True)
    return 2 * (x - low) / (high - low) - 1


RANGE_MISTAKES: dict[str, Function] = {
    "This is [0, 1], what a sigmoid would give; tanh gives −1 for black.": lambda x: x / 255,
    "This is [−1, 0]: the range has length 2, so divide by half of 255.": lambda x: x / 255 - 1,
    "This is [−½, ½]: half of the range of tanh.": lambda x: x / 255 - 0.5,
    "It is centred, but still 255 wide.": lambda x: x.float() - 127.5,
    "Nearly: there are 255 steps from 0 to 255, so white is not quite 1 here.": lambda x: x / 128 - 1,
    "It is upside down: black must be −1.": lambda x: 1 - x / 127.5,
    "Each image is stretched to its own darkest and brightest pixel, so a dim image becomes bright. Use 0 and 255, "
    "whatever the image holds.": lambda x: stretched(x, (1, 2, 3)),
    "The batch is stretched to its own darkest and brightest pixel. Use 0 and 255, whatever the images hold.": (
        lambda x: stretched(x, (0, 1, 2, 3))
    ),
}


@exercise("x / 127.5 − 1: black is −1 and white is 1, which are the ends of tanh.")
def image_range(answer: Function) -> str:
    """uint8 pixels 0 ... 255 to float32 in [-1, 1]: x / 127.5 − 1."""

    def right(x: Tensor) -> Tensor:
        return x.float() / 127.5 - 1

    def place(_: Any, found: Tensor, wanted: Tensor) -> str:
        i = worst(found, wanted)
        numbers = f"Yours gives {found.flatten()[i]:.4g} where {wanted.flatten()[i]:.4g} is right."
        return f"0 must become −1 and 255 must become 1. {numbers}"

    images = ask(answer, PIXELS[0].clone())
    if not isinstance(images, Tensor):
        return f"A tensor is wanted, got {type(images).__name__}."
    if images.shape != PIXELS[0].shape:
        return f"The shape must stay {tuple(PIXELS[0].shape)}, got {tuple(images.shape)}."
    if images.dtype != torch.float32:
        why = "" if images.is_floating_point() else " Integers cannot hold what lies between −1 and 1."
        return f"float32 is wanted, got {images.dtype}.{why}"
    fault = compare_on([(pixels,) for pixels in PIXELS], answer, right, RANGE_MISTAKES, place)
    if fault and is_same(ask(answer, PIXELS[1].float()), right(PIXELS[1])):
        return f"The formula is right, but uint8 wraps around at 256: make the pixels float32 first. {fault}"
    return fault


@exercise("Without the detach, d_loss fills G, too, but opt_D changes D alone. Notebook 02 says what detach is for.")
def who_moves(filled_by_d_loss_backward: Any, changed_by_opt_D: Any) -> str:
    """A step without detach: d_loss.backward() leaves gradients in G and in D, opt_D.step() changes D alone."""
    filled, changed = names_in(filled_by_d_loss_backward, "GD"), names_in(changed_by_opt_D, "GD")
    if filled is None or changed is None:
        other = filled_by_d_loss_backward if filled is None else changed_by_opt_D
        return f'Answer with sets of the names "G" and "D", such as {{"G"}}; got {other!r}.'
    if filled == {"D"}:
        return "d_loss.backward(): so it is with the detach. Without it, backward goes on through the fake into G."
    if filled != {"G", "D"}:
        return "d_loss.backward(): a backward leaves gradients in every network that it passes, and D comes first."
    right = "d_loss.backward() is right. opt_D.step(): an optimizer changes only the parameters that it was given, "
    return "" if changed == {"D"} else f"{right}whatever gradients other networks hold."
