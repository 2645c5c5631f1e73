"""The panel without a browser: what each control does, that run views keep step, that a toggle never stops a run."""

import base64
import io
import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import weights
from panel_helpers import Page, until
from PIL import Image
from run_cases import CYC, OTHER, P2P, equal, state
from torch import Tensor

from gantutor.configs import CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.data import DATA, Images, Points, drawn, load, ready_sets
from gantutor.gan import BATCHINGS
from gantutor.lab import Lab
from gantutor.lab.messages import TEXTS
from gantutor.losses import LOSSES
from gantutor.models import MODELS, NORMS_D, NORMS_G
from gantutor.scale.checkpoint import load_checkpoint, save_checkpoint
from gantutor.scale.speed import SPEED_UPS
from gantutor.steps import STEPS
from gantutor.training import Run, devices

RING = GANConfig(data="ring", batch_size=8, model_options={"width": 8})
DIGITS = GANConfig(data="digits", batch_size=4, model_options={"width_G": 4, "width_D": 4})
SMALL: dict[str, Any] = {"ring": RING, "digits": DIGITS, "pix2pix": P2P, "cyclegan": CYC}
OTHERS: dict[str, dict[str, Any]] = {  # for each control a value other than that of SMALL
    "ring": {
        "strategy": "simultaneous", "loss": "wgan", "batching": "joint", "d_steps": 3, "lr_G": 3e-3, "lr_D": 4e-3,
        "norm_G": "batch", "norm_D": "spectral", "model": "classic", "data": "grid", "device": "cpu", "seed": 7,
    },
    "pix2pix": {
        **{field: value for field, value in OTHER["pix2pix"].items() if field != "speed"},
        "generator": "encoder_decoder", "patch": 1, "norm": "instance", "dropout": 0.0, "upsampling": "transposed",
        "batch_size": 3, "seed": 5, "mode": "eval",
    },
    "cyclegan": {
        **{field: value for field, value in OTHER["cyclegan"].items() if field != "speed"},
        "norm_G": "instance", "norm_D": "none", "patch": 1, "blocks": 2, "upsampling": "transposed", "batch_size": 2,
        "seed": 5,
    },
}  # fmt: skip
LIVE = [(name, field) for name, others in OTHERS.items() for field in others if field in SMALL[name].live_fields()]
LATE = [(name, field) for name, others in OTHERS.items() for field in others if (name, field) not in LIVE]
kinds = pytest.mark.parametrize("name", SMALL)
Make = Callable[..., Lab]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make labs that are closed in the end, and see that they leave no thread."""
    labs: list[Lab] = []

    def lab(*configs: Any, **options: Any) -> Lab:
        labs.append(Lab(*configs, **options))
        return labs[-1]

    yield lab
    for made in labs:
        made.close()
    assert threads() == []


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("gantutor-")]


def batches_of(run: Run) -> list[Tensor]:
    """The list that the run's first halves of batches will be kept in."""
    seen: list[Tensor] = []
    source = run.batches
    run.batches = (seen.append(batch[0]) or batch for batch in source)  # type: ignore[func-returns-value, misc]
    return seen


def raises(*_: Any) -> Any:
    raise ValueError("this step raises")


# Buttons --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ring", "digits"])
@pytest.mark.parametrize(
    ("do", "moves"),
    [({"do": "step"}, "GD"), ({"do": "half", "player": "D only"}, "D"), ({"do": "half", "player": "G only"}, "G")],
)
def test_the_buttons_move_exactly_their_networks(name: str, do: dict[str, str], moves: str, make: Make) -> None:
    lab = make(SMALL[name], SMALL[name])
    page = Page(lab)
    before, first = [{p: weights(getattr(run.model, p)) for p in "GD"} for run in lab.runs], page.pixels()
    page.act(**do)
    for run, old in zip(lab.runs, before, strict=True):
        assert run.t == 1
        assert {p for p in "GD" if not torch.equal(weights(getattr(run.model, p)), old[p])} == set(moves)
    assert (page.frame["step"], page.frame["line"]) == (1, "step 1 · cpu")
    changed = {view for view, pixels in page.pixels().items() if pixels != first[view]}
    made_by_G = {"ring": {"plane fake", "grid lines"}, "digits": {"fake images"}}[name]
    assert changed & made_by_G == (made_by_G if "G" in moves else set())
    assert page.pixels(0) == page.pixels(1)


