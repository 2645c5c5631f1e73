"""The frames of a run, kept, and exported as PNG files or one GIF."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from PIL import Image, ImageDraw

LABELS = "ABCDEFGH"  # of run views


class MayStandBeside(Protocol):
    """A View or a Shot."""

    @property
    def beside(self) -> bool: ...


Placed = TypeVar("Placed", bound=MayStandBeside)


class ViewImage(NamedTuple):
    """A view at one moment: PNG bytes, and its size on the screen in CSS pixels; the rest as View has it."""

    title: str
    png: bytes
    width: int
    height: int
    columns: tuple[str, ...] = ()
    beside: bool = False


class Frame(NamedTuple):
    """One moment: the step, and each run view's views, the charts last."""

    step: int
    run_views: Sequence[Sequence[ViewImage]]


def compose(frame: Frame, notes: Sequence[Sequence[str]] = ()) -> Image.Image:
    """The frame as one picture: run views side by side, and its lines of `notes` below each, if there are any."""
    run_views = [compose_run_view(run_view) for run_view in frame.run_views]
    gap, head = 12, 18
    width = sum(run_view.width for run_view in run_views) + gap * (len(run_views) + 1)
    below = max(run_view.height for run_view in run_views) + head + gap
    picture = Image.new("RGB", (width, below + 14 * max(map(len, notes), default=0)), "white")
    draw = ImageDraw.Draw(picture)
    x = gap
    for name, run_view in zip(LABELS, run_views, strict=False):
        draw.text((x, 3), f"{name}   step {frame.step}" if len(run_views) > 1 else f"step {frame.step}", fill="black")
        picture.paste(run_view, (x, head))
        x += run_view.width + gap
    for i, lines in enumerate(notes):
        left = gap + sum(run_view.width + gap for run_view in run_views[:i])
        draw.multiline_text((left, below - gap // 2), "\n".join(lines), fill="black", spacing=2)
    return picture


def compose_run_view(view_images: Sequence[ViewImage], gap: int = 8) -> Image.Image:
    """All shots but the last, the charts, below each other or beside; the charts right of them."""
    *column, charts = [
        stacked([framed(view_image) for view_image in row], gap, across=True) for row in rows_of(view_images)
    ]
    return stacked([stacked(column, gap, across=False), charts], gap, across=True)


def rows_of(views: Sequence[Placed]) -> list[list[Placed]]:
    """Below each other or beside, as they say; the charts, the last, for themselves."""
    rows: list[list[Placed]] = []
    for view in views:
        if view.beside:
            rows[-1].append(view)
        else:
            rows.append([view])
    return rows


def framed(view_image: ViewImage, line: int = 14) -> Image.Image:
    """The shot's pixels below its title, and below the headings of its columns if it has any."""
    head = line * (2 if view_image.columns else 1)
    page = Image.new("RGB", (view_image.width, view_image.height + head), "white")
    draw = ImageDraw.Draw(page)
    draw.text((0, 0), view_image.title, fill="black")
    for i, column in enumerate(view_image.columns):
        middle = round((i + 0.5) * view_image.width / len(view_image.columns))
        draw.text((middle, line), column, fill="black", anchor="ma")
    page.paste(picture_of(view_image), (0, head))
    return page


def stacked(pictures: Sequence[Image.Image], gap: int, across: bool) -> Image.Image:
    """Pictures side by side (`across`) or below each other, on white."""
    wide, tall = [picture.width for picture in pictures], [picture.height for picture in pictures]
    spare = gap * (len(pictures) - 1)
    size = (sum(wide) + spare, max(tall)) if across else (max(wide), sum(tall) + spare)
    page = Image.new("RGB", size, "white")
    at = 0
    for picture in pictures:
        page.paste(picture, (at, 0) if across else (0, at))
        at += (picture.width if across else picture.height) + gap
    return page


def picture_of(view_image: ViewImage) -> Image.Image:
    """The shot's pixels, at its size on the screen."""
    image = Image.open(io.BytesIO(view_image.png)).convert("RGB")
    size = (view_image.width, view_image.height)
    whole = not view_image.width % image.width  # then it stays pixels, as on the screen
    return image.resize(size, Image.Resampling.NEAREST if whole else Image.Resampling.BICUBIC)


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

    def save_png(self, folder: str | Path) -> list[Path]:
        """Write `0000_step_000000.png` ... into `folder`, made if need be. Raises: ValueError without a frame."""
        folder = Path(folder)
        self._need_frames()
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, frame in enumerate(self.frames):
            path = folder / f"{number:04d}_step_{frame.step:06d}.png"
            compose(frame).save(path)
            paths.append(path)
        return paths

    def save_gif(self, path: str | Path, fps: float = 10.0, hold_s: float = 1.5) -> Path:
        """Write an endless GIF that rests on its last frame for `hold_s` seconds.

        Raises: ValueError without a frame.
        """
        self._need_frames()
        first, *rest = [compose(frame).quantize(128, dither=Image.Dither.NONE) for frame in self.frames]
        durations = [round(1000 / fps)] * len(rest) + [round(1000 * hold_s)]
        first.save(path, save_all=True, append_images=rest, duration=durations, loop=0, optimize=True)
        return Path(path)

    def _need_frames(self) -> None:
        if not self.frames:
            raise ValueError("no frame was kept: make the panel with Lab(..., keep_frames=True)")
