"""What a step can reach, by the names that its code has for it; and putting all of that back as it was."""

import collections
import contextlib
import functools
import inspect
import io
import itertools
import logging
import operator
import os
import random
import shutil
import sys
import tempfile
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader, Dataset

from gantutor.ledger.source import is_library, mentioned_names
from gantutor.model_state import parameters_of

DEPTH, OBJECTS, ITEMS = 10, 50_000, 1000  # how far, how much in all, and how many items of one container
IN_MEMORY = 400_000_000  # bytes; what is copied beyond that waits in a temporary file
COPIED_AT_ONCE = 1 << 14  # numbers; a larger tensor is copied when it is first written to
WRAPPERS = ("module", "_orig_mod")  # what DistributedDataParallel and torch.compile call the network inside
CLOSED = (  # not looked into, and not put back
    types.ModuleType, type, str, bytes, int, float, complex, types.NoneType, types.CodeType, types.BuiltinFunctionType,
    torch.dtype, torch.device, torch.Size, io.IOBase, logging.Logger, Dataset, DataLoader,
)  # fmt: skip


# Who is there ---------------------------------------------------------------------------------------------------------


@dataclass
class Player:
    """A network; or a parameter that stands alone, whose name inside is "". What it has is what can hold a gradient."""

    module: nn.Module | None
    parameters: dict[str, Tensor]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The network and its layers, by name."""
        return {} if self.module is None else {bare_name(name): inner for name, inner in self.module.named_modules()}

    @property
    def is_frozen(self) -> bool:
        """Whether no parameter requires a gradient."""
        return not any(p.requires_grad for p in self.parameters.values())

    @property
    def buffers(self) -> dict[str, Tensor]:
        return {} if self.module is None else {bare_name(name): buffer for name, buffer in self.module.named_buffers()}


def bare_name(name: str) -> str:
    """A name inside a network, without the wrappers around it: `4.weight` for `module.4.weight`."""
    first, _, rest = name.partition(".")
    return bare_name(rest) if first in WRAPPERS else name


@dataclass
class Thing:
    """An object that was found: its name, and the module that it is a child of, if that is how it was found."""

    name: str
    value: Any
    parent: nn.Module | None


@dataclass(frozen=True)
class Variables:
    """The variables of a module that code names, and may bind anew."""

    namespace: dict[str, Any]
    code: types.CodeType

    def now(self) -> dict[str, Any]:
        """Those that there are."""
        names = mentioned_names(self.code)
        return {name: self.namespace[name] for name in names if name in self.namespace}


class Reach:
    """All that can be got to from some named objects: the `players`, the `optimizers`, and whatever else may change.

    Each is named as the user's code would write it. `extend` adds what has come into being since.
    """

    def __init__(self) -> None:
        self.players: dict[str, Player] = {}
        self.optimizers: dict[str, Optimizer] = {}
        self.owner: dict[int, str] = {}  # the player by the id of a parameter
        self.modules: dict[int, str] = {}  # the player by the id of a module
        self.things: dict[int, Thing] = {}  # by id; they are kept alive
        self._wholes: set[int] = set()  # the networks, and the wrappers around them
        self._selves: set[int] = set()

    @classmethod
    def of(cls, step: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Reach":
        """What a call `step(*args, **kwargs)` can reach."""
        reach = cls()
        reach.extend(*roots_of(step, args, kwargs))
        return reach

    def extend(self, roots: Iterable[tuple[str, Any]], model: str = "", selves: Iterable[Any] = ()) -> None:
        """Look at named objects and all that is behind them, nearest first; and first of all at what code names.

        The attributes of the object named `model` keep their own names: `G`, not `gan.G`. `selves` are objects whose
        method the step is: a module among them is no network, but what holds the networks.
        """
        self._selves |= {id(each) for each in selves}
        queue = collections.deque((Thing(name, value, None), 0) for name, value in roots)
        objects = [thing.value for thing, _ in queue]
        while queue and len(self.things) < OBJECTS:
            thing, depth = queue.popleft()
            name, value = thing.name, thing.value
            if is_closed(value):
                continue
            known = self.things.setdefault(id(value), thing)
            if known is not thing:
                known.name = known.name or name
                continue
            if isinstance(value, Optimizer):
                self.optimizers[free(name, self.optimizers)] = value
            if depth == 0:
                queue.extendleft((Thing(n, part, None), 0) for n, part in reversed([*named_by(thing, objects)]))
            is_model = depth == 0 and name == model
            unnamed = not name or isinstance(value, Optimizer)
            for inner, part, parent in parts(value) if depth < DEPTH else ():
                full = "" if unnamed else inner[1:] if is_model and inner[:1] == "." else name + inner
                queue.append((Thing(full, part, parent), depth + (parent is None)))  # networks nest deeply
        self._settle()

    @property
    def device(self) -> torch.device:
        """Where the first network's parameters are; the CPU if there are none."""
        parameters = (p for player in self.players.values() for p in player.parameters.values())
        return next((p.device for p in parameters), torch.device("cpu"))

    def name_of(self, optimizer: Optimizer) -> str:
        """An optimizer's name; "" for one that was not found."""
        return next((name for name, other in self.optimizers.items() if other is optimizer), "")

    def network_of(self, module: Any, inside: bool) -> str | None:
        """The network that a forward of `module` belongs to; inside another forward, only if it is a whole network."""
        return None if inside and id(module) not in self._wholes else self.modules.get(id(module))

    def _settle(self) -> None:
        """Decide which of the modules are the networks, and whose each parameter is."""
        held = [{id(p) for p in parameters_of(optimizer)} for optimizer in self.optimizers.values()]
        children: dict[int, list[Thing]] = {}
        for thing in self.things.values():
            if isinstance(thing.value, nn.Module):
                children.setdefault(id(thing.parent), []).append(thing)

        def networks(things: list[Thing]) -> Iterator[tuple[str, nn.Module]]:
            for thing in things:
                if self._is_container(thing.value, held):
                    yield from networks(children.get(id(thing.value), []))
                elif next(thing.value.parameters(), None) is not None:
                    yield thing.name, thing.value

        tops = list(networks(children.get(id(None), [])))
        wrapped = {id(getattr(module, inner, None)) for _, module in tops for inner in WRAPPERS}
        for name, module in tops:
            if id(module) not in wrapped:
                self._add(name, module, {bare_name(inner): p for inner, p in module.named_parameters()})
        for thing in self.things.values():
            if isinstance(thing.value, nn.Parameter) and thing.name and id(thing.value) not in self.owner:
                self._add(thing.name, None, {"": thing.value})
        for name, optimizer in self.optimizers.items():
            strangers = {str(i): p for i, p in enumerate(parameters_of(optimizer)) if id(p) not in self.owner}
            if strangers:
                self._add(f"parameters of {name}", None, strangers)

    def _add(self, name: str, module: nn.Module | None, parameters: dict[str, Tensor]) -> None:
        known = [player.module for player in self.players.values()]
        if module is not None and any(module is other for other in known):
            return
        name = free(name, self.players)
        self.players[name] = player = Player(module, parameters)
        for parameter in parameters.values():
            self.owner.setdefault(id(parameter), name)
        nested = module is not None and id(module) in self.modules
        while module is not None:
            self._wholes.add(id(module))
            module = next((module._modules[inner] for inner in WRAPPERS if inner in module._modules), None)
        for inner in player.modules.values():
            if nested or id(inner) not in self.modules:
                self.modules[id(inner)] = name

    def _is_container(self, module: nn.Module, held: list[set[int]]) -> bool:
        """Whether a module holds networks, and is none: the step's own object, without a forward, or divided up.

        Divided up means that two optimizers have a part each.
        """
        if isinstance(module, nn.ModuleList | nn.ModuleDict) or type(module).forward is nn.Module.forward:
            return True
        if id(module) in self._selves or hasattr(module, "training_step"):
            return True
        if isinstance(module, nn.Sequential):
            return False
        own = {id(p) for p in module.parameters()}
        shares = {frozenset(own & each) for each in held} - {frozenset()}
        return any(not a & b for a in shares for b in shares)


