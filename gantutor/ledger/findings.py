"""What is wrong with a step: the line, what it does, why that is wrong, and what to write instead.

A rule reads the records of a trace, never a tensor. It must stay silent on every correct step, so it speaks where the
records show the mistake, and not where they would allow one.
"""

import ast
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gantutor.ledger.records import (
    FREED,
    NO_GRAPH,
    Backward,
    Call,
    Clear,
    Cut,
    Event,
    Failure,
    Finding,
    OptimizerStep,
    Place,
    Trace,
    Write,
)
from gantutor.ledger.rewrite import (
    as_number,
    assigned,
    called,
    made_again,
    out_of_place,
    parsed,
    reads,
    with_detach,
    with_keyword,
    without_cuts,
)

NO_WAY = "does not require grad and does not have a grad_fn"
AGAINST = -0.5  # the cosine below which two losses pull a network in opposite directions


def find(trace: Trace) -> list[Finding]:
    """The mistakes in a step, in the order of its lines; one for each kind and line."""
    facts = Facts(trace)
    rules = RULES if trace.error is None else [rule for rule in RULES if rule not in FOR_WHOLE_STEPS]
    found: dict[tuple[str, int], Finding] = {}
    for finding in (finding for rule in rules for finding in rule(facts)):
        found.setdefault((finding.kind, finding.line), finding)
    return sorted(found.values(), key=lambda finding: finding.line)


def reason(trace: Trace) -> str:
    """`It goes back through the graph of …`: the diagnosis, about "it"."""
    return "It goes" + trace.diagnosis.partition(" goes")[2]


# The records as one sequence of events -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Used:
    """A step of an optimizer: its index among the events, and the indices of the backwards whose gradients it applied."""

    index: int
    step: OptimizerStep
    backwards: frozenset[int]
    from_before: frozenset[str]  # networks that held a gradient from before the traced step


class Facts:
    """A trace's events in their order, by index; which backwards each optimizer's step used; and the code's words."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.events: list[Event] = []
        self.moments: list[int] = []  # the index of each event's line
        for moment, line in enumerate(trace.lines):
            self.events += line.events
            self.moments += [moment] * len(line.events)
        self.steps = [self._used(i, e) for i, e in enumerate(self.events) if isinstance(e, OptimizerStep)]
        self.backwards = {
            i: e for i, e in enumerate(self.events) if isinstance(e, Backward) and not e.is_grad and not e.raised
        }

    def _used(self, index: int, step: OptimizerStep) -> Used:
        """Of several backwards with one line and one loss, a loop's, the shares are those of the last."""
        wanted: dict[tuple[str, int, str], int] = {}
        for share in step.shares:
            key = share.network, share.line, share.loss
            wanted[key] = wanted.get(key, 0) + 1
        found = set()
        for (network, line, loss), times in wanted.items():
            same = [
                i
                for i in range(index)
                if isinstance(event := self.events[i], Backward)
                and not event.is_grad
                and self.trace.lines[self.moments[i]].number == line
                and loss in (*event.losses, ", ".join(event.losses))
                and network in event.arrived
            ]
            found |= set(same[-times:])
        before = {share.network for share in step.shares if share.line == 0}
        return Used(index, step, frozenset(found), frozenset(before))

    def between(self, first: int, last: int) -> list[Event]:
        """The events after the first index and before the last."""
        return self.events[first + 1 : last]

    def clears(self, network: str, first: int, last: int) -> bool:
        """Whether a network's gradients are cleared after the first index and before the last."""
        return any(isinstance(event, Clear) and network in event.networks for event in self.between(first, last))

    def users(self, backward: int) -> list[Used]:
        return [used for used in self.steps if backward in used.backwards]

    def written(self, name: str) -> str:
        """A network or an optimizer as the code writes it: attributes of the step's argument have no prefix in records."""
        for argument in self.trace.arguments[:1]:
            if f"{argument}.{name}" in self.trace.source:
                return f"{argument}.{name}"
        return name

    def loss(self, backward: Backward) -> str:
        return ", ".join(f"`{name}`" for name in backward.losses)

    def line_that_makes(self, name: str, before: int) -> Place | None:
        """The last line before an event that assigns `name`."""
        for line in reversed(self.trace.lines[: self.moments[before] + 1]):
            if name in assigned(line.text):
                return Place(line.number, line.text)
        return None

    def next_step_in_the_code(self, place: Place) -> dict[str, int] | None:
        """The networks of the optimizer whose `step` stands next after a line, also where the step did not get there."""
        for number, text in enumerate(self.trace.source.splitlines(), self.trace.first_line):
            if number > place.line and "step(" in text:
                for name, holds in self.trace.optimizers.items():
                    if self.written(name) in text or name.split(".")[-1] in text:
                        return holds
        return None


