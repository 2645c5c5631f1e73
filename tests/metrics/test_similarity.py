"""What an image is like, on known values: L1, sharpness, saturation, hues on the wheel, shading inside an area."""

import pytest
import torch
from torch import Tensor

from gantutor.metrics import flat_areas, hue_shift, l1, saturation, shading, sharpness


def plain(*colour: float) -> Tensor:
    """A 4x4 image of one colour, from 0 to 1 in red, green and blue."""
    return 2 * torch.tensor(colour, dtype=torch.float32)[None, :, None, None].expand(1, 3, 4, 4) - 1


def test_l1_by_hand_and_under_a_mask() -> None:
    truth = torch.full((1, 3, 2, 2), -1.0)
    images = truth.clone()
    images[0, :, 0, 0] = 1.0  # white for black
    images[0, 0, 1, 1] = 0.0  # half the way in one of three channels
    assert l1(images, truth) == pytest.approx((1 + 1 / 6) / 4)
    where = torch.tensor([[[False, False], [False, True]]])
    assert l1(images, truth, where) == pytest.approx(1 / 6)
    assert l1(images, truth, ~where) == pytest.approx(1 / 3)
    for mask in (where & False, where.float(), where.expand(1, 2, 2)[..., :1]):
        with pytest.raises(ValueError, match=r"where: expected a mask \(1, 2, 2\) of bool with a pixel in it, got"):
            l1(images, truth, mask)


def test_sharpness_is_that_of_the_neighbours_and_saturation_the_span_of_a_pixels_colours() -> None:
    steps = torch.tensor([-1.0, 1.0, -1.0, 1.0]).expand(1, 3, 4, 4)  # black beside white, across only
    assert sharpness(steps) == sharpness(steps.mT) == 0.5
    assert sharpness(torch.ones(1, 3, 4, 4)) == 0
    red, grey = plain(1, 0, 0), plain(0.6, 0.6, 0.6)
    assert [saturation(images) for images in (red, grey, torch.cat([red, grey], dim=3))] == [1, 0, 0.5]


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


def test_each_image_has_its_own_hue_shift_and_strong_colours_count_more() -> None:
    green, blue = plain(0, 1, 0), plain(0, 0, 1)
    both = torch.cat([green, blue])
    assert hue_shift(both, torch.cat([green, green])).tolist() == pytest.approx([0, 120], abs=1e-3)
    mixed, truth = green.clone(), green.clone()
    mixed[..., :2] = plain(0.4, 0.6, 0.4)[..., :2]  # half of the image, a fifth as strong
    truth[..., :2] = blue[..., :2]
    assert hue_shift(mixed, truth).item() == pytest.approx(120 * 0.2 / 1.2, abs=1e-3)


def drawing() -> Tensor:
    """White, with a square of 8x8 in one colour."""
    image = torch.ones(1, 3, 12, 12)
    image[..., 2:10, 2:10] = 0.2
    return image


def test_shading_is_nothing_in_the_flat_inside_of_a_drawing_and_the_slope_of_a_ramp() -> None:
    image = drawing()
    areas = flat_areas(image)
    assert torch.equal(areas, torch.nn.functional.pad(torch.ones(1, 6, 6) > 0, (3, 3, 3, 3)))
    assert shading(image, areas) == 0
    image += 0.02 * torch.arange(12.0)  # from left to right; from top to bottom nothing
    assert shading(image, areas) == pytest.approx(0.02 / 2 / 2, rel=1e-4)
    with pytest.raises(ValueError, match="no two neighbouring"):
        shading(image, areas & False)
    with pytest.raises(ValueError, match="expected areas"):
        shading(image, areas[:, :4])


def test_other_shapes_are_refused() -> None:
    for score in (l1, hue_shift):
        with pytest.raises(ValueError, match=r"alike, got \(1, 3, 12, 12\) and \(1, 3, 12, 11\)"):
            score(torch.zeros(1, 3, 12, 12), torch.zeros(1, 3, 12, 11))
        with pytest.raises(ValueError, match="alike"):
            score(torch.zeros(3, 12, 12), torch.zeros(3, 12, 12))
    with pytest.raises(ValueError, match="colour images"):
        hue_shift(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
