"""The table of benchmarks/batchnorm_seeds.py: it is whole, its script makes it, and the script can be stopped."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from gantutor.data.common import embedded_file
from gantutor.metrics import SeedRow, run_failed, seed_rows, select, sign_test


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


CONDITION = ("model", "norm_D", "loss", "batch_size", "seed")
BATCH_SIZE = {"dcgan": 48, "classic": 64}


def of(batching: str = "split", norm_D: str = "batch", **wanted: Any) -> list[SeedRow]:
    return select(seed_rows("batchnorm_seeds"), batching=batching, norm_D=norm_D, **wanted)


def failures(rows: list[SeedRow]) -> str:
    return f"{sum(map(run_failed, rows))} of {len(rows)}"


def larger(first: list[SeedRow], second: list[SeedRow], column: str = "distance") -> tuple[int, float]:
    """In how many pairs with the same network, loss, batch size and seed the first is larger, and the sign test's p."""
    of_pair = [name for name in CONDITION if name != "norm_D"]
    assert [[row[name] for name in of_pair] for row in first] == [[row[name] for name in of_pair] for row in second]
    differences = [a[column] - b[column] for a, b in zip(first, second, strict=True)]
    return sum(difference > 0 for difference in differences), sign_test(differences)


# What notebook 03 says about the table ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batching", "model", "found"),
    [
        ("joint_in_D_step", "dcgan", "10 of 10"),
        ("joint_in_D_step", "classic", "25 of 25"),
        ("joint_in_D_step", "classic 28", "5 of 5"),
        ("joint", "dcgan", "0 of 10"),
        ("joint", "classic", "0 of 25"),
        ("joint", "classic 28", "0 of 5"),
        ("joint_in_G_step", "dcgan", "0 of 10"),
        ("joint_in_G_step", "classic", "25 of 25"),
        ("joint_in_G_step", "classic 28", "5 of 5"),
        ("split", "dcgan", "0 of 10"),
        ("split", "classic", "5 of 25"),
        ("split", "classic 28", "5 of 5"),
    ],
)
def test_which_runs_with_batchnorm_fail(batching: str, model: str, found: str) -> None:
    assert failures(of(batching, model=model)) == found


def test_split_fails_with_batches_of_4() -> None:
    assert failures(of(model="classic", batch_size=4)) == "5 of 5"


@pytest.mark.parametrize("norm", ["instance", "group", "layer", "spectral", "none"])
def test_without_batchnorm_batching_does_not_matter(norm: str) -> None:
    split, joint = (of(way, norm) for way in ("split", "joint_in_D_step"))
    assert sum(map(run_failed, joint)) == 0
    assert larger(joint, split)[1] > 0.5


def test_the_blind_spot_predicts_where_the_reverse_mismatch_fails() -> None:
    assert failures(of("joint_in_G_step", "batch, shared")) == failures(of("split", "batch, shared")) == "0 of 10"
    assert failures(of("joint_in_G_step", "batch, per unit")) == "10 of 10"
    assert failures(of("split", "batch, per unit")) == "3 of 10"


def test_a_strong_D_is_neither_needed_nor_enough_to_fail() -> None:
    for way in ("joint", "joint_in_D_step"):
        assert min(row["d_accuracy"] for row in of(way, model="dcgan")) > 0.97
    for model, pairs in (("classic", 20), ("classic 28", 5)):
        good, bad = (of(way, model=model) for way in ("joint", "joint_in_G_step"))
        assert larger(good, bad, "d_accuracy")[0] == pairs


def test_split_against_joint_and_against_the_reverse_mismatch() -> None:
    dcgan, mlp = ({"model": model, "batch_size": size} for model, size in BATCH_SIZE.items())
    for way in ("joint", "joint_in_G_step"):
        assert larger(of(way, **dcgan), of(**dcgan))[1] > 0.5
    assert larger(of("joint_in_G_step", **dcgan), of(**dcgan))[0] == 5
    assert larger(of("joint", **mlp), of(**mlp)) == (10, 2 / 2**10)


def test_what_the_other_norms_reach() -> None:
    dcgan, mlp = ({"model": model, "batch_size": size} for model, size in BATCH_SIZE.items())
    for norm in ("instance", "group", "layer", "spectral", "virtual"):
        assert larger(of(norm_D=norm, **dcgan), of(**dcgan))[1] > 0.1
    assert larger(of(norm_D="none", **dcgan), of(**dcgan))[0] == 10
    assert larger(of(norm_D="spectral", **dcgan), of(**dcgan))[0] == 7
    assert failures(of(norm_D="virtual", **dcgan)) == "1 of 10"
    for norm in ("group", "layer", "spectral", "virtual", "none"):
        assert larger(of(norm_D=norm, **mlp), of(**mlp))[0] == 10


# The reading of a table -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "failed"),
    [({}, False), ({"classes": 4}, True), ({"distance": 26.0}, True), ({"diverged": True}, True)],
)
def test_what_counts_as_failed(changes: dict, failed: bool) -> None:
    row = {"distance_at_start": 100.0, "distance": 24.0, "classes": 5, "diverged": False}
    assert run_failed({**row, **changes}) is failed


@pytest.mark.parametrize(
    ("differences", "p"),
    [([1.0] * 10, 2 / 2**10), ([-1.0] * 5, 2 / 2**5), ([1, 1, -1, -1], 1.0), ([2, 1, 1, -3], 10 / 16), ([0, 3], 1.0)],
)
def test_the_sign_test(differences: list[float], p: float) -> None:
    assert sign_test(differences) == pytest.approx(p)


def test_a_sign_test_without_differences_is_refused() -> None:
    with pytest.raises(ValueError, match="No pair differs"):
        sign_test([0.0, 0.0])


def test_a_regrouped_norm_shares_its_mean_where_it_says(script: ModuleType) -> None:
    """The mean over the images, and over the activations that share it, is 0 behind it; over fewer it is not."""
    torch.manual_seed(0)
    features = script.REGROUPED["batch, shared"][1]()(torch.randn(8, 256) + torch.arange(256)).view(8, 16, 16)
    assert features.mean((0, 2)).abs().max() < 1e-5 < 0.1 < features.mean(0).abs().max()
    units = script.REGROUPED["batch, per unit"][1]()(torch.randn(8, 16, 7, 7) + torch.arange(7))
    assert units.mean(0).abs().max() < 1e-5


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
