"""What is wrong with a step: the line, what it does, why that is wrong, and what to write instead.

A rule reads the records of a trace, never a tensor. It speaks where the records show a mistake, and not where they
would allow one: on a correct step all rules are silent.
"""

import ast
import itertools
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from gantutor.ledger.records import (
    FREED,
    NO_GRAPH,
    STALE,
    Backward,
    Call,
    Clear,
    Cut,
    Failure,
    Finding,
    OptimizerStep,
    Place,
    Trace,
)

Found = Iterator[tuple[Place, str, str, str]]  # where, what, why, and what to write instead

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
    for kind, rule in RULES.items():
        if trace.error is None or kind not in NEED_A_WHOLE_STEP:
            for place, what, why, fix in rule(facts):
                found.setdefault((kind, place.line), Finding(place.line, what, why, fix, kind))
    return sorted(found.values(), key=lambda finding: finding.line)


# Statements rewritten -------------------------------------------------------------------------------------------------


def parsed(text: str) -> list[ast.stmt]:
    """The statements in a line; none for half a statement, such as the head of a loop."""
    try:
        return ast.parse(text.strip()).body
    except SyntaxError:
        return []


def edited(text: str, change: Callable[[ast.expr, str], str | None]) -> str:
    """A line with expressions replaced by what `change` makes of them, inner ones first; "" if none was."""

    class Edit(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            node = self.generic_visit(node)
            new = change(node, ast.unparse(node)) if isinstance(node, ast.expr) else None
            return ast.parse(new, mode="eval").body if new else node

    before, after = [ast.unparse(each) for each in parsed(text)], [ast.unparse(Edit().visit(e)) for e in parsed(text)]
    return "; ".join(after) if after != before else ""


def with_call(text: str, name: str, call: str) -> str:
    """`D(fake)` → `D(fake.detach())`, wherever the line reads `name`; "" if it does not."""

    def change(node: ast.expr, code: str) -> str | None:
        return f"{name}.{call}" if code == name and isinstance(getattr(node, "ctx", None), ast.Load) else None

    return edited(text, change)


def with_keyword(text: str, function: str, keyword: str) -> str:
    """`loss.backward()` → `loss.backward(retain_graph=True)`."""

    def change(node: ast.expr, code: str) -> str | None:
        if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] != function:
            return None
        others = [k for k in map(ast.unparse, [*node.args, *node.keywords]) if not k.startswith(keyword.split("=")[0])]
        return f"{ast.unparse(node.func)}({', '.join([*others, keyword])})"

    return edited(text, change)


def without_cut(text: str) -> str:
    """`fake = Variable(G(z).data)` → `fake = G(z)`: no cut, and nothing around it that makes a tensor again."""
    cut = re.compile(r"(.*)\.(?:data|(?:detach|item|numpy|tolist)\(\))", re.DOTALL)
    again = re.compile(r"(?:[\w.]+\.)?(?:Variable|from_numpy|tensor|as_tensor)\(([^,]*)\)", re.DOTALL)

    def change(node: ast.expr, code: str) -> str | None:
        found = cut.fullmatch(code) or (again.fullmatch(code) if isinstance(node, ast.Call) else None)
        return found[1] if found else None

    return edited(text, change)


def assigned(text: str) -> list[str]:
    """The names that a line assigns, as the code writes them."""
    targets = [t for s in parsed(text) for t in getattr(s, "targets", [getattr(s, "target", None)]) if t is not None]
    return [ast.unparse(each) for t in targets for each in getattr(t, "elts", [t])]


def made_again(text: str, name: str) -> str:
    """What makes `name`: of `p0, p1 = D(x), D(y)` and `p1` it is `p1 = D(y)`."""
    names, values = assigned(text), [getattr(statement, "value", None) for statement in parsed(text)]
    if name in names and len(values) == 1 and isinstance(values[0], ast.Tuple) and len(values[0].elts) == len(names):
        return f"{name} = {ast.unparse(values[0].elts[names.index(name)])}"
    return text


OUT_OF_PLACE = {  # a change in place, and a new tensor instead
    r"(.+)\.fill_\((.*)\)": r"\1 = torch.full_like(\1, \2)",
    r"(\S+) ([-+*/])= (.*)": r"\1 = \1 \2 \3",
    r"(\w+)(\[.*\] = .*)": r"\1 = \1.clone(); \1\2",
    r"(.+)\.(\w+)_\((.*)\)": r"\1 = \1.\2(\3)",
}


