"""What a step costs in every order, against the least that its update needs: operations, memory, time.

    python benchmarks/step_cost.py [--presets NAME ...] [--repeats N] [--redraw]

The least is every forward once and every backward once. With g and d the operations of one forward of G and of D for a
batch, and a backward of twice that (for the weights, and for what came in):
    GAN, pix2pix   3 g + 6 d      G's fake; D's scores of the reals and of the fakes
    CycleGAN       18 g + 16 d    each G makes a fake, an identity and a reconstruction; each D scores reals and the
                                  pool's fakes for itself, and new fakes for the generators, which asks for no weights
A first layer is asked for nothing at its input where that is data, so the least that is counted is a little lower: it
is measured piece by piece, without a step. Times are medians over turns in which all orders take steps.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from benchlib import copied
from benchlib.machine import machine
from benchlib.presets import PRESETS, Preset
from benchlib.results import Result, draw, parser, read, spread, stem, table, verdict, write
from torch import Tensor, nn

from gantutor.cyclegan import CYCLEGAN_STEPS
from gantutor.ledger import cost
from gantutor.ledger.cost import Counting
from gantutor.ledger.reach import Reach
from gantutor.pix2pix import PIX2PIX_STEPS
from gantutor.steps import STEPS

Step = Callable[..., Any]
LOSS = {"dcgan": "minimax", "pix2pix": "minimax", "cyclegan": "lsgan"}  # what one_stage takes with BatchNorm in D
COPIED = "the copied loop"
DEFAULT = ("dcgan_28", "dcgan_64", "pix2pix_64", "cyclegan_64")


def counted(network: nn.Module, x: Tensor, weights: bool = True, inputs: bool = False) -> tuple[int, int]:
    """The operations of one forward, and of one backward to the weights, to x, or to both."""
    x = x.detach().requires_grad_(inputs)
    wanted = [*(network.parameters() if weights else ()), *([x] if inputs else ())]
    forward = Counting(Reach())
    with forward:
        y = network(x)
    backward = Counting(Reach())
    with backward:
        torch.autograd.grad(y.sum(), wanted)
    return forward.flops, backward.flops


def least_of_gan(model: Any, real: Tensor, z: Tensor) -> tuple[int, int]:
    """The formula's operations, and those counted."""
    pieces = [counted(model.G, z), counted(model.D, real), counted(model.D, real, inputs=True)]
    return 3 * pieces[0][0] + 6 * pieces[1][0], sum(map(sum, pieces))


def least_of_pix2pix(model: Any, A: Tensor, B: Tensor) -> tuple[int, int]:
    """As `least_of_gan`; of what D is shown only the fake is asked for a gradient, which costs as much as both."""
    both = torch.cat([A, B], dim=1)
    pieces = [counted(model.G, A), counted(model.D, both), counted(model.D, both, inputs=True)]
    return 3 * pieces[0][0] + 6 * pieces[1][0], sum(map(sum, pieces))


def least_of_cyclegan(model: Any, A: Tensor, B: Tensor) -> tuple[int, int]:
    """As `least_of_gan`, of both directions."""
    formula = total = 0
    for G, D, x, y in ((model.G_AB, model.D_B, A, B), (model.G_BA, model.D_A, B, A)):
        pieces = [counted(G, x), counted(G, y), counted(G, x, inputs=True)]  # fake, identity, reconstruction
        pieces += [counted(D, y), counted(D, y), counted(D, y, weights=False, inputs=True)]
        formula += 9 * pieces[0][0] + 8 * pieces[3][0]
        total += sum(map(sum, pieces))
    return formula, total


LEAST = {"dcgan": least_of_gan, "pix2pix": least_of_pix2pix, "cyclegan": least_of_cyclegan}
ORDERS: dict[str, dict[str, Step]] = {
    "dcgan": dict(STEPS),
    "pix2pix": dict(PIX2PIX_STEPS),
    "cyclegan": dict(CYCLEGAN_STEPS),
}


def copied_step(kind: str) -> Step:
    """One pass of the copied loop's body."""

    def dcgan(model: Any, real: Tensor, z: Tensor) -> None:
        copied.dcgan(model, [(real, None)], z.shape[1], str(real.device), [])

    def pix2pix(model: Any, A: Tensor, B: Tensor) -> None:
        copied.pix2pix(model, [{"A": A, "B": B}], str(A.device), [])

    def cyclegan(model: Any, A: Tensor, B: Tensor) -> None:
        buffers = [copied.ReplayBuffer(), copied.ReplayBuffer()]
        copied.cyclegan(model, [{"A": A, "B": B}], str(A.device), [], buffers)

    return {"dcgan": dcgan, "pix2pix": pix2pix, "cyclegan": cyclegan}[kind]


def start_run(preset: Preset, folder: Path) -> tuple[Any, tuple[Tensor, ...]]:
    """The model and a batch."""
    preset.prepare(folder)
    config: Any = preset.config(preset.load(folder), loss=LOSS[preset.kind])
    run = config.start(config.data)
    return run.model, next(run.batches)


