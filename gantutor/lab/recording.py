"""The frames of a run, kept, and exported: as PNG files, as one GIF, or as a page that plays them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gantutor.lab import page
from gantutor.lab.messages import RECORDED_TEXTS, TEXTS, say
from gantutor.lab.stream import Blob, Frame, Front, describe_view

LABELS = "ABCDEFGH"  # of run views
MOST_BYTES, MOST_ROWS = 64e6, 10_000
GREYS, POSITIONS, LOST = 31, 2047, -32768  # the levels of a byte, and of a number on each side of 0; what is not finite


def picture(frame: Frame, notes: Sequence[Sequence[str]] = ()) -> Image.Image:
    """The frame as one image: run views side by side, each with its lines of `notes` below."""
    from gantutor.still import Column, still  # draws with matplotlib, which takes a second to load

    columns = []
    for i, views in enumerate(frame.views):
        curves = frame.curves(i)
        filled = [
            replace(v, arrays=v.arrays | {c.column: curves[c.column] for c in v.curves if c.column in curves})
            for v in views
        ]
        heading = say("line_step", step=frame.step)
        heading = f"{LABELS[i]} · {heading}" if len(frame.views) > 1 else heading
        columns.append(Column(heading, filled, notes[i] if notes else ()))
    return still(columns)


class Recording:
    """Frames in the order in which they were shown.

    Where they are `most`, or too many bytes, every other one is dropped, again and again.
    """

    def __init__(self, most: int = 600) -> None:
        self.frames: list[Frame] = []
        self.most = most
        self._every = 1
        self._seen = 0

    def add(self, frame: Frame) -> None:
        if self._seen % self._every == 0:
            self.frames.append(frame)
        self._seen += 1
        size = sum(array.nbytes for views in frame.views for view in views for array in view.arrays.values())
        if len(self.frames) >= self.most or len(self.frames) * size > MOST_BYTES:
            del self.frames[1::2]
            self._every *= 2

    def clear(self) -> None:
        self.frames.clear()
        self._every, self._seen = 1, 0

    def pictures(self) -> list[Image.Image]:
        """Every frame as an image."""
        return [picture(frame) for frame in self.frames]

    def save_png(self, folder: str | Path) -> list[Path]:
        """Write `0000_step_000000.png` ... into `folder`, made if need be."""
        folder, pictures, paths = Path(folder), self.pictures(), []
        folder.mkdir(parents=True, exist_ok=True)
        for number, (frame, image) in enumerate(zip(self.frames, pictures, strict=True)):
            paths.append(folder / f"{number:04d}_step_{frame.step:06d}.png")
            image.save(paths[-1])
        return paths

    def save_gif(self, path: str | Path, fps: float = 10.0, hold_s: float = 1.5) -> Path:
        """Write an endless GIF that rests on its last frame for `hold_s` seconds."""
        first, *rest = [image.quantize(128, dither=Image.Dither.NONE) for image in self.pictures()]
        durations = [round(1000 / fps)] * len(rest) + [round(1000 * hold_s)]
        first.save(path, save_all=True, append_images=rest, duration=durations, loop=0, optimize=True)
        return Path(path)


# A page that plays it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Take:
    """One recorded run.

    Attributes:
        frames: Its frames.
        number: Which of the runs in each frame it is.
        marks: The steps after which a setting changed, with what it became.
        error: What stopped it.
    """

    frames: Sequence[Frame]
    number: int = 0
    marks: Sequence[Any] = ()
    error: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """What its settings are at its end."""
        return self.frames[-1].values[self.number]


def save_page(path: str | Path, runs: Sequence[Sequence[Take]], scene: dict[str, Any], frames: int) -> Path:
    """Write a page that plays one take for each run view, side by side, and lets the reader choose which.

    `scene` has the run views' labels and controls; of each take at most so many `frames` are shown.
    """
    blob = Blob()
    packed = [[pack_take(take, frames, blob) for take in takes] for takes in runs]
    steps = max(take.frames[-1].step for takes in runs for take in takes)
    state = {"recorded": {**scene, "runs": packed}, "texts": {**TEXTS, **RECORDED_TEXTS}}
    return page.write_page(path, say("title", steps=steps), Front._esm, Front._css, state, b"".join(blob.parts))


def pack_take(take: Take, most: int, blob: Blob) -> dict[str, Any]:
    """A take as front/recorded.js reads it, its arrays in `blob`. Of frames at the same moment the last one counts."""
    frames = list({frame.step + frame.done: frame for frame in take.frames}.values())
    frames = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, most).round().astype(int))]
    n, views = take.number, [frame.views[take.number] for frame in frames]
    arrays = {
        view.name: {name: fold([shown[i].arrays[name] for shown in views], blob) for name in view.arrays}
        for i, view in enumerate(views[0])
        if not view.of_history
    }
    return {
        "values": take.values, "marks": list(take.marks), "error": take.error, "arrays": arrays,
        "views": [describe_view(view, blob) for view in views[0]],
        "curves": {name: blob.add(thinned(values)) for name, values in frames[-1].curves(n).items()},
        "frames": [
            {"step": frame.step, "done": frame.done, "rows": frame.rows[n], "line": frame.line,
             "values": frame.values[n], "meter": frame.meters[n] if frame.meters else None,
             "phase": frame.phases[n] if frame.phases else []}
            for frame in frames
        ],
    }  # fmt: skip


def fold(arrays: Sequence[np.ndarray], blob: Blob) -> list[Any]:
    """An array in all frames, with fewer levels, each as the change since the frame before: that deflates well.

    Returns its place, the size of a level, and its shapes, or its one shape.
    """
    whole = arrays[0].dtype == np.uint8
    finite = np.concatenate([array[np.isfinite(array)] for array in arrays])
    level = 255 / GREYS if whole else (float(np.abs(finite).max(initial=0)) or 1.0) / POSITIONS
    before, changes = None, []
    for array in arrays:
        levels = np.where(np.isfinite(array), np.round(array / level), LOST).ravel()
        levels = levels.astype(np.uint8 if whole else np.int16)
        changes.append(levels if before is None or levels.size != before.size else levels - before)
        before = levels
    shapes = [list(array.shape) for array in arrays]
    return [blob.add(np.concatenate(changes)), level, shapes if shapes.count(shapes[0]) < len(shapes) else shapes[:1]]


def thinned(column: np.ndarray) -> np.ndarray:
    """A long column with the mean of several steps for each of them, which deflates well."""
    every = -(-len(column) // MOST_ROWS)
    means = [column[i : i + every].mean() for i in range(0, len(column), every or 1)]
    return np.repeat(np.array(means, column.dtype), every)[: len(column)]
