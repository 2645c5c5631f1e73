"""The checks of notebook 06, and what they take for true."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_checks import rejected

from gantutor import checks
from gantutor.checks.scale_up import (
    EXAMPLES,
    PARTS,
    SmallRun,
    slowest,
    weighted,
)
from gantutor.ledger import Traffic, TrafficShare
from gantutor.scale.limits import Limits

# What limits a step ---------------------------------------------------------------------------------------------------


def test_other_wrong_limits() -> None:
    rejected(checks.limit(lambda *_: "data"), "'data' is none of launches, arithmetic, memory")
    message = r"^For 3.6e.09 FLOPs, 5.2e.08 bytes and 20000 launches on namespace.*launches 50 ms.*Yours says memory"
    rejected(checks.limit(lambda *_: "memory"), message)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_right_limit_is_what_the_package_says(example: tuple[float, float, int, Any]) -> None:
    flops, moved, launches, machine = example
    limits = Limits("", machine.flops, machine.bandwidth, machine.overhead, overlaps=False)
    assert limits.limited_by(Traffic("", {"any": TrafficShare(launches, int(moved), int(flops))})) == slowest(*example)


# Gradients of unequal shares ------------------------------------------------------------------------------------------


def test_the_right_average_is_the_whole_batchs_gradient() -> None:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def gradient(rows: torch.Tensor) -> torch.Tensor:
        w = torch.ones(3, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(torch.nn.functional.softplus(rows @ w).mean(), w)[0]

    counts = [5, 1, 2]
    assert torch.allclose(weighted([gradient(rows) for rows in x.split(counts)], counts), gradient(x), rtol=1e-12)


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
        fresh = state(run)
        of_D = {key: (kept if name in parts else fresh)["D"][key] for name, keys in KEYS.items() for key in keys}
        resume(run, {**{name: (kept if name in parts else fresh)[name] for name in fresh}, "D": of_D})

    return partly


KEYS = {"D": dict(SmallRun(0).D.named_parameters()), "statistics": dict(SmallRun(0).D.named_buffers())}


def test_a_complete_checkpoint_passes_and_none_is_not_yet() -> None:
    assert checks.resumed(state, resume).passed
    assert checks.resumed(state, resuming(*PARTS)).passed
    for empty in (..., None):
        assert checks.resumed(empty, resume) == checks.NOT_YET
        assert checks.resumed(state, empty) == checks.NOT_YET
        assert checks.resumed(lambda run, empty=empty: empty, resume) == checks.NOT_YET
    assert checks.resumed(state, lambda run, kept: ...) == checks.NOT_YET
    rejected(checks.resumed(lambda run: 1 / 0, resume), "ZeroDivisionError")
    rejected(checks.resumed(state, lambda run, kept: 1 / 0), "ZeroDivisionError")


@pytest.mark.parametrize("forgotten", [*((part,) for part in PARTS), ("opt_G", "opt_D", "generator", "t")])
def test_forgotten_parts_are_named(forgotten: tuple[str, ...]) -> None:
    partly = resuming(*(name for name in PARTS if name not in forgotten))
    message = f"The run goes on as if it had forgotten {' and '.join(PARTS[name] for name in forgotten)}."
    rejected(checks.resumed(state, partly), f"^{re.escape(message)}$")


def weights_only(run: SmallRun) -> dict[str, Any]:
    return {**state(run), "D": {name: p.detach().clone() for name, p in run.D.named_parameters()}}


def not_strict(run: SmallRun, kept: dict[str, Any]) -> None:
    run.D.load_state_dict(kept["D"], strict=False)
    resume(run, {**kept, "D": run.D.state_dict()})


def draws(run: SmallRun) -> dict[str, Any]:
    kept = state(run)
    torch.rand(1, generator=run.generator)
    return kept


def seeded(run: SmallRun) -> dict[str, Any]:
    """Whatever seed: the run that is judged has changed its data before it was interrupted."""
    return {"seed": run.generator.initial_seed(), "t": run.t}


def again(run: SmallRun, kept: dict[str, Any]) -> None:
    resume(run, state(SmallRun(kept["seed"]).go_on(kept["t"])))


@pytest.mark.parametrize(
    ("state", "resume", "message"),
    [
        (weights_only, not_strict, "running statistics"),
        (lambda run: {**state(run), "G": run.G.state_dict()}, resume, "^What you kept has moved on with the run"),
        (lambda run: {"run": copy.deepcopy(run)}, resume, "^What you kept does not load with weights_only=True"),
        (draws, resume, "^Taking the state has changed the run"),
        (state, lambda run, kept: None, "^Your `resume` has put nothing into the run"),
        (state, lambda run, kept: resume(run, {**kept, "t": kept["t"] + 1}), "^The resumed run .* forgotten a part"),
        (seeded, again, "^This trains again from the beginning"),
    ],
)
def test_what_is_no_checkpoint_gets_its_message(state: Any, resume: Any, message: str) -> None:
    rejected(checks.resumed(state, resume), message)
