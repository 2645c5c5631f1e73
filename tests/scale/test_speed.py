"""Each speed-up computes what the plain step does, can be switched in mid-run, and says where it cannot be used."""

import copy
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from image_helpers import no_waiting, on_cuda
from run_cases import RING, SMALL, after, difference, equal_runs
from torch import Tensor

from gantutor.configs import Config
from gantutor.configs.base import SPEED_UP_NAMES
from gantutor.model_state import networks, optimizers
from gantutor.scale import speed
from gantutor.scale.speed import (
    SPEED_UPS,
    CUDAGraph,
    InBf16,
    is_getting_ready,
    recommended,
    set_allowed,
    set_speed,
    settings_of,
    wait_until_ready,
)
from gantutor.steps import d_first_detach
from gantutor.training import DivergedError, Run, measured

ON_ANY = ("channels_last", "fused", "bf16")  # what needs neither a compiler nor a GPU
ROUNDING = 1e-5  # of a float32 gradient, relative to its norm, where only the order of the sums differs
each_kind = pytest.mark.parametrize("name", SMALL)


def gradients(config: Config, *names: str) -> Tensor:
    """All gradients that the first step gives to the optimizers, flat, in an order of their own."""
    run = config.replace(speed=names).start()
    found: list[Tensor] = []

    def keep(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        found.extend(parameter.grad.contiguous().flatten().clone() for parameter in parameters)

    for _, optimizer in sorted(optimizers(run.model).items()):
        optimizer.register_step_pre_hook(keep)
    run.step()
    assert {gradient.dtype for gradient in found} == {torch.float32}
    return torch.cat(found)


def weights(run: Run) -> list[Tensor]:
    return [parameter for network in networks(run.model).values() for parameter in network.parameters()]


def groups(run: Run) -> list[dict[str, Any]]:
    return [group for optimizer in optimizers(run.model).values() for group in optimizer.param_groups]


# Equal to the plain step ----------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("speed_up", ["channels_last", "fused"])
def test_gradients_are_the_plain_ones_but_for_rounding(name: str, speed_up: str) -> None:
    plain, fast = gradients(SMALL[name]), gradients(SMALL[name], speed_up)
    assert (fast - plain).norm() < ROUNDING * plain.norm()


@each_kind
def test_bf16_keeps_float32_outside_and_points_where_float32_does(name: str) -> None:
    """A bfloat16 has 8 bits of mantissa, so that each number is off by up to 1/256."""
    run = after(SMALL[name], 2, "bf16")
    assert {p.dtype for p in weights(run)} == {p.grad.dtype for p in weights(run) if p.grad is not None}
    assert {value.dtype for value in [*run.last.values(), *weights(run)]} == {torch.float32}
    plain, fast = gradients(SMALL[name]), gradients(SMALL[name], "bf16")
    assert 0.95 < torch.nn.functional.cosine_similarity(plain, fast, dim=0) < 1 - 1e-7


# Switched between two steps -------------------------------------------------------------------------------------------


@each_kind
def test_each_is_switched_on_and_off(name: str) -> None:
    """Weights and moments lie otherwise, the update is another kernel, and networks compute in bfloat16."""
    run = after(SMALL[name], 1, *ON_ANY)
    states = [state for optimizer in optimizers(run.model).values() for state in optimizer.state.values()]
    moments = [state[key] for state in states for key in ("exp_avg", "exp_avg_sq")]
    images = [tensor for tensor in [*weights(run), *moments] if tensor.dim() == 4]
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in images)
    assert any(not tensor.is_contiguous() for tensor in images)
    assert all(group["fused"] for group in groups(run))
    assert all(isinstance(vars(network)["forward"], InBf16) for network in networks(run.model).values())
    set_speed(run, ())
    assert all(weight.is_contiguous() for weight in weights(run))
    assert not any(group["fused"] for group in groups(run))
    assert not any("forward" in vars(network) for network in networks(run.model).values())
    plain = SMALL[name].start()
    plain.load_state_dict(copy.deepcopy(run.state_dict()))
    run.step(), plain.step()
    assert equal_runs(run, plain), "it goes on as a plain one in its state"


