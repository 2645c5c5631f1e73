"""The cost meter: it charges every step to the setting that took it, at the ledger's price, and changes nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers import weights
from panel_helpers import Page

from gantutor.configs import GANConfig
from gantutor.lab import Lab
from gantutor.lab.costmeter import cost_label
from gantutor.ledger import cost
from gantutor.steps import STEPS, d_only

RING = GANConfig(data="ring", batch_size=8, model_options={"width": 8})


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab(RING, cost_meter=True)
    yield lab
    lab.close()


def spent(lab: Lab) -> dict[str, int]:
    return {name: each.steps for name, each in lab.run_views[0].meter.spent.items()}


def change(lab: Lab, **fields: Any) -> None:
    lab.set(**fields)
    lab.runner.post(lambda: None)
    lab.runner.wait()


def flops(step: Any) -> int:
    run = RING.start()
    return cost(step, run.model, *next(run.batches)).flops


def test_each_setting_is_charged_its_own_steps_at_the_ledgers_price(lab: Lab) -> None:
    lab.advance(5)
    change(lab, strategy="one_stage")
    lab.advance(3)
    change(lab, strategy="d_first_regenerate")
    change(lab, strategy="d_first_detach")
    lab.advance(2)
    assert {name: steps for name, steps in spent(lab).items() if steps} == {"d_first_detach": 7, "one_stage": 3}
    meter = lab.run_views[0].meter
    for name in ("d_first_detach", "one_stage"):
        assert meter.spent[name].cost.flops == flops(STEPS[name]) > 0
    total = sum(each.flops for each in meter.spent.values())
    assert total == 7 * flops(STEPS["d_first_detach"]) + 3 * flops(STEPS["one_stage"])
    assert meter.lines()[-1].endswith("in 10 steps.")


def test_half_steps_have_their_own_price(lab: Lab) -> None:
    lab.advance(1)
    for button in ("D only", "D only", "G only"):
        lab.runner.post(lambda button=button: lab._one(d_only if button == "D only" else STEPS["simultaneous"]))
    lab.runner.wait()
    lab.advance(1)
    assert spent(lab) == {"d_first_detach": 2, "d_only": 2, "simultaneous": 1}
    assert lab.run_views[0].meter.spent["d_only"].cost.flops == flops(d_only)


def test_other_settings_that_change_the_price() -> None:
    assert cost_label(RING) == "d_first_detach"
    assert cost_label(RING.replace(loss="wgan-gp", d_steps=5)) == "d_first_detach, loss wgan-gp, d_steps 5"
    lab = Lab(RING.replace(d_steps=3), cost_meter=True)
    try:
        lab.advance(1)
        (row,) = lab.run_views[0].meter.spent.values()
        assert row.cost.flops == flops(STEPS["d_first_detach"]) + 2 * flops(d_only)
    finally:
        lab.close()


def test_a_setting_that_raises_says_so_and_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(gan: Any, real: Any, z: Any) -> Any:
        raise ValueError("this step raises")

    monkeypatch.setitem(STEPS, "d_first_detach", broken)
    lab = Lab(RING, cost_meter=True)
    try:
        with pytest.raises(ValueError, match="this step raises"):
            lab.advance(1)
        assert "d_first_detach: raises ValueError" in lab.run_views[0].meter.lines()[0]
        assert lab.run_views[0].meter.spent["d_first_detach"].flops == 0
    finally:
        lab.close()


def test_reset_starts_to_count_anew(lab: Lab) -> None:
    lab.advance(5)
    lab.reset()
    assert spent(lab) == {"d_first_detach": 0}
    lab.advance(1)
    assert spent(lab) == {"d_first_detach": 1}


def test_measuring_changes_nothing_in_the_run(lab: Lab) -> None:
    plain = Lab(RING, name="plain")
    try:
        state = torch.random.get_rng_state()
        for each in (lab, plain):
            each.advance(3)
            change(each, strategy="g_first_detach")
            each.advance(3)
        assert torch.equal(torch.random.get_rng_state(), state)
        for network in ("G", "D"):
            assert torch.equal(weights(getattr(lab.run.model, network)), weights(getattr(plain.run.model, network)))
        assert plain.run_views[0].meter is None
    finally:
        plain.close()


def test_it_stands_on_the_page_and_in_the_picture(lab: Lab) -> None:
    page = Page(lab)
    lab.advance(2)
    change(lab, strategy="one_stage")
    (meter,) = page.frame["meters"]
    assert meter["total"] == lab.run_views[0].meter.lines()[-1]
    first, second = meter["rows"]
    assert (first["name"], first["now"], second["now"]) == ("d_first_detach", False, True)
    assert first["cells"][-1] == "2 steps"
    shares = {(whose, direction) for whose, direction, _ in first["bars"]}
    assert shares == {(whose, direction) for whose in "GD" for direction in ("forward", "backward")}
    assert sum(share for *_, share in first["bars"]) == pytest.approx(1), "the dearest setting fills the width"
    tall = lab.snapshot().height
    lab.run_views[0].meter = None
    assert lab.snapshot().height < tall
