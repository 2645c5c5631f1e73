"""What the ledger writes down. Plain records: norms are L2, sizes are bytes, times are milliseconds."""

import html
from dataclasses import dataclass, field
from typing import Any, TypeVar

ALIVE = "alive"  # backward would run
FREED = "freed"  # backward would raise "a second time": an earlier backward has freed what the graph saved
STALE = "stale"  # backward would raise "modified by an inplace operation": a saved tensor was changed since
NO_GRAPH = "no graph"  # nothing to go back through: detached, made under no_grad, or a leaf


class Shown:
    """Something that shows itself as a table with lines of text above and below, as text and as HTML."""

    def _start(self) -> list[str]:
        return []

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        raise NotImplementedError

    def _end(self) -> list[str]:
        return []

    def __str__(self) -> str:
        return "\n".join([*self._start(), table(*self._cells()), *self._end()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        start, end = (
            "".join(f"<div style='white-space:pre-line'>{html.escape(text)}</div>" for text in texts)
            for texts in (self._start(), self._end())
        )
        return start + html_table(*self._cells()) + end


# What a line did ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A statement: its line, how it reads, and the function that it stands in, "" for the step itself."""

    line: int
    text: str
    function: str = ""

    def __str__(self) -> str:
        inside = f" of `{self.function}`" if self.function else ""
        return f"{self.line}{inside}, `{self.text}`,"


@dataclass(frozen=True)
class Call:
    """A forward of a network, or of a part of it that is called apart.

    Args:
        network: its name.
        place: the innermost statement of the user's code that called it.
        training: whether it was in training mode.
        layers: how many BatchNorm and Dropout layers it has.
        grad: whether autograd was on.
        frozen: whether none of its parameters requires a gradient.
        inputs: the names of the tensors that it was given, also where they were detached or joined for it.
    """

    network: str
    place: Place
    training: bool
    layers: int
    grad: bool
    frozen: bool
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backward:
    """A call of `backward`, or of `autograd.grad`.

    Args:
        place: the innermost statement of the user's code that called it.
        losses: the names of the tensors that it starts from; how the code writes them where they have no name.
        values: their values, None for what is not a single number.
        arrived: the norm of what it added to `.grad`, by network; a network that it did not reach is absent.
        create_graph: as it was called.
        inputs: the names of `inputs=`, None without.
        is_grad: whether this is `autograd.grad`, which leaves nothing in a network.
        reaches: the networks to whose parameters its graph leads, asked for or not.
        passes: the networks that its graph goes through, also frozen ones.
        mixed: for a graph with a weight that has moved since, which autograd has not seen: where the graph was made,
            where the weight moved, and how that was hidden: "autocast", "data" or the name of a fused optimizer.
        double_sigmoid: whether a loss on logits in its graph is given what a sigmoid has made.
        raised: whether it raised.
        links: how those that have no name were made, and the state of their graphs after it; None for the others.
        number: tells it from the others of the step, in their order; from 1 on.
    """

    place: Place
    losses: tuple[str, ...]
    values: tuple[float | None, ...]
    arrived: dict[str, float]
    create_graph: bool
    inputs: tuple[str, ...] | None
    is_grad: bool
    reaches: tuple[str, ...]
    passes: tuple[str, ...] = ()
    mixed: tuple[Place, Place, str] | None = None
    double_sigmoid: bool = False
    raised: bool = False
    links: "tuple[Link | None, ...]" = ()
    number: int = 0


@dataclass(frozen=True)
class OptimizerStep:
    """A call of an optimizer's `step`.

    Args:
        optimizer: its name.
        place: the innermost statement of the user's code that called it.
        holds: how many parameters of each network it holds.
        moved: the networks of which it changed a parameter.
        shares: the numbers of the backwards whose shares made up the gradients that it was given, by network; 0 is what
            was there before the step, and other numbers are lines that wrote to gradients themselves.
        skipped: whether a GradScaler has left it out, as gradients were infinite.
        first: whether the optimizer had no state, as before its first step.
    """

    optimizer: str
    place: Place
    holds: dict[str, int]
    moved: tuple[str, ...]
    shares: dict[str, tuple[int, ...]]
    skipped: bool = False
    first: bool = False


@dataclass(frozen=True)
class Cut:
    """Where the way back to a network ends.

    Args:
        place: the innermost statement of the user's code that did it.
        how: "detach", "data", "item", "numpy", "argmax", "round", "grad without create_graph", or another operation
            through which no gradient goes.
        tensor: the name of the tensor that was cut, "" if it had none.
        behind: the networks to which its graph led.
    """

    place: Place
    how: str
    tensor: str
    behind: tuple[str, ...]


@dataclass(frozen=True)
class Write:
    """A change in place: of a named tensor, or of a network's parameter or buffer (`D.4.weight`).

    `optimizer` is the one that did it, "" for none.
    """

    place: Place
    tensor: str
    optimizer: str


@dataclass(frozen=True)
class Clear:
    """A call of `zero_grad`, of an optimizer or a module, with the networks of which it clears parameters."""

    place: Place
    networks: tuple[str, ...]


EventKind = TypeVar("EventKind")
Event = Call | Backward | OptimizerStep | Cut | Write | Clear


@dataclass(frozen=True)
class Failure:
    """Why a backward raises: the part of the graph behind `graph_of`, made at `made`, is FREED or STALE.

    `place` is the backward; `culprit` is the tensor that was changed, "" if it has no name; `by` is who freed or
    changed it, None where that was before the step (`before_step`) or is unknown; `made` is None for a graph from
    before the step. `write` is the change, if it is known; `inside` is the network that made that part of the graph,
    "" for none.
    """

    kind: str
    place: Place
    graph_of: str
    made: Place | None
    culprit: str
    by: Place | None
    write: Write | None = None
    before_step: bool = False
    inside: str = ""

    def __str__(self) -> str:
        made = f"a graph made on line {self.made.line}" if self.made else "a graph from before the step"
        graph = f"the graph of `{self.graph_of}`" if self.graph_of else made
        by = "the same line" if self.by == self.place else f"line {self.by}"
        if self.by is None:
            by = "something before the step" if self.before_step else "something that has no line here"
        start = f"Line {self.place} goes back through {graph}"
        if self.kind == FREED:
            return f"{start}, but {by} has gone through it before and freed what it had saved."
        unnamed = f"a tensor inside `{self.inside}`" if self.inside else "a tensor inside"
        tensor = f"`{self.culprit}`" if self.culprit else unnamed
        when = f"on line {self.made.line}" if self.made else "before the step"
        return f"{start}, which needs {tensor} as it was {when}, but {by} has changed it in place since."


@dataclass(frozen=True)
class NonFinite:
    """The first NaN or infinity: where, in which tensor, and what that is: "tensor", "gradient" or "weights"."""

    place: Place
    tensor: str
    kind: str


@dataclass(frozen=True)
class Kept:
    """A graph that outlives its turn: a tensor in a container that grew in the step.

    `tensor` is its name (`losses[0]`), `container` that of the list or dict, `place` where it was put there.
    """

    tensor: str
    container: str
    place: Place


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a step.

    Args:
        line: the number of the line.
        what: what is wrong.
        why: why that is wrong.
        fix: the corrected line.
        kind: the kind of mistake in a few words, the same for all of a kind ("freed graph").
    """

    line: int
    what: str
    why: str
    fix: str
    kind: str

    def __str__(self) -> str:
        return f"Line {self.line}: {self.what} {self.why}\n  Write: {self.fix}"


# What is true after a line --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contribution:
    """A share of a network's gradient: the line that added it, and how large it is.

    Shares are vectors, so their norms do not add up to the gradient's norm. What adds up is how far each share goes
    along the gradient that the shares make together: `along` is negative for a share that points against it.

    Args:
        line: the line that added it; 0 is what was there before the step. A line may have several shares, one for each
            backward that it ran.
        norm: the share's own L2 norm.
        along: share · gradient / ‖gradient‖; the sum over a network's shares is the gradient's norm.
        loss: the loss whose backward added it; "" for a change that no backward has made.
    """

    line: int
    norm: float
    along: float
    loss: str = ""


@dataclass(frozen=True)
class BatchNormState:
    """A BatchNorm layer: its name in the network, the batches it has counted, its running mean and variance."""

    name: str
    batches: int
    mean: tuple[float, ...]
    var: tuple[float, ...]


@dataclass(frozen=True)
class NetworkState:
    """A network after a line.

    `with_gradient` of its `parameters` (tensors, not numbers) hold a gradient, of norm `gradient_norm`;
    `contributions` says who put it there since it was last cleared. `versions` are autograd's counters of changes in
    place, by parameter; `changed` is whether the line changed a parameter's values, which some ways of writing do
    behind autograd's back. `training` is its mode; `frozen` is whether no parameter requires a gradient.
    """

    parameters: int
    with_gradient: int
    gradient_norm: float
    contributions: tuple[Contribution, ...]
    versions: dict[str, int]
    changed: bool
    batchnorms: tuple[BatchNormState, ...]
    training: bool = True
    frozen: bool = False


@dataclass(frozen=True)
class Link:
    """How a named tensor was made from the named tensors before it.

    Its backward goes `through` these networks and on to the tensors in `made_from`. Of those in `cut_from` it was made,
    too, but no gradient gets there: they were detached, or are data. `state` is that of this part of the graph.
    Values that are not kept for backward leave no trace, so that `cut_from` may miss some.
    """

    through: tuple[str, ...]
    made_from: tuple[str, ...]
    cut_from: tuple[str, ...]
    state: str


@dataclass(frozen=True)
class TensorState:
    """A named tensor after a line, and the graph behind it: would `backward()` of this tensor run?

    `state` is "alive", "freed", "stale" or "no graph"; `reaches` are the networks in whose parameters its backward
    would leave a gradient.
    `gradient_norm` is for a leaf that holds a gradient; `link` says where the tensor comes from, None for from outside.
    `value` is that of a single number. `version` counts its changes in place, and `shares` are the names of the tensors
    that lie in the same memory.
    """

    shape: tuple[int, ...]
    state: str
    reaches: tuple[str, ...] = ()
    gradient_norm: float | None = None
    link: Link | None = None
    value: float | None = None
    requires_grad: bool = False
    version: int = 0
    shares: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A statement that was executed, and all that was true after it.

    `number` and `last` are its first and last line in its file or cell, `text` is the statement without its comment.
    `tensors` are the local ones and those in the model's attributes, by name (`fake`, `losses['d']`). `events` are what
    it did, in order; what a function did that it called is the line's, too.
    `saved_bytes` is what the graphs of these tensors hold for backward, in bytes, parameters not counted;
    `flops` counts from the step's start, a multiplication and an addition as two; `milliseconds` is this line's time,
    under observation.
    """

    number: int
    last: int
    text: str
    networks: dict[str, NetworkState]
    tensors: dict[str, TensorState]
    saved_bytes: int
    flops: int
    milliseconds: float
    events: tuple[Event, ...] = ()

    @property
    def place(self) -> Place:
        return Place(self.number, self.text)

    def of(self, kind: type[EventKind]) -> tuple[EventKind, ...]:
        """The events of a kind: `line.of(Backward)`."""
        return tuple(event for event in self.events if isinstance(event, kind))


@dataclass(repr=False)
class Trace(Shown):
    """A step, statement by statement, in the order of execution.

    `source` is its text, whose first line has the number `first_line`, and `docstring` the numbers of the lines of its
    docstring. `arguments` are its parameters by name, `before` are the networks at its start, and `optimizers` the
    networks that each optimizer holds, with the number of their parameters.
    If it raised, `error` is the exception, `lines[-1]` is the line that raised, as it left things, and `diagnosis`
    explains autograd's two famous errors in a sentence; `failure` is the same as a record. `result` is what it gave.
    `findings` are the mistakes found. `unwatched` says what a backward or an optimizer has touched that is not in the
    table; `not_put_back` what the trace could not undo; `stopped` why it ended early, "" if it did not.
    `kept` are the graphs in containers that grew, `nonfinite` is the first NaN or infinity.
    """

    name: str
    source: str
    first_line: int
    docstring: range
    arguments: tuple[str, ...]
    before: dict[str, NetworkState] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()
    result: Any = None
    error: Exception | None = None
    diagnosis: str = ""
    failure: Failure | None = None
    optimizers: dict[str, dict[str, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unwatched: tuple[str, ...] = ()
    not_put_back: tuple[str, ...] = ()
    stopped: str = ""
    kept: tuple[Kept, ...] = ()
    nonfinite: NonFinite | None = None

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        names = list(self.before)
        rows = [
            [
                str(line.number),
                line.text,
                *[shares(line.networks[name]) for name in names],
                count(line.saved_bytes, "B"),
                count(line.flops),
            ]
            for line in self.lines
        ]
        return ["line", self.name, *[f"gradient in {name}" for name in names], "saved", "FLOPs"], rows

    def _start(self) -> list[str]:
        return [*self.unwatched, *map(str, self.findings)]

    def _end(self) -> list[str]:
        error = [] if self.error is None else [f"{type(self.error).__name__}: {self.diagnosis or self.error}"]
        skipped = [
            f"Line {step.place} was left out: the GradScaler has found an infinite gradient, and lowers its scale."
            for line in self.lines
            for step in line.of(OptimizerStep)
            if step.skipped
        ]
        undone = f"Not put back: {'; '.join(self.not_put_back)}." if self.not_put_back else ""
        return [*error, *skipped, *filter(None, (self.stopped, undone))]


# As text --------------------------------------------------------------------------------------------------------------


def shares(state: NetworkState) -> str:
    """`0.25 (line 41) and 0.1 (line 46), together 0.31`: the norms of vectors, which do not add."""
    if not state.with_gradient:
        return "-"
    return together([f"{part.norm:.2g} (line {part.line})" for part in state.contributions], state.gradient_norm)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Columns set flush left, two blanks apart."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    return "\n".join(line.rstrip() for line in lines)


def html_table(header: list[str], rows: list[list[str]]) -> str:
    """The same for a notebook; every cell is escaped."""
    head = "".join(f"<th scope='col' style='text-align:left'>{html.escape(cell)}</th>" for cell in header)
    body = [
        "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def count(number: float, unit: str = "") -> str:
    """`1.22 G`, `350 k`, `12`: three digits and a power of 1000."""
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * factor:  # else 999,700 would be rounded to 1e+03 k
            return f"{number / factor:.3g} {letter}{unit}"
    return f"{number:.3g} {unit}".strip()


def together(shares: list[str], norm: float) -> str:
    """`0.25 (line 41) and 0.1 (line 46), together 0.31`: vectors, so that `norm` is not the sum of their norms."""
    if not shares:
        return f"{norm:.2g}"
    return " and ".join(shares) + (f", together {norm:.2g}" if len(shares) > 1 else "")
