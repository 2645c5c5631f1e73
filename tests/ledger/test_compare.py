"""`compare` against torch.equal on plain runs and what the course says is the same (claims 7, 10 and 12); `activations`
against layers called by hand.
"""

import copy
import functools
import itertools

import pytest
import torch
from helpers import build, draw, relative_error, run, same_state, weights
from torch import nn

from gantutor.ledger import activations, compare
from gantutor.ledger.compare import BUFFERS, GRADIENT, WEIGHTS
from gantutor.models import dcgan
from gantutor.pitfalls import INPLACE, PITFALLS
from gantutor.steps import STEPS, d_first_detach, d_only, g_only

EARLY = "d_first_early_zero_grad"


def test_which_strategies_are_the_same_update():
    gan, batch = build("points"), draw("points")[0]
    found = compare({**STEPS, EARLY: PITFALLS[EARLY].step}, gan, *batch)
    after_D = ["d_first_retain_graph", "d_first_detach", "d_first_regenerate"]
    before_D = ["g_first_detach", "simultaneous"]
    group = {name: i for i, names in enumerate([after_D, before_D, ["one_stage"], [EARLY]]) for name in names}
    for a, b in itertools.combinations([*STEPS, EARLY], 2):
        assert found.between(a, b, "G").equal == (group[a] == group[b])
        assert found.between(a, b, "D").equal
        assert found.between(a, b, "D", WEIGHTS).equal
    nearly = found.between("simultaneous", "one_stage", "G")
    assert (nearly.equal, nearly.near) == (False, True)
    assert 0 < nearly.relative < 1e-12
    assert str(nearly).startswith("equal within ")
    apart = found.between("g_first_detach", "d_first_detach", "G")
    assert (apart.equal, apart.near) == (False, False)
    assert str(apart) == f"different by {apart.relative:.2g}"
    assert str(found.between("d_first_detach", "d_first_regenerate", "G", WEIGHTS)) == "equal bit for bit"


def test_the_numbers_are_those_of_plain_runs():
    gan, batch = build("points"), draw("points")
    names = ("d_first_detach", "g_first_detach")
    found = compare({name: STEPS[name] for name in names}, gan, *batch[0])
    a, b = (run(gan, STEPS[name], batch) for name in names)
    gap = found.between(*names, "G")
    left, right = a.gradients["G"][0], b.gradients["G"][0]
    assert gap.relative == pytest.approx(min(relative_error(left, right), relative_error(right, left)))
    moved = [(weights(done.gan.G) - weights(gan.G)).norm() for done in (a, b)]
    gap = found.between(*names, "G", WEIGHTS)
    assert gap.relative == pytest.approx(((weights(a.gan.G) - weights(b.gan.G)).norm() / max(moved)).item())


def test_batchnorm_that_counts_twice_shows_in_the_buffers():
    found = compare(STEPS, build("points-batch", "minimax"), *draw("points-batch")[0])
    pair = ("d_first_detach", "d_first_regenerate")
    assert found.between(*pair, "G").equal
    assert not found.between(*pair, "G", BUFFERS).near
    assert found.between(*pair, "D", BUFFERS).equal


def test_what_a_step_applied_is_compared_and_not_what_is_left():
    """g_loss.backward() leaves a gradient in D after D's update; d_only leaves none. D moved alike."""
    found = compare({"whole": d_first_detach, "half": d_only}, build("points"), *draw("points")[0])
    assert found.between("whole", "half", "D").equal
    missing = found.between("whole", "half", "G")
    assert (missing.equal, missing.near, missing.relative) == (False, False, 1.0)
    assert found.between("half", "whole", "G", WEIGHTS).relative == 1.0


def test_two_updates_of_one_network():
    steps = {"once": d_only, "twice": lambda *batch: (d_only(*batch), d_only(*batch))}
    assert 0 < compare(steps, build("points"), *draw("points")[0]).between("once", "twice", "D").relative < 1


@pytest.mark.cuda
def test_on_a_gpu_a_network_that_one_step_does_not_move_counts_as_given_zeros():
    gan, batch = build("points"), [x.cuda() for x in draw("points")[0]]
    gan.G.cuda(), gan.D.cuda()
    found = compare({"D alone": d_only, "both": d_first_detach}, gan, *batch)
    assert found.between("D alone", "both", "G").relative == pytest.approx(1)


