"""Speed-ups: ways to compute the same step faster, switched on and off between two steps of a run.

A training step knows nothing of them. They change where numbers lie in memory, which kernels compute them and, for
"bf16" alone, how many bits they have on the way. What a step means stays as it is written in steps.py.
"""

import contextlib
import copy
import ctypes
import functools
import os
import platform
import shutil
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize

from gantutor.draws import Draws
from gantutor.image_pool import ImagePool
from gantutor.losses import Loss
from gantutor.model_state import model_device, networks, optimizers, place_counts, unwrapped
from gantutor.training import Run
from gantutor.traits import traits_of

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
VARIANTS = 64  # torch keeps 8 of a function; the blocks of one U-Net are more, in training, frozen, with other shapes


class SpeedUp(NamedTuple):
    """`refusal(run)` says why it cannot be used, "" if it can; `switch(run, on)` switches it, and may be repeated."""

    refusal: Callable[[Run], str]
    switch: Callable[[Run, bool], None]


def without(step_runner: Any, kind: type) -> Any:
    """What takes the steps when all of that kind, each of which stands before an `inner` one, are gone."""
    inner = getattr(step_runner, "inner", None)
    if isinstance(step_runner, kind):
        return without(inner, kind)
    if inner is not None:
        step_runner.inner = without(inner, kind)
    return step_runner


def is_shared(run: Run) -> bool:
    """Whether several processes train these networks."""
    return any(isinstance(network, DistributedDataParallel) for network in networks(run.model).values())


# channels_last --------------------------------------------------------------------------------------------------------


def switch_channels_last(run: Run, on: bool) -> None:
    """Let a pixel's channels lie side by side in the convolutions' weights; images follow them. Adam's moments, too."""
    order = torch.channels_last if on else torch.contiguous_format
    weights = [p for network in unwrapped(run.model).values() for p in network.parameters() if p.dim() == 4]
    if all(weight.is_contiguous(memory_format=order) for weight in weights):
        return
    forget_compiled(run)
    for network in unwrapped(run.model).values():
        network.to(memory_format=order)
    for optimizer in optimizers(run.model).values():
        for parameter, state in optimizer.state.items():
            for name, moment in state.items():
                if isinstance(moment, Tensor) and moment.dim() == 4 and moment.shape == parameter.shape:
                    state[name] = moment.contiguous(memory_format=order)


# fused ----------------------------------------------------------------------------------------------------------------


def refuse_fused(run: Run) -> str:
    for name, optimizer in optimizers(run.model).items():
        if not all("fused" in group for group in optimizer.param_groups):
            return f"{name}, {type(optimizer).__name__}, has no update in one kernel; Adam, AdamW and SGD have"
    return ""


def switch_fused(run: Run, on: bool) -> None:
    """Update all of an optimizer's parameters in one kernel."""
    for optimizer in optimizers(run.model).values():
        for group in optimizer.param_groups:
            if bool(group.get("fused")) != on:
                group["fused"] = on or None  # None: torch's own choice
                group["foreach"] = None
        place_counts(optimizer)


# bf16 -----------------------------------------------------------------------------------------------------------------


class InBf16:
    """A network's forward under autocast: it computes in bfloat16, and what it returns is float32 again.

    Weights, gradients, outputs and losses stay float32, and so does what makes a weight out of others: spectral norm's
    power iteration would not find the largest singular value in bfloat16. A bfloat16 has the range of a float32 and a
    third of its digits, so no gradient falls below the smallest number and the loss needs no scaling, as it does in
    float16.
    It stands in the network's `forward`: copies of the network get copies of it, and the state's names do not change.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __call__(self, x: Tensor) -> Tensor:
        with parametrize.cached():  # a weight that was made once, here, is the same until the end of the block
            for module in self.network.modules():
                for name in getattr(module, "parametrizations", {}):
                    getattr(module, name)
            with torch.autocast(x.device.type, torch.bfloat16):
                y: Tensor = type(self.network).forward(self.network, x)
        return y.float()


def switch_bf16(run: Run, on: bool) -> None:
    """Have every network compute in bfloat16."""
    for network in unwrapped(run.model).values():
        if isinstance(vars(network).get("forward"), InBf16) == on:
            continue
        forget_compiled(run)
        if on:
            vars(network)["forward"] = InBf16(network)
        else:
            del vars(network)["forward"]


# compile --------------------------------------------------------------------------------------------------------------
#
# What torch.compile makes belongs to the code of a class and the shapes that it is given, and not to one network. So a
# thread takes a step on copies of the networks, which compiles all that a step needs, and then the run's own networks
# have it without waiting.


class InTraining:
    """A network's call: compiled in training mode, plain where the network is only looked at, with other shapes."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.compiled = torch.compile(network._call_impl, dynamic=False)

    def __call__(self, *x: Any) -> Any:
        if not self.network.training:
            return self.network._call_impl(*x)
        allow_variants()
        return self.compiled(*x)


