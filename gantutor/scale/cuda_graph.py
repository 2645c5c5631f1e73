"""A whole training step as one CUDA graph: recorded once, replayed from then on.

A small step on a GPU is limited by Python, which launches some hundred kernels one by one. A step changes only its
model, and every random draw is an argument, or is drawn anew before each replay (`gantutor.draws`): so it does the same
to the GPU each time, and that can be recorded.
Source: Ng et al., "Accelerating PyTorch with CUDA Graphs", 2021, and the documentation of torch.cuda.CUDAGraph.
"""

import contextlib
import threading
import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gantutor.draws import Draws
from gantutor.image_pool import ImagePool
from gantutor.model_state import networks, optimizers, place_counts, unwrapped


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
