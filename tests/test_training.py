"""The loop: same seed, same run; a history that is read late; bad batches refused; a divergence that is survived."""

import copy
import itertools
import math
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import NETWORKS, build, draw, gradient, same_state, weights
from hypothesis import given
from hypothesis import strategies as st
from run_cases import difference
from torch import Tensor, nn

from gantutor.configs import GANConfig
from gantutor.gan import GAN
from gantutor.pitfalls import PITFALLS
from gantutor.steps import STEPS, d_first_detach, d_only, g_only
from gantutor.training import DivergedError, History, Run, devices, gradient_norms, is_finite, pick_device

RING = GANConfig(data="ring", batch_size=8, model_options={"width": 8})
SMALL = {
    "ring": RING,
    "digits": GANConfig(data="digits", batch_size=4, norm_D="none", model_options={"width_G": 4, "width_D": 4}),
    "digits, BatchNorm": GANConfig(data="digits", batch_size=4, batching="joint", model_options={"width_G": 4}),
}


# The same seed, the same run ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_gives_the_same_run_whatever_the_program_draws_meanwhile(name: str) -> None:
    run, disturbed, other = (SMALL[name].replace(d_steps=2, seed=seed).start() for seed in (0, 0, 1))
    for _ in range(4):
        run.step(), other.step()
        disturbed.step()
        torch.manual_seed(99)
        torch.rand(7)
        np.random.rand(3)  # noqa: NPY002
    assert difference(run.state_dict(), disturbed.state_dict()) == 0
    assert not torch.equal(next(run.batches)[0], next(other.batches)[0])
    assert not torch.equal(weights(run.model.G), weights(other.model.G))


def test_a_run_takes_the_steps_that_one_takes_by_hand() -> None:
    gan, pairs = build("dcgan-batch"), draw("dcgan-batch", count=5)
    by_hand, by_loop = copy.deepcopy(gan), copy.deepcopy(gan)
    reports = [d_first_detach(by_hand, *batch) for batch in pairs]
    run = Run(by_loop, d_first_detach, iter(pairs))
    for _ in range(5):
        run.step()
    assert same_state(by_hand, by_loop)
    assert run.history.keys() == ["d_loss", "g_loss", "grad_D", "grad_G"]
    assert run.history["d_loss"] == pytest.approx([report["d_loss"].item() for report in reports])
    assert run.last["logits_fake"].shape == (6, 1)


# The history ----------------------------------------------------------------------------------------------------------


def test_history_reads_values_only_when_asked() -> None:
    """A read makes a GPU wait, so it must not come with each step. A value that still changes shows when it came."""
    history, value = History(), torch.tensor(1.0)
    with pytest.raises(KeyError, match="no 'a' was reported; there are no steps yet"):
        history["a"]
    history.append({"a": value, "logits": torch.zeros(3)})
    assert len(history) == 1
    value.fill_(7.0)
    assert history["a"].tolist() == [7.0], "read before it was asked for"
    value.fill_(8.0)
    history["a"][0] = 9
    assert history["a"].tolist() == [7.0], "read twice, or what is handed out is no copy"
    with pytest.raises(KeyError, match="no 'loss' was reported; there are a"):
        history["loss"]


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(-99, 99)), max_size=12), st.sets(st.integers(0, 12))
)
def test_history_is_a_table_whenever_it_is_read_saved_or_loaded(
    rows: list[dict[str, int]], read_after: set[int]
) -> None:
    history = History()
    for number, row in enumerate(rows):
        history.append({name: torch.tensor(float(value)) for name, value in row.items()})
        if number in read_after:
            history.flush()
    again = History()
    again.load_state_dict(history.state_dict())
    for table in (history, again):
        assert len(table) == len(rows)
        assert set(table.keys()) == {name for row in rows for name in row}
        for name in table.keys():  # noqa: SIM118
            np.testing.assert_array_equal(table[name], [row.get(name, np.nan) for row in rows])


def test_history_can_be_read_while_another_thread_writes() -> None:
    """What a cell does while the live panel plays: no row is lost, doubled or out of order."""
    history = History()

    def write() -> None:
        for number in range(1000):
            history.append({"n": torch.tensor(float(number))})

    writer = threading.Thread(target=write)
    history.append({"n": torch.tensor(-1.0)})
    writer.start()
    while writer.is_alive():
        found = history["n"]
        assert found.tolist() == list(range(-1, len(found) - 1))
    writer.join()
    assert history["n"].tolist() == list(range(-1, 1000))


def test_what_waits_on_a_gpu_is_bounded() -> None:
    """A step on a batch that says it is on a GPU: the history is fetched with the losses, every 50 steps."""
    model = SimpleNamespace(G=torch.nn.Linear(1, 1))
    on_gpu = (SimpleNamespace(device=torch.device("cuda")),)
    run = Run(model, lambda model, batch: {"d_loss": torch.tensor(1.0)}, itertools.repeat(on_gpu))  # type: ignore[arg-type]
    waiting = []
    for _ in range(149):
        run.step()
        waiting.append(len(run.history._waiting))
    assert waiting == [*range(1, 50), 0, *range(1, 50), 0, *range(1, 50)]