def out_of_place(text: str) -> str:
    """`x += y` → `x = x + y`."""
    found = (match.expand(new) for pattern, new in OUT_OF_PLACE.items() if (match := re.fullmatch(pattern, text)))
    return next(found, text)


def above(statement: str, place: Place) -> str:
    """A statement to insert."""
    return f"{statement}  # above line {place.line}"


def named(names: Iterable[str]) -> str:
    """`a` and `b`."""
    return " and ".join(f"`{name}`" for name in sorted(names))


def listed(names: Iterable[str]) -> str:
    """a and b."""
    return " and ".join(sorted(names))


# The records as one sequence of events --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Used(OptimizerStep):
    """An optimizer's step: its index among the events, and the indices of the backwards whose gradients it applied."""

    index: int = 0
    backwards: frozenset[int] = frozenset()


class Facts:
    """A trace's events in their order, and which backwards each optimizer's step has used."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.events = [event for line in trace.lines for event in line.events]
        self.moments = [moment for moment, line in enumerate(trace.lines) for _ in line.events]
        self.sent = {i: b for i, b in self.of(Backward) if not b.is_grad and not b.raised}
        self.steps = [self._used(i, step) for i, step in self.of(OptimizerStep) if not step.skipped]
        self.turns: dict[str, list[Used]] = {}  # of each optimizer, the steps in which it has applied something
        for used in self.steps:
            if used.backwards:
                self.turns.setdefault(used.optimizer, []).append(used)
        self.last = next((b for _, b in reversed(list(self.of(Backward)))), None)
        self.parameters = {f"{name}.{inner}" for name, state in trace.before.items() for inner in state.versions}

    def of(self, kind: type[Any]) -> Iterator[tuple[int, Any]]:
        """The events of a kind, with their indices."""
        return ((i, event) for i, event in enumerate(self.events) if isinstance(event, kind))

    def _used(self, index: int, step: OptimizerStep) -> Used:
        numbers = {number for shares in step.shares.values() for number in shares}
        used = frozenset(i for i, sent in self.sent.items() if sent.number in numbers)
        return Used(**vars(step), index=index, backwards=used)

    def cleared(self, networks: Collection[str], first: int = -1, last: float = math.inf) -> Place | None:
        """Where the gradients of one of these networks are cleared, after the first index and before the last."""
        found = (clear.place for i, clear in self.of(Clear) if first < i < last and set(networks) & set(clear.networks))
        return next(found, None)

    def users(self, backward: int) -> list[Used]:
        return [used for used in self.steps if backward in used.backwards]

    def code(self, name: str) -> str:
        """A network or an optimizer as the code writes it: records leave out the name of the step's first argument."""
        longer = (f"{argument}.{name}" for argument in self.trace.arguments[:1])
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
        between = (line for line in self.trace.lines if first.line < line.number < last.line and not line.of(Backward))
        return [line.place for line in between if with_call(line.text, tensor, "x")]

    def since(self, network: str, attribute: str, value: bool, until: Place) -> Place | None:
        """The last line before another that gave a network this mode; None if it had it before the step."""
        found, before = None, getattr(self.trace.before.get(network), attribute, value)
        for line in self.trace.lines:
            now = getattr(line.networks[network], attribute)
            if line.number < until.line and now == value != before:
                found = line.place
            before = now
        return found


# Steps that raise -----------------------------------------------------------------------------------------------------


def raising(facts: Facts, kind: str, needs: str) -> Found:
    """ "backward through the graph a second time", and "modified by an inplace operation"."""
    failure, raised = facts.trace.failure, facts.last
    if failure is not None and failure.kind == kind and raised is not None:
        by_hand = kind == STALE and failure.by is not None and not (failure.write and failure.write.optimizer)
        fix = (fix_write if by_hand else fix_graph)(facts, failure, raised)
        why = "It goes" + facts.trace.diagnosis.partition(" goes")[2]
        yield raised.place, f"`{raised.place.text}` {needs}.", why, fix