def above(statement: str, place: Place) -> str:
    """A statement to insert."""
    return f"{statement}  # above line {place.line}"


def each(names: tuple[str, ...] | list[str] | set[str]) -> str:
    return " and ".join(sorted(names))


# Steps that raise ----------------------------------------------------------------------------------------------------


def broken_graph(facts: Facts) -> Iterator[Finding]:
    """Autograd's two famous errors."""
    trace, failure = facts.trace, facts.trace.failure
    raised = next((e for e in reversed(facts.events) if isinstance(e, Backward) and e.raised), None)
    if failure is None:
        return
    last = trace.lines[-1]
    place = Place(last.number, last.text) if raised is None else raised.place
    why = reason(trace)
    if failure.kind == FREED:
        what = f"`{place.text}` needs a graph that is used up."
        yield Finding(place.line, what, why, fix_freed(facts, failure, place), "freed graph")
    else:
        what = f"`{place.text}` needs a tensor that has been overwritten."
        yield Finding(place.line, what, why, fix_stale(facts, failure, place), "changed in place")


def behind(facts: Facts, name: str) -> set[str]:
    """The networks that the graph of a tensor leads to, as long as it is whole."""
    states = [line.tensors[name] for line in facts.trace.lines if name in line.tensors]
    return {network for state in states for network in state.reaches}


def uses(facts: Facts, name: str, since: Place | None, until: Place) -> list[Place]:
    """The lines after one and before another that read a tensor and do not go back from it."""
    first = 0 if since is None else since.line
    return [
        Place(line.number, line.text)
        for line in facts.trace.lines
        if first < line.number < until.line and reads(line.text, name) and not line.sent
    ]


def fix_freed(facts: Facts, failure: Failure, place: Place) -> str:
    """Keep the first loss out of the part that the second needs; or score again; or keep the graph for a second loss."""
    name, by = failure.graph_of, failure.by
    if by is None or failure.made is None:
        return f"{name} = {name}.detach()  # at the end of each turn" if name else ""
    networks = behind(facts, name)
    freed = [i for i, e in facts.backwards.items() if e.place == by]
    users = [used for i in freed for used in facts.users(i)]
    theirs = {network for used in users for network in used.step.holds}
    if not users:
        return with_keyword(by.text, "backward", "retain_graph=True") or by.text
    if networks and not networks & theirs:  # the first loss had no business behind `name`
        readers = uses(facts, name, failure.made, by)
        return with_detach(readers[0].text, name) if readers else f"{name}.detach()  # in {loss_at(by)}"
    mine = facts.next_step_in_the_code(place)
    later = uses(facts, name, by, place)
    if later and networks and mine is not None and not networks & set(mine):
        return with_detach(later[-1].text, name)
    if later:  # a score that was made for the first loss
        return above(made_again(failure.made.text, name).replace(".detach()", ""), later[0])
    return with_keyword(by.text, "backward", "retain_graph=True") or by.text


def loss_at(place: Place) -> str:
    """What a line goes back from: of `self.loss_D.backward()` it is `self.loss_D`."""
    for statement in parsed(place.text):
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and called(node) == "backward" and isinstance(node.func, ast.Attribute):
                return ast.unparse(node.func.value)
    return "the loss"


