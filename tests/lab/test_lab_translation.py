"""The panel on pix2pix and CycleGAN: it promises for them what it does for a GAN."""

import io
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.mathtext import MathTextParser
from PIL import Image
from run_cases import CYC, HEAPS, OTHER, P2P, PAIRS, equal, noise, state

from gantutor.configs import GANConfig
from gantutor.cyclegan import g_first_shared
from gantutor.data import Pairs, Unpaired
from gantutor.lab import Lab
from gantutor.lab.mosaic import mosaic, tinted
from gantutor.lab.pair_painter import PairPainter, on_pixels
from gantutor.lab.unpaired_painter import UnpairedPainter
from gantutor.ledger import cost
from gantutor.model_state import networks
from gantutor.models import measured_field, patchgan
from gantutor.plots import tile
from gantutor.training import Run

HELD_OUT = replace(PAIRS, held_out=Pairs("held out", noise(5, 7), noise(5, 8)))
SMALL: dict[str, Any] = {"pix2pix": P2P.replace(data=HELD_OUT), "cyclegan": CYC}
VIEWS = {"pix2pix": {"pairs", "patches", "charts"}, "cyclegan": {"A_to_B", "B_to_A", "charts"}}
both = pytest.mark.parametrize("name", SMALL)
Make = Callable[..., Lab]


@pytest.fixture
def make() -> Iterator[Make]:
    labs: list[Lab] = []

    def lab(*experiments: Any, **options: Any) -> Lab:
        labs.append(Lab(*experiments, **options))
        return labs[-1]

    yield lab
    for made in labs:
        made.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name == "gantutor-lab"]


def shown(lab: Lab, run_view: int = 0) -> dict[str, bytes]:
    return {name: image.value for name, image in lab.run_views[run_view].images.items()}


def text(lab: Lab) -> str:
    return re.fullmatch(r'<div role="status">(.*)</div>', lab.status.value, re.DOTALL)[1]  # type: ignore[index]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def cells(png: bytes, columns: int) -> np.ndarray:
    """A mosaic's pictures without their borders: (rows, columns, H, W, 3)."""
    whole = pixels(png)
    side = whole.shape[1] // columns
    whole = whole.reshape(-1, side, columns, side, 3).swapaxes(1, 2)
    border = whole.copy()
    border[:, :, 1:-1, 1:-1] = 255
    assert (border == 255).all(), "each picture has a white border"
    return whole[:, :, 1:-1, 1:-1]


def as_pixels(images: torch.Tensor) -> np.ndarray:
    return np.stack([tile(image[None], 1) for image in images]).astype(int)


def until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    end = time.perf_counter() + limit_s
    while not condition():
        assert time.perf_counter() < end, "it did not happen"
        time.sleep(0.001)


# Pictures -------------------------------------------------------------------------------------------------------------


@both
def test_the_views_are_there_with_titles_and_texts(name: str, make: Make) -> None:
    lab = make(SMALL[name])
    lab.advance(2)
    views = lab.run_views[0].painter.views
    assert {view.name for view in views} == set(shown(lab)) == VIEWS[name] == set(lab.accessibility.alt)
    assert views[-1].name == "charts"
    for view in views:
        assert lab.accessibility.alt[view.name] == view.alt
        assert len(view.alt) > 10
        assert pixels(shown(lab)[view.name]).std() > 2, f"{view.name} is blank"
    assert lab.snapshot().size[0] > 500
    bundle = lab._repr_mimebundle_()
    assert bundle["text/plain"] == "gantutor lab"
    assert {"image/png", "application/vnd.jupyter.widget-view+json"} <= set(bundle)
    assert "step 2 lr" in lab.progress.value


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_pairs_are_held_out_input_output_and_target(mode: str, make: Make) -> None:
    lab = make(SMALL["pix2pix"].replace(mode=mode))
    lab.advance(3)
    grid = cells(shown(lab)["pairs"], 3)
    A, B = HELD_OUT.held_out.first(4)  # type: ignore[union-attr]
    np.testing.assert_array_equal(grid[:, 0], as_pixels(A))
    np.testing.assert_array_equal(grid[:, 1], as_pixels(lab.run.model.translate(A, mode)))
    np.testing.assert_array_equal(grid[:, 2], as_pixels(B))


