"""`trace` writes down what is true after each line: checked against autograd, line by line."""

import ast
import functools
import math
import re
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from helpers import NETWORKS, build, draw, gradient
from ledger_helpers import at, step_of, traced
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from gantutor.ledger import ALIVE, FREED, NO_GRAPH, STALE, Link, trace
from gantutor.ledger.records import Backward, count
from gantutor.ledger.source import Source, Watch
from gantutor.pitfalls import INPLACE, PITFALLS, SECOND_TIME
from gantutor.steps import STEPS, d_first_detach

# Lines


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_recorded_statement_by_statement(step):
    record = traced(STEPS[step])
    assert (record.name, record.error, record.diagnosis) == (step, None, "")
    (function,) = ast.parse(record.source).body
    wanted = [node for node in ast.walk(function) if isinstance(node, ast.stmt)][2:]  # without `def` and its docstring
    wanted.sort(key=lambda node: node.lineno)
    assert [line.number - record.first_line + 1 for line in record.lines] == [node.lineno for node in wanted]
    texts = [record.source.splitlines()[node.lineno - 1].strip() for node in wanted]
    assert all(text.startswith(line.text) for text, line in zip(texts, record.lines, strict=True))
    assert all(line.milliseconds > 0 for line in record.lines)
    counts = [line.flops for line in record.lines]
    assert counts == sorted(counts)
    with FlopCounterMode(display=False) as counter:
        STEPS[step](build("points"), *draw("points")[0])
    assert counts[-1] == counter.get_total_flops() > 0


def looping(gan, real, z):
    """Loops, blocks and statements over several lines."""
    sums = [2.0]
    for k in range(2):
        with torch.no_grad():
            fake = gan.G(z)
            total = (
                fake.sum()
                + k
            )  # fmt: skip
        sums.append(total)
    while len(sums) > 2:  # a comment
        sums.pop(); k = 0  # fmt: skip  # noqa: E702
    try:
        raise ValueError("inside")
    except ValueError:
        done = [
            value
            for value in sums if value
        ]  # fmt: skip

    def helper(x):
        y = x
        return y

    return {"loss": torch.as_tensor(helper(done[0]))}


def test_loops_blocks_and_statements_over_several_lines():
    record = traced(looping)
    first = looping.__code__.co_firstlineno
    loop = [(4, "with torch.no_grad():"), (5, "fake = gan.G(z)"), (6, "total = fake.sum() + k"),
            (10, "sums.append(total)"), (3, "for k in range(2):")]  # fmt: skip
    pops = [(11, "while len(sums) > 2:"), (12, "sums.pop(); k = 0  # fmt: skip  # noqa: E702")]
    assert [(line.number - first, line.text) for line in record.lines] == [
        *[(2, "sums = [2.0]"), (3, "for k in range(2):"), *loop, *loop, *pops, *pops[:1], (13, "try:")],
        *[(14, "raise ValueError('inside')"), (15, "except ValueError:")],
        *[(16, "done = [value for value in sums if value]"), (21, "def helper(x):")],
        (25, "return {'loss': torch.as_tensor(helper(done[0]))}"),
    ]
    assert (record.error, record.result["loss"]) == (None, 2)


def twice(step):
    @functools.wraps(step)
    def wrapper(*arguments):
        step(*arguments)
        return step(*arguments)

    return wrapper


@twice
@torch.enable_grad()
def decorated(gan, real, z):
    gan.G(z).sum().backward()


class Networks:
    def __init__(self, G):
        self.G = G

    def step(self, z):
        text = """a string
at the margin"""
        self.fake = self.G(z)
        if self.fake.sum() > 1e9: return  # noqa: E701  # fmt: skip
        self.fake.sum().backward()
        del text


def anything(*arguments):
    arguments[0].G(arguments[2])