def fix_stale(facts: Facts, failure: Failure, place: Place) -> str:
    """Score again after an optimizer's step, or detach; make a new tensor instead of writing into one."""
    name, write, by = failure.graph_of, failure.write, failure.by
    if by is None or failure.made is None:
        return f"{name} = {name}.detach()  # at the end of each turn" if name else ""
    if write is not None and write.optimizer:
        mine = facts.next_step_in_the_code(place)
        networks = behind(facts, name)
        if mine is not None and networks and not networks & set(mine):
            readers = uses(facts, name, failure.made, place)
            if readers:
                again = with_detach(readers[-1].text, name)
                return again if readers[-1].line > by.line else above(again, place)
        return above(
            made_again(failure.made.text, name),
            uses(facts, name, by, place)[0] if name and uses(facts, name, by, place) else place,
        )
    network = failure.culprit.split(".")[0]
    called_there = [e for e in facts.events if isinstance(e, Call) and e.place == by]
    if is_buffer(facts, failure.culprit) and called_there:
        return "DistributedDataParallel(..., broadcast_buffers=False)"
    if called_there and by == failure.made:
        return f"inplace=False  # in the layers of {facts.written(called_there[-1].network)}"
    if network in facts.trace.before:
        return f"{by.text}  # below line {place.line}"
    return out_of_place(by.text) or by.text


def is_buffer(facts: Facts, name: str) -> bool:
    """Whether a culprit is a network's buffer: it has the network's name, and no parameter has its."""
    for network, state in facts.trace.before.items():
        if name.startswith(f"{network}.") and name[len(network) + 1 :] not in state.versions:
            return True
    return False


def lost_with_an_error(facts: Facts) -> Iterator[Finding]:
    """ "element 0 of tensors does not require grad": a loss without a graph."""
    if NO_WAY not in str(facts.trace.error):
        return
    index = next((i for i, e in reversed(list(enumerate(facts.events))) if isinstance(e, Backward)), len(facts.events))
    last = facts.trace.lines[-1]
    place = Place(last.number, last.text)
    mine = facts.next_step_in_the_code(place)
    yield from lost(facts, index, loss_at(place), set(facts.trace.before if mine is None else mine))


def lost(facts: Facts, until: int, loss: str, networks: set[str]) -> Iterator[Finding]:
    """Where the way from a loss to the networks ends: the last place before the loss that ends one."""
    cause = next((e for e in reversed(facts.events[:until]) if ends_the_way(e, networks)), None)
    what = f"No gradient of `{loss}` reaches {each(networks)}."
    if isinstance(cause, Cut):
        if cause.how == "grad without create_graph":
            return  # a rule of its own
        why = HOW.get(cause.how, f"No gradient goes through `{cause.how}`.")
        fix = FOR.get(cause.how) or without_cuts(cause.place.text)
        yield Finding(cause.place.line, what, why, fix, "loss cannot reach")
    elif isinstance(cause, Call) and not cause.grad:
        why = f"{cause.network} is called under `torch.no_grad()`, where autograd records no graph."
        fix = f"{cause.place.text}  # outside torch.no_grad()"
        yield Finding(cause.place.line, what, why, fix, "loss cannot reach")
    elif isinstance(cause, Call):
        frozen_at = where_it_froze(facts, cause.network)
        place = frozen_at or cause.place
        since = "" if frozen_at else ", since before this step"
        why = f"`requires_grad` is False for all parameters of {cause.network}{since}."
        fix = above(f"{facts.written(cause.network)}.requires_grad_(True)", cause.place)
        yield Finding(place.line, what, why, fix, "loss cannot reach")


def ends_the_way(event: Event, networks: set[str]) -> bool:
    if isinstance(event, Cut):
        return bool(set(event.behind) & networks) or event.how == "grad without create_graph"
    return isinstance(event, Call) and (not event.grad or (event.frozen and event.network in networks))


HOW = {
    "detach": "`detach` ends the graph here, so that backward cannot go on.",
    "data": "`.data` is a tensor without its graph, so that backward cannot go on.",
    "item": "`.item()` gives a number, and a number has no graph.",
    "numpy": "An array of numpy has no graph.",
    "argmax": "`argmax` gives an index, and no gradient goes through an index.",
    "round": "`round` has the slope 0 everywhere, so its gradient is exactly 0.",
}
FOR = {
    "argmax": "F.gumbel_softmax(logits, hard=True)  # instead of argmax: one-hot, with a gradient",
    "round": "x + (x.round() - x).detach()  # instead of x.round(): its value, with the gradient of x",
}


def where_it_froze(facts: Facts, network: str) -> Place | None:
    """The line after which no parameter of a network requires a gradient; None if that was so before the step."""
    frozen = facts.trace.before[network].frozen if network in facts.trace.before else False
    for line in facts.trace.lines:
        if network in line.networks:
            if line.networks[network].frozen and not frozen:
                return Place(line.number, line.text)
            frozen = line.networks[network].frozen
    return None


