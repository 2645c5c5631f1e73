"""The frames of a run, kept, and exported as PNG files or one GIF."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from gantutor.lab.messages import say
from gantutor.lab.stream import Frame

LABELS = "ABCDEFGH"  # of run views


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
    """Frames in the order in which they were shown. At `most` frames every other one is dropped, again and again."""

    def __init__(self, most: int = 1000) -> None:
        self.frames: list[Frame] = []
        self.most = most
        self._every = 1
        self._seen = 0

    def add(self, frame: Frame) -> None:
        if self._seen % self._every == 0:
            self.frames.append(frame)
        self._seen += 1
        if len(self.frames) >= self.most:
            del self.frames[1::2]
            self._every *= 2

    def clear(self) -> None:
        self.frames.clear()
        self._every, self._seen = 1, 0

    def pictures(self) -> list[Image.Image]:
        """Every frame as an image. Raises: ValueError without a frame."""
        if not self.frames:
            raise ValueError("no frame was kept: make the panel with Lab(..., keep_frames=True)")
        return [picture(frame) for frame in self.frames]

    def save_png(self, folder: str | Path) -> list[Path]:
        """Write `0000_step_000000.png` ... into `folder`, made if need be. Raises: ValueError without a frame."""
        folder, pictures, paths = Path(folder), self.pictures(), []
        folder.mkdir(parents=True, exist_ok=True)
        for number, (frame, image) in enumerate(zip(self.frames, pictures, strict=True)):
            paths.append(folder / f"{number:04d}_step_{frame.step:06d}.png")
            image.save(paths[-1])
        return paths

    def save_gif(self, path: str | Path, fps: float = 10.0, hold_s: float = 1.5) -> Path:
        """Write an endless GIF that rests on its last frame for `hold_s` seconds.

        Raises: ValueError without a frame.
        """
        first, *rest = [image.quantize(128, dither=Image.Dither.NONE) for image in self.pictures()]
        durations = [round(1000 / fps)] * len(rest) + [round(1000 * hold_s)]
        first.save(path, save_all=True, append_images=rest, duration=durations, loop=0, optimize=True)
        return Path(path)
