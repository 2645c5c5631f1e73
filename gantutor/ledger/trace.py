"""A step, line by line: which gradients, graphs and statistics each line left behind, what it did, and what it cost."""

import ast
import contextlib
import dataclasses
import functools
import gc
import inspect
import itertools
import linecache
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from types import FrameType, FunctionType, ModuleType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from gantutor.ledger import graph, records
from gantutor.ledger.cost import GRAD, Counting, all_tensors_in, by_name, changed_by
from gantutor.ledger.findings import find
from gantutor.ledger.graph import BEFORE, GradientSlot, Scene, full_name, leaf
from gantutor.ledger.reach import (
    Reach,
    Snapshot,
    Variables,
    free,
    function_of,
    is_internal,
    storage_of,
    told_of_optimizers,
)
from gantutor.ledger.records import ALIVE, FREED, STALE, Place, Trace
from gantutor.ledger.source import Leave, Source, Watch, mentioned_names, place_of, users_frames, variables_of
from gantutor.model_state import parameters_of
from gantutor.precision import float32_precision

ZERO_GRADS = (inspect.unwrap(Optimizer.zero_grad).__code__, nn.Module.zero_grad.__code__)
SCALER_STEP, SAVE = torch.amp.GradScaler.step.__code__, torch.save.__code__
DATA_GETTER = vars(torch._C.TensorBase)["data"].__get__  # what `tensor.data` calls
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
JOINS = ("cat", "concat", "concatenate", "stack")
MESSAGES = {FREED: "backward through the graph a second time", STALE: "modified by an inplace operation"}
NO_TRAINER = "is not attached to a `Trainer`"
TRAIN_FIRST = (
    "Trace it while a Trainer runs: `trace(module.training_step, batch, 0)` in a callback's on_train_batch_start."
)
RANKS_WAIT = timedelta(seconds=10)  # with which a rank waits for the others
MEETINGS = [0]  # how often all ranks have met
CELLS = itertools.count(1)


def trace(step: Callable[..., Any], *args: Any, max_iterations: int = 3, **kwargs: Any) -> Trace:
    """Run `step(*args, **kwargs)` once, write down what is true after every statement, and put everything back.

    `step` is any callable: a function, a method, a closure, a `functools.partial`, a callable object. Its networks and
    optimizers are found wherever it can reach them, and have the names that its code has for them; the attributes of
    its first argument have their own names. The statements are those of `step` itself: a function that it calls is part
    of the line that calls it. Nothing is copied: parameters, gradients, optimizers, modes, lists, random states and the
    rest are put back in place afterwards, and what cannot be is listed. A step that raises is recorded up to and with
    the line that raised. The numbers are those of IEEE's float32, whatever the global setting.

    Args:
        step: what to run.
        *args, **kwargs: what to give to it.
        max_iterations: after how many turns a training loop in `step` is stopped.

    Raises: TypeError or ValueError where the step's source cannot be read; RuntimeError on one rank of several.
    """
    source = Source.of(function_of(step)[0])
    return run_recorded(source, Reach.of(step, args, kwargs), lambda: step(*args, **kwargs), max_iterations)


def run_recorded(source: Source, reach: Reach, run: Callable[[], Any], max_iterations: int) -> Trace:
    """Run something under a Recorder."""
    recorder = Recorder(source, reach, max_iterations)
    result, error = None, None
    with recorder.recording():
        try:
            result = run()
        except LoopEnds:
            pass
        except Exception as raised:
            error = without_frames(raised)
    return recorder.finish(result, error)


class LoopEnds(BaseException):
    """Raised inside a step by its tracer."""


# Writing down ---------------------------------------------------------------------------------------------------------


