"""Figures: the colours and the few pictures that every notebook uses."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers: one meaning each throughout the course.
COLOURS = {"D": "#0072B2", "G": "#D55E00", "real": "#009E73", "fake": "#AA3377", "ink": "#333333", "faint": "#BBBBBB"}
MARKERS = {"real": "o", "fake": "^"}  # with lightness, what tells the two apart without colour
SURFACE = "PRGn"  # D's verdict from fake (purple) to real (green)

# What limits a step: colour and marker, told apart by either.
LIMIT_STYLES = {
    "launches": ("#E69F00", "^"),
    "arithmetic": ("#333333", "o"),
    "memory": ("#56B4E9", "s"),
    "data": ("#888888", "D"),
}

RooflinePoints = Mapping[str, tuple[Any, float | None]]  # a step's traffic, and its seconds where they were measured


def house_style() -> None:
    """Set matplotlib's defaults for the notebooks."""
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
        }
    )


def tile(images: Tensor, columns: int = 8) -> np.ndarray:
    """Lay images (N, C, H, W) in [-1, 1] out as one picture: uint8 (rows·H, columns·W, C), or (…, …) if C is 1.

    Missing places in the last row are black.
    """
    n, channels, height, width = images.shape
    pixels = ((images.detach().clamp(-1, 1) + 1) * 127.5).byte().cpu().numpy()
    rows = -(-n // columns)
    cells = np.zeros((rows * columns, channels, height, width), np.uint8)
    cells[:n] = pixels
    picture = cells.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    picture = picture.reshape(rows * height, columns * width, channels)
    return picture[..., 0] if channels == 1 else picture


def png(picture: np.ndarray, colours: int = 0) -> bytes:
    """A uint8 picture (H, W) or (H, W, 3) as PNG; `colours` > 0 reduces it to a palette, a fifth of the bytes."""
    from PIL import Image

    image = Image.fromarray(picture)
    if colours:
        image = image.quantize(colours, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def show_images(ax: "Axes", images: Tensor, title: str = "", columns: int = 8) -> None:
    """Draw images (N, C, H, W) in [-1, 1] as a grid."""
    ax.imshow(tile(images, columns), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.set_title(title)
    ax.set_axis_off()


def show_points(ax: "Axes", real: Tensor | None, fake: Tensor | None, title: str = "", limit: float = 3.0) -> None:
    """Draw real and fake points (N, 2)."""
    for points, name in ((real, "real"), (fake, "fake")):
        if points is not None:
            x, y = points.detach().cpu().T
            ax.plot(x, y, MARKERS[name], ms=3, mew=0, alpha=0.6, color=COLOURS[name], label=name)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=title)


def smooth(values: np.ndarray, window: int = 50) -> np.ndarray:
    """The mean over the last `window` values at each place (fewer at the start), of those that are finite."""
    finite = np.isfinite(values)
    total = np.cumsum(np.concatenate([[0.0], np.where(finite, values, 0.0)]))
    count = np.cumsum(np.concatenate([[0], finite]))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - window, 0)
    there = count[end] - count[start]
    return np.divide(total[end] - total[start], there, out=np.full(len(values), np.nan), where=there > 0)


def plot_losses(ax: "Axes", history: Any, window: int = 50) -> None:
    """Draw both losses over the steps, each value faint and their running mean strong."""
    for player, name in (("D", "d_loss"), ("G", "g_loss")):
        values = history[name]
        steps = np.arange(1, len(values) + 1)
        ax.plot(steps, values, lw=0.5, alpha=0.3, color=COLOURS[player])
        ax.plot(steps, smooth(values, window), color=COLOURS[player], label=name)
    ax.set(xlabel="step", ylabel="loss")
    ax.legend()


def roofline(ax: "Axes", limits: Any, points: RooflinePoints, dtype: str = "float32") -> None:
    """Draw FLOP/s against FLOPs per byte, both axes logarithmic: the roofs of `limits`, and each step below them.

    A step is marked at the FLOP/s that it reached, in the way of the limit that it meets first; the bar above it is
    where `limits.predicted` would have it, launches included. A step that was not measured is a hollow mark there.
    """
    allowed = {name: traffic.flops / limits.predicted(traffic, dtype) for name, (traffic, _) in points.items()}
    reached = {name: t.flops / seconds if seconds else allowed[name] for name, (t, seconds) in points.items()}
    first = {name: limits.limited_by(traffic, dtype) for name, (traffic, _) in points.items()}
    ridges = [flops / limits.bandwidth for flops in limits.flops.values()]
    intensities = [traffic.intensity for traffic, _ in points.values()]
    x = np.geomspace(min(intensities + ridges) / 3, max(intensities + ridges) * 4, 200)
    high = 2 * max([*limits.flops.values(), *reached.values()])
    low = high * (min([limits.roof(x[0]), *reached.values()]) / high) ** 1.4  # leaves room for the legend
    for kind, flops in limits.flops.items():
        colour, width = (COLOURS["ink"], 1.8) if kind == dtype else (COLOURS["faint"], 1.0)
        ax.plot(x, [limits.roof(intensity, kind) for intensity in x], color=colour, lw=width, label=kind, zorder=1)
        paper = {"color": "white", "pad": 0}
        ax.annotate(
            kind, (x[-1], flops), (0, 5), textcoords="offset points", ha="right", fontsize=8, bbox=paper, zorder=4
        )
    heights = apart({name: np.log(y / low) / np.log(high / low) for name, y in reached.items()})
    for name, (traffic, seconds) in points.items():
        (colour, marker), at = LIMIT_STYLES[first[name]], traffic.intensity
        ax.plot([at, at], [reached[name], allowed[name]], color=colour, lw=0.8, zorder=2)
        ax.plot(at, allowed[name], "_", color=colour, ms=10, zorder=2)
        ax.plot(at, reached[name], marker, color=colour, mfc=colour if seconds else "white", label=name, zorder=3)
        line = {"arrowstyle": "-", "color": COLOURS["faint"], "lw": 0.6, "shrinkB": 5}
        here, there = (at, reached[name]), (1.02, heights[name])
        ax.annotate(name, here, there, textcoords="axes fraction", va="center", fontsize=8, arrowprops=line)
    ax.set(xscale="log", yscale="log", xlim=(x[0], x[-1]), ylim=(low, high))
    ax.set(xlabel="FLOPs per byte", ylabel="FLOP/s", title=limits.device)
    for limit, (colour, marker) in LIMIT_STYLES.items():
        if limit in first.values():
            ax.plot([], [], marker, color=colour, label=f"limited by {limit}")
    ax.plot([], [], "_", color=COLOURS["ink"], ms=10, label="allowed by the limits")
    ax.plot([], [], "o", color=COLOURS["ink"], mfc="white", label="counted, not run")
    names = [f"limited by {limit}" for limit in LIMIT_STYLES]
    legend(ax, [*names, "allowed by the limits", "counted, not run"], loc="lower right", fontsize=8)


def apart(heights: dict[str, float], gap: float = 0.055) -> dict[str, float]:
    """Move what is closer than `gap` apart, keeping its order: up from the lowest, then down again to stay below 1."""
    moved: dict[str, float] = {}
    for name in sorted(heights, key=lambda name: heights[name]):
        moved[name] = max(heights[name], max(moved.values(), default=-gap) + gap)
    top = 1.0
    for name in reversed(moved):
        moved[name] = min(moved[name], top)
        top = moved[name] - gap
    return moved


def plot_bounds(
    ax: "Axes", limits: Any, points: RooflinePoints, dtype: str = "float32", data: Mapping[str, float] | None = None
) -> None:
    """Draw a row for each step: the milliseconds that each limit alone would let it take, and those measured.

    The grey line goes from what `limits.predicted` says, which is at least the largest of them, to what was measured.
    `data` are the seconds that a batch takes to draw.
    """
    for row, (name, (traffic, seconds)) in enumerate(points.items()):
        drawing = (data or {}).get(name, 0.0)
        for limit, bound in limits.bounds(traffic, dtype, drawing).items():
            colour, marker = LIMIT_STYLES[limit]
            if bound:
                ax.plot(1000 * bound, row, marker, color=colour, label=limit, ls="", zorder=3)
        if seconds:
            predicted = limits.predicted(traffic, dtype, drawing)
            ax.plot([1000 * predicted, 1000 * seconds], [row, row], color=COLOURS["faint"], lw=4, zorder=1)
            ax.plot(1000 * seconds, row, "|", color=COLOURS["ink"], ms=14, mew=2, label="measured", zorder=2)
    ax.set_yticks(range(len(points)), list(points))
    ax.invert_yaxis()
    ax.set(xscale="log", xlabel="milliseconds a step", title=limits.device)
    legend(ax, [*LIMIT_STYLES, "measured"], loc="upper left", bbox_to_anchor=(1, 1))


def legend(ax: "Axes", names: list[str], **options: Any) -> None:
    """A legend of the lines with these labels, in this order, each once; names that no line has are left out."""
    handles = {line.get_label(): line for line in reversed(ax.lines)}
    ax.legend(handles=[handles[name] for name in names if name in handles], **options)


# Notebook 00: the game, and why a generator leaves points between the clouds ------------------------------------------


def draw_game() -> "Figure":
    """The two networks of a GAN, what goes into them, and which loss trains which: z → G → fake → D ← real."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    figure, ax = plt.subplots(figsize=(9, 2.9))
    ax.set(xlim=(0, 12), ylim=(0, 3.7))
    ax.set_axis_off()
    high, low, middle = 2.55, 0.85, 1.7  # the rows of the fake, of the real, and between them
    forward = {"arrowstyle": "-|>", "color": COLOURS["ink"], "lw": 1.5, "shrinkA": 0, "shrinkB": 0}
    for start, end in (
        ((0.85, high), (1.6, high)),
        ((3.0, high), (3.9, high)),
        ((4.9, high), (6.0, high)),
        ((4.9, low), (6.0, low)),
        ((7.4, high), (8.3, high)),
        ((7.4, low), (8.3, low)),
    ):
        ax.annotate("", end, start, arrowprops=forward)
    for name, x, bottom, top in (("G", 1.6, 2.05, 3.55), ("D", 6.0, 0.4, 3.55)):
        ax.add_patch(Rectangle((x, bottom), 1.4, top - bottom, color=COLOURS[name], zorder=2))
        ax.text(x + 0.7, (bottom + top) / 2, name, color="white", fontsize=18, weight="bold", ha="center", va="center")
    ax.text(0.55, high, "z", fontsize=15, style="italic", ha="center", va="center")
    ax.text(0.55, high - 0.5, "random\nnumbers", fontsize=9, ha="center", va="top")
    for name, y in (("fake", high), ("real", low)):
        ax.plot(4.25, y, MARKERS[name], ms=13, color=COLOURS[name])
        ax.text(4.4, y - 0.34, f"{name} images", fontsize=10, color=COLOURS[name], ha="center", va="top")
        ax.text(8.4, y, f"score of the {name}", fontsize=10, va="center")
    ax.text(8.4, middle, "d_loss: fake low, real high", fontsize=11, color=COLOURS["D"], weight="bold", va="center")
    ax.text(8.4, 3.2, "g_loss: fake high", fontsize=11, color=COLOURS["G"], weight="bold", va="center")
    for name, start, end in (("D", (8.3, middle), (7.45, middle)), ("G", (8.3, 3.2), (3.05, 3.2))):
        back = {"arrowstyle": "-|>", "color": COLOURS[name], "lw": 2, "ls": (0, (3, 1.5)), "shrinkA": 0, "shrinkB": 0}
        edge = {"arrowstyle": "-", "color": "white", "lw": 5, "shrinkA": 0, "shrinkB": 0}
        for style in (edge, back):
            ax.annotate("", end, start, arrowprops=style, zorder=3)
    ax.text(4.5, 3.3, "gradient through D", fontsize=9, color=COLOURS["G"], ha="center", va="bottom")
    return figure


def plot_between_clouds(
    moments: Sequence[int], shares: Mapping[int, Sequence[float]], real: Tensor, walk: Tensor, away: Tensor
) -> "Figure":
    """Left, the share of points near a cloud over training; right, where G sends a straight walk from z to z.

    Args:
        moments: the steps at which the shares were measured.
        shares: for each seed, a share in [0, 1] for each moment.
        real: points of the data, (N, 2).
        walk: G's points along the walk, (M, 2).
        away: True for each point of the walk that is near no cloud, (M,).
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(1.3, 1))
    for (seed, values), shade in zip(shares.items(), np.linspace(0.15, 0.65, len(shares)), strict=True):
        left.plot(moments, values, "-s", ms=4, color=str(shade), label=f"seed {seed}")
    left.axhline(1, ls="--", lw=1, color=COLOURS["ink"])
    left.set(xlabel="step", ylabel="share of the fakes near a cloud", ylim=(0, 1.08))
    left.yaxis.set_major_formatter("{x:.0%}")
    left.legend(loc="lower right")
    x, y = real.detach().cpu().T
    right.plot(x, y, MARKERS["real"], ms=3, mew=0, alpha=0.5, color=COLOURS["real"])
    x, y = walk.detach().cpu().T
    right.plot(x, y, "-", lw=0.8, color=COLOURS["fake"], zorder=2)
    for chosen, face, label in ((away, "white", "near no cloud"), (~away, COLOURS["fake"], "near a cloud")):
        style = {"ms": 5, "mew": 0.8, "color": COLOURS["fake"], "mfc": face, "label": label}
        right.plot(x[chosen.cpu()][::12], y[chosen.cpu()][::12], MARKERS["fake"], **style)
    right.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", title="G along a straight walk in z")
    right.legend(loc="center", fontsize=9)
    return figure


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