def fix_graph(facts: Facts, failure: Failure, raised: Backward) -> str:
    """Detach what leads to the other player; or score again; or keep the graph."""
    name, by, made, place = failure.graph_of, failure.by, failure.made, raised.place
    if by is None or made is None:
        return f"{name} = {name}.detach()  # at the end of each turn"
    behind, player = facts.behind(name), facts.player_of(place)
    later, earlier = facts.readers(name, by, place), facts.readers(name, made, by)
    if failure.kind == FREED:
        theirs = {n for i, b in facts.sent.items() if b.place == by for used in facts.users(i) for n in used.holds}
        if theirs and not theirs & behind:
            return with_call(earlier[0].text, name, "detach()") if earlier else f"{name}.detach()  # for line {by.line}"
        if not theirs or not later:
            return with_keyword(by.text, "backward", "retain_graph=True")
    if player & (set(raised.reaches) - behind) and not player & behind:  # the way to this player avoids `name`
        again = with_call([*earlier, *later[:1]][-1].text, name, "detach()")
        return again if later else above(again, place)
    return above(made_again(made.text, name).replace(".detach()", ""), [*later, place][0])


def fix_write(facts: Facts, failure: Failure, raised: Backward) -> str:
    """For a change that no optimizer made: of a weight, of a buffer, inside a network, or of the step's own tensor."""
    by = failure.by or raised.place
    calls = [call.network for _, call in facts.of(Call) if call.place == by]
    if failure.culprit in facts.parameters:
        return f"{by.text}  # below line {raised.place.line}"
    if calls and any(failure.culprit.startswith(f"{network}.") for network in calls):
        return "DistributedDataParallel(..., broadcast_buffers=False)"
    return f"inplace=False  # in the layers of {facts.code(calls[-1])}" if calls else out_of_place(by.text)


def lost(facts: Facts, until: int, loss: str, networks: set[str]) -> Found:
    """The last place before a loss where the way to some networks ends."""
    what = f"No gradient of {loss} reaches {listed(networks)}."
    for event in reversed(facts.events[:until]):
        if isinstance(event, Cut) and event.how == "grad without create_graph":
            return  # it has a rule of its own
        if isinstance(event, Cut) and networks & set(event.behind):
            why, fix = HOW.get(event.how, (f"No gradient goes through `{event.how}`.", "{}"))
            yield event.place, what, why, fix.format(without_cut(event.place.text))
            return
        if isinstance(event, Call) and not event.grad:
            why = f"{event.network} is called under `torch.no_grad()`, where autograd records no graph."
            yield event.place, what, why, f"{event.place.text}  # outside torch.no_grad()"
            return
        if isinstance(event, Call) and event.frozen and event.network in networks:
            at = facts.since(event.network, "frozen", True, event.place)
            why = (
                f"`requires_grad` is False for {event.network}'s parameters{'' if at else ', since before this step'}."
            )
            yield at or event.place, what, why, above(f"{facts.code(event.network)}.requires_grad_(True)", event.place)
            return


def cannot_reach(facts: Facts) -> Found:
    """A loss without a graph, which raises; or an optimizer that steps, and whose gradient never came or is 0."""
    if "does not require grad and does not have a grad_fn" in str(facts.trace.error):
        loss = named(facts.last.losses) if facts.last is not None else "the loss"
        player = facts.player_of(facts.trace.lines[-1].place)
        yield from lost(facts, len(facts.events), loss, player or set(facts.trace.before))
    for used in facts.steps if facts.trace.error is None else ():
        before = [i for i in facts.sent if i < used.index]
        arrived = [norm for i in before for n, norm in facts.sent[i].arrived.items() if n in used.holds]
        if before and used.holds and (not any(arrived) if not used.backwards else set(arrived) == {0}):
            yield from lost(facts, before[-1], named(facts.sent[before[-1]].losses), set(used.holds))


def penalty_cannot_reach(facts: Facts) -> Found:
    """`autograd.grad` for an input that the scores were not made of, or that requires no gradient."""
    asked = facts.last
    if asked is None or not asked.is_grad or "differentiated Tensor" not in str(facts.trace.error):
        return
    name, scored = (asked.inputs or ("x",))[0], next((call.place for _, call in facts.of(Call)), asked.place)
    why = f"`{name}` does not require a gradient, so autograd has not recorded what was made of it."
    if "not have been used" in str(facts.trace.error):
        why = f"`{name}` was not used for {named(assigned(scored.text))}: the network was given another tensor."
    what = f"`{asked.place.text}` asks for a gradient that is not in the graph."
    yield asked.place, what, why, above(f"{name}.requires_grad_()", scored)


# Steps that run, and are wrong ----------------------------------------------------------------------------------------


