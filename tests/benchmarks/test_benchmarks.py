"""The benchmarks' two sides make the same updates; tables, plots and verdicts come from the figures alone."""

import copy
import importlib
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

MACHINE = {
    "cpu": "a CPU", "gpu": None, "cores": 2, "threads": [1], "torch": "2.11", "python": "3.11", "date": "2026-01-01",
    "load_average": 0.0,
}  # fmt: skip


def script(name: str) -> ModuleType:
    """A script of benchmarks/, which pytest has on its path."""
    return importlib.import_module(name)


def tiny(name: str, tmp_path: Path) -> tuple[Any, Any, Any]:
    """A preset with four narrow pictures, its run of the same rule, and its data; without dropout."""
    presets = script("benchlib.presets")
    preset = presets.dataclasses.replace(presets.PRESETS[name], batch_size=2, pictures=4)
    preset.prepare(tmp_path)
    narrow = {
        "dcgan": {"model_options": {"width_G": 4, "width_D": 4}},
        "pix2pix": {"width_G": 4, "width_D": 4, "dropout": 0.0},
        "cyclegan": {"width_G": 4, "width_D": 4, "blocks": 1, "norm_G": "instance"},
    }[preset.kind]
    data = preset.load(tmp_path)
    record = preset.config(data, **narrow)
    return preset, record, record.start(data)


# both sides -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dcgan_28", "pix2pix_64", "cyclegan_64"])
def test_the_copied_loop_and_ours_make_the_same_updates(name: str, tmp_path: Path) -> None:
    preset, record, run = tiny(name, tmp_path)
    theirs = next(iter(preset.loader(tmp_path, workers=0, items=8)))
    for real, ours in zip(theirs.values() if isinstance(theirs, dict) else theirs[:1], next(run.batches), strict=False):
        assert (real.shape, real.dtype) == (ours.shape, ours.dtype)
        assert real.mean().item() == pytest.approx(ours.mean().item(), abs=0.35)
    model = copy.deepcopy(run.model)
    for networks in (model, run.model):  # float64: no rounding that training could make more of
        for network in vars(networks).values():
            if isinstance(network, torch.nn.Module):
                network.double()
    first, second = (
        [batch.double() for batch in next(run.batches)],
        [batch.double() for batch in next(run.batches)],
    )
    z_dim = getattr(record, "z_dim", 0)
    loop, log = preset.copied_loop(model, z_dim, "cpu"), []
    torch.set_default_dtype(torch.float64)
    try:
        for batch in (first, second):
            if z_dim:
                torch.manual_seed(0)
                loop(iter([(batch[0], None)]), log)
                torch.manual_seed(0)
                batch[1] = torch.randn(len(batch[0]), z_dim)
            else:
                loop(iter([{"A": batch[0], "B": batch[1]}]), log)
            report = run.train_step.last(
                run.model, *batch
            )  # without the rate's schedule, which the copied loop has not
            for name_of, network in vars(run.model).items():
                if isinstance(network, torch.nn.Module):
                    for ours, theirs in zip(network.parameters(), getattr(model, name_of).parameters(), strict=True):
                        assert torch.allclose(ours, theirs, rtol=1e-7, atol=1e-9), name_of
                        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-6, atol=1e-9), name_of
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(log) == 2
    assert log[-1][1 if z_dim or preset.kind == "pix2pix" else 2] == pytest.approx(report["g_loss"].item())


def test_one_turn_of_each_side(tmp_path: Path) -> None:
    throughput, presets = script("throughput"), script("benchlib.presets")
    preset = presets.dataclasses.replace(
        presets.PRESETS["dcgan_28"], batch_size=4, warm=1, steps=2, settings={"model_options": {"width_G": 4}}
    )
    for side in throughput.SIDES:
        assert throughput.turn(side, preset, tmp_path) > 0


# judged from the figures ----------------------------------------------------------------------------------------------


def redrawn(name: str, figures: dict[str, Any], folder: Path) -> str:
    """The text that a script makes of its figures; it draws them, too."""
    (folder / f"{name}.json").write_text(json.dumps({"machine": MACHINE, **figures}))
    script(name).main(["--redraw", "--out", str(folder)])
    pictures = list(folder.glob(f"{name}.png"))
    assert all(path.stat().st_size > 3000 for path in pictures)
    assert pictures or name == "throughput_scores"
    return (folder / f"{name}.md").read_text()