# Gradient norms -------------------------------------------------------------------------------------------------------

QUIET = [name for name, pitfall in PITFALLS.items() if not pitfall.raises]


@pytest.mark.parametrize("step", [*STEPS.values(), *(PITFALLS[name].step for name in QUIET), d_only, g_only])
def test_gradient_norms_are_what_the_optimizers_applied(step: Any) -> None:
    """Under plain gradient descent the weights move by lr times the gradient applied: a norm that no hook has seen.

    Two steps, since in the second `.grad` still holds what the first has left there.
    """
    gan, lr = build("points", "wgan-gp"), 1e-3
    gan.opt_G, gan.opt_D = (torch.optim.SGD(network.parameters(), lr) for network in (gan.G, gan.D))
    for batch in draw("points", count=2):
        before = {"grad_G": weights(gan.G), "grad_D": weights(gan.D)}
        with gradient_norms(gan) as norms:
            step(gan, *batch)
        moved = {"grad_G": before["grad_G"] - weights(gan.G), "grad_D": before["grad_D"] - weights(gan.D)}
        applied = {name: value.norm().item() / lr for name, value in moved.items() if value.any()}
        assert {name: norm.item() for name, norm in norms.items()} == pytest.approx(applied, rel=1e-9)


def test_of_several_updates_in_a_step_the_last_ones_norm_is_kept() -> None:
    """And not what a later backward has left in `.grad`."""
    run = RING.replace(d_steps=3).start()
    applied: list[float] = []
    run.model.opt_D.register_step_pre_hook(lambda *_: applied.append(gradient(run.model.D).norm().item()))
    for _ in range(4):
        run.step()
    assert len(set(applied)) == 12
    assert run.history["grad_D"].tolist() == pytest.approx(applied[2::3])
    assert abs(applied[-1] - gradient(run.model.D).norm().item()) > 0.01 * applied[-1], "g_loss has left no share in D"


# The first batch is looked at before anything changes -----------------------------------------------------------------


REAL = torch.linspace(-1, 1, 6 * 28 * 28, dtype=torch.float64).view(6, 1, 28, 28)
Z = torch.linspace(-1, 1, 30, dtype=torch.float64).view(6, 5)


@pytest.mark.parametrize(
    ("real", "z", "message"),
    [
        (REAL[..., :20], Z, r"G\(z\) has shape \(6, 1, 28, 28\), but real has shape \(6, 1, 28, 20\)"),
        (REAL, Z[:5], r"G\(z\) has shape \(5, 1, 28, 28\), but real has shape \(6, 1, 28, 28\)"),
        (REAL, Z[:, :4], r"G does not take z of shape \(6, 4\): "),
        (REAL.byte(), Z, "real is torch.uint8 on cpu, but the networks are torch.float64"),
        (REAL, Z.float(), "z is torch.float32 on cpu, but the networks are torch.float64"),
        ((REAL + 1) * 127.5, Z, r"images must lie in \[-1, 1\], .* real spans \[0, 255\]"),
        (REAL * math.nan, Z, "real holds values that are NaN or infinite"),
        (REAL, Z * math.inf, "z holds values that are NaN or infinite"),
        (REAL[:1], Z[:1], "a batch needs at least 2 samples, got 1"),
    ],
)
def test_a_bad_batch_is_refused_before_anything_changes(real: Tensor, z: Tensor, message: str) -> None:
    gan = build("dcgan-batch")
    before, random = copy.deepcopy(gan), torch.get_rng_state()
    run = Run(gan, d_first_detach, iter([(real, z)]))
    with pytest.raises(ValueError, match=message):
        run.step()
    assert same_state(gan, before)
    assert all(p.grad is None for p in [*gan.G.parameters(), *gan.D.parameters()])
    assert gan.G.training
    assert gan.D.training
    assert torch.equal(torch.get_rng_state(), random)
    assert (run.t, len(run.history), run.last) == (0, 0, {})


@pytest.mark.parametrize("networks", NETWORKS)
def test_a_good_batch_passes_the_check_without_a_trace(networks: str) -> None:
    gan = build(networks)
    gan.D.insert(1, nn.Dropout())  # which draws random numbers while it trains
    before, random = copy.deepcopy(gan), torch.get_rng_state()
    gan.check(*draw(networks)[0])
    assert same_state(gan, before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in [*gan.G.parameters(), *gan.D.parameters()])


