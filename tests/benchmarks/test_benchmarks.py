"""The benchmarks' two sides make the same updates; what is published comes from the figures alone."""

import copy
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch


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

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
SCRIPTS = (
    *("folder", "growth", "panel_overhead", "playground", "speed_ups", "start_up", "step_cost", "throughput"),
    "throughput_scores",
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_is_published_is_what_a_script_says_of_its_figures(name: str, tmp_path: Path) -> None:
    """Each result lies there as figures, as text and as a picture."""
    for path in RESULTS.glob("throughput*.json" if name == "throughput" else f"{name}.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    script(name).main(["--redraw", "--out", str(tmp_path)])
    assert (tmp_path / f"{name}.md").read_text() == (RESULTS / f"{name}.md").read_text()
    assert (tmp_path / f"{name}.png").stat().st_size > 3000


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


# measured, small ------------------------------------------------------------------------------------------------------


def test_start_up_runs_each_in_a_process() -> None:
    start_up = script("start_up")
    times = start_up.measured({"nothing": ["-c", ""], "sleep": ["-c", "import time; time.sleep(0.3)"]}, 1)
    assert times["sleep"][0] >= 0.3
    assert all(len(values) == 1 for values in times.values())
    for path in start_up.notebooks():
        lines = start_up.first_imports(path).splitlines()
        assert lines, path.name
        assert all(line.startswith(("import ", "from ")) for line in lines)
