"""The table of benchmarks/pix2pix_tables.py: it is whole, its script makes it, and the script can be stopped."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from gantutor.configs import Pix2PixConfig
from gantutor.data import Pairs
from gantutor.data.common import embedded_file


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return importlib.import_module("pix2pix_tables")  # pytest has benchmarks/ on its path


def test_the_table_is_whole(script: ModuleType) -> None:
    table = json.loads(embedded_file("pix2pix_tables.json").read_text(encoding="utf-8"))
    assert table["settings"] == script.SETTINGS
    assert [script.called(row) for row in table["rows"]] == list(script.wanted())
    for row in table["rows"]:
        assert not row["diverged"]
        assert row["pixel_accuracy"] < table["truth"]["pixel_accuracy"]
        assert row["pixel_accuracy"] > table["untrained"]["pixel_accuracy"]


def test_every_row_of_the_papers_tables_is_wanted(script: ModuleType) -> None:
    conditions = {name[:-1] for name in script.wanted()}
    assert {objective for objective, generator, patch in conditions if (generator, patch) == ("unet", 34)} == {
        "L1",
        "GAN",
        "cGAN",
        "L1 + GAN",
        "L1 + cGAN",
    }
    assert {(objective, generator) for objective, generator, patch in conditions if patch == 34} >= {
        (objective, generator) for objective in ("L1", "L1 + cGAN") for generator in ("unet", "encoder_decoder")
    }
    assert {patch for objective, _, patch in conditions if objective == "L1 + cGAN"} == {1, 16, 34, 70}
    for name in script.wanted():
        assert isinstance(script.experiment(*name), Pix2PixConfig)


class FewPairs:
    """What `Reader` gives, on eight small pairs and without a segmenter."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randint(256, (2, 8, 3, 16, 16), generator=generator, dtype=torch.uint8)
        self.data = Pairs("few", *pictures)
        self.A, self.B = self.data.first(4)

    def scores(self, pictures: torch.Tensor) -> dict[str, float]:
        return {"pixel_accuracy": pictures.mean().item(), "class_iou": 0.0, "l1": 0.0, "sharpness": 0.0}


def test_it_goes_on_where_it_was_stopped(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)  # of this process, for good
    monkeypatch.setattr(script, "Reader", FewPairs)
    small = {"data": "facades_mini", "steps": 3, "width_G": 4, "width_D": 4, "batch_size": 2}
    monkeypatch.setattr(script, "SETTINGS", {**script.SETTINGS, "experiment": small})
    names = [("L1", "unet", 16, 0), ("L1 + cGAN", "encoder_decoder", 16, 0), ("GAN", "unet", 1, 0)]
    path = tmp_path / "table.json"

    def run(wanted: list, *arguments: str) -> list:
        monkeypatch.setattr(script, "wanted", lambda: iter(wanted))
        monkeypatch.setattr("sys.argv", ["pix2pix_tables.py", "--json", str(path), *arguments])
        script.main()
        return json.loads(path.read_text(encoding="utf-8"))["rows"]

    whole = run(names)
    assert [script.called(row) for row in whole] == names
    path.unlink()
    assert len(run(names[:1])) == 1
    capsys.readouterr()
    assert run(names) == whole, "the same rows, bit for bit"
    assert capsys.readouterr().out.startswith("1/2 L1 + cGAN encoder_decoder 16 0")
    assert run(names) == whole, "nothing is missing: nothing is done"
    assert run(names[1:], "--fresh") == whole[1:]
    monkeypatch.setitem(script.SETTINGS, "mode", "train")
    with pytest.raises(SystemExit, match="other settings"):
        run(names)
