"""Where things stand in a drawing: in columns from left to right as they are made, without overlap, in CSS pixels.

Every edge that passes a column has a place of its own there, as a tensor has, so that it crosses no box.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import accumulate, combinations, pairwise
from statistics import fmean as mean

GAP, APART, BESIDE, PASSAGE = 26, 14, 32, 12  # between columns, boxes, the uses of a network; an edge's place
MARGIN = 4
SWEEPS = 8

Pair = tuple[str, str]


@dataclass(frozen=True)
class Box:
    """A rectangle, of an item or a group: its left upper corner, width and height."""

    name: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Layout:
    """The boxes, the points of each edge, and the size of the whole.

    A box has its item as key, that of a group its name and column: "D 3". Of the points of an edge, every other stretch
    crosses a column, in a straight line; those between lead from one column to the next.
    """

    boxes: dict[str, Box]
    edges: dict[Pair, list[tuple[int, int]]]
    width: int
    height: int


def lay_out(
    sizes: Mapping[str, tuple[int, int]], pairs: Iterable[Pair], groups: Mapping[str, str], last: Collection[str]
) -> Layout:
    """Place items.

    Args:
        sizes: the width and height of each item, in the order in which they came.
        pairs: the edges; those that would close a circle are left out.
        groups: the group of an item, if it has one. The items of a group that stand in one column share a box.
        last: what stands in the last column.
    """
    pairs = without_circles(pairs)
    columns = place_columns(list(sizes), pairs, groups, last)
    ways = {(a, b): [a, *(f"{a} {b} {c}" for c in range(columns[a] + 1, columns[b])), b] for a, b in pairs}
    for way in ways.values():
        columns |= {name: columns[way[0]] + i for i, name in enumerate(way)}
    steps = dict.fromkeys(step for way in ways.values() for step in pairwise(way))
    slots: list[list[str]] = [[] for _ in range(max(columns.values(), default=0) + 1)]
    for name, column in columns.items():
        slots[column].append(name)
    slots = [slot for slot in slots if slot]
    height = {name: sizes[name][1] if name in sizes else PASSAGE for name in columns}
    middles = place_rows(slots, steps, height, groups)

    boxes: dict[str, Box] = {}
    box_of: dict[str, str] = {}
    sides: dict[str, tuple[int, int]] = {}  # of the column that something stands in
    left, top = MARGIN, min((middles[name] - height[name] / 2 for name in columns), default=0.0) - MARGIN
    for number, slot in enumerate(slots):
        width = max((sizes[name][0] for name in slot if name in sizes), default=0)
        sides |= dict.fromkeys(slot, (left, left + width))
        for name in (name for name in slot if name in sizes):
            wide, high = sizes[name]
            group = groups.get(name, "")
            box = Box(group or name, left + (width - wide) // 2, round(middles[name] - high / 2 - top), wide, high)
            box_of[name] = f"{group} {number}" if group else name
            boxes[box_of[name]] = around(boxes.get(box_of[name], box), box)
        left += width + GAP
    edges: dict[Pair, list[tuple[int, int]]] = {}
    for (a, b), way in ways.items():
        begin, end = boxes[box_of[a]], boxes[box_of[b]]
        points = [(x, round(middles[name] - top)) for name in way for x in sides[name]]
        points[0], points[-1] = (begin.x + begin.width, points[0][1]), (end.x, points[-1][1])
        edges[a, b] = points
    bottom = max((middles[name] + height[name] / 2 for name in columns), default=top) - top
    return Layout(boxes, edges, max(left - GAP, 0) + MARGIN, round(bottom) + MARGIN)


def around(a: Box, b: Box) -> Box:
    """The smallest box that holds both."""
    x, y = min(a.x, b.x), min(a.y, b.y)
    return Box(a.name, x, y, max(a.x + a.width, b.x + b.width) - x, max(a.y + a.height, b.y + b.height) - y)


def without_circles(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs without those that would close a circle, as in `x = f(x)`."""
    after: dict[str, set[str]] = {}

    def leads(start: str, end: str) -> bool:
        return start == end or any(leads(name, end) for name in after.get(start, ()))

    for a, b in dict.fromkeys(pairs):
        if not leads(b, a):
            after.setdefault(a, set()).add(b)
    return [(a, b) for a, b in dict.fromkeys(pairs) if b in after.get(a, ())]


