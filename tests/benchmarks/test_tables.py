"""The tables that notebooks read: they are whole, their scripts make them, and what a notebook says of them holds."""

import functools
import itertools
import json
import math
import statistics
from pathlib import Path
from typing import Any

import batchnorm_seeds
import bf16_seeds
import cyclegan_ablations
import emoji_sketch
import pix2pix_noise
import pix2pix_tables
import pytest
import torch

from gantutor.data import Pairs, load_pairs
from gantutor.data.common import embedded_file
from gantutor.data.embedded import read_sheet
from gantutor.metrics import SeedRow, l1, run_failed, seed_rows, select, sign_test, train_judge

SCRIPTS: dict[str, Any] = {
    script.__name__: script
    for script in (batchnorm_seeds, bf16_seeds, cyclegan_ablations, emoji_sketch, pix2pix_noise, pix2pix_tables)
}


def called(name: str, row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells a row of a table from the others."""
    keys = {"bf16_seeds": ("seed", "dtype"), "cyclegan_ablations": ("arm", "seed")}
    return tuple(row[key] for key in keys[name]) if name in keys else SCRIPTS[name].called(row)


@functools.cache
def table(name: str) -> dict[str, Any]:
    return json.loads(embedded_file(f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_table_is_whole(name: str) -> None:
    assert table(name)["settings"] == SCRIPTS[name].SETTINGS
    assert [called(name, row) for row in table(name)["rows"]] == list(SCRIPTS[name].wanted())
    numbers = [value for row in table(name)["rows"] for value in row.values() if isinstance(value, float)]
    assert all(map(math.isfinite, numbers))
    assert name == "batchnorm_seeds" or not any(row.get("diverged") for row in table(name)["rows"])


def few_pairs(name: str = "few") -> Pairs:
    """Eight small pairs; the first four are held out."""
    generator = torch.Generator().manual_seed(0)
    A, B = torch.randint(256, (2, 8, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return Pairs(name, A, B, held_out=Pairs(name, A[:4], B[:4]))


class FewPairs:
    """What `Reader` of pix2pix_tables gives, on few pairs and without a segmenter."""

    def __init__(self) -> None:
        self.data = few_pairs()
        self.A, self.B = self.data.first(4)

    def scores(self, pictures: torch.Tensor) -> dict[str, float]:
        others = dict.fromkeys(("class_accuracy", "class_iou", "l1", "sharpness"), 0.0)
        return {"pixel_accuracy": pictures.mean().item(), **others}


def shrink(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script with two or three rows of a few steps each."""
    made, small = SCRIPTS[name], {"steps": 3, "width_G": 4, "width_D": 4, "batch_size": 2}
    settings = made.SETTINGS
    if name in ("batchnorm_seeds", "bf16_seeds"):
        monkeypatch.setattr(made, "train_judge", functools.partial(train_judge, steps=2))
    if name == "batchnorm_seeds":
        names = [("classic", "batch", "hinge", batching, 8, 0) for batching in ("split", "joint")]
        monkeypatch.setattr(made, "wanted", lambda: iter(names))
        changes = {"samples": 50, "classic": {**settings["classic"], "steps": 3}}
    elif name == "bf16_seeds":
        monkeypatch.setattr(made, "SEEDS", range(1))
        changes = {"steps": 2, "samples": 50, "batch_size": 4}
    elif name == "emoji_sketch":
        monkeypatch.setattr(made, "load_pairs", few_pairs)
        monkeypatch.setattr(made, "SEEDS", range(1))
        changes = {"experiment": {"data": "emoji_sketch", **small}}
    elif name == "pix2pix_noise":
        monkeypatch.setattr(made, "SEEDS", range(1))
        changes = {"experiment": {"data": "emoji_sketch", "steps": 1}, "asked": 3, "draws": 2}
        changes["sheet"] = {"sketches": [0, 1], "draws": 2}
    else:
        monkeypatch.setattr(made, "Reader", FewPairs)
        monkeypatch.setattr(
            made, "wanted", lambda: iter([("L1", "unet", 16, 0), ("L1 + cGAN", "encoder_decoder", 16, 0)])
        )
        changes = {"experiment": {"data": "facades_mini", **small}}
    monkeypatch.setattr(made, "SETTINGS", {**settings, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "cyclegan_ablations"])
def test_a_script_makes_its_rows_and_the_one_that_is_missing_again_bit_for_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)  # of this process, for good
    monkeypatch.setenv("GANTUTOR_DATA", str(tmp_path / "kept"))
    shrink(name, monkeypatch)
    path = tmp_path / "table.json"
    monkeypatch.setattr("sys.argv", [f"{name}.py", "--json", str(path)])
    SCRIPTS[name].main()
    whole = json.loads(path.read_text(encoding="utf-8"))
    assert [called(name, row) for row in whole["rows"]] == list(SCRIPTS[name].wanted())
    sheet = path.with_suffix(".webp")
    assert sheet.exists() == (name in ("emoji_sketch", "pix2pix_noise"))
    at_once = sheet.read_bytes() if sheet.exists() else b""
    path.write_text(json.dumps({**whole, "rows": whole["rows"][:-1]}), encoding="utf-8")
    capsys.readouterr()
    SCRIPTS[name].main()
    assert capsys.readouterr().out.startswith("1/1 ")
    assert json.loads(path.read_text(encoding="utf-8")) == whole
    assert not at_once or sheet.read_bytes() == at_once


# BatchNorm and batching, notebook 03 ----------------------------------------------------------------------------------

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


# bf16, notebook 06 ---------------------------------------------------------------------------------------------------


