"""Paint in a real JupyterLab: mouse, keyboard and buttons draw, and the generators' pictures follow; and saved."""

import random
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from labserver import LabServer
from notebookpage import KERNEL, LOSES_PUSHES, change_theme, run_all, run_cell, run_whole, screenshot, write_notebook
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Locator, Page, expect
from savedpage import saved_page
from widgetpage import WidgetPage

from gantutor.data import load_pairs
from gantutor.data.embedded import EMOJI_COLOURS
from gantutor.lab import Paint
from gantutor.lab.messages import TEXTS

pytestmark = pytest.mark.browser

SIZES = {"laptop": (1366, 768), "projector": (1920, 1080), "phone": (390, 844)}
HEAD = """from gantutor import Paint
from gantutor.data import load_pairs

maps, emoji = load_pairs("maps_mini", split="test", number=4), load_pairs("emoji_flat", split="test", number=12)"""
MAP = "paint = Paint(lambda A: -A, maps.classes, maps.labels)"
PLAIN = "paint = Paint(lambda A: -A, maps.classes)"
EMOJI = 'paint = Paint({"negative": lambda A: -A, "half": lambda A: A / 2}, examples=emoji.A)'
CLASSES = [np.array(label.colour, np.uint8) for label in load_pairs("maps_mini", split="test", number=1).classes]
LAND, PARK, WATER, ROAD, HIGHWAY, BUILDING = range(6)

# Red, green and blue of all pixels of a canvas, as hexadecimal digits.
PIXELS = """canvas => {
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return [...data].filter((_, i) => i % 4 < 3).map(value => value.toString(16).padStart(2, '0')).join('');
}"""


def pixels(canvas: Locator) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(canvas.evaluate(PIXELS)), np.uint8).reshape(64, 64, 3)


class PaintPage(WidgetPage):
    ROOT, PICTURE = ".gt-paint", "canvas"

    def __init__(self, page: Page, number: int = 0, view: int = 0) -> None:
        super().__init__(page, number, "paint", view)
        self.over = self.panel.locator(".gt-over").first
        self.over.scroll_into_view_if_needed()

    def picture(self, number: int = 0) -> np.ndarray:
        """The drawing, or what the `number`-th generator has made of it, when the kernel has followed all."""
        expect(self.panel.locator("[aria-busy=true]")).to_have_count(0, timeout=60_000)
        return pixels(self.panel.locator(".gt-canvas canvas:first-child").nth(number))

    def count(self, label: int) -> int:
        return int((self.picture() == CLASSES[label]).all(axis=2).sum())

    def at(self, x: float, y: float, number: int = 0) -> tuple[float, float]:
        """The middle of a pixel of a picture, on the page."""
        box = self.panel.locator(".gt-over").nth(number).bounding_box()
        return box["x"] + (x + 0.5) * box["width"] / 64, box["y"] + (y + 0.5) * box["height"] / 64

    def drag(self, *points: tuple[float, float], number: int = 0) -> None:
        self.page.mouse.move(*self.at(*points[0], number))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point, number), steps=8)
        self.page.mouse.up()

    def press(self, *names: str) -> None:
        for name in names:
            self.panel.get_by_role("button", name=name, exact=True).click()


def opened(page: Page, lab: LabServer, folder: Path, *cells: str) -> PaintPage:
    run_whole(page, lab, write_notebook(folder / "paint.ipynb", ("setup", HEAD), *(("paint", cell) for cell in cells)))
    return PaintPage(page, len(cells) - 1)


def agree(painting: PaintPage, page: Page) -> None:
    """What is seen is what the kernel has."""
    seen = painting.picture().tobytes().hex()
    assert run_cell(page, "print(paint.drawing.tobytes().hex())").strip() == seen
    assert page.errors == []


