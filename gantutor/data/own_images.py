"""One's own images, from files: `Images`, or a `Folder` that workers read; pairs; two domains without pairs."""

import contextlib
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from gantutor.data.common import DataError, check_choice, check_draw, check_positive, usable_device
from gantutor.data.images import Images, to_float
from gantutor.data.pairs import Pairs, Unpaired

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
WORKERS = min(4, os.cpu_count() or 1)
KILLED = "The workers that read images were killed twice, maybe because memory ran out. Use fewer workers"


def image_folder(
    path: str | Path,
    size: int = 64,
    device: str | torch.device = "cpu",
    channels: int = 3,
    max_bytes: int = 2**28,
    workers: int = WORKERS,
) -> "Images | Folder":
    """All images in the folder `path` and the folders in it, each (channels, size, size), in order of their names.

    An image is turned as its camera noted, cut to its middle square and resized; what is transparent becomes white,
    and everything becomes RGB (`channels=3`) or grey (`channels=1`). Up to `max_bytes` on the device (256 MiB: 21,845
    colour images of 64 pixels) they are read now and become `Images`; beyond, a `Folder` of as many `workers`.
    There are no labels. Names that begin with a dot are passed over.
    Raises: DataError for a folder without images or an image that cannot be read; ValueError for a size below 1 or
    other channels.
    """
    check_positive("size", size)
    check_choice("channels", channels, (1, 3))
    check_positive("workers", workers)
    device = usable_device(device)
    root = Path(path).expanduser()
    files, name = find_images(root), root.resolve().name
    if len(files) * channels * size * size > max_bytes:
        return Folder(name, files, size, channels, device, workers)
    return Images(name, read_domain(files, size, name, channels).to(device))


