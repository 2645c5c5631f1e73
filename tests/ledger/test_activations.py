"""What each layer hands on, against layers called by hand; and that recording leaves nothing behind."""

import torch
from helpers import build
from torch import nn

from gantutor.ledger import activations
from gantutor.models import dcgan


def test_the_layers_outputs_by_hand() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Sequential(nn.Linear(4, 1)))
    a, b = torch.randn(5, 3), 2 + torch.randn(6, 3)
    found = activations(network, a, b)
    assert [list(record) for record in found] == [["0 Linear", "1 BatchNorm1d", "2 ReLU", "3.0 Linear"]] * 2
    for x, record in zip((a, b), found, strict=True):
        linear = network[0](x)
        normal = (linear - linear.mean(0)) / (linear.var(0, unbiased=False) + 1e-5).sqrt()
        assert torch.allclose(record["0 Linear"], linear)
        assert torch.allclose(record["1 BatchNorm1d"], normal, atol=1e-6), "the ReLU after it writes into its own input"
        assert torch.allclose(record["2 ReLU"], normal.relu(), atol=1e-6)
        assert torch.allclose(record["3.0 Linear"], network[3](normal.relu()), atol=1e-6)
    assert not any(value.requires_grad for record in found for value in record.values())


def test_each_forward_draws_its_own_mask_in_the_networks_mode_and_nothing_is_left_behind() -> None:
    D = nn.Sequential(nn.Dropout(), *build("dcgan-batch").D)
    before = {name: value.clone() for name, value in D.state_dict().items()}
    real, state = torch.rand(4, 1, 28, 28, dtype=torch.float64), torch.random.get_rng_state()
    record, again = activations(D, real, real)
    assert not torch.equal(record["0 Dropout"], again["0 Dropout"])
    (evaluating,) = activations(D.eval(), real)
    assert torch.equal(evaluating["0 Dropout"], real)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in D.state_dict().items())
    assert not any(module._forward_hooks for module in D.modules())


def test_a_layer_with_spectral_norm_is_one_layer() -> None:
    _, D = dcgan(width_D=4, norm_D="spectral")
    (record,) = activations(D, torch.rand(2, 1, 28, 28))
    assert [name.split()[1].removeprefix("Parametrized") for name in record] == [
        *("Conv2d", "LeakyReLU", "Conv2d", "LeakyReLU", "Conv2d", "Flatten")
    ]


def test_a_layer_that_runs_twice_has_two_outputs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twofold = nn.Linear(2, 2, bias=False)
            self.twofold.weight.data = 2 * torch.eye(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.twofold(self.twofold(x))

    (record,) = activations(Twice(), torch.ones(1, 2))
    assert {name: value[0, 0].item() for name, value in record.items()} == {
        "twofold Linear": 2.0,
        "twofold Linear (2)": 4.0,
    }
    (single,) = activations(nn.ReLU(), torch.tensor([-1.0, 1.0]))
    assert single["ReLU"].tolist() == [0.0, 1.0]
