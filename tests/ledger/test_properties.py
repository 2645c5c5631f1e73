"""Random small programs, held to autograd: networks in containers of every shape, losses, orders of backward and step.

A program is text, as a user would write it. Run plainly under hooks (`Oracle`) and cut off after any line, it says what
the ledger must say.
"""

import copy
import textwrap
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_helpers import Oracle, shares_of, step_of
from torch import nn

from gantutor.ledger import ALIVE, FREED, NO_GRAPH, STALE, trace
from gantutor.pitfalls import INPLACE, SECOND_TIME

NAMES = "ABC"
MAKE = {  # how the step gets at networks and optimizers: its head, a network's name, an optimizer's
    "attributes": ("def step(m, x):", "m.{name}", "m.opt_{name}"),
    "dicts": ("def step(nets, opts, x):", "nets['{name}']", "opts['{name}']"),
    "lists": ("def step(nets, opts, x):", "nets[{number}]", "opts[{number}]"),
    "ModuleList": ("def step(m, x):", "m.nets[{number}]", "m.opts[{number}]"),
    "nested": ("def step(m, x):", "m.inner.nets['{name}']", "m.inner.opts['{name}']"),
    "method": ("def step(self, x):", "self.{name}", "self.opt_{name}"),
    "globals": ("def step(x):", "{name}", "opt_{name}"),
    "closure": ("def step(x):", "{name}", "opt_{name}"),
}


@dataclass(frozen=True)
class Program:
    """A step as text. `shape` says where its networks are; the first two share a layer if `tied`."""

    shape: str
    networks: int
    tied: bool
    body: tuple[str, ...]
    seed: int

    @property
    def names(self):
        return [MAKE[self.shape][1].format(name=NAMES[i], number=i) for i in range(self.networks)]

    @property
    def source(self):
        return "\n".join([MAKE[self.shape][0], *("    " + line for line in self.body)]) + "\n"

    def build(self):
        """What to trace, with networks and optimizers of its own."""
        torch.manual_seed(self.seed)
        nets = [nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double() for _ in range(self.networks)]
        if self.tied:
            nets[1][0] = nets[0][0]
        opts = [torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5) for net in nets]
        x = torch.randn(4, 3, dtype=torch.float64)
        named_nets, named_opts = dict(zip(NAMES, nets, strict=False)), dict(zip(NAMES, opts, strict=False))
        by_name = {**named_nets, **{f"opt_{name}": opt for name, opt in named_opts.items()}}
        holders = {
            "attributes": (SimpleNamespace(**by_name),),
            "method": (SimpleNamespace(**by_name),),
            "dicts": (named_nets, named_opts),
            "lists": (nets, opts),
            "ModuleList": (SimpleNamespace(nets=nn.ModuleList(nets), opts=opts),),
            "nested": (SimpleNamespace(inner=SimpleNamespace(nets=named_nets, opts=named_opts)),),
        }
        names = {"torch": torch, "F": nn.functional}
        if self.shape != "closure":
            step = step_of(self.source, **names, **(by_name if self.shape == "globals" else {}))
        else:
            inner = textwrap.indent(self.source, "    ")
            step = step_of(f"def step({', '.join(by_name)}):\n{inner}\n    return step\n", **names)(**by_name)
        by_name = dict(zip(map(in_records, self.names), nets, strict=True))
        return Built(step, (*holders.get(self.shape, ()), x), by_name, opts)


def is_keyword(argument):
    return "=" in argument.partition("(")[0]


def in_records(name):
    """The attributes of a step's first argument have their own names in a trace."""
    return name.removeprefix("m.")


@dataclass
class Built:
    step: object
    arguments: tuple
    networks: dict
    optimizers: list

    def run(self):
        try:
            self.step(*self.arguments)
        except RuntimeError as error:
            return error

    def state(self):
        """All that must come back: parameters, gradients, buffers, flags, versions, optimizer states."""
        parameters = [p for net in self.networks.values() for p in net.parameters()]
        return [
            *((p.detach().clone(), None if p.grad is None else p.grad.clone(), p.requires_grad) for p in parameters),
            *(copy.deepcopy(optimizer.state_dict()) for optimizer in self.optimizers),
            torch.get_rng_state(),
        ]