def test_half_steps_are_offered_where_every_run_has_them(make: Make) -> None:
    for configs, players in (((RING,), ["D only", "G only"]), ((P2P,), []), ((RING, P2P, CYC), [])):
        lab = make(*configs)
        assert Page(lab).scene["players"] == players
    lab.advance(2)
    assert [run.t for run in lab.runs] == [2, 2, 2]


@kinds
def test_reset_gives_the_identical_first_picture(name: str, make: Make) -> None:
    lab = make(SMALL[name])
    page = Page(lab)
    first, start, whole = page.pixels(), state(lab.run), lab.snapshot().tobytes()
    lab.advance(4)
    then, moved = page.pixels(), state(lab.run)
    assert all(then[view] != first[view] for view in first)
    for way in (lab.reset, lambda: page.act("reset")):
        way()
        assert (lab.run.t, len(lab.run.history), page.frame["step"]) == (0, 0, 0)
        assert page.pixels() == first
        assert lab.snapshot().tobytes() == whole
        assert equal(state(lab.run), start)
        assert page.state["status"] == "paused"
        lab.advance(4)
        assert equal(state(lab.run), moved)
        assert page.pixels() == then


def test_play_moves_the_picture_and_pause_keeps_it(make: Make) -> None:
    lab = make(RING)
    page = Page(lab)
    page.act("play")
    assert (page.state["playing"], page.state["status"]) == (True, "playing")
    until(lambda: page.frame["step"] > 3)
    until(lambda: "steps/s" in page.frame["line"])
    page.act("pause")
    assert (page.state["playing"], page.state["status"]) == (False, "paused")
    still, t = page.pixels(), lab.run.t
    time.sleep(0.1)
    assert (page.pixels(), lab.run.t, page.frame["step"]) == (still, t, t)
    lab._frame(last=True)
    assert page.pixels() == still, "what stands is not what was reached"


def test_advance_says_how_fast_it_was(make: Make) -> None:
    lab = make(RING)
    assert "steps/s" not in lab.progress
    began = time.perf_counter()
    lab.advance(20)
    slowest = 20 / (time.perf_counter() - began)
    page = Page(lab)
    shown = float(re.search(r"(\d+) steps/s", page.state["line"])[1])  # type: ignore[index]
    assert slowest - 1 <= shown < 20 * slowest


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_play_pauses_at_the_last_step_that_was_planned(name: str, make: Make) -> None:
    lab = make(SMALL[name].replace(steps=5))
    page = Page(lab)
    page.act("play")
    until(lambda: page.state["status"] == "paused: step 5 is the last that was planned")
    lab.wait()
    assert (lab.run.t, page.state["playing"]) == (5, False)
    assert "step 5 of 5 · lr 0: it has fallen to its end" in page.state["line"]
    lab.advance(2)
    assert lab.run.t == 7, "one may go on"


# Controls -------------------------------------------------------------------------------------------------------------


@kinds
def test_each_setting_that_a_learner_may_choose_has_a_control(name: str, make: Make) -> None:
    lab = make(SMALL[name])
    page, config = Page(lab), SMALL[name]
    sizes = {"width_G", "width_D"}
    own = {"pix2pix": {"multipliers", *sizes}, "cyclegan": {"downsamplings", "end_kernel", *sizes}}
    without = own.get(name, {"batch_size", "z_dim", "model_options"}) | {"speed"}
    controls = {about["name"]: about for about in page.scene["controls"][0]}
    assert set(controls) == {field.name for field in fields(config)} - without
    for field, about in controls.items():
        assert about["label"]
        assert about["help"].endswith(".")
        assert about["live"] == (field in config.live_fields())
        value = getattr(config, field)
        assert page.shows(field) == (str(getattr(value, "name", value)) if about["kind"] == "choice" else value)
    if name == "ring":
        offered: dict[str, Any] = {
            "strategy": STEPS, "loss": LOSSES, "batching": BATCHINGS, "norm_G": NORMS_G, "norm_D": NORMS_D,
            "model": MODELS, "data": ready_sets(DATA), "device": ["auto", *devices()],
        }  # fmt: skip
        assert all(controls[field]["options"] == list(options) for field, options in offered.items())
        kinds = {field: about["kind"] for field, about in controls.items() if field not in offered}
        assert kinds == {"d_steps": "range", "lr_G": "log", "lr_D": "log", "seed": "number"}


