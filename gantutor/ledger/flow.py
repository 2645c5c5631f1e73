"""Where a named tensor comes from: the named tensors and the networks before it, and whether a gradient gets back."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn
from torch.autograd.graph import Node

from gantutor.ledger.graph import Note, leaf
from gantutor.ledger.records import ALIVE, NO_GRAPH, Link


def link(
    name: str,
    tensors: Mapping[str, Tensor],
    notes: Mapping[Node, Note],
    owner: Mapping[int, str],
    values: Mapping[int, "Value"],
) -> Link | None:
    """How `tensors[name]` was made; None for what comes from outside the step.

    `notes` are those of the nodes, `owner` the networks by the id of their parameters, `values` as `Values` has them.
    """
    tensor = tensors[name]
    places = {storage(other): key for key, other in reversed(list(tensors.items()))}
    if tensor.grad_fn is None:
        value = values.get(storage(tensor))
        if value is not None:
            inputs = [places[storage(each)] for each in value.inputs if storage(each) in places]
            return Link((value.network,), (), tuple(dict.fromkeys(inputs)), NO_GRAPH)
        source = places[storage(tensor)]
        shared = storage(tensor) and source != name  # all empty tensors are at 0
        return Link((), (), (source,), NO_GRAPH) if shared else None

    segment, sources = walk(name, tensors)
    read = {text for node in segment for text in notes[node].names}
    found = {owner[id(leaf(node))] for node in segment if id(leaf(node)) in owner}
    found |= {text.partition(".")[0] for text in read if text not in tensors}  # `D.0.weight`
    through = tuple(network for network in dict.fromkeys(owner.values()) if network in found)
    reached = {storage(tensors[source]) for source in sources} | {storage(tensor)}
    cut = [key for key in tensors if key in read and storage(tensors[key]) not in reached]
    states = [notes[node].state for node in segment if notes[node].state != ALIVE]
    return Link(through, sources, tuple(cut), states[0] if states else ALIVE)


def walk(name: str, tensors: Mapping[str, Tensor]) -> tuple[list[Node], tuple[str, ...]]:
    """The nodes that a backward from `tensors[name]` meets before it meets other named tensors, and their names."""
    named: dict[tuple[Node | int, int], str] = {}
    for key, tensor in tensors.items():
        if tensor.grad_fn is not None:
            named.setdefault((tensor.grad_fn, tensor.output_nr), key)
        elif tensor.requires_grad:
            named.setdefault((id(tensor), 0), key)
    start = tensors[name].grad_fn
    assert start is not None
    segment, sources, stack = {start: None}, dict[str, None](), [start]
    while stack:
        for node, output in stack.pop().next_functions:
            if node is None:
                continue
            source = named.get((node, output)) or named.get((id(leaf(node)), 0))
            if source is not None:
                sources[source] = None
            elif node not in segment:
                segment[node] = None
                stack.append(node)
    return list(segment), tuple(key for key in tensors if key in sources and key != name)


class Value(NamedTuple):
    """What a network has made without a graph, and of what; kept, so that their memory goes to no other tensor."""

    network: str
    inputs: tuple[Tensor, ...]
    output: Tensor


class Values(dict[int, Value]):
    """The values that networks have returned under `no_grad`, by place: no graph tells where those came from."""

    @contextmanager
    def watch(self, networks: Mapping[str, nn.Module]) -> Iterator[None]:
        hooks = [network.register_forward_hook(self._hook(name)) for name, network in networks.items()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def keep(_: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            if isinstance(output, Tensor) and output.grad_fn is None:
                self[storage(output)] = Value(name, tuple(x for x in inputs if isinstance(x, Tensor)), output)

        return keep


def storage(tensor: Tensor) -> int:
    """Where a tensor's memory begins; views share it."""
    return tensor.untyped_storage().data_ptr()
