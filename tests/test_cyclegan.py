"""CycleGAN: its steps' gradients, which are the same update, what they cost; who judges whom; checkpoints."""

import copy

import pytest
import torch
import torch.nn.functional as F
from image_helpers import bce, build_cyclegan, gradients, mse, pictures
from torch import Tensor, nn

from gantutor.cyclegan import (
    CYCLEGAN_STEPS,
    REFERENCE_NAMES,
    CycleGAN,
    d_first_shared,
    g_first_separate,
    g_first_shared,
    load_reference,
)
from gantutor.image_pool import ImagePool
from gantutor.ledger import compare
from gantutor.ledger.compare import GRADIENT
from gantutor.models import patchgan, resnet
from gantutor.training import Run

A, B = pictures(2, 2, seed=1), pictures(3, 2, seed=2)  # two heaps need not be equally large
NETWORKS = ("G_AB", "G_BA", "D_A", "D_B")
NEAR = {"rtol": 1e-7, "atol": 1e-9}


@pytest.mark.parametrize(
    ("loss", "criterion", "weights"),
    [("lsgan", mse, (1.0, 10.0, 0.5)), ("lsgan", mse, (2.0, 0.0, 0.5)), ("non-saturating", bce, (0.5, 3.0, 0.0))],
)
@pytest.mark.parametrize("step", CYCLEGAN_STEPS.values())
def test_a_step_is_the_reference_s(step, loss, criterion, weights) -> None:
    """An oracle in the reference's names with no line in common: autograd.grad of what CycleGANModel minimises."""
    lambda_gan, lambda_cycle, lambda_identity = weights
    model = build_cyclegan(
        pool=0, loss=loss, lambda_gan=lambda_gan, lambda_cycle=lambda_cycle, lambda_identity=lambda_identity
    )
    oracle = copy.deepcopy(model)
    found = step(model, A, B)

    G_A, G_B, D_A, D_B = (getattr(oracle, REFERENCE_NAMES[name]) for name in ("G_A", "G_B", "D_A", "D_B"))
    fake_B, fake_A = G_A(A), G_B(B)

    def of_D() -> Tensor:
        loss_D_A = (criterion(D_A(B), 1.0) + criterion(D_A(fake_B.detach()), 0.0)) * 0.5
        return loss_D_A + (criterion(D_B(A), 1.0) + criterion(D_B(fake_A.detach()), 0.0)) * 0.5

    d_parameters = [*oracle.D_A.parameters(), *oracle.D_B.parameters()]
    d_gradients = torch.autograd.grad(of_D(), d_parameters)
    d_loss = of_D().detach()
    if step is d_first_shared:
        for p, g in zip(d_parameters, d_gradients, strict=True):
            p.data -= 1e-3 * g / (g.abs() + 1e-8)  # Adam's first step
    gan = criterion(D_A(fake_B), 1.0) + criterion(D_B(fake_A), 1.0)
    cycle = F.l1_loss(G_B(fake_B), A) + F.l1_loss(G_A(fake_A), B)
    identity = F.l1_loss(G_A(B), B) + F.l1_loss(G_B(A), A)
    total = lambda_gan * gan + lambda_cycle * cycle + lambda_cycle * lambda_identity * identity
    g_gradients = torch.autograd.grad(total, [*oracle.G_AB.parameters(), *oracle.G_BA.parameters()])

    torch.testing.assert_close([*gradients(model.G_AB), *gradients(model.G_BA)], list(g_gradients), **NEAR)
    torch.testing.assert_close([*gradients(model.D_A), *gradients(model.D_B)], list(d_gradients), **NEAR)
    assert [len(found[f"logits_{which}"]) for which in ("real_A", "fake_A", "real_B", "fake_B")] == [2, 3, 3, 2]
    assert not any(tensor.requires_grad for tensor in found.values())
    for name, value in {"d_loss": d_loss, "g_loss": gan, "cycle_loss": cycle, "identity_loss": identity}.items():
        torch.testing.assert_close(found[name], value.detach(), **NEAR)


def test_one_forward_for_translation_and_identity_is_the_same_update() -> None:
    """Bit for bit or by rounding, over five steps with a pool: the weights differ by less than 1e-6 of their change."""
    model = build_cyclegan()
    found = compare(CYCLEGAN_STEPS, model, A, B)
    assert not found.errors
    for name in NETWORKS:
        assert found.between("g_first_shared", "g_first_separate", name, GRADIENT).near
        assert found.between("g_first_shared", "d_first_shared", name, GRADIENT).near == name.startswith("D")
    shared, separate = copy.deepcopy(model), copy.deepcopy(model)
    for seed in range(5):
        real_A, real_B = pictures(2, 2, seed=seed), pictures(2, 2, seed=seed + 100)
        g_first_shared(shared, real_A, real_B)
        g_first_separate(separate, real_A, real_B)
    for name in NETWORKS:
        for p, q in zip(getattr(shared, name).parameters(), getattr(separate, name).parameters(), strict=True):
            if p.dim() == 4:  # a bias before InstanceNorm has no gradient but rounding, of which Adam makes a step
                torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)


def test_batchnorm_would_forbid_it() -> None:
    model = build_cyclegan("batch")
    for step in (g_first_shared, d_first_shared):
        with pytest.raises(ValueError, match="G_AB has BatchNorm, which would normalise one domain's images"):
            step(model, A, B)
    g_first_separate(model, A, B)
    fake, joint = model.G_AB(A), model.G_AB(torch.cat([A, B]))[: len(A)]
    assert (fake - joint).abs().max() > 1e-3  # which is what is refused