@each_kind
def test_a_diverged_run_goes_on_with_its_speed_ups(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its good state is older than the speed-ups, so that the copy knows nothing of them. What it refuses is left."""
    run = after(SMALL[name], 2)
    set_speed(run, ON_ANY)
    run.step()
    if name == "cyclegan":
        monkeypatch.setitem(SPEED_UPS, "bf16", SPEED_UPS["bf16"]._replace(refusal=lambda run: "no more"))
    next(next(iter(networks(run.model).values())).parameters()).data.fill_(float("nan"))
    with pytest.raises(DivergedError):
        run.step()
    assert run.model is not run.good
    for network in networks(run.model).values():
        assert ("forward" in vars(network)) == (name != "cyclegan")
    assert all(group["fused"] for group in groups(run))
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights(run) if w.dim() == 4)
    run.step()


def test_a_config_takes_names_in_any_order_and_as_a_list() -> None:
    names: Any = ["bf16", "channels_last"]
    assert RING.replace(speed=names) == RING.replace(speed=("channels_last", "bf16"))
    assert tuple(SPEED_UPS) == SPEED_UP_NAMES
    for unknown in ("bf16", ("turbo",), ("bf16", 3)):
        with pytest.raises(ValueError, match=rf"^speed=.* holds an unknown name; .* {', '.join(SPEED_UPS)}$"):
            RING.replace(speed=unknown)
    with pytest.raises(ValueError, match="speed-up 'turbo' is unknown; choose some of channels_last, fused, bf16, com"):
        set_speed(RING.start(), ("turbo",))


@each_kind
def test_what_is_recommended_can_be_used_everywhere_and_keeps_float32(name: str) -> None:
    assert {"bf16", "compile"}.isdisjoint({*recommended("cpu"), *recommended("cuda"), *recommended("mps")})
    run = SMALL[name].start()
    assert recommended("cpu", run.model) == (("fused",) if name == "cyclegan" else ("channels_last", "fused"))
    set_allowed(run, recommended("cuda"))
    assert run.step_runner is measured, "what a run on a CPU refuses is left out"
    assert all(group["fused"] for group in groups(run))


# Refused --------------------------------------------------------------------------------------------------------------


def with_optimizer(player: str, kind: Any) -> Callable[[Run], None]:
    """Has that player another kind of optimizer."""

    def change(run: Run) -> None:
        setattr(run.model, f"opt_{player}", kind(getattr(run.model, player).parameters(), lr=0.1))

    return change


TWICE = " goes backward twice through one graph"
RMSPROP = "opt_D, RMSprop, has no update in one kernel"


@pytest.mark.parametrize(
    ("config", "names", "change", "reason"),
    [
        (RING.replace(loss="wgan-gp"), "compile", None, "a gradient penalty needs a gradient of a gradient"),
        (RING.replace(strategy="simultaneous"), "compile", None, f"simultaneous{TWICE}"),
        (RING.replace(strategy="d_first_retain_graph"), "compile", None, f"d_first_retain_graph{TWICE}"),
        (RING, "compile", None, "torch.compile needs a C++ compiler"),
        (RING, "bf16 fused", with_optimizer("D", torch.optim.RMSprop), RMSPROP),
        (
            RING,
            "channels_last graph",
            None,
            "a recording (CUDA graph) is made on a CUDA device, and this run is on cpu",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    config: Config, names: str, change: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is said, and nothing has changed."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    run = config.start()
    if change:
        change(run)
    before, step_runner = settings_of(run.model), run.step_runner
    with pytest.raises(ValueError, match=re.escape(f"{names.split()[-1]} cannot be used here: {reason}")):
        set_speed(run, tuple(names.split()))
    assert settings_of(run.model) == before
    assert run.step_runner is step_runner
    run.step()


@pytest.mark.parametrize(
    ("config", "change", "reason"),
    [
        (RING.replace(d_steps=2), None, "with d_steps = 2 the step draws batches itself"),
        (RING, with_optimizer("G", torch.optim.SGD), "opt_G, SGD, cannot be recorded; Adam and AdamW can"),
        *((config, None, "") for config in SMALL.values()),
    ],
)
def test_a_recording_is_refused_where_a_step_is_not_the_same_each_time(
    config: Config, change: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "model_device", lambda model: torch.device("cuda"))
    run = config.start()
    if change:
        change(run)
    found = SPEED_UPS["graph"].refusal(run)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


# Compiled in the background -------------------------------------------------------------------------------------------


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile without a compiler: it traces, and then runs what it has traced as it is."""
    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *x, **options: original(*x, **options, backend="aot_eager"))
    monkeypatch.setitem(SPEED_UPS, "compile", SPEED_UPS["compile"]._replace(refusal=lambda run: ""))


def traced(test: Callable[..., None]) -> Callable[..., None]:
    """With `quickly`; and torch looks at the .grad of what is no leaf while it traces."""
    ignored = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
    marked: Callable[..., None] = pytest.mark.usefixtures("quickly")(ignored(test))
    return marked


def compiled_calls(model: Any) -> list[Any]:
    return [network._compiled_call_impl for network in networks(model).values()]


