"""`trace` writes down what is true after each line: checked against autograd, line by line."""

import ast
import functools
import math
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import NETWORKS, build, draw, gradient
from ledger_helpers import at, step_of, traced
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from gantutor.gan import GAN
from gantutor.ledger import ALIVE, FREED, NO_GRAPH, STALE, Line, trace
from gantutor.ledger.records import Backward, count
from gantutor.ledger.source import Source, Watch
from gantutor.pitfalls import INPLACE, PITFALLS, SECOND_TIME
from gantutor.steps import STEPS, d_first_detach, d_first_retain_graph

# Lines


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_recorded_statement_by_statement(step: str) -> None:
    record = traced(STEPS[step])
    assert record.name == step
    assert record.error is None
    assert record.diagnosis == ""
    (function,) = ast.parse(record.source).body
    assert isinstance(function, ast.FunctionDef)
    wanted = [node for node in ast.walk(function) if isinstance(node, ast.stmt)][2:]  # without `def` and its docstring
    wanted.sort(key=lambda node: node.lineno)
    assert [line.number - record.first_line + 1 for line in record.lines] == [node.lineno for node in wanted]
    texts = [record.source.splitlines()[node.lineno - 1].strip() for node in wanted]
    assert all(text.startswith(line.text) for text, line in zip(texts, record.lines, strict=True))
    assert record.lines[-1].text.startswith("return report")
    assert all(line.milliseconds > 0 for line in record.lines)
    counts = [line.flops for line in record.lines]
    assert counts == sorted(counts)
    with FlopCounterMode(display=False) as counter:
        STEPS[step](build("points"), *draw("points")[0])
    assert counts[-1] == counter.get_total_flops() > 0


def looping(gan: GAN, real: Tensor, z: Tensor) -> dict[str, Tensor]:
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

    def helper(x: float) -> float:
        y = x
        return y

    return {"loss": torch.as_tensor(helper(done[0]))}


def test_loops_blocks_and_statements_over_several_lines() -> None:
    record = traced(looping)
    first = looping.__code__.co_firstlineno
    body = [(line.number - first, line.text) for line in record.lines]
    loop = [
        (3, "for k in range(2):"),
        (4, "with torch.no_grad():"),
        (5, "fake = gan.G(z)"),
        (6, "total = fake.sum() + k"),
        (10, "sums.append(total)"),
    ]
    assert body == [
        (2, "sums = [2.0]"),
        *loop,
        *loop,
        (3, "for k in range(2):"),
        (11, "while len(sums) > 2:"),
        (12, "sums.pop(); k = 0  # fmt: skip  # noqa: E702"),
        (11, "while len(sums) > 2:"),
        (13, "try:"),
        (14, "raise ValueError('inside')"),
        (15, "except ValueError:"),
        (16, "done = [value for value in sums if value]"),
        (21, "def helper(x: float) -> float:"),
        (25, "return {'loss': torch.as_tensor(helper(done[0]))}"),
    ]
    assert record.error is None
    assert record.result["loss"] == 2


def test_a_step_from_a_notebook_cell() -> None:
    """A cell's source is in linecache, and its function begins at some line of the cell."""
    record = traced(
        step_of("x = 1\n\ndef step(gan, real, z):\n    fake = gan.G(z)  # text\n    fake.sum().backward()\n")
    )
    assert [(line.number, line.text) for line in record.lines] == [(4, "fake = gan.G(z)"), (5, "fake.sum().backward()")]
    assert record.first_line == 3