# Notebook 04: pairs, a U-Net, what D says of patches, tables over seeds -----------------------------------------------


def show_rows(rows: Mapping[str, Tensor], columns: int = 12, width: float = 9.0) -> "Figure":
    """Draw rows of images (N, C, H, W) in [-1, 1], each with its name at the left; after `columns` of them a new block.

    Args:
        rows: the name of each row and its images, as many in each.
        columns: how many images stand side by side.
        width: of the figure, in inches.
    """
    import matplotlib.pyplot as plt

    names, count = list(rows), len(next(iter(rows.values())))
    blocks = [
        {name: images[start : start + columns] for name, images in rows.items()} for start in range(0, count, columns)
    ]
    cell = (width - 1.1) / min(columns, count)
    height = len(blocks) * (len(names) * cell + 0.12)
    figure, axes = plt.subplots(len(blocks), 1, figsize=(width, height), squeeze=False, layout="none")
    figure.subplots_adjust(left=1.1 / width, right=1, top=1, bottom=0, hspace=0.12 / (len(names) * cell))
    for ax, block in zip(axes[:, 0], blocks, strict=True):
        image_rows(ax, {name: with_white_edge(images) for name, images in block.items()})
        ax.set(anchor="W")
    return figure


def with_white_edge(images: Tensor) -> Tensor:
    """With a white edge of one pixel, which keeps neighbours apart."""
    return torch.nn.functional.pad(images.detach().cpu(), (1, 1, 1, 1), value=1.0)


