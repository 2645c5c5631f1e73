"""The PatchGAN: the reference implementation's function, and how much of an image a logit sees."""

import pytest
import torch
from image_helpers import filled, fingerprint, wave_image

from gantutor.models import N_LAYERS, measured_field, output_side, patchgan, receptive_field

NAMES_OF_70 = {  # NLayerDiscriminator(6, ndf=4, n_layers=3) of the reference, norm "batch"
    "model.0.weight": (4, 6, 4, 4), "model.0.bias": (4,),
    "model.2.weight": (8, 4, 4, 4), "model.3.weight": (8,), "model.3.bias": (8,),
    "model.5.weight": (16, 8, 4, 4), "model.6.weight": (16,), "model.6.bias": (16,),
    "model.8.weight": (32, 16, 4, 4), "model.9.weight": (32,), "model.9.bias": (32,),
    "model.11.weight": (1, 32, 4, 4), "model.11.bias": (1,),
}  # fmt: skip
NAMES_OF_PIXEL = {  # PixelDiscriminator(6, ndf=4)
    "net.0.weight": (4, 6, 1, 1), "net.0.bias": (4,),
    "net.2.weight": (8, 4, 1, 1), "net.3.weight": (8,), "net.3.bias": (8,),
    "net.5.weight": (1, 8, 1, 1),
}  # fmt: skip


@pytest.mark.parametrize(("n_layers", "names"), [(3, NAMES_OF_70), (0, NAMES_OF_PIXEL)])
def test_names_and_shapes_are_the_reference_s(n_layers, names) -> None:
    network = patchgan(6, n_layers, 4)
    assert {name: tuple(tensor.shape) for name, tensor in network.named_parameters()} == names


def test_channels_double_up_to_eight_times_the_width() -> None:
    network = patchgan(6, 5, 4)
    assert [p.shape[0] for p in network.parameters() if p.dim() == 4] == [4, 8, 16, 32, 32, 32, 1]


def test_the_paper_s_discriminator_has_2_769_thousand_weights() -> None:
    assert sum(p.numel() for p in patchgan().parameters()) == 2_768_705  # counted in the reference's netD "basic"


# The reference's networks (models/networks.py, commit c941617) with ndf=4, filled as tests/image_helpers.py does.
REFERENCE_OUTPUTS = {  # (n_layers, norm, channels, side, scale of the weights): fingerprint
    (3, "batch", 6, 64, 0.1): [0.09730394, 0.04466275, 0.06233299, 0.07173718],
    (3, "instance", 6, 64, 0.1): [0.08459951, 0.16813550, -0.02316880, -0.07720174],
    (2, "none", 3, 64, 0.1): [-0.19966137, 0.07143747, -0.15587098, -0.21700075],
    (0, "batch", 6, 16, 0.5): [-0.11461267, 0.10040698, -0.09637493, -0.08088413],
}


@pytest.mark.parametrize(("n_layers", "norm", "channels", "side", "scale"), REFERENCE_OUTPUTS)
def test_it_computes_the_reference_s_function(n_layers, norm, channels, side, scale) -> None:
    network = filled(patchgan(channels, n_layers, 4, norm), scale)
    with torch.no_grad():
        found = fingerprint(network(wave_image(channels, side)))
    assert found == pytest.approx(REFERENCE_OUTPUTS[n_layers, norm, channels, side, scale], abs=2e-8)


@pytest.mark.parametrize(("size", "norm"), [*((size, "none") for size in N_LAYERS), (16, "batch"), (70, "batch")])
def test_the_receptive_field_is_as_measured(size, norm) -> None:
    """Exactly the pixels in the computed square move a logit, in evaluation mode; at the edge it reaches outside."""
    torch.manual_seed(0)
    network = patchgan(1, N_LAYERS[size], 1, norm).double().eval()
    field = receptive_field(network)
    assert field.size == size
    side = max(8, 2 * field.stride + size)
    for place in (0, output_side(network, side) // 2, output_side(network, side) - 1):
        seen = measured_field(network, (1, side, side), place, place) > 0
        start, stop = field.span(place)
        expected = torch.zeros(side, side, dtype=torch.bool)
        expected[max(0, start) : stop, max(0, start) : stop] = True
        assert torch.equal(seen, expected)


def test_instance_norm_lets_a_logit_see_the_whole_image() -> None:
    """Through mean and variance, though much less than its patch: the formula is about the convolutions."""
    network = patchgan(1, 1, 4, "instance").double()
    seen = measured_field(network, (1, 64, 64), 0, 0)
    start, stop = receptive_field(network).span(0)
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[max(0, start) : stop, max(0, start) : stop] = True
    assert (seen[~inside] > 0).float().mean() > 0.99
    assert seen[inside].mean() > 20 * seen[~inside].mean()


@pytest.mark.parametrize(
    ("n_layers", "side", "logits"), [(3, 256, 30), (3, 64, 6), (2, 64, 14), (0, 64, 64), (5, 256, 6), (1, 17, 6)]
)
def test_the_number_of_logits_is_as_measured(n_layers, side, logits) -> None:
    network = patchgan(1, n_layers, 1, "none")
    assert output_side(network, side) == logits
    assert network(torch.zeros(1, 1, side, side)).shape == (1, 1, logits, logits)


def test_too_small_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="images of 16 pixels are too small"):
        output_side(patchgan(1, 3, 1), 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n_layers": -1}, "n_layers must be at least 0, got -1"), ({"norm": "spectral"}, "norm='spectral' is unknown")],
)
def test_a_wrong_argument_is_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        patchgan(**options)
