"""What the views of a run hold: the numbers that the run gives, and nothing of the run changed by looking."""

import itertools
import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from run_cases import CYC, HEAPS, P2P, PAIRS, RING, SMALL, equal, noise, state

from gantutor.data import Pairs, load
from gantutor.metrics import js_divergence
from gantutor.model_state import networks
from gantutor.models import measured_field, patchgan
from gantutor.plots import on_pixels, tinted
from gantutor.training import Run
from gantutor.views import View, views_of

HELD_OUT = replace(PAIRS, held_out=Pairs("held out", noise(5, 7), noise(5, 8)))
KINDS: dict[str, Any] = {"ring": RING, "digits": SMALL["gan"], "pix2pix": P2P.replace(data=HELD_OUT), "cyclegan": CYC}
NAMES = {
    "ring": ["plane", "grid", "losses", "divergence", "logits", "gradients"],
    "digits": ["fake", "real", "losses", "logits", "gradients"],
    "pix2pix": ["pairs", "patches", "losses", "logits", "terms", "gradients"],
    "cyclegan": ["A_to_B", "B_to_A", "losses", "logits", "terms", "gradients"],
}
kinds = pytest.mark.parametrize("name", KINDS)


def trained(config: Any, steps: int = 3) -> tuple[Run, Any]:
    data = config.load()
    run = config.start(data)
    for _ in range(steps):
        run.step()
    return run, views_of(config, data)


def looked(config: Any, steps: int = 3) -> tuple[Run, dict[str, View]]:
    run, look = trained(config, steps)
    return run, {view.name: view for view in look(run, config)}


def pixels(images: torch.Tensor) -> np.ndarray:
    """As the definition has it: -1 is 0, 1 is 255."""
    scaled = np.floor((images.detach().clamp(-1, 1).numpy() + 1) * 127.5).astype(np.uint8)
    return scaled[:, 0] if scaled.shape[1] == 1 else scaled.transpose(0, 2, 3, 1)


@kinds
def test_each_kind_has_its_views_with_texts_and_its_charts_hold_the_history(name: str) -> None:
    config = KINDS[name]
    run, look = trained(config, 6)
    views, later = look(run, config), look(run, config, since=4)
    assert [view.name for view in views] == NAMES[name]
    for view in views:
        assert view.title
        assert view.alt.endswith(".")
        assert not view.headings or len(view.headings) == view.columns
        for array in {**view.arrays, **view.fixed}.values():
            assert array.dtype in (np.uint8, np.float32)
            assert array.size
    losses = {column for column in run.history.keys() if column.endswith("_loss")}  # noqa: SIM118 -- it is no dict
    assert {c.column for view in views if view.of_history for c in view.curves} == losses | {"grad_D", "grad_G"}
    for view, part in zip(views, later, strict=True):
        for column, values in view.arrays.items() if view.of_history else ():
            np.testing.assert_allclose(values, run.history[column], rtol=1e-6)
            np.testing.assert_array_equal(part.arrays[column], values[4:])
    (logits,) = [view for view in views if view.kind == "histogram"]
    for kind in ("real", "fake"):
        found = torch.cat([x.flatten() for key, x in run.last.items() if key.startswith(f"logits_{kind}")])
        np.testing.assert_array_equal(logits.arrays[kind], found)


def test_the_digits() -> None:
    config = SMALL["gan"]
    run, look = trained(config)
    fake, real, *_ = look(run, config)
    np.testing.assert_array_equal(fake.arrays["images"], pixels(run.model.sample(look.z)))
    assert (fake.columns, len(fake.arrays["images"])) == (8, 32)
    originals = load("digits").images[:, 0].numpy().astype(int)
    for shown in real.fixed["images"][:3]:
        assert min(np.abs(original - shown).max() for original in originals) <= 1


