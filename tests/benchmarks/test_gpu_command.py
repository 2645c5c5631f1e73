"""`make gpu` on a CPU, small: each part gives its figures, keeps what it has when time runs out, and writes it down."""

import importlib
import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from benchlib import gpu_report
from benchlib.results import read

pytestmark = pytest.mark.slow


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    script = importlib.import_module("gpu")
    for name, value in {"TURN_S": 0.01, "ROUNDS": 1, "WARM": 1, "SAME_STEPS": 2, "PICTURES": 4}.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setitem(script.ORDER, "cpu", ("dcgan_28",))
    monkeypatch.setattr(script, "TOGETHER", (("fused",), ("graph",)))
    monkeypatch.setattr(script, "COMPILED", ())
    return script


def rows_of(gpu: ModuleType, part: str, path: Path, seconds: float = 1000.0) -> list[dict[str, Any]]:
    gpu.PARTS[part](gpu.keeper(path / part), "cpu", gpu.Clock(seconds))
    return list(read(path / part)["rows"])


def test_nets(gpu: ModuleType, tmp_path: Path) -> None:
    (row,) = rows_of(gpu, "nets", tmp_path)
    assert row["errors"] == {}
    assert {"copied", "same rule", "same rule, graph", "copied, ieee"} <= row["rates"].keys()
    assert all(rate > 0 for rates in row["rates"].values() for rate in rates)
    assert row["same_rule"]["float64"] < 1e-9
    assert row["same_rule"]["float32"] < 0.1
    told = gpu_report.text_of_nets([row])
    assert "weights differ by" in told
    assert "DCGAN 28, same rule" in told


def test_the_whole_command_keeps_each_part_and_draws(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {
        "tests": [{"test": "t", "outcome": "failed", "text": "why it failed"}],
        "notebooks": [{"notebook": "00", "cells": 3, "ran": 2, "seconds": 1, "failed": [{"cell": "c", "text": "oh"}]}],
        "frames": [
            {"data": "digits", "plain": [9.0], "with_frames": [8.0], "frames": 10, "bytes": 5000, "painted_s": 0.01,
             "played_s": 1.0}
        ],
    }  # fmt: skip
    ended = itertools.cycle(["", "stopped after 3 s"])

    def part(arguments: list[str], seconds: float) -> str:
        keep = gpu.keeper(Path(arguments[arguments.index("--partial") + 1]))
        for row in rows[arguments[1]]:
            keep(row)
        return next(ended)

    monkeypatch.setattr(gpu, "run_apart", part)
    gpu.main(["--device", "cpu", "--out", str(tmp_path), "--parts", *rows, "--commit", "abc"])
    told = (tmp_path / "cpu.md").read_text()
    assert "Commit abc." in told
    assert "why it failed" in told
    assert "00, c: oh" in told
    assert "digits, % of the time at 30 frames/s: 3.0, target at most 5: reached" in told
    assert "(stopped after 3 s)" in told
    assert (tmp_path / "cpu.png").stat().st_size > 5000
    gpu.main(["--device", "cpu", "--out", str(tmp_path), "--parts", "tests", "--commit", "def"])
    parts = read(tmp_path / "cpu")["parts"]
    assert parts.keys() == rows.keys()
    assert parts["tests"]["commit"] == "def"
    assert parts["frames"]["commit"] == "abc"


def test_the_parts_fit_into_five_minutes(gpu: ModuleType) -> None:
    assert gpu.SHARES.keys() == gpu.PARTS.keys() == gpu_report.TEXTS.keys()
    assert sum(gpu.SHARES.values()) * (1 + gpu.GRACE) <= 310
