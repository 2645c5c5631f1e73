"""What is wrong with a step: the line, what it does, why that is wrong, and what to write instead.

A rule reads the records of a trace, never a tensor. It speaks where the records show a mistake, and not where they would
allow one: on a correct step all rules are silent.
"""

import ast
import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gantutor.ledger.records import (
    FREED,
    NO_GRAPH,
    Backward,
    Call,
    Clear,
    Cut,
    Failure,
    Finding,
    OptimizerStep,
    Place,
    Trace,
    Write,
)

AGAINST = -0.5  # the cosine below which two losses pull a network in opposite directions
HOW = {  # why a gradient ends at an operation, and what to write instead; {} is the line without the operation
    "detach": ("`detach` ends the graph here, so backward cannot go on.", "{}"),
    "data": ("`.data` is a tensor without its graph, so backward cannot go on.", "{}"),
    "item": ("`.item()` gives a number, and a number has no graph.", "{}"),
    "numpy": ("An array of numpy has no graph.", "{}"),
    "argmax": ("`argmax` gives an index, and no gradient goes through an index.", "F.gumbel_softmax(x, hard=True)"),
    "round": ("`round` has the slope 0 everywhere, so its gradient is exactly 0.", "x + (x.round() - x).detach()"),
}


def find(trace: Trace) -> list[Finding]:
    """The mistakes in a step, in the order of its lines; one for each kind and line."""
    facts = Facts(trace)
    found: dict[tuple[str, int], Finding] = {}
    for rule in RULES if trace.error is None else RULES_FOR_ERRORS:
        for finding in rule(facts):
            found.setdefault((finding.kind, finding.line), finding)
    return sorted(found.values(), key=lambda finding: finding.line)


# Statements rewritten -------------------------------------------------------------------------------------------------


def edited(text: str, change: Callable[[ast.expr], str | None]) -> str:
    """A statement with expressions replaced by what `change` makes of them, inner ones first; "" for half a statement."""

    class Edit(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            node = self.generic_visit(node)
            new = change(node) if isinstance(node, ast.expr) else None
            return node if new is None else ast.parse(new, mode="eval").body

    try:
        return "; ".join(ast.unparse(Edit().visit(statement)) for statement in ast.parse(text.strip()).body)
    except SyntaxError:
        return ""


def with_call(text: str, name: str, call: str) -> str:
    """`D(fake)` → `D(fake.detach())`, wherever the statement reads `name`."""
    loads = (
        node for node in ast.walk(ast.Module(parsed(text), [])) if isinstance(getattr(node, "ctx", None), ast.Load)
    )
    if name not in map(ast.unparse, loads):
        return ""
    return edited(text, lambda n: f"{name}.{call}" if is_read(n, name) else None)


def is_read(node: ast.expr, name: str) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Load) and ast.unparse(node) == name


def parsed(text: str) -> list[ast.stmt]:
    """The statements in a line; none for half a statement, such as the head of a loop."""
    try:
        return ast.parse(text.strip()).body
    except SyntaxError:
        return []


def with_keyword(text: str, function: str, keyword: str) -> str:
    """`loss.backward()` → `loss.backward(retain_graph=True)`."""

    def change(node: ast.expr) -> str | None:
        if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] != function:
            return None
        given = [k for k in map(ast.unparse, [*node.args, *node.keywords]) if not k.startswith(keyword.split("=")[0])]
        return f"{ast.unparse(node.func)}({', '.join([*given, keyword])})"

    return edited(text, change)


def without_cut(text: str) -> str:
    """`fake = Variable(G(z).data)` → `fake = G(z)`: no cut, and nothing around it that makes a tensor again."""

    def change(node: ast.expr) -> str | None:
        code = ast.unparse(node)
        cut = re.fullmatch(r"(.*)\.(?:data|(?:detach|item|numpy|tolist)\(\))", code, re.DOTALL)
        again = re.fullmatch(r"(?:[\w.]+\.)?(?:Variable|from_numpy|tensor|as_tensor)\((.*)\)", code, re.DOTALL)
        one = isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords
        return cut[1] if cut else again[1] if again and one else None

    return edited(text, change)


def assigned(text: str) -> list[str]:
    """The names that a statement assigns, as the code writes them."""
    targets = [t for s in parsed(text) for t in getattr(s, "targets", [getattr(s, "target", None)]) if t is not None]
    return [ast.unparse(each) for t in targets for each in getattr(t, "elts", [t])]


