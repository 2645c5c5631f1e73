"""The painting canvas without a browser: what a cell calls, and what the browser's messages do."""

import base64
import io
import statistics
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gantutor.data import Label, load_pairs
from gantutor.data.pairs import draw_labels
from gantutor.lab import Paint
from gantutor.models import unet

CLASSES = (Label("background", (0, 0, 170)), Label("wall", (0, 0, 255)), Label("window", (0, 85, 255)))
SIDE = 16


def negative(A: Tensor) -> Tensor:
    """A generator whose answer is known."""
    return -A


def examples(count: int = 2, side: int = SIDE) -> Tensor:
    maps = torch.zeros(count, side, side, dtype=torch.uint8)
    for i in range(count):
        maps[i, i + 1 :, 2:-2] = 1
    return maps


def painting(count: int = 2) -> Paint:
    return Paint(negative, CLASSES, examples(count), SIDE)


class View:
    """What a view in a browser sends, and what all views hear."""

    def __init__(self, paint: Paint, name: str = "a") -> None:
        self.paint, self.name, self.number = paint, name, 0
        self.answers: list[dict] = []
        send = paint.canvas.send
        paint.canvas.send = lambda content, buffers: (self._hear(content, buffers), send(content, buffers))

    def _hear(self, content: dict, buffers: list[bytes]) -> None:
        labels, picture = buffers
        self.answers.append({**content, "map": labels, "picture": np.asarray(Image.open(io.BytesIO(picture)))})

    def send(self, *commands: dict) -> None:
        """One message; a drawing is given as its command with the map in it."""
        self.number += 1
        maps = [memoryview(command["map"].tobytes()) for command in commands if "map" in command]
        named = [{key: value for key, value in command.items() if key != "map"} for command in commands]
        self.paint.canvas._handle_custom_msg({"view": self.name, "number": self.number, "commands": named}, maps)

    def last(self) -> dict:
        """The last answer, which must be the one to this view's last message."""
        assert (self.answers[-1]["view"], self.answers[-1]["number"]) == (self.name, self.number)
        return self.answers[-1]


def draw(labels: np.ndarray, stroke: int) -> dict:
    return {"do": "draw", "stroke": stroke, "map": labels}


def with_row(labels: np.ndarray, row: int, label: int = 2) -> np.ndarray:
    changed = labels.copy()
    changed[row] = label
    return changed


UNDO, REDO, CLEAR, LOOK = ({"do": name} for name in ("undo", "redo", "clear", "look"))


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).transpose(2, 0, 1)


def drawing(labels: np.ndarray) -> np.ndarray:
    return draw_labels(torch.from_numpy(labels), CLASSES).numpy()


# What a cell calls ----------------------------------------------------------------------------------------------------


def test_it_starts_from_the_first_example_or_from_background() -> None:
    assert np.array_equal(painting().labels, examples()[0].numpy())
    assert not Paint(negative, CLASSES, side=SIDE).labels.any()


def test_the_picture_is_the_generators_answer_to_the_coloured_map() -> None:
    paint = painting()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(paint.canvas.picture))), np.asarray(paint.output))
    assert paint.canvas.map == paint.labels.tobytes()
    view = View(paint)
    paint.paint_rectangle("window", 4, 5, 6, 3)
    assert np.array_equal(pixels(paint.output), 255 - drawing(paint.labels))
    assert np.array_equal(view.answers[-1]["picture"], np.asarray(paint.output))
    assert view.answers[-1]["map"] == paint.labels.tobytes()


def test_the_generator_gets_one_map_in_the_range_of_the_data() -> None:
    seen = []

    def generator(A: Tensor) -> Tensor:
        seen.append((A.shape, A.dtype, A.min().item(), A.max().item(), torch.is_grad_enabled()))
        return A

    Paint(generator, CLASSES, examples(), SIDE)
    assert seen == [((1, 3, SIDE, SIDE), torch.float32, -1.0, 1.0, False)]


