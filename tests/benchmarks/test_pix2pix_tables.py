"""The table of benchmarks/pix2pix_tables.py: it is whole, its script makes it, and the script can be stopped."""

import importlib
import itertools
import json
import statistics
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from gantutor.configs import Pix2PixConfig
from gantutor.data import Pairs
from gantutor.data.common import embedded_file
from gantutor.pix2pix import OBJECTIVES


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return importlib.import_module("pix2pix_tables")  # pytest has benchmarks/ on its path


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    return json.loads(embedded_file("pix2pix_tables.json").read_text(encoding="utf-8"))


def test_the_table_is_whole(script: ModuleType, table: dict[str, Any]) -> None:
    assert table["settings"] == script.SETTINGS
    assert [script.called(row) for row in table["rows"]] == list(script.wanted())
    assert {row["seed"] for row in table["rows"]} == set(range(5))
    for row in table["rows"]:
        assert not row["diverged"]
        for metric in script.METRICS:
            assert table["untrained"][metric] < row[metric] < table["truth"][metric]


def test_every_row_of_the_papers_tables_is_wanted(script: ModuleType) -> None:
    conditions = {name[:-1] for name in script.wanted()}
    assert {objective for objective, *rest in conditions if rest == ["unet", script.PATCH]} == set(OBJECTIVES)
    assert {(objective, generator) for objective, generator, patch in conditions if patch == script.PATCH} >= {
        (objective, generator) for objective in ("L1", "L1 + cGAN") for generator in ("unet", "encoder_decoder")
    }
    assert {patch for objective, _, patch in conditions if objective == "L1 + cGAN"} == {1, 16, 70}
    for name in script.wanted():
        assert isinstance(script.experiment(*name), Pix2PixConfig)


# What notebook 04 says about the table: by each metric, seed by seed --------------------------------------------------

Condition = tuple[str, str, int]  # objective, generator, patch
HERE: Condition = ("L1 + cGAN", "unet", 16)
PAPERS = {  # from the best to the worst, by per-pixel accuracy
    "table 1": [(objective, "unet", 16) for objective in ("L1 + cGAN", "L1 + GAN", "cGAN", "L1", "GAN")],
    "table 2": [
        HERE,
        ("L1", "unet", 16),
        ("L1", "encoder_decoder", 16),
        ("L1 + cGAN", "encoder_decoder", 16),
    ],
    "table 3": [HERE, ("L1 + cGAN", "unet", 70), ("L1 + cGAN", "unet", 1)],
}
# Where our seeds do not bear the paper out, by pixel accuracy, class accuracy and class IoU.
OTHERWISE = {
    (HERE, ("L1 + GAN", "unet", 16)): ("open", "open", "open"),
    (HERE, ("cGAN", "unet", 16)): ("open", "open", "open"),
    (("L1 + GAN", "unet", 16), ("cGAN", "unet", 16)): ("contrary", "contrary", "contrary"),
    (("L1", "encoder_decoder", 16), ("L1 + cGAN", "encoder_decoder", 16)): ("agrees", "contrary", "open"),
    (HERE, ("L1 + cGAN", "unet", 70)): ("open", "open", "open"),
}


def gains(table: dict[str, Any], metric: str, better: Condition, worse: Condition) -> list[float]:
    """By how much the first condition is above the second, for each seed."""
    score = {(row["objective"], row["generator"], row["patch"], row["seed"]): row[metric] for row in table["rows"]}
    seeds = sorted({row["seed"] for row in table["rows"]})
    return [score[*better, seed] - score[*worse, seed] for seed in seeds]


def verdict(found: list[float]) -> str:
    """By chance alone all gains of five seeds would have one sign in 1 of 16 cases."""
    return "agrees" if min(found) > 0 else "contrary" if max(found) < 0 else "open"


ORDERS = {(name, *pair) for name, conditions in PAPERS.items() for pair in itertools.combinations(conditions, 2)}


@pytest.mark.parametrize(("name", "better", "worse"), sorted(ORDERS))
def test_the_papers_orders(
    name: str, better: Condition, worse: Condition, script: ModuleType, table: dict[str, Any]
) -> None:
    found = tuple(verdict(gains(table, metric, better, worse)) for metric in script.METRICS)
    assert found == OTHERWISE.get((better, worse), ("agrees",) * 3)


def test_what_agrees_is_larger_than_the_spread(script: ModuleType, table: dict[str, Any]) -> None:
    for _, better, worse in ORDERS:
        for metric in script.METRICS:
            found = gains(table, metric, better, worse)
            if (better, worse) not in OTHERWISE:
                assert statistics.mean(found) > 2 * statistics.stdev(found) / len(found) ** 0.5


class FewPairs:
    """What `Reader` gives, on eight small pairs and without a segmenter."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randint(256, (2, 8, 3, 16, 16), generator=generator, dtype=torch.uint8)
        self.data = Pairs("few", *pictures)
        self.A, self.B = self.data.first(4)

    def scores(self, pictures: torch.Tensor) -> dict[str, float]:
        return {
            "pixel_accuracy": pictures.mean().item(),
            "class_accuracy": 0.0,
            "class_iou": 0.0,
            "l1": 0.0,
            "sharpness": 0.0,
        }


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
