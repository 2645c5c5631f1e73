"""What a GAN shows of itself, against numbers computed by hand."""

import pytest
import torch
from torch import nn

from gantutor.gan import GAN


def linear_critic(loss: str) -> GAN:
    """D(x) = 2·x₀ − x₁, so that D rises in the direction (2, −1)."""
    D = nn.Linear(2, 1)
    with torch.no_grad():
        D.weight.copy_(torch.tensor([[2.0, -1.0]]))
        D.bias.zero_()
    return GAN.with_adam(nn.Linear(2, 2), D, loss)


@pytest.mark.parametrize(
    ("loss", "slopes"),
    [  # −∂L_G/∂l at the logits 0 and ln 3, where σ(l) is 1/2 and 3/4
        ("non-saturating", (0.5, 0.25)),  # 1 − σ(l)
        ("minimax", (0.5, 0.75)),  # σ(l)
        ("lsgan", (1.0, 1 - 1.0986123)),  # 1 − l
        ("hinge", (1.0, 1.0)),
        ("wgan", (1.0, 1.0)),
    ],
)
def test_the_arrow_at_a_fake_points_where_gs_loss_falls(loss: str, slopes: tuple[float, float]) -> None:
    """Of a batch of two, each has half of the mean: −∂L_G/∂x = slope / 2 · (2, −1), up D's hill and never down."""
    fake = torch.tensor([[0.0, 0.0], [0.5493061, 0.0]])
    arrows = linear_critic(loss).fake_gradient(fake)
    wanted = torch.tensor([[slope * 1.0, slope * -0.5] for slope in slopes])
    torch.testing.assert_close(arrows, wanted, rtol=1e-5, atol=1e-6)


def test_samples_verdicts_and_arrows_are_taken_in_evaluation_mode_and_leave_no_trace() -> None:
    """BatchNorm's running mean is 0 and its variance 1: in evaluation mode it changes almost nothing."""
    G, D = nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
    with torch.no_grad():
        D[1].weight.copy_(torch.tensor([[1.0, 0.0]]))
        D[1].bias.zero_()
    gan, points = GAN.with_adam(G, D), torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    arrows = (-points[:, :1]).sigmoid() / 2 * torch.tensor([[1.0, 0.0]])
    for found, wanted in (
        (gan.sample(points), points),
        (gan.prob_real(points), points[:, :1].sigmoid()),
        (gan.fake_gradient(points), arrows),
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert G.num_batches_tracked == D[0].num_batches_tracked == 0
    assert gan.G.training
    assert gan.D.training
    assert not gan.sample(points).requires_grad
    assert (G(points) - points).abs().max() > 1, "in training mode the batch is normalised"
