"""One's own images, from files: `Images`, or a `Folder` that threads read; pairs; two domains without pairs."""

import os
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from gantutor.data.common import DataError, check_choice, check_draw, check_positive, usable_device
from gantutor.data.images import Images, Pairs, Unpaired, to_float

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
WORKERS = min(4, os.cpu_count() or 1)


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
    colour images of 64 pixels) they are read now and become `Images`; beyond, a `Folder`, read by `workers` threads.
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
    images = torch.stack(read_all(files, lambda file: read_image(file, size, channels), name))
    return Images(name, images.to(device))


class Folder:
    """Images that stay in their files; threads read the ones that are drawn, where Pillow lets all of them work."""

    kind: ClassVar[str] = "images"
    labels: ClassVar[None] = None

    def __init__(
        self, name: str, files: Sequence[Path], size: int, channels: int, device: torch.device, workers: int = WORKERS
    ) -> None:
        self.name = name
        self.files = list(files)
        self.shape = (channels, size, size)
        self.device = device
        self.pool = ThreadPoolExecutor(workers)  # a thread starts when there is something to read

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
        """Have the threads read these images in the background."""
        return Reading(self, rows)


class Reading:
    """Images of a `Folder`, the `rows`, that its threads are reading or have read."""

    def __init__(self, folder: Folder, rows: Sequence[int]) -> None:
        self.folder, self.rows = folder, list(rows)
        channels, size, _ = folder.shape
        self.images = [folder.pool.submit(read_image, folder.files[row], size, channels) for row in self.rows]

    def result(self) -> Tensor:
        """Float32 (n, C, H, W) in [-1, 1] on the Folder's device, when all of them are read.

        The copy to a GPU does not wait for it either.
        Raises: DataError for an image that cannot be read.
        """
        on_gpu = self.folder.device.type == "cuda"
        images = torch.empty(len(self.rows), *self.folder.shape, dtype=torch.uint8, pin_memory=on_gpu)
        torch.stack([image.result() for image in self.images], out=images)
        return to_float(images.to(self.folder.device, non_blocking=on_gpu))

    def cancel(self) -> None:
        """Nobody needs it: what no thread has begun is not read."""
        for image in self.images:
            image.cancel()


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
) -> Pairs:
    """The pairs in the folder `path`: A and B side by side in one file each, or in two folders A and B under one name.

    Each becomes (3, size, size): upright, cut to its middle square, resized; grey is repeated in three channels, what
    is transparent becomes white. Every 1 / `held_out`-th pair in the order of the names is held out (0: none).
    `number` takes only the first; `.reversed()` makes B the input.
    Raises: DataError naming the file that has no partner, cannot be halved, has another shape than its partner or
    cannot be read, for an empty folder or for more than MAX_BYTES; ValueError for numbers out of range.
    """
    check_options(size, number, held_out)
    device = usable_device(device)
    root = Path(path).expanduser()
    files = find_pairs(root)[:number]
    check_bytes(root, 2 * len(files), size)
    read = read_all(files, lambda pair: read_pair(pair, size), root.name)
    A, B = (torch.stack(side) for side in zip(*read, strict=True))
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
) -> Unpaired:
    """The images of two domains, one folder each, read as by `paired_folder`; `number` of each at the most. One
    of each is held out at the least.

    Raises: DataError for a folder with fewer than two images, one that cannot be read or more than MAX_BYTES;
    ValueError for numbers out of range.
    """
    check_options(size, number, held_out)
    device = usable_device(device)
    roots = [Path(path).expanduser() for path in (path_A, path_B)]
    files = [find_images(root)[:number] for root in roots]
    for root, found in zip(roots, files, strict=True):
        if len(found) < 2:
            raise DataError(f"{root} has {len(found)} image; expected at least 2, one to train on and one to judge by")
    names = (roots[0].resolve().name, roots[1].resolve().name)
    parts = []
    for images in read_domains(files, size, " and ".join(names)):
        test = held_out_places(len(images), held_out or 1 / len(images))
        parts.append((images[~test].to(device), images[test].to(device)))
    (A, test_A), (B, test_B) = parts
    return Unpaired(" and ".join(names), A, B, test_A, test_B, names, flip=flip, jitter=jitter)


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


def read_domains(files: Sequence[Sequence[Path]], size: int, name: str) -> list[Tensor]:
    """The colour images of several domains, uint8 (N, 3, size, size) each. Raises: as `read_image`, `check_bytes`."""
    check_bytes(name, sum(map(len, files)), size)
    return [torch.stack(read_all(found, lambda file: read_image(file, size, 3), name)) for found in files]


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


def check_bytes(name: str | Path, images: int, size: int) -> None:
    """Raises: DataError for more than MAX_BYTES, saying how many would do."""
    needed = images * 3 * size * size
    if needed > MAX_BYTES:
        raise DataError(
            f"{name}: {images:,} images of {size} pixels need {needed / 2**30:.1f} GiB, more than "
            f"{MAX_BYTES / 2**30:.1f}; take fewer (number=...) or a smaller size, or raise {__name__}.MAX_BYTES"
        )
