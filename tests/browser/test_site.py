"""The site from a local server, as a visitor has it: the small build, or the whole one by `make site-test`."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playground_twin import PHONE, WIDE, served, visits
from playwright.sync_api import Browser, expect

from gantutor import PITFALLS, STEPS

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
WHOLE = os.environ.get("GANTUTOR_SITE")  # the folder of a site that is built already
BUILD = ROOT / "build" / ("site" if WHOLE else "site-small")
LINK = re.compile(r'<(?:a|link|script|img|iframe)\s(?:[^>]*\s)?(?:href|src)="([^"]+)"')


@pytest.fixture(scope="module")
def folder() -> Path:
    """The site's folder, one level below what is served: it must work under a sub-path."""
    if WHOLE:
        return ROOT / WHOLE
    subprocess.run([sys.executable, ROOT / "docs" / "site" / "build.py", "--small"], check=True)
    return BUILD / "html"


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder.parent) as root:
        yield f"{root}{folder.name}/"


@pytest.fixture(scope="module")
def paths(folder: Path) -> list[str]:
    """Every page, by its path below the site's folder."""
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*.html") if "_static" not in path.parts]
    return sorted(found)


@pytest.fixture(scope="module")
def opened(paths: list[str]) -> list[str]:
    """The pages that are opened one by one: of the small build not the notebooks and sources that are prose alone."""
    return [path for path in paths if WHOLE or not re.match(r"_modules/|notebooks/0[1-9]", path)]


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Any]:
    with visits(browser, address) as visit:
        yield visit


# Every page ----------------------------------------------------------------------------------------------------------


def test_every_link_leads_somewhere(folder: Path, paths: list[str]) -> None:
    texts = {path: (folder / path).read_text(encoding="utf-8") for path in paths}
    ids = {path: {"", "top", *map(unescape, re.findall(r'\bid="([^"]+)"', text))} for path, text in texts.items()}
    dead = []
    for path, text in texts.items():
        for link in map(unescape, LINK.findall(text)):
            target = urlsplit(urljoin(f"http://site/{path}", link))
            where = unquote(target.path).lstrip("/")
            if target.netloc != "site" or target.scheme != "http":
                continue  # for the reader to follow; the page itself asks nobody
            where = f"{where}index.html" if where.endswith("/") or not where else where
            if not (folder / where).is_file() or unquote(target.fragment) not in ids.get(where, {target.fragment}):
                dead.append(f"{path}: {link}")
    assert dead == []
    assert len(paths) > 15


def test_every_page_opens(visit: Any, opened: list[str], address: str) -> None:
    """On a desk and on a phone, light and dark, without an error, without a foreign request, as wide as the screen."""
    page, too_wide = visit("index.html"), []
    for path in opened:
        page.set_viewport_size(WIDE)
        page.goto(f"{address}{path}")
        if page.locator(".gt-live").count():
            page.wait_for_load_state("networkidle")  # what is not fetched when the page is left fails
        for size, scheme in ((WIDE, "light"), (WIDE, "dark"), (PHONE, "dark"), (PHONE, "light")):
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)
            width = page.evaluate("document.documentElement.scrollWidth")
            too_wide += [f"{path}: {width} of {size['width']}"] if width > size["width"] else []
    assert too_wide == []


@pytest.mark.parametrize(("scheme", "few"), [("light", "index|steps"), ("dark", "00_start_here")])
def test_nothing_serious_is_inaccessible(visit: Any, opened: list[str], address: str, scheme: str, few: str) -> None:
    """Of the small build a `few` pages, since a long one takes seconds."""
    page, found = visit("index.html", color_scheme=scheme), []
    for path in opened if WHOLE else [path for path in opened if re.search(few, path)]:
        page.goto(f"{address}{path}")
        for each in Axe().run(page, options={"preload": False}).response["violations"]:  # else it asks for files itself
            if each["impact"] in ("serious", "critical"):
                found.append(f"{path}: {each['id']}: {[node['html'][:200] for node in each['nodes'][:3]]}")
    assert found == []


