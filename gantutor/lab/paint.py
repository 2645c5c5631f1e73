"""Paint: draw with the mouse, and see while you draw what generators make of it.

The browser draws (front/paint.js), this keeps the history, and the messages between them are stream.py's. A command is
`{"do": "draw", "stroke", "colour"}` with the pixels that a stroke covers as a buffer, sent again while the stroke
grows; `{"do": "example", "index"}`; or `{"do": ...}` with "undo", "redo" or "clear". They are followed in their order
in a thread of their own, and the generators are then asked for the newest drawing only.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gantutor.data import Label
from gantutor.data.embedded import EMOJI_COLOURS, nearest_colours
from gantutor.data.images import draw_labels, to_float
from gantutor.lab import page
from gantutor.lab.messages import say
from gantutor.lab.page import front_script, front_style, mimebundle
from gantutor.lab.runner import Runner
from gantutor.lab.stream import Frame, Front, Stream
from gantutor.views import View

MAX_EXAMPLES = 12  # as many as the strip below the pictures shows
MAX_UNDO = 200
MAX_SESSION = 400  # pictures that `save` keeps; of a longer session every second one
ENLARGED = 384  # pixels a side of each picture without a front end

Translate = Callable[[Tensor], Tensor]
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class PaintFront(Front):
    """The model of front/paint.js."""

    _esm = front_script("dom.js", "source.js", "strokes.js", "paint.js")
    _css = front_style("panel.css", "paint.css")


class Paint:
    """Draw, and see what one generator or several make of it.

    >>> Paint(model.translate)
    >>> Paint({"L1": f, "L1 + cGAN": g}, data.classes, data.held_out.labels)

    The methods do in a cell what the mouse does live. The generators are asked from a thread of Paint's own: a panel
    that plays must not train them meanwhile; copy them.

    Args:
        translate: Takes A, the drawing (1, 3, side, side) in [-1, 1], to B of the same form. Several have names.
        classes: For label maps, the names and colours that the generators were trained with; the first one is the
            background. Without them any colour may be used, on white.
        examples: Drawings to start from, uint8 (N, 3, side, side); with classes label maps, uint8 (N, side, side).
        side: Pixels a side.

    Raises: ValueError for examples or an answer of `translate` that do not fit.
    """

    def __init__(
        self,
        translate: Translate | Mapping[str, Translate],
        classes: Sequence[Label] | None = None,
        examples: Tensor | None = None,
        side: int = 64,
    ) -> None:
        self.generators = dict(translate) if isinstance(translate, Mapping) else {say("paint_result"): translate}
        self.any_colour = classes is None
        self.classes = tuple(Label(*label) for label in classes or EMOJI_COLOURS)
        self._blank: Pixels = np.full((side, side, 3), self.classes[0].colour, np.uint8)
        self.examples = self._checked(examples)[:MAX_EXAMPLES]
        self._pixels = self._before = self.examples[0] if len(self.examples) else self._blank
        self._stroke: tuple[str, Any] | None = None  # its view and its number there; it began on `_before`
        self._undo: deque[Pixels] = deque(maxlen=MAX_UNDO)
        self._redo: deque[Pixels] = deque(maxlen=MAX_UNDO)
        self._followed: dict[str, int] = {}  # the last command of each view
        self._session: list[tuple[list[Pixels], str]] = []
        self.status = ""
        self.stream = Stream(self._describe_scene, self._describe_state, self._command, PaintFront())
        self.widget = self.stream.widget
        self.runner = Runner(f"paint {id(self)}", lambda: None, self._frame, lambda state: None)
        self.widget.on_close = self.runner.close
        self._translate()  # raises what is wrong with a generator before anything is shown
        self._show()

    # What a cell calls, and the mouse too ----------------------------------------------------------------------------

    @property
    def drawing(self) -> Pixels:
        """The drawing, uint8 (side, side, 3); a copy."""
        return self._pixels.copy()

    @property
    def labels(self) -> Pixels:
        """The class of each pixel, uint8 (side, side); of other colours the nearest one in the palette."""
        if self.any_colour:
            return nearest_colours(torch.from_numpy(self._pixels).permute(2, 0, 1)).numpy()
        colours = np.array([label.colour for label in self.classes])
        return (self._pixels[:, :, None] == colours).all(axis=3).argmax(axis=2).astype(np.uint8)

    @property
    def output(self) -> Image.Image:
        """The (first) generator's picture."""
        return Image.fromarray(self.pictures[0])

    def paint_rectangle(self, label: str | int, x: int, y: int, w: int, h: int) -> "Paint":
        """Paint `w` by `h` pixels of a class, by name or number, from column `x` and row `y` on; cut off at the edge.

        Raises: ValueError for an unknown class, or a rectangle without a pixel on the drawing.
        """
        side, names = len(self._blank), [known.name for known in self.classes]
        if label not in names and not (isinstance(label, int) and 0 <= label < len(names)):
            raise ValueError(f"class {label!r} is unknown; choose one of {', '.join(names)} or 0 to {len(names) - 1}")
        if min(w, h) < 1 or not (-w < x < side and -h < y < side):
            raise ValueError(f"a rectangle {w} x {h} at ({x}, {y}) has no pixel on a drawing of {side} x {side}")
        covered = np.zeros((side, side), bool)
        covered[max(y, 0) : y + h, max(x, 0) : x + w] = True
        colour = self.classes[label if isinstance(label, int) else names.index(label)].colour
        return self._do("draw", stroke=object(), colour=colour, buffers=[covered])

    def example(self, i: int) -> "Paint":
        """Start from the i-th example. Raises: ValueError where there is none."""
        if not 0 <= i < len(self.examples):
            raise ValueError(f"example {i} is not there; there are {len(self.examples)}, from 0 on")
        return self._do("example", index=i)

    def clear(self) -> "Paint":
        """An empty page: all background."""
        return self._do("clear")

    def undo(self) -> "Paint":
        """Take back the last stroke; nothing happens where there is none."""
        return self._do("undo")

    def redo(self) -> "Paint":
        return self._do("redo")

    def snapshot(self) -> Image.Image:
        """The drawing and the pictures beside each other."""
        beside = Image.new("RGB", ((ENLARGED + 8) * (1 + len(self.pictures)) - 8, ENLARGED), "white")
        for i, pixels in enumerate([self._pixels, *self.pictures]):
            how = Image.Resampling.BICUBIC if i else Image.Resampling.NEAREST
            beside.paste(Image.fromarray(pixels).resize((ENLARGED, ENLARGED), how), ((ENLARGED + 8) * i, 0))
        return beside

    def save(self, path: str | Path) -> Path:
        """Write the session, all drawings and their pictures so far, as one web page that replays it."""
        frames = np.array([shown for shown, _ in self._session])
        changes = np.diff(frames, axis=0, prepend=np.zeros_like(frames[:1]))  # modulo 256: mostly zeros
        recorded = {**self._describe_scene(), "alts": [alt for _, alt in self._session]}
        front = PaintFront._esm, PaintFront._css
        return page.write_page(path, say("paint"), *front, {"recorded": recorded}, changes.tobytes())

    def close(self) -> None:
        """Take it off the page."""
        self.widget.close()

    # In the thread ---------------------------------------------------------------------------------------------------

    def _do(self, what: str, **more: Any) -> "Paint":
        """Do it in the order of all that is asked for, and return when its picture is there."""
        self.runner.post(partial(self._follow, "", 0, {"do": what, **more}))
        self.runner.wait()
        return self

    def _command(self, sender: str, number: int, content: dict[str, Any]) -> None:
        self.runner.post(partial(self._follow, sender, number, content))

    def _follow(self, sender: str, number: int, content: dict[str, Any]) -> None:
        self._followed[sender], self.status = number, ""
        try:
            match content["do"]:
                case "draw":
                    self._cover(*self._received(content), (sender, content["stroke"]))
                case "undo":
                    self._step(self._undo, self._redo)
                case "redo":
                    self._step(self._redo, self._undo)
                case "clear":
                    self._replace(self._blank)
                case "example":
                    self._replace(self.examples[content["index"]])
        except (ValueError, KeyError, IndexError) as refusal:
            self.status = f"{type(refusal).__name__}: {refusal}"
        self.runner.want_frame()

    def _received(self, content: dict[str, Any]) -> tuple[Pixels, tuple[int, int, int]]:
        """A stroke's pixels and colour. Raises: ValueError for what does not fit."""
        covered, colour = np.frombuffer(content["buffers"][0], np.uint8), tuple(content["colour"])
        known = self.any_colour or colour in [label.colour for label in self.classes]
        if covered.size != self._blank[:, :, 0].size or not known:
            raise ValueError(f"the browser sent {covered.size} pixels in {colour}, which does not fit")
        return covered.reshape(self._blank.shape[:2]).astype(bool), colour

    def _cover(self, covered: Pixels, colour: tuple[int, int, int], stroke: tuple[str, Any]) -> None:
        """Paint these pixels. All that comes of one stroke is painted on what was there before, and undone at once."""
        if stroke != self._stroke:
            self._end_stroke()
        self._stroke, self._pixels = stroke, self._before.copy()
        self._pixels[covered] = colour

    def _replace(self, pixels: Pixels) -> None:
        self._end_stroke()
        self._pixels = pixels

    def _end_stroke(self) -> None:
        """The drawing becomes a step of the history, unless nothing has changed."""
        if not np.array_equal(self._pixels, self._before):
            self._undo.append(self._before)
            self._redo.clear()
        self._before, self._stroke = self._pixels, None

    def _step(self, source: deque[Pixels], target: deque[Pixels]) -> None:
        self._end_stroke()
        if source:
            target.append(self._pixels)
            self._pixels = self._before = source.pop()

    def _frame(self, last: bool) -> None:
        """What the runner calls when no command waits. An error has no cell to appear below: the status line has it."""
        self.runner.error = None
        try:
            self._translate()
        except Exception as error:
            self.status = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._show()

    def _translate(self) -> None:
        """Each generator's picture of the drawing. Raises: ValueError for an answer of another form."""
        start, pictures = perf_counter(), []
        for name, translate in self.generators.items():
            A = to_float(torch.from_numpy(self._pixels).permute(2, 0, 1))[None]
            with torch.no_grad():
                B = translate(A)
            if not isinstance(B, Tensor) or B.shape != A.shape or not B.isfinite().all() or B.abs().max() > 1.001:
                shape = tuple(B.shape) if isinstance(B, Tensor) else type(B).__name__
                raise ValueError(f"{name}: expected finite pictures {tuple(A.shape)} in [-1, 1], got {shape}")
            pictures.append(((B[0].float().cpu() + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous().numpy())
        self.pictures, self.milliseconds = pictures, 1000 * (perf_counter() - start)

    # What is shown ---------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        shown, self.alt = [self._pixels, *self.pictures], self._alt()
        self._session.append((shown, self.alt))
        if len(self._session) > MAX_SESSION:
            del self._session[1:-1:2]
        views = [View(name=str(i), kind="images", title="", alt="", arrays={"pixels": p}) for i, p in enumerate(shown)]
        views.append(View(name="examples", kind="images", title="", alt="", fixed={"pixels": self.examples}))
        self.stream.show(Frame(self.stream.now.frame + 1, [views], line=say("paint_took", ms=self.milliseconds)))
        self.stream.done.update(self._followed)  # after its frame: who hears that all is done takes over what it has
        self.stream.new_state()

    def _alt(self) -> str:
        """The drawing in words: its colours, the commonest first, without those too few to see."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes)) / self._blank[:, :, 0].size
        order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] >= 0.005]
        return ", ".join(f"{self.classes[i].name} {counts[i]:.0%}" for i in order)

    def _describe_scene(self) -> dict[str, Any]:
        palette = [[label.name, label.colour] for label in self.classes]
        titles = [say("paint_here"), *self.generators]
        return {"side": len(self._blank), "titles": titles, "palette": palette, "any_colour": self.any_colour}

    def _describe_state(self) -> dict[str, Any]:
        return {"playing": False, "status": self.status, "alt": self.alt}

    def _checked(self, examples: Tensor | None) -> Pixels:
        """The examples as pixels (N, side, side, 3). Raises: ValueError for another shape, type or class."""
        shape = (3, *self._blank.shape[:2]) if self.any_colour else self._blank.shape[:2]
        found = torch.zeros(0, *shape, dtype=torch.uint8) if examples is None else torch.as_tensor(examples).cpu()
        if found.dtype != torch.uint8 or found.shape[1:] != shape:
            wanted = ", ".join(map(str, shape))
            raise ValueError(f"expected examples uint8 (N, {wanted}), got {found.dtype} {tuple(found.shape)}")
        if not self.any_colour:
            if len(found) and found.max() >= len(self.classes):
                raise ValueError(f"an example has class {found.max()}, but there are {len(self.classes)} classes")
            found = draw_labels(found, self.classes)
        return found.permute(0, 2, 3, 1).contiguous().numpy()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return mimebundle(self.widget, self.snapshot(), "gantutor paint")