def constant_penalty(facts: Facts) -> Found:
    """A gradient penalty whose gradient has no graph: a number that is added to the loss."""
    for index, asked in facts.of(Backward):
        if asked.is_grad and not asked.create_graph and not asked.raised:
            name = "" if facts.parameters & set(asked.inputs or ()) else constant_in_a_loss(facts, facts.moments[index])
            what = f"The penalty `{name}` is a constant: no network learns from it."
            why = "Its gradient was computed without `create_graph=True`, so there is no graph to go back through."
            if name:
                yield asked.place, what, why, with_keyword(asked.place.text, "grad", "create_graph=True")


def constant_in_a_loss(facts: Facts, moment: int) -> str:
    """What a line makes of `autograd.grad`, if it has no graph and a later line adds it to a loss; or ""."""
    names = set(assigned(facts.trace.lines[moment].text))
    for line in facts.trace.lines[moment + 1 :]:
        read = [name for name in names if with_call(line.text, name, "x")]
        made = {name: line.tensors[name] for name in assigned(line.text) if name in line.tensors}
        with_graph = any(state.state != NO_GRAPH and state.shape == () for state in made.values())
        for name in read if line.of(Backward) or with_graph else ():
            return name if name not in line.tensors or line.tensors[name].state == NO_GRAPH else ""
        names |= set(made) if read else set()
    return ""


def empty_optimizer(facts: Facts) -> Found:
    """An optimizer of networks that the step never runs: the one that it runs was made or copied later."""
    called = {call.network for _, call in facts.of(Call)}
    for used in facts.steps:
        sent = [b for i, b in facts.sent.items() if i < used.index]
        if sent and not used.shares and not called & set(used.holds):
            what = f"`{used.place.text}` moves no network of this step."
            why = f"{used.optimizer} holds none of {listed(sent[-1].arrived)}: a network was made or copied after it."
            fix = f"{facts.code(used.optimizer)} = torch.optim.Adam(network.parameters())  # after the network is made"
            yield used.place, what, why, fix


def unused_gradient(facts: Facts) -> Found:
    """A gradient that is cleared before its optimizer steps, or whose optimizer never does."""
    stepped = {used.optimizer for used in facts.steps}
    for index, sent in facts.sent.items():
        users, what = facts.users(index), f"The gradient of {named(sent.losses)} is never used."
        for used in facts.steps if not users else ():
            clear = facts.cleared(set(sent.arrived) & set(used.holds), index, used.index)
            if clear is not None:
                why = f"Line {clear} clears it before line {used.place} can apply it."
                yield clear, what, why, above(clear.text, sent.place)
        for name, holds in facts.trace.optimizers.items():
            waits = name not in stepped and set(sent.arrived) & set(holds) and facts.cleared(holds, -1, index)
            for used in users if waits else ():
                if not set(holds) & set(used.holds):
                    why = f"{name} clears {listed(holds)} and never steps; {used.optimizer} does."
                    fix = used.place.text.replace(facts.code(used.optimizer), facts.code(name))
                    yield used.place, what, why, fix


def not_cleared(facts: Facts) -> Found:
    """An optimizer whose gradients nothing clears: they add up from step to step."""
    if any(unused_gradient(facts)):
        return  # an optimizer that steps by mistake is not cleared, either
    for name, turns in facts.turns.items():
        step, adds = turns[0], facts.sent[min(turns[0].backwards)]
        for network in (n for n in adds.arrived if n in step.holds):
            left = 0 in step.shares.get(network, ())
            never = facts.cleared({network}) is None and (left or step.first)
            if never or any(facts.cleared({network}, a.index, b.index) is None for a, b in itertools.pairwise(turns)):
                others = {n for b in facts.sent.values() if network in b.arrived for n in b.losses} - set(adds.losses)
                also = f", {named(others)} adds to it, too" if others else ""
                why = f"{named(adds.losses)} adds to what is there{also}, and {network} moves on a sum that grows."
                what = f"Nothing in this step clears the gradient of {network}."
                yield adds.place, what, why, above(f"{facts.code(name)}.zero_grad()", adds.place)


