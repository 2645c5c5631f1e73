"""Graphs and gradients: what the graphs behind the named tensors saved for backward, where each tensor came from, and
would backward run? And who put what into each parameter's gradient.

Autograd itself is asked: a node's `_saved_*` attributes raise, with backward's own words, where backward would raise.
Nothing is installed in the graph. (`saved_tensors_hooks` would see every saved tensor, too, but switches off the check
for changes in place.) What was learnt about a node is written into its `metadata`, which lives as long as the node.
Nodes are numbered in the order in which they are made, so that a number says in which line that was.
"""

import bisect
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge
from torch.nn.utils import get_total_norm

from gantutor.ledger.reach import Reach, storage_of
from gantutor.ledger.records import ALIVE, FREED, NO_GRAPH, STALE, Contribution, Link, Place, TensorState

NOTE = "gantutor.ledger"
BEFORE = -1  # the moment of all that happened before the step
SAME_VALUES = re.compile("Mul|Div|Neg|View|Squeeze|Unsqueeze|Reshape|ToCopy|Sub|Rsub|Expand|TBackward").match
ON_LOGITS = ("SoftplusBackward0", "LogSigmoidBackward0", "BinaryCrossEntropyWithLogitsBackward0")
SCALES = ("mul_", "div_", "_foreach_mul_", "_foreach_div_", "_amp_foreach_non_finite_check_and_unscale_")


# One node -------------------------------------------------------------------------------------------------------------


@dataclass
class SavedTensor:
    """A tensor that a node has saved: its storage, how many bytes that has, and the tensor's name if any.

    A single number, such as the 2 in `loss / 2`, counts as no bytes: torch does not always show it to its hooks.
    """

    storage: int
    size: int
    name: str


@dataclass
class Note:
    """What is known of a node: the moment it was made, what it keeps, its state, since when, and for what tensor.

    `changed` is BEFORE where it was freed or changed before the step, None where nobody saw it happen.
    `names` are those of all that it has ever kept.
    """

    made: int
    kept: dict[str, SavedTensor] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    state: str = ALIVE
    changed: int | None = None
    culprit: str = ""
    blame: str = ""  # the node's own name for it
    by: Place | None = None  # the backward that freed it, if it is known


def reachable(roots: Iterable[Node | None]) -> list[Node]:
    """The nodes that a backward from `roots` goes through, each once."""
    stack, seen = [root for root in roots if root is not None], dict[Node, None]()
    while stack:
        node = stack.pop()
        if node not in seen:
            seen[node] = None
            stack += [following for following, _ in node.next_functions if following is not None]
    return list(seen)


@functools.cache
def saved_attributes(kind: type[Node]) -> list[str]:
    """Where a kind of node keeps what it saved; `saved_tensors` is that of an autograd.Function of one's own."""
    return [name for name in dir(kind) if name.startswith("_saved_") or name == "saved_tensors"]


def saved(node: Node) -> tuple[dict[str, Tensor], str, str]:
    """What a node has saved, by attribute; its state; and the attribute that is to blame if that is not ALIVE."""
    found: dict[str, Tensor] = {}
    state, blame = ALIVE, ""
    for name in saved_attributes(type(node)):
        try:
            value = getattr(node, name)
        except RuntimeError as error:
            if "a second time" in str(error):
                return {}, FREED, name
            if "inplace operation" not in str(error):
                raise
            state, blame = STALE, blame or name
            continue
        values = value if isinstance(value, tuple) else (value,)
        found |= {f"{name}.{i}" if i else name: v for i, v in enumerate(values) if isinstance(v, Tensor)}
    return found, state, blame


def leaf(node: Node | None) -> Tensor | None:
    """The leaf into which a node at a graph's end adds the gradient."""
    variable: Tensor | None = getattr(node, "variable", None)
    return variable


def networks_behind(nodes: Iterable[Node], reach: Reach) -> tuple[str, ...]:
    """The networks to whose parameters these nodes lead."""
    found = {reach.owner.get(id(leaf(node))) for node in nodes}
    return tuple(network for network in reach.players if network in found)


