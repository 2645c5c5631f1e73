"""What a learner does with the debugger or with Paint: find it, press its buttons, look whether its pictures change."""

import re

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

# An image has no pixels for a moment when its bytes are swapped: null then.
FINGERPRINT = """img => {
    if (!img || !img.complete || !img.naturalWidth) return null;
    const canvas = document.createElement('canvas');
    canvas.width = img.naturalWidth; canvas.height = img.naturalHeight;
    const context = canvas.getContext('2d');
    context.drawImage(img, 0, 0);
    let hash = 0;
    for (const value of context.getImageData(0, 0, canvas.width, canvas.height).data) hash = (hash * 31 + value) >>> 0;
    return hash;
}"""


class WidgetPage:
    """What the `number`-th cell tagged `tag` of an open notebook shows after it has run."""

    ROOT, PICTURE = ".gt-panel", "img"  # where it is, and what shows that it has been drawn

    def __init__(self, page: Page, number: int, tag: str, view: int = 0) -> None:
        self.page = page
        page.evaluate(SHOW, [tag, number])
        self.panel = page.locator(f".jp-Cell.jp-mod-active {self.ROOT}").nth(view)
        expect(self.panel.locator(self.PICTURE).first).to_be_visible(timeout=60_000)
        self.status = self.panel.locator("[role=status]")

    def views(self) -> Locator:
        return self.panel.locator("img")

    def look(self) -> list[int]:
        """A number for the pixels of each view."""
        prints = self.views().evaluate_all(f"imgs => imgs.map({FINGERPRINT})")
        while None in prints:
            self.page.wait_for_timeout(20)
            prints = self.views().evaluate_all(f"imgs => imgs.map({FINGERPRINT})")
        return prints

    def settled(self) -> list[int]:
        """The views once they stand still: a command changes them one after the other."""
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
        return self.panel.get_by_role("button", name=re.compile(f"{name}$"))  # an icon, a private character, goes first

    def press(self, name: str) -> None:
        self.button(name).click()
