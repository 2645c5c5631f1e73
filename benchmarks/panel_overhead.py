"""What the live panel costs in a browser: steps and frames a second, and how soon a toggle is seen on the page.

    python benchmarks/panel_overhead.py [--repeats N] [--seconds N] [--redraw]

A JupyterLab of its own, seen by a Chromium. In the notebook's kernel two runners take turns: the panel's, whose frames
the browser draws, and a plain one that trains the same run on and shows nothing. Each pair of turns gives one ratio. A
toggle is timed in the page, from the control's change to the picture that is drawn after it took effect.
Targets: at most 8 % of the steps lost; frames at most 5 % of the time; toggle to picture in 50 ms (median) on digits
and on the ring.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchlib.machine import machine
from benchlib.results import Result, draw, parser, read, stem, table, verdict, write

TARGET_LOST, TARGET_SHARE, TARGET_LATENCY_MS = 0.08, 0.05, 50
CONFIGS = {
    "digits": 'Experiment(data="digits", device="cpu")',
    "ring": 'Experiment(data="ring", device="cpu")',
    "pix2pix": 'Pix2PixConfig(device="cpu", steps=0)',
}

PANEL = """
from gantutor import Experiment, Lab, Pix2PixConfig
config = {config}
lab = Lab(config, name="bench")
lab
"""

# In a thread, so that the kernel is as free as it is for a learner who watches.
MEASURE = """
import json, threading, time
import torch
from gantutor.lab.runner import Runner

# The same run: another's tensors would lie elsewhere in memory, which alone makes a step faster or slower.
runners = {"panel": lab.runner, "plain": Runner("plain", lab.run.step, lambda last: None, lambda state: None)}
spent = [0, 0.0]
shows = lab.runner.on_frame

def timed(last):
    start = time.perf_counter()
    shows(last)
    spent[0] += 1
    spent[1] += time.perf_counter() - start

lab.runner.on_frame = timed

def turn(runner, seconds):
    ends, step = [], runner.step
    def counted():
        step()
        ends.append(time.perf_counter())
    runner.step = counted
    runner.play()
    time.sleep(seconds)
    runner.pause()
    runner.wait()
    runner.step = step
    return (len(ends) - 1) / (ends[-1] - ends[0])

def measure(repeats, seconds):
    for runner in runners.values():
        turn(runner, 1.0)
    spent[:] = 0, 0.0
    found = {"panel": [], "plain": []}
    for number in range(repeats):
        for side in list(runners)[:: 1 if number % 2 else -1]:
            found[side].append(turn(runners[side], seconds))
    found["threads"] = torch.get_num_threads()
    found |= {"frames_per_s": spent[0] / repeats / seconds, "frame_ms": 1000 * spent[1] / spent[0]}
    found["share"] = spent[1] / repeats / seconds
    done.append(found)

