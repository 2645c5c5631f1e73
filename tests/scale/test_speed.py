"""Each speed-up computes what the plain step does, can be switched in mid-run, and says where it cannot be used."""

import copy
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from image_helpers import no_waiting, on_cuda
from run_cases import RING, SMALL, equal_runs, weights_and_moments
from torch import Tensor

from gantutor.configs import Config
from gantutor.model_state import networks, optimizers
from gantutor.scale.speed import (
    SPEED_UPS,
    compiled,
    is_getting_ready,
    keep_memory,
    recommended,
    set_allowed,
    set_speed,
    wait_until_ready,
)
from gantutor.scale.speed.cuda_graph import CUDAGraph, settings_of
from gantutor.scale.speed.switches import InBf16
from gantutor.steps import STEPS, d_first_detach
from gantutor.training import DivergedError, Run, measured

ON_ANY = ("channels_last", "fused", "bf16")  # what needs neither a compiler nor a GPU
ROUNDING = 1e-5  # of a float32 gradient, relative to its norm, where only the order of the sums differs
each_record = pytest.mark.parametrize("name", SMALL)


def after(config: Config, steps: int, *speed: str) -> Run:
    run = config.replace(speed=speed).start()
    for _ in range(steps):
        run.step()
    return run


def gradients(config: Config, *speed: str) -> Tensor:
    """All gradients that the first step gives to the optimizers, flat, in an order of their own."""
    run = config.replace(speed=speed).start()
    found: list[Tensor] = []

    def keep(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        found.extend(parameter.grad.contiguous().flatten().clone() for parameter in parameters)

    for _, optimizer in sorted(optimizers(run.model).items()):
        optimizer.register_step_pre_hook(keep)
    run.step()
    assert {gradient.dtype for gradient in found} == {torch.float32}
    return torch.cat(found)


# Equal to the plain step ----------------------------------------------------------------------------------------------


@each_record
@pytest.mark.parametrize("speed_up", ["channels_last", "fused"])
def test_gradients_are_the_plain_ones_but_for_rounding(name: str, speed_up: str) -> None:
    plain, fast = gradients(SMALL[name]), gradients(SMALL[name], speed_up)
    assert (fast - plain).norm() < ROUNDING * plain.norm()


@each_record
@pytest.mark.parametrize("speed_up", ["channels_last", "fused"])
def test_reports_stay_with_the_plain_ones(name: str, speed_up: str) -> None:
    """Adam divides by a gradient's size, so that one close to 0 turns rounding into a whole step: hence 1e-3."""
    plain, fast = after(SMALL[name], 4), after(SMALL[name], 4, speed_up)
    assert plain.history.keys() == fast.history.keys()
    for key in plain.history.keys():  # noqa: SIM118 -- a History is no dict
        assert torch.allclose(torch.tensor(fast.history[key]), torch.tensor(plain.history[key]), rtol=1e-3), key


@each_record
def test_channels_last_is_a_memory_format_there_and_back(name: str) -> None:
    run = after(SMALL[name], 2)
    before = weights_and_moments(run)
    set_speed(run, ("channels_last",))
    tensors = [p for network in networks(run.model).values() for p in network.parameters() if p.dim() == 4]
    moments = [run_state[key] for opt in optimizers(run.model).values() for run_state in opt.state.values()
               for key in ("exp_avg", "exp_avg_sq") if run_state[key].dim() == 4]  # fmt: skip
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in [*tensors, *moments])
    assert any(not tensor.is_contiguous() for tensor in tensors), "nothing has moved"
    run.step()
    set_speed(run, ())
    assert all(tensor.is_contiguous() for tensor in [*tensors])
    assert len(before) == len(weights_and_moments(run))


@each_record
def test_the_fused_update_is_switched_in_every_group(name: str) -> None:
    run = after(SMALL[name], 1, "fused")
    groups = [group for optimizer in optimizers(run.model).values() for group in optimizer.param_groups]
    assert all(group["fused"] for group in groups)
    set_speed(run, ())
    assert not any(group["fused"] for group in groups)