def twice(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def wrapper(*arguments: Any) -> Any:
        step(*arguments)
        return step(*arguments)

    return wrapper


@twice
@torch.enable_grad()
def decorated(gan: GAN, real: Tensor, z: Tensor) -> None:
    gan.G(z).sum().backward()


@dataclass
class Networks:
    G: nn.Module

    def step(self, z: Tensor) -> None:
        text = """a string
at the margin"""
        self.fake = self.G(z)
        if self.fake.sum() > 1e9: return  # noqa: E701  # fmt: skip
        self.fake.sum().backward()
        del text


def anything(*arguments: Any) -> None:
    arguments[0].G(arguments[2])


def test_methods_decorated_functions_and_any_arguments() -> None:
    record = trace(Networks(nn.Linear(2, 2)).step, torch.ones(1, 2))
    texts = ["self.fake = self.G(z)", "if self.fake.sum() > ", "self.fake.sum().backw", "del text"]
    assert [line.text[:21] for line in record.lines[1:]] == texts
    assert [line.tensors["self.fake"].state for line in record.lines[1:]] == [ALIVE, ALIVE, FREED, FREED]
    assert record.lines[1].tensors["self.fake"].reaches == ("self.G",)
    record = traced(decorated)
    assert [line.text for line in record.lines] == ["gan.G(z).sum().backward()"] * 2
    assert len(record.lines[-1].networks["G"].contributions) == 2
    assert "arguments[1]" in traced(anything).lines[0].tensors


def test_a_lambda_is_one_line_and_what_it_calls_has_its_own() -> None:
    gan, (batch,) = build("points"), draw("points")
    others = [lambda: None, lambda: with_helper(gan, *batch), lambda: None]  # on one line
    record = trace(others[1])
    assert [line.text for line in record.lines] == ["with_helper(gan, *batch)"]
    assert [sent.place.function for sent in record.lines[0].of(Backward)] == [
        "with_helper", "helper_update", "helper_update"
    ]  # fmt: skip
    assert list(record.before) == ["gan.G", "gan.D"]


def generator(gan: GAN) -> Any:
    yield gan


def test_what_cannot_be_followed_is_refused() -> None:
    namespace: dict[str, Any] = {}
    exec("def step(gan, real, z): pass", namespace)
    with pytest.raises(ValueError, match="step has no source to show: define it in a file or a notebook cell"):
        traced(namespace["step"])
    with pytest.raises(TypeError, match="A trace follows a plain function, line by line; generator suspends itself"):
        traced(generator)
    with pytest.raises(TypeError, match="A trace follows a step that is written in Python"):
        traced(print)


# Nothing is left behind


def interrupted(gan: GAN, real: Tensor, z: Tensor) -> None:
    print("once")
    raise KeyboardInterrupt


def test_a_step_runs_once_and_the_tracer_is_given_back_also_where_it_is_interrupted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def tracer(*_: Any) -> None:
        pass

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        with pytest.raises(KeyboardInterrupt):
            traced(interrupted)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert capsys.readouterr().out == "once\n"


def test_the_ledgers_own_faults_are_not_taken_for_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules["gantutor.ledger.trace"], "Scene", breaks)
    with pytest.raises(ZeroDivisionError):
        traced(d_first_detach)


def test_watching_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def step(gan: GAN, real: Tensor, z: Tensor) -> None:
        gan.G(z).sum().backward()
        now[0] += 1

    def slow(frame: FrameType) -> None:
        now[0] += 10 * (frame.f_code.co_name == "backward")

    seen: list[tuple[int, float]] = []

    def after(line: int, frame: FrameType, milliseconds: float) -> None:
        seen.append((line - step.__code__.co_firstlineno, milliseconds))
        now[0] += 10

    with Watch(Source.of(step), lambda line, frame: None, after, slow).on():
        step(build("points"), *draw("points")[0])
    assert seen == [(1, 0.0), (2, 1000.0)]


# Gradients


def two_losses(gan: SimpleNamespace, x: torch.Tensor) -> None:
    a_loss = gan.G(x).sum()
    a_loss.backward()
    b_loss = -0.5 * gan.G(x.flip(1)).sum()
    b_loss.backward()


