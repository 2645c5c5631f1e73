"""Which strategies are the same update, bit for bit or to a stated tolerance, and which are not.

All in float64 on copies of one GAN. "Bit for bit" means torch.equal; NEAR and FAR are the tolerances otherwise.
"""

import copy
import functools

import pytest
import torch
from helpers import (
    WITH_BATCHNORM,
    WITHOUT_BATCHNORM,
    Run,
    batchnorm_counts,
    build,
    draw,
    relative_error,
    run,
    same_state,
    same_weights,
    weights,
)
from torch import Tensor, nn

from gantutor.gan import BATCHINGS, GAN
from gantutor.losses import LOSSES
from gantutor.steps import STEPS, d_only, g_only, one_stage, simultaneous

NEAR = 1e-12  # relative; float64 sums in another order
FAR = 1e-3  # relative; what counts as different

# Which D a strategy scores its fakes with in G's step. A new strategy must be entered here.
UPDATED_D, OLD_D = "the updated D", "the old D"
SCORES_FOR_G = {
    "d_first_retain_graph": UPDATED_D,
    "d_first_detach": UPDATED_D,
    "d_first_regenerate": UPDATED_D,
    "g_first_detach": OLD_D,
    "simultaneous": OLD_D,
    "one_stage": OLD_D,
}
ONCE_FOR_BOTH = {"simultaneous", "one_stage"}  # D scores the fake in one call for both players
HAVE_A_RATIO = [name for name, loss in LOSSES.items() if "slope_ratio = " in (type(loss).__doc__ or "")]
SPLIT_FOR_D = ("split", "joint_in_G_step")  # batchings in which D's step scores reals and fakes in two calls

# Every loss on points, every batching with BatchNorm in D, and some pairs of the three.
CASES = [
    *(("points", loss, "split") for loss in LOSSES),
    *(("points-batch", "non-saturating", batching) for batching in BATCHINGS),
    ("points-batch", "minimax", "split"),
    ("points-batch", "wgan-gp", "joint"),
    ("points-batch", "relativistic", "split"),
    ("points-batch", "relativistic", "joint"),
    ("points", "relativistic", "joint_in_D_step"),
    ("dcgan", "minimax", "joint_in_G_step"),
    ("dcgan-batch", "wgan-gp", "split"),
    ("dcgan-batch", "non-saturating", "joint"),
]
cases = pytest.mark.parametrize(("networks", "loss", "batching"), CASES)


def takes(step: str, loss: str, networks: str, batching: str) -> bool:
    """False where one_stage refuses, or should."""
    if step != "one_stage" or loss not in HAVE_A_RATIO:
        return step != "one_stage"
    return networks in WITHOUT_BATCHNORM or (LOSSES[loss].constant_ratio and batching in SPLIT_FOR_D)


@functools.cache
def runs(networks: str, loss: str, batching: str) -> dict[str, Run]:
    """What five steps of each strategy do, all from the same start on the same batches."""
    gan, batches = build(networks, loss, batching), draw(networks, 5, size=4)
    return {name: run(gan, step, batches) for name, step in STEPS.items() if takes(name, loss, networks, batching)}


def test_every_strategy_is_classified() -> None:
    assert set(SCORES_FOR_G) == set(STEPS)
    assert all(STEPS[name].__name__ == name for name in STEPS)


# The GAN


def test_with_adam_keeps_what_it_is_given() -> None:
    G, D = nn.Linear(2, 2), nn.Linear(2, 1)
    gan = GAN.with_adam(G, D, "hinge", "joint", lr_G=0.1, lr_D=0.2, betas=(0.3, 0.4))
    assert (gan.G, gan.D, gan.loss, gan.batching) == (G, D, LOSSES["hinge"], "joint")
    for optimizer, network, lr in ((gan.opt_G, G, 0.1), (gan.opt_D, D, 0.2)):
        assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"]) == (lr, (0.3, 0.4))
        assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in network.parameters()]


# Every strategy


