"""The painting canvas in a real JupyterLab: mouse, keyboard and buttons draw, and the generator's picture follows."""

import random
from pathlib import Path

import numpy as np
import pytest
from labserver import LabServer
from notebookpage import THEME, run_whole, screenshot, write_notebook
from playwright.sync_api import Page, expect
from widgetpage import WidgetPage

from gantutor.data.emoji import EMOJI_COLOURS

pytestmark = pytest.mark.browser

SETUP = """import torch

from gantutor.data import load_pairs
from gantutor.lab import Paint
from gantutor.models import unet

torch.manual_seed(0)
data = load_pairs("maps_mini", split="test", number=4)
G = unet(64, width=24, multipliers=(1, 2, 4, 4, 4, 4), upsampling="nearest")
with torch.no_grad():
    for _ in range(20):  # or else its BatchNorm would not know what an untrained net's features are like
        G(data.first(4)[0])
G = G.eval()"""
PAINT = "paint = Paint(G, data.classes, data.labels, side=64)\npaint"

# A generator that takes anything from 0 to 200 ms.
SLOW = """import random
import time

from gantutor.data import load_pairs
from gantutor.lab import Paint

chance = random.Random(0)

def translate(A):
    time.sleep(chance.uniform(0, 0.2))
    return -A"""
SLOW_PAINT = 'paint = Paint(translate, load_pairs("emoji_palette", number=4).classes, side=64)\npaint'

# The kernel's own map; what has come before is done first.
KERNEL_MAP = """async () => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const request = { code: '', user_expressions: { map: 'paint.labels.tobytes().hex()' } };
    const reply = await kernel.requestExecute(request).done;
    return reply.content.user_expressions.map.data['text/plain'].slice(1, -1);
}"""

# The map that the learner sees, as class numbers, by the colours of the palette.
SEEN_MAP = """panel => {
    const canvas = panel.querySelector('.gt-paint-map');
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const chips = [...panel.querySelectorAll('.gt-paint-chip')].map(chip => getComputedStyle(chip).backgroundColor);
    return Array.from({ length: data.length / 4 }, (_, i) =>
        chips.indexOf(`rgb(${data[4 * i]}, ${data[4 * i + 1]}, ${data[4 * i + 2]})`));
}"""

# The share of each class on the map that the learner sees, by its colour.
COUNT = """(canvas, colour) => {
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let count = 0;
    for (let i = 0; i < data.length; i += 4)
        count += data[i] === colour[0] && data[i + 1] === colour[1] && data[i + 2] === colour[2];
    return count;
}"""

EMOJI = """from gantutor.data import load_pairs
from gantutor.lab import Paint

data = load_pairs("emoji_palette", split="test", number=12)"""
EMOJI_PAINT = "paint = Paint(lambda A: A / 2, data.classes, data.labels, side=64)\npaint"
WATER, ROAD, BUILDING = [170, 211, 235], [255, 255, 255], [217, 208, 201]