def test_methods_decorated_functions_and_any_arguments():
    record = trace(Networks(nn.Linear(2, 2)).step, torch.ones(1, 2))
    texts = ["self.fake = self.G(z)", "if self.fake.sum() > ", "self.fake.sum().backw", "del text"]
    assert [line.text[:21] for line in record.lines[1:]] == texts
    assert [line.tensors["self.fake"].state for line in record.lines[1:]] == [ALIVE, ALIVE, FREED, FREED]
    assert record.lines[1].tensors["self.fake"].reaches == ("self.G",)
    record = traced(decorated)
    assert [line.text for line in record.lines] == ["gan.G(z).sum().backward()"] * 2
    assert len(record.lines[-1].networks["G"].contributions) == 2
    assert "arguments[1]" in traced(anything).lines[0].tensors


def helper_update(gan, z):
    gan.opt_G.zero_grad()
    fake = gan.G(z)
    gan.D(fake).sum().backward(retain_graph=True)
    gan.D(fake).square().sum().backward()


def with_helper(gan, real, z):
    gan.G(z).sum().backward()
    helper_update(gan, z)


def test_a_lambda_is_one_line_and_what_it_calls_has_its_own():
    gan, (batch,) = build("points"), draw("points")
    others = [lambda: None, lambda: with_helper(gan, *batch), lambda: None]  # on one line
    record = trace(others[1])
    assert [line.text for line in record.lines] == ["with_helper(gan, *batch)"]
    functions = [sent.place.function for sent in record.lines[0].of(Backward)]
    assert functions == ["with_helper", "helper_update", "helper_update"]
    assert len(record.lines[0].networks["gan.G"].contributions) == 2  # the helper has cleared the first
    assert list(record.before) == ["gan.G", "gan.D"]


def generator(gan):
    yield gan


def test_what_cannot_be_followed_is_refused():
    namespace = {}
    exec("def step(gan, real, z): pass", namespace)
    with pytest.raises(ValueError, match="step has no source to show: define it in a file or a notebook cell"):
        traced(namespace["step"])
    with pytest.raises(TypeError, match="A trace follows a plain function, line by line; generator suspends itself"):
        traced(generator)
    with pytest.raises(TypeError, match="A trace follows a step that is written in Python"):
        traced(print)


# Nothing is left behind


def interrupted(gan, real, z):
    print("once")
    raise KeyboardInterrupt


def test_a_step_runs_once_and_the_tracer_is_given_back_also_where_it_is_interrupted(capsys):
    tracer, before = lambda *_: None, sys.gettrace()
    sys.settrace(tracer)
    try:
        with pytest.raises(KeyboardInterrupt):
            traced(interrupted)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert capsys.readouterr().out == "once\n"


