"""The config that decides a run: its defaults, what it refuses, and what may change between two steps."""

import itertools
from typing import Any

import pytest
import torch
from helpers import weights
from torch import Tensor

from gantutor.configs import GANConfig
from gantutor.configs.base import SPEED_UP_NAMES
from gantutor.data import DATA, load
from gantutor.gan import BATCHINGS
from gantutor.losses import LOSSES
from gantutor.models import MODELS, NORMS_D, NORMS_G
from gantutor.scale.speed import SPEED_UPS
from gantutor.scale.speed.switches import InBf16
from gantutor.steps import STEPS
from gantutor.training import Run, devices

POINTS = ("ring", "grid", "moons", "spiral")
RING = GANConfig(data="ring", batch_size=8, model_options={"width": 8})
DIGITS = GANConfig(data="digits", batch_size=4, model_options={"width_G": 4, "width_D": 4})
OTHER: dict[str, Any] = {  # for each LIVE field a value other than the default
    "strategy": "simultaneous",
    "loss": "wgan",
    "batching": "joint",
    "lr_G": 3e-3,
    "lr_D": 4e-3,
    "d_steps": 3,
    "speed": ("bf16",),
}


def live(run: Run) -> dict[str, Any]:
    """What a run will do at its next step, read from the objects that do it."""
    gan: Any = run.model
    step: Any = run.train_step
    return {
        "strategy": step.last.__name__,
        "loss": next(name for name, loss in LOSSES.items() if loss is gan.loss),
        "batching": gan.batching,
        "lr_G": gan.opt_G.param_groups[0]["lr"],
        "lr_D": gan.opt_D.param_groups[0]["lr"],
        "d_steps": step.d_steps,
        "speed": ("bf16",) if isinstance(vars(gan.G).get("forward"), InBf16) else (),
    }


def fields(experiment: GANConfig, names: Any = ()) -> dict[str, Any]:
    return {name: getattr(experiment, name) for name in names or GANConfig.live_fields()}


def config(run: Run) -> list[tuple[Tensor, Tensor]]:
    """The list that the run's main batches will be kept in."""
    seen: list[tuple[Tensor, Tensor]] = []
    source = run.batches
    run.batches = (seen.append(batch) or batch for batch in source)  # type: ignore[func-returns-value, misc]
    return seen


def same_batches(a: list[tuple[Tensor, Tensor]], b: list[tuple[Tensor, Tensor]]) -> bool:
    return len(a) == len(b) > 0 and all(
        torch.equal(x, y) for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True)
    )


# Defaults -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", DATA)
def test_defaults_follow_the_data(data: str) -> None:
    filled = fields(GANConfig(data=data), ("model", "norm_G", "norm_D", "z_dim"))
    if data in POINTS:
        assert filled == {"model": "points", "norm_G": "none", "norm_D": "none", "z_dim": 2}
    else:
        assert filled == {"model": "dcgan", "norm_G": "batch", "norm_D": "batch", "z_dim": 64}


def test_defaults_follow_a_data_set_given_as_an_object() -> None:
    assert GANConfig(data=load("moons")).model == "points"
    assert GANConfig(data=load("digits")).model == "dcgan"
    assert GANConfig(data="digits", model="classic").norm_D == "none"
    assert GANConfig(data="digits", model="classic").z_dim == 100


def test_what_is_given_is_kept() -> None:
    given = {"norm_G": "group", "norm_D": "spectral", "z_dim": 7, "d_steps": 4, "batch_size": 3, "seed": 11}
    assert fields(GANConfig(data="ring", **given), given) == given


@pytest.mark.parametrize("data", ["ring", "digits"])
def test_the_defaults_start_and_step(data: str) -> None:
    run = GANConfig(data=data, batch_size=4, device="cpu").start()
    run.step()
    assert run.model.sample(torch.zeros(1, 64 if data == "digits" else 2)).shape[1:] == load(data).shape


# What is refused ------------------------------------------------------------------------------------------------------

NAMES = {
    "data": DATA,
    "model": MODELS,
    "strategy": STEPS,
    "loss": LOSSES,
    "batching": BATCHINGS,
    "norm_G": NORMS_G,
    "norm_D": NORMS_D,
}


@pytest.mark.parametrize("field", NAMES)
def test_an_unknown_name_lists_the_valid_ones(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}='gna' is unknown; choose one of {', '.join(NAMES[field])}$"):
        GANConfig(**{"data": "ring", field: "gna"})
    with pytest.raises(ValueError, match=f"{field}='gna' is unknown"):
        RING.replace(**{field: "gna"})


@pytest.mark.parametrize("field", NAMES)
def test_every_valid_name_is_taken(field: str) -> None:
    for name in NAMES[field]:
        assert getattr(GANConfig(**{"data": "digits", "norm_D": "layer", field: name}), field) == name