def test_shares_are_told_as_vectors_that_do_not_add() -> None:
    """G's weight receives (3, 4), of norm 5, and then -(4, 3)/2, of norm 2.5: (1, 2.5) together."""
    gan = SimpleNamespace(G=nn.Linear(2, 1, bias=False), D=nn.Linear(1, 1))
    record = trace(two_losses, gan, torch.tensor([[3.0, 4.0]]))
    state, first = record.lines[-1].networks["G"], two_losses.__code__.co_firstlineno
    assert f"5 (line {first + 2}) and 2.5 (line {first + 4}), together 2.7" in str(record)
    assert "+" not in str(record)
    assert state.gradient_norm == pytest.approx(math.hypot(1, 2.5))
    assert [part.along for part in state.contributions] == pytest.approx(
        [13 / math.hypot(1, 2.5), -5.75 / math.hypot(1, 2.5)]
    )


def test_gradients_from_before_the_step_are_line_0() -> None:
    gan, ((real, z),) = build("points"), draw("points")
    d_first_detach(gan, real, z)
    left = gradient(gan.D).norm().item()
    record = trace(PITFALLS["d_first_no_zero_grad_D"].step, gan, real, z)
    assert [(part.line, part.norm) for part in record.before["D"].contributions] == [(0, pytest.approx(left))]
    numbers = [part.line for part in record.lines[-1].networks["D"].contributions]
    assert numbers == [0, at(record, "d_loss.backward").number, at(record, "g_loss.backward").number]


def zeros_in_place(gan: GAN, real: Tensor, z: Tensor) -> None:
    gan.G(z).sum().backward()
    gan.opt_G.zero_grad(set_to_none=False)
    gan.G(z).sum().backward()
    for parameter in gan.G.parameters():
        parameter.grad.data.zero_()  # type: ignore[union-attr]


def test_gradients_set_to_zero_are_cleared_in_whatever_way() -> None:
    record = traced(zeros_in_place)
    backward, zero = at(record, "gan.G(z)"), at(record, "gan.opt_G.zero_grad")
    assert len(backward.networks["G"].contributions) == 1
    assert zero.networks["G"].contributions == ()
    assert zero.networks["G"].with_gradient == zero.networks["G"].parameters
    again = at(record, "gan.G(z)", 1).networks["G"]
    assert [part.line for part in again.contributions] == [at(record, "gan.G(z)", 1).number]
    assert record.lines[-1].networks["G"].contributions == ()


def helper_update(gan: GAN, z: Tensor) -> None:
    gan.opt_G.zero_grad()
    fake = gan.G(z)
    gan.D(fake).sum().backward(retain_graph=True)
    gan.D(fake).square().sum().backward()


def with_helper(gan: GAN, real: Tensor, z: Tensor) -> None:
    gan.G(z).sum().backward()
    helper_update(gan, z)


def test_a_helper_that_clears_and_runs_two_backwards_in_one_line() -> None:
    record = traced(with_helper)
    end, helper = record.lines[-1], at(record, "helper_update")
    assert [part.line for part in end.networks["G"].contributions] == [helper.number] * 2


# Weights and statistics


def clipping(gan: GAN, real: Tensor, z: Tensor) -> None:
    gan.opt_D.zero_grad()
    gan.D(real).sum().backward()
    gan.opt_D.step()
    for parameter in gan.D.parameters():
        parameter.data.clamp_(-0.01, 0.01)  # WGAN's, behind autograd's back


def test_versions_and_changes_of_weights() -> None:
    record = traced(clipping)
    backward, step, clip = at(record, "gan.D(real)"), at(record, "gan.opt_D.step"), at(record, "parameter.data")
    assert [line.networks["D"].changed for line in (backward, step, clip)] == [False, True, True]
    assert not any(line.networks["G"].changed for line in record.lines)
    assert step.networks["D"].versions["4.bias"] > backward.networks["D"].versions["4.bias"]
    assert clip.networks["D"].versions == step.networks["D"].versions
    loop = record.lines[record.lines.index(step) + 1]
    assert (loop.text, loop.networks["D"].changed) == ("for parameter in gan.D.parameters():", False)
    assert set(loop.tensors) == {"real", "z"}  # `parameter` has its place among D's