@each_record
def test_bf16_keeps_weights_gradients_and_outputs_in_float32(name: str) -> None:
    run = after(SMALL[name], 2, "bf16")
    tensors = [p for network in networks(run.model).values() for p in network.parameters()]
    assert {p.dtype for p in tensors} == {p.grad.dtype for p in tensors if p.grad is not None} == {torch.float32}
    assert {value.dtype for value in run.last.values()} == {torch.float32}
    assert {x.dtype for x in weights_and_moments(run)} <= {torch.float32, torch.int64}
    assert list(networks(run.model)) == list(networks(after(SMALL[name], 0).model))


@each_record
def test_bf16_computes_in_bfloat16_and_points_where_float32_does(name: str) -> None:
    """A bfloat16 has 8 bits of mantissa, so that each number is off by up to 1/256."""
    plain, fast = gradients(SMALL[name]), gradients(SMALL[name], "bf16")
    cosine = torch.nn.functional.cosine_similarity(plain, fast, dim=0)
    assert 0.95 < cosine < 1 - 1e-7
    x = next(SMALL[name].start().batches)[0 if name != "gan" else 1]
    outputs = []
    for speed in ((), ("bf16",)):
        run = SMALL[name].replace(speed=speed).start()
        outputs.append(next(iter(networks(run.model).values()))(x))
    assert 0 < (outputs[1] - outputs[0]).abs().max() < 0.05 * outputs[0].abs().max()


def test_the_gradient_of_a_gradient_goes_through_bf16() -> None:
    config = SMALL["gan"].replace(loss="wgan-gp", norm_D="none")
    plain, fast = gradients(config), gradients(config, "bf16")
    assert torch.nn.functional.cosine_similarity(plain, fast, dim=0) > 0.95


# Switched between two steps -------------------------------------------------------------------------------------------


@each_record
def test_without_speed_ups_a_run_is_the_plain_one_bit_for_bit(name: str) -> None:
    run = SMALL[name].start()
    plain = SMALL[name].start()
    for _ in range(3):
        set_speed(run, ())
        run.step()
        plain.step()
    assert run.step_runner is measured
    assert equal_runs(run, plain)


@each_record
@pytest.mark.parametrize("speed", [("channels_last",), ("fused",), ("bf16",), ON_ANY])
def test_on_and_off_again_leaves_no_trace(name: str, speed: tuple[str, ...]) -> None:
    run, plain = after(SMALL[name], 2), after(SMALL[name], 2)
    for _ in range(2):
        set_speed(run, speed)
        set_speed(run, speed)
    set_speed(run, ())
    for _ in range(2):
        run.step()
        plain.step()
    assert equal_runs(run, plain)


@each_record
@pytest.mark.parametrize("speed", [("channels_last",), ("fused",), ("bf16",), ON_ANY])
def test_a_copy_of_the_model_goes_on_as_the_model_does(name: str, speed: tuple[str, ...]) -> None:
    """The good state is one; the live panel and the ledger work on others."""
    run = after(SMALL[name], 2, *speed)
    model, step = copy.deepcopy((run.model, run.train_step))
    batch = next(copy.deepcopy(run.batches))
    run.step()
    step(model, *batch)
    assert all(
        torch.equal(x, y)
        for one, other in zip(networks(run.model).values(), networks(model).values(), strict=True)
        for x, y in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )
    bf16 = [vars(network)["forward"].network for network in networks(model).values() if "forward" in vars(network)]
    assert all(a is b for a, b in zip(bf16, networks(model).values(), strict=False)), (
        "a copy computes with the original"
    )


@each_record
def test_a_run_that_diverges_goes_on_with_its_speed_ups(name: str) -> None:
    run = after(SMALL[name], 2, *ON_ANY)
    next(next(iter(networks(run.model).values())).parameters()).data.fill_(float("nan"))
    with pytest.raises(DivergedError):
        run.step()
    SMALL[name].replace(speed=ON_ANY).apply(run)
    run.step()
    assert all("forward" in vars(network) for network in networks(run.model).values())


def test_a_record_takes_names_in_any_order_and_as_a_list() -> None:
    speed: Any = ["bf16", "channels_last"]
    assert RING.replace(speed=speed) == RING.replace(speed=("channels_last", "bf16"))
    assert RING.replace(speed=speed).speed == ("channels_last", "bf16")


@each_record
def test_speed_can_change_live_in_every_record(name: str) -> None:
    assert SMALL[name].speed == ()
    assert SMALL[name].is_live("speed", ("fused",))