def test_the_plane() -> None:
    run, look = trained(RING, 5)
    plane, grid, *_ = look(run, RING)
    gan, made = run.model, run.model.sample(look.z)
    np.testing.assert_allclose(plane.arrays["fake"], made[-256:], atol=1e-6)
    surface = plane.arrays["surface"]
    corners = gan.prob_real(torch.tensor([[-3.0, -3.0], [3.0, -3.0], [-3.0, 3.0]])).flatten()
    np.testing.assert_allclose(
        np.array([surface[0, 0], surface[0, -1], surface[-1, 0]]) / 255, corners, atol=0.51 / 255
    )
    arrows, push = plane.arrays["arrows"], gan.fake_gradient(made[-256:][:80]).numpy()
    np.testing.assert_allclose(arrows, 0.6 * push / np.hypot(*push.T).max(), rtol=1e-4, atol=1e-6)
    lines = grid.arrays["lines"]
    ends = gan.sample(torch.tensor([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0]]))
    np.testing.assert_allclose([lines[0, 0], lines[0, -1], lines[13, -1]], ends, atol=1e-5)
    np.testing.assert_array_equal(plane.fixed["real"], grid.fixed["real"])


def test_the_divergence_is_that_of_the_shares_in_equal_cells() -> None:
    run, look = trained(RING, 5)
    shares = look.shares(np.array([[-2.99, -2.99], [-2.81, -2.81], [2.9, -2.9], [99, -3], [np.nan, 0.0], [0.1, 0.1]]))
    cells = {0: 2, 29: 2, 15 * 30 + 15: 2}  # from the lowest row on; no number counts in the middle
    assert {cell: round(6 * share) for cell, share in enumerate(shares) if share} == cells
    real = RING.load().sample(5000, torch.Generator().manual_seed(5)).numpy()
    assert js_divergence(look.real_shares, look.shares(real)) < 0.03
    (view,) = [view for view in look(run, RING) if view.name == "divergence"]
    made = run.model.sample(torch.cat([look.z[-256:], look.more_z])).numpy()
    assert len(made) == 1024
    found = js_divergence(look.real_shares, look.shares(made))
    assert 0.3 < found <= np.log(2) + 1e-6, "a G that has learnt nothing"
    assert view.arrays["js"].tolist() == pytest.approx([found])
    assert view.arrays["step"].tolist() == [5]


