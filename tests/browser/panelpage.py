"""What a learner does with a panel: find it, press its buttons, look whether its pictures change."""

import re
from typing import Any

from playwright.sync_api import Locator, Page, expect

# Lab draws only the cells in view, and a panel's cell is found by its place among those with its tag.
SHOW = """async ([tag, number]) => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    const tagged = [...notebook.model.cells].map((cell, index) => ({ cell, index }))
        .filter(({ cell }) => (cell.getMetadata('tags') ?? []).includes(tag));
    const index = tagged[number].index;
    notebook.activeCellIndex = index;
    await notebook.scrollToItem(index, 'start');
}"""

# The picture's pixels, or what a chart is drawn from, as one number.
FINGERPRINT = """figure => {
    const canvas = figure.querySelector('canvas'), lines = [...figure.querySelectorAll('.gt-line, .gt-bars')];
    const values = canvas
        ? canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
        : [...lines.map(line => line.getAttribute('d')).join('')].map(letter => letter.charCodeAt(0));
    let hash = 0;
    for (const value of values) hash = (hash * 31 + value) >>> 0;
    return hash;
}"""


class PanelPage:
    """The panel in the `number`-th cell tagged `tag` of an open notebook that has run; of two views the `view`-th."""

    def __init__(self, page: Page, number: int, tag: str = "browser", view: int = 0) -> None:
        self.page = page
        page.evaluate(SHOW, [tag, number])
        self.panel = page.locator(".jp-Cell.jp-mod-active .gt-lab").nth(view)
        expect(self.panel.locator("canvas").first).to_be_visible(timeout=60_000)
        expect(self.panel).to_have_attribute("data-frame", re.compile(r"\d+"))
        self.status = self.panel.locator("[role=status]")
        self.error = self.panel.locator("[role=alert]")

    def step(self) -> int:
        """The step that is drawn."""
        return int(self.panel.get_attribute("data-step") or -1)

    def frame(self) -> int:
        """The number of the newest frame that is drawn."""
        return int(self.panel.get_attribute("data-frame") or -1)

    def figures(self) -> Locator:
        return self.panel.locator("[data-view]")

    def look(self) -> list[int]:
        """A number for what each view shows."""
        return self.figures().evaluate_all(f"figures => figures.map({FINGERPRINT})")

    def settled(self) -> list[int]:
        """The views once they stand still."""
        seen, quiet = self.look(), 0
        while quiet < 4:
            self.page.wait_for_timeout(60)
            now = self.look()
            quiet = quiet + 1 if now == seen else 0
            seen = now
        return seen

    def wait_until(self, seen: list[int], same: bool = False, seconds: float = 20) -> list[int]:
        """Wait until the views show something else than `seen` (or, with `same`, just that again)."""
        for _ in range(int(seconds / 0.05)):
            now = self.look()
            if (now == seen) == same:
                return now
            self.page.wait_for_timeout(50)
        raise AssertionError("the picture did not come back" if same else "the picture did not change")

    def button(self, name: str) -> Locator:
        return self.panel.get_by_role("button", name=name, exact=True)

    def press(self, name: str) -> None:
        self.button(name).click()

    def control(self, label: str, run_view: str = "") -> Locator:
        return self.panel.get_by_label(f"{label}, run {run_view}" if run_view else label, exact=True).first

    def choose(self, label: str, option: str, run_view: str = "") -> None:
        """By its name: a choice that is not possible now has a sign before it."""
        control = self.control(label, run_view)
        control.select_option(control.evaluate(OPTION, option))

    def chosen(self, label: str, run_view: str = "") -> str:
        text: str = self.control(label, run_view).evaluate("select => select.selectedOptions[0].textContent")
        return text.removeprefix("⊘ ")

    def another(self, label: str, run_view: str, *options: str) -> str:
        """The first of the options that can be chosen now and are not."""
        offered: list[Any] = self.control(label, run_view).evaluate(
            "select => [...select.options].filter(o => !o.selected && !o.title).map(o => o.textContent)"
        )
        return next(option for option in options if option in offered)

    def reset(self, first: list[int]) -> None:
        self.press("Reset")
        self.wait_until(first, same=True)


OPTION = "(select, name) => [...select.options].find(o => o.textContent.replace('⊘ ', '') === name).value"
