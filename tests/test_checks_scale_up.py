"""The checks of notebook 06, as those of 01 in test_checks.py."""

import copy
import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_checks import both_verdicts
from torch import Tensor

from gantutor import checks
from gantutor.checks.scale_up import (
    AVERAGE_MISTAKES,
    EXAMPLES,
    LIMIT_MISTAKES,
    LIMIT_NAMES,
    Machine,
    shares_of_a_batch,
    slowest,
    weighted,
)
from gantutor.checks.small_run import PARTS, SmallRun
from gantutor.ledger import Traffic
from gantutor.ledger.traffic import TrafficShare
from gantutor.limits import Limits

NOTEBOOK = "06_scale_up.ipynb"
CELLS = ("ex-limit", "ex-averaged", "ex-resumed")


@pytest.mark.parametrize("cell", CELLS)
def test_the_solution_passes_and_the_learners_cell_does_not(cell: str) -> None:
    solution, verdict = both_verdicts(NOTEBOOK, cell, CELLS)
    assert solution.passed
    assert verdict == checks.NOT_YET


@pytest.mark.parametrize("check", [checks.limit, checks.averaged])
def test_no_answer_and_an_error(check: Callable[..., Any]) -> None:
    for empty in (..., None, lambda *_: ..., lambda *_: None):
        assert check(empty) == checks.NOT_YET
    verdict = check(lambda *_: 1 / 0)
    assert (verdict.passed, verdict.answered) == (False, True)
    assert "ZeroDivisionError" in verdict.message


def rejected(verdict: checks.CheckResult, message: str) -> None:
    assert (verdict.passed, verdict.answered) == (False, True)
    assert re.search(message, verdict.message), verdict.message


# What limits a step ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("message", "wrong"), LIMIT_MISTAKES.items())
def test_each_known_wrong_limit_gets_its_message(message: str, wrong: Callable[..., str]) -> None:
    rejected(checks.limit(wrong), f"^{re.escape(message)}$")


def test_other_wrong_limits() -> None:
    rejected(checks.limit(lambda *_: "data"), "'data' is none of launches, arithmetic, memory")
    rejected(checks.limit(lambda *_: "memory"), "4e.06 bytes and 500 launches is limited by launches, not")


