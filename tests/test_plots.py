"""Figures: pixels where they are expected, and axes that hold the data they were given."""

import io
import itertools

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from gantutor.ledger import Traffic, TrafficShare
from gantutor.models import output_side, patchgan, receptive_field, unet
from gantutor.plots import (
    COLOURS,
    LIMIT_STYLES,
    MARKERS,
    SURFACE,
    apart,
    draw_cycle,
    draw_game,
    draw_pix2pix,
    draw_unet,
    house_style,
    image_rows,
    plot_between_clouds,
    plot_bounds,
    plot_by_seed,
    plot_losses,
    plot_seeds,
    plot_verdicts,
    png,
    quantise,
    roofline,
    show_images,
    show_points,
    show_rows,
    smooth,
    tile,
)
from gantutor.scale.limits import Limits
from gantutor.training import History


def axes() -> matplotlib.axes.Axes:
    return Figure().subplots()


# tile -----------------------------------------------------------------------------------------------------------------


def test_tile_puts_each_value_in_its_place() -> None:
    """Seven images of 2x3 in rows of 4: image i is row i // 4, column i % 4; the eighth place is black."""
    images = torch.arange(7 * 6).float().view(7, 1, 2, 3) / 41 * 2 - 1
    picture = tile(images, columns=4)
    assert (picture.shape, picture.dtype) == ((4, 12), np.uint8)
    for i in range(7):
        cell = picture[i // 4 * 2 :, i % 4 * 3 :][:2, :3]
        np.testing.assert_array_equal(cell, ((images[i, 0] + 1) * 127.5).byte())
    assert not picture[2:, 9:].any()
    assert picture[2:, :9].any()


def test_tile_keeps_colours_apart() -> None:
    images = torch.full((3, 3, 2, 2), -1.0)
    for channel in range(3):
        images[channel, channel] = 1.0
    picture = tile(images, columns=2)
    assert picture.shape == (4, 4, 3)
    assert picture[0, 0].tolist() == [255, 0, 0]
    assert picture[0, 2].tolist() == [0, 255, 0]
    assert picture[2, 0].tolist() == [0, 0, 255]
    assert picture[2, 2].tolist() == [0, 0, 0]


def test_tile_clamps_and_takes_a_tensor_with_a_graph() -> None:
    images = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0], requires_grad=True).view(1, 1, 1, 5)
    assert tile(images, columns=1).tolist() == [[0, 0, 127, 255, 255]]


@given(st.integers(1, 20), st.integers(1, 9), st.sampled_from([1, 3]))
def test_the_size_of_a_tile(n: int, columns: int, channels: int) -> None:
    picture = tile(torch.ones(n, channels, 3, 2), columns)
    rows = -(-n // columns)
    assert picture.shape[:2] == (rows * 3, columns * 2)
    assert picture.ndim == (2 if channels == 1 else 3)
    assert (picture > 0).sum() == n * 6 * channels, "every image is there, once"


# png ------------------------------------------------------------------------------------------------------------------


@given(arrays(np.uint8, st.sampled_from([(3, 5), (4, 2, 3), (1, 1)])))
def test_png_round_trip(picture: np.ndarray) -> None:
    data = png(picture)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)


def test_a_palette_keeps_few_colours_and_spares_bytes() -> None:
    waves = np.sin(np.arange(64 * 64 * 3) ** 1.5 / 9).reshape(64, 64, 3)
    picture = (waves * 127 + 128).astype(np.uint8)
    small = png(picture, colours=16)
    image = Image.open(io.BytesIO(small))
    assert image.mode == "P"
    assert len(image.convert("RGB").getcolors(64 * 64)) <= 16
    assert len(small) < len(png(picture)) / 3
    flat = np.zeros((8, 8, 3), np.uint8)
    flat[:4] = [200, 30, 90]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(flat, colours=8))).convert("RGB")), flat)


# smooth ---------------------------------------------------------------------------------------------------------------