def test_what_notebook_06_says_of_the_table() -> None:
    """The first 12 pairs look one-sided and decide nothing; with all of them even the impression is gone."""
    rows = table("bf16_seeds")["rows"]
    float32, bf16 = ([row["distance"] for row in rows if row["dtype"] == name] for name in ("float32", "bf16"))
    differences = [b - a for a, b in zip(float32, bf16, strict=True)]
    assert 0.05 < sign_test(differences[:12]) < 0.5 < sign_test(differences)
    assert abs(statistics.median(differences)) < 0.25 * statistics.stdev(float32)


# CycleGAN's ablations, notebook 05 ------------------------------------------------------------------------------------


def test_the_sheet_has_a_row_for_each_run_that_is_pictured() -> None:
    columns = cyclegan_ablations.SETTINGS["shown"] * len(cyclegan_ablations.SETTINGS["kinds"])
    sheet = read_sheet("cyclegan_ablations.webp")
    assert sheet.shape == (len(cyclegan_ablations.pictured()), columns, 3, 64, 64)
    assert cyclegan_ablations.wanted()[: len(sheet)] == cyclegan_ablations.pictured(), (
        "row n of the sheet is row n of the table"
    )
    assert embedded_file("cyclegan_ablations.webp").stat().st_size < 1_000_000
    assert sheet.flatten(2).std(-1).min() > 0.05, "an image is blank"


# The sketches of emoji, notebook 04 -----------------------------------------------------------------------------------


def paired_sketches(score: str) -> list[tuple[float, float]]:
    """L1's and L1 + cGAN's, seed by seed."""
    of = {(row["objective"], row["seed"]): row[score] for row in table("emoji_sketch")["rows"]}
    return [(of["L1", seed], of["L1 + cGAN", seed]) for seed in range(5)]


def test_the_lower_error_is_the_worse_picture() -> None:
    """On every seed, and by more than the seeds differ."""
    truth = table("emoji_sketch")["truth"]
    for score, least in (("sharpness", 0.9), ("saturation", 0.75)):
        for with_L1, with_cGAN in paired_sketches(score):
            assert with_L1 < with_cGAN
            assert with_L1 < 0.9 * truth[score]
            assert with_cGAN > least * truth[score]
    for score in ("sharpness", "saturation", "l1"):
        gains = [with_cGAN - with_L1 for with_L1, with_cGAN in paired_sketches(score)]
        assert min(gains) > 0, "L1's error is the lower one, and its pictures are the duller ones"
        assert abs(statistics.mean(gains)) > 2 * statistics.stdev(gains)


def test_the_sheet_has_the_pictures_of_every_run() -> None:
    assert embedded_file("emoji_sketch.webp").stat().st_size <= 1_000_000
    A, B, *runs = read_sheet("emoji_sketch.webp")
    assert len(runs) == len(table("emoji_sketch")["rows"])
    held_out = load_pairs("emoji_sketch").held_out
    assert held_out is not None
    true_A, true_B = held_out.first(emoji_sketch.SHOWN)
    assert l1(A, true_A) < 0.03
    assert l1(B, true_B) < 0.02
    for row, pictures in zip(table("emoji_sketch")["rows"], runs, strict=True):
        assert pictures.shape == B.shape
        assert abs(l1(pictures, B) - row["l1"]) < 0.03, "of fewer pictures, and a little changed by the WebP"


# The noise of pix2pix, notebook 04 ------------------------------------------------------------------------------------


def test_with_l1_the_noise_changes_little() -> None:
    by_name = {(row["objective"], row["seed"]): row for row in table("pix2pix_noise")["rows"]}
    for seed in pix2pix_noise.SEEDS:
        alone, with_l1 = by_name["cGAN", seed], by_name["L1 + cGAN", seed]
        assert with_l1["z"] < alone["z"], "without L1, z changes more"
        assert with_l1["z"] < 0.1
        assert max(alone["dropout"], with_l1["dropout"]) < 0.2


def test_the_sheet_of_the_noise_has_a_row_for_each_arm() -> None:
    kept = pix2pix_noise.SETTINGS["sheet"]
    sheet = read_sheet("pix2pix_noise.webp")
    assert sheet.shape[:2] == (len(pix2pix_noise.ARMS), len(kept["sketches"]) * kept["draws"])


# The paper's tables, notebook 04 --------------------------------------------------------------------------------------


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


def gains(metric: str, better: Condition, worse: Condition) -> list[float]:
    """By how much the first condition is above the second, for each seed."""
    score = {
        (row["objective"], row["generator"], row["patch"], row["seed"]): row[metric]
        for row in table("pix2pix_tables")["rows"]
    }
    seeds = sorted({row["seed"] for row in table("pix2pix_tables")["rows"]})
    return [score[*better, seed] - score[*worse, seed] for seed in seeds]


def verdict(found: list[float]) -> str:
    """By chance alone all gains of five seeds would have one sign in 1 of 16 cases."""
    return "agrees" if min(found) > 0 else "contrary" if max(found) < 0 else "open"


ORDERS = {(name, *pair) for name, conditions in PAPERS.items() for pair in itertools.combinations(conditions, 2)}


@pytest.mark.parametrize(("name", "better", "worse"), sorted(ORDERS))
def test_the_papers_orders(name: str, better: Condition, worse: Condition) -> None:
    found = tuple(verdict(gains(metric, better, worse)) for metric in pix2pix_tables.METRICS)
    assert found == OTHERWISE.get((better, worse), ("agrees",) * 3)


def test_what_agrees_is_larger_than_the_spread() -> None:
    for _, better, worse in ORDERS:
        for metric in pix2pix_tables.METRICS:
            found = gains(metric, better, worse)
            if (better, worse) not in OTHERWISE:
                assert statistics.mean(found) > 2 * statistics.stdev(found) / len(found) ** 0.5
