"""The table of benchmarks/pix2pix_noise.py: it is whole, it says what notebook 04 says, and its script makes it."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from gantutor.data.common import embedded_file
from gantutor.data.sheets import read_sheet


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return importlib.import_module("pix2pix_noise")  # pytest has benchmarks/ on its path


def test_the_table_is_whole_and_bears_out_the_notebook(script: ModuleType) -> None:
    table = json.loads(embedded_file("pix2pix_noise.json").read_text(encoding="utf-8"))
    assert table["settings"] == script.SETTINGS
    assert [script.called(row) for row in table["rows"]] == script.wanted()
    assert not any(row["diverged"] for row in table["rows"])
    by_name = {script.called(row): row for row in table["rows"]}
    for seed in script.SEEDS:
        alone, with_l1 = by_name["cGAN", seed], by_name["L1 + cGAN", seed]
        assert with_l1["z"] < alone["z"], "without L1, z changes more"
        assert with_l1["z"] < 0.1
        assert max(alone["dropout"], with_l1["dropout"]) < 0.2


def test_the_sheet_has_a_row_for_each_arm(script: ModuleType) -> None:
    kept = script.SETTINGS["sheet"]
    sheet = read_sheet("pix2pix_noise.webp")
    assert sheet.shape[:2] == (len(script.ARMS), len(kept["sketches"]) * kept["draws"])


def test_z_is_shown_to_G_alone(script: ModuleType) -> None:
    model = script.build_model("L1 + cGAN", 0)
    A, B = torch.zeros(2, 2, 3, 64, 64)
    low, high = (script.with_z(A, torch.full((2,), z)) for z in (-1.0, 1.0))
    assert not torch.equal(model.G(low), model.G(high))
    model.D.eval()
    assert torch.equal(model.logits(low, B), model.logits(high, B))


def test_from_draw_to_draw_only_what_is_asked_for_changes(script: ModuleType) -> None:
    model = script.build_model("cGAN", 0)
    A = torch.ones(2, 3, 64, 64)
    state = {name: value.clone() for name, value in model.G.state_dict().items()}
    for what in ("z", "dropout"):
        first, second = script.drawn_again(model, A, 2, what, 0)
        assert not torch.equal(first, second)
    again = script.drawn_again(model, A, 2, "dropout", 1)  # another seed for z, which dropout's draws leave at 0
    assert torch.equal(again[0], script.drawn_again(model, A, 1, "dropout", 0)[0])
    assert all(torch.equal(value, state[name]) for name, value in model.G.state_dict().items())


def test_the_mean_colour_is_that_of_what_is_drawn(script: ModuleType) -> None:
    pictures = torch.ones(1, 3, 2, 2)
    pictures[0, :, 0, 0] = torch.tensor([0.1, 0.2, 0.3])
    drawn = torch.tensor([[[True, False], [False, False]]])
    assert torch.allclose(script.mean_colours(pictures, drawn), torch.tensor([[0.1, 0.2, 0.3]]))


def test_it_goes_on_where_it_was_stopped(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)  # of this process, for good
    monkeypatch.setattr("benchlib.sheets.downloads_folder", lambda: tmp_path)
    monkeypatch.setattr(script, "SEEDS", range(1))
    sheet = {"sketches": [0, 1], "draws": 2}
    small = {"experiment": {"data": "emoji_sketch", "steps": 1}, "asked": 3, "draws": 2, "sheet": sheet}
    monkeypatch.setattr(script, "SETTINGS", small)
    path = tmp_path / "table.json"
    monkeypatch.setattr("sys.argv", ["pix2pix_noise.py", "--json", str(path)])
    script.main()
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert [script.called(row) for row in rows] == script.wanted()
    assert path.with_suffix(".webp").exists()
    capsys.readouterr()
    script.main()
    assert not capsys.readouterr().out.startswith("1/"), "nothing is missing: nothing is done"
    assert json.loads(path.read_text(encoding="utf-8"))["rows"] == rows