def penalty_cannot_reach(facts: Facts) -> Iterator[Finding]:
    """`autograd.grad` for an input that the scores were not made of, or that requires no gradient."""
    error, asked = str(facts.trace.error), next((e for e in reversed(facts.events) if isinstance(e, Backward)), None)
    if asked is None or not asked.is_grad or "One of the differentiated Tensors" not in error:
        return
    inputs = ", ".join(f"`{name}`" for name in asked.inputs or ())
    name = (asked.inputs or ("x",))[0]
    if "not have been used" in error:
        why = f"{inputs} was not used to make {facts.loss(asked)}: the network was given another tensor."
    else:
        why = f"{inputs} does not require a gradient, so autograd did not record what was made of it."
    first = next((e.place for e in facts.events if isinstance(e, Call)), asked.place)
    what = f"`{asked.place.text}` asks for a gradient that is not in the graph."
    fix = above(f"{name}.requires_grad_()", first) + f", and give the network `{name}` itself"
    yield Finding(asked.place.line, what, why, fix, "penalty cannot reach")


# Steps that run, and are wrong ---------------------------------------------------------------------------------------


def constant_penalty(facts: Facts) -> Iterator[Finding]:
    """A gradient penalty whose gradient has no graph: a number added to the loss."""
    for index, event in enumerate(facts.events):
        if not isinstance(event, Backward) or not event.is_grad or event.create_graph or event.raised:
            continue
        if any(is_parameter(facts, name) for name in event.inputs or ()):
            continue  # a loss's weight is balanced by such gradients, and is meant to be a constant
        name = constant_in_a_loss(facts, index)
        if name:
            what = f"The penalty `{name}` is a constant: no network learns from it."
            why = "The gradient was computed without `create_graph=True`, so it has no graph to go back through."
            fix = with_keyword(event.place.text, "grad", "create_graph=True")
            yield Finding(event.place.line, what, why, fix, "constant penalty")


def is_parameter(facts: Facts, name: str) -> bool:
    return any(name == f"{network}.{own}" for network, state in facts.trace.before.items() for own in state.versions)


def constant_in_a_loss(facts: Facts, index: int) -> str:
    """The name of what a line makes of `autograd.grad`, if it has no graph and a later line adds it to a loss; or ""."""
    lines, first = facts.trace.lines, facts.moments[index]
    names = set(assigned(lines[first].text))
    for line in lines[first + 1 :]:
        read_here = [name for name in names if reads(line.text, name)]
        made = [name for name in assigned(line.text) if name in line.tensors]
        for name in read_here:
            state = lines[first].tensors.get(name) or line.tensors.get(name)
            if state is None or state.state != NO_GRAPH:
                continue
            if line.sent or any(line.tensors[m].state != NO_GRAPH and line.tensors[m].shape == () for m in made):
                return name
        if read_here:
            names |= {name for name in made if line.tensors[name].state == NO_GRAPH}
    return ""


def without_gradient(facts: Facts) -> Iterator[Finding]:
    """An optimizer that has nothing to apply: it holds no network's parameters, or no loss has reached them."""
    for used in facts.steps:
        step, networks = used.step, set(used.step.holds)
        if step.skipped or not step.parameters:
            continue
        if not networks:
            yield empty_optimizer(facts, used)
            continue
        before = [i for i in facts.backwards if i < used.index]
        if not before:
            continue
        backward = facts.backwards[before[-1]]
        zeros = [backward.arrived.get(network) == 0 for network in networks]
        if step.without_gradient < step.parameters and not all(zeros):
            continue
        arrived = [i for i in before if networks & set(facts.backwards[i].arrived) and not used.backwards]
        lost_again = [i for i in arrived if any(facts.clears(network, i, used.index) for network in networks)]
        if lost_again and step.without_gradient == step.parameters and not is_used(facts, lost_again[-1]):
            yield cleared_too_early(facts, lost_again[-1], used)
        elif not arrived or all(zeros):
            yield from lost(facts, before[-1], ", ".join(backward.losses), networks)


def is_used(facts: Facts, backward: int) -> bool:
    return bool(facts.users(backward))


