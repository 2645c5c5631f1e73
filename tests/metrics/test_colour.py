"""The scores of colour: hues on the wheel, and shading inside an area."""

import pytest
import torch
from torch import Tensor

from gantutor.metrics import flat_areas, hue_shift, shading


def plain(*colour: float) -> Tensor:
    """A 4x4 image of one colour, from 0 to 1 in red, green and blue."""
    return 2 * torch.tensor(colour, dtype=torch.float32)[None, :, None, None].expand(1, 3, 4, 4) - 1


@pytest.mark.parametrize(
    ("x", "y", "degrees"),
    [
        ((1, 0, 0), (1, 0, 0), 0),
        ((1, 0, 0), (0.5, 0.2, 0.2), 0),  # paler and darker: the same hue
        ((1, 0, 0), (1, 1, 0), 60),
        ((0, 1, 0), (0, 0, 1), 120),
        ((1, 0, 0), (0, 1, 1), 180),
        ((1, 0, 0), (0.5, 0.5, 0.5), 0),  # grey has no hue
    ],
)
def test_the_angle_between_two_colours(x: tuple[float, ...], y: tuple[float, ...], degrees: float) -> None:
    assert hue_shift(plain(*x), plain(*y)).item() == pytest.approx(degrees, abs=1e-3)
    assert hue_shift(plain(*y), plain(*x)).item() == pytest.approx(degrees, abs=1e-3)


def test_each_image_has_its_own_and_strong_colours_count_more() -> None:
    green, blue = plain(0, 1, 0), plain(0, 0, 1)
    both = torch.cat([green, blue])
    assert hue_shift(both, torch.cat([green, green])).tolist() == pytest.approx([0, 120], abs=1e-3)
    mixed = green.clone()
    mixed[..., :2] = plain(0.4, 0.6, 0.4)[..., :2]  # half of the image, a fifth as strong
    truth = green.clone()
    truth[..., :2] = plain(0, 0, 1)[..., :2]
    assert hue_shift(mixed, truth).item() == pytest.approx(120 * 0.2 / 1.2, abs=1e-3)


def test_what_is_no_colour_image_is_refused() -> None:
    with pytest.raises(ValueError, match="colour images"):
        hue_shift(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="alike"):
        hue_shift(torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4))


def drawing() -> Tensor:
    """White, with a square of 8x8 in one colour."""
    image = torch.ones(1, 3, 12, 12)
    image[..., 2:10, 2:10] = 0.2
    return image


def test_flat_areas_are_the_inside_of_what_is_not_white() -> None:
    expected = torch.zeros(1, 12, 12, dtype=torch.bool)
    expected[:, 3:9, 3:9] = True
    assert torch.equal(flat_areas(drawing()), expected)


def test_shading_is_nothing_in_a_drawing_and_the_slope_of_a_ramp() -> None:
    image = drawing()
    areas = flat_areas(image)
    assert shading(image, areas) == 0
    image += 0.02 * torch.arange(12.0)  # from left to right; from top to bottom nothing
    assert shading(image, areas) == pytest.approx(0.02 / 2 / 2, rel=1e-4)


def test_shading_refuses_areas_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="expected areas"):
        shading(drawing(), torch.ones(1, 4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="no two neighbouring"):
        shading(drawing(), torch.zeros(1, 12, 12, dtype=torch.bool))
