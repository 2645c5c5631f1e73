"""The table of benchmarks/batchnorm_seeds.py: it is whole, its script makes it, and the script can be stopped."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from gantutor.data.common import embedded_file


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return importlib.import_module("batchnorm_seeds")  # pytest has benchmarks/ on its path


def test_the_table_is_whole(script: ModuleType) -> None:
    table = json.loads(embedded_file("batchnorm_seeds.json").read_text(encoding="utf-8"))
    assert table["settings"] == script.SETTINGS
    assert [script.called(row) for row in table["rows"]] == list(script.wanted())
    conditions = [script.called(row)[:-1] for row in table["rows"]]
    assert {conditions.count(condition) for condition in conditions} == {5}
    for row in table["rows"]:
        assert 0 <= row["classes"] <= 10
        assert 0 <= row["d_accuracy"] <= 1
        assert 0 < row["distance"] < 2 * row["distance_at_start"]


@pytest.mark.parametrize(
    ("changes", "failed"),
    [({}, False), ({"classes": 4}, True), ({"distance": 26.0}, True), ({"diverged": True}, True)],
)
def test_what_counts_as_failed(script: ModuleType, changes: dict, failed: bool) -> None:
    row = {"distance_at_start": 100.0, "distance": 24.0, "classes": 5, "diverged": False}
    assert script.failed({**row, **changes}) is failed


def test_it_goes_on_where_it_was_stopped(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)  # of this process, for good
    names = [("classic", "batch", "hinge", batching, 8, 0) for batching in ("split", "joint", "joint_in_D_step")]
    settings = {**script.SETTINGS, "samples": 50, "classic": {**script.SETTINGS["classic"], "steps": 3}}
    monkeypatch.setattr(script, "SETTINGS", settings)
    path = tmp_path / "table.json"

    def run(wanted: list, *arguments: str) -> list:
        monkeypatch.setattr(script, "wanted", lambda: iter(wanted))
        monkeypatch.setattr("sys.argv", ["batchnorm_seeds.py", "--json", str(path), *arguments])
        script.main()
        return json.loads(path.read_text(encoding="utf-8"))["rows"]

    whole = run(names)
    path.unlink()
    run(names[1:2])
    capsys.readouterr()
    assert run(names) == whole, "in the same order, bit for bit"
    printed = capsys.readouterr().out
    assert "2/2 classic batch hinge joint_in_D_step 8 0" in printed
    assert "hinge           split" in printed
    assert len({row["distance"] for row in whole}) == 3

    monkeypatch.setattr(script, "SETTINGS", {**settings, "samples": 60})
    with pytest.raises(SystemExit, match=r"table\.json was made with other settings"):
        run(names)
    assert run(names[:1], "--fresh") != whole[:1]
