"""Running a step under a line tracer, and writing down what is true after each of its statements."""

import ast
import bisect
import contextlib
import dataclasses
import functools
import gc
import inspect
import math
import os
import sys
import time
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gantutor.ledger.cost import BACKWARD, GRAD, NOBODY, Meter, composite, wait
from gantutor.ledger.gradients import GradientLedger, factor_of
from gantutor.ledger.graph import (
    BEFORE,
    Scene,
    Value,
    full_name,
    has_double_sigmoid,
    leaf,
    look,
    named_tensors,
    reachable,
    saved_bytes,
)
from gantutor.ledger.reach import Reach, Snapshot, free, is_internal, storage_of
from gantutor.ledger.records import (
    STALE,
    Backward,
    BatchNormState,
    Call,
    Clear,
    Cut,
    Event,
    Failure,
    Iteration,
    Kept,
    Line,
    NetworkState,
    NonFinite,
    OptimizerStep,
    Place,
    AppliedShare,
    Write,
)
from gantutor.ledger.source import Source, place_of, users_frames

ZERO_GRADS = (inspect.unwrap(Optimizer.zero_grad).__code__, nn.Module.zero_grad.__code__)
SCALER_STEP, SAVE = torch.amp.GradScaler.step.__code__, torch.save.__code__
CUTS = {  # what ends a graph, as the user calls it
    "detach": (Tensor.detach, torch.detach, Tensor.detach_),
    "data": (Tensor.data.__get__,),
    "item": (Tensor.item, Tensor.tolist, Tensor.__float__, Tensor.__int__),
    "numpy": (Tensor.numpy, Tensor.__array__),
    "argmax": (Tensor.argmax, torch.argmax, Tensor.argmin, torch.argmin, Tensor.argsort, torch.argsort),
    "multinomial": (Tensor.multinomial, torch.multinomial),
    "bernoulli": (Tensor.bernoulli, torch.bernoulli),
    "round": (Tensor.round, torch.round, Tensor.floor, torch.floor, Tensor.ceil, torch.ceil, Tensor.sign, torch.sign),
    "comparison": (
        Tensor.__gt__,
        Tensor.gt,
        torch.gt,
        Tensor.__lt__,
        Tensor.lt,
        torch.lt,
        Tensor.__ge__,
        Tensor.ge,
        torch.ge,
    ),
}
CUT_BY = {function: how for how, functions in CUTS.items() for function in functions}


class LoopEnds(BaseException):
    """Raised inside a step by its tracer."""


# Lines ----------------------------------------------------------------------------------------------------------------


