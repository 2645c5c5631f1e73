"""The notebooks' seeds and refutations, on a notebook of five cells."""

import ast
import importlib
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

SETUP = "import random\nimport inspect\n\nseed = 0\ngenerator = random.Random(seed)"
MIDDLE = "noise = generator.gauss(0, 1)\nlow = 0\nassert low < 10 + noise"
SHAKY = "value = 0.3 + (seed == 1)\nassert value > 0.2, 'near'"
FUNCTION = (
    "def step(x):\n    assert x < 3\n    return x\n\n\nassert step(2) == 2\nassert 'x < 3' in inspect.getsource(step)"
)
LAST = "for size in (1, 2):\n    assert seed < size, f'too large: {seed}'\nshown = True"
CELLS = {"setup": SETUP, "middle": MIDDLE, "shaky": SHAKY, "function": FUNCTION, "last": LAST}


def script(name: str) -> Any:
    """A module of benchmarks/, which pytest has on its path."""
    return importlib.import_module(name)


def notebook(cells: dict[str, str]) -> NotebookNode:
    code = [nbformat.v4.new_code_cell(source, id=name) for name, source in cells.items()]
    code[0].metadata.tags = ["setup"]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title", id="title"), *code])


@pytest.fixture
def seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, with one notebook, and no refutations yet."""
    module, path = script("notebook_seeds"), tmp_path / "00_tiny.ipynb"
    nbformat.write(notebook(CELLS), path)
    monkeypatch.setattr(module, "found", lambda: {"00": path})
    monkeypatch.setattr(module, "REFUTATIONS", tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return module


# seeds ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_fails_and_what_is_too_near_is_reported(seeds: Any, tmp_path: Path) -> None:
    seeds.main(["--seeds", "0-1", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "notebook_seeds.json").read_text())["rows"]
    assert [row["failures"] for row in rows] == [
        [],
        [
            {
                "cell": "last",
                "error": "AssertionError",
                "message": "too large: 1",
                "line": "assert seed < size, f'too large: {seed}'",
            }
        ],
    ]
    assert rows[0]["assertions"] == 5, "those inside a function are its own"
    judged = {each["source"]: each for each in seeds.list_margins(rows)}
    words = {source: each["word"] for source, each in judged.items()}
    assert words == {"low < 10 + noise": "holds", "value > 0.2": "BELOW 2 SD", "seed < size": "FAILS"}
    assert judged["value > 0.2"]["worst"] == pytest.approx(0.1)
    assert judged["seed < size"]["worst"] == 0, "and a strict comparison fails there"
    text = (tmp_path / "notebook_seeds.md").read_text()
    assert "fails with seeds 1; 1 BELOW 2 SD" in text
    assert "AssertionError: too large: 1" in text


@pytest.mark.parametrize(
    ("margins", "strict", "word"),
    [
        ([0.5, 0.6], True, "holds"),
        ([0.1, 0.6], True, "BELOW 2 SD"),
        ([0.0, 0.0], True, "FAILS"),
        ([0.0, 0.0], False, "deterministic"),
        ([0.5, float("-inf")], True, "FAILS"),
        ([0.5], True, "holds with one seed"),
    ],
)
def test_margins_are_judged(margins: list[float], strict: bool, word: str) -> None:
    assert script("notebook_seeds").judge_margins([[0, value, value] for value in margins], strict)["word"] == word


# what is recorded -----------------------------------------------------------------------------------------------------


def run_instrumented(code: str) -> tuple[dict[str, list[list[float]]], BaseException | None]:
    """The pairs of each comparison in `code`, executed as a cell is, and what it raised."""
    asserted = script("benchlib.asserted")
    recorder, error = asserted.Recorder(), None
    tree = asserted.Instrument(recorder).visit(ast.parse(code))
    try:
        exec(compile(tree, "cell", "exec"), {asserted.NAME: recorder})
    except Exception as raised:
        error = raised
    return {each["source"]: each["pairs"] for each in recorder.found.values()}, error


@pytest.mark.parametrize(
    ("test", "pairs"),
    [
        ("1 < 3", {"1 < 3": [[1, 3, 2]]}),
        ("1 < 3 <= 4", {"1 < 3": [[1, 3, 2]], "3 <= 4": [[3, 4, 1]]}),
        ("not 3 < 1", {"not 3 < 1": [[3, 1, 2]]}),
        ("1 < 2 and 5 > 2", {"1 < 2": [[1, 2, 1]], "5 > 2": [[5, 2, 3]]}),
        ("all(x < 9 for x in (1, 2))", {"x < 9": [[1, 9, 8], [2, 9, 7]]}),
        ("(np.array([1, 3]) < 9).all()", {"np.array([1, 3]) < 9": [[3, 9, 6]]}),
        ("sum(x < 2 for x in (1, 3)) >= 1", {"sum((x < 2 for x in (1, 3))) >= 1": [[1, 1, 0]]}),
        ("2 in (1, 2)", {}),
        ("1 < 2 or 3 < 2", {}),  # only one of them must hold
    ],
)
def test_what_is_recorded(test: str, pairs: dict[str, list[list[float]]]) -> None:
    found, error = run_instrumented(f"import math\nimport numpy as np\nimport torch\nassert {test}")
    assert error is None
    assert found == pairs


@pytest.mark.parametrize(
    "code",
    [
        "assert 3 < 1, f'no: {1 + 1}'",
        "assert 3 < 1 < 1 / 0",  # a chain stops at its first false link
        "assert all(x < 2 for x in (1, 2, 1 / 0))",  # and `all` does
        "import torch\nassert 0 < torch.tensor(0.5) < 1\nassert float('nan') < 1, 'nan'",
    ],
)
def test_a_rewritten_cell_does_what_it_did(code: str) -> None:
    plain: BaseException | None = None
    try:
        exec(compile(code, "cell", "exec"), {})
    except Exception as raised:
        plain = raised
    _, error = run_instrumented(code)
    assert type(error) is type(plain)
    assert str(error) == str(plain)
    if plain is not None and plain.__traceback__ and error is not None and error.__traceback__:
        assert error.__traceback__.tb_next.tb_lineno == plain.__traceback__.tb_next.tb_lineno


# refutations ----------------------------------------------------------------------------------------------------------


def toml(*found: dict[str, Any]) -> str:
    lines = [f"{name} = {json.dumps(value)}" for entry in found for name, value in [("", ""), *entry.items()]]
    return "\n".join("[[refute]]" if line.startswith(" =") else line for line in lines)


SHAKEN = {"cell": "shaky", "old": "0.3 +", "new": "0.1 +", "fails": "shaky", "why": "it is small"}
NOTHING = {"cell": "middle", "old": "low = 0", "new": "low = 1", "fails": "middle", "why": "it is less low"}


@pytest.mark.slow
def test_a_refutation_that_does_not_refute_is_reported(seeds: Any, tmp_path: Path) -> None:
    (tmp_path / "00.toml").write_text(toml({"claim": 7, **SHAKEN}, {"claim": [8, 9], **NOTHING}))
    seeds.main(["--refute", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "notebook_refutations.json").read_text())["rows"]
    assert [row["outcome"] for row in rows] == [seeds.REFUTED, "NOT refuted: the assertions hold"]
    text = (tmp_path / "notebook_refutations.md").read_text()
    assert "1 of 2 entries are refuted as it should be" in text
    assert "without such an entry: 1, 2, 3, 4, 5, 6, 8, 9, 10," in text
