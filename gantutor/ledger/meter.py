"""Operations by network and direction."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from gantutor.ledger.flops import FlopCounter
from gantutor.ledger.graph import leaf, memory
from gantutor.ledger.scene import named_tensors

CLAIMED = "gantutor.meter"


@dataclass(frozen=True)
class NetworkCost:
    """A network's share of a step, in calls and in floating-point operations.

    `forwards` are calls of the network; `backwards` are how often a backward went through what such a call made.
    A whole backward costs two forwards, one for the weights' gradients and one for the inputs'; where it costs less,
    one of them was not asked for.
    """

    forwards: int
    backwards: int
    forward_flops: int
    backward_flops: int


@dataclass
class Open:
    """A forward under way: the operations and the claims before it, and the operations of networks inside it."""

    flops: int
    claims: int
    inner: int = 0


class Meter:
    """Counts what runs inside it. Hooks on a network mark where its forward begins and ends, and claim the nodes it
    made; hooks on a node mark what backward does in it. What a claimed node makes, in a backward with
    `create_graph=True`, is claimed, too. Hooks change neither values nor gradients.
    """

    def __init__(self, networks: dict[str, nn.Module]) -> None:
        self.networks = networks
        self.counter = FlopCounter()
        self.forward = dict.fromkeys(networks, 0)
        self.backward = dict.fromkeys(networks, 0)
        self.calls: dict[str, list[list[int]]] = {name: [] for name in networks}  # runs of each output's node, by call
        self.open: list[Open] = []  # forwards under way
        self.started = self.claims = 0

    def __enter__(self) -> Self:
        self.counter.__enter__()
        self.hooks = [
            hook
            for name, network in self.networks.items()
            for hook in (
                network.register_forward_pre_hook(self._begin),
                network.register_forward_hook(self._end(name)),
            )
        ]
        return self

    def __exit__(self, *error: Any) -> None:
        self.counter.__exit__(*error)
        for hook in self.hooks:
            hook.remove()

    @property
    def flops(self) -> int:
        """All operations so far."""
        return self.counter.total

    def shares(self) -> dict[str, NetworkCost]:
        """The networks' shares so far."""
        return {
            name: NetworkCost(
                forwards=len(calls),
                backwards=sum(max(runs, default=0) for runs in calls),
                forward_flops=self.forward[name],
                backward_flops=self.backward[name],
            )
            for name, calls in self.calls.items()
        }

    def _begin(self, *_: Any) -> None:
        self.open.append(Open(self.flops, self.claims))

    def _end(self, name: str) -> Callable[..., None]:
        def hook(network: nn.Module, inputs: Any, outputs: Any) -> None:
            this = self.open.pop()
            spent = self.flops - this.flops
            self.forward[name] += spent - this.inner
            if self.open:
                self.open[-1].inner += spent
            ends, begins = (
                {tensor.grad_fn for _, tensor in named_tensors([("", tensors)])} for tensors in (outputs, inputs)
            )
            self._claim(name, ends, begins, this.claims)
            runs: list[int] = []
            for node in ends - begins:
                if node is not None:
                    node.register_prehook(functools.partial(add_one, runs, len(runs)))
                    runs.append(0)
            self.calls[name].append(runs)

        return hook

    def _claim(self, name: str, ends: set[Node | None], begins: set[Node | None], since: int) -> None:
        """Watch the nodes from `ends` back to `begins`, which are not meant themselves.

        Nodes that were claimed before keep their owner, and end the way if that was the claim `since` or earlier.
        """
        self.claims += 1
        claim = self.claims

        def before(gradients: Any) -> None:
            self.started = self.flops

        def after(given: tuple[Tensor | None, ...], received: tuple[Tensor | None, ...]) -> None:
            self.backward[name] += self.flops - self.started
            if torch.is_grad_enabled():
                new, old = ({t.grad_fn for t in tensors if t is not None} for tensors in (given, received))
                self._claim(name, new, old, self.claims)

        stack, seen = list(ends), set(begins)
        while stack:
            node = stack.pop()
            if node is None or node in seen or leaf(node) is not None:
                continue
            seen.add(node)
            owned = memory(node).setdefault(CLAIMED, claim)
            if owned == claim:
                node.register_prehook(before)
                node.register_hook(after)
            if owned > since:
                stack += [following for following, _ in node.next_functions]


def add_one(runs: list[int], i: int, *_: Any) -> None:
    """A hook: one run more."""
    runs[i] += 1
