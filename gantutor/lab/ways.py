"""How the tensors of a trace were made: the edges of the debugger's drawing, and where a graph is cut.

Items of the drawing are tensors, by name, and the uses of networks: "D(logits_fake)" is D where it makes logits_fake.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from gantutor.lab.layout import Pair
from gantutor.ledger import NO_GRAPH, Line, Link, TensorState, Trace
from gantutor.ledger.records import Backward, Call, Cut

WRITTEN = {"data": "data", "grad without create_graph": "grad()", "": "no_grad"}  # how a cut is written, if not `how()`


@dataclass(frozen=True)
class Made:
    """How a tensor was made: its link, the pairs that an edge joins, and how the graph is cut at some of them.

    `position` is how many lines had run then.
    """

    link: Link
    position: int
    pairs: list[Pair] = field(default_factory=list)
    cuts: dict[Pair, str] = field(default_factory=dict)


class Ways:
    """What has been made, by position, in `history`; what will be, in `future`.

    `networks` are those of the items that are uses of one; `labels` how items read that are no variable: what
    `fake.detach()` gave, a loss without a name.
    """

    def __init__(self, trace: Trace) -> None:
        self.networks: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.history: list[dict[str, Made]] = [{}]
        before = trace.lines[0].tensors
        for line in trace.lines:
            self.history.append(self._after(line, before))
            before = line.tensors
        self.future: dict[str, Made] = {}
        for made in self.history:
            self.future = {**made, **self.future}

    def _after(self, line: Line, before: Mapping[str, TensorState]) -> dict[str, Made]:
        """What has been made after a line; `before` are the tensors of before it."""
        found = {name: state.link for name, state in line.tensors.items() if state.link and not twin(name, line)}
        fresh = [name for name, state in line.tensors.items() if name not in before and state.link is None]
        cuts = line.of(Cut)
        if len(fresh) == 1 and cuts:  # such as `x = 2 * fake.detach()`
            source = cuts[-1].tensor
            found[fresh[0]] = Link(() if source else cuts[-1].behind, (), (source,) if source else (), NO_GRAPH)
        for event in line.of(Backward):
            unnamed = {text: link for text, link in zip(event.losses, event.links, strict=False) if link is not None}
            found |= unnamed
            self.labels |= {text: without_owners(text) for text in unnamed}
        made = dict(self.history[-1])
        new = [name for name, link in found.items() if name not in made or alike(made[name].link) != alike(link)]
        shared = [network for name in new for network in found[name].through]
        for name, link in found.items():
            made[name] = self._made(name, link, line, shared) if name in new else replace(made[name], link=link)
        return made

    def _made(self, name: str, link: Link, line: Line, shared: list[str]) -> Made:
        """From the sources of a tensor through networks, beside each other or one after the other, to the tensor.

        `shared` are the networks that the line's new tensors went through, once for each.
        """
        made, ends, given = Made(link, len(self.history)), list[str](), dict[str, list[str]]()
        sources, calls = [*link.made_from, *link.cut_from], line.of(Call)
        last = {call.network: i for i, call in enumerate(calls)}
        for network in sorted(link.through, key=lambda network: last.get(network, -1)):
            mine = [call.inputs for call in calls if call.network == network]
            fit = [names for names in mine if shared.count(network) == 1 or set(names) <= set(sources)]
            given[network] = [source for names in fit for source in names]
        rest = [source for source in sources if not any(source in inputs for inputs in given.values())]
        for network, inputs in given.items():
            item = f"{network}({name})"
            self.networks[item] = network
            if not inputs and not ends:  # what it was given had no name
                inputs, rest = rest or [cut.tensor for cut in line.of(Cut) if cut.tensor], []
            if not inputs:
                made.pairs.extend((end, item) for end in ends)
                ends = []
            for source in dict.fromkeys(inputs):
                self._join(made, source, item, line)
            ends.append(item)
        for source in rest:
            self._join(made, source, name, line)
        made.pairs.extend((end, name) for end in ends)
        if link.state == NO_GRAPH:
            made.cuts.update({(end, name): written(next(iter(line.of(Cut)), None)) for end in ends})
        return made

    def _join(self, made: Made, source: str, target: str, line: Line) -> None:
        """An edge from a source; where a network was given `source.detach()`, over an item that stands for that."""
        state = line.tensors.get(source)
        if source not in made.link.made_from and state is not None and state.state != NO_GRAPH:
            cut = next((cut for cut in line.of(Cut) if cut.tensor == source), None)
            end = target
            if cut is not None and target in self.networks:
                end = f"{cut.place.function}({source})" if cut.place.function else f"{source}.{written(cut)}"
                self.labels[end] = end
                made.pairs.append((end, target))
            made.cuts[source, end] = written(cut)
            target = end
        made.pairs.append((source, target))

    def kind(self, name: str, position: int, tensors: Mapping[str, TensorState]) -> str:
        """What is behind an item that is no network: its graph's state, NO_GRAPH, "data"; "" where it is not made."""
        made = self.history[position]
        if name in tensors:
            return "data" if tensors[name].state == NO_GRAPH and name not in made else tensors[name].state
        if name in made and name in self.labels:  # a loss without a name
            return made[name].link.state
        there = name in self.labels and any(name in pair for each in made.values() for pair in each.pairs)
        return NO_GRAPH if there else ""

    def edge(self, name: str, pair: Pair, made: Made, position: int) -> str:
        """What an edge on the way to a tensor is: its graph's state, NO_GRAPH, "data"; "" where it is not made."""
        a, _ = pair
        if name not in self.history[position]:
            return ""
        if pair in made.cuts or (a in self.labels and a not in self.history[position]):
            return NO_GRAPH
        return made.link.state if a in self.networks or a in made.link.made_from else "data"

    def way_back(self, losses: Iterable[str], ends: Collection[str], position: int) -> list[Pair]:
        """The pairs on the ways that gradients take from losses to the ends, or through them."""
        into: dict[str, dict[str, None]] = {}
        for target, made in self.history[position].items():
            for a, b in made.pairs:
                if (a, b) not in made.cuts and (b != target or a in self.networks or a in made.link.made_from):
                    into.setdefault(b, {})[a] = None
        found: list[Pair] = []
        arrives: dict[str, bool] = {}

        def visit(item: str) -> bool:
            if item not in arrives:
                arrives[item] = False
                back = [before for before in into.get(item, ()) if visit(before)]
                found.extend((before, item) for before in back)
                arrives[item] = bool(back) or item in ends
            return arrives[item]

        for loss in losses:
            visit(loss)
        return found

    def stops(self, flow: Mapping[Pair, str], position: int) -> dict[Pair, str]:
        """The cuts at which gradients stop that flow along these pairs; and the colours, as in `flow`."""
        made = self.history[position].values()
        after = [pair for each in made for pair in each.pairs]
        on_way = {item: colour for ends, colour in flow.items() for item in ends}
        found: dict[Pair, str] = {}
        for cut in [pair for each in made for pair in each.cuts]:
            colours = [on_way[b] for b in (cut[1], *(b for a, b in after if a == cut[1])) if b in on_way]
            found.update((cut, colour) for colour in colours[:1])
        return found


def twin(name: str, line: Line) -> bool:
    """Whether a tensor has another name before this one, as `losses['d']`."""
    names = list(line.tensors)
    earlier = [each for each in line.tensors[name].shares if names.index(each) < names.index(name)]
    return any(line.tensors[each].link == line.tensors[name].link for each in earlier)


def alike(link: Link) -> tuple[object, ...]:
    """What two links have in common that are drawn in one way."""
    return link.through, link.made_from, link.cut_from, link.state == NO_GRAPH


def written(cut: Cut | None) -> str:
    """How a cut is written: `detach()`."""
    how = cut.how if cut else ""
    return WRITTEN.get(how, f"{how}()")


def without_owners(expression: str) -> str:
    """`model.lambda_gan * g_loss` → `lambda_gan * g_loss`."""
    return re.sub(r"\b[A-Za-z_]\w*\.(?=[A-Za-z_])", "", expression)