def test_the_site_is_small(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 90e6


# What a visitor does -------------------------------------------------------------------------------------------------


def test_the_front_page_moves_at_once_and_shows_all(visit: Any) -> None:
    page = visit("index.html")
    canvas = page.frame_locator("iframe.gt-playground").locator(".plane canvas")
    first = canvas.screenshot()
    page.wait_for_timeout(300)
    assert canvas.screenshot() != first
    for what in (".bd-article h1", "iframe.gt-playground", ".gt-front figure", ".gt-map"):
        box = page.locator(what).bounding_box()
        assert box["y"] + box["height"] <= WIDE["height"], what


def test_the_playground_is_driven_in_its_frame(visit: Any) -> None:
    page = visit("playground.html")
    inside = page.frame_locator("iframe.gt-playground")
    inside.locator(".line").nth(2).get_by_role("button", name=".detach()", exact=True).click()
    expect(inside.locator(".raises")).to_contain_text("backward")
    page.locator("button.theme-switch-button").first.click()
    theme = page.evaluate("document.documentElement.dataset.theme")
    expect(inside.locator("html")).to_have_attribute("data-theme", theme)


def test_a_prediction_covers_what_follows_until_a_guess_and_is_kept(visit: Any) -> None:
    page = visit("notebooks/00_start_here.html")
    asked = page.locator(".gt-live[data-kind=question]", has_text="How do the weights of the two generators compare")
    answer = page.locator("[data-cell=same-check]")
    expect(answer).to_be_hidden()
    asked.get_by_role("button", name="different").click()
    expect(asked).to_contain_text("The run says: equal in every bit.")
    expect(answer).to_contain_text("You chose different; the run says equal in every bit. The same operations ran")
    page.reload()
    expect(asked.get_by_role("button", name="different")).to_have_attribute("aria-pressed", "true")
    expect(answer).to_contain_text("You chose different")


def test_an_exercise_with_choices_is_answered_in_the_page(visit: Any) -> None:
    page = visit("notebooks/00_start_here.html")
    form, check = page.locator(".gt-choices"), page.locator(".gt-check")
    filled, changed = form.get_by_role("group").all()
    filled.get_by_role("button", name="D").click()
    changed.get_by_role("button", name="D").click()
    check.click()
    expect(form.get_by_role("status")).to_contain_text("Wrong. d_loss.backward(): so it is with the detach.")
    filled.get_by_role("button", name="G").click()
    check.click()
    expect(form.get_by_role("status")).to_contain_text("Passed.")
    page.reload()
    expect(filled.get_by_role("button", name="G")).to_have_attribute("aria-pressed", "true")
    solution = page.locator(".gt-solution", has_text="filled_by_d_loss_backward")
    expect(solution.locator("pre")).to_be_hidden()
    solution.locator("summary").click()
    expect(solution.locator("pre")).to_be_visible()


def test_a_panel_plays_what_was_recorded_and_toggles(visit: Any) -> None:
    page = visit("notebooks/00_start_here.html")
    covers = page.get_by_role("button", name="Show them")  # a question before it covers it
    while covers.count():
        covers.first.click()
    panel = page.locator("[data-cell=live-panel] .gt-place")
    panel.scroll_into_view_if_needed()
    expect(panel.get_by_role("button", name="Play")).to_be_visible()
    panel.get_by_role("button", name="Start").click()
    first = panel.locator("canvas").first.screenshot()
    panel.get_by_role("button", name="Play").click()
    expect(panel).to_contain_text(f"step {300 if WHOLE else 10}")
    last = panel.locator("canvas").first.screenshot()
    assert last != first
    panel.get_by_label("loss", exact=True).select_option(label="minimax")
    page.wait_for_timeout(300)
    assert panel.locator("canvas").first.screenshot() not in (first, last)
    expect(page).to_have_url(re.compile(r"#live-panel\.step=\d+$"))


def test_the_debugger_steps_through_a_pitfall(visit: Any) -> None:
    page = visit("steps.html#d_first_same_logits.line=1")
    place = page.locator("[data-cell=d_first_same_logits] .gt-place")
    place.get_by_role("button", name="Error").click()
    expect(place).to_contain_text("needs D.4.weight as it was on line")
    place.get_by_role("button", name="Start").click()
    place.get_by_role("button", name="Next").click()
    expect(place).to_contain_text("1 of")
    assert page.locator(".gt-place").count() == (len(STEPS) + len(PITFALLS) if WHOLE else 2)


def test_paint_asks_generators_in_the_page(visit: Any, address: str) -> None:
    """What they give is what torch gives."""
    page = visit("paint.html")
    made = page.locator(".gt-made")
    expect(made).to_have_count(2)
    expect(page.locator(".gt-took")).to_contain_text("ms")
    before = made.first.screenshot()
    page.get_by_role("button", name="Empty page").click()
    expect(page.locator(".gt-easel")).to_have_attribute("aria-busy", "false")
    assert made.first.screenshot() != before
    A = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for number in range(2):
        answer = page.evaluate(
            """async ([site, number, A]) => {
                const { Generator } = await import(`${site}_static/paint.js`);
                const generator = await Generator.load(`${site}_static/live/generator_${number}.onnx`);
                return [...await generator.run(Float32Array.from(A), 64)];
            }""",
            [address, number, A.flatten().tolist()],
        )
        (weights,) = BUILD.glob(f"recorded/paint-*/generator_{number}.pt")
        with torch.no_grad():
            wanted = torch.load(weights, weights_only=False)(A)
        torch.testing.assert_close(torch.tensor(answer).view(1, 3, 64, 64), wanted, rtol=0, atol=1e-5)


def test_search_finds_a_word(visit: Any) -> None:
    page = visit("search.html?q=retain_graph")
    expect(page.locator("#search-results li").first).to_be_visible()
