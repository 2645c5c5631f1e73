"""Write docs/settings.md, the tables of all settings, from their declarations: python docs/settings.py"""

from pathlib import Path

from gantutor.configs import CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.configs.settings import settings_table

FILE = Path(__file__).with_suffix(".md")
TOP = """# Settings

What a run can be told: in a notebook (`GANConfig(loss="hinge")`), in the panel, and on the command line
(`python -m gantutor train dcgan --loss hinge`). "Live" settings change between two steps of a run; the others take
effect at Reset. `python docs/settings.py` writes this page from the declarations in `gantutor/configs/`.
"""


def page() -> str:
    """The whole page in Markdown."""
    tables = [
        f"## {config.__name__}\n\n{settings_table(config)}" for config in (GANConfig, Pix2PixConfig, CycleGANConfig)
    ]
    return "\n".join([TOP, *(f"{table}\n" for table in tables)])


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