def test_without_held_out_pairs_training_pairs_are_shown_and_called_so(make: Make) -> None:
    lab = make(P2P)
    assert "held" not in lab.accessibility.alt["pairs"]
    assert "training pairs" in lab.accessibility.alt["pairs"]
    np.testing.assert_array_equal(cells(shown(lab)["pairs"], 3)[:, 0], as_pixels(PAIRS.first(4)[0]))


def test_the_test_mode_changes_the_picture_and_nothing_in_the_run(make: Make) -> None:
    lab = make(SMALL["pix2pix"], SMALL["pix2pix"])
    lab.advance(3)
    before, first = state(lab.run), shown(lab)
    lab.set(mode="eval")
    lab.runner.wait()
    assert text(lab) == "A: mode = eval from step 4 on"
    assert shown(lab)["pairs"] != first["pairs"]
    assert shown(lab)["patches"] != first["patches"]
    assert equal(before, state(lab.run))
    lab.advance(2)
    assert equal(state(lab.runs[0]), state(lab.runs[1]))


@pytest.mark.parametrize("loss", ["non-saturating", "lsgan"])
@pytest.mark.parametrize("conditional", [True, False])
def test_the_patch_map_is_ds_verdict(loss: str, conditional: bool) -> None:
    """In evaluation mode; in training mode with the statistics of the pictures shown, target and output apart."""
    run = SMALL["pix2pix"].replace(loss=loss, objective="L1 + cGAN" if conditional else "L1 + GAN").start()
    for _ in range(3):
        run.step()
    picture = PairPainter(HELD_OUT)
    for mode in ("eval", "train"):
        share = picture.prob_real(run.model, picture.B, mode)
        run.model.D.train(mode == "train")
        seen = torch.cat([picture.A, picture.B], 1) if conditional else picture.B
        logits = run.model.D(seen)[:, 0].detach()
        wanted = logits.sigmoid() if loss == "non-saturating" else logits.clamp(0, 1)
        assert share.shape == (4, 16, 16)
        assert set(np.round(np.unique(share), 5)) <= set(np.round(np.unique(wanted), 5))
        np.testing.assert_allclose(share[:, 8, 8], wanted[:, 3, 3], rtol=1e-5)
        assert share.min() >= 0
        assert share.max() <= 1


