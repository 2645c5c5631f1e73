"""The instruments of the browser tests, tried on a notebook of three cells."""

from pathlib import Path

import pytest
from labserver import LabServer
from notebookpage import run_tagged, run_whole, screenshot, write_notebook
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

BUTTON = """button = widgets.Button(description="Step")
button.on_click(lambda _: setattr(button, "description", "stepped"))
button"""


@pytest.mark.parametrize("run", [run_whole, run_tagged])
def test_a_widget_answers(run, page: Page, lab: LabServer, tmp_path: Path) -> None:
    notebook = write_notebook(
        tmp_path / f"{run.__name__}.ipynb",
        ("setup", "import ipywidgets as widgets"),
        ("long", "raise ValueError('ran')" if run is run_tagged else "trained = True"),
        ("browser", BUTTON),
    )
    run(page, lab, notebook)
    page.get_by_role("button", name="Step", exact=True).click()
    expect(page.get_by_role("button", name="stepped", exact=True)).to_be_visible()
    assert screenshot(page, f"harness_{run.__name__}").stat().st_size > 10_000
    assert page.errors == []


def test_a_cell_that_raises_fails(page: Page, lab: LabServer, tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "raises.ipynb", ("browser", "1 / 0"), ("browser", "print('not reached')"))
    with pytest.raises(AssertionError, match="ZeroDivisionError: division by zero"):
        run_whole(page, lab, notebook)


def test_errors_of_the_page_are_collected(page: Page) -> None:
    page.evaluate("() => { console.error('one'); setTimeout(() => { throw new Error('two'); }); }")
    page.wait_for_timeout(200)
    assert page.errors == ["one", "two"]


def test_a_notebook_without_a_tag_is_refused(page: Page, lab: LabServer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="browser"):
        run_tagged(page, lab, write_notebook(tmp_path / "untagged.ipynb", ("setup", "x = 1")))
