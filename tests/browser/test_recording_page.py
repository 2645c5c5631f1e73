"""A saved run, opened from disk: played, scrubbed, switched between its recorded runs, and opened at a step."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import panel_helpers
import pytest
from axe_playwright_python.sync_playwright import Axe
from notebookpage import screenshot
from panelpage import FINGERPRINT
from playwright.sync_api import Browser, Locator, Page, expect
from savedpage import saved_page

from gantutor import Experiment, Lab
from gantutor.lab.messages import TEXTS
from gantutor.lab.page import write_page
from gantutor.lab.stream import Front

pytestmark = pytest.mark.browser

SIZES = {"laptop": (1366, 768), "phone": (390, 844)}
STEPS = 60
LINES = """cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map(place => Math.round(place.top))).size;
}"""


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three losses from one seed; the panel's own run is the third."""
    lab = Lab(Experiment("digits", device="cpu", model_options={"width_G": 8, "width_D": 8}), name="losses")
    for _ in range(12):
        lab.advance(5)
    lab.record(STEPS, {"loss": ["minimax", "hinge"]}, frames=12)
    path = lab.save(tmp_path_factory.mktemp("losses") / "run.html")
    lab.close()
    return path


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A/B in the plane, with a setting that changed on the way."""
    ring = Experiment("ring", device="cpu")
    lab = Lab(ring, ring.replace(loss="minimax"), name="sides", cost_meter=True)
    lab.advance(20)
    lab.set(1, loss="hinge")
    lab.runner.wait()
    for _ in range(8):
        lab.advance(5)
    path = lab.save(tmp_path_factory.mktemp("sides") / "ab.html")
    lab.close()
    return path


@contextmanager
def opened(browser: Browser, path: Path, at: str = "", **context: Any) -> Iterator[tuple[Page, Locator]]:
    with saved_page(browser, path, at, **{"viewport": {"width": 1366, "height": 768}, **context}) as page:
        panel = page.locator(".gt-lab")
        expect(panel).to_have_attribute("data-frame", re.compile(r"\d+"))
        yield page, panel


def look(panel: Locator) -> list[int]:
    """A number for what each view shows, once that stands still."""
    seen, now = None, panel.locator("[data-view]").evaluate_all(f"figures => figures.map({FINGERPRINT})")
    while seen != now:
        panel.page.wait_for_timeout(150)
        seen, now = now, panel.locator("[data-view]").evaluate_all(f"figures => figures.map({FINGERPRINT})")
    return now


def at_step(panel: Locator, step: int) -> None:
    expect(panel).to_have_attribute("data-step", str(step))


def press(panel: Locator, name: str) -> None:
    panel.get_by_role("button", name=name, exact=True).click()


def test_it_opens_at_the_step_of_its_link_and_scrubs(browser: Browser, losses: Path) -> None:
    with opened(browser, losses, "step=33") as (page, panel):
        at_step(panel, 30)  # the last frame before it
        middle = look(panel)
        slider = panel.get_by_role("slider", name="Frame")
        slider.focus()
        page.keyboard.press("Home")
        at_step(panel, 0)
        assert look(panel) != middle
        page.keyboard.press("End")
        at_step(panel, STEPS)
        expect(slider).to_have_attribute("aria-valuetext", f"step {STEPS}")
        page.evaluate("location.hash = 'step=30'")
        at_step(panel, 30)
        assert look(panel) == middle
        press(panel, "Step")
        at_step(panel, 35)
        page.wait_for_url(re.compile("#step=35$"))  # to be copied
        press(panel, "Start")
        at_step(panel, 0)


def test_among_many_on_a_page_it_begins_at_its_end_and_its_link_names_its_place(
    browser: Browser, sides: Path, tmp_path: Path
) -> None:
    alone, text = "letter.charCodeAt(0)));", sides.read_text(encoding="utf-8")
    assert alone in text
    path = tmp_path / "placed.html"
    path.write_text(text.replace(alone, "letter.charCodeAt(0)), { place: 'here' });"), encoding="utf-8")
    for at, step in (("step=20", 60), ("there.step=20", 60), ("here.step=20", 20)):
        with opened(browser, path, at) as (page, panel):
            at_step(panel, step)
            press(panel, "Step")
            page.wait_for_url(re.compile(f"#here.step={min(step + 5, 60)}$"))


def test_it_plays_to_its_end_and_again_from_the_start(browser: Browser, losses: Path) -> None:
    with opened(browser, losses) as (_, panel):
        at_step(panel, STEPS)  # with whole curves
        speed = panel.get_by_role("combobox", name="Playing speed")
        speed.select_option("0.25 ×")
        press(panel, "Play")
        expect(panel).not_to_have_attribute("data-step", str(STEPS))
        speed.select_option("4 ×")
        at_step(panel, STEPS)
        expect(panel.get_by_role("button", name="Play", exact=True)).to_have_attribute("aria-pressed", "false")
        speed.select_option("0.25 ×")
        press(panel, "Play")
        expect(panel).not_to_have_attribute("data-step", str(STEPS))
        press(panel, "Pause")
        expect(panel.locator("[role=status]")).to_contain_text("This page plays a recording")
        still = look(panel)
        panel.page.wait_for_timeout(900)
        assert look(panel) == still


def test_a_toggle_shows_the_other_run_at_the_same_step(browser: Browser, losses: Path) -> None:
    with opened(browser, losses, "step=30") as (page, panel):
        loss = panel.get_by_label("loss", exact=True)
        seen = {}
        for name in ("non-saturating", "hinge", "minimax"):
            loss.select_option(name)
            expect(panel.locator("[role=status]")).to_have_text(f"loss → {name}")
            at_step(panel, 30)
            seen[name] = look(panel)
            assert loss.evaluate("select => select.selectedOptions[0].textContent") == name
        assert len({tuple(prints) for prints in seen.values()}) == 3
        loss.focus()
        page.keyboard.press("n")  # by the keyboard
        expect(panel.locator("[role=status]")).to_have_text("loss → non-saturating")
        assert look(panel) == seen["non-saturating"]
        loss.select_option(loss.locator("option", has_text="wgan").first.get_attribute("value"))
        expect(panel.locator("[role=status]")).to_have_text("No run was recorded with loss = wgan.")
        assert loss.evaluate("select => select.selectedOptions[0].textContent") == "non-saturating"
        expect(loss.locator("option.gt-refused").first).to_have_attribute("title", re.compile("No run was recorded"))
        strategy = panel.get_by_label("strategy", exact=True)
        expect(strategy).to_be_disabled()
        expect(strategy).to_have_attribute("title", "No run was recorded with another value.")


def test_the_sides_stand_beside_each_other_with_marks_values_and_costs(browser: Browser, sides: Path) -> None:
    with opened(browser, sides, "step=15") as (_, panel):
        loss = panel.get_by_label("loss, run B", exact=True)
        chosen = "select => select.selectedOptions[0].textContent"
        assert loss.evaluate(chosen) == "minimax"
        marks = panel.locator("section[aria-label=B] [data-view=losses] .gt-marks")
        expect(marks).to_have_text("")
        panel.get_by_role("slider", name="Frame").press("End")
        at_step(panel, 60)
        assert loss.evaluate(chosen) == "hinge"
        expect(marks).to_contain_text("loss → hinge")
        chart = panel.locator("section[aria-label=B] [data-view=losses]")
        chart.locator("svg").hover(position={"x": 60, "y": 30})
        expect(chart.locator(".gt-value")).to_contain_text("· G ")
        costs = panel.locator("section[aria-label=B] .gt-meter")
        expect(costs).to_contain_text("in 60 steps")
        for cell in costs.locator("tbody td, thead th:nth-child(n+3)").all():
            assert cell.evaluate(LINES) <= 1, f"{cell.inner_text()} stands in several lines"


def test_what_slow_motion_has_shown_is_in_the_page(browser: Browser, tmp_path: Path) -> None:
    lab = Lab(Experiment("ring", device="cpu"), name="slow")
    lab.advance(2)
    live = panel_helpers.Page(lab)
    live.act("slow", on=True)
    phases = {"D_before": "D", "D_after": "D", "G_before": "G", "G_after": "G"}
    for _ in phases:
        live.act("step")
    path = lab.save(tmp_path / "slow.html")
    lab.close()
    with opened(browser, path, "step=2") as (page, panel):
        run = panel.locator("section.gt-run")
        expect(run).to_have_attribute("data-phase", "")
        for text, who in phases.items():
            press(panel, "Step")
            expect(panel.locator("[role=status]")).to_have_text(TEXTS[text])
            expect(run).to_have_attribute("data-phase", who)
            at_step(panel, 3 if text == "G_after" else 2)
        page.evaluate("location.hash = 'step=2.5'")  # a link to a phase
        expect(panel.locator("[role=status]")).to_have_text(TEXTS["D_after"])
        press(panel, "Play")
        expect(panel.locator("[role=status]")).to_have_text(TEXTS["G_after"])


def test_a_saved_notebooks_panel_shows_its_picture_without_a_kernel(browser: Browser, tmp_path: Path) -> None:
    lab = Lab(Experiment("ring", device="cpu"), name="kept")
    lab._repr_mimebundle_()
    state = {"texts": TEXTS, "picture": lab.widget.get_state()["picture"]}
    path = write_page(tmp_path / "kept.html", "Kept", Front._esm, Front._css, state)
    lab.close()
    with saved_page(browser, path) as page:
        picture = page.locator(".gt-stage img")  # awaited
        assert picture.evaluate("async image => { await image.decode(); return image.naturalWidth; }") > 300
        expect(page.locator("[role=status]")).to_contain_text("needs a running kernel")
        screenshot(page, "panel_without_kernel")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_light_and_dark_wide_and_narrow(browser: Browser, losses: Path, sides: Path, theme: str) -> None:
    for name, path in (("losses", losses), ("sides", sides)):
        for size, (width, height) in SIZES.items():
            viewport = {"width": width, "height": height}
            with opened(browser, path, "step=40", viewport=viewport, color_scheme=theme) as (page, panel):
                look(panel)
                screenshot(page, f"recording_{name}_{size}_{theme}")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                found = Axe().run(page).response["violations"]
                assert [v["nodes"] for v in found if v["impact"] in ("serious", "critical")] == []
