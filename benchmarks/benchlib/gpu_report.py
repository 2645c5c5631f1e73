"""What gpu.py has found, in words and as a plot."""

import statistics
from typing import Any

from benchlib.results import Result, spread, table, verdict

FPS = 30
TARGETS = {"same rule": 3.0, "DCGAN 28": 5.0, "frames, %": 5.0}


def ratios(row: Result, side: str, reference: str = "copied") -> list[float]:
    """Of a side's turns to the copied loop's in the same round; none where one is missing."""
    rates = row["rates"]
    return [a / b for a, b in zip(rates.get(side, []), rates.get(reference, []), strict=False)]


def text(result: Result) -> str:
    found = result["parts"]
    lines = [f"# The course on {result['gpu'] or result['machine']['cpu']}\n\nCommit {result['commit']}.\n"]
    for part, content in found.items():
        ended = f" ({content['ended']})" if content["ended"] else ""
        lines.append(
            f"\n## {part.replace('_', '-')}: {content['seconds']:.0f} s{ended}\n\n{TEXTS[part](content['rows'])}"
        )
    return "".join(lines)


def text_of_tests(rows: list[Result]) -> str:
    outcomes = {kind: [row for row in rows if row["outcome"] == kind] for kind in ("passed", "failed", "skipped")}
    counts = ", ".join(f"{len(found)} {kind}" for kind, found in outcomes.items())
    failures = "".join(f"\n`{row['test']}`\n\n```\n{row['text'][-700:]}\n```\n" for row in outcomes["failed"])
    return f"{counts}.\n{failures}"


def text_of_notebooks(rows: list[Result]) -> str:
    cells = [[row["notebook"], f"{row['ran']} of {row['cells']}", len(row["failed"])] for row in rows]
    failures = "".join(
        f"- {row['notebook']}, {cell['cell']}: {cell['text'][:300]}\n" for row in rows for cell in row["failed"]
    )
    return table(["notebook", "cells run", "failed"], cells) + ("\n" + failures if failures else "")


def text_of_nets(rows: list[Result]) -> str:
    parts = []
    for row in rows:
        cells = []
        for side, rates in row["rates"].items():
            reference = "copied, ieee" if side.endswith("ieee") else "copied"
            cells.append([side, spread(rates, 0), spread(ratios(row, side, reference)) if rates else ""])
        parts.append(f"### {row['label']}, batch {row['batch_size']}, {row['workers']} workers\n\n")
        parts.append(table(["", "pictures/s", "times the copied loop"], cells) + "\n")
        same = row.get("same_rule", {})
        if same:
            parts.append(
                f"From the same weights, {same['steps']} steps: weights differ by {same['float64']:.1g} of their "
                f"movement in float64, by {same['float32']:.1g} in float32 (IEEE), where rounding alone makes "
                f"{same['rounding']:.1g}.\n\n"
            )
        reached = [side for side in row["rates"] if side.startswith("same rule") and "bf16" not in side]
        if reached and row["rates"].get("copied"):
            best = max(
                statistics.median(ratios(row, side, "copied, ieee" if side.endswith("ieee") else "copied") or [0])
                for side in reached
            )
            target = TARGETS.get(row["label"], TARGETS["same rule"])
            parts.append(verdict(f"{row['label']}, same rule", best, target))
        parts += [f"- {side}: {error}\n" for side, error in row["errors"].items()]
        parts.append("\n")
    return "".join(parts)


def text_of_speed_ups(rows: list[Result]) -> str:
    parts = []
    for name in dict.fromkeys(row["config"] for row in rows):
        cells = [
            [
                row["speed"],
                spread([1000 * x for x in row["seconds"]], 2) if row["seconds"] else "",
                spread([a / b for a, b in zip(row["plain"], row["seconds"], strict=True)]) if row["seconds"] else "",
                f"{row['ready_s']:.1f}",
                row["refused"][:90],
            ]
            for row in rows
            if row["config"] == name
        ]
        head = ["", "ms a step", "times plain", "s to get ready", ""]
        parts.append(f"### {name}\n\n{table(head, cells)}\n")
    return "".join(parts)


