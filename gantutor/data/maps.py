"""`maps_mini`: drawn aerial views of a town and their street maps, embedded at 64 pixels.

Each view has one right map. The other way round, the colours of the roofs and the places of the trees are free.
How they are drawn: data/build_maps.py.
"""

import torch

from gantutor.data.common import embedded_file, read_embedded
from gantutor.data.pairs import Label, Pairs
from gantutor.data.sheets import SIDE, as_images, decode_sheets, split_pairs

LAND, PARK, WATER, ROAD, HIGHWAY, BUILDING = range(6)
MAP_CLASSES = (
    Label("land", (242, 239, 233)),
    Label("park", (200, 230, 190)),
    Label("water", (170, 211, 235)),
    Label("road", (255, 255, 255)),
    Label("highway", (250, 205, 110)),
    Label("building", (217, 208, 201)),
)
MAPS_SHA256 = "fa79a729eaf19a84bae0b071d4178259dcdfddbfb3febe9668553c493db88be6"  # of the decoded arrays


def maps_mini(
    device: str | torch.device = "cpu",
    split: str = "train",
    size: int = SIDE,
    number: int | None = None,
    flip: bool = True,
    jitter: bool = False,
) -> Pairs:
    """The pairs of one split, A the aerial view and B the map: "train" (200), "val" (50) or "test" (100).

    `labels` are the class of each pixel, in MAP_CLASSES. Options as in `emoji_pairs`.
    Raises: ValueError for another split, size or a number below 1; DataError for a missing or damaged file.
    """
    return split_pairs(
        "maps_mini",
        lambda: read_embedded(embedded_file("maps.npz"), MAPS_SHA256, decode_sheets),
        lambda arrays: {
            "A": as_images(arrays["aerial"]),
            "B": as_images(arrays["map"]),
            "labels": torch.from_numpy(arrays["labels"][..., 0]),
            "classes": MAP_CLASSES,
        },
        device, split, size, number, flip, jitter,
    )  # fmt: skip
