"""A setting is declared once: its check, its control, its option and its row in the docs come from one line."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import load_script

from gantutor.configs import CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.configs.settings import declared_settings

REPOSITORY = Path(__file__).parents[2]
CONFIGS: tuple[Any, ...] = (GANConfig, Pix2PixConfig, CycleGANConfig)
LINE = '    beta: float = setting(0.5, "beta", "Adam\'s first beta.", between=(0, 0.99), step=0.05, live=True)\n'
PROGRAM = """
import importlib.util, sys
from gantutor.configs import GANConfig
from gantutor.__main__ import main
from gantutor.lab.controls import Controls

controls = Controls(GANConfig("ring"))
(control,) = [about for about in controls.declare(("beta",)) if about["name"] == "beta"]
assert (control["label"], controls.values["beta"], control["high"]) == ("beta", 0.5, 0.99), control
assert (control["help"], control["kind"]) == ("Adam's first beta.", "range")
assert "beta" in GANConfig.live_fields()
try:
    GANConfig("ring", beta=-1)
except ValueError as error:
    print(error)
spec = importlib.util.spec_from_file_location("settings_page", "docs/settings.py")
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)
print(page.page())
main(["train", "dcgan", "--help"], standalone_mode=False)
"""


@pytest.mark.slow
def test_one_line_is_a_check_a_control_an_option_and_a_row(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "gantutor", tmp_path / "gantutor", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.png", "*.gif"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    file = tmp_path / "gantutor" / "configs" / "gan_config.py"
    source = file.read_text(encoding="utf-8")
    before = "    seed: int = setting(0, **SEED)\n"
    assert source.count(before) == 1
    file.write_text(source.replace(before, LINE + before), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env={"PYTHONPATH": "."}, capture_output=True, text=True
    )
    assert not run.returncode, run.stderr
    refusal, text = run.stdout.split("\n", 1)
    assert refusal == "beta must be a finite number of at least 0, got -1"
    assert "| `beta` | `0.5` | a number from 0 on | live | Adam's first beta. |" in text
    assert "--beta FLOAT" in text


def test_the_page_of_settings_is_what_the_declarations_say() -> None:
    page = load_script(REPOSITORY / "docs" / "settings.py")
    written = page.FILE.read_text(encoding="utf-8")
    assert written == page.page(), "run: python docs/settings.py"


@pytest.mark.parametrize("config", CONFIGS)
def test_every_setting_is_explained_in_a_sentence(config: Any) -> None:
    for name, about in declared_settings(config).items():
        assert about.help[:1].isupper(), name
        assert about.help.endswith("."), name


@pytest.mark.parametrize("config", CONFIGS)
def test_what_has_a_control_has_something_to_show_in_it(config: Any) -> None:
    for name, about in config().controls().items():
        assert about.choices or about.between or about.log10, name
        if about.between and not about.log10:
            default = getattr(config(), name)
            assert about.between[0] <= default <= about.between[1], name
            assert (about.step is None) == isinstance(default, int), name