class Watch:
    """Calls `after(line, frame, milliseconds)` when a statement of the source itself is done, however deep it called.

    A statement in a loop is done as often as it is run. `before(line, frame)` is called before one begins, and `enter`
    with the frame of every function that is called inside; a function that it returns is told when that ends:
    `leave(value, raised)`. Time spent in these does not count; `device` is waited for.
    """

    def __init__(
        self,
        source: Source,
        after: Callable[[int, FrameType, float], None],
        before: Callable[[int, FrameType], None] = lambda line, frame: None,
        enter: Callable[[FrameType], Callable[[Any, bool], None] | None] = lambda frame: None,
        device: torch.device | None = None,
    ) -> None:
        self.source, self.after, self.before, self.enter, self.device = source, after, before, enter, device
        self.frame: FrameType | None = None  # while the source runs
        self.line = 0  # the statement that is being executed
        self.since = 0.0
        self.fault: Exception | None = None

    @contextlib.contextmanager
    def on(self, frame: FrameType | None = None) -> Iterator[None]:
        """Watch what runs inside; another tracer (a debugger's, coverage's) comes back afterwards.

        `frame` is that of the source if it runs already. A callback that raises is not called again; `fault` keeps what
        it raised, which the function must not see.
        """
        previous = sys.gettrace()
        if frame is not None:
            self.frame, frame.f_trace = frame, self._on_event
        sys.settrace(self._on_call)
        try:
            yield
        finally:
            sys.settrace(previous)
            if frame is not None:
                frame.f_trace = None
            self.frame = None

    def _on_call(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        if self.frame is None and frame.f_code is self.source.code:
            self.frame = frame
            return self._on_event
        leave = self._call(self.enter, frame) if self.line else None
        if leave is None:
            return None
        frame.f_trace_lines = False
        raised = False

        def end(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal raised
            raised = raised or event == "exception"
            if event == "return":
                self._call(leave, arg, raised and arg is None)
            return end

        return end

    def _on_event(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any]:
        if event == "line":
            line = self.source.statement(frame.f_lineno)
            if line != self.line and not self.source.ends_with_block(line, self.line):
                self._done(frame)
                self.line = line if self.source.is_inside(frame.f_lineno) else 0
                if self.line:
                    self.before(line, frame)
                self.since = time.perf_counter()
        elif event == "return":
            self._done(frame)
            self.line, self.frame = 0, None
        return self._on_event

    def finish(self) -> None:
        """The statement that runs is the last."""
        if self.frame is not None:
            self._done(self.frame)
            self.line = 0

    def _done(self, frame: FrameType) -> None:
        if self.line:
            if self.device is not None:
                wait(self.device)
            self._call(self.after, self.line, frame, 1000 * (time.perf_counter() - self.since))

    def _call(self, callback: Callable[..., Any], *args: Any) -> Any:
        start = time.perf_counter()
        try:
            return callback(*args) if self.fault is None else None
        except Exception as fault:
            self.fault = fault
            return None
        finally:
            self.since += time.perf_counter() - start


class Operations(TorchDispatchMode):
    """Tells a Recorder of every operation, before and after it is done; backward's and the optimizers', too."""

    def __init__(self, recorder: "Recorder") -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        recorder = self.recorder
        if recorder.busy:
            return func(*args, **kwargs)
        whole = composite(func, self, args, kwargs)
        if whole is not NotImplemented:
            return whole
        recorder.about_to_write(func, args, kwargs)
        result = func(*args, **kwargs)
        recorder.meter.operation(func, args, kwargs, result, recorder.number)
        return result


class Functions(TorchFunctionMode):
    """Tells a Recorder of the functions that end a graph, as the user calls them."""

    def __init__(self, recorder: "Recorder") -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        how = CUT_BY.get(func)
        if (
            how is not None
            and not self.recorder.busy
            and args
            and isinstance(args[0], Tensor)
            and args[0].grad_fn is not None
        ):
            self.recorder.cut(how, args[0])
        return func(*args, **(kwargs or {}))


# What is written down -------------------------------------------------------------------------------------------------


class Recorder:
    """Writes a Line after each statement. A moment is the number of lines before it: a loop repeats line numbers.

    `busy` is true while the ledger itself computes, which is nobody's business.
    """

    def __init__(self, source: Source, reach: Reach, max_iterations: int) -> None:
        self.source, self.reach, self.max_iterations = source, reach, max_iterations
        self.watch = Watch(source, self.after, self.before_line, self.enter)
        self.snapshot, self.meter = Snapshot(reach), Meter()
        self.busy = False
        self.lines: list[Line] = []
        self.before: dict[str, NetworkState] = {}
        self.unwatched: list[str] = []
        self.not_put_back: list[str] = []
        self.failure: Failure | None = None  # why the backward that was called last will raise, if it will
        self.raised_at: Place | None = None
        self.nonfinite: NonFinite | None = None
        self.kept: tuple[Kept, ...] = ()
        self.stopped = ""
        # What happens now.
        self.number = 0  # of the backward that runs; 0 for none
        self.optimizer = ""  # the one that steps
        self.step_place: Place | None = None
        self.step_shares: tuple[AppliedShare, ...] = ()
        self.step_moved: set[str] = set()
        self.step_is_first = False
        self.events: list[Event] = []
        self.written: set[tuple[str, str, Place]] = set()  # the writes among the events
        self.backward_names: list[str] = []
        self.touched: set[tuple[str, str]] = set()  # the parameters that the line has written to
        # What has happened.
        self.senders: list[tuple[int, str]] = [(0, "")]
        self.numbers = {BEFORE: 0}  # moment -> line number
        self.first_nodes: list[int] = []  # moment -> the number of the first node that could be made in it
        self.turns: dict[int, list[int]] = {}  # header of a loop -> the moments at which its turns began
        self.sent_at: list[int] = []  # the moments of backwards
        self.stepped_at: dict[str, int] = {}  # optimizer -> the moment of its first step
        self.history: dict[int, list[tuple[int, Write]]] = {}  # storage -> the writes to it, by moment
        self.moved: dict[int, tuple[int, Place]] = {}  # parameter -> the number of nodes when it was moved, and where
        # What is known.
        self.values: dict[int, Value] = {}
        self.named: dict[int, tuple[weakref.ref[Tensor], str]] = {}  # by storage
        self.inner: dict[int, list[tuple[str, str]]] = {}  # storage -> networks, and their names for what is in it
        self.ledgers: dict[str, GradientLedger] = {}
        self.gradient_of: dict[int, list[GradientLedger]] = {}  # by the storage of a `.grad`
        self.prints: dict[tuple[str, str], Any] = {}  # fingerprints of the parameters
        self.checked: dict[int, int] = {}  # storage -> its version when it was seen to be finite
        self.strangers: set[int] = set()
        self._meet()

    @contextlib.contextmanager
    def on(self, frame: FrameType | None = None) -> Iterator[None]:
        """Record what runs inside, and put all back as it was."""
        hooks = [
            register_optimizer_step_pre_hook(lambda optimizer, *_: self._optimizer_begins(optimizer)),
            register_optimizer_step_post_hook(lambda optimizer, *_: self._optimizer_ends(optimizer)),
        ]
        try:
            with (
                torch.autograd.set_multithreading_enabled(False),  # backward runs in this thread, on a GPU, too
                torch.compiler.set_stance("force_eager"),
                Operations(self),
                Functions(self),
                self.watch.on(frame),
            ):
                yield
                self.watch.finish()
        finally:
            self.busy = True
            for hook in hooks:
                hook.remove()
            for ledger in self.ledgers.values():
                ledger.close()
            self.kept = tuple(self._kept())
            self.not_put_back += self.snapshot.restore()

    # Lines ------------------------------------------------------------------------------------------------------------

    def before_line(self, line: int, frame: FrameType) -> None:
        """A statement begins. Raises: LoopEnds for the header of a training loop that has gone round often enough."""
        moment = len(self.lines)
        self.numbers[moment] = line
        self.first_nodes.append(torch._C._autograd._get_sequence_nr())
        loop = self.source.loop_at(line)
        if loop is not None:
            if self.lines and loop.lineno < self.lines[-1].number <= (loop.end_lineno or 0):
                self.turns[line].append(moment)
            else:
                self.turns[line] = [moment]
            turns = len(self.turns[line]) - 1
            if turns >= self.max_iterations and self._trains(loop, turns):
                self.stopped = f"Stopped after {turns} turns of the loop on line {line} (max_iterations)."
                raise LoopEnds

    def after(self, number: int, frame: FrameType, milliseconds: float) -> None:
        """Write down a statement that is done and took so long."""
        with self._own_work():
            scene = self._look(frame)
            states = {name: self._network(name) for name in self.reach.players}
            tensors = {name: scene.state(name, self.numbers) for name in scene.tensors}
            self._check_finite(scene, states)
            line = Line(
                number=number,
                last=self.source.last_line(number),
                text=self.source.statement_text(number),
                networks=states,
                tensors=tensors,
                saved_bytes=scene.saved_bytes(),
                flops=self.meter.flops,
                milliseconds=milliseconds,
                backwards=tuple(self.backward_names),
                events=tuple(self.events),
            )
            self.lines.append(line)
            self.events, self.written, self.touched, self.backward_names, self.optimizer = [], set(), set(), [], ""
            self._follow_gradients()

    def _trains(self, loop: ast.For | ast.While, turns: int) -> bool:
        """Whether a loop is the training loop: all backwards were in it, all optimizers have stepped, or none."""
        begun = self.turns[loop.lineno][0]
        if not self.sent_at or min(self.sent_at) < begun or self.source.trains_after(loop):
            return False
        if any(moment < begun for moment in self.stepped_at.values()):
            return False
        waiting = set(self.reach.optimizers) - set(self.stepped_at)
        return not self.stepped_at or not waiting or turns >= 10 * self.max_iterations

    def iterations(self) -> tuple[Iteration, ...]:
        """The turns of the training loop, if there is one."""
        for header, moments in self.turns.items():
            loop = self.source.loop_at(header)
            if loop is not None and len(moments) > 2 and self._trains(loop, 10 * self.max_iterations):
                return tuple(
                    Iteration(first, self.lines[after - 1].saved_bytes)
                    for first, after in zip(moments, moments[1:], strict=False)
                )
        return ()

    # What is called inside --------------------------------------------------------------------------------------------

    def enter(self, frame: FrameType) -> Callable[[Any, bool], None] | None:
        """A function is called inside: a forward, a backward, or another whose end matters."""
        if self.busy:
            return None
        code = frame.f_code
        with self._own_work():
            if code.co_name == "forward":
                module = frame.f_locals.get("self")
                return self._forward(frame, module) if isinstance(module, nn.Module) else None
            if code is BACKWARD or code is GRAD:
                return None if self.number else self._backward(frame)
            if code is SCALER_STEP:
                arguments, steps = frame.f_locals, self._steps()
                return lambda value, raised: None if raised else self._scaler_ends(arguments["optimizer"], steps)
            if code in ZERO_GRADS:
                self._cleared(frame)
            if code is SAVE and isinstance(frame.f_locals["f"], str | os.PathLike):
                self.opened(frame.f_locals["f"])
        return None

    def opened(self, path: Any) -> None:
        """A file is opened to be written to."""
        if self.watch.line and not self.busy:
            self.not_put_back.append(f"the file {path} that line {self.watch.line} writes")

    def _forward(self, frame: FrameType, module: nn.Module) -> Callable[[Any, bool], None] | None:
        known = id(module) in self.reach.modules or id(module) in self.strangers
        if not known and next(module.parameters(), None) is not None:
            self.strangers.add(id(module))
            self._discover(frame)
        name = self.reach.network_of(module, self.meter.current != NOBODY)
        if name is None:
            return None
        player = self.reach.players[name]
        inputs = tuple(value.detach() for value in frame.f_locals.values() if isinstance(value, Tensor))
        normed = {n: m for n, m in module.named_modules() if isinstance(m, _NormBase | _DropoutNd)}
        kind = next((p.device.type for p in player.parameters.values()), "cpu")
        call = Call(
            network=name,
            place=self._place(frame.f_back),
            training=module.training,
            layers_in_eval=tuple(n for n, m in normed.items() if not m.training),
            layers=len(normed),
            grad=torch.is_grad_enabled(),
            frozen=not any(p.requires_grad for p in player.parameters.values()),
            autocast=str(torch.get_autocast_dtype(kind)).partition(".")[2] if torch.is_autocast_enabled(kind) else "",
            finite=True,
            whole=any(module is each for each in player.wrapped),
        )
        self.meter.begin(name)

        def leave(value: Any, raised: bool) -> None:
            with self._own_work():
                self.meter.end()
                outputs = [tensor for _, tensor in named_tensors([("", value)])]
                self.events.append(dataclasses.replace(call, finite=all(map(all_finite, outputs))))
                self.values |= {storage_of(output): Value(name, inputs, output.detach()) for output in outputs}

        return leave

    def _backward(self, frame: FrameType) -> Callable[[Any, bool], None]:
        """`torch.autograd.backward` or `grad` begins; foresee what it will raise."""
        given, is_grad = frame.f_locals, frame.f_code is GRAD
        roots = tensors_in(given["outputs" if is_grad else "tensors"])
        wanted = tensors_in(given["inputs"]) if given["inputs"] is not None else []
        nodes = reachable(root.grad_fn for root in roots)
        place = self._place(frame.f_back)
        self._find_strangers(frame, place, [p for p in map(leaf, nodes) if p is not None])
        scene = self._look(self.watch.frame, roots, frame.f_back)
        names = [scene.name_of(root) for root in roots]
        mixed = [(node, p) for node in nodes for p in self._moved_since(node)]
        backward = Backward(
            place=place,
            losses=tuple(name or written_as(place.text) for name in names),
            values=tuple(root.item() if root.numel() == 1 and not root.is_complex() else None for root in roots),
            arrived={},
            retain_graph=bool(given["create_graph"] if given["retain_graph"] is None else given["retain_graph"]),
            create_graph=bool(given["create_graph"]),
            inputs=None
            if given["inputs"] is None
            else tuple(scene.name_of(t) or scene.names.get(storage_of(t), "") for t in wanted),
            is_grad=is_grad,
            scale=self._scale(scene, roots, names),
            reaches=scene.reaches(nodes),
            passes=scene.passes(nodes),
            mixed=tuple(dict.fromkeys(scene.parameters[storage_of(p)] for _, p in mixed)),
            mixed_made=self._line_of(self._moment_of(mixed[0][0])) if mixed else None,
            mixed_moved=self.moved[id(mixed[0][1])][1] if mixed else None,
            double_sigmoid=has_double_sigmoid(nodes),
        )
        self.failure = self._foresee(scene, scene.failing([root.grad_fn for root in roots], wanted or None))
        self.raised_at = place
        self.number = len(self.senders)
        self.senders.append((self.watch.line, backward.losses[0] if backward.losses else ""))
        if not is_grad:
            self.sent_at.append(len(self.lines))
            self.backward_names += filter(None, names)

        def leave(value: Any, raised: bool) -> None:
            with self._own_work():
                number, self.number = self.number, 0
                arrived = {name: ledger.arrived(number) for name, ledger in self.ledgers.items()}
                norms = {name: norm for name, norm in arrived.items() if norm is not None}
                self.events.append(dataclasses.replace(backward, arrived=norms, raised=raised))
                scene.look_again(nodes, place)
                if is_grad and not backward.create_graph and backward.reaches:
                    self.events.append(Cut(place, "grad without create_graph", backward.losses[0], backward.reaches))
                self._follow_gradients()

        return leave

    def _foresee(self, scene: Scene, node: Node | None) -> Failure | None:
        """Why a backward will raise at a node."""
        if node is None:
            return None
        note = scene.notes[node]
        owner = self.meter.owner(node)
        inside = "" if owner == NOBODY else self.meter.calls[owner].network
        made = None if note.made == BEFORE else self._line_of(note.made)
        by, write = note.by, None
        if note.state == STALE:
            write = next(
                (w for moment, w in reversed(self.history.get(note.storage, [])) if moment == note.changed), None
            )
            by = write.place if write else None
        if by is None and note.changed not in (None, BEFORE):
            by = self._line_of(note.changed)
        return Failure(note.state, scene.graph_of(node), made, note.culprit, by, write, note.changed == BEFORE, inside)

    def _scale(self, scene: Scene, roots: list[Tensor], names: list[str]) -> float:
        """The factor of a GradScaler that a loss was multiplied with."""
        for thing in self.reach.things.values():
            if isinstance(thing.value, torch.amp.GradScaler) and thing.value.is_enabled():
                for root, name in zip(roots, names, strict=True):
                    other = scene.tensors.get(name)
                    if other is not None and other is not root and root.numel() == other.numel() == 1:
                        scale = thing.value.get_scale()
                        if math.isclose(root.item(), scale * other.item(), rel_tol=1e-2):
                            return float(scale)
        return 1.0

    def _moved_since(self, node: Node) -> Iterator[Tensor]:
        """The weight of which a node has made a low-precision copy, if it has been moved since."""
        if node.name() == "ToCopyBackward0":
            weight = leaf(node.next_functions[0][0])
            if weight is not None and self.moved.get(id(weight), (-1, None))[0] > node._sequence_nr():
                yield weight

    def cut(self, how: str, tensor: Tensor) -> None:
        """A function is called that ends a tensor's graph."""
        with self._own_work():
            if self.watch.line and not self.number and not self.optimizer:
                behind = Scene.behind(self.reach.players, tensor)
                name = next((n for ref, n in self.named.values() if ref() is tensor), "")
                found = Cut(self._place(sys._getframe()), how, name, behind)
                self.events += [found] if found not in self.events else []

    # Optimizers and writes --------------------------------------------------------------------------------------------

    def _optimizer_begins(self, optimizer: Optimizer) -> None:
        if not self.watch.line or self.busy:
            return
        with self._own_work():
            frame = sys._getframe()
            self.step_place = self._place(frame)
            self.optimizer = self._name_optimizer(optimizer, frame)
            self.step_moved, self.step_is_first = set(), not optimizer.state
            ids = {id(p) for group in optimizer.param_groups for p in group["params"]}
            self.step_shares = tuple(
                AppliedShare(name, *share) for name, ledger in self.ledgers.items() for share in ledger.shares(ids)
            )
            self.stepped_at.setdefault(self.optimizer, len(self.lines))

    def _optimizer_ends(self, optimizer: Optimizer, skipped: bool = False) -> None:
        if not self.watch.line or self.busy or self.step_place is None:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.events.append(
            OptimizerStep(
                optimizer=self.optimizer,
                place=self.step_place,
                holds=self.holds(optimizer),
                moved=tuple(name for name in self.reach.players if name in self.step_moved),
                shares=self.step_shares,
                without_gradient=sum(p.grad is None for p in parameters),
                parameters=len(parameters),
                skipped=skipped,
                first=self.step_is_first,
            )
        )
        self.optimizer, self.step_place = "", None

    def _scaler_ends(self, optimizer: Optimizer, steps: int) -> None:
        """`GradScaler.step` is done; where the optimizer has not stepped, gradients were infinite."""
        optimizer = getattr(optimizer, "_optimizer", optimizer)
        if self._steps() == steps:
            self._optimizer_begins(optimizer)
            self._optimizer_ends(optimizer, skipped=True)

    def _steps(self) -> int:
        """How many steps of optimizers the line has taken so far."""
        return sum(isinstance(event, OptimizerStep) for event in self.events)

    def _cleared(self, frame: FrameType) -> None:
        """`zero_grad` of an optimizer or a module is called, also where there is nothing to clear."""
        of = frame.f_locals["self"]
        given = of.parameters() if isinstance(of, nn.Module) else (p for g in of.param_groups for p in g["params"])
        networks = dict.fromkeys(network for p in given for network, _ in self.inner.get(storage_of(p), ()))
        self.events.append(Clear(self._place(frame.f_back), tuple(networks)))

    def holds(self, optimizer: Optimizer) -> dict[str, int]:
        """How many parameters of each network an optimizer holds."""
        ids = {id(p) for group in optimizer.param_groups for p in group["params"]}
        counted = {
            name: sum(id(p) in ids for p in player.parameters.values()) for name, player in self.reach.players.items()
        }
        return {name: number for name, number in counted.items() if number}

    def about_to_write(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An operation is about to be done, that may change tensors in place."""
        for tensor in (tensor for where in written_by(func) for tensor in tensors_in(argument(where, args, kwargs))):
            storage = storage_of(tensor)
            known = storage in self.inner or storage in self.gradient_of or storage in self.named
            if not known and storage not in self.snapshot.by_storage:
                continue
            with self._own_work():
                self.snapshot.keep(storage)
                if not self.number:
                    for ledger in self.gradient_of.get(storage, ()):
                        names = {
                            a.name: argument((i, a.name), args, kwargs) for i, a in enumerate(func._schema.arguments)
                        }
                        ledger.written(tensor, factor_of(func._overloadpacket.__name__, names))
                if self.watch.line:
                    self._written(storage, func._overloadpacket.__name__)

    def _written(self, storage: int, how: str) -> None:
        """What lies in a storage is changed in place."""
        reference, name = self.named.get(storage, (None, ""))
        names = [full_name(*found) for found in self.inner.get(storage, ())]
        if not names and reference is not None and reference() is not None:
            names = [name]
        for name in names:
            place = self.step_place if self.optimizer and self.step_place else self._place(sys._getframe())
            write = Write(place, name, how, self.optimizer)
            if (name, self.optimizer, place) not in self.written:
                self.written.add((name, self.optimizer, place))
                self.events.append(write)
            past = self.history.setdefault(storage, [])
            if not past or past[-1] != (len(self.lines), write):
                past.append((len(self.lines), write))
        for network, inner in self.inner.get(storage, ()):
            parameter = self.reach.players[network].parameters.get(inner)
            if parameter is not None:
                self.touched.add((network, inner))
                self.moved[id(parameter)] = torch._C._autograd._get_sequence_nr(), place
                if self.optimizer:
                    self.step_moved.add(network)

    # Who is there -----------------------------------------------------------------------------------------------------

    def _meet(self) -> None:
        """Watch the networks that are new."""
        with self._own_work():
            self.snapshot.extend()
            for name, player in self.reach.players.items():
                if name in self.ledgers:
                    continue
                trainable = [p for p in player.parameters.values() if p.is_floating_point() or p.is_complex()]
                self.ledgers[name] = GradientLedger(trainable, self.senders, self._sender)
                for inner, parameter in player.parameters.items():
                    self.inner.setdefault(storage_of(parameter), []).append((name, inner))
                    self.prints[name, inner] = fingerprint(parameter)
                for inner, buffer in player.buffers.items():
                    self.inner.setdefault(storage_of(buffer), []).append((name, inner))
                self.before[name] = self._network(name)
            self._follow_gradients()

    def _discover(self, frame: FrameType | None) -> None:
        """Look for networks and optimizers that have come into being, in the variables of the functions that run now."""
        for inner in users_frames(frame, self.watch.frame):
            names = set(inner.f_code.co_names)
            shared = {name: inner.f_globals[name] for name in names if name in inner.f_globals}
            self.reach.extend(
                {**shared, **inner.f_locals}.items() if inner.f_locals is not inner.f_globals else shared.items()
            )
        self._meet()

    def _find_strangers(self, frame: FrameType, place: Place, parameters: list[Tensor]) -> None:
        """See that the parameters which a backward reaches are all watched; if not, find them, and say so."""
        new = [p for p in parameters if isinstance(p, nn.Parameter) and id(p) not in self.reach.owner]
        if new:
            self._discover(frame)
            new = [p for p in new if id(p) not in self.reach.owner]
        while new:
            holders = [
                m
                for m in gc.get_objects()
                if issubclass(type(m), nn.Module) and any(p is new[0] for p in m.parameters())
            ]
            found: Any = max(holders, key=lambda m: len(list(m.modules())), default=new[0])
            label = free(type(found).__name__, self.reach.players)
            self.reach.extend([(label, found)])
            self._meet()
            self.unwatched.append(
                f"Line {place} reaches parameters that no variable of the step leads to: those of "
                f"{'a ' + type(found).__name__ if holders else 'no network'}. They are listed as {label}."
            )
            new = [p for p in new if id(p) not in self.reach.owner]

    def _name_optimizer(self, optimizer: Optimizer, frame: FrameType) -> str:
        """An optimizer's name in the code; one that was not known is watched from now on."""
        if not self.reach.name_of(optimizer):
            self._discover(frame)
        name = self.reach.name_of(optimizer)
        if not name:
            label = free(type(optimizer).__name__, self.reach.optimizers)
            self.reach.extend([(label, optimizer)])
            self._meet()
            self.unwatched.append(
                f"Line {self.step_place} steps an optimizer that no variable of the step leads to: {label}."
            )
            name = self.reach.name_of(optimizer)
        if "._" in name:  # found in somebody's private parts; the code may have a better name for it
            for inner in users_frames(frame, self.watch.frame):
                for local, value in inner.f_locals.items():
                    if optimizer in (value, getattr(value, "optimizer", None)) and isinstance(local, str):
                        self.reach.optimizers[free(local, self.reach.optimizers)] = self.reach.optimizers.pop(name)
                        return self.reach.name_of(optimizer)
        return name

    # Looking ----------------------------------------------------------------------------------------------------------

    def _look(self, frame: FrameType | None, roots: Iterable[Tensor] = (), inner: FrameType | None = None) -> Scene:
        """The named tensors of now: those of the step, and those of the functions between `inner` and it."""
        assert frame is not None
        tensors = dict(named_tensors(self._scope(frame)))
        for between in users_frames(inner, frame) if inner is not None else ():
            if between is not frame:
                known = {id(tensor) for tensor in tensors.values()}
                found = named_tensors(scope(between.f_locals))
                tensors |= {name: t for name, t in found if name not in tensors and id(t) not in known}
        scene = Scene(self.reach.players, tensors, len(self.lines), self._moment_of, roots, self.values)
        self.named = {storage_of(tensor): (weakref.ref(tensor), name) for name, tensor in reversed(tensors.items())}
        return scene

    def _scope(self, frame: FrameType) -> Iterator[tuple[str, Any]]:
        """The variables that the step's code can see and names, and the attributes of the objects among them."""
        shared = {name: frame.f_globals[name] for name in self.source.names if name in frame.f_globals}
        return scope({**frame.f_locals, **shared} if frame.f_locals is not frame.f_globals else shared)

    def _network(self, name: str) -> NetworkState:
        player, ledger = self.reach.players[name], self.ledgers[name]
        contributions, norm = ledger.contributions()
        changed = False
        for inner, parameter in player.parameters.items():
            before, written = self.prints[name, inner], (name, inner) in self.touched
            if written or before[:2] != (parameter._version, parameter.data_ptr()):
                now = self.prints[name, inner] = fingerprint(parameter)
                changed |= now[2] != before[2]
        return NetworkState(
            parameters=len(player.parameters),
            with_gradient=sum(p.grad is not None for p in player.parameters.values()),
            gradient_norm=norm,
            contributions=contributions,
            versions={inner: p._version for inner, p in player.parameters.items()},
            changed=changed,
            batchnorms=tuple(batchnorms(player.modules)),
            training=player.module is None or player.module.training,
            frozen=not any(p.requires_grad for p in player.parameters.values()),
        )

    def _check_finite(self, scene: Scene, states: dict[str, NetworkState]) -> None:
        """Remember where NaN or infinity has come up first."""
        if self.nonfinite is not None:
            return
        here = self._line_of(len(self.lines))
        calls = (event for event in self.events if isinstance(event, Call))
        broken = [(call.place, f"what {call.network} returns", "tensor") for call in calls if not call.finite]
        for name, tensor in scene.tensors.items():
            storage, version = storage_of(tensor), -1 if tensor.is_inference() else tensor._version
            if self.checked.get(storage) != version:
                self.checked[storage] = version
                if not all_finite(tensor):
                    broken.append((here, name, "tensor"))
        broken += [(here, name, "gradient") for name, state in states.items() if not math.isfinite(state.gradient_norm)]
        broken += [
            (here, full_name(network, inner), "weights")
            for network, inner in self.touched
            if not all_finite(self.reach.players[network].parameters[inner])
        ]
        if broken:
            self.nonfinite = NonFinite(*broken[0])

    def _follow_gradients(self) -> None:
        """Know again in which storages the gradients lie."""
        self.gradient_of = {}
        for name, ledger in self.ledgers.items():
            for parameter in self.reach.players[name].parameters.values():
                if parameter.grad is not None:
                    self.gradient_of.setdefault(storage_of(parameter.grad), []).append(ledger)

    def _kept(self) -> Iterator[Kept]:
        """Tensors with a graph in lists and dicts that have grown."""
        for key, (container, before) in self.snapshot.containers.items():
            if key not in self.reach.things or len(container) <= len(before):
                continue
            name = self.reach.things[key].name
            items = container.items() if isinstance(container, dict) else enumerate(container)
            old = {id(value) for value in (before.values() if isinstance(before, dict) else before)}
            for index, value in items:
                for _, tensor in named_tensors([("", value)]) if id(value) not in old else ():
                    if tensor.grad_fn is not None:
                        label = f"{name}[{index!r}]"
                        at = next(
                            (i for i, line in enumerate(self.lines) if any(n.endswith(label) for n in line.tensors)), -1
                        )
                        nodes = look(reachable([tensor.grad_fn]), {}, len(self.lines), self._moment_of)
                        weights = {
                            s for s, found in self.inner.items() if any(n in self.reach.players for n, _ in found)
                        }
                        yield Kept(
                            label, name, self._line_of(at % len(self.lines)), saved_bytes(nodes.values(), weights)
                        )

    # Small things -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _own_work(self) -> Iterator[None]:
        """What is computed inside is the ledger's own."""
        before, self.busy = self.busy, True
        try:
            yield
        finally:
            self.busy = before

    def _sender(self) -> int:
        """The number of the backward that runs now, or that of the line as one that writes to gradients itself."""
        if self.number:
            return self.number
        sender = (self.watch.line, "")
        if sender not in self.senders:
            self.senders.append(sender)
        return self.senders.index(sender)

    def _place(self, frame: FrameType | None) -> Place:
        assert self.watch.frame is not None
        return place_of(frame, self.watch.frame, self.source)

    def _line_of(self, moment: int) -> Place:
        """The statement of the step that ran at a moment."""
        return self.source.place(self.numbers[moment])

    def _moment_of(self, node: Node) -> int:
        """The moment in which a node was made."""
        number = node._sequence_nr()
        return BEFORE if number < self.meter.first else bisect.bisect_right(self.first_nodes, number) - 1


def scope(variables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Variables and, after them, the attributes of the user's objects among them."""
    yield from variables.items()
    for name, value in variables.items():
        if hasattr(value, "__dict__") and not isinstance(value, type | types.FunctionType | types.ModuleType | Tensor):
            if type(value).__module__.partition(".")[0] != "torch":
                inside = vars(value).items()
                yield from ((f"{name}.{key}", part) for key, part in inside if key[:1] != "_" and not is_internal(key))


@functools.cache
def written_by(func: Any) -> tuple[tuple[int, str], ...]:
    """The arguments that an operation changes: their places and names. BatchNorm's schema does not say that it does."""
    statistics = ("running_mean", "running_var") if "batch_norm" in func.name() else ()
    return tuple(
        (i, given.name)
        for i, given in enumerate(func._schema.arguments)
        if given.name in statistics or (given.alias_info is not None and given.alias_info.is_write)
    )


def argument(where: tuple[int, str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An argument by its place or its name; None where it was not given."""
    place, name = where
    return args[place] if place < len(args) else kwargs.get(name)


def tensors_in(value: Any) -> list[Tensor]:
    """A tensor or those of a sequence; an iterator is left alone, since it can be used only once."""
    values = value if isinstance(value, list | tuple) else [value]
    return [tensor for tensor in values if isinstance(tensor, Tensor)]


def batchnorms(modules: dict[str, nn.Module]) -> Iterator[BatchNormState]:
    """The counters and statistics of a network's BatchNorm layers."""
    for name, module in modules.items():
        if isinstance(module, _NormBase) and module.num_batches_tracked is not None:
            mean, var = (() if t is None else tuple(t.tolist()) for t in (module.running_mean, module.running_var))
            yield BatchNormState(name, int(module.num_batches_tracked), mean, var)


def all_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    return not tensor.is_floating_point() or tensor.device.type == "meta" or bool(torch.isfinite(tensor).all())


def fingerprint(parameter: Tensor) -> tuple[int, int, int]:
    """A parameter's version, its place in memory, and a number that changes with its values."""
    values = parameter.detach()
    return (
        parameter._version,
        parameter.data_ptr(),
        0 if values.device.type == "meta" else int(torch.hash_tensor(values).view(torch.int64)),
    )


def written_as(statement: str) -> str:
    """What a statement calls backward on, as it is written there; "" where that is not to be seen."""
    with contextlib.suppress(SyntaxError):
        for node in ast.walk(ast.parse(statement)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward":
                return ast.unparse(node.func.value)
    return ""