def test_the_divergence_is_taken_ever_less_often_as_the_run_goes_on() -> None:
    run, look = trained(RING, 0)
    fake = run.model.sample(look.z)[-256:].numpy()
    for run.t in (*range(3000), 2999, 4000):
        view = look.divergence(run, fake)
    steps = view.arrays["step"].astype(int).tolist()
    assert steps[:34] == [*range(31), 32, 34, 36]
    assert all(a < b <= a + a // 30 + 1 for a, b in itertools.pairwise(steps[:-1]))
    assert steps[-1] == 4000
    assert len(steps) < 180


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_pairs_are_held_out_input_output_and_target(mode: str) -> None:
    config = KINDS["pix2pix"].replace(mode=mode)
    run, views = looked(config)
    shown = views["pairs"].arrays["images"].reshape(4, 3, 16, 16, 3)
    A, B = HELD_OUT.held_out.first(4)  # type: ignore[union-attr]
    for column, images in enumerate((A, run.model.translate(A, mode), B)):
        np.testing.assert_array_equal(shown[:, column], pixels(images))
    assert views["pairs"].headings == ("input", "output", "target")
    assert "held-out pairs" in views["pairs"].alt
    _, without = looked(P2P.replace(mode=mode), 1)
    assert "training pairs" in without["pairs"].alt
    np.testing.assert_array_equal(without["pairs"].arrays["images"][::3], pixels(PAIRS.first(4)[0]))


@pytest.mark.parametrize("loss", ["non-saturating", "lsgan"])
@pytest.mark.parametrize("conditional", [True, False])
def test_the_patches_are_ds_verdict(loss: str, conditional: bool) -> None:
    """In evaluation mode; in training mode with the statistics of the images shown, target and output apart."""
    config = KINDS["pix2pix"].replace(loss=loss, objective="L1 + cGAN" if conditional else "L1 + GAN")
    run, look = trained(config)
    for mode in ("eval", "train"):
        share = look.prob_real(run.model, look.B, mode)
        run.model.D.train(mode == "train")
        seen = torch.cat([look.A, look.B], 1) if conditional else look.B
        logits = run.model.D(seen)[:, 0].detach()
        wanted = logits.sigmoid() if loss == "non-saturating" else logits.clamp(0, 1)
        np.testing.assert_allclose(share[:, 8, 8], wanted[:, 3, 3], rtol=1e-5)
        assert set(np.round(np.unique(share), 5)) <= set(np.round(np.unique(wanted), 5))
        if mode == config.mode:
            patches = {view.name: view for view in look(run, config)}["patches"].arrays["images"]
            np.testing.assert_array_equal(patches[1::2], pixels(tinted(look.B, share)))


@pytest.mark.parametrize("n_layers", [0, 1, 2, 3])
def test_a_verdict_is_painted_in_the_middle_of_the_patch_that_it_judges(n_layers: int) -> None:
    D = patchgan(3, n_layers, width=4, norm="none").eval()
    size = torch.Size([128, 128])  # more than the largest patch
    h = D(torch.zeros(1, 3, *size)).shape[2]
    painted = on_pixels(torch.arange(h * h).view(1, h, h), D, size)[0]
    assert painted.shape == size
    for row, column in ((h // 2, h // 2), (h // 2 - 2, h // 2)):
        rows, columns = np.nonzero(painted.numpy() == row * h + column)
        seen = measured_field(D, (3, *size), row, column).numpy() > 0
        across, down = np.nonzero(seen.any(0))[0], np.nonzero(seen.any(1))[0]
        assert abs(rows.mean() - down.mean()) <= 0.5
        assert abs(columns.mean() - across.mean()) <= 0.5


def test_unpaired_images_are_translated_back_and_given_to_the_other_generator() -> None:
    run, views = looked(CYC)
    A, B = HEAPS.test(3)
    made = {"real_A": A, "real_B": B, **run.model.translate(A, B)}
    assert views["A_to_B"].headings == ("real_A", "fake_B", "rec_A", "idt_A")
    assert views["B_to_A"].headings == ("real_B", "fake_A", "rec_B", "idt_B")
    for view in (views["A_to_B"], views["B_to_A"]):
        shown = view.arrays["images"].reshape(3, 4, 16, 16, 3)
        for column, name in enumerate(view.headings):
            np.testing.assert_array_equal(shown[:, column], pixels(made[name]))
    assert "dots" in views["A_to_B"].alt


def test_grey_images_beside_coloured_ones_and_large_ones() -> None:
    large = Pairs("large", noise(3, 0, size=256, channels=1), noise(3, 1, size=256))
    _, views = looked(P2P.replace(data=large, batch_size=1), 1)
    shown = views["pairs"].arrays["images"]
    assert shown.shape == (9, 128, 128, 3), "halved, since nobody would see more"
    assert np.ptp(shown[::3], axis=-1).max() == 0


# BatchNorm, and the norm that keeps numbers of its own; everywhere else a look has less to move.
NORMED: dict[str, dict[str, Any]] = {
    "ring": {"norm_G": "batch", "norm_D": "spectral"},
    "digits": {"norm_G": "batch", "norm_D": "spectral"},
    "pix2pix": {"norm": "batch"},
    "cyclegan": {"norm_G": "batch", "norm_D": "batch", "strategy": "g_first_separate"},
}


@kinds
def test_looking_changes_nothing_in_the_run(name: str) -> None:
    """Two runs, one looked at after each step, the other never: bit for bit the same, and no random number drawn."""
    config = KINDS[name].replace(**NORMED[name])
    run, look = trained(config, 0)
    alone, _ = trained(config, 0)
    random.seed(1)
    for _ in range(3):
        run.step(), alone.step()
        before, found = state(run), held(run)
        look(run, config)
        assert equal(state(run), before)
        assert all(torch.equal(a, b) for a, b in zip(found, held(run), strict=True))
        assert equal(state(run), state(alone))


def held(run: Run) -> list[torch.Tensor]:
    """What a look could change besides: modes, gradients, the random numbers of others."""
    modules = [module for network in networks(run.model).values() for module in network.modules()]
    parameters = [p for module in modules for p in module.parameters(recurse=False)]
    slopes = [torch.zeros(1) if p.grad is None else p.grad.clone() for p in parameters]
    chance = [torch.get_rng_state(), torch.tensor(random.getstate()[1]), torch.tensor(np.random.get_state()[1])]  # noqa: NPY002
    return [torch.tensor([module.training for module in modules]), *slopes, *chance]


def test_they_need_no_figures_and_no_widgets() -> None:
    """As on a machine with a GPU and without Jupyter."""
    code = """
import sys
sys.modules.update(dict.fromkeys(["ipywidgets", "anywidget", "IPython", "matplotlib"]))
import gantutor.views, gantutor.lab.runner
"""
    subprocess.run([sys.executable, "-c", code], check=True)
