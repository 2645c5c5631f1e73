"""Paint without a browser: what a cell calls, and what the browser's messages do."""

import base64
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from panel_helpers import Page, until
from PIL import Image
from torch import Tensor

from gantutor.data import Label, load_pairs
from gantutor.data.images import draw_labels
from gantutor.lab import Paint
from gantutor.lab.paint import MAX_SESSION, PaintFront
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


@pytest.fixture
def paint() -> Iterator[Paint]:
    made = Paint({"negative": negative, "half": lambda A: A / 2}, CLASSES, examples(), SIDE)
    yield made
    made.close()


class View(Page):
    """A view in a browser, which sends what front/paint.js sends."""

    def __init__(
        self, paint: Paint, me: str = "page", drop: Callable[[dict[str, Any]], bool] = lambda message: False
    ) -> None:
        paint.wait = paint.runner.wait
        super().__init__(paint, me, drop)

    def draw(self, rows: object, stroke: int, label: int = 2, wait: bool = True, **changes: Any) -> None:
        """A stroke that covers these rows, or more of one that was sent before."""
        covered = np.zeros((SIDE, SIDE), np.uint8)
        covered[rows] = 1
        content = {"stroke": stroke, "colour": list(CLASSES[label].colour), "buffers": [memoryview(covered.tobytes())]}
        self.act("draw", wait=wait, **{**content, **changes})

    def pictures(self) -> list[np.ndarray]:
        return [arrays["pixels"] for arrays in self.frame["views"][0].values()]

    def done(self) -> bool:
        return self.state["done"].get(self.me, 0) == self.number


def drawing(labels: np.ndarray) -> np.ndarray:
    """A label map in its colours, (H, W, 3)."""
    return draw_labels(torch.from_numpy(labels), CLASSES).permute(1, 2, 0).numpy()


def with_rows(labels: np.ndarray, rows: object, label: int = 2) -> np.ndarray:
    changed = labels.copy()
    changed[rows] = label
    return changed


# What a cell calls ----------------------------------------------------------------------------------------------------


def test_it_starts_from_the_first_example_or_from_an_empty_page(paint: Paint) -> None:
    paint.labels[:] = paint.drawing[:] = 2  # copies
    assert np.array_equal(paint.labels, examples()[0].numpy())
    assert (Paint(negative, side=SIDE).drawing == 255).all()


def test_each_picture_is_its_generators_answer_to_the_drawing(paint: Paint) -> None:
    paint.paint_rectangle("window", 4, 5, 6, 3)
    assert np.array_equal(paint.drawing, drawing(paint.labels))
    assert np.array_equal(np.asarray(paint.output), 255 - paint.drawing)
    half = np.rint((paint.drawing / 127.5 - 1) / 2 * 127.5 + 127.5)
    assert np.abs(paint.pictures[1] - half).max() <= 1
    for shown, wanted in zip(View(paint).pictures(), [paint.drawing, *paint.pictures], strict=True):
        assert np.array_equal(shown, wanted)


def test_a_generator_gets_one_drawing_in_the_range_of_the_data() -> None:
    seen = []

    def generator(A: Tensor) -> Tensor:
        seen.append((A.shape, A.dtype, A.min().item(), A.max().item(), torch.is_grad_enabled()))
        return A

    Paint(generator, CLASSES, examples(), SIDE).close()
    assert seen == [((1, 3, SIDE, SIDE), torch.float32, -1.0, 1.0, False)]


def test_a_rectangle_is_painted_by_name_or_number_and_cut_off_at_the_edge(paint: Paint) -> None:
    wanted = np.zeros((SIDE, SIDE), np.uint8)
    wanted[3:8, 2:6] = 2
    assert np.array_equal(paint.clear().paint_rectangle("window", 2, 3, 4, 5).labels, wanted)
    wanted[:4, :3] = 1
    assert np.array_equal(paint.paint_rectangle(1, -2, -1, 5, 5).labels, wanted)
    wanted[14:, 15:] = 2
    assert np.array_equal(paint.paint_rectangle("window", 15, 14, 100, 100).labels, wanted)


@pytest.mark.parametrize("name", ["emoji_palette", "emoji_flat"])
def test_an_emoji_is_a_map_of_the_palettes_colours_or_in_colours_of_its_own(name: str) -> None:
    emoji = load_pairs(name, split="test", number=2)
    paint = Paint(negative, emoji.classes or None, emoji.labels if emoji.classes else emoji.A)
    assert np.array_equal(np.asarray(paint.output).transpose(2, 0, 1), 255 - emoji.A[0].numpy())
    scene = View(paint).scene
    assert (len(scene["palette"]), scene["any_colour"]) == (32, name == "emoji_flat")
    assert scene["palette"][2] == ["red", (250, 50, 45)]
    paint.clear().paint_rectangle("raspberry", 0, 0, 32, 64).paint_rectangle("light pink", 3, 3, 2, 2)
    assert paint.alt == "white 50%, raspberry 50%", "four pixels are not named"
    paint.close()


