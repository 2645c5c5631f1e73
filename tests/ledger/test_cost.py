"""`cost` against the course's formulas (claims 8 and 9), against torch's own counter, and against `trace`."""

import copy
from types import SimpleNamespace

import pytest
import torch
from helpers import build, draw, gradient, same_state
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gantutor.gan import BATCHINGS, GAN
from gantutor.ledger import NetworkCost, cost, trace
from gantutor.pitfalls import INPLACE, PITFALLS
from gantutor.steps import STEPS

RATIOS = {"d = g / 4": (64, 32), "d = 4 g": (32, 64)}  # hidden widths of G and D, one on each side of d = 2 g


def naive(gan, real, z):
    """Both backwards on one graph, and each all the way: what claim 8 calls the naive retain_graph."""
    fake = gan.G(z)
    logits_real, logits_fake = gan.logits(real, fake)
    gan.loss.d_loss(logits_real, logits_fake).backward(retain_graph=True)
    gan.loss.g_loss(logits_fake).backward()
    gan.opt_D.step()
    gan.opt_G.step()


# name: step, FLOPs in forwards of G and of D, and calls: forwards of G, of D, backwards of G, of D
FORMULAS = {
    "d_first_detach": (STEPS["d_first_detach"], (3, 9), (1, 3, 1, 3)),
    "g_first_detach": (STEPS["g_first_detach"], (3, 9), (1, 3, 1, 3)),
    "d_first_regenerate": (STEPS["d_first_regenerate"], (4, 9), (2, 3, 1, 3)),
    "d_first_retain_graph": (STEPS["d_first_retain_graph"], (5, 9), (1, 3, 2, 3)),
    "naive": (naive, (5, 8), (1, 2, 2, 3)),
    "simultaneous": (STEPS["simultaneous"], (3, 7), (1, 2, 1, 3)),
    "one_stage": (STEPS["one_stage"], (3, 6), (1, 2, 1, 2)),
}


def mlp(width):
    """One number in, one out: an input's gradient, which nobody asks of a first layer, costs next to nothing."""
    hidden = [layer for _ in range(4) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(1, width), nn.ReLU(), *hidden, nn.Linear(width, 1))


