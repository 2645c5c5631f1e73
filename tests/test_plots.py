"""Figures: pixels where they are expected, and axes that hold the data they were given."""

import itertools
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from helpers import build, draw
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from gantutor import plots
from gantutor.ledger import Traffic, TrafficShare, trace
from gantutor.models import output_side, patchgan, unet
from gantutor.pitfalls import PITFALLS
from gantutor.plots import (
    COLOURS,
    LIMIT_STYLES,
    MARKERS,
    SURFACE,
    VERDICT_SHADES,
    apart,
    on_pixels,
    sheet,
    smooth,
    tinted,
    to_pixels,
)
from gantutor.scale.limits import Limits
from gantutor.training import History


def axes() -> matplotlib.axes.Axes:
    return Figure().subplots()


def words_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def lines_of(ax: matplotlib.axes.Axes) -> dict[str, matplotlib.lines.Line2D]:
    return {line.get_label(): line for line in ax.lines}


# Pictures -------------------------------------------------------------------------------------------------------------


def test_a_sheet_puts_each_value_in_its_place() -> None:
    """Seven images of 2x3 in rows of 4: image i is row i // 4, column i % 4; the eighth place is black."""
    images = torch.arange(7 * 6).float().view(7, 1, 2, 3) / 41 * 2 - 1
    picture = sheet(to_pixels(images), columns=4)
    assert (picture.shape, picture.dtype) == ((4, 12), np.uint8)
    for i in range(7):
        cell = picture[i // 4 * 2 :, i % 4 * 3 :][:2, :3]
        np.testing.assert_array_equal(cell, ((images[i, 0] + 1) * 127.5).byte())
    assert not picture[2:, 9:].any()
    colours = to_pixels(torch.eye(3)[:, :, None, None].expand(3, 3, 2, 2) * 2 - 1)
    assert sheet(colours, columns=2)[::2, ::2].tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 0, 0]]]
    edged = sheet(colours, columns=1, edge=2)
    assert edged.shape == (3 * (2 + 4), 2 + 4, 3)
    assert edged[::6, 0].min() == 255
    beyond = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0], requires_grad=True).view(1, 1, 1, 5)
    assert to_pixels(beyond).tolist() == [[[0, 0, 127, 255, 255]]]
    assert to_pixels(torch.zeros(2, 1, 8, 300), most=128).shape == (2, 2, 100)


@given(arrays(np.float64, st.integers(0, 40), elements=st.floats(-1e3, 1e3)), st.integers(1, 50))
def test_smooth_is_the_mean_of_the_last_values(values: np.ndarray, window: int) -> None:
    naive = [np.mean(values[max(0, i + 1 - window) : i + 1]) for i in range(len(values))]
    np.testing.assert_allclose(smooth(values, window), naive, atol=1e-9)


# What every notebook draws --------------------------------------------------------------------------------------------


def test_colours_have_one_meaning_each() -> None:
    with matplotlib.rc_context():
        plots.house_style()
        assert matplotlib.rcParams["figure.constrained_layout.use"]
    assert len({to_hex(colour) for colour in COLOURS.values()}) == len(COLOURS)
    assert MARKERS["fake"] != MARKERS["real"]
    assert all(len(set(column)) == len(LIMIT_STYLES) for column in zip(*LIMIT_STYLES.values(), strict=True))
    shades = np.array([matplotlib.colormaps[SURFACE](value)[:3] for value in (0.0, 0.1, 0.5, 0.9, 1.0)])
    np.testing.assert_allclose(VERDICT_SHADES[:, [0, 100, 500, 900, 1000]].T, shades, atol=0.01)
    assert (shades[1, 1], shades[3, 1]) == (shades[1].min(), shades[3].max()), "purple is D's fake, green its real"


