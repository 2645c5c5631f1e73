"""Does the cheapest order train as well? Scores after as many pictures, over seeds; throughput.py goes by them.

    python benchmarks/throughput_scores.py [--presets NAME ...] [--seeds N] [--redraw]

"same rule" has the copied loop's gradients, "best" is the preset's candidate, with the norm or loss that it asks for. A
score is no worse if its median over the seeds is no worse than what three in four seeds of the same rule reach. Runs
are written to the figures as they end; started again, the script goes on where it was stopped, and forgets runs that
presets.py has since changed (--fresh: all). Presets without a candidate are left out. One thread, so that a run repeats
itself bit for bit on one machine.
    DCGAN     the Frechet distance in the eyes of a judge of digits; 64 pixels are halved for it: lower is better
    pix2pix   of held-out label maps: L1, lower is better, and the IoU of what a segmenter reads, higher is better; 256
              pixels are brought to 64 for it
"""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from benchlib.facades import facades_mini
from benchlib.machine import machine
from benchlib.presets import PRESETS, Preset, digits
from benchlib.results import Result, draw, parser, read, spread, stem, table, verdict, with_ending, write
from benchlib.segmentation import segmentation_score, train_segmenter

from gantutor.data.images import to_float
from gantutor.metrics import frechet_distance, l1, train_judge
from gantutor.scale import speed

NAME = "throughput_scores"
STEPS = {"dcgan_28": 400, "dcgan_64": 150, "pix2pix_64": 400, "pix2pix_256": 80}
LOWER = {"distance": True, "L1": True, "IoU": False}  # which way is better
SAMPLES, HELD_OUT, READ = 1000, 50, 64  # pictures from G; pairs; the side in pixels at which pictures are read


class DigitScores:
    """The Frechet distance of pictures from G to all digits."""

    def __init__(self, preset: Preset) -> None:
        data = digits(min(preset.size, 32))
        assert data.labels is not None
        images = to_float(data.images)
        self.judge = train_judge(images, data.labels)
        self.real, self.side = self.judge.features(images), images.shape[-1]

    def of(self, run: Any, config: Any) -> dict[str, float]:
        z = torch.randn(SAMPLES, config.z_dim, generator=torch.Generator().manual_seed(10_000))
        fake = F.adaptive_avg_pool2d(run.model.sample(z), self.side)
        return {"distance": frechet_distance(self.judge.features(fake), self.real)}


class PairScores:
    """L1 and the IoU of pictures made from held-out label maps."""

    def __init__(self, preset: Preset) -> None:
        data, small = (facades_mini(size=size, split="test") for size in (preset.size, READ))
        train = facades_mini(size=READ)
        assert train.labels is not None
        assert small.labels is not None
        self.A, self.B = data.first(HELD_OUT)
        self.labels = small.labels[:HELD_OUT]
        self.segmenter = train_segmenter(to_float(train.B), train.labels, len(train.classes))

    def of(self, run: Any, config: Any) -> dict[str, float]:
        made = torch.cat([run.model.translate(some) for some in self.A.split(10)])
        score = segmentation_score(self.segmenter, F.adaptive_avg_pool2d(made, READ), self.labels)
        return {"L1": l1(made, self.B), "IoU": score.class_iou}


SCORES = {"dcgan": DigitScores, "pix2pix": PairScores}


def train_row(name: str, side: str, seed: int, steps: int, scores: Any, data: Any) -> Result:
    """One run and its scores."""
    preset, changes = PRESETS[name], changes_of(name, side)
    config: Any = preset.config(data, seed=seed, **changes)
    run = config.start(data)
    speed.set_speed(run, speed.recommended("cpu", run.model))
    for _ in range(steps):
        run.step()
    found = {key: round(value, 4) for key, value in scores.of(run, config).items()}
    return {"preset": name, "side": side, "seed": seed, "steps": steps, "changes": changes, **found}


def changes_of(name: str, side: str) -> dict[str, Any]:
    return PRESETS[name].same if side == "same rule" else PRESETS[name].best


def wanted(presets: Sequence[str], seeds: int) -> list[tuple[str, str, int]]:
    """Every run, preset by preset and seed by seed."""
    return [
        (name, side, seed)
        for name in presets
        if PRESETS[name].best != PRESETS[name].same
        for seed in range(seeds)
        for side in ("same rule", "best")
    ]