done = []
threading.Thread(target=measure, args=(REPEATS, SECONDS)).start()
"""

# Milliseconds of each toggle, while it plays.
TOGGLES = """async ([panel, count]) => {
    const row = [...panel.querySelectorAll('.gt-setting')].find(row => row.textContent.startsWith('loss'));
    const select = row.children[1];
    const status = panel.querySelector('[role=status]'), frame = () => Number(panel.dataset.frame);
    const names = [...select.options].map(option => option.textContent), found = [];
    const drawnAfter = said => new Promise(done => {  // the first picture that is drawn after the status says so
        let seen = null;
        const watcher = new MutationObserver(() => {
            if (seen === null && status.textContent.startsWith(said)) seen = frame();
            if (seen === null || frame() === seen) return;
            watcher.disconnect();
            done();
        });
        watcher.observe(panel, { attributes: true, childList: true, characterData: true, subtree: true });
    });
    for (let i = 0; i < count; i++) {
        await new Promise(done => setTimeout(done, 100 + 37 * (i % 7)));
        const name = ['lsgan', 'non-saturating'][i % 2], start = performance.now();
        const drawn = drawnAfter(`loss = ${name} `);
        select.value = String(names.indexOf(name));
        select.dispatchEvent(new Event('change'));
        await drawn;
        found.push(performance.now() - start);
    }
    return found;
}"""


@contextmanager
def opened() -> Iterator[Any]:
    """A function from a config to the page of its panel and that panel; each takes the place of the one before."""
    sys.path[:0] = [str(Path(__file__).parent.parent / "tests" / "browser")]
    from chromium import ARGUMENTS, CHROMIUM
    from labserver import lab_server
    from notebookpage import open_notebook, run_all, write_notebook
    from panelpage import PanelPage
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        raise SystemExit("this benchmark needs a Chromium")
    with tempfile.TemporaryDirectory() as folder, lab_server(Path(folder)) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1366, "height": 768})

        def show(config: str) -> tuple[Any, Any]:
            write_notebook(server.notebooks / "panel.ipynb", ("browser", PANEL.format(config=config)))
            open_notebook(page, server.url, "panel.ipynb")
            run_all(page)
            return page, PanelPage(page, 0).panel

        yield show
        browser.close()


def measured(show: Any, config: str, repeats: int, seconds: float, toggles: int = 40) -> Result:
    """The figures of one config."""
    from notebookpage import run_cell
    from panelpage import PanelPage

    page, _ = show(config)
    run_cell(page, MEASURE.replace("REPEATS", str(repeats)).replace("SECONDS", str(seconds)))
    PanelPage(page, 0)  # in sight again
    page.wait_for_timeout(1000 * (2 * repeats * (seconds + 0.2) + 3))
    found: Result = json.loads(run_cell(page, "while not done:\n    time.sleep(0.1)\nprint(json.dumps(done[0]))"))
    panel = PanelPage(page, 0)
    panel.press("Play")
    page.wait_for_timeout(1000)
    found["latency_ms"] = panel.panel.evaluate(f"panel => ({TOGGLES})([panel, {toggles}])")
    panel.press("Pause")
    found["lost"] = [1 - panel / plain for panel, plain in zip(found["panel"], found["plain"], strict=True)]
    return found


def share(values: Sequence[float]) -> str:
    """The median, and from the lowest to the highest, in per cent."""
    return f"{statistics.median(values):.1%} ({min(values):.1%} to {max(values):.1%})"


def text(result: Result) -> str:
    found = {name: row for name, row in result.items() if name in CONFIGS}
    rows = [
        [name, f"{statistics.median(row['plain']):.1f}", f"{statistics.median(row['panel']):.1f}", share(row["lost"]),
         f"{row['frames_per_s']:.1f}", f"{row['frame_ms']:.1f}", f"{row['share']:.1%}",
         f"{statistics.median(row['latency_ms']):.0f}", f"{statistics.quantiles(row['latency_ms'], n=20)[-1]:.0f}"]
        for name, row in found.items()
    ]  # fmt: skip
    head = ["", "steps/s", "with the panel", "lost", "frames/s", "ms a frame", "of the time", "toggle, ms", "95 %"]
    lines = [f"# What the live panel costs in a browser\n\n{table(head, rows)}"]
    for name, row in found.items():
        lines.append(
            verdict(f"{name}: lost, %", 100 * statistics.median(row["lost"]), high=100 * TARGET_LOST, digits=1)
            + verdict(f"{name}: frames, % of the time", 100 * row["share"], high=100 * TARGET_SHARE, digits=1)
        )
        if name != "pix2pix":
            toggle = statistics.median(row["latency_ms"])
            lines.append(verdict(f"{name}: toggle to picture, ms", toggle, high=TARGET_LATENCY_MS, digits=0))
    return "\n".join(lines)


def paint(result: Result) -> Any:
    import matplotlib.pyplot as plt

    from gantutor.plots import COLOURS

    figure, axes = plt.subplots(1, 2, figsize=(9, 2.4), sharey=True)
    found = {name: row for name, row in result.items() if name in CONFIGS}
    lost = {name: [100 * x for x in row["lost"]] for name, row in found.items()}
    waited = {name: row["latency_ms"] for name, row in found.items()}
    shown = (
        (lost, "% of the steps/s that the panel costs", 100 * TARGET_LOST),
        (waited, "ms from a toggle to its picture", TARGET_LATENCY_MS),
    )
    for ax, (values, what, target) in zip(axes, shown, strict=True):
        for place, row in enumerate(values.values()):
            ax.plot(row, [place] * len(row), "o", ms=4, alpha=0.4, color=COLOURS["D"])
            ax.plot(statistics.median(row), place, "|", ms=16, mew=2, color=COLOURS["ink"])
        ax.axvline(target, color=COLOURS["fake"], lw=1)
        ax.set_yticks(range(len(found)), list(found))
        ax.set(xlabel=what, ylim=(-0.5, len(found) - 0.5))
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    made = parser(__doc__, repeats=6)
    made.add_argument("--seconds", type=float, default=3.0, help="of a turn")
    options = made.parse_args(arguments)
    path = stem(options.out, "panel_overhead")
    if not options.redraw:
        with opened() as show:
            found = {name: measured(show, config, options.repeats, options.seconds) for name, config in CONFIGS.items()}
        write(path, {"machine": machine(threads=sorted({row["threads"] for row in found.values()})), **found})
    draw(path, read(path), text, paint)


if __name__ == "__main__":
    main()