def is_closed(value: Any) -> bool:
    """Whether an object is not looked into: it has no parts that matter, or is the ledger's own."""
    own = str(type(value).__module__).startswith("gantutor.ledger.") and not isinstance(value, Variables)
    return own or isinstance(value, CLOSED) or type(value) in weakref.ProxyTypes


def named_by(thing: Thing, objects: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """What the code of a function, or in a module, names: variables, and methods of `objects`; by their own names."""
    value = inspect.unwrap(thing.value) if callable(thing.value) else thing.value
    if isinstance(value, Variables):
        yield from value.now().items()
        yield from (("method", getattr(type(each), name, None)) for name in value.code.co_names for each in objects)
    elif isinstance(value, types.MethodType):
        yield "method", value.__func__
    elif isinstance(value, types.FunctionType) and not (thing.name and is_library(value.__code__.co_filename)):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # it has no value yet
                yield name, cell.cell_contents
        yield "", Variables(value.__globals__, value.__code__)


def parts(value: Any) -> Iterator[tuple[str, Any, nn.Module | None]]:
    """What is in an object: how code gets there (`.G`, `[0]`), the part, and the module if it is a module's child."""
    if isinstance(value, nn.Module):
        way = "[{}]" if isinstance(value, nn.ModuleList | nn.ParameterList) else ".{}"
        way = "[{!r}]" if isinstance(value, nn.ModuleDict | nn.ParameterDict) else way
        yield from ((way.format(key), child, value) for key, child in value._modules.items())
        others = {**value._parameters, **value._buffers, **vars(value)}
        yield from (("" if is_internal(key) else way.format(key), part, None) for key, part in others.items())
    elif isinstance(value, dict):
        yield from ((f"[{key!r}]", part, None) for key, part in list(value.items())[:ITEMS])
    elif isinstance(value, list | tuple | set | frozenset | collections.deque):
        yield from ((f"[{i}]", part, None) for i, part in enumerate(list(value)[:ITEMS]))
    elif isinstance(value, functools.partial):
        yield from (("", part, None) for part in (value.func, *value.args, *value.keywords.values()))
    elif isinstance(value, types.MethodType):
        yield "", value.__self__, None
    elif not isinstance(value, Tensor | Iterator | types.FunctionType | Variables) and hasattr(value, "__dict__"):
        yield from ((f".{key}", part, None) for key, part in vars(value).items())


def is_internal(key: str) -> bool:
    """Whether an attribute is one of those that nn.Module keeps itself in."""
    return key in ("training", "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set") or "_hooks" in key


def free(name: str, taken: Iterable[str]) -> str:
    """A name that is not taken."""
    while name in taken:
        name += "_2"
    return name


# From where the looking starts ----------------------------------------------------------------------------------------


def function_of(step: Callable[..., Any]) -> tuple[types.FunctionType, list[Any], tuple[Any, ...], dict[str, Any]]:
    """The function whose lines a callable runs; the objects that it is a method of; and what is given to it already.

    Raises: TypeError for what has no such function.
    """
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    selves: list[Any] = []
    inner: Any = step
    while not isinstance(inner, types.FunctionType):
        if isinstance(inner, functools.partial):
            args, kwargs, inner = (*inner.args, *args), {**inner.keywords, **kwargs}, inner.func
        elif isinstance(inner, types.MethodType):
            selves.append(inner.__self__)
            args, inner = (inner.__self__, *args), inner.__func__
        elif isinstance(inner, nn.Module):
            inner = inner.forward
        elif isinstance(getattr(type(inner), "__call__", None), types.FunctionType):  # noqa: B004
            inner = types.MethodType(type(inner).__call__, inner)
        else:
            raise TypeError(f"A trace follows a step that is written in Python, line by line; {step!r} is not.")
        inner = inspect.unwrap(inner)
    return inspect.unwrap(inner), selves, args, kwargs


def roots_of(
    step: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[tuple[str, Any]], str, list[Any]]:
    """Arguments, closure cells and named globals of a call; the name of the model among them; whose method it is."""
    function, selves, before, given = function_of(step)
    args, kwargs = (*before, *args), {**given, **kwargs}
    bound: dict[str, Any] = {}
    with contextlib.suppress(TypeError):  # the step itself will say so
        call = inspect.signature(function).bind(*args, **kwargs)
        call.apply_defaults()
        bound = dict(call.arguments)
    model = next(itertools.islice(bound, len(selves), None), "")  # the first argument that is no self
    if model == "self":
        model, selves = "", [*selves, bound["self"]]
    return [*bound.items(), ("", function)], model, selves


# Putting back ---------------------------------------------------------------------------------------------------------


@dataclass
class Held:
    """A tensor as it was: its memory, its version and, once it is needed, a copy of its numbers."""

    tensor: Tensor
    memory: Tensor
    version: int
    is_leaf: bool
    requires_grad: bool
    grad: Tensor | None
    numbers: Callable[[], Tensor] | None = None


class Snapshot:
    """Everything in a Reach as it was, to be put back: in place, with autograd's versions, so that graphs stay valid.

    Large tensors are copied when they are about to be written to, which `keep` is told; with `at_once`, here.
    """

    def __init__(self, reach: Reach, at_once: bool = False) -> None:
        self.reach, self.at_once = reach, at_once
        self.held: dict[int, Held] = {}
        self.by_storage: dict[int, list[Held]] = {}
        self.containers: dict[int, tuple[Any, Any]] = {}
        self.others = random_sources()  # what puts the rest back
        self.iterators: dict[str, tuple[Iterator[Any], Any]] = {}  # with their positions
        self.seen = self.bytes = 0
        self.folder = ""  # the files go with this object
        self.extend()

    def extend(self) -> None:
        """Look at what the reach has found since."""
        for thing in itertools.islice(self.reach.things.values(), self.seen, None):
            value = thing.value
            if isinstance(value, Tensor):
                self._hold(value)
            elif isinstance(value, Variables):
                self.others.append(functools.partial(value.namespace.update, value.now()))
            elif isinstance(value, list | dict | set | collections.deque):
                self._contain(value)
            elif isinstance(value, torch.Generator | random.Random) or hasattr(value, "bit_generator"):
                self.others.append(random_state(value))
            elif isinstance(value, Iterator):
                self.iterators[thing.name] = value, position(value)
            elif hasattr(value, "__dict__"):
                self._contain(vars(value))
        self.seen = len(self.reach.things)

    def keep(self, storage: int) -> None:
        """Copy what lies in a storage that is about to be written to."""
        for held in self.by_storage.get(storage, ()):
            self._copy(held)

    def restore(self) -> list[str]:
        """Put it back; and what could not be, in words."""
        for container, before in self.containers.values():
            put_back(container, before)
        with torch.no_grad():
            for held in self.held.values():
                tensor = held.tensor
                if held.is_leaf and not tensor.is_leaf:
                    tensor.detach_()
                if storage_of(tensor) != storage_of(held.memory) or tensor.shape != held.memory.shape:
                    tensor.data = held.memory
                if held.numbers is not None:
                    held.memory.copy_(held.numbers())
                if tensor.is_leaf and tensor.requires_grad != held.requires_grad:
                    tensor.requires_grad_(held.requires_grad)
                if tensor.is_leaf and tensor.grad is not held.grad:
                    tensor.grad = held.grad
        changed = [held for held in self.held.values() if held.version >= 0 and held.tensor._version != held.version]
        torch._C._autograd._unsafe_set_version_counter(
            tuple(held.tensor for held in changed), tuple(held.version for held in changed)
        )
        for put_back_other in self.others:
            put_back_other()
        moved = [name for name, (iterator, before) in self.iterators.items() if position(iterator) != before]
        return [f"`{name}`, an iterator that the step has moved on" for name in moved if name]

    def _hold(self, tensor: Tensor) -> None:
        if id(tensor) in self.held or tensor.layout is not torch.strided:
            return
        version = -1 if tensor.is_inference() else tensor._version
        grad = tensor.grad if tensor.is_leaf else None
        held = self.held[id(tensor)] = Held(tensor, tensor.data, version, tensor.is_leaf, tensor.requires_grad, grad)
        self.by_storage.setdefault(storage_of(tensor), []).append(held)
        if self.at_once or tensor.numel() <= COPIED_AT_ONCE:
            self._copy(held)
        if grad is not None:
            self._hold(grad)

    def _copy(self, held: Held) -> None:
        """Keep a tensor's numbers: in memory, or in a file once there are many."""
        if held.numbers is not None:
            return
        self.bytes += held.memory.nbytes
        if held.memory.is_meta or self.bytes <= IN_MEMORY or held.memory.nbytes < COPIED_AT_ONCE:
            held.numbers = functools.partial(torch.Tensor.detach, held.memory.clone())
            return
        if not self.folder:
            self.folder = tempfile.mkdtemp()
            weakref.finalize(self, shutil.rmtree, self.folder, True)
        path = os.path.join(self.folder, str(id(held)))
        read = functools.partial(torch.from_file, path, True, held.memory.numel(), dtype=held.memory.dtype)
        read().copy_(held.memory.flatten())
        held.numbers = lambda: read().view(held.memory.shape)

    def _contain(self, container: Any) -> None:
        if id(container) not in self.containers and len(container) <= ITEMS * 100:
            self.containers[id(container)] = container, (dict if isinstance(container, dict) else list)(container)


def put_back(container: Any, before: Any) -> None:
    """A list, dict, set or deque as it was, where it differs."""
    if isinstance(container, dict):
        if list(container) != list(before):
            container.clear()
        for key, value in before.items():
            if key not in container or container[key] is not value:
                container[key] = value
    elif len(container) != len(before) or any(map(operator.is_not, container, before)):
        container.clear()
        (container.update if isinstance(container, set) else container.extend)(before)


def position(iterator: Iterator[Any]) -> Any:
    """Something that changes when an iterator is moved on, as far as that can be seen."""
    if isinstance(iterator, types.GeneratorType):
        frame = iterator.gi_frame
        return None if frame is None else (frame.f_lasti, frame.f_lasti >= 0)
    yielded = getattr(iterator, "_num_yielded", None)
    return operator.length_hint(iterator, -1) if yielded is None else yielded


def storage_of(tensor: Tensor) -> int:
    """Which storage holds a tensor; views share it."""
    return tensor.untyped_storage()._cdata


def random_state(source: Any) -> Callable[[], Any]:
    """What puts a random generator, of Python, NumPy or torch, back to where it is now."""
    for get, put in (("get_state", "set_state"), ("getstate", "setstate")):
        if hasattr(source, get):
            return functools.partial(getattr(source, put), getattr(source, get)())
    return functools.partial(setattr, source.bit_generator, "state", source.bit_generator.state)


def random_sources() -> list[Callable[[], Any]]:
    """What puts the global random generators back to where they are now."""
    devices = torch.cuda.default_generators if torch.cuda.is_initialized() else ()
    numpy = [module.random for module in [sys.modules.get("numpy")] if module is not None]  # the ledger needs none
    return [random_state(source) for source in (random, torch.default_generator, *devices, *numpy)]


@contextlib.contextmanager
def told_of_optimizers(begins: Callable[[Optimizer], None], ends: Callable[[Optimizer], None]) -> Iterator[None]:
    """Call these with every optimizer whose `step` begins or ends inside."""
    with contextlib.ExitStack() as hooks:
        hooks.callback(register_optimizer_step_pre_hook(lambda optimizer, *_: begins(optimizer)).remove)
        hooks.callback(register_optimizer_step_post_hook(lambda optimizer, *_: ends(optimizer)).remove)
        yield


@contextlib.contextmanager
def undone(*objects: Any) -> Iterator[Reach]:
    """Whatever runs inside changes these objects, and all that is behind them; afterwards they are as before."""
    reach = Reach()
    reach.extend((f"arguments[{i}]", value) for i, value in enumerate(objects))
    snapshot = Snapshot(reach, at_once=True)
    try:
        yield reach
    finally:
        snapshot.restore()
