"""Figures: the colours and the few pictures that every notebook uses."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gantutor.data.images import to_bytes
from gantutor.models import receptive_field

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers: one meaning each throughout the course.
COLOURS = {"D": "#0072B2", "G": "#D55E00", "real": "#009E73", "fake": "#AA3377", "ink": "#333333", "faint": "#BBBBBB"}
MARKERS = {"real": "o", "fake": "^"}  # with lightness, what tells the two apart without colour
SURFACE = "PRGn"  # D's verdict from fake (purple) to real (green)

# The same from ColorBrewer, for whoever has no matplotlib: red, green and blue in [0, 1].
VERDICT_STOPS = (
    (0.25, 0.00, 0.29), (0.46, 0.16, 0.51), (0.60, 0.44, 0.67), (0.76, 0.65, 0.81), (0.91, 0.83, 0.91),
    (0.97, 0.97, 0.97),
    (0.85, 0.94, 0.83), (0.65, 0.86, 0.63), (0.35, 0.68, 0.38), (0.11, 0.47, 0.22), (0.00, 0.27, 0.11),
)  # fmt: skip
# Red, green and blue, (3, 1001), of every thousandth between the stops.
VERDICT_SHADES = F.interpolate(torch.tensor(VERDICT_STOPS).T[None], 1001, mode="linear", align_corners=True)[0]

# What limits a step: colour and marker, told apart by either.
LIMIT_STYLES = {
    "launches": ("#E69F00", "^"),
    "arithmetic": ("#333333", "o"),
    "memory": ("#56B4E9", "s"),
    "data": ("#888888", "D"),
}

Point = tuple[float, float]
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


def to_pixels(images: Tensor, most: int = 0) -> np.ndarray:
    """Images (N, C, H, W) in [-1, 1] as uint8 (N, H, W), or (N, H, W, 3) if C is 3.

    Those of more than `most` pixels, where that is given, are averaged down.
    """
    shrink = -(-max(images.shape[2:]) // most) if most else 1
    pixels = to_bytes(F.avg_pool2d(images.detach().float(), shrink) if shrink > 1 else images)
    return (pixels[:, 0] if pixels.shape[1] == 1 else pixels.permute(0, 2, 3, 1).contiguous()).cpu().numpy()


def sheet(pixels: np.ndarray, columns: int, edge: int = 0) -> np.ndarray:
    """Images uint8 (N, H, W) or (N, H, W, 3) as one, row by row, each with a white edge; what is missing is black."""
    edges = ((0, 0), (edge, edge), (edge, edge), (0, 0))[: pixels.ndim]
    cells = np.pad(pixels, edges, constant_values=255)
    empty = np.zeros((-len(cells) % columns, *cells.shape[1:]), np.uint8)
    rows = np.concatenate([cells, empty]).reshape(-1, columns, *cells.shape[1:]).swapaxes(1, 2)
    return rows.reshape(len(rows) * cells.shape[1], -1, *cells.shape[3:])


def show_images(ax: "Axes", images: Tensor, title: str = "", columns: int = 8) -> None:
    """Draw images (N, C, H, W) in [-1, 1] as a grid."""
    ax.imshow(sheet(to_pixels(images), columns), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
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
        ax.text(x[-1], 1.1 * flops, kind, ha="right", va="bottom", fontsize=8)
    for name, (traffic, seconds) in points.items():
        (colour, marker), at = LIMIT_STYLES[first[name]], traffic.intensity
        ax.plot([at, at], [reached[name], allowed[name]], color=colour, lw=0.8, zorder=2)
        ax.plot(at, allowed[name], "_", color=colour, ms=10, zorder=2)
        ax.plot(at, reached[name], marker, color=colour, mfc=colour if seconds else "white", label=name, zorder=3)
    ax.set(xscale="log", yscale="log", xlim=(x[0], x[-1]), ylim=(low, high))
    ax.set(xlabel="FLOPs per byte", ylabel="FLOP/s", title=limits.device)
    label_points(
        ax, {name: (traffic.intensity, reached[name], COLOURS["ink"]) for name, (traffic, _) in points.items()}
    )
    for limit, (colour, marker) in LIMIT_STYLES.items():
        if limit in first.values():
            ax.plot([], [], marker, color=colour, label=f"limited by {limit}")
    ax.plot([], [], "_", color=COLOURS["ink"], ms=10, label="allowed by the limits")
    if not all(seconds for _, seconds in points.values()):
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


def label_points(ax: "Axes", points: Mapping[str, tuple[float, float, str]]) -> None:
    """Write points' names in the right margin, where none covers another, each with a line to its point.

    Args:
        ax: where to draw, after its limits and scales are set; y is logarithmic.
        points: each point's name, with its x, its y and the name's colour.
    """
    low, high = np.log(ax.get_ylim())
    heights = apart({name: float((np.log(y) - low) / (high - low)) for name, (_, y, _) in points.items()})
    line = {"arrowstyle": "-", "color": COLOURS["faint"], "lw": 0.6, "shrinkB": 5}
    for name, (x, y, colour) in points.items():
        style: dict[str, Any] = {"color": colour, "va": "center", "fontsize": 8, "arrowprops": line}
        ax.annotate(name, (x, y), (1.02, heights[name]), textcoords="axes fraction", **style)


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
    ax.set(xscale="log", xlabel="milliseconds a step", title=limits.device, ylim=(len(points) - 0.5, -0.5))
    legend(ax, [*LIMIT_STYLES, "measured"], loc="upper left", bbox_to_anchor=(1, 1))


def legend(ax: "Axes", names: list[str], **options: Any) -> None:
    """A legend of the lines with these labels, in this order, each once; names that no line has are left out."""
    handles = {line.get_label(): line for line in reversed(ax.lines)}
    ax.legend(handles=[handles[name] for name in names if name in handles], **options)


# What several drawings are made of ------------------------------------------------------------------------------------


def canvas(width: float, height: float, right: float, top: float, **options: Any) -> tuple["Figure", "Axes"]:
    """A figure of that many inches without axes, to be drawn on from (0, 0) to (right, top)."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(width, height))
    ax.set(xlim=(0, right), ylim=(0, top), **options)
    ax.set_axis_off()
    return figure, ax