def on_the_way(nodes: list[Node], inputs: Iterable[Tensor]) -> set[Node | None]:
    """The nodes that `backward(inputs=...)` goes through: those from which it gets to one of the inputs."""
    leaves = {id(tensor) for tensor in inputs}
    needed = {tensor.grad_fn for tensor in inputs} - {None}
    for node in sorted(nodes, key=lambda node: node._sequence_nr()):  # what a node leads to was made before it
        if any(after in needed or id(leaf(after)) in leaves for after, _ in node.next_functions):
            needed.add(node)
    return needed


def has_double_sigmoid(nodes: Iterable[Node]) -> bool:
    """Whether a loss on logits is given what a sigmoid has made."""
    for node in nodes:
        inner: Node | None = node if node.name() in ON_LOGITS else None
        while inner is not None:
            inner = next((following for following, _ in inner.next_functions if following is not None), None)
            if inner is not None and inner.name() == "SigmoidBackward0":
                return True
            if inner is not None and not SAME_VALUES(inner.name()):
                inner = None
    return False


# Moments --------------------------------------------------------------------------------------------------------------


class Moments:
    """When something happened: the number of lines that had run. A loop repeats the numbers of lines, not these."""

    def __init__(self) -> None:
        self.lines: list[int] = []  # moment -> the line that ran in it
        self.first_nodes: list[int] = []  # moment -> the number of the first node that could be made in it

    @property
    def now(self) -> int:
        return len(self.lines) - 1

    def line(self, moment: int) -> int:
        """The number of the line that ran; 0 before the step."""
        return 0 if moment == BEFORE else self.lines[moment]

    def begin(self, line: int) -> None:
        self.lines.append(line)
        self.first_nodes.append(torch._C._autograd._get_sequence_nr())

    def of(self, node: Node) -> int:
        """When a node was made; BEFORE if that was before the step."""
        return bisect.bisect(self.first_nodes, node._sequence_nr()) - 1


# The named tensors at one moment --------------------------------------------------------------------------------------


class Value(NamedTuple):
    """What a network or, with the name "", `torch.cat` has made, and of what.

    It is without graphs, and kept, so that its memory goes to no other tensor.
    """

    network: str
    inputs: tuple[Tensor, ...]
    output: Tensor


def storages(tensors: Iterable[Tensor], values: Mapping[int, Value]) -> Iterator[int]:
    """The storages of tensors and of those that were joined to make them."""
    for tensor in tensors:
        yield storage_of(tensor)
        value = values.get(storage_of(tensor))
        if value is not None and not value.network:
            yield from storages(value.inputs, values)


def named_tensors(items: Iterable[tuple[str, Any]], depth: int = 2) -> Iterator[tuple[str, Tensor]]:
    """Tensors by name, also those in lists and dicts: `losses['d']`, `fakes[0]`. Parameters belong to networks.

    Of a long list it is the last 40.
    """
    for name, value in items:
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            yield name, value
        elif depth and isinstance(value, Mapping | list | tuple):
            inside = list(value.items() if isinstance(value, Mapping) else enumerate(value))[-40:]
            yield from named_tensors(((f"{name}[{key!r}]", inner) for key, inner in inside), depth - 1)


