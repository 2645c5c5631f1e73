"""The networks, data and batches that both sides of a benchmark have in common, by name."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchlib import copied
from benchlib.drawing import maps_mini
from benchlib.facades import facades_mini
from gantutor.configs import Config, CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.configs.translation_configs import SeededDropout
from gantutor.data import Images, load, paired_folder, unpaired_folders
from gantutor.data.images import JITTER
from gantutor.training import Run

Changes = dict[str, Any]


@dataclass(frozen=True)
class Preset:
    """What to train. `settings` are fields of the kind's config.

    `same` is the course's strategy with the update rule of the copied loop; `best` is the strategy that costs least,
    with what it asks for: in DCGAN's D a norm that treats each image by itself, as notebook 03 advises; for a PatchGAN
    the minimax loss. throughput_scores.py finds out whether it is as good. `workers` are those of
    the DataLoader in the script that the copied loop follows: 0 in PyTorch-GAN's dcgan, 2 in pytorch/examples', 4 in
    pytorch-CycleGAN-and-pix2pix. Of `warm` + `steps` steps the last are measured.
    """

    kind: str
    size: int
    batch_size: int
    settings: Changes
    same: Changes
    best: Changes
    workers: int
    pictures: int
    warm: int
    steps: int
    label: str = field(default="")

    def config(self, data: Any, device: str = "cpu", **changes: Any) -> Config:
        """The experiment on `data`, with the strategy `same` unless `changes` say otherwise."""
        fields = {**self.settings, **self.same, **changes}
        config: Config = KINDS[self.kind].config(data=data, batch_size=self.batch_size, device=device, **fields)
        return config

    def prepare(self, folder: Path) -> None:
        """Write the picture files that both sides read."""
        KINDS[self.kind].prepare(self, folder)

    def load(self, folder: Path, device: str = "cpu") -> Any:
        """The data set as the course holds it."""
        return KINDS[self.kind].load(self, folder, device)

    def dataset(self, folder: Path) -> Dataset[Any]:
        """The data set as the copied loop holds it."""
        return KINDS[self.kind].dataset(self, folder)

    def loader(self, folder: Path, workers: int, device: str = "cpu", items: int = 60_000) -> DataLoader[Any]:
        return DataLoader(
            copied.long_epoch(self.dataset(folder), items),
            batch_size=self.batch_size,
            shuffle=True,
            num_workers=workers,
            drop_last=True,
            pin_memory=device != "cpu",
        )

    def copied_loop(self, model: Any, z_dim: int, device: str) -> "Callable[[Iterator[Any], copied.Log], None]":
        """The copied loop over some batches, with the networks and optimizers of `model`."""
        return KINDS[self.kind].loop(model, z_dim, device)

    def common(self, run: Run) -> Any:
        """The networks and optimizers of a run as the copied loop would have them: torch's own dropout."""
        for network in vars(run.model).values():
            if isinstance(network, nn.Module):
                common_dropout(network)
        return run.model


@dataclass(frozen=True)
class Kind:
    """What the presets of one model have in common."""

    config: Callable[..., Config]
    prepare: Callable[[Preset, Path], None]
    load: Callable[[Preset, Path, str], Any]
    dataset: Callable[[Preset, Path], Dataset[Any]]
    loop: Callable[[Any, int, str], "Callable[[Iterator[Any], copied.Log], None]"]


def common_dropout(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, SeededDropout):
                setattr(module, name, nn.Dropout(child.p))


def digits(size: int, device: str = "cpu") -> Images:
    """The digits, (1, size, size); 64 pixels are 32 enlarged."""
    data = load("digits", size=min(size, 32))
    assert isinstance(data, Images)
    images = data.images
    if size > 32:
        images = F.interpolate(images.float(), size, mode="bicubic").clamp(0, 255).round().byte()
    return Images("digits", images.to(device), data.labels if data.labels is None else data.labels.to(device))


def digits_dataset(preset: Preset, folder: Path) -> Dataset[Any]:
    data = digits(preset.size)
    assert data.labels is not None
    return copied.PictureDataset(data.images[:, 0], data.labels, preset.size)


