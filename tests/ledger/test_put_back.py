"""A step is run in place, and everything that it can reach is put back."""

import copy
import functools
import random
import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gantutor.configs.translation_configs import SeededDropout
from gantutor.ledger import trace, watching
from gantutor.ledger.reach import Reach, Snapshot
from gantutor.ledger.records import OptimizerStep


class Model:
    """Networks with BatchNorm and a generator of their own, optimizers that have stepped and not, a pool, a scaler."""

    def __init__(self):
        torch.manual_seed(0)
        self.G = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
        self.nets = {"D": nn.Linear(2, 1)}
        self.opt_G = torch.optim.Adam(self.G.parameters())
        self.opts = [torch.optim.Adam(self.nets["D"].parameters())]
        self.pool = [torch.zeros(2)]
        self.noise = torch.Generator().manual_seed(1)
        self.scaler = torch.amp.GradScaler("cpu")
        self.turn = 0


def step(model, x):
    """Changes all that can be changed, and raises."""
    global count
    count += 1
    D = model.nets["D"]
    model.G.eval()
    model.G.train()
    x.mul_(2)
    x.requires_grad_(True)
    fake = model.G(x + torch.randn(x.shape) * random.random() + torch.randn(x.shape, generator=model.noise))
    model.scaler.scale(D(fake).mean()).backward()
    model.scaler.step(model.opt_G)
    model.scaler.update()
    model.opts[0].step()
    model.opts[0].param_groups[0]["lr"] = 7.0
    D.requires_grad_(False)
    D.weight.data = torch.zeros(1, 2)
    model.pool.append(fake)
    model.nets["new"] = nn.Linear(1, 1)
    model.turn += 1
    model.fresh = fake
    raise ValueError("at the end")


count = 0


def state(model, x):
    """All of it in words, gradients and versions too."""
    nets = {"G": model.G, **model.nets}
    named = [*(p for net in nets.values() for p in net.named_parameters())]
    named += [b for net in nets.values() for b in net.named_buffers()]
    seen = [
        [(n, t.tolist(), t._version, t.requires_grad, t.grad if t.grad is None else t.grad.tolist()) for n, t in named],
        [opt.state_dict() for opt in (model.opt_G, *model.opts)],
        [x.tolist(), x._version, x.requires_grad, x.grad],
        [model.scaler.state_dict(), model.pool, model.turn, sorted(vars(model)), model.G.training, list(nets)],
        [model.noise.get_state().tolist(), torch.get_rng_state().tolist(), random.getstate(), count],
    ]
    return str(seen)


@pytest.mark.parametrize("trained", [False, True])
def test_everything_is_as_before_also_after_an_error(trained):
    model, x = Model(), torch.randn(4, 2)
    if trained:
        model.G(x).sum().backward()
        model.opt_G.step()
    weight = model.nets["D"].weight
    kept = model.nets["D"](model.G(x).tanh()).square().sum()  # a graph of the user's own, from before
    before = state(model, x)
    record = trace(step, model, x)
    assert isinstance(record.error, ValueError)
    assert {name for name, network in record.lines[-1].networks.items() if network.changed} <= {"G", "nets['D']"}
    assert any(line.networks["G"].changed for line in record.lines)
    assert state(model, x) == before
    assert model.nets["D"].weight is weight
    kept.backward()  # its weights have the versions that they had


@pytest.mark.parametrize("limit", [0, 10**9])
def test_large_tensors_wait_in_a_file_and_come_back(limit, monkeypatch):
    monkeypatch.setattr("gantutor.ledger.reach.IN_MEMORY", limit)
    big = nn.Linear(200, 200)
    before = copy.deepcopy(big.state_dict())
    reach = Reach()
    reach.extend([("big", big)])
    snapshot = Snapshot(reach, at_once=True)
    assert bool(snapshot.folder) == (limit == 0)
    with torch.no_grad():
        big.weight.zero_()
        big.bias.zero_()
    snapshot.restore()
    assert str(big.state_dict()) == str(before)


def test_a_network_inside_twenty_others_is_put_back_with_its_statistics_and_its_generator():
    norm, noise = nn.BatchNorm1d(2), SeededDropout(0.5, seed=3)
    net = functools.reduce(lambda inner, _: nn.Sequential(inner), range(20), nn.Sequential(noise, norm))
    state = noise.generator.get_state()
    trace(lambda net, x: net(x).sum().backward(), net, torch.randn(4, 2))
    assert norm.num_batches_tracked == 0
    assert torch.equal(norm.running_mean, torch.zeros(2))
    assert torch.equal(noise.generator.get_state(), state)


