"""`traffic` against counts by hand, against `cost`, and against itself on tensors that have no values."""

import copy
from types import SimpleNamespace

import pytest
import torch
from helpers import build, draw, same_state
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gantutor.configs import GANConfig, Pix2PixConfig
from gantutor.cyclegan import CYCLEGAN_STEPS, CycleGAN
from gantutor.gan import GAN
from gantutor.image_pool import ImagePool
from gantutor.ledger import Traffic, TrafficShare, cost, seconds_by_kind, traffic
from gantutor.ledger.cost import OPERATION_KINDS, TrafficCounter
from gantutor.models import dcgan, patchgan, resnet
from gantutor.steps import STEPS

B, IN, OUT = 5, 7, 3


def counted(run, device="cpu"):
    """Launches, bytes and FLOPs of what `run` does, of all kinds."""
    with TrafficCounter(torch.device(device)) as counter:
        run()
    launches, size, flops = map(sum, zip(*counter.kinds.values(), strict=True)) if counter.kinds else (0, 0, 0)
    return launches, size, flops


# By hand: layers


def test_a_linear_layer():
    """Forward: one addmm. Backward: a product for the weight's gradient, a sum for the bias's; x asks for none."""
    x, received = torch.randn(B, IN), torch.randn(B, OUT)
    model = SimpleNamespace(net=nn.Linear(IN, OUT))
    found = traffic(lambda model, x: (model.net.zero_grad(), model.net(x).backward(received)), model, x)
    forward = B * IN + OUT * IN + OUT + B * OUT
    of_weight, of_bias = B * OUT + B * IN + OUT * IN, B * OUT + OUT
    assert found.kinds["matrix product"] == TrafficShare(2, 4 * (forward + of_weight), 2 * 2 * B * IN * OUT)
    assert found.kinds["pointwise"] == TrafficShare(1, 4 * of_bias, 0)
    assert (found.launches, found.bytes) == (3, 4 * (forward + of_weight + of_bias))
    assert found.intensity == found.flops / found.bytes


@pytest.mark.parametrize(("weights", "image"), [(True, False), (False, True), (True, True)])
def test_a_convolution_reads_what_the_gradients_asked_for_need(weights, image):
    """The weights' gradient needs the input, the input's needs the weights: a frozen D moves less."""
    x = torch.randn(2, 3, 8, 8, requires_grad=image)
    layer = nn.Conv2d(3, 4, 3, padding=1, bias=False).requires_grad_(weights)
    received = torch.randn(2, 4, 8, 8)
    inputs, outputs, kernel = 2 * 3 * 8 * 8, 2 * 4 * 8 * 8, 3 * 4 * 9
    y = layer(x)
    assert counted(lambda: layer(x)) == (1, 4 * (inputs + kernel + outputs), 2 * outputs * 3 * 9)
    backward = weights * (inputs + kernel) + image * (kernel + inputs) + outputs
    assert counted(lambda: y.backward(received)) == (1, 4 * backward, (weights + image) * 2 * outputs * 3 * 9)


# By hand: single operations on x (6, 4), 24 elements of 4 bytes