def word(ax: "Axes", x: float, y: float, text: str, colour: str = "ink", **style: Any) -> None:
    ax.text(x, y, text, color=COLOURS[colour], **{"ha": "center", "va": "center", "fontsize": 10, **style})


def arrow(ax: "Axes", start: Point, end: Point, colour: str = "ink", **style: Any) -> None:
    """From start to end; a gradient's is dashed."""
    dashed = {"ls": (0, (3, 1.5)), "lw": 2} if colour in ("D", "G") else {"lw": 1.5}
    shown = {"arrowstyle": "-|>", "color": COLOURS[colour], "shrinkA": 0, "shrinkB": 0, **dashed, **style}
    ax.annotate("", end, start, arrowprops=shown, zorder=3)


def network_box(ax: "Axes", name: str, left: float, right: float, bottom: float, top: float) -> None:
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((left, bottom), right - left, top - bottom, color=COLOURS[name], zorder=2))
    style: dict[str, Any] = {"color": "white", "fontsize": 18, "weight": "bold"}
    ax.text((left + right) / 2, (bottom + top) / 2, name, ha="center", va="center", **style)


def place_image(ax: "Axes", image: Tensor, x: float, y: float, side: float, name: str, colour: str) -> None:
    """An image (C, H, W) around (x, y), its name below."""
    half = side / 2
    shown = ax.imshow(to_pixels(image[None])[0], extent=(x - half, x + half, y - half, y + half), cmap="gray", zorder=2)
    corners = [(x + half * a, y + half * b) for a, b in ((-1, -1), (-1, 1), (1, 1), (1, -1), (-1, -1))]
    ax.plot(*zip(*corners, strict=True), color=COLOURS[colour], lw=2, zorder=3)
    shown.set_clim(0, 255)
    word(ax, x, y - half - 0.09, name, colour, va="top")


# Notebooks 00 and 04: the game; 00: why a generator leaves points between the clouds ----------------------------------


