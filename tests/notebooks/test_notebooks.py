"""The form of the notebooks, read and not run: `pytest --nbval-lax notebooks` runs them."""

import re
from itertools import takewhile
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SOLUTIONS = NOTEBOOKS / "solutions"
NUMBERED = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
FIRST = "00_start_here"

# Predictions, at the least and at the most, and lines of code that are not folded.
LIGHT = {
    "00_start_here": (2, 4, 350),
    "01_gan_objective": (6, 10, 350),
    "02_detach_or_retain_graph": (6, 11, 510),
    "03_batchnorm_batching": (6, 10, 350),
    "04_pix2pix": (6, 10, 350),
    "05_cyclegan": (6, 10, 350),
    "06_scale_up": (6, 10, 360),
}
FAILS = r"\bassert(_\w+)?\b|\bchecks\.\w+\("  # a cell with this can fail
FORBIDDEN = {
    r"%matplotlib": "a matplotlib magic: figures are drawn by gantutor.plots",
    r"#\s*(NBVAL|PYTEST)_\w+": "a magic comment: use a tag",
    r"[\"'](/\w[\w.-]*/|~/|[A-Za-z]:[\\/])": "an absolute path: gantutor.data finds the files",
}


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def is_hidden(cell: NotebookNode) -> bool:
    """Whether JupyterLab shows a code cell folded."""
    return bool(cell.metadata.get("jupyter", {}).get("source_hidden"))


def headings(cells: list[NotebookNode], level: str = "#{2,}") -> list[str]:
    """The headings of the text cells, from level two down."""
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.findall(rf"^{level} (.+?)\s*$", text, flags=re.MULTILINE)


def sections(cells: list[NotebookNode]) -> dict[str, list[NotebookNode]]:
    """The cells below each `## ` heading, by heading. A heading opens a text cell."""
    found: dict[str, list[NotebookNode]] = {}
    here: list[NotebookNode] = []
    for cell in cells:
        title = headings([cell], "##") if cell.cell_type == "markdown" else []
        if title:
            here = found.setdefault(title[0], [])
        here.append(cell)
    return found


def faults(notebook: NotebookNode, name: str) -> list[str]:
    """What a notebook lacks of the common form, one line each."""
    cells = notebook.cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    opening = "\n".join(cell.source for cell in takewhile(lambda cell: cell.cell_type == "markdown", cells))
    found = []

    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("its kernel is not python3")
    if not re.match(r"# \S", opening):
        found.append("the first cell is no title")
    if not re.search(r"\b\d+ minutes\b", opening):
        found.append("the opening does not say how many minutes it takes")
    if not re.search(r"\*\*Before this:\*\*", opening):
        found.append('the opening does not say what comes before ("**Before this:** …")')
    goals = re.search(r"^## Learning goals\n((?s:.*?))(?=^## |\Z)", opening, flags=re.MULTILINE)
    if not goals or not 3 <= len(re.findall(r"^(?:[-*]|\d+\.) ", goals[1], flags=re.MULTILINE)) <= 5:
        found.append('no "## Learning goals" with 3 to 5 points before the first code')
    if not code or "setup" not in tags(code[0]) or not re.search(r"seed", code[0].source):
        found.append('the first code cell is not tagged "setup" or sets no seed')
    for title, inside in sections(cells).items():
        claims = [cell.source for cell in inside if cell.cell_type == "code" and "setup" not in tags(cell)]
        if claims and not re.search(FAILS, "\n".join(claims)):
            found.append(f'nothing in section "{title}" can fail: no assert and no call of checks')
    if not 2 <= len([title for title in headings(cells) if title.startswith("Exercise ")]) <= 4:
        found.append('not 2 to 4 headings "Exercise …"')
    if headings(cells, "##")[-2:] != ["Summary", "References"]:
        found.append('it does not end with "## Summary" and "## References"')
    if not any("browser" in tags(cell) for cell in code):
        found.append('no cell is tagged "browser"')
    if any("raises-exception" in tags(cell) for cell in code):
        found.append('the tag "raises-exception" passes when nothing raises: use checks.expect_error')
    for cell in code:
        found += [what for pattern, what in FORBIDDEN.items() if re.search(pattern, cell.source)]
        if is_hidden(cell) != ("hide-input" in tags(cell)):
            found.append(f"{cell.id} is hidden in Lab or on the site, and not in both (source_hidden, hide-input)")
    return found


@pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)
def test_the_common_form(path: Path) -> None:
    assert faults(nbformat.read(path, as_version=4), path.stem) == []


@pytest.mark.parametrize("name", LIGHT)
def test_it_is_light(name: str) -> None:
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    visible = [line for cell in code if not is_hidden(cell) for line in cell.source.splitlines() if line.strip()]
    predictions = sum(cell.source.count("checks.predict(") for cell in code)
    reveals = sum(len(re.findall(r"\.reveal\(", cell.source)) for cell in code)
    lowest, highest, lines = LIGHT[name]
    assert lowest <= predictions <= highest
    assert reveals == predictions, "each question is answered"
    assert len(visible) <= lines


def test_each_notebook_has_solutions_of_the_common_form() -> None:
    paths = sorted(SOLUTIONS.glob("*.ipynb"))
    assert [path.name for path in paths] == [path.name for path in NUMBERED]
    for notebook in (nbformat.read(path, as_version=4) for path in paths):
        code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
        assert re.search(FAILS, code), "the solutions are not checked"
        assert notebook.metadata.kernelspec.name == "python3"
        assert [what for pattern, what in FORBIDDEN.items() if re.search(pattern, code)] == []


Rows = dict[str, tuple[str, str, str]]  # number: title, file, minutes


def rows(text: str, pattern: str) -> Rows:
    """The rows of a table of the notebooks; `pattern` has the groups number, title, file (or none) and minutes."""
    return {
        found["number"]: (found["title"], found["file"] or "", found["minutes"])
        for found in re.finditer(pattern, text, flags=re.MULTILINE)
    }


def test_the_first_notebooks_map_and_the_readme_show_every_notebook_with_its_minutes() -> None:
    cells = nbformat.read(NOTEBOOKS / f"{FIRST}.ipynb", as_version=4).cells
    text = next(cell.source for cell in cells if cell.id == "map")
    shown = rows(
        text, r"^\| \[?(?P<number>\d\d) (?P<title>[^]|]+?)(\]\((?P<file>.+?)\))? \| (?P<minutes>\d+) \| .{20,} \|$"
    )
    listed = rows(
        (NOTEBOOKS.parent / "README.md").read_text(encoding="utf-8"),
        r"^\| (?P<number>\d\d) \| \[(?P<title>.+?)\]\(notebooks/(?P<file>.+?)\) \| (?P<minutes>\d+) \|",
    )
    true: Rows = {}
    for path in NUMBERED:
        title, minutes = listed[path.stem[:2]][0], re.search(r"\*\*(\d+) minutes", opening_of(path))
        true[path.stem[:2]] = (title, path.name, minutes[1] if minutes else "none")
    assert listed == true
    assert shown == {**true, FIRST[:2]: (true[FIRST[:2]][0], "", true[FIRST[:2]][2])}, "it does not link itself"


def opening_of(path: Path) -> str:
    """The first text of a notebook, which says how long it takes."""
    return str(nbformat.read(path, as_version=4).cells[0].source)


# one seed -------------------------------------------------------------------------------------------------------------

A_LITERAL_SEED = re.compile(
    r"\b(manual_seed(_all)?|default_rng|RandomState|Random|\w*seeds?|random_state)\s*[(=]\s*[\[(]*\d"
)


@pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)
def test_below_the_set_up_cell_stands_no_literal_seed(path: Path) -> None:
    """What seeds something derives from `seed`, so that another seed is another run of the whole notebook."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    found = [line for cell in cells if "setup" not in tags(cell) for line in cell.source.splitlines()]
    assert [line for line in found if A_LITERAL_SEED.search(line)] == []
