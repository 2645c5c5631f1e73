"""The graphs behind the named tensors: what they saved for backward, where each came from, and would backward run?

Autograd itself is asked: a node's `_saved_*` attributes raise, with backward's own words, where backward would raise.
Nothing is installed in the graph. (`saved_tensors_hooks` would see every saved tensor, too, but switches off the check
for changes in place.) What was learnt about a node is written into its `metadata`, which lives as long as the node.
Nodes are numbered in the order in which they are made, so that a number says in which line that was.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.autograd.graph import Node

from gantutor.ledger.reach import Player, storage_of
from gantutor.ledger.records import ALIVE, FREED, NO_GRAPH, STALE, Link, Place, TensorState

NOTE = "gantutor.ledger"
BEFORE = -1  # the moment of all that happened before the step
SAME_VALUES = (
    "Mul",
    "Div",
    "Neg",
    "View",
    "Squeeze",
    "Unsqueeze",
    "Reshape",
    "ToCopy",
    "Sub",
    "Rsub",
    "Expand",
    "TBackward",
)
ON_LOGITS = ("SoftplusBackward0", "LogSigmoidBackward0", "BinaryCrossEntropyWithLogitsBackward0")


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
    storage: int = 0  # of the culprit
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


def look(
    nodes: Iterable[Node],
    names: Mapping[int, str],
    moment: int,
    made: Callable[[Node], int],
    by: Place | None = None,
) -> dict[Node, Note]:
    """Note what nodes keep, and whether it was freed or changed by now.

    `names` are tensors' names by storage; `made` is the moment in which a node was made; `by` is what has just run.
    """
    notes = {}
    for node in nodes:
        found, state, blame = saved(node)
        note = memory(node).get(NOTE)
        fresh = note is None
        if note is None:
            note = memory(node)[NOTE] = Note(made(node))
        for attribute, tensor in found.items():
            before = note.kept.get(attribute)
            name = names.get(storage_of(tensor)) or (before.name if before else "")
            note.kept[attribute] = SavedTensor(
                storage_of(tensor), tensor.untyped_storage().nbytes() if tensor.dim() else 0, name
            )
            note.names |= {name} - {""}
        if state != note.state:
            # One that nobody saw alive was made and spoilt by this line, or spoilt before the step, or who knows when.
            unseen = note.made if note.made in (BEFORE, moment) else None
            note.state, note.changed = state, unseen if fresh else moment
            note.blame = blame.removeprefix("_saved_")
            if state == STALE and blame in note.kept:
                note.culprit, note.storage = note.kept[blame].name, note.kept[blame].storage
        if state == FREED:
            note.kept, note.by = {}, note.by or by
        notes[node] = note
    return notes


def saved_bytes(notes: Iterable[Note], not_counted: set[int]) -> int:
    """The bytes that nodes keep for backward: every storage once, without those in `not_counted`."""
    kept = {kept.storage: kept.size for note in notes for kept in note.kept.values() if kept.size}
    return sum(size for storage, size in kept.items() if storage not in not_counted)


def execution_order(nodes: Iterable[Node]) -> list[Node]:
    """`nodes` in the order of a backward through them: the one made last comes first. It decides what raises."""
    return sorted(nodes, key=lambda node: -node._sequence_nr())


def memory(node: Node) -> dict[str, Any]:
    """A dict that lives as long as the node; autograd's own use of it is anomaly mode's."""
    metadata: Any = node.metadata
    return metadata


def leaf(node: Node | None) -> Tensor | None:
    """The leaf into which a node at a graph's end adds the gradient."""
    variable: Tensor | None = getattr(node, "variable", None)
    return variable