def draw_game(A: Tensor | None = None, fake_B: Tensor | None = None, B: Tensor | None = None) -> "Figure":
    """What goes into the two networks of a GAN, and which loss trains which: z → G → fake → D ← real.

    With three images (3, H, W) in [-1, 1] it is the game of pix2pix: G is given A, D sees A beside each image, and an
    L1 loss draws the fake to the real.
    """
    figure, ax = canvas(9, 3.5, 12.8, 4.98, aspect="equal")
    high, low, middle = 3.35, 0.97, 2.15  # the rows of the fake, of the real, and between them
    network_box(ax, "G", 2.2, 3.4, 2.7, 4.8)
    network_box(ax, "D", 7.9, 9.1, 0.3, 4.8)
    for x, y, colour, image, name, name_of_pair in (
        (0.85, high, "ink", A, "random\nnumbers", "A"),
        (4.75, high, "fake", fake_B, "fake images", "fake_B = G(A)"),
        (4.75, low, "real", B, "real images", "B"),
    ):
        if image is None:
            ax.plot(x, y, marker=MARKERS.get(colour, "$z$"), ms=13, mew=0, color=COLOURS[colour])
            word(ax, x, y - 0.4, name, colour, va="top")
        else:
            place_image(ax, image, x, y, 1.3, name_of_pair, colour)
    for y, name, shown in ((high, "fake", "A and fake_B"), (low, "real", "A and B")):
        arrow(ax, (5.5, y), (7.85, y))
        arrow(ax, (9.1, y), (9.8, y))
        word(ax, 9.9, y, f"score of the {name}", ha="left")
        if A is not None:
            word(ax, 6.65, y + 0.1, shown, name, fontsize=9, va="bottom")
    for left, right in ((1.55, 2.15), (3.4, 4.05)):
        arrow(ax, (left, high), (right, high))
    for name, text, y, end in (("D", "fake low,\nreal high", middle, 9.15), ("G", "fake high", 4.4, 3.45)):
        word(ax, 9.9, y, f"{name.lower()}_loss: {text}", name, fontsize=11, weight="bold", ha="left")
        arrow(ax, (9.8, y), (end, y), name, color="white", arrowstyle="-", lw=5, ls="-")  # an edge around the next
        arrow(ax, (9.8, y), (end, y), name)
    word(ax, 5.65, 4.5, "gradient through D", "G", fontsize=9, va="bottom")
    if A is not None:
        arrow(ax, (4.75, low + 0.7), (4.75, high - 1.02), "G", arrowstyle="<|-|>", ls="-")
        word(ax, 4.95, 2.0, "λ · l1_loss:\nfake_B near B", "G", weight="bold", ha="left")
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
    show_points(right, real, None, "G along a straight walk in z")
    x, y = walk.detach().cpu().T
    right.plot(x, y, "-", lw=0.8, color=COLOURS["fake"], zorder=2)
    for chosen, face, label in ((away, "white", "near no cloud"), (~away, COLOURS["fake"], "near a cloud")):
        style = {"ms": 5, "mew": 0.8, "color": COLOURS["fake"], "mfc": face, "label": label}
        right.plot(x[chosen.cpu()][::12], y[chosen.cpu()][::12], MARKERS["fake"], **style)
    right.legend(handles=right.lines[2:], loc="center", fontsize=9)
    return figure


# Notebook 02: what a gradient is made of, and names at the ends of curves ---------------------------------------------


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
        ends = {True: 0.0, False: 0.0}  # of the bars above zero and of those below
        for share in state.contributions:
            player = "D" if texts.get(share.line, "").startswith("d_loss") else "G"
            ax.bar(x, share.along, 0.8, ends[share.along >= 0], color=COLOURS[player])
            ends[share.along >= 0] += share.along
        if state.contributions:
            ax.plot([x - 0.4, x + 0.4], [state.gradient_norm] * 2, color="black", lw=2.5)
        highest = max(highest, ends[True], state.gradient_norm)
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


# Notebook 04: pairs, a U-Net, what D says of patches ------------------------------------------------------------------


def show_rows(rows: Mapping[str, Tensor], columns: int = 12, width: float = 9.0) -> "Figure":
    """Draw rows of images (N, C, H, W) in [-1, 1], each with its name at the left; after `columns` of them a new block.

    Args:
        rows: the name of each row and its images, as many in each.
        columns: how many images stand side by side.
        width: of the figure, in inches.
    """
    import matplotlib.pyplot as plt

    edged = {name: torch.nn.functional.pad(row.detach().cpu(), (1, 1, 1, 1), value=1.0) for name, row in rows.items()}
    blocks = list(zip(*(images.split(columns) for images in edged.values()), strict=True))
    cell = (width - 1.1) / len(blocks[0][0])
    height = len(blocks) * (len(rows) * cell + 0.12)
    figure, axes = plt.subplots(len(blocks), 1, figsize=(width, height), squeeze=False, layout="none")
    figure.subplots_adjust(left=1.1 / width, right=1, top=1, bottom=0, hspace=0.12 / (len(rows) * cell))
    for ax, block in zip(axes[:, 0], blocks, strict=True):
        image_rows(ax, dict(zip(rows, block, strict=True)))
        ax.set(anchor="W")
    return figure


