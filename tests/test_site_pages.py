"""What the site makes of notebooks, without building it."""

import inspect
import re
import sys
from pathlib import Path

import nbformat
import pytest

from gantutor import PITFALLS, STEPS
from gantutor.cyclegan import CYCLEGAN_STEPS
from gantutor.pix2pix import PIX2PIX_STEPS

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs" / "site"))

import cache  # noqa: E402
import choices  # noqa: E402
import glossary  # noqa: E402
import pages  # noqa: E402
import record  # noqa: E402

NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in sorted((ROOT / "notebooks").glob("0*.ipynb"))}


@pytest.mark.parametrize("cell", choices.FORMS)
def test_a_form_belongs_to_an_exercise_and_has_one_right_answer_a_question(cell: str) -> None:
    (exercise,) = (each for notebook in NOTEBOOKS.values() for each in notebook.cells if each.id == cell)
    assert "exercise" in exercise.metadata.tags
    for question in choices.FORMS[cell]().data()["questions"]:
        assert sum(passed for passed, _ in question["verdicts"].values()) == 1


def test_every_panel_has_a_plan_for_its_recording() -> None:
    """A Lab that a notebook makes is shown, and a page without a kernel has to play it."""
    shown = {(name, cell.id) for name, notebook in NOTEBOOKS.items() for cell in notebook.cells
             if cell.cell_type == "code" and re.search(r"= Lab\(", cell.source)}  # fmt: skip
    assert set(record.PLANS) == shown
    assert all(len(values) > 1 for plan in record.PLANS.values() for values in plan.settings.values())


def test_the_glossary_has_each_bold_word_where_it_is_first_said() -> None:
    found = {term: (text, name) for term, text, name, _ in glossary.terms(NOTEBOOKS)}
    assert found["logit"] == ("The panel uses the common name for such a score, **logit**.", "00_start_here")
    assert found["norm of a gradient"][0].startswith("The numbers are lengths of vectors (**norms**). Two vectors")
    assert len(found) > 60
    bold = {
        word
        for notebook in NOTEBOOKS.values()
        for cell in notebook.cells
        for word in glossary.BOLD.findall(cell.source)
    }
    assert glossary.NO_TERMS | set(glossary.PLURALS) <= bold, "a word that is no longer in bold"


@pytest.mark.parametrize("repository", ["", "https://github.com/owner/name"])
def test_a_download_begins_by_installing_the_package(repository: str) -> None:
    notebook = nbformat.from_dict(NOTEBOOKS["00_start_here"])
    made = pages.with_install(notebook, repository)
    nbformat.validate(made)
    title, install, *_ = made.cells
    assert title.source.startswith("# ")
    assert ("gantutor[lab] @ git+https://github.com/owner/name" in install.source) == bool(repository)
    del made.cells[1]
    links = pages.links_of("00_start_here.ipynb", repository)
    assert 'href="../downloads/00_start_here.ipynb" download' in links
    assert ("colab" in links and "mybinder" in links) == bool(repository)


def test_links_to_files_that_are_not_on_the_site_become_code() -> None:
    text = "[a](settings.md), [`b.py`](../gantutor/b.py), [c](https://c.org), [d](#d)"
    assert pages.without_dead_links(text) == "[a](settings.md), `b.py`, [c](https://c.org), [d](#d)"


@pytest.mark.parametrize(
    ("name", "before", "after", "matters"),
    [
        ("models/layers.py", '"""', '"""In other words: ', False),
        ("models/layers.py", "\n\n\n", "\n\n\n# A comment.\n", False),
        ("models/layers.py", "return ", "return 2 * ", True),
        ("steps.py", '"""', '"""In other words: ', True),
        ("steps.py", "\n\n\n", "\n\n\n# A comment.\n", True),
    ],
)
def test_what_is_kept_is_made_again_after_an_edit_that_can_be_seen(
    tmp_path: Path, name: str, before: str, after: str, matters: bool
) -> None:
    """Comments and docstrings are seen where the debugger and the notebooks show a file's text."""
    path = ROOT / "gantutor" / name
    edited = tmp_path / path.name
    edited.write_text(path.read_text(encoding="utf-8").replace(before, after, 1), encoding="utf-8")
    assert path in cache.PACKAGE
    assert (cache.content(edited) != cache.content(path)) == matters


def test_the_text_of_every_step_counts() -> None:
    steps = [*STEPS.values(), *PIX2PIX_STEPS.values(), *CYCLEGAN_STEPS.values()]
    steps += [pitfall.step for pitfall in PITFALLS.values()]
    assert {Path(inspect.getfile(step)).name for step in steps} <= cache.SHOWN
