"""The procedural sets: drawn on first use from a seed, kept in a cache, the same for everyone. Their truth is known."""

from typing import Any

import torch

from gantutor.data.common import check_choice, check_positive, usable_device
from gantutor.data.pairs import Label, Pairs, Unpaired, draw_labels
from gantutor.data.procedural import facades, maps
from gantutor.data.procedural.drawing import Drawer, channels_first, scenes

PAIRED_SIZES = (64, 128, 256)
UNPAIRED_SIZES = (48, 64, 128, 256)
UNPAIRED_TEST = 60
SPLITS = {"train": 400, "val": 100, "test": 100}  # how many pairs each has, unless `number` says otherwise


def facades_mini(device: str | torch.device = "cpu", **options: Any) -> Pairs:
    """Label map → house front, drawn; options as in `drawn_pairs`."""
    return drawn_pairs("facades_mini", facades.draw_facade, facades.__file__, facades.FACADE_CLASSES, device, **options)


def maps_mini(device: str | torch.device = "cpu", **options: Any) -> Pairs:
    """Aerial view → street map, drawn; options as in `drawn_pairs`. `.reversed()` is the way back."""
    return drawn_pairs("maps_mini", maps.draw_map, maps.__file__, maps.MAP_CLASSES, device, **options)


def drawn_pairs(
    name: str,
    draw: Drawer,
    source: str,
    classes: tuple[Label, ...],
    device: str | torch.device,
    split: str = "train",
    size: int = 64,
    number: int | None = None,
    seed: int = 0,
    flip: bool = True,
    jitter: bool = False,
) -> Pairs:
    """`number` pairs of one split ("train", "val" or "test"), 64, 128 or 256 pixels high and wide.

    The train set is augmented (`flip`, `jitter`) and has the test set with it as `held_out`; the others are as drawn.
    A pair depends on the seed, the split and its place in it alone: more pairs begin with the fewer, and another size
    shows the same scenes.
    Raises: ValueError for another split, size or a number below 1.
    """
    check_choice("split", split, tuple(SPLITS))
    check_choice("size", size, PAIRED_SIZES)
    number = SPLITS[split] if number is None else number
    check_positive("number", number)
    device = usable_device(device)
    is_train = split == "train"
    held_out = drawn_pairs(name, draw, source, classes, device, "test", size, None, seed) if is_train else None
    columns = scenes(name, draw, source, split, size, number, seed)
    labels = torch.from_numpy(columns[0])
    pictures = [channels_first(column) for column in columns[1:]]
    A, B = pictures if len(pictures) == 2 else (draw_labels(labels, classes), pictures[0])
    return Pairs(
        name,
        A.to(device),
        B.to(device),
        labels.to(device),
        classes,
        label_map="" if len(pictures) == 2 else "A",
        flip=flip and is_train,
        jitter=jitter and is_train,
        held_out=held_out,
    )


def unpaired_maps_mini(
    device: str | torch.device = "cpu",
    size: int = 48,
    number: int = SPLITS["train"],
    seed: int = 0,
    flip: bool = True,
    jitter: bool = False,
) -> Unpaired:
    """Aerial views of `number` towns, street maps of as many others, and 60 pairs for scoring.

    48, 64, 128 or 256 pixels high and wide; another size shows the same towns.
    Raises: ValueError for another size or a number below 1.
    """
    check_choice("size", size, UNPAIRED_SIZES)
    check_positive("number", number)
    device = usable_device(device)
    streams = (("train", number), ("other half", number), ("test", UNPAIRED_TEST))
    towns = [scenes("maps_mini", maps.draw_map, maps.__file__, stream, size, count, seed) for stream, count in streams]
    (_, aerial, _), (_, _, street), (_, test_aerial, test_street) = towns
    A, B, test_A, test_B = (channels_first(images).to(device) for images in (aerial, street, test_aerial, test_street))
    return Unpaired("maps_mini", A, B, test_A, test_B, ("aerial", "map"), has_truth=True, flip=flip, jitter=jitter)