class Functions(TorchFunctionMode):
    """Tells `cut` of the functions that end a tensor's graph, as the user calls them, and `join` of `torch.cat`."""

    def __init__(self, cut: Callable[[str, Tensor], None], join: Callable[[list[Tensor], Tensor], None]) -> None:
        super().__init__()
        self.cut, self.join = cut, join

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        how = "data" if func == DATA_GETTER else CUT_BY.get(getattr(func, "__name__", ""))
        if how and args and isinstance(args[0], Tensor) and args[0].grad_fn is not None:
            self.cut(how, args[0])
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in JOINS and args and isinstance(result, Tensor):
            self.join(all_tensors_in(args[0]), result)
        return result


class Recorder(Counting):
    """Writes a Line after each statement.

    `busy` is true while the ledger itself computes, which is nobody's business.
    """

    def __init__(self, source: Source, reach: Reach, max_iterations: int) -> None:
        meet_all_ranks(reach)
        super().__init__(reach)
        self.source, self.max_iterations, self.thread = source, max_iterations, threading.get_ident()
        self.watch = Watch(source, self.before_line, self.after_line, self.enter)
        self.snapshot = Snapshot(reach)
        self.trace = Trace(source.name, source.text, source.first_line, source.docstring, source.arguments)
        self.lines: list[records.Line] = []
        # What happens now.
        self.failure: records.Failure | None = None  # why the backward that was called last will raise, if it will
        self.step: records.OptimizerStep | None = None  # the one that an optimizer takes
        self.step_moves: set[str] = set()  # the networks that it has written to
        self.events: list[records.Event] = []
        self.touched: dict[tuple[str, str], str] = {}  # the parameters that the line has written to; how they were
        # What has happened.
        self.senders: list[tuple[int, str]] = [(0, "")]  # of gradients: line, loss; the first is before the step
        self.moments = graph.Moments()
        self.turns: dict[int, list[int]] = {}  # header of a loop -> the moments at which its turns began
        self.moved: dict[int, tuple[int, Place, str]] = {}  # storage of a weight -> how many nodes there were when it
        # was moved last, where that was, and by which optimizer
        self.called: dict[int, Place] = {}  # the number of a forward -> where it was called
        # What is known.
        self.values: dict[int, graph.Value] = {}  # by storage, as the next three
        self.named: dict[int, tuple[weakref.ref[Tensor], str]] = {}
        self.inner: dict[int, list[tuple[str, str]]] = {}  # the networks, and their names for what is in it
        self.slots_in: dict[int, list[GradientSlot]] = {}  # the gradients in it
        self.slots: dict[int, GradientSlot] = {}  # by parameter
        self.shares: dict[str, Any] = {}  # what is in a network's slots, and how often they had changed
        self.checked: dict[int, int] = {}  # storage -> its version when it was seen to be finite
        self.strangers: set[int] = set()
        self._meet()

    @contextlib.contextmanager
    def recording(self, frame: FrameType | None = None) -> Iterator[None]:
        """Record what runs inside, and put all back as it was."""
        optimizers = told_of_optimizers(self._optimizer_begins, self._optimizer_ends)
        functions = Functions(self._cut, self._join)
        try:
            with float32_precision("ieee"), optimizers, self.on(), functions, self.watch.on(frame):
                yield
        finally:
            self.busy = True
            for slot in self.slots.values():
                slot.hook.remove()
            self.trace.kept = tuple(self._kept())
            self.trace.not_put_back += tuple(self.snapshot.restore())

    def finish(self, result: Any, error: Exception | None) -> Trace:
        """The trace. Raises: a fault of the ledger's own."""
        if self.watch.fault is not None:
            raise self.watch.fault
        found, before = self.trace, self.trace.before
        found.lines = tuple(dataclasses.replace(e, networks={**before, **e.networks}) for e in self.lines)
        found.result, found.error = result, error
        found.optimizers = {name: self.holds(parameters_of(o)) for name, o in self.reach.optimizers.items()}
        found.not_put_back = tuple(dict.fromkeys(found.not_put_back))
        if self.failure is not None and isinstance(error, RuntimeError) and MESSAGES[self.failure.kind] in str(error):
            found.failure, found.diagnosis = self.failure, str(self.failure)
        elif NO_TRAINER in str(error) and self.lines:
            where = self.lines[-1].place
            found.diagnosis = f"Line {where} asks for the Trainer, which this module does not have yet. {TRAIN_FIRST}"
        found.findings = find(found)
        return found

    # Lines ------------------------------------------------------------------------------------------------------------

    def before_line(self, line: int, frame: FrameType) -> None:
        """A statement begins. Raises: LoopEnds for the header of a training loop that has gone round often enough."""
        self.moments.begin(line)
        loop = self.source.at(line).node
        if isinstance(loop, ast.For | ast.While):
            if not self.lines or not loop.lineno < self.lines[-1].number <= (loop.end_lineno or 0):
                self.turns[line] = []
                self._discover(frame)
            self.turns[line].append(self.moments.now)
            turns = len(self.turns[line]) - 1
            if turns >= self.max_iterations and self._trains(loop, turns):
                self.trace.stopped = f"Stopped after {turns} turns of the loop on line {line} (max_iterations)."
                raise LoopEnds

    def after_line(self, number: int, frame: FrameType, milliseconds: float) -> None:
        """Write down a statement that is done and took so long."""
        with self._own_work():
            states = {name: self._network(name) for name in self.reach.players}
            self._index()
            scene, statement = self._look(frame), self.source.at(number)
            self._check_finite(scene, states)
            line = records.Line(
                number=number,
                last=statement.last,
                text=statement.text,
                networks=states,
                tensors={name: scene.state(name) for name in scene.tensors},
                saved_bytes=scene.saved_bytes(),
                flops=self.flops,
                milliseconds=milliseconds,
                events=tuple(self.events),
            )
            self.lines.append(line)
            self.events, self.touched, self.step = [], {}, None

    def _trains(self, loop: ast.For | ast.While, turns: int) -> bool:
        """Whether a loop is the training loop: nothing was trained before it, and all optimizers have stepped in it."""
        steps = {step.optimizer for line in self.lines for step in line.of(records.OptimizerStep)}
        sent = [i for i, line in enumerate(self.lines) if any(not each.is_grad for each in line.of(records.Backward))]
        begun = self.turns[loop.lineno][0]
        if not sent or sent[0] < begun or any(line.of(records.OptimizerStep) for line in self.lines[:begun]):
            return False
        return steps >= set(self.reach.optimizers) or turns >= 10 * self.max_iterations

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
                begun = len(self.events)
                return lambda value, raised: None if raised else self._scaler_ends(given["optimizer"], begun)
            elif code is SAVE and isinstance(given["f"], str | os.PathLike):
                self.trace.not_put_back += (f"the file {given['f']} that line {self.watch.line} writes",)
            elif code in ZERO_GRADS:  # also where there is nothing to clear
                of = given["self"]
                networks = self.holds(of.parameters() if isinstance(of, nn.Module) else parameters_of(of))
                self.events.append(records.Clear(self._place(frame.f_back), tuple(networks)))
            return super().enter(frame)

    def _recognise(self, frame: FrameType, module: nn.Module) -> None:
        """Look for a network that is called and was not known."""
        known = id(module) in self.reach.modules or id(module) in self.strangers
        if not known and next(module.parameters(), None) is not None:
            self.strangers.add(id(module))
            self._discover(frame)

    def forward_begins(self, frame: FrameType, network: str) -> Leave:
        module, place = frame.f_locals["self"], self._place(frame.f_back)
        inputs = tuple(value.detach() for value in frame.f_locals.values() if isinstance(value, Tensor))
        named = (self.named.get(storage) for storage in graph.storages(inputs, self.values))
        call = records.Call(
            network,
            place,
            module.training,
            layers=sum(isinstance(layer, _NormBase | _DropoutNd) for layer in module.modules()),
            grad=torch.is_grad_enabled(),
            frozen=self.reach.players[network].is_frozen,
            inputs=tuple(dict.fromkeys(each[1] for each in named if each is not None and each[0]() is not None)),
        )
        end = super().forward_begins(frame, network)
        self.called[self.current] = place

        def leave(value: Any, raised: bool) -> None:
            with self._own_work():
                end(value, raised)
                self.events.append(call)
                for output in all_tensors_in(value):
                    self.values[storage_of(output)] = graph.Value(network, inputs, output.detach())
                    self._check(place, f"what {network} returns", "tensor", output)

        return leave

    def backward_begins(self, frame: FrameType) -> Leave:
        """`torch.autograd.backward` or `grad` begins; foresee what it will raise."""
        given, is_grad = frame.f_locals, frame.f_code is GRAD
        roots, wanted = all_tensors_in(given["outputs" if is_grad else "tensors"]), all_tensors_in(given["inputs"])
        nodes, place = graph.reachable(root.grad_fn for root in roots), self._place(frame.f_back)
        self._find_strangers(frame, place, [p for p in map(leaf, nodes) if p is not None])
        scene = self._look(self.watch.frame, roots, frame.f_back)
        names = [scene.name_of(root) for root in roots]
        backward = records.Backward(
            place=place,
            losses=tuple(name or written_as(place.text) for name in names),
            values=tuple(root.item() if root.numel() == 1 and not root.is_complex() else None for root in roots),
            arrived={},
            create_graph=bool(given["create_graph"]),
            inputs=None if given["inputs"] is None else tuple(scene.name_of(tensor) for tensor in wanted),
            is_grad=is_grad,
            reaches=graph.networks_behind(nodes, self.reach),
            passes=scene.passes(nodes),
            mixed=next(filter(None, (self._moved_since(node, scene.notes[node]) for node in nodes)), None),
            double_sigmoid=graph.has_double_sigmoid(nodes),
            number=len(self.senders),
        )
        self.failure = self._foresee(scene, scene.failing([root.grad_fn for root in roots], wanted or None), place)
        self.number = backward.number
        self.senders.append((self.watch.line, "".join(backward.losses[:1])))

        def leave(value: Any, raised: bool) -> None:
            with self._own_work():
                self.number = 0
                norms = {name: graph.arrived(self._slots(name), backward.number) for name in self.reach.players}
                arrived = {name: norm for name, norm in norms.items() if norm is not None}
                scene.look(nodes, place)
                links = (
                    None if n or r.grad_fn is None else scene.link_of(r) for n, r in zip(names, roots, strict=True)
                )
                self.events.append(dataclasses.replace(backward, arrived=arrived, raised=raised, links=tuple(links)))
                if is_grad and not backward.create_graph and backward.reaches:
                    how = "grad without create_graph"
                    self.events.append(records.Cut(place, how, backward.losses[0], backward.reaches))
                self._index()

        return leave

    def _foresee(self, scene: Scene, node: Node | None, place: Place) -> records.Failure | None:
        """Why a backward will raise at a node."""
        if node is None:
            return None
        note, write = scene.notes[node], None
        inside = self.calls[self.owner(node)].network
        moment = note.changed if note.changed != BEFORE else None
        if note.state == STALE and moment is not None:
            events = self.lines[moment].events if moment < len(self.lines) else self.events
            for each in (event for event in events if isinstance(event, records.Write)):
                # What one line has made and changed has no name but the one that the node has for it.
                alike = each.tensor.startswith(f"{inside}.") and each.tensor.endswith(f".{note.blame}")
                if each.tensor == note.culprit or (not note.culprit and alike):
                    write = each
        by = write.place if write else note.by
        return records.Failure(
            kind=note.state,
            place=place,
            graph_of=scene.graph_of(node),
            made=None if note.made == BEFORE else self._line_at(note.made),
            culprit=write.tensor if write else note.culprit,
            by=self._line_at(moment) if by is None and moment is not None else by,
            write=write,
            before_step=note.changed == BEFORE,
            inside=inside,
        )

    def _moved_since(self, node: Node, note: graph.Note) -> tuple[Place, Place, str] | None:
        """Where a node was made that keeps a weight, or makes a low-precision copy of it; where that weight has moved
        since; and how autograd did not see it. Where it did, the backward raises.
        """
        copied = leaf(node.next_functions[0][0]) if node.name() == "ToCopyBackward0" else None
        kept = [kept.storage for kept in note.kept.values()] if copied is None else [storage_of(copied)]
        for number, moved, optimizer in (self.moved[each] for each in kept if each in self.moved):
            if note.state == ALIVE and number > node._sequence_nr():
                made = self.called.get(self.owner(node)) or self._line_at(note.made)
                return made, moved, optimizer or "data" if copied is None else "autocast"
        return None

    def _cut(self, how: str, tensor: Tensor) -> None:
        """A function is called that ends a tensor's graph."""
        if self._listens() and not self.number and not self.step:
            with self._own_work():
                behind = graph.networks_behind(graph.reachable([tensor.grad_fn]), self.reach)
                name = next((name for found, name in self.named.values() if found() is tensor), "")
                cut = records.Cut(self._place(sys._getframe()), how, name, behind)
                self.events += [cut] if cut not in self.events else []

    def _join(self, parts: list[Tensor], joined: Tensor) -> None:
        """Several tensors are joined to one."""
        if self._listens():
            inputs = tuple(part.detach() for part in parts)
            self.values[storage_of(joined)] = graph.Value("", inputs, joined.detach())

    # Optimizers and writes --------------------------------------------------------------------------------------------

    def _optimizer_begins(self, optimizer: Optimizer) -> None:
        if not self._listens():
            return
        with self._own_work():
            frame, given = sys._getframe(), parameters_of(optimizer)
            place, ids = self._place(frame), {id(p) for p in given}
            name = self._name_optimizer(optimizer, frame, place)
            shares = {
                network: tuple(
                    sorted({n for s in self._slots(network) if id(s.parameter) in ids for n in s.look().shares})
                )
                for network in self.reach.players
            }
            self.step_moves = set()
            self.step = records.OptimizerStep(
                name,
                place,
                holds=self.holds(given),
                moved=(),
                shares={network: numbers for network, numbers in shares.items() if numbers},
                first=not optimizer.state,
            )

    def _optimizer_ends(self, optimizer: Optimizer, skipped: bool = False) -> None:
        if self._listens() and self.step is not None:
            moved = tuple(name for name in self.reach.players if name in self.step_moves)
            self.events.append(dataclasses.replace(self.step, moved=moved, skipped=skipped))
            self.step = None

    def _scaler_ends(self, optimizer: Any, begun: int) -> None:
        """`GradScaler.step` is done; where the optimizer has not stepped since it began, gradients were infinite."""
        if not any(isinstance(event, records.OptimizerStep) for event in self.events[begun:]):
            self._optimizer_begins(getattr(optimizer, "_optimizer", optimizer))
            self._optimizer_ends(getattr(optimizer, "_optimizer", optimizer), skipped=True)

    def holds(self, parameters: Iterable[Tensor]) -> dict[str, int]:
        """How many of some parameters each network has."""
        ids = {id(p) for p in parameters}
        counted = {n: sum(id(p) in ids for p in player.parameters.values()) for n, player in self.reach.players.items()}
        return {name: number for name, number in counted.items() if number}

    def before(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An operation is about to be done, that may change tensors in place."""
        written = written_by(func)
        given = by_name(func, args, kwargs) if written else {}
        for tensor in all_tensors_in([given.get(name) for name in written]):
            storage = storage_of(tensor)
            if any(storage in known for known in (self.snapshot.by_storage, self.inner, self.slots_in, self.named)):
                with self._own_work():
                    self.snapshot.keep(storage)
                    for slot in () if self.number else self.slots_in.get(storage, ()):
                        slot.written(tensor, func._overloadpacket.__name__, given)
                    if self.watch.line:
                        self._write(storage)

    def _write(self, storage: int) -> None:
        """What lies in a storage is changed in place."""
        found, name = self.named.get(storage, (None, ""))
        inner = self.inner.get(storage, [])
        place = self.step.place if self.step else self._place(sys._getframe())
        names = [full_name(*each) for each in inner] or [name] * (found is not None and found() is not None)
        writes = [records.Write(place, name, self.step.optimizer if self.step else "") for name in names]
        self.events += [write for write in writes if write not in self.events]
        for network, of in inner:
            parameter = self.reach.players[network].parameters.get(of)
            if parameter is not None:
                if (network, of) not in self.touched:
                    self.touched[network, of] = fingerprint(parameter)
                self.moved[storage] = torch._C._autograd._get_sequence_nr(), place, writes[0].optimizer
                self.step_moves.add(network)

    # Who is there -----------------------------------------------------------------------------------------------------

    def _meet(self) -> None:
        """Watch the networks that are new."""
        with self._own_work():
            self.snapshot.extend()
            for name, player in self.reach.players.items():
                if name not in self.trace.before:
                    for p in player.parameters.values():
                        if id(p) not in self.slots and (p.is_floating_point() or p.is_complex()):
                            self.slots[id(p)] = GradientSlot(p, self._sender)
            self._index()
            self.trace.before |= {n: self._network(n) for n in self.reach.players if n not in self.trace.before}

    def _index(self) -> None:
        """Know again in which storages the networks and the gradients lie."""
        self.inner, self.slots_in = {}, {}
        for name, player in self.reach.players.items():
            for inner, tensor in (player.parameters | player.buffers).items():
                self.inner.setdefault(storage_of(tensor), []).append((name, inner))
        for slot in self.slots.values():
            if slot.parameter.grad is not None:
                self.slots_in.setdefault(storage_of(slot.parameter.grad), []).append(slot)

    def _discover(self, frame: FrameType | None) -> None:
        """Look for networks and optimizers that have come into being, in the variables of the functions that run."""
        for inner in users_frames(frame, self.watch.frame):
            self.reach.extend(variables_of(inner, mentioned_names(inner.f_code)).items())
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
        said = f"{what} of {label}, to which no variable of the step leads. It is watched from here on."
        self.trace.unwatched += (said,)

    def _name_optimizer(self, optimizer: Optimizer, frame: FrameType, place: Place) -> str:
        """An optimizer's name in the code; one that was not known is watched from now on."""
        if not self.reach.name_of(optimizer):
            self._discover(frame)
        if not self.reach.name_of(optimizer):
            self._add(f"Line {place} takes a step", optimizer)
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
        tensors: dict[str, Tensor] = {}
        for each in reversed([*users_frames(inner or frame, frame)]):
            variables = variables_of(each, self.source.names if each is frame else ())
            known = {id(tensor) for tensor in tensors.values()}
            found = graph.named_tensors(scope(variables))
            tensors |= {name: t for name, t in found if each is frame or not (name in tensors or id(t) in known)}
        self.named = {storage_of(tensor): (weakref.ref(tensor), name) for name, tensor in reversed(tensors.items())}
        return Scene(self.reach, tensors, self.moments, self.inner, self.values, roots)

    def _slots(self, network: str) -> list[GradientSlot]:
        """A network's gradients."""
        return [self.slots[id(p)] for p in self.reach.players[network].parameters.values() if id(p) in self.slots]

    def _network(self, name: str) -> records.NetworkState:
        player, slots = self.reach.players[name], self._slots(name)
        parameters = player.parameters
        changes = sum(slot.look().changes for slot in slots)
        if name not in self.shares or self.shares[name][0] != changes:
            self.shares[name] = changes, *graph.contributions(slots, self.senders)
        _, contributions, norm = self.shares[name]
        touched = {inner: before for (network, inner), before in self.touched.items() if network == name}
        return records.NetworkState(
            parameters=len(parameters),
            with_gradient=sum(p.grad is not None for p in parameters.values()),
            gradient_norm=norm,
            contributions=contributions,
            versions={inner: p._version for inner, p in parameters.items()},
            changed=any(fingerprint(parameters[inner]) != before for inner, before in touched.items())
            or any(storage_of(p) not in self.inner for p in parameters.values()),
            batchnorms=tuple(batchnorms(player.modules)),
            training=player.module is None or player.module.training,
            frozen=player.is_frozen,
        )

    def _check_finite(self, scene: Scene, states: dict[str, records.NetworkState]) -> None:
        """Remember where NaN or infinity has come up first: in a tensor, a gradient, or a weight."""
        here = self._line_at(self.moments.now)
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
        if self.trace.nonfinite is None and has_values and not torch.isfinite(tensor).all():
            self.trace.nonfinite = records.NonFinite(place, name, kind)

    def _kept(self) -> Iterator[records.Kept]:
        """Tensors with a graph in lists and dicts that have grown."""
        for key, (container, before) in self.snapshot.containers.items():
            if key not in self.reach.things or len(container) <= len(before) or not self.lines:
                continue
            name = self.reach.things[key].name
            old = {id(value) for value in (before.values() if isinstance(before, dict) else before)}
            for index, value in container.items() if isinstance(container, dict) else enumerate(container):
                if id(value) not in old and any(tensor.grad_fn is not None for tensor in all_tensors_in(value)):
                    label = f"{name}[{index!r}]"
                    seen = (line for line in self.lines if any(each.endswith(label) for each in line.tensors))
                    yield records.Kept(label, name, next(seen, self.lines[-1]).place)

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

    def _line_at(self, moment: int) -> Place:
        """The statement of the step that ran at a moment."""
        return self.source.place(self.moments.line(moment))


def scope(variables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Variables and, after them, the attributes of the user's objects among them."""
    yield from variables.items()
    for name, value in variables.items():
        ours = isinstance(value, type | FunctionType | ModuleType | Tensor)
        if hasattr(value, "__dict__") and not ours and str(type(value).__module__).partition(".")[0] != "torch":
            inside = vars(value).items()
            yield from ((f"{name}.{key}", part) for key, part in inside if key[:1] != "_" and not is_internal(key))


@functools.cache
def written_by(func: Any) -> tuple[str, ...]:
    """The arguments that an operation changes. BatchNorm's schema does not say that it does."""
    return changed_by(func) + (("running_mean", "running_var") if "batch_norm" in func.name() else ())


def batchnorms(modules: dict[str, nn.Module]) -> Iterator[records.BatchNormState]:
    """The counters and statistics of a network's BatchNorm layers."""
    for name, module in modules.items():
        if isinstance(module, _NormBase) and module.num_batches_tracked is not None:
            mean, var = (() if t is None else tuple(t.tolist()) for t in (module.running_mean, module.running_var))
            yield records.BatchNormState(name, int(module.num_batches_tracked), mean, var)


def fingerprint(parameter: Tensor) -> str:
    """Numbers of which one at least changes with a parameter's values.

    The bits' exclusive or misses a change of two equal values, the sum and the norm miss others.
    """
    values = parameter.detach()
    values = torch.view_as_real(values) if values.is_complex() else values
    if not values.numel() or values.device.type == "meta":
        return ""
    values = values if values.is_floating_point() and values.itemsize > 1 else values.float()
    bits = torch.hash_tensor(values).view(torch.int64)
    return " ".join(str(each.item()) for each in (bits, values.sum(), values.norm()))


def written_as(statement: str) -> str:
    """What a statement calls backward on, as it is written there; "" where that is not to be seen."""
    with contextlib.suppress(SyntaxError):
        for node in ast.walk(ast.parse(statement)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward":
                return ast.unparse(node.func.value)
    return ""


def without_frames(error: Exception) -> Exception:
    """The error and what led to it, without tracebacks: those would keep every frame, and so every graph, alive."""
    inner: BaseException | None = error
    while inner is not None:
        inner.__traceback__ = None
        inner = inner.__cause__ or inner.__context__
    return error


def meet_all_ranks(reach: Reach) -> None:
    """Wait for the other processes, if networks are spread over several: each must run the step, or all would hang.

    Raises: RuntimeError where another rank does not come.
    """
    if not any(isinstance(thing.value, DistributedDataParallel) for thing in reach.things.values()):
        return
    store, rank, world = dist.distributed_c10d._get_default_store(), dist.get_rank(), dist.get_world_size()
    turn = f"gantutor.ledger/{MEETINGS[0]}"
    store.set(f"{turn}/{rank}", "here")
    for other in range(world):
        try:
            store.wait([f"{turn}/{other}"], RANKS_WAIT)
        except RuntimeError:
            store.delete_key(f"{turn}/{rank}")
            raise RuntimeError(
                f"Rank {rank} traces a step of {world} ranks, and rank {other} does not: the step would wait for it "
                "forever. Call the ledger on every rank, and print on one."
            ) from None
    MEETINGS[0] += 1


# Cells and blocks -----------------------------------------------------------------------------------------------------


class watching:  # noqa: N801 -- used as a verb
    """Trace the statements of a `with` block, in a script, a function or a cell, and print the trace at its end.

    >>> with ledger.watching() as watch:
    ...     for real in loader: ...
    >>> watch.trace

    What the block changes in networks, optimizers, lists and random states is put back; its variables stay.
    A loop that trains is left after `max_iterations` turns. An error in the block goes on after it is written down.
    """

    def __init__(self, max_iterations: int = 3) -> None:
        self.max_iterations = max_iterations

    def __enter__(self) -> "watching":
        frame = sys._getframe(1)
        code, lines = frame.f_code, linecache.getlines(frame.f_code.co_filename)
        source = Source.of_module(f"line {frame.f_lineno}", code, lines, block=frame.f_lineno)
        reach = Reach()
        reach.extend([*variables_of(frame, ()).items(), ("", Variables(frame.f_globals, code))])
        self.recorder, self.stack = Recorder(source, reach, self.max_iterations), contextlib.ExitStack()
        self.stack.enter_context(self.recorder.recording(frame))
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        self.recorder.watch.finish()
        self.stack.close()
        self.trace = self.recorder.finish(None, error if isinstance(error, Exception) else None)
        print(self.trace)
        return isinstance(error, LoopEnds)


def trace_cell(cell: str, namespace: dict[str, Any], max_iterations: int = 3) -> Trace:
    """Run a notebook's cell in its namespace and trace it. Lines are numbered as in the cell; the first is `%%trace`.

    Variables that were there before are put back; those that the cell makes stay.
    """
    text, name = "\n" + cell, f"<traced cell {next(CELLS)}>"
    lines = text.splitlines(keepends=True)
    linecache.cache[name] = (len(text), None, lines, name)
    source = Source.of_module("the cell", compile(text, name, "exec"), lines)
    reach = Reach()
    reach.extend([("", Variables(namespace, source.code))])
    return run_recorded(source, reach, lambda: exec(source.code, namespace), max_iterations)


def register_magic(shell: Any) -> None:
    """`%load_ext gantutor` makes the magic `%%trace [name] [max_iterations]`, which may keep its trace under a name."""

    def magic(line: str, cell: str) -> Trace:
        numbers = [int(word) for word in line.split() if word.isdigit()]
        record = trace_cell(shell.transform_cell(cell), shell.user_ns, *numbers)
        shell.user_ns.update(dict.fromkeys((word for word in line.split() if word.isidentifier()), record))
        return record

    shell.register_magic_function(magic, "cell", "trace")
