"""Where the named tensors of a trace, and the networks between them, stand in a drawing: from left to right, as made.

Columns are whole numbers, rows are whole or halves; up is positive. Data are on the left, losses on the right.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from gantutor.ledger import Link, Trace

INSIDE = 0.26  # how far from its rows an edge still enters a box
NOWHERE = Link((), (), (), "")  # the link of what comes from outside the step
Point = tuple[float, float]
Pair = tuple[str, str]  # source, target
Slot = tuple[str, str]  # what stands in a column: ("tensor", its name), or ("way", the target of edges that pass by)


@dataclass(frozen=True)
class Box:
    """A network where it is used: its column and the rows that it spans."""

    network: str
    column: int
    low: float
    high: float


@dataclass(frozen=True)
class Edge:
    """From tensor `source` to tensor `target`; `before` and `after` are the points on both sides of the networks.

    `boxes` are the places of the networks between, in order; without any, all points are in `before`. A source that
    has no name is "", and then `before` is empty.
    """

    source: str
    target: str
    boxes: tuple[Box, ...]
    before: tuple[Point, ...]
    after: tuple[Point, ...]


class Layout:
    """`at` maps a tensor's name to its (column, row); `edges` and `boxes` are what is drawn between them.

    The tensors are those that have a link in any line of the trace, and those they come from.
    """

    def __init__(self, trace: Trace) -> None:
        self.links, shapes = links_of(trace)
        self.columns, self.starts = columns(self.links, shapes)
        self.slots: dict[int, list[Slot]] = {}
        for name, column in self.columns.items():
            self.slots.setdefault(column, []).append(("tensor", name))
        pairs = [
            (source, target)
            for target, link in self.links.items()
            for source in sources(link, self.columns) or [""] * bool(link.through)
        ]
        self.passed = {pair: self._passed(*pair) for pair in pairs}
        for (_, target), between in self.passed.items():
            for column in between:
                if ("way", target) not in self.slots[column]:  # edges into one target share their way
                    self.slots[column].append(("way", target))
        self.rows = place_rows(self.slots, self.links, self.columns)
        self.at = {name: (column, self.rows[column, ("tensor", name)]) for name, column in self.columns.items()}
        self.width = max(self.columns.values(), default=0) + 1
        self.height = max((len(slots) for slots in self.slots.values()), default=1)
        self.boxes = self._boxes()
        lifted = lifts(pairs, self.at)
        self.edges = [self._edge(source, target, lifted[source, target]) for source, target in pairs]

    def _passed(self, source: str, target: str) -> list[int]:
        """The columns of tensors that an edge passes on its way from the last network, or from its source."""
        through = self.links[target].through
        first = self.starts[target] + len(through) if through else self.columns[source] + 1
        return [column for column in range(first, self.columns[target]) if column in self.slots]

    def _leaves(self, source: str, target: str) -> float:
        """The row in which an edge leaves the last network."""
        between = self.passed[source, target]
        return self.rows[between[0], ("way", target)] if between else self.at[target][1]

    def _boxes(self) -> dict[tuple[str, int], Box]:
        spans: dict[tuple[str, int], list[float]] = {}
        for source, target in self.passed:
            for i, network in enumerate(self.links[target].through):
                span = spans.setdefault((network, self.starts[target] + i), [])
                span += [self._leaves(source, target), *([self.at[source][1]] if source else [])]
        boxes = {(network, column): Box(network, column, min(s), max(s)) for (network, column), s in spans.items()}
        return {place: self._apart(box, boxes.values()) for place, box in boxes.items()}

    def _apart(self, box: Box, boxes: Iterable[Box]) -> Box:
        """A box, but only as high as what leaves it where it would cover another, as two networks with one source."""
        others = [other for other in boxes if other.column == box.column and other.network != box.network]
        if not any(other.low - 1 < box.high and box.low < other.high + 1 for other in others):
            return box
        rows = [
            self._leaves(source, target)
            for source, target in self.passed
            for i, network in enumerate(self.links[target].through)
            if (network, self.starts[target] + i) == (box.network, box.column)
        ]
        return Box(box.network, box.column, min(rows), max(rows))

    def _edge(self, source: str, target: str, lift: float) -> Edge:
        through = self.links[target].through
        boxes = tuple(self.boxes[name, self.starts[target] + i] for i, name in enumerate(through))
        way: list[Point] = [(column, self.rows[column, ("way", target)]) for column in self.passed[source, target]]
        way.append(self.at[target])
        if not boxes:
            return Edge(source, target, (), (self.at[source], *way), ())
        after = ((boxes[-1].column, self._leaves(source, target)), *way)
        if not source:
            return Edge(source, target, boxes, (), after)
        column, row = self.at[source]
        start = row + lift
        enters = min(max(start, boxes[0].low - INSIDE), boxes[0].high + INSIDE)
        return Edge(source, target, boxes, ((column, start), (boxes[0].column, enters)), after)


def links_of(trace: Trace) -> tuple[dict[str, Link], dict[str, tuple[int, ...]]]:
    """The links and the shapes of the tensors that are drawn, in the order in which they came; as of the last line."""
    found: dict[str, Link] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for line in trace.lines:
        for name, state in line.tensors.items():
            found[name] = state.link or found.get(name, NOWHERE)
            shapes[name] = state.shape
    used = {name for link in found.values() for name in (*link.made_from, *link.cut_from)}
    return {name: link for name, link in found.items() if link is not NOWHERE or name in used}, shapes


def sources(link: Link, placed: Collection[str]) -> list[str]:
    """The tensors that one was made from; of those not placed yet, as in `x = f(x)`, none."""
    return [name for name in (*link.made_from, *link.cut_from) if name in placed]


def columns(links: Mapping[str, Link], shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, int], dict[str, int]]:
    """The columns of the tensors, and those of the first networks before them.

    A tensor stands right of all that it is made from, but as near to its first use as it can; single numbers that
    nothing is made from, the losses, stand at the end.
    """
    found: dict[str, int] = {}
    uses: dict[str, list[str]] = {name: [] for name in links}
    for name, link in links.items():
        for source in sources(link, found):
            uses[source].append(name)
        first = 0 if link.through else -1  # a network that is given nothing with a name leaves a column to the data
        found[name] = max((found[source] for source in sources(link, found)), default=first) + 1 + len(link.through)
    for name in reversed(found):
        if uses[name]:
            found[name] = min(found[user] - len(links[user].through) for user in uses[name]) - 1
    starts = {name: column - len(links[name].through) for name, column in found.items()}
    last = max(found.values(), default=0)
    return {name: last if shapes[name] == () and not uses[name] else found[name] for name in found}, starts


def place_rows(
    slots: Mapping[int, list[Slot]], links: Mapping[str, Link], columns: Mapping[str, int]
) -> dict[tuple[int, Slot], float]:
    """Each column's slots one below the other, in the order of what they come from; a lone one beside what it makes."""
    found: dict[tuple[int, Slot], float] = {}

    def mean(names: list[str], otherwise: float) -> float:
        places = [
            found[columns[name], ("tensor", name)] for name in names if (columns[name], ("tensor", name)) in found
        ]
        return sum(places) / len(places) if places else otherwise

    for column in sorted(slots):
        top = float(len(slots[column]))  # for what comes from outside
        ordered = sorted(slots[column], key=lambda slot: -mean(sources(links[slot[1]], columns), top))
        found |= {(column, slot): (len(ordered) - 1) / 2 - i for i, slot in enumerate(ordered)}
    for column in sorted(slots, reverse=True):
        if len(slots[column]) == 1:
            (slot,) = slots[column]
            makes = [name for name, link in links.items() if slot[1] in sources(link, columns)]
            found[column, slot] = mean(makes, found[column, slot])
    return found


def lifts(pairs: list[Pair], at: Mapping[str, tuple[int, float]]) -> dict[Pair, float]:
    """How far above its source's middle an edge leaves, so that several from one source stay apart."""
    found: dict[Pair, float] = {}
    for source in dict.fromkeys(source for source, _ in pairs):
        targets = sorted((target for s, target in pairs if s == source), key=lambda target: -at[target][1])
        middle, apart = (len(targets) - 1) / 2, 0.26 / max(1, len(targets) - 1)
        found |= {(source, target): (middle - i) * apart for i, target in enumerate(targets)}
    return found
