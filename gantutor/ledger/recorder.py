"""What is true after each statement of a step, written down."""

from collections.abc import Iterator
from types import FrameType
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from gantutor.ledger.diagnosis import Failure, Place, explain
from gantutor.ledger.flops import FlopCounter
from gantutor.ledger.flow import Values
from gantutor.ledger.gradients import GradientLedger, same
from gantutor.ledger.records import BatchNormState, Line, NetworkState
from gantutor.ledger.scene import Scene, named_tensors
from gantutor.ledger.source import Source
from gantutor.model_state import attributes, networks


class Recorder:
    """Writes a Line after each statement. A moment is the number of lines before it: a loop repeats line numbers."""

    def __init__(self, source: Source, model: Any, counter: FlopCounter) -> None:
        self.source, self.model, self.counter = source, model, counter
        self.networks = networks(model)
        self.gradients = {name: GradientLedger(network) for name, network in self.networks.items()}
        self.weights = {name: [p.detach().clone() for p in net.parameters()] for name, net in self.networks.items()}
        self.before = {name: self._network(name) for name in self.networks}
        self.lines: list[Line] = []
        self.values = Values()
        self.backwards: list[str] = []  # called by the statement that runs now
        self.numbers: dict[int, int] = {}  # moment -> line number
        self.failure: Failure | None = None  # why the backward that was called last will raise, if it will

    def after(self, number: int, frame: FrameType, milliseconds: float) -> None:
        """Write down a statement that is done and took so long."""
        scene = self._look(number, frame)
        self.lines.append(
            Line(
                number=number,
                last=self.source.last_line(number),
                text=self.source.statement_text(number),
                networks={name: self._network(name) for name in self.networks},
                tensors={name: scene.state(name, self.numbers, self.values) for name in scene.tensors},
                saved_bytes=scene.saved_bytes(),
                flops=self.counter.total,
                milliseconds=milliseconds,
                backwards=tuple(self.backwards),
            )
        )
        self.backwards.clear()

    def before_backward(self, number: int, frame: FrameType, call: FrameType) -> None:
        """Foresee what `torch.autograd.backward` or `grad` will raise; `call` is its frame."""
        arguments = call.f_locals
        roots, inputs = tensors_in(arguments.get("tensors", arguments.get("outputs"))), tensors_in(arguments["inputs"])
        scene = self._look(number, frame, roots)
        if "tensors" in arguments:  # `grad` leaves nothing in a network
            names = {id(tensor): name for name, tensor in reversed(scene.tensors.items())}
            self.backwards += [names[id(root)] for root in roots if id(root) in names]
        node = scene.failing([root.grad_fn for root in roots], inputs or None)
        self.failure = None
        if node is not None:
            note = scene.notes[node]
            made, by = self._place(note.made), self._place(note.changed)
            self.failure = Failure(note.state, scene.graph_of(node), made, note.culprit, by)

    def diagnosis(self, error: Exception | None) -> str:
        """A sentence on what made the last line raise, if it was one of autograd's two famous errors."""
        if error is None or self.failure is None:
            return ""
        return explain(self.failure, error, self._place(len(self.lines) - 1))

    def _look(self, number: int, frame: FrameType, roots: list[Tensor] | None = None) -> Scene:
        moment = len(self.lines)
        self.numbers[moment] = number
        for ledger in self.gradients.values():
            ledger.look(number)
        local_names = frame.f_locals
        model = next((name for name, value in local_names.items() if value is self.model), "model")
        inside = ((f"{model}.{name}", value) for name, value in attributes(self.model).items())
        return Scene(self.networks, dict(named_tensors([*local_names.items(), *inside])), moment, roots or ())

    def _place(self, moment: int) -> Place:
        return Place(self.numbers[moment], self.source.statement_text(self.numbers[moment]))

    def _network(self, name: str) -> NetworkState:
        network, ledger, weights = self.networks[name], self.gradients[name], self.weights[name]
        parameters = dict(network.named_parameters())
        changed = [i for i, p in enumerate(parameters.values()) if not same(p.detach(), weights[i])]
        for i, parameter in enumerate(parameters.values()):
            if i in changed:
                weights[i] = parameter.detach().clone()
        return NetworkState(
            parameters=len(parameters),
            with_gradient=sum(p.grad is not None for p in parameters.values()),
            gradient_norm=ledger.norm(),
            contributions=ledger.contributions(),
            versions={name: p._version for name, p in parameters.items()},
            changed=bool(changed),
            batchnorms=tuple(batchnorms(network)),
        )


def tensors_in(value: Any) -> list[Tensor]:
    """A tensor or those of a sequence; an iterator is left alone, since it can be used only once."""
    values = value if isinstance(value, list | tuple) else [value]
    return [tensor for tensor in values if isinstance(tensor, Tensor)]


def batchnorms(network: nn.Module) -> Iterator[BatchNormState]:
    """The counters and statistics of a network's BatchNorm layers."""
    for name, module in network.named_modules():
        if isinstance(module, _NormBase) and module.num_batches_tracked is not None:
            mean, var = (() if t is None else tuple(t.tolist()) for t in (module.running_mean, module.running_var))
            yield BatchNormState(name, int(module.num_batches_tracked), mean, var)