def flops(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("name", [*STEPS, "naive"])
def test_flops_are_those_of_claim_8(name, ratio):
    step, (gs, ds), calls = FORMULAS[name]
    gan = GAN.with_adam(*(mlp(width) for width in RATIOS[ratio]))
    real, z = torch.randn(8, 1), torch.randn(8, 1)
    g, d = flops(lambda: gan.G(z)), flops(lambda: gan.D(real))
    found = cost(step, gan, real, z, repeats=1)
    assert found.flops == pytest.approx(gs * g + ds * d, rel=0.01)
    assert found.elsewhere.forward_flops == found.elsewhere.backward_flops == 0
    G, D = found.networks["G"], found.networks["D"]
    assert (G.forwards, D.forwards, G.backwards, D.backwards) == calls
    assert (G.forward_flops, D.forward_flops) == (calls[0] * g, calls[1] * d)
    assert G.backward_flops == pytest.approx((gs - calls[0]) * g, rel=0.01)
    assert D.backward_flops == pytest.approx((ds - calls[1]) * d, rel=0.01)


@pytest.mark.parametrize(
    ("networks", "loss", "batching"),
    [
        *((networks, "non-saturating", "split") for networks in ("points-batch", "dcgan")),
        *(("points", "non-saturating", batching) for batching in BATCHINGS),
        ("points", "wgan-gp", "split"),
    ],
)
def test_flops_are_the_sum_of_their_parts_and_what_trace_counts(networks, loss, batching):
    gan, batch = build(networks, loss, batching), draw(networks)[0]
    found = cost(STEPS["d_first_detach"], gan, *batch, repeats=1)
    assert found.elsewhere.forward_flops == found.elsewhere.backward_flops == 0
    assert found.flops == sum(share.forward_flops + share.backward_flops for share in found.networks.values())
    record = trace(STEPS["d_first_detach"], gan, *batch)
    assert record.lines[-1].flops == found.flops
    if loss != "wgan-gp":  # torch's counter raises there, in autograd.grad with respect to a leaf
        assert found.flops == flops(lambda: STEPS["d_first_detach"](gan, *batch))


def test_a_gradient_penalty_is_Ds():
    """autograd.grad with create_graph goes through D, and the backward after it through what that has made."""
    batch = draw("points")[0]
    plain, penalised = (
        cost(STEPS["d_first_detach"], build("points", loss), *batch, repeats=1).networks for loss in ("wgan", "wgan-gp")
    )
    assert penalised["G"] == plain["G"]
    assert (plain["D"].forwards, penalised["D"].forwards) == (3, 4)
    assert penalised["D"].backward_flops > plain["D"].backward_flops + 2 * plain["D"].forward_flops / 3


def with_a_product_of_its_own(gan, real, z):
    fake = gan.G(z)
    (fake @ fake.T).sum().backward()


def test_what_belongs_to_no_network():
    found = cost(with_a_product_of_its_own, build("points"), *draw("points")[0], repeats=1)
    product = 2 * 6 * 2 * 6  # of (6, 2) and (2, 6), and two for its backward
    assert (found.elsewhere.forward_flops, found.elsewhere.backward_flops) == (product, 2 * product)
    assert found.networks["D"] == NetworkCost(0, 0, 0, 0)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        return self.one(x), {"two": self.two(x)}


def nested(model, x):
    one, others = model.pair(x)
    one.sum().backward(retain_graph=True)
    (one.sum() + others["two"].sum()).backward()
    model.outer(x)[0].sum().backward()


def test_several_outputs_and_a_network_inside_another():
    pair = Pair()
    model = SimpleNamespace(pair=pair, outer=nn.Sequential(nn.Linear(2, 2), pair))  # one inside the other
    found = cost(nested, model, torch.randn(3, 2), repeats=1)
    pair, outer = found.networks["pair"], found.networks["outer"]
    layer = 2 * 3 * 2 * 2  # one forward of a Linear(2, 2) on 3 rows
    assert (pair.forwards, pair.backwards, outer.forwards, outer.backwards) == (2, 3, 1, 1)
    assert (pair.forward_flops, outer.forward_flops) == (4 * layer, layer)
    assert (pair.backward_flops, outer.backward_flops) == (3 * layer + 2 * layer, layer)
    assert found.elsewhere.forward_flops == found.elsewhere.backward_flops == 0


# Memory


def test_bytes_saved_for_backward_at_the_peak():
    """Claim 9, fixed: D-first with detach holds G's graph as long as `simultaneous` does. The retain_graph that is
    valid holds more than all, since D's first scores keep their graph while D scores again.
    """
    found = {name: cost(STEPS[name], build("dcgan"), *draw("dcgan")[0], repeats=1).saved_bytes for name in STEPS}
    least = found["g_first_detach"]
    assert found["d_first_regenerate"] == least
    assert 1.1 * least < found["d_first_detach"]
    assert found["simultaneous"] == pytest.approx(found["d_first_detach"], rel=0.01)
    assert found["one_stage"] == pytest.approx(found["d_first_detach"], rel=0.01)
    assert found["d_first_retain_graph"] > 1.1 * found["d_first_detach"]


def test_the_peak_is_what_trace_finds_after_the_lines_or_more():
    gan, batch = build("dcgan-batch", "minimax"), draw("dcgan-batch")[0]
    for step in (STEPS["d_first_detach"], STEPS["d_first_retain_graph"]):
        most = max(line.saved_bytes for line in trace(step, gan, *batch).lines)
        assert most <= cost(step, gan, *batch, repeats=1).saved_bytes < 1.1 * most


@pytest.mark.cuda
def test_memory_on_a_device():
    torch.manual_seed(0)
    gan = GAN.with_adam(mlp(256).cuda(), mlp(256).cuda())
    batch = torch.randn(4096, 1, device="cuda"), torch.randn(4096, 1, device="cuda")
    found = cost(STEPS["d_first_detach"], gan, *batch)
    assert found.device_bytes is not None
    assert found.device_bytes > found.saved_bytes / 2
    assert "of device memory" in str(found)
    record = trace(STEPS["d_first_detach"], gan, *batch)
    assert record.lines[-1].flops == found.flops
    diagnosis = trace(PITFALLS["d_first_same_logits"].step, gan, *batch).diagnosis
    assert "`D.10.weight`" in diagnosis


# The rest


def test_time_is_the_median_after_a_first_run_that_does_not_count(capsys):
    def step(gan, real, z):
        print("run")

    found = cost(step, build("points"), *draw("points")[0], repeats=3)
    assert (found.repeats, found.device_bytes) == (3, None)
    assert found.milliseconds > 0
    assert capsys.readouterr().out.count("run") == 1 + 3 + 1
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        cost(step, build("points"), repeats=0)


def test_a_step_that_raises_raises_and_model_and_random_state_stay_as_they_are():
    gan, batch = build("points-batch"), draw("points-batch")[0]
    STEPS["d_first_detach"](gan, *batch)
    kept, held, state = copy.deepcopy(gan), gradient(gan.D), torch.get_rng_state()
    cost(STEPS["d_first_detach"], gan, *batch, repeats=2)
    with pytest.raises(RuntimeError, match=INPLACE):
        cost(PITFALLS["d_first_same_logits"].step, gan, *batch)
    assert same_state(gan, kept)
    assert torch.equal(gradient(gan.D), held)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_cost_shows_as_text_and_as_html():
    found = cost(STEPS["d_first_detach"], build("points"), *draw("points")[0], repeats=1)
    assert str(found).startswith("d_first_detach: ")
    assert "FLOPs, " in str(found)
    assert "D        3         3  " in str(found)
    assert "<th scope='col' style='text-align:left'>backwards</th>" in found._repr_html_()


def makes_and_drops(gan, z, times):
    for _ in range(times):
        gan.G(z).tanh()  # saves its own output


def test_a_graph_that_is_dropped_is_not_counted_on():
    gan, (_, z) = build("points"), draw("points")[0]
    once, often = (cost(makes_and_drops, gan, z, times).saved_bytes for times in (1, 4))
    assert once == often > 0
