"""docs/architecture.md: its map is the house, its files exist, and its examples can be applied and do what they say."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import test_architecture

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
USE = """
import runpy
import torch
from gantutor import checks, load
from gantutor.configs import GANConfig
from gantutor.lab.controls import Controls
from gantutor.lab.messages import say
from gantutor.losses import LOSSES
from gantutor.metrics import psnr
from gantutor.scale.command import field_options

settings_page = runpy.run_path("docs/settings.py")["page"]

real, fake = torch.tensor([1.0]), torch.tensor([-1.0])
assert LOSSES["smoothed-labels"].d_loss(real, fake) > LOSSES["non-saturating"].d_loss(real, fake)
run = GANConfig("cross", strategy="g_first_regenerate", loss="smoothed-labels", beta1=0.8, device="cpu").start()
run.step()
assert run.model.opt_G.param_groups[0]["betas"] == (0.8, 0.999)
points = load("cross").sample(1000, torch.Generator().manual_seed(0))
assert ((points[:, 0].abs() - points[:, 1].abs()).abs() < 0.5).all()
assert checks.adam_numbers(2000).passed
assert not checks.adam_numbers(1000).passed and not checks.adam_numbers(...).answered
images = torch.zeros(1, 3, 4, 4)
assert round(psnr(images, images + 0.2), 3) == 20.0
assert any(option.name == "beta1" for option in field_options("dcgan"))
assert "| `beta1` | `0.5` | a number from 0 on | live | Adam's first beta, of both players. |" in settings_page()
labels = [control["label"] for control in Controls(GANConfig()).declare(())]
assert (say("play"), say("line_step", step=7), say("pause")) == ("Start", "Schritt 7", "Pause")
assert {"Lernrate G", "lr D", "β1"} <= set(labels)
"""


def rows() -> list[list[str]]:
    """The files of each row of the table "To add one"."""
    table = PAGE.split("## To add one")[1].split("###")[0]
    return [re.findall(r"`([\w./]+\.py)`", line) for line in table.splitlines() if line.startswith("| a")]


def diffs() -> list[str]:
    return re.findall(r"```diff\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_map_is_the_house() -> None:
    floors = re.findall(r"^\| (?:ground|\d) \| (.*?) \|", PAGE, flags=re.MULTILINE)
    written = [set(re.findall(r"`(\w+)`", rooms)) for rooms in floors]
    assert written == [set(rooms) for rooms in test_architecture.FLOORS if rooms != ("__init__",)]


def test_the_files_exist() -> None:
    named = set(re.findall(r"`((?:gantutor|tests|notebooks|docs)/[\w./]*)`", PAGE))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_first_file_of_a_row_changes_in_its_example() -> None:
    firsts = [files[0] for files in rows()]
    changed = [re.findall(r"^\+\+\+ b/(.*)$", diff, flags=re.MULTILINE) for diff in diffs()]
    assert len(changed) == 7
    assert firsts[: len(changed)] == [files[0] for files in changed]
    for files, touched in zip(rows(), changed, strict=False):
        assert set(touched) <= set(files)


@pytest.mark.slow
def test_the_examples_can_be_applied_and_work(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "gantutor", tmp_path / "gantutor", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "docs").mkdir()
    for name in ("pyproject.toml", "docs/settings.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "test_losses.py", tmp_path / "tests")
    (tmp_path / "data").symlink_to(ROOT / "data")
    for diff in diffs():
        done = subprocess.run(
            ["git", "apply", "--unsafe-paths", "-"], cwd=tmp_path, input=diff, capture_output=True, text=True
        )
        assert not done.returncode, done.stderr + diff
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    program = f"{USE}\nimport pytest\nassert not pytest.main(['-q', 'tests/test_losses.py', '-k', 'smoothed'])"
    env = {"PYTHONPATH": ".", "GANTUTOR_LANGUAGE": "de"}
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert not run.returncode, run.stdout + run.stderr
    assert " passed" in run.stdout