def empty_optimizer(facts: Facts, used: Used) -> Finding:
    """It was made for parameters that no network has any more."""
    held = {network for holds in facts.trace.optimizers.values() for network in holds}
    arrived = {network for i, b in facts.backwards.items() if i < used.index for network in b.arrived}
    alone = sorted(arrived - held) or ["the network"]
    name = facts.written(used.step.optimizer)
    what = f"`{used.step.place.text}` moves no network of this step."
    why = (
        f"{used.step.optimizer} holds none of the parameters of {each(alone)}: the network was made, copied or moved "
        "after the optimizer."
    )
    fix = f"{name} = torch.optim.Adam({facts.written(alone[0])}.parameters(), ...)  # after the network is made"
    return Finding(used.step.place.line, what, why, fix, "empty optimizer")


def cleared_too_early(facts: Facts, index: int, used: Used) -> Finding:
    """zero_grad between a backward and the step that was to use it."""
    backward = facts.backwards[index]
    clear = next(e for e in facts.between(index, used.index) if isinstance(e, Clear))
    what = f"The gradient of {facts.loss(backward)} is never used."
    why = f"Line {clear.place} clears it before line {used.step.place} can apply it."
    return Finding(clear.place.line, what, why, above(clear.place.text, backward.place), "unused gradient")


def unused_backward(facts: Facts) -> Iterator[Finding]:
    """A loss whose gradients are all cleared, or left lying, although an optimizer of the step could have used them."""
    for index, backward in facts.backwards.items():
        if not backward.arrived or is_used(facts, index):
            continue
        later = [used for used in facts.steps if used.index > index and not used.step.skipped]
        owners = [used for used in later if set(used.step.holds) & set(backward.arrived)]
        if owners and owners[0].backwards:
            network = next(iter(set(owners[0].step.holds) & set(backward.arrived)))
            clear = next(
                (e for e in facts.between(index, owners[0].index) if isinstance(e, Clear) and network in e.networks),
                None,
            )
            if clear is not None:
                what = f"The gradient of {facts.loss(backward)} is never used."
                why = f"Line {clear.place} clears it before line {owners[0].step.place} can apply it."
                yield Finding(clear.place.line, what, why, above(clear.place.text, backward.place), "unused gradient")


def wrong_optimizer(facts: Facts) -> Iterator[Finding]:
    """A player is cleared and given a gradient, and then another player's optimizer steps."""
    stepped = {used.step.optimizer for used in facts.steps}
    for used in facts.steps:
        for index in sorted(used.backwards):
            backward = facts.backwards.get(index)
            if backward is None:
                continue
            for name, holds in facts.trace.optimizers.items():
                idle = (
                    name not in stepped and set(holds) & set(backward.arrived) and not set(holds) & set(used.step.holds)
                )
                if idle and any(facts.clears(network, -1, index) for network in holds):
                    right = used.step.place.text.replace(facts.written(used.step.optimizer), facts.written(name))
                    what = f"The gradient of {facts.loss(backward)} in {each(tuple(holds))} is never used."
                    why = f"{used.step.optimizer} moves {each(used.step.moved)}; {name} clears and never steps."
                    yield Finding(used.step.place.line, what, why, right, "unused gradient")


def not_cleared(facts: Facts) -> Iterator[Finding]:
    """An optimizer whose gradients nothing clears: they add up from step to step."""
    by_optimizer: dict[str, list[Used]] = {}
    for used in facts.steps:
        if not used.step.skipped and used.backwards:
            by_optimizer.setdefault(used.step.optimizer, []).append(used)
    for turns in by_optimizer.values():
        first, networks = turns[0], {n for i in turns[0].backwards for n in facts.backwards[i].arrived}
        mine = networks & set(first.step.holds)
        never = [n for n in sorted(mine) if not facts.clears(n, -1, len(facts.events))]
        again = [
            n
            for n in sorted(mine)
            for a, b in zip(turns, turns[1:], strict=False)
            if not facts.clears(n, a.index, b.index)
        ]
        left_before = [n for n in never if n in first.from_before]
        if again or left_before or (never and first.step.first):
            network = (again or left_before or never)[0]
            backward = facts.backwards[min(turns[-1].backwards if again else first.backwards)]
            others = {
                name
                for i, b in facts.backwards.items()
                if i > first.index and network in b.arrived and i not in first.backwards
                for name in b.losses
            } - set(backward.losses)
            and_more = f", and what {each({f'`{name}`' for name in others})} leaves in it" if others else ""
            what = f"Nothing in this step clears the gradient of {network}."
            why = f"{backward.place.text} adds to it, so each step moves {network} on the sum of all before{and_more}."
            fix = above(f"{facts.written(first.step.optimizer)}.zero_grad()", backward.place)
            yield Finding(
                backward.place.line,
                what,
                f"Line {backward.place.line} {why[len(backward.place.text) + 1 :]}",
                fix,
                "not cleared",
            )