@pytest.mark.parametrize("n_layers", [0, 1, 2, 3])
def test_a_verdict_is_painted_in_the_middle_of_the_patch_that_it_judges(n_layers: int) -> None:
    D = patchgan(3, n_layers, width=4, norm="none").eval()
    size = torch.Size([128, 128])  # more than the largest patch
    h = D(torch.zeros(1, 3, *size)).shape[2]
    numbers = torch.arange(h * h).view(1, h, h)
    painted = on_pixels(numbers, D, size)[0]
    assert painted.shape == size
    for row, column in ((h // 2, h // 2), (h // 2 - 2, h // 2)):
        rows, columns = np.nonzero(painted.numpy() == row * h + column)
        seen = measured_field(D, (3, *size), row, column).numpy() > 0
        across, down = np.nonzero(seen.any(0))[0], np.nonzero(seen.any(1))[0]
        assert abs(rows.mean() - down.mean()) <= 0.5
        assert abs(columns.mean() - across.mean()) <= 0.5


def test_the_tint_is_the_colour_of_the_share() -> None:
    colours = np.stack([np.linspace(0, 1, 256)] * 3, axis=1)
    images = torch.zeros(1, 3, 4, 4)
    low, high = (tinted(images, np.full((1, 4, 4), share), colours) for share in (0.0, 1.0))
    assert low.unique().tolist() == pytest.approx([-0.6])
    assert high.unique().tolist() == pytest.approx([0.6])


def test_heaps_are_translated_back_and_given_to_the_other_generator(make: Make) -> None:
    lab = make(CYC)
    lab.advance(3)
    A, B = HEAPS.test(3)
    made = {"real_A": A, "real_B": B, **lab.run.model.translate(A, B)}
    for view in lab.run_views[0].painter.views[:-1]:
        grid = cells(shown(lab)[view.name], 4)
        for column, what in enumerate(view.columns):
            np.testing.assert_array_equal(grid[:, column], as_pixels(made[what]))
    assert [view.columns for view in lab.run_views[0].painter.views[:-1]] == [
        ("real_A", "fake_B", "rec_A", "idt_A"),
        ("real_B", "fake_A", "rec_B", "idt_B"),
    ]
    assert "dots" in lab.accessibility.alt["A_to_B"]


@both
def test_the_charts_hold_every_loss_and_all_logits(name: str, make: Make) -> None:
    lab = make(SMALL[name])
    lab.advance(12)
    charts = lab.run_views[0].painter.charts
    losses = {key for key in lab.run.history.keys() if key.endswith("_loss")}  # noqa: SIM118 -- it is no dict
    assert losses | {"grad_D", "grad_G"} == set(charts.lines)
    for key, line in charts.lines.items():
        np.testing.assert_array_equal(line.get_ydata(), lab.run.history[key])
    for kind in ("real", "fake"):
        values, edges, _ = charts.bars[kind].get_data()
        logits = torch.cat([x.flatten() for key, x in lab.run.last.items() if key.startswith(f"logits_{kind}")])
        assert len(logits) == {"pix2pix": 2, "cyclegan": 2}[name] * 36
        np.testing.assert_allclose(values, np.histogram(logits, edges)[0] / len(logits))


@both
def test_no_picture_needs_mathtext(name: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(*_: Any, **__: Any) -> None:
        raise AssertionError("mathtext")

    monkeypatch.setattr(MathTextParser, "parse", parse)
    lab = make(SMALL[name])
    for value in (1e-9, 1e-3, 1e5):
        keys = lab.run_views[0].painter.charts.lines
        lab.run.history.append({key: torch.tensor(value) for key in keys})
        lab.run_views[0].paint(everything=True)


def test_grey_inputs_and_large_pictures(make: Make) -> None:
    large = Pairs("large", noise(3, 0, size=256, channels=1), noise(3, 1, size=256))
    lab = make(P2P.replace(data=large, batch_size=1))
    lab.advance(1)
    grid = cells(shown(lab)["pairs"], 3)
    assert grid.shape == (3, 3, 128, 128, 3), "halved, since nobody would see more"
    assert np.ptp(grid[:, 0], axis=-1).max() == 0
    (view, *_) = lab.run_views[0].painter.views
    assert (view.width, view.height) == (288, 288)


def test_a_mosaic_of_pictures_that_are_not_square() -> None:
    wide = torch.zeros(2, 3, 8, 24)
    assert Image.open(io.BytesIO(mosaic([wide, wide]))).size == (2 * 26, 2 * 10)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@both
def test_painting_changes_nothing_in_the_run(name: str, norm: str, make: Make) -> None:
    """Two runs, one painted after each step, the other never: bit for bit the same, and no random number drawn."""
    strategy = "g_first_separate" if name == "cyclegan" else "d_first_detach"
    norms = {"norm_G": norm, "norm_D": norm} if name == "cyclegan" else {"norm": norm}
    experiment = SMALL[name].replace(**norms, strategy=strategy)
    lab, alone = make(experiment), experiment.start()
    random.seed(1)
    for t in range(1, 4):
        lab.run.step()
        alone.step()
        drawn = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1])  # noqa: NPY002
        before, modes = state(lab.run), training(lab.run)
        lab.run_views[0].paint(everything=True)
        lab.snapshot()
        assert equal(state(lab.run), before)
        assert modes == training(lab.run)
        assert torch.equal(drawn[0], torch.get_rng_state())
        assert drawn[1] == random.getstate()
        assert (drawn[2] == np.random.get_state()[1]).all()  # noqa: NPY002
        assert equal(state(lab.run), state(alone))
        assert len(lab.run.history) == t


def training(run: Run) -> list[bool]:
    return [module.training for network in networks(run.model).values() for module in network.modules()]


# Buttons and controls -------------------------------------------------------------------------------------------------


def buttons(lab: Lab) -> list[str]:
    return [b.description for b in lab.widget.children[0].children if getattr(b, "description", "")]


def test_half_steps_are_offered_where_every_lane_has_them(make: Make) -> None:
    ring = GANConfig(data="ring", batch_size=8, model_options={"width": 8})
    assert buttons(make(SMALL["pix2pix"])) == ["Play", "Step", "Reset"]
    assert buttons(make(ring)) == ["Play", "Step", "D only", "G only", "Reset"]
    lab = make(ring, SMALL["pix2pix"], SMALL["cyclegan"])
    assert buttons(lab) == ["Play", "Step", "Reset"]
    lab.advance(2)
    assert [run.t for run in lab.runs] == [2, 2, 2]
    assert set(lab.accessibility.alt) == {"plane", *VIEWS["pix2pix"], *VIEWS["cyclegan"]}


@both
def test_reset_gives_the_identical_first_picture(name: str, make: Make) -> None:
    lab = make(SMALL[name])
    first, whole, start = shown(lab), lab.snapshot().tobytes(), state(lab.run)
    lab.advance(4)
    then, moved = shown(lab), state(lab.run)
    assert all(then[view] != first[view] for view in first)
    for _ in range(2):
        lab.reset()
        assert shown(lab) == first
        assert lab.snapshot().tobytes() == whole
        assert equal(state(lab.run), start)
        lab.advance(4)
        assert equal(state(lab.run), moved)
        assert shown(lab) == then


@both
def test_lanes_keep_step_and_are_what_they_would_be_alone(name: str, make: Make) -> None:
    experiment = SMALL[name]
    other = experiment.replace(loss="hinge")
    lab, alone = make(experiment, experiment, other), [experiment.start(), other.start()]
    lab.advance(4)
    for run in alone:
        for _ in range(4):
            run.step()
    assert equal(state(lab.runs[0]), state(alone[0]))
    assert equal(state(lab.runs[1]), state(alone[0]))
    assert equal(state(lab.runs[2]), state(alone[1]))
    assert shown(lab, 0) == shown(lab, 1)
    assert shown(lab, 0) != shown(lab, 2)
    widths = [view.width for row in lab.run_views[0].rows for view in row if view.columns]
    assert sum(widths) <= lab.run_views[0].ROOM or name == "cyclegan", "two run views must find room on a page"


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name in SMALL for field in OTHER[name] if field != "speed"]
)
def test_a_live_control_takes_effect_at_the_next_step(name: str, field: str, make: Make) -> None:
    value = OTHER[name][field]
    lab, alone = make(SMALL[name]), SMALL[name].start()
    lab.advance(2)
    lab.set(**{field: value})
    lab.runner.wait()
    assert text(lab) == f"{field} = {value} from step 3 on"
    lab.advance(2)
    for t in range(4):
        if t == 2:
            SMALL[name].replace(**{field: value}).apply(alone)
        alone.step()
    assert equal(state(lab.run), state(alone))


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("pix2pix", "generator", "encoder_decoder"),
        ("pix2pix", "patch", 1),
        ("pix2pix", "norm", "instance"),
        ("pix2pix", "dropout", 0.0),
        ("pix2pix", "upsampling", "transposed"),
        ("pix2pix", "batch_size", 3),
        ("pix2pix", "seed", 5),
        ("pix2pix", "objective", "L1 + GAN"),
        ("cyclegan", "norm_G", "instance"),
        ("cyclegan", "norm_D", "none"),
        ("cyclegan", "patch", 1),
        ("cyclegan", "blocks", 2),
        ("cyclegan", "upsampling", "transposed"),
        ("cyclegan", "batch_size", 2),
        ("cyclegan", "seed", 5),
    ],
)
def test_a_late_control_says_that_it_applies_at_reset_and_does(name: str, field: str, value: Any, make: Make) -> None:
    lab = make(SMALL[name])
    lab.advance(1)
    started = lab.run
    lab.set(**{field: value})
    lab.runner.wait()
    assert text(lab) == f"{field} = {value} applies at Reset"
    assert lab.run is started
    lab.advance(1)
    lab.reset()
    assert lab.run_views[0].config == SMALL[name].replace(**{field: value})
    assert equal(state(lab.run), state(lab.run_views[0].config.start()))
    lab.advance(1)