@each_record
@pytest.mark.parametrize("speed", [("channels_last",), ("fused",), ("bf16",), ON_ANY])
def test_switched_off_a_run_goes_on_as_a_plain_one_in_its_state(name: str, speed: tuple[str, ...]) -> None:
    run, plain = after(SMALL[name], 2, *speed), SMALL[name].start()
    set_speed(run, ())
    plain.load_state_dict(copy.deepcopy(run.state_dict()))
    for _ in range(2):
        run.step()
        plain.step()
    assert equal_runs(run, plain)


# Refused --------------------------------------------------------------------------------------------------------------


@each_record
@pytest.mark.parametrize("speed", ["bf16", ("turbo",), ("bf16", 3)])
def test_a_record_refuses_an_unknown_speed_up(name: str, speed: Any) -> None:
    listed = "choose some of channels_last, fused, bf16, compile, graph"
    with pytest.raises(ValueError, match=rf"^speed=.* holds an unknown name; {listed}$"):
        SMALL[name].replace(speed=speed)


def refused(config: Config, *speed: str, change: Callable[[Run], object] = lambda run: None) -> str:
    """The reason that a run gives, having changed nothing."""
    run = config.start()
    change(run)
    before, step_runner = settings_of(run.model), run.step_runner
    with pytest.raises(ValueError, match="cannot be used here: ") as raised:
        set_speed(run, speed)
    assert settings_of(run.model) == before
    assert run.step_runner is step_runner
    run.step()
    return str(raised.value)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="speed-up 'turbo' is unknown; choose some of channels_last, fused, bf16, com"):
        set_speed(RING.start(), ("turbo",))


def test_an_optimizer_without_a_fused_update_is_refused() -> None:
    def other(run: Run) -> None:
        run.model.opt_D = torch.optim.RMSprop(run.model.D.parameters())

    assert refused(RING, "bf16", "fused", change=other).startswith(
        "fused cannot be used here: opt_D, RMSprop, has no update in one kernel"
    )


def test_compile_refuses_what_it_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for loss in ("wgan-gp", "non-saturating-r1"):
        assert "gradient of a gradient" in refused(RING.replace(loss=loss), "compile")
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "torch.compile needs a C++ compiler" in refused(RING, "compile")


@pytest.mark.parametrize("strategy", ["d_first_retain_graph", "simultaneous"])
def test_compile_refuses_two_backwards_through_one_graph(strategy: str) -> None:
    """torch.compile lets the backward write over what the forward has kept."""
    config = RING.replace(strategy=strategy)
    assert f"{strategy} goes backward twice" in refused(config, "compile")
    run = RING.replace(speed=("compile",)).start()
    with pytest.raises(ValueError, match=f"compile cannot be used here: {strategy} goes backward twice"):
        config.replace(speed=("compile",)).apply(run)


def test_every_thread_may_compile_as_much() -> None:
    import torch._dynamo.config

    found: list[int] = []

    def look() -> None:
        compiled.allow_variants()
        found.append(torch._dynamo.config.recompile_limit)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [compiled.VARIANTS]


