"""A front module in a file on disk: it has its state and its bytes, and needs neither a kernel nor a host."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect
from savedpage import saved_page

from gantutor.lab.messages import TEXTS
from gantutor.lab.page import front_script, write_page

pytestmark = pytest.mark.browser

# Shows what it is given, and how far it counts: `set` is heard by who listens, and a message to the kernel is no error.
COUNTER = """
const END = '</script>';  // no end of the page's script
export default {
  render({ model, el }) {
    const bytes = new Uint8Array(model.get('data')), button = document.createElement('button');
    const show = () => {
      button.textContent = [model.get('texts').play, model.get('name'), END, ...bytes, model.get('count')].join(' ');
    };
    model.on('change:count', show);
    model.on('msg:custom', () => {});
    button.onclick = () => {
      model.set('count', model.get('count') + 1);
      model.save_changes();
      model.send({ do: 'count' });
    };
    show();
    el.append(button);
    return () => model.off('change:count', show);
  },
};
"""
STATE = {"name": "“é” & <b> $x", "count": 0}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_module_runs_from_a_file_with_its_state_and_its_bytes(browser: Browser, tmp_path: Path, theme: str) -> None:
    css = "button { border: 3px solid rgb(1, 2, 3) }"
    written = write_page(tmp_path / "it.html", "A <title> & more", COUNTER, css, STATE, bytes([0, 255, 7]))
    assert written == tmp_path / "it.html"
    with saved_page(browser, written, color_scheme=theme) as page:
        button = page.get_by_role("button")
        expect(button).to_have_text(f"{TEXTS['play']} {STATE['name']} </script> 0 255 7 0")
        button.click()
        expect(button).to_have_text(f"{TEXTS['play']} {STATE['name']} </script> 0 255 7 1")
        expect(button).to_have_css("border-color", "rgb(1, 2, 3)")
        expect(page).to_have_title("A <title> & more")
        expect(page.get_by_role("heading", level=1)).to_have_text("A <title> & more")
        assert TEXTS["page_needs"] not in page.inner_text("body")
        expect(page.locator("body")).to_have_attribute("data-jp-theme-light", str(theme == "light").lower())
        assert Axe().run(page).response["violations"] == []


def test_a_module_of_the_package_runs_from_a_file(browser: Browser, tmp_path: Path) -> None:
    verdicts = [{"passed": i == 1, "truth": 1, "why": "So it is."} for i in range(2)]
    state = {"question": "Which?", "options": ["this", "that"], "guess": None, "verdict": None, "verdicts": verdicts}
    path = write_page(tmp_path / "guess.html", "A guess", front_script("predict.js"), "", state)
    with saved_page(browser, path) as page:
        page.get_by_role("button", name="that").click()
        expect(page.get_by_role("status")).to_contain_text("Right.")


# Two histograms of the same logits: one has played through larger ones before, and then comes to rest.
HISTOGRAMS = """
export default {
  render({ model, el }) {
    const view = { name: 'logits', title: '', alt: '' }, texts = model.get('texts');
    const logits = values => ({ real: { values }, fake: { values: values.map(value => -value) } });
    const [one, other] = [1, 2].map(() => histogram(view, texts));
    el.append(one.figure, other.figure);
    for (const far of [60, 6]) one.paint(logits([1, far]), true);
    el.dataset.playing = one.figure.querySelector('.gt-axes').textContent;
    one.paint(logits([1, 6]), false);
    other.paint(logits([1, 6]), false);
  },
};
"""


def test_at_rest_a_histogram_is_drawn_as_if_nothing_had_been_before(browser: Browser, tmp_path: Path) -> None:
    script = front_script("dom.js", "charts.js") + HISTOGRAMS
    with saved_page(browser, write_page(tmp_path / "two.html", "Two", script, "", {})) as page:
        one, other = (figure.inner_html() for figure in page.locator("figure").all())
        assert one == other
        while_it_played = page.locator("[data-playing]").get_attribute("data-playing")
        assert while_it_played != page.locator(".gt-axes").first.text_content()  # an axis of its own
