"""The façade: `import gantutor` is light, and offers what a notebook uses."""

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gantutor

REPOSITORY = Path(__file__).parent.parent
NOTEBOOKS = sorted((REPOSITORY / "notebooks").rglob("*.ipynb"))
HEAVY = ("torch", "numpy", "matplotlib", "ipywidgets")


def fresh(program: str) -> str:
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not run.returncode, run.stderr
    return run.stdout.strip()


def test_import_is_light() -> None:
    assert fresh(f"import sys, gantutor; dir(gantutor); print([x for x in {HEAVY} if x in sys.modules])") == "[]"


def test_every_name_is_what_its_module_has() -> None:
    assert set(gantutor.__all__) <= set(dir(gantutor))
    for name, place in gantutor.PLACES.items():
        assert getattr(gantutor, name) is pkgutil.resolve_name(place)


@pytest.mark.slow
def test_the_names_come_in_any_order_in_a_fresh_process() -> None:
    names = ", ".join(reversed(gantutor.__all__))
    assert fresh(f"from gantutor import {names}; print(Experiment.__name__)") == "GANConfig"


def test_a_type_checker_sees_the_same_names() -> None:
    tree = ast.parse(inspect.getsource(gantutor))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname or alias.name: f"{node.module}{'.' if node.module == 'gantutor' else ':'}{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == gantutor.PLACES


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"module 'gantutor' has no attribute 'Labs'; it offers LOSSES, "):
        _ = gantutor.Labs


def longer(imported: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The imports that the façade would shorten, by (module, name)."""
    offered = [getattr(gantutor, name) for name in gantutor.__all__]
    found = [(module, name, getattr(importlib.import_module(module), name)) for module, name in imported]
    return [(module, name) for module, name, value in found if any(value is one for one in offered)]


def test_the_notebooks_import_from_the_facade_what_it_offers() -> None:
    for path in NOTEBOOKS:
        cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        trees = [ast.parse(re.sub(r"^\s*[%!].*$", "pass", "".join(cell["source"]), flags=re.M)) for cell in cells]
        imports = [node for tree in trees for node in tree.body if isinstance(node, ast.ImportFrom)]
        ours = [node for node in imports if str(node.module).startswith("gantutor.")]
        assert longer([(str(node.module), alias.name) for node in ours for alias in node.names]) == [], path.name