def test_a_device_that_is_not_there_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match=f"device 'tpu' is not on this machine; choose one of {', '.join(devices())}"):
        RING.replace(device="tpu").start()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("d_steps", 0, "d_steps must be a whole number of at least 1, got 0"),
        ("d_steps", 1.5, "d_steps must be a whole number of at least 1, got 1.5"),
        ("batch_size", 1, "batch_size must be a whole number of at least 2, got 1"),
        ("batch_size", "64", "batch_size must be a whole number of at least 2, got '64'"),
        ("z_dim", -1, "z_dim must be a whole number of at least 1, got -1"),
        ("seed", -1, "seed must be a whole number of at least 0, got -1"),
        ("seed", 0.5, "seed must be a whole number of at least 0, got 0.5"),
        ("lr_G", -1e-3, "lr_G must be a finite number of at least 0, got -0.001"),
        ("lr_D", float("inf"), "lr_D must be a finite number of at least 0, got inf"),
        ("lr_D", float("nan"), "lr_D must be a finite number of at least 0, got nan"),
    ],
)
def test_a_number_out_of_range_says_what_came_and_what_was_expected(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        GANConfig(**{field: value})
    with pytest.raises(ValueError, match=f"^{message}$"):
        RING.replace(**{field: value})


def test_the_record_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        RING.seed = 1  # type: ignore[misc]
    assert RING.replace(seed=1) != RING
    assert RING.replace(seed=1).replace(seed=0) == RING


# start ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("experiment", [RING, DIGITS], ids=["ring", "digits"])
def test_start_leaves_the_global_random_state_alone(experiment: GANConfig) -> None:
    before = torch.get_rng_state()
    run = experiment.start()
    run.step()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(123)  # and does not depend on it
    assert torch.equal(weights(experiment.start().model.G), weights(experiment.start().model.G))


@pytest.mark.parametrize("model", MODELS)
def test_a_run_does_what_its_record_says(model: str) -> None:
    data = "ring" if model == "points" else "digits"
    experiment = GANConfig(data=data, model=model, batch_size=4, **OTHER)
    assert live(experiment.start()) == OTHER
    assert set(OTHER) == set(GANConfig.live_fields())


# What may change between two steps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("field", GANConfig.live_fields())
def test_apply_changes_exactly_this_field_from_the_next_step_on(field: str) -> None:
    run = RING.start()
    run.step()
    before = {name: value for name, value in live(run).items() if name != field}
    G, D, moments = weights(run.model.G), weights(run.model.D), len(run.model.opt_G.state)
    RING.replace(**{field: OTHER[field]}).apply(run)
    assert live(run)[field] == OTHER[field] != getattr(RING, field)
    assert {name: value for name, value in live(run).items() if name != field} == before
    assert torch.equal(weights(run.model.G), G)
    assert torch.equal(weights(run.model.D), D)
    assert len(run.model.opt_G.state) == moments, "the optimizers keep their moments"
    assert run.t == len(run.history) == 1
    run.step()
    assert run.t == 2


@pytest.mark.parametrize("field", GANConfig.live_fields())
def test_a_change_at_step_3_is_as_good_as_a_run_that_had_it_from_step_3(field: str) -> None:
    """The steps before it are those of the old setting, bit for bit; the first one after it is another."""
    experiment = RING.replace(norm_D="batch" if field == "batching" else "none")  # batching matters only to BatchNorm
    kept, changed = experiment.start(), experiment.start()
    for t in range(4):
        if t == 3:
            experiment.replace(**{field: OTHER[field]}).apply(changed)
        kept.step()
        changed.step()
        same = torch.equal(weights(kept.model.G), weights(changed.model.G))
        same &= torch.equal(weights(kept.model.D), weights(changed.model.D))
        assert same == (t < 3)


@pytest.mark.parametrize("strategy", STEPS)
def test_d_steps_is_the_number_of_updates_of_D_for_each_of_G(strategy: str) -> None:
    seen = []
    for k in (1, 2, 4):
        run = RING.replace(strategy=strategy, d_steps=k).start()
        batches = config(run)
        updates = {"G": 0, "D": 0}

        def count(player: str, updates: dict[str, int] = updates) -> Any:
            return lambda *_: updates.update({player: updates[player] + 1})

        run.model.opt_G.register_step_post_hook(count("G"))
        run.model.opt_D.register_step_post_hook(count("D"))
        for _ in range(5):
            run.step()
        assert updates == {"G": 5, "D": 5 * k}
        assert run.t == len(run.history) == 5
        seen.append(batches)
    assert same_batches(seen[0], seen[1])
    assert same_batches(seen[0], seen[2])


def test_the_further_updates_of_D_see_batches_of_their_own() -> None:
    run = RING.replace(d_steps=4).start()
    main = config(run)
    extra: list[Tensor] = []
    step: Any = run.train_step
    source = step.extra_batches
    step.extra_batches = (extra.append(real) or (real, z) for real, z in source)  # type: ignore[func-returns-value]
    for _ in range(3):
        run.step()
    assert len(extra) == 9
    reals = [*extra, *(real for real, _ in main)]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(reals, 2))


@pytest.mark.parametrize("field", GANConfig.live_fields())
@pytest.mark.parametrize("experiment", [RING, DIGITS], ids=["ring", "digits"])
def test_a_and_b_start_alike_and_see_the_same_batches(experiment: GANConfig, field: str) -> None:
    """The form of most experiments of the course: what differs between A and B is the field, and nothing else."""
    a, b = experiment.start(), experiment.replace(**{field: OTHER[field]}).start()
    for name in ("G", "D"):
        one, other = (getattr(run.model, name).state_dict().values() for run in (a, b))
        assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))
    seen = [config(a), config(b)]
    for _ in range(3):
        a.step()
        b.step()
    assert same_batches(*seen)


@pytest.mark.parametrize("norm", NORMS_D)
def test_a_run_can_be_set_back_whatever_the_norm(norm: str) -> None:
    """The good state is a deep copy, which not every parametrisation of weights survives."""
    run = DIGITS.replace(norm_D=norm).start()
    run.SNAPSHOT_EVERY = 1
    run.step()
    assert run.good_step == 1
    real = next(run.batches)[0]
    assert torch.equal(run.good.prob_real(real), run.model.prob_real(real))


def test_the_speed_ups_are_those_that_the_floor_above_has() -> None:
    assert tuple(SPEED_UPS) == SPEED_UP_NAMES
