"""Pictures of how far a run is, always of the same z or the same held-out pictures. Making one changes no run."""

import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gantutor.data import Pairs, Unpaired
from gantutor.experiment import Experiment, Pix2PixExperiment
from gantutor.training import Run

Samples = Callable[[Run], bytes]
GRID = 64  # images, in rows of 8
POINTS = 512
ROWS = 8  # of held-out pictures


def samples_of(record: Any, data: Any) -> Samples:
    """A function from a run of that record to a picture, as PNG bytes."""
    return SAMPLES[data.kind](record, data)


def image_samples(record: Experiment, data: Any) -> Samples:
    """A grid of G(z)."""
    z = fixed_z(GRID, record, data)
    return lambda run: png_grid(run.model.sample(z), columns=8)


def point_samples(record: Experiment, data: Any) -> Samples:
    """Real points and G(z) in one plot."""
    z = fixed_z(POINTS, record, data)
    real = data.sample(POINTS, torch.Generator(data.device).manual_seed(0))
    return lambda run: png_plot(real, run.model.sample(z))


def pair_samples(record: Pix2PixExperiment, data: Pairs) -> Samples:
    """Held-out pairs (those of training where there are none): input, G's output, target."""
    A, B = (data if data.held_out is None else data.held_out).first(ROWS)
    return lambda run: png_grid(rows([A, run.model.translate(A, record.mode), B]), columns=3)


def unpaired_samples(record: Any, data: Unpaired) -> Samples:
    """Held-out pictures of A, translated, translated back; then the same from B."""
    n = min(ROWS, len(data.test_A), len(data.test_B))
    A, B = data.test(n)

    def draw(run: Run) -> bytes:
        made = run.model.translate(A, B)
        return png_grid(rows([A, made["fake_B"], made["rec_A"], B, made["fake_A"], made["rec_B"]]), columns=6)

    return draw


SAMPLES: dict[str, Callable[[Any, Any], Samples]] = {
    "points": point_samples,
    "images": image_samples,
    "pairs": pair_samples,
    "unpaired": unpaired_samples,
}


def fixed_z(n: int, record: Experiment, data: Any) -> Tensor:
    """The same z in every run of that z_dim, (n, z_dim)."""
    return torch.randn(n, record.z_dim, generator=torch.Generator().manual_seed(0)).to(data.device)


def rows(columns: list[Tensor]) -> Tensor:
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