def allow_variants() -> None:
    """Raise torch's limit in this thread: its settings are each thread's own."""
    import torch._dynamo.config  # takes a second, which only who compiles should pay

    if torch._dynamo.config.recompile_limit < VARIANTS:
        torch._dynamo.config.recompile_limit = VARIANTS


def compile_networks(model: Any) -> None:
    """Have a model's networks compile what they are called with; copies of them do not."""
    for network in unwrapped(model).values():
        network._compiled_call_impl = InTraining(network)


class GettingReady:
    """Takes steps as `inner` does while a thread compiles, and hands over to the compiled networks in between.

    Later, settings that call the networks in another way, as another batching does, compile in the step that is first
    to do so.
    Raises: RuntimeError in the next step if the thread failed; the run can go on, uncompiled.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.inner = run, run.step_runner
        self.ready: Future[None] | None = None

    def __call__(self, model: Any, step: Any, *batch: Tensor) -> dict[str, Tensor]:
        if not self.start(batch).done():
            return self.inner(model, step, *batch)
        self.finish()
        return self.run.step_runner(model, step, *batch)

    def start(self, batch: tuple[Tensor, ...]) -> "Future[None]":
        """Begin, once: a thread takes a step on copies of what the run has now."""
        if self.ready is None:
            step = getattr(self.run.train_step, "last", self.run.train_step)
            self.ready = ThreadPoolExecutor(1).submit(compiled_step, step, *copy.deepcopy((self.run.model, *batch)))
        return self.ready

    def finish(self) -> None:
        """Wait, and go over to the compiled networks."""
        self.run.step_runner = without(self.run.step_runner, GettingReady)
        if self.ready and (error := self.ready.exception()):
            message = str(error).strip().partition("\n")[0]
            raise RuntimeError(f"torch.compile failed, and the run goes on without it: {message}") from error
        compile_networks(self.run.model)


def compiled_step(step: Any, model: Any, *batch: Tensor) -> None:
    """Have the networks compile what a step calls them with."""
    if batch[0].is_cuda:
        torch.cuda.set_device(batch[0].device)  # which is each thread's own
    compile_networks(model)
    step(model, *batch)


def is_getting_ready(run: Run) -> bool:
    """Whether something is being compiled for the run, which goes on plainly meanwhile."""
    return isinstance(run.step_runner, GettingReady)


def wait_until_ready(run: Run) -> None:
    """Return when the run's next step is a compiled one, if it is to be.

    Raises: RuntimeError if it cannot be compiled.
    """
    if isinstance(run.step_runner, GettingReady):
        state = run.batches.state_dict()
        upcoming = next(run.batches)
        run.batches.load_state_dict(state)  # the batch is still there for the run
        run.step_runner.start(upcoming)
        run.step_runner.finish()


def forget_compiled(run: Run) -> None:
    """What was compiled, or is being compiled, was for other numbers: have nothing compiled."""
    run.step_runner = without(run.step_runner, GettingReady)
    for network in unwrapped(run.model).values():
        network._compiled_call_impl = None


def refuse_compile(run: Run) -> str:
    if getattr(run.model, "loss", Loss()).has_penalty:
        return "a gradient penalty needs a gradient of a gradient, and what torch.compile makes has only one backward"
    if traits_of(run.train_step).two_backwards:
        name = getattr(run.train_step, "__name__", "the step")
        return (
            f"{name} goes backward twice through one graph, and what torch.compile makes gives its memory away at once"
        )
    if is_shared(run):
        return "several processes train these networks already: switch it on before they do"
    device = model_device(run.model).type
    if device == "cuda":
        return "" if find_spec("triton") else "torch.compile needs the package triton, which is not installed"
    if device != "cpu":
        return f"torch.compile makes code for a CPU or CUDA, and this run is on {device}"
    compilers = (os.environ["CXX"],) if "CXX" in os.environ else ("g++", "clang++", "cl")
    if not any(map(shutil.which, compilers)):
        return f"torch.compile needs a C++ compiler ({', '.join(compilers)}), and there is none on this machine"
    return ""


def switch_compile(run: Run, on: bool) -> None:
    if not on:
        forget_compiled(run)
    elif not is_getting_ready(run) and any(net._compiled_call_impl is None for net in unwrapped(run.model).values()):
        run.step_runner = GettingReady(run)


# graph ----------------------------------------------------------------------------------------------------------------
#
# A small step on a GPU is limited by Python, which launches some hundred kernels one by one. A step changes only its
# model, and every random draw is an argument, or is drawn anew before each replay (`gantutor.draws`): so it does the
# same to the GPU each time, and that can be recorded.
# Source: Ng et al., "Accelerating PyTorch with CUDA Graphs", 2021, and the documentation of torch.cuda.CUDAGraph.


class CUDAGraph:
    """Takes steps as `inner` does, and after the first few by replaying a recording of them.

    The first steps are taken on a side stream, as a recording asks for, and count. A recording is good for the settings
    it was made with, and for the thread, which has handles of cuBLAS and cuDNN of its own; when the model, its
    settings, the optimizers', the shapes or the thread have changed, another is made. A step that is not `step`, as
    "D only" in the panel, is taken plainly.
    Of a step that has `last` and `around(model, update)`, `last` is recorded, and `around` is called each time.
    Raises: RuntimeError in a step that cannot be recorded, saying why; the steps after it are taken plainly.
    """

    FIRST = 3  # steps: then the optimizers have their state, and the libraries their workspace

    def __init__(self, inner: Callable[..., dict[str, Tensor]], step: Any) -> None:
        self.inner, self.step = inner, step
        self.stream = torch.cuda.Stream()
        self.settings: list[Any] = []
        self.failed: list[Any] | None = None  # settings with which no recording could be made
        self.graph: torch.cuda.CUDAGraph | None = None
        self.taken = 0

    def __call__(self, model: Any, step: Any, *batch: Tensor) -> dict[str, Tensor]:
        last, around = getattr(step, "last", step), getattr(step, "around", None)
        settings = self.all_settings(model, last, batch)
        if step is not self.step or settings == self.failed:
            return self.inner(model, step, *batch)
        if settings != self.settings:
            make_recordable(model, rates_fall=around is not None)
            self.settings = self.all_settings(model, last, batch)
            self.graph, self.taken, self.draws = None, 0, draws_of(model)
        if self.taken == self.FIRST and self.graph is None:
            self.record(model, last, batch)

        def update() -> dict[str, Tensor]:
            return self.replay(batch) if self.graph else self.aside(model, last, batch)

        report: dict[str, Tensor] = around(model, update) if around else update()
        self.taken = min(self.taken + 1, self.FIRST)
        return report

    def all_settings(self, model: Any, last: Any, batch: tuple[Tensor, ...]) -> list[Any]:
        """What a recording made now would be good for; to be compared."""
        return [threading.get_ident(), last, [tensor.shape for tensor in batch], *settings_of(model)]

    def aside(self, model: Any, last: Any, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Take the step on the side stream, and note what it draws."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream), contextlib.ExitStack() as stack:
            for draws in self.draws:
                stack.enter_context(draws.noting())
            report = self.inner(model, last, *batch)
        torch.cuda.current_stream().wait_stream(self.stream)
        return report

    def record(self, model: Any, last: Any, batch: tuple[Tensor, ...]) -> None:
        """Write down what the step launches. Nothing is computed meanwhile, so no weight moves."""
        self.batch = [tensor.clone() for tensor in batch]
        for optimizer in optimizers(model).values():
            optimizer.zero_grad()  # the gradients are to lie in the recording's own memory
        graph = torch.cuda.CUDAGraph()
        try:
            with contextlib.ExitStack() as stack:
                for draws in self.draws:
                    stack.enter_context(draws.repeating())
                with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                    self.report = self.inner(model, last, *self.batch)
        except Exception as error:
            self.failed = self.settings
            for raised in (error, error.__context__):  # the end of a failed capture raises, too
                if raised is not None:
                    traceback.clear_frames(raised.__traceback__)  # which hold the graph of the step being captured
            raise RuntimeError(why_not_recorded(error)) from error
        self.graph = graph

    def replay(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The step on this batch; its report is a copy, since the next replay writes over the recording's own."""
        assert self.graph is not None
        for recorded, tensor in zip(self.batch, batch, strict=True):
            recorded.copy_(tensor)
        for draws in self.draws:
            draws.redraw()
        self.graph.replay()
        return {name: value.clone() for name, value in self.report.items()}