def place_columns(
    names: list[str], pairs: list[Pair], groups: Mapping[str, str], last: Collection[str]
) -> dict[str, int]:
    """Right of all that it is made from; what begins a way, next to its use; a group's items together."""
    before: dict[str, list[str]] = {name: [] for name in names}
    after: dict[str, list[str]] = {name: [] for name in names}
    for a, b in pairs:
        before[b].append(a)
        after[a].append(b)
    order = list(TopologicalSorter(before).static_order())
    pinned: dict[str, int] = {}

    def forward() -> dict[str, int]:
        found: dict[str, int] = {}
        for name in order:
            first = 1 if name in groups else 0  # something without a name comes before it
            found[name] = max([pinned.get(name, first), *(found[each] + 1 for each in before[name])])
        return found

    earliest = forward()
    end = max(earliest.values(), default=0)
    latest: dict[str, int] = {}
    for name in reversed(order):
        latest[name] = min([end, *(latest[each] - 1 for each in after[name])])
    for group in dict.fromkeys(groups.values()):
        items = [name for name in names if groups.get(name) == group]
        together = max(earliest[name] for name in items)
        pinned |= {name: together for name in items if latest[name] >= together}
    found = forward()
    end = max(found.values(), default=0)
    for name in reversed(order):
        if after[name] and not before[name]:
            found[name] = min(found[each] for each in after[name]) - 1
    return {name: end if name in last and not after[name] else column for name, column in found.items()}


def place_rows(
    slots: list[list[str]], steps: Collection[Pair], height: Mapping[str, float], groups: Mapping[str, str]
) -> dict[str, float]:
    """The middle of each item, near to what it is made from and makes: of many tries the one that crosses least."""
    before: dict[str, list[str]] = {name: [] for name in height}
    after: dict[str, list[str]] = {name: [] for name in height}
    for a, b in steps:
        before[b].append(a)
        after[a].append(b)
    tries = []
    for turned in (1, -1):
        found = {name: 60.0 * i for slot in slots for i, name in enumerate(slot[::turned])}
        for sweep in range(SWEEPS):
            for slot in slots[::-1] if sweep % 2 else slots:
                near = {name: [*before[name], *(after[name] if sweep else ())] for name in slot}
                wanted = {name: mean([found[each] for each in near[name]] or [found[name]]) for name in slot}
                together: dict[str, list[float]] = {}
                for name in slot:
                    together.setdefault(groups.get(name, name), []).append(wanted[name])
                keys = {
                    name: (mean(together[groups.get(name, name)]), groups.get(name, name), wanted[name])
                    for name in slot
                }
                order = sorted(slot, key=keys.__getitem__)
                apart = [
                    BESIDE if groups.get(a, a) == groups.get(b, b) else (height[a] + height[b]) / 2 + APART
                    for a, b in pairwise(order)
                ]
                found |= zip(order, spread([wanted[name] for name in order], apart), strict=True)
            tries.append((crossings(steps, found, slots), sum(abs(found[a] - found[b]) for a, b in steps), dict(found)))
    return min(tries, key=lambda each: each[:2])[2]


def crossings(steps: Collection[Pair], middles: Mapping[str, float], slots: list[list[str]]) -> int:
    """How often edges cross between two columns."""
    column = {name: i for i, slot in enumerate(slots) for name in slot}
    return sum(
        (middles[a] - middles[c]) * (middles[b] - middles[d]) < 0
        for (a, b), (c, d) in combinations(steps, 2)
        if column[a] == column[c]
    )


def spread(wanted: list[float], apart: list[float]) -> list[float]:
    """The places nearest to the wanted ones, in the sense of least squares, that keep their order and distances."""
    blocks: list[tuple[float, int]] = []  # the mean of some that touch each other, and how many they are
    offsets = list(accumulate(apart, initial=0.0))
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, more = blocks.pop()
            mean, count = (mean * count + other * more) / (count + more), count + more
        blocks.append((mean, count))
    flat = [mean for mean, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(flat, offsets, strict=True)]