@pytest.mark.parametrize(("name", "field"), LIVE)
def test_a_live_control_takes_effect_at_the_next_step(name: str, field: str, make: Make) -> None:
    config, value = SMALL[name], OTHERS[name][field]
    lab = make(config, config)
    page = Page(lab)
    lab.advance(2)
    before = page.pixels(1)
    page.choose(field, value, run=1)
    assert page.state["status"] == f"B: {field} = {value} from step 3 on"
    ((step, mark),) = page.state["marks"][1]
    assert (step, mark.split(" → ")[1]) == (2, str(value))
    assert page.state["marks"][0] == []
    assert [view.config for view in lab.run_views] == [config, config.replace(**{field: value})]
    if field == "mode":
        assert page.pixels(1) != before, "what changes the picture is seen at once"
    lab.advance(2)
    alone = config.start()
    for t in range(4):
        if t == 2:
            config.replace(**{field: value}).apply(alone)
        alone.step()
    assert equal(state(lab.runs[1]), state(alone))
    lab.reset()
    assert lab.run_views[1].config == config.replace(**{field: value}), "and it outlives Reset"
    assert page.state["marks"] == [[], []]


@pytest.mark.parametrize(("name", "field"), LATE)
def test_a_late_control_says_that_it_applies_at_reset_and_does(name: str, field: str, make: Make) -> None:
    config, value = SMALL[name], OTHERS[name][field]
    config = config.replace(model_options={}) if name == "ring" else config
    lab = make(config)
    page = Page(lab)
    lab.advance(1)
    started, before = lab.run, state(lab.run)
    page.choose(field, value)
    assert page.state["status"] == f"{field} = {value} applies at Reset"
    assert page.shows(field) in (str(value), value)
    assert lab.run is started
    assert equal(state(lab.run), before)
    page.act("reset")
    assert getattr(lab.run_views[0].config, field) == value
    assert equal(state(lab.run), state(lab.run_views[0].config.start())), "the run is not what its config makes"
    lab.advance(1)


def test_an_objective_is_live_or_late_by_what_d_is_shown_now(make: Make) -> None:
    lab = make(P2P)
    page = Page(lab)
    for objective, said in (
        ("cGAN", "from step 1 on"),
        ("GAN", "applies at Reset"),
        ("L1", "from step 1 on"),
        ("L1 + GAN", "applies at Reset"),
    ):
        page.choose("objective", objective)
        assert page.state["status"] == f"objective = {objective} {said}"
    assert lab.run.model.lambda_gan == 0
    page.choose("loss", "lsgan")  # a live one goes on with the objective that the run has
    assert (lab.run.model.conditional, lab.run.model.lambda_gan) == (True, 0)
    lab.reset()
    assert (lab.run.model.conditional, lab.run.model.lambda_gan) == (False, 1)
    page.choose("objective", "GAN")
    assert page.state["status"] == "objective = GAN from step 1 on"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ring", {"loss": "gna"}, r"loss='gna' cannot be chosen here; there are minimax, .*wgan-gp"),
        ("ring", {"data": "gna"}, "data='gna' cannot be chosen here; there are ring, grid"),
        ("ring", {"device": "tpu"}, "device='tpu' cannot be chosen here; there are auto, "),
        ("ring", {"z_dim": 3}, "'z_dim' has no control; there are data, strategy, loss, "),
        ("ring", {"d_steps": 6}, "d_steps goes from 1 to 5 in the panel, got 6"),
        ("ring", {"d_steps": 1.5}, "d_steps must be a whole number of at least 1, got 1.5"),
        ("ring", {"lr_G": 0.0}, r"lr_G goes from 1e-05 to 0.1 in the panel, got 0.0"),
        ("ring", {"seed": -1}, "seed goes from 0 to .* in the panel, got -1"),
        ("pix2pix", {"patch": 35}, "patch=35 cannot be chosen here; there are 1, 16, 34"),
        ("cyclegan", {"data": "maps"}, "data='maps' cannot be chosen here; there are heaps$"),
        ("cyclegan", {"steps": -1}, "steps goes from 0 to 1e\\+06 in the panel, got -1"),
    ],
)
def test_set_refuses_what_a_control_cannot_show_and_changes_nothing(
    name: str, change: dict[str, Any], message: str, make: Make
) -> None:
    lab = make(SMALL[name])
    before, status = dict(lab.run_views[0].controls.values), lab.status
    with pytest.raises(ValueError, match=message):
        lab.set(**{"loss": "hinge", **change})
    lab.wait()
    assert (lab.run_views[0].controls.values, lab.status) == (before, status)


