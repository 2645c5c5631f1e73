"""What a learner does with a panel: find it, press its buttons, look whether its pictures change."""

import re
from typing import Any

from playwright.sync_api import Locator, Page, expect
from widgetpage import WidgetPage

# The picture's pixels, each thirteenth value of them, or what a chart is drawn from, as one number.
FINGERPRINT = """figure => {
    const canvas = figure.querySelector('canvas'), lines = [...figure.querySelectorAll('.gt-line, .gt-bars')];
    const values = canvas
        ? canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
        : [...lines.map(line => line.getAttribute('d')).join('')].map(letter => letter.charCodeAt(0));
    let hash = 0;
    for (let i = 0; i < values.length; i += canvas ? 13 : 1) hash = (hash * 31 + values[i]) >>> 0;
    return hash;
}"""


class PanelPage(WidgetPage):
    """The panel in the `number`-th cell tagged `tag` of an open notebook that has run; of two views the `view`-th."""

    ROOT, PICTURE = ".gt-lab", "canvas"

    def __init__(self, page: Page, number: int, tag: str = "browser", view: int = 0) -> None:
        super().__init__(page, number, tag, view)
        expect(self.panel).to_have_attribute("data-frame", re.compile(r"\d+"))
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

    def button(self, name: str) -> Locator:
        return self.panel.get_by_role("button", name=name, exact=True)

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
