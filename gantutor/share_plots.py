"""Figures of notebook 02: what a gradient is made of, line by line, and curves with their names at their ends."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gantutor.plots import COLOURS, apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_shares(ax: "Axes", trace: Any, network: str) -> None:
    """Draw, for each line of a step, what a network's gradient is made of: signed bars that add up to its length.

    A bar is how far one loss's share goes along the whole gradient (`Contribution.along`), in the colour of the player
    whose loss sent it, and below zero where it points against the whole. The mark is the gradient's length.

    Args:
        ax: where to draw.
        trace: what `gantutor.trace` gave for a step whose losses are `d_loss` and `g_loss`.
        network: the name of the network, "G" or "D".
    """
    texts = {line.number: line.text for line in trace.lines}
    highest = 0.0
    for x, line in enumerate(trace.lines):
        state = line.networks[network]
        top, bottom = 0.0, 0.0
        for share in state.contributions:
            player = "D" if texts.get(share.line, "").startswith("d_loss") else "G"
            base = top if share.along >= 0 else bottom
            ax.bar(x, share.along, 0.8, base, color=COLOURS[player])
            top, bottom = (top + share.along, bottom) if share.along >= 0 else (top, bottom + share.along)
        if state.contributions:
            ax.plot([x - 0.4, x + 0.4], [state.gradient_norm] * 2, color="black", lw=2.5)
        highest = max(highest, top, state.gradient_norm)
    for x, line in enumerate(trace.lines):
        if line.text == f"gan.opt_{network}.step()":
            place = (x + 0.5, highest)
            ax.annotate(f"{network} moves", place, (0, 3), textcoords="offset points", ha="right", fontsize=9)
    for player, y in (("D", 0.96), ("G", 0.86)):
        name = f"from {player.lower()}_loss"
        ax.text(0.03, y, name, color=COLOURS[player], transform=ax.transAxes, va="top", fontweight="bold")
    ax.axhline(0, color=COLOURS["ink"], lw=0.8)
    labels = [line.text.replace("gan.", "").partition(" = ")[0].partition("(")[0] for line in trace.lines]
    ax.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize=8)
    ax.margins(y=0.18)
    ax.grid(False, axis="x")


def label_ends(ax: "Axes", ends: Mapping[str, tuple[float, str]], x: float) -> None:
    """Write each curve's name beside its end at x, in its colour, and keep the names apart; y is logarithmic.

    Args:
        ax: where to draw, after its limits and scales are set.
        ends: each curve's name, with its last y and its colour.
        x: where the curves end.
    """
    low, high = np.log(ax.get_ylim())
    heights = apart({name: float((np.log(y) - low) / (high - low)) for name, (y, _) in ends.items()})
    for name, (_, colour) in ends.items():
        ax.text(x, np.exp(low + heights[name] * (high - low)), f"  {name}", color=colour, va="center", fontsize=9)