@cases
def test_a_report_holds_detached_losses_and_the_scores_that_Ds_update_saw(
    networks: str, loss: str, batching: str
) -> None:
    gan, ((real, z),) = build(networks, loss, batching), draw(networks)
    start = copy.deepcopy(gan)
    fake = start.G(z)
    logits_real, logits_fake = start.logits(real, fake)
    d_loss = start.loss.d_loss(logits_real, logits_fake) + start.loss.penalty(start.D, real, fake)
    for name, step in STEPS.items():
        if not takes(name, loss, networks, batching):
            continue
        done = run(gan, step, [(real, z)])
        report = done.reports[0]
        assert list(report) == ["d_loss", "g_loss", "logits_real", "logits_fake"]
        assert all(not tensor.requires_grad and torch.isfinite(tensor).all() for tensor in report.values())
        assert report["d_loss"].shape == report["g_loss"].shape == ()
        for key, wanted in (("logits_real", logits_real), ("logits_fake", logits_fake), ("d_loss", d_loss)):
            assert torch.equal(report[key], wanted), name
        D = start.D if SCORES_FOR_G[name] == OLD_D else done.gan.D
        as_in = batching
        if name in ONCE_FOR_BOTH:
            as_in = "joint" if start.joint_for_D else "split"
        scored = GAN(start.G, copy.deepcopy(D), gan.opt_G, gan.opt_D, gan.loss, as_in)
        g_loss = gan.loss.g_loss(*scored.logits_for_G(real, fake))
        torch.testing.assert_close(report["g_loss"], g_loss.detach(), rtol=NEAR, atol=0)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_pure_and_moves_both_players(step: str) -> None:
    """The same arguments give the same bits; neither real nor z nor torch's random state moves."""
    for networks in ("dcgan", "points-batch"):
        gan, ((real, z),) = build(networks, "minimax"), draw(networks)
        kept_real, kept_z, state = real.clone(), z.clone(), torch.get_rng_state()
        first = run(gan, STEPS[step], [(real, z)] * 2)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(real, kept_real)
        assert torch.equal(z, kept_z)
        assert not real.requires_grad
        assert not z.requires_grad
        torch.manual_seed(999)
        second = run(gan, STEPS[step], [(real, z)] * 2)
        assert same_state(first.gan, second.gan)
        assert all(torch.equal(a[key], b[key]) for a, b in zip(first.reports, second.reports, strict=True) for key in a)
        assert not torch.equal(weights(first.gan.G), weights(gan.G))
        assert not torch.equal(weights(first.gan.D), weights(gan.D))


@cases
def test_first_updates_are_told_apart_by_the_D_that_scores_for_G_alone(networks: str, loss: str, batching: str) -> None:
    """D's is the same in every strategy: all see the same D and the fakes of the same G. They part at G's update.

    That is against the updated D, or against the old one: the same within a class, far apart between the two.
    """
    gan, batch = build(networks, loss, batching), draw(networks, 5, size=4)[:1]
    after_D = run(gan, d_only, batch)
    wanted = {
        UPDATED_D: run(after_D.gan, g_only, batch).gradients["G"][0],
        OLD_D: run(gan, g_only, batch).gradients["G"][0],
    }
    assert relative_error(wanted[OLD_D], wanted[UPDATED_D]) > FAR
    for name, found in runs(networks, loss, batching).items():
        assert torch.equal(found.gradients["D"][0], after_D.gradients["D"][0]), name
        crossed = name in ONCE_FOR_BOTH and batching not in ("split", "joint")  # D scores for G as it does for itself
        if not crossed:
            exact = name != "one_stage" or LOSSES[loss].constant_ratio
            error = relative_error(found.gradients["G"][0], wanted[SCORES_FOR_G[name]])
            assert error <= (0 if exact else NEAR), name


# D first


@cases
def test_detach_and_retain_graph_are_the_same_bit_for_bit(networks: str, loss: str, batching: str) -> None:
    """Claim 7, over five steps: gradients, weights, statistics and reports. What differs is time and memory."""
    detach, retain = (runs(networks, loss, batching)[name] for name in ("d_first_detach", "d_first_retain_graph"))
    assert same_state(detach.gan, retain.gan)
    for player in "GD":
        assert len(detach.gradients[player]) == 5
        assert torch.equal(torch.stack(detach.gradients[player]), torch.stack(retain.gradients[player]))
    assert all(torch.equal(a[key], b[key]) for a, b in zip(detach.reports, retain.reports, strict=True) for key in a)


@cases
def test_regenerate_is_the_same_but_for_the_statistics_of_Gs_batchnorm(networks: str, loss: str, batching: str) -> None:
    detach, regenerate = (runs(networks, loss, batching)[name] for name in ("d_first_detach", "d_first_regenerate"))
    assert same_weights(detach.gan, regenerate.gan)
    assert all(torch.equal(a, b) for a, b in zip(detach.gan.D.buffers(), regenerate.gan.D.buffers(), strict=True))
    if networks in WITHOUT_BATCHNORM:
        assert same_state(detach.gan, regenerate.gan)
        return
    assert batchnorm_counts(detach.gan.G) == {5}
    assert batchnorm_counts(regenerate.gan.G) == {10}
    one, two = detach.gan.G.state_dict(), regenerate.gan.G.state_dict()
    assert all(not torch.equal(one[key], two[key]) for key in one if "running" in key)


