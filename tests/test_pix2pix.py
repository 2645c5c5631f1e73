"""pix2pix's steps: their gradients, which of them are the same update, and what they cost."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from benchlib.training import l1_only
from image_helpers import bce, build_pix2pix, gradients, mse, pictures
from torch import Tensor, nn

from gantutor.gan import frozen
from gantutor.ledger import compare, cost
from gantutor.ledger.compare import GRADIENT, WEIGHTS
from gantutor.losses import LOSSES, TRANSLATION_LOSSES
from gantutor.pix2pix import (
    OBJECTIVES,
    PIX2PIX_STEPS,
    d_first_detach,
    one_stage,
)
from gantutor.training import Run

A, B = pictures(4, 2, seed=1), pictures(4, 3, seed=2)


def valid(loss: str) -> dict[str, object]:
    """The steps that take a loss."""
    return {name: step for name, step in PIX2PIX_STEPS.items() if step is not one_stage or loss in ("minimax", "wgan")}


@pytest.mark.parametrize(
    ("loss", "criterion", "objective"),
    [*(("non-saturating", bce, objective) for objective in OBJECTIVES), ("lsgan", mse, "L1 + cGAN")],
)
def test_the_default_step_is_the_reference_s(loss, criterion, objective) -> None:
    """An oracle with no line in common: autograd.grad of what Pix2PixModel minimises, Adam by hand for D's update."""
    model = build_pix2pix(loss=loss, **OBJECTIVES[objective])
    oracle = copy.deepcopy(model)
    found = d_first_detach(model, A, B)

    def judged(images: Tensor) -> Tensor:
        return oracle.D(torch.cat((A, images), 1) if OBJECTIVES[objective]["conditional"] else images)

    fake = oracle.G(A)
    d_loss = (criterion(judged(fake.detach()), 0.0) + criterion(judged(B), 1.0)) * 0.5
    d_gradients = torch.autograd.grad(d_loss, list(oracle.D.parameters()))
    for p, g in zip(oracle.D.parameters(), d_gradients, strict=True):
        p.data -= 1e-3 * g / (g.abs() + 1e-8)  # Adam's first step
    g_gan, g_l1 = criterion(judged(fake), 1.0), F.l1_loss(fake, B)
    g_loss = OBJECTIVES[objective]["lambda_gan"] * g_gan + OBJECTIVES[objective]["lambda_L1"] * g_l1
    g_gradients = torch.autograd.grad(g_loss, list(oracle.G.parameters()))

    near = {"rtol": 1e-7, "atol": 1e-9}
    torch.testing.assert_close(gradients(model.D), list(d_gradients), **near)
    torch.testing.assert_close(gradients(model.G), list(g_gradients), **near)
    for name, value in {"d_loss": d_loss, "g_loss": g_gan, "l1_loss": g_l1}.items():
        torch.testing.assert_close(found[name], value.detach(), **near)


@pytest.mark.parametrize(
    ("norm", "loss"),
    [("batch", "minimax"), ("instance", "non-saturating"), ("instance", "wgan"), ("none", "lsgan"), ("none", "hinge")],
)
def test_which_steps_are_the_same_update(norm, loss) -> None:
    """g_first_detach, simultaneous and, where it is exact, one_stage; D's first update is the same in all."""
    model = build_pix2pix(norm, loss=loss, dropout=0.5)
    steps = valid(loss)
    found = compare(steps, model, A, B)
    assert not found.errors
    for a, b in itertools.combinations(steps, 2):
        assert found.between(a, b, "D", GRADIENT).near
        same = "d_first_detach" not in (a, b)
        assert found.between(a, b, "G", GRADIENT).near == same
        if same and norm != "batch":  # before BatchNorm a bias has no gradient but rounding, of which Adam makes a step
            assert found.between(a, b, "G", WEIGHTS).near


@pytest.mark.parametrize("step", PIX2PIX_STEPS.values())
def test_a_step_is_a_function_of_its_arguments_and_the_random_state(step) -> None:
    model = build_pix2pix(loss="minimax", dropout=0.5)
    outcomes = []
    for seed in (0, 0, 1):
        twin = copy.deepcopy(model)
        torch.manual_seed(seed)
        step(twin, A, B)
        outcomes.append(torch.cat([p.detach().flatten() for p in (*twin.G.parameters(), *twin.D.parameters())]))
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])
    without = build_pix2pix(loss="minimax")
    state = torch.get_rng_state()
    report = step(without, A, B)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(report) == ["d_loss", "g_loss", "l1_loss", "logits_real", "logits_fake"]
    assert not any(tensor.requires_grad for tensor in report.values())


def test_the_cheaper_steps_are_cheaper() -> None:
    model = build_pix2pix(loss="minimax")
    flops = {name: cost(step, model, A, B, repeats=1).flops for name, step in PIX2PIX_STEPS.items()}
    assert flops["one_stage"] < flops["simultaneous"] < flops["d_first_detach"] == flops["g_first_detach"]
    assert cost(l1_only, model, A, B, repeats=1).networks["D"].forwards == 0


