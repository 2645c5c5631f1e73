"""Checks of notebook 04."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantutor.checks.result import CheckResult, Function, ask, compare_answer, judge

LAMBDA = 100.0
STACKS = (  # (kernel, stride) of each layer; their receptive fields are 3, 5, 7, 16, 70
    ((3, 1),),
    ((3, 1), (3, 1)),
    ((3, 2), (3, 1)),
    ((4, 2), (4, 1), (4, 1)),
    ((4, 2), (4, 2), (4, 2), (4, 1), (4, 1)),
)
Layers = Sequence[tuple[int, int]]


def pix2pix_g_loss(answer: Function) -> CheckResult:
    """What G minimises: −mean(log σ(l)) + 100 mean(|fake_B − real_B|), from (logits_fake, fake_B, real_B)."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 1, 3, 3, generator=generator, dtype=torch.float64)
    fake_B, real_B = torch.rand(2, 2, 3, 4, 4, generator=generator, dtype=torch.float64) * 2 - 1

    def gan(x: Tensor) -> Tensor:
        return -F.logsigmoid(x).mean()

    def l1(fake: Tensor, real: Tensor) -> Tensor:
        return (fake - real).abs().mean()

    known: dict[str, Function] = {
        "lambda_L1 is missing: the two terms are added one to one.": lambda x, f, r: gan(x) + l1(f, r),
        "lambda_L1 stands at the wrong term: it weighs L1.": lambda x, f, r: LAMBDA * gan(x) + l1(f, r),
        "the adversarial term is missing: this is the L1-only generator.": lambda x, f, r: LAMBDA * l1(f, r),
        "the L1 term is missing: this is the cGAN alone.": lambda x, f, r: gan(x),
        "squares instead of absolute values: this is L2, which blurs even more.": (
            lambda x, f, r: gan(x) + LAMBDA * (f - r).square().mean()
        ),
        "a sum over pixels instead of the mean: lambda_L1 = 100 is meant for the mean.": (
            lambda x, f, r: gan(x) + LAMBDA * (f - r).abs().sum()
        ),
        "this is the minimax loss log(1 − D); the paper's code uses the non-saturating one.": (
            lambda x, f, r: F.logsigmoid(-x).mean() + LAMBDA * l1(f, r)
        ),
        "D's own term for fakes: it would teach G to be recognised.": (
            lambda x, f, r: -F.logsigmoid(-x).mean() + LAMBDA * l1(f, r)
        ),
        "the halved loss is D's; G's adversarial term is whole.": lambda x, f, r: gan(x) / 2 + LAMBDA * l1(f, r),
        "L1 of the wrong pair: fake_B belongs next to real_B, and nothing else.": (
            lambda x, f, r: gan(x) + LAMBDA * f.abs().mean()
        ),
    }

    def right(x: Tensor, f: Tensor, r: Tensor) -> Tensor:
        return gan(x) + LAMBDA * l1(f, r)

    def value_and_gradients(function: Function) -> Tensor:
        at, fake = logits.clone().requires_grad_(), fake_B.clone().requires_grad_()
        loss = function(at, fake, real_B.clone())
        gradients = torch.autograd.grad(loss, [at, fake], allow_unused=True, materialize_grads=True)
        return torch.cat([loss.detach().view(1), *[gradient.flatten() for gradient in gradients]])

    def check(answer: Function) -> str:
        loss = ask(answer, logits.clone().requires_grad_(), fake_B.clone().requires_grad_(), real_B.clone())
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            return "no gradient gets through: return a tensor made from the logits and fake_B, without item()."
        if loss.numel() != 1:
            return f"one loss is wanted, yours has shape {tuple(loss.shape)}: take the mean over patches and pixels."
        wanted = f"For these inputs it is {right(logits, fake_B, real_B).item():.4g}."
        return compare_answer(answer, right, known, value_and_gradients, wanted)

    return judge(answer, check, "the mean over D's patches, and 100 times the mean over pixels.")


def field_of(layers: Layers) -> int:
    """1 + sum((k − 1) j), j the product of the strides before the layer."""
    size, jump = 1, 1
    for kernel, stride in layers:
        size += (kernel - 1) * jump
        jump *= stride
    return size


def field_of_layers(answer: Function) -> CheckResult:
    """`answer(layers)` is the side, in pixels, of what one output of a stack of convolutions sees."""

    def after(layers: Layers) -> int:
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

    def whole(layers: Layers) -> int:
        size, jump = 1, 1
        for kernel, stride in layers:
            size += kernel * jump
            jump *= stride
        return size

    known: dict[str, Function] = {
        "kernels overlap: a second 3 x 3 layer adds 2 pixels, not 3.": lambda layers: sum(k for k, _ in layers),
        "the strides are missing: a layer behind a stride of 2 sees in steps of 2 pixels.": (
            lambda layers: 1 + sum(k - 1 for k, _ in layers)
        ),
        "a layer's own stride spreads its outputs, not what one of them sees: take the strides before it.": after,
        "the product of the strides is how far apart two neighbours' fields are, not how large one is.": product,
        "each layer adds kernel − 1 steps: its first pixel was there before.": whole,
        "the order is turned round: the first stride acts on every layer behind it.": lambda layers: field_of(
            layers[::-1]
        ),
    }

    def values(function: Function) -> Tensor:
        return torch.tensor([float(ask(function, list(stack))) for stack in STACKS])

    otherwise = f"For {list(STACKS[3])} it is {field_of(STACKS[3])}, for one 3 x 3 layer 3."
    praise = "1 + Σ (k − 1) · (product of the strides before): 70 for the paper's discriminator."
    return judge(answer, lambda answer: compare_answer(answer, field_of, known, values, otherwise), praise)


class Probe(nn.Module):
    """Something with BatchNorm and dropout, small and away from its start; it counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11)
            self.net = nn.Sequential(
                nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.Dropout(0.5), nn.Conv2d(6, 3, 1)
            )
        self.calls = 0

    def forward(self, A: Tensor) -> Tensor:
        self.calls += 1
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
        "this is eval(): the running statistics, and no dropout.": asked(lambda G: G.eval()),
        "the statistics are right, but dropout is off; in the paper it stays on.": asked(without_dropout),
        "dropout is on, but BatchNorm uses its running statistics, not those of this batch.": asked(dropout_alone),
        "one image at a time: the batch's statistics are wanted here, of all of A.": asked(lambda G: G.train(), True),
    }

    def check(answer: Function) -> str:
        for was_training in (False, True):
            G = Probe().train(was_training)
            before = copy.deepcopy(G.state_dict())
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(21)
                found = ask(answer, G, A.clone())
            if not isinstance(found, Tensor) or found.shape != A.shape:
                return f"return G's images, {tuple(A.shape)}, not {getattr(found, 'shape', type(found).__name__)}."
            if not torch.allclose(found.detach(), asked(lambda G: G.train()), atol=1e-5):
                same = (text for text, wrong in known.items() if torch.allclose(found.detach(), wrong, atol=1e-5))
                return next(same, "these are not G's images in training mode, drawn with the same dropout masks.")
            if found.requires_grad:
                return "the images carry a graph, which nobody will use: torch.no_grad() is missing."
            moved = [name for name, value in G.state_dict().items() if not torch.equal(value, before[name])]
            if moved:
                return f"asking has changed G: {', '.join(moved)} moved. Work on a copy, or put them back."
            if any(module.training != was_training for module in G.modules()):
                return f"G.training was {was_training} before and is not so now: put the mode back."
        return ""

    return judge(answer, check, "the batch's statistics, dropout on, and G is as it was.")
