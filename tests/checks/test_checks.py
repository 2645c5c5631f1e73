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

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NOTEBOOK = "01_gan_objective.ipynb"
EXERCISES = {  # cell: check
    "ex-optimal-d": checks.optimal_D,
    "ex-g-loss": checks.kl_loss,
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

bce = F.binary_cross_entropy
bce_logits = F.binary_cross_entropy_with_logits
log_sigmoid = F.logsigmoid
ones, zeros = torch.ones_like, torch.zeros_like

# The misconceptions as learners write them, and a part of the message that each must get, and no other.
WRONG: dict[str, Wrong] = {
    "ex-optimal-d": [
        (lambda p, q, s, k: p / (p + q), "s and k are missing"),
        (lambda p, q, s, k: p / (p + k * q), "s is missing"),
        (lambda p, q, s, k: s * p / (p + q), "k is missing"),
        (lambda p, q, s, k: s * p / (s * p + k * q), "The term (1 − s) log(1 − D) is missing"),
        (lambda p, q, s, k: k * s * p / (k * p + q), "The reals count k times here"),
        (lambda p, q, s, k: s * p / (p + q / k), "The reals count k times here"),
        (lambda p, q, s, k: ((1 - s) * p + k * q) / (p + k * q), "the probability of being fake"),
        (lambda p, q, s, k: torch.minimum(p / (p + k * q), torch.tensor(s)), "does not cut it off"),
        (lambda p, q, s, k: (s * p).log() - (p + k * q - s * p).log(), "the sigmoid is missing"),
        (lambda p, q, s, k: s * p / (k * q), "the ratio of the two terms"),
        (lambda p, q, s, k: (s * p / (p + k * q)).mean(), "one value for each x"),
        (lambda p, q, s, k: p * q, "At p = 0.1, q = 0.4, s = 1, k = 1 the best D is 0.2; yours gives 0.04."),
        (lambda p, q, s, k: torch.where(q > 0, s * p / (p + k * q), 1.0), "At p = 0.7, q = 0, s = 0.9, k = 1"),
    ],
    "ex-g-loss": [
        (lambda x: bce_logits(x, ones(x)), "This is the non-saturating loss"),
        (lambda x: torch.log(1 - x.sigmoid()).mean(), "This is the minimax loss"),
        (lambda x: x.mean(), "The sign is wrong"),
        (lambda x: -x.sum(), "this is the sum"),
        (lambda x: -x, "a scalar is wanted, yours has shape (4, 1)"),
        (lambda x: -log_sigmoid(x).mean() - log_sigmoid(-x).mean(), "The two losses are subtracted"),
        (lambda x: (log_sigmoid(-x) / 2 - log_sigmoid(x)).mean(), "JSD is added only once"),
        (lambda x: bce_logits(x, zeros(x)), "D's own term"),
        (lambda x: (1 - 1 / x.sigmoid()).reciprocal().mean(), "the other way round"),
        (lambda x: -x.sigmoid().mean(), "The logarithm is missing"),
        (lambda x: -x.mean() / 2, "In a batch of 4 the slope at logit -2 must be -0.25; yours is -0.125."),
        (lambda x: -x.clamp(-3, 1).mean(), "In a batch of 4 the slope at logit 1.5 must be -0.25; yours is"),
        (lambda x: ((1 - x.sigmoid()).log() - x.sigmoid().log()).mean(), "Right for the usual logits."),
        (lambda x: -torch.logit(x.sigmoid()).mean(), "Right for the usual logits."),
        (lambda x: -x.detach().mean(), "No gradient gets through"),
        (lambda x: -x.mean().item(), "No gradient gets through"),
        (lambda x: -x.detach().numpy().mean(), "No gradient gets through"),
    ],
    "ex-batchnorm": [
        (lambda n: nn.BatchNorm1d(n, 0.8), "instead of 1: a number has gone into eps"),
        (lambda n: nn.BatchNorm1d(n, 0.2), "instead of 1: a number has gone into eps"),
        (lambda n: nn.BatchNorm1d(n, momentum=0.8), "the share of the old mean"),
        (lambda n: nn.BatchNorm1d(n), "must be 0.2 of the batch's; it is 0.1 of it"),
        (lambda n: nn.BatchNorm1d(n, momentum=None), "must be 0.2 of the batch's; it is 1 of it"),
        (lambda n: nn.BatchNorm1d(3, momentum=0.2), "For features = 5 the layer does not take a batch (3, 5)"),
        (lambda n: nn.BatchNorm2d(n, momentum=0.2), "For features = 3 the layer does not take a batch (3, 3)"),
        (
            lambda n: nn.BatchNorm1d(n, momentum=0.2, track_running_stats=False),
            "BatchNorm1d as you made it keeps no running mean",
        ),
        (lambda n: 0.2, "you returned float"),
        (lambda n: nn.LayerNorm(n), "LayerNorm as you made it keeps no running mean"),
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
    ("cell", "answer", "right"),
    [
        ("ex-optimal-d", lambda p, q, s, k: p / (p + q), "Right for s = 1, k = 1. s and k are missing"),
        ("ex-optimal-d", lambda p, q, s, k: p / (p + k * q), "Right for s = 1, k = 1. s is missing"),
        ("ex-g-loss", lambda x: -torch.logit(x.sigmoid()).mean(), "Right for the usual logits. In a batch of 4"),
        ("ex-batchnorm", lambda n: nn.BatchNorm1d(n, 0.8, 0.2), "The momentum is right. A feature leaves"),
        ("ex-batchnorm", lambda n: nn.BatchNorm1d(n), "The layer normalises. But"),
    ],
)
def test_what_is_right_is_said_first(cell: str, answer: Callable[..., Any], right: str) -> None:
    verdict = EXERCISES[cell](answer)
    assert not verdict.passed
    assert verdict.message.startswith(right)


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("ex-optimal-d", lambda p, q, s, k: p.mul(s).div(p + q * k)),
        ("ex-optimal-d", lambda p, q, s, k: s * (1 - k * q / (p + k * q))),
        ("ex-optimal-d", lambda p, q, s, k: s * torch.sigmoid(p.log() - q.log() - math.log(k))),
        ("ex-optimal-d", lambda p, q, s, k: s * p.numpy() / (p.numpy() + k * q.numpy())),
        ("ex-optimal-d", lambda p, q, s, k: [s * a / (a + k * b) for a, b in zip(p.tolist(), q.tolist(), strict=True)]),
        ("ex-g-loss", lambda x: -x.mean()),
        ("ex-g-loss", lambda x: -x.mean() + math.log(4)),
        ("ex-g-loss", lambda x: (-x).sum(dim=0) / len(x)),
        ("ex-g-loss", lambda x: bce_logits(x, ones(x)) - bce_logits(x, zeros(x))),
        ("ex-g-loss", lambda x: log_sigmoid(-x).mean() - log_sigmoid(x).mean()),
        ("ex-batchnorm", lambda n: nn.BatchNorm1d(n, momentum=1 - 0.8, affine=False)),
        ("ex-batchnorm", lambda n: nn.BatchNorm1d(n, 1e-3, 0.2).eval()),
        ("ex-batchnorm", lambda n: nn.LazyBatchNorm1d(momentum=0.2)),
        ("ex-batchnorm", lambda n: nn.SyncBatchNorm(n, momentum=0.2)),
    ],
)
def test_another_way_to_the_right_answer_passes(cell: str, answer: Callable[..., Any]) -> None:
    assert EXERCISES[cell](answer).passed


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

    assert not checks.kl_loss(in_place).passed
    assert not checks.optimal_D(lambda p, q, s, k: p.zero_()).passed
    assert checks.optimal_D(lambda p, q, s, k: q.mul_(k).add_(p).reciprocal_().mul_(p).mul_(s)).passed