@pytest.mark.parametrize("step", valid("non-saturating").values())
def test_with_L1_alone_G_does_not_hear_D(step) -> None:
    """And D learns all the same; `l1_only` gives G the same update without it."""
    model = build_pix2pix(**OBJECTIVES["L1"])
    found = compare({"step": step, "l1_only": l1_only}, model, A, B)
    assert found.between("step", "l1_only", "G", GRADIENT).near
    assert not found.between("step", "l1_only", "D", GRADIENT).near


def test_an_unconditional_D_does_not_see_A() -> None:
    other = A.flip(0)
    for conditional in (True, False):
        model = build_pix2pix(conditional=conditional)
        assert torch.equal(model.scores(A, B), model.scores(other, B)) == (not conditional)


def test_objectives_are_the_paper_s_table() -> None:
    terms = {name: (bool(o["lambda_L1"]), bool(o["lambda_gan"]), o["conditional"]) for name, o in OBJECTIVES.items()}
    assert terms == {
        "L1": (True, False, True),
        "GAN": (False, True, False),
        "cGAN": (False, True, True),
        "L1 + GAN": (True, True, False),
        "L1 + cGAN": (True, True, True),
    }
    default = build_pix2pix()
    assert {name: getattr(default, name) for name in OBJECTIVES["L1 + cGAN"]} == OBJECTIVES["L1 + cGAN"]


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_translate_leaves_no_trace(mode) -> None:
    model = build_pix2pix(dropout=0.5)
    before = copy.deepcopy(model.G.state_dict())
    once, again = model.translate(A, mode), model.translate(A, mode)
    assert torch.equal(once, again) == (mode == "eval")
    assert not once.requires_grad
    assert model.G.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.G.state_dict().items())
    one = model.translate(A[:1], mode)  # with one image BatchNorm's statistics are that image's
    assert torch.allclose(one, once[:1]) == (mode == "eval")


def test_scores_leave_no_trace_and_translate_knows_two_modes() -> None:
    model = build_pix2pix()
    before = copy.deepcopy(model.D.state_dict())
    assert model.scores(A, B).shape == (4, 1, 2, 2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.D.state_dict().items())
    with pytest.raises(ValueError, match="mode='test' is unknown; choose eval or train"):
        model.translate(A, "test")


MISFITS = {
    "another type": (A.float(), B, "real_A is torch.float32 on cpu, but the networks are torch.float64"),
    "out of range": (A, B * 255, r"images must lie in \[-1, 1\].*real_B spans \[-2"),
    "not a number": (A * torch.nan, B, "real_A holds values that are NaN or infinite"),
    "not in pairs": (A[:3], B, r"A and B must come in pairs: shapes \(3, 2, 8, 8\) and \(4, 3, 8, 8\)"),
    "an odd size": (pictures(4, 2, 12), pictures(4, 3, 12), r"G does not take real_A of shape .*multiples of 8"),
    "alpha in A": (pictures(4, 4), B, r"G does not take real_A of shape \(4, 4, 8, 8\)"),
    "alpha in B": (A, pictures(4, 4), r"G\(A\) has shape \(4, 3, 8, 8\), but real_B has shape \(4, 4, 8, 8\)"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_misfit_is_refused_before_the_first_step(case) -> None:
    real_A, real_B, message = MISFITS[case]
    with pytest.raises(ValueError, match=message):
        Run(build_pix2pix(), d_first_detach, iter([(real_A, real_B)])).step()


def test_a_D_that_does_not_fit_is_refused() -> None:
    model = build_pix2pix()
    model.check(A, B)
    model.conditional = False
    with pytest.raises(ValueError, match=r"D does not take B alone \(conditional=False\) of shape \(4, 3, 8, 8\)"):
        model.check(A, B)
    model.D, model.conditional = nn.Sequential(nn.Conv2d(5, 2, 1)).double(), True
    with pytest.raises(ValueError, match=r"D must return logits \(B, 1, h, w\) for B=4; got \(4, 2, 8, 8\)"):
        model.check(A, B)


def test_lsgan_is_not_halved() -> None:
    """The formula of its docstring, and twice the loss of that name elsewhere: value and slope."""
    real, fake = torch.randn(2, 5, dtype=torch.float64).requires_grad_().unbind()
    loss = TRANSLATION_LOSSES["lsgan"]
    torch.testing.assert_close(loss.d_loss(real, fake), ((real - 1) ** 2).mean() + (fake**2).mean())
    torch.testing.assert_close(loss.g_loss(fake), ((fake - 1) ** 2).mean())
    torch.testing.assert_close(loss.g_loss(fake), 2 * LOSSES["lsgan"].g_loss(fake))


def test_frozen_gives_back_what_it_took() -> None:
    network = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    network[0].bias.requires_grad_(False)
    wanted = [p.requires_grad for p in network.parameters()]
    with frozen(network):
        assert not any(p.requires_grad for p in network.parameters())
    assert [p.requires_grad for p in network.parameters()] == wanted
    with pytest.raises(RuntimeError, match="shapes"), frozen(network):
        network(torch.zeros(1, 2))
    assert [p.requires_grad for p in network.parameters()] == wanted
