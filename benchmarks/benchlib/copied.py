"""The loops as commonly written: picture files or PIL images, transforms, a DataLoader, `.item()` at every step.

They follow the most copied repositories, pytorch/examples (dcgan), eriklindernoren/PyTorch-GAN (dcgan, pix2pix,
cyclegan) and junyanz/pytorch-CycleGAN-and-pix2pix (whose data handling pix2pix and CycleGAN have here): G first, a
detached fake for D, no weights frozen. They are not slowed down: logits instead of a sigmoid with BCELoss, no labels
but where a loss asks for them, tensors made on their device, no pictures written, nothing printed.
A loop goes through the batches that it is given, one step each, and appends its losses to `log`.
"""

import itertools
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision import transforms
from torchvision.transforms import functional

Log = list[tuple[float, ...]]


def dcgan(gan: Any, batches: Iterable[Any], z_dim: int, device: str, log: Log) -> None:
    """`batches` gives (pictures, labels)."""
    G, D, opt_G, opt_D = gan.G, gan.D, gan.opt_G, gan.opt_D
    criterion = nn.BCEWithLogitsLoss()
    for pictures, _ in batches:
        real = pictures.to(device)
        valid = torch.ones(len(real), 1, device=device)
        invalid = torch.zeros(len(real), 1, device=device)

        opt_G.zero_grad()
        z = torch.randn(len(real), z_dim, device=device)
        fake = G(z)
        g_loss = criterion(D(fake), valid)
        g_loss.backward()
        opt_G.step()

        opt_D.zero_grad()
        d_loss = criterion(D(real), valid) + criterion(D(fake.detach()), invalid)
        d_loss.backward()
        opt_D.step()

        log.append((d_loss.item(), g_loss.item()))


def pix2pix(model: Any, batches: Iterable[Any], device: str, log: Log) -> None:
    """`batches` gives {"A": ..., "B": ...}."""
    G, D, opt_G, opt_D = model.G, model.D, model.opt_G, model.opt_D
    criterion_gan, criterion_l1 = nn.BCEWithLogitsLoss(), nn.L1Loss()
    for batch in batches:
        real_A, real_B = batch["A"].to(device), batch["B"].to(device)

        opt_G.zero_grad()
        fake_B = G(real_A)
        pred_fake = D(torch.cat((real_A, fake_B), 1))
        loss_gan = criterion_gan(pred_fake, torch.ones_like(pred_fake))
        loss_l1 = criterion_l1(fake_B, real_B)
        g_loss = loss_gan + 100 * loss_l1
        g_loss.backward()
        opt_G.step()

        opt_D.zero_grad()
        pred_real = D(torch.cat((real_A, real_B), 1))
        loss_real = criterion_gan(pred_real, torch.ones_like(pred_real))
        pred_fake = D(torch.cat((real_A, fake_B.detach()), 1))
        loss_fake = criterion_gan(pred_fake, torch.zeros_like(pred_fake))
        d_loss = (loss_real + loss_fake) * 0.5
        d_loss.backward()
        opt_D.step()

        log.append((d_loss.item(), loss_gan.item(), loss_l1.item()))


def cyclegan(model: Any, batches: Iterable[Any], device: str, log: Log, buffers: "list[ReplayBuffer]") -> None:
    """`batches` gives {"A": ..., "B": ...}; `buffers` are those of fake_A and fake_B."""
    G_AB, G_BA, D_A, D_B, opt_G, opt_D = model.G_AB, model.G_BA, model.D_A, model.D_B, model.opt_G, model.opt_D
    criterion_gan, criterion_cycle, criterion_identity = nn.MSELoss(), nn.L1Loss(), nn.L1Loss()
    for batch in batches:
        real_A, real_B = batch["A"].to(device), batch["B"].to(device)

        opt_G.zero_grad()
        loss_identity = criterion_identity(G_BA(real_A), real_A) + criterion_identity(G_AB(real_B), real_B)
        fake_B = G_AB(real_A)
        pred_fake = D_B(fake_B)
        loss_gan = criterion_gan(pred_fake, torch.ones_like(pred_fake))
        fake_A = G_BA(real_B)
        pred_fake = D_A(fake_A)
        loss_gan = loss_gan + criterion_gan(pred_fake, torch.ones_like(pred_fake))
        loss_cycle = criterion_cycle(G_BA(fake_B), real_A) + criterion_cycle(G_AB(fake_A), real_B)
        g_loss = loss_gan + 10 * loss_cycle + 5 * loss_identity
        g_loss.backward()
        opt_G.step()

        opt_D.zero_grad()
        d_losses = []
        for D, real, fake, buffer in ((D_A, real_A, fake_A, buffers[0]), (D_B, real_B, fake_B, buffers[1])):
            pred_real = D(real)
            pred_fake = D(buffer.push_and_pop(fake.detach()))
            loss_real = criterion_gan(pred_real, torch.ones_like(pred_real))
            loss_fake = criterion_gan(pred_fake, torch.zeros_like(pred_fake))
            d_loss = (loss_real + loss_fake) * 0.5
            d_loss.backward()
            d_losses.append(d_loss)
        opt_D.step()

        log.append((*(loss.item() for loss in d_losses), loss_gan.item(), loss_cycle.item(), loss_identity.item()))