def on_the_way(nodes: list[Node], inputs: Iterable[Tensor]) -> set[Node]:
    """The nodes that `backward(inputs=...)` goes through: those from which it gets to one of the inputs."""
    leaves = {id(tensor) for tensor in inputs}
    made = {tensor.grad_fn for tensor in inputs if tensor.grad_fn is not None}
    before: dict[Node, list[Node]] = {}
    for node in nodes:
        for after, _ in node.next_functions:
            if after is not None:
                before.setdefault(after, []).append(node)
    needed = {node for node in nodes if id(leaf(node)) in leaves}
    stack = [*needed, *made]
    while stack:
        fresh = set(before.get(stack.pop(), [])) - needed
        needed |= fresh
        stack += fresh
    return needed


def has_double_sigmoid(nodes: Iterable[Node]) -> bool:
    """Whether a loss on logits is given what a sigmoid has made."""
    for node in nodes:
        inner: Node | None = node if node.name() in ON_LOGITS else None
        while inner is not None:
            inner = next((following for following, _ in inner.next_functions if following is not None), None)
            if inner is not None and inner.name() == "SigmoidBackward0":
                return True
            if inner is not None and not inner.name().startswith(SAME_VALUES):
                inner = None
    return False


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
        elif depth and isinstance(value, Mapping):
            yield from named_tensors(
                ((f"{name}[{key!r}]", inner) for key, inner in list(value.items())[-40:]), depth - 1
            )
        elif depth and isinstance(value, list | tuple):
            first = max(0, len(value) - 40)
            yield from named_tensors(((f"{name}[{i}]", value[i]) for i in range(first, len(value))), depth - 1)


