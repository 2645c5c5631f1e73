"""What every setting's declaration says; tests/test_docs.py adds one and sees its control, its option and its row."""

from pathlib import Path
from typing import Any

import pytest
from helpers import load_script

from gantutor.configs import CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.configs.settings import declared_settings

REPOSITORY = Path(__file__).parents[2]
CONFIGS: tuple[Any, ...] = (GANConfig, Pix2PixConfig, CycleGANConfig)


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