def anothers_gradient(facts: Facts) -> Found:
    """A player that is moved by the other's loss: zero_grad missing or misplaced, `inputs=` missing, D not frozen."""
    for used, other in itertools.permutations(facts.steps, 2):
        both, own = used.backwards & other.backwards, used.backwards - other.backwards
        if used.optimizer == other.optimizer or not both or both != other.backwards:
            continue
        only = facts.code(next(iter(other.holds)))
        if own and all(facts.users(i) == [used] for i in own):
            theirs, mine = facts.sent[max(both)], facts.sent[min(own)].place
            in_turns = any(b < other.index < o for b in both for o in own)
            if in_turns or any(set(facts.sent[o].passes) & set(other.holds) for o in own):
                network = listed(n for n in theirs.arrived if n in used.holds)
                why = f"Line {theirs.place} leaves its gradient there, and line {mine} adds to it."
                fix = above(f"{facts.code(used.optimizer)}.zero_grad()", mine)
                if max(both) > min(own):
                    why = f"Line {theirs.place} goes on into {network}, which has not moved yet."
                    fix = f"{into_only(theirs, only)}  # or detach what {only} is given"
                yield used.place, f"{network} is moved by {named(theirs.losses)}, too.", why, fix
        elif not own and len(both) > 1 and used.index > other.index and opposed(facts, used, other):
            first, losses = facts.sent[min(both)], {n for i in both for n in facts.sent[i].losses}
            what = f"{listed({*used.holds, *other.holds})} are moved by {named(losses)} alike."
            why = "Each backward goes into both networks, where the two losses pull in opposite directions."
            yield first.place, what, why, into_only(first, only)
    yield from left_for_the_next_step(facts)


def into_only(sent: Backward, network: str) -> str:
    return with_keyword(sent.place.text, "backward", f"inputs=list({network}.parameters())")


def opposed(facts: Facts, used: Used, other: Used) -> bool:
    """Whether shares of a network point against each other. For a share a of the sum t it is cos(a, t − a)."""
    networks = facts.trace.lines[max(facts.moments[other.index] - 1, 0)].networks
    for state in (networks[name] for name in {*used.holds, *other.holds}):
        for share in state.contributions:
            product = share.along * state.gradient_norm
            rest = math.sqrt(max(state.gradient_norm**2 - 2 * product + share.norm**2, 0.0))
            if share.norm and rest and (product - share.norm**2) / (share.norm * rest) < AGAINST:
                return True
    return False


def left_for_the_next_step(facts: Facts) -> Found:
    """The other's loss after a player was cleared, where the next step begins without clearing."""
    for name, turns in facts.turns.items():
        start, last = min(turns[0].backwards), turns[-1]
        for network, (index, sent) in itertools.product(last.holds, facts.sent.items()):
            at_the_end = facts.cleared({network}, last.index) and not facts.cleared({network}, -1, start)
            left = network in sent.arrived and index > last.index and not facts.cleared({network}, index)
            if at_the_end and left and any(user.optimizer != name for user in facts.users(index)):
                what = f"The next step will move {network} on {named(sent.losses)}, too."
                why = f"Line {sent.place} leaves its gradient in {network} after {name} was cleared."
                yield sent.place, what, why, above(f"{facts.code(name)}.zero_grad()", facts.sent[start].place)


def wrong_mode(facts: Facts) -> Found:
    """A network that is trained through a forward in evaluation mode."""
    for index, call in facts.of(Call):
        network = call.network
        through = next((i for i, b in facts.sent.items() if i > index and network in b.arrived), -1)
        trained = any(network in user.moved for user in facts.users(through))
        if trained and call.grad and not call.training and not call.frozen and call.layers:
            at = facts.since(network, "training", False, call.place)
            since = f"since line {at}" if at else "since before this step,"
            why = f"It is in that mode {since} so its BatchNorm and Dropout compute another function than in training."
            fix = above(f"{facts.code(network)}.train()", call.place)
            yield call.place, f"{network} is trained in evaluation mode.", why, fix


def two_sigmoids(facts: Facts) -> Found:
    """A loss on logits that is given what a sigmoid has made; the first such loss speaks for all."""
    for index, sent in [(i, b) for i, b in facts.of(Backward) if b.double_sigmoid][:1]:
        lines = [
            line for line in facts.trace.lines[: facts.moments[index]] if set(sent.losses) & set(assigned(line.text))
        ]
        network = facts.code(next(iter(reversed(sent.passes)), "D"))
        why = f"{network} ends in a sigmoid, and this loss takes logits, so the scores stay between 0.5 and 0.73."
        what = f"{named(sent.losses)} takes the sigmoid of a sigmoid."
        yield lines[-1].place if lines else sent.place, what, why, f"Leave the sigmoid at the end of {network} out."