def test_the_ledgers_own_faults_are_not_taken_for_the_steps(monkeypatch):
    monkeypatch.setattr(sys.modules["gantutor.ledger.trace"], "Scene", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        traced(d_first_detach)


def test_watching_takes_no_time(monkeypatch):
    now, seen = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def step(gan, real, z):
        gan.G(z).sum().backward()
        now[0] += 1

    def slow(frame):
        now[0] += 10 * (frame.f_code.co_name == "backward")

    def after(line, frame, milliseconds):
        seen.append((line - step.__code__.co_firstlineno, milliseconds))
        now[0] += 10

    with Watch(Source.of(step), lambda line, frame: None, after, slow).on():
        step(build("points"), *draw("points")[0])
    assert seen == [(1, 0.0), (2, 1000.0)]


# Gradients


def two_losses(gan, x):
    a_loss = gan.G(x).sum()
    a_loss.backward()
    b_loss = -0.5 * gan.G(x.flip(1)).sum()
    b_loss.backward()


def test_shares_are_told_as_vectors_that_do_not_add():
    """G's weight receives (3, 4), of norm 5, and then -(4, 3)/2, of norm 2.5: (1, 2.5) together."""
    gan = SimpleNamespace(G=nn.Linear(2, 1, bias=False), D=nn.Linear(1, 1))
    record = trace(two_losses, gan, torch.tensor([[3.0, 4.0]]))
    state, first, norm = record.lines[-1].networks["G"], two_losses.__code__.co_firstlineno, math.hypot(1, 2.5)
    assert f"5 (line {first + 2}) and 2.5 (line {first + 4}), together 2.7" in str(record)
    assert "+" not in str(record)
    assert state.gradient_norm == pytest.approx(norm)
    assert [part.along for part in state.contributions] == pytest.approx([13 / norm, -5.75 / norm])


def test_gradients_from_before_the_step_are_line_0():
    gan, ((real, z),) = build("points"), draw("points")
    d_first_detach(gan, real, z)
    left = gradient(gan.D).norm().item()
    record = trace(PITFALLS["d_first_no_zero_grad_D"].step, gan, real, z)
    assert [(part.line, part.norm) for part in record.before["D"].contributions] == [(0, pytest.approx(left))]
    numbers = [part.line for part in record.lines[-1].networks["D"].contributions]
    assert numbers == [0, at(record, "d_loss.backward").number, at(record, "g_loss.backward").number]


def zeros_in_place(gan, real, z):
    gan.G(z).sum().backward()
    gan.opt_G.zero_grad(set_to_none=False)
    gan.G(z).sum().backward()
    for parameter in gan.G.parameters():
        parameter.grad.data.zero_()


def test_gradients_set_to_zero_are_cleared_in_whatever_way():
    record = traced(zeros_in_place)
    again = at(record, "gan.G(z)", 1)
    states = [line.networks["G"] for line in (at(record, "gan.G(z)"), at(record, "gan.opt_G"), again, record.lines[-1])]
    assert [len(state.contributions) for state in states] == [1, 0, 1, 0]
    assert states[1].with_gradient == states[1].parameters
    assert states[2].contributions[0].line == again.number


# Weights and statistics


def clipping(gan, real, z):
    gan.opt_D.zero_grad()
    gan.D(real).sum().backward()
    gan.opt_D.step()
    for parameter in gan.D.parameters():
        parameter.data.clamp_(-0.01, 0.01)  # WGAN's, behind autograd's back


def test_versions_and_changes_of_weights():
    record = traced(clipping)
    backward, step, clip = at(record, "gan.D(real)"), at(record, "gan.opt_D.step"), at(record, "parameter.data")
    assert [line.networks["D"].changed for line in (backward, step, clip)] == [False, True, True]
    assert not any(line.networks["G"].changed for line in record.lines)
    assert step.networks["D"].versions["4.bias"] > backward.networks["D"].versions["4.bias"]
    assert clip.networks["D"].versions == step.networks["D"].versions
    loop = record.lines[record.lines.index(step) + 1]
    assert (loop.text, loop.networks["D"].changed) == ("for parameter in gan.D.parameters():", False)
    assert set(loop.tensors) == {"real", "z"}  # `parameter` has its place among D's


def test_batchnorm_counts_and_statistics():
    """Claim 21: in a D-first step D's BatchNorm sees real, fake, fake."""
    record = traced(d_first_detach, "points-batch")
    lines = at(record, "fake = "), at(record, "logits_real"), record.lines[-1]
    assert [line.networks["D"].batchnorms[0].batches for line in lines] == [0, 2, 3]
    assert {state.batches for state in record.lines[-1].networks["G"].batchnorms} == {1}
    after = build("points-batch")
    d_first_detach(after, *draw("points-batch")[0])
    for state in record.lines[-1].networks["D"].batchnorms:
        norm = after.D.get_submodule(state.name)
        assert (list(state.mean), list(state.var)) == (norm.running_mean.tolist(), norm.running_var.tolist())


# Graphs


def behind(name, line):
    """The networks through which a backward from a tensor goes, by the links alone."""
    link = line.tensors[name].link
    return set() if link is None else set(link.through).union(*(behind(source, line) for source in link.made_from))


@pytest.mark.parametrize("networks", NETWORKS)
@pytest.mark.parametrize("step", [*STEPS, *PITFALLS])
def test_links_lead_to_the_networks_that_autograd_reaches(step, networks):
    loss = "minimax" if step == "one_stage" else "non-saturating"
    record = traced(STEPS[step] if step in STEPS else PITFALLS[step].step, networks, loss=loss)
    states = [(line, name, state) for line in record.lines for name, state in line.tensors.items()]
    seen = [(behind(name, line), set(state.reaches)) for line, name, state in states if state.state != NO_GRAPH]
    assert all(found == wanted for found, wanted in seen)
    assert len(seen) > 10


def test_detach_cuts_the_link_and_g_loss_keeps_it():
    tensors = at(traced(STEPS["d_first_detach"]), "g_loss =").tensors
    assert tensors["real"].link is tensors["z"].link is None
    assert tensors["fake"].link == Link(("G",), (), ("z",), ALIVE)
    assert tensors["logits_real"].link == Link(("D",), (), ("real",), FREED)
    assert tensors["logits_fake"].link == Link(("D",), (), ("fake",), FREED)
    assert tensors["d_loss"].link == Link((), ("logits_real", "logits_fake"), (), FREED)
    assert tensors["g_loss"].link == Link(("D",), ("fake",), (), ALIVE)


def test_a_leaf_made_by_detach_and_a_value_made_under_no_grad_have_their_sources():
    record = traced(STEPS["one_stage"])
    tensors = record.lines[-1].tensors
    assert tensors["received"].link == Link((), (), ("fake",), NO_GRAPH)
    assert tensors["logits_fake"].link == Link(("D",), ("received",), (), FREED)
    assert at(record, "d_loss = ").tensors["received"].gradient_norm is None
    assert tensors["received"].gradient_norm > 0  # the leaf holds a gradient
    tensors = at(traced(STEPS["d_first_regenerate"]), "gan.opt_D.zero_grad").tensors
    assert tensors["fake"].link == Link(("G",), (), ("z",), NO_GRAPH)


def test_a_part_of_a_graph_has_a_state_of_its_own_and_only_what_needs_the_moved_weights_is_stale():
    record = traced(PITFALLS["d_first_same_logits"].step)
    states = {name: state.link.state for name, state in at(record, "g_loss =").tensors.items() if state.link}
    wanted = {"logits_real": STALE, "logits_fake": STALE, "d_loss": ALIVE, "g_loss": ALIVE, "fake": ALIVE}
    assert states == wanted
    kept, moved = (at(record, text).tensors for text in ("d_loss.backward", "gan.opt_D.step"))
    assert (kept["logits_fake"].state, moved["logits_fake"].state, moved["fake"].state) == (ALIVE, STALE, ALIVE)


def test_in_a_joint_batch_both_logits_come_from_the_fake():
    tensors = at(traced(STEPS["d_first_retain_graph"], "dcgan-batch", batching="joint"), "d_loss =").tensors
    links = [tensors[name].link for name in ("logits_real", "logits_fake")]
    assert [(link.through, link.made_from) for link in links] == [(("D",), ("fake",))] * 2


def a_frozen_D(gan, real, z):
    gan.D.requires_grad_(False)
    fake = gan.G(z)
    g_loss = gan.D(fake).mean()
    (g_loss + fake.mean()).backward()


def test_a_frozen_network_is_still_on_the_way_and_a_loss_without_a_name_is_written_as_in_the_code():
    record = traced(a_frozen_D)
    state = at(record, "g_loss =").tensors["g_loss"]
    assert state.link == Link(("D",), ("fake",), (), ALIVE)
    assert state.reaches == ("G",)
    (sent,) = record.lines[-1].of(Backward)
    assert (sent.losses, sent.links[0].made_from) == (("g_loss + fake.mean()",), ("fake", "g_loss"))


def from_a_passing_value(gan, real, z):
    with torch.no_grad():
        fake = gan.G(z + 1)
    same_size = [torch.zeros_like(z) for _ in range(8)]
    D = torch.ones(3, dtype=z.dtype, requires_grad=True)
    scaled = D * D
    empty, other = torch.empty(0), torch.empty(0)
    del same_size
    return fake, scaled, empty, other


def test_no_source_is_made_up():
    tensors = traced(from_a_passing_value).lines[-1].tensors
    assert tensors["fake"].link == Link(("G",), (), (), NO_GRAPH)  # z + 1 has no name, and its memory no new owner
    assert tensors["scaled"].link == Link((), ("D",), (), ALIVE)  # a tensor of that name, and not the network
    assert tensors["empty"].link is tensors["other"].link is None


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        assert ctx.saved_tensors
        return 2 * gradient


def own_function(gan, real, z):
    hidden = gan.G(z) + 0
    fake = Doubled.apply(hidden)
    fake.sum().backward()


def test_an_autograd_function_of_ones_own():
    record = traced(own_function)
    made, sent = at(record, "fake = "), record.lines[-1]
    assert (made.tensors["fake"].state, sent.tensors["fake"].state) == (ALIVE, FREED)
    assert made.saved_bytes - at(record, "hidden = ").saved_bytes == 6 * 2 * 8


# Bytes


@pytest.mark.parametrize("networks", NETWORKS)
def test_saved_bytes_are_those_that_hooks_count(networks):
    def forward(gan, real, z):
        with torch.no_grad():
            unseen = gan.G(z)
        fake = gan.G(z)
        logits = gan.D(fake)
        logits.mean().backward()
        del unseen

    gan, ((real, z),) = build(networks), draw(networks)
    record = trace(forward, gan, real, z)
    parameters = {p.untyped_storage().data_ptr() for net in (gan.G, gan.D) for p in net.parameters()}
    storages, held = {}, []

    def pack(tensor):
        held.append(tensor)
        if tensor.untyped_storage().data_ptr() not in parameters:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    assert at(record, "unseen").saved_bytes == record.lines[-1].saved_bytes == 0
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        fake = gan.G(z)
        assert at(record, "fake = ").saved_bytes == sum(storages.values()) > 0
        gan.D(fake)
        assert at(record, "logits = ").saved_bytes == sum(storages.values())


# Errors


def test_the_diagnosis_word_by_word():
    """Claims 1 and 6."""
    step = PITFALLS["d_first_same_logits"].step
    record, first = traced(step), step.__code__.co_firstlineno
    assert record.diagnosis == (
        f"Line {first + 16}, `g_loss.backward()`, goes back through the graph of `logits_fake`, which needs "
        f"`D.4.weight` as it was on line {first + 9}, but line {first + 12}, `gan.opt_D.step()`, has changed it in "
        "place since."
    )
    assert str(record).endswith("RuntimeError: " + record.diagnosis)
    assert "RuntimeError: Line" in record._repr_html_()
    assert "<td style='text-align:left'>g_loss.backward()</td>" in record._repr_html_()
    step = PITFALLS["d_first_rescored"].step
    record, first = traced(step), step.__code__.co_firstlineno
    assert record.diagnosis == (
        f"Line {first + 15}, `g_loss.backward()`, goes back through the graph of `fake`, but line {first + 10}, "
        "`d_loss.backward()`, has gone through it before and freed what it had saved."
    )


@pytest.mark.parametrize("networks", NETWORKS)
@pytest.mark.parametrize("name", [name for name, pitfall in PITFALLS.items() if pitfall.raises])
def test_every_pitfall_that_raises_is_diagnosed(name, networks):
    """A tensor that changed has the shape that PyTorch's message gives, or that shape turned round."""
    record = traced(PITFALLS[name].step, networks)
    assert PITFALLS[name].raises in str(record.error)
    assert str(record.failure.by) in record.diagnosis
    if PITFALLS[name].raises == INPLACE:
        shape = re.findall(r"\[torch\.DoubleTensor \[([\d, ]+)\]\]", str(record.error))[0].split(", ")
        network, parameter = record.failure.culprit.split(".", 1)
        wanted = getattr(build(networks), network).get_parameter(parameter).shape
        assert sorted(map(int, shape)) == sorted(wanted)


def hidden_in_a_helper(gan, real, z):
    with_everything(gan, z)


def with_everything(gan, z):
    logits = gan.D(gan.G(z))
    logits.mean().backward(retain_graph=True)
    gan.opt_D.step()
    logits.square().mean().backward()


def test_an_error_inside_a_helper_is_diagnosed_at_the_helpers_line():
    record = traced(hidden_in_a_helper)
    number, first = hidden_in_a_helper.__code__.co_firstlineno + 1, with_everything.__code__.co_firstlineno
    assert record.diagnosis == (
        f"Line {first + 4} of `with_everything`, `logits.square().mean().backward()`, goes back through the graph of "
        f"`logits`, which needs `D.4.weight` as it was on line {number}, but line {first + 3} of `with_everything`, "
        "`gan.opt_D.step()`, has changed it in place since."
    )


TWO_GRAPHS = """
def step(gan, real, z):
    {first}
    {second}
    fake.square().sum().backward()
    logits.sum().backward(retain_graph=True)
    gan.opt_D.step()
    total = {total}
    total.backward({inputs})
"""
ONCE_MORE = """
def step(gan, real, z):
    fake = gan.G(z)
    square = fake * fake
    for _ in range(2):
        square.sum().backward(inputs=fake)
"""
G_FIRST, D_FIRST = ("fake = gan.G(z)", "logits = gan.D(real)"), ("logits = gan.D(real)", "fake = gan.G(z)")
BOTH, ON_D = "fake.sum() + logits.sum()", "`logits`, which needs `D.4.weight`"
WAYS = {  # the freed graph of the fake and the stale one of the logits; what was made last is where backward fails
    "freed last": (TWO_GRAPHS, D_FIRST, BOTH, "", SECOND_TIME, "`fake`, but"),
    "stale last": (TWO_GRAPHS, G_FIRST, BOTH, "", INPLACE, ON_D),
    "only to D": (TWO_GRAPHS, D_FIRST, BOTH, "inputs=list(gan.D.parameters())", INPLACE, ON_D),
    "an iterator": (TWO_GRAPHS, D_FIRST, "logits.sum()", "inputs=(p for p in gan.D.parameters())", INPLACE, ON_D),
    "to a local, in a loop": (
        ONCE_MORE,
        D_FIRST,
        "",
        "",
        SECOND_TIME,
        "`square`, but the same line has gone through it",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_diagnosis_follows_the_way_that_backward_takes(way):
    source, (first, second), total, inputs, message, behind = WAYS[way]
    record = traced(step_of(source.format(first=first, second=second, total=total, inputs=inputs)))
    assert message in str(record.error)
    assert behind in record.diagnosis
    assert record.lines[-1].text == record.source.splitlines()[-1].strip()


def raising_from_another(gan, real, z):
    try:
        gan.G(z).backward()
    except RuntimeError as error:
        raise ValueError("second") from error


def test_other_errors_are_kept_and_not_diagnosed_and_keep_no_frame_alive():
    record = traced(raising_from_another)
    error, cause = record.error, record.error.__cause__
    assert record.diagnosis == ""
    assert isinstance(error, ValueError)
    assert "grad can be implicitly created only for scalar outputs" in str(cause)
    assert error.__traceback__ is cause.__traceback__ is None


def test_numbers_are_rounded_before_their_power_is_chosen():
    shown = {999.4: "999", 999.7: "1 k", 999_400: "999 k", 999_700: "1 M", 0: "0"}
    assert {number: count(number) for number in shown} == shown