def settings_of(model: Any) -> list[Any]:
    """All that a recording of a step on this model is made with, but for what is in tensors; to be compared."""
    found: list[Any] = [(name, value) for name, value in vars(model).items() if not isinstance(value, Tensor)]
    for optimizer in optimizers(model).values():
        for group in optimizer.param_groups:
            found += [(name, value) for name, value in group.items() if name != "params" and not torch.is_tensor(value)]
    for network in networks(model).values():
        found.append((network.training, vars(network).get("forward"), network._compiled_call_impl))
    return found + [pool.size for pool in vars(model).values() if isinstance(pool, ImagePool)]


def draws_of(model: Any) -> list[Draws]:
    """What a model's layers and pools draw in the middle of a step."""
    modules = [module for network in unwrapped(model).values() for module in network.modules()]
    found = [getattr(thing, "draws", None) for thing in (*modules, *vars(model).values())]
    return [draws for draws in found if isinstance(draws, Draws)]


def why_not_recorded(error: Exception) -> str:
    """What to say when a capture has failed; most often somebody keeps a graph through the same weights.

    A weight's gradient is added up on the stream on which its oldest living graph was made. While an older graph is
    kept, that is not the recording's stream.
    """
    reason = str(error.__context__ or error).strip().partition("\n")[0]
    return (
        f"the step cannot be recorded, and goes on without: {reason}. Most often something still holds a graph through "
        "the networks, such as a loss or an output of yours: delete it, or keep its .detach(). Then switch graph off "
        "and on again"
    )