def test_points_and_losses_are_drawn_in_their_colours() -> None:
    ax, real, fake = axes(), torch.tensor([[0.0, 1.0], [2.0, -2.0]]), torch.ones(3, 2, requires_grad=True)
    plots.show_points(ax, real, fake, limit=2.5)
    for (name, line), points in zip(lines_of(ax).items(), (real, fake), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), points.detach())
        assert (line.get_color(), line.get_marker()) == (COLOURS[name], MARKERS[name])
    assert ax.get_xlim() == ax.get_ylim() == (-2.5, 2.5)

    history, ax = History(), axes()
    for number in range(30):
        history.append({"d_loss": torch.tensor(float(number)), **({"g_loss": torch.tensor(-2.0)} if number else {})})
    plots.plot_losses(ax, history, window=10)
    for player, name in (("D", "d_loss"), ("G", "g_loss")):
        raw, mean = (line for line in ax.lines if line.get_color() == COLOURS[player])
        np.testing.assert_array_equal(raw.get_xydata(), np.stack([np.arange(1, 31), history[name]], 1))
        np.testing.assert_array_equal(mean.get_ydata(), smooth(history[name], 10))
        assert mean.get_label() == name


# The machine's limits -------------------------------------------------------------------------------------------------

MACHINE = Limits("machine", {"float32": 1e11, "bfloat16": 4e11}, bandwidth=1e10, overhead=1e-6, overlaps=False)
STEPS = {  # traffic, and seconds; the one that was not run has none
    "small": (Traffic("small", {"matrix product": TrafficShare(200, 10**5, 10**6)}), 4e-4),
    "wide": (Traffic("wide", {"convolution": TrafficShare(200, 10**8, 10**10)}), 0.2),
    "thin": (Traffic("thin", {"pointwise": TrafficShare(200, 10**8, 10**8)}), 0.02),
    "the paper's": (Traffic("the paper's", {"convolution": TrafficShare(500, 10**10, 10**12)}), None),
}


def test_a_roofline_holds_the_roofs_and_each_step() -> None:
    ax = axes()
    plots.roofline(ax, MACHINE, STEPS)
    lines = lines_of(ax)
    for dtype, flops in MACHINE.flops.items():
        x, y = lines[dtype].get_data()
        np.testing.assert_allclose(y, np.minimum(flops, x * 1e10))
        assert x[0] < flops / 1e10 < x[-1], "the ridge is to be seen"
    limited = {"small": "launches", "wide": "arithmetic", "thin": "memory"}
    for name, limit in limited.items():
        (traffic, seconds), line = STEPS[name], lines[name]
        np.testing.assert_allclose(line.get_xydata(), [[traffic.intensity, traffic.flops / seconds]])
        assert (line.get_color(), line.get_marker()) == LIMIT_STYLES[limit]
        assert line.get_markerfacecolor() == LIMIT_STYLES[limit][0]
    bars = {tuple(xy) for line in ax.lines if line.get_marker() == "_" for xy in line.get_xydata()}
    assert bars == {(traffic.intensity, traffic.flops / MACHINE.predicted(traffic)) for traffic, _ in STEPS.values()}
    assert lines["the paper's"].get_markerfacecolor() == "white"
    assert tuple(lines["the paper's"].get_xydata()[0]) in bars
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    limits = [f"limited by {limit}" for limit in limited.values()]
    assert said == [*limits, "allowed by the limits", "counted, not run"]


@given(st.lists(st.floats(-0.5, 1.5), max_size=15))
def test_apart_keeps_the_order_and_the_gap(heights: list[float]) -> None:
    moved = list(apart(dict(zip("abcdefghijklmno", sorted(heights), strict=False)), gap=0.05).values())
    assert all(b - a > 0.0499 for a, b in itertools.pairwise(moved))
    assert max(moved, default=0) <= 1
    assert apart({"a": 0.5, "b": 0.1, "c": 1.0}) == {"a": 0.5, "b": 0.1, "c": 1.0}, "what fits is left where it is"


def test_plot_bounds() -> None:
    ax = axes()
    plots.plot_bounds(ax, MACHINE, STEPS, data={"small": 3e-5})
    rows = [text.get_text() for text in ax.get_yticklabels()]
    assert rows == list(STEPS)
    found = {(line.get_label(), rows[int(line.get_ydata()[0])]): line.get_xdata() for line in ax.lines}
    for name, (traffic, seconds) in STEPS.items():
        for limit, bound in MACHINE.bounds(traffic, data=3e-5 if name == "small" else 0.0).items():
            assert ((limit, name) in found) == (bound > 0), "what takes no time has no mark"
            np.testing.assert_allclose(found.get((limit, name), 0.0), 1000 * bound)
        assert (("measured", name) in found) == (seconds is not None)
    np.testing.assert_allclose(found["measured", "wide"], 200)
    (line,) = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] == 0]
    np.testing.assert_allclose(line.get_xdata(), [1000 * MACHINE.predicted(STEPS["small"][0], data=3e-5), 0.4])
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is at the top"