def test_every_tool_with_the_mouse(page: Page, lab: LabServer, tmp_path: Path) -> None:
    painting = opened(page, lab, tmp_path, f"{MAP}\npaint")
    assert np.array_equal(painting.picture(1), 255 - painting.picture())
    painting.press("Empty page")
    assert painting.count(LAND) == 64 * 64
    painting.press("water", "Rectangle")
    painting.drag((20, 10), (39, 24))
    assert painting.count(WATER) == 20 * 15
    expect(painting.panel.get_by_role("img").last).to_have_attribute(
        "aria-label", f"{TEXTS['paint_result']}: land 93%, water 7%"
    )
    assert np.array_equal(painting.picture(1), 255 - painting.picture())
    painting.press("Undo")
    assert painting.count(WATER) == 0
    painting.press("Redo", "park", "Fill")
    painting.drag((25, 12))
    assert (painting.count(WATER), painting.count(PARK)) == (0, 20 * 15)
    painting.press("building", "Ellipse", "Mirror")
    painting.drag((2, 40), (11, 49))
    assert 2 * 76 <= painting.count(BUILDING) <= 2 * 82, "two discs, ten pixels wide"
    painting.press("Mirror", "highway", "Brush")
    painting.drag((5, 5), (58, 5), number=1)  # on the generator's picture
    assert 53 * 4 <= painting.count(HIGHWAY) <= 58 * 4, "a line without gaps, four pixels wide"
    painting.press("Eraser")
    painting.drag((5, 5), (58, 5))
    assert painting.count(HIGHWAY) == 0
    painting.press("Pick")
    painting.drag((25, 12), number=1)
    expect(painting.status).to_have_text("Colour: park")
    expect(painting.panel.get_by_role("button", name="park", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(painting.panel.get_by_role("button", name="Brush", exact=True)).to_have_attribute("aria-pressed", "true")
    painting.press("Example 2")
    assert painting.count(PARK) > 100
    with page.expect_download() as download:
        painting.press("Save")
    with Image.open(download.value.path()) as saved:
        assert saved.size == (2 * 384 + 12, 384)
    agree(painting, page)


def test_the_keyboard_draws_too_and_lab_does_not_listen(page: Page, lab: LabServer, tmp_path: Path) -> None:
    painting, keys = opened(page, lab, tmp_path, f"{MAP}\npaint"), page.keyboard
    number_of_cells = "() => window.jupyterapp.shell.currentWidget.content.model.cells.length"
    before = page.evaluate(number_of_cells)
    painting.press("Empty page")
    painting.over.focus()
    for key in ("4", "r", " ", *["ArrowRight"] * 3, "Shift+ArrowDown", " "):
        keys.press(key)
    assert painting.count(HIGHWAY) == 4 * 5
    keys.press("ArrowLeft")
    expect(painting.status).to_have_text("Column 35, row 37: highway")
    for key in ("b", "-", "-", "]", "[", "[", " ", *["Shift+ArrowUp"] * 5, "Enter"):
        keys.press(key)
    assert painting.count(ROAD) == 2 * 22, "a line with a brush of two pixels"
    keys.press(" ")
    keys.press("ArrowLeft")
    keys.press("Escape")
    assert painting.count(ROAD) == 2 * 22
    for key in ("f", "2", " ", "Control+z", "i", " ", "e", "m", "m"):
        keys.press(key)
    assert painting.count(WATER) == 0
    painting.panel.get_by_role("button", name="Brush", exact=True).focus()
    for key in ("b", "d", "d"):  # in Lab's command mode: a new cell below, and these delete one
        keys.press(key)
    assert page.evaluate(number_of_cells) == before
    agree(painting, page)


def test_any_colour_and_two_generators_in_light_and_dark_on_every_size(
    page: Page, lab: LabServer, tmp_path: Path
) -> None:
    painting = opened(page, lab, tmp_path, f"{EMOJI}\npaint")
    expect(painting.panel.locator("figcaption")).to_have_text(["Draw here", "negative", "half"])
    swatches = painting.panel.get_by_role("toolbar", name="Colours").get_by_role("button")
    assert [swatch.get_attribute("aria-label") for swatch in swatches.all()] == [label.name for label in EMOJI_COLOURS]
    page.mouse.move(*painting.at(32, 32))
    for number in (1, 2):  # a colour of each picture
        page.keyboard.down("Alt")
        painting.drag((32, 32), number=number)
        page.keyboard.up("Alt")
        picked = painting.picture(number)[32, 32]
        painting.press("Rectangle")
        painting.drag((4 * number, 0), (4 * number + 3, 3))
        assert (painting.picture()[:4, 4 * number : 4 * number + 4] == picked).all()
    painting.panel.get_by_label("Any other colour").fill("#123456")
    painting.drag((20, 0), (23, 3))
    assert (painting.picture()[:4, 20:24] == [0x12, 0x34, 0x56]).all()
    page.mouse.move(*painting.at(21, 1))
    page.mouse.move(*painting.at(22, 1))
    expect(painting.over).to_have_attribute("title", "#123456")
    painting.press("Example 3", "hot pink", "Fill")
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    for theme in ("dark", "light"):
        change_theme(page, theme)
        for size, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            painting = PaintPage(page)
            assert painting.panel.evaluate("panel => panel.scrollWidth - panel.clientWidth") <= 0
            for swatch in swatches.all() if size != "phone" else []:
                expect(swatch).to_be_in_viewport()
            screenshot(page, f"paint_{size}_{theme}")
            found = Axe().run(page, context=".jp-Cell.jp-mod-active .gt-paint").response["violations"]
            assert [v["nodes"] for v in found if v["impact"] in ("serious", "critical")] == []
    agree(painting, page)


# The stream -----------------------------------------------------------------------------------------------------------

# Every message waits for a random time in the kernel, in order, as behind a busy cell; the generator takes some, too.
DELAYS = """
import random, time
rng, receive = random.Random(0), paint.stream.receive

def late(content):
    time.sleep(rng.uniform(0, 0.5) if rng.random() < 0.2 else 0)
    receive(content)

paint.stream.receive = late
paint.generators = {"slow": lambda A: (time.sleep(random.uniform(0, 0.2)), -A)[1]}
paint"""


class Replay:
    """The same drawing without a browser, a kernel or a wait between them."""

    def __init__(self) -> None:
        self.maps, self.at = [np.zeros((64, 64), np.uint8)], 0

    def paint(self, rows: slice, columns: slice, label: int) -> None:
        after = self.maps[self.at].copy()
        after[rows, columns] = label
        self.put(after)

    def fill(self, x: int, y: int, label: int) -> None:
        after = Image.fromarray(self.maps[self.at]).copy()  # one of its own: Pillow would fill nothing
        ImageDraw.floodfill(after, (x, y), label)
        self.put(np.asarray(after))

    def put(self, after: np.ndarray) -> None:
        if not np.array_equal(after, self.maps[self.at]):
            self.maps[self.at + 1 :] = [after]
            self.at += 1

    def undo(self) -> None:
        self.at = max(self.at - 1, 0)

    def redo(self) -> None:
        self.at = min(self.at + 1, len(self.maps) - 1)


def test_a_hundred_strokes_to_a_slow_kernel_end_where_a_plain_replay_does(
    page: Page, lab: LabServer, tmp_path: Path
) -> None:
    painting, replay, chance = opened(page, lab, tmp_path, f"{PLAIN}{DELAYS}"), Replay(), random.Random(0)
    keys = page.keyboard
    painting.over.focus()
    keys.press("-")  # a brush of three pixels
    for _ in range(100):
        what = chance.choice(["rectangle", "keys", "brush", "fill", "undo", "undo", "redo", "clear"])
        x, y, label = chance.randrange(5, 40), chance.randrange(5, 40), chance.randrange(6)
        if what in ("undo", "redo"):
            keys.press({"undo": "Control+z", "redo": "Control+y"}[what])
            getattr(replay, what)()
            continue
        keys.press(str(label))
        if what == "clear":
            painting.press("Empty page")
            painting.over.focus()
            replay.paint(slice(None), slice(None), LAND)
        elif what == "brush":
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
    assert np.array_equal(painting.picture(), np.array(CLASSES)[replay.maps[replay.at]])
    assert np.array_equal(painting.picture(1), 255 - painting.picture())
    agree(painting, page)


def test_two_views_show_one_drawing(page: Page, lab: LabServer, tmp_path: Path) -> None:
    again = "from IPython.display import display\ndisplay(paint)\npaint.clear().paint_rectangle('water', 0, 0, 10, 10)"
    second = opened(page, lab, tmp_path, f"{MAP}\npaint", again)
    assert second.count(WATER) == 100, "a view that is new shows what has been painted"
    second.press("park", "Rectangle")
    second.drag((20, 20), (30, 30))
    assert second.count(PARK) == 121
    first = PaintPage(page, 0)
    assert (first.count(WATER), first.count(PARK)) == (100, 121)
    first.press("Undo")
    assert first.count(PARK) == 0
    assert PaintPage(page, 1).count(PARK) == 0
    agree(PaintPage(page, 0), page)


def test_it_draws_where_everything_sent_outside_a_reply_is_lost(page: Page, lab: LabServer, tmp_path: Path) -> None:
    painting = opened(page, lab, tmp_path, f"{MAP}{LOSES_PUSHES}lose_pushes(paint)\npaint")
    painting.press("Empty page", "water", "Brush")
    for y in (10, 20, 30):
        painting.drag((5, y), (58, y))
    assert np.array_equal(painting.picture(1), 255 - painting.picture())
    painting.press("Undo")
    assert 2 * 53 * 4 <= painting.count(WATER) <= 2 * 58 * 4
    agree(painting, page)


def test_after_a_restart_the_old_view_says_so_and_the_cell_makes_a_new_one(
    page: Page, lab: LabServer, tmp_path: Path
) -> None:
    painting = opened(page, lab, tmp_path, f"{MAP}\npaint")
    painting.press("water", "Rectangle")
    page.evaluate(f"() => {KERNEL}.restart()")
    painting.drag((20, 20), (30, 30))
    expect(painting.status).to_have_text(TEXTS["waiting"])
    page.errors.clear()
    run_all(page)
    painting = PaintPage(page)
    painting.press("water", "Rectangle")
    painting.drag((20, 20), (30, 30))
    assert painting.picture()[20, 20].tolist() == list(CLASSES[WATER])
    agree(painting, page)


# Without a kernel -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "motion"), [("laptop", "no-preference"), ("phone", "reduce")])
def test_a_saved_session_plays_and_goes_back(browser: Browser, tmp_path: Path, size: str, motion: str) -> None:
    emoji = load_pairs("emoji_flat", split="test", number=1)
    paint, shown = Paint({"negative": lambda A: -A, "half": lambda A: A / 2}, examples=emoji.A), []
    for act in (
        lambda: paint,
        paint.clear,
        *(lambda i=i: paint.paint_rectangle(i, 5 * i, 5 * i, 9, 9) for i in range(12)),
    ):
        act()
        shown.append([paint.drawing, *paint.pictures])
    path = paint.save(tmp_path / "paint.html")
    paint.close()
    viewport = dict(zip(("width", "height"), SIZES[size], strict=True))
    with saved_page(browser, path, reduced_motion=motion, viewport=viewport, color_scheme="dark") as page:
        canvases, slider, play = page.locator("canvas"), page.get_by_role("slider"), page.get_by_role("button")
        expect(canvases).to_have_count(3)
        slider.fill("4")
        assert np.array_equal([pixels(canvas) for canvas in canvases.all()], shown[4])
        expect(slider).to_have_attribute("aria-valuetext", "5 of 14")
        words = "The drawing: white 96%, red 2%, light orange 2%"
        expect(canvases.first).to_have_attribute("aria-label", words)
        slider.fill("10")  # with reduced motion the rest takes long
        play.click()
        expect(play).to_have_text("Pause")
        expect(slider).to_have_attribute("aria-valuetext", "14 of 14")
        expect(play).to_have_text("Play")
        assert np.array_equal([pixels(canvas) for canvas in canvases.all()], shown[-1])
        assert Axe().run(page).response["violations"] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        screenshot(page, f"paint_saved_{size}")