def made_again(text: str, name: str) -> str:
    """What makes `name`: of `p0, p1 = D(x), D(y)` and `p1` it is `p1 = D(y)`."""
    for statement in parsed(text):
        value, names = getattr(statement, "value", None), assigned(ast.unparse(statement))
        if name in names and isinstance(value, ast.Tuple) and len(value.elts) == len(names):
            return f"{name} = {ast.unparse(value.elts[names.index(name)])}"
        if name in names:
            return ast.unparse(statement)
    return text


OUT_OF_PLACE = {  # a change in place, and a new tensor instead
    r"(.+)\.fill_\((.*)\)": r"\1 = torch.full_like(\1, \2)",
    r"(\S+) ([-+*/])= (.*)": r"\1 = \1 \2 \3",
    r"(\w+)(\[.*\] = .*)": r"\1 = \1.clone(); \1\2",
    r"(.+)\.(\w+)_\((.*)\)": r"\1 = \1.\2(\3)",
}


def out_of_place(text: str) -> str:
    """`x += y` → `x = x + y`."""
    for pattern, new in OUT_OF_PLACE.items():
        if found := re.fullmatch(pattern, text):
            return found.expand(new)
    return text


def above(statement: str, place: Place) -> str:
    """A statement to insert."""
    return f"{statement}  # above line {place.line}"


# The records as one sequence of events --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Used:
    """An optimizer's step: its index among the events, and the indices of the backwards whose gradients it applied."""

    index: int
    step: OptimizerStep
    backwards: frozenset[int]


class Facts:
    """A trace's events in their order, and which backwards each optimizer's step has used."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.events = [event for line in trace.lines for event in line.events]
        self.lines = [line for line in trace.lines for _ in line.events]  # the line of each event
        self.sent = {i: b for i, b in self.of(Backward) if not b.is_grad and not b.raised}
        self.steps = [self._used(i, step) for i, step in self.of(OptimizerStep) if not step.skipped]

    def of(self, kind: type[Any]) -> Iterator[tuple[int, Any]]:
        """The events of a kind, with their indices."""
        return ((i, event) for i, event in enumerate(self.events) if isinstance(event, kind))

    def _used(self, index: int, step: OptimizerStep) -> Used:
        """Of several backwards with one line and one loss, those of a loop, as many as there are shares: the last."""
        found: set[int] = set()
        for share in set(step.shares):
            same = [
                i
                for i, b in self.sent.items()
                if i < index
                and self.lines[i].number == share.line
                and share.loss in b.losses[:1]
                and share.network in b.arrived
            ]
            found |= set(same[-step.shares.count(share) :])
        return Used(index, step, frozenset(found))

    def clears(self, network: str, first: int = -1, last: int | None = None) -> Place | None:
        """Where a network's gradients are cleared, after the first index and before the last."""
        return next(
            (c.place for i, c in self.of(Clear) if first < i and (last is None or i < last) and network in c.networks),
            None,
        )

    def users(self, backward: int) -> list[Used]:
        return [used for used in self.steps if backward in used.backwards]

    def code(self, name: str) -> str:
        """A network or an optimizer as the code writes it: attributes of the step's argument have no prefix in records."""
        longer = [f"{argument}.{name}" for argument in self.trace.arguments[:1]]
        return next((each for each in longer if each in self.trace.source), name)

    def player_of(self, place: Place) -> set[str]:
        """The networks of the optimizer that is to step after a line, also where the step did not get there."""
        for text in self.trace.source.splitlines()[max(place.line - self.trace.first_line + 1, 0) :]:
            for name, holds in self.trace.optimizers.items():
                if "step(" in text and name.rpartition(".")[2] in text:
                    return set(holds)
        return set()

    def behind(self, tensor: str) -> set[str]:
        """The networks that a tensor's graph leads to, as long as it is whole."""
        return {n for line in self.trace.lines if tensor in line.tensors for n in line.tensors[tensor].reaches}

    def readers(self, tensor: str, first: Place, last: Place) -> list[Place]:
        """The lines between two that read a tensor, and are no backward."""
        between = (line for line in self.trace.lines if first.line < line.number < last.line and not line.sent)
        return [Place(line.number, line.text) for line in between if with_call(line.text, tensor, "x")]

    def since(self, network: str, attribute: str, value: bool, until: Place) -> Place | None:
        """The last line before another that gave a network this mode; None if it had it before the step."""
        found, before = None, getattr(self.trace.before.get(network), attribute, value)
        for line in self.trace.lines:
            now = getattr(line.networks[network], attribute, value)
            if line.number < until.line and now == value != before:
                found = Place(line.number, line.text)
            before = now
        return found


