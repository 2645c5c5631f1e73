"""Checks of notebook 04."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantutor.checks.result import Function, ask, compare_on, exercise, is_same, misconception, untouched
from gantutor.draws import seeded

# The λ at which both terms pull equally -------------------------------------------------------------------------------


def small_case() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A discriminator of pairs with 3 x 3 patches, and real_A, fake_B and real_B, (2, 3, 6, 6), all float64.

    Its logits are large enough that the two images feel pulls of different lengths.
    """
    with seeded(7):
        last = nn.Conv2d(5, 1, 2)
        D = nn.Sequential(nn.Conv2d(6, 5, 3), nn.LeakyReLU(0.2), last).double()
        last.weight.data *= 8
        real_A, fake_B, real_B = torch.rand(3, 2, 3, 6, 6, dtype=torch.float64) * 2 - 1
    return D, real_A, fake_B, real_B


def of_pair(D: nn.Module, A: Tensor, B: Tensor) -> Tensor:
    """The non-saturating loss of D's logits for this pair, in this order."""
    return -F.logsigmoid(D(torch.cat([A, B], dim=1))).mean()


def pull(term: Function, fake_B: Tensor) -> Tensor:
    """The gradient of term(fake_B) at fake_B."""
    fake = fake_B.detach().clone().requires_grad_()
    return torch.autograd.grad(term(fake), fake)[0]


def balance(
    D: nn.Module, A: Tensor, f: Tensor, r: Tensor, gan: Any = of_pair, l1: Any = F.l1_loss, length: Any = Tensor.norm
) -> Any:
    """|∂g_loss/∂fake_B| / |∂l1_loss/∂fake_B|, the lengths over everything in the batch."""
    return length(pull(lambda fake: gan(D, A, fake), f)) / length(pull(lambda fake: l1(fake, r), f))


def balance_at_the_weights(D: nn.Module, A: Tensor, f: Tensor, r: Tensor) -> Tensor:
    at_D = torch.autograd.grad(of_pair(D, A, f), list(D.parameters()))
    return torch.cat([part.flatten() for part in at_D]).norm() / pull(lambda fake: F.l1_loss(fake, r), f).norm()


MISTAKEN_BALANCES: dict[str, Function] = {
    "This is 1 / λ. λ weighs the L1 term, so the adversarial gradient's length goes on top.": (
        lambda *case: 1 / balance(*case)
    ),
    "These are the squared lengths. A length is the square root of the sum of squares.": (
        lambda *case: balance(*case) ** 2
    ),
    "This is the sum of absolute values. A length is the square root of the sum of squares.": (
        partial(balance, length=lambda pull: pull.abs().sum())
    ),
    "This is the mean of each image's own ratio. Take both lengths over the whole batch.": (
        lambda D, A, f, r: balance(D, A, f, r, length=lambda pull: pull.flatten(1).norm(dim=1)).mean()
    ),
    "This is the ratio of the two losses. How hard a loss pulls is its gradient at fake_B, not its value.": (
        lambda D, A, f, r: of_pair(D, A, f) / F.l1_loss(f, r)
    ),
    "The adversarial gradient is taken at D's weights. G only feels the gradient at fake_B.": balance_at_the_weights,
    "This is the minimax loss log(1 − D). The notebook's g_loss is the non-saturating −log D.": (
        partial(balance, gan=lambda D, A, f: F.logsigmoid(-D(torch.cat([A, f], dim=1))).mean())
    ),
    "The adversarial term is a sum over the patches. The loss is their mean.": (
        partial(balance, gan=lambda D, A, f: -F.logsigmoid(D(torch.cat([A, f], dim=1))).sum())
    ),
    "The L1 term is a sum over the pixels. The loss is their mean.": partial(
        balance, l1=partial(F.l1_loss, reduction="sum")
    ),
    "These are squared differences (L2). The L1 term has absolute ones.": partial(balance, l1=F.mse_loss),
    "D was shown (B, A). It was trained on (A, B): A comes first.": (
        partial(balance, gan=lambda D, A, fake: of_pair(D, fake, A))
    ),
}


@exercise("At this λ the two gradients at fake_B have the same length.")
def balancing_lambda(answer: Function) -> str:
    """`answer(D, real_A, fake_B, real_B)` is the λ at which λ·l1_loss pulls fake_B as hard as g_loss does.

    "As hard": the two gradients at fake_B have the same length. D is left without gradients.
    """
    case = small_case()
    changed = untouched("D", case[0])
    found = torch.as_tensor(ask(answer, *case)).detach()
    if found.numel() != 1:
        return f"One number is wanted, yours has the shape {tuple(found.shape)}."

    def place(_: Any, found: float, wanted: Tensor) -> str:
        return f"Your λ is {found:.4g} where {wanted:.4g} is right, for two random pairs and a small D."

    fault = compare_on([small_case()], lambda *_: found.item(), balance, MISTAKEN_BALANCES, place)
    left = changed()
    return fault or (f"The λ is right, but {left}" if left else "")