def moved_by_another(facts: Facts) -> Iterator[Finding]:
    """A player that is moved by the other's loss: zero_grad missing or misplaced, `inputs=` missing, D not frozen."""
    for used in facts.steps:
        for other in facts.steps:
            if used.step.optimizer == other.step.optimizer:
                continue
            mine, theirs = used.backwards, other.backwards
            both, own = mine & theirs, mine - theirs
            if both and own and both == theirs and all(facts.users(i) == [used] for i in own):
                in_turns = any(b < other.index < o for b in both for o in own)
                through = any(set(facts.backwards[o].passes) & set(other.step.holds) for o in own)
                if in_turns or through:
                    yield foreign(facts, used, other, both, own)
            elif both and mine == theirs and len(mine) > 1 and used.index < other.index and opposed(facts, used, other):
                yield both_on_both(facts, used, other)
    yield from left_for_the_next_step(facts)


def foreign(facts: Facts, used: Used, other: Used, both: frozenset[int], own: frozenset[int]) -> Finding:
    theirs, mine = facts.backwards[max(both)], facts.backwards[min(own)]
    network = each({n for i in both for n in facts.backwards[i].arrived if n in used.step.holds})
    what = f"{network} is moved by {facts.loss(theirs)}, too."
    name = facts.written(used.step.optimizer)
    if max(both) < min(own):
        why = (
            f"Line {theirs.place} leaves its gradient in {network}, and nothing clears it before line {mine.place} adds "
            "its own."
        )
        fix = above(f"{name}.zero_grad()", mine.place)
    else:
        only = facts.written(next(iter(other.step.holds)))
        why = f"Line {theirs.place} goes on into {network}, whose optimizer has not stepped yet."
        fix = with_keyword(theirs.place.text, "backward", f"inputs=list({only}.parameters())")
        fix += f"  # or detach what {only} is given"
    return Finding(used.step.place.line, what, why, fix, "another's gradient")


def both_on_both(facts: Facts, used: Used, other: Used) -> Finding:
    first = facts.backwards[min(used.backwards)]
    losses = each({facts.loss(facts.backwards[i]) for i in used.backwards})
    what = f"{each(tuple(used.step.holds))} and {each(tuple(other.step.holds))} are both moved by {losses}."
    why = "Each backward goes into both networks, where the two losses pull in opposite directions."
    only = facts.written(next(iter(used.step.holds)))
    fix = with_keyword(first.place.text, "backward", f"inputs=list({only}.parameters())")
    return Finding(first.place.line, what, why, fix, "another's gradient")


def opposed(facts: Facts, used: Used, other: Used) -> bool:
    """Whether some network's shares point against each other. A share a of the sum t: cos(a, t − a)."""
    line = facts.trace.lines[max(facts.moments[used.index] - 1, 0)]
    for network in {*used.step.holds, *other.step.holds}:
        state = line.networks.get(network)
        for share in state.contributions if state is not None else ():
            total = state.gradient_norm
            rest = math.sqrt(max(total**2 - 2 * share.along * total + share.norm**2, 0.0))
            product = share.along * total - share.norm**2
            if share.norm and rest and product / (share.norm * rest) < AGAINST:
                return True
    return False


def left_for_the_next_step(facts: Facts) -> Iterator[Finding]:
    """zero_grad after the player's step, and then the other's loss: the next step finds that gradient."""
    end = len(facts.events)
    last = {used.step.optimizer: used for used in facts.steps if not used.step.skipped and used.backwards}
    for name, used in last.items():
        first = next(each_ for each_ in facts.steps if each_.step.optimizer == name)
        for network in used.step.holds:
            start = min(first.backwards, default=0)
            if facts.clears(network, -1, start) or not facts.clears(network, used.index, end):
                continue
            for index, backward in facts.backwards.items():
                left = index > used.index and network in backward.arrived and not facts.clears(network, index, end)
                if left and any(user.step.optimizer != name for user in facts.users(index)):
                    what = f"The next step will move {network} on {facts.loss(backward)}, too."
                    why = f"Line {backward.place} leaves its gradient in {network} after {name} was cleared."
                    fix = above(f"{facts.written(name)}.zero_grad()", facts.backwards[start].place)
                    yield Finding(backward.place.line, what, why, fix, "another's gradient")