def make_recordable(model: Any, rates_fall: bool) -> None:
    """Adam's counts, and rates that change from step to step, must be on the device to be read by a recording."""
    for optimizer in optimizers(model).values():
        internals: Any = optimizer
        internals._warned_capturable_if_run_uncaptured = True  # the first steps are not captured
        for group in optimizer.param_groups:
            group["capturable"] = True
            if rates_fall and not torch.is_tensor(group["lr"]):
                group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=group["params"][0].device)
        place_counts(optimizer)


def refuse_graph(run: Run) -> str:
    device = model_device(run.model)
    if device.type != "cuda":
        return f"a recording (CUDA graph) is made on a CUDA device, and this run is on {device}"
    if is_shared(run):
        return "several processes train these networks, and a recording would not wait for the others"
    d_steps = getattr(run.train_step, "d_steps", 1)
    if d_steps > 1:
        return f"with d_steps = {d_steps} the step draws batches itself, and all that changes must be given to it"
    for network in unwrapped(run.model).values():
        for module in network.modules():
            if isinstance(vars(module).get("generator"), torch.Generator) and not hasattr(module, "draws"):
                name = type(module).__name__
                return f"{name} draws in the middle of the step, and does not say what (gantutor.draws)"
    for name, optimizer in optimizers(run.model).items():
        if not all("capturable" in group for group in optimizer.param_groups):
            return f"{name}, {type(optimizer).__name__}, cannot be recorded; Adam and AdamW can"
    return ""