@given(arrays(np.float64, st.integers(0, 40), elements=st.floats(-1e3, 1e3)), st.integers(1, 50))
def test_smooth_is_the_mean_of_the_last_values(values: np.ndarray, window: int) -> None:
    naive = [np.mean(values[max(0, i + 1 - window) : i + 1]) for i in range(len(values))]
    np.testing.assert_allclose(smooth(values, window), naive, atol=1e-9)


def test_smooth_passes_over_what_is_no_number() -> None:
    """A step that did not report a loss, or one that diverged, must not wipe out the curve for good."""
    values = np.array([np.nan, 2.0, np.nan, 4.0, np.inf, 6.0, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(smooth(values, 3), [np.nan, 2, 2, 3, 4, 5, 6, 6, np.nan])


# What is drawn is what was given --------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_show_images(channels: int) -> None:
    ax, images = axes(), torch.linspace(-0.5, 0.7, 5 * channels * 4).view(5, channels, 2, 2)
    show_images(ax, images, "five", columns=2)
    (shown,) = ax.images
    np.testing.assert_array_equal(shown.get_array(), tile(images, 2))
    assert shown.get_clim() == (0, 255), "black is -1 and white 1, whatever the images hold"
    assert ax.get_title() == "five"
    assert not ax.axison


def test_show_points() -> None:
    ax, real, fake = axes(), torch.tensor([[0.0, 1.0], [2.0, -2.0]]), torch.ones(3, 2, requires_grad=True)
    show_points(ax, real, fake, "points", limit=2.5)
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["real"].get_xydata(), real)
    np.testing.assert_array_equal(lines["fake"].get_xydata(), np.ones((3, 2)))
    assert [lines[name].get_color() for name in ("real", "fake")] == [COLOURS["real"], COLOURS["fake"]]
    assert (ax.get_xlim(), ax.get_ylim(), ax.get_title()) == ((-2.5, 2.5), (-2.5, 2.5), "points")
    assert ax.get_aspect() == 1


@pytest.mark.parametrize("given_one", ["real", "fake"])
def test_show_points_of_one_kind(given_one: str) -> None:
    ax = axes()
    show_points(ax, **{"real": None, "fake": None, given_one: torch.zeros(2, 2)})
    assert [line.get_label() for line in ax.lines] == [given_one]


def test_plot_losses() -> None:
    history, ax = History(), axes()
    for number in range(30):
        history.append({"d_loss": torch.tensor(float(number)), "g_loss": torch.tensor(-2.0 * number)})
    plot_losses(ax, history, window=10)
    for player, name in (("D", "d_loss"), ("G", "g_loss")):
        raw, mean = (line for line in ax.lines if line.get_color() == COLOURS[player])
        np.testing.assert_array_equal(raw.get_xydata()[:, 0], np.arange(1, 31))
        np.testing.assert_array_equal(raw.get_ydata(), history[name])
        np.testing.assert_array_equal(mean.get_ydata(), smooth(history[name], 10))
        assert (raw.get_alpha(), mean.get_label()) == (0.3, name)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["d_loss", "g_loss"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss")
    ax.figure.canvas.draw()


def test_plot_losses_takes_what_a_player_did_not_report() -> None:
    history, ax = History(), axes()
    history.append({"d_loss": torch.tensor(1.0)})
    history.append({"g_loss": torch.tensor(2.0)})
    plot_losses(ax, history)
    means = {line.get_label(): line.get_ydata() for line in ax.lines if line.get_alpha() is None}
    np.testing.assert_array_equal(means["d_loss"], [1, 1])
    np.testing.assert_array_equal(means["g_loss"], [np.nan, 2])
    ax.figure.canvas.draw()


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
    roofline(ax, MACHINE, STEPS)
    lines = {line.get_label(): line for line in ax.lines}
    for dtype, flops in MACHINE.flops.items():
        x, y = lines[dtype].get_data()
        np.testing.assert_allclose(y, np.minimum(flops, x * 1e10))
        assert x[0] < flops / 1e10 < x[-1], "the ridge is to be seen"
    for name, limit in (("small", "launches"), ("wide", "arithmetic"), ("thin", "memory")):
        (traffic, seconds), line = STEPS[name], lines[name]
        np.testing.assert_allclose(line.get_xydata(), [[traffic.intensity, traffic.flops / seconds]])
        assert (line.get_color(), line.get_marker(), line.get_markerfacecolor()) == (
            *LIMIT_STYLES[limit],
            LIMIT_STYLES[limit][0],
        )
    bars = {tuple(xy) for line in ax.lines if line.get_marker() == "_" for xy in line.get_xydata()}
    assert bars == {(traffic.intensity, traffic.flops / MACHINE.predicted(traffic)) for traffic, _ in STEPS.values()}
    hollow = lines["the paper's"]
    assert hollow.get_markerfacecolor() == "white"
    assert tuple(hollow.get_xydata()[0]) in bars
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_title()) == ("log", "log", "machine")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        *(f"limited by {limit}" for limit in ("launches", "arithmetic", "memory")),
        "allowed by the limits",
        "counted, not run",
    ]


