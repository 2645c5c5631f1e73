"""The table of benchmarks/cyclegan_ablations.py is whole, and its script makes it."""

import importlib
import json
import math
from types import ModuleType

import pytest

from gantutor.configs import CycleGANConfig
from gantutor.data.common import embedded_file


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return importlib.import_module("cyclegan_ablations")  # pytest has benchmarks/ on its path


def test_the_table_is_whole(script: ModuleType) -> None:
    table = json.loads(embedded_file("cyclegan_ablations.json").read_text(encoding="utf-8"))
    assert table["settings"] == script.SETTINGS
    assert [(row["arm"], row["seed"]) for row in table["rows"]] == list(script.wanted())
    for row in table["rows"]:
        assert not row["diverged"]
        for direction in ("AB", "BA"):
            scores = [name for name in script.SCORES if row["arm"] != "pix2pix" or not name.startswith("cycle")]
            assert all(math.isfinite(row[f"{direction}_{name}"]) for name in scores)


def test_each_arm_is_an_experiment_with_one_part_changed(script: ModuleType) -> None:
    recipe = CycleGANConfig()
    for changes in script.ARMS.values():
        assert all(getattr(recipe, name) != value for name, value in changes.items())
        recipe.replace(**changes)


def test_started_again_it_trains_nothing_and_changes_nothing(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)  # of this process, for good
    monkeypatch.setattr("sys.argv", ["cyclegan_ablations.py"])
    before = script.TABLE.read_bytes()
    script.main()
    assert script.TABLE.read_bytes() == before
    printed = capsys.readouterr().out
    assert all(arm in printed for arm in script.ARMS)