def switch_graph(run: Run, on: bool) -> None:
    """Take steps by a recording: by a new one, since what was switched before it may have moved the weights."""
    run.step_runner = without(run.step_runner, CUDAGraph)
    if on:
        try:
            wait_until_ready(run)  # what is compiled is to be recorded, and not what stands in for it
        except RuntimeError as error:
            raise ValueError(f"compile cannot be used here: {error}") from error
        run.step_runner = CUDAGraph(run.step_runner, run.train_step)
        return
    for optimizer in optimizers(run.model).values():
        for group in optimizer.param_groups:
            if group.get("capturable"):
                group["capturable"] = False
                group["lr"] = float(group["lr"])
        place_counts(optimizer)


# All of them ----------------------------------------------------------------------------------------------------------

SPEED_UPS: dict[str, SpeedUp] = {  # in the order in which they are switched
    "channels_last": SpeedUp(lambda run: "", switch_channels_last),
    "fused": SpeedUp(refuse_fused, switch_fused),
    "bf16": SpeedUp(lambda run: "", switch_bf16),
    "compile": SpeedUp(refuse_compile, switch_compile),
    "graph": SpeedUp(refuse_graph, switch_graph),
}


def set_speed(run: Run, names: tuple[str, ...]) -> None:
    """Have a run use exactly these speed-ups from its next step on; safe to call again.

    "compile" makes ready in the background, while the run goes on as before; `wait_until_ready(run)` waits for it.
    Raises: ValueError for a name that does not exist, or why one cannot be used here; nothing has changed then.
    """
    check_speed(run, names)
    for name, speed_up in SPEED_UPS.items():
        speed_up.switch(run, name in names)
    run.refit = functools.partial(set_allowed, names=names)


def set_allowed(run: Run, names: tuple[str, ...]) -> None:
    """Have a run use those of the speed-ups that it does not refuse."""
    set_speed(run, tuple(name for name in names if not SPEED_UPS[name].refusal(run)))


def check_speed(run: Run, names: tuple[str, ...]) -> None:
    """Raises: ValueError for a name that does not exist, or why one cannot be used in this run, as it is now."""
    for name in names:
        if name not in SPEED_UPS:
            raise ValueError(f"speed-up {name!r} is unknown; choose some of {', '.join(SPEED_UPS)}")
    for name in names:
        if reason := SPEED_UPS[name].refusal(run):
            raise ValueError(f"{name} cannot be used here: {reason}")


def recommended(device: torch.device | str, model: Any = None) -> tuple[str, ...]:
    """What pays on that kind of device, for that model if one is given, and changes float32 results by rounding alone.

    On a CPU it was chosen from benchmarks/speed_ups.py, which measures each against the plain step, in turns, for every
    default config: instance norm wants its images the other way round there, and copies them there and back. On CUDA
    benchmarks/gpu.py decides: a recording ("graph") pays most. Not every step can be recorded: see `set_allowed`.
    """
    kind = torch.device(device).type
    modules = [] if model is None else [module for net in unwrapped(model).values() for module in net.modules()]
    if kind == "cpu" and any(isinstance(module, nn.InstanceNorm2d) for module in modules):
        return ("fused",)
    return {"cpu": ("channels_last", "fused"), "cuda": ("fused", "graph")}.get(kind, ())


@functools.cache
def keep_memory() -> bool:
    """Let glibc keep up to 1 GiB of freed memory; True if it does, False where there is no glibc.

    By default it returns a step's large tensors to the kernel, which has to clear every page anew when the next step
    asks for them. Afterwards blocks of up to 32 MiB come from the heap, and up to 1 GiB that is free at the heap's end
    stays with the process until it ends. That holds for the whole process, and glibc has no way back to its default.
    No number changes.
    Source: mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_TRIM_THRESHOLD, 2**30) and mallopt(M_MMAP_THRESHOLD, 2**25))
