"""Paint: draw a label map with the mouse, and see the picture that a generator makes of it while you draw.

The browser draws and the kernel keeps the history. Each sends the other numbered messages, in one order:

- To the kernel: `{"view", "number", "commands"}`. A command is `{"do": "draw", "stroke"}` with its map as a buffer,
  `{"do": "example", "index"}`, or `{"do": ...}` with "undo", "redo", "clear" or "look". A view sends the next message
  when the last one is answered, and all that was done meanwhile goes with it.
- To the browser: `{"view", "number", "alt", "milliseconds", "message"}` with two buffers, the map and its picture as a
  PNG. It goes to every view. `view` and `number` say whose message it answers.
"""

import io
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ipywidgets as W
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gantutor.data import Label
from gantutor.data.images import to_float
from gantutor.data.pairs import draw_labels
from gantutor.lab.page import close_widgets, mimebundle
from gantutor.lab.paint_canvas import PaintCanvas

MAX_EXAMPLES = 12  # as many as the strip below the pictures shows
MAX_UNDO = 200  # drawings of 4 kB each, at 64 pixels
ENLARGED = 384  # pixels a side of each half of the picture without a front end

Labels = np.ndarray[Any, np.dtype[np.uint8]]


class Paint:
    """Draw a label map, and see what a generator makes of it.

    >>> Paint(model.translate, data.classes, data.held_out.labels, side=64)

    `translate` takes A (1, 3, side, side), the coloured label map in [-1, 1], to B of the same form; any trained or
    loaded generator will do. `classes` are the names and colours it was trained with; the first one is the background.
    `examples` uint8 (N, side, side) are label maps to start from. The methods do in a cell what the mouse does live.
    The generator is asked from the kernel's main thread: a panel that plays must not train it meanwhile; copy it.
    Raises: ValueError for examples or an answer of `translate` that do not fit.
    """

    def __init__(
        self,
        translate: Callable[[Tensor], Tensor],
        classes: Sequence[Label],
        examples: Tensor | None = None,
        side: int = 64,
    ) -> None:
        self.translate, self.classes = translate, tuple(Label(*label) for label in classes)
        self.examples = check_examples(examples, len(self.classes), side)[:MAX_EXAMPLES]
        self._labels: Labels = self.examples[0].copy() if len(self.examples) else np.zeros((side, side), np.uint8)
        self._before = self._labels  # the map before the stroke that is being drawn
        self._stroke: tuple[str, int] | None = None  # its view and its number there
        self._undo: deque[Labels] = deque(maxlen=MAX_UNDO)
        self._redo: deque[Labels] = deque(maxlen=MAX_UNDO)
        self.milliseconds = 0.0
        self.output = self._translated()  # raises what is wrong with `translate` before anything is shown
        self.canvas = PaintCanvas(
            shape=[side, side],
            classes=[[label.name, "#{:02x}{:02x}{:02x}".format(*label.colour)] for label in self.classes],
            examples=self.examples.tobytes(),
            map=self._labels.tobytes(),
            picture=encode_png(self.output),
            alt=self._alt(),
        )
        self.widget = W.VBox([self.canvas])
        self.widget.add_class("gt-panel")
        self.widget.add_class("gt-painting")
        self.canvas.on_msg(self._on_message)

    # What a cell calls, and the mouse too ----------------------------------------------------------------------------

    @property
    def labels(self) -> Labels:
        """The class of each pixel, uint8 (side, side); a copy."""
        return self._labels.copy()

    def paint_rectangle(self, label: str | int, x: int, y: int, w: int, h: int) -> "Paint":
        """Paint `w` by `h` pixels of a class, by name or number, from column `x` and row `y` on; cut off at the edge.

        Raises: ValueError for an unknown class, or a rectangle without a pixel on the map.
        """
        side, number = len(self._labels), self._number(label)
        if min(w, h) < 1 or not (-w < x < side and -h < y < side):
            raise ValueError(f"a rectangle {w} x {h} at ({x}, {y}) has no pixel on a map of {side} x {side}")
        labels = self.labels
        labels[max(y, 0) : y + h, max(x, 0) : x + w] = number
        self._draw(labels)
        return self._update()

    def example(self, i: int) -> "Paint":
        """Start from the i-th example. Raises: ValueError where there is none."""
        self._draw_example(i)
        return self._update()

    def clear(self) -> "Paint":
        """All background."""
        self._draw(np.zeros_like(self._labels))
        return self._update()

    def undo(self) -> "Paint":
        """Take back the last stroke; nothing happens where there is none."""
        self._step(self._undo, self._redo)
        return self._update()

    def redo(self) -> "Paint":
        self._step(self._redo, self._undo)
        return self._update()

    def snapshot(self) -> Image.Image:
        """The map and the picture beside each other."""
        page = Image.new("RGB", (2 * ENLARGED + 8, ENLARGED), "white")
        drawing = to_image(draw_labels(torch.from_numpy(self._labels), self.classes))
        nearest, smooth = Image.Resampling.NEAREST, Image.Resampling.BICUBIC
        for left, picture, how in ((0, drawing, nearest), (ENLARGED + 8, self.output, smooth)):
            page.paste(picture.resize((ENLARGED, ENLARGED), how), (left, 0))
        return page

    def close(self) -> None:
        """Take it off the page."""
        close_widgets([self.widget])

    # Inside ----------------------------------------------------------------------------------------------------------

    def _number(self, label: str | int) -> int:
        names = [known.name for known in self.classes]
        if label in names:
            return names.index(str(label))
        if isinstance(label, int) and 0 <= label < len(names):
            return label
        raise ValueError(f"class {label!r} is unknown; choose one of {', '.join(names)} or 0 to {len(names) - 1}")

    def _draw(self, labels: Labels, stroke: tuple[str, int] | None = None) -> None:
        """A new drawing. All drawings of one stroke are undone at once."""
        if stroke is None or stroke != self._stroke:
            self._end_stroke()
        self._labels, self._stroke = labels, stroke

    def _draw_example(self, i: int) -> None:
        if not 0 <= i < len(self.examples):
            raise ValueError(f"example {i} is not there; there are {len(self.examples)}, from 0 on")
        self._draw(self.examples[i].copy())

    def _end_stroke(self) -> None:
        """The drawing becomes a step of the history, unless nothing has changed."""
        if not np.array_equal(self._labels, self._before):
            self._undo.append(self._before)
            self._redo.clear()
        self._before, self._stroke = self._labels, None

    def _step(self, source: deque[Labels], target: deque[Labels]) -> None:
        self._end_stroke()
        if source:
            target.append(self._labels)
            self._labels = self._before = source.pop()

    def _update(self) -> "Paint":
        self.output = self._translated()
        self._answer()
        return self

    def _translated(self) -> Image.Image:
        """The generator's picture of the map. Raises: ValueError for an answer of another form."""
        start = time.perf_counter()
        A = to_float(draw_labels(torch.from_numpy(self._labels), self.classes))[None]
        with torch.no_grad():
            B = self.translate(A)
        self.milliseconds = 1000 * (time.perf_counter() - start)
        if not isinstance(B, Tensor) or B.shape != A.shape or not B.isfinite().all() or B.abs().max() > 1.001:
            shape = tuple(B.shape) if isinstance(B, Tensor) else type(B).__name__
            raise ValueError(f"translate must give finite pictures {tuple(A.shape)} in [-1, 1]; got {shape}")
        return to_image((B[0].float().cpu() + 1) * 127.5)

    def _alt(self) -> str:
        """The picture in words: the parts of its map, the largest first, without those too small to see."""
        counts = np.bincount(self._labels.ravel(), minlength=len(self.classes)) / self._labels.size
        order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] >= 0.005]
        shares = ", ".join(f"{self.classes[i].name} {counts[i]:.0%}" for i in order)
        return f"The generator's picture of a label map with {shares}"

    # From the browser and back ---------------------------------------------------------------------------------------

    def _answer(self, view: str = "", number: int = 0, message: str = "") -> None:
        """Tell every view the map and its picture, and one view that its message is answered."""
        content = {"view": view, "number": number, "message": message}
        content |= {"alt": self._alt(), "milliseconds": self.milliseconds}
        self.canvas.send(content, [self._labels.tobytes(), encode_png(self.output)])

    def _on_message(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        """Follow one view's commands in their order, and answer with the picture of what they lead to.

        An error has no cell to appear below: it stands in the status line.
        """
        maps, message = iter(buffers), ""
        try:
            for command in content["commands"]:
                self._follow(command, maps, content["view"])
            if any(command["do"] != "look" for command in content["commands"]):
                self.output = self._translated()
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
        self._answer(content["view"], content["number"], message)

    def _follow(self, command: dict[str, Any], maps: Iterator[memoryview], view: str) -> None:
        match command["do"]:
            case "draw":
                self._draw(self._received(next(maps)), (view, command["stroke"]))
            case "undo":
                self._step(self._undo, self._redo)
            case "redo":
                self._step(self._redo, self._undo)
            case "clear":
                self._draw(np.zeros_like(self._labels))
            case "example":
                self._draw_example(command["index"])

    def _received(self, buffer: memoryview) -> Labels:
        """A map from the browser. Raises: ValueError for one that does not fit."""
        drawn = np.frombuffer(buffer, np.uint8)
        if drawn.size != self._labels.size or drawn.max() >= len(self.classes):
            raise ValueError(f"the browser sent a map of {drawn.size} pixels that does not fit")
        return drawn.reshape(self._labels.shape).copy()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return mimebundle(self.widget, self.snapshot(), "gantutor paint")


def encode_png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


def to_image(pixels: Tensor) -> Image.Image:
    """(3, H, W), 0 ... 255, to a picture."""
    return Image.fromarray(pixels.round().byte().permute(1, 2, 0).contiguous().numpy())


def check_examples(examples: Tensor | None, classes: int, side: int) -> Labels:
    """The examples as an array. Raises: ValueError for another shape, type or number of classes."""
    if examples is None:
        return np.zeros((0, side, side), np.uint8)
    found = np.asarray(examples.cpu() if isinstance(examples, Tensor) else examples)
    if found.dtype != np.uint8 or found.shape[1:] != (side, side):
        raise ValueError(f"expected examples uint8 (N, {side}, {side}), got {found.dtype} {found.shape}")
    if found.size and found.max() >= classes:
        raise ValueError(f"an example has class {found.max()}, but there are {classes} classes")
    return found