def named(losses: Backward) -> str:
    return " and ".join(f"`{name}`" for name in losses.losses)


def listed(names: Any) -> str:
    return " and ".join(sorted(names))


# Steps that raise -----------------------------------------------------------------------------------------------------


def broken_graph(facts: Facts) -> Iterator[Finding]:
    """Autograd's two famous errors."""
    failure, last = facts.trace.failure, facts.trace.lines[-1] if facts.trace.lines else None
    if failure is None or last is None:
        return
    backward = next((b for _, b in reversed(list(facts.of(Backward)))), None)
    place = backward.place if backward is not None else Place(last.number, last.text)
    reaches = set(backward.reaches) if backward is not None else set()
    why = "It goes" + facts.trace.diagnosis.partition(" goes")[2]
    if failure.kind == FREED:
        yield Finding(
            place.line,
            f"`{place.text}` needs a graph that is used up.",
            why,
            mended(facts, failure, place, reaches),
            "freed graph",
        )
    else:
        yield Finding(
            place.line,
            f"`{place.text}` needs a tensor that has been overwritten.",
            why,
            mended(facts, failure, place, reaches),
            "changed in place",
        )


def mended(facts: Facts, failure: Failure, place: Place, reaches: set[str]) -> str:
    """Detach what the other player needs; or score again; or keep the graph; or write nothing in place."""
    name, by, made, write = failure.graph_of, failure.by, failure.made, failure.write
    if by is None or made is None:
        return f"{name} = {name}.detach()  # at the end of each turn"
    if failure.kind != FREED and (write is None or not write.optimizer):
        return rewritten_in_place(facts, failure, by, place)
    behind, player = facts.behind(name), facts.player_of(place)
    later, earlier = facts.readers(name, by, place), facts.readers(name, made, by)
    if failure.kind == FREED:
        users = [used for i, b in facts.sent.items() if b.place == by for used in facts.users(i)]
        if not behind & {network for used in users for network in used.step.holds} and users:
            return with_call(earlier[0].text, name, "detach()") if earlier else f"{name}.detach()  # for line {by.line}"
        if not users or not later:
            return with_keyword(by.text, "backward", "retain_graph=True")
    if player & (reaches - behind) and not player & behind:  # the way to this player does not lead through `name`
        reader = (later or earlier or [made])[0 if later else -1]
        again = with_call(reader.text, name, "detach()")
        return again if later else above(again, place)
    return above(made_again(made.text, name).replace(".detach()", ""), later[0] if later else place)


def rewritten_in_place(facts: Facts, failure: Failure, by: Place, place: Place) -> str:
    """For a change that no optimizer made."""
    calls = [call.network for _, call in facts.of(Call) if call.place == by]
    parameters = {f"{network}.{inner}" for network, state in facts.trace.before.items() for inner in state.versions}
    inside = next((network for network in facts.trace.before if failure.culprit.startswith(f"{network}.")), None)
    if failure.culprit in parameters:
        return f"{by.text}  # below line {place.line}"
    if inside and calls:
        return "DistributedDataParallel(..., broadcast_buffers=False)"
    if calls and by == failure.made:
        return f"inplace=False  # in the layers of {facts.code(calls[-1])}"
    return out_of_place(by.text)


def lost_with_an_error(facts: Facts) -> Iterator[Finding]:
    """ "element 0 of tensors does not require grad": a loss without a graph."""
    if "does not require grad and does not have a grad_fn" in str(facts.trace.error):
        place = Place(facts.trace.lines[-1].number, facts.trace.lines[-1].text)
        backward = next((b for _, b in reversed(list(facts.of(Backward)))), None)
        loss = named(backward) if backward is not None else "the loss"
        yield from lost(facts, len(facts.events), loss, facts.player_of(place) or set(facts.trace.before))