def test_the_examples_cover_every_limit() -> None:
    assert {slowest(*example) for example in EXAMPLES} == set(LIMIT_NAMES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_right_limit_is_what_the_package_says(example: tuple[float, float, int, Machine]) -> None:
    flops, moved, launches, machine = example
    limits = Limits("", machine.flops, machine.bandwidth, machine.overhead, overlaps=False)
    assert limits.limited_by(Traffic("", {"any": TrafficShare(launches, int(moved), int(flops))})) == slowest(*example)


# Gradients of unequal shares ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("message", "wrong"), AVERAGE_MISTAKES.items())
def test_each_known_wrong_average_gets_its_message(message: str, wrong: Callable[..., Tensor]) -> None:
    rejected(checks.averaged(wrong), f"^{re.escape(message)}$")


def test_other_wrong_averages() -> None:
    rejected(checks.averaged(lambda gradients, counts: -weighted(gradients, counts)), "for shares of .* begin with")
    rejected(checks.averaged(lambda gradients, counts: gradients), "yours is list")
    rejected(checks.averaged(lambda gradients, counts: torch.stack(gradients)), r"yours is \(3, 3\)")


def test_the_right_average_is_the_whole_batchs_gradient() -> None:
    gradients, counts, whole = shares_of_a_batch()
    assert torch.allclose(weighted(gradients, counts), whole, rtol=1e-12)
    in_place = [gradient * count for gradient, count in zip(gradients, counts, strict=True)]
    assert checks.averaged(lambda gradients, counts: torch.stack(in_place).sum(0) / 8).passed


def test_an_answer_may_change_what_it_is_given() -> None:
    def averaged(gradients: list[Tensor], counts: list[int]) -> Tensor:
        total = gradients.pop(0).mul_(counts.pop(0))
        for gradient, count in zip(gradients, counts, strict=True):
            total += gradient * count
        return total / 8

    assert checks.averaged(averaged).passed


# A checkpoint ---------------------------------------------------------------------------------------------------------

NAMES = ("G", "D", "opt_G", "opt_D")


def state(run: SmallRun) -> dict[str, Any]:
    kept = {name: copy.deepcopy(getattr(run, name).state_dict()) for name in NAMES}
    return {**kept, "generator": run.generator.get_state(), "t": run.t}


def resume(run: SmallRun, kept: dict[str, Any]) -> None:
    for name in NAMES:
        getattr(run, name).load_state_dict(kept[name])
    run.generator.set_state(kept["generator"])
    run.t = kept["t"]


def resuming(*parts: str) -> Callable[[SmallRun, dict[str, Any]], None]:
    """`resume`, of these PARTS alone."""

    def partly(run: SmallRun, kept: dict[str, Any]) -> None:
        other = SmallRun(seed=5)
        resume(other, kept)
        run.take_over(other, *parts)

    return partly


def test_a_complete_checkpoint_passes() -> None:
    verdict = checks.resumed(state, resume)
    assert verdict.passed
    assert checks.resumed(state, resuming(*PARTS)).passed


def test_no_checkpoint_is_not_yet() -> None:
    for empty in (..., None):
        assert checks.resumed(empty, resume) == checks.NOT_YET
        assert checks.resumed(state, empty) == checks.NOT_YET
        assert checks.resumed(lambda run, empty=empty: empty, resume) == checks.NOT_YET
    assert checks.resumed(state, lambda run, kept: ...) == checks.NOT_YET
    rejected(checks.resumed(lambda run: 1 / 0, resume), "ZeroDivisionError")
    rejected(checks.resumed(state, lambda run, kept: 1 / 0), "ZeroDivisionError")


@pytest.mark.parametrize("forgotten", PARTS)
def test_each_forgotten_part_is_named(forgotten: str) -> None:
    partly = resuming(*(name for name in PARTS if name != forgotten))
    message = f"the run goes on as if it had forgotten {PARTS[forgotten]}."
    rejected(checks.resumed(state, partly), f"^{re.escape(message)}$")


@pytest.mark.parametrize("forgotten", [("opt_G", "opt_D"), ("generator", "t"), ("opt_G", "opt_D", "generator", "t")])
def test_several_forgotten_parts_are_all_named(forgotten: tuple[str, ...]) -> None:
    partly = resuming(*(name for name in PARTS if name not in forgotten))
    rejected(checks.resumed(state, partly), re.escape(" and ".join(PARTS[name] for name in forgotten)))


def test_parameters_without_buffers_are_found_out() -> None:
    def weights_only(run: SmallRun) -> dict[str, Any]:
        return {**state(run), "D": {name: p.detach().clone() for name, p in run.D.named_parameters()}}

    def not_strict(run: SmallRun, kept: dict[str, Any]) -> None:
        run.D.load_state_dict(kept["D"], strict=False)
        resume(run, {**kept, "D": run.D.state_dict()})

    rejected(checks.resumed(weights_only, not_strict), "running statistics")


def test_a_state_that_moves_on_with_the_run_is_found_out() -> None:
    def handed_out(run: SmallRun) -> dict[str, Any]:
        return {**state(run), "G": run.G.state_dict()}

    rejected(checks.resumed(handed_out, resume), "has moved on with the run")


def test_objects_are_no_checkpoint() -> None:
    rejected(checks.resumed(lambda run: {"run": copy.deepcopy(run)}, resume), "does not load with weights_only=True")


def test_taking_the_state_must_not_change_the_run() -> None:
    def draws(run: SmallRun) -> dict[str, Any]:
        kept = state(run)
        torch.rand(1, generator=run.generator)
        return kept

    rejected(checks.resumed(draws, resume), "taking the state has changed the run")


def test_nothing_and_something_else_put_back() -> None:
    rejected(checks.resumed(state, lambda run, kept: None), "resume has put nothing into the run")

    def exchanged(run: SmallRun, kept: dict[str, Any]) -> None:
        resume(run, {**kept, "opt_G": kept["opt_G"], "t": kept["t"] + 1})

    rejected(checks.resumed(state, exchanged), "not as if it had forgotten a part")


def test_every_part_of_a_small_run_shows_in_what_it_comes_to() -> None:
    ends, interrupted = [], SmallRun(seed=0).go_on(3)
    for number in range(len(PARTS) + 1):
        for taken in itertools.combinations(PARTS, number):
            run = SmallRun(seed=1)
            run.take_over(interrupted, *taken)
            ends.append(run.go_on(3).numbers())
    assert len(torch.stack(ends).unique(dim=0)) == len(ends) == 2 ** len(PARTS)