def test_undo_and_redo_go_through_the_drawings(paint: Paint) -> None:
    drawings = [paint.labels]
    for act in (lambda: paint.paint_rectangle("window", 1, 1, 2, 2), lambda: paint.example(1), paint.clear):
        act()
        drawings.append(paint.labels)
    for wanted in (*drawings[2::-1], drawings[0]):
        assert np.array_equal(paint.undo().labels, wanted)
        assert np.array_equal(np.asarray(paint.output), 255 - drawing(wanted))
    for wanted in (*drawings[1:], drawings[-1]):
        assert np.array_equal(paint.redo().labels, wanted)
    paint.undo().paint_rectangle("wall", 0, 0, 3, 3)
    assert paint.redo().labels[0, 0] == 1, "a new stroke ends what could be redone"
    paint.paint_rectangle("wall", 0, 0, 3, 3).undo()  # the second one changed nothing, and is no step
    assert np.array_equal(paint.labels, drawings[2])


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        (lambda paint: paint.paint_rectangle("widnow", 0, 0, 1, 1), "'widnow' is unknown; choose one of background"),
        (lambda paint: paint.paint_rectangle(3, 0, 0, 1, 1), "3 is unknown.* 0 to 2"),
        (lambda paint: paint.paint_rectangle("wall", 0, 0, 0, 4), "0 x 4 .* no pixel on a drawing of 16 x 16"),
        (lambda paint: paint.paint_rectangle("wall", 16, 0, 4, 4), r"at \(16, 0\) has no pixel"),
        (lambda paint: paint.example(2), "example 2 is not there; there are 2"),
        (lambda paint: paint.example(-1), "example -1 is not there"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(paint: Paint, act: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        act(paint)
    assert np.array_equal(paint.labels, examples()[0].numpy())


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"examples": examples().float()}, r"expected examples uint8 \(N, 16, 16\), got torch.float32"),
        ({"examples": examples(side=8)}, r"expected examples uint8 \(N, 16, 16\), got torch.uint8 \(2, 8, 8\)"),
        ({"examples": examples() + 3}, "has class 4, but there are 3 classes"),
        ({"classes": None}, r"expected examples uint8 \(N, 3, 16, 16\)"),
        ({"translate": lambda A: A[:, :, ::2]}, r"expected finite pictures \(1, 3, 16, 16\) in \[-1, 1\], got \(1"),
        ({"translate": {"good": negative, "bad": lambda A: 255 * A}}, "bad: expected finite pictures"),
        ({"translate": lambda A: A * float("nan")}, "expected finite pictures"),
        ({"translate": lambda A: A.numpy()}, "got ndarray"),
        ({"translate": unet(64, width=2)}, "multiples of 64, got"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Paint(**{"translate": negative, "classes": CLASSES, "examples": examples(), "side": SIDE, **options})


# What the browser sends -----------------------------------------------------------------------------------------------


def test_all_that_comes_of_one_stroke_is_undone_at_once(paint: Paint) -> None:
    view, first = View(paint), paint.labels
    view.draw(slice(4, 5), stroke=1)
    view.draw(slice(2, 6), stroke=1)
    view.draw(slice(2, 3), stroke=1)  # a corner that comes back: what the stroke no longer covers is as it was
    assert np.array_equal(view.pictures()[0], drawing(with_rows(first, slice(2, 3))))
    view.draw(slice(8, 9), stroke=2, label=0)
    view.act("undo")
    assert np.array_equal(paint.labels, with_rows(first, slice(2, 3)))
    view.act("undo")
    view.act("redo")
    view.draw(slice(0, 0), stroke=3)  # taken back before it was ended: no step, and the redo stays
    view.act("redo")
    assert np.array_equal(paint.labels, with_rows(with_rows(first, slice(2, 3)), slice(8, 9), 0))


def test_a_stroke_that_an_undo_cuts_is_two_strokes(paint: Paint) -> None:
    view, first = View(paint), paint.labels
    view.draw(4, stroke=1)
    paint.undo()
    view.draw(5, stroke=1)
    view.act("undo")
    assert np.array_equal(paint.labels, first)


def test_two_views_agree_and_their_strokes_of_one_number_are_two(paint: Paint) -> None:
    a, b, first = View(paint, "a"), View(paint, "b"), paint.labels
    a.draw(4, stroke=1)
    b.draw(5, stroke=1)
    assert np.array_equal(paint.labels, with_rows(first, slice(4, 6)))
    a.act("undo")
    assert np.array_equal(paint.labels, with_rows(first, 4))
    late = View(paint, "late")
    paint.undo()
    for view in (a, b, late):
        assert view.done()
        for shown, wanted in zip(view.pictures(), [drawing(first), *paint.pictures], strict=True):
            assert np.array_equal(shown, wanted)


def test_the_generators_are_asked_for_the_newest_drawing_only(paint: Paint) -> None:
    view, gate, asked = View(paint), threading.Event(), []
    paint.generators = {"slow": lambda A: (asked.append(A), gate.wait(30), -A)[2]}
    view.draw(0, stroke=1, wait=False)
    until(lambda: asked)
    for row in range(1, 10):
        view.draw(row, stroke=row + 1, wait=False)
    assert not view.done()
    gate.set()
    paint.runner.wait()
    assert view.done()
    assert len(asked) == 2, "for the first stroke, and for the last"
    assert np.array_equal(view.pictures()[1], 255 - drawing(with_rows(examples()[0].numpy(), slice(0, 10))))


def test_where_pushes_are_lost_asking_brings_the_pictures(paint: Paint) -> None:
    view = View(paint, drop=lambda message: not message.get("to"))
    view.draw(4, stroke=1)
    view.send("beat")
    assert view.pulse[2] > view.frame["number"]
    for _ in range(3):
        if not view.done():
            view.send("ask")
    assert view.done()
    assert np.array_equal(view.pictures()[1], 255 - paint.drawing)


@pytest.mark.parametrize(
    "bad",
    [
        {"buffers": [bytes(5)]},
        {"buffers": []},
        {"colour": [1, 2, 3]},
        {"do": "example", "index": 7},
        {"do": "dance"},
    ],
)
def test_what_does_not_fit_changes_nothing_and_is_answered(paint: Paint, bad: dict[str, Any]) -> None:
    view = View(paint)
    if "do" in bad:
        view.act(**bad)
    else:
        view.draw(3, stroke=1, **bad)
    assert view.done()
    assert bool(view.state["status"]) == (bad.get("do") != "dance")
    assert np.array_equal(paint.labels, examples()[0].numpy())


def test_an_error_of_a_generator_stands_in_the_status_line_and_does_not_stop_the_drawing(paint: Paint) -> None:
    def broken(A: Tensor) -> Tensor:
        raise RuntimeError("out of <memory>")

    view, before, good = View(paint), np.asarray(paint.output), paint.generators
    paint.generators = {"broken": broken}
    view.draw(0, stroke=1, wait=False)
    until(view.done)
    assert view.state["status"] == "RuntimeError: out of <memory>"
    assert np.array_equal(view.pictures()[1], before)
    assert np.array_equal(view.pictures()[0], drawing(paint.labels))
    with pytest.raises(RuntimeError, match="out of"):
        paint.clear()
    paint.generators = good
    view.draw(1, stroke=2)
    assert view.state["status"] == ""
    assert np.array_equal(view.pictures()[1], 255 - paint.drawing)


# What is shown --------------------------------------------------------------------------------------------------------


def test_mimebundle_is_live_and_a_picture_and_always_the_same_text(paint: Paint) -> None:
    bundles = [paint._repr_mimebundle_(), paint.clear()._repr_mimebundle_()]
    pictures = [Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) for bundle in bundles]
    for bundle in bundles:
        assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == paint.widget.model_id
        assert bundle["text/plain"] == "gantutor paint"
    assert pictures[0].tobytes() != pictures[1].tobytes()
    left, right = (np.asarray(pictures[1])[:, start : start + 384] for start in (0, 392))
    assert (left == CLASSES[0].colour).all()
    assert (right == [255 - value for value in CLASSES[0].colour]).all()


def test_a_saved_session_is_the_page_and_all_that_was_seen(paint: Paint, tmp_path: Path) -> None:
    for i in range(MAX_SESSION + 10):
        paint.paint_rectangle(i % 3, i % SIDE, i // SIDE % SIDE, 1, 1)
    shown = [pixels for pixels, _ in paint._session]
    assert MAX_SESSION / 2 < len(shown) <= MAX_SESSION
    assert np.array_equal(shown[0][0], drawing(examples()[0].numpy()))
    assert np.array_equal(shown[-1], [paint.drawing, *paint.pictures])
    page = paint.save(tmp_path / "paint.html").read_text(encoding="utf-8")
    assert PaintFront._css in page


def test_it_goes_with_its_widget() -> None:
    import ipywidgets

    before = len(ipywidgets.widgets.widget._instances), threading.active_count()
    Paint(negative, side=SIDE).clear().close()
    assert (len(ipywidgets.widgets.widget._instances), threading.active_count()) == before