def measured(name: str, preset: Preset, repeats: int, folder: Path) -> Result:
    """The least, and what each order costs."""
    model, batch = start_run(preset, folder)
    formula, least = LEAST[preset.kind](copy.deepcopy(model), *batch)
    orders = {**ORDERS[preset.kind], COPIED: copied_step(preset.kind)}
    costs = {order: cost(step, model, *batch, repeats=1) for order, step in orders.items()}
    times = clocked(orders, model, batch, repeats)
    rows = [
        {
            "order": order,
            "flops": found.flops,
            "saved_bytes": found.saved_bytes,
            "calls": {network: [share.forwards, share.backwards] for network, share in found.networks.items()},
            "milliseconds": [round(ms, 3) for ms in times[order]],
        }
        for order, found in costs.items()
    ]
    return {
        "preset": name, "label": preset.label, "kind": preset.kind, "batch_size": preset.batch_size,
        "loss": LOSS[preset.kind], "formula_flops": formula, "least_flops": least, "rows": rows,
    }  # fmt: skip


def clocked(orders: dict[str, Step], model: Any, batch: tuple[Tensor, ...], repeats: int) -> dict[str, list[float]]:
    """The time of a step in ms, in turns, there and back; each order has a model of its own."""
    twins = {order: copy.deepcopy(model) for order in orders}
    times: dict[str, list[float]] = {order: [] for order in orders}
    for number in range(repeats + 1):
        for order in list(orders)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            orders[order](twins[order], *batch)
            if number:  # the first is for warming up
                times[order].append(1000 * (time.perf_counter() - start))
    return times


def text(result: Result) -> str:
    parts = ["# The cost of a step\n\n"]
    for part in result["presets"]:
        least = part["least_flops"]
        cheapest = statistics.median(min(part["rows"], key=lambda row: row["flops"])["milliseconds"])
        rows = [
            [
                row["order"],
                f"{row['flops'] / 1e9:.3f}",
                f"{row['flops'] / least:.2f}",
                f"{row['flops'] / part['formula_flops']:.2f}",
                f"{row['saved_bytes'] / 2**20:.1f}",
                spread(row["milliseconds"], 1),
                f"{statistics.median(row['milliseconds']) / cheapest:.2f}",
                ", ".join(f"{network} {there}/{back}" for network, (there, back) in row["calls"].items()),
            ]
            for row in part["rows"]
        ]
        head = [
            "",
            "GFLOP",
            "of the least",
            "of the formula",
            "MiB saved",
            "ms",
            "of the cheapest",
            "forwards/backwards",
        ]
        parts.append(
            f"## {part['label']}, batch {part['batch_size']}, {part['loss']} loss\n\n"
            f"The least: {least / 1e9:.3f} GFLOP counted, {part['formula_flops'] / 1e9:.3f} by the formula.\n\n"
            f"{table(head, rows)}\n{judged(part)}\n"
        )
    return "".join(parts)


def judged(part: Result) -> str:
    """The targets, where the orders that they name are there."""
    of_least = {row["order"]: row["flops"] / part["least_flops"] for row in part["rows"]}
    lines = ""
    if "one_stage" in of_least:
        lines += verdict("one_stage, operations of the least", of_least["one_stage"], high=1.0)
        lines += verdict("simultaneous, operations of the least", of_least["simultaneous"], high=1.12)
    if part["kind"] == "dcgan":  # the others' G is so much dearer than D that D's second look at the fake is less
        lines += verdict(f"{COPIED}, operations of the least", of_least[COPIED], 1.3, 1.45)
    return lines


def paint(result: Result) -> Any:
    import matplotlib.pyplot as plt

    from gantutor.plots import COLOURS

    parts = result["presets"]
    figure, axes = plt.subplots(1, len(parts), figsize=(4.2 * len(parts), 3.4), squeeze=False)
    for ax, part in zip(axes[0], parts, strict=True):
        rows = sorted(part["rows"], key=lambda row: row["flops"])
        cheapest = statistics.median(rows[0]["milliseconds"])
        scales = {
            "operations, least = 1": ([row["flops"] / part["least_flops"] for row in rows], COLOURS["D"]),
            f"time, {rows[0]['order']} = 1": (
                [statistics.median(row["milliseconds"]) / cheapest for row in rows],
                COLOURS["G"],
            ),
        }
        for number, (name, (values, colour)) in enumerate(scales.items()):
            ax.barh([place + 0.4 * number - 0.2 for place in range(len(rows))], values, 0.36, color=colour, label=name)
        ax.set_yticks(range(len(rows)), [row["order"] for row in rows])
        ax.invert_yaxis()
        ax.axvline(1, color=COLOURS["ink"], lw=1)
        ax.set(title=f"{part['label']}, batch {part['batch_size']}")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), fontsize=8)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    made: argparse.ArgumentParser = parser(__doc__, repeats=15)
    made.add_argument("--presets", nargs="+", choices=PRESETS, default=list(DEFAULT))
    options = made.parse_args(arguments)
    path = stem(options.out, "step_cost")
    if not options.redraw:
        result: Result = {"machine": machine(), "presets": []}
        for name in options.presets:
            with tempfile.TemporaryDirectory() as folder:
                result["presets"].append(measured(name, PRESETS[name], options.repeats, Path(folder)))
            write(path, result)
    draw(path, read(path), text, paint)


if __name__ == "__main__":
    main()