def test_batchnorm_counts_and_statistics() -> None:
    """Claim 21: in a D-first step D's BatchNorm sees real, fake, fake."""
    record = traced(d_first_detach, "points-batch")
    counts = [line.networks["D"].batchnorms[0].batches for line in record.lines]
    assert counts == sorted(counts)
    assert (at(record, "fake = ").networks["D"].batchnorms[0].batches, counts[-1]) == (0, 3)
    assert at(record, "logits_real").networks["D"].batchnorms[0].batches == 2
    assert {state.batches for state in record.lines[-1].networks["G"].batchnorms} == {1}
    after = build("points-batch")
    d_first_detach(after, *draw("points-batch")[0])
    for state in record.lines[-1].networks["D"].batchnorms:
        norm = after.D.get_submodule(state.name)
        assert (list(state.mean), list(state.var)) == (norm.running_mean.tolist(), norm.running_var.tolist())


# Graphs


def states(line: Line) -> dict[str, str]:
    return {name: state.state for name, state in line.tensors.items()}


def test_graphs_come_alive_are_freed_and_reach_networks() -> None:
    record = traced(d_first_detach)
    forward = at(record, "d_loss = ")
    assert states(forward) == {
        "real": NO_GRAPH, "z": NO_GRAPH, "fake": ALIVE, "logits_real": ALIVE, "logits_fake": ALIVE, "d_loss": ALIVE
    }  # fmt: skip
    assert {name: forward.tensors[name].reaches for name in ("real", "fake", "logits_fake", "d_loss")} == {
        "real": (), "fake": ("G",), "logits_fake": ("D",), "d_loss": ("D",)
    }  # fmt: skip
    backward = at(record, "d_loss.backward")
    assert states(backward) == {**states(forward), "logits_real": FREED, "logits_fake": FREED, "d_loss": FREED}
    freed = backward.tensors["logits_fake"]
    assert (freed.culprit, freed.culprit_line) == ("logits_fake", backward.number)
    assert at(record, "g_loss = ").tensors["g_loss"].reaches == ("G", "D")
    assert record.lines[-1].tensors["fake"].state == FREED
    assert record.lines[-1].tensors["fake"].culprit_line == at(record, "g_loss.backward").number


def test_retain_graph_keeps_what_the_optimizer_then_makes_stale() -> None:
    record = traced(d_first_retain_graph)
    kept, moved = at(record, "d_loss.backward"), at(record, "gan.opt_D.step")
    assert kept.tensors["logits_fake"].state == ALIVE
    stale = moved.tensors["logits_fake"]
    assert (stale.state, stale.culprit, stale.culprit_line) == (STALE, "D.4.weight", moved.number)
    assert moved.tensors["fake"].state == ALIVE


def test_one_stages_leaf_holds_a_gradient() -> None:
    record = traced(STEPS["one_stage"])
    assert at(record, "d_loss = ").tensors["received"].gradient_norm is None
    received = at(record, "d_loss.backward").tensors["received"]
    assert received.state == NO_GRAPH
    assert received.gradient_norm is not None
    assert received.gradient_norm > 0


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        assert ctx.saved_tensors
        return 2 * gradient


def own_function(gan: GAN, real: Tensor, z: Tensor) -> None:
    hidden = gan.G(z) + 0
    fake = Doubled.apply(hidden)
    loss = fake.sum()
    loss.backward()


def test_an_autograd_function_of_ones_own() -> None:
    record = traced(own_function)
    before, after = at(record, "fake = "), at(record, "loss.backward")
    assert (before.tensors["fake"].state, after.tensors["fake"].state) == (ALIVE, FREED)
    grown = before.saved_bytes - at(record, "hidden = ").saved_bytes
    assert grown == 6 * 2 * 8


# Bytes


