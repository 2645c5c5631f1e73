"""A store of fakes, so that a discriminator is not trained on the newest ones alone."""

from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Up to `size` fakes; a query gives new ones and takes, for each, either itself or an older one in exchange.

    Images are stored detached: a graph would keep the step alive that made it, and its weights are overwritten. Chance
    comes from a generator of the pool's own, so the same queries after the same `seed` give the same images, and a copy
    of the pool goes on as the original does.
    Source: Shrivastava et al., "Learning from Simulated and Unsupervised Images", 2017, section 2.3; Zhu et al.,
    "Unpaired Image-to-Image Translation", 2017, section 4.
    """

    def __init__(self, size: int = 50, seed: int = 0) -> None:
        if size < 0:
            raise ValueError(f"a pool's size must be at least 0, got {size}")
        self.size = size
        self.images: list[Tensor] = []
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self.images)

    def query(self, images: Tensor) -> Tensor:
        """For each of `images` (B, C, H, W) one image to show D, detached, in a batch of the same shape.

        While there is room an image is stored and returned; then, with probability 1/2, it takes the place of a stored
        one, which is returned, or else is returned itself. So every image given is returned once or is still there.
        Raises: ValueError for images of another shape than those stored.
        """
        images = images.detach()
        if self.images and images.shape[1:] != self.images[0].shape:
            raise ValueError(
                f"this pool holds images of shape {tuple(self.images[0].shape)}, got {tuple(images.shape[1:])}"
            )
        if self.size == 0:
            return images
        swaps = (torch.rand(len(images), generator=self.generator) < 0.5).tolist()
        places = torch.randint(self.size, (len(images),), generator=self.generator).tolist()
        returned = []
        for image, swap, place in zip(images, swaps, places, strict=True):
            if len(self.images) < self.size:
                self.images.append(image.clone())
                returned.append(image)
            elif swap:
                returned.append(self.images[place])
                self.images[place] = image.clone()
            else:
                returned.append(image)
        return torch.stack(returned)

    def state_dict(self) -> dict[str, Any]:
        """What is stored and what chance does next: the queries to come depend on nothing else."""
        return {"size": self.size, "images": list(self.images), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.size, self.images = state["size"], list(state["images"])
        self.generator.set_state(state["generator"])
