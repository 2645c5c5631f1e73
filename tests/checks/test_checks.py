"""What all checks have in common: the solution passes, and each known mistake is told apart; nothing raises."""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch

from gantutor import checks
from gantutor.checks import CheckResult, batchnorm_batching, gan_objective, pix2pix_exercises, scale_up, start_here

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
Answer = Callable[..., Any]
Cells = dict[str, str]

EXERCISES: dict[str, dict[str, Callable[..., CheckResult]]] = {  # of each notebook, by the id of the cell
    "00_start_here": {"ex1-cell": checks.image_range, "ex2-cell": checks.who_moves},
    "01_gan_objective": {
        "ex-optimal-d": checks.optimal_D,
        "ex-g-loss": checks.kl_loss,
        "ex-batchnorm": checks.keras_batchnorm,
    },
    "02_detach_or_retain_graph": {
        "ex-two-updates": checks.two_updates_of_G,
        "ex-simultaneous": checks.both_at_once,
        "ex-ledger": checks.ledger,
        "ex-k-steps": checks.k_steps,
    },
    "03_batchnorm_batching": {
        "ex-share": checks.share_of_reals,
        "ex-score": checks.safe_score,
        "ex-dependence": checks.dependence,
        "ex-one-view": checks.one_view,
    },
    "04_pix2pix": {
        "ex-balance": checks.balancing_lambda,
        "ex-field": checks.field_of_layers,
        "ex-test-time": checks.paper_test_time,
    },
    "05_cyclegan": {"ex-reaches": checks.reaches, "ex-log": checks.reference_log, "ex-pool": checks.pool_exchange},
    "06_scale_up": {"ex-limit": checks.limit, "ex-averaged": checks.averaged, "ex-resumed": checks.resumed},
}
OF_TWO_ANSWERS = (checks.who_moves, checks.resumed)
CHECKS = [check for cells in EXERCISES.values() for check in cells.values() if check not in OF_TWO_ANSWERS]
OF_A_FUNCTION = [check for check in CHECKS if check not in (checks.ledger, checks.reaches, checks.reference_log)]
OF_A_STEP = (checks.two_updates_of_G, checks.both_at_once, checks.k_steps, checks.one_view)  # may return None
AS_PRINTED = ("ex-two-updates", "ex-one-view")  # these cells hold a step; the verdict says what is wrong with it

# The package's own wrong functions, by the message that each must get.
MISTAKES: list[tuple[Callable[..., CheckResult], dict[str, Answer]]] = [
    (checks.image_range, start_here.RANGE_MISTAKES),
    (checks.optimal_D, gan_objective.OPTIMAL_D_MISTAKES),
    (checks.kl_loss, gan_objective.KL_LOSS_MISTAKES),
    (checks.share_of_reals, batchnorm_batching.SHARE_MISTAKES),
    (checks.balancing_lambda, pix2pix_exercises.MISTAKEN_BALANCES),
    (checks.field_of_layers, pix2pix_exercises.FIELD_MISTAKES),
    (checks.limit, scale_up.LIMIT_MISTAKES),
    (checks.averaged, scale_up.AVERAGE_MISTAKES),
]


def rejected(verdict: CheckResult, part: str) -> None:
    """A wrong answer, whose message holds this pattern."""
    assert (verdict.passed, verdict.answered) == (False, True)
    assert re.search(part, verdict.message), verdict.message


def judged(check: Callable[..., CheckResult], wrong: list[tuple[Any, str]]) -> None:
    """Each wrong answer gets its message, and no other of these messages."""
    for answer, part in wrong:
        verdict = check(answer)
        rejected(verdict, re.escape(part))
        assert {other for _, other in wrong if other in verdict.message} == {part}, verdict.message


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


@pytest.mark.parametrize(
    ("notebook", "cell"), [(notebook, cell) for notebook, cells in EXERCISES.items() for cell in cells]
)
def test_the_solution_passes_and_the_learners_cell_is_not_yet_answered(notebook: str, cell: str) -> None:
    setup, solved = read(NOTEBOOKS / "solutions" / f"{notebook}.ipynb")
    _, empty = read(NOTEBOOKS / f"{notebook}.ipynb")
    assert set(solved) == set(empty) == set(EXERCISES[notebook])
    with torch.random.fork_rng():
        assert verdict_of(setup, solved[cell]).passed
        verdict = verdict_of(setup, empty[cell])
    assert (verdict.passed, verdict.answered) == (False, False)
    assert (verdict == checks.NOT_YET) == (cell not in AS_PRINTED)


@pytest.mark.parametrize("check", CHECKS)
def test_no_answer_is_not_yet_and_an_error_is_a_wrong_answer(check: Callable[..., CheckResult]) -> None:
    def raises(*_: object) -> None:
        raise NotImplementedError

    empty = [..., None]
    if check in OF_A_FUNCTION:
        empty += [raises] if check in OF_A_STEP else [raises, lambda *_: None, lambda *_: ...]
        rejected(check(lambda *_: 1 / 0), "^Your answer raised ZeroDivisionError: division by zero$")
    assert [check(answer) for answer in empty] == [checks.NOT_YET] * len(empty)


@pytest.mark.filterwarnings("error")  # a learner would see the check's warnings
@pytest.mark.parametrize("check", CHECKS)
def test_an_answer_of_another_kind_is_judged(check: Callable[..., CheckResult]) -> None:
    before = torch.random.get_rng_state()
    for answer in ("text", [1, 2], (), {"a": 1}, np.zeros(3), torch.zeros(2, 2), 3, True, 1j):
        for given in (answer, lambda *_, answer=answer: answer):
            verdict = check(given)
            assert not verdict.passed
            assert verdict.message
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("check", "mistakes"), MISTAKES, ids=lambda given: getattr(given, "__name__", ""))
def test_each_known_mistake_gets_its_message(check: Callable[..., CheckResult], mistakes: dict[str, Answer]) -> None:
    before = torch.random.get_rng_state()
    judged(check, [(wrong, text) for text, wrong in mistakes.items()])
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_expected_error_is_shown_and_no_error_or_another_one_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def block(raised: BaseException | None) -> None:
        with checks.expect_error(RuntimeError, match="second time"):
            if raised is not None:
                raise raised

    block(RuntimeError("Trying to backward through the graph a second time\nmore"))
    assert capsys.readouterr().out == "As expected: RuntimeError: Trying to backward through the graph a second time\n"
    for raised, complaint in (
        (None, "nothing was raised"),
        (ValueError("second time"), "but got ValueError: second time"),
        (RuntimeError("another"), "but got RuntimeError: another"),
    ):
        with pytest.raises(AssertionError, match=complaint):
            block(raised)
    with pytest.raises(KeyboardInterrupt):
        block(KeyboardInterrupt())


def test_a_verdict_is_read_as_text_and_as_html() -> None:
    verdict = CheckResult(False, "p < q & so on")
    assert str(verdict) == repr(verdict) == "Wrong: p < q & so on"
    assert "<b>✗ Wrong.</b> p &lt; q &amp; so on" in verdict._repr_html_()
    assert 'role="status"' in verdict._repr_html_()
    assert [word.word for word in (CheckResult(True, ""), verdict, checks.NOT_YET)] == ["Passed", "Wrong", "Not yet"]