def image_rows(ax: "Axes", rows: Mapping[str, Tensor]) -> None:
    """Images (N, C, H, W) in rows, each with its name at the left."""
    images = list(rows.values())
    show_images(ax, torch.cat(images), columns=len(images[0]))
    for number, name in enumerate(rows):
        ax.text(-4, (number + 0.5) * images[0].shape[2], name, ha="right", va="center", fontsize=9)


def draw_unet(G: torch.nn.Module, image: Tensor) -> "Figure":
    """The features of a U-Net for one image (C, H, W): down on the left, up on the right, and the skips between them.

    Sizes are measured by asking a copy of G, in evaluation mode. A box is as high as the logarithm of its side.
    """
    import copy

    from matplotlib.patches import Rectangle

    sizes = [image.shape]
    asked = copy.deepcopy(G).eval()
    for module in asked.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(lambda _, given, made: sizes.append(made.shape[1:]))
    with torch.no_grad():
        asked(image[None])
    last = len(sizes) - 1
    figure, ax = canvas(9, 3.1, 1, 1)
    for x, (channels, side, _) in enumerate(sizes):
        height, end = 0.35 + 0.32 * float(np.log2(side)), x in (0, last)
        box = Rectangle((x - 0.26, -height / 2), 0.52, height, color=COLOURS["G"], alpha=0.35 if end else 0.85)
        ax.add_patch(box)
        text = f"{'fake_B' if x else 'A'}\n{side}²" if end else f"{side}²\n{channels} ch."
        word(ax, x, -height / 2 - 0.08, text, fontsize=8, va="top")
        if 0 < x < last / 2:
            arrow(ax, (x + 0.28, height / 2 - 0.12), (last - x - 0.28, height / 2 - 0.12), lw=1.2)
    word(ax, last / 2, 0.95, "skips", va="bottom")
    ax.set(xlim=(-0.6, last + 0.6), ylim=(-1.75, 1.25))
    return figure


def on_pixels(values: Tensor, D: torch.nn.Module, size: torch.Size) -> Tensor:
    """One value for each patch (n, h, w) to one for each pixel (n, H, W): that of the patch whose middle is nearest."""
    seen = receptive_field(D)
    middle = seen.first + (seen.size - 1) / 2
    rows, columns = (
        ((torch.arange(pixels) - middle) / seen.stride).round().long().clamp(0, patches - 1).to(values.device)
        for pixels, patches in zip(size, values.shape[1:], strict=True)
    )
    return values[:, rows[:, None], columns]


def tinted(images: Tensor, share: Tensor) -> Tensor:
    """Images (n, C, H, W) in grey, with the colour of D's verdict laid over them: `share` (n, H, W) in [0, 1]."""
    place = (share.clamp(0, 1) * (VERDICT_SHADES.shape[1] - 1)).round().long()
    colour = VERDICT_SHADES.to(share.device)[:, place].transpose(0, 1)
    grey = images.float().mean(dim=1, keepdim=True).to(share.device)
    return 0.4 * grey + 0.6 * (2 * colour - 1)


def plot_verdicts(rows: Mapping[str, tuple[Tensor, Tensor]], D: torch.nn.Module) -> "Figure":
    """Draw images in grey under D's verdict on each patch, from purple (fake) to green (real); a row a name.

    Args:
        rows: images (N, C, H, W) in [-1, 1] and D's probabilities of "real" for them, (N, h, w), as many in each row.
        D: whose verdicts these are.
    """
    from matplotlib.cm import ScalarMappable

    tints = {name: tinted(x, on_pixels(verdicts, D, x.shape[2:])) for name, (x, verdicts) in rows.items()}
    figure = show_rows(tints)
    figure.subplots_adjust(right=0.88)
    bar = figure.add_axes((0.9, 0.05, 0.015, 0.9))
    figure.colorbar(ScalarMappable(cmap=SURFACE), bar, label="D: fake … real")
    return figure


