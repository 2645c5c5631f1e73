"""The configs of pix2pix and CycleGAN: what they refuse, what they build, and what may change between two steps."""

import copy
import re
from typing import Any

import pytest
import torch
from helpers import weights
from hypothesis import given
from hypothesis import strategies as st
from run_cases import CONFIGS, CYC, HEAPS, OTHER, P2P, PAIRS, equal, noise, state
from torch import nn

from gantutor.configs import Config, CycleGANConfig, Pix2PixConfig
from gantutor.configs.image_translation import SeededDropout, decay_factor, seed_dropout
from gantutor.cyclegan import CYCLEGAN_STEPS, CycleGAN
from gantutor.data import PAIRED, UNPAIRED, Pairs, ready_sets
from gantutor.image_pool import ImagePool
from gantutor.model_state import networks, optimizers
from gantutor.models import N_LAYERS, patchgan, resnet, unet
from gantutor.pix2pix import OBJECTIVES, PIX2PIX_STEPS, Pix2Pix
from gantutor.training import DivergedError
from gantutor.translation import TRANSLATION_LOSSES, linear_decay

CHANGES = [(name, field) for name in CONFIGS for field in OTHER[name]]
both = pytest.mark.parametrize("name", CONFIGS)


# What is refused ------------------------------------------------------------------------------------------------------

SEPARATE = {"strategy": "g_first_separate"}  # the others join two domains in a batch
NAMES: list[tuple[type[Config], str, Any]] = [
    (Pix2PixConfig, "data", PAIRED),
    (Pix2PixConfig, "strategy", PIX2PIX_STEPS),
    (Pix2PixConfig, "objective", OBJECTIVES),
    (Pix2PixConfig, "loss", TRANSLATION_LOSSES),
    (Pix2PixConfig, "mode", ("train", "eval")),
    (Pix2PixConfig, "generator", ("unet", "encoder_decoder")),
    (Pix2PixConfig, "patch", N_LAYERS),
    (Pix2PixConfig, "norm", ("batch", "instance", "none")),
    (Pix2PixConfig, "upsampling", ("nearest", "transposed")),
    (CycleGANConfig, "data", UNPAIRED),
    (CycleGANConfig, "strategy", CYCLEGAN_STEPS),
    (CycleGANConfig, "loss", TRANSLATION_LOSSES),
    (CycleGANConfig, "norm_G", ("batch", "instance", "none")),
    (CycleGANConfig, "norm_D", ("batch", "instance", "none")),
    (CycleGANConfig, "patch", N_LAYERS),
    (CycleGANConfig, "upsampling", ("nearest", "transposed")),
]