def kept_graph(facts: Facts) -> Found:
    """Memory that grows: losses that are kept with their graphs."""
    losses = {name for sent in facts.sent.values() for name in sent.losses}
    made_here = {name for line in facts.trace.lines for name in assigned(line.text)}
    for kept in facts.trace.kept:
        times = [i for i, line in enumerate(facts.trace.lines) if line.number == kept.place.line]
        in_turns = any(line.of(Backward) for line in facts.trace.lines[times[0] : times[-1]]) if times else False
        if kept.container in made_here and not in_turns:
            continue  # the step's own, which goes with it
        fixes = [fix for name in losses if (fix := with_call(kept.place.text, name, "item()"))]
        why = f"`{kept.tensor}` has its graph, and the graph what it has saved."
        what = f"`{kept.container}` keeps a graph of each turn, so memory grows."
        yield kept.place, what, why, [*fixes, f"{kept.place.text}  # detached"][0]
    for line in facts.trace.lines:
        for statement in (each for each in parsed(line.text) if isinstance(each, ast.AugAssign)):
            value = ast.unparse(statement.value)
            if value in line.tensors and line.tensors[value].state == FREED:
                what = f"`{ast.unparse(statement.target)}` keeps a graph of each turn, so memory grows."
                why = f"It is a sum of tensors with graphs, and `{value}` has been used for backward already."
                yield line.place, what, why, with_call(line.text, value, "item()")
    for sent in (sent for sent in facts.sent.values() if sent.create_graph):
        why = "Each `.grad` holds the graph and the graph the parameter, so neither is freed."
        fix = f"grads = torch.autograd.grad({', '.join(sent.losses)}, parameters, create_graph=True)"
        yield sent.place, "The gradients of this backward keep its graph.", why, fix


def not_a_number(facts: Facts) -> Found:
    """The first NaN or infinity, if it gets to a loss, a gradient or a weight; a GradScaler leaves such a step out."""
    found = facts.trace.nonfinite
    losses = [value for b in facts.sent.values() for value in b.values if value is not None]
    applied = [norm for used in facts.steps for i in used.backwards for norm in facts.sent[i].arrived.values()]
    left_out = any(step.skipped for _, step in facts.of(OptimizerStep))
    wrong = applied if left_out else [*losses, *applied]
    if found is not None and (found.kind == "weights" or not all(map(math.isfinite, wrong))):
        states = [line.tensors[found.tensor] for line in facts.trace.lines if found.tensor in line.tensors]
        values = [str(state.value) for state in states if not math.isfinite(state.value or 0)]
        why = "All that is computed from it is lost, and after the next step the weights are, too."
        fix = "torch.autograd.set_detect_anomaly(True)  # names the operation"
        if "log(" in found.place.text:
            fix = "F.binary_cross_entropy_with_logits(logits, target)  # instead of log(sigmoid(logits))"
        yield found.place, f"`{found.tensor}` becomes {[*values, 'NaN or infinite'][0]} here.", why, fix


def mixed_weights(facts: Facts) -> Found:
    """A backward through weights that have moved since the forward, which autograd does not see."""
    hidden = {
        "autocast": "Under autocast the graph holds copies of the weights in low precision, "
        "and autograd checks only those.",
        "data": "Autograd does not see a change through `.data`.",
    }
    for sent in facts.sent.values():
        if sent.mixed is not None:
            made, moved, how = sent.mixed
            what = f"`{sent.place.text}` mixes two versions of the weights."
            why = f"The forward on line {made} used the weights that line {moved} has changed since."
            why += " " + hidden.get(how, f"Autograd does not see a change by {how}.")
            yield sent.place, what, why, above(made.text, sent.place)


RULES: dict[str, Callable[[Facts], Found]] = {  # by the kind of mistake
    "freed graph": partial(raising, kind=FREED, needs="needs a graph that is used up"),
    "changed in place": partial(raising, kind=STALE, needs="needs a tensor that has been overwritten"),
    "loss cannot reach": cannot_reach,
    "penalty cannot reach": penalty_cannot_reach,
    "constant penalty": constant_penalty,
    "empty optimizer": empty_optimizer,
    "unused gradient": unused_gradient,
    "not cleared": not_cleared,
    "another's gradient": anothers_gradient,
    "wrong mode": wrong_mode,
    "two sigmoids": two_sigmoids,
    "kept graph": kept_graph,
    "not a number": not_a_number,
    "mixed weights": mixed_weights,
}
NEED_A_WHOLE_STEP = ("empty optimizer", "unused gradient", "not cleared", "another's gradient")
