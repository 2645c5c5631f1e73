"""Does bfloat16 train as well? DCGANs on digits, from one seed and on the same batches, in float32 and with "bf16".

    python benchmarks/bf16_seeds.py [--json FILE] [--fresh]

About ten minutes of CPU time on one thread. Each run is written to the table as it ends; started again, the script
goes on where it was stopped, and does nothing but print the table where nothing is missing. Notebook 06 loads it. A run
in float32 is determined by its row and `settings`, bit for bit on one machine with one thread; how bfloat16 rounds on
the way depends on the processor, too.
"""

import statistics
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from benchlib.tables import Name, Row, arguments, complete

from gantutor.configs import GANConfig
from gantutor.data import Images, load
from gantutor.data.images import to_float
from gantutor.metrics import Judge, classes_covered, frechet_distance, train_judge

TABLE = Path(__file__).parent.parent / "data" / "bf16_seeds.json"
SETTINGS: dict[str, Any] = {
    "steps": 300,
    "batch_size": 48,
    "model_options": {"width_G": 16, "width_D": 8},
    "samples": 1000,
    "seed_of_z": 10000,
}
SEEDS = range(40)
SPEED_UPS_OF: dict[str, tuple[str, ...]] = {"float32": (), "bf16": ("bf16",)}  # the speed-ups of each


def wanted() -> list[tuple[int, str]]:
    """Every run of the table: its seed and its numbers."""
    return [(seed, dtype) for seed in SEEDS for dtype in SPEED_UPS_OF]


def train_row(seed: int, dtype: str, data: Images, judge: Judge) -> Row:
    """Train one GAN, and score what it makes."""
    settings = {name: SETTINGS[name] for name in ("batch_size", "model_options")}
    experiment = GANConfig(data, seed=seed, device="cpu", speed=SPEED_UPS_OF[dtype], **settings)
    run = experiment.start(data)
    for _ in range(SETTINGS["steps"]):
        run.step()
    generator = torch.Generator().manual_seed(SETTINGS["seed_of_z"])
    fake = run.model.sample(torch.randn(SETTINGS["samples"], experiment.z_dim, generator=generator))
    distance = frechet_distance(judge.features(fake), judge.features(to_float(data.images)))
    return {"seed": seed, "dtype": dtype, "distance": round(distance, 2), "classes": classes_covered(judge(fake))}


def show(rows: list[Row]) -> None:
    """The middle seed and the spread of each kind of numbers, and in how many seeds bf16 ends nearer to the data."""
    of = {dtype: [row["distance"] for row in rows if row["dtype"] == dtype] for dtype in SPEED_UPS_OF}
    for dtype, distances in of.items():
        spread = f"{statistics.median(distances):.0f} ({min(distances):.0f} to {max(distances):.0f})"
        print(f"{dtype:8} distance {spread}, {len(distances)} seeds")
    nearer = sum(bf16 < float32 for float32, bf16 in zip(of["float32"], of["bf16"], strict=True))
    print(f"bf16 is nearer in {nearer} of {len(of['bf16'])} seeds")


def ready(missing: list[Name]) -> tuple[Callable[..., Row], Row]:
    """The data and the judge, and what trains with them."""
    data = load("digits")
    assert isinstance(data, Images)
    assert data.labels is not None
    judge = train_judge(to_float(data.images), data.labels)
    return lambda seed, dtype: train_row(seed, dtype, data, judge), {}


def main() -> None:
    options = arguments(__doc__, TABLE)
    called = itemgetter("seed", "dtype")
    show(complete(options, "benchmarks/bf16_seeds.py", SETTINGS, wanted(), called, ready))


if __name__ == "__main__":
    main()
