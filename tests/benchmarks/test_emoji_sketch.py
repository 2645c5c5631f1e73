"""The table and the sheet of benchmarks/emoji_sketch.py: they are whole, say what notebook 04 says, and can be made."""

import importlib
import json
import statistics
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from gantutor.configs import Pix2PixConfig
from gantutor.data import Pairs, load_pairs
from gantutor.data.common import embedded_file
from gantutor.data.sheets import read_sheet
from gantutor.metrics import l1, saturation, sharpness


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return importlib.import_module("emoji_sketch")  # pytest has benchmarks/ on its path


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    return json.loads(embedded_file("emoji_sketch.json").read_text(encoding="utf-8"))


def test_the_table_is_whole(script: ModuleType, table: dict[str, Any]) -> None:
    assert table["settings"] == script.SETTINGS
    assert [script.called(row) for row in table["rows"]] == script.wanted()
    assert {row["seed"] for row in table["rows"]} == set(range(5))
    assert not any(row["diverged"] for row in table["rows"])


def test_both_arms_are_runs_that_a_panel_can_train(script: ModuleType) -> None:
    for name in script.wanted():
        config = script.experiment(*name)
        assert isinstance(config, Pix2PixConfig)
        assert (config.data, config.patch) == ("emoji_sketch", 16)


def paired(table: dict[str, Any], score: str) -> list[tuple[float, float]]:
    """L1's and L1 + cGAN's, seed by seed."""
    of = {(row["objective"], row["seed"]): row[score] for row in table["rows"]}
    return [(of["L1", seed], of["L1 + cGAN", seed]) for seed in range(5)]


def test_the_lower_error_is_the_worse_picture(table: dict[str, Any]) -> None:
    """On every seed, and by more than the seeds differ."""
    truth = table["truth"]
    for with_L1, with_cGAN in paired(table, "sharpness"):
        assert abs(with_cGAN - truth["sharpness"]) < 0.1 * truth["sharpness"]
        assert with_L1 < 0.8 * truth["sharpness"]
    for with_L1, with_cGAN in paired(table, "saturation"):
        assert with_cGAN > 0.75 * truth["saturation"]
        assert with_L1 < 0.9 * with_cGAN
    for score, sign in (("sharpness", 1), ("saturation", 1), ("l1", -1)):
        gains = [sign * (with_cGAN - with_L1) for with_L1, with_cGAN in paired(table, score)]
        if score == "l1":
            assert max(gains) < 0, "L1's error is the lower one"
        else:
            assert min(gains) > 0
        assert abs(statistics.mean(gains)) > 2 * statistics.stdev(gains)


def test_the_sheet_has_the_pictures_of_every_run(script: ModuleType, table: dict[str, Any]) -> None:
    assert embedded_file("emoji_sketch.webp").stat().st_size <= 1_000_000
    A, B, *runs = read_sheet("emoji_sketch.webp")
    assert len(runs) == len(table["rows"])
    held_out = load_pairs("emoji_sketch").held_out
    assert held_out is not None
    true_A, true_B = held_out.first(script.SHOWN)
    assert l1(A, true_A) < 0.03
    assert l1(B, true_B) < 0.02
    for row, pictures in zip(table["rows"], runs, strict=True):
        assert pictures.shape == B.shape
        assert abs(l1(pictures, B) - row["l1"]) < 0.03, "of fewer pictures, and a little changed by the WebP"
    found = {
        score: np.array([score(pictures) for pictures in runs]).reshape(-1, 2) for score in (sharpness, saturation)
    }
    for by_seed in found.values():
        assert (by_seed[:, 0] < by_seed[:, 1]).all(), "L1 and L1 + cGAN take turns"


def few_pairs(name: str) -> Pairs:
    """Eight small pairs; the first four are held out."""
    generator = torch.Generator().manual_seed(0)
    A, B = torch.randint(256, (2, 8, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return Pairs(name, A, B, held_out=Pairs(name, A[:4], B[:4]))


def test_it_goes_on_where_it_was_stopped(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)  # of this process, for good
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path / "kept"))
    monkeypatch.setattr(script, "load_pairs", few_pairs)
    small = {"data": "emoji_sketch", "steps": 3, "width_G": 4, "width_D": 4, "batch_size": 2}
    monkeypatch.setattr(script, "SETTINGS", {**script.SETTINGS, "experiment": small})
    path, sheet = tmp_path / "table.json", tmp_path / "table.webp"

    def run(seeds: range, *arguments: str) -> list:
        monkeypatch.setattr(script, "SEEDS", seeds)
        monkeypatch.setattr("sys.argv", ["emoji_sketch.py", "--json", str(path), *arguments])
        script.main()
        return json.loads(path.read_text(encoding="utf-8"))["rows"]

    whole = run(range(2))
    assert [script.called(row) for row in whole] == [("L1", 0), ("L1 + cGAN", 0), ("L1", 1), ("L1 + cGAN", 1)]
    at_once = sheet.read_bytes()
    path.unlink()
    sheet.unlink()
    assert len(run(range(1))) == 2
    capsys.readouterr()
    assert run(range(2)) == whole, "the same rows, bit for bit"
    assert capsys.readouterr().out.startswith("1/2 L1 1")
    assert sheet.read_bytes() == at_once
    assert run(range(2)) == whole, "nothing is missing: nothing is done"