@traced
def test_a_run_goes_on_plainly_while_it_is_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    may_compile = threading.Event()
    original = speed.compile_networks

    def later(model: Any) -> None:
        assert may_compile.wait(30)
        original(model)

    monkeypatch.setattr(speed, "compile_networks", later)
    run, plain = after(RING, 3, "compile"), after(RING, 3)
    assert is_getting_ready(run)
    assert compiled_calls(run.model) == [None, None]
    assert equal_runs(run, plain), "it waited, or what it compiles with has moved the run"
    may_compile.set()
    wait_until_ready(run)
    assert not is_getting_ready(run)
    assert run.step_runner is measured
    assert None not in compiled_calls(run.model)
    run.step(), plain.step()
    assert difference(run.state_dict()["model"], plain.state_dict()["model"]) < 1e-4
    assert compiled_calls(copy.deepcopy(run.model)) == [None, None], "copies are to be looked at, with other shapes"
    set_speed(run, ())
    assert compiled_calls(run.model) == [None, None]


@traced
def test_what_is_compiled_is_used_in_training_alone_and_takes_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    run, plain = RING.replace(speed=("compile",)).start(), RING.start()
    wait_until_ready(run)
    real, z = next(run.batches)
    assert all(torch.equal(x, y) for x, y in zip((real, z), next(plain.batches), strict=True))
    calls: list[Any] = []
    for call in compiled_calls(run.model):
        monkeypatch.setattr(call, "compiled", lambda x, call=call: calls.append(x) or call.network._call_impl(x))
    run.model.sample(z)
    run.model.prob_real(real)
    run.model.fake_gradient(real)
    assert calls == []
    run.step()
    assert len(calls) > 1


@traced
def test_what_goes_wrong_in_the_background_is_raised_in_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: Any) -> None:
        raise RuntimeError("the cake fell\nin many pieces")

    monkeypatch.setattr(speed, "compile_networks", broken)
    message = "torch.compile failed, and the run goes on without it: the cake fell$"
    run, plain = RING.replace(speed=("compile",)).start(), after(RING, 2)
    with pytest.raises(RuntimeError, match=message):
        wait_until_ready(run)
    run.step()
    set_speed(run, ("compile",))
    step_runner: Any = run.step_runner
    step_runner.start(next(copy.deepcopy(run.batches))).exception()
    with pytest.raises(RuntimeError, match=message):
        run.step()
    run.step()
    assert equal_runs(run, plain)


@pytest.mark.slow
@pytest.mark.skipif(bool(SPEED_UPS["compile"].refusal(RING.start())), reason="there is no compiler")
def test_what_torch_compiles_takes_the_plain_steps(tmp_path: Path) -> None:
    """With the real compiler, in a process of its own: it warns, and lets threads and files live on."""
    program = """
import torch
from gantutor import Experiment
from gantutor.scale.speed import wait_until_ready
config = Experiment(data="ring", batch_size=8, model_options={"width": 8}, device="cpu", batching="joint")
runs = [config.start(), config.replace(speed=("compile",)).start()]
wait_until_ready(runs[1])
for run in runs:
    for _ in range(3):
        run.step()
a, b = (torch.cat([p.flatten() for p in [*run.model.G.parameters(), *run.model.D.parameters()]]) for run in runs)
assert (a - b).norm() < 1e-5 * a.norm(), (a - b).norm() / a.norm()
print("alike")
"""
    environment = {
        **os.environ,
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # workers of its own would cost more
        "TORCHINDUCTOR_VEC_ISA_OK": "1",  # nothing is compiled only to see whether the CPU has vectors
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),  # what lies there from another time may have been made otherwise
    }
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert run.stdout == "alike\n", run.stderr


# On a GPU -------------------------------------------------------------------------------------------------------------

REPLAYED = CUDAGraph.FIRST + 1  # from here on every step is a replay
RECORDABLE = {name: config if name == "gan" else config.replace(steps=6) for name, config in SMALL.items()}


@pytest.mark.cuda
@each_kind
@pytest.mark.parametrize("names", [("graph",), ("channels_last", "fused", "graph")])
def test_a_recording_takes_the_steps_of_the_plain_run(name: str, names: tuple[str, ...]) -> None:
    """Ten steps, the last six replayed, of them some at a rate that falls; then the plain way again."""
    config = on_cuda(RECORDABLE[name])
    run, plain = after(config, 10, *names), after(config, 10, *names[:-1])
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
@each_kind
@pytest.mark.parametrize("names", [(), ON_ANY])
def test_no_step_waits_for_the_gpu(name: str, names: tuple[str, ...]) -> None:
    """40 of them: every 50 the losses are looked at. The first looks at its batch."""
    run = on_cuda(SMALL[name]).replace(speed=names).start()
    run.step()
    with no_waiting():
        for _ in range(40):
            run.step()


@pytest.mark.cuda
def test_step_counts_lie_where_the_update_wants_them() -> None:
    run = after(on_cuda(SMALL["gan"]), 2)
    for names, place in (("fused",), "cuda"), ((), "cpu"):
        set_speed(run, names)
        run.step()
        assert {state["step"].device.type for state in run.model.opt_G.state.values()} == {place}