# Simultaneous, and what G first is


@pytest.mark.parametrize(("networks", "loss", "batching"), [case for case in CASES if case[2] in ("split", "joint")])
def test_g_first_on_one_fake_is_the_simultaneous_update(networks: str, loss: str, batching: str) -> None:
    """Claim 11. The fake was made before G moved and D judges that one: neither player sees the other's update.

    So g_first_detach is not d_first_detach in another phase, but `simultaneous`, bit for bit over five steps; only
    BatchNorm in D counts the fake twice.
    """
    g_first, both = (runs(networks, loss, batching)[name] for name in ("g_first_detach", "simultaneous"))
    assert same_weights(g_first.gan, both.gan)
    assert all(torch.equal(x, y) for x, y in zip(g_first.gan.G.buffers(), both.gan.G.buffers(), strict=True))
    if networks in WITH_BATCHNORM:
        (twice,), (once,) = batchnorm_counts(g_first.gan.D), batchnorm_counts(both.gan.D)
        assert twice == once + 5 * (2 if LOSSES[loss].relativistic and batching == "split" else 1)  # real again, too


# One stage


@cases
def test_one_stage_is_exact_or_refuses_and_leaves_no_trace(networks: str, loss: str, batching: str) -> None:
    if not takes("one_stage", loss, networks, batching):
        gan = build(networks, loss, batching)
        before = copy.deepcopy(gan)
        with pytest.raises(ValueError, match=r"slope ratio|BatchNorm in D"):
            one_stage(gan, *draw(networks)[0])
        assert same_state(gan, before)
        return
    one, both = (runs(networks, loss, batching)[name] for name in ("one_stage", "simultaneous"))
    assert torch.equal(one.gradients["D"][0], both.gradients["D"][0])
    assert relative_error(one.gradients["G"][0], both.gradients["G"][0]) < NEAR
    if LOSSES[loss].constant_ratio:  # the ratio is -1, and a change of sign rounds nothing: five steps bit for bit
        assert same_state(one.gan, both.gan)
    else:
        assert relative_error(weights(one.gan.G), weights(both.gan.G)) < 1e-9


class Table(nn.Module):
    """A generator that is its list of fakes: the gradient of a row is the gradient at that fake."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, z: Tensor) -> Tensor:
        return self.rows


class Forced(nn.Module):
    """A critic whose scores are what we say, while its gradients are those of a network."""

    def __init__(self, network: nn.Module, logits: Tensor) -> None:
        super().__init__()
        self.network, self.logits = network, logits

    def forward(self, x: Tensor) -> Tensor:
        scores = self.network(x)
        return (scores - scores.detach()) + self.logits.repeat(len(x) // len(self.logits), 1)


@pytest.mark.parametrize("loss", HAVE_A_RATIO)
def test_one_stage_in_float32_does_not_overflow_for_logits_from_minus_200_to_200(loss: str) -> None:
    """Both players' gradients; above logit 88 G's own is below what float32 holds, so that it may come out as 0."""
    torch.manual_seed(0)
    logits = torch.linspace(-200, 200, 81)[:, None]
    D = Forced(nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1)), logits)
    gan = GAN.with_adam(Table(torch.randn(81, 2)), D, loss)
    real, z = torch.randn(81, 2), torch.randn(81, 2)
    one, both = run(gan, one_stage, [(real, z)]), run(gan, simultaneous, [(real, z)])
    found, wanted = one.gradients["G"][0].view(81, 2), both.gradients["G"][0].view(81, 2)
    assert found.dtype == torch.float32
    assert (logits < -88).sum() > 20, "exp(-l) alone is inf for these"
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-37)
    torch.testing.assert_close(one.gradients["D"][0], both.gradients["D"][0], rtol=1e-6, atol=0)
    assert one.reports[0]["d_loss"] == both.reports[0]["d_loss"]


# Penalties and pairs


@pytest.mark.parametrize("penalised", [name for name, loss in LOSSES.items() if loss.has_penalty])
def test_a_gradient_penalty_moves_D_and_reaches_G_only_through_D(penalised: str) -> None:
    """With D held still G's gradient is that of the plain loss, bit for bit; D's own update is not."""
    plain, batch = penalised.rpartition("-")[0], draw("points")
    for name, step in STEPS.items():
        gradients = {}
        for loss in (plain, penalised):
            gan = build("points", loss)
            gan.opt_D = torch.optim.SGD(gan.D.parameters(), lr=0.0)
            if takes(name, loss, "points", "split"):
                gradients[loss] = run(gan, step, batch).gradients
        assert torch.equal(gradients[plain]["G"][0], gradients[penalised]["G"][0])
        assert relative_error(gradients[penalised]["D"][0], gradients[plain]["D"][0]) > FAR


@pytest.mark.parametrize("step", ["d_first_detach", "g_first_detach", "simultaneous"])
def test_a_relativistic_step_by_autograd(step: str) -> None:
    """G's gradient is that of log(1 + exp(D(real) − D(fake))), scored by the D that the strategy has for G."""
    gan, ((real, z),) = build("points", "relativistic", "joint_in_G_step"), draw("points")
    done = run(gan, STEPS[step], [(real, z)])
    scores = done.gan.D if SCORES_FOR_G[step] == UPDATED_D else gan.D
    loss = nn.functional.softplus(scores(real) - scores(gan.G(z))).mean()
    wanted = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(gan.G.parameters()))])
    assert relative_error(done.gradients["G"][0], wanted) < NEAR