def test_a_lab_refuses_what_its_controls_cannot_show(make: Make) -> None:
    for change in ({"lr_G": 0.5}, {"d_steps": 9}):
        with pytest.raises(ValueError, match="in the panel, got"):
            make(RING.replace(**change))


def test_several_are_set_in_an_order_that_is_possible(make: Make) -> None:
    lab = make(DIGITS)
    with pytest.raises(ValueError, match="one_stage is not exact here: BatchNorm in D"):
        lab.set(strategy="one_stage", norm_D="none")  # which is there only after Reset
    lab.set(strategy="one_stage", loss="minimax")  # whose ratio is the same for every logit
    lab.wait()
    assert lab.run.train_step.__name__ == "one_stage"
    assert lab.run.model.loss is LOSSES["minimax"]


# A toggle never stops a run -------------------------------------------------------------------------------------------


def test_no_strategy_loss_and_batching_stops_a_run(make: Make) -> None:
    """All 108 on the default digits: those that are not possible are grey, and picked all the same the run goes on."""
    lab = make(DIGITS)
    page = Page(lab)
    page.act("play")
    options: dict[str, list[str]] = {"batching": list(BATCHINGS), "loss": list(LOSSES), "strategy": list(STEPS)}
    for batching, loss in itertools.product(BATCHINGS, LOSSES):
        changes = [("strategy", "d_first_detach"), ("batching", batching), ("loss", loss)]
        for field, value in [*changes, *(("strategy", strategy) for strategy in STEPS)]:
            reason = page.state["refusals"][0].get(field, {}).get(options[field].index(value), "")
            page.choose(field, value)
            assert (page.shows(field) == value) == (not reason), "what is grey is what is refused"
            assert page.state["status"].startswith(reason or f"{field} = {value} from step ")
            config = lab.run_views[0].config
            assert (lab.run.train_step.last, lab.run.model.loss) == (STEPS[config.strategy], LOSSES[config.loss])
            assert (page.state["playing"], page.state["error"]) == (True, "")
    before = lab.run.t
    until(lambda: lab.run.t > before + 3)


