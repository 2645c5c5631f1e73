"""What the ledger writes down. Plain records: norms are L2, sizes are bytes, times are milliseconds."""

import html
from dataclasses import dataclass
from typing import Any

from gantutor.ledger.text import count, html_table, table, together

ALIVE = "alive"  # backward would run
FREED = "freed"  # backward would raise "a second time": an earlier backward has freed what the graph saved
STALE = "stale"  # backward would raise "modified by an inplace operation": a saved tensor was changed since
NO_GRAPH = "no graph"  # nothing to go back through: detached, made under no_grad, or a leaf


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
    """

    line: int
    norm: float
    along: float


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
    behind autograd's back.
    """

    parameters: int
    with_gradient: int
    gradient_norm: float
    contributions: tuple[Contribution, ...]
    versions: dict[str, int]
    changed: bool
    batchnorms: tuple[BatchNormState, ...]


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
    would leave a gradient. For "freed" and "stale", `culprit` is the tensor of whose graph that part is, or that was
    changed, as far as it has a name, and `culprit_line` is the line that freed or changed it.
    `gradient_norm` is for a leaf that holds a gradient; `link` says where the tensor comes from, None for from outside.
    """

    shape: tuple[int, ...]
    state: str
    reaches: tuple[str, ...] = ()
    culprit: str = ""
    culprit_line: int | None = None
    gradient_norm: float | None = None
    link: Link | None = None


@dataclass(frozen=True)
class Line:
    """A statement that was executed, and all that was true after it.

    `number` and `last` are its first and last line in its file or cell, `text` is the statement without its comment.
    `tensors` are the local ones and those in the model's attributes, by name (`fake`, `losses['d']`); `backwards` are
    the names of those whose `backward()` the line has called.
    `saved_bytes` is what the graphs of these tensors hold for backward, in bytes, parameters not counted;
    `flops` counts from the step's start, a multiplication and an addition as two; `milliseconds` is this line's time.
    """

    number: int
    last: int
    text: str
    networks: dict[str, NetworkState]
    tensors: dict[str, TensorState]
    saved_bytes: int
    flops: int
    milliseconds: float
    backwards: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """A step, statement by statement, in the order of execution.

    `source` is its text, whose first line has the number `first_line`, and `docstring` the numbers of the lines of its
    docstring. `arguments` are its parameters by name, `before` are the networks at its start.
    If it raised, `error` is the exception, `lines[-1]` is the line that raised, as it left things, and `diagnosis`
    explains autograd's two famous errors in a sentence. `model` is the copy that the step ran on, `result` what it
    returned.
    """

    name: str
    source: str
    first_line: int
    docstring: range
    arguments: tuple[str, ...]
    before: dict[str, NetworkState]
    lines: tuple[Line, ...]
    result: Any
    model: Any
    error: Exception | None = None
    diagnosis: str = ""

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        names = list(self.before)
        rows = [
            [
                str(line.number),
                line.text,
                *[shares(line.networks[name]) for name in names],
                count(line.saved_bytes, "B"),
                count(line.flops),
                f"{line.milliseconds:.1f}",
            ]
            for line in self.lines
        ]
        return ["line", self.name, *[f"gradient in {name}" for name in names], "saved", "FLOPs", "ms"], rows

    def _end(self) -> str:
        return "" if self.error is None else f"{type(self.error).__name__}: {self.diagnosis or self.error}"

    def __str__(self) -> str:
        return f"{table(*self._cells())}\n{self._end()}".rstrip()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"{html_table(*self._cells())}<div>{html.escape(self._end())}</div>"


def shares(state: NetworkState) -> str:
    """`0.25 (line 41) and 0.1 (line 46), together 0.31`: the norms of vectors, which do not add."""
    if not state.with_gradient:
        return "-"
    return together([f"{part.norm:.2g} (line {part.line})" for part in state.contributions], state.gradient_norm)