# Batching


@pytest.mark.parametrize("networks", ["points", "points-batch", "dcgan-batch"])
def test_batching_matters_only_with_batchnorm_in_D(networks: str) -> None:
    """Claim 19: the same to 1e-14 (another order of sums) without, another gradient with it."""
    for name, step in STEPS.items():
        if not takes(name, "non-saturating", networks, "joint"):
            continue
        split, joint, in_D, in_G = (run(build(networks, batching=b), step, draw(networks)).gradients for b in BATCHINGS)
        assert torch.equal(joint["D"][0], in_D["D"][0])
        assert torch.equal(split["D"][0], in_G["D"][0])
        for player, other in (("D", joint), ("G", joint), ("G", in_D), ("G", in_G)):
            difference = relative_error(other[player][0], split[player][0])
            if networks in WITHOUT_BATCHNORM:
                assert difference < 1e-14
            elif (other is in_D and name == "g_first_detach") or (other is in_G and name in ONCE_FOR_BOTH):
                assert difference == 0  # against the same D, on a batch of the same kind
            else:
                assert difference > FAR


def test_batchnorm_apart_gives_plus_and_minus_1_and_jointly_keeps_the_gap() -> None:
    """Claim 19's numbers: [1, 2] and [5, 6]."""
    gan = GAN.with_adam(nn.Linear(1, 1), nn.Sequential(nn.BatchNorm1d(1, eps=1e-12), nn.Identity()).double())
    real, fake = torch.tensor([[1.0], [2.0]]).double(), torch.tensor([[5.0], [6.0]]).double()

    def scores(batching: str) -> list[float]:
        gan.batching = batching
        return [round(value, 2) for value in torch.cat(gan.logits(real, fake)).flatten().tolist()]

    def scores_for_G(batching: str) -> list[float]:
        gan.batching = batching
        return [round(value, 2) for value in gan.logits_for_G(real, fake)[0].flatten().tolist()]

    assert scores("split") == scores("joint_in_G_step") == [-1, 1, -1, 1]
    assert scores("joint") == scores("joint_in_D_step") == [-1.21, -0.73, 0.73, 1.21]
    assert scores_for_G("joint") == scores_for_G("joint_in_G_step") == [0.73, 1.21]
    assert scores_for_G("split") == scores_for_G("joint_in_D_step") == [-1, 1]


# Half steps


@cases
def test_half_steps_move_one_player_and_make_a_whole_step(networks: str, loss: str, batching: str) -> None:
    gan, batch = build(networks, loss, batching), draw(networks)
    after_d, after_g = run(gan, d_only, batch), run(gan, g_only, batch)
    assert torch.equal(weights(after_d.gan.G), weights(gan.G))
    assert not torch.equal(weights(after_d.gan.D), weights(gan.D))
    assert not after_d.gan.opt_G.state
    assert torch.equal(weights(after_g.gan.D), weights(gan.D))
    assert not torch.equal(weights(after_g.gan.G), weights(gan.G))
    assert not after_g.gan.opt_D.state
    both = run(after_d.gan, g_only, batch)
    assert same_state(both.gan, run(gan, STEPS["d_first_regenerate"], batch).gan)
    assert set(after_g.reports[0]) == {"g_loss", "logits_fake"}
    assert all(not tensor.requires_grad for tensor in after_g.reports[0].values())