def lost(facts: Facts, until: int, loss: str, networks: set[str]) -> Iterator[Finding]:
    """The last place before a loss where the way to some networks ends."""
    what = f"No gradient of {loss} reaches {listed(networks)}."
    for event in reversed(facts.events[:until]):
        if isinstance(event, Cut) and event.how == "grad without create_graph":
            return  # it has a rule of its own
        if isinstance(event, Cut) and networks & set(event.behind):
            why, fix = HOW.get(event.how, (f"No gradient goes through `{event.how}`.", ""))
            yield Finding(event.place.line, what, why, fix.format(without_cut(event.place.text)), "loss cannot reach")
            return
        if isinstance(event, Call) and not event.grad:
            why = f"{event.network} is called under `torch.no_grad()`, where autograd records no graph."
            yield Finding(
                event.place.line, what, why, f"{event.place.text}  # outside torch.no_grad()", "loss cannot reach"
            )
            return
        if isinstance(event, Call) and event.frozen and event.network in networks:
            at = facts.since(event.network, "frozen", True, event.place)
            why = f"`requires_grad` is False for all parameters of {event.network}{'' if at else ', since before this step'}."
            fix = above(f"{facts.code(event.network)}.requires_grad_(True)", event.place)
            yield Finding((at or event.place).line, what, why, fix, "loss cannot reach")
            return


def penalty_cannot_reach(facts: Facts) -> Iterator[Finding]:
    """`autograd.grad` for an input that the scores were not made of, or that requires no gradient."""
    asked = next((b for _, b in reversed(list(facts.of(Backward)))), None)
    if asked is None or not asked.is_grad or "differentiated Tensor" not in str(facts.trace.error):
        return
    name = (asked.inputs or ("x",))[0]
    scored = next((call.place for _, call in facts.of(Call)), asked.place)
    if "not have been used" in str(facts.trace.error):
        why = f"`{name}` was not used for {' and '.join(f'`{n}`' for n in assigned(scored.text))}: the network was given another tensor."
    else:
        why = f"`{name}` does not require a gradient, so autograd has not recorded what was made of it."
    what = f"`{asked.place.text}` asks for a gradient that is not in the graph."
    yield Finding(asked.place.line, what, why, above(f"{name}.requires_grad_()", scored), "penalty cannot reach")


# Steps that run, and are wrong ----------------------------------------------------------------------------------------


def constant_penalty(facts: Facts) -> Iterator[Finding]:
    """A gradient penalty whose gradient has no graph: a number that is added to the loss."""
    parameters = {f"{network}.{inner}" for network, state in facts.trace.before.items() for inner in state.versions}
    for index, asked in facts.of(Backward):
        if asked.is_grad and not asked.create_graph and not asked.raised and not parameters & set(asked.inputs or ()):
            if name := constant_in_a_loss(facts, index):
                what = f"The penalty `{name}` is a constant: no network learns from it."
                why = "Its gradient was computed without `create_graph=True`, so there is no graph to go back through."
                fix = with_keyword(asked.place.text, "grad", "create_graph=True")
                yield Finding(asked.place.line, what, why, fix, "constant penalty")


def constant_in_a_loss(facts: Facts, index: int) -> str:
    """What a line makes of `autograd.grad`, if it has no graph and a later line adds it to a loss; or ""."""
    names: set[str] = set(assigned(facts.lines[index].text))
    lines = facts.trace.lines[facts.trace.lines.index(facts.lines[index]) + 1 :]
    for line in lines:
        read = [name for name in names if with_call(line.text, name, "x")]
        made = {name: line.tensors[name] for name in assigned(line.text) if name in line.tensors}
        for name in read:
            if line.sent or any(state.state != NO_GRAPH and state.shape == () for state in made.values()):
                return name if name not in line.tensors or line.tensors[name].state == NO_GRAPH else ""
        names |= {name for name, state in made.items() if read and state.state == NO_GRAPH}
    return ""


def nothing_to_apply(facts: Facts) -> Iterator[Finding]:
    """An optimizer that holds no network of the step, or that no gradient has reached."""
    for used in facts.steps:
        step, before = used.step, [i for i in facts.sent if i < used.index]
        networks = set(step.holds)
        if not before or not step.parameters:
            continue
        last = facts.sent[before[-1]]
        zero = all(last.arrived.get(network) == 0 for network in networks)
        if not networks:
            held = {network for holds in facts.trace.optimizers.values() for network in holds}
            alone = sorted({n for i in before for n in facts.sent[i].arrived} - held) or ["the network"]
            what = f"`{step.place.text}` moves no network of this step."
            why = f"{step.optimizer} holds no parameter of {listed(alone)}, which was made or copied after it."
            fix = f"{facts.code(step.optimizer)} = torch.optim.Adam({facts.code(alone[0])}.parameters())  # after the network"
            yield Finding(step.place.line, what, why, fix, "empty optimizer")
        elif zero or (
            step.without_gradient == step.parameters
            and not networks & {n for i in before for n in facts.sent[i].arrived}
        ):
            yield from lost(facts, before[-1], named(last), networks)