def draw_pix2pix(A: Tensor, fake_B: Tensor, B: Tensor) -> "Figure":
    """What each player of pix2pix is shown, and which loss trains which; three images (3, H, W) in [-1, 1]."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    figure, ax = plt.subplots(figsize=(9, 3.4))
    ax.set(xlim=(0, 12.6), ylim=(0, 4.6), aspect="equal")
    ax.set_axis_off()
    high, low, side = 3.2, 1.0, 1.3
    ink, fake, real = COLOURS["ink"], COLOURS["fake"], COLOURS["real"]
    places = (
        (A, 0.2, 2.1, ink, "A", -0.35),
        (fake_B, 4.1, high, fake, "fake_B = G(A)", 0.35),
        (B, 4.1, low, real, "B", -0.35),
    )
    for image, x, y, colour, name, beside in places:
        box = (x, x + side, y - side / 2, y + side / 2)
        ax.imshow(tile(image[None], 1), extent=box, interpolation="nearest", zorder=2)
        ax.add_patch(Rectangle((x, y - side / 2), side, side, fill=False, ec=colour, lw=2, zorder=3))
        top = y + np.sign(beside) * side / 2
        ax.text(
            x + side / 2, top + beside * 0.25, name, color=colour, ha="center", va="bottom" if beside > 0 else "top"
        )
    for name, x, bottom, top in (("G", 2.2, 2.55, 3.85), ("D", 7.9, 0.35, 3.85)):
        ax.add_patch(Rectangle((x, bottom), 1.2, top - bottom, color=COLOURS[name], zorder=2))
        ax.text(x + 0.6, (bottom + top) / 2, name, color="white", fontsize=18, weight="bold", ha="center", va="center")
    forward = {"arrowstyle": "-|>", "color": ink, "lw": 1.5, "shrinkA": 0, "shrinkB": 0}
    for start, end in (
        ((1.5, 2.45), (2.15, 2.9)),
        ((3.4, high), (4.05, high)),
        ((5.45, high), (7.85, high)),
        ((5.45, low), (7.85, low)),
        ((9.1, high), (9.7, high)),
        ((9.1, low), (9.7, low)),
    ):
        ax.annotate("", end, start, arrowprops=forward)
    ax.text(6.6, high + 0.1, "A and fake_B", color=fake, fontsize=9, ha="center", va="bottom")
    ax.text(6.6, low + 0.1, "A and B", color=real, fontsize=9, ha="center", va="bottom")
    ax.text(9.8, high, "scores: real?", fontsize=10, va="center")
    ax.text(9.8, low, "scores: real?", fontsize=10, va="center")
    ax.text(9.8, 2.1, "d_loss: fake low,\nreal high", fontsize=10, color=COLOURS["D"], weight="bold", va="center")
    between = {"arrowstyle": "<|-|>", "color": COLOURS["G"], "lw": 2, "shrinkA": 2, "shrinkB": 2}
    ax.annotate("", (4.75, high - side / 2), (4.75, low + side / 2), arrowprops=between)
    ax.text(4.95, 2.1, "λ · l1_loss:\nfake_B near B", fontsize=10, color=COLOURS["G"], weight="bold", va="center")
    ax.text(9.8, 4.25, "g_loss: fake high", fontsize=10, color=COLOURS["G"], weight="bold", va="center")
    back = {"arrowstyle": "-|>", "color": COLOURS["G"], "lw": 2, "ls": (0, (3, 1.5)), "shrinkA": 0, "shrinkB": 0}
    ax.plot([2.8, 2.8, 9.7], [3.9, 4.25, 4.25], color=COLOURS["G"], lw=2, ls=(0, (3, 1.5)))
    ax.annotate("", (2.8, 3.87), (2.8, 4.2), arrowprops=back)
    return figure


def draw_unet(G: Any, image: Tensor) -> "Figure":
    """The features of a U-Net for one image (C, H, W): down on the left, up on the right, and the skips between them.

    Sizes are measured by asking G, in evaluation mode, on a copy. A box is as high as the logarithm of its side in
    pixels.
    """
    import copy

    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    from gantutor.models.unet import UNetBlock

    G = copy.deepcopy(G).eval()
    down, up = [tuple(image.shape[:2])], []
    blocks = [module for module in G.modules() if isinstance(module, UNetBlock)]  # from the outermost on
    for block in blocks:
        block.register_forward_hook(lambda block, given, made: sizes.append((given[0].shape[1:3], made.shape[1])))
    sizes: list[tuple[Any, int]] = []
    with torch.no_grad():
        out = G(image[None])
    for (channels, side), made in reversed(sizes):  # the innermost ends first
        down.append((channels, side))
        up.append((made - channels, side))
    innermost = next(module for module in blocks[-1].model if isinstance(module, torch.nn.Conv2d))
    bottom = (innermost.out_channels, down[-1][1] // 2)
    up = [(out.shape[1], out.shape[2]), *up]

    figure, ax = plt.subplots(figsize=(9, 3.1))
    ax.set_axis_off()
    last = len(down)
    for i, ((c_down, side), (c_up, _)) in enumerate(zip(down, up, strict=True)):
        height = 0.35 + 0.32 * np.log2(side)
        for x, channels, name in ((i, c_down, "A"), (2 * last - i, c_up, "fake_B")):
            ax.add_patch(
                Rectangle((x - 0.26, -height / 2), 0.52, height, color=COLOURS["G"], alpha=0.85 if i else 0.35)
            )
            ax.text(
                x,
                -height / 2 - 0.08,
                f"{side}²\n{channels} ch." if i else f"{name}\n{side}²",
                ha="center",
                va="top",
                fontsize=8,
            )
        if i:
            y = height / 2 - 0.12
            skip = {"arrowstyle": "-|>", "color": COLOURS["ink"], "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", (2 * last - i - 0.28, y), (i + 0.28, y), arrowprops=skip)
    ax.add_patch(Rectangle((last - 0.26, -0.18), 0.52, 0.36, color=COLOURS["G"]))
    ax.text(last, -0.26, f"{bottom[1]}²\n{bottom[0]} ch.", ha="center", va="top", fontsize=8)
    ax.text(last, 0.95, "skips", ha="center", va="bottom", fontsize=10)
    ax.set(xlim=(-0.6, 2 * last + 0.6), ylim=(-1.75, 1.25))
    return figure


def plot_verdicts(rows: Mapping[str, tuple[Tensor, Tensor]], field: Any) -> "Figure":
    """Draw images under D's verdict on each patch, from purple (fake) to green (real); a row for each name.

    Args:
        rows: images (N, C, H, W) in [-1, 1] and D's probabilities of "real" for them, (N, h, w), as many in each row.
        field: what one logit of D sees, as `gantutor.models.receptive_field` gives it.
    """
    import matplotlib.pyplot as plt

    count = len(next(iter(rows.values()))[0])
    figure, axes = plt.subplots(len(rows), count, figsize=(9, 1.15 * len(rows) + 0.1), squeeze=False)
    for line, (name, (images, verdicts)) in zip(axes, rows.items(), strict=True):
        for ax, image, verdict in zip(line, images, verdicts, strict=True):
            edge = field.first + (field.size - field.stride) / 2 - 0.5
            end = edge + len(verdict) * field.stride
            ax.imshow(tile(image[None], 1))
            heat = ax.imshow(
                verdict.cpu().numpy(), cmap=SURFACE, vmin=0, vmax=1, alpha=0.6, extent=(edge, end, end, edge)
            )
            ax.set(xlim=(-0.5, image.shape[2] - 0.5), ylim=(image.shape[1] - 0.5, -0.5), xticks=[], yticks=[])
            ax.grid(False)
            ax.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.colorbar(heat, ax=axes, label="D: fake … real", fraction=0.03)
    return figure


def plot_by_seed(
    rows: Sequence[Mapping[str, Any]],
    conditions: Mapping[str, Mapping[str, Any]],
    scores: Mapping[str, str],
    marks: Mapping[str, Mapping[str, float]] | None = None,
) -> "Figure":
    """Draw a table of seeds: a column of axes for each score, a line for each condition, a dot for each seed.

    Args:
        rows: of the table.
        conditions: each condition's name, and the values that its rows have.
        scores: the columns of the table to draw, with their titles.
        marks: for a score, values to mark by a dashed line and their names, such as that of the true images.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(scores), figsize=(9, 0.9 + 0.33 * len(conditions)), sharey=True, squeeze=False)
    for ax, (score, title) in zip(axes[0], scores.items(), strict=True):
        for y, wanted in enumerate(conditions.values()):
            chosen = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
            values = [row[score] for row in chosen]
            ax.plot(values, [y] * len(values), "o", ms=5, mew=0, alpha=0.6, color=COLOURS["ink"])
            ax.plot([np.mean(values)] * 2, [y - 0.32, y + 0.32], color=COLOURS["ink"], lw=2)
        for name, value in (marks or {}).get(score, {}).items():
            ax.axvline(value, ls="--", lw=1, color=COLOURS["real"])
            ax.annotate(
                name, (value, -0.62), ha="center", va="bottom", color=COLOURS["real"], fontsize=9, annotation_clip=False
            )
        ax.set_title(title, pad=16)
        ax.set(yticks=range(len(conditions)), yticklabels=list(conditions), ylim=(len(conditions) - 0.5, -0.5))
        ax.grid(False, axis="y")
    return figure