# A receptive field ----------------------------------------------------------------------------------------------------

Layers = Sequence[tuple[int, int]]

STACKS: tuple[Layers, ...] = (  # (kernel, stride) of each layer; their receptive fields are 1, 3, 5, 7, 16, 70
    (),
    ((3, 1),),
    ((3, 1), (3, 1)),
    ((3, 2), (3, 1)),
    ((4, 2), (4, 1), (4, 1)),
    ((4, 2), (4, 2), (4, 2), (4, 1), (4, 1)),
)


def spacing(layers: Layers) -> int:
    """How many pixels two neighbouring outputs are apart: the product of the strides."""
    return math.prod(stride for _, stride in layers)


def field_of(layers: Layers) -> int:
    """1 + Σ (k − 1) j, j the product of the strides before the layer."""
    return 1 + sum((kernel - 1) * spacing(layers[:i]) for i, (kernel, _) in enumerate(layers))


FIELD_MISTAKES: dict[str, Callable[[Layers], int]] = {
    "Kernels overlap: a second 3 x 3 layer adds 2 pixels, not 3.": lambda layers: sum(k for k, _ in layers),
    "Without a layer it is right. A layer sees more than one pixel.": lambda layers: 1,
    "The strides are missing: a layer behind a stride of 2 sees in steps of 2 pixels.": (
        lambda layers: 1 + sum(k - 1 for k, _ in layers)
    ),
    "A layer's own stride spreads its outputs, not what one of them sees. Take the strides before it.": (
        lambda layers: 1 + sum((k - 1) * spacing(layers[: i + 1]) for i, (k, _) in enumerate(layers))
    ),
    "The product of the strides is how far apart two neighbours' fields are, not how large one is.": spacing,
    "Each layer adds kernel − 1 steps: its first pixel was there before.": (
        lambda layers: 1 + sum(k * spacing(layers[:i]) for i, (k, _) in enumerate(layers))
    ),
    "The order is reversed: the first layer's stride acts on every layer behind it.": (
        lambda layers: field_of(layers[::-1])
    ),
}


@exercise("1 + Σ (k − 1) · (product of the strides before it): 70 for the paper's discriminator.")
def field_of_layers(answer: Function) -> str:
    """`answer(layers)` is the side, in pixels, of what one output of a stack of convolutions sees."""

    def place(case: tuple[Layers], found: Any, wanted: int) -> str:
        if isinstance(found, str) or torch.as_tensor(found).numel() != 1:
            return f"For {case[0]} one number is wanted, yours is {found!r}."
        return f"For layers = {case[0]} it is {wanted}; yours gives {float(found):g}."

    return compare_on([(list(stack),) for stack in STACKS], answer, field_of, FIELD_MISTAKES, place)


# G at test time -------------------------------------------------------------------------------------------------------


def probe() -> nn.Sequential:
    """A small generator with BatchNorm and dropout, whose statistics are not those of its start."""
    with seeded(11):
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.Dropout(0.5), nn.Conv2d(6, 3, 1)
        )


@exercise("The batch's statistics, dropout on, and G is as it was.")
def paper_test_time(answer: Function) -> str:
    """`answer(G, A)` is G's answer as the paper has it at test time, and G is left as it was."""
    A = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(5)) * 2 - 1

    def asked(training: bool, dropout: bool, size: int = len(A)) -> Tensor:
        G = probe().train(training)
        G[3].train(dropout)
        with torch.no_grad(), seeded(21):
            return torch.cat([G(a) for a in A.split(size)])

    known = {
        "This is eval(): the running statistics, and no dropout.": asked(False, False),
        "The statistics are right, but dropout is off. In the paper it stays on.": asked(True, False),
        "Dropout is on, but BatchNorm uses its running statistics, not those of this batch.": asked(False, True),
        "One image at a time: the statistics of the whole batch A are wanted here.": asked(True, True, size=1),
    }

    for was_training in (False, True):
        G = probe().train(was_training)
        changed = untouched("G", G)
        with seeded(21):
            found = ask(answer, G, A.clone())
        if getattr(found, "shape", None) != A.shape:
            return f"Return G's images, {tuple(A.shape)}, not {getattr(found, 'shape', type(found).__name__)}."
        if not is_same(found, asked(True, True)):
            otherwise = "These are not G's images in training mode. Ask G once, with all of A."
            return misconception(found, known) or otherwise
        if found.requires_grad:
            return "The images carry a graph, which nobody will use: torch.no_grad() is missing."
        if fault := changed():
            return f"The images are right, but {fault}"
    return ""
