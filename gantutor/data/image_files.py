"""One's own images: a folder of them as `Images` where they fit into memory, else as a `Folder` read by workers."""

import os
import signal
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gantutor.data.common import DataError, check_choice, check_draw, check_positive, usable_device
from gantutor.data.images import Images, to_float

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
    files = find_images(root)
    if len(files) * channels * size * size > max_bytes:
        return Folder(root.resolve().name, files, size, channels, device, workers)

    from tqdm import tqdm

    progress = tqdm(files, desc=f"reading {root.name}", unit="picture", disable=len(files) < 500)
    images = torch.stack([read_image(file, size, channels) for file in progress])
    return Images(root.resolve().name, images.to(device))


class Folder:
    """Images that stay in their files; the workers of a DataLoader read the ones that are drawn.

    The workers start with the first sample and end with the Folder.
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
        self._requests: list[list[int]] = []
        self._loader = [self._new_loader()]
        # The garbage collector may take a loader's queues apart before the loader can use them to end its workers, and
        # then waits for each in vain, for seconds. What a finalizer holds is no garbage: it is let go of here, whole.
        weakref.finalize(self, self._loader.clear)

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` images drawn with replacement, float32 (n, C, H, W) in [-1, 1].

        The indices are drawn here and each sample is one short epoch of the loader. An endless loader would read ahead,
        but what it returns would depend on all that was drawn before and not on the generator alone.
        Raises: ValueError for n < 1 or a generator on another device; DataError for an image that cannot be read.
        """
        return self.sample_rows(n, slice(n), generator)

    def sample_rows(self, n: int, rows: slice, generator: torch.Generator) -> Tensor:
        """`sample(n, generator)[rows]`, and no other image is read: what one of several replicas needs.

        Raises: as `sample`.
        """
        check_draw(n, generator, self.device)
        chosen = torch.randint(len(self), (n,), generator=generator, device=self.device)[rows].tolist()
        share = min(64, -(-len(chosen) // self.workers))
        with self._lock:
            self._requests[:] = [chosen[start : start + share] for start in range(0, len(chosen), share)]
            try:
                parts = list(self._loader[0])
            except BaseException:  # interrupted, or a worker was killed: the next sample needs new ones
                self._loader[0] = self._new_loader()
                raise
        for part in parts:
            if isinstance(part, DataError):
                raise DataError(str(part))
        return to_float(torch.cat(parts).to(self.device))

    def _new_loader(self) -> DataLoader[Any]:
        return DataLoader(
            ImageFiles(self.files, *self.shape[:2]),
            batch_size=None,  # a request is a batch already
            sampler=self._requests,
            num_workers=self.workers,
            persistent_workers=True,
            worker_init_fn=ignore_interrupts,
            generator=torch.Generator(),  # or else every epoch takes a number from torch's global one
        )


class ImageFiles(Dataset[Any]):
    """What a worker holds: lists of indices in, uint8 (n, C, H, W) out, or the DataError that stopped it."""

    def __init__(self, files: list[Path], channels: int, size: int) -> None:
        self.files, self.channels, self.size = files, channels, size

    def __getitem__(self, request: list[int]) -> "Tensor | DataError":
        try:
            return torch.stack([read_image(self.files[index], self.size, self.channels) for index in request])
        except DataError as error:  # returned, because a DataLoader buries what is raised under its own traceback
            return error


def ignore_interrupts(worker: int) -> None:
    """Jupyter interrupts all processes of a kernel; without this it would end the workers of a Folder that lives on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def find_images(root: Path) -> list[Path]:
    """The image files in and below `root`, in the order of their names.

    Raises: DataError where there is no such folder or no image in it.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; image_folder needs one with images in it")
    names = [path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    names = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    if not names:
        raise DataError(f"{root} has no images in it or in its folders; a image's name ends in {', '.join(SUFFIXES)}")
    return [root / name for name in sorted(names, key=lambda name: name.parts)]


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