class Folder:
    """Images that stay in their files; worker processes read the ones that are drawn.

    The workers start with the first reading and end with the Folder.
    """

    kind: ClassVar[str] = "images"
    labels: ClassVar[None] = None

    def __init__(
        self, name: str, files: Sequence[Path], size: int, channels: int, device: torch.device, workers: int = WORKERS
    ) -> None:
        self.name = name
        self.files = list(files)
        self.shape = (channels, size, size)
        self.device = device
        self.workers = workers
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def __repr__(self) -> str:
        return f"<Folder {self.name}: {len(self):,} of {self.shape} on {self.device}>"

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` images drawn with replacement, float32 (n, C, H, W) in [-1, 1].

        Raises: ValueError for n < 1 or a generator on another device; DataError for an image that cannot be read.
        """
        return self.start_reading(self.draw_rows(n, generator)).result()

    def draw_rows(self, n: int, generator: torch.Generator) -> list[int]:
        """Which `n` images come next. A GPU is not waited for.

        Numbers that are drawn on a GPU can be read only after all the work that was given to it before. The state of
        its generator is in the memory of the CPU, so there the rows are drawn from that state.
        Raises: ValueError for n < 1 or a generator on another device.
        """
        check_draw(n, generator, self.device)
        if self.device.type == "cpu":
            rows: list[int] = torch.randint(len(self), (n,), generator=generator).tolist()
            return rows
        state = bytes(generator.get_state().tolist())
        torch.rand(1, generator=generator, device=self.device)  # nobody reads it: it moves the state on
        return random.Random(state).choices(range(len(self)), k=n)

    def start_reading(self, rows: Sequence[int]) -> "Reading":
        """Have the workers read these images in the background."""
        return Reading(self, rows)

    def submit(self, rows: Sequence[int]) -> list[Future[Tensor]]:
        """The parts of a reading, one for each worker; new workers where one of the old ones was killed."""
        channels, size, _ = self.shape
        files = [self.files[row] for row in rows]
        share = -(-len(files) // self.workers)
        parts = [files[start : start + share] for start in range(0, len(files), share)]
        with self._lock:
            for pool in (self._pool, None):
                self._pool = pool or ProcessPoolExecutor(self.workers, initializer=start_worker)
                with contextlib.suppress(BrokenProcessPool):
                    return [self._pool.submit(read_pictures, part, size, channels) for part in parts]
        raise RuntimeError(KILLED)


class Reading:
    """Images of a `Folder`, the `rows`, that workers are reading or have read."""

    def __init__(self, folder: Folder, rows: Sequence[int]) -> None:
        self.folder, self.rows = folder, list(rows)
        self.parts = folder.submit(self.rows)

    def result(self) -> Tensor:
        """Float32 (n, C, H, W) in [-1, 1] on the Folder's device, when all of them are read.

        The copy to a GPU does not wait for it either.
        Raises: DataError for an image that cannot be read; RuntimeError where workers are killed, and killed again.
        """
        for tries_left in (1, 0):
            try:
                parts = [part.result() for part in self.parts]
                break
            except BrokenProcessPool:
                if not tries_left:
                    raise RuntimeError(KILLED) from None
                self.parts = self.folder.submit(self.rows)
            except DataError as error:
                raise DataError(str(error)) from None  # without the worker's own traceback
        on_gpu = self.folder.device.type == "cuda"
        images = torch.empty(len(self.rows), *self.folder.shape, dtype=torch.uint8, pin_memory=on_gpu)
        torch.cat(parts, out=images)
        return to_float(images.to(self.folder.device, non_blocking=on_gpu))

    def cancel(self) -> None:
        """Nobody needs it: what no worker has begun is not read."""
        for part in self.parts:
            part.cancel()


def start_worker() -> None:
    """What a worker does first. It ends with its parent, however that ends, and with nothing else.

    Jupyter interrupts all processes of a kernel: that would end the workers of a Folder that lives on.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not what the parent does to end a run in order
    torch.set_num_threads(1)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def find_images(root: Path) -> list[Path]:
    """The image files in and below `root`, in the order of their names.

    Raises: DataError where there is no such folder or no image in it.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; image_folder needs one with images in it")
    files = list_images(root)
    if not files:
        raise DataError(f"{root} has no images in it or in its folders; an image's name ends in {', '.join(SUFFIXES)}")
    return files


def list_images(root: Path) -> list[Path]:
    names = [path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    visible = (name for name in names if not any(part.startswith(".") for part in name.parts))
    return [root / name for name in sorted(visible, key=lambda name: name.parts)]


def read_pictures(paths: Sequence[Path], size: int, channels: int) -> Tensor:
    """What a worker reads for one part of a batch: uint8 (n, channels, size, size).

    Raises: as `read_image`.
    """
    return torch.stack([read_image(path, size, channels) for path in paths])


def read_image(path: Path, size: int, channels: int) -> Tensor:
    """One image, uint8 (channels, size, size).

    Raises: DataError naming the file that is no image, or only a part of one.
    """
    return square(decode(path, channels, (2 * size, 2 * size)), size)


def decode(path: Path, channels: int, enough: tuple[int, int] | None = None) -> Any:
    """One image as Pillow's Image: upright, RGB (`channels` 3) or grey (1), what is transparent on white.

    Where (width, height) is `enough`, a larger JPEG is decoded at a half, a quarter or an eighth.
    Raises: DataError naming the file that is no image, or only a part of one.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            if enough is not None:
                file.draft(file.mode, enough)
            picture = ImageOps.exif_transpose(file)
            if picture.has_transparency_data:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            if picture.mode.startswith("I"):  # 16 bits a pixel: `convert` would cut off what is above 255
                picture = Image.fromarray((np.asarray(picture) / 257).clip(0, 255).astype(np.uint8))
            return picture.convert("RGB" if channels == 3 else "L")
    except Exception as error:  # Pillow raises whatever the bytes lead it into
        raise DataError(f"{path} is not a readable image ({error}). Replace it or take it out of the folder") from error


def square(picture: Any, size: int) -> Tensor:
    """The middle square of an image (Pillow's Image), resized: uint8 (channels, size, size)."""
    from PIL import Image, ImageOps

    fitted = np.array(ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS))
    return torch.from_numpy(fitted).view(size, size, -1).permute(2, 0, 1).contiguous()


MAX_BYTES = 2**32  # of images held on the device: 4 GiB, or 10,922 pairs of 256 pixels
READ_WITHOUT_BAR = 100  # images: fewer are read without a progress bar

Item = TypeVar("Item")
Result = TypeVar("Result")


def paired_folder(
    path: str | Path,
    size: int = 256,
    device: str | torch.device = "cpu",
    held_out: float = 0.1,
    number: int | None = None,
    flip: bool = True,
    jitter: bool = True,
    max_bytes: int = MAX_BYTES,
) -> Pairs:
    """The pairs in the folder `path`: A and B side by side in one file each, or in two folders A and B under one name.

    Each becomes (3, size, size): upright, cut to its middle square, resized; grey is repeated in three channels, what
    is transparent becomes white. Every 1 / `held_out`-th pair in the order of the names is held out (0: none).
    `number` takes only the first; `.reversed()` makes B the input.
    Raises: DataError naming the file that has no partner, cannot be halved, has another shape than its partner or
    cannot be read, for an empty folder or for more than `max_bytes`; ValueError for numbers out of range.
    """
    check_options(size, number, held_out)
    device = usable_device(device)
    root = Path(path).expanduser()
    files = find_pairs(root)[:number]
    check_bytes(root, 2 * len(files), size, max_bytes)
    read = read_all(files, lambda pair: read_pair(pair, size), root.name)
    A, B = (torch.stack([pair[place] for pair in read]) for place in (0, 1))
    test = held_out_places(len(A), held_out)
    name = root.resolve().name
    judged = Pairs(name, A[test].to(device), B[test].to(device)) if test.any() else None
    return Pairs(name, A[~test].to(device), B[~test].to(device), flip=flip, jitter=jitter, held_out=judged)


def unpaired_folders(
    path_A: str | Path,
    path_B: str | Path,
    size: int = 256,
    device: str | torch.device = "cpu",
    held_out: float = 0.1,
    number: int | None = None,
    flip: bool = True,
    jitter: bool = True,
    max_bytes: int = MAX_BYTES,
) -> Unpaired:
    """The images of two domains, one folder each, read as by `paired_folder`; `number` of each at the most. One
    of each is held out at the least.

    Raises: DataError for a folder with fewer than two images, one that cannot be read or more than `max_bytes`;
    ValueError for numbers out of range.
    """
    check_options(size, number, held_out)
    device = usable_device(device)
    roots = [Path(path).expanduser() for path in (path_A, path_B)]
    files = [find_images(root)[:number] for root in roots]
    for root, found in zip(roots, files, strict=True):
        if len(found) < 2:
            raise DataError(f"{root} has {len(found)} image; expected at least 2, one to train on and one to judge by")
    check_bytes(roots[0], sum(map(len, files)), size, max_bytes)
    parts = []
    for root, found in zip(roots, files, strict=True):
        images = read_domain(found, size, root.name)
        test = held_out_places(len(images), held_out or 1 / len(images))
        parts.append((images[~test].to(device), images[test].to(device)))
    names = (roots[0].resolve().name, roots[1].resolve().name)
    (A, test_A), (B, test_B) = parts
    return Unpaired(f"{names[0]} and {names[1]}", A, B, test_A, test_B, names, flip=flip, jitter=jitter)


def find_pairs(root: Path) -> list[tuple[Path, ...]]:
    """The files of each pair, in the order of the names: one with both halves, or two from the folders A and B.

    Raises: DataError for a folder without images, and naming the files that have no partner.
    """
    if not (root / "A").is_dir() and not (root / "B").is_dir():
        return [(file,) for file in find_images(root)]
    for side, other in ("AB", "BA"):
        if not (root / side).is_dir():
            raise DataError(f"{root} has a folder {other}, but no folder {side} with its partners")
    roots = (root / "A", root / "B")
    sides = [{file.relative_to(side).with_suffix(""): file for file in find_images(side)} for side in roots]
    alone = sorted(file for side in sides for name, file in side.items() if not all(name in other for other in sides))
    if alone:
        more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
        raise DataError(f"{alone[0]}{more} has no partner of the same name in the other folder")
    return [(sides[0][name], sides[1][name]) for name in sorted(sides[0], key=lambda name: name.parts)]


def read_pair(files: tuple[Path, ...], size: int) -> tuple[Tensor, Tensor]:
    """A and B, uint8 (3, size, size) each.

    Raises: DataError naming the file that cannot be read, cannot be halved or has another shape than its partner.
    """
    if len(files) == 1:
        both = decode(files[0], 3)
        width, height = both.size
        if width % 2 or width <= height:
            raise DataError(
                f"{files[0]} is {width}x{height} pixels; expected A and B of one size side by side, "
                "so an even width that is more than the height. Two folders A and B are the other way"
            )
        halves = [both.crop((left, 0, left + width // 2, height)) for left in (0, width // 2)]
    else:
        halves = [decode(file, 3) for file in files]
        (width_A, height_A), (width_B, height_B) = (half.size for half in halves)
        # Cut to their middle squares, two images show the same only if they had the same shape.
        if abs(width_A * height_B - width_B * height_A) > 0.02 * width_A * height_B:
            raise DataError(
                f"{files[0]} is {width_A}x{height_A} pixels, its partner {files[1]} is {width_B}x{height_B}; "
                "expected two of one shape"
            )
    return square(halves[0], size), square(halves[1], size)


def read_domain(files: Sequence[Path], size: int, name: str, channels: int = 3) -> Tensor:
    """All of them, uint8 (N, channels, size, size)."""
    return torch.stack(read_all(files, lambda file: read_image(file, size, channels), name))


def read_all(items: Sequence[Item], read: Callable[[Item], Result], name: str) -> list[Result]:
    """`read` each in a few threads, in order, with a progress bar where there are many."""
    from tqdm.contrib.concurrent import thread_map

    few = len(items) < READ_WITHOUT_BAR
    return thread_map(read, items, max_workers=WORKERS, desc=f"reading {name}", unit="file", disable=few)


def held_out_places(count: int, share: float) -> Tensor:
    """Which of `count` are held out, bool (count,): evenly spaced; at least one and never all, unless `share` is 0."""
    test = torch.zeros(count, dtype=torch.bool)
    if share and count > 1:
        test[torch.linspace(0, count - 1, min(max(round(count * share), 1), count - 1)).round().long()] = True
    return test


def check_options(size: int, number: int | None, held_out: float) -> None:
    check_positive("size", size)
    check_positive("number", number)
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out={held_out}: expected a share from 0 to below 1")


def check_bytes(root: Path, images: int, size: int, max_bytes: int) -> None:
    """Raises: DataError for more than `max_bytes`, saying how many would do."""
    needed = images * 3 * size * size
    if needed > max_bytes:
        raise DataError(
            f"{root}: {images:,} images of {size} pixels need {needed / 2**30:.1f} GiB, more than "
            f"max_bytes={max_bytes:,}; take fewer (number=...), a smaller size or a larger max_bytes"
        )