@pytest.mark.parametrize(("config", "field", "valid"), NAMES, ids=lambda x: x if isinstance(x, str) else "")
def test_an_unknown_name_lists_the_valid_ones(config: Any, field: str, valid: Any) -> None:
    listed = ", ".join(map(str, valid))
    with pytest.raises(ValueError, match=re.escape(f"{field}='gna' is unknown; choose one of {listed}") + "$"):
        config(**{field: "gna"})
    for name in valid:
        with_it = {(Pix2PixConfig, "one_stage"): {"loss": "minimax"}, (CycleGANConfig, "batch"): SEPARATE}
        assert getattr(config(**{field: name, **with_it.get((config, name), {})}), field) == name


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("pix2pix", "steps", -1, "steps must be a whole number of at least 0, got -1"),
        ("pix2pix", "batch_size", 0, "batch_size must be a whole number of at least 1, got 0"),
        ("pix2pix", "width_G", 2.5, "width_G must be a whole number of at least 1, got 2.5"),
        ("pix2pix", "lambda_L1", -1, "lambda_L1 must be a finite number of at least 0, got -1"),
        ("pix2pix", "lr", float("nan"), "lr must be a finite number of at least 0, got nan"),
        ("cyclegan", "pool_size", -1, "pool_size must be a whole number of at least 0, got -1"),
        ("cyclegan", "blocks", "3", "blocks must be a whole number of at least 0, got '3'"),
        ("cyclegan", "lambda_cycle", float("inf"), "lambda_cycle must be a finite number of at least 0, got inf"),
    ],
)
def test_a_number_out_of_range_says_what_came_and_what_was_expected(
    name: str, field: str, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        CONFIGS[name].replace(**{field: value})


@both
def test_a_patch_that_does_not_fit_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(ValueError, match="images of 16 pixels are too small: this discriminator has no logit left"):
        CONFIGS[name].replace(patch=286).start()


def test_pictures_of_other_sizes_get_a_net_that_suits_them() -> None:
    tall = Pairs("tall", torch.cat([noise(5, 0), noise(5, 2)], dim=2), torch.cat([noise(5, 1), noise(5, 3)], dim=2))
    run = P2P.replace(data=tall).start()
    run.step()
    assert run.model.G.multiple == 16
    grey = Pairs("grey", noise(5, 0, channels=1), noise(5, 1))
    P2P.replace(data=grey).start().step()
    with pytest.raises(ValueError, match="side must be a power of two of at least 8, got 4"):
        P2P.replace(data=Pairs("odd", noise(5, 0, size=20), noise(5, 1, size=20))).start()


# What is built --------------------------------------------------------------------------------------------------------


def test_a_run_of_pix2pix_is_the_loop_that_one_writes_by_hand() -> None:
    config = P2P.replace(steps=7, dropout=0.0, loss="lsgan", strategy="simultaneous", lambda_L1=10.0, seed=3)
    run = config.start()
    for _ in range(7):
        run.step()

    with torch.random.fork_rng():
        torch.manual_seed(3)
        G = unet(16, width=4, multipliers=[1, 2, 4, 4], dropout=0.0, upsampling="nearest")
        D = patchgan(6, 1, 4)
    model = Pix2Pix.with_adam(G, D, "lsgan", 5e-4, 5e-4, lambda_L1=10.0)
    schedules = [linear_decay(optimizer, 3, 4) for optimizer in (model.opt_G, model.opt_D)]
    generator = torch.Generator().manual_seed(3)
    for _ in range(7):
        PIX2PIX_STEPS["simultaneous"](model, *PAIRS.sample(2, generator))
        for schedule in schedules:
            schedule.step()
    assert torch.equal(weights(run.model.G), weights(G))
    assert torch.equal(weights(run.model.D), weights(D))


def test_a_run_of_cyclegan_is_the_loop_that_one_writes_by_hand() -> None:
    run = CYC.replace(steps=5, seed=2).start()
    for _ in range(5):
        run.step()

    with torch.random.fork_rng():
        torch.manual_seed(2)
        settings: Any = {"width": 4, "norm": "none", "downsamplings": 1, "upsampling": "nearest", "end_kernel": 5}
        generators = [resnet(1, **settings) for _ in range(2)]
        discriminators = [patchgan(3, 1, 4, "instance") for _ in range(2)]
    model = CycleGAN.with_adam(*generators, *discriminators, lr_G=4e-4, lr_D=4e-4)
    model.pool_A, model.pool_B = ImagePool(3, seed=4), ImagePool(3, seed=5)
    schedules = [linear_decay(optimizer, 2, 3) for optimizer in (model.opt_G, model.opt_D)]
    generator = torch.Generator().manual_seed(2)
    for _ in range(5):
        CYCLEGAN_STEPS["g_first_shared"](model, *HEAPS.sample(1, generator))
        for schedule in schedules:
            schedule.step()
    for player, network in networks(model).items():
        assert torch.equal(weights(getattr(run.model, player)), weights(network)), player


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_is_its_terms_at_the_records_weight(objective: str) -> None:
    model = P2P.replace(objective=objective, lambda_L1=7.0).start().model
    settings = OBJECTIVES[objective]
    assert model.conditional == settings["conditional"]
    assert model.lambda_gan == settings["lambda_gan"]
    assert model.lambda_L1 == (7.0 if "L1" in objective else 0.0)
    assert model.D.model[0].in_channels == (6 if settings["conditional"] else 3)


@pytest.mark.parametrize(("generator", "skips"), [("unet", True), ("encoder_decoder", False)])
def test_the_generator_has_skips_or_not(generator: str, skips: bool) -> None:
    model = P2P.replace(generator=generator).start().model
    blocks = [module.skip for module in model.G.modules() if hasattr(module, "skip")]
    assert blocks == [skips] * len(blocks) != []


@both
def test_the_global_random_state_is_neither_used_nor_moved(name: str) -> None:
    """Though pix2pix has dropout: a cell may draw, and set its seed, while a panel plays."""
    config = CONFIGS[name]
    torch.manual_seed(1)
    run = config.start()
    before = torch.get_rng_state()
    for _ in range(3):
        run.step()
    assert torch.equal(torch.get_rng_state(), before)
    again = config.start()
    for seed in range(3):
        torch.manual_seed(100 + seed)
        again.step()
    assert equal(state(run), state(again))
    assert not equal(state(run), state(config.replace(seed=1).start()))


def test_own_dropout_keeps_its_share_and_goes_on_in_a_copy() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.25), nn.Sequential(nn.Dropout(0.5)))
    seed_dropout(network, seed=1)
    assert not any(isinstance(module, nn.Dropout) for module in network.modules())
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