class Scene:
    """Everything that has a name at a moment. Making one notes in the graphs what has happened to them since the last.

    `roots` are tensors without a name whose graphs are looked at, too; `values` are those that networks have made,
    by storage; `made` says in which moment a node was made. Moments are counted by the caller.
    """

    def __init__(
        self,
        players: Mapping[str, Player],
        tensors: dict[str, Tensor],
        moment: int,
        made: Callable[[Node], int],
        roots: Iterable[Tensor] = (),
        values: Mapping[int, Value] | None = None,
    ) -> None:
        self.players, self.tensors, self.values = players, tensors, values or {}
        self.owner: dict[int, str] = {}  # by the id of a parameter; of a shared one, the first network that has it
        self.parameters: dict[int, str] = {}  # by storage
        others = {storage_of(tensor): name for name, tensor in reversed(tensors.items())}
        self.network_of: dict[str, str] = {}  # by the whole name of a parameter or a buffer
        for network, player in players.items():
            for inner, parameter in player.parameters.items():
                self.owner.setdefault(id(parameter), network)
                self.parameters.setdefault(storage_of(parameter), full_name(network, inner))
                self.network_of[full_name(network, inner)] = self.owner[id(parameter)]
            for inner, buffer in player.buffers.items():
                others[storage_of(buffer)] = full_name(network, inner)
                self.network_of[full_name(network, inner)] = network
        self.names = others | self.parameters
        self.graphs = {name: reachable([tensor.grad_fn]) for name, tensor in tensors.items()}
        nodes = {node for graph in self.graphs.values() for node in graph}
        nodes |= set(reachable(root.grad_fn for root in roots))
        self.moment, self.made = moment, made
        self.notes = look(nodes, self.names, moment, made)
        self._nodes: dict[tuple[Node | int, int], str] = {}  # which tensor a place in a graph is
        for key, tensor in tensors.items():
            if tensor.grad_fn is not None:
                self._nodes.setdefault((tensor.grad_fn, tensor.output_nr), key)
            elif tensor.requires_grad:
                self._nodes.setdefault((id(tensor), 0), key)

    def saved_bytes(self) -> int:
        """What the graphs of the named tensors keep for backward, parameters not counted."""
        nodes = {node for graph in self.graphs.values() for node in graph}
        return saved_bytes((self.notes[node] for node in nodes), set(self.parameters))

    def look_again(self, nodes: Iterable[Node], by: Place) -> None:
        """See what a backward through these nodes has freed."""
        look(nodes, self.names, self.moment, self.made, by)

    @staticmethod
    def behind(players: Mapping[str, Player], tensor: Tensor) -> tuple[str, ...]:
        """The networks to whose parameters a tensor's graph leads."""
        leaves = {id(leaf(node)) for node in reachable([tensor.grad_fn])}
        return tuple(n for n, player in players.items() if any(id(p) in leaves for p in player.parameters.values()))

    def failing(self, roots: Iterable[Node | None], inputs: Iterable[Tensor] | None = None) -> Node | None:
        """The node at which `backward` from `roots` would raise. `inputs` are backward's."""
        nodes = reachable(roots)
        broken = [node for node in nodes if self.notes[node].state != ALIVE]
        if broken and inputs is not None:
            needed = on_the_way(nodes, inputs)
            broken = [node for node in broken if node in needed]
        return next(iter(execution_order(broken)), None)

    def graph_of(self, node: Node) -> str:
        """The named tensor that `node` helped to make: the one with the smallest graph that holds it."""
        sizes = {name: len(graph) for name, graph in self.graphs.items() if node in graph}
        return min(sizes, key=lambda name: sizes[name], default="")

    def reaches(self, nodes: Iterable[Node]) -> tuple[str, ...]:
        """The networks to whose parameters these nodes lead."""
        found = {self.owner.get(id(leaf(node))) for node in nodes}
        return tuple(network for network in self.players if network in found)

    def passes(self, nodes: Iterable[Node]) -> tuple[str, ...]:
        """The networks that these nodes belong to or lead to: those whose parameters they keep, frozen ones, too."""
        nodes = list(nodes)
        kept = {
            name for node in nodes if node in self.notes for name in self.notes[node].names if name not in self.tensors
        }
        found = {self.network_of[name] for name in kept if name in self.network_of} | set(self.reaches(nodes))
        return tuple(network for network in self.players if network in found)

    def name_of(self, tensor: Tensor) -> str:
        """A tensor's name; that of the one it was made from where nothing but its scale is different; or ""."""
        name = next((name for name, other in self.tensors.items() if other is tensor), "")
        name = name or (self.names[storage_of(tensor)] if id(tensor) in self.owner else "")
        if name or tensor.grad_fn is None:
            return name
        segment, sources = self._walk(tensor)
        scaled = all(node.name().startswith(SAME_VALUES) for node in segment)
        return sources[0] if scaled and len(sources) == 1 else ""

    def state(self, name: str, numbers: Mapping[int, int]) -> TensorState:
        """A tensor's record. `numbers` are the numbers of the lines by moment."""
        tensor, graph = self.tensors[name], self.graphs[name]
        gradient = tensor.grad if tensor.is_leaf else None
        norm = None if gradient is None else gradient.norm().item()
        single = tensor.dim() == 0 and not tensor.is_complex() and tensor.device.type != "meta"
        node = self.failing([tensor.grad_fn])
        note = self.notes[node] if node is not None else None
        line = None if note is None or note.changed is None else numbers.get(note.changed, 0)
        return TensorState(
            shape=tuple(tensor.shape),
            state=note.state if note is not None else ALIVE if graph else NO_GRAPH,
            reaches=self.reaches(graph),
            culprit=note.culprit or self.graph_of(node) if note is not None and node is not None else "",
            culprit_line=line,
            gradient_norm=norm,
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
        places = {storage_of(other): key for key, other in reversed(self.tensors.items())}
        source, value = places[storage_of(tensor)], self.values.get(storage_of(tensor))
        if source != name:
            return Link((), (), (source,), NO_GRAPH)
        if value is None:
            return None
        inputs = dict.fromkeys(places[each] for each in storages(value.inputs, self.values) if each in places)
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
                source = self._nodes.get((node, output)) or self._nodes.get((id(leaf(node)), 0))
                if source is not None:
                    sources[source] = None
                elif node not in segment:
                    segment[node] = None
                    stack.append(node)
        return list(segment), tuple(key for key in self.tensors if key in sources and key != name)


def full_name(network: str, inner: str) -> str:
    """`D.4.weight` for `4.weight`; the network's name for a parameter that stands alone."""
    return f"{network}.{inner}" if inner else network
