"""Every loss against its documented formula, its closed-form slopes, and the ratio that one_stage relies on."""

import math
import re
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from gantutor.losses import LOSSES, R1, R2, Loss, WassersteinGP, gradient_penalty

# Decimal arithmetic with 80 digits: 1 - sigmoid(40) is 4e-18, of which float64 would keep nothing.
NAMESPACE: dict[str, object] = {
    "exp": np.frompyfunc(Decimal.exp, 1, 1),
    "log": np.frompyfunc(Decimal.ln, 1, 1),
    "sigmoid": np.frompyfunc(lambda x: 1 / (1 + (-x).exp()), 1, 1),
    "relu": np.frompyfunc(lambda x: max(x, Decimal(0)), 1, 1),
    "mean": lambda values: sum(values) / len(values),
}
# Of two lengths, so that a mean over both at once would show; away from the hinge's corners at -1 and 1.
REAL = [-40.0, -7.5, -0.25, 0.0, 2.0, 40.0]
FAKE = [40.0, 3.0, 0.5, 0.0, -0.75, -6.0, -40.0]
PARTNERS = [-0.5, 3.0, -40.0, 1.0, 2.0, -7.0, -0.25]  # one real for each fake, for a loss that pairs them
SWEEP = torch.linspace(-40, 40, 161, dtype=torch.float64)


def formulas(loss: Loss) -> dict[str, str]:
    """The lines `d_loss = ...`, `g_loss = ...`, `slope_ratio = ...` of a docstring."""
    return dict(re.findall(r"^ +(d_loss|g_loss|slope_ratio) = (.+)$", type(loss).__doc__ or "", re.MULTILINE))


def reals(name: str) -> list[float]:
    return PARTNERS if LOSSES[name].relativistic else REAL


def decimals(values: list[float]) -> np.ndarray:
    return np.array([Decimal(value) for value in values], dtype=object)


def evaluate(formula: str, **variables: np.ndarray) -> Decimal:
    with localcontext(prec=80):
        return eval(formula, {"__builtins__": {}, **NAMESPACE}, variables)


def slopes(formula: str, by: str, **variables: np.ndarray) -> list[Decimal]:
    """d formula / d variables[by][i] for each i, by central differences; at 80 digits they are good to about 30."""
    step = Decimal("1e-20")
    result = []
    for i in range(len(variables[by])):
        shift = np.array([step if j == i else Decimal(0) for j in range(len(variables[by]))], dtype=object)
        with localcontext(prec=80):
            above = evaluate(formula, **{**variables, by: variables[by] + shift})
            below = evaluate(formula, **{**variables, by: variables[by] - shift})
            result.append((above - below) / (2 * step))
    return result


