"""Images of how far a run is, always of the same z or the same held-out images. Making one changes no run."""

import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gantutor.configs import GANConfig, Pix2PixConfig
from gantutor.data import Pairs, Unpaired
from gantutor.training import Run

Samples = Callable[[Run], bytes]
GRID = 64  # images, in rows of 8
POINTS = 512
ROWS = 8  # of held-out images


def samples_of(config: Any, data: Any) -> Samples:
    """A function from a run of that config to an image, as PNG bytes."""
    return SAMPLES[data.kind](config, data)


def image_samples(config: GANConfig, data: Any) -> Samples:
    """A grid of G(z)."""
    z = fixed_z(GRID, config, data)
    return lambda run: png_grid(run.model.sample(z), columns=8)


def point_samples(config: GANConfig, data: Any) -> Samples:
    """Real points and G(z) in one plot."""
    z = fixed_z(POINTS, config, data)
    real = data.sample(POINTS, torch.Generator(data.device).manual_seed(0))
    return lambda run: png_plot(real, run.model.sample(z))


def pair_samples(config: Pix2PixConfig, data: Pairs) -> Samples:
    """Held-out pairs (those of training where there are none): input, G's output, target."""
    A, B = (data if data.held_out is None else data.held_out).first(ROWS)
    return lambda run: png_grid(side_by_side([A, run.model.translate(A, config.mode), B]), columns=3)


def unpaired_samples(config: Any, data: Unpaired) -> Samples:
    """Held-out images of A, translated, translated back; then the same from B."""
    n = min(ROWS, len(data.test_A), len(data.test_B))
    A, B = data.test(n)

    def draw(run: Run) -> bytes:
        translated = run.model.translate(A, B)
        return png_grid(
            side_by_side([A, translated["fake_B"], translated["rec_A"], B, translated["fake_A"], translated["rec_B"]]),
            columns=6,
        )

    return draw


SAMPLES: dict[str, Callable[[Any, Any], Samples]] = {
    "points": point_samples,
    "images": image_samples,
    "pairs": pair_samples,
    "unpaired": unpaired_samples,
}


def fixed_z(n: int, config: GANConfig, data: Any) -> Tensor:
    """The same z in every run of that z_dim, (n, z_dim)."""
    return torch.randn(n, config.z_dim, generator=torch.Generator().manual_seed(0)).to(data.device)


def side_by_side(columns: list[Tensor]) -> Tensor:
    """Batches (n, C, H, W) one beside the other, as one of n · len(columns); grey becomes colour."""
    coloured = [column.cpu().expand(-1, 3, -1, -1) for column in columns]
    return torch.stack(coloured, dim=1).flatten(0, 1)


def png_grid(images: Tensor, columns: int) -> bytes:
    """Images (N, C, H, W) in [-1, 1], in rows of `columns`."""
    from torchvision.utils import save_image

    out = io.BytesIO()
    save_image(images, out, format="png", nrow=columns, normalize=True, value_range=(-1, 1))
    return out.getvalue()


def png_plot(real: Tensor, fake: Tensor) -> bytes:
    """Points (N, 2) in the plane, whatever the process has set for its figures."""
    from matplotlib import style
    from matplotlib.figure import Figure

    from gantutor.plots import show_points

    out = io.BytesIO()
    with style.context("default"):
        figure = Figure(figsize=(4, 4), layout="constrained")
        ax = figure.subplots()
        show_points(ax, real, fake)
        ax.legend(loc="upper right")
        figure.savefig(out, format="png")
    return out.getvalue()
