"""Predictions in a real JupyterLab, and the same buttons in a page without a kernel."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from labserver import LabServer
from notebookpage import change_theme, run_whole, screenshot, write_notebook
from playwright.sync_api import Locator, Page, expect

import gantutor.lab
from gantutor.checks.result import GUESS

pytestmark = pytest.mark.browser

FRONT = Path(gantutor.lab.__file__).parent / "front"
ASK = """from gantutor import checks

guess = checks.predict("What does `opt_D.step()` change?", ["the weights of G", "the weights of D", "both"])"""
ANSWER = 'guess.reveal("the weights of D", "An optimizer changes only what it was given.")'
SAVE = "async () => { await window.jupyterapp.commands.execute('docmanager:save'); }"
CELLS = "() => window.jupyterapp.shell.currentWidget.content.model.cells.length"


@pytest.fixture
def asked(page: Page, lab: LabServer, tmp_path: Path) -> Locator:
    """The buttons of a notebook in which every cell has run and nothing is answered."""
    run_whole(page, lab, write_notebook(tmp_path / "guess.ipynb", ("setup", ASK), ("answer", ANSWER)))
    expect(page.locator(".gt-predict button")).to_have_count(3)
    return page.locator(".gt-predict")


def guesses(lab: LabServer) -> list[dict[str, object]]:
    """What a teacher finds in the saved notebook."""
    cells = nbformat.read(lab.notebooks / "guess.ipynb", as_version=4).cells
    found = [output.data[GUESS] for cell in cells for output in cell.outputs if GUESS in output.get("data", {})]
    return [json.loads(json.dumps(one)) for one in found]


def test_a_click_shows_the_answer_and_the_saved_notebook_holds_the_guess(
    asked: Locator, page: Page, lab: LabServer
) -> None:
    answer = page.locator(".jp-OutputArea").nth(1)
    expect(answer).to_contain_text("Choose above first; the answer appears here.")
    screenshot(page, "predict_asked")
    shown = page.locator(".jp-OutputArea").evaluate_all("areas => areas.map(area => area.innerHTML).join()")
    assert "changes only" not in shown
    asked.get_by_role("button", name="the weights of G").click()
    expect(answer).to_contain_text("✗ Not so. You chose the weights of G; the run says the weights of D. An optimizer")
    expect(asked.get_by_role("status")).to_have_text("✗ The run says: the weights of D.")
    expect(asked.get_by_role("button", name="the weights of G")).to_have_attribute("aria-pressed", "true")
    asked.get_by_role("button", name="the weights of D").click(force=True)  # too late
    expect(asked.get_by_role("button", name="the weights of D")).to_have_attribute("aria-pressed", "false")
    screenshot(page, "predict_answered")
    page.evaluate(SAVE)
    question = "What does `opt_D.step()` change?"
    wrong = {"question": question, "guess": "the weights of G"}
    assert guesses(lab) == [wrong, {**wrong, "right": False}]
    change_theme(page, "dark")
    page.wait_for_timeout(500)
    screenshot(page, "predict_dark")
    assert page.errors == []


def test_the_keyboard_chooses(asked: Locator, page: Page) -> None:
    before = page.evaluate(CELLS)
    asked.get_by_role("button").first.focus()
    page.keyboard.press("b")  # in Lab's command mode: a new cell below
    page.keyboard.press("ArrowRight")
    expect(asked.get_by_role("button", name="the weights of D")).to_be_focused()
    page.keyboard.press("Enter")
    expect(asked.get_by_role("status")).to_have_text("✓ Right.")
    expect(asked.get_by_role("button", name="the weights of D")).to_be_focused()
    assert page.evaluate(CELLS) == before


PAGE = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>body { font: 16px/1.5 sans-serif; margin: 16px } .dark { background: #111; color: #eee }</style>
<body><div id="here"></div>
<script type="module">
import predict from './predict.js';
const state = %s, listeners = {};
const model = {
  get: name => state[name],
  set: (name, value) => { state[name] = value; (listeners[`change:${name}`] ?? []).forEach(call => call()); },
  save_changes: () => {},
  on: (event, call) => { (listeners[event] ??= []).push(call); },
  send: () => { throw new Error('there is no kernel'); },
};
predict.render({ model, el: document.getElementById('here') });
</script>"""
STATE = {
    "question": "After 20 steps from the same seed, are the weights of the two generators equal?",
    "options": ["`equal` in every bit", "close, but not equal in every bit", "different"],
    "guess": None,
    "verdict": None,
    "verdicts": [
        {"passed": True, "truth": 0, "why": "The same lines ran."},
        {"passed": False, "truth": 0, "why": "The same lines ran."},
        {"passed": False, "truth": 0, "why": "The same lines ran."},
    ],
}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def plain_page(tmp_path: Path) -> Iterator[str]:
    """The address of a page that has the module and no kernel."""
    (tmp_path / "predict.js").write_text((FRONT / "predict.js").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "page.html").write_text(PAGE % json.dumps(STATE), encoding="utf-8")
    (tmp_path / "favicon.ico").write_bytes(b"")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/page.html"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_page_without_a_kernel_uses_the_same_module(page: Page, plain_page: str) -> None:
    page.set_viewport_size({"width": 390, "height": 500})
    page.goto(plain_page)
    asked = page.locator(".gt-predict")
    expect(asked.get_by_role("button")).to_have_count(3)
    expect(asked.get_by_role("status")).to_have_text("")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    asked.get_by_role("button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(asked.get_by_role("status")).to_have_text("✗ The run says: equal in every bit. The same lines ran.")
    screenshot(page, "predict_narrow")
    page.reload()  # the guess was kept
    expect(asked.get_by_role("status")).to_have_text("✗ The run says: equal in every bit. The same lines ran.")
    expect(asked.get_by_role("button").nth(1)).to_have_attribute("aria-pressed", "true")
    page.evaluate("document.body.classList.add('dark')")
    screenshot(page, "predict_narrow_dark")
    assert page.errors == []