@given(st.integers(1, 60))
def test_the_rate_falls_as_the_papers_schedule_does(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = linear_decay(optimizer, steps // 2, steps - steps // 2)
    for t in range(steps + 3):
        assert decay_factor(t, steps) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert decay_factor(steps, steps) == 0
    assert decay_factor(steps - 1, steps) > 0
    assert decay_factor(10**6, 0) == 1


@both
def test_a_live_rate_falls_from_where_it_is(name: str) -> None:
    config = CONFIGS[name].replace(steps=10, lr=1e-3)
    run = config.start()
    seen = []
    for t in range(12):
        if t == 7:
            config.replace(lr=2e-3).apply(run)
        run.step()
        seen.append({group["lr"] for opt in optimizers(run.model).values() for group in opt.param_groups})
    wanted = [(1e-3 if t < 7 else 2e-3) * decay_factor(t, 10) for t in range(12)]
    assert seen == [{rate} for rate in wanted]
    assert config.progress(run) == "of 10 · lr 0: it has fallen to its end"
    before = [weights(network) for network in networks(run.model).values()]
    run.step()
    assert equal(before, [weights(network) for network in networks(run.model).values()]), "at rate 0 nothing moves"


@both
def test_a_run_that_diverges_goes_on_at_the_rate_it_has_come_to(name: str) -> None:
    run = CONFIGS[name].replace(steps=10, lr=1e-3).start()
    for _ in range(6):
        run.step()
    bad = next(iter(networks(run.model).values()))
    next(bad.parameters()).data.fill_(float("nan"))
    with pytest.raises(DivergedError):
        run.step()
    run.step()
    rates = {group["lr"] for opt in optimizers(run.model).values() for group in opt.param_groups}
    assert rates == {1e-3 * decay_factor(7, 10)}


def test_a_step_that_raises_does_not_count() -> None:
    def raises(*batch: Any) -> Any:
        raise ValueError("this step raises")

    config = P2P.replace(strategy="one_stage", loss="minimax", steps=10)
    run = config.start()
    step: Any = run.train_step
    step.last = raises
    with pytest.raises(ValueError, match="this step raises"):
        run.step()
    assert step.t == 0
    config.apply(run)
    run.step()
    assert step.t == 1
    assert step.__name__ == "one_stage"


# What may change between two steps ------------------------------------------------------------------------------------


def test_every_live_field_is_tested() -> None:
    assert set(OTHER["pix2pix"]) | {"mode"} == set(Pix2PixConfig.live_fields())
    assert set(OTHER["cyclegan"]) == set(CycleGANConfig.live_fields())


@pytest.mark.parametrize(("name", "field"), CHANGES)
def test_a_live_field_changes_the_run_from_the_next_step_on(name: str, field: str) -> None:
    config = CONFIGS[name]
    kept, changed = config.start(), config.start()
    for t in range(9):
        if t == 4:
            assert config.is_live(field, OTHER[name][field])
            config.replace(**{field: OTHER[name][field]}).apply(changed)
        kept.step()
        changed.step()
        if t == 3:
            assert equal(state(kept), state(changed))
    assert not equal(state(kept), state(changed))


@pytest.mark.parametrize(("name", "field"), CHANGES)
def test_a_run_that_starts_with_a_field_is_one_that_was_given_it_at_once(name: str, field: str) -> None:
    config = CONFIGS[name].replace(**{field: OTHER[name][field]})
    run, given_it = config.start(), CONFIGS[name].start()
    config.apply(given_it)
    for _ in range(4):
        run.step()
        given_it.step()
    assert equal(state(run), state(given_it))


def test_an_objective_that_shows_d_something_else_needs_a_new_start() -> None:
    run = P2P.start()
    live = {objective for objective in OBJECTIVES if P2P.is_live("objective", objective)}
    assert live == {"L1", "cGAN", "L1 + cGAN"}
    assert {o for o in OBJECTIVES if P2P.replace(objective="GAN").is_live("objective", o)} == {"GAN", "L1 + GAN"}
    assert not P2P.is_live("patch", 1)
    before = (run.model.lambda_L1, run.model.conditional)
    with pytest.raises(ValueError, match="objective='GAN' needs another D than this run has: it needs a new start"):
        P2P.replace(objective="GAN").apply(run)
    assert (run.model.lambda_L1, run.model.conditional) == before


def test_a_smaller_pool_forgets_what_it_has_no_room_for() -> None:
    run = CYC.start()
    for _ in range(5):
        run.step()
    assert len(run.model.pool_A) == 3
    kept = torch.stack(run.model.pool_A.images[:2])
    CYC.replace(pool_size=2).apply(run)
    assert len(run.model.pool_A) == len(run.model.pool_B) == 2
    assert torch.equal(torch.stack(run.model.pool_A.images), kept)


@both
def test_the_trial_is_a_step_of_this_setting_on_a_batch_of_its_own(name: str) -> None:
    config = CONFIGS[name].replace(strategy=OTHER[name]["strategy"])
    run, alone = config.start(), config.start()
    step, batch = config.trial(config.data)
    assert step.__name__ == config.strategy
    assert [len(images) for images in batch] == [config.batch_size] * 2
    run.model.check(*batch)
    run.step()
    alone.step()
    assert equal(state(run), state(alone)), "it took a batch of the run"


@both
def test_the_drop_down_of_data_never_starts_a_download(name: str) -> None:
    config = type(CONFIGS[name])()
    offered = config.controls()["data"].values()
    assert offered == tuple(ready_sets(UNPAIRED if name == "cyclegan" else PAIRED))
    assert config.data in offered
    official = config.replace(data="maps")  # unless one has asked for it
    assert "maps" in official.controls()["data"].values()