def test_a_roofline_by_other_numbers() -> None:
    ax = axes()
    roofline(ax, MACHINE, {"wide": STEPS["wide"]}, "bfloat16")
    bar = next(line for line in ax.lines if line.get_marker() == "_")
    assert bar.get_ydata()[0] == 10**10 / MACHINE.predicted(STEPS["wide"][0], "bfloat16")
    colours = {line.get_label(): line.get_color() for line in ax.lines}
    assert (colours["bfloat16"], colours["float32"]) == (COLOURS["ink"], COLOURS["faint"])
    assert "counted, not run" not in [text.get_text() for text in ax.get_legend().get_texts()], "each was run"


def test_a_roofline_of_the_machine_alone() -> None:
    ax = axes()
    roofline(ax, Limits("machine", {"float32": 1e11}, 1e10, 1e-6, False), {})
    assert ax.get_xlim() == pytest.approx((10 / 3, 40))
    assert ax.get_ylim()[1] == 2e11


def test_labels_of_steps_that_lie_together_do_not_overlap() -> None:
    """Ten steps of one speed, and one that is faster than the machine: it was busy when it was measured."""
    steps = {f"step {i}": (Traffic("", {"convolution": TrafficShare(1, 10**8, 10**9 + i)}), 0.05) for i in range(10)}
    figure = Figure(figsize=(7, 5), layout="constrained")
    ax = figure.subplots()
    roofline(ax, MACHINE, {**steps, "top": (Traffic("", {"convolution": TrafficShare(1, 10**6, 10**10)}), 0.02)})
    figure.savefig(io.BytesIO())
    labels = [text for text in ax.texts if text.get_text() in steps]
    boxes = sorted((Text.get_window_extent(label) for label in labels), key=lambda box: box.y0)  # without the line
    assert len(boxes) == 10
    assert all(lower.y1 <= upper.y0 for lower, upper in itertools.pairwise(boxes))
    (top,) = [text for text in ax.texts if text.get_text() == "top"]
    assert Text.get_window_extent(top).y0 > boxes[-1].y1
    assert top.xy[1] < ax.get_ylim()[1]


@given(st.lists(st.floats(-0.5, 1.5), max_size=15))
def test_apart_keeps_the_order_and_the_gap(heights: list[float]) -> None:
    given_ones = {str(i): height for i, height in enumerate(heights)}
    moved = apart(given_ones, gap=0.05)
    assert moved.keys() == given_ones.keys()
    order = sorted(given_ones, key=lambda name: given_ones[name])
    assert all(moved[b] - moved[a] > 0.0499 for a, b in itertools.pairwise(order))
    assert max(moved.values(), default=0) <= 1
    fits = all(b - a >= 0.0501 for a, b in itertools.pairwise(sorted(heights))) and min(heights, default=0) >= 0
    if fits and max(heights, default=0) <= 1:
        assert moved == pytest.approx(given_ones), "what fits is left where it is"


