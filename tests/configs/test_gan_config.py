"""The config that decides a GAN's run: its defaults, what it refuses, and what may change between two steps."""

import itertools
from typing import Any

import pytest
import torch
from helpers import weights
from run_cases import RING, after, difference
from torch import Tensor

from gantutor.configs import GANConfig
from gantutor.data import DATA, load
from gantutor.gan import BATCHINGS
from gantutor.losses import LOSSES
from gantutor.models import MODELS, NORMS_D, NORMS_G
from gantutor.scale.speed import InBf16
from gantutor.steps import STEPS
from gantutor.training import Run

OTHER: dict[str, Any] = {  # for each live field a value other than the default
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


def fields(config: GANConfig, names: Any) -> dict[str, Any]:
    return {name: getattr(config, name) for name in names}


# Defaults, and what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", DATA)
def test_defaults_follow_the_data(data: str) -> None:
    is_points = data in ("ring", "grid", "moons", "spiral")
    wanted = {"model": "points", "norm_G": "none", "norm_D": "none", "z_dim": 2}
    wanted = wanted if is_points else {"model": "dcgan", "norm_G": "batch", "norm_D": "batch", "z_dim": 64}
    assert fields(GANConfig(data=data), wanted) == wanted


def test_defaults_follow_a_data_set_given_as_an_object_and_what_is_given_is_kept() -> None:
    assert GANConfig(data=load("moons")).model == "points"
    assert GANConfig(data=load("digits")).model == "dcgan"
    assert fields(GANConfig(model="classic"), ("norm_D", "z_dim")) == {"norm_D": "none", "z_dim": 100}
    given = {"norm_G": "group", "norm_D": "spectral", "z_dim": 7, "d_steps": 4, "batch_size": 3, "seed": 11}
    assert fields(GANConfig(data="ring", **given), given) == given


@pytest.mark.parametrize(
    ("field", "valid"),
    [
        *(("data", DATA), ("model", MODELS), ("strategy", STEPS), ("loss", LOSSES), ("batching", BATCHINGS)),
        *(("norm_G", NORMS_G), ("norm_D", NORMS_D)),
    ],
)
def test_an_unknown_name_lists_the_valid_ones(field: str, valid: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}='gna' is unknown; choose one of {', '.join(valid)}$"):
        RING.replace(**{field: "gna"})
    for name in valid:
        assert getattr(GANConfig(**{"data": "digits", "norm_D": "layer", field: name}), field) == name


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("d_steps", 1.5, "d_steps must be a whole number of at least 1, got 1.5"),
        ("batch_size", 1, "batch_size must be a whole number of at least 2, got 1"),
        ("batch_size", "64", "batch_size must be a whole number of at least 2, got '64'"),
        ("lr_G", -1e-3, "lr_G must be a finite number of at least 0, got -0.001"),
        ("lr_D", float("inf"), "lr_D must be a finite number of at least 0, got inf"),
        ("lr_D", float("nan"), "lr_D must be a finite number of at least 0, got nan"),
    ],
)
def test_a_number_out_of_range_says_what_came_and_what_was_expected(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        RING.replace(**{field: value})


# What is started, and what may change between two steps --------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_a_run_does_what_its_config_says(model: str) -> None:
    data = "ring" if model == "points" else "digits"
    assert live(GANConfig(data=data, model=model, batch_size=4, **OTHER).start()) == OTHER
    assert set(OTHER) == set(GANConfig.live_fields())


@pytest.mark.parametrize("field", GANConfig.live_fields())
def test_apply_changes_exactly_this_field_from_the_next_step_on(field: str) -> None:
    """The steps before it are those of the old setting, bit for bit; the first one after it is another."""
    config = RING.replace(norm_D="batch" if field == "batching" else "none")  # batching matters only to BatchNorm
    kept, changed = after(config, 2), after(config, 2)
    before, G, D = live(changed), weights(changed.model.G), weights(changed.model.D)
    config.replace(**{field: OTHER[field]}).apply(changed)
    assert live(changed) == {**before, field: OTHER[field]} != before
    assert torch.equal(weights(changed.model.G), G)
    assert torch.equal(weights(changed.model.D), D)
    assert difference(kept.model.opt_G.state_dict()["state"], changed.model.opt_G.state_dict()["state"]) == 0
    kept.step(), changed.step()
    parts = kept.state_dict()["model"]["parts"], changed.state_dict()["model"]["parts"]
    assert difference(*({name: part[name] for name in ("G", "D")} for part in parts)) > 0


class Watched:
    """Batches that keep what they have given."""

    def __init__(self, batches: Any) -> None:
        self.batches, self.seen = batches, []

    def __next__(self) -> tuple[Tensor, ...]:
        self.seen.append(next(self.batches))
        return self.seen[-1]


@pytest.mark.parametrize("strategy", ["d_first_detach", "one_stage"])
def test_d_steps_is_the_number_of_updates_of_d_for_each_of_g(strategy: str) -> None:
    """The further ones see batches of their own; those of the step are the same whatever their number."""
    main = []
    for k in (1, 3):
        run = RING.replace(strategy=strategy, d_steps=k).start()
        step: Any = run.train_step
        batches = run.batches, step.extra_batches = Watched(run.batches), Watched(step.extra_batches)
        updates = {"G": 0, "D": 0}
        for player in updates:
            getattr(run.model, f"opt_{player}").register_step_post_hook(
                lambda *_, player=player, updates=updates: updates.update({player: updates[player] + 1})
            )
        for _ in range(4):
            run.step()
        assert updates == {"G": 4, "D": 4 * k}
        assert run.t == len(run.history) == 4
        assert [len(of.seen) for of in batches] == [4, 4 * (k - 1)]
        reals = [real for of in batches for real, _ in of.seen]
        assert not any(torch.equal(a, b) for a, b in itertools.combinations(reals, 2))
        main.append(batches[0].seen)
    assert difference(*main) == 0
