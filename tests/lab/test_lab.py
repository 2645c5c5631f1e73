"""The panel without a front end: what each control does, that run views keep step, that watching changes nothing."""

import base64
import io
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from helpers import weights
from ipywidgets import Widget
from matplotlib.mathtext import MathTextParser
from PIL import Image
from torch import Tensor

from gantutor.configs import GANConfig
from gantutor.data import DATA, Images, Points, load, ready_sets
from gantutor.gan import BATCHINGS
from gantutor.lab import Lab
from gantutor.lab.gan_painters import ImagePainter, PointPainter
from gantutor.losses import LOSSES
from gantutor.models import MODELS, NORMS_D, NORMS_G
from gantutor.scale.speed import SPEED_UPS
from gantutor.steps import STEPS
from gantutor.training import Run, devices

RING = GANConfig(data="ring", batch_size=8, model_options={"width": 8})
DIGITS = GANConfig(data="digits", batch_size=4, model_options={"width_G": 4, "width_D": 4})
SMALL = {"ring": RING, "digits": DIGITS}
VIEWS = {"ring": {"plane", "charts"}, "digits": {"fake", "real", "charts"}}
OTHER: dict[str, Any] = {  # for each control a value other than RING's
    "strategy": "simultaneous",
    "loss": "wgan",
    "batching": "joint",
    "d_steps": 3,
    "lr_G": 3e-3,
    "lr_D": 4e-3,
    "norm_G": "batch",
    "norm_D": "spectral",
    "model": "classic",
    "data": "grid",
    "device": "cpu",
    "seed": 7,
}

Make = Callable[..., Lab]
Pair = Callable[[str], Lab]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make labs that are closed in the end, and see that they leave no thread."""
    labs: list[Lab] = []

    def lab(*experiments: GANConfig, **options: Any) -> Lab:
        labs.append(Lab(*experiments, **options))
        return labs[-1]

    yield lab
    for made in labs:
        made.close()
    assert threads() == []


@pytest.fixture(scope="module")
def pairs() -> Iterator[dict[str, Lab]]:
    """Making a lab takes a quarter of a second: two run views on each kind of data for tests that leave them usable."""
    labs = {name: Lab(experiment, experiment, name=f"shared {name}") for name, experiment in SMALL.items()}
    yield labs
    for lab in labs.values():
        lab.close()


@pytest.fixture
def pair(pairs: dict[str, Lab]) -> Callable[[str], Lab]:
    """One of them, its controls as at the beginning, at step 0."""

    def fresh(name: str) -> Lab:
        lab = pairs[name]
        for number in (0, 1):
            lab.set(number, **{field: getattr(SMALL[name], field) for field in OTHER})
        lab.reset()
        assert [run_view.config for run_view in lab.run_views] == [SMALL[name]] * 2
        return lab

    return fresh


def threads() -> list[str]:
    """Those of the labs that a test has made."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("gantutor-") and not name.startswith("gantutor-shared ")]


def until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    end = time.perf_counter() + limit_s
    while not condition():
        assert time.perf_counter() < end, "it did not happen"
        time.sleep(0.001)


def press(lab: Lab, description: str) -> None:
    """Click a button, and wait until that is done."""
    (button,) = [b for b in lab.widget.children[0].children if getattr(b, "description", "") == description]
    button.click()
    lab.runner.wait()


def text(lab: Lab) -> str:
    """The status line."""
    return re.fullmatch(r'<div role="status">(.*)</div>', lab.status.value, re.DOTALL)[1]  # type: ignore[index]


def shown(lab: Lab, run_view: int = 0) -> dict[str, bytes]:
    """What the image widgets of a run view show."""
    return {name: image.value for name, image in lab.run_views[run_view].images.items()}


def state(run: Run) -> list[Tensor]:
    """Weights, statistics, gradients and the optimizers' moments."""
    gan: Any = run.model
    networks = (gan.G, gan.D)
    tensors = [tensor for network in networks for tensor in network.state_dict().values()]
    tensors += [x for opt in (gan.opt_G, gan.opt_D) for moments in opt.state.values() for x in moments.values()]
    gradients = [torch.zeros(1) if p.grad is None else p.grad for network in networks for p in network.parameters()]
    return [tensor.clone() for tensor in [*tensors, *gradients]]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def config(run: Run) -> list[Tensor]:
    """The list that the run's real batches will be kept in."""
    seen: list[Tensor] = []
    source = run.batches
    run.batches = (seen.append(batch[0]) or batch for batch in source)  # type: ignore[func-returns-value, misc]
    return seen


# Pictures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["ring", "grid", "moons", "spiral", "digits"])
def test_every_picture_decodes_and_shows_something(data: str, make: Make) -> None:
    base = DIGITS.replace(lr_G=0.1) if data == "digits" else RING  # DCGAN starts with plain grey
    lab = make(base.replace(data=data))
    lab.advance(3)
    assert (lab.run.t, lab.runs) == (3, [lab.run])
    for view in lab.run_views[0].painter.views:
        image = Image.open(io.BytesIO(shown(lab)[view.name])).convert("RGB")
        size = (8 * 28, 4 * 28) if view.pixelated else (view.width, view.height)
        assert image.size == size
        pixels = np.asarray(image).astype(int)
        assert pixels.std() > 2, f"{view.name} is blank"
        assert len(np.unique(pixels)) > 10
    assert lab.snapshot().size[0] > 500
    assert "step 3" in lab.progress.value
    assert "cpu" in lab.progress.value