def test_a_step_that_raises_is_left_out_and_its_error_kept():
    steps = {"printed": PITFALLS["d_first_same_logits"].step, "fixed": STEPS["d_first_retain_graph"]}
    found = compare(steps, build("points"), *draw("points")[0])
    assert found.steps == ("fixed",)
    assert INPLACE in str(found.errors["printed"])
    assert "printed raises RuntimeError: one of the variables" in str(found)
    assert "printed raises RuntimeError: one of the variables" in found._repr_html_()
    with pytest.raises(KeyError, match="nothing was compared for printed, fixed, G, gradient"):
        found.between("printed", "fixed", "G")


def test_the_model_stays_as_it_is_and_copies_are_identical():
    gan, (real, z) = build("points-batch"), draw("points-batch")[0]
    gan.G.append(nn.Dropout())
    d_first_detach(gan, real, z)
    kept, state = copy.deepcopy(gan), torch.get_rng_state()
    found = compare({"a": d_first_detach, "b": copy.copy(d_first_detach)}, gan, real, z)
    assert same_state(gan, kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(gap.equal for gap in found.differences)
    assert not gan.opt_D._optimizer_step_pre_hooks


def test_the_table_names_pairs_networks_and_kinds():
    found = compare({"d": d_only, "g": g_only}, build("points"), *draw("points")[0])
    header, row = str(found).splitlines()
    assert header.split() == ["G:", GRADIENT, "G:", WEIGHTS, "D:", GRADIENT, "D:", WEIGHTS]
    assert row == "d | g  different by 1  different by 1  different by 1  different by 1"
    assert "<td style='text-align:left'>d | g</td>" in found._repr_html_()


@pytest.mark.parametrize(("factor", "near"), [(1 + 1e-13, True), (1 + 1e-9, False)])
def test_how_near_is_equal_but_for_rounding(factor, near):
    """In float64; a gradient scaled so little moves SGD's weights by a part of that."""

    def scaled(gan, real, z, factor=factor):
        gan.opt_G.zero_grad()
        (factor * gan.G(z).square().sum()).backward()
        gan.opt_G.step()

    gan = build("points")
    gan.opt_G = torch.optim.SGD(gan.G.parameters(), lr=0.1)
    plain = functools.partial(scaled, factor=1.0)
    found = compare({"plain": plain, "scaled": scaled}, gan, *draw("points")[0])
    gap = found.between("plain", "scaled", "G")
    assert (gap.equal, gap.near) == (False, near)
    assert gap.relative == pytest.approx(factor - 1, rel=0.01)
    gap = found.between("plain", "scaled", "G", WEIGHTS)
    assert gap.near == near
    assert gap.relative == pytest.approx(factor - 1, rel=0.5 if near else 0.01)


def test_a_model_without_networks_is_refused():
    with pytest.raises(ValueError, match="These steps reach no networks"):
        compare({"one": lambda model: None}, object())


# Layers


def test_the_layers_outputs_by_hand():
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


def test_each_forward_draws_its_own_mask_in_the_networks_mode_and_nothing_is_left_behind():
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


def test_a_layer_with_spectral_norm_is_one_layer():
    _, D = dcgan(width_D=4, norm_D="spectral")
    (record,) = activations(D, torch.rand(2, 1, 28, 28))
    kinds = [name.split()[1].removeprefix("Parametrized") for name in record]
    assert kinds == ["Conv2d", "LeakyReLU", "Conv2d", "LeakyReLU", "Conv2d", "Flatten"]


def test_a_layer_that_runs_twice_has_two_outputs():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.twofold = nn.Linear(2, 2, bias=False)
            self.twofold.weight.data = 2 * torch.eye(2)

        def forward(self, x):
            return self.twofold(self.twofold(x))

    (record,) = activations(Twice(), torch.ones(1, 2))
    found = {name: value[0, 0].item() for name, value in record.items()}
    assert found == {"twofold Linear": 2.0, "twofold Linear (2)": 4.0}
    (single,) = activations(nn.ReLU(), torch.tensor([-1.0, 1.0]))
    assert single["ReLU"].tolist() == [0.0, 1.0]
