"""What the debugger shows of a trace at each line, as data: the drawing, the tables, and in words what happened."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from gantutor.lab.layout import Layout, Pair, lay_out
from gantutor.lab.messages import say
from gantutor.lab.ways import Made, Ways, without_owners
from gantutor.ledger import FREED, NetworkState, TensorState, Trace
from gantutor.ledger.records import Backward, Clear, Contribution, OptimizerStep, count, together

MOST_USES = 6  # of networks in one drawing; where there are more, it shows what the line touches
MOST_SHARES = 6  # of a network's gradient; of more, the last
HIGH, NETWORK, LETTER = 36, 46, 6.6  # CSS pixels: the heights of a tensor and a network, the width of a letter
Sender = tuple[int, str]  # a line and the loss that it sends back


class Story:
    """A trace, made ready to be described. A position is how many lines have run."""

    def __init__(self, trace: Trace, title: str) -> None:
        self.trace, self.title, self.ways = trace, title, Ways(trace)
        self.folds = len(self.ways.networks) > MOST_USES
        self.layouts: dict[Any, Layout] = {}
        self.losses: dict[Sender, str] = {}  # how those are written that one backward has sent: `a + b`
        self.colours: dict[Sender, str] = {}  # their players', if names or uses say which; else one of three others
        for position, line in enumerate(trace.lines, 1):
            for event in line.of(Backward):
                sender = line.number, "".join(event.losses[:1])
                if not event.is_grad and sender not in self.colours:
                    self.losses[sender] = " + ".join(map(without_owners, event.losses))
                    other = str(sum(colour not in "DG" for colour in self.colours.values()) % 3)
                    self.colours[sender] = player_of(event.losses) or self._used_by(sender, position) or other

    def _used_by(self, sender: Sender, position: int) -> str:
        """The player for which an optimizer uses this loss alone, after a position."""
        lines = self.trace.lines
        for before, line in zip(lines[position - 1 :], lines[position:], strict=False):
            for network in [network for step in line.of(OptimizerStep) for network in step.moved]:
                senders = {(share.line, share.loss) for share in before.networks[network].contributions}
                if sender in senders:
                    return network[0] if senders == {sender} and network[0] in "DG" else ""
        return ""

    # What is there, and what the line did -----------------------------------------------------------------------------

    def networks(self, position: int) -> dict[str, NetworkState]:
        return self.trace.lines[position - 1].networks if position else self.trace.before

    def tensors(self, position: int) -> dict[str, TensorState]:
        """The tensors that are there; before the first line those are the arguments."""
        if position:
            return self.trace.lines[position - 1].tensors
        first, given = self.trace.lines[0].tensors, self.trace.arguments
        return {name: state for name, state in first.items() if re.split(r"[.\[]", name)[0] in given}

    def touched(self, position: int) -> dict[str, str]:
        """The networks that the line updated or cleared, with the word for that."""
        if not position:
            return {}
        line = self.trace.lines[position - 1]
        found = {name: "cleared" for clear in line.of(Clear) for name in clear.networks}
        return found | {name: "updated" for name, state in line.networks.items() if state.changed}

    def flow(self, position: int) -> dict[Pair, str]:
        """The pairs along which the line sends gradients back, with their colours."""
        found: dict[Pair, str] = {}
        line = self.trace.lines[position - 1]
        for event in line.of(Backward) if position else ():
            colour = self.colours.get((line.number, "".join(event.losses[:1])))
            if colour:
                leaves = {name for name, state in line.tensors.items() if state.gradient_norm is not None}
                uses = {item for item, network in self.ways.networks.items() if network in event.arrived}
                found |= dict.fromkeys(self.ways.way_back(event.losses, leaves | uses, position), colour)
        return found

    def raised(self, position: int) -> bool:
        return self.trace.error is not None and position == len(self.trace.lines)

    # The drawing ------------------------------------------------------------------------------------------------------

    def drawn(self, position: int) -> dict[str, Made]:
        """The tensors of which the drawing shows how they are made: all; or, where it folds, what the line touches.

        A line that makes nothing and sends nothing leaves the drawing as it is.
        """
        if not self.folds:
            return {**self.ways.future, **self.ways.history[position]}
        for at in [*range(position, 0, -1), *range(1, len(self.ways.history))]:
            flow, made = self.flow(at), self.ways.history[at]
            found = {name: each for name, each in made.items() if each.position == at or flow.keys() & each.pairs}
            if found:
                return found
        return {}

    def scene(self, position: int) -> dict[str, Any]:
        """The drawing: its size, its boxes, its edges, and the networks that it folds."""
        drawn, networks = self.drawn(position), self.networks(position)
        pairs = list(dict.fromkeys(pair for made in drawn.values() for pair in made.pairs))
        items = list(dict.fromkeys(item for pair in pairs for item in pair))
        groups = {item: self.ways.networks[item] for item in items if item in self.ways.networks}
        groups |= {name: name for name in self.touched(position) if name not in groups.values()}
        key = tuple(pairs), tuple(groups)
        if key not in self.layouts:
            sizes = {item: self._size(item) for item in [*items, *groups]}
            self.layouts[key] = lay_out(sizes, pairs, groups, [item for item in items if self._is_number(item)])
        layout, boxes = self.layouts[key], []
        for id, box in layout.boxes.items():
            part = self._network(box.name, position) if box.name in networks else self._tensor(box.name, position)
            boxes.append({"id": id, "x": box.x, "y": box.y, "w": box.width, "h": box.height, **part})
        flow, edges = self.flow(position), []
        stops = self.ways.stops(flow, position)
        for name, made in drawn.items():
            for pair in [pair for pair in made.pairs if pair in layout.edges]:
                state, sent, stop = self.ways.edge(name, pair, made, position), flow.get(pair, ""), stops.get(pair, "")
                part = {"id": " > ".join(pair), "state": state, "sent": sent, "stops": stop}
                edges.append({**part, "cut": made.cuts.get(pair), "points": layout.edges[pair]})
        folded = [self._network(name, position) for name in networks if name not in groups.values()]
        return {"size": [layout.width, layout.height], "boxes": boxes, "edges": edges, "folded": folded}

    def _is_number(self, item: str) -> bool:
        shapes = [line.tensors[item].shape for line in self.trace.lines if item in line.tensors]
        return shapes[-1] == () if shapes else item in self.ways.future

    def _size(self, item: str) -> tuple[int, int]:
        network = self.ways.networks.get(item, item)
        if network in self.trace.before:
            return max(66, round(LETTER * len(network)) + 24), NETWORK
        return max(56, round(LETTER * len(short(self.ways.labels.get(item, item)))) + 14), HIGH

    def _tensor(self, name: str, position: int) -> dict[str, Any]:
        tensors, made = self.tensors(position), self.ways.history[position]
        label, kind = self.ways.labels.get(name, name), self.ways.kind(name, position, tensors)
        gradient = tensors[name].gradient_norm if name in tensors else None
        note = say("norm", norm=gradient) if gradient is not None else say(f"graph_{kind}") if kind else ""
        failure, new = self.trace.failure, name in made and made[name].position == position > 0
        broken = failure is not None and failure.graph_of == name and self.raised(position)
        mark = "broken" if broken else "new" if new else ""
        return {"label": short(label), "title": label, "note": note, "state": kind, "mark": mark}

    def _network(self, name: str, position: int) -> dict[str, Any]:
        state, mark = self.networks(position)[name], self.touched(position).get(name, "")
        given = state.contributions[-MOST_SHARES:]
        largest = max((share.norm for share in given), default=0.0) or 1.0
        shares = [[round(share.norm / largest, 3), self.colour(share)] for share in given]
        note = say("norm", norm=state.gradient_norm) if state.with_gradient else say("no_gradient")
        note = say(mark) if mark else say("frozen") if state.frozen else note
        title = self.gradient(state)
        return {"network": True, "label": name, "title": title, "note": note, "mark": mark, "shares": shares}

    # In words and tables ----------------------------------------------------------------------------------------------

    def colour(self, share: Contribution) -> str:
        return self.colours.get((share.line, share.loss), "before")

    def name_of(self, share: Contribution) -> str:
        """The loss that sent a share of a gradient, and the line."""
        loss = self.losses.get((share.line, share.loss), share.loss)
        return say("sender", loss=loss, line=share.line) if share.line else say("before")

    def gradient(self, state: NetworkState) -> str:
        """The gradient that a network holds: `0.34 d_loss (line 39)`."""
        parts = [f"{share.norm:.2g} {self.name_of(share)}" for share in state.contributions]
        return together(parts, state.gradient_norm) if state.with_gradient else say("none")

    def status(self, position: int) -> str:
        """Which line has run."""
        if not position:
            return say("nothing_yet")
        line = self.trace.lines[position - 1]
        again = [each.number for each in self.trace.lines[:position]].count(line.number)
        text = say("line_again" if again > 1 else "line", number=line.number, text=line.text, again=again)
        return say("raises", line=text, error=type(self.trace.error).__name__) if self.raised(position) else text

    def fault(self, position: int) -> str:
        """What went wrong, once the line that raises has run."""
        return (self.trace.diagnosis or str(self.trace.error)) if self.raised(position) else ""

    def happened(self, position: int) -> list[str]:
        """What the line did to graphs, gradients and weights, in sentences."""
        if not position or self.raised(position):
            return []
        found = [*self._made(position)]
        for event in self.trace.lines[position - 1].events:
            if isinstance(event, Clear):
                held = any(self.networks(position - 1)[name].with_gradient for name in event.networks)
                found.append(say("clears" if held else "clears_nothing", networks=enumerated(event.networks)))
            elif isinstance(event, Backward) and not event.is_grad:
                found += self._sent(event, position)
            elif isinstance(event, OptimizerStep):
                found += self._moved(event, self.networks(position - 1))
        return found or [say("no_change")]

    def _made(self, position: int) -> Iterable[str]:
        """Which graphs the line has cut, and where its new ones lead."""
        made, tensors = self.ways.history[position], self.tensors(position)
        new = {name: each for name, each in made.items() if each.position == position}
        for (source, target), how in {pair: how for each in new.values() for pair, how in each.cuts.items()}.items():
            what = target if target in self.ways.labels or target in new else source
            message = "cut_memory" if target == f"{source}.{how}" else "cut"
            yield say(message, what=what, source=source, behind=enumerated(self._behind(source, position)))
        reached = {name: tensors[name].reaches for name in new if name in tensors and tensors[name].reaches}
        for reaches in dict.fromkeys(reached.values()):
            names = [name for name in reached if reached[name] == reaches]
            missed = [name for name in self.trace.before if name not in reaches and len(self.trace.before) < 4]
            message = "reaches_not" if missed else "reaches"
            yield say(message, names=enumerated(names), networks=enumerated(reaches), others=enumerated(missed))

    def _behind(self, item: str, position: int) -> tuple[str, ...]:
        """The networks to which the graph of an item leads."""
        tensors, network = self.tensors(position), self.ways.networks.get(item)
        return tensors[item].reaches if item in tensors else (network,) if network else ()

    def _sent(self, event: Backward, position: int) -> Iterable[str]:
        """Where a backward has left gradients, where it could not go on, and what it has freed."""
        loss = " + ".join(map(without_owners, event.losses))
        yield say("sends", loss=loss, networks=enumerated(event.arrived) or say("nobody"))
        for source, target in self.ways.stops(self.flow(position), position):
            missed = [name for name in self._behind(source, position) if name not in event.arrived]
            where = target if target in self.ways.labels else source
            if missed:
                yield say("stops", where=where, networks=enumerated(missed))
        kinds = [self.ways.kind(name, position, self.tensors(position)) for name in event.losses]
        yield say("frees" if FREED in kinds else "keeps")

    def _moved(self, event: OptimizerStep, before: dict[str, NetworkState]) -> Iterable[str]:
        """What an optimizer has moved, and by which gradients."""
        senders = {name: dict.fromkeys(map(self.name_of, before[name].contributions)) for name in event.moved}
        losses = {name: enumerated(given) for name, given in senders.items()}
        for loss in dict.fromkeys(losses.values()):
            moved = enumerated(name for name in losses if losses[name] == loss)
            yield say("moves", optimizer=event.optimizer, networks=moved, losses=loss)
        if not event.moved:
            yield say("moves_nothing", optimizer=event.optimizer)

    def alt(self, position: int) -> str:
        """The drawing in words."""
        tensors, made = self.tensors(position), self.ways.history[position]
        graphs = [f"{name}: {say('graph_' + tensors[name].state)}" for name in made if name in tensors]
        gradients = [f"{name} {self.gradient(state)}" for name, state in self.networks(position).items()]
        return say("drawing", title=self.title, gradients=", ".join(gradients), graphs=", ".join(graphs) or say("none"))

    def table(self, position: int) -> list[dict[str, Any]]:
        """The networks, a row each."""
        rows = []
        for name, state in self.networks(position).items():
            updates = {line.number: None for line in self.trace.lines[:position] if line.networks[name].changed}
            given = state.contributions
            shares = [[f"{s.norm:.2g} {self.name_of(s)}", self.colour(s)] for s in given[-MOST_SHARES:]]
            earlier = [[say("earlier", count=len(given) - MOST_SHARES), "before"]] if len(given) > MOST_SHARES else []
            rows.append({
                "name": name, "norm": f"{state.gradient_norm:.2g}" if state.with_gradient else say("none"),
                "shares": earlier + shares, "tensors": say("of", part=state.with_gradient, whole=state.parameters),
                "updates": ", ".join(map(str, updates)),
                "batches": max((norm.batches for norm in state.batchnorms), default=None),
            })  # fmt: skip
        return rows

    def variables(self, position: int) -> list[dict[str, Any]]:
        """The tensors that have a name, a row each; `new` where the line has made or changed it."""
        now, before = self.tensors(position), self.tensors(max(position - 1, 0))
        tensors = dict(now)
        for made in self.ways.history[position].values():
            for (source, label), how in made.cuts.items():
                if label == f"{source}.{how}" and source in now:  # it has no name of its own, but it is there
                    shares = source, *now[source].shares
                    tensors[label] = replace(now[source], requires_grad=False, shares=shares, value=None)
                    tensors[source] = replace(now[source], shares=(*now[source].shares, label))
        return [
            {
                "name": name, "shape": "×".join(map(str, state.shape)) or say("number", value=state.value or 0.0),
                "graph": say(f"graph_{self.ways.kind(name, position, now)}"), "requires_grad": state.requires_grad,
                "version": state.version, "shares": list(state.shares), "new": before.get(name) != now.get(name),
            }
            for name, state in tensors.items()
        ]  # fmt: skip

    def code(self) -> list[tuple[int, str]]:
        """The lines with their numbers, without the docstring, which would take room."""
        numbered = enumerate(self.trace.source.rstrip().splitlines(), self.trace.first_line)
        return [(number, text) for number, text in numbered if number not in self.trace.docstring]

    def describe(self, most_bytes: int, most_flops: int) -> dict[str, Any]:
        """All of it as JSON. What several positions have in common is written once, and meant by its number.

        `most_bytes` and `most_flops` are those of a full bar.
        """
        parts: dict[str, int] = {}
        steps: list[dict[str, Any]] = []
        spent = 0.0
        for position in range(len(self.trace.lines) + 1):
            line = self.trace.lines[position - 1] if position else None
            kept, flops = (line.saved_bytes, line.flops) if line else (0, 0)
            spent += line.milliseconds if line else 0.0
            step = self.scene(position) | {"networks": self.table(position), "variables": self.variables(position)}
            for name in ("boxes", "edges", "folded", "networks", "variables"):
                step[name] = [parts.setdefault(json.dumps(part), len(parts)) for part in step[name]]
            steps.append({
                **step, "lines": [line.number, line.last] if line else [0, 0], "status": self.status(position),
                "happened": self.happened(position), "fault": self.fault(position), "alt": self.alt(position),
                "kept": [kept / (most_bytes or 1), count(kept, "B")],
                "computed": [flops / (most_flops or 1), say("flops", flops=count(flops), ms=spent)],
            })  # fmt: skip
        findings = [vars(finding) for finding in self.trace.findings]
        shared = [json.loads(part) for part in parts]
        return {"title": self.title, "code": self.code(), "steps": steps, "parts": shared, "findings": findings}


def short(label: str) -> str:
    return label if len(label) <= 18 else label[:17] + "…"


def player_of(losses: Iterable[str]) -> str:
    """The player whom the names of losses name: "D" for `d_loss`, `errD`, `loss_D_A`; "" for none or both."""
    pattern = r"(?i)\b([dg])_?(?:loss|err)|(?:loss|err|cost)_?([dg])(?![a-z])"
    found = {"".join(match).upper() for loss in losses for match in re.findall(pattern, loss)}
    return found.pop() if len(found) == 1 else ""


def enumerated(names: Iterable[str]) -> str:
    *first, last = [*names] or [""]
    return say("and", first=", ".join(first), last=last) if first else last