def text_of_frames(rows: list[Result]) -> str:
    cells, judged = [], ""
    for row in rows:
        each = 1000 * row["painted_s"] / max(1, row["frames"])
        cells.append([
            row["data"], spread(row["plain"], 0), spread(row["with_frames"], 0), f"{each:.1f}",
            f"{row['frames'] / row['played_s']:.1f}", f"{row['bytes'] / max(1, row['frames']) / 1000:.1f}",
        ])  # fmt: skip
        judged += verdict(
            f"{row['data']}, % of the time at {FPS} frames/s", 0.1 * each * FPS, high=TARGETS["frames, %"], digits=1
        )
    head = ["", "steps/s", "with frames", "ms a frame", "frames/s", "kB a frame"]
    return f"{table(head, cells)}\n{judged}"


def text_of_limits(rows: list[Result]) -> str:
    if not rows:
        return ""
    here, *steps = rows
    flops = ", ".join(f"{kind} {value / 1e12:.3g}" for kind, value in here["flops"].items())
    cells = [
        [row["step"], f"{row['flops'] / 1e9:.3g}", row["launches"], row["limited_by"], f"{row['predicted_ms']:.2f}",
         f"{row['measured_ms']:.2f}"]
        for row in steps
    ]  # fmt: skip
    return (
        f"TFLOP/s: {flops}; {here['bandwidth'] / 1e9:.0f} GB/s; {1e6 * here['overhead']:.1f} µs an operation.\n\n"
        + table(["", "GFLOP", "launches", "limited by", "ms predicted", "ms measured"], cells)
    )


TEXTS = {
    "tests": text_of_tests, "notebooks": text_of_notebooks, "nets": text_of_nets, "speed_ups": text_of_speed_ups,
    "frames": text_of_frames, "limits": text_of_limits,
}  # fmt: skip


def paint(result: Result) -> Any:
    import matplotlib.pyplot as plt

    from gantutor.plots import COLOURS

    nets_rows = result["parts"].get("nets", {"rows": []})["rows"]
    speed_rows = [row for row in result["parts"].get("speed_ups", {"rows": []})["rows"] if row["seconds"]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5))
    sides = list(dict.fromkeys(side for row in nets_rows for side in row["rates"] if not side.startswith("copied")))
    shades = plt.get_cmap("cividis")
    for place, row in enumerate(nets_rows):
        for number, side in enumerate(sides):
            found = ratios(row, side, "copied, ieee" if side.endswith("ieee") else "copied")
            if found:
                colour = shades(number / max(1, len(sides) - 1))
                height = 0.8 / len(sides)
                label = side if place == 0 else None
                left.barh(place + number * height, statistics.median(found), height, color=colour, label=label)
    left.axvline(1, color=COLOURS["ink"], lw=0.8)
    left.axvline(TARGETS["same rule"], color=COLOURS["ink"], lw=0.8, ls=":")
    left.set_yticks([place + 0.4 for place in range(len(nets_rows))], [row["label"] for row in nets_rows])
    left.invert_yaxis()
    left.set(xlabel="pictures/s, the copied loop = 1 (dotted: the goal)")
    if nets_rows:
        left.legend(fontsize=7)
    speeds = list(dict.fromkeys(row["speed"] for row in speed_rows))
    configs = list(dict.fromkeys(row["config"] for row in speed_rows))
    for number, name in enumerate(configs):
        for row in (row for row in speed_rows if row["config"] == name):
            value = statistics.median(a / b for a, b in zip(row["plain"], row["seconds"], strict=True))
            right.plot(value, speeds.index(row["speed"]), "osD"[number % 3], color=shades(number / 3), ms=6)
    for number, name in enumerate(configs):
        right.plot([], [], "osD"[number % 3], color=shades(number / 3), label=name)
    right.axvline(1, color=COLOURS["ink"], lw=0.8)
    right.set_yticks(range(len(speeds)), speeds)
    right.invert_yaxis()
    right.set(xlabel="times the plain step's speed")
    if configs:
        right.legend(fontsize=7)
    return figure