# Notebook 00 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [(), torch.rand(3, 3, 8, 8)], ids=["GAN", "pix2pix"])
def test_the_game_is_drawn_from_the_input_to_the_scores_and_each_loss_has_its_networks_colour(images: Any) -> None:
    (ax,) = plots.draw_game(*images).axes
    texts = {text.get_text().replace("\n", " "): text for text in ax.texts if text.get_text()}
    z, fake, real = ("A", "fake_B = G(A)", "B") if len(images) else ("random numbers", "fake images", "real images")
    places = [texts[name].get_position()[0] for name in (z, "G", fake, "D", "score of the fake")]
    assert places == sorted(places)
    assert texts[real].get_position()[1] < texts[fake].get_position()[1]
    colours = {name.partition(":")[0]: text.get_color() for name, text in texts.items()}
    assert (colours["d_loss"], colours["g_loss"]) == (COLOURS["D"], COLOURS["G"])
    marks = {line.get_color(): line.get_marker() for line in ax.lines}
    assert {name: marks[COLOURS[name]] for name in MARKERS} == (
        dict.fromkeys(MARKERS, "None") if len(images) else MARKERS
    )
    assert len(ax.images) == len(images)
    assert ("λ · l1_loss: fake_B near B" in texts) == bool(len(images))
    boxes = {to_hex(box.get_facecolor()): box.get_bbox() for box in ax.patches}
    arrows = [text for text in ax.texts if not text.get_text() and text.arrow_patch.get_linestyle() != "-"]
    for colour in (COLOURS["D"].lower(), COLOURS["G"].lower()):
        (end,) = {text.xy[0] for text in arrows if to_hex(text.arrow_patch.get_edgecolor()) == colour}
        assert 0 < end - boxes[colour].x1 < 0.1, "a gradient ends at its own network"
    plt.close()


def test_a_walk_between_clouds_is_filled_where_it_is_near_one() -> None:
    walk = torch.stack([torch.linspace(0, 2, 24), torch.zeros(24)], 1)
    away = (walk[:, 0] > 0.5) & (walk[:, 0] < 1.5)
    left, right = plots.plot_between_clouds([10, 20], {4: [0.2, 0.9]}, torch.zeros(5, 2), walk, away).axes
    assert lines_of(left)["seed 4"].get_xydata().tolist() == [[10, 0.2], [20, 0.9]]
    hollow, filled = lines_of(right)["near no cloud"], lines_of(right)["near a cloud"]
    assert hollow.get_markerfacecolor() != filled.get_markerfacecolor() == COLOURS["fake"]
    assert [0.5 < x < 1.5 for line in (hollow, filled) for x in line.get_xdata()] == [True, False]
    plt.close()


# Notebook 02 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["G", "D"])
def test_the_bars_of_a_line_add_up_to_its_mark_in_the_colours_of_their_losses(network: str) -> None:
    record = trace(PITFALLS["d_first_early_zero_grad"].step, build("points", loss="minimax"), *draw("points")[0])
    ax = axes()
    plots.plot_shares(ax, record, network)
    marks = {sum(line.get_xdata()) / 2: line.get_ydata()[0] for line in ax.lines if len(line.get_xdata()) == 2}
    last = record.lines[-1].networks[network]
    first, second = (bar for bar in ax.patches if bar.get_x() == pytest.approx(len(record.lines) - 1 - 0.4))
    assert [to_hex(bar.get_facecolor()) for bar in (first, second)] == [COLOURS["D"].lower(), COLOURS["G"].lower()]
    assert first.get_height() + second.get_height() == pytest.approx(last.gradient_norm)
    same_way = first.get_height() * second.get_height() > 0
    assert second.get_y() == pytest.approx(first.get_height() if same_way else 0)
    assert same_way == (network == "D"), "for the minimax loss the two point against each other in G"
    assert marks[len(record.lines) - 1.0] == pytest.approx(last.gradient_norm)


# Notebooks 04 and 05 --------------------------------------------------------------------------------------------------


