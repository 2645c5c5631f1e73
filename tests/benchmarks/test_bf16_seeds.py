"""The table of benchmarks/bf16_seeds.py: it is whole, its script makes it, and the script can be stopped."""

import importlib
import json
import statistics
from pathlib import Path
from types import ModuleType

import pytest

from gantutor.data.common import embedded_file
from gantutor.metrics import sign_test


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return importlib.import_module("bf16_seeds")  # pytest has benchmarks/ on its path


def test_the_table_is_whole(script: ModuleType) -> None:
    table = json.loads(embedded_file("bf16_seeds.json").read_text(encoding="utf-8"))
    assert table["settings"] == script.SETTINGS
    assert [(row["seed"], row["dtype"]) for row in table["rows"]] == script.wanted()
    assert all(row["distance"] > 0 and 0 <= row["classes"] <= 10 for row in table["rows"])


def test_what_notebook_06_says_of_the_table(script: ModuleType) -> None:
    """The first 12 pairs look one-sided and decide nothing; with all of them even the impression is gone."""
    rows = json.loads(embedded_file("bf16_seeds.json").read_text(encoding="utf-8"))["rows"]
    float32, bf16 = ([row["distance"] for row in rows if row["dtype"] == name] for name in script.SPEED_UPS_OF)
    differences = [b - a for a, b in zip(float32, bf16, strict=True)]
    assert 0.05 < sign_test(differences[:12]) < 0.5 < sign_test(differences)
    assert abs(statistics.median(differences)) < 0.25 * statistics.stdev(float32)


def test_it_goes_on_where_it_was_stopped(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)  # of this process, for good
    settings = {**script.SETTINGS, "steps": 2, "samples": 50, "batch_size": 4}
    monkeypatch.setattr(script, "SETTINGS", settings)
    path = tmp_path / "table.json"

    def run(seeds: list[int], *arguments: str) -> list:
        monkeypatch.setattr(script, "SEEDS", seeds)
        monkeypatch.setattr("sys.argv", ["bf16_seeds.py", "--json", str(path), *arguments])
        script.main()
        return json.loads(path.read_text(encoding="utf-8"))["rows"]

    whole = run([0, 1])
    assert [(row["seed"], row["dtype"]) for row in whole] == [
        (0, "float32"),
        (0, "bf16"),
        (1, "float32"),
        (1, "bf16"),
    ]
    assert len({row["distance"] for row in whole}) == 4, "other seeds and other numbers are other runs"
    path.write_text(json.dumps({"settings": settings, "rows": whole[1:3]}), encoding="utf-8")
    capsys.readouterr()
    assert run([0, 1]) == whole, "in the same order, bit for bit"
    printed = capsys.readouterr().out
    assert "2/2 1 bf16" in printed
    assert "2 seeds" in printed

    monkeypatch.setattr(script, "SETTINGS", {**settings, "samples": 60})
    with pytest.raises(SystemExit, match=r"table\.json was made with other settings"):
        run([0, 1])
    assert run([0], "--fresh")[0]["distance"] != whole[0]["distance"]
