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
import threading
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

from gantutor.ledger import graph, records
from gantutor.ledger.cost import GRAD, NOBODY, Counting, Leave, until_return, wait
from gantutor.ledger.gradients import GradientLedger, factor_of
from gantutor.ledger.graph import BEFORE, Scene, full_name, leaf
from gantutor.ledger.reach import Reach, Snapshot, free, is_internal, storage_of
from gantutor.ledger.records import Place
from gantutor.ledger.source import Source, mentioned_names, place_of, users_frames, variables_of
from gantutor.model_state import parameters_of

ZERO_GRADS = (inspect.unwrap(Optimizer.zero_grad).__code__, nn.Module.zero_grad.__code__)
SCALER_STEP, SAVE = torch.amp.GradScaler.step.__code__, torch.save.__code__
CUTS = {  # the functions that end a graph: how that is called -> their names
    "detach": "detach detach_",
    "item": "item tolist __float__ __int__",
    "numpy": "numpy __array__",
    "argmax": "argmax argmin argsort",
    "round": "round floor ceil sign",
    "comparison": "gt lt ge le __gt__ __lt__ __ge__ __le__",
    "sampling": "multinomial bernoulli",
}
CUT_BY = {name: how for how, names in CUTS.items() for name in names.split()}


class LoopEnds(BaseException):
    """Raised inside a step by its tracer."""