@pytest.mark.parametrize("networks", NETWORKS)
def test_saved_bytes_are_those_that_hooks_count(networks: str) -> None:
    def forward(gan: GAN, real: Tensor, z: Tensor) -> None:
        with torch.no_grad():
            unseen = gan.G(z)
        fake = gan.G(z)
        logits = gan.D(fake)
        logits.mean().backward()
        del unseen

    gan, ((real, z),) = build(networks), draw(networks)
    record = trace(forward, gan, real, z)
    parameters = {p.untyped_storage().data_ptr() for net in (gan.G, gan.D) for p in net.parameters()}
    storages: dict[int, int] = {}
    held = []

    def pack(tensor: Tensor) -> Tensor:
        held.append(tensor)
        if tensor.untyped_storage().data_ptr() not in parameters:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    assert at(record, "unseen").saved_bytes == 0
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        fake = gan.G(z)
        assert at(record, "fake = ").saved_bytes == sum(storages.values()) > 0
        gan.D(fake)
        assert at(record, "logits = ").saved_bytes == sum(storages.values())
    assert record.lines[-1].saved_bytes == 0


# Errors


def test_the_diagnosis_of_claim_1_word_by_word() -> None:
    step = PITFALLS["d_first_same_logits"].step
    record = traced(step)
    first = step.__code__.co_firstlineno
    assert record.diagnosis == (
        f"Line {first + 16}, `g_loss.backward()`, goes back through the graph of `logits_fake`, which needs "
        f"`D.4.weight` as it was on line {first + 9}, but line {first + 12}, `gan.opt_D.step()`, has changed it in "
        "place since."
    )
    assert str(record).endswith("RuntimeError: " + record.diagnosis)
    assert "RuntimeError: Line" in record._repr_html_()
    assert "<td style='text-align:left'>g_loss.backward()</td>" in record._repr_html_()


def test_the_diagnosis_of_claim_6_word_by_word() -> None:
    step = PITFALLS["d_first_rescored"].step
    record = traced(step)
    first = step.__code__.co_firstlineno
    assert record.diagnosis == (
        f"Line {first + 15}, `g_loss.backward()`, goes back through the graph of `fake`, but line {first + 10}, "
        "`d_loss.backward()`, has gone through it before and freed what it had saved."
    )


@pytest.mark.parametrize("networks", NETWORKS)
@pytest.mark.parametrize("name", [name for name, pitfall in PITFALLS.items() if pitfall.raises])
def test_every_pitfall_that_raises_is_diagnosed(name: str, networks: str) -> None:
    """A tensor that changed has the shape that PyTorch's message gives, or that shape turned round."""
    record = traced(PITFALLS[name].step, networks)
    assert PITFALLS[name].raises in str(record.error)
    assert record.failure is not None
    assert record.failure.by is not None
    assert str(record.failure.by) in record.diagnosis
    if PITFALLS[name].raises == INPLACE:
        shape = re.findall(r"\[torch\.DoubleTensor \[([\d, ]+)\]\]", str(record.error))[0].split(", ")
        network, parameter = record.failure.culprit.split(".", 1)
        wanted = getattr(build(networks), network).get_parameter(parameter).shape
        assert sorted(map(int, shape)) == sorted(wanted)


def hidden_in_a_helper(gan: GAN, real: Tensor, z: Tensor) -> None:
    with_everything(gan, z)


def with_everything(gan: GAN, z: Tensor) -> None:
    logits = gan.D(gan.G(z))
    logits.mean().backward(retain_graph=True)
    gan.opt_D.step()
    logits.square().mean().backward()


def test_an_error_inside_a_helper_is_diagnosed_at_the_helpers_line() -> None:
    record = traced(hidden_in_a_helper)
    number, first = hidden_in_a_helper.__code__.co_firstlineno + 1, with_everything.__code__.co_firstlineno
    assert record.diagnosis == (
        f"Line {first + 4} of `with_everything`, `logits.square().mean().backward()`, goes back through the graph of "
        f"`logits`, which needs `D.4.weight` as it was on line {number}, but line {first + 3} of `with_everything`, "
        "`gan.opt_D.step()`, has changed it in place since."
    )


