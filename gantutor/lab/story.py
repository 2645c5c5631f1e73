"""What the debugger shows of a trace at each line, as data: the drawing, the tables, and in words what happened.

Items of the drawing are tensors, by name, and the uses of networks: "D(logits_fake)" is D where it makes logits_fake.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gantutor.lab.layout import Layout, Pair, lay_out
from gantutor.lab.messages import say
from gantutor.ledger import FREED, NO_GRAPH, Line, Link, NetworkState, TensorState, Trace
from gantutor.ledger.records import Backward, Call, Clear, Contribution, Cut, OptimizerStep, count, together

MOST_USES = 6  # of networks in one drawing; where there are more, it shows what the line touches
MOST_SHARES = 6  # of a network's gradient; of more, the last
HIGH, NETWORK, LETTER = 36, 46, 6.6  # CSS pixels: the heights of a tensor and a network, the width of a letter
WRITTEN = {"data": "data", "grad without create_graph": "grad()", "": "no_grad"}  # how a cut is written, if not `how()`
Sender = tuple[int, str]  # a line and the loss that it sends back


@dataclass
class Made:
    """How a tensor was made: its link, the pairs that an edge joins, and how the graph is cut at some of them.

    `line` is the position at which that was.
    """

    link: Link
    line: int
    pairs: list[Pair] = field(default_factory=list)
    cuts: dict[Pair, str] = field(default_factory=dict)


class Story:
    """A trace, made ready to be described."""

    def __init__(self, trace: Trace, title: str) -> None:
        self.trace, self.title = trace, title
        self.networks: dict[str, str] = {}  # by item
        self.labels: dict[str, str] = {}  # of what is no variable: `fake.detach()`, a loss without a name
        self.history: list[dict[str, Made]] = [{}]  # what has been made, by position
        for position, line in enumerate(trace.lines, 1):
            self.history.append({**self.history[-1], **self._made(position, line)})
        self.future: dict[str, Made] = {}
        for made in self.history:
            self.future = {**made, **self.future}
        self.folds = len(self.networks) > MOST_USES
        self.losses: dict[Sender, str] = {}  # as they are written
        self.colours = self._colours()
        self.layouts: dict[Any, Layout] = {}

    # How tensors were made --------------------------------------------------------------------------------------------

    def _made(self, position: int, line: Line) -> dict[str, Made]:
        """The tensors that have a link, with the ways to those that are new or made in another way than before."""
        found = {name: state.link for name, state in line.tensors.items() if state.link and not twin(name, line)}
        before = self.trace.lines[position - 2].tensors if position > 1 else line.tensors
        fresh = [name for name, state in line.tensors.items() if name not in before and state.link is None]
        cuts = line.of(Cut)
        if len(fresh) == 1 and cuts:  # such as `x = 2 * fake.detach()`
            source = cuts[-1].tensor
            found[fresh[0]] = Link(() if source else cuts[-1].behind, (), (source,) if source else (), NO_GRAPH)
        for event in line.of(Backward):
            for text, link in zip(event.losses, event.links, strict=False):
                if link is not None:
                    found[text], self.labels[text] = link, shortened(text)
        same = {
            name: made
            for name, made in self.history[-1].items()
            if name in found and ways(made.link) == ways(found[name])
        }
        new = {name: link for name, link in found.items() if name not in same}
        shared = [network for link in new.values() for network in link.through]
        return {
            **{name: Made(found[name], made.line, made.pairs, made.cuts) for name, made in same.items()},
            **{name: self._ways(name, link, line, position, shared) for name, link in new.items()},
        }

    def _ways(self, name: str, link: Link, line: Line, position: int, shared: list[str]) -> Made:
        """From the sources of a tensor through networks, beside each other or one after the other, to the tensor.

        `shared` are the networks that the line's new tensors went through, once for each.
        """
        made, ends = Made(link, position), list[str]()
        sources, calls = [*link.made_from, *link.cut_from], line.of(Call)
        called = [call.network for call in reversed(calls)]
        given: dict[str, list[str]] = {}
        for network in sorted(link.through, key=lambda network: -called.index(network) if network in called else 0):
            mine = [call.inputs for call in calls if call.network == network]
            given[network] = [
                source
                for inputs in mine
                if shared.count(network) == 1 or set(inputs) <= set(sources)
                for source in inputs
            ]
        rest = [source for source in sources if not any(source in inputs for inputs in given.values())]
        for network, inputs in given.items():
            item = f"{network}({name})"
            self.networks[item] = network
            if not inputs and not ends:  # what it was given had no name
                inputs, rest = rest or [cut.tensor for cut in line.of(Cut) if cut.tensor], []
            if not inputs:
                made.pairs += [(end, item) for end in ends]
                ends = []
            for source in dict.fromkeys(inputs):
                self._join(made, source, item, line)
            ends.append(item)
        for source in rest:
            self._join(made, source, name, line)
        made.pairs += [(end, name) for end in ends]
        if link.state == NO_GRAPH:
            made.cuts |= {(end, name): written(next((cut.how for cut in line.of(Cut)), "")) for end in ends}
        return made

    def _join(self, made: Made, source: str, target: str, line: Line) -> None:
        """An edge from a source; where a network was given `source.detach()`, over an item that stands for that."""
        state = line.tensors.get(source)
        if source not in made.link.made_from and state is not None and state.state != NO_GRAPH:
            cut = next((cut for cut in line.of(Cut) if cut.tensor == source), None)
            how = written(cut.how if cut else "")
            if cut and target in self.networks:
                within = cut.place.function
                label = f"{within}({source})" if within else f"{source}.{how}"
                self.labels[label] = label
                made.cuts[source, label] = how
                made.pairs.append((source, label))
                source = label
            else:
                made.cuts[source, target] = how
        made.pairs.append((source, target))

    # What gradients did -----------------------------------------------------------------------------------------------

    def _colours(self) -> dict[Sender, str]:
        """The colour of each loss: its player's, if its name or its only use says which; else one of three others."""
        found: dict[Sender, str] = {}
        for position, line in enumerate(self.trace.lines):
            for event in line.of(Backward):
                sender = line.number, "".join(event.losses[:1])
                if not event.is_grad and sender not in found:
                    self.losses[sender] = " + ".join(map(shortened, event.losses))
                    others = sum(colour not in "DG" for colour in found.values())
                    found[sender] = player_of(event.losses) or self._used_by(sender, position) or str(others % 3)
        return found

    def _used_by(self, sender: Sender, position: int) -> str:
        """The player for which an optimizer uses this loss alone."""
        for before, line in zip(self.trace.lines[position:], self.trace.lines[position + 1 :], strict=False):
            for network in [network for step in line.of(OptimizerStep) for network in step.moved]:
                senders = {(share.line, share.loss) for share in before.networks[network].contributions}
                if sender in senders:
                    return network[0] if senders == {sender} and network[0] in "DG" else ""
        return ""

    def name_of(self, share: Contribution) -> str:
        """The loss that sent a share of a gradient, or several that one backward has sent: `a + b`; and the line."""
        losses = self.losses.get((share.line, share.loss), share.loss)
        return say("sender", loss=losses, line=share.line) if share.line else say("before")

    def flow(self, position: int) -> dict[Pair, str]:
        """The pairs along which the line sends gradients back, with their colours."""
        found: dict[Pair, str] = {}
        if not position:
            return found
        line, made, into = self.trace.lines[position - 1], self.history[position], dict[str, list[str]]()
        for target, each in made.items():
            for a, b in each.pairs:
                if (a, b) not in each.cuts and (b != target or a in self.networks or a in each.link.made_from):
                    into.setdefault(b, []).append(a)
        leaves = {name for name, state in line.tensors.items() if state.gradient_norm is not None}
        for event in line.of(Backward):
            ends = leaves | {item for item, network in self.networks.items() if network in event.arrived}
            colour = self.colours.get((line.number, "".join(event.losses[:1])))
            if colour:
                found |= dict.fromkeys(way_back(event.losses, into, ends), colour)
        return found

    def stops(self, position: int) -> dict[Pair, str]:
        """The cuts at which the line's gradients stop, with their colours."""
        made = self.history[position].values()
        after = [pair for each in made for pair in each.pairs]
        on_way = {item: colour for ends, colour in self.flow(position).items() for item in ends}
        found: dict[Pair, str] = {}
        for cut in [pair for each in made for pair in each.cuts]:
            items = [cut[1], *(b for a, b in after if a == cut[1])]
            colours = [on_way[item] for item in items if item in on_way]
            found.update([(cut, colours[0])] if colours else [])
        return found

    # The drawing ------------------------------------------------------------------------------------------------------

    def drawn(self, position: int) -> dict[str, Made]:
        """The tensors of which the drawing shows how they are made: all; or, where it folds, what the line touches."""
        if not self.folds:
            return {**self.future, **self.history[position]}
        for at in [
            *range(position, 0, -1),
            *range(1, len(self.history)),
        ]:  # a line that makes nothing leaves it as it is
            flow, made = set(self.flow(at)), self.history[at]
            found = {name: each for name, each in made.items() if each.line == at or set(each.pairs) & flow}
            if found:
                return found
        return {}

    def scene(self, position: int) -> dict[str, Any]:
        """The drawing after so many lines: its boxes, its edges, and the networks that it folds."""
        drawn, touched, flow = self.drawn(position), self._touched(position), self.flow(position)
        pairs = list(dict.fromkeys(pair for made in drawn.values() for pair in made.pairs))
        items = list(dict.fromkeys(item for pair in pairs for item in pair))
        groups = {item: self.networks[item] for item in items if item in self.networks}
        groups |= {network: network for network in touched if network not in groups.values()}
        key = tuple(pairs), tuple(groups)
        if key not in self.layouts:
            sizes = {item: self._size(item) for item in dict.fromkeys([*items, *groups])}
            self.layouts[key] = lay_out(sizes, pairs, groups, [item for item in items if self._is_number(item)])
        layout, networks = self.layouts[key], self._networks(position)
        boxes = [
            {
                **(self._network(box.name, position) if box.name in networks else self._tensor(box.name, position)),
                **{"id": name, "x": round(box.x), "y": round(box.y), "w": round(box.width), "h": round(box.height)},
            }
            for name, box in layout.boxes.items()
        ]
        states = {pair: self._edge(name, pair, made, position) for name, made in drawn.items() for pair in made.pairs}
        cuts, stops = {pair: how for made in drawn.values() for pair, how in made.cuts.items()}, self.stops(position)
        edges = [
            {
                "id": " > ".join(pair), "points": [[round(x), round(y)] for x, y in points], "state": states[pair],
                "sent": flow.get(pair, ""), "cut": cuts.get(pair),
                "stops": stops.get(pair, ""),
            }
            for pair, points in layout.edges.items()
        ]  # fmt: skip
        folded = [self._network(name, position) for name in networks if name not in groups.values()]
        size = [round(layout.width), round(layout.height)]
        return {"size": size, "boxes": boxes, "edges": edges, "folded": folded}

    def _networks(self, position: int) -> dict[str, NetworkState]:
        return self.trace.lines[position - 1].networks if position else self.trace.before

    def _tensors(self, position: int) -> dict[str, TensorState]:
        """The tensors that are there; before the first line those are the arguments."""
        if position:
            return self.trace.lines[position - 1].tensors
        first, given = self.trace.lines[0].tensors, self.trace.arguments
        return {name: state for name, state in first.items() if re.split(r"[.\[]", name)[0] in given}

    def _touched(self, position: int) -> dict[str, str]:
        """The networks that the line updated or cleared, with the word for that."""
        line = self.trace.lines[position - 1] if position else None
        found = {name: "cleared" for clear in (line.of(Clear) if line else ()) for name in clear.networks}
        return found | {name: "updated" for name, state in (line.networks.items() if line else ()) if state.changed}

    def _is_number(self, item: str) -> bool:
        named = [line.tensors[item].shape for line in self.trace.lines if item in line.tensors]
        return named[-1] == () if named else item in self.future

    def _size(self, item: str) -> tuple[int, int]:
        if item in self.networks or item in self.trace.before:
            return max(66, round(LETTER * len(self.networks.get(item, item))) + 24), NETWORK
        return max(56, round(LETTER * len(short(self.labels.get(item, item)))) + 14), HIGH

    def _tensor(self, name: str, position: int) -> dict[str, Any]:
        state, made = self._tensors(position).get(name), self.history[position]
        label, kind = self.labels.get(name, name), self._kind(name, position)
        note = say(f"graph_{kind}") if kind else ""
        if state and state.gradient_norm is not None:
            note = say("norm", norm=state.gradient_norm)
        failure = self.trace.failure
        broken = failure is not None and failure.graph_of == name and position == len(self.trace.lines)
        new = kind and (name in made and made[name].line == position)
        return {
            "label": short(label),
            "title": label,
            "note": note,
            "state": kind,
            "mark": "broken" if broken else "new" if new else "",
        }

    def _kind(self, name: str, position: int) -> str:
        """What is behind an item that is no network: its graph's state, NO_GRAPH, "data"; "" where it is not made."""
        tensors, made = self._tensors(position), self.history[position]
        if name in tensors:
            return "data" if tensors[name].state == NO_GRAPH and name not in made else tensors[name].state
        if name in made and name in self.labels:  # a loss without a name
            return made[name].link.state
        there = name in self.labels and any(name in pair for each in made.values() for pair in each.pairs)
        return NO_GRAPH if there else ""

    def _network(self, name: str, position: int) -> dict[str, Any]:
        state, mark = self._networks(position)[name], self._touched(position).get(name, "")
        shares = state.contributions[-MOST_SHARES:]
        largest = max((share.norm for share in shares), default=0.0) or 1.0
        note = say("norm", norm=state.gradient_norm) if state.with_gradient else say("no_gradient")
        return {
            "network": True, "label": name, "title": self.gradient(state), "mark": mark,
            "note": say(mark) if mark else say("frozen") if state.frozen else note,
            "shares": [[round(share.norm / largest, 3), self.colour(share)] for share in shares],
        }  # fmt: skip

    def colour(self, share: Contribution) -> str:
        return self.colours.get((share.line, share.loss), "before")

    def gradient(self, state: NetworkState) -> str:
        """The gradient that a network holds: `0.34 d_loss (line 39)`."""
        parts = [f"{share.norm:.2g} {self.name_of(share)}" for share in state.contributions]
        return together(parts, state.gradient_norm) if state.with_gradient else say("none")

    def _edge(self, name: str, pair: Pair, made: Made, position: int) -> str:
        if name not in self.history[position]:
            return ""
        if pair in made.cuts or (pair[0] in self.labels and pair[0] not in self.history[position]):
            return NO_GRAPH
        from_data = pair[0] not in self.networks and pair[0] not in made.link.made_from
        return "data" if from_data else made.link.state

    # In words and tables ----------------------------------------------------------------------------------------------

    def status(self, position: int) -> str:
        """Which line has run."""
        if not position:
            return say("nothing_yet")
        line = self.trace.lines[position - 1]
        again = [each.number for each in self.trace.lines[:position]].count(line.number)
        text = say("line_again" if again > 1 else "line", number=line.number, text=line.text, again=again)
        return say("raises", line=text, error=type(self.trace.error).__name__) if self.raised(position) else text

    def raised(self, position: int) -> bool:
        return self.trace.error is not None and position == len(self.trace.lines)

    def fault(self, position: int) -> str:
        """What went wrong, once the line that raises has run."""
        return (self.trace.diagnosis or str(self.trace.error)) if self.raised(position) else ""

    def happened(self, position: int) -> list[str]:
        """What the line did to graphs, gradients and weights, in sentences."""
        if not position or self.raised(position):
            return []
        line, made = self.trace.lines[position - 1], self.history[position]
        before, states = self._networks(position - 1), line.tensors
        new = {name: each for name, each in made.items() if each.line == position}
        found = []
        for (source, target), how in {pair: how for each in new.values() for pair, how in each.cuts.items()}.items():
            behind = self._behind(source, states)
            what = target if target in self.labels or target in new else source
            found.append(
                say(
                    "cut_memory" if target == f"{source}.{how}" else "cut",
                    what=what,
                    source=source,
                    behind=listed(behind),
                )
            )
        for reaches in dict.fromkeys(states[name].reaches for name in new if name in states and states[name].reaches):
            names = [name for name in new if name in states and states[name].reaches == reaches]
            missed = [name for name in self.trace.before if name not in reaches and len(self.trace.before) < 4]
            message = "reaches_not" if missed else "reaches"
            found.append(say(message, names=listed(names), networks=listed(reaches), others=listed(missed)))
        for event in line.events:
            if isinstance(event, Clear):
                held = [name for name in event.networks if before[name].with_gradient]
                found.append(say("clears" if held else "clears_nothing", networks=listed(event.networks)))
            elif isinstance(event, Backward) and not event.is_grad:
                loss = " + ".join(map(shortened, event.losses))
                found.append(say("sends", loss=loss, networks=listed(event.arrived) or say("nobody")))
                for source, target in self.stops(position):
                    missed = [name for name in self._behind(source, states) if name not in event.arrived]
                    where = target if target in self.labels else source
                    found += [say("stops", where=where, networks=listed(missed))] * bool(missed)
                freed = any(self._kind(name, position) == FREED for name in event.losses)
                found.append(say("frees" if freed else "keeps", loss=loss))
            elif isinstance(event, OptimizerStep):
                senders = {
                    name: listed(dict.fromkeys(self.name_of(share) for share in before[name].contributions))
                    for name in event.moved
                }
                for losses in dict.fromkeys(senders.values()):
                    moved = listed(name for name in senders if senders[name] == losses)
                    found.append(say("moves", optimizer=event.optimizer, networks=moved, losses=losses))
                if not event.moved:
                    found.append(say("moves_nothing", optimizer=event.optimizer))
        return found or [say("no_change")]

    def _behind(self, item: str, states: Mapping[str, TensorState]) -> tuple[str, ...]:
        """The networks to which the graph of an item leads."""
        return states[item].reaches if item in states else (self.networks[item],)

    def alt(self, position: int) -> str:
        """The drawing in words."""
        tensors = self._tensors(position)
        graphs = [
            f"{name}: {say('graph_' + tensors[name].state)}" for name in self.history[position] if name in tensors
        ]
        gradients = [f"{name} {self.gradient(state)}" for name, state in self._networks(position).items()]
        return say("drawing", title=self.title, gradients=", ".join(gradients), graphs=", ".join(graphs) or say("none"))

    def table(self, position: int) -> list[dict[str, Any]]:
        """The networks, a row each."""
        rows = []
        for name, state in self._networks(position).items():
            updates = [line.number for line in self.trace.lines[:position] if line.networks[name].changed]
            given = state.contributions
            shares = [[f"{s.norm:.2g} {self.name_of(s)}", self.colour(s)] for s in given[-MOST_SHARES:]]
            if len(given) > MOST_SHARES:
                shares.insert(0, [say("earlier", count=len(given) - MOST_SHARES), "before"])
            rows.append({
                "name": name, "norm": f"{state.gradient_norm:.2g}" if state.with_gradient else say("none"),
                "shares": shares, "tensors": say("of", part=state.with_gradient, whole=state.parameters),
                "updates": ", ".join(map(str, dict.fromkeys(updates))),
                "batches": max((norm.batches for norm in state.batchnorms), default=None),
            })  # fmt: skip
        return rows

    def variables(self, position: int) -> list[dict[str, Any]]:
        """The tensors that have a name, a row each; `new` where the line has made or changed it."""
        before, tensors = self._tensors(position - 1) if position else {}, dict(self._tensors(position))
        cuts = {pair: how for made in self.history[position].values() for pair, how in made.cuts.items()}
        for (source, label), how in cuts.items():
            if label == f"{source}.{how}" and source in tensors:  # it has no name of its own, but it is there
                shared = tensors[source]
                alias = replace(
                    shared, state=NO_GRAPH, requires_grad=False, shares=(source, *shared.shares), value=None
                )
                tensors |= {source: replace(shared, shares=(*shared.shares, label)), label: alias}
        return [
            {
                "name": name, "shape": "×".join(map(str, state.shape)) or say("number", value=state.value or 0.0),
                "graph": say(f"graph_{self._kind(name, position)}"),
                "requires_grad": state.requires_grad, "version": state.version, "shares": list(state.shares),
                "new": position > 0 and before.get(name) != self._tensors(position).get(name),
            }
            for name, state in tensors.items()
        ]  # fmt: skip

    def describe(self, most_bytes: int, most_flops: int) -> dict[str, Any]:
        """All of it as JSON. What several positions have in common is written once, and meant by its number.

        `most_bytes` and `most_flops` are those of a full bar.
        """
        parts: dict[str, int] = {}

        def number(part: Any) -> int:
            return parts.setdefault(json.dumps(part), len(parts))

        steps = []
        for position in range(len(self.trace.lines) + 1):
            line, scene = self.trace.lines[position - 1] if position else None, self.scene(position)
            size, lists = (
                scene.pop("size"),
                {**scene, "networks": self.table(position), "variables": self.variables(position)},
            )
            spent = sum(each.milliseconds for each in self.trace.lines[:position])
            numbers = [line.number, line.last] if line else [0, 0]
            kept, flops = (line.saved_bytes, line.flops) if line else (0, 0)
            steps.append({
                "size": size, "lines": numbers, "status": self.status(position),
                "happened": self.happened(position), "fault": self.fault(position), "alt": self.alt(position),
                **{name: list(map(number, part)) for name, part in lists.items()},
                "kept": [kept / (most_bytes or 1), count(kept, "B")],
                "computed": [flops / (most_flops or 1), say("flops", flops=count(flops), ms=spent)],
            })  # fmt: skip
        return {
            "title": self.title, "code": self.code(), "steps": steps, "parts": [json.loads(part) for part in parts],
            "findings": [{**vars(finding)} for finding in self.trace.findings],
        }  # fmt: skip

    def code(self) -> list[tuple[int, str]]:
        """The lines with their numbers, without the docstring, which would take room."""
        numbered = enumerate(self.trace.source.rstrip().splitlines(), self.trace.first_line)
        return [(number, text) for number, text in numbered if number not in self.trace.docstring]