def save(pictures: torch.Tensor, folder: Path) -> None:
    """Pictures uint8 (N, 3, H, W) as JPEG files, of which photographs mostly come."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{number:04}.jpg", quality=95)


def prepare_pairs(preset: Preset, folder: Path) -> None:
    data = facades_mini(size=preset.size, number=preset.pictures)
    save(torch.cat([data.A, data.B], dim=3), folder)


def prepare_unpaired(preset: Preset, folder: Path) -> None:
    data = maps_mini(size=preset.size, number=2 * preset.pictures)
    save(data.A[: preset.pictures], folder / "A")
    save(data.B[preset.pictures :], folder / "B")


KINDS: dict[str, Kind] = {
    "dcgan": Kind(
        config=GANConfig,
        prepare=lambda preset, folder: None,
        load=lambda preset, folder, device: digits(preset.size, device),
        dataset=digits_dataset,
        loop=lambda gan, z_dim, device: lambda batches, log: copied.dcgan(gan, batches, z_dim, device, log),
    ),
    "pix2pix": Kind(
        config=Pix2PixConfig,
        prepare=prepare_pairs,
        load=lambda preset, folder, device: paired_folder(folder, preset.size, device, held_out=0.0),
        dataset=lambda preset, folder: copied.AlignedDataset(folder, preset.size, round(preset.size * JITTER)),
        loop=lambda model, z_dim, device: lambda batches, log: copied.pix2pix(model, batches, device, log),
    ),
    "cyclegan": Kind(
        config=CycleGANConfig,
        prepare=prepare_unpaired,
        load=lambda preset, folder, device: unpaired_folders(folder / "A", folder / "B", preset.size, device),
        dataset=lambda preset, folder: copied.UnalignedDataset(
            folder / "A", folder / "B", preset.size, round(preset.size * JITTER)
        ),
        loop=lambda model, z_dim, device: cyclegan_loop(model, device),
    ),
}


def cyclegan_loop(model: Any, device: str) -> "Callable[[Iterator[Any], copied.Log], None]":
    buffers = [copied.ReplayBuffer(), copied.ReplayBuffer()]
    return lambda batches, log: copied.cyclegan(model, batches, device, log, buffers)


DCGAN_64 = Preset(
    "dcgan", 64, 64, {"model_options": {"width_G": 32, "width_D": 32}, "z_dim": 100},
    same={"strategy": "simultaneous"}, best={"strategy": "one_stage", "norm_D": "layer"},
    workers=2, pictures=1347, warm=2, steps=8, label="DCGAN 64",
)  # fmt: skip

# What a preset shows is the size of its pictures; 256 pixels are for networks of the papers' form, with narrower
# layers, so that a turn ends on two cores.
PRESETS: dict[str, Preset] = {
    "dcgan_28": dataclasses.replace(
        DCGAN_64, size=28, settings={"model_options": {"width_G": 32, "width_D": 32}, "z_dim": 64},
        workers=0, warm=4, steps=40, label="DCGAN 28",
    ),
    "dcgan_64": DCGAN_64,
    "pix2pix_64": Preset(
        "pix2pix", 64, 4, {}, same={"strategy": "simultaneous"}, best={"strategy": "one_stage", "loss": "minimax"},
        workers=4, pictures=400, warm=4, steps=40, label="pix2pix 64",
    ),
    "pix2pix_256": Preset(
        "pix2pix", 256, 1,
        {
            "width_G": 32, "width_D": 32, "multipliers": (1, 2, 4, 8, 8, 8, 8, 8), "upsampling": "transposed",
            "patch": 70, "lr": 2e-4,
        },
        same={"strategy": "simultaneous"}, best={"strategy": "one_stage", "loss": "minimax"},
        workers=4, pictures=100, warm=2, steps=8, label="pix2pix 256",
    ),
    "cyclegan_64": Preset(
        "cyclegan", 64, 1, {}, same={"strategy": "g_first_shared"}, best={"strategy": "g_first_shared"},
        workers=4, pictures=400, warm=4, steps=30, label="CycleGAN 64",
    ),
    "cyclegan_256": Preset(
        "cyclegan", 256, 1,
        {
            "width_G": 16, "width_D": 16, "blocks": 9, "downsamplings": 2, "upsampling": "transposed",
            "end_kernel": 7, "patch": 70, "lr": 2e-4,
        },
        same={"strategy": "g_first_shared"}, best={"strategy": "g_first_shared"},
        workers=4, pictures=100, warm=1, steps=4, label="CycleGAN 256",
    ),
}  # fmt: skip
