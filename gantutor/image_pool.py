"""A store of fakes, so that a discriminator is not trained on the newest ones alone."""

from typing import Any

import torch
from torch import Tensor

from gantutor.draws import Draws


class ImagePool:
    """Up to `size` fakes; a query gives new ones and takes, for each, either itself or an older one in exchange.

    Images are stored detached: a graph would keep the step alive that made it, and its weights are overwritten. Chance
    comes from a generator of the pool's own, so the same queries after the same `seed` give the same images, and a copy
    of the pool goes on as the original does.
    Source: Shrivastava et al., "Learning from Simulated and Unsupervised Images", 2017, section 2.3; Zhu et al.,
    "Unpaired Image-to-Image Translation", 2017, section 4.
    """

    def __init__(self, size: int = 50, seed: int = 0) -> None:
        self.size = size
        self.filled = 0  # places of `stored`
        self.stored: Tensor | None = None  # (size, C, H, W)
        self.generator = torch.Generator().manual_seed(seed)
        self.draws = Draws()

    def __len__(self) -> int:
        return self.filled

    @property
    def images(self) -> list[Tensor]:
        """What is stored, (C, H, W) each."""
        return [] if self.stored is None else list(self.stored[: self.filled])

    def resize(self, size: int) -> None:
        """Have room for `size` images from now on; the first of those stored stay."""
        if size != self.size:
            self.load_state_dict({**self.state_dict(), "size": size, "images": self.images[:size]})

    def query(self, images: Tensor) -> Tensor:
        """For each of `images` (B, C, H, W) one image to show D, detached, in a batch of the same shape.

        While there is room an image is stored and returned; then, with probability 1/2, it takes the place of a stored
        one, which is returned, or else is returned itself. So every image given is returned once or is still there.
        """
        images = images.detach()
        if self.size == 0:
            return images
        if self.stored is None:
            self.stored = images.new_empty(self.size, *images.shape[1:])
        count, returned = len(images), []
        choices = self.draws(lambda: self.choose(count), images.device)
        for image, (place, swap, store) in zip(images.split(1), choices, strict=True):
            old = self.stored.index_select(0, place)
            returned.append(torch.where(swap.bool(), old, image))
            self.stored.index_copy_(0, place, torch.where(store.bool(), image, old))
        return torch.cat(returned)

    def choose(self, count: int) -> Tensor:
        """For each of `count` images its place in `stored`, whether it is swapped, whether it is stored: (count, 3, 1).

        `query` does the rest on the images' device, the same operations each time.
        """
        swaps = (torch.rand(count, generator=self.generator) < 0.5).tolist()
        places = torch.randint(self.size, (count,), generator=self.generator).tolist()
        choices = []
        for swap, place in zip(swaps, places, strict=True):
            if self.filled < self.size:
                choices.append((self.filled, False, True))
                self.filled += 1
            else:
                choices.append((place, swap, swap))
        return torch.tensor(choices)[:, :, None]

    def state_dict(self) -> dict[str, Any]:
        """What is stored and what chance does next: the queries to come depend on nothing else."""
        return {"size": self.size, "images": self.images, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.size, self.filled, self.stored = state["size"], len(state["images"]), None
        if state["images"]:
            images = torch.stack(state["images"])
            self.stored = images.new_empty(self.size, *images.shape[1:])
            self.stored[: self.filled] = images
        self.generator.set_state(state["generator"])