def throughput_figures(preset: str = "dcgan_64") -> dict[str, Any]:
    rates = {
        "copied": [90.0, 110.0, 100.0],
        "copied, no workers": [50.0, 60.0, 55.0],
        "same rule": [117.0, 132.0, 121.0],
        "best": [120.0, 150.0, 139.0],
    }
    row = {
        "preset": preset, "label": "DCGAN", "kind": "dcgan", "threads": 1, "batch_size": 4, "steps": 2,
        "workers": 2, "same": {"strategy": "simultaneous"}, "best": {"strategy": "one_stage"}, "rates": rates,
    }  # fmt: skip
    return {"rows": [row]}


def test_throughput_is_judged_against_the_faster_copied_side(tmp_path: Path) -> None:
    text = redrawn("throughput", throughput_figures(), tmp_path)
    assert "same rule: 1.21, target at least 1.15: reached" in text
    assert "best: 1.36, target at least 1.4: NOT reached" in text
    assert "(not scored)" in text
    faster = throughput_figures()
    faster["rows"][0]["rates"]["copied, no workers"] = [200.0] * 3
    assert re.search(r"same rule: 0\.\d+, target at least 1\.15: NOT", redrawn("throughput", faster, tmp_path))


@pytest.mark.parametrize(("best", "judged"), [([9.0, 13.0, 30.0], "distance no worse"), ([14.0] * 3, "worse in")])
def test_scores_are_judged_by_the_worse_quartile(best: list[float], judged: str, tmp_path: Path) -> None:
    rows = [
        {"preset": "dcgan_28", "side": side, "seed": seed, "steps": 2, "distance": value}
        for side, values in (("same rule", [10.0, 12.0, 15.0]), ("best", best))
        for seed, value in enumerate(values)
    ]
    assert ("NOT" in redrawn("throughput_scores", {"rows": rows}, tmp_path)) is (judged == "worse in")
    assert judged in redrawn("throughput", throughput_figures(preset="dcgan_28"), tmp_path)
    throughput = script("throughput")
    taken = throughput.settled("dcgan_28", throughput.scores_in(tmp_path))
    assert (taken.best != taken.same) is (judged == "distance no worse"), "only what trains as well is measured"
    assert throughput.settled("dcgan_28", {"rows": []}).best == taken.same, "nor what nobody has scored"


def test_step_cost_judges_its_targets(tmp_path: Path) -> None:
    rows = [
        {"order": order, "flops": number, "saved_bytes": 2**20, "calls": {"G": [1, 1]}, "milliseconds": [1.0, 2.0]}
        for order, number in {"one_stage": 100, "simultaneous": 113, "the copied loop": 133}.items()
    ]
    part = {
        "preset": "dcgan_28", "label": "DCGAN 28", "kind": "dcgan", "batch_size": 4, "loss": "minimax",
        "formula_flops": 102, "least_flops": 100, "rows": rows,
    }  # fmt: skip
    text = redrawn("step_cost", {"presets": [part]}, tmp_path)
    assert "one_stage, operations of the least: 1.00, target at most 1: reached" in text
    assert "simultaneous, operations of the least: 1.13, target at most 1.12: NOT reached" in text
    assert "the copied loop, operations of the least: 1.33, target 1.3 to 1.45: reached" in text


def test_the_panels_figures_are_judged(tmp_path: Path) -> None:
    row = {"steps_per_s_plain": 30.0, "steps_per_s_panel": 29.0, "frames_per_s": 6.0, "frame_ms": 8.0}
    found = {**row, "overhead": [0.02, 0.034, 0.06], "overhead_cpu": [0.03] * 3}
    waited = [0.02, 0.03, 0.2]
    figures = {"overhead": {"digits": found}, "latency": {"digits": waited, "ring": waited}}
    text = redrawn("panel_overhead", figures, tmp_path)
    assert "3.4% (2.0% to 6.0%)" in text
    assert "lost on digits, %: 3.4, target at most 5: reached" in text
    assert "toggle to picture, ms: 30, target at most 150: reached" in text


def test_notebooks_are_judged_by_their_budgets(tmp_path: Path) -> None:
    rows = [
        {"notebook": name, "cells": ["", "run()"], "seconds": [[1.0, seconds]]}
        for name, seconds in (("00_a", 100.0), ("01_b", 150.0), ("04_c", 150.0))
    ]
    lines = redrawn("notebook_times", {"rows": rows}, tmp_path).splitlines()
    judged = [line.rsplit(": ", 1)[1] for line in lines if line.startswith("- ")]
    assert judged == ["reached", "NOT reached", "reached"]


