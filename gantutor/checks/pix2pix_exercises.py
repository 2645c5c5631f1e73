"""Checks of notebook 04."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantutor.checks.result import CheckResult, Function, ask, judge

Layers = Sequence[tuple[int, int]]

STACKS: tuple[Layers, ...] = (  # (kernel, stride) of each layer; their receptive fields are 1, 3, 5, 7, 16, 70
    (),
    ((3, 1),),
    ((3, 1), (3, 1)),
    ((3, 2), (3, 1)),
    ((4, 2), (4, 1), (4, 1)),
    ((4, 2), (4, 2), (4, 2), (4, 1), (4, 1)),
)


# exercise 1 -----------------------------------------------------------------------------------------------------------


def small_case() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A discriminator of pairs with 3 x 3 patches, and real_A, fake_B, real_B (2, 3, 6, 6), all float64.

    Its logits are large enough that the two images feel pulls of different lengths.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        last = nn.Conv2d(5, 1, 2)
        D = nn.Sequential(nn.Conv2d(6, 5, 3), nn.LeakyReLU(0.2), last).double()
        last.weight.data *= 8
        images = torch.rand(3, 2, 3, 6, 6, dtype=torch.float64) * 2 - 1
    return D, *images


def gradient_at(fake_B: Tensor, term: Callable[[Tensor], Tensor]) -> Tensor:
    fake = fake_B.detach().clone().requires_grad_()
    return torch.autograd.grad(term(fake), fake)[0]


def l1_mean(fake: Tensor, real: Tensor) -> Tensor:
    return (fake - real).abs().mean()


def non_saturating(logits: Tensor) -> Tensor:
    return -F.logsigmoid(logits).mean()


def of_pair(D: nn.Module, real_A: Tensor, fake_B: Tensor) -> Tensor:
    return non_saturating(D(torch.cat([real_A, fake_B], dim=1)))


def balance(
    D: nn.Module, real_A: Tensor, fake_B: Tensor, real_B: Tensor, gan: Function = of_pair, l1: Function = l1_mean
) -> Tensor:
    """|∂g_loss/∂fake_B| / |∂l1_loss/∂fake_B|, the lengths over everything in the batch."""
    adversarial = gradient_at(fake_B, lambda fake: gan(D, real_A, fake))
    return adversarial.norm() / gradient_at(fake_B, lambda fake: l1(fake, real_B)).norm()


def detached(number: Any) -> Any:
    """PyTorch warns where a tensor with a graph becomes a float."""
    return number.detach() if isinstance(number, Tensor) else number


def ratio_of_losses(D: nn.Module, A: Tensor, f: Tensor, r: Tensor) -> Tensor:
    return of_pair(D, A, f) / l1_mean(f, r)


def ratio_at_the_weights(D: nn.Module, A: Tensor, f: Tensor, r: Tensor) -> Tensor:
    at_D = torch.autograd.grad(of_pair(D, A, f), list(D.parameters()))
    return torch.cat([part.flatten() for part in at_D]).norm() / gradient_at(f, lambda fake: l1_mean(fake, r)).norm()


def ratio_of_sums(D: nn.Module, A: Tensor, f: Tensor, r: Tensor) -> Tensor:
    adversarial = gradient_at(f, lambda fake: of_pair(D, A, fake))
    return adversarial.abs().sum() / gradient_at(f, lambda fake: l1_mean(fake, r)).abs().sum()


def mean_of_ratios(D: nn.Module, A: Tensor, f: Tensor, r: Tensor) -> Tensor:
    adversarial = gradient_at(f, lambda fake: of_pair(D, A, fake)).flatten(1).norm(dim=1)
    return (adversarial / gradient_at(f, lambda fake: l1_mean(fake, r)).flatten(1).norm(dim=1)).mean()


def minimax(D: nn.Module, A: Tensor, f: Tensor) -> Tensor:
    return F.logsigmoid(-D(torch.cat([A, f], dim=1))).mean()


def summed_over_patches(D: nn.Module, A: Tensor, f: Tensor) -> Tensor:
    return -F.logsigmoid(D(torch.cat([A, f], dim=1))).sum()


MISTAKEN_BALANCES: dict[str, Function] = {
    "This is 1 / λ. λ weighs the L1 term, so the adversarial gradient's length goes on top.": (
        lambda D, A, f, r: 1 / balance(D, A, f, r)
    ),
    "These are the squared lengths. A length is the square root of the sum of squares.": (
        lambda D, A, f, r: balance(D, A, f, r) ** 2
    ),
    "This is the sum of absolute values. A length is the square root of the sum of squares.": ratio_of_sums,
    "This is the mean of each image's own ratio. Take both lengths over the whole batch.": mean_of_ratios,
    "This is the ratio of the two losses. How hard a loss pulls is its gradient at fake_B, not its value.": (
        ratio_of_losses
    ),
    "The adversarial gradient is taken at D's weights. G only feels the gradient at fake_B.": ratio_at_the_weights,
    "This is the minimax loss log(1 − D). The notebook's g_loss is the non-saturating −log D.": (
        lambda D, A, f, r: balance(D, A, f, r, gan=minimax)
    ),
    "The adversarial term is a sum over the patches. The loss is their mean.": (
        lambda D, A, f, r: balance(D, A, f, r, gan=summed_over_patches)
    ),
    "The L1 term is a sum over the pixels. The loss is their mean.": (
        lambda D, A, f, r: balance(D, A, f, r, l1=lambda fake, real: (fake - real).abs().sum())
    ),
    "These are squared differences (L2). The L1 term has absolute ones.": (
        lambda D, A, f, r: balance(D, A, f, r, l1=lambda fake, real: (fake - real).square().mean())
    ),
    "D was shown (B, A). It was trained on (A, B): A comes first.": (
        lambda D, A, f, r: balance(D, A, f, r, gan=lambda D, A, fake: non_saturating(D(torch.cat([fake, A], dim=1))))
    ),
}


def balancing_lambda(answer: Function) -> CheckResult:
    """`answer(D, real_A, fake_B, real_B)` is the λ at which λ·l1_loss pulls fake_B as hard as g_loss does.

    "As hard": the two gradients at fake_B have the same length. D is left without gradients.
    """

    def check(answer: Function) -> str:
        D, real_A, fake_B, real_B = small_case()
        weights = copy.deepcopy(D.state_dict())
        found = ask(answer, D, real_A.clone(), fake_B.clone(), real_B.clone())
        if not isinstance(found, int | float) and getattr(found, "numel", lambda: 0)() != 1:
            shape = getattr(found, "shape", None)
            return f"One number is wanted, yours is {type(found).__name__}{f' {tuple(shape)}' if shape else ''}."
        value, wanted = float(detached(found)), balance(*small_case()).item()
        if abs(value - wanted) > 1e-4 * wanted:
            for message, wrong in MISTAKEN_BALANCES.items():
                mistaken = float(detached(wrong(*small_case())))
                if abs(value - mistaken) <= 1e-4 * abs(mistaken):
                    return message
            return f"Your λ is {value:.4g} where {wanted:.4g} is right, for two random pairs and a small D."
        if any(not torch.equal(after, weights[name]) for name, after in D.state_dict().items()):
            return "The λ is right, but D's weights have changed. Nothing is to be trained here."
        if any(parameter.grad is not None for parameter in D.parameters()):
            return "The λ is right, but D is left with gradients. torch.autograd.grad asks for the one at fake_B alone."
        if not all(parameter.requires_grad for parameter in D.parameters()):
            return "The λ is right, but D's parameters no longer require a gradient, so D would not learn any more."
        return ""

    return judge(answer, check, "At this λ the two gradients at fake_B have the same length.")


# exercise 2 -----------------------------------------------------------------------------------------------------------


def field_of(layers: Layers) -> int:
    """1 + Σ (k − 1) j, j the product of the strides before the layer."""
    size, jump = 1, 1
    for kernel, stride in layers:
        size += (kernel - 1) * jump
        jump *= stride
    return size


def field_of_layers(answer: Function) -> CheckResult:
    """`answer(layers)` is the side, in pixels, of what one output of a stack of convolutions sees."""

    def own_stride(layers: Layers) -> int:
        size, jump = 1, 1
        for kernel, stride in layers:
            jump *= stride
            size += (kernel - 1) * jump
        return size

    def product(layers: Layers) -> int:
        result = 1
        for _, stride in layers:
            result *= stride
        return result

    def whole_kernels(layers: Layers) -> int:
        size, jump = 1, 1
        for kernel, stride in layers:
            size += kernel * jump
            jump *= stride
        return size

    known: dict[str, Callable[[Layers], int]] = {
        "Kernels overlap: a second 3 x 3 layer adds 2 pixels, not 3.": lambda layers: sum(k for k, _ in layers),
        "Without a layer it is right. A layer sees more than one pixel.": lambda layers: 1,
        "The strides are missing: a layer behind a stride of 2 sees in steps of 2 pixels.": (
            lambda layers: 1 + sum(k - 1 for k, _ in layers)
        ),
        "A layer's own stride spreads its outputs, not what one of them sees. Take the strides before it.": own_stride,
        "The product of the strides is how far apart two neighbours' fields are, not how large one is.": product,
        "Each layer adds kernel − 1 steps: its first pixel was there before.": whole_kernels,
        "The order is reversed: the first layer's stride acts on every layer behind it.": lambda layers: field_of(
            layers[::-1]
        ),
    }

    def check(answer: Function) -> str:
        found = {stack: ask(answer, list(stack)) for stack in STACKS}
        for stack, value in found.items():
            if isinstance(value, str) or getattr(value, "numel", lambda: 1)() != 1:
                return f"For {list(stack)} one number is wanted, yours is {value!r}."
        values = {stack: float(value) for stack, value in found.items()}
        wrong = [stack for stack in STACKS if values[stack] != field_of(stack)]
        if not wrong:
            return ""
        text = next((text for text, f in known.items() if all(values[s] == f(s) for s in STACKS)), "")
        first = next(filter(None, wrong), ())
        place = f"For layers = {list(first)} it is {field_of(first)}; yours gives {values[first]:g}."
        return f"{text} {place}".strip()

    return judge(answer, check, "1 + Σ (k − 1) · (product of the strides before it): 70 for the paper's discriminator.")


# exercise 3 -----------------------------------------------------------------------------------------------------------


class Probe(nn.Module):
    """A small generator with BatchNorm and dropout, whose statistics are not those of its start."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11)
            self.net = nn.Sequential(
                nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.Dropout(0.5), nn.Conv2d(6, 3, 1)
            )

    def forward(self, A: Tensor) -> Tensor:
        return self.net(A)