def unused(facts: Facts) -> Iterator[Finding]:
    """A gradient that is cleared before its optimizer steps, or whose optimizer never does."""
    stepped = {used.step.optimizer for used in facts.steps}
    for index, backward in facts.sent.items():
        users, arrived = facts.users(index), set(backward.arrived)
        what = f"The gradient of {named(backward)} is never used."
        for used in facts.steps if not users else ():
            at = next(filter(None, (facts.clears(n, index, used.index) for n in arrived & set(used.step.holds))), None)
            if used.index > index and at is not None:
                why = f"Line {at} clears it before line {used.step.place} can apply it."
                yield Finding(at.line, what, why, above(at.text, backward.place), "unused gradient")
                break
        for name, holds in facts.trace.optimizers.items():
            waits = name not in stepped and arrived & set(holds) and any(facts.clears(n, -1, index) for n in holds)
            for used in users if waits else ():
                if not set(holds) & set(used.step.holds):
                    why = f"{name} clears {listed(holds)} and never steps; {used.step.optimizer} moves {listed(used.step.moved)}."
                    fix = used.step.place.text.replace(facts.code(used.step.optimizer), facts.code(name))
                    yield Finding(used.step.place.line, what, why, fix, "unused gradient")


def not_cleared(facts: Facts) -> Iterator[Finding]:
    """An optimizer whose gradients nothing clears: they add up from step to step."""
    if any(unused(facts)):
        return  # an optimizer that steps by mistake is not cleared, either
    for name in dict.fromkeys(used.step.optimizer for used in facts.steps if used.backwards):
        turns = [used for used in facts.steps if used.step.optimizer == name and used.backwards]
        first = turns[0]
        for network in {n for i in first.backwards for n in facts.sent[i].arrived if n in first.step.holds}:
            never = facts.clears(network) is None
            left = any(share.network == network and share.line == 0 for share in first.step.shares)
            again = any(facts.clears(network, a.index, b.index) is None for a, b in itertools.pairwise(turns))
            if again or (never and (left or first.step.first)):
                adds = facts.sent[min(first.backwards)]
                others = {
                    named(b) for i, b in facts.sent.items() if i not in first.backwards and network in b.arrived
                } - {named(adds)}
                and_these = f", and {listed(others)} into it, too" if others else ""
                what = f"Nothing in this step clears the gradient of {network}."
                why = f"{named(adds)} adds to what is there{and_these}, so {network} moves on a sum that grows from step to step."
                fix = above(f"{facts.code(name)}.zero_grad()", adds.place)
                yield Finding(adds.place.line, what, why, fix, "not cleared")


def moved_by_another(facts: Facts) -> Iterator[Finding]:
    """A player that is moved by the other's loss: zero_grad missing or misplaced, `inputs=` missing, D not frozen."""
    for used, other in itertools.permutations(facts.steps, 2):
        both, own = used.backwards & other.backwards, used.backwards - other.backwards
        if used.step.optimizer == other.step.optimizer or not both:
            continue
        if own and both == other.backwards and all(facts.users(i) == [used] for i in own):
            in_turns = any(b < other.index < o for b in both for o in own)
            if in_turns or any(set(facts.sent[o].passes) & set(other.step.holds) for o in own):
                yield foreign(facts, used, other, max(both), min(own))
        elif (
            not own
            and both == other.backwards
            and len(both) > 1
            and used.index < other.index
            and opposed(facts, used, other)
        ):
            first = facts.sent[min(both)]
            what = f"{listed({*used.step.holds, *other.step.holds})} are moved by {listed({named(facts.sent[i]) for i in both})} alike."
            why = "Each backward goes into both networks, where the two losses pull in opposite directions."
            only = facts.code(next(iter(used.step.holds)))
            fix = with_keyword(first.place.text, "backward", f"inputs=list({only}.parameters())")
            yield Finding(first.place.line, what, why, fix, "another's gradient")


