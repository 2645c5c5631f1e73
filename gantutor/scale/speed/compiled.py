"""The networks through torch.compile, made ready in the background while the run goes on as before.

What torch.compile makes belongs to the code of a class and the shapes that it is given, and not to one network. So a
thread takes a step on copies of the networks, which compiles all that a step needs, and then the run's own networks
have it without waiting.
"""

import copy
import os
import shutil
import threading
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from gantutor.losses import Loss
from gantutor.scale.speed.speedup import Report, SpeedUp, SpeedUpRun, is_shared, run_device, unwrap_networks, without
from gantutor.traits import traits_of

VARIANTS = 64  # torch keeps 8 of a function; the blocks of one U-Net are more, in training, frozen, with other shapes


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
    for network in unwrap_networks(model):
        network._compiled_call_impl = InTraining(network)


class GettingReady:
    """Takes steps as `inner` does while a thread compiles, and hands over to the compiled networks in between.

    Later, settings that call the networks in another way, as another batching does, compile in the step that is first
    to do so.
    Raises: RuntimeError in the next step if the thread failed; the run can go on, uncompiled.
    """

    def __init__(self, run: SpeedUpRun) -> None:
        self.run, self.inner = run, run.step_runner
        self.thread: threading.Thread | None = None
        self.error: Exception | None = None

    def __call__(self, model: Any, step: Any, *batch: Tensor) -> Report:
        if self.start(batch).is_alive():
            return self.inner(model, step, *batch)
        self.finish()
        return self.run.step_runner(model, step, *batch)

    def start(self, batch: tuple[Tensor, ...]) -> threading.Thread:
        """Begin, once, with copies of what the run has now."""
        if self.thread is None:
            model, step = copy.deepcopy(self.run.model), getattr(self.run.train_step, "last", self.run.train_step)
            arguments = (step, model, [tensor.clone() for tensor in batch])
            self.thread = threading.Thread(target=self.compile, args=arguments, name="compile", daemon=True)
            self.thread.start()
        return self.thread

    def compile(self, step: Any, model: Any, batch: list[Tensor]) -> None:
        """Take a step on copies."""
        try:
            if batch[0].is_cuda:
                torch.cuda.set_device(batch[0].device)  # which is each thread's own, too
            compile_networks(model)
            step(model, *batch)
        except Exception as error:
            self.error = error

    def finish(self) -> None:
        """Go over to the compiled networks."""
        self.run.step_runner = without(self.run.step_runner, GettingReady)
        if self.error is not None:
            message = str(self.error).strip().partition("\n")[0]
            raise RuntimeError(f"torch.compile failed, and the run goes on without it: {message}") from self.error
        compile_networks(self.run.model)


def is_getting_ready(run: SpeedUpRun) -> bool:
    """Whether something is being compiled for the run, which goes on plainly meanwhile."""
    return isinstance(run.step_runner, GettingReady)


def wait_until_ready(run: SpeedUpRun) -> None:
    """Return when the run's next step is a compiled one, if it is to be.

    Raises: RuntimeError if it cannot be compiled.
    """
    if isinstance(run.step_runner, GettingReady):
        run.step_runner.start(upcoming(run)).join()
        run.step_runner.finish()


def upcoming(run: SpeedUpRun) -> tuple[Tensor, ...]:
    """The batch that the run draws next; it is still there."""
    state = run.batches.state_dict()
    batch: tuple[Tensor, ...] = next(run.batches)
    run.batches.load_state_dict(state)
    return batch


def forget_compiled(run: SpeedUpRun) -> None:
    """What was compiled, or is being compiled, was for other numbers: have nothing compiled."""
    run.step_runner = without(run.step_runner, GettingReady)
    for network in unwrap_networks(run.model):
        network._compiled_call_impl = None


def refuse_compile(run: SpeedUpRun) -> str:
    if getattr(run.model, "loss", Loss()).has_penalty:
        return "a gradient penalty needs a gradient of a gradient, and what torch.compile makes has only one backward"
    if traits_of(run.train_step).two_backwards:
        name = getattr(run.train_step, "__name__", "the step")
        return (
            f"{name} goes backward twice through one graph, and what torch.compile makes gives its memory away at once"
        )
    if is_shared(run):
        return "several processes train these networks already: switch it on before they do"
    device = run_device(run).type
    if device == "cuda":
        return "" if find_spec("triton") else "torch.compile needs the package triton, which is not installed"
    if device != "cpu":
        return f"torch.compile makes code for a CPU or CUDA, and this run is on {device}"
    compilers = (os.environ["CXX"],) if "CXX" in os.environ else ("g++", "clang++", "cl")
    if not any(map(shutil.which, compilers)):
        return f"torch.compile needs a C++ compiler ({', '.join(compilers)}), and there is none on this machine"
    return ""


def switch_compile(run: SpeedUpRun, on: bool) -> None:
    if not on:
        forget_compiled(run)
    elif not is_getting_ready(run) and any(net._compiled_call_impl is None for net in unwrap_networks(run.model)):
        run.step_runner = GettingReady(run)


COMPILED = SpeedUp(refuse_compile, switch_compile)