def test_plot_bounds() -> None:
    ax = axes()
    plot_bounds(ax, MACHINE, STEPS, data={"small": 3e-5})
    rows = [text.get_text() for text in ax.get_yticklabels()]
    assert rows == list(STEPS)
    found = {(line.get_label(), rows[int(line.get_ydata()[0])]): line.get_xdata() for line in ax.lines}
    for name, (traffic, seconds) in STEPS.items():
        bounds = MACHINE.bounds(traffic, data=3e-5 if name == "small" else 0.0)
        for limit, bound in bounds.items():
            assert ((limit, name) in found) == (bound > 0), "what takes no time has no mark"
            np.testing.assert_allclose(found.get((limit, name), 0.0), 1000 * bound)
        assert (("measured", name) in found) == (seconds is not None)
    np.testing.assert_allclose(found["measured", "wide"], 200)
    (line,) = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] == 0]
    np.testing.assert_allclose(line.get_xdata(), [1000 * MACHINE.predicted(STEPS["small"][0], data=3e-5), 0.4])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [*LIMIT_STYLES, "measured"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is at the top"


# The house style ------------------------------------------------------------------------------------------------------


def test_house_style_is_valid_and_every_colour_is_another() -> None:
    with matplotlib.rc_context():
        house_style()
        assert matplotlib.rcParams["figure.constrained_layout.use"]
        assert not matplotlib.rcParams["axes.spines.top"]
    assert len({to_hex(colour) for colour in COLOURS.values()}) == len(COLOURS)
    assert all(len(set(column)) == len(LIMIT_STYLES) for column in zip(*LIMIT_STYLES.values(), strict=True))
    assert SURFACE in matplotlib.colormaps


def test_the_surface_runs_from_fake_to_real() -> None:
    """Purple where D says fake, green where it says real, as the points' colours are."""
    low, high = (np.array(matplotlib.colormaps[SURFACE](value)[:3]) for value in (0.1, 0.9))
    assert low[1] == min(low)
    assert high[1] == max(high)


def test_the_game_is_drawn_from_z_to_the_scores_and_each_loss_has_its_networks_colour() -> None:
    figure = draw_game()
    (ax,) = figure.axes
    texts = {text.get_text(): text for text in ax.texts if text.get_text()}
    row = ["z", "G", "fake images", "D", "score of the fake"]
    places = [texts[name].get_position()[0] for name in row]
    assert places == sorted(places)
    assert texts["real images"].get_position()[1] < texts["fake images"].get_position()[1]
    colours = {name.partition(":")[0]: text.get_color() for name, text in texts.items()}
    assert (colours["d_loss"], colours["g_loss"]) == (COLOURS["D"], COLOURS["G"])
    marks = {line.get_color(): line.get_marker() for line in ax.lines}
    assert marks == {COLOURS[name]: MARKERS[name] for name in ("fake", "real")}
    assert MARKERS["fake"] != MARKERS["real"]
    boxes = {to_hex(box.get_facecolor()): box.get_bbox() for box in ax.patches}
    for name in ("D", "G"):
        colour = COLOURS[name].lower()
        arrows = [
            text for text in ax.texts if not text.get_text() and to_hex(text.arrow_patch.get_edgecolor()) == colour
        ]
        (end,) = {arrow.xy[0] for arrow in arrows}
        assert 0 < end - boxes[colour].x1 < 0.1, "a gradient ends at its own network"
    plt.close(figure)


def test_a_walk_between_clouds_is_filled_where_it_is_near_one() -> None:
    walk = torch.stack([torch.linspace(0, 2, 24), torch.zeros(24)], 1)
    away = (walk[:, 0] > 0.5) & (walk[:, 0] < 1.5)
    shares = {3: [0.1, 0.8], 4: [0.2, 0.9]}
    figure = plot_between_clouds([10, 20], shares, torch.zeros(5, 2), walk, away)
    left, right = figure.axes
    curves = {line.get_label(): line for line in left.lines}
    assert list(curves["seed 4"].get_ydata()) == [0.2, 0.9]
    assert list(curves["seed 3"].get_xdata()) == [10, 20]
    marks = {line.get_label(): line for line in right.lines}
    hollow, filled = marks["near no cloud"], marks["near a cloud"]
    assert hollow.get_markerfacecolor() != filled.get_markerfacecolor() == COLOURS["fake"]
    assert all(0.5 < x < 1.5 for x in hollow.get_xdata())
    assert not any(0.5 < x < 1.5 for x in filled.get_xdata())
    assert min(len(hollow.get_xdata()), len(filled.get_xdata())) > 0
    plt.close(figure)


# notebook 04 ----------------------------------------------------------------------------------------------------------


def words_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_rows_of_images_are_cut_into_blocks_and_keep_their_order() -> None:
    shades = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 3, 4, 4)
    figure = show_rows({"above": shades, "below": -shades}, columns=3)
    first, second = (ax.images[0].get_array() for ax in figure.axes)
    assert first.shape == (2 * 6, 3 * 6, 3)  # with a white edge of one pixel
    assert [int(first[2, 6 * i + 2, 0]) for i in range(3)] == [0, 63, 127]
    assert [int(first[8, 6 * i + 2, 0]) for i in range(3)] == [255, 191, 127]
    assert [int(second[2, 6 * i + 2, 0]) for i in range(2)] == [191, 255]
    assert (first[:, :1] == 255).all()
    assert words_of(figure).count("above") == words_of(figure).count("below") == 2