# CycleGAN (notebook 05) -----------------------------------------------------------------------------------------------


def quantise(images: Tensor, levels: int) -> Tensor:
    """Images in [-1, 1] with `levels` brightnesses of each colour, evenly spaced from -1 to 1."""
    return ((images + 1) / 2 * (levels - 1)).round() / (levels - 1) * 2 - 1


CYCLE_PLACES = {"real_A": (0, 1), "fake_B": (2.2, 1), "rec_A": (4.4, 1), "real_B": (0, 0), "idt_B": (2.2, 0)}
CYCLE_ARROWS = (("real_A", "fake_B", "G_AB", "-"), ("fake_B", "rec_A", "G_BA", "--"), ("real_B", "idt_B", "G_AB", "-"))
CYCLE_TERMS = (  # its name, what it wants, where that is written, the images that it looks at with the line's end there
    ("adversarial", "D_B(fake_B) should be 1", (2.6, 2.25), {"fake_B": (2.6, 1.8)}, "D"),
    ("cycle", "|rec_A − real_A| should be 0", (2.6, 2.95), {"real_A": (0.4, 1.8), "rec_A": (4.8, 1.8)}, "ink"),
    ("identity", "|idt_B − real_B| should be 0", (4.7, 0.4), {"idt_B": (3.0, 0.4)}, "ink"),
)