def test_rows_of_images_are_cut_into_blocks_and_keep_their_order_and_names() -> None:
    shades = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 3, 4, 4)
    figure = plots.show_rows({"above": shades, "below": -shades}, columns=3)
    first, second = (ax.images[0].get_array() for ax in figure.axes)
    assert first.shape == (2 * 6, 3 * 6, 3)  # with a white edge of one pixel
    assert first[2::6, 2::6, 0].tolist() == [[0, 63, 127], [255, 191, 127]]
    assert second[2, 2::6, 0].tolist() == [191, 255]
    assert (first[:, :1] == 255).all()
    for ax in figure.axes:
        assert {text.get_text(): text.get_position() for text in ax.texts} == {"above": (-4, 3), "below": (-4, 9)}
    plt.close()


def test_the_u_net_is_drawn_as_it_is() -> None:
    G = unet(16, width=2, multipliers=(1, 2, 3, 4), upsampling="nearest")
    state = {name: value.clone() for name, value in G.state_dict().items()}
    sizes = [word.replace("\n", " ") for word in words_of(plots.draw_unet(G, torch.zeros(3, 16, 16))) if "²" in word]
    way_down = ["8² 2 ch.", "4² 4 ch.", "2² 6 ch."]
    assert sizes == ["A 16²", *way_down, "1² 8 ch.", *reversed(way_down), "fake_B 16²"]
    assert all(torch.equal(value, state[name]) for name, value in G.state_dict().items()), "it was asked on a copy"
    plt.close()


def test_verdicts_lie_on_the_patches_that_they_are_about() -> None:
    D = patchgan(3, 1, width=2)
    images, verdicts = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, *[output_side(D, 16)] * 2)
    figure = plots.plot_verdicts({"one": (images, verdicts), "two": (-images, verdicts)}, D)
    shown = to_pixels(tinted(images, on_pixels(verdicts, D, images.shape[2:])))
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array()[1:17, 1:17], shown[0])
    assert {"one", "two", "D: fake … real"} <= set(words_of(figure))
    plt.close()


def test_a_table_of_seeds_has_a_mark_for_each_seed_and_a_bar_at_the_mean() -> None:
    rows = [{"arm": arm, "seed": seed, "score": seed + 10 * (arm == "b")} for seed in range(3) for arm in "ab"]
    marks = {"score": {"truth": 5.0}}
    (ax,) = plots.plot_by_seed(rows, {"A": {"arm": "a"}, "B": {"arm": "b"}}, {"score": "Score"}, marks).axes
    found = [(line.get_marker(), np.ravel(line.get_xdata()).tolist(), line.get_ydata()[0]) for line in ax.lines[:4]]
    assert found == [("o", [0, 1, 2], 0), ("|", [1], 0), ("o", [10, 11, 12], 1), ("|", [11], 1)]
    assert list(ax.lines[4].get_xdata()) == [5.0, 5.0]
    assert {"A", "B", "Score", "truth"} <= set(words_of(ax.figure))
    ax = axes()
    plots.plot_seeds(ax, {"full": {"A to B": [1.0, 3.0], "B to A": [2.0]}, "none": {"A to B": [5.0], "B to A": [7.0]}})
    found = {(line.get_marker(), *np.ravel(line.get_xdata()).tolist()): line.get_ydata()[0] for line in ax.lines}
    assert {("o", 1.0, 3.0), ("|", 2.0), ("s", 2.0), ("o", 5.0), ("s", 7.0)} <= set(found)
    assert found["o", 1.0, 3.0] < found["s", 2.0] < found["s", 7.0], "the first name stands at the top"
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["full", "none"]
    assert ax.get_legend_handles_labels()[1] == ["A to B", "B to A"]
    plt.close()


def test_half_of_the_cycle_names_its_images_and_its_gradients() -> None:
    ax = axes()
    images = {name: torch.rand(3, 8, 8) for name in plots.CYCLE_PLACES}
    plots.draw_cycle(ax, images, {"adversarial": 1.25, "cycle": 6.5, "identity": 4.125})
    said = [text.get_text() for text in ax.texts]
    assert set(images) <= set(said)
    for term, gradient in (("adversarial", "1.25"), ("cycle", "6.50"), ("identity", "4.12")):
        assert [text for text in said if text.startswith(term) and text.endswith(f"G_AB: {gradient}")]
    assert (said.count("G_AB"), said.count("G_BA")) == (2, 1)