def no_worse(result: Result, name: str) -> dict[str, bool]:
    """By score: whether the best order's median is no worse than the worse quartile of the same rule."""
    verdicts = {}
    for score, lower in LOWER.items():
        same, best = (values(result, name, side, score) for side in ("same rule", "best"))
        if same and best:
            middle = statistics.median(best)
            verdicts[score] = middle <= quartile(same, lower) if lower else middle >= quartile(same, lower)
    return verdicts


def quartile(scores: Sequence[float], lower: bool) -> float:
    """The score that three in four reach; `lower` is better, or higher."""
    return statistics.quantiles(scores, n=4, method="inclusive")[2 if lower else 0] if len(scores) > 1 else scores[0]


def values(result: Result, name: str, side: str, score: str) -> list[float]:
    rows = [row for row in result["rows"] if (row["preset"], row["side"]) == (name, side)]
    return [row[score] for row in rows if score in row]


def scored(result: Result) -> list[tuple[str, str]]:
    """The presets and their scores that are there."""
    names = list(dict.fromkeys(row["preset"] for row in result["rows"]))
    return [(name, score) for name in names for score in no_worse(result, name)]


def text(result: Result) -> str:
    rows, judged = [], ""
    for name, score in scored(result):
        same, best = (values(result, name, side, score) for side in ("same rule", "best"))
        pictures = PRESETS[name].batch_size * next(row["steps"] for row in result["rows"] if row["preset"] == name)
        rows.append([PRESETS[name].label, score, pictures, len(same), spread(same, 3), spread(best, 3)])
        bound = {"high" if LOWER[score] else "low": round(quartile(same, LOWER[score]), 4)}
        judged += verdict(f"{PRESETS[name].label}, {score} of best", statistics.median(best), **bound, digits=4)
    head = ["", "score", "pictures", "seeds", "same rule", "best"]
    return f"# Scores of the throughput's two rows\n\n{table(head, rows)}\n{judged}\n"


def paint(result: Result) -> Any:
    import matplotlib.pyplot as plt

    from gantutor.plots import COLOURS

    found = scored(result)
    figure, axes = plt.subplots(1, len(found), figsize=(2.4 * len(found), 3), squeeze=False)
    for ax, (name, score) in zip(axes[0], found, strict=True):
        highest = 0.0
        for place, (side, colour) in enumerate((("same rule", COLOURS["G"]), ("best", COLOURS["D"]))):
            heights = values(result, name, side, score)
            ax.plot([place] * len(heights), heights, "o", color=colour)
            ax.plot([place - 0.2, place + 0.2], [statistics.median(heights)] * 2, color=colour)
            highest = max(highest, *heights)
        ax.set_xticks([0, 1], ["same rule", "best"])
        better = "lower" if LOWER[score] else "higher"
        ax.set(title=f"{PRESETS[name].label}\n{score} ({better} is better)", xlim=(-0.5, 1.5), ylim=(0, 1.1 * highest))
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    made = parser(__doc__)
    made.add_argument("--presets", nargs="+", choices=STEPS, default=list(STEPS))
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--steps", type=int, help="in the place of each preset's number")
    made.add_argument("--fresh", action="store_true", help="forget the runs that are there")
    options = made.parse_args(arguments)
    path = stem(options.out, NAME)
    if not options.redraw:
        torch.set_num_threads(1)  # several threads add in another order, and training makes much of the last bit
        speed.keep_memory()
        there = with_ending(path, ".json").exists() and not options.fresh
        result: Result = read(path) if there else {"machine": machine(), "rows": []}
        complete(result, path, wanted(options.presets, options.seeds), options.steps)
    draw(path, read(path), text, paint)


def complete(result: Result, path: Path, names: list[tuple[str, str, int]], steps: int | None) -> None:
    """Add the runs that are not there yet, one by one."""
    result["rows"] = [row for row in result["rows"] if row["changes"] == changes_of(row["preset"], row["side"])]
    done = {(row["preset"], row["side"], row["seed"], row["steps"]) for row in result["rows"]}
    missing = [name for name in names if (*name, steps or STEPS[name[0]]) not in done]
    for preset in dict.fromkeys(name for name, _, _ in missing):
        with tempfile.TemporaryDirectory() as folder:
            PRESETS[preset].prepare(Path(folder))
            data = PRESETS[preset].load(Path(folder))
        scores = SCORES[PRESETS[preset].kind](PRESETS[preset])
        for name, side, seed in missing:
            if name == preset:
                result["rows"].append(train_row(name, side, seed, steps or STEPS[name], scores, data))
                write(path, result)
                print(f"{name} {side} {seed}: {result['rows'][-1]}", flush=True)


if __name__ == "__main__":
    main()