def draw_cycle(ax: "Axes", images: Mapping[str, Tensor], gradients: Mapping[str, float]) -> None:
    """Half of CycleGAN's step: images as nodes, generators as arrows, and the terms that look at the images.

    Args:
        ax: where to draw.
        images: (C, H, W) in [-1, 1], by the names in CYCLE_PLACES.
        gradients: the norm of each term's gradient in G_AB, by the names in CYCLE_TERMS.
    """
    for name, (x, y) in CYCLE_PLACES.items():
        ax.imshow(tile(images[name][None], 1), extent=(x, x + 0.8, y, y + 0.8))
        ax.text(x + 0.4, y - 0.03, name, ha="center", va="top")
    for start, end, network, style in CYCLE_ARROWS:
        (x, y), (to, _) = CYCLE_PLACES[start], CYCLE_PLACES[end]
        arrow = {"arrowstyle": "-|>", "lw": 2.5, "ls": style, "color": COLOURS["G"]}
        ax.annotate("", (to - 0.08, y + 0.4), (x + 0.88, y + 0.4), arrowprops=arrow)
        ax.text((x + to) / 2 + 0.4, y + 0.5, network, ha="center", color=COLOURS["G"], weight="bold")
    for name, text, place, ends, colour in CYCLE_TERMS:
        for seen in ends.values():
            ax.annotate("", place, seen, arrowprops={"arrowstyle": "-", "color": COLOURS[colour], "ls": ":", "lw": 1.5})
        box = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": COLOURS[colour], "lw": 1.5}
        label = f"{name}: {text}\ngradient in G_AB: {gradients[name]:.2f}"
        ax.text(*place, label, ha="center", va="center", color=COLOURS[colour], bbox=box, fontsize=9)
    ax.set(xlim=(-0.15, 6.1), ylim=(-0.4, 3.3), aspect="equal")
    ax.set_axis_off()