def test_what_no_variable_leads_to_is_found_watched_and_said():
    hidden = functools.lru_cache(lambda: nn.Linear(2, 1))  # only the cache has it
    optimizer = functools.lru_cache(lambda: torch.optim.SGD(hidden().parameters(), 0.1))

    def secret(x):
        hidden()(x).sum().backward()
        optimizer().step()

    weights = hidden().weight.tolist()
    record = trace(secret, torch.ones(3, 2))
    assert hidden().weight.tolist() == weights
    assert len(record.unwatched) == 2
    assert str(record).startswith("Line ")
    assert record.lines[1].networks["Linear"].changed
    assert record.lines[0].networks["Linear"].contributions[0].norm > 0


def test_a_block_in_a_function_is_traced_and_its_training_loop_stopped(capsys):
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    before, seen = net.weight.tolist(), 0
    with watching(max_iterations=2) as watch:
        for x in torch.randn(9, 4, 2):
            optimizer.zero_grad()
            loss = net(x).square().mean()
            loss.backward()
            optimizer.step()
            seen += 1
    assert seen == 2
    assert net.weight.tolist() == before
    assert [line.text for line in watch.trace.lines].count("optimizer.step()") == 2
    assert watch.trace.lines[1].number == watch.trace.lines[0].number + 1
    assert "Stopped after 2 turns" in capsys.readouterr().out


class Split(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        return self.two(self.one(x))


def names(**found):
    reach = Reach()
    reach.extend(found.items(), model="model")
    return list(reach.players)


def test_networks_have_the_names_that_the_code_has_for_them():
    one, two = nn.Linear(1, 1), nn.Linear(1, 1)
    assert names(model=SimpleNamespace(G=one, Ds=[two])) == ["G", "Ds[0]"]
    assert names(self=SimpleNamespace(netG=one)) == ["self.netG"]
    assert names(nets={"D_A": one}, D=two) == ["D", "nets['D_A']"]
    assert names(nets=nn.ModuleList([one, two])) == ["nets[0]", "nets[1]"]
    assert names(net=torch.nn.DataParallel(one), inner=one) == ["net"]
    split = Split()
    assert names(split=split) == ["split"]
    opts = [torch.optim.SGD(net.parameters(), 0.1) for net in (split.one, split.two)]
    assert names(split=split, opts=opts) == ["split.one", "split.two"]
    assert names(opt=opts[0]) == ["parameters of opt"]
    assert names(scale=nn.Parameter(torch.ones(1)), x=torch.ones(1)) == ["scale"]


D = nn.Linear(1, 1)


def uses_its_own_D(model):
    model.D(torch.ones(1, 1)).sum().backward()


def test_an_attribute_is_not_taken_for_a_global_of_that_name():
    reach = Reach.of(uses_its_own_D, (SimpleNamespace(G=nn.Linear(1, 1), D=nn.Linear(1, 1)),), {})
    assert list(reach.players) == ["G", "D"]
    assert reach.players["D"].module is not D


def waits(net):
    other = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    thread = threading.Thread(target=other.step)
    thread.start()
    thread.join()


def test_an_optimizer_that_steps_in_another_thread_is_nobody_of_the_step():
    assert not any(line.of(OptimizerStep) for line in trace(waits, nn.Linear(1, 1)).lines)


class Callable:
    def __call__(self, gan, x):
        uses_its_own_D(gan)


def test_the_first_argument_is_the_model_of_a_callable_object_and_of_a_partial_call_too():
    model = SimpleNamespace(G=nn.Linear(1, 1), D=nn.Linear(1, 1))
    for step, args in ((Callable(), (model, None)), (functools.partial(uses_its_own_D, model), ())):
        assert list(trace(step, *args).before) == ["G", "D"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *[([0.0, 0.0, 0.0, 0.0], [0.1, -0.1, 0.1, -0.1]), ([1.0, 1.0], [0.9, 0.9]), ([1.0, 2.0], [-1.0, -2.0])],
        *[([1.0, 2.0], [1.0, float("nan")]), ([1.0, float("nan")], [1.0, float("nan")])],
    ],
)
def test_a_change_of_values_is_seen_and_a_write_of_the_same_is_none(before, after):
    net = nn.ParameterList([torch.tensor(before)])
    (line,) = trace(lambda net, values: net[0].data.copy_(values), net, torch.tensor(after)).lines
    (state,) = line.networks.values()
    assert state.changed == (str(before) != str(after))