def test_an_objective_is_live_or_late_by_what_d_is_shown_now(make: Make) -> None:
    lab = make(SMALL["pix2pix"])
    for objective, said in (
        ("cGAN", "from step 1 on"),
        ("GAN", "applies at Reset"),
        ("L1", "from step 1 on"),
        ("L1 + GAN", "applies at Reset"),
    ):
        lab.set(objective=objective)
        lab.runner.wait()
        assert text(lab) == f"objective = {objective} {said}"
    assert lab.run.model.lambda_gan == 0
    lab.set(loss="lsgan")  # a live one goes on with the objective that the run has
    lab.runner.wait()
    assert (lab.run.model.conditional, lab.run.model.lambda_gan) == (True, 0)
    lab.reset()
    assert (lab.run.model.conditional, lab.run.model.lambda_gan) == (False, 1)
    lab.set(objective="GAN")
    lab.runner.wait()
    assert text(lab) == "objective = GAN from step 1 on"


@both
def test_set_refuses_what_a_control_cannot_show(name: str, make: Make) -> None:
    lab = make(SMALL[name])
    before = lab.run_views[0].controls.read(lab.run_views[0].config)
    for change, message in (
        ({"patch": 35}, "patch=35 cannot be chosen here; there are 1, 16, 34"),
        ({"data": "maps"}, "data='maps' cannot be chosen here; there are (noise|heaps)$"),
        ({"steps": -1}, "steps goes from 0 to 1e\\+06 in the panel, got -1"),
        ({"width_G": 3}, "'width_G' has no control; there are data, strategy, "),
    ):
        with pytest.raises(ValueError, match=message):
            lab.set(**change)
    assert lab.run_views[0].controls.read(lab.run_views[0].config) == before == SMALL[name]


