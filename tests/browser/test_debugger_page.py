"""The step debugger in a real JupyterLab: it goes through a step that works, and through one that raises, and back."""

import itertools
from pathlib import Path

import pytest
from labserver import LabServer
from notebookpage import run_whole, screenshot, write_notebook
from playwright.sync_api import Page, expect
from widgetpage import WidgetPage

pytestmark = pytest.mark.browser

SETUP = """from gantutor import Experiment
from gantutor.lab import Debugger
from gantutor.ledger import trace
from gantutor.pitfalls import PITFALLS
from gantutor.steps import STEPS

run = Experiment(data="digits", device="cpu").start()
batch = next(run.batches)"""
GOOD = 'Debugger(trace(STEPS["d_first_detach"], run.model, *batch))'
FAILING = """Debugger(
    trace(PITFALLS["d_first_same_logits"].step, run.model, *batch),
    trace(STEPS["d_first_retain_graph"], run.model, *batch),
    titles=("as printed", "corrected"),
)"""


@pytest.fixture
def debuggers(page: Page, lab: LabServer, tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "debuggers.ipynb", ("setup", SETUP), ("debugger", GOOD), ("debugger", FAILING))
    run_whole(page, lab, notebook)


@pytest.mark.usefixtures("debuggers")
def test_a_step_that_works_line_by_line_and_back(page: Page) -> None:
    panel = WidgetPage(page, 0, "debugger")
    opened = panel.settled()
    said, pictures = ["before the first line"], [opened]
    while not said[-1].endswith("logits_fake)") or "return" not in said[-1]:
        panel.press("Next")
        expect(panel.status).not_to_have_text(said[-1])
        said.append(panel.status.inner_text())
        pictures.append(panel.settled())
    assert len(said) == 12, "a statement at a time"
    assert sum(before != after for before, after in itertools.pairwise(pictures)) >= 8
    screenshot(page, "debugger_good_end")
    for text, picture in zip(reversed(said[:-1]), reversed(pictures[:-1]), strict=True):
        panel.press("Back")
        expect(panel.status).to_have_text(text)
        panel.wait_until(picture, same=True)
    assert page.errors == []


@pytest.mark.usefixtures("debuggers")
def test_a_step_that_raises_beside_its_mended_twin(page: Page) -> None:
    panel = WidgetPage(page, 1, "debugger")
    opened = panel.settled()
    assert len(opened) == 2
    panel.press("Error")
    panel.wait_until(opened)
    expect(panel.status).to_contain_text("g_loss.backward() raises RuntimeError")
    expect(panel.panel).to_contain_text("has changed it in place since")
    expect(panel.status).to_contain_text("corrected: line")
    screenshot(page, "debugger_failing_error")
    boxes = [image.bounding_box() for image in panel.views().all()]
    assert abs(boxes[0]["x"] - boxes[1]["x"]) > 300, "side by side"
    panel.press("Start")
    panel.wait_until(opened, same=True)
    expect(panel.panel).not_to_contain_text("has changed it in place since")
    assert page.errors == []


@pytest.mark.usefixtures("debuggers")
def test_the_keyboard_and_names_for_a_screen_reader(page: Page) -> None:
    panel = WidgetPage(page, 0, "debugger")
    number_of_cells = "() => window.jupyterapp.shell.currentWidget.content.model.cells.length"
    before = page.evaluate(number_of_cells)
    seen = panel.settled()
    panel.button("Next").focus()
    page.keyboard.press("b")  # in Lab's command mode: a new cell below
    page.keyboard.press("Enter")
    seen = panel.wait_until(seen)
    expect(panel.status).to_contain_text("fake = gan.G(z)")
    slider = panel.panel.get_by_role("slider", name="lines run", exact=True)
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(panel.status).to_contain_text("opt_D.zero_grad()")
    page.keyboard.press("End")
    expect(panel.status).to_contain_text("return report(")
    for image in panel.views().all():
        assert "Gradients: G" in image.get_attribute("alt")
    assert page.evaluate(number_of_cells) == before