class ReplayBuffer:
    """Up to 50 fakes; a new one goes in or, with probability 1/2, takes the place of an older one that is returned."""

    def __init__(self, max_size: int = 50) -> None:
        self.max_size = max_size
        self.data: list[Tensor] = []

    def push_and_pop(self, images: Tensor) -> Tensor:
        returned = []
        for image in images:
            image = image.unsqueeze(0)
            if len(self.data) < self.max_size:
                self.data.append(image)
                returned.append(image)
            elif random.random() > 0.5:
                place = random.randrange(self.max_size)
                returned.append(self.data[place].clone())
                self.data[place] = image
            else:
                returned.append(image)
        return torch.cat(returned)


class PictureDataset(Dataset[Any]):
    """Grey pictures in memory, uint8 (N, H, W), and their labels, as torchvision's MNIST holds them."""

    def __init__(self, pictures: Tensor, labels: Tensor, size: int) -> None:
        self.pictures, self.labels = pictures, labels
        self.transform = transforms.Compose(
            [transforms.Resize(size), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.pictures[index].numpy())
        return self.transform(picture), int(self.labels[index])


class AlignedDataset(Dataset[Any]):
    """Pairs, A and B side by side in a file: enlarged, cut out and mirrored alike."""

    def __init__(self, root: Path, size: int, load_size: int) -> None:
        self.files = sorted(root.glob("*.jpg"))
        self.size, self.load_size = size, load_size
        self.normalize = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
        self.resize = transforms.Resize((load_size, load_size), transforms.InterpolationMode.BICUBIC)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        both = Image.open(self.files[index]).convert("RGB")
        width, height = both.size
        top, left = (random.randint(0, self.load_size - self.size) for _ in range(2))
        mirrored = random.random() > 0.5
        cells = {"A": (0, 0, width // 2, height), "B": (width // 2, 0, width, height)}
        return {name: self._transformed(both.crop(cell), top, left, mirrored) for name, cell in cells.items()}

    def _transformed(self, picture: Image.Image, top: int, left: int, mirrored: bool) -> Tensor:
        picture = functional.crop(self.resize(picture), top, left, self.size, self.size)
        if mirrored:
            picture = functional.hflip(picture)
        return self.normalize(picture)


class UnalignedDataset(Dataset[Any]):
    """Two folders of pictures, each drawn and augmented by itself."""

    def __init__(self, root_A: Path, root_B: Path, size: int, load_size: int) -> None:
        self.files_A, self.files_B = sorted(root_A.glob("*.jpg")), sorted(root_B.glob("*.jpg"))
        self.transform = transforms.Compose(
            [
                transforms.Resize((load_size, load_size), transforms.InterpolationMode.BICUBIC),
                transforms.RandomCrop(size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.5,) * 3),
            ]
        )

    def __len__(self) -> int:
        return max(len(self.files_A), len(self.files_B))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        chosen = {"A": self.files_A[index % len(self.files_A)], "B": random.choice(self.files_B)}
        return {name: self.transform(Image.open(file).convert("RGB")) for name, file in chosen.items()}


def long_epoch(dataset: Dataset[Any], items: int) -> Dataset[Any]:
    """The data set again and again up to `items`: no new epoch, whose workers would have to start, in a measurement."""
    return torch.utils.data.ConcatDataset(itertools.repeat(dataset, -(-items // len(dataset))))  # type: ignore[arg-type]