def repeated(gan: GAN, real: Tensor, z: Tensor) -> None:
    fake = gan.G(z)
    for _ in range(2):
        fake.square().sum().backward()


def test_a_loop_that_goes_back_twice() -> None:
    record = traced(repeated)
    assert len(record.lines) == 5
    assert "`fake`, but the same line has gone through it before" in record.diagnosis


def freed_and_stale(gan: GAN, z: Tensor, real: Tensor, freed_last: bool) -> tuple[Tensor, Tensor]:
    """G(z), whose graph is freed, and D(real), whose graph is stale; the one made last is where backward fails."""
    if not freed_last:
        fake = gan.G(z)
    logits = gan.D(real)
    if freed_last:
        fake = gan.G(z)
    fake.square().sum().backward()
    logits.sum().backward(retain_graph=True)
    gan.opt_D.step()
    return fake, logits


def freed_last(gan: GAN, real: Tensor, z: Tensor) -> None:
    fake, logits = freed_and_stale(gan, z, real, True)
    total = fake.sum() + logits.sum()
    total.backward()


def stale_last(gan: GAN, real: Tensor, z: Tensor) -> None:
    fake, logits = freed_and_stale(gan, z, real, False)
    total = fake.sum() + logits.sum()
    total.backward()


def only_to_D(gan: GAN, real: Tensor, z: Tensor) -> None:
    fake, logits = freed_and_stale(gan, z, real, True)
    total = fake.sum() + logits.sum()
    total.backward(inputs=list(gan.D.parameters()))


def twice_to_a_local(gan: GAN, real: Tensor, z: Tensor) -> None:
    fake = gan.G(z)
    square = fake * fake
    square.sum().backward(inputs=fake)
    square.sum().backward(inputs=fake)


def iterator_of_inputs(gan: GAN, real: Tensor, z: Tensor) -> None:
    _, logits = freed_and_stale(gan, z, real, True)
    logits.sum().backward(inputs=(p for p in gan.D.parameters()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "message", "behind"),
    [
        (freed_last, SECOND_TIME, "`fake`, but"),
        (stale_last, INPLACE, "`logits`, which needs `D.4.weight`"),
        (only_to_D, INPLACE, "`logits`, which needs `D.4.weight`"),
        (twice_to_a_local, SECOND_TIME, "`square`, but"),
        (iterator_of_inputs, INPLACE, "`logits`, which needs `D.4.weight`"),
    ],
)
def test_the_diagnosis_follows_the_way_that_backward_takes(step: Callable[..., Any], message: str, behind: str) -> None:
    record = traced(step)
    assert message in str(record.error)
    assert behind in record.diagnosis
    assert record.lines[-1].text == record.source.splitlines()[-1].split("  #")[0].strip()


def test_other_errors_are_kept_and_not_diagnosed() -> None:
    def divides(gan: GAN, real: Tensor, z: Tensor) -> None:
        fake = gan.G(z)
        fake.backward()

    record = traced(divides)
    assert "grad can be implicitly created only for scalar outputs" in str(record.error)
    assert record.diagnosis == ""
    assert record.lines[-1].text == "fake.backward()"


def raising_from_another(gan: GAN, real: Tensor, z: Tensor) -> None:
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError("second") from error


def test_an_error_keeps_no_frame_alive_nor_do_those_that_led_to_it() -> None:
    error: BaseException | None = traced(raising_from_another).error
    kinds = []
    while error is not None:
        assert error.__traceback__ is None
        kinds.append(type(error))
        error = error.__cause__
    assert kinds == [ValueError, KeyError]


def test_numbers_are_rounded_before_their_power_is_chosen() -> None:
    shown = {999.4: "999", 999.7: "1 k", 999_400: "999 k", 999_700: "1 M", 0: "0"}
    assert {number: count(number) for number in shown} == shown