class PaintPage(WidgetPage):
    def __init__(self, page: Page, number: int = 0) -> None:
        super().__init__(page, number, "paint")
        self.over = self.panel.locator(".gt-paint-over")
        self.map = self.panel.locator(".gt-paint-map")
        self.over.scroll_into_view_if_needed()

    def count(self, colour: list[int]) -> int:
        return self.map.evaluate(COUNT, colour)

    def seen(self) -> list[int]:
        """The class of each pixel of the map that the learner sees, once the kernel has answered all."""
        expect(self.panel.locator("[aria-busy=true]")).to_have_count(0)
        return self.panel.evaluate(SEEN_MAP)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The middle of a pixel of the map, on the page."""
        box = self.over.bounding_box()
        return box["x"] + (x + 0.5) * box["width"] / 64, box["y"] + (y + 0.5) * box["height"] / 64

    def drag(self, *points: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=8)
        self.page.mouse.up()


@pytest.fixture
def painting(page: Page, lab: LabServer, tmp_path: Path) -> PaintPage:
    notebook = write_notebook(tmp_path / "painting.ipynb", ("setup", SETUP), ("paint", PAINT), ("after", "1 + 1"))
    run_whole(page, lab, notebook)
    return PaintPage(page)


def test_a_rectangle_painted_with_the_mouse_changes_the_picture(painting: PaintPage, page: Page) -> None:
    opened = painting.settled()
    painting.press("Clear")
    empty = painting.wait_until(opened)
    assert painting.count([242, 239, 233]) == 64 * 64
    painting.press("building")
    painting.drag((20, 10), (39, 24))
    painted = painting.wait_until(empty)
    assert painting.count(BUILDING) == 20 * 15
    expect(painting.panel.locator("img")).to_have_attribute(
        "alt", "The generator's picture of a label map with land 93%, building 7%"
    )
    painted = painting.settled()
    painting.press("Undo")
    painting.wait_until(empty, same=True)
    assert painting.count(BUILDING) == 0
    painting.press("Redo")
    painting.wait_until(painted, same=True)
    assert painting.count(BUILDING) == 20 * 15
    screenshot(page, "paint_rectangle")
    assert page.errors == []


def test_every_tool(painting: PaintPage, page: Page) -> None:
    painting.press("Clear")
    painting.press("road")
    painting.press("Brush")
    painting.drag((10, 10), (50, 10))
    assert 41 * 3 <= painting.count(ROAD) <= 43 * 3, "a line without gaps, three pixels wide"
    painting.press("Eraser")
    painting.drag((10, 10), (50, 10))
    assert painting.count(ROAD) == 0
    painting.press("Rectangle")
    painting.press("water")
    painting.press("Mirror")
    painting.drag((5, 5), (9, 9))
    assert painting.count(WATER) == 2 * 25
    painting.press("Mirror")
    painting.press("Fill")
    painting.press("building")
    painting.drag((7, 7))
    assert (painting.count(WATER), painting.count(BUILDING)) == (25, 25)
    before = painting.settled()
    painting.press("Example 2")
    painting.wait_until(before)
    assert painting.count(BUILDING) > 300, "houses"
    screenshot(page, "paint_example")
    assert page.errors == []


def test_the_keyboard_draws_too_and_lab_does_not_listen(painting: PaintPage, page: Page) -> None:
    number_of_cells = "() => window.jupyterapp.shell.currentWidget.content.model.cells.length"
    before = page.evaluate(number_of_cells)
    painting.press("Clear")
    seen = painting.settled()
    painting.over.focus()
    for key in ("5", "r", " ", *["ArrowRight"] * 3, "Shift+ArrowDown", " "):
        page.keyboard.press(key)
    painting.wait_until(seen)
    assert painting.count(BUILDING) == 4 * 5
    expect(painting.panel.locator(".gt-paint-took")).to_contain_text("ms")
    page.keyboard.press("ArrowLeft")
    expect(painting.status).to_have_text("Column 35, row 37: building")
    for key in ("b", "+", "]", "[", "f", "e", "-", "m", "m", "Control+z"):
        page.keyboard.press(key)
    painting.wait_until(seen, same=True)
    painting.button("Brush").focus()
    page.keyboard.press("b")  # in Lab's command mode: a new cell below
    page.keyboard.press("d")
    page.keyboard.press("d")
    assert page.evaluate(number_of_cells) == before
    for name in ("Rectangle", "Brush", "Fill", "Eraser", "Undo", "Redo", "Clear", "park", "Example 1"):
        expect(painting.panel.get_by_role("button", name=name, exact=True)).to_be_visible()
    assert painting.panel.get_by_role("button", name="Eraser").get_attribute("aria-pressed") == "true"
    expect(painting.panel.get_by_role("slider", name="Brush size")).to_be_visible()
    assert page.errors == []


def test_the_palette_of_the_emoji(page: Page, lab: LabServer, tmp_path: Path) -> None:
    """32 colours: all in view and named, ten by a digit, the others by a click or from one to the next."""
    run_whole(page, lab, write_notebook(tmp_path / "palette.ipynb", ("setup", EMOJI), ("paint", EMOJI_PAINT)))
    painting = PaintPage(page)
    colours = {label.name: list(label.colour) for label in EMOJI_COLOURS}
    swatches = painting.panel.get_by_role("toolbar", name="Classes").get_by_role("button")
    assert [swatch.get_attribute("aria-label") for swatch in swatches.all()] == list(colours)
    for swatch in swatches.all():
        expect(swatch).to_be_in_viewport()
    expect(painting.over).to_be_in_viewport()
    painting.press("Clear")
    painting.press("hot pink")
    painting.drag((10, 10), (19, 29))
    assert painting.count(colours["hot pink"]) == 10 * 20
    painting.over.focus()
    page.keyboard.press("7")
    painting.drag((30, 10), (39, 29))
    assert painting.count(colours["dark purple"]) == 10 * 20
    page.keyboard.press("[")
    painting.drag((50, 10), (59, 29))
    assert painting.count(colours["yellow"]) == 10 * 20
    page.mouse.move(*painting.at(15, 20))
    expect(painting.over).to_have_attribute("title", "hot pink")
    page.mouse.move(*painting.at(5, 5))
    expect(painting.over).to_have_attribute("title", "white")
    painting.press("Example 3")
    painting.settled()
    screenshot(page, "paint_emoji")
    page.evaluate(THEME, "JupyterLab Dark")
    page.wait_for_timeout(500)
    screenshot(page, "paint_emoji_dark")
    assert page.errors == []


class Replay:
    """The same drawing without a browser, a kernel or a wait between them."""

    def __init__(self) -> None:
        self.map = np.zeros((64, 64), np.uint8)
        self.undone: list[np.ndarray] = []
        self.done: list[np.ndarray] = []

    def paint(self, rows: slice, columns: slice, label: int) -> None:
        self.put(self.map.copy(), (rows, columns), label)

    def fill(self, x: int, y: int, label: int) -> None:
        """All pixels of one class that hang together: the region grows by its neighbours until it stands still."""
        same, region = self.map == self.map[y, x], np.zeros((66, 66), bool)
        region[y + 1, x + 1] = True
        size = 0
        while size < region.sum():
            size = region.sum()
            near = region[1:-1, 1:-1] | region[:-2, 1:-1] | region[2:, 1:-1] | region[1:-1, :-2] | region[1:-1, 2:]
            region[1:-1, 1:-1] = near & same
        self.put(self.map.copy(), region[1:-1, 1:-1], label)

    def put(self, after: np.ndarray, where: object, label: int) -> None:
        after[where] = label
        if not np.array_equal(after, self.map):
            self.done.append(self.map)
            self.undone.clear()
            self.map = after

    def undo(self) -> None:
        if self.done:
            self.undone.append(self.map)
            self.map = self.done.pop()

    def redo(self) -> None:
        if self.undone:
            self.done.append(self.map)
            self.map = self.undone.pop()


def test_with_a_slow_kernel_nothing_overtakes(page: Page, lab: LabServer, tmp_path: Path) -> None:
    """50 things done as fast as the page takes them, in the end as if each had been waited for."""
    cells = (("setup", SLOW), ("paint", SLOW_PAINT))
    run_whole(page, lab, write_notebook(tmp_path / "slow.ipynb", *cells))
    painting, replay, chance = PaintPage(page), Replay(), random.Random(0)
    keys = page.keyboard
    painting.over.focus()
    for _ in range(50):
        what = chance.choice(["rectangle", "keys", "brush", "fill", "undo", "undo", "redo", "clear"])
        x, y, label = chance.randrange(5, 40), chance.randrange(5, 40), chance.randrange(10)
        if what in ("undo", "redo", "clear"):
            if what == "clear" or chance.random() < 0.5:
                painting.press(what.capitalize())
                painting.over.focus()
            else:
                keys.press({"undo": "Control+z", "redo": "Control+y"}[what])
            replay.paint(slice(None), slice(None), 0) if what == "clear" else getattr(replay, what)()
            continue
        keys.press(str(label))
        if what == "brush":
            keys.press("b")
            painting.drag((x, y), (x + 20, y))
            replay.paint(slice(y - 1, y + 2), slice(x - 1, x + 22), label)
        elif what == "fill":
            keys.press("f")
            painting.drag((x, y))
            replay.fill(x, y, label)
        else:
            keys.press("r")
            if what == "keys":  # from where a click of the mouse leaves the cursor
                painting.drag((x, y))
                replay.paint(slice(y, y + 1), slice(x, x + 1), label)
                for key in (" ", "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowDown", " "):
                    keys.press(key)
                replay.paint(slice(y, y + 5), slice(x, x + 9), label)
            else:
                painting.drag((x, y), (x + 20, y + 20), (x + 10, y + 6))  # the corner comes back
                replay.paint(slice(y, y + 7), slice(x, x + 11), label)
    assert painting.seen() == replay.map.ravel().tolist()
    assert page.evaluate(KERNEL_MAP) == replay.map.tobytes().hex()
    assert page.errors == []


def test_two_views_show_one_drawing(page: Page, lab: LabServer, tmp_path: Path) -> None:
    again = "paint.paint_rectangle('darkest purple', 0, 0, 10, 10)\npaint"
    cells = (("setup", SLOW), ("paint", SLOW_PAINT), ("paint", again))
    run_whole(page, lab, write_notebook(tmp_path / "views.ipynb", *cells))
    by_cell, by_mouse = np.zeros((64, 64), int), np.zeros((64, 64), int)
    by_cell[:10, :10] = by_mouse[:10, :10] = 8
    by_mouse[20:31, 20:31] = 2
    second = PaintPage(page, 1)
    assert second.seen() == by_cell.ravel().tolist(), "a view that is new shows what has been painted"
    second.drag((20, 20), (30, 30))
    assert second.seen() == by_mouse.ravel().tolist()
    first = PaintPage(page, 0)
    assert first.seen() == by_mouse.ravel().tolist()
    first.press("Undo")
    assert first.seen() == by_cell.ravel().tolist()
    assert PaintPage(page, 1).seen() == by_cell.ravel().tolist()
    assert page.errors == []
