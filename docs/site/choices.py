"""Exercises whose answer is a choice, so that it can be given in the page, with the verdict on each choice.

A form is a list of questions. Each is judged by the exercise's own check, with the other answers right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from gantutor import checks
from gantutor.checks.cyclegan_exercises import OUR_TERMS, REACHES, REFERENCE_LOG
from gantutor.checks.detach_or_retain_graph import PUZZLE


@dataclass(frozen=True)
class Form:
    """Questions with fields; `options` are those of every field, of which `several` may be chosen, or one.

    Attributes:
        questions: Each question's text, and the labels of its fields ("" for an only one).
        right: For each question, the right value of each field: a set of options, or one.
        check: The exercise's check on the values of all fields, by question.
    """

    questions: Sequence[tuple[str, Sequence[str]]]
    options: Sequence[str]
    several: bool
    right: Sequence[Sequence[Any]]
    check: Callable[[Sequence[Sequence[Any]]], checks.CheckResult]

    def data(self) -> dict[str, Any]:
        """For site.js: each question with its verdicts, by a key that says what is chosen in each field."""
        made = []
        for number, (text, fields) in enumerate(self.questions):
            verdicts = {}
            for value in product(self._values(), repeat=len(fields)):
                answers = list(self.right)
                answers[number] = [chosen for _, chosen in value]
                judged = self.check(answers)
                verdicts["|".join(key for key, _ in value)] = [judged.passed, judged.message]
            made.append({"text": text, "fields": list(fields), "verdicts": verdicts})
        return {"questions": made, "options": list(self.options), "several": self.several}

    def _values(self) -> list[tuple[str, Any]]:
        """What one field can hold, with its key."""
        count = len(self.options)
        if not self.several:
            return [(str(i), self.options[i]) for i in range(count)]
        sets = [[i for i in range(count) if mask >> i & 1] for mask in range(2**count)]
        return [(",".join(map(str, chosen)), {self.options[i] for i in chosen}) for chosen in sets]


def who_moves() -> Form:
    questions = [("`d_loss.backward()` leaves gradients in", [""]), ("`gan.opt_D.step()` changes", [""])]
    right = [[{"G", "D"}], [{"D"}]]
    return Form(questions, ["G", "D"], True, right, lambda a: checks.who_moves(a[0][0], a[1][0]))


def ledger() -> Form:
    questions = [(f"After line {line}", ["G holds", "D holds"]) for line in PUZZLE]
    right = [[PUZZLE[line]["G"], PUZZLE[line]["D"]] for line in PUZZLE]

    def check(answers: Sequence[Sequence[Any]]) -> checks.CheckResult:
        return checks.ledger({line: dict(zip("GD", a, strict=True)) for line, a in zip(PUZZLE, answers, strict=True)})

    return Form(questions, ["d_loss", "g_loss"], True, right, check)


def reaches() -> Form:
    def check(answers: Sequence[Sequence[Any]]) -> checks.CheckResult:
        return checks.reaches({term: a[0] for term, a in zip(REACHES, answers, strict=True)})

    names = ["G_AB", "G_BA", "D_A", "D_B"]
    return Form([(term, [""]) for term in REACHES], names, True, [[nets] for nets in REACHES.values()], check)


def reference_log() -> Form:
    def check(answers: Sequence[Sequence[Any]]) -> checks.CheckResult:
        return checks.reference_log({name: a[0] for name, a in zip(REFERENCE_LOG, answers, strict=True)})

    right = [[term] for term in REFERENCE_LOG.values()]
    return Form([(f"`{name}` is", [""]) for name in REFERENCE_LOG], list(OUR_TERMS), False, right, check)


# By the exercise's cell.
FORMS: dict[str, Callable[[], Form]] = {
    "ex2-cell": who_moves,
    "ex-ledger": ledger,
    "ex-reaches": reaches,
    "ex-log": reference_log,
}