class Scene:
    """Everything that has a name now. Making one notes in the graphs what has happened to them since the last.

    `inner` says which parameters and buffers of networks lie in a storage. `values` are those that networks have made,
    by storage; `roots` are tensors without a name whose graphs are looked at, too.
    """

    def __init__(
        self,
        reach: Reach,
        tensors: dict[str, Tensor],
        moments: Moments,
        inner: Mapping[int, list[tuple[str, str]]],
        values: Mapping[int, Value],
        roots: Iterable[Tensor] = (),
    ) -> None:
        self.reach, self.tensors, self.moments, self.values = reach, tensors, moments, values
        self.places = {storage_of(tensor): name for name, tensor in reversed(tensors.items())}
        first = {storage: found[0] for storage, found in inner.items()}  # what two networks share is the first one's
        self.names = self.places | {storage: full_name(*each) for storage, each in first.items()}
        self.network_of = {full_name(*each): each[0] for each in first.values()}
        self.graphs = {name: reachable([tensor.grad_fn]) for name, tensor in tensors.items()}
        self.nodes = {node for graph in self.graphs.values() for node in graph}
        self.notes = self.look(self.nodes.union(reachable(root.grad_fn for root in roots)))
        self._tensor_at: dict[tuple[Node | int, int], str] = {}  # which tensor a place in a graph is
        for key, tensor in tensors.items():
            if tensor.requires_grad:
                self._tensor_at.setdefault((tensor.grad_fn or id(tensor), tensor.output_nr), key)

    def look(self, nodes: Iterable[Node], by: Place | None = None) -> dict[Node, Note]:
        """Note what nodes keep, and whether it was freed or changed by now; `by` is the backward that has just run."""
        notes = {}
        for node in nodes:
            metadata: Any = node.metadata  # a dict that lives as long as the node; autograd's use of it is anomaly mode
            fresh = NOTE not in metadata
            note = notes[node] = metadata.setdefault(NOTE, Note(self.moments.of(node)))
            found, state, blame = saved(node)
            for attribute, tensor in found.items():
                before = note.kept.get(attribute)
                name = self.names.get(storage_of(tensor)) or (before.name if before else "")
                size = tensor.untyped_storage().nbytes() if tensor.dim() else 0
                note.kept[attribute] = SavedTensor(storage_of(tensor), size, name)
                note.names |= {name} - {""}
            if state != note.state:
                # One that nobody saw alive was made and spoilt by this line, or spoilt before the step, or who knows.
                unseen = note.made if note.made in (BEFORE, self.moments.now) else None
                note.state, note.changed = state, unseen if fresh else self.moments.now
                note.blame = blame.removeprefix("_saved_")
                note.culprit = note.kept[blame].name if state == STALE and blame in note.kept else ""
            if state == FREED:
                note.kept, note.by = {}, note.by or by
        return notes

    def saved_bytes(self) -> int:
        """What the graphs of the named tensors keep for backward, each storage once, parameters not counted."""
        sizes = {kept.storage: kept.size for node in self.nodes for kept in self.notes[node].kept.values() if kept.size}
        for player in self.reach.players.values():
            for parameter in player.parameters.values():
                sizes.pop(storage_of(parameter), None)
        return sum(sizes.values())

    def failing(self, roots: Iterable[Node | None], inputs: Iterable[Tensor] | None = None) -> Node | None:
        """The node at which `backward` from `roots` would raise. `inputs` are backward's."""
        nodes = reachable(roots)
        broken = {node for node in nodes if self.notes[node].state != ALIVE}
        if broken and inputs is not None:
            broken &= on_the_way(nodes, inputs)
        return max(broken, key=lambda node: node._sequence_nr(), default=None)  # the one made last comes first

    def graph_of(self, node: Node) -> str:
        """The named tensor that `node` helped to make: the one with the smallest graph that holds it."""
        sizes = {name: len(graph) for name, graph in self.graphs.items() if node in graph}
        return min(sizes, key=lambda name: sizes[name], default="")

    def passes(self, nodes: list[Node]) -> tuple[str, ...]:
        """The networks that these nodes belong to or lead to: those whose parameters they keep, frozen ones, too."""
        kept = {name for node in nodes if node in self.notes for name in self.notes[node].names}
        found = {self.network_of[name] for name in kept - set(self.tensors) if name in self.network_of}
        found.update(networks_behind(nodes, self.reach))
        return tuple(network for network in self.reach.players if network in found)

    def name_of(self, tensor: Tensor) -> str:
        """A tensor's name; that of the one it was made from where nothing but its scale is different; or ""."""
        name = next((name for name, other in self.tensors.items() if other is tensor), "")
        name = name or (self.names[storage_of(tensor)] if id(tensor) in self.reach.owner else "")
        if name or tensor.grad_fn is None:
            return name
        segment, sources = self._walk(tensor)
        scaled = all(SAME_VALUES(node.name()) for node in segment)
        return sources[0] if scaled and len(sources) == 1 else ""

    def state(self, name: str) -> TensorState:
        """A tensor's record."""
        tensor, graph = self.tensors[name], self.graphs[name]
        gradient = tensor.grad if tensor.is_leaf else None
        single = tensor.dim() == 0 and not tensor.is_complex() and tensor.device.type != "meta"
        node = self.failing([tensor.grad_fn])
        return TensorState(
            shape=tuple(tensor.shape),
            state=self.notes[node].state if node is not None else ALIVE if graph else NO_GRAPH,
            reaches=networks_behind(graph, self.reach),
            gradient_norm=None if gradient is None else gradient.norm().item(),
            link=self.link(name),
            value=tensor.item() if single else None,
            requires_grad=tensor.requires_grad,
            version=-1 if tensor.is_inference() else tensor._version,
            shares=tuple(n for n, t in self.tensors.items() if n != name and storage_of(t) == storage_of(tensor)),
        )

    def link(self, name: str) -> Link | None:
        """How a tensor was made; None for what comes from outside the step."""
        tensor = self.tensors[name]
        if tensor.grad_fn is not None:
            return self.link_of(tensor, name)
        source, value = self.places[storage_of(tensor)], self.values.get(storage_of(tensor))
        if source != name:
            return Link((), (), (source,), NO_GRAPH)
        if value is None:
            return None
        inputs = dict.fromkeys(self.places[each] for each in storages(value.inputs, self.values) if each in self.places)
        return Link((value.network,) if value.network else (), (), tuple(inputs), NO_GRAPH)

    def link_of(self, tensor: Tensor, name: str = "") -> Link:
        """How a tensor with a graph was made, also one without a name."""
        segment, sources = self._walk(tensor, name)
        value = self.values.get(storage_of(tensor))
        given = set(storages(value.inputs, self.values)) if value is not None else set()
        read = {text for node in segment for text in self.notes[node].names}
        reached = {storage_of(self.tensors[source]) for source in sources} | {storage_of(tensor)}
        places = {key: storage_of(other) for key, other in self.tensors.items()}
        cut = [key for key, at in places.items() if at not in reached and (key in read or at in given)]
        states = [self.notes[node].state for node in segment if self.notes[node].state != ALIVE]
        return Link(self.passes(segment), sources, tuple(cut), states[0] if states else ALIVE)

    def _walk(self, tensor: Tensor, name: str = "") -> tuple[list[Node], tuple[str, ...]]:
        """The nodes that a backward from a tensor meets before it meets other named tensors, and their names."""
        start = tensor.grad_fn
        assert start is not None
        segment, sources, stack = {start: None}, dict[str, None](), [start]
        while stack:
            for node, output in stack.pop().next_functions:
                if node is None:
                    continue
                source = self._tensor_at.get((node, output)) or self._tensor_at.get((id(leaf(node)), 0))
                if source is not None:
                    sources[source] = None
                elif node not in segment:
                    segment[node] = None
                    stack.append(node)
        return list(segment), tuple(key for key in self.tensors if key in sources and key != name)


