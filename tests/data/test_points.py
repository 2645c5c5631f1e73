"""The densities in the plane: each is its formula, with the noise that it says."""

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from image_helpers import seeded

from gantutor.data import Points, drawn, load


def points(name: str) -> Points:
    data = load(name)
    assert isinstance(data, Points)
    return data


@pytest.mark.parametrize(("name", "number"), [("ring", 8), ("grid", 25)])
def test_mixtures_are_equally_likely_gaussians_around_their_modes(name: str, number: int) -> None:
    data, n = points(name), 40_000
    assert data.modes is not None
    assert data.modes.shape == (number, 2)
    samples = data.sample(n, seeded())
    nearest = torch.cdist(samples, data.modes).argmin(dim=1)
    assert (nearest.bincount(minlength=number) - n / number).abs().max() < 5 * math.sqrt(n / number)
    noise = samples - data.modes[nearest]
    assert noise.std(dim=0).numpy() == pytest.approx([data.std] * 2, rel=0.03)
    assert noise.mean(dim=0).abs().max() < 5 * data.std / math.sqrt(n)


def test_curves_are_their_formulas() -> None:
    u, v = torch.rand(2, 1000, generator=seeded())
    s, sign = u.numpy(), np.where(v.numpy() < 0.5, 1, -1)
    k, root = np.floor(8 * s), np.sqrt(s)
    formulas = {
        "ring": (2 * np.cos(2 * np.pi * k / 8), 2 * np.sin(2 * np.pi * k / 8)),
        "moons": (1.6 * sign * (np.cos(np.pi * s) - 1 / 2), 1.6 * sign * (np.sin(np.pi * s) - 1 / 4)),
        "spiral": (2.4 * root * np.cos(4 * np.pi * root), 2.4 * root * np.sin(4 * np.pi * root)),
    }
    for name, formula in formulas.items():
        found = points(name).curve(u, v).numpy()
        np.testing.assert_allclose(found, np.stack(formula, axis=1), atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", ["moons", "spiral"])
def test_the_noise_around_a_curve_has_the_std_it_says(name: str) -> None:
    data = points(name)
    assert data.modes is None
    fine = torch.linspace(0, 1, 2001)[:-1]
    curve = torch.cat([data.curve(fine, torch.full_like(fine, v)) for v in (0.0, 1.0)])
    distance = torch.cdist(data.sample(2000, seeded()), curve).min(dim=1).values
    assert (distance < data.std).float().mean().item() == pytest.approx(0.683, abs=0.05)


def test_points_that_somebody_has_drawn_lie_along_the_strokes_by_their_length() -> None:
    strokes = [[(-2.0, 1.0), (0.0, 1.0), (0.0, 2.0)], [(1.0, -1.0)]]  # lengths 2 and 1, and a dot, which counts as 0.3
    data = drawn(strokes)
    u = torch.tensor([0.0, 1.0, 2.0, 2.5, 3.0 - 1e-4, 3.1]) / 3.3
    wanted = [(-2, 1), (-1, 1), (0, 1), (0, 1.5), (0, 2), (1, -1)]
    np.testing.assert_allclose(data.curve(u, u), wanted, atol=1e-3)
    samples = data.sample(20_000, seeded())
    right = (samples[:, 0] > 0.6).float().mean().item()
    assert right == pytest.approx(0.3 / 3.3, abs=0.01)
    again = pickle.loads(pickle.dumps(data)), drawn(json.loads(json.dumps(strokes)))
    for same in again:
        assert torch.equal(same.sample(20_000, seeded()), samples)


@pytest.mark.parametrize(
    ("strokes", "message"),
    [([], "nothing is drawn"), ([[]], "nothing is drawn"), ([[(0, 4)]], "leaves the plane"),
     ([[(math.nan, 0)]], "leaves the plane")],
)  # fmt: skip
def test_a_drawing_without_a_point_in_the_plane_is_refused(strokes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawn(strokes)
