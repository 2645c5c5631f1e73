"""The named tensors at one moment, and the graphs behind them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

from gantutor.ledger.flow import Value, link, storage
from gantutor.ledger.graph import execution_order, leaf, look, on_the_way, reachable, saved_bytes
from gantutor.ledger.records import ALIVE, NO_GRAPH, TensorState


def named_tensors(items: Iterable[tuple[str, Any]], depth: int = 2) -> Iterator[tuple[str, Tensor]]:
    """Tensors by name, also those in lists and dicts: `losses['d']`, `fakes[0]`. Parameters belong to networks."""
    for name, value in items:
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            yield name, value
        elif depth and isinstance(value, Mapping):
            yield from named_tensors(((f"{name}[{key!r}]", inner) for key, inner in value.items()), depth - 1)
        elif depth and isinstance(value, list | tuple):
            yield from named_tensors(((f"{name}[{i}]", inner) for i, inner in enumerate(value)), depth - 1)


class Scene:
    """Everything that has a name at a moment. Making one notes in the graphs what has happened to them since the last.

    `roots` are tensors without a name whose graphs are looked at, too. Moments are counted by the caller.
    """

    def __init__(
        self, networks: dict[str, nn.Module], tensors: dict[str, Tensor], moment: int, roots: Iterable[Tensor] = ()
    ) -> None:
        self.tensors = tensors
        self.owner = {id(p): name for name, network in networks.items() for p in network.parameters()}
        self.parameters = {
            storage(p): n for net in networks for n, p in prefixed(net, networks[net].named_parameters())
        }
        buffers = {storage(b): n for net in networks for n, b in prefixed(net, networks[net].named_buffers())}
        others = {storage(tensor): name for name, tensor in reversed(tensors.items())}
        self.graphs = {name: reachable([tensor.grad_fn]) for name, tensor in tensors.items()}
        nodes = {node for graph in self.graphs.values() for node in graph}
        nodes |= set(reachable(root.grad_fn for root in roots))
        self.notes = look(nodes, others | buffers | self.parameters, moment)

    def saved_bytes(self) -> int:
        """What the graphs of the named tensors keep for backward, parameters not counted."""
        nodes = {node for graph in self.graphs.values() for node in graph}
        return saved_bytes((self.notes[node] for node in nodes), set(self.parameters))

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

    def state(self, name: str, numbers: Mapping[int, int], values: Mapping[int, Value]) -> TensorState:
        """A tensor's record. `numbers` are the numbers of the lines by moment, `values` those that have no graph."""
        tensor, graph = self.tensors[name], self.graphs[name]
        before = link(name, self.tensors, self.notes, self.owner, values)
        gradient = tensor.grad if tensor.is_leaf else None
        norm = None if gradient is None else gradient.norm().item()
        shape = tuple(tensor.shape)
        if not graph:
            return TensorState(shape, NO_GRAPH, gradient_norm=norm, link=before)
        owners = {self.owner.get(id(leaf(node))) for node in graph}
        reaches = tuple(owner for owner in dict.fromkeys(self.owner.values()) if owner in owners)
        node = self.failing([tensor.grad_fn])
        if node is None:
            return TensorState(shape, ALIVE, reaches, link=before)
        note = self.notes[node]
        culprit = note.culprit or self.graph_of(node)
        return TensorState(shape, note.state, reaches, culprit, numbers[note.changed], link=before)


def prefixed(network: str, named: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """`D.4.weight` for `4.weight`."""
    return ((f"{network}.{name}", tensor) for name, tensor in named)
