"""The configs: what they fill in and refuse, what they build, and what may change between two steps."""

import copy
import functools
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import weights
from run_cases import CONFIGS, CYC, GAN_OTHER, OTHER, P2P, RING, after, difference, equal_runs
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from gantutor.batches import Batches
from gantutor.configs import CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.configs.translation_configs import SeededDropout, decay_factor, seed_dropout
from gantutor.cyclegan import CYCLEGAN_STEPS, CycleGAN
from gantutor.data import DATA, PAIRED, UNPAIRED, load
from gantutor.gan import BATCHINGS
from gantutor.image_pool import ImagePool
from gantutor.losses import LOSSES, TRANSLATION_LOSSES
from gantutor.model_state import networks, optimizers
from gantutor.models import MODELS, N_LAYERS, NORMS_D, NORMS_G, patchgan, resnet, unet
from gantutor.pix2pix import OBJECTIVES, PIX2PIX_STEPS, Pix2Pix
from gantutor.steps import STEPS
from gantutor.training import Run

KINDS: dict[str, Any] = {"gan": RING.replace(norm_D="batch"), **CONFIGS}  # batching matters only to BatchNorm
ALL_OTHER = {"gan": GAN_OTHER, **OTHER}
both = pytest.mark.parametrize("name", CONFIGS)


def rates(run: Run) -> set[float]:
    return {group["lr"] for opt in optimizers(run.model).values() for group in opt.param_groups}


# What is refused ------------------------------------------------------------------------------------------------------

NORMS = ("batch", "instance", "none")
CHOICES: list[tuple[Any, str, Any]] = [
    *((GANConfig, "data", DATA), (GANConfig, "model", MODELS), (GANConfig, "strategy", STEPS)),
    *((GANConfig, "loss", LOSSES), (GANConfig, "batching", BATCHINGS)),
    *((GANConfig, "norm_G", NORMS_G), (GANConfig, "norm_D", NORMS_D)),
    *((Pix2PixConfig, "data", PAIRED), (Pix2PixConfig, "strategy", PIX2PIX_STEPS)),
    *((Pix2PixConfig, "objective", OBJECTIVES), (Pix2PixConfig, "loss", TRANSLATION_LOSSES)),
    *((Pix2PixConfig, "mode", ("train", "eval")), (Pix2PixConfig, "generator", ("unet", "encoder_decoder"))),
    *((Pix2PixConfig, "patch", N_LAYERS), (Pix2PixConfig, "norm", NORMS)),
    *((CycleGANConfig, "data", UNPAIRED), (CycleGANConfig, "strategy", CYCLEGAN_STEPS)),
    *((CycleGANConfig, "norm_G", NORMS), (CycleGANConfig, "upsampling", ("nearest", "transposed"))),
]


@pytest.mark.parametrize(("config", "field", "valid"), CHOICES)
def test_an_unknown_name_lists_the_valid_ones(config: Any, field: str, valid: Any) -> None:
    listed = ", ".join(map(str, valid))
    with pytest.raises(ValueError, match=re.escape(f"{field}='gna' is unknown; choose one of {listed}") + "$"):
        config(**{field: "gna"})
    needed = {"one_stage": {"loss": "minimax"}}  # of CycleGAN's steps only one takes BatchNorm in G
    needed |= {"batch": {"strategy": "g_first_separate"}} if config is CycleGANConfig else {}
    for name in valid:
        given = {"norm_D": "layer"} if config is GANConfig else needed.get(name, {})
        assert getattr(config(**{**given, field: name}), field) == name


@pytest.mark.parametrize(
    ("name", "field", "value", "expected"),
    [
        ("gan", "d_steps", 1.5, "a whole number of at least 1"),
        ("gan", "batch_size", "64", "a whole number of at least 2"),
        ("gan", "lr_G", -1e-3, "a finite number of at least 0"),
        ("gan", "lr_D", float("inf"), "a finite number of at least 0"),
        ("gan", "lr_D", float("nan"), "a finite number of at least 0"),
        ("pix2pix", "width_G", 0, "a whole number of at least 1"),
        ("cyclegan", "pool_size", -1, "a whole number of at least 0"),
        ("cyclegan", "blocks", -1, "a whole number of at least 0"),
    ],
)
def test_a_number_out_of_range_says_what_came_and_what_was_expected(
    name: str, field: str, value: Any, expected: str
) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be {expected}, got {value!r}$"):
        KINDS[name].replace(**{field: value})


@both
def test_a_patch_that_does_not_fit_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(ValueError, match="images of 16 pixels are too small: this discriminator has no logit left"):
        CONFIGS[name].replace(patch=286).start()