def test_the_drawing_of_pix2pix_shows_three_images_and_three_losses() -> None:
    A, fake_B, B = (torch.full((3, 8, 8), value) for value in (-1.0, 0.0, 1.0))
    figure = draw_pix2pix(A, fake_B, B)
    assert [int(image.get_array()[0, 0, 0]) for image in figure.axes[0].images] == [0, 127, 255]
    words = " ".join(words_of(figure))
    for loss in ("l1_loss", "d_loss", "g_loss"):
        assert loss in words
    colours = {text.get_text().partition(":")[0]: to_hex(text.get_color()) for text in figure.findobj(Text)}
    assert colours["d_loss"] == to_hex(COLOURS["D"])
    assert colours["g_loss"] == colours["λ · l1_loss"] == to_hex(COLOURS["G"])


def test_the_u_net_is_drawn_as_it_is() -> None:
    G = unet(16, width=2, multipliers=(1, 2, 3, 4), upsampling="nearest")
    state = {name: value.clone() for name, value in G.state_dict().items()}
    words = words_of(draw_unet(G, torch.zeros(3, 16, 16)))
    sizes = [word.replace("\n", " ") for word in words if "²" in word]
    assert sizes == ["A 16²", "fake_B 16²"] + [
        size for size in ("8² 2 ch.", "4² 4 ch.", "2² 6 ch.") for _ in range(2)
    ] + ["1² 8 ch."]
    assert all(torch.equal(value, state[name]) for name, value in G.state_dict().items()), "it was asked on a copy"


def test_verdicts_lie_on_the_patches_that_they_are_about() -> None:
    D = patchgan(3, 1, width=2)
    field, side = receptive_field(D), output_side(D, 16)
    images, verdicts = torch.zeros(2, 3, 16, 16), torch.rand(2, side, side)
    figure = plot_verdicts({"one": (images, verdicts), "two": (-images, verdicts)}, field)
    below, heat = figure.axes[0].images
    assert below.get_array().ndim == 2, "in grey: colours of its own would pass for verdicts"
    left, right, _, _ = heat.get_extent()
    start, stop = field.span(0)
    assert left + (right - left) / side / 2 == pytest.approx((start + stop - 1) / 2), "the middle of the first patch"
    assert (right - left) / side == field.stride
    assert {"one", "two"} <= set(words_of(figure))