def full_name(network: str, inner: str) -> str:
    """`D.4.weight` for `4.weight`; the network's name for a parameter that stands alone."""
    return f"{network}.{inner}" if inner else network


# Who put what into a gradient -----------------------------------------------------------------------------------------


class GradientSlot:
    """A parameter's gradient, and the shares that add up to it since it was last cleared.

    A share is the vector that one sender has added, as it arrived, so that shares which cancel are seen, too; None is
    all of the gradient, which is not kept twice. `sender()` is the number of the backward that runs now, or a new one
    for the line that runs now; 0 is what was there before the step.
    """

    def __init__(self, parameter: Tensor, sender: Callable[[], int]) -> None:
        self.parameter, self.sender, self.seen = parameter, sender, parameter.grad
        self.shares: dict[int, Tensor | None] = {} if self.seen is None or not self.seen.any() else {0: None}
        self.arriving = False  # a backward is adding to it
        self.before: Tensor | None = None  # what it was before a write that is no backward's
        self.changes = 0
        self.node = accumulator(parameter)  # kept, or autograd would make a new one
        self.hook = self.node.register_prehook(self._arrives)

    def look(self) -> "GradientSlot":
        """See whether the gradient was cleared, set, or written to, since it was last looked at."""
        gradient = self.parameter.grad
        if not self.arriving and gradient is self.seen and self.before is None:
            return self
        if gradient is None:
            self.shares = {}
        elif not self.arriving and gradient is not self.seen:
            self.shares = {self.sender(): None}
        elif not self.arriving and self.before is not None and (change := gradient.detach() - self.before).any():
            earlier = self.shares.get(self.sender())
            self.shares[self.sender()] = change if earlier is None else earlier + change
        self.seen, self.before, self.arriving = gradient, None, False
        self.changes += 1
        return self

    def written(self, tensor: Tensor, operation: str, arguments: dict[str, Any]) -> None:
        """An operation outside of any backward is about to write to a tensor in the gradient's memory."""
        gradient = self.look().parameter.grad
        if gradient is None or storage_of(gradient) != storage_of(tensor):
            return
        self.changes += 1
        whole = (tensor.data_ptr(), tensor.numel()) == (gradient.data_ptr(), gradient.numel())
        factor = factor_of(operation, arguments) if whole else None
        if factor == 0:
            self.shares = {}
        elif factor is not None:
            self.shares = {n: vector if vector is None else vector * factor for n, vector in self.shares.items()}
        elif self.before is None:
            self.before = gradient.detach().clone()
            self._part()

    def vector(self, share: Tensor | None) -> Tensor:
        """A share as a vector."""
        if share is not None:
            return share
        assert self.parameter.grad is not None
        return self.parameter.grad.detach()

    def _arrives(self, gradients: tuple[Tensor, ...]) -> None:
        """A backward is about to add to the gradient."""
        shares, self.arriving = self.look().shares, gradients[0] is not None
        if self.arriving and (self.parameter.grad is None or not shares):
            self.shares = {self.sender(): None}
        elif self.arriving:
            self._part()
            self.shares[self.sender()] = gradients[0].detach().clone()

    def _part(self) -> None:
        """Keep the share that is all of the gradient apart, since the gradient is about to become something else."""
        self.shares = {n: self.vector(None).clone() if share is None else share for n, share in self.shares.items()}