def wrong_mode(facts: Facts) -> Iterator[Finding]:
    """A network that is trained through a forward in evaluation mode."""
    for index, call in enumerate(facts.events):
        if not isinstance(call, Call) or call.training or not call.grad or call.frozen or not call.layers:
            continue
        network = call.network
        through = next((i for i, b in facts.backwards.items() if i > index and network in b.arrived), None)
        if through is None or not any(network in user.step.moved for user in facts.users(through)):
            continue
        place = where_it_left_training(facts, network, index)
        since = f"since line {place}" if place else "since before this step,"
        what = f"{network} is trained in evaluation mode."
        why = (
            f"It is in that mode {since} so that its BatchNorm uses running statistics and its Dropout is off, and the "
            "gradient is that of another function."
        )
        yield Finding(
            call.place.line, what, why, above(f"{facts.written(network)}.train()", call.place).strip(), "wrong mode"
        )


def where_it_left_training(facts: Facts, network: str, index: int) -> Place | None:
    """The last line before an event that put a network into evaluation mode."""
    found, training = None, facts.trace.before[network].training if network in facts.trace.before else True
    for line in facts.trace.lines[: facts.moments[index] + 1]:
        if network in line.networks:
            if training and not line.networks[network].training:
                found = Place(line.number, line.text)
            training = line.networks[network].training
    return found


def two_sigmoids(facts: Facts) -> Iterator[Finding]:
    """A loss that takes logits, given what a sigmoid has made; the first such loss speaks for all."""
    for index, event in enumerate(facts.events):
        if isinstance(event, Backward) and event.double_sigmoid:
            place = facts.line_that_makes(event.losses[0], index) if event.losses else None
            place = place or event.place
            network = next((n for n in reversed(event.passes or event.reaches)), "the network")
            what = f"{facts.loss(event)} takes the sigmoid of a sigmoid."
            why = (
                f"The last layer of {network} is a sigmoid, and this loss takes logits, so it applies another. The scores "
                "stay between 0.5 and 0.73, and D cannot be sure of anything."
            )
            fix = f"Leave the sigmoid at the end of {facts.written(network)} out; this loss has its own."
            yield Finding(place.line, what, why, fix, "two sigmoids")
            return


def kept_graphs(facts: Facts) -> Iterator[Finding]:
    """Memory that grows: losses kept with their graphs."""
    for kept in facts.trace.kept:
        name = next((n for n in names_read(kept.place.text) if reads(kept.place.text, n) and n in losses_of(facts)), "")
        what = f"`{kept.container}` keeps the graph of each turn, so that memory grows."
        why = f"`{kept.tensor}` still has its graph, and the graph what it saved."
        fix = as_number(kept.place.text, name) if name else with_detach_of_argument(kept.place.text)
        yield Finding(kept.place.line, what, why, fix, "kept graph")
        break
    for line in facts.trace.lines:
        sums = [node for node in parsed(line.text) if isinstance(node, ast.AugAssign)]
        for node in sums:
            name, value = ast.unparse(node.target), line.tensors.get(ast.unparse(node.value))
            if value is not None and value.state == FREED:
                what = f"`{name}` keeps the graph of each turn, so that memory grows."
                why = f"It is a sum of tensors with graphs, and `{ast.unparse(node.value)}` has been used for backward already."
                fix = as_number(line.text, ast.unparse(node.value))
                yield Finding(line.number, what, why, fix, "kept graph")
    for backward in facts.backwards.values():
        if backward.create_graph:
            what = "The gradients that this backward leaves keep its graph."
            why = "Each `.grad` holds the graph, and the graph the parameter, so that the memory is not freed."
            fix = f"grads = torch.autograd.grad({', '.join(backward.losses)}, parameters, create_graph=True)"
            yield Finding(backward.place.line, what, why, fix, "kept graph")


def losses_of(facts: Facts) -> set[str]:
    return {name for backward in facts.backwards.values() for name in backward.losses}