def test_a_recording_is_refused_without_cuda() -> None:
    assert refused(RING, "channels_last", "graph") == (
        "graph cannot be used here: a recording (CUDA graph) is made on a CUDA device, and this run is on cpu"
    )


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (RING.replace(d_steps=2), "with d_steps = 2 the step draws batches itself"),
        (RING, ""),
        (SMALL["pix2pix"], ""),
        (SMALL["cyclegan"], ""),
    ],
)
def test_a_recording_is_refused_where_a_step_is_not_the_same_each_time(
    config: Config, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gantutor.scale.speed.cuda_graph.run_device", lambda run: torch.device("cuda"))
    found = SPEED_UPS["graph"].refusal(config.start())
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_an_optimizer_that_cannot_be_recorded_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantutor.scale.speed.cuda_graph.run_device", lambda run: torch.device("cuda"))
    run = RING.start()
    run.model.opt_G = torch.optim.SGD(run.model.G.parameters(), lr=0.1)
    assert SPEED_UPS["graph"].refusal(run) == "opt_G, SGD, cannot be recorded; Adam and AdamW can"


# Compiled in the background -------------------------------------------------------------------------------------------


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile without a compiler: it traces, and then runs what it has traced as it is."""
    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *x, **options: original(*x, **options, backend="aot_eager"))


def traced(test: Callable[..., None]) -> Callable[..., None]:
    """With `quickly`; and torch looks at the .grad of what is no leaf while it traces."""
    ignored = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
    marked: Callable[..., None] = pytest.mark.usefixtures("quickly")(ignored(test))
    return marked


def compiled_calls(run: Run) -> list[Any]:
    return [network._compiled_call_impl for network in networks(run.model).values()]


@traced
def test_a_run_goes_on_plainly_while_it_is_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    may_compile = threading.Event()
    original = compiled.compile_networks

    def later(model: Any) -> None:
        assert may_compile.wait(30)
        original(model)

    monkeypatch.setattr(compiled, "compile_networks", later)
    run, plain = RING.replace(speed=("compile",)).start(), RING.start()
    for _ in range(3):
        run.step()
        plain.step()
    assert is_getting_ready(run)
    assert compiled_calls(run) == [None, None]
    assert equal_runs(run, plain), "it waited, or what it compiles with has moved the run"
    may_compile.set()
    wait_until_ready(run)
    assert not is_getting_ready(run)
    assert run.step_runner is measured
    assert None not in compiled_calls(run)
    run.step()
    plain.step()
    assert all(
        torch.allclose(x, y, rtol=1e-3, atol=1e-5)
        for x, y in zip(weights_and_moments(run), weights_and_moments(plain), strict=True)
    )
    assert [network._compiled_call_impl for network in networks(copy.deepcopy(run.model)).values()] == [None, None], (
        "copies are to be looked at, with other shapes"
    )
    set_speed(run, ())
    assert compiled_calls(run) == [None, None]


@traced
def test_waiting_before_the_first_step_takes_no_batch_from_the_run() -> None:
    run, plain = RING.replace(speed=("compile",)).start(), RING.start()
    wait_until_ready(run)
    assert None not in compiled_calls(run)
    assert all(torch.equal(x, y) for x, y in zip(next(run.batches), next(plain.batches), strict=True))
    wait_until_ready(plain)  # has nothing to wait for


@traced
def test_what_is_compiled_is_used_in_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    run = RING.replace(speed=("compile",)).start()
    wait_until_ready(run)
    calls: list[Tensor] = []

    def counted(network: Any) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            calls.append(x)
            found: Tensor = network._call_impl(x)
            return found

        return call

    for call in compiled_calls(run):
        monkeypatch.setattr(call, "compiled", counted(call.network))
    real, z = next(run.batches)
    run.model.sample(z)
    run.model.prob_real(real)
    run.model.fake_gradient(real)
    assert calls == []
    run.step()
    assert len(calls) > 1


@traced
def test_other_numbers_are_compiled_for_anew() -> None:
    run = RING.replace(speed=("compile",)).start()
    wait_until_ready(run)
    first = compiled_calls(run)
    set_speed(run, ("compile",))
    assert compiled_calls(run) == first
    set_speed(run, ("bf16", "compile"))
    assert is_getting_ready(run)
    assert compiled_calls(run) == [None, None]
    wait_until_ready(run)
    run.step()
    assert {value.dtype for value in run.last.values()} == {torch.float32}


def test_what_goes_wrong_in_the_background_is_raised_in_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: Any) -> None:
        raise RuntimeError("the cake fell\nin many pieces")

    monkeypatch.setattr(compiled, "compile_networks", broken)
    message = "torch.compile failed, and the run goes on without it: the cake fell$"
    run, plain = RING.replace(speed=("compile",)).start(), after(RING, 2)
    with pytest.raises(RuntimeError, match=message):
        wait_until_ready(run)
    run.step()
    set_speed(run, ("compile",))
    step_runner: Any = run.step_runner
    step_runner.start(next(copy.deepcopy(run.batches))).join()
    with pytest.raises(RuntimeError, match=message):
        run.step()
    run.step()
    assert equal_runs(run, plain)


@pytest.mark.skipif(bool(SPEED_UPS["compile"].refusal(RING.start())), reason="there is no compiler")
def test_what_torch_compiles_takes_the_plain_steps(tmp_path: Path) -> None:
    """With the real compiler, in a process of its own: it warns, and lets threads and files live on."""
    program = """
import torch
from gantutor import Experiment
from gantutor.scale.speed import wait_until_ready
record = Experiment(data="ring", batch_size=8, model_options={"width": 8}, device="cpu", batching="joint")
runs = [record.start(), record.replace(speed=("compile",)).start()]
wait_until_ready(runs[1])
for run in runs:
    for _ in range(3):
        run.step()
a, b = (torch.cat([p.flatten() for p in [*run.model.G.parameters(), *run.model.D.parameters()]]) for run in runs)
assert a.equal_runs(a) and (a - b).norm() < 1e-5 * a.norm(), (a - b).norm() / a.norm()
print("alike")
"""
    environment = {
        **os.environ,
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # workers of its own would cost more
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),  # what lies there from another time may have been made otherwise
    }
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert run.stdout == "alike\n", run.stderr


# Memory ---------------------------------------------------------------------------------------------------------------


def test_kept_memory_is_not_faulted_in_again_and_changes_no_bit() -> None:
    program = """
import hashlib, resource, sys, torch
from gantutor import Experiment
from gantutor.scale.speed import keep_memory
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_memory()
run = Experiment(data="ring", device="cpu").start()
for _ in range(5):
    run.step()
weights = torch.cat([p.detach().flatten() for p in [*run.model.G.parameters(), *run.model.D.parameters()]])
for i in range(13):
    activations = [torch.ones(1 << 21) for _ in range(4)]
    del activations
    if i == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(hashlib.sha256(weights.numpy().tobytes()).hexdigest())
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    pytest.importorskip("resource")
    found = {}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    for way in ("plain", "kept"):
        run = subprocess.run([sys.executable, "-c", program, way], capture_output=True, text=True, env=environment)
        assert not run.returncode, run.stderr
        found[way] = run.stdout.split()
    assert found["plain"][0] == found["kept"][0]
    if keep_memory():
        assert int(found["plain"][1]) > 10 * int(found["kept"][1]), "making a run leaves the process's memory alone"
        assert int(found["kept"][1]) < 1000, "of 80,000 pages; what the plain process loses depends on its heap"


def test_memory_is_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keep_memory() is keep_memory()
    monkeypatch.setattr(os, "confstr_names", {})
    assert not keep_memory.__wrapped__(), "another system than glibc's is left alone"


# A diverged run -------------------------------------------------------------------------------------------------------


def test_a_diverged_run_goes_on_with_its_speed_ups() -> None:
    """Its good state is older than the speed-ups, so that the copy knows nothing of them."""
    run = after(SMALL["gan"], 2)
    set_speed(run, ("channels_last", "fused", "bf16"))
    run.step()
    with torch.no_grad():
        next(run.model.D.parameters()).fill_(float("nan"))
    with pytest.raises(DivergedError):
        run.step()
    assert run.model is not run.good
    for network in networks(run.model).values():
        assert isinstance(vars(network)["forward"], InBf16)
    assert all(group["fused"] for optimizer in optimizers(run.model).values() for group in optimizer.param_groups)
    weight = run.model.D[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    run.step()


def test_what_a_diverged_run_cannot_have_again_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    run = after(RING, 1, "fused", "bf16")
    monkeypatch.setitem(SPEED_UPS, "bf16", SPEED_UPS["bf16"]._replace(refusal=lambda run: "no more"))
    with torch.no_grad():
        next(run.model.D.parameters()).fill_(float("nan"))
    with pytest.raises(DivergedError):
        run.step()
    assert all(group["fused"] for group in run.model.opt_D.param_groups)


def test_spectral_norm_iterates_in_float32_under_bf16() -> None:
    config = SMALL["gan"].replace(norm_D="spectral")
    run, plain = config.replace(speed=("bf16",)).start(), config.start()
    real, _ = next(plain.batches)
    for network in (run.model.D, plain.model.D):
        assert network(real).dtype == torch.float32
    names = [name for name in plain.model.D.state_dict() if "weight.0._" in name]
    assert names
    for name in names:
        u = run.model.D.state_dict()[name]
        assert torch.equal(u, plain.model.D.state_dict()[name]), "one iteration each, with the same bits"
    loss = run.model.D(real).mean()
    loss.backward()
    assert all(parameter.grad is not None for parameter in run.model.D.parameters())


# What pays ------------------------------------------------------------------------------------------------------------


@each_record
def test_what_is_suited_can_be_used_everywhere_and_keeps_float32(name: str) -> None:
    assert "bf16" not in {*recommended("cpu"), *recommended("cuda"), *recommended("mps")}
    assert set(recommended("cuda")) | set(recommended("cpu")) <= set(SPEED_UPS)
    run = SMALL[name].start()
    set_allowed(run, recommended("cuda"))
    assert run.step_runner is measured, "what a run on a CPU refuses is left out"
    assert all(group["fused"] for optimizer in optimizers(run.model).values() for group in optimizer.param_groups)
    run = after(SMALL[name], 1, *recommended("cpu"))
    assert recommended("cpu", run.model) == (("fused",) if name == "cyclegan" else ("channels_last", "fused"))
    assert {value.dtype for value in run.last.values()} == {torch.float32}


# On a GPU -------------------------------------------------------------------------------------------------------------

REPLAYED = CUDAGraph.FIRST + 1  # from here on every step is a replay
RECORDABLE = {
    "gan": SMALL["gan"],
    "pix2pix": SMALL["pix2pix"].replace(steps=6),
    "cyclegan": SMALL["cyclegan"].replace(steps=6),
}


@pytest.mark.cuda
@each_record
@pytest.mark.parametrize("speed", [("graph",), ("fused", "graph"), ("channels_last", "fused", "graph")])
def test_a_recording_takes_the_steps_of_the_plain_run(name: str, speed: tuple[str, ...]) -> None:
    """Ten steps, the last six replayed, of them some at a rate that falls; then the plain way again."""
    config = on_cuda(RECORDABLE[name])
    run, plain = after(config, 10, *speed), after(config, 10, *speed[:-1])
    assert isinstance(run.step_runner, CUDAGraph)
    assert run.step_runner.graph is not None
    assert run.history.keys() == plain.history.keys()
    for key in plain.history.keys():  # noqa: SIM118 -- a History is no dict
        ours, theirs = (torch.tensor(of.history[key])[REPLAYED:] for of in (run, plain))
        assert ours.unique().numel() > 1, f"{key} is the same in each replay"
        assert torch.allclose(ours, theirs, rtol=1e-2), key
    assert getattr(run.train_step, "t", 10) == 10
    config.apply(run)
    run.step()
    assert run.step_runner is measured


@pytest.mark.cuda
def test_a_recording_is_made_anew_when_what_it_was_made_with_has_changed() -> None:
    run = after(on_cuda(SMALL["gan"]), 6, "graph")
    step_runner: Any = run.step_runner
    first = step_runner.graph
    run.step(d_first_detach)  # another step: taken plainly
    run.step()
    assert step_runner.graph is first
    for group in run.model.opt_G.param_groups:
        group["lr"] = 0.0
    before = [p.detach().clone() for p in run.model.G.parameters()]
    for _ in range(5):
        run.step()
    assert step_runner.graph is not first
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.G.parameters(), strict=True))


