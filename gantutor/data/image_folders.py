"""One's own images for image-to-image translation: `paired_folder` for pairs, `unpaired_folders` for two domains."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from gantutor.data.common import DataError, check_positive, usable_device
from gantutor.data.image_files import WORKERS, decode, find_images, read_image, square
from gantutor.data.pairs import Pairs
from gantutor.data.unpaired import Unpaired

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
    sides = [
        {file.relative_to(root / side).with_suffix(""): file for file in find_images(root / side)} for side in "AB"
    ]
    for mine, others, side in ((sides[0], sides[1], "B"), (sides[1], sides[0], "A")):
        alone = [file for name, file in mine.items() if name not in others]
        if alone:
            more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
            raise DataError(f"{alone[0]}{more} has no partner of the same name in {root / side}")
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


def read_domain(files: Sequence[Path], size: int, name: str) -> Tensor:
    """All of them, uint8 (N, 3, size, size)."""
    return torch.stack(read_all(files, lambda file: read_image(file, size, 3), name))


def read_all(items: Sequence[Item], read: Callable[[Item], Result], name: str) -> list[Result]:
    """`read` each in a few threads, in order, with a progress bar where there are many."""
    from tqdm import tqdm

    with ThreadPoolExecutor(WORKERS) as pool:
        progress = tqdm(
            pool.map(read, items),
            total=len(items),
            desc=f"reading {name}",
            unit="file",
            disable=len(items) < READ_WITHOUT_BAR,
        )
        return list(progress)


def held_out_places(count: int, share: float) -> Tensor:
    """Which of `count` are held out, bool (count,): evenly spaced; at least one and never all, unless `share` is 0."""
    test = torch.zeros(count, dtype=torch.bool)
    if share and count > 1:
        test[torch.linspace(0, count - 1, min(max(round(count * share), 1), count - 1)).round().long()] = True
    return test


def check_options(size: int, number: int | None, held_out: float) -> None:
    check_positive("size", size)
    if number is not None:
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