# What is built --------------------------------------------------------------------------------------------------------


def by_hand(model: Any, step: Any, data: Any, batch_size: int, seed: int, steps: int) -> Any:
    """The loop that one writes by hand, with the papers' schedule as torch has it; the model after it."""
    half = steps // 2
    schedules = [
        LambdaLR(optimizer, lambda t: max(0.0, 1 - max(0, t + 1 - half) / (steps - half + 1)))
        for optimizer in (model.opt_G, model.opt_D)
    ]
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        step(model, *data.sample(batch_size, generator))
        for schedule in schedules:
            schedule.step()
    return model


def pix2pix_by_hand() -> Any:
    G = unet(16, width=4, multipliers=[1, 2, 4, 4], dropout=0.0, upsampling="nearest")
    return Pix2Pix.with_adam(G, patchgan(6, 1, 4), "lsgan", 5e-4, 5e-4, lambda_L1=10.0)


def cyclegan_by_hand() -> Any:
    settings: Any = {"width": 4, "norm": "none", "downsamplings": 1, "upsampling": "nearest", "end_kernel": 5}
    generators = [resnet(1, **settings) for _ in range(2)]
    model = CycleGAN.with_adam(*generators, *(patchgan(3, 1, 4, "instance") for _ in "AB"), lr_G=4e-4, lr_D=4e-4)
    model.pool_A, model.pool_B = ImagePool(3, seed=4), ImagePool(3, seed=5)
    return model


