"""The graph behind a tensor: what it saved for backward, and whether backward would run.

Autograd itself is asked: a node's `_saved_*` attributes raise, with backward's own words, where backward would raise.
Nothing is installed in the graph. (`saved_tensors_hooks` would see every saved tensor, too, but switches off the check
for changes in place.) What was learnt about a node is written into its `metadata`, which lives as long as the node.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node

from gantutor.ledger.records import ALIVE, FREED, STALE

NOTE = "gantutor.ledger"


@dataclass
class Kept:
    """A tensor that a node has saved: where its storage is, how many bytes that has, and the tensor's name if any.

    A single number, such as the 2 in `loss / 2`, counts as no bytes: torch does not always show it to its hooks.
    """

    storage: int
    size: int
    name: str


@dataclass
class Note:
    """What is known of a node: the moment it was made, what it keeps, its state, since when, and for what tensor.

    `names` are those of all that it has ever kept.
    """

    made: int
    kept: dict[str, Kept] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    state: str = ALIVE
    changed: int = 0
    culprit: str = ""


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


def look(nodes: Iterable[Node], names: Mapping[int, str], moment: int) -> dict[Node, Note]:
    """Note what nodes keep, and whether it was freed or changed by now. `names` are tensors' names by storage."""
    notes = {}
    for node in nodes:
        found, state, blame = saved(node)
        note = memory(node).setdefault(NOTE, Note(moment))
        for attribute, tensor in found.items():
            storage = tensor.untyped_storage()
            before = note.kept.get(attribute)
            name = names.get(storage.data_ptr()) or (before.name if before else "")
            note.kept[attribute] = Kept(storage.data_ptr(), storage.nbytes() if tensor.dim() else 0, name)
            note.names |= {name} - {""}
        if state != note.state:
            note.state, note.changed = state, moment
            note.culprit = note.kept[blame].name if state == STALE and blame in note.kept else ""
        if state == FREED:
            note.kept = {}
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


def leaf(node: Node) -> Tensor | None:
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