@pytest.mark.parametrize("step", CYCLEGAN_STEPS.values())
def test_D_is_shown_the_pool_s_images_and_G_the_new_ones(step) -> None:
    """A pool that holds an image of its own: D's logits are of it, and the generators' loss does not know."""

    class Other(ImagePool):
        def query(self, images: Tensor) -> Tensor:
            return super().query(images) * 0 + 0.25

    model = build_cyclegan(pool=0)
    plain = step(copy.deepcopy(model), A, B)
    other = copy.deepcopy(model)
    other.pool_A = Other(0)
    with torch.no_grad():
        wanted = other.D_A(torch.full((3, 2, 8, 8), 0.25, dtype=torch.float64))
    found = step(other, A, B)
    torch.testing.assert_close(found["logits_fake_A"], wanted, **NEAR)
    torch.testing.assert_close(found["logits_fake_B"], plain["logits_fake_B"], **NEAR)
    assert torch.equal(found["g_loss"], plain["g_loss"]) == (step is not d_first_shared)
    assert torch.equal(found["cycle_loss"], plain["cycle_loss"])


def test_translate_is_the_graph_of_the_two_generators_and_leaves_no_trace() -> None:
    model = build_cyclegan()
    found = model.translate(A, B)
    with torch.no_grad():
        fake_B, fake_A = model.G_AB(A), model.G_BA(B)
        wanted = {
            "fake_B": fake_B, "rec_A": model.G_BA(fake_B), "idt_A": model.G_BA(A),
            "fake_A": fake_A, "rec_B": model.G_AB(fake_A), "idt_B": model.G_AB(B),
        }  # fmt: skip
    torch.testing.assert_close(found, wanted)
    assert model.G_AB.training
    assert not any(tensor.requires_grad for tensor in found.values())


def save(source: CycleGAN, folder, names=tuple(REFERENCE_NAMES)) -> None:
    """As the reference's save_networks does."""
    for name in names:
        torch.save(getattr(source, REFERENCE_NAMES[name]).state_dict(), folder / f"latest_net_{name}.pth")


def state(model: CycleGAN) -> dict[str, Tensor]:
    return {f"{n}.{k}": v.clone() for n in NETWORKS for k, v in getattr(model, n).state_dict().items()}


def test_a_checkpoint_s_D_A_becomes_D_B(tmp_path) -> None:
    source, model = build_cyclegan(), build_cyclegan()
    for parameter in (p for name in NETWORKS for p in getattr(source, name).parameters()):
        parameter.data.normal_()
    save(source, tmp_path)
    assert not torch.equal(source.D_A.model[0].weight, source.D_B.model[0].weight)
    assert load_reference(model, tmp_path) == ["G_AB", "G_BA", "D_B", "D_A"]
    torch.testing.assert_close(state(model), state(source), rtol=0, atol=0)
    for name in ("D_A", "D_B"):
        (tmp_path / f"latest_net_{name}.pth").unlink()
    assert load_reference(model, tmp_path) == ["G_AB", "G_BA"]


def test_a_bad_checkpoint_leaves_all_networks_alone(tmp_path) -> None:
    source, model = build_cyclegan(), build_cyclegan()
    for parameter in (p for name in NETWORKS for p in getattr(source, name).parameters()):
        parameter.data.normal_()
    before = state(model)
    save(source, tmp_path, ("G_A",))
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*latest_net_G_B\.pth"):
        load_reference(model, tmp_path)
    save(source, tmp_path)
    torch.save(patchgan(2, 1, 8, "instance").state_dict(), tmp_path / "latest_net_D_B.pth")
    with pytest.raises(ValueError, match=r"latest_net_D_B\.pth does not fit PatchGAN: size mismatch for"):
        load_reference(model, tmp_path)
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)


MISFITS = {
    "another type": (A, B.float(), "real_B is torch.float32 on cpu, but the networks are torch.float64"),
    "grey against two channels": (A, B[:, :1], "so both need the same channels; A has 2 and B has 1"),
    "alpha": (pictures(2, 4), pictures(2, 4), r"G_AB does not take images of shape \(2, 4, 8, 8\)"),
    "too small": (pictures(2, 2, 2), B, r"G_AB does not take images|discriminator of G_AB does not take images"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_misfit_is_refused_before_the_first_step(case) -> None:
    real_A, real_B, message = MISFITS[case]
    with pytest.raises(ValueError, match=message):
        Run(build_cyclegan(), g_first_shared, iter([(real_A, real_B)])).step()


def test_networks_that_do_not_fit_are_refused() -> None:
    model = build_cyclegan()
    model.check(A, B)
    model.D_B = nn.Sequential(nn.Conv2d(2, 2, 1)).double()
    with pytest.raises(ValueError, match=r"the discriminator of G_AB must return logits .* got \(2, 2, 8, 8\)"):
        model.check(A, B)
    model.G_AB = resnet(0, 2, 3, width=2).double()
    with pytest.raises(ValueError, match=r"G_AB makes \(2, 3, 8, 8\) of \(2, 2, 8, 8\); expected .* 2 channels"):
        model.check(A, B)


def test_the_weights_are_the_paper_s() -> None:
    model = build_cyclegan()
    assert (model.lambda_gan, model.lambda_cycle, model.lambda_identity) == (1.0, 10.0, 0.5)