# Notebooks 04 and 05: tables over seeds -------------------------------------------------------------------------------


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

    chosen = {
        name: [row for row in rows if all(row[key] == value for key, value in wanted.items())]
        for name, wanted in conditions.items()
    }
    figure, axes = plt.subplots(1, len(scores), figsize=(9, 0.9 + 0.33 * len(chosen)), sharey=True, squeeze=False)
    for ax, (score, title) in zip(axes[0], scores.items(), strict=True):
        plot_seeds(ax, {name: {"": [row[score] for row in found]} for name, found in chosen.items()})
        for name, value in (marks or {}).get(score, {}).items():
            ax.axvline(value, ls="--", lw=1, color=COLOURS["real"])
            word(ax, value, -0.62, name, "real", fontsize=9, va="bottom")
        ax.set_title(title, pad=16)
    return figure


def plot_seeds(ax: "Axes", values: Mapping[str, Mapping[str, Sequence[float]]], title: str = "") -> None:
    """A row for each name, the first at the top, with a mark for each seed and a bar at their mean.

    `values` has, for each name, the seeds' values by direction: one, or two that are told apart by marker and place.
    """
    for row, directions in enumerate(values.values()):
        shifts = (-0.15, 0.15) if len(directions) > 1 else (0.0,)
        for (direction, seeds), shift, (marker, fill) in zip(
            directions.items(), shifts, (("o", "full"), ("s", "none")), strict=False
        ):
            style: dict[str, Any] = {"color": COLOURS["ink"], "fillstyle": fill, "ms": 5, "alpha": 0.6, "ls": "none"}
            ax.plot(seeds, [row + shift] * len(seeds), marker, label=direction if not row else None, **style)
            ax.plot(np.mean(seeds), row + shift, "|", color=COLOURS["ink"], ms=14, mew=2)
    names = list(values)
    ax.set(title=title, yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    ax.grid(False, axis="y")


# Notebook 05 ----------------------------------------------------------------------------------------------------------


def quantise(images: Tensor, levels: int) -> Tensor:
    """Images in [-1, 1] with `levels` brightnesses of each colour, evenly spaced from -1 to 1."""
    return ((images + 1) / 2 * (levels - 1)).round() / (levels - 1) * 2 - 1


CYCLE_PLACES = {"real_A": (0, 1.1), "fake_B": (2.2, 1.1), "rec_A": (4.4, 1.1), "real_B": (0, 0), "idt_B": (2.2, 0)}
CYCLE_ARROWS = (("real_A", "fake_B", "G_AB", "-"), ("fake_B", "rec_A", "G_BA", "--"), ("real_B", "idt_B", "G_AB", "-"))
CYCLE_TERMS = (  # its name, what it wants, where that is written, the images that it looks at with the line's end there
    ("adversarial", "D_B(fake_B) should be 1", (2.6, 2.35), {"fake_B": (2.6, 1.9)}, "D"),
    ("cycle", "|rec_A − real_A| should be 0", (2.6, 3.05), {"real_A": (0.4, 1.9), "rec_A": (4.8, 1.9)}, "ink"),
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
        colour = {"real": "real", "fake": "fake"}.get(name[:4], "ink")
        place_image(ax, images[name], x + 0.4, y + 0.4, 0.8, name, colour)
    for start, end, network, style in CYCLE_ARROWS:
        (x, y), (to, _) = CYCLE_PLACES[start], CYCLE_PLACES[end]
        arrow(ax, (x + 0.88, y + 0.4), (to - 0.08, y + 0.4), "G", ls=style, lw=2.5)
        word(ax, (x + to) / 2 + 0.4, y + 0.5, network, "G", weight="bold", va="baseline")
    for name, text, place, ends, colour in CYCLE_TERMS:
        for seen in ends.values():
            arrow(ax, seen, place, colour, arrowstyle="-", ls=":", lw=1.5)
        box = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": COLOURS[colour], "lw": 1.5}
        word(
            ax,
            *place,
            f"{name}: {text}\ngradient in G_AB: {gradients[name]:.2f}",
            colour,
            bbox=box,
            fontsize=9,
            zorder=4,
        )
    ax.set(xlim=(-0.15, 6.1), ylim=(-0.4, 3.4), aspect="equal")
    ax.set_axis_off()
