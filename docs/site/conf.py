"""Sphinx's configuration. build.py prepares the sources, this file among them, and calls Sphinx on them."""

import re
from typing import Any

project = "gantutor"
author = "gantutor developers"
copyright = "2026, gantutor developers. MIT licence"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx.ext.mathjax"]
html_theme = "sphinx_book_theme"
html_title = "gantutor: how GANs train"
html_static_path = ["_static"]
html_extra_path = ["extra"]
exclude_patterns = ["extra", "conf.py"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"type": "module"})]
html_sidebars: dict[str, list[str]] = {"index": []}  # the front page has the map of the course instead
html_copy_source = False
html_use_index = False
html_domain_indices = False
html_favicon = "_static/favicon.svg"
mathjax_path = "mathjax/tex-svg.js"
html_context = {"default_mode": "auto"}  # light or dark as the system is, until the visitor chooses
html_theme_options = {
    "navbar_persistent": [],
    "use_download_button": False,  # the pages of notebooks have their own, for the notebook as it is in the course
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "navigation_with_keys": False,  # the arrows belong to the debugger and to the playground
}

# The notebooks come with their outputs.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # a page has no kernel, and these would come from another host
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 4
myst_heading_slug_func = "glossary.anchor"

# What stands between backticks in the docstrings is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
napoleon_custom_sections = ["Source"]


def as_restructured_text(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """The docstrings' formulas, which are indented, become code, and a | of the prose is one."""
    made: list[str] = []
    formula = False
    for before, line in zip(["", *lines], lines, strict=False):
        indented = line.startswith("    ")
        if indented and not before and not formula:
            made += ["::", ""]
            formula = True
        elif line and not indented:
            formula = False
        parts = re.split(r"(`[^`]*`)", line)
        made.append(line if formula else "".join(p if p.startswith("`") else p.replace("|", r"\|") for p in parts))
    lines[:] = made


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)  # before napoleon