@pytest.mark.parametrize(
    ("D", "message"),
    [
        (nn.Linear(2, 2), r"D must return logits \(B, 1\) or \(B, 1, H, W\) for B=6; got \(6, 2\)"),
        (nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)), r"D must return .* for B=6; got \(6,\)"),
        (nn.Sequential(nn.Linear(2, 1), nn.Flatten(0), nn.Unflatten(0, (1, 6))), r"got \(1, 6\)"),
        (nn.Linear(3, 1), r"D does not take real of shape \(6, 2\): "),
    ],
)
def test_a_discriminator_of_another_form_is_refused(D: nn.Module, message: str) -> None:
    wrong = GAN.with_adam(build("points").G, D.double())
    before = weights(D)
    with pytest.raises(ValueError, match=message):
        Run(wrong, d_first_detach, iter(draw("points"))).step()
    assert torch.equal(weights(D), before)


# Divergence -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("d_loss", math.nan), ("g_loss", -math.inf)])
def test_a_loss_that_is_no_number_stops_the_run_and_sets_it_back(name: str, value: float) -> None:
    """Good states are kept every 4 steps here; the loss breaks at step 11, so the last good one is that of step 8."""
    count = itertools.count(1)

    def failing(gan: GAN, real: Tensor, z: Tensor) -> dict[str, Tensor]:
        report = d_first_detach(gan, real, z)
        if next(count) == 11:
            report[name] = torch.tensor(value)
            gan.G[0].weight.data.fill_(value)
        return report

    pairs = draw("points-batch", count=20)
    run = Run(build("points-batch"), failing, iter(pairs))
    run.SNAPSHOT_EVERY = 4
    kept = {0: copy.deepcopy(run.model)}
    for t in range(1, 11):
        run.step()
        kept[t] = copy.deepcopy(run.model)
    message = f"{name} is {value:.3g} at step 11 of failing; the state after step 8"
    with pytest.raises(DivergedError, match=message) as caught:
        run.step()
    error = caught.value
    assert (error.step, error.strategy, error.good_step) == (11, "failing", 8)
    assert same_state(error.good, kept[8])
    assert same_state(run.model, kept[8])
    assert error.good is not run.model, "what goes on training must not change what was kept"
    assert is_finite(error.good)

    run.step()  # goes on, with the moments of its optimizers, on the next batch
    expected = copy.deepcopy(kept[8])
    d_first_detach(expected, *pairs[11])
    assert same_state(run.model, expected)
    assert same_state(error.good, kept[8])
    assert run.t == len(run.history) == 12
    np.testing.assert_array_equal(run.history[name][10], value)
    assert np.isfinite(run.history[name][11])


def test_is_finite_looks_at_statistics_and_moments_too() -> None:
    gan = build("points-batch")
    d_first_detach(gan, *draw("points-batch")[0])
    assert is_finite(gan)
    for spoil in (
        lambda gan: gan.D[-1].weight.data.fill_(math.inf),
        lambda gan: gan.G[1].running_var.fill_(math.nan),
        lambda gan: gan.opt_G.state[gan.G[0].weight]["exp_avg_sq"].fill_(math.inf),
    ):
        ruined = copy.deepcopy(gan)
        spoil(ruined)
        assert not is_finite(ruined)


def test_a_step_that_raises_leaves_its_batch_for_the_next_try() -> None:
    pairs = draw("points", count=4)
    seen: list[Tensor] = []
    fails = iter([False, True, True, False, False])

    def step(gan: GAN, real: Tensor, z: Tensor) -> dict[str, Tensor]:
        seen.append(real)
        if next(fails):
            raise RuntimeError("not now")
        return d_first_detach(gan, real, z)

    run = Run(build("points"), step, iter(pairs))
    run.step()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not now"):
            run.step()
        assert (run.t, len(run.history)) == (1, 1)
    run.step()
    run.step()
    wanted = [pairs[i][0] for i in (0, 1, 1, 1, 2)]
    assert all(found is real for found, real in zip(seen, wanted, strict=True))
    assert run.t == 3


# Devices --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cuda", "mps", "there"),
    [(False, False, ["cpu"]), (False, True, ["mps", "cpu"]), (True, True, ["cuda", "mps", "cpu"])],
)
def test_auto_takes_the_fastest_device(
    cuda: bool, mps: bool, there: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert devices() == there
    assert pick_device().type == pick_device("auto").type == there[0]
    assert [pick_device(name).type for name in there] == there
    with pytest.raises(
        ValueError, match=f"device 'tpu' is not on this machine; choose one of {', '.join(there)} or auto"
    ):
        pick_device("tpu")


@pytest.mark.cuda
def test_on_a_gpu_the_losses_are_looked_at_every_50_steps() -> None:
    run = RING.replace(device="cuda").start()
    run.step()
    run.model.G[0].weight.data.fill_(math.nan)
    for _ in range(Run.CHECK_EVERY - 2):
        run.step()
    with pytest.raises(DivergedError) as error:
        run.step()
    assert error.value.step == 2, "the step that diverged, not the one at which it was noticed"
    assert run.t == Run.CHECK_EVERY