def test_what_the_digits_views_show(make: Make) -> None:
    lab = make(DIGITS)
    lab.advance(2)
    picture = lab.run_views[0].painter
    fake = np.asarray(Image.open(io.BytesIO(shown(lab)["fake"])))
    first = ((lab.run.model.sample(picture.z)[0, 0].clamp(-1, 1) + 1) * 127.5).byte().numpy()
    np.testing.assert_array_equal(fake[:28, :28], first)
    real = np.asarray(Image.open(io.BytesIO(shown(lab)["real"])))
    originals = load("digits").images[:, 0].numpy()
    assert any(np.abs(real[28:56, 56:84].astype(int) - original).max() <= 1 for original in originals)


def test_what_the_plane_shows(make: Make) -> None:
    """Surface, points, arrows and grid hold the numbers that the run gives."""
    lab = make(RING)
    lab.advance(5)
    picture, gan = lab.run_views[0].painter, lab.run.model
    fakes = gan.sample(picture.z)
    np.testing.assert_array_equal(picture.fake.get_xydata(), fakes)
    surface = picture.surface.get_array()
    corner = gan.prob_real(torch.tensor([[-3.0, -3.0], [3.0, -3.0], [-3.0, 3.0]])).flatten()
    assert [surface[0, 0], surface[0, -1], surface[-1, 0]] == pytest.approx(corner.tolist())
    assert picture.surface.origin == "lower"
    arrows = np.stack([picture.arrows.U, picture.arrows.V], axis=1)
    push = gan.fake_gradient(fakes[: len(arrows)]).numpy()
    scale = np.hypot(*arrows.T).max() / np.hypot(*push.T).max()
    np.testing.assert_allclose(arrows, scale * push, rtol=1e-5, atol=1e-7)
    first_line = gan.sample(torch.tensor([[-2.0, -2.0], [-2.0, 2.0]]))
    np.testing.assert_allclose(picture.grid.get_xydata()[[0, 67]], first_line, atol=1e-6)


def test_the_charts_hold_the_history(make: Make) -> None:
    lab = make(RING)
    lab.advance(20)
    charts = lab.run_views[0].painter.charts
    for name in ("d_loss", "g_loss", "grad_D", "grad_G"):
        np.testing.assert_array_equal(charts.lines[name].get_ydata(), lab.run.history[name])
    for name in ("real", "fake"):
        values, edges, _ = charts.bars[name].get_data()
        counts, _ = np.histogram(lab.run.last[f"logits_{name}"], edges)
        np.testing.assert_allclose(values, counts / 8)
        assert values.sum() == pytest.approx(1)


@pytest.mark.parametrize("steps", [299, 300, 901])
def test_a_long_history_is_thinned_and_keeps_its_scale(steps: int, pair: Pair) -> None:
    lab = pair("ring")
    for t in range(1, steps + 1):
        lab.run.history.append({"d_loss": torch.tensor(float(t))})
    charts = lab.run_views[0].painter.charts
    charts.paint(lab.run)
    x, y = charts.lines["d_loss"].get_data()
    assert len(x) <= 450
    assert x[-1] == pytest.approx(steps, rel=0.01)
    np.testing.assert_allclose(y, x - (x[0] - 1) / 2)  # each the mean of the steps up to it
    assert charts.losses.get_xlim()[1] >= steps
    assert charts.losses.get_ylim()[1] >= y.max()


