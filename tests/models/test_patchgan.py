"""How much of an image a logit of the PatchGAN sees: computed, and measured."""

import pytest
import torch

from gantutor.models import N_LAYERS, measured_field, output_side, patchgan, receptive_field


def square(network: torch.nn.Module, place: int, side: int) -> torch.Tensor:
    """The computed square of the logit (place, place), bool (side, side)."""
    start, stop = receptive_field(network).span(place)
    inside = torch.zeros(side, side, dtype=torch.bool)
    inside[max(0, start) : stop, max(0, start) : stop] = True
    return inside


@pytest.mark.parametrize(("size", "norm"), [*((size, "none") for size in N_LAYERS), (70, "batch")])
def test_the_receptive_field_is_as_measured(size: int, norm: str) -> None:
    """Exactly the pixels in the computed square move a logit, in evaluation mode; at the edge it reaches outside."""
    torch.manual_seed(0)
    network = patchgan(1, N_LAYERS[size], 1, norm).double().eval()
    field = receptive_field(network)
    assert field.size == size
    side = max(8, 2 * field.stride + size)
    for place in (0, output_side(network, side) // 2, output_side(network, side) - 1):
        seen = measured_field(network, (1, side, side), place, place) > 0
        assert torch.equal(seen, square(network, place, side))


def test_instance_norm_lets_a_logit_see_the_whole_image() -> None:
    """Through mean and variance, though much less than its patch: the formula is about the convolutions."""
    torch.manual_seed(0)
    network = patchgan(1, 1, 4, "instance").double()
    seen, inside = measured_field(network, (1, 64, 64), 0, 0), square(network, 0, 64)
    assert (seen[~inside] > 0).float().mean() > 0.99
    assert seen[inside].mean() > 20 * seen[~inside].mean()


@pytest.mark.parametrize(("n_layers", "side", "logits"), [(3, 256, 30), (2, 64, 14), (0, 64, 64), (1, 17, 6)])
def test_the_number_of_logits_is_as_measured(n_layers: int, side: int, logits: int) -> None:
    network = patchgan(1, n_layers, 1, "none")
    assert output_side(network, side) == logits
    assert network(torch.zeros(1, 1, side, side)).shape == (1, 1, logits, logits)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="images of 16 pixels are too small"):
        output_side(patchgan(1, 3, 1), 16)
    with pytest.raises(ValueError, match="norm='spectral' is unknown"):
        patchgan(norm="spectral")
