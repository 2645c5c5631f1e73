"""The figures of notebook 02: bars that add up, and names that stand beside their curves."""

import matplotlib
import pytest
from helpers import build, draw
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from gantutor.ledger import trace
from gantutor.pitfalls import PITFALLS
from gantutor.plots import COLOURS, label_ends, plot_shares


def axes() -> matplotlib.axes.Axes:
    return Figure().subplots()


@pytest.mark.parametrize("network", ["G", "D"])
def test_the_bars_of_a_line_add_up_to_its_mark_in_the_colours_of_their_losses(network: str) -> None:
    record = trace(PITFALLS["d_first_early_zero_grad"].step, build("points", loss="minimax"), *draw("points")[0])
    ax = axes()
    plot_shares(ax, record, network)
    marks = {sum(line.get_xdata()) / 2: line.get_ydata()[0] for line in ax.lines if len(line.get_xdata()) == 2}
    last = record.lines[-1].networks[network]
    bars = [bar for bar in ax.patches if bar.get_x() == pytest.approx(len(record.lines) - 1 - 0.4)]
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [COLOURS["D"].lower(), COLOURS["G"].lower()]
    assert sum(bar.get_height() for bar in bars) == pytest.approx(last.gradient_norm)
    assert marks[len(record.lines) - 1.0] == pytest.approx(last.gradient_norm)
    if network == "G":
        assert min(bar.get_height() for bar in bars) < 0, "for the minimax loss the two point against each other"


def test_names_stand_at_the_ends_of_their_curves_and_apart() -> None:
    ax = axes()
    ax.set(yscale="log", ylim=(1, 1000))
    label_ends(ax, {"low": (10.0, "#111111"), "lower": (9.9, "#CC0000"), "high": (500.0, "#6A51A3")}, 8)
    places = {text.get_text().strip(): text.get_position() for text in ax.texts}
    assert {x for x, _ in places.values()} == {8}
    assert places["high"][1] == pytest.approx(500)
    assert places["low"][1] / places["lower"][1] > 1.3
    assert [text.get_color() for text in ax.texts] == ["#111111", "#CC0000", "#6A51A3"]