@pytest.mark.parametrize(
    ("config", "build"),
    [
        (P2P.replace(steps=7, dropout=0.0, loss="lsgan", strategy="simultaneous", lambda_L1=10.0), pix2pix_by_hand),
        (CYC.replace(steps=5), cyclegan_by_hand),
    ],
)
def test_a_run_is_the_loop_that_one_writes_by_hand(config: Any, build: Callable[[], Any]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = by_hand(build(), config.step, config.data, config.batch_size, 2, config.steps)
    run = after(config.replace(seed=2), config.steps)
    for player, network in networks(model).items():
        assert torch.equal(weights(getattr(run.model, player)), weights(network)), player


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_is_its_terms_at_the_configs_weight(objective: str) -> None:
    model = P2P.replace(objective=objective, lambda_L1=7.0).start().model
    settings = OBJECTIVES[objective]
    assert (model.conditional, model.lambda_gan) == (settings["conditional"], settings["lambda_gan"])
    assert model.lambda_L1 == (7.0 if "L1" in objective else 0.0)
    assert model.D.model[0].in_channels == (6 if settings["conditional"] else 3)


@both
def test_the_global_random_state_is_neither_used_nor_moved(name: str) -> None:
    """Though pix2pix has dropout: a cell may draw, and set its seed, while a panel plays."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    run = after(CONFIGS[name], 2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(100)
    assert equal_runs(run, after(CONFIGS[name], 2))
    assert not equal_runs(run, after(CONFIGS[name].replace(seed=1), 2))


def test_own_dropout_keeps_its_share_and_goes_on_in_a_copy() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.25), nn.Sequential(nn.Dropout(0.5)))
    seed_dropout(network, seed=1)
    first, second = (module for module in network.modules() if isinstance(module, SeededDropout))
    ones = torch.ones(200, 200)
    twin = copy.deepcopy(first)
    out = first(ones)
    assert torch.equal(twin(ones), out)
    assert not torch.equal(first(ones), out), "another mask each time"
    assert {round(x, 4) for x in out.unique().tolist()} == {0.0, round(1 / 0.75, 4)}
    assert (out == 0).float().mean() == pytest.approx(0.25, abs=0.01)
    assert not torch.equal((second(ones) == 0), out == 0)
    assert torch.equal(network.eval()[1](ones), ones)


# The rate that falls --------------------------------------------------------------------------------------------------


def test_the_rate_falls_as_in_the_reference() -> None:
    """Its lambda_rule with epoch_count = 1: constant for n_epochs, then linear, n_epochs_decay steps above zero."""
    assert [decay_factor(t, 7) for t in range(9)] == pytest.approx([1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0])
    assert decay_factor(10**6, 0) == 1


@both
def test_a_live_rate_falls_from_where_it_is(name: str) -> None:
    config = CONFIGS[name].replace(steps=10, lr=1e-3)
    run = config.start()
    for t in range(12):
        if t == 7:
            config.replace(lr=2e-3).apply(run)
        run.step()
        assert rates(run) == {(1e-3 if t < 7 else 2e-3) * decay_factor(t, 10)}
    assert config.progress(run) == "of 10 · lr 0: it has fallen to its end"
    before = [weights(network) for network in networks(run.model).values()]
    run.step()
    after_it = [weights(network) for network in networks(run.model).values()]
    assert difference(before, after_it) == 0, "at rate 0 nothing moves"


def test_a_step_that_raises_does_not_count() -> None:
    run = P2P.replace(steps=10).start()
    run.train_step.last = lambda *batch: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run.step()
    assert run.train_step.t == 0


# What may change between two steps ------------------------------------------------------------------------------------


@functools.cache
def unchanged(name: str) -> Run:
    return after(KINDS[name], 5)


@pytest.mark.parametrize(("name", "field"), [(name, field) for name in KINDS for field in ALL_OTHER[name]])
def test_a_live_field_changes_the_run_from_the_next_step_on(name: str, field: str) -> None:
    """A change after step 2 that takes effect within three steps; and one at once is as good as a start with it."""
    assert set(ALL_OTHER[name]) | {"mode"} == set(KINDS[name].live_fields()) | {"mode"}
    config, other = KINDS[name], KINDS[name].replace(**{field: ALL_OTHER[name][field]})
    assert config.is_live(field, ALL_OTHER[name][field])
    changed, given_it = after(config, 2), config.start()
    other.apply(changed)
    other.apply(given_it)
    for _ in range(3):
        changed.step(), given_it.step()
    assert not equal_runs(unchanged(name), changed)
    assert equal_runs(given_it, after(other, 3))


def test_an_objective_that_shows_d_something_else_needs_a_new_start() -> None:
    run = P2P.start()
    assert {o for o in OBJECTIVES if P2P.is_live("objective", o)} == {"L1", "cGAN", "L1 + cGAN"}
    assert {o for o in OBJECTIVES if P2P.replace(objective="GAN").is_live("objective", o)} == {"GAN", "L1 + GAN"}
    assert not P2P.is_live("patch", 1)
    before = (run.model.lambda_L1, run.model.conditional)
    with pytest.raises(ValueError, match="objective='GAN' needs another D than this run has: it needs a new start"):
        P2P.replace(objective="GAN").apply(run)
    assert (run.model.lambda_L1, run.model.conditional) == before


def test_a_smaller_pool_forgets_what_it_has_no_room_for() -> None:
    run = after(CYC, 5)
    kept = run.model.pool_A.images[:2]
    CYC.replace(pool_size=2).apply(run)
    assert len(run.model.pool_A) == len(run.model.pool_B) == 2
    assert difference(run.model.pool_A.images, kept) == 0


# Of GANs alone --------------------------------------------------------------------------------------------------------


def fields(config: GANConfig, names: Any) -> dict[str, Any]:
    return {name: getattr(config, name) for name in names}


def test_defaults_follow_the_data_and_what_is_given_is_kept() -> None:
    points = {"model": "points", "norm_G": "none", "norm_D": "none", "z_dim": 2}
    images = {"model": "dcgan", "norm_G": "batch", "norm_D": "batch", "z_dim": 64}
    for data in (*DATA, load("moons"), load("digits")):
        wanted = points if getattr(data, "name", data) in ("ring", "grid", "moons", "spiral") else images
        assert fields(GANConfig(data=data), wanted) == wanted
    assert fields(GANConfig(model="classic"), ("norm_D", "z_dim")) == {"norm_D": "none", "z_dim": 100}
    given = {"norm_G": "group", "norm_D": "spectral", "z_dim": 7, "d_steps": 4, "batch_size": 3, "seed": 11}
    assert fields(GANConfig(data="ring", **given), given) == given


@pytest.mark.parametrize("strategy", ["d_first_detach", "one_stage"])
def test_d_steps_is_the_number_of_updates_of_d_for_each_of_g(strategy: str) -> None:
    """The further ones see batches of their own; those of the step are the same whatever their number."""
    config = RING.replace(strategy=strategy, d_steps=3)
    run, plain = config.start(), config.replace(d_steps=1).start()
    players: list[str] = []
    for player in "GD":
        getattr(run.model, f"opt_{player}").register_step_post_hook(lambda *_, player=player: players.append(player))
    for _ in range(4):
        run.step(), plain.step()
    assert (players.count("G"), players.count("D")) == (4, 12)
    assert run.t == len(run.history) == 4
    assert difference(next(run.batches), next(plain.batches)) == 0
    expected = Batches(config.load(), config.batch_size, config.z_dim, config.seed + 1)
    assert not torch.equal(next(expected)[0], next(config.start().batches)[0])
    for _ in range(7):
        next(expected)
    assert difference(next(run.train_step.extra_batches), next(expected)) == 0