def test_a_table_of_seeds_has_a_dot_for_each_seed_and_a_bar_at_the_mean() -> None:
    rows = [{"arm": arm, "seed": seed, "score": seed + 10 * (arm == "b")} for seed in range(3) for arm in "ab"]
    figure = plot_by_seed(rows, {"A": {"arm": "a"}, "B": {"arm": "b"}}, {"score": "Score"}, {"score": {"truth": 5.0}})
    (ax,) = figure.axes
    dots, bars = ax.lines[0:4:2], ax.lines[1:4:2]
    assert [list(line.get_xdata()) for line in dots] == [[0, 1, 2], [10, 11, 12]]
    assert [line.get_xdata()[0] for line in bars] == [1, 11]
    assert list(ax.lines[4].get_xdata()) == [5.0, 5.0]
    assert {"A", "B", "Score", "truth"} <= set(words_of(figure))


# CycleGAN -------------------------------------------------------------------------------------------------------------


def test_quantised_images_have_so_many_levels() -> None:
    bytes_ = torch.arange(256.0)[None, None, None] / 127.5 - 1
    torch.testing.assert_close(quantise(bytes_, 256), bytes_, rtol=0, atol=1e-6)
    assert quantise(bytes_, 2).unique().tolist() == [-1, 1]
    four = quantise(bytes_, 4)
    torch.testing.assert_close(four.unique(), torch.tensor([-1, -1 / 3, 1 / 3, 1]))
    assert (four - bytes_).abs().max() <= 1 / 3 + 1e-6, "to the nearest one"


def test_rows_of_images_have_their_names_beside_them() -> None:
    _, ax = plt.subplots()
    image_rows(ax, {"real_A": torch.full((2, 3, 8, 8), -1.0), "fake_B": torch.full((2, 3, 8, 8), 1.0)})
    texts = {text.get_text(): text.get_position() for text in ax.texts}
    assert texts == {"real_A": (-4, 4), "fake_B": (-4, 12)}
    picture = ax.images[0].get_array()
    assert picture is not None
    assert picture.shape == (16, 16, 3)
    assert picture[:8].max() == 0
    assert picture[8:].min() == 255
    plt.close()


def test_half_of_the_cycle_names_its_images_and_its_gradients() -> None:
    _, ax = plt.subplots()
    images = {name: torch.rand(3, 8, 8) for name in ("real_A", "fake_B", "rec_A", "real_B", "idt_B")}
    draw_cycle(ax, images, {"adversarial": 1.25, "cycle": 6.5, "identity": 4.125})
    said = [text.get_text() for text in ax.texts]
    assert set(images) <= set(said)
    for term, gradient in (("adversarial", "1.25"), ("cycle", "6.50"), ("identity", "4.12")):
        assert [text for text in said if text.startswith(term) and text.endswith(f"G_AB: {gradient}")]
    assert said.count("G_AB") == 2
    assert said.count("G_BA") == 1
    plt.close()


def test_each_seed_is_a_mark_and_the_mean_a_line() -> None:
    _, ax = plt.subplots()
    plot_seeds(ax, {"full": {"A to B": [1.0, 3.0], "B to A": [2.0]}, "no cycle": {"A to B": [5.0], "B to A": [7.0]}})
    found = {(line.get_marker(), *map(float, np.ravel(line.get_xdata()))): line.get_ydata()[0] for line in ax.lines}
    assert {("o", 1.0, 3.0), ("|", 2.0), ("s", 2.0), ("o", 5.0), ("s", 7.0)} <= set(found)
    assert found["o", 1.0, 3.0] > found["s", 7.0], "the first name stands at the top"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["no cycle", "full"]
    assert ax.get_legend_handles_labels()[1] == ["A to B", "B to A"]
    plt.close()