def way_back(starts: Iterable[str], into: Mapping[str, Iterable[str]], ends: Collection[str]) -> dict[Pair, None]:
    """The pairs on the ways from the starts back to the ends, or through them; `into` is what leads to an item."""
    found: dict[Pair, None] = {}
    arrives: dict[str, bool] = {}

    def visit(item: str) -> bool:
        if item not in arrives:
            arrives[item] = False
            back = [before for before in dict.fromkeys(into.get(item, ())) if visit(before)]
            found.update(dict.fromkeys((before, item) for before in back))
            arrives[item] = bool(back) or item in ends
        return arrives[item]

    for start in starts:
        visit(start)
    return found


def twin(name: str, line: Line) -> bool:
    """Whether a tensor has another name before this one, as `losses['d']`."""
    names = list(line.tensors)
    earlier = [each for each in line.tensors[name].shares if names.index(each) < names.index(name)]
    return any(line.tensors[each].link == line.tensors[name].link for each in earlier)


def ways(link: Link) -> tuple[Any, ...]:
    return link.through, link.made_from, link.cut_from, link.state == NO_GRAPH


def written(how: str) -> str:
    """How a cut is written: `detach()`."""
    return WRITTEN.get(how, f"{how}()")


def shortened(expression: str) -> str:
    """`model.lambda_gan * g_loss` → `lambda_gan * g_loss`."""
    return re.sub(r"\b[A-Za-z_]\w*\.(?=[A-Za-z_])", "", expression)


def short(label: str) -> str:
    return label if len(label) <= 18 else label[:17] + "…"


def player_of(losses: Iterable[str]) -> str:
    """The player whom the names of losses name: "D" for `d_loss`, `errD`, `loss_D_A`; "" for none or both."""
    pattern = r"(?i)\b([dg])_?(?:loss|err)|(?:loss|err|cost)_?([dg])(?![a-z])"
    found = {"".join(match).upper() for loss in losses for match in re.findall(pattern, loss)}
    return found.pop() if len(found) == 1 else ""


def listed(names: Iterable[str]) -> str:
    *first, last = [*names] or [""]
    return say("and", first=", ".join(first), last=last) if first else last
