"""Files of arrays that are proved to be whole: the embedded ones, and a cache of those that were drawn here."""

import hashlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gantutor.data.common import DataError, downloads_folder, how_to_restore

Arrays = dict[str, np.ndarray[Any, Any]]

DRAWN_WITHOUT_BAR = 200  # images: fewer are made without a progress bar


def read_arrays(path: Path, sha256: str) -> Arrays:
    """All arrays of an embedded file, proved to be the ones with the checksum `sha256`.

    Raises: DataError for anything else.
    """
    try:
        arrays = read_npz(path)
    except Exception as error:  # a damaged zip makes numpy raise one of a dozen
        raise DataError(f"{path} is damaged ({error}). {how_to_restore(path.name)}") from error
    if checksum(arrays) != sha256:
        raise DataError(f"{path} does not hold what it should (its checksum is wrong). {how_to_restore(path.name)}")
    return arrays


def read_npz(path: Path) -> Arrays:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def load_or_make(name: str, sources: Iterable[Path], make: Callable[[], Arrays]) -> Arrays:
    """What `make()` returns, made once and kept as made/<name>-<recipe>.npz in the downloads folder.

    The recipe is a hash over the `sources` and over the libraries that draw, so that a changed generator never meets an
    old file. A damaged file is made again. Where the folder cannot be written, nothing is kept and a warning says so.
    """
    path = downloads_folder() / "made" / f"{name}-{recipe(sources)}.npz"
    try:
        arrays = read_npz(path)
        sha256 = str(arrays.pop("sha256"))
        if checksum(arrays) == sha256:
            return arrays
    except Exception:  # not there yet, or damaged: numpy raises one of a dozen
        pass
    arrays = make()
    try:
        write_npz(path, {**arrays, "sha256": np.array(checksum(arrays))})
    except OSError as error:
        warnings.warn(f"{name} cannot be kept in {path.parent} and will be made again ({error})", stacklevel=2)
    return arrays


def recipe(sources: Iterable[Path]) -> str:
    """Ten hexadecimal digits that change with the sources, with numpy and with Pillow."""
    import PIL

    sha = hashlib.sha256(f"{np.__version__} {PIL.__version__}".encode())
    for source in sources:
        sha.update(source.read_bytes())
    return sha.hexdigest()[:10]


def write_npz(path: Path, arrays: Arrays) -> None:
    """Write to a temporary name beside `path`, then rename: what is there is whole at every moment.

    Raises: OSError, with nothing left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(prefix=".unfinished-", suffix=".npz", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.chmod(unfinished, 0o644)  # mkstemp's is for its owner alone; a class may share one folder
        os.replace(unfinished, path)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def make_each(name: str, number: int, make_one: Callable[[int], tuple[np.ndarray[Any, Any], ...]]) -> list[Any]:
    """`make_one(0)` ... `make_one(number - 1)`, its arrays stacked, with a progress bar where it takes long."""
    from tqdm import tqdm

    progress = tqdm(range(number), desc=f"drawing {name}", unit="picture", disable=number < DRAWN_WITHOUT_BAR)
    rows = [make_one(index) for index in progress]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def checksum(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over name, dtype, shape and bytes of each array."""
    sha = hashlib.sha256()
    for name, array in arrays.items():
        sha.update(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    return sha.hexdigest()