def paper_test_time(answer: Function) -> CheckResult:
    """`answer(G, A)` is G's answer as the paper has it at test time, and G is left as it was."""
    A = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(5)) * 2 - 1

    def asked(mode: Callable[[Probe], Any], split: bool = False) -> Tensor:
        G = Probe()
        mode(G)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(21)
            return torch.cat([G(a) for a in A.split(1)]) if split else G(A)

    def without_dropout(G: Probe) -> None:
        G.train()
        G.net[3].eval()

    def dropout_alone(G: Probe) -> None:
        G.eval()
        G.net[3].train()

    known = {
        "This is eval(): the running statistics, and no dropout.": asked(lambda G: G.eval()),
        "The statistics are right, but dropout is off. In the paper it stays on.": asked(without_dropout),
        "Dropout is on, but BatchNorm uses its running statistics, not those of this batch.": asked(dropout_alone),
        "One image at a time: the statistics of the whole batch A are wanted here.": asked(lambda G: G.train(), True),
    }

    def check(answer: Function) -> str:
        for was_training in (False, True):
            G = Probe().train(was_training)
            before = copy.deepcopy(G.state_dict())
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(21)
                found = ask(answer, G, A.clone())
            if not isinstance(found, Tensor) or found.shape != A.shape:
                return f"Return G's images, {tuple(A.shape)}, not {getattr(found, 'shape', type(found).__name__)}."
            if not torch.allclose(found.detach(), asked(lambda G: G.train()), atol=1e-5):
                same = (text for text, wrong in known.items() if torch.allclose(found.detach(), wrong, atol=1e-5))
                return next(same, "These are not G's images in training mode. Ask G once, with all of A.")
            if found.requires_grad:
                return "The images carry a graph, which nobody will use: torch.no_grad() is missing."
            moved = [name for name, value in G.state_dict().items() if not torch.equal(value, before[name])]
            if moved:
                return f"The images are right, but G's {moved[0]} has changed. Ask a copy, or restore what was."
            if any(module.training != was_training for module in G.modules()):
                return f"The images are right, but G.training was {was_training} and is not so now. Restore the mode."
        return ""

    return judge(answer, check, "The batch's statistics, dropout on, and G is as it was.")
