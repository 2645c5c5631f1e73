"""`mnist`, `fashion_mnist` and `kmnist`, read and downloaded by torchvision, in its own layout: <root>/MNIST/raw/..."""

import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gantutor.data.common import DataError, check_choice, downloads_folder, usable_device
from gantutor.data.images import Images

SECONDS_WITHOUT_A_BYTE = 30.0  # then a server counts as gone; torchvision would wait for ever


def mnist(device: str | torch.device = "cpu", **options: Any) -> Images:
    """70,000 handwritten digits (LeCun, Cortes and Burges); options as in `torchvision_set`."""
    return torchvision_set("mnist", "MNIST", device, **options)


def fashion_mnist(device: str | torch.device = "cpu", **options: Any) -> Images:
    """70,000 images of clothing (Xiao, Rasul and Vollgraf, 2017); options as in `torchvision_set`."""
    return torchvision_set("fashion_mnist", "FashionMNIST", device, **options)


def kmnist(device: str | torch.device = "cpu", **options: Any) -> Images:
    """70,000 cursive Japanese characters (Clanuwat et al., 2018); options as in `torchvision_set`."""
    return torchvision_set("kmnist", "KMNIST", device, **options)


def torchvision_set(
    name: str,
    class_name: str,
    device: str | torch.device,
    split: str = "train",
    size: int = 28,
    download: bool = False,
    root: str | Path | None = None,
) -> Images:
    """Grey images (1, size, size) of one split, "train" or "test"; `size` 32 is 28 with a black margin.

    `download=True` fetches what is missing or damaged. `root` is $GANTUTOR_DATA, else data/downloads in a checkout,
    else the user's cache folder.
    Raises: ValueError for another split or size; DataError for missing or damaged files, or a failed download.
    """
    check_choice("split", split, ("train", "test"))
    check_choice("size", size, (28, 32))
    device = usable_device(device)
    root = downloads_folder() if root is None else Path(root).expanduser()
    try:
        images, labels = read_split(name, root / class_name / "raw", split)
    except DataError:
        if not download:
            raise
        fetch_torchvision(name, class_name, root)
        images, labels = read_split(name, root / class_name / "raw", split)
    margin = (size - 28) // 2
    images = F.pad(images[:, None], (margin, margin, margin, margin))
    return Images(name, images.to(device), labels.to(device))


def read_split(name: str, raw: Path, split: str) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, 28, 28) and labels int64 (N,) as torchvision reads them from the folder `raw`.

    Raises: DataError naming the file that is missing or damaged.
    """
    from torchvision.datasets.mnist import read_image_file, read_label_file

    prefix = "train" if split == "train" else "t10k"
    image_file, label_file = raw / f"{prefix}-images-idx3-ubyte", raw / f"{prefix}-labels-idx1-ubyte"
    images, labels = read_idx(name, image_file, read_image_file), read_idx(name, label_file, read_label_file)
    if images.shape[1:] != (28, 28):
        raise DataError(f"{image_file}: expected images (N, 28, 28), got {tuple(images.shape)}")
    if len(images) != len(labels) or not len(images):
        raise DataError(f"{image_file} has {len(images)} images, {label_file.name} has {len(labels)} labels")
    return images, labels


def read_idx(name: str, path: Path, read: Any) -> Tensor:
    if not path.is_file():
        raise DataError(f'{path} is missing. Get it: load("{name}", download=True)')
    try:
        tensor: Tensor = read(str(path))
    except Exception as error:  # torchvision raises whatever the bytes lead it into
        raise DataError(
            f'{path} is damaged ({type(error).__name__}: {error}). Get it again: load("{name}", download=True)'
        ) from error
    return tensor


def fetch_torchvision(name: str, class_name: str, root: Path) -> None:
    """Let torchvision download all four files and check their MD5 in a temporary folder; then move the finished ones.

    Each moves in one step, so what lies in <root>/<class_name>/raw is whole at every moment.
    Raises: DataError for whatever goes wrong, with nothing left behind.
    """
    import torchvision.datasets

    dataset = getattr(torchvision.datasets, class_name)
    patience = socket.getdefaulttimeout()
    temporary = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=f".{class_name}-", dir=root)
        socket.setdefaulttimeout(SECONDS_WITHOUT_A_BYTE)
        dataset(temporary, download=True)
        raw = root / class_name / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        for archive, _ in dataset.resources:
            file = Path(archive).stem
            os.replace(Path(temporary, class_name, "raw", file), raw / file)
    except Exception as error:  # network, checksum, a server's page instead of a file, a full disk
        raise DataError(
            f"{name} could not be downloaded to {root}: {error}\n"
            f'Try again: load("{name}", download=True), or put the files into {root / class_name / "raw"} yourself; '
            'load("digits") needs no download'
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
