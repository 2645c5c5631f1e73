"""Write docs/settings.md, the tables of all settings, from their declarations: python docs/settings.py"""

import dataclasses
from pathlib import Path
from typing import Any

from gantutor.configs import CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.configs.settings import Setting

FILE = Path(__file__).with_suffix(".md")
TOP = """# Settings

What a run can be told: in a notebook (`GANConfig(loss="hinge")`), in the panel, and on the command line
(`python -m gantutor train dcgan --loss hinge`). "Live" settings change between two steps of a run; the others take
effect at Reset. `python docs/settings.py` writes this page from the declarations in `gantutor/configs/`.
"""


def settings_table(config: Any) -> str:
    """The settings of a config's class as a table in Markdown."""
    rows = ["| setting | default | may be | changes | what it is |", "|---|---|---|---|---|"]
    for field in dataclasses.fields(config):
        about: Setting = field.metadata["setting"]
        open_ = field.default == "" or (isinstance(field.default, int) and field.default < about.at_least)
        default = "by the data" if open_ else "" if field.default == () else f"`{field.default}`"
        if field.default is dataclasses.MISSING:
            default, allowed = "none", "see its text"
        elif callable(about.choices):
            allowed = "what the machine has"
        elif about.choices:
            allowed = ", ".join(f"`{value}`" for value in about.choices)
        elif isinstance(field.default, int | float):
            allowed = f"{'a whole number' if isinstance(field.default, int) else 'a number'} from {about.at_least} on"
        else:
            allowed = "see its text"
        changes = "live" if about.live else "at Reset"
        rows.append(f"| `{field.name}` | {default} | {allowed} | {changes} | {about.help} |")
    return "\n".join(rows)


def page() -> str:
    """The whole page in Markdown."""
    tables = [
        f"## {config.__name__}\n\n{settings_table(config)}" for config in (GANConfig, Pix2PixConfig, CycleGANConfig)
    ]
    return "\n".join([TOP, *(f"{table}\n" for table in tables)])


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