def image_rows(ax: "Axes", rows: Mapping[str, Tensor]) -> None:
    """Images (N, C, H, W) in rows, each with its name at the left."""
    images = list(rows.values())
    height = images[0].shape[2]
    show_images(ax, torch.cat(images), columns=len(images[0]))
    for number, name in enumerate(rows):
        ax.text(-4, (number + 0.5) * height, name, ha="right", va="center", fontsize=9)


def plot_seeds(ax: "Axes", values: Mapping[str, Mapping[str, Sequence[float]]], title: str = "") -> None:
    """A row for each name, and in it a mark for each seed, for two directions side by side; a line is the mean.

    `values` has, for each name, the seeds' values by direction. The directions are told apart by marker and place.
    """
    names = list(values)
    for height, name in enumerate(reversed(names)):
        for (direction, seeds), marker, shift in zip(values[name].items(), ("o", "s"), (0.15, -0.15), strict=False):
            full = "full" if marker == "o" else "none"
            style: dict[str, Any] = {"color": COLOURS["ink"], "fillstyle": full, "ms": 5}
            label = direction if height == len(names) - 1 else None
            ax.plot(seeds, [height + shift] * len(seeds), marker, ls="none", label=label, **style)
            ax.plot(np.mean(seeds), height + shift, "|", color=COLOURS["ink"], ms=14, mew=2)
    ax.set(title=title, yticks=range(len(names)), yticklabels=names[::-1])
    ax.set(xlim=(0, None), ylim=(-0.5, len(names) - 0.5))