@both
def test_every_field_is_a_control_or_a_size_of_the_networks(name: str, make: Make) -> None:
    controls = make(SMALL[name]).run_views[0].controls
    sizes = {"pix2pix": {"multipliers"}, "cyclegan": {"downsamplings", "end_kernel"}}[name] | {
        "width_G",
        "width_D",
        "speed",
    }
    assert set(controls.fields) == set(SMALL[name].__dataclass_fields__) - sizes
    assert all(field.description and field.tooltip.endswith(".") for field in controls.fields.values())


# A run's end, and errors ----------------------------------------------------------------------------------------------


@both
def test_play_pauses_at_the_last_step_that_was_planned(name: str, make: Make) -> None:
    lab = make(SMALL[name].replace(steps=5))
    lab.play.value = True
    until(lambda: text(lab).startswith("paused: "))
    lab.runner.wait()
    assert (lab.run.t, text(lab)) == (5, "paused: step 5 is the last that was planned")
    assert (lab.play.value, lab.runner.playing) == (False, False)
    assert "step 5 of 5 · lr 0: it has fallen to its end" in lab.progress.value
    lab.advance(2)
    assert lab.run.t == 7, "one may go on"
    lab.reset()
    assert "step 0 of 5 · lr" in lab.progress.value


def test_advance_goes_through_the_planned_end(make: Make) -> None:
    lab = make(SMALL["pix2pix"].replace(steps=3))
    lab.advance(5)
    assert (lab.run.t, text(lab)) == (5, "paused")