def test_a_rectangle_is_painted_by_name_or_number_and_cut_off_at_the_edge() -> None:
    paint = Paint(negative, CLASSES, side=SIDE).paint_rectangle("window", 2, 3, 4, 5)
    wanted = np.zeros((SIDE, SIDE), np.uint8)
    wanted[3:8, 2:6] = 2
    assert np.array_equal(paint.labels, wanted)
    wanted[:4, :3] = 1
    assert np.array_equal(paint.paint_rectangle(1, -2, -1, 5, 5).labels, wanted)
    wanted[14:, 15:] = 2
    assert np.array_equal(paint.paint_rectangle("window", 15, 14, 100, 100).labels, wanted)


def test_the_palette_of_the_emoji_is_a_set_of_classes_as_any_other() -> None:
    emoji = load_pairs("emoji_palette", split="test", number=2)
    paint = Paint(negative, emoji.classes, emoji.labels, side=64)
    assert np.array_equal(pixels(paint.output), 255 - emoji.A[0].numpy())
    assert len(paint.canvas.classes) == 32
    assert paint.canvas.classes[2] == ["red", "#fa322d"]
    paint.clear().paint_rectangle("raspberry", 0, 0, 32, 64)
    view = View(paint)
    paint.paint_rectangle("light pink", 3, 3, 2, 2)
    assert view.answers[-1]["alt"].endswith("a label map with white 50%, raspberry 50%"), "four pixels are not named"


def test_labels_are_a_copy() -> None:
    paint = painting()
    paint.labels[:] = 2
    assert np.array_equal(paint.labels, examples()[0].numpy())


def test_undo_and_redo_go_through_the_drawings() -> None:
    paint = painting()
    drawings = [paint.labels]
    for act in (lambda: paint.paint_rectangle("window", 1, 1, 2, 2), lambda: paint.example(1), paint.clear):
        act()
        drawings.append(paint.labels)
    for wanted in (*drawings[2::-1], drawings[0]):
        assert np.array_equal(paint.undo().labels, wanted)
        assert np.array_equal(pixels(paint.output), 255 - drawing(wanted))
    for wanted in (*drawings[1:], drawings[-1]):
        assert np.array_equal(paint.redo().labels, wanted)
    paint.undo().paint_rectangle("wall", 0, 0, 3, 3)
    assert np.array_equal(paint.redo().labels, paint.labels)
    assert paint.labels[0, 0] == 1, "a new stroke ends what could be redone"