OPERATIONS = {  # what it does, launches, elements moved
    "out of place": (lambda x: x.relu(), 1, 24 + 24),
    "in place": (lambda x: x.relu_(), 1, 24 + 24),
    "with itself": (lambda x: x.add_(x), 1, 24 + 24),
    "two inputs": (lambda x: x + torch.ones(6, 4), 2, 24 + 3 * 24),
    "a row for all": (lambda x: x + x[0], 1, 24 + 4 + 24),
    "expanded": (lambda x: x * x[:, :1].expand(6, 4), 1, 24 + 6 + 24),
    "a copy by reshape": (lambda x: x.t().reshape(24), 1, 24 + 24),
    "views alone": (lambda x: x.view(4, 6)[1].unsqueeze(0).expand(3, 6).detach(), 0, 0),
    "split": (lambda x: x.split(3)[0].unbind(), 0, 0),
    "an empty one": (lambda x: torch.empty_like(x), 0, 0),
    "zeros": (lambda x: torch.zeros_like(x), 1, 24),
    "zeros in place": (lambda x: x.zero_(), 1, 24),
    "random in place": (lambda x: x.normal_(), 1, 24),
    "overwritten": (lambda x: x.copy_(torch.empty(4)), 1, 24 + 4),
    "into an output": (lambda x: torch.neg(x, out=torch.empty(6, 4)), 1, 24 + 24),
    "picked": (lambda x: x[torch.empty(2, dtype=torch.int64).fill_(5)], 2, 2 * 2 + (2 * 2 + 8 + 8)),
    "another type": (lambda x: x.half(), 1, 24 + 12),
    "a number read": (lambda x: x[0, 0].item(), 1, 1),
    "one list, one kernel": (lambda x: torch.cat([x, x[:1]]), 1, 24 + 4 + 28),
    "a list, kernel by kernel": (lambda x: torch._foreach_mul_([x, x[0]], 2.0), 2, 2 * (24 + 4)),
    "a list of new ones": (lambda x: torch._foreach_neg([x, x[0]]), 2, 2 * (24 + 4)),
    "a list set to zero": (lambda x: torch._foreach_zero_([x, x[0]]), 2, 24 + 4),
    "a list's powers": (lambda x: torch._foreach_pow(2.0, [x, x[0]]), 2, 2 * (24 + 4)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_an_operation_moves(name):
    run, launches, elements = OPERATIONS[name]
    x = torch.ones(6, 4)
    assert counted(lambda: run(x)) == (launches, 4 * elements, 0)


def test_under_inference_mode_a_composite_operation_is_counted_by_its_parts():
    x, layer = torch.randn(B, IN), nn.Linear(IN, OUT)

    assert counted(torch.inference_mode()(lambda: layer(x))) == counted(lambda: layer(x))


# By hand: Adam

ADAMS = {  # options; launches; elements moved for each of the parameters' n, and for the two step counters
    "loop": ({"foreach": False}, 2 * 9, 18, 2 * 3),
    "lists": ({"foreach": True}, 2 * 10, 18, 2 * 4 + 1),
    "fused": ({"fused": True}, 2 * 2, 7, 2 * 3),
}


@pytest.mark.parametrize("name", ADAMS)
def test_adam(name):
    """Loop and lists: lerp_ moves 3 n, mul_ 2 n, addcmul_ 3 n, sqrt 2 n, div 2 n, add_ 2 n, addcdiv_ 4 n.

    Fused, it reads parameters, gradients and both moments, and writes all but the gradients: 7 n.
    """
    options, launches, each, of_counters = ADAMS[name]
    model = SimpleNamespace(net=nn.Linear(IN, OUT))
    model.opt = torch.optim.Adam(model.net.parameters(), **options)
    for parameter in model.net.parameters():
        parameter.grad = torch.ones_like(parameter)
    found = traffic(lambda model: model.opt.step(), model)
    assert found.kinds == {"optimizer": TrafficShare(launches, 4 * (each * (OUT * IN + OUT) + of_counters), 0)}


def test_the_step_that_makes_the_moments_does_not_count():
    """A new optimizer's first step fills its moments with zeros; the count is that of a step in the middle of a run."""
    gan, batch = build("points"), draw("points")[0]
    new = traffic(STEPS["d_first_detach"], gan, *batch)
    STEPS["d_first_detach"](gan, *batch)
    assert traffic(STEPS["d_first_detach"], gan, *batch) == new


# Accelerators, by tensors that only say that they are on one


def test_on_an_accelerator_a_list_is_one_launch_and_the_cpu_is_not_counted():
    with FakeTensorMode():
        xs = [torch.empty(6, 4, device="cuda"), torch.empty(4, device="cuda")]
        here = torch.empty(4)
        assert counted(lambda: torch._foreach_mul_(xs, 2.0), "cuda") == (1, 4 * 2 * (24 + 4), 0)
        assert counted(lambda: here.add_(1), "cuda") == (0, 0, 0)
        assert counted(lambda: xs[1].copy_(here), "cuda") == (1, 4 * 4, 0)


@pytest.mark.cuda
def test_launches_are_the_kernels_that_the_profiler_sees():
    x = torch.randn(64, 64, device="cuda")

    def run():
        y = x.relu().mul_(2).tanh() + x
        y.view(-1)[:10].exp_()

    run()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True) as profile:
        run()
        torch.cuda.synchronize()
    kernels = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    assert len(kernels) == counted(run, "cuda")[0] == 5


# Whole steps

CONFIGS = {
    "points": GANConfig("ring", device="cpu", loss="wgan-gp"),
    "pix2pix": Pix2PixConfig(device="cpu", width_G=4, width_D=4),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_has_the_flops_that_its_cost_has(name):
    run = CONFIGS[name].start()
    batch = next(run.batches)
    found = traffic(run.train_step, run.model, *batch)
    assert found.flops == cost(run.train_step, run.model, *batch, repeats=1).flops
    assert found.bytes > found.launches > 100
    assert set(found.kinds) <= set(OPERATION_KINDS)


def small_cyclegan():
    """Without pools: what they draw on the CPU is copied to any other device, and that counts."""
    networks = [resnet(1, width=4), resnet(1, width=4), patchgan(3, width=4), patchgan(3, width=4)]
    return CycleGAN.with_adam(*networks, pool_A=ImagePool(0), pool_B=ImagePool(0))


MODELS = {
    "dcgan": (STEPS["d_first_detach"], lambda: GAN.with_adam(*dcgan(width_G=4, width_D=4)), [(4, 1, 28, 28), (4, 64)]),
    "cyclegan": (CYCLEGAN_STEPS["g_first_shared"], small_cyclegan, 2 * [(1, 3, 32, 32)]),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_step_on_shapes_alone_is_counted_as_on_a_cpu(name):
    """As little is computed as can be: on the meta device a tensor has no values."""
    step, make, shapes = MODELS[name]
    with torch.device("meta"):
        model = make()
    found = traffic(step, model, *(torch.zeros(shape, device="meta") for shape in shapes))
    assert found == traffic(step, make(), *(torch.zeros(shape) for shape in shapes))
    assert found.flops > 1e5


def test_model_and_random_state_stay_as_they_are():
    gan, batch = build("points-batch"), draw("points-batch")[0]
    kept, state = copy.deepcopy(gan), torch.get_rng_state()
    traffic(STEPS["simultaneous"], gan, *batch)
    assert same_state(gan, kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert not gan.opt_G._optimizer_step_pre_hooks


def test_the_kinds_of_a_step():
    """BatchNorm is a norm, whatever the optimizer does is the optimizer's, and losses are pointwise."""
    found = traffic(STEPS["d_first_detach"], build("dcgan-batch"), *draw("dcgan-batch")[0])
    assert list(found.kinds) == ["convolution", "norm", "pointwise", "optimizer"]
    assert found.kinds["convolution"].flops == found.flops
    norms = {"G": 2, "D": 1}  # the layers of each; D is called three times, G once, there and back
    assert found.kinds["norm"].launches == 2 * (norms["G"] + 3 * norms["D"])
    assert found.kinds["optimizer"].bytes > 0.1 * found.bytes


def test_traffic_shows_as_text_and_as_html():
    found = Traffic("step", {"convolution": TrafficShare(2, 3000, 6000), "pointwise": TrafficShare(1, 1000, 0)})
    assert str(found).splitlines() == [
        "step: 3 launches, 4 kB moved, 6 k FLOPs, 1.5 FLOPs per byte",
        "kind         launches  moved  of all  FLOPs",
        "convolution  2         3 kB   75%     6 k",
        "pointwise    1         1 kB   25%     0",
    ]
    assert "<td style='text-align:left'>75%</td>" in found._repr_html_()
    nothing = Traffic("step", {})
    assert (nothing.launches, nothing.intensity) == (0, 0.0)
    assert str(nothing).startswith("step: 0 launches, 0 B moved")


def test_a_share_of_the_batch_leaves_launches_and_weight_updates():
    of = Traffic("step", {"convolution": TrafficShare(3, 100, 1000), "optimizer": TrafficShare(5, 40, 0)})
    half = of.scaled(0.5)
    assert half.kinds == {"convolution": TrafficShare(3, 50, 500), "optimizer": TrafficShare(5, 40, 0)}
    assert of.scaled(1.0) == of


def test_the_seconds_of_each_kind_are_those_of_a_step():
    gan, (batch,) = build("points"), draw("points")
    before = copy.deepcopy(gan.G.state_dict())
    found = seconds_by_kind(STEPS["d_first_detach"], gan, *batch, repeats=2)
    assert list(found) == list(traffic(STEPS["d_first_detach"], gan, *batch).kinds)
    assert min(found.values()) > 0
    assert all(torch.equal(value, before[name]) for name, value in gan.G.state_dict().items()), "on a copy"