# measured, small ------------------------------------------------------------------------------------------------------


def test_growth_measures_and_its_slopes_are_powers(tmp_path: Path) -> None:
    growth = script("growth")
    rows = growth.all_measured(["DCGAN"], 1, {"DCGAN": {"batch": [4, 8], "width": [8, 16]}})
    by_batch, by_width = rows[:2], rows[2:]
    assert growth.slope(by_batch, "flops") == pytest.approx(1, abs=0.01)
    assert 1 < growth.slope(by_width, "flops") < 2  # the first and the last layers grow with the width alone
    assert growth.slope([{"value": value, "flops": value**3} for value in (1, 2, 4)], "flops") == pytest.approx(3)
    assert "slope" in redrawn("growth", {"rows": rows}, tmp_path)


def test_the_playground_is_judged_by_its_median_turn(tmp_path: Path) -> None:
    turn = {"steps": 300.0, "per_cpu": 310.0, "frames": 55.0, "longest": 30.0, "start": 1.5}
    turns = [turn, turn | {"steps": 280.0}, turn | {"steps": 100.0}]
    figures = dict.fromkeys(("d_first_detach", "simultaneous"), turns)
    written = redrawn("playground", {"turns": figures}, tmp_path)
    assert "280 (100 to 300)" in written
    assert "steps a second, d_first_detach: 280, target at least 250: reached" in written
    assert "frames a second, d_first_detach: 55, target at least 60: NOT reached" in written
    assert "first frame, d_first_detach: 1.5, target at most 2: reached" in written


def test_start_up_runs_each_in_a_process_and_divides_by_torchs(tmp_path: Path) -> None:
    start_up = script("start_up")
    times = start_up.measured({"nothing": ["-c", ""], "sleep": ["-c", "import time; time.sleep(0.3)"]}, 1)
    assert times["sleep"][0] >= 0.3
    assert all(len(values) == 1 for values in times.values())
    figures = {start_up.TORCH: [2.0, 4.0], "import gantutor": [3.0, 4.0]}
    assert "1.25 (1.00 to 1.50)" in redrawn("start_up", {"seconds": figures}, tmp_path)
    for path in start_up.notebooks():
        lines = start_up.first_imports(path).splitlines()
        assert lines, path.name
        assert all(line.startswith(("import ", "from ")) for line in lines)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12 on, in any process with threads
def test_a_batch_after_a_pause_is_judged_by_the_median_of_the_rounds(tmp_path: Path) -> None:
    folder = script("folder")
    times = folder.measured(2, count=3, size=2, pause=0.0)
    assert list(times) == list(folder.KINDS)
    assert all(len(values) == 2 and min(values) > 0 for values in times.values())
    figures = dict(zip(folder.KINDS, ([1.0] * 3, [1.0, 2.0, 4.0], [0.05, 0.3, 0.4]), strict=True))
    text = redrawn("folder", {"batch": 64, "side": 256, "size": 64, "workers": 2, "seconds": figures}, tmp_path)
    assert "after a pause, of one without: 0.10, target at most 0.1: reached" in text


# the files of a result ------------------------------------------------------------------------------------------------


def test_a_gpus_figures_lie_beside_the_cpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results = script("benchlib.results")
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA H200 (SXM)")
    assert results.stem(tmp_path, "throughput", "cuda").name == "throughput.nvidia-h200-sxm"
    assert results.stem(tmp_path, "throughput").name == "throughput"
    results.write(results.stem(tmp_path, "throughput", "cuda"), {"a": 1})
    assert results.read(tmp_path / "throughput.nvidia-h200-sxm") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["throughput.nvidia-h200-sxm.json"]


@pytest.mark.parametrize(
    ("value", "bounds", "judged"),
    [
        (1.146, {"low": 1.15}, "1.15, target at least 1.15: reached"),
        (1.14, {"low": 1.15}, "1.14, target at least 1.15: NOT reached"),
        (1.006, {"high": 1.0}, "1.01, target at most 1: NOT reached"),
        (1.4, {"low": 1.3, "high": 1.45}, "1.40, target 1.3 to 1.45: reached"),
    ],
)
def test_a_verdict_is_on_the_figure_that_is_printed(value: float, bounds: dict[str, float], judged: str) -> None:
    assert script("benchlib.results").verdict("x", value, **bounds) == f"- x: {judged}\n"