def test_what_changes_nothing_is_not_to_be_undone() -> None:
    paint = painting()
    first = paint.labels
    paint.paint_rectangle("window", 0, 0, 2, 2)
    paint.paint_rectangle("window", 0, 0, 2, 2)
    paint.undo()
    assert np.array_equal(paint.labels, first)


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        (lambda paint: paint.paint_rectangle("widnow", 0, 0, 1, 1), "'widnow' is unknown; choose one of background"),
        (lambda paint: paint.paint_rectangle(3, 0, 0, 1, 1), "3 is unknown.* 0 to 2"),
        (lambda paint: paint.paint_rectangle("wall", 0, 0, 0, 4), "0 x 4 .* no pixel on a map of 16 x 16"),
        (lambda paint: paint.paint_rectangle("wall", 16, 0, 4, 4), r"at \(16, 0\) has no pixel"),
        (lambda paint: paint.paint_rectangle("wall", 0, -4, 4, 4), r"at \(0, -4\) has no pixel"),
        (lambda paint: paint.example(2), "example 2 is not there; there are 2"),
        (lambda paint: paint.example(-1), "example -1 is not there"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_the_map(act, fault: str) -> None:
    paint = painting()
    with pytest.raises(ValueError, match=fault):
        act(paint)
    assert np.array_equal(paint.labels, examples()[0].numpy())


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"examples": examples().float()}, r"expected examples uint8 \(N, 16, 16\), got float32"),
        ({"examples": examples(side=8)}, r"expected examples uint8 \(N, 16, 16\), got uint8 \(2, 8, 8\)"),
        ({"examples": examples() + 3}, "has class 4, but there are 3 classes"),
        ({"translate": lambda A: A[:, :, ::2]}, r"must give finite pictures \(1, 3, 16, 16\) in \[-1, 1\]; got"),
        ({"translate": lambda A: 255 * A}, "must give finite pictures"),
        ({"translate": lambda A: A * float("nan")}, "must give finite pictures"),
        ({"translate": lambda A: A.numpy()}, "got ndarray"),
        ({"translate": unet(64, width=2)}, "multiples of 64, got"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(options: dict, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Paint(**{"translate": negative, "classes": CLASSES, "examples": examples(), "side": SIDE, **options})


# What the browser sends -----------------------------------------------------------------------------------------------


def test_a_drawing_from_the_browser_is_answered_with_its_picture() -> None:
    paint = painting()
    view, drawn = View(paint), with_row(paint.labels, 4)
    view.send(draw(drawn, stroke=1))
    assert np.array_equal(paint.labels, drawn)
    assert view.last()["map"] == drawn.tobytes()
    assert np.array_equal(view.last()["picture"].transpose(2, 0, 1), 255 - drawing(drawn))


def test_the_commands_of_a_message_are_followed_in_their_order_and_answered_once() -> None:
    asked = []
    paint = Paint(lambda A: (asked.append(A), -A)[1], CLASSES, examples(), SIDE)
    view, first = View(paint), paint.labels
    one, two, three = (with_row(first, row) for row in (4, 5, 6))
    view.send(draw(one, 1), draw(two, 2), UNDO, UNDO, REDO, draw(three, 3), UNDO)
    assert view.last()["map"] == one.tobytes()
    assert (len(view.answers), len(asked)) == (1, 2), "one picture at the start, one for the message"
    view.send(UNDO)
    assert view.last()["map"] == first.tobytes()
    view.send(UNDO, REDO, REDO, REDO)
    assert view.last()["map"] == three.tobytes(), "the third stroke has ended what could be redone of the second"


def test_all_that_one_stroke_has_sent_is_undone_at_once_however_it_was_cut() -> None:
    first = painting().labels
    parts = [draw(with_row(first, 4, label), stroke) for label, stroke in ((1, 1), (2, 1), (0, 2), (1, 2))]
    for messages in ([parts], [[part] for part in parts], [parts[:1], parts[1:3], parts[3:]], [parts[1:2], parts[3:]]):
        view = View(painting())
        for message in messages:
            view.send(*message)
        for command, wanted in ((UNDO, with_row(first, 4, 2)), (UNDO, first), (REDO, with_row(first, 4, 2))):
            view.send(command)
            assert view.last()["map"] == wanted.tobytes()


def test_a_stroke_that_is_taken_back_is_not_to_be_undone_however_it_was_cut() -> None:
    for seen in (True, False):
        paint = painting()
        view, first = View(paint), paint.labels
        view.send(draw(with_row(first, 4), 1), UNDO)
        if seen:
            view.send(draw(with_row(first, 6), 2))
        view.send(draw(first, 2))
        view.send(REDO)
        assert view.last()["map"] == with_row(first, 4).tobytes()


def test_a_stroke_that_an_undo_cuts_is_two_strokes() -> None:
    paint = painting()
    view, first = View(paint), paint.labels
    view.send(draw(with_row(first, 4), 1))
    paint.undo()
    view.send(draw(with_row(first, 5), 1), UNDO)
    assert view.last()["map"] == first.tobytes()


def test_two_views_hear_all_and_each_knows_its_own_answer() -> None:
    paint = painting()
    a, first = View(paint, "a"), paint.labels
    b = View(paint, "b")
    one, two = with_row(first, 4), with_row(with_row(first, 4), 5)
    a.send(draw(one, 1))
    a.last()
    b.send(draw(two, 1))  # the same number, but not the same stroke
    b.last()
    assert a.answers[-1]["map"] == b.answers[-1]["map"] == two.tobytes()
    a.send(UNDO)
    assert b.answers[-1]["map"] == a.last()["map"] == one.tobytes()
    paint.undo()
    assert [(heard["view"], heard["map"]) for heard in (a.answers[-1], b.answers[-1])] == [("", first.tobytes())] * 2


def test_a_new_view_sees_what_has_been_painted_without_a_new_picture() -> None:
    asked = []
    paint = Paint(lambda A: (asked.append(A), -A)[1], CLASSES, examples(), SIDE).clear()
    view = View(paint)
    view.send(LOOK)
    assert view.last()["map"] == bytes(SIDE * SIDE)
    assert np.array_equal(view.last()["picture"], np.asarray(paint.output))
    assert len(asked) == 2


def test_the_buttons() -> None:
    paint = painting()
    view = View(paint)
    view.send({"do": "example", "index": 1})
    assert np.array_equal(paint.labels, examples()[1].numpy())
    view.send(CLEAR)
    assert not paint.labels.any()
    view.send({"do": "example", "index": 7})
    assert "example 7 is not there" in view.last()["message"]
    assert not paint.labels.any()


@pytest.mark.parametrize("bad", [np.zeros(5, np.uint8), np.full((SIDE, SIDE), 3, np.uint8)])
def test_a_map_that_does_not_fit_is_refused_in_the_status_line(bad: np.ndarray) -> None:
    paint = painting()
    view = View(paint)
    view.send(draw(bad, 1))
    assert "does not fit" in view.last()["message"]
    assert np.array_equal(paint.labels, examples()[0].numpy())


def test_an_error_of_the_generator_stands_in_the_status_line_and_does_not_stop_the_drawing() -> None:
    broken = False

    def generator(A: Tensor) -> Tensor:
        if broken:
            raise RuntimeError("out of <memory>")
        return -A

    paint = Paint(generator, CLASSES, examples(), SIDE)
    view, before, drawn = View(paint), np.asarray(paint.output), with_row(paint.labels, 0)
    broken = True
    view.send(draw(drawn, 1))
    assert view.last()["message"] == "RuntimeError: out of <memory>"
    assert np.array_equal(view.last()["picture"], before)
    assert view.last()["map"] == drawn.tobytes()
    broken = False
    view.send(draw(drawn, 2))
    assert view.last()["message"] == ""
    assert np.array_equal(pixels(paint.output), 255 - drawing(drawn))


# What is shown --------------------------------------------------------------------------------------------------------


def test_the_map_in_words() -> None:
    paint = Paint(negative, CLASSES, side=SIDE)
    assert paint.canvas.alt.endswith("a label map with background 100%")
    view = View(paint)
    paint.paint_rectangle("window", 0, 0, 16, 4).paint_rectangle("wall", 0, 0, 8, 2)
    assert view.answers[-1]["alt"].endswith("a label map with background 75%, window 19%, wall 6%")


def test_mimebundle_is_live_and_a_picture_and_always_the_same_text() -> None:
    paint = painting()
    bundles = [paint._repr_mimebundle_(), paint.clear()._repr_mimebundle_()]
    pictures = [Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) for bundle in bundles]
    for bundle in bundles:
        assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == paint.widget.model_id
        assert bundle["text/plain"] == "gantutor paint"
    assert pictures[0].tobytes() != pictures[1].tobytes()
    left, right = (np.asarray(pictures[1])[:, start : start + 384] for start in (0, 392))
    assert (left == CLASSES[0].colour).all()
    assert (right == [255 - value for value in CLASSES[0].colour]).all()


def test_it_goes_with_its_widget() -> None:
    import ipywidgets

    painting().close()
    before = len(ipywidgets.widgets.widget._instances)
    painting().close()
    assert len(ipywidgets.widgets.widget._instances) == before


def test_what_the_browser_runs_is_in_the_package() -> None:
    folder = Path(__file__).parents[2] / "gantutor" / "lab"
    paint = painting()
    drawing, page, style = (
        (folder / name).read_text(encoding="utf-8") for name in ("paint_drawing.js", "paint.js", "paint.css")
    )
    assert paint.canvas._esm == drawing + page
    assert paint.canvas._css == style


def test_64_pixels_are_answered_within_a_tenth_of_a_second() -> None:
    """The kernel's share of 300 ms, with the generator of notebook 04."""
    generator = unet(64, width=24, multipliers=(1, 2, 4, 4, 4, 4), upsampling="nearest").eval()
    paint = Paint(generator, CLASSES, side=64)
    times = []
    for i in range(20):
        start = time.process_time()
        paint.paint_rectangle("window", i, i, 9, 12)
        times.append(time.process_time() - start)
    assert statistics.median(times) < 0.1