def foreign(facts: Facts, used: Used, other: Used, theirs: int, mine: int) -> Finding:
    sent, own = facts.sent[theirs], facts.sent[mine]
    network = listed(n for n in sent.arrived if n in used.step.holds)
    why = f"Line {sent.place} leaves its gradient in {network}, and nothing clears it before line {own.place} adds its own."
    fix = above(f"{facts.code(used.step.optimizer)}.zero_grad()", own.place)
    if theirs > mine:
        only = facts.code(next(iter(other.step.holds)))
        why = f"Line {sent.place} goes on into {network}, whose optimizer has not stepped yet."
        fix = with_keyword(sent.place.text, "backward", f"inputs=list({only}.parameters())") + "  # or detach"
    return Finding(used.step.place.line, f"{network} is moved by {named(sent)}, too.", why, fix, "another's gradient")


def opposed(facts: Facts, used: Used, other: Used) -> bool:
    """Whether shares of a network point against each other. For a share a of the sum t it is cos(a, t − a)."""
    line = facts.trace.lines[max(facts.trace.lines.index(facts.lines[used.index]) - 1, 0)]
    for network in {*used.step.holds, *other.step.holds}:
        total = line.networks[network].gradient_norm
        for share in line.networks[network].contributions:
            rest = math.sqrt(max(total**2 - 2 * share.along * total + share.norm**2, 0.0))
            if share.norm and rest and (share.along * total - share.norm**2) / (share.norm * rest) < AGAINST:
                return True
    return False


def left_for_the_next_step(facts: Facts) -> Iterator[Finding]:
    """The other's loss after a player was cleared, where the next step begins without clearing."""
    for used in {used.step.optimizer: used for used in facts.steps if used.backwards}.values():
        name = used.step.optimizer
        start = min(i for each in facts.steps if each.step.optimizer == name for i in each.backwards)
        for network in used.step.holds:
            if facts.clears(network, -1, start) or not facts.clears(network, used.index):
                continue
            for index, sent in facts.sent.items():
                left = index > used.index and network in sent.arrived and not facts.clears(network, index)
                if left and any(user.step.optimizer != name for user in facts.users(index)):
                    what = f"The next step will move {network} on {named(sent)}, too."
                    why = f"Line {sent.place} leaves its gradient in {network} after {name} was cleared."
                    fix = above(f"{facts.code(name)}.zero_grad()", facts.sent[start].place)
                    yield Finding(sent.place.line, what, why, fix, "another's gradient")


def wrong_mode(facts: Facts) -> Iterator[Finding]:
    """A network that is trained through a forward in evaluation mode."""
    for index, call in facts.of(Call):
        network = call.network
        through = next((i for i, b in facts.sent.items() if i > index and network in b.arrived), -1)
        trained = any(network in user.step.moved for user in facts.users(through))
        if trained and call.grad and not call.training and not call.frozen and call.layers:
            at = facts.since(network, "training", False, call.place)
            since = f"since line {at}" if at else "since before this step,"
            why = f"It is in that mode {since} so its BatchNorm and Dropout compute another function than in training."
            fix = above(f"{facts.code(network)}.train()", call.place)
            yield Finding(call.place.line, f"{network} is trained in evaluation mode.", why, fix, "wrong mode")


def two_sigmoids(facts: Facts) -> Iterator[Finding]:
    """A loss on logits that is given what a sigmoid has made; the first such loss speaks for all."""
    for index, sent in facts.of(Backward):
        if sent.double_sigmoid:
            makes = [
                l
                for l in facts.trace.lines
                if set(sent.losses) & set(assigned(l.text)) and l.number <= facts.lines[index].number
            ]
            network = facts.code(next(iter(reversed(sent.passes)), "D"))
            why = f"{network} ends in a sigmoid, and this loss takes logits, so the scores stay between 0.5 and 0.73."
            fix = f"Leave the sigmoid at the end of {network} out."
            line = makes[-1].number if makes else sent.place.line
            yield Finding(line, f"{named(sent)} takes the sigmoid of a sigmoid.", why, fix, "two sigmoids")
            return