@pytest.mark.parametrize("name", SMALL)
def test_no_picture_needs_mathtext(name: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parser is shared by all threads and not safe: a cell that draws while a panel plays would break one."""

    def parse(*_: Any, **__: Any) -> None:
        raise AssertionError("mathtext")

    monkeypatch.setattr(MathTextParser, "parse", parse)
    lab = make(SMALL[name])
    for value in (1e-9, 1e-3, 1.0, 1e5):
        lab.run.history.append({key: torch.tensor(value) for key in ("d_loss", "g_loss", "grad_D", "grad_G")})
        lab.run_views[0].paint(everything=True)
    ticks = {label.get_text() for label in lab.run_views[0].painter.charts.norms.get_yticklabels()}
    assert ticks & {"10⁻⁹", "10⁻³", "10⁵"}


@pytest.mark.parametrize("norm", NORMS_D)
@pytest.mark.parametrize("name", SMALL)
def test_painting_changes_nothing_in_the_run(name: str, norm: str, pair: Pair) -> None:
    """Two runs, one painted after each step, the other never: bit for bit the same, and no random number drawn."""
    if name == "ring" and norm == "instance":
        norm = "layer"  # there is no instance norm for an MLP
    experiment = SMALL[name].replace(norm_D=norm, norm_G="batch")
    lab, alone = pair(name), experiment.start()
    lab.run_views[0].run = experiment.start()
    random.seed(1)
    for t in range(1, 4):
        lab.run.step()
        alone.step()
        drawn = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1])  # noqa: NPY002
        before = state(lab.run)
        modes = [module.training for module in (*lab.run.model.G.modules(), *lab.run.model.D.modules())]
        lab.run_views[0].paint(everything=True)
        lab.snapshot()
        assert equal(state(lab.run), before)
        assert modes == [module.training for module in (*lab.run.model.G.modules(), *lab.run.model.D.modules())]
        assert torch.equal(drawn[0], torch.get_rng_state())
        assert drawn[1] == random.getstate()
        assert (drawn[2] == np.random.get_state()[1]).all()  # noqa: NPY002
        assert equal(state(lab.run), state(alone))
        assert len(lab.run.history) == t
    assert lab.run.history["d_loss"].tolist() == alone.history["d_loss"].tolist()


# Buttons --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("button", "moves"), [("Step", {"G", "D"}), ("D only", {"D"}), ("G only", {"G"})])
def test_step_buttons_move_exactly_their_networks(name: str, button: str, moves: set[str], pair: Pair) -> None:
    lab = pair(name)
    before, first = [{p: weights(getattr(run.model, p)) for p in "GD"} for run in lab.runs], shown(lab)
    press(lab, button)
    for run, old in zip(lab.runs, before, strict=True):
        assert run.t == 1
        assert {p for p in "GD" if not torch.equal(weights(getattr(run.model, p)), old[p])} == moves
    assert "step 1 " in lab.progress.value
    now = shown(lab)
    changed = {view for view in first if first[view] != now[view]}
    assert changed == VIEWS[name] - {"real"} - ({"fake"} if moves == {"D"} else set())
    assert shown(lab, 0) == shown(lab, 1)


@pytest.mark.parametrize("name", SMALL)
def test_reset_gives_the_identical_first_picture(name: str, make: Make) -> None:
    lab = make(SMALL[name])
    first, whole, start = shown(lab), lab.snapshot().tobytes(), state(lab.run)
    lab.advance(40 if name == "ring" else 4)
    for number in range(200):  # a history that has made the charts' axes grow
        lab.run.history.append({"d_loss": torch.tensor(9.0), "g_loss": torch.tensor(-9.0 - number)})
    lab.run_views[0].paint(everything=True)
    moved = shown(lab)
    assert all(moved[view] != first[view] for view in VIEWS[name] - {"real"})
    for way in (lambda: press(lab, "Reset"), lab.reset):
        way()
        assert lab.run.t == len(lab.run.history) == 0
        assert shown(lab) == first
        assert lab.snapshot().tobytes() == whole
        assert equal(state(lab.run), start)
        assert text(lab) == "paused"
        assert "step 0 " in lab.progress.value
        lab.advance(4)
        assert not equal(state(lab.run), start)


def test_play_changes_the_picture_and_pause_keeps_it(make: Make) -> None:
    lab = make(RING)
    first = shown(lab)["plane"]
    lab.play.value = True
    until(lambda: shown(lab)["plane"] != first)
    assert (lab.play.description, lab.play.icon, text(lab)) == ("Pause", "pause", "playing")
    until(lambda: "steps/s" in lab.progress.value)
    lab.play.value = False
    lab.runner.wait()
    assert (lab.play.description, lab.play.icon, text(lab)) == ("Play", "play", "paused")
    still, t = shown(lab), lab.run.t
    time.sleep(0.2)
    assert (shown(lab), lab.run.t) == (still, t)
    lab.run_views[0].paint(everything=True)
    assert shown(lab) == still, "what stands is not what was reached"


def test_a_pause_right_after_play_is_not_lost(make: Make) -> None:
    """Both clicks come before the thread has taken the first: while a slow step or a cell holds it up."""
    lab = make(RING)
    gate = threading.Event()
    lab.runner.post(lambda: gate.wait(20))
    lab.play.value = True
    lab.play.value = False
    gate.set()
    lab.runner.wait()
    assert not lab.runner.playing
    assert (lab.play.value, lab.play.description) == (False, "Play")
    lab.play.value = True
    lab.runner.wait()
    assert lab.runner.playing
    assert lab.play.value


def test_advance_pauses_a_playing_panel_and_its_button(make: Make) -> None:
    lab = make(RING)
    lab.play.value = True
    until(lambda: lab.run.t > 2)
    lab.advance(1)
    assert (lab.play.value, lab.runner.playing, text(lab)) == (False, False, "paused")


# Controls -------------------------------------------------------------------------------------------------------------


def test_there_is_a_control_for_each_field_that_a_learner_toggles(pair: Pair) -> None:
    controls = pair("ring").run_views[0].controls
    without = {"batch_size", "z_dim", "speed", "model_options"}
    assert set(controls.fields) == {f.name for f in fields(GANConfig)} - without
    assert set(controls.fields) == set(OTHER)
    offered: dict[str, Any] = {
        "strategy": STEPS,
        "loss": LOSSES,
        "batching": BATCHINGS,
        "norm_G": NORMS_G,
        "norm_D": NORMS_D,
        "model": MODELS,
        "data": ready_sets(DATA),
        "device": ["auto", *devices()],
    }
    for name, options in offered.items():
        assert list(controls.fields[name].options) == list(options)
    assert all(field.description and field.tooltip.endswith(".") for field in controls.fields.values())
    assert controls.read(RING) == RING


@pytest.mark.parametrize("field", [field for field in GANConfig.live_fields() if field != "speed"])
def test_a_live_control_takes_effect_at_the_next_step(field: str, pair: Pair) -> None:
    lab = pair("ring")
    lab.advance(2)
    started = lab.runs
    lab.set(1, **{field: OTHER[field]})
    lab.runner.wait()
    assert text(lab) == f"B: {field} = {OTHER[field]} from step 3 on"
    assert [run_view.config for run_view in lab.run_views] == [RING, RING.replace(**{field: OTHER[field]})]
    assert lab.runs == started, "it was started again"
    alone = RING.start()
    for t in range(5):
        if t == 2:
            RING.replace(**{field: OTHER[field]}).apply(alone)
        alone.step()
    lab.advance(3)
    assert equal(state(lab.runs[1]), state(alone))


LATE = [field for field in OTHER if field not in GANConfig.live_fields()]


@pytest.mark.parametrize("field", LATE)
def test_a_late_control_says_that_it_applies_at_reset_and_does(field: str, make: Make) -> None:
    lab = make(RING.replace(model_options={}))
    lab.advance(2)
    started, before = lab.run, state(lab.run)
    lab.set(**{field: OTHER[field]})
    lab.runner.wait()
    assert text(lab) == f"{field} = {OTHER[field]} applies at Reset"
    assert lab.run is started
    assert equal(state(lab.run), before)
    press(lab, "Reset")
    assert getattr(lab.run_views[0].config, field) == OTHER[field]
    assert lab.run.t == 0
    again = lab.run_views[0].config.start()
    assert equal(state(lab.run), state(again)), "the run is not what its record makes"
    lab.advance(1)


def test_what_a_live_control_says_outlives_reset(make: Make) -> None:
    lab = make(RING)
    lab.set(strategy="simultaneous", lr_G=3e-3)
    lab.reset()
    assert lab.run_views[0].config == RING.replace(strategy="simultaneous", lr_G=3e-3)
    assert lab.run.model.opt_G.param_groups[0]["lr"] == 3e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "gna"}, r"loss='gna' cannot be chosen here; there are minimax, .*wgan-gp"),
        ({"strategy": "d_second"}, r"strategy='d_second' cannot be chosen here; there are d_first_retain_graph, "),
        ({"data": "gna"}, "data='gna' cannot be chosen here; there are ring, grid"),
        ({"device": "tpu"}, "device='tpu' cannot be chosen here; there are auto, "),
        ({"norm_G": "spectral"}, "norm_G='spectral' cannot be chosen here; there are batch, "),
        ({"z_dim": 3}, "'z_dim' has no control; there are data, strategy, loss, "),
        ({"gna": 3}, "'gna' has no control; there are data, strategy, loss, "),
        ({"d_steps": 0}, "d_steps goes from 1 to 5 in the panel, got 0"),
        ({"d_steps": 6}, "d_steps goes from 1 to 5 in the panel, got 6"),
        ({"d_steps": 1.5}, "d_steps must be a whole number of at least 1, got 1.5"),
        ({"lr_G": 0.0}, r"lr_G goes from 1e-05 to 0.1 in the panel, got 0.0"),
        ({"lr_D": 1.0}, r"lr_D goes from 1e-05 to 0.1 in the panel, got 1.0"),
        ({"seed": -1}, "seed goes from 0 to .* in the panel, got -1"),
    ],
)
def test_set_refuses_what_a_control_cannot_show_and_changes_nothing(
    change: dict[str, Any], message: str, pairs: dict[str, Lab]
) -> None:
    lab = pairs["ring"]
    before = [run_view.controls.read(run_view.config) for run_view in lab.run_views]
    status = text(lab)
    with pytest.raises(ValueError, match=message):
        lab.set(**{"loss": "hinge", **change})
    lab.runner.wait()
    assert [run_view.controls.read(run_view.config) for run_view in lab.run_views] == before
    assert before[0].loss != "hinge"
    assert text(lab) == status


def test_a_lab_refuses_what_its_controls_cannot_show(make: Make) -> None:
    for change in ({"lr_G": 0.5}, {"d_steps": 9}):
        with pytest.raises(ValueError, match="in the panel, got"):
            make(RING.replace(**change))


def test_toggles_while_it_plays_reach_the_run(pair: Pair) -> None:
    lab = pair("ring")
    lab.play.value = True
    until(lambda: lab.run.t > 2)
    for strategy in STEPS:
        lab.set(strategy=strategy)
        lab.runner.wait()
        assert lab.run.train_step.last is STEPS[strategy]
        assert lab.runner.playing
        assert re.fullmatch(rf"A: strategy = {strategy} from step \d+ on", text(lab))
    lab.play.value = False


# Speed-ups ------------------------------------------------------------------------------------------------------------


def switches(lab: Lab) -> dict[str, Any]:
    """The toggle buttons of the first run view's speed-ups."""
    buttons: dict[str, Any] = lab.run_views[0].controls.fields["speed"].buttons
    return buttons


def pressed(lab: Lab) -> tuple[str, ...]:
    return tuple(name for name, button in switches(lab).items() if button.value)


def test_speed_ups_have_switches_where_they_are_asked_for(make: Make) -> None:
    assert "speed" not in make(RING).run_views[0].controls.fields
    lab = make(RING.replace(speed=("fused",)), speed_ups=True)
    assert list(switches(lab)) == list(SPEED_UPS)
    assert pressed(lab) == ("fused",)
    assert all(name in button.tooltip for name, button in switches(lab).items())


def test_a_pressed_switch_takes_effect_at_the_next_step(make: Make) -> None:
    lab = make(RING, speed_ups=True)
    lab.advance(2)
    started = lab.run
    switches(lab)["bf16"].value = True
    switches(lab)["fused"].value = True
    lab.runner.wait()
    assert text(lab) == "speed = fused, bf16 from step 3 on"
    assert lab.run_views[0].config == RING.replace(speed=("fused", "bf16"))
    lab.advance(1)
    switches(lab)["bf16"].value = False
    switches(lab)["fused"].value = False
    lab.runner.wait()
    assert text(lab) == "speed = none from step 4 on"
    lab.advance(1)
    alone = RING.start()
    for t in range(4):
        RING.replace(speed=("fused", "bf16") if t == 2 else ()).apply(alone)
        alone.step()
    assert lab.run is started
    assert equal(state(lab.run), state(alone))


def test_set_presses_switches_and_reset_keeps_them(make: Make) -> None:
    lab = make(DIGITS, speed_ups=True)
    speed: Any = ["bf16", "channels_last"]
    lab.set(speed=speed)
    lab.runner.wait()
    assert pressed(lab) == lab.run_views[0].config.speed == ("channels_last", "bf16")
    lab.set(speed=("fused",))
    lab.reset()
    assert pressed(lab) == lab.run_views[0].config.speed == ("fused",)
    assert all(group["fused"] for group in lab.run.model.opt_G.param_groups)


def test_a_refused_speed_up_says_why_and_its_switch_goes_back(make: Make) -> None:
    lab = make(RING.replace(device="cpu", speed=("fused",)), speed_ups=True)
    lab.play.value = True
    until(lambda: lab.run.t > 2)
    switches(lab)["graph"].value = True
    lab.runner.wait()
    reason = "graph cannot be used here: a recording (CUDA graph) is made on a CUDA device, and this run is on cpu"
    assert text(lab) == reason
    assert pressed(lab) == lab.run_views[0].config.speed == ("fused",)
    assert lab.runner.playing
    lab.play.value = False
    lab.runner.wait()
    with pytest.raises(ValueError, match=re.escape(reason)):
        lab.set(speed=("graph",))
    with pytest.raises(ValueError, match="speed has no 'turbo'; there are channels_last, fused, bf16, compile, graph"):
        lab.set(speed=("turbo",))
    assert pressed(lab) == ("fused",)


def test_a_setting_that_a_speed_up_does_not_go_with_goes_back(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks are not compiled here; that would take a while."""
    ready_later = "gantutor.scale.speed.GettingReady.start"
    monkeypatch.setattr(ready_later, lambda self, batch: threading.current_thread())
    lab = make(RING.replace(device="cpu", speed=("compile",)), speed_ups=True)
    lab.advance(1)
    assert lab.progress.value.endswith(" · compiling")
    lab.set(loss="wgan-gp")
    lab.runner.wait()
    assert text(lab).startswith("compile cannot be used here: a gradient penalty needs a gradient of a gradient")
    assert lab.run_views[0].controls.fields["loss"].value == lab.run_views[0].config.loss == RING.loss
    assert lab.run.model.loss is LOSSES[RING.loss]
    lab.set(speed=())
    lab.advance(1)
    assert not lab.progress.value.endswith("compiling")


def test_advance_says_how_fast_it_was(make: Make) -> None:
    lab = make(RING)
    assert "steps/s" not in lab.progress.value
    began = time.perf_counter()
    lab.advance(20)
    slowest = 20 / (time.perf_counter() - began)
    shown = float(re.search(r"(\d+) steps/s", lab.progress.value)[1])  # type: ignore[index]
    assert slowest - 1 <= shown < 20 * slowest


# A/B ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_lanes_keep_step_on_the_same_batches(name: str, pair: Pair) -> None:
    lab = pair(name)
    seen = [config(run) for run in lab.runs]
    for _ in range(3):
        assert shown(lab, 0) == shown(lab, 1), "what is equal must look equal"
        lab.advance(2)
    lab.set(1, loss="minimax")
    lab.play.value = True
    until(lambda: lab.run.t > 10)
    lab.play.value = False
    lab.runner.wait()
    a, b = lab.runs
    assert a.t == b.t == len(seen[0]) == len(seen[1])
    assert all(torch.equal(x, y) for x, y in zip(*seen, strict=True))
    assert a.history["d_loss"][:6].tolist() == b.history["d_loss"][:6].tolist()
    view = "plane" if name == "ring" else "fake"
    assert shown(lab, 0)[view] != shown(lab, 1)[view]


def test_a_lane_is_what_it_would_be_alone(make: Make) -> None:
    other = RING.replace(loss="lsgan", d_steps=2)
    lab, alone = make(RING, other), other.start()
    lab.advance(5)
    for _ in range(5):
        alone.step()
    assert equal(state(lab.runs[1]), state(alone))


def test_three_lanes_of_different_data(make: Make) -> None:
    lab = make(RING, DIGITS, RING.replace(data="moons"))
    lab.advance(2)
    assert [run.t for run in lab.runs] == [2, 2, 2]
    assert set(lab.accessibility.alt) == VIEWS["ring"] | VIEWS["digits"]
    assert lab.snapshot().size[0] > 1500


# Errors ---------------------------------------------------------------------------------------------------------------


def test_one_stage_with_batchnorm_in_d_shows_why_it_refuses(pair: Pair) -> None:
    lab = pair("digits")
    with pytest.raises(ValueError, match="one_stage is not exact here: BatchNorm in D"):
        lab.set(1, strategy="one_stage")
    with pytest.raises(ValueError, match="one_stage is not exact here: BatchNorm in D"):
        lab.set(1, strategy="one_stage", norm_D="none")  # which is there after Reset
    lab.play.value = True
    until(lambda: lab.run.t > 2)
    lab.run_views[1].controls.fields["strategy"].value = "one_stage"
    until(lambda: "B: one_stage is not exact here: BatchNorm in D makes each logit" in text(lab))
    assert lab.run_views[1].controls.fields["strategy"].value == "d_first_detach"
    before = lab.run.t
    until(lambda: lab.run.t > before)  # Play goes on
    lab.set(1, strategy="one_stage", loss="minimax")  # whose ratio is the same for every logit
    until(lambda: lab.runs[1].train_step.__name__ == "one_stage")
    assert lab.runs[1].model.loss is LOSSES["minimax"]


def raises(gan: Any, real: Any, z: Any) -> Any:
    raise ValueError("this step raises")


def test_a_step_that_raises_in_one_lane_stops_both(pair: Pair) -> None:
    lab = pair("digits")
    lab.advance(2)
    lab.runs[1].train_step.last = raises
    lab.play.value = True
    until(lambda: lab.runner.error is not None)
    assert text(lab).startswith("error: ValueError: this step raises")
    assert (lab.play.value, lab.play.description, lab.runner.playing) == (False, "Play", False)
    for _ in range(3):  # A does not run ahead, however often one tries
        with pytest.raises(ValueError, match="this step raises"):
            lab.advance(4)
        press_failing(lab, "Step")
        assert [run.t for run in lab.runs] == [3, 2]
    lab.set(1, loss="minimax")  # which applies the strategy of the controls, too
    press(lab, "Step")
    assert [run.t for run in lab.runs] == [3, 3]
    lab.play.value = True
    until(lambda: lab.run.t > 5)
    lab.play.value = False
    lab.runner.wait()
    assert [run.t for run in lab.runs] == [lab.run.t] * 2
    assert text(lab) == "paused"


def press_failing(lab: Lab, description: str) -> None:
    with pytest.raises(ValueError, match="this step raises"):
        press(lab, description)


def test_after_an_error_both_lanes_have_seen_the_same_batches(pair: Pair) -> None:
    lab = pair("digits")
    seen = [config(run) for run in lab.runs]
    lab.runs[1].train_step.last = raises
    with pytest.raises(ValueError, match="this step raises"):
        lab.advance(5)
    lab.set(1, loss="minimax")
    lab.advance(5)
    assert [run.t for run in lab.runs] == [5, 5]
    assert [len(batches) for batches in seen] == [5, 5]
    assert all(torch.equal(x, y) for x, y in zip(*seen, strict=True))


def test_a_lane_that_diverges_goes_back_and_keeps_what_the_controls_say(pair: Pair) -> None:
    """The good state is older than the controls: it must not bring its old loss and rates back with it."""
    lab = pair("ring")
    lab.advance(2)
    lab.set(loss="lsgan", lr_D=2e-3, batching="joint", d_steps=2)
    lab.advance(2)
    lab.run.model.G[0].weight.data.fill_(float("nan"))
    lab.play.value = True
    until(lambda: lab.runner.error is not None)
    assert re.match(r"error: gantutor.training.DivergedError: \w_loss is nan at step 5 of d_first_detach", text(lab))
    assert [run.t for run in lab.runs] == [5, 4]
    gan = lab.run.model
    assert all(parameter.isfinite().all() for parameter in gan.G.parameters())
    assert (gan.loss, gan.batching, gan.opt_D.param_groups[0]["lr"]) == (LOSSES["lsgan"], "joint", 2e-3)
    lab.advance(1)
    assert [run.t for run in lab.runs] == [5, 5]
    lab.advance(3)
    assert [run.t for run in lab.runs] == [8, 8]
    assert np.isnan(lab.run.history["g_loss"][4])
    assert np.isfinite(lab.run.history["g_loss"][5:]).all()


def test_an_error_is_text_and_not_html(pair: Pair) -> None:
    lab = pair("ring")

    def command() -> None:
        raise ValueError("<b>G & D</b>")

    lab.runner.post(command)
    until(lambda: lab.runner.error is not None)
    assert text(lab) == "error: ValueError: &lt;b&gt;G &amp; D&lt;/b&gt;"


def test_reset_recovers_from_an_error(make: Make) -> None:
    lab = make(DIGITS)
    lab.run.train_step.last = raises
    with pytest.raises(ValueError, match="this step raises"):
        lab.advance(1)
    lab.reset()
    assert (text(lab), lab.run.t) == ("paused", 0)
    lab.advance(1)


def test_a_reset_that_fails_in_one_lane_leaves_all_as_they_were(pair: Pair) -> None:
    lab = pair("ring")
    lab.advance(3)
    runs, before = lab.runs, [shown(lab, 0), shown(lab, 1)]
    lab.set(0, seed=3)
    lab.set(1, model="dcgan")  # which draws no points
    with pytest.raises(ValueError, match=r".+"):
        lab.reset()
    assert text(lab).startswith("error: ValueError: ")
    assert lab.runs == runs
    assert [shown(lab, 0), shown(lab, 1)] == before
    lab.advance(2)
    assert [run.t for run in lab.runs] == [5, 5]
    lab.set(1, model="points")
    lab.reset()
    assert [run.t for run in lab.runs] == [0, 0]
    assert [run_view.config.seed for run_view in lab.run_views] == [3, 0]


# Other data -----------------------------------------------------------------------------------------------------------


def test_other_data_bring_the_networks_and_the_views_that_suit_them(make: Make) -> None:
    lab = make(RING)
    first = shown(lab)
    lab.advance(2)
    lab.set(data="digits")
    assert lab.run_views[0].controls.fields["model"].value == "dcgan", "the control shows what Reset will build"
    assert set(shown(lab)) == VIEWS["ring"], "and until then the old run goes on"
    lab.advance(1)
    lab.reset()
    run_view = lab.run_views[0]
    assert set(shown(lab)) == VIEWS["digits"] == set(lab.accessibility.alt)
    assert isinstance(run_view.painter, ImagePainter)
    assert run_view.config == GANConfig(data="digits", batch_size=8)
    assert lab.runner.share == 0.05
    lab.advance(1)
    assert lab.snapshot().size[0] > 500

    lab.set(data="ring")
    lab.reset()
    assert isinstance(lab.run_views[0].painter, PointPainter)
    assert set(shown(lab)) == VIEWS["ring"] == set(lab.accessibility.alt)
    assert lab.run_views[0].config == GANConfig(data="ring", batch_size=8)
    assert lab.runner.share == 0.25
    assert shown(lab).keys() == first.keys()
    lab.advance(2)


def test_networks_and_norms_given_along_with_other_data_are_kept(make: Make) -> None:
    for change in ({"data": "digits", "norm_D": "spectral"}, {"norm_D": "spectral", "data": "digits"}):
        lab = make(RING)
        lab.set(**change)
        lab.reset()
        assert (lab.run_views[0].config.model, lab.run_views[0].config.norm_D) == ("dcgan", "spectral")


def test_the_picture_follows_data_of_the_same_kind(make: Make) -> None:
    lab = make(RING)
    first = shown(lab)["plane"]
    lab.set(data="moons")
    lab.reset()
    assert shown(lab)["plane"] != first
    lab.set(data="ring")
    lab.reset()
    assert lab.run_views[0].config == RING
    assert shown(lab)["plane"] == first


def test_ones_own_data_set(make: Make) -> None:
    whole = load("digits", size=32)
    mine = Images("my digits", whole.images[:50])
    lab = make(DIGITS.replace(data=mine, norm_G="group"))
    lab.advance(1)
    assert lab.run_views[0].controls.fields["data"].options == (("my digits", mine),)
    assert "my digits" in repr(lab.run_views[0].controls.fields["data"].options)
    lab.reset()
    assert lab.run_views[0].data is mine
    assert Image.open(io.BytesIO(shown(lab)["fake"])).size == (8 * 32, 4 * 32)
    with pytest.raises(ValueError, match="data='ring' cannot be chosen here; there are "):
        lab.set(data="ring")


def test_ones_own_points(make: Make) -> None:
    line = Points("line", lambda u, v: torch.stack([u, v * 0], dim=1), 0.05, torch.device("cpu"))
    lab = make(GANConfig(data=line, batch_size=8))
    lab.advance(1)
    assert isinstance(lab.run_views[0].painter, PointPainter)


def test_images_in_colour(make: Make) -> None:
    generator = torch.Generator().manual_seed(0)
    colours = Images("noise", torch.randint(0, 256, (9, 3, 28, 28), generator=generator, dtype=torch.uint8))
    lab = make(DIGITS.replace(data=colours))
    lab.advance(1)
    assert Image.open(io.BytesIO(shown(lab)["real"])).mode == "RGB"
    assert len(Image.open(io.BytesIO(shown(lab)["real"])).getcolors(10**6)) > 1000


# What a front end gets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_mimebundle_is_live_and_a_picture_and_always_the_same_text(name: str, make: Make) -> None:
    lab = make(SMALL[name])
    bundles = [lab._repr_mimebundle_()]
    lab.advance(2)
    bundles.append(lab._repr_mimebundle_())
    for bundle in bundles:
        view = bundle["application/vnd.jupyter.widget-view+json"]
        assert view["model_id"] == lab.widget.model_id
        assert bundle["text/plain"] == "gantutor lab"
    first, later = (Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) for bundle in bundles)
    assert first.size == later.size == lab.snapshot().size
    assert first.tobytes() != later.tobytes()
    assert later.tobytes() == lab.snapshot().tobytes()


@pytest.mark.parametrize("data", ["ring", "digits"])
def test_every_view_has_a_title_and_a_text_for_those_who_cannot_see_it(data: str, make: Make) -> None:
    lab = make(SMALL[data])
    for view in lab.run_views[0].painter.views:
        assert lab.accessibility.alt[view.name] == view.alt
        assert len(view.alt) > 10
        assert view.title
        assert f"gt-view-{view.name}" in lab.run_views[0].images[view.name]._dom_classes
    assert "gt-panel" in lab.widget._dom_classes
    assert lab.accessibility in lab.widget.children
    assert 'role="status"' in lab.status.value


def widgets_below(widget: Widget) -> Iterator[Widget]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from widgets_below(child)


def test_every_control_and_picture_stands_on_the_page(make: Make) -> None:
    lab = make(RING, DIGITS)
    page = set(widgets_below(lab.widget))
    for run_view in lab.run_views:
        assert set(run_view.controls.fields.values()) <= page
        assert set(run_view.images.values()) <= page
    assert {lab.play, lab.status, lab.progress} <= page


# Its life -------------------------------------------------------------------------------------------------------------


def test_running_the_cell_again_leaves_one_thread(make: Make) -> None:
    labs = []
    for _ in range(3):
        labs.append(make(RING))
        labs[-1].play.value = True
        until(lambda: labs[-1].run.t > 2)
        assert threads() == ["gantutor-lab"]
    before = [lab.run.t for lab in labs[:-1]]
    time.sleep(0.05)
    assert [lab.run.t for lab in labs[:-1]] == before
    other = make(RING, name="other")
    other.play.value = True
    until(lambda: other.run.t > 2)
    assert sorted(threads()) == ["gantutor-lab", "gantutor-other"]


@pytest.mark.parametrize("way", ["the lab", "its widget"])
def test_closing_it_ends_the_thread(way: str, make: Make) -> None:
    lab = make(RING)
    lab.play.value = True
    until(lambda: lab.run.t > 2)
    (lab if way == "the lab" else lab.widget).close()
    assert threads() == []
    t = lab.run.t
    lab.play.value = True
    time.sleep(0.02)
    assert (threads(), lab.run.t) == ([], t)


def test_without_an_experiment_it_is_the_default_one(make: Make) -> None:
    assert make().run_views[0].config == GANConfig()


def test_the_style_of_the_notebook_does_not_reach_the_panel(make: Make) -> None:
    """Ticks are made when limits change, which is after the notebook has chosen its style."""
    import matplotlib.pyplot as plt

    from gantutor.plots import house_style

    plain = make(GANConfig(data="ring"))
    plain.advance(210)  # the axis of the steps grows at 200
    with plt.rc_context():
        house_style()
        plt.rcParams.update({"xtick.labelsize": 20, "ytick.labelsize": 20, "axes.facecolor": "yellow"})
        styled = make(GANConfig(data="ring"))
        first = shown(styled)
        styled.advance(210)
        assert shown(styled) == shown(plain)
        styled.reset()
        assert shown(styled) == first


def test_a_panel_has_room_for_so_many(make: Make) -> None:
    with pytest.raises(ValueError, match="room for 8 experiments, got 9"):
        make(*[GANConfig(data="ring")] * 9)


def test_a_closed_panel_leaves_no_widget() -> None:
    import ipywidgets

    def registered() -> int:
        return len(ipywidgets.widgets.widget._instances)

    Lab(GANConfig(data="ring"), name="first").close()  # what is made once for all
    before = registered()
    Lab(GANConfig(data="ring"), name="second").close()
    assert registered() - before <= 1, "the panel's own layout"