def leaf(values: list[float] | Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.as_tensor(values, dtype=dtype).clone().requires_grad_()


def assert_close(found: Tensor, wanted: list[Decimal] | list[float], tolerance: float = 1e-12) -> None:
    """Relative, element by element: a tail of 1e-18 that comes out as 0 fails."""
    wanted = [float(value) for value in wanted]
    assert len(found) == len(wanted)
    for a, b in zip(found.tolist(), wanted, strict=True):
        assert math.isclose(a, b, rel_tol=tolerance), f"{found.tolist()} != {wanted}"


@pytest.mark.parametrize("player", ["d_loss", "g_loss"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_its_documented_formula_in_value_and_gradient(name: str, player: str) -> None:
    formula = formulas(LOSSES[name])[player]
    variables = {"real": decimals(reals(name)), "fake": decimals(FAKE)}
    real, fake = leaf(reals(name)), leaf(FAKE)
    loss = LOSSES[name].d_loss(real, fake) if player == "d_loss" else LOSSES[name].g_loss(fake, real)
    loss.backward()
    assert loss.shape == ()
    assert math.isclose(loss.item(), float(evaluate(formula, **variables)), rel_tol=1e-12)
    assert_close(fake.grad, slopes(formula, "fake", **variables))
    if player == "d_loss":
        assert_close(real.grad, slopes(formula, "real", **variables))
    elif not LOSSES[name].relativistic:
        assert torch.equal(LOSSES[name].g_loss(fake), loss)


def test_a_relativistic_loss_needs_a_real_for_each_fake() -> None:
    loss = LOSSES["relativistic"]
    for real, shape in ((None, "None"), (leaf(REAL), r"\(6,\)")):
        with pytest.raises(ValueError, match=rf"pairs each fake with a real image: \(7,\) and {shape}"):
            loss.g_loss(leaf(FAKE), real)
    with pytest.raises(ValueError, match="pairs each fake with a real image"):
        loss.d_loss(leaf(REAL), leaf(FAKE))


@pytest.mark.parametrize("name", LOSSES)
def test_slope_ratio_is_its_documented_formula_or_raises_where_none_is_documented(name: str) -> None:
    documented = formulas(LOSSES[name])
    fake = torch.tensor(FAKE, dtype=torch.float64)
    if "slope_ratio" not in documented:
        why = "at a fake's logit .* D's slope is 0|depends on the real image"
        with pytest.raises(ValueError, match=f"{name} has no slope ratio: .*({why})"):
            LOSSES[name].slope_ratio(fake)
        return
    assert not LOSSES[name].no_ratio
    wanted = evaluate(documented["slope_ratio"], fake=decimals(FAKE))
    assert_close(LOSSES[name].slope_ratio(fake), list(np.broadcast_to(wanted, len(FAKE))))


@pytest.mark.parametrize("name", LOSSES)
def test_the_label_is_g_loss(name: str) -> None:
    formula = re.sub(r"log (σ\(.*?\))", r"log(\1)", LOSSES[name].formula)
    for written, meant in (("−", "-"), ("²", "**2"), ("σ", "sigmoid")):
        formula = formula.replace(written, meant)
    for logit, partner in zip(FAKE, PARTNERS, strict=True):
        wanted = evaluate(formula, l=decimals([logit]), r=decimals([partner]))[0]
        found = LOSSES[name].g_loss(leaf([logit]), leaf([partner]))
        assert math.isclose(found.item(), float(wanted), rel_tol=1e-12)


TAIL = math.exp(-40) / (1 + math.exp(-40))  # sigmoid(-40) = 4.248e-18
# name: slopes at logits -40, 0, 40 of g_loss in a fake, d_loss in a real, d_loss in a fake; a partner's logit is 0.
SLOPES: dict[str, tuple[list[float], list[float], list[float]]] = {
    "minimax": ([-TAIL, -0.5, -1.0], [-1.0, -0.5, -TAIL], [TAIL, 0.5, 1.0]),
    "non-saturating": ([-1.0, -0.5, -TAIL], [-1.0, -0.5, -TAIL], [TAIL, 0.5, 1.0]),
    "lsgan": ([-41.0, -1.0, 39.0], [-41.0, -1.0, 39.0], [-40.0, 0.0, 40.0]),
    "hinge": ([-1.0, -1.0, -1.0], [-1.0, -1.0, 0.0], [0.0, 1.0, 1.0]),
    "wgan": ([-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]),
    "wgan-gp": ([-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]),
    "non-saturating-r1": ([-1.0, -0.5, -TAIL], [-1.0, -0.5, -TAIL], [TAIL, 0.5, 1.0]),
    "non-saturating-r2": ([-1.0, -0.5, -TAIL], [-1.0, -0.5, -TAIL], [TAIL, 0.5, 1.0]),
    "relativistic": ([-1.0, -0.5, -TAIL], [-1.0, -0.5, -TAIL], [TAIL, 0.5, 1.0]),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", LOSSES)
def test_slopes_at_logits_minus_40_0_and_40(name: str, dtype: torch.dtype) -> None:
    tolerance = 1e-14 if dtype == torch.float64 else 1e-6
    for i, logit in enumerate((-40.0, 0.0, 40.0)):
        g_fake, d_real, d_fake = leaf([logit], dtype), leaf([logit], dtype), leaf([logit], dtype)
        LOSSES[name].g_loss(g_fake, leaf([0.0], dtype)).backward()
        LOSSES[name].d_loss(d_real, leaf([0.0], dtype)).backward()
        LOSSES[name].d_loss(leaf([0.0], dtype), d_fake).backward()
        for found, wanted in zip((g_fake, d_real, d_fake), SLOPES[name], strict=True):
            assert_close(found.grad, [wanted[i]], tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", [name for name in LOSSES if "slope_ratio" in formulas(LOSSES[name])])
def test_slope_ratio_is_the_ratio_of_the_slopes(name: str, dtype: torch.dtype) -> None:
    loss = LOSSES[name]
    for_g, for_d = leaf(SWEEP, dtype), leaf(SWEEP, dtype)
    loss.g_loss(for_g).backward()
    loss.d_loss(torch.zeros(1, dtype=dtype), for_d).backward()
    ratio = loss.slope_ratio(SWEEP.to(dtype))
    assert ratio.shape == SWEEP.shape
    assert ratio.dtype == dtype
    assert_close(ratio, (for_g.grad.double() / for_d.grad.double()).tolist(), 1e-12 if dtype == torch.float64 else 2e-6)
    assert loss.constant_ratio == bool((ratio == ratio[0]).all())


# The gradient penalty


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_penalty_is_taken_at_the_mixtures_of_its_formula() -> None:
    real, fake, weights = random(4, 2), random(4, 2, seed=1), torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    seen = []

    def D(x: Tensor) -> Tensor:  # its gradient at x is x itself
        seen.append(x.detach())
        return x.square().sum(1, keepdim=True) / 2

    penalty = gradient_penalty(D, real, fake, weights)
    mixed = weights[:, None] * real + (1 - weights[:, None]) * fake
    assert len(seen) == 1
    assert torch.equal(seen[0], mixed)
    assert torch.equal(mixed[0], fake[0])
    assert torch.equal(mixed[3], real[3])
    torch.testing.assert_close(penalty.detach(), (mixed.norm(dim=1) - 1).square().mean())


def test_penalty_reaches_the_critics_weights_and_not_the_graph_of_fake_or_real() -> None:
    torch.manual_seed(0)
    G, D = nn.Linear(2, 2).double(), nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    real, fake = random(6, 2).requires_grad_(), G(random(6, 2, seed=1))
    weights = torch.linspace(0, 1, 6, dtype=torch.float64)
    gradient_penalty(D, real, fake, weights).backward()
    assert all(parameter.grad is None for parameter in G.parameters())
    assert real.grad is None
    # The last bias drops out of a gradient in x; every other parameter's gradient is that of a finite difference.
    inner = [p for p in D.parameters() if p is not D[2].bias]
    found, start = parameters_to_vector([p.grad for p in inner]), parameters_to_vector(inner).detach()

    def penalty_at(vector: Tensor) -> float:
        vector_to_parameters(vector, inner)
        return gradient_penalty(D, real, fake, weights).item()

    shifts = 1e-6 * torch.eye(len(start), dtype=torch.float64)
    wanted = [(penalty_at(start + shift) - penalty_at(start - shift)) / 2e-6 for shift in shifts]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-6, atol=1e-8)


def test_the_penalty_in_use_has_the_papers_weight_of_10() -> None:
    """A critic of slope (3, 4) has ‖∂D/∂x‖ = 5 everywhere: the penalty is 10 · (5 − 1)²."""
    critic: Callable[[Tensor], Tensor] = lambda x: x @ torch.tensor([3.0, 4.0], dtype=torch.float64)  # noqa: E731
    penalty = LOSSES["wgan-gp"].penalty(critic, random(3, 2), random(3, 2, seed=1))
    torch.testing.assert_close(penalty, torch.tensor(160.0, dtype=torch.float64))


def test_wgan_gp_weighs_the_penalty_at_evenly_spaced_mixtures() -> None:
    D: Callable[[Tensor], Tensor] = lambda x: x.square().sum(1)  # noqa: E731
    real, fake = random(4, 2), random(4, 2, seed=1)
    weights = torch.tensor([0.125, 0.375, 0.625, 0.875], dtype=torch.float64)
    torch.testing.assert_close(
        WassersteinGP(0.5).penalty(D, real, fake), 0.5 * gradient_penalty(D, real, fake, weights)
    )


@pytest.mark.parametrize("name", ["non-saturating-r1", "non-saturating-r2"])
def test_r1_and_r2_by_hand(name: str) -> None:
    """D(x) = a · ‖x‖² has the gradient 2a · x, and d/da of γ/2 · mean(‖2a · x‖²) is 4 · γ · a · mean(‖x‖²)."""
    real, fake = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    mean = {"non-saturating-r1": 3.0, "non-saturating-r2": 12.5}[name]  # of (5, 1), and of (25, 0)
    a = torch.tensor(0.5, requires_grad=True)
    penalty = LOSSES[name].penalty(lambda x: a * x.square().sum(1, keepdim=True), real, fake)
    penalty.backward()
    assert penalty.item() == 10 / 2 * mean
    assert a.grad.item() == 4 * 10 * 0.5 * mean
    assert fake.grad is None


@pytest.mark.parametrize("penalised", [R1, R2])
def test_r1_and_r2_are_weighed_by_gamma_and_sum_over_patches(penalised: type[R1]) -> None:
    """A D of two patches, w·x and −2 w·x: an image's gradient is −w, and the penalty γ/2 · ‖w‖²."""
    w = random(3, seed=1)
    D: Callable[[Tensor], Tensor] = lambda x: torch.stack([x @ w, -2 * (x @ w)], dim=1)  # noqa: E731
    found = penalised(gamma=0.5).penalty(D, random(4, 3), random(4, 3, seed=2))
    torch.testing.assert_close(found, 0.25 * w.square().sum())
