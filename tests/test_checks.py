"""Verdicts on exercises: each check accepts its solution, and rejects the empty cell and every known misconception."""

import ast
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantutor import checks
from gantutor.checks import CheckResult

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
NOTEBOOK = "01_gan_objective.ipynb"
EXERCISES = {  # cell: check
    "ex-optimal-d": checks.optimal_D,
    "ex-jsd": checks.jsd_from_d_loss,
    "ex-g-loss": checks.g_loss,
    "ex-batchnorm": checks.keras_batchnorm,
}

Cells = dict[str, str]


def read(path: Path) -> tuple[str, Cells]:
    """The source of the set-up cell, and of the exercises by id."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    setup = next(cell.source for cell in cells if "setup" in cell.metadata.get("tags", []))
    return setup, {cell.id: cell.source for cell in cells if "exercise" in cell.metadata.get("tags", [])}


def verdict_of(setup: str, cell: str) -> CheckResult:
    """Run a cell behind its set-up, and return the value of its last line, which the learner sees."""
    *body, last = ast.parse(cell).body
    assert isinstance(last, ast.Expr), "a cell ends with its verdict"
    names: dict[str, Any] = {}
    exec(compile(setup, "setup", "exec"), names)
    exec(compile(ast.Module(body, type_ignores=[]), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def both_verdicts(notebook: str, cell: str, cells: Iterable[str]) -> tuple[CheckResult, CheckResult]:
    """On the solution of an exercise and on the cell as the learner finds it; `cells` are all exercises there are."""
    solution_setup, solved = read(NOTEBOOKS / "solutions" / notebook)
    setup, empty = read(NOTEBOOKS / notebook)
    assert set(solved) == set(empty) == set(cells)
    with torch.random.fork_rng():
        return verdict_of(solution_setup, solved[cell]), verdict_of(setup, empty[cell])


@pytest.fixture(scope="module")
def learners() -> tuple[str, Cells]:
    return read(NOTEBOOKS / NOTEBOOK)


@pytest.fixture(scope="module")
def solved() -> tuple[str, Cells]:
    return read(NOTEBOOKS / "solutions" / NOTEBOOK)


def test_every_exercise_is_tested(learners: tuple[str, Cells], solved: tuple[str, Cells]) -> None:
    assert set(learners[1]) == set(solved[1]) == set(EXERCISES) == set(WRONG)


@pytest.mark.parametrize("cell", EXERCISES)
def test_the_solution_passes(solved: tuple[str, Cells], cell: str) -> None:
    verdict = verdict_of(solved[0], solved[1][cell])
    assert verdict.passed
    assert verdict.answered


@pytest.mark.parametrize("cell", EXERCISES)
def test_the_empty_cell_is_not_yet_answered(learners: tuple[str, Cells], cell: str) -> None:
    # A seed that the set-up plants stays in this test.
    with torch.random.fork_rng():
        assert (
            verdict_of("from torch import Tensor, nn\nfrom gantutor import checks", learners[1][cell]) == checks.NOT_YET
        )


@pytest.mark.parametrize("check", EXERCISES.values())
def test_every_form_of_no_answer_is_not_yet(check: Callable[..., CheckResult]) -> None:
    def raises(*_: object) -> None:
        raise NotImplementedError

    for empty in (..., None, lambda *_: None, lambda *_: ..., raises):
        assert check(empty) == checks.NOT_YET
    assert not checks.NOT_YET.passed
    assert not checks.NOT_YET.answered


@pytest.mark.parametrize("check", EXERCISES.values())
def test_an_error_in_the_answer_is_a_wrong_answer(check: Callable[..., CheckResult]) -> None:
    verdict = check(lambda *_: 1 / 0)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert verdict.message == "Your answer raised ZeroDivisionError: division by zero"


Wrong = list[tuple[Callable[..., Any], str]]

LOG2 = math.log(2)
bce = F.binary_cross_entropy
bce_logits = F.binary_cross_entropy_with_logits
ones, zeros = torch.ones_like, torch.zeros_like

# The misconceptions as learners write them, and a part of the message that each must get, and no other.
WRONG: dict[str, Wrong] = {
    "ex-optimal-d": [
        (lambda p, q: q / (p + q), "being fake"),
        (lambda p, q: 1 - p / (p + q), "being fake"),
        (lambda p, q: p / q, "the ratio of the densities"),
        (lambda p, q: p.log() - q.log(), "the sigmoid is missing"),
        (lambda p, q: (p > q).double(), "a hard decision"),
        (lambda p, q: p, "knows nothing of G"),
        (lambda p, q: (p - q) / (p + q), "between −1 and 1"),
        (lambda p, q: (p / (p + q)).mean(), "one value for each x"),
        (lambda p, q: p * q, "Yours gives 0 where 1 is right"),
    ],
    "ex-jsd": [
        (lambda d: d / 2 - LOG2, "the sign is wrong"),
        (lambda d: LOG2 + d / 2, "takes it for V"),
        (lambda d: 2 * LOG2 - d, "the 2 is missing"),
        (lambda d: LOG2 - d, "the halved loss"),
        (lambda d: 1 - d / 2 / LOG2, "these are bits"),
        (lambda d: -d, "not the divergence in it"),
        (lambda d: d, "a loss of 0 must give log 2. Yours gives 1.386"),
    ],
    "ex-g-loss": [
        (lambda x: torch.log(1 - x.sigmoid()).mean(), "this is the minimax loss"),
        (lambda x: bce_logits(x, zeros(x)), "D's own term"),
        (lambda x: F.logsigmoid(x).mean(), "the sign is wrong"),
        (lambda x: -F.logsigmoid(x).sum(), "this is the sum"),
        (lambda x: -F.logsigmoid(x), "one loss is wanted"),
        (lambda x: bce_logits(x.sigmoid(), ones(x)), "the sigmoid is applied twice"),
        (lambda x: -x.sigmoid().mean(), "the logarithm is missing"),
        (lambda x: -x.mean(), "there is no sigmoid"),
        (lambda x: -torch.log(x).mean(), "takes logits for probabilities"),
        (lambda x: bce(x, ones(x)), "Your answer raised RuntimeError: all elements of input should be between 0 and 1"),
        (lambda x: 0.5 * bce_logits(x, ones(x)), "it is halved"),
        (lambda x: bce(x.sigmoid(), ones(x)), "float32 rounds the sigmoid"),
        (lambda x: -torch.log(x.sigmoid()).mean(), "float32 rounds the sigmoid"),
        (lambda x: -torch.log(x.sigmoid() + 1e-8).mean(), "float32 rounds the sigmoid"),
        (lambda x: -F.logsigmoid(x.detach()).mean(), "no gradient gets through"),
        (lambda x: -F.logsigmoid(x).mean().item(), "no gradient gets through"),
        (lambda x: (x**2).mean(), "At these logits it is"),
    ],
    "ex-batchnorm": [
        (lambda n: nn.BatchNorm1d(n, 0.8), "has gone into eps"),
        (lambda n: nn.BatchNorm1d(n, 0.2), "has gone into eps"),
        (lambda n: nn.BatchNorm1d(n, momentum=0.8), "the share of the old mean"),
        (lambda n: nn.BatchNorm1d(n), "must be 0.2 of the batch's, but it is 0.1"),
        (lambda n: nn.BatchNorm1d(n, 0.8, 0.2), "has gone into eps"),
        (lambda n: 0.2, "a BatchNorm1d, not float"),
        (lambda n: nn.LayerNorm(n), "a BatchNorm1d, not LayerNorm"),
    ],
}


@pytest.mark.parametrize(("cell", "wrong"), list(WRONG.items()), ids=list(WRONG))
def test_a_misconception_gets_its_own_message(cell: str, wrong: Wrong) -> None:
    parts = {part for _, part in wrong}
    for answer, part in wrong:
        verdict = EXERCISES[cell](answer)
        assert (verdict.passed, verdict.answered) == (False, True)
        assert {other for other in parts if other in verdict.message} == {part}


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("ex-optimal-d", lambda p, q: 1 / (1 + q / p)),
        ("ex-optimal-d", lambda p, q: (p.log() - q.log()).sigmoid()),
        ("ex-jsd", lambda d: torch.tensor((2 * LOG2 - d) / 2)),
        ("ex-g-loss", lambda x: F.softplus(-x).mean()),
        ("ex-g-loss", lambda x: nn.BCEWithLogitsLoss()(x, ones(x))),
        ("ex-batchnorm", lambda n: nn.BatchNorm1d(n, momentum=1 - 0.8, affine=False)),
    ],
)
def test_another_way_to_the_right_answer_passes(cell: str, answer: Callable[..., Any]) -> None:
    assert EXERCISES[cell](answer).passed


def test_a_prediction_is_compared_with_the_run() -> None:
    options = ("A", "B")
    assert checks.prediction("A", "A", options) == CheckResult(True, "you predicted 'A', and so it is.")
    wrong = checks.prediction("B", "A", options)
    assert (wrong.passed, wrong.answered) == (False, True)
    assert "you predicted 'B', the run says 'A'" in wrong.message
    for empty in (..., None):
        unanswered = checks.prediction(empty, "A", options)
        assert (unanswered.passed, unanswered.answered) == (False, False)
        assert "'A'" in unanswered.message
    assert checks.prediction("C", "A", options).message == "'C' is not an option; choose one of 'A', 'B'."
    with pytest.raises(ValueError, match="the run says 'D'"):
        checks.prediction("A", "D", options)


def test_an_expected_error_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with checks.expect_error(RuntimeError, match="second time"):
        raise RuntimeError("Trying to backward through the graph a second time\nmore")
    assert capsys.readouterr().out == "As expected: RuntimeError: Trying to backward through the graph a second time\n"


@pytest.mark.parametrize(
    ("raised", "complaint"),
    [
        (None, "nothing was raised"),
        (ValueError("second time"), "but got ValueError: second time"),
        (RuntimeError("another"), "but got RuntimeError: another"),
    ],
)
def test_no_error_or_another_one_fails(raised: Exception | None, complaint: str) -> None:
    def block() -> None:
        with checks.expect_error(RuntimeError, match="second time"):
            if raised is not None:
                raise raised

    with pytest.raises(AssertionError, match=complaint):
        block()


def test_an_interrupt_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt), checks.expect_error(RuntimeError, match=""):
        raise KeyboardInterrupt


def test_a_verdict_is_read_as_text_and_as_html() -> None:
    verdict = CheckResult(False, "p < q & so on")
    assert str(verdict) == repr(verdict) == "Wrong: p < q & so on"
    assert "<b>✗ Wrong.</b> p &lt; q &amp; so on" in verdict._repr_html_()
    assert 'role="status"' in verdict._repr_html_()
    assert [word.word for word in (CheckResult(True, ""), verdict, checks.NOT_YET)] == ["passed", "wrong", "not yet"]


def test_a_check_draws_no_random_number() -> None:
    before = torch.random.get_rng_state()
    for check, wrong in zip(EXERCISES.values(), WRONG.values(), strict=True):
        check(wrong[0][0])
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_answer_may_write_into_its_input() -> None:
    def in_place(x: Tensor) -> Tensor:
        with torch.no_grad():
            x.zero_()
        return -F.logsigmoid(x).mean()

    assert not checks.g_loss(in_place).passed
    assert not checks.optimal_D(lambda p, q: p.zero_()).passed
    assert checks.optimal_D(lambda p, q: p.div_(p + q)).passed