def test_a_choice_that_is_not_possible_is_grey_with_its_reason(make: Make) -> None:
    lab = make(DIGITS, speed_ups=True)
    page = Page(lab)
    one_stage, losses = list(STEPS).index("one_stage"), list(LOSSES)
    assert page.state["refusals"][0]["strategy"] == {one_stage: page.state["refusals"][0]["strategy"][one_stage]}
    assert page.state["refusals"][0]["strategy"][one_stage].startswith("one_stage is not exact here: BatchNorm in D")
    graph = list(SPEED_UPS).index("graph")
    assert "is made on a CUDA device" in page.state["refusals"][0]["speed"][graph]
    lab.set(loss="minimax")
    lab.wait()
    assert "strategy" not in page.state["refusals"][0]
    lab.set(strategy="one_stage")
    lab.wait()
    assert losses.index("non-saturating") in page.state["refusals"][0]["loss"]
    page.choose("norm_D", "none")
    assert page.shows("norm_D") == "none"
    lab.reset()
    grey = page.state["refusals"][0].get("loss", {})
    assert losses.index("non-saturating") not in grey
    page.choose("loss", "non-saturating")
    refusals = page.state["refusals"][0]
    assert list(NORMS_D).index("batch") in refusals["norm_D"], "a late one, too, is refused with its reason"
    page.choose("norm_D", "batch")
    assert page.shows("norm_D") == "none"
    assert "The run goes on with norm_D = none." in page.state["status"]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("no room"), ValueError("bad")]
)
@kinds
def test_a_step_that_fails_right_after_a_toggle_is_taken_back(
    name: str, error: Exception, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run then is, bit for bit, what it would have been without the toggle: also where half a step was done."""
    config = SMALL[name]
    strategy = next(s for s in config.STRATEGIES if s not in (config.strategy, "one_stage"))

    def half(model: Any, *batch: Any) -> Any:
        config.step(model, *batch)
        raise error

    half.__name__ = strategy
    lab = make(config, config)
    alone = config.start()
    page = Page(lab)
    lab.advance(2)
    monkeypatch.setitem(config.STRATEGIES, strategy, half)
    page.choose("strategy", strategy, run=1)
    assert page.shows("strategy", run=1) == strategy
    page.act("play")
    until(lambda: lab.run.t > 4)
    page.act("pause")
    assert page.state["error"] == ""
    assert page.shows("strategy", run=1) == config.strategy
    assert page.state["marks"][1] == []
    monkeypatch.undo()
    for _ in range(lab.run.t):
        alone.step()
    assert equal(state(lab.runs[1]), state(alone))


def test_memory_that_runs_out_while_a_change_is_made_changes_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, apply = make(RING), GANConfig.apply
    page = Page(lab)

    def fails(config: GANConfig, run: Run) -> None:
        apply(config, run)
        if config.batching == "joint":
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(GANConfig, "apply", fails)
    page.choose("batching", "joint")
    assert page.state["status"] == "CUDA out of memory. The run goes on with batching = split."
    assert (lab.run.model.batching, page.shows("batching"), page.state["marks"]) == ("split", "split", [[]])


def test_an_error_that_stops_a_run_stays_in_sight_until_play(make: Make) -> None:
    lab = make(RING)
    page = Page(lab)
    lab.run.train_step.last = raises
    page.act("play", wait=False)
    until(lambda: page.state["error"] and not page.state["playing"])
    page.choose("lr_G", 1e-2, wait=False)
    until(lambda: page.state["done"]["page"] == 2)
    page.act("pause", wait=False)
    until(lambda: page.state["done"]["page"] == 3)
    assert page.state["error"] == "error: ValueError: this step raises"
    assert page.state["status"] == "paused"
    lab.set(strategy="simultaneous")
    page.act("play")
    assert page.state["error"] == ""
    until(lambda: lab.run.t > 2)


def test_a_step_that_raises_in_one_run_stops_both(make: Make) -> None:
    lab = make(DIGITS, DIGITS)
    seen = [batches_of(run) for run in lab.runs]
    lab.advance(2)
    lab.runs[1].train_step.last = raises
    for _ in range(3):  # A does not run ahead, however often one tries
        with pytest.raises(ValueError, match="this step raises"):
            lab.advance(4)
        assert [run.t for run in lab.runs] == [3, 2]
    lab.set(1, loss="minimax")  # which applies the strategy of the controls, too
    lab.advance(5)
    assert [run.t for run in lab.runs] == [7, 7]
    assert lab.error == ""
    assert [len(batches) for batches in seen] == [7, 7]
    assert all(torch.equal(x, y) for x, y in zip(*seen, strict=True))


def test_a_run_that_diverges_goes_back_and_keeps_what_the_controls_say(make: Make) -> None:
    """The good state is older than the controls: it must not bring its old loss and rates back with it."""
    lab = make(RING, RING)
    lab.advance(2)
    lab.set(loss="lsgan", lr_D=2e-3, batching="joint", d_steps=2)
    lab.advance(2)
    lab.run.model.G[0].weight.data.fill_(float("nan"))
    lab.play()
    until(lambda: lab.runner.error is not None)
    assert re.match(r"error: gantutor.training.DivergedError: \w_loss is nan at step 5 of d_first_detach", lab.error)
    assert [run.t for run in lab.runs] == [5, 4]
    gan = lab.run.model
    assert all(parameter.isfinite().all() for parameter in gan.G.parameters())
    assert (gan.loss, gan.batching, gan.opt_D.param_groups[0]["lr"]) == (LOSSES["lsgan"], "joint", 2e-3)
    lab.advance(4)
    assert [run.t for run in lab.runs] == [8, 8]
    assert np.isnan(lab.run.history["g_loss"][4])
    assert np.isfinite(lab.run.history["g_loss"][5:]).all()


@pytest.mark.parametrize(("config", "change"), [(RING, {"model": "dcgan"}), (P2P, {"patch": 286})])
def test_a_reset_that_fails_leaves_all_as_it_was(config: Any, change: dict[str, Any], make: Make) -> None:
    lab = make(config, config)
    page = Page(lab)
    lab.advance(2)
    runs, before = lab.runs, page.pixels()
    lab.set(0, seed=3)
    lab.set(1, **change)  # networks that do not fit these data
    with pytest.raises(ValueError, match=r".+"):
        lab.reset()
    assert page.state["error"].startswith("error: ValueError: ")
    assert lab.runs == runs
    assert page.pixels() == before
    lab.advance(2)
    assert ([run.t for run in lab.runs], page.state["error"]) == ([4, 4], "")
    lab.set(1, **{field: getattr(config, field) for field in change})
    lab.reset()
    assert [view.config.seed for view in lab.run_views] == [3, config.seed]


# Speed-ups ------------------------------------------------------------------------------------------------------------


def test_speed_ups_are_switched_between_two_steps(make: Make) -> None:
    assert "speed" not in make(RING).run_views[0].controls.settings
    lab = make(RING.replace(device="cpu", speed=("fused",)), speed_ups=True)
    page = Page(lab)
    assert (page.shows("speed"), lab.run_views[0].controls.options["speed"]) == (("fused",), tuple(SPEED_UPS))
    lab.advance(2)
    page.choose("speed", ["bf16", "fused"])
    assert page.state["status"] == "speed = fused, bf16 from step 3 on"
    lab.advance(1)
    page.choose("speed", [])
    assert page.state["status"] == "speed = none from step 4 on"
    lab.advance(1)
    alone = RING.replace(device="cpu", speed=("fused",)).start()
    for t, speed in enumerate((("fused",), ("fused",), ("fused", "bf16"), ())):
        RING.replace(device="cpu", speed=speed).apply(alone)
        assert alone.step()["d_loss"] == pytest.approx(lab.run.history["d_loss"][t])
    assert equal(state(lab.run), state(alone))
    lab.set(speed=["bf16", "channels_last"])
    lab.reset()
    assert page.shows("speed") == ("channels_last", "bf16")


def test_a_refused_speed_up_says_why_and_its_switch_goes_back(make: Make) -> None:
    lab = make(RING.replace(device="cpu", speed=("fused",)), speed_ups=True)
    page = Page(lab)
    page.act("play")
    page.choose("speed", ["fused", "graph"])
    reason = "graph cannot be used here: a recording (CUDA graph) is made on a CUDA device, and this run is on cpu"
    assert page.state["status"] == f"{reason}. The run goes on with speed = fused."
    assert (page.shows("speed"), page.state["playing"]) == (("fused",), True)
    page.act("pause")
    with pytest.raises(ValueError, match=re.escape(reason)):
        lab.set(speed=("graph",))
    with pytest.raises(ValueError, match="speed has no 'turbo'; there are channels_last, fused, bf16, compile, graph"):
        lab.set(speed=("turbo",))


def test_a_setting_that_a_speed_up_does_not_go_with_goes_back(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks are not compiled here; that would take a while."""
    ready_later = "gantutor.scale.speed.GettingReady.start"
    monkeypatch.setattr(ready_later, lambda self, batch: Future())
    lab = make(RING.replace(device="cpu", speed=("compile",)), speed_ups=True)
    lab.advance(1)
    assert lab.progress.endswith(" · compiling")
    lab.set(loss="wgan-gp")
    lab.wait()
    assert lab.status.startswith("compile cannot be used here: a gradient penalty needs a gradient of a gradient")
    assert lab.run_views[0].controls.values["loss"] == lab.run_views[0].config.loss == RING.loss
    assert lab.run.model.loss is LOSSES[RING.loss]


# Slow motion ----------------------------------------------------------------------------------------------------------

D_SEES, D_MOVES, G_SEES, G_MOVES = (TEXTS[name] for name in ("D_before", "D_after", "G_before", "G_after"))
PHASES = {
    "d_first_detach": (D_SEES, D_MOVES, G_SEES, G_MOVES),
    "d_first_retain_graph": (D_SEES, D_MOVES, G_SEES, G_MOVES),
    "g_first_detach": (G_SEES, G_MOVES, D_SEES, D_MOVES),
    "simultaneous": (D_SEES, G_SEES, D_MOVES, G_MOVES),
    "one_stage": (D_SEES, G_SEES, D_MOVES, G_MOVES),
}


@pytest.mark.parametrize("strategy", PHASES)
def test_slow_motion_goes_through_a_step_in_the_order_of_its_lines(strategy: str, make: Make) -> None:
    config = RING.replace(strategy=strategy, loss="minimax", lr_D=0.05, lr_G=0.05)
    lab, alone = make(config), config.start()
    page = Page(lab)
    page.act("slow", on=True)
    for t in range(2):
        look, said, steps = [page.pixels()], [], []
        for _ in range(4):
            page.act("step")
            said.append(page.state["status"])
            steps.append(page.frame["step"])
            look.append(page.pixels())
        assert (said, steps) == (list(PHASES[strategy]), [t, t, t, t + 1])
        moves = [
            {part for part in ("plane surface", "plane fake") if before[part] != after[part]}
            for before, after in itertools.pairwise(look)
        ]
        moved = {D_MOVES: {"plane surface"}, G_MOVES: {"plane fake"}}
        assert moves == [moved.get(text, set()) for text in said], "each phase shows what it says, and nothing else"
        alone.step()
        assert equal(state(lab.run), state(alone)), "to be watched changes nothing in the step"
    assert len(page.history[0]["d_loss"]) == 2


def test_in_slow_motion_a_command_does_not_wait_for_the_phases(make: Make) -> None:
    lab = make(RING.replace(d_steps=2), RING.replace(strategy="g_first_detach"))
    page = Page(lab)
    page.act("slow", on=True)
    page.act("step")
    assert page.state["status"] == f"A: {D_SEES} · B: {G_SEES}"
    for _ in range(3):
        page.act("step")
    assert page.state["status"] == f"A: {D_MOVES} · B: {D_MOVES}", "B has no more than four"
    page.choose("loss", "hinge")
    assert (page.frame["step"], len(page.frame["phases"])) == (1, 0)
    page.act("half", player="G only")
    assert (page.frame["step"], len(page.frame["phases"])) == (2, 0)
    page.act("play")
    until(lambda: page.frame["phases"])
    page.act("slow", on=False)
    until(lambda: page.frame["step"] > 10)
    page.act("pause")
    steps = [frame.step for frame in lab.recording.frames]
    assert steps == sorted(steps)


# Data that the learner draws ------------------------------------------------------------------------------------------

STROKES = [[[-1.0, -1.0], [1.0, -1.0]], [[0.0, 2.0]]]


def test_what_is_drawn_is_trained_on_from_the_start_by_all_runs_of_points(make: Make) -> None:
    lab = make(RING, RING.replace(loss="minimax"), DIGITS)
    page = Page(lab)
    assert (page.scene["draws"], Page(make(DIGITS, name="images")).scene["draws"]) == (True, False)
    lab.advance(2)
    page.act("draw", strokes=STROKES)
    assert [page.shows("data", run) for run in range(3)] == ["drawn", "drawn", "digits"]
    assert [run.t for run in lab.runs] == [0, 0, 0]
    real = page.fixed[0]["plane"]["real"]
    np.testing.assert_array_equal(real, page.fixed[1]["plane"]["real"])
    assert ((abs(real[:, 1] + 1) < 0.4) | (abs(real[:, 1] - 2) < 0.4)).all()
    seen = [batches_of(run) for run in lab.runs[:2]]
    lab.advance(2)
    assert all(torch.equal(x, y) for x, y in zip(*seen, strict=True))
    lab.draw([[(0, 0)]])
    assert [option for option in page.scene["controls"][0][0]["options"] if option == "drawn"] == ["drawn"]
    page.choose("data", "grid")
    page.act("reset")
    assert lab.run_views[0].data.name == "grid"


@pytest.mark.parametrize("strokes", [None, [], [[]], [[[9, 9]]], [[["a", 1]]], [[[1, 2, 3]]], 5])
def test_a_drawing_that_is_none_changes_nothing(strokes: Any, make: Make) -> None:
    lab = make(RING)
    page = Page(lab)
    lab.advance(1)
    page.act("draw", strokes=strokes)
    assert (lab.error, lab.run.t, page.shows("data")) == ("", 1, "ring")
    with pytest.raises((ValueError, TypeError)):
        lab.draw(strokes)


def test_a_run_on_drawn_data_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    config, again = (RING.replace(data=drawn(STROKES)) for _ in range(2))
    run, other = config.start(), again.start()
    run.step()
    save_checkpoint(tmp_path / "run.pt", run, {"strokes": STROKES})
    load_checkpoint(tmp_path / "run.pt", other, {"strokes": STROKES})
    run.step(), other.step()
    assert equal(state(run), state(other))


# A/B ------------------------------------------------------------------------------------------------------------------


@kinds
def test_run_views_keep_step_on_the_same_batches_and_are_what_they_would_be_alone(name: str, make: Make) -> None:
    config = SMALL[name]
    other = config.replace(loss="hinge")
    lab, alone = make(config, config, other), other.start()
    page, seen = Page(lab), [batches_of(run) for run in lab.runs[:2]]
    lab.advance(2)
    assert page.pixels(0) == page.pixels(1) != page.pixels(2)
    page.act("play")
    until(lambda: page.frame["step"] > 4)
    page.act("pause")
    t = lab.run.t
    assert [run.t for run in lab.runs] == [t, t, t]
    assert [len(batches) for batches in seen] == [t, t]
    assert all(torch.equal(x, y) for x, y in zip(*seen, strict=True))
    for _ in range(t):
        alone.step()
    assert equal(state(lab.runs[0]), state(lab.runs[1]))
    assert equal(state(lab.runs[2]), state(alone))


def test_run_views_of_different_data(make: Make) -> None:
    lab = make(RING, DIGITS, P2P, CYC)
    lab.advance(2)
    page = Page(lab)
    assert [run.t for run in lab.runs] == [2, 2, 2, 2]
    assert [views[0]["name"] for views in page.scene["views"]] == ["plane", "fake", "pairs", "A_to_B"]
    assert lab.snapshot().width > 1500


# Other data -----------------------------------------------------------------------------------------------------------


def test_other_data_bring_the_networks_and_the_views_that_suit_them(make: Make) -> None:
    lab = make(RING)
    page = Page(lab)
    lab.advance(1)
    page.choose("data", "digits")
    assert page.shows("model") == "dcgan", "the control shows what Reset will build"
    assert "plane" in page.frame["views"][0], "and until then the old run goes on"
    lab.reset()
    assert [view["name"] for view in page.scene["views"][0]][:2] == ["fake", "real"]
    assert lab.run_views[0].config == GANConfig(data="digits", batch_size=8)
    lab.advance(1)
    for data in ("moons", "ring"):
        lab.set(data=data)
        lab.reset()
        assert lab.run_views[0].config == GANConfig(data=data, batch_size=8)
    lab.advance(1)


@pytest.mark.parametrize("change", [{"data": "digits", "norm_D": "spectral"}, {"norm_D": "spectral", "data": "digits"}])
def test_networks_and_norms_given_along_with_other_data_are_kept(change: dict[str, str], make: Make) -> None:
    lab = make(RING)
    lab.set(**change)
    lab.reset()
    assert (lab.run_views[0].config.model, lab.run_views[0].config.norm_D) == ("dcgan", "spectral")


def test_ones_own_data(make: Make) -> None:
    mine = Images("my digits", load("digits", size=32).images[:50])
    lab = make(DIGITS.replace(data=mine, norm_G="group"))
    page = Page(lab)
    lab.advance(1)
    assert page.shows("data") == "my digits"
    assert page.frame["views"][0]["fake"]["images"].shape == (32, 32, 32)
    lab.reset()
    assert lab.run_views[0].data is mine
    line = Points("line", lambda u, v: torch.stack([u, v * 0], dim=1), 0.05, torch.device("cpu"))
    make(GANConfig(data=line, batch_size=8)).advance(1)


def test_the_default_configs_start_and_step(make: Make) -> None:
    lab = make(Pix2PixConfig(), CycleGANConfig())
    lab.advance(1)
    lab.set(data="maps_mini")
    lab.reset()
    assert lab.run_views[0].data.name == "maps_mini"
    lab.advance(1)
    assert np.isfinite(lab.run.history["l1_loss"]).all()
    assert make().run_views[0].config == GANConfig()


# What a notebook gets, and its life -----------------------------------------------------------------------------------


@kinds
def test_the_mimebundle_is_live_and_a_picture_and_always_the_same_text(name: str, make: Make) -> None:
    lab = make(SMALL[name])
    bundles = [lab._repr_mimebundle_()]
    lab.advance(2)
    bundles.append(lab._repr_mimebundle_())
    for bundle in bundles:
        assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == lab.widget.model_id
        assert bundle["text/plain"] == "gantutor lab"
    first, later = (Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) for bundle in bundles)
    assert first.size == later.size
    assert first.tobytes() != later.tobytes() == lab.snapshot().tobytes()


@pytest.mark.parametrize("way", ["the lab", "its widget", "another of its name"])
def test_closing_it_or_running_its_cell_again_ends_the_thread(way: str, make: Make) -> None:
    lab = make(RING)
    lab.play()
    until(lambda: lab.run.t > 2)
    assert threads() == ["gantutor-lab"]
    if way == "another of its name":
        make(RING)
    else:
        (lab if way == "the lab" else lab.widget).close()
    assert threads() == []
    t = lab.run.t
    lab.play()
    time.sleep(0.02)
    assert (threads(), lab.run.t) == ([], t)


def test_a_panel_has_room_for_so_many(make: Make) -> None:
    with pytest.raises(ValueError, match="room for 8 experiments, got 9"):
        make(*[RING] * 9)


def test_a_closed_panel_leaves_no_widget() -> None:
    import ipywidgets

    registered = ipywidgets.widgets.widget._instances
    Lab(RING, name="first").close()  # what is made once for all
    before = len(registered)
    Lab(RING, name="second").close()
    assert len(registered) == before