def accumulator(parameter: Tensor) -> Node:
    """The node at the end of every graph that adds to a parameter's gradient."""
    needed = parameter.requires_grad
    parameter.requires_grad_(True)
    node = get_gradient_edge(parameter).node
    parameter.requires_grad_(needed)
    return node


def factor_of(operation: str, arguments: dict[str, Any]) -> float | None:
    """What an operation multiplies all of a tensor with: a number, 0 where it clears it, None for any other change."""
    if operation in ("zero_", "_foreach_zero_") or (operation == "fill_" and arguments.get("value") == 0):
        return 0.0
    other = [arguments[name] for name in ("other", "scalar", "tensor", "inv_scale") if name in arguments]
    if operation not in SCALES or not other or not (isinstance(other[0], int | float) or other[0].numel() == 1):
        return None
    return 1 / float(other[0]) if "div" in operation else float(other[0])


def arrived(slots: Iterable[GradientSlot], number: int) -> float | None:
    """The norm of what a sender has added to gradients; None where nothing arrived."""
    vectors = [slot.vector(slot.shares[number]) for slot in slots if number in slot.look().shares]
    return get_total_norm(vectors).item() if vectors else None


def contributions(slots: list[GradientSlot], senders: list[tuple[int, str]]) -> tuple[tuple[Contribution, ...], float]:
    """The shares over all parameters, in the order in which they came; and the norm of the gradient."""
    gradients = [slot.parameter.grad for slot in slots if slot.parameter.grad is not None]
    norm = get_total_norm(gradients).item()
    found = []
    for number in sorted({number for slot in slots for number in slot.look().shares}):
        pairs = [(slot.vector(slot.shares[number]), slot.vector(None)) for slot in slots if number in slot.shares]
        product = sum(torch.sum(share * gradient).item() for share, gradient in pairs)
        line, loss = senders[number]
        size = get_total_norm([share for share, _ in pairs]).item()
        found.append(Contribution(line, size, product / norm if norm else 0.0, loss))
    return tuple(found), norm