def test_an_error_of_one_lane_is_shown_and_the_other_waits(make: Make) -> None:
    lab = make(SMALL["cyclegan"], SMALL["cyclegan"].replace(norm_G="batch", strategy="g_first_separate"))
    lab.advance(1)
    with pytest.raises(ValueError, match="G_AB has BatchNorm, which would normalise one domain"):
        lab.set(1, strategy="g_first_shared")
    lab.runs[1].train_step.last = g_first_shared
    lab.play.value = True
    until(lambda: lab.runner.error is not None)
    assert text(lab).startswith("error: ValueError: G_AB has BatchNorm, which would normalise one domain")
    assert [run.t for run in lab.runs] == [2, 1]
    lab.set(1, loss="hinge")  # which applies the strategy of the controls, too
    lab.advance(1)
    assert [run.t for run in lab.runs] == [2, 2]


def test_a_start_that_fails_leaves_the_run_as_it_was(make: Make) -> None:
    lab = make(SMALL["pix2pix"])
    lab.advance(1)
    run, before = lab.run, shown(lab)
    lab.set(patch=286)
    with pytest.raises(ValueError, match="images of 16 pixels are too small"):
        lab.reset()
    assert lab.run is run
    assert shown(lab) == before


# Cost, recording, data by name ----------------------------------------------------------------------------------------


@both
def test_the_cost_meter_charges_the_ledgers_price_and_changes_nothing(name: str, make: Make) -> None:
    experiment, other = SMALL[name], OTHER[name]["strategy"]
    lab, plain = make(experiment, cost_meter=True), make(experiment, name="plain")
    drawn = torch.get_rng_state()
    for each in (lab, plain):
        each.advance(2)
        each.set(strategy=other)
        each.runner.wait()
        each.advance(3)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert equal(state(lab.run), state(plain.run))
    spent = lab.run_views[0].meter.spent  # type: ignore[union-attr]
    assert {setting: each.steps for setting, each in spent.items()} == {experiment.strategy: 2, other: 3}
    for setting in spent:
        step, batch = experiment.replace(strategy=setting).trial(experiment.data)
        assert spent[setting].cost.flops == cost(step, experiment.start().model, *batch, repeats=1).flops > 0
    assert "background:#D55E00" in lab.run_views[0].meter.widget.value  # type: ignore[union-attr]


@both
def test_frames_are_kept_with_their_headings(name: str, make: Make) -> None:
    lab = make(SMALL[name], keep_frames=True)
    lab.advance(1)
    (view_images,) = lab.recording.frames[-1].run_views
    views = lab.run_views[0].painter.views
    assert [view_image.columns for view_image in view_images] == [view.columns for view in views]
    *column, charts = views
    beside = name == "pix2pix"
    width = sum(v.width for v in column) + 8 if beside else max(v.width for v in column)
    assert lab.snapshot().width == width + 8 + charts.width + 24


def test_other_data_are_loaded_at_reset(make: Make) -> None:
    other = Unpaired("other", noise(4, 5), noise(4, 6), noise(2, 7), noise(2, 8))
    lab = make(CYC.replace(data=other))
    assert isinstance(lab.run_views[0].painter, UnpairedPainter)
    assert pixels(shown(lab)["A_to_B"]).shape[0] == 2 * 18, "as many rows as there are"
    lab.advance(1)


def test_the_default_records_start_and_step(make: Make) -> None:
    from gantutor.configs import CycleGANConfig, Pix2PixConfig

    lab = make(Pix2PixConfig(), CycleGANConfig())
    lab.advance(1)
    assert "flat" in lab.accessibility.alt["A_to_B"]
    assert "4 held-out pairs" in lab.accessibility.alt["pairs"]
    lab.set(data="maps_mini")
    lab.reset()
    assert lab.run_views[0].data.name == "maps_mini"
    lab.advance(1)
    assert np.isfinite(lab.run.history["l1_loss"]).all()