class Watch:
    """Calls `after(line, frame, milliseconds)` when a statement of the source itself is done, however deep it called.

    A statement in a loop is done as often as it is run. `before(line, frame)` is called before one begins, and `enter`
    with the frame of every function that is called inside; what it returns is told how that ended. Time spent in these
    does not count; `device` is waited for.
    """

    def __init__(
        self,
        source: Source,
        after: Callable[[int, FrameType, float], None],
        before: Callable[[int, FrameType], None] = lambda line, frame: None,
        enter: Callable[[FrameType], Leave | None] = lambda frame: None,
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
            self.finish()
        finally:
            sys.settrace(previous)
            if frame is not None:
                frame.f_trace = None
            self.frame = None

    def finish(self) -> None:
        """The statement that runs is the last."""
        if self.frame is not None:
            self._done(self.frame)
            self.line = 0

    def _on_call(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        if self.frame is None and frame.f_code is self.source.code:
            self.frame = frame
            return self._on_event
        leave = self._call(self.enter, frame) if self.line else None
        return until_return(frame, functools.partial(self._call, leave) if leave else None)

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


class Functions(TorchFunctionMode):
    """Tells `cut` of the functions that end a tensor's graph, as the user calls them."""

    def __init__(self, cut: Callable[[str, Tensor], None]) -> None:
        super().__init__()
        self.cut = cut

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        how = "data" if func == DATA_GETTER else CUT_BY.get(getattr(func, "__name__", ""))
        if how and args and isinstance(args[0], Tensor) and args[0].grad_fn is not None:
            self.cut(how, args[0])
        return func(*args, **(kwargs or {}))


DATA_GETTER = vars(torch._C.TensorBase)["data"].__get__  # what `tensor.data` calls


class Recorder(Counting):
    """Writes a Line after each statement. A moment is the number of lines before it: a loop repeats line numbers.

    `busy` is true while the ledger itself computes, which is nobody's business.
    """

    def __init__(self, source: Source, reach: Reach, max_iterations: int) -> None:
        super().__init__(reach)
        self.source, self.max_iterations, self.thread = source, max_iterations, threading.get_ident()
        self.watch = Watch(source, self.after_line, self.before_line, self.enter)
        self.snapshot = Snapshot(reach)
        self.lines: list[records.Line] = []
        self.networks: dict[str, records.NetworkState] = {}  # as they were before the step
        self.unwatched: list[str] = []
        self.not_put_back: list[str] = []
        self.failure: records.Failure | None = None  # why the backward that was called last will raise, if it will
        self.raised_at: Place | None = None
        self.nonfinite: records.NonFinite | None = None
        self.kept: tuple[records.Kept, ...] = ()
        self.stopped = ""
        # What happens now.
        self.optimizer = ""  # the one that steps
        self.step_place: Place | None = None
        self.step: dict[str, Any] = {}  # what is known of it
        self.events: list[records.Event] = []
        self.backward_names: list[str] = []
        self.written: set[tuple[str, str, Place]] = set()  # the writes among the events
        self.touched: set[tuple[str, str]] = set()  # the parameters that the line has written to
        # What has happened.
        self.senders: list[tuple[int, str]] = [(0, "")]  # of gradients: line, loss; the first is before the step
        self.numbers = {BEFORE: 0}  # moment -> line number
        self.first_nodes: list[int] = []  # moment -> the number of the first node that could be made in it
        self.turns: dict[int, list[int]] = {}  # header of a loop -> the moments at which its turns began
        self.sent_at: list[int] = []  # the moments of backwards
        self.stepped_at: dict[str, int] = {}  # optimizer -> the moment of its first step
        self.history: dict[int, list[tuple[int, records.Write]]] = {}  # storage -> the writes to it, by moment
        self.moved: dict[int, tuple[int, Place]] = {}  # parameter -> the number of nodes when it was moved, and where
        # What is known.
        self.values: dict[int, graph.Value] = {}
        self.named: dict[int, tuple[weakref.ref[Tensor], str]] = {}  # by storage
        self.inner: dict[int, list[tuple[str, str]]] = {}  # storage -> networks, and their names for what is in it
        self.ledgers: dict[str, GradientLedger] = {}
        self.gradient_of: dict[int, list[GradientLedger]] = {}  # by the storage of a `.grad`
        self.prints: dict[tuple[str, str], tuple[int, int, str]] = {}  # fingerprints of the parameters
        self.checked: dict[int, int] = {}  # storage -> its version when it was seen to be finite
        self.strangers: set[int] = set()
        self.loop_of: dict[int, ast.For | ast.While] = {}  # by the id of what the step has made before it
        self._meet()

    @contextlib.contextmanager
    def recording(self, frame: FrameType | None = None) -> Iterator[None]:
        """Record what runs inside, and put all back as it was."""
        hooks = [
            register_optimizer_step_pre_hook(lambda optimizer, *_: self._optimizer_begins(optimizer)),
            register_optimizer_step_post_hook(lambda optimizer, *_: self._optimizer_ends(optimizer)),
        ]
        try:
            with self.on(), Functions(self._cut), self.watch.on(frame):
                yield
        finally:
            self.busy = True
            for hook in (*hooks, *(hook for ledger in self.ledgers.values() for hook in ledger.hooks)):
                hook.remove()
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
            if not self.lines or not loop.lineno < self.lines[-1].number <= (loop.end_lineno or 0):
                self.turns[line], known = [], set(self.reach.things)
                self._discover(frame)
                self.loop_of |= dict.fromkeys(set(self.reach.things) - known, loop)
            self.turns[line].append(moment)
            turns = len(self.turns[line]) - 1
            if turns >= self.max_iterations and self._trains(loop, turns):
                self.stopped = f"Stopped after {turns} turns of the loop on line {line} (max_iterations)."
                raise LoopEnds

    def after_line(self, number: int, frame: FrameType, milliseconds: float) -> None:
        """Write down a statement that is done and took so long."""
        with self._own_work():
            scene = self._look(frame)
            states = {name: self._network(name) for name in self.reach.players}
            self._check_finite(scene, states)
            line = records.Line(
                number=number,
                last=self.source.last_line(number),
                text=self.source.statement_text(number),
                networks=states,
                tensors={name: scene.state(name, self.numbers) for name in scene.tensors},
                saved_bytes=scene.saved_bytes(),
                flops=self.flops,
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

    # What is called inside --------------------------------------------------------------------------------------------

    def enter(self, frame: FrameType) -> Leave | None:
        """A function is called inside: a forward, a backward, or another that matters."""
        if self.busy:
            return None
        with self._own_work():
            code, given = frame.f_code, frame.f_locals
            if code.co_name == "forward" and isinstance(given.get("self"), nn.Module):
                self._recognise(frame, given["self"])
            elif code is SCALER_STEP:
                steps = self._steps()
                return lambda value, raised: None if raised else self._scaler_ends(given["optimizer"], steps)
            elif code is SAVE and isinstance(given["f"], str | os.PathLike):
                self.not_put_back.append(f"the file {given['f']} that line {self.watch.line} writes")
            elif code in ZERO_GRADS:
                self._cleared(frame)
            return super().enter(frame)

    def _recognise(self, frame: FrameType, module: nn.Module) -> None:
        """Look for a network that is called and was not known."""
        known = id(module) in self.reach.modules or id(module) in self.strangers
        if not known and next(module.parameters(), None) is not None:
            self.strangers.add(id(module))
            self._discover(frame)

    def forward_begins(self, frame: FrameType, network: str) -> Leave:
        module, player = frame.f_locals["self"], self.reach.players[network]
        inputs = tuple(value.detach() for value in frame.f_locals.values() if isinstance(value, Tensor))
        layers = [m for m in module.modules() if isinstance(m, _NormBase | _DropoutNd)]
        frozen = not any(p.requires_grad for p in player.parameters.values())
        place = self._place(frame.f_back)
        call = records.Call(network, place, module.training, len(layers), torch.is_grad_enabled(), frozen)
        end = super().forward_begins(frame, network)

        def leave(value: Any, raised: bool) -> None:
            with self._own_work():
                end(value, raised)
                self.events.append(call)
                for _, output in graph.named_tensors([("", value)]):
                    self.values[storage_of(output)] = graph.Value(network, inputs, output.detach())
                    self._check(place, f"what {network} returns", "tensor", output)

        return leave

    def backward_begins(self, frame: FrameType) -> Leave:
        """`torch.autograd.backward` or `grad` begins; foresee what it will raise."""
        given, is_grad = frame.f_locals, frame.f_code is GRAD
        roots, wanted = tensors_in(given["outputs" if is_grad else "tensors"]), tensors_in(given["inputs"])
        nodes, place = graph.reachable(root.grad_fn for root in roots), self._place(frame.f_back)
        self._find_strangers(frame, place, [p for p in map(leaf, nodes) if p is not None])
        scene = self._look(self.watch.frame, roots, frame.f_back)
        names = [scene.name_of(root) for root in roots]
        losses = tuple(name or written_as(place.text) for name in names)
        mixed = next(((node, *found) for node in nodes if (found := self._moved_since(node))), None)
        backward = records.Backward(
            place=place,
            losses=losses,
            values=tuple(root.item() if root.numel() == 1 and not root.is_complex() else None for root in roots),
            arrived={},
            create_graph=bool(given["create_graph"]),
            inputs=None if given["inputs"] is None else tuple(scene.name_of(tensor) for tensor in wanted),
            is_grad=is_grad,
            scale=self._scale(scene, roots, names),
            reaches=scene.reaches(nodes),
            passes=scene.passes(nodes),
            mixed_made=self._line_of(self._moment_of(mixed[0])) if mixed else None,
            mixed_moved=mixed[2] if mixed else None,
            double_sigmoid=graph.has_double_sigmoid(nodes),
            number=len(self.senders),
        )
        self.failure = self._foresee(scene, scene.failing([root.grad_fn for root in roots], wanted or None))
        self.raised_at, self.number = place, backward.number
        self.senders.append((self.watch.line, losses[0] if losses else ""))
        if not is_grad:
            self.sent_at.append(len(self.lines))
            self.backward_names += filter(None, names)

        def leave(value: Any, raised: bool) -> None:
            with self._own_work():
                self.number = 0
                arrived = {name: ledger.arrived(backward.number) for name, ledger in self.ledgers.items()}
                norms = {name: norm for name, norm in arrived.items() if norm is not None}
                self.events.append(dataclasses.replace(backward, arrived=norms, raised=raised))
                scene.look_again(nodes, place)
                if is_grad and not backward.create_graph and backward.reaches:
                    self.events.append(records.Cut(place, "grad without create_graph", losses[0], backward.reaches))
                self._follow_gradients()

        return leave

    def _foresee(self, scene: Scene, node: Node | None) -> records.Failure | None:
        """Why a backward will raise at a node."""
        if node is None:
            return None
        note, owner = scene.notes[node], self.owner(node)
        inside = "" if owner == NOBODY else self.calls[owner].network
        made = None if note.made == BEFORE else self._line_of(note.made)
        culprit, by, write = note.culprit, note.by, None
        if note.state == records.STALE:
            written = [w for moment, w in reversed(self.history.get(note.storage, [])) if moment == note.changed]
            if not culprit:  # made and changed in one line; a write to what has the name that the node has for it
                past = [w for writes in self.history.values() for moment, w in writes if moment == note.changed]
                written = [w for w in past if w.tensor.startswith(f"{inside}.") and w.tensor.endswith(f".{note.blame}")]
            write = next(iter(written), None)
            culprit, by = (write.tensor, write.place) if write else (culprit, by)
        if by is None and note.changed not in (None, BEFORE):
            by = self._line_of(note.changed)
        graph_of = scene.graph_of(node)
        return records.Failure(note.state, graph_of, made, culprit, by, write, note.changed == BEFORE, inside)

    def _scale(self, scene: Scene, roots: list[Tensor], names: list[str]) -> float:
        """The factor of a GradScaler that a loss was multiplied with."""
        scalers = [t.value for t in self.reach.things.values() if isinstance(t.value, torch.amp.GradScaler)]
        for scale in (float(scaler.get_scale()) for scaler in scalers if scaler.is_enabled()):
            for root, name in zip(roots, names, strict=True):
                loss = scene.tensors.get(name, root)
                single = loss is not root and root.numel() == loss.numel() == 1
                if single and math.isclose(root.item(), scale * loss.item(), rel_tol=1e-2):
                    return scale
        return 1.0

    def _moved_since(self, node: Node) -> tuple[int, Place] | None:
        """When and where a weight was moved of which a node has made a low-precision copy before."""
        weight = leaf(node.next_functions[0][0]) if node.name() == "ToCopyBackward0" else None
        moved = self.moved.get(id(weight))
        return moved if moved is not None and moved[0] > node._sequence_nr() else None

    def _cut(self, how: str, tensor: Tensor) -> None:
        """A function is called that ends a tensor's graph."""
        if self._listens() and not self.number and not self.optimizer:
            with self._own_work():
                behind = Scene.behind(self.reach.players, tensor)
                name = next((name for found, name in self.named.values() if found() is tensor), "")
                cut = records.Cut(self._place(sys._getframe()), how, name, behind)
                self.events += [cut] if cut not in self.events else []

    # Optimizers and writes --------------------------------------------------------------------------------------------

    def _optimizer_begins(self, optimizer: Optimizer) -> None:
        if not self._listens():
            return
        with self._own_work():
            frame = sys._getframe()
            self.step_place = self._place(frame)
            self.optimizer = self._name_optimizer(optimizer, frame)
            ids = {id(p) for p in parameters_of(optimizer)}
            shares = {name: numbers for name, ledger in self.ledgers.items() if (numbers := ledger.shares(ids))}
            self.step = {"shares": shares, "first": not optimizer.state}
            self.step_moved: set[str] = set()
            self.stepped_at.setdefault(self.optimizer, len(self.lines))

    def _optimizer_ends(self, optimizer: Optimizer, skipped: bool = False) -> None:
        if self._listens() and self.step_place is not None:
            moved = tuple(name for name in self.reach.players if name in self.step_moved)
            given = parameters_of(optimizer)
            without = sum(p.grad is None for p in given)
            place, holds = self.step_place, self.holds(optimizer)
            step = records.OptimizerStep(
                self.optimizer,
                place,
                holds,
                moved,
                without_gradient=without,
                parameters=len(given),
                skipped=skipped,
                **self.step,
            )
            self.events.append(step)
            self.optimizer, self.step_place = "", None

    def _steps(self) -> int:
        """How many steps of optimizers the line has taken so far."""
        return sum(isinstance(event, records.OptimizerStep) for event in self.events)

    def _scaler_ends(self, optimizer: Any, steps: int) -> None:
        """`GradScaler.step` is done; where the optimizer has not stepped, gradients were infinite."""
        if self._steps() == steps:
            self._optimizer_begins(getattr(optimizer, "_optimizer", optimizer))
            self._optimizer_ends(getattr(optimizer, "_optimizer", optimizer), skipped=True)

    def _cleared(self, frame: FrameType) -> None:
        """`zero_grad` of an optimizer or a module is called, also where there is nothing to clear."""
        of = frame.f_locals["self"]
        given = of.parameters() if isinstance(of, nn.Module) else parameters_of(of)
        networks = dict.fromkeys(network for p in given for network, _ in self.inner.get(storage_of(p), ()))
        self.events.append(records.Clear(self._place(frame.f_back), tuple(networks)))

    def holds(self, optimizer: Optimizer) -> dict[str, int]:
        """How many parameters of each network an optimizer holds."""
        ids = {id(p) for p in parameters_of(optimizer)}
        counted = {n: sum(id(p) in ids for p in player.parameters.values()) for n, player in self.reach.players.items()}
        return {name: number for name, number in counted.items() if number}

    def before(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An operation is about to be done, that may change tensors in place."""
        for tensor in (tensor for where in written_by(func) for tensor in tensors_in(argument(where, args, kwargs))):
            storage = storage_of(tensor)
            if any(storage in known for known in (self.snapshot.by_storage, self.inner, self.gradient_of, self.named)):
                with self._own_work():
                    self.snapshot.keep(storage)
                    for ledger in () if self.number else self.gradient_of.get(storage, ()):
                        names = [(i, given.name) for i, given in enumerate(func._schema.arguments)]
                        given = {where[1]: argument(where, args, kwargs) for where in names}
                        ledger.written(tensor, factor_of(func._overloadpacket.__name__, given))
                    if self.watch.line:
                        self._write(storage, func._overloadpacket.__name__)

    def _write(self, storage: int, how: str) -> None:
        """What lies in a storage is changed in place."""
        found, name = self.named.get(storage, (None, ""))
        names = [full_name(*inner) for inner in self.inner.get(storage, ())]
        names = names or [name] * (found is not None and found() is not None)
        place = self.step_place if self.optimizer and self.step_place else self._place(sys._getframe())
        for name in names:
            write = records.Write(place, name, how, self.optimizer)
            self.history.setdefault(storage, []).append((len(self.lines), write))
            if (name, self.optimizer, place) not in self.written:
                self.written.add((name, self.optimizer, place))
                self.events.append(write)
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
                for inner, tensor in (player.parameters | player.buffers).items():
                    self.inner.setdefault(storage_of(tensor), []).append((name, inner))
                self.prints |= {(name, inner): fingerprint(p) for inner, p in player.parameters.items()}
                self.networks[name] = self._network(name)
            self._follow_gradients()

    def _discover(self, frame: FrameType | None) -> None:
        """Look for networks and optimizers that have come into being, in the variables of the functions that run."""
        for inner in users_frames(frame, self.watch.frame):
            local, shared = variables_of(inner, mentioned_names(inner.f_code))
            self.reach.extend({**shared, **local}.items())
        self._meet()

    def _find_strangers(self, frame: FrameType, place: Place, parameters: list[Tensor]) -> None:
        """See that the parameters which a backward reaches are all watched; if not, find them, and say so."""

        def new() -> list[Tensor]:
            return [p for p in parameters if isinstance(p, nn.Parameter) and id(p) not in self.reach.owner]

        if new():
            self._discover(frame)
        while new():
            modules = [m for m in gc.get_objects() if issubclass(type(m), nn.Module)]
            holders = [m for m in modules if any(p is new()[0] for p in m.parameters())]
            found: Any = max(holders, key=lambda m: len(list(m.modules())), default=new()[0])
            self._add(f"Line {place} reaches parameters", found)

    def _add(self, what: str, found: Any) -> None:
        """Watch something from now on that no variable of the step leads to."""
        label = free(type(found).__name__, {*self.reach.players, *self.reach.optimizers})
        self.reach.extend([(label, found)])
        self._meet()
        self.unwatched.append(f"{what} of {label}, to which no variable of the step leads. It is watched from here on.")

    def _name_optimizer(self, optimizer: Optimizer, frame: FrameType) -> str:
        """An optimizer's name in the code; one that was not known is watched from now on."""
        if not self.reach.name_of(optimizer):
            self._discover(frame)
        if not self.reach.name_of(optimizer):
            self._add(f"Line {self.step_place} takes a step", optimizer)
        name = self.reach.name_of(optimizer)
        if "._" in name:  # found in somebody's private parts; the code may have a better name for it
            for inner in users_frames(frame, self.watch.frame):
                for local, value in inner.f_locals.items():
                    if value is optimizer or getattr(value, "optimizer", None) is optimizer:
                        better = free(local, self.reach.optimizers)
                        self.reach.optimizers[better] = self.reach.optimizers.pop(name)
                        return better
        return name

    # Looking ----------------------------------------------------------------------------------------------------------

    def _look(self, frame: FrameType | None, roots: Iterable[Tensor] = (), inner: FrameType | None = None) -> Scene:
        """The named tensors of now: those of the step, and those of the functions between `inner` and it."""
        assert frame is not None
        local, shared = variables_of(frame, self.source.names)
        tensors = dict(graph.named_tensors(scope({**local, **shared})))
        for between in users_frames(inner, frame) if inner is not None else ():
            known = {id(tensor) for tensor in tensors.values()}
            found = graph.named_tensors(scope(between.f_locals)) if between is not frame else ()
            tensors |= {name: t for name, t in found if name not in tensors and id(t) not in known}
        self.named = {storage_of(tensor): (weakref.ref(tensor), name) for name, tensor in reversed(tensors.items())}
        return Scene(self.reach.players, tensors, len(self.lines), self._moment_of, roots, self.values)

    def _network(self, name: str) -> records.NetworkState:
        player = self.reach.players[name]
        parameters = player.parameters
        contributions, norm = self.ledgers[name].contributions()
        changed = False
        for inner, parameter in parameters.items():
            before = self.prints[name, inner]
            if (name, inner) in self.touched or before[:2] != (parameter._version, parameter.data_ptr()):
                self.prints[name, inner] = fingerprint(parameter)
                changed |= self.prints[name, inner][2] != before[2]
        return records.NetworkState(
            parameters=len(parameters),
            with_gradient=sum(p.grad is not None for p in parameters.values()),
            gradient_norm=norm,
            contributions=contributions,
            versions={inner: p._version for inner, p in parameters.items()},
            changed=changed,
            batchnorms=tuple(batchnorms(player.modules)),
            training=player.module is None or player.module.training,
            frozen=not any(p.requires_grad for p in parameters.values()),
        )

    def _check_finite(self, scene: Scene, states: dict[str, records.NetworkState]) -> None:
        """Remember where NaN or infinity has come up first: in a tensor, a gradient, or a weight."""
        here = self._line_of(len(self.lines))
        for name, tensor in scene.tensors.items():
            version = -1 if tensor.is_inference() else tensor._version
            if self.checked.get(storage_of(tensor)) != version:
                self.checked[storage_of(tensor)] = version
                self._check(here, name, "tensor", tensor)
        for name, state in states.items():
            self._check(here, name, "gradient", torch.tensor(state.gradient_norm))
        for network, inner in self.touched:
            self._check(here, full_name(network, inner), "weights", self.reach.players[network].parameters[inner])

    def _check(self, place: Place, name: str, kind: str, tensor: Tensor) -> None:
        has_values = tensor.is_floating_point() and tensor.device.type != "meta"
        if self.nonfinite is None and has_values and not torch.isfinite(tensor).all():
            self.nonfinite = records.NonFinite(place, name, kind)

    def _follow_gradients(self) -> None:
        """Know again in which storages the gradients lie."""
        self.gradient_of = {}
        for name, ledger in self.ledgers.items():
            for parameter in self.reach.players[name].parameters.values():
                if parameter.grad is not None:
                    self.gradient_of.setdefault(storage_of(parameter.grad), []).append(ledger)

    def _kept(self) -> Iterator[records.Kept]:
        """Tensors with a graph in lists and dicts that have grown."""
        for key, (container, before) in self.snapshot.containers.items():
            loop = self.loop_of.get(key)  # where the step made it; only a training loop's turns add up
            local = loop is not None and not self._trains(loop, 10 * self.max_iterations)
            if local or key not in self.reach.things or len(container) <= len(before):
                continue
            name = self.reach.things[key].name
            old = {id(value) for value in (before.values() if isinstance(before, dict) else before)}
            for index, value in container.items() if isinstance(container, dict) else enumerate(container):
                tensors = [tensor for _, tensor in graph.named_tensors([("", value)])] if id(value) not in old else []
                if self.lines and any(tensor.grad_fn is not None for tensor in tensors):
                    label = f"{name}[{index!r}]"
                    seen = (i for i, line in enumerate(self.lines) if any(n.endswith(label) for n in line.tensors))
                    yield records.Kept(label, name, self._line_of(next(seen, len(self.lines) - 1)))

    # Small things -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _own_work(self) -> Iterator[None]:
        """What is computed inside is the ledger's own."""
        before, self.busy = self.busy, True
        try:
            yield
        finally:
            self.busy = before

    def _listens(self) -> bool:
        """Whether what happens now is the step's: optimizers of other threads, as of a panel that plays, are not."""
        return bool(self.watch.line) and not self.busy and threading.get_ident() == self.thread

    def _sender(self) -> int:
        """The number of the backward that runs now, or that of the line as one that writes to gradients itself."""
        if self.number:
            return self.number
        if (self.watch.line, "") not in self.senders:
            self.senders.append((self.watch.line, ""))
        return self.senders.index((self.watch.line, ""))

    def _place(self, frame: FrameType | None) -> Place:
        assert self.watch.frame is not None
        return place_of(frame, self.watch.frame, self.source)

    def _line_of(self, moment: int) -> Place:
        """The statement of the step that ran at a moment."""
        return self.source.place(self.numbers[moment])

    def _moment_of(self, node: Node) -> int:
        """The moment in which a node was made."""
        number = node._sequence_nr()
        return BEFORE if number < self.first_node else bisect.bisect_right(self.first_nodes, number) - 1


def scope(variables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Variables and, after them, the attributes of the user's objects among them."""
    yield from variables.items()
    for name, value in variables.items():
        ours = isinstance(value, type | types.FunctionType | types.ModuleType | Tensor)
        if hasattr(value, "__dict__") and not ours and str(type(value).__module__).partition(".")[0] != "torch":
            inside = vars(value).items()
            yield from ((f"{name}.{key}", part) for key, part in inside if key[:1] != "_" and not is_internal(key))


@functools.cache
def written_by(func: Any) -> tuple[tuple[int, str], ...]:
    """The arguments that an operation changes: their places and names. BatchNorm's schema does not say that it does."""
    statistics = ("running_mean", "running_var") if "batch_norm" in func.name() else ()
    given = [(i, each.name, each.alias_info) for i, each in enumerate(func._schema.arguments)]
    return tuple((i, name) for i, name, alias in given if name in statistics or (alias is not None and alias.is_write))


def argument(where: tuple[int, str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An argument by its place or its name; None where it was not given."""
    place, name = where
    return args[place] if place < len(args) else kwargs.get(name)


def tensors_in(value: Any) -> list[Tensor]:
    """A tensor or those of a sequence; an iterator is left alone, since it can be used only once."""
    values = value if isinstance(value, list | tuple) else [value]
    return [tensor for tensor in values if isinstance(tensor, Tensor)]


def batchnorms(modules: dict[str, nn.Module]) -> Iterator[records.BatchNormState]:
    """The counters and statistics of a network's BatchNorm layers."""
    for name, module in modules.items():
        if isinstance(module, _NormBase) and module.num_batches_tracked is not None:
            mean, var = (() if t is None else tuple(t.tolist()) for t in (module.running_mean, module.running_var))
            yield records.BatchNormState(name, int(module.num_batches_tracked), mean, var)


def fingerprint(parameter: Tensor) -> tuple[int, int, str]:
    """A parameter's version, its place in memory, and numbers of which one at least changes with its values.

    The bits' exclusive or misses a change of two equal values, the sum and the norm miss others.
    """
    values = parameter.detach()
    values = torch.view_as_real(values) if values.is_complex() else values
    numbers = ""
    if values.numel() and values.device.type != "meta":
        values = values if values.is_floating_point() and values.itemsize > 1 else values.float()
        bits = torch.hash_tensor(values).view(torch.int64)
        numbers = " ".join(str(each.item()) for each in (bits, values.sum(), values.norm()))
    return parameter._version, parameter.data_ptr(), numbers


def written_as(statement: str) -> str:
    """What a statement calls backward on, as it is written there; "" where that is not to be seen."""
    with contextlib.suppress(SyntaxError):
        for node in ast.walk(ast.parse(statement)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward":
                return ast.unparse(node.func.value)
    return ""
