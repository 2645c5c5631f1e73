"""The checks of notebook 06, as those of 01 in test_checks.py."""

import copy
import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
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
    SHARE_COUNTS,
    Machine,
    shares_of_a_batch,
    slowest,
    weighted,
)
from gantutor.checks.small_run import PARTS, SmallRun, interrupted
from gantutor.ledger import Traffic
from gantutor.ledger.traffic import TrafficShare
from gantutor.scale.limits import Limits

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
    rejected(checks.limit(lambda *_: "data"), "^'data' is none of launches, arithmetic, memory")
    rejected(checks.limit(lambda *_: ["memory"]), "is none of launches")
    rejected(checks.limit(lambda *_: 1.0), "is none of launches")
    message = r"^For 3.6e.09 FLOPs, 5.2e.08 bytes and 20000 launches on Machine.*launches 50 ms.*Yours says memory"
    rejected(checks.limit(lambda *_: "memory"), message)


@pytest.mark.parametrize("factor", [1 / 8, 0.7, 1.45, 8, 1e-3])
@pytest.mark.parametrize("place", range(3))
def test_a_wrong_factor_is_found(place: int, factor: float) -> None:
    def wrong(*counts: Any) -> str:
        counts = list(counts)
        counts[place] *= factor
        return slowest(*counts)

    assert not checks.limit(wrong).passed


def test_other_forms_of_the_right_limit() -> None:
    def by_comparisons(flops: float, bytes: float, launches: int, machine: Machine) -> str:
        a, b, c = flops / machine.flops["float32"], bytes / machine.bandwidth, launches * machine.overhead
        if a > b and a > c:
            return "arithmetic"
        return "memory" if b > c else "launches"

    def by_numpy(flops: float, bytes: float, launches: int, machine: Machine) -> Any:
        rates = np.array([1 / machine.overhead, machine.flops["float32"], machine.bandwidth])
        return np.array(LIMIT_NAMES)[np.argmin(rates / np.array([launches, flops, bytes]))]

    assert checks.limit(by_comparisons).passed
    assert checks.limit(by_numpy).passed


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
    message = r"^For shares of \[5, 1, 2\] images the result is not .* Yours gives .* is right"
    rejected(checks.averaged(lambda gradients, counts: -weighted(gradients, counts)), message)

    def constants(gradients: list[Tensor], counts: list[int]) -> Tensor:
        return sum(n * g for g, n in zip(gradients, (5, 1, 2), strict=False)) / 8

    rejected(checks.averaged(constants), r"^For shares of \[2, 7\] images")
    rejected(checks.averaged(lambda gradients, counts: gradients), "yours is list")
    rejected(checks.averaged(lambda gradients, counts: torch.stack(gradients)), r"yours is \(3, 3\)")


@pytest.mark.parametrize("counts", SHARE_COUNTS)
def test_the_right_average_is_the_whole_batchs_gradient(counts: list[int]) -> None:
    gradients, whole = shares_of_a_batch(counts)
    assert torch.allclose(weighted(gradients, counts), whole, rtol=1e-12)


@pytest.mark.parametrize(
    "right",
    [
        lambda gradients, counts: np.average([g.numpy() for g in gradients], axis=0, weights=counts),
        lambda gradients, counts: torch.stack(gradients).T.float() @ (torch.tensor(counts) / sum(counts)),
        lambda gradients, counts: torch.tensor(counts).double() @ torch.stack(gradients) / sum(counts),
        lambda gradients, counts: torch.repeat_interleave(torch.stack(gradients), torch.tensor(counts), 0).mean(0),
    ],
)
def test_other_forms_of_the_right_average(right: Callable[..., Any]) -> None:
    assert checks.averaged(right).passed


def test_an_answer_may_change_what_it_is_given() -> None:
    def averaged(gradients: list[Tensor], counts: list[int]) -> Tensor:
        whole = sum(counts)
        total = gradients.pop(0).mul_(counts.pop(0))
        for gradient, count in zip(gradients, counts, strict=True):
            total += gradient * count
        return total / whole

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
    message = f"The run goes on as if it had forgotten {PARTS[forgotten]}."
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

    rejected(checks.resumed(handed_out, resume), "^What you kept has moved on with the run")


def test_objects_are_no_checkpoint() -> None:
    rejected(
        checks.resumed(lambda run: {"run": copy.deepcopy(run)}, resume),
        "^What you kept does not load with weights_only=True",
    )


def test_taking_the_state_must_not_change_the_run() -> None:
    def draws(run: SmallRun) -> dict[str, Any]:
        kept = state(run)
        torch.rand(1, generator=run.generator)
        return kept

    rejected(checks.resumed(draws, resume), "^Taking the state has changed the run")


def test_nothing_and_something_else_put_back() -> None:
    rejected(checks.resumed(state, lambda run, kept: None), "^Your `resume` has put nothing into the run")

    def exchanged(run: SmallRun, kept: dict[str, Any]) -> None:
        resume(run, {**kept, "opt_G": kept["opt_G"], "t": kept["t"] + 1})

    rejected(checks.resumed(state, exchanged), "^The resumed run .* not as if it had forgotten a part")


def test_training_again_is_no_checkpoint() -> None:
    """Whatever seed: the run that is judged has changed its data before it was interrupted."""

    def seeded(run: SmallRun) -> dict[str, Any]:
        return {"seed": run.generator.initial_seed(), "t": run.t}

    def again(run: SmallRun, kept: dict[str, Any], seed: int | None = None) -> None:
        run.take_over(SmallRun(kept["seed"] if seed is None else seed).go_on(kept["t"]), *PARTS)

    rejected(checks.resumed(seeded, again), "^This trains again from the beginning")
    rejected(checks.resumed(seeded, lambda run, kept: again(run, kept, 0)), "^This trains again from the beginning")


def test_a_checkpoint_may_be_of_lists_and_numbers() -> None:
    def flat(run: SmallRun) -> list[Any]:
        return [*copy.deepcopy([getattr(run, name).state_dict() for name in NAMES]), run.generator.get_state(), run.t]

    def unpack(run: SmallRun, kept: list[Any]) -> None:
        for name, value in zip(NAMES, kept, strict=False):
            getattr(run, name).load_state_dict(value)
        run.generator.set_state(kept[4])
        run.t = kept[5]

    assert checks.resumed(flat, unpack).passed


def test_every_part_of_a_small_run_shows_in_what_it_comes_to() -> None:
    ends, until_then = [], interrupted(3)
    for number in range(len(PARTS) + 1):
        for taken in itertools.combinations(PARTS, number):
            run = SmallRun(seed=1)
            run.take_over(until_then, *taken)
            ends.append(run.go_on(3).numbers())
    assert len(torch.stack(ends).unique(dim=0)) == len(ends) == 2 ** len(PARTS)
