"""The step debugger in Chromium: in JupyterLab, and in a saved page that has no kernel."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers import build, draw
from labserver import LabServer
from notebookpage import SCREENSHOTS, change_theme, run_cell, run_whole, screenshot, write_notebook
from panel_helpers import until
from playwright.sync_api import Browser, Locator, Page, expect
from run_cases import CYC
from savedpage import saved_page
from torch import Tensor
from widgetpage import WidgetPage

from gantutor.cyclegan import CYCLEGAN_STEPS
from gantutor.gan import GAN
from gantutor.lab import Debugger
from gantutor.ledger import trace
from gantutor.pitfalls import PITFALLS
from gantutor.steps import STEPS

pytestmark = pytest.mark.browser

SETUP = """from gantutor import PITFALLS, STEPS, Debugger, Experiment, trace

run = Experiment(data="digits", device="cpu").start()
batch = next(run.batches)"""
GOOD = 'good = Debugger(trace(STEPS["d_first_detach"], run.model, *batch))\ngood'
FAILING = """Debugger(
    trace(PITFALLS["d_first_same_logits"].step, run.model, *batch),
    trace(STEPS["d_first_retain_graph"], run.model, *batch),
    titles=("as printed", "corrected"),
)"""
SIZES = {"laptop": (1366, 768), "phone": (390, 844)}


class DebuggerPage(WidgetPage):
    ROOT, PICTURE = ".gt-debugger", ".gt-drawing svg"


@pytest.fixture
def debuggers(page: Page, lab: LabServer, tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "debuggers.ipynb", ("setup", SETUP), ("debugger", GOOD), ("debugger", FAILING))
    run_whole(page, lab, notebook)


@pytest.mark.usefixtures("debuggers")
def test_in_a_notebook_the_keys_are_the_debuggers_and_the_kernel_is_told(page: Page) -> None:
    debugger = DebuggerPage(page, 0, "debugger")
    number_of_cells = "() => window.jupyterapp.shell.currentWidget.content.model.cells.length"
    before = page.evaluate(number_of_cells)
    debugger.button("Next").focus()
    page.keyboard.press("b")  # in Lab's command mode: a new cell below
    page.keyboard.press("Enter")
    expect(debugger.status).to_contain_text("fake = gan.G(z)")
    page.keyboard.press("End")
    expect(debugger.status).to_contain_text("return report(")
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    expect(debugger.status).to_contain_text("It stops at fake.detach(), before it reaches G.")
    assert page.evaluate(number_of_cells) == before
    until(lambda: run_cell(page, "print(good.position)").strip() == "5")  # it is told one position after the other
    run_cell(page, "good.to_start();")
    debugger = DebuggerPage(page, 0, "debugger")
    expect(debugger.status).to_contain_text("Nothing has run yet.")
    assert page.errors == []


@pytest.mark.usefixtures("debuggers")
def test_light_and_dark_on_every_size_with_names_for_all(page: Page) -> None:
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    for number, move in enumerate(("End", "Error")):
        DebuggerPage(page, number, "debugger").press(move)
    for theme in ("dark", "light"):
        change_theme(page, theme)
        for size, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            for number, name in enumerate(("good", "failing")):
                debugger = DebuggerPage(page, number, "debugger")
                over = debugger.panel.evaluate("panel => panel.scrollWidth - panel.clientWidth")
                assert over <= 0, f"{name}, {size}: it is {over} pixels wider than its place"
                screenshot(page, f"debugger_{name}_{size}_{theme}")
                found = Axe().run(page, context=".jp-Cell.jp-mod-active .gt-debugger").response["violations"]
                assert [v["nodes"] for v in found if v["impact"] in ("serious", "critical")] == []
    for picture in debugger.panel.get_by_role("img").all():
        assert "Gradients: G" in (picture.get_attribute("aria-label") or "")
    assert page.errors == []


# Without a kernel -----------------------------------------------------------------------------------------------------


def saved(path: Path, *steps: str) -> tuple[Path, Debugger]:
    known = {**STEPS, **{name: pitfall.step for name, pitfall in PITFALLS.items()}}
    debugger = Debugger(*(trace(known[step], build("points"), *draw("points")[0]) for step in steps))
    return debugger.save(path / "bug.html"), debugger


def box(page: Page, name: str) -> Locator:
    return page.locator(f".gt-drawing [data-id='{name}']")


def test_a_saved_page_opens_at_a_line_and_shows_why_it_raises(browser: Browser, tmp_path: Path) -> None:
    path, debugger = saved(tmp_path, "d_first_same_logits", "d_first_retain_graph")
    lines = [story.trace.lines for story in debugger.stories]
    with saved_page(browser, path, at=f"line={lines[0][-1].number}", viewport={"width": 1366, "height": 900}) as page:
        first, second = page.locator("section.gt-trace").all()
        expect(first.get_by_role("status")).to_contain_text("g_loss.backward() raises RuntimeError.")
        expect(page.get_by_text("has changed it in place since")).to_have_count(1)  # at its line, and not above, too
        expect(first.locator(".gt-finding")).to_contain_text("has changed it in place since")
        expect(first.locator(".gt-finding")).to_contain_text("Write: logits_real, logits_fake = gan.logits(real, fake)")
        expect(first.locator("[data-mark=broken] .gt-label")).to_have_text("logits_fake")
        expect(second.get_by_role("status")).to_contain_text(f"Line {lines[1][len(lines[0]) - 1].number}")
        places = [each.bounding_box() for each in (first, second)]
        assert abs(places[0]["x"] - places[1]["x"]) > 500, "side by side"
        page.screenshot(path=SCREENSHOTS / "debugger_saved.png")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowLeft")
        expect(first.locator(".gt-finding")).to_be_hidden()
        page.keyboard.press("End")
        expect(second.get_by_role("status")).to_contain_text("return report(")
        expect(first.get_by_role("status")).to_contain_text("raises RuntimeError")  # it has no more lines
        page.evaluate(f"location.hash = 'line={lines[1][0].number}'")
        expect(second.get_by_role("status")).to_contain_text("fake = gan.G(z)")
        page.locator(f".gt-trace:nth-child(2) [data-line='{lines[1][3].number}']").click()
        expect(second.get_by_role("status")).to_contain_text(f"Line {lines[1][3].number}")


def test_gradients_have_their_losses_colours_and_stop_at_detach(browser: Browser, tmp_path: Path) -> None:
    path, debugger = saved(tmp_path, "d_first_detach")
    numbers = {line.text: line.number for line in debugger.stories[0].trace.lines}
    fill = "element => getComputedStyle(element).fill"
    with saved_page(browser, path, at=f"line={numbers['d_loss.backward()']}", reduced_motion="reduce") as page:
        expect(page.locator(".gt-stops")).to_have_count(1)
        assert page.evaluate("() => document.getAnimations().length") == 0
        blue = page.locator(".gt-share").evaluate(fill)
        assert {head.evaluate(fill) for head in page.locator(".gt-drawing .gt-head").all()} == {blue}
        expect(page.locator("table", has_text="Gradients").locator("tbody tr").first).to_contain_text("none")
        page.evaluate(f"location.hash = 'line={numbers['g_loss.backward()']}'")
        expect(page.locator(".gt-stops")).to_have_count(0)
        orange = box(page, "G 1").locator(".gt-share").evaluate(fill)
        assert {head.evaluate(fill) for head in page.locator(".gt-drawing .gt-head").all()} == {orange} != {blue}
        assert [share.evaluate(fill) for share in page.locator(".gt-drawing .gt-share").all()].count(orange) == 2


def test_a_whole_step_of_cyclegan_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    run = CYC.start()
    record = trace(CYCLEGAN_STEPS["g_first_separate"], run.model, *next(run.batches))
    path = Debugger(record).save(tmp_path / "cyclegan.html")
    with saved_page(browser, path, viewport={"width": 390, "height": 844}, color_scheme="dark") as page:
        for _ in record.lines:
            page.get_by_role("button", name="Next", exact=True).click()
            assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
            touched = page.locator(".gt-drawing [data-mark]:not([data-mark=''])")
            if touched.count():
                sizes = touched.locator("text.gt-label").evaluate_all(
                    "all => all.map(each => each.getBoundingClientRect().height)"
                )
                assert min(sizes) > 9, "letters that can be read"
        page.get_by_role("slider").fill("12")
        expect(page.locator(".gt-folded")).to_have_text(re.compile("Not touched by this line:.*G_AB.*G_BA.*D_B"))
        page.screenshot(path=SCREENSHOTS / "debugger_cyclegan_phone.png")


def loop(gan: GAN, real: Tensor, z: Tensor) -> None:
    for _ in range(125):
        loss = gan.D(gan.G(z)).mean()
        loss.backward()
        gan.opt_G.step()
        gan.opt_D.zero_grad()
    raise ValueError("<script>alert('$x')</script>")


def test_five_hundred_lines_are_as_many_elements_as_one(browser: Browser, tmp_path: Path) -> None:
    record = trace(loop, build("points"), *draw("points")[0], max_iterations=1000)
    assert len(record.lines) > 500
    path = Debugger(record, titles=["<i>loop"]).save(tmp_path / "loop.html")
    count = "() => document.querySelectorAll('.gt-debugger *').length"
    with saved_page(browser, path) as page:
        page.get_by_role("slider").fill("3")
        early = page.evaluate(count)
        page.get_by_role("slider").fill("403")
        expect(page.get_by_role("status")).to_contain_text("again, time 81")
        expect(page.locator(".gt-chip").first).to_have_text("75 earlier and")
        assert page.evaluate(count) < early + 40
        page.get_by_role("button", name="Error").click()
        expect(page.get_by_role("status")).to_contain_text("<script>alert('$x')</script>")
        expect(page.locator("h4")).to_have_text("<i>loop")