def kept_graphs(facts: Facts) -> Iterator[Finding]:
    """Memory that grows: losses that are kept with their graphs."""
    losses = {name for sent in facts.sent.values() for name in sent.losses}
    for kept in facts.trace.kept[:1]:
        text = kept.place.text
        fix = next(filter(None, (with_call(text, name, "item()") for name in losses)), f"{text}  # detached")
        why = f"`{kept.tensor}` has its graph, and the graph what it has saved."
        yield Finding(
            kept.place.line, f"`{kept.container}` keeps a graph of each turn, so memory grows.", why, fix, "kept graph"
        )
    for line in facts.trace.lines:
        for statement in parsed(line.text):
            value = ast.unparse(statement.value) if isinstance(statement, ast.AugAssign) else ""
            if value in line.tensors and line.tensors[value].state == FREED:
                what = f"`{assigned(line.text)[0]}` keeps a graph of each turn, so memory grows."
                why = f"It is a sum of tensors with graphs, and `{value}` has been used for backward already."
                yield Finding(line.number, what, why, with_call(line.text, value, "item()"), "kept graph")
    for sent in facts.sent.values():
        if sent.create_graph:
            why = "Each `.grad` holds the graph and the graph the parameter, so neither is freed."
            fix = f"grads = torch.autograd.grad({', '.join(sent.losses)}, parameters, create_graph=True)"
            yield Finding(sent.place.line, "The gradients of this backward keep its graph.", why, fix, "kept graph")


def not_a_number(facts: Facts) -> Iterator[Finding]:
    """The first NaN or infinity, if it gets to a loss, a gradient or a weight; a GradScaler leaves such a step out."""
    found = facts.trace.nonfinite
    losses = [value for b in facts.sent.values() if b.scale == 1 for value in b.values if value is not None]
    applied = [norm for used in facts.steps for i in used.backwards for norm in facts.sent[i].arrived.values()]
    skipped = any(step.skipped for _, step in facts.of(OptimizerStep))
    if (
        found is None
        or (found.kind == "gradient" and skipped)
        or (found.kind != "weights" and all(map(math.isfinite, [*losses, *applied])))
    ):
        return
    values = [
        l.tensors[found.tensor].value
        for l in facts.trace.lines
        if found.tensor in l.tensors and l.number >= found.place.line
    ]
    which = "NaN or infinite" if not values or values[0] is None else str(values[0])
    why = "All that is computed from it is lost, and after the next step the weights are, too."
    fix = "torch.autograd.set_detect_anomaly(True)  # names the operation"
    if "log(" in found.place.text:
        fix = "F.binary_cross_entropy_with_logits(logits, target)  # instead of log(sigmoid(logits))"
    yield Finding(found.place.line, f"`{found.tensor}` becomes {which} here.", why, fix, "not a number")


def mixed_weights(facts: Facts) -> Iterator[Finding]:
    """A backward through weights that have moved since the forward, which autograd does not see."""
    for index, sent in facts.sent.items():
        made, moved = sent.mixed_made, sent.mixed_moved
        why = "Under autocast the graph holds copies of the weights in low precision, and autograd checks only those."
        for at, write in facts.of(Write):
            calls = [
                i
                for i, c in facts.of(Call)
                if i < index and write.tensor.startswith(f"{c.network}.") and c.network in sent.passes
            ]
            if (
                not write.optimizer
                and calls
                and calls[-1] < at < index
                and facts.events[calls[-1]].grad
                and is_weight(facts, write.tensor)
            ):
                made, moved = facts.events[calls[-1]].place, write.place
                why = "Autograd does not see a change through `.data`."
        if made is not None and moved is not None:
            what = f"`{sent.place.text}` mixes two versions of the weights."
            why = f"The forward on line {made} used the weights that line {moved} has changed since. {why}"
            yield Finding(sent.place.line, what, why, above(made.text, sent.place), "mixed weights")


def is_weight(facts: Facts, name: str) -> bool:
    return any(
        name == f"{network}.{inner}" for network, state in facts.trace.before.items() for inner in state.versions
    )


Rule = Callable[[Facts], Iterator[Finding]]
RULES_FOR_ERRORS: tuple[Rule, ...] = (
    broken_graph, lost_with_an_error, penalty_cannot_reach, constant_penalty, two_sigmoids, wrong_mode, kept_graphs,
    not_a_number, mixed_weights,
)  # fmt: skip
RULES = (*RULES_FOR_ERRORS, nothing_to_apply, unused, not_cleared, moved_by_another, left_for_the_next_step)