@st.composite
def programs(draw):
    shape = draw(st.sampled_from(sorted(MAKE)))
    networks = draw(st.integers(2, 3))
    names, opts = ([form.format(name=NAMES[i], number=i) for i in range(networks)] for form in MAKE[shape][1:])
    body, outputs = [], []
    for number in range(draw(st.integers(2, 7))):
        kind = draw(st.sampled_from(["loss", "loss", "loss", "pair", "loop", "step", "zero_grad", "again", "late"]))
        network, optimizer = draw(st.sampled_from(names)), draw(st.sampled_from(opts))
        retain = draw(st.sampled_from(["", "retain_graph=True"]))
        if kind in ("loss", "pair"):
            start = draw(st.sampled_from(["x", *outputs]))
            for link in range(draw(st.integers(1, 2))):
                cut = draw(st.sampled_from(["", "", "", ".detach()"]))
                through = draw(st.sampled_from(names))
                body.append(f"out{number}_{link} = {through}({start}{cut})")
                start = f"out{number}_{link}"
                outputs.append(start)
            body.append(f"loss{number} = {draw(st.sampled_from(LOSSES)).format(start)}")
        if kind == "loss":
            how = draw(st.sampled_from(["backward", "gradient", "scaled", "inputs", "tensor"]))
            call = {
                "backward": (f"loss{number}", ""),
                "gradient": (f"loss{number}", "torch.tensor(-2.0).double()"),
                "scaled": (f"(loss{number} / 4)", ""),
                "inputs": (f"loss{number}", f"inputs=list({network}.parameters())"),
                "tensor": (start, f"torch.ones_like({start})"),
            }[how]
            body.append(f"{call[0]}.backward({', '.join(filter(None, sorted([call[1], retain], key=is_keyword)))})")
        if kind == "pair":
            body.append(f"other{number} = {network}(x).square().mean()")
            body.append(f"torch.autograd.backward([loss{number}, other{number}])")
        if kind == "loop":
            turn = [f"turn{number} = {network}(x).abs().mean()", f"turn{number}.backward()"]
            body += ["for _ in range(2):", *(f"    {line}" for line in turn)]
        if kind == "again" and outputs:
            body.append(f"({draw(st.sampled_from(outputs))} ** 2).sum().backward()")
        if kind == "late" and outputs:  # as many write it: keep the graph, step, and go back once more
            name = draw(st.sampled_from(outputs))
            body += [f"{name}.sum().backward(retain_graph=True)", f"{optimizer}.step()"]
            body.append(f"({name} ** 2).sum().backward()")
        if kind == "step":
            body.append(f"{optimizer}.step()")
        if kind == "zero_grad":
            body.append(f"{optimizer}.zero_grad({draw(st.sampled_from(['', 'set_to_none=False']))})")
    return Program(shape, networks, draw(st.booleans()), tuple(body) or ("pass",), draw(st.integers(0, 99)))


LOSSES = ["{}.square().mean()", "-{}.mean()", "F.softplus({}).mean()", "({} * 0).sum()", "{}.round().sum()"]


@settings(max_examples=50)
@given(programs())
def test_shares_are_those_that_hooks_see_and_everything_comes_back(program):
    built, plain = program.build(), program.build()
    before = built.state()
    record = trace(built.step, *built.arguments)
    torch.testing.assert_close(built.state(), before, rtol=0, atol=0)
    names = set(used(program))
    assert names <= set(record.before)
    with Oracle(plain.step, {name: plain.networks[name] for name in names}) as oracle:
        error = plain.run()
    assert (type(record.error), str(record.error)) == (type(error), str(error))
    assert [share for share in shares_of(record) if share[1] in names] == oracle.shares()
    for name in names:
        state, gradients = record.lines[-1].networks[name], [p.grad for p in plain.networks[name].parameters()]
        norm = torch.nn.utils.get_total_norm([g for g in gradients if g is not None]).item()
        assert state.with_gradient == sum(g is not None for g in gradients)
        assert state.gradient_norm == pytest.approx(norm)
        assert sum(share.along for share in state.contributions) == pytest.approx(norm, abs=1e-9)
        assert all(abs(share.along) <= share.norm * 1.001 + 1e-9 for share in state.contributions)


def used(program):
    """The networks that a program names; those in a container or an object that it can reach, all."""
    text = "\n".join(program.body)
    for name in program.names:
        if program.shape not in ("globals", "closure") or f" {name}(" in text or f"({name}.p" in text:
            yield in_records(name)


@settings(max_examples=70)
@given(programs(), st.data())
def test_a_state_is_what_a_backward_after_that_line_finds(program, data):
    built = program.build()
    record = trace(built.step, *built.arguments)
    straight = [line for line in program.body if not line.startswith((" ", "for"))]
    if len(straight) != len(program.body) or record.error is not None:
        return  # a loop cannot be cut off after any of its lines
    k = data.draw(st.integers(0, len(record.lines) - 1))
    tensors = [name for name in record.lines[k].tensors if name.isidentifier()]
    name = data.draw(st.sampled_from(sorted(tensors)))
    claimed = record.lines[k].tensors[name]
    again = replace(program, body=(*program.body[: k + 1], f"return {name}")).build()
    in_order = {name: again.networks[name] for name in record.before if name in again.networks}
    state, reached = backward(again.step(*again.arguments), in_order)  # a shared layer is the first network's
    assert claimed.state == state
    if state == ALIVE:
        assert set(claimed.reaches) == reached & set(record.before)


def backward(tensor, networks):
    """What becomes of going back from `tensor` here and now, and which networks receive a gradient."""
    if tensor.grad_fn is None:
        return NO_GRAPH, set()
    for network in networks.values():
        network.zero_grad()
    try:
        tensor.sum().backward()
    except RuntimeError as error:
        return (FREED if SECOND_TIME in str(error) else STALE if INPLACE in str(error) else str(error)), set()
    seen, reached = set(), set()
    for name, network in networks.items():  # a layer that two networks share is the first one's
        own = [p for p in network.parameters() if id(p) not in seen]
        seen |= set(map(id, own))
        reached |= {name} if any(p.grad is not None for p in own) else set()
    return ALIVE, reached