@pytest.mark.cuda
@pytest.mark.parametrize("strategy", STEPS)
def test_every_strategy_can_be_recorded(strategy: str) -> None:
    config = on_cuda(SMALL["gan"]).replace(strategy=strategy, norm_D="none")
    run, plain = after(config, 8, "graph"), after(config, 8)
    assert torch.allclose(run.last["d_loss"], plain.last["d_loss"], rtol=1e-2)


@pytest.mark.cuda
@each_record
@pytest.mark.parametrize("speed", [(), ("channels_last", "fused", "bf16")])
def test_no_step_waits_for_the_gpu(name: str, speed: tuple[str, ...]) -> None:
    """40 of them: every 50 the losses are looked at. The first looks at its batch."""
    run = on_cuda(SMALL[name]).replace(speed=speed).start()
    run.step()
    with no_waiting():
        for _ in range(40):
            run.step()


@pytest.mark.cuda
def test_step_counts_lie_where_the_update_wants_them() -> None:
    run = after(on_cuda(SMALL["gan"]), 2)
    for speed, place in (("fused",), "cuda"), ((), "cpu"), (("fused",), "cuda"), ((), "cpu"):
        set_speed(run, speed)
        run.step()
        assert {state["step"].device.type for state in run.model.opt_G.state.values()} == {place}
