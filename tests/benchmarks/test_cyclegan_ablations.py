"""The table of benchmarks/cyclegan_ablations.py and its images are whole, and notebook 05's verdicts on them hold."""

import importlib
import json
import math
import statistics
from types import ModuleType
from typing import Any

import pytest
import torch

from gantutor.configs import CycleGANConfig
from gantutor.data.common import embedded_file
from gantutor.data.sheets import read_sheet

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return importlib.import_module("cyclegan_ablations")  # pytest has benchmarks/ on its path


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(embedded_file("cyclegan_ablations.json").read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def rows(table: dict[str, Any]) -> Rows:
    found: Rows = {}
    for row in table["rows"]:
        found.setdefault(row["arm"], []).append(row)
    return found


def test_the_table_is_whole(script: ModuleType, table: dict[str, Any]) -> None:
    assert table["settings"] == script.SETTINGS
    assert [(row["arm"], row["seed"]) for row in table["rows"]] == script.wanted()
    for row in table["rows"]:
        assert not row["diverged"]
        for way in ("AB", "BA"):
            assert all(math.isfinite(row[f"{way}_{name}"]) for name in script.SCORES)
            assert len(row[f"{way}_hues_fake"]) == len(row[f"{way}_hues_rec"]) == 100


def test_the_sheet_has_a_row_for_each_run_that_is_pictured(script: ModuleType) -> None:
    columns = script.SETTINGS["shown"] * len(script.SETTINGS["kinds"])
    sheet = read_sheet("cyclegan_ablations.webp")
    assert sheet.shape == (len(script.pictured()), columns, 3, 64, 64)
    assert script.wanted()[: len(sheet)] == script.pictured(), "row n of the sheet is row n of the table"
    assert embedded_file("cyclegan_ablations.webp").stat().st_size < 1_000_000
    assert sheet.flatten(2).std(-1).min() > 0.05, "an image is blank"


def test_each_arm_is_a_config_with_one_part_changed(script: ModuleType) -> None:
    recipe = CycleGANConfig()
    for changes in script.ARMS.values():
        assert all(getattr(recipe, name) != value for name, value in changes.items())
        recipe.replace(**changes)


def test_started_again_it_trains_nothing_and_changes_nothing(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)  # of this process, for good
    monkeypatch.setattr("sys.argv", ["cyclegan_ablations.py"])
    sheet = script.TABLE.with_suffix(".webp")
    before = script.TABLE.read_bytes(), sheet.read_bytes()
    script.main()
    assert (script.TABLE.read_bytes(), sheet.read_bytes()) == before
    printed = capsys.readouterr().out
    assert all(arm in printed for arm in script.ARMS)


def test_an_aimed_change_stays_in_reach_and_does_harm(script: ModuleType) -> None:
    torch.manual_seed(0)
    back = torch.nn.Conv2d(3, 3, 3, padding=1)
    image, target = 1.8 * torch.rand(2, 2, 3, 8, 8) - 0.9
    reach = script.SETTINGS["reach"] / 127.5
    harmed, noisy = script.aimed(back, image, target), script.noisy(back, image, target)
    for changed in (harmed, noisy):
        assert (changed - image).abs().max() == pytest.approx(reach, rel=1e-3)
    errors = [(back(x) - target).abs().mean() for x in (image, noisy, harmed)]
    assert errors[2] > errors[0] + 3 * abs(errors[1] - errors[0])


# The verdicts ---------------------------------------------------------------------------------------------------------


def test_without_the_cycle_the_way_back_is_lost(rows: Rows) -> None:
    for alone, with_cycle in zip(rows["no cycle"], rows["no identity"], strict=True):
        for way in ("AB", "BA"):
            assert alone[f"{way}_cycle"] > 1.5 * with_cycle[f"{way}_cycle"]


def test_without_the_identity_colours_can_be_exchanged_and_come_back(rows: Rows) -> None:
    exchanged = [row for row in rows["no identity"] if row["AB_hue"] > 60 and row["BA_hue"] > 60]
    assert exchanged
    for row in exchanged:
        assert row["AB_cycle"] < min(alone["AB_cycle"] for alone in rows["no cycle"]) / 1.5
    assert max(row["AB_hue"] for row in rows["full"]) < 40


def test_the_translations_are_shaded_and_by_l1_a_copy_wins(rows: Rows, table: dict[str, Any]) -> None:
    for row in rows["full"]:
        assert row["AB_shading"] > table["copying"]["BA_shading"] / 2 > 5 * table["copying"]["AB_shading"]
        assert row["AB_truth"] > table["copying"]["AB_truth"]
        assert row["BA_shading"] > table["copying"]["BA_shading"], "the way back does not take the shading away"


def test_the_pool_changes_less_than_another_seed_and_the_cycle_far_more(rows: Rows) -> None:
    def paired(arm: str, other: str, score: str) -> tuple[list[float], float]:
        """The differences of each seed's mean score, and how much the seeds of `other` differ."""
        with_it, without = (
            [(row[f"AB_{score}"] + row[f"BA_{score}"]) / 2 for row in rows[name]] for name in (other, arm)
        )
        return [a - b for a, b in zip(without, with_it, strict=True)], statistics.stdev(with_it)

    one_sign = []
    for score in ("truth", "hue", "cycle", "shading"):
        pairs, spread = paired("no pool", "full", score)
        assert abs(statistics.mean(pairs)) < spread
        one_sign += [score] * (min(pairs) > 0 or max(pairs) < 0)
    assert one_sign == ["shading"]
    pairs, spread = paired("no cycle", "no identity", "cycle")
    assert min(pairs) > 10 * spread


def test_nothing_is_hidden_in_fine_detail_and_what_is_aimed_harms_the_controls_too(rows: Rows) -> None:
    def damage(row: dict[str, Any], kind: str, given: str) -> float:
        before, after = row[f"AB_{kind}_{given}"]
        return float(after - before)

    for row in rows["full"]:
        for way in ("AB", "BA"):
            assert row[f"{way}_quantised"][2] < 1.1 * row[f"{way}_quantised"][0]
        assert damage(row, "aimed", "fake") > 2 * damage(row, "noise", "fake")
        assert damage(row, "aimed", "partner") > damage(row, "aimed", "fake") / 2
    for row in rows["no cycle"]:
        assert damage(row, "aimed", "fake") > 0.005