def names_read(text: str) -> list[str]:
    return [
        ast.unparse(node)
        for statement in parsed(text)
        for node in ast.walk(statement)
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Load)
    ]


def with_detach_of_argument(text: str) -> str:
    """`pool.append(fake)` → `pool.append(fake.detach())`."""
    for statement in parsed(text):
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and node.args and called(node) in ("append", "extend", "insert", "add"):
                return with_detach(text, ast.unparse(node.args[-1]))
    return text


def not_a_number(facts: Facts) -> Iterator[Finding]:
    """The first NaN or infinity, if it gets to a loss, a gradient or a weight."""
    found = facts.trace.nonfinite
    if found is None:
        return
    losses = [v for e in facts.events if isinstance(e, Backward) for v in e.values if v is not None]
    arrived = [
        v
        for used in facts.steps
        if not used.step.skipped
        for i in used.backwards
        for v in facts.backwards[i].arrived.values()
    ]
    if all(math.isfinite(value) for value in [*losses, *arrived]) and found.kind != "weights":
        return
    value = next(
        (
            line.tensors[found.tensor].value
            for line in facts.trace.lines
            if found.tensor in line.tensors and line.number >= found.place.line
        ),
        None,
    )
    which = "NaN or infinity" if value is None else "NaN" if math.isnan(value) else "-inf" if value < 0 else "inf"
    what = f"`{found.tensor}` becomes {which} here."
    why = "Everything that is computed from it is lost, and so are the weights after the next step."
    fix = fix_number(found.place.text)
    yield Finding(found.place.line, what, why, fix, "not a number")


def fix_number(text: str) -> str:
    if "log(" in text:
        return "F.binary_cross_entropy_with_logits(logits, target)  # instead of log(sigmoid(logits))"
    if "sqrt(" in text or "norm(" in text:
        return "(x.square().sum(1) + 1e-12).sqrt()  # the slope of a root at 0 is infinite"
    return "torch.autograd.set_detect_anomaly(True)  # names the operation"


def mixed_weights(facts: Facts) -> Iterator[Finding]:
    """A backward through weights that have moved since the forward, which autograd does not see."""
    for index, backward in facts.backwards.items():
        made, moved = backward.mixed_made, backward.mixed_moved
        if backward.mixed and made is not None and moved is not None:
            why = (
                f"Under autocast the graph holds low-precision copies of the weights, made on line {made} but line "
                f"{moved} has moved the weights since. Autograd checks the copies, and raises nothing."
            )
            yield mixed(facts, backward, why, made)
            continue
        for at, write in enumerate(facts.events[:index]):
            if isinstance(write, Write) and not write.optimizer and is_parameter(facts, write.tensor):
                call = last_call(facts, write.tensor, index)
                if call is not None and call < at and facts.events[call].grad and reaches_weights(backward, write):
                    place = facts.events[call].place
                    why = (
                        f"The forward on line {place} used `{write.tensor}` before line {write.place} changed it. "
                        "Autograd does not see a change through `.data`, and raises nothing."
                    )
                    yield mixed(facts, backward, why, place)
                    break


def reaches_weights(backward: Backward, write: Write) -> bool:
    return any(write.tensor.startswith(f"{network}.") for network in backward.passes)


def last_call(facts: Facts, parameter: str, until: int) -> int | None:
    """The last forward before an event of the network that has a parameter."""
    calls = [
        i for i, e in enumerate(facts.events[:until]) if isinstance(e, Call) and parameter.startswith(f"{e.network}.")
    ]
    return calls[-1] if calls else None


def mixed(facts: Facts, backward: Backward, why: str, made: Place) -> Finding:
    what = f"`{backward.place.text}` mixes two versions of the weights."
    return Finding(backward.place.line, what, why, above(made.text, backward.place), "mixed weights")


Rule = Callable[[Facts], Iterator[Finding]]
FOR_WHOLE_STEPS: list[Rule] = [without_gradient, unused_backward, wrong_optimizer, not_cleared, moved_by_another]
RULES: list[Rule] = [
    broken_graph,
    lost_with_an_error,
    penalty_cannot_reach,
    constant_penalty,
    two_sigmoids,
    wrong_mode,
    kept_graphs,
    not_a_number,
    mixed_weights,
    *FOR_WHOLE_STEPS,
]
