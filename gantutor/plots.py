"""Figures: the colours and the few pictures that every notebook uses."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by colour-blind readers: one meaning each throughout the course.
COLOURS = {"D": "#0072B2", "G": "#D55E00", "real": "#009E73", "fake": "#AA3377", "ink": "#333333", "faint": "#BBBBBB"}
SURFACE = "PRGn"  # D's verdict from fake (purple) to real (green)


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
            ax.plot(x, y, ".", ms=3, alpha=0.6, color=COLOURS[name], label=name)
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
