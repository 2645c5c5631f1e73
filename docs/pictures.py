"""Make the README's pictures anew: `python docs/pictures.py`. Most are what the panel shows."""

import io
import json
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from PIL import Image

from gantutor import PITFALLS, STEPS, CycleGANConfig, Debugger, Experiment, Lab, Paint, Pix2PixConfig, trace
from gantutor.data import load_pairs, load_unpaired
from gantutor.data.common import embedded_file
from gantutor.data.embedded import read_sheet
from gantutor.ledger import traffic
from gantutor.plots import house_style, image_rows, plot_bounds, roofline, show_rows
from gantutor.scale.limits import best, measure

HERE = Path(__file__).parent


def panel() -> None:
    """A GAN learns to write, 12 steps a frame, and halfway its loss is another: the page of the run, in Chromium."""
    sys.path[:0] = [str(HERE.parent / "tests" / "browser")]
    from chromium import ARGUMENTS, CHROMIUM
    from playwright.sync_api import sync_playwright

    lab = Lab(Experiment(data="digits", device="cpu"), name="digits")
    for i in range(36):
        if i == 18:
            lab.set(loss="wgan")
        lab.advance(12)
    shots = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1180, "height": 800})
        page.goto(lab.save(Path(folder) / "run.html").as_uri())
        for frame in lab.recording.frames:
            page.evaluate("step => { location.hash = `step=${step}`; }", frame.step)
            shown = page.locator(f".gt-lab[data-step='{frame.step}']")
            shown.wait_for()
            page.wait_for_timeout(150)  # for the charts
            shots.append(Image.open(io.BytesIO(shown.screenshot())).convert("RGB"))
        browser.close()
    shots[0].save(
        HERE / "panel.webp", save_all=True, append_images=shots[1:], duration=[*[180] * (len(shots) - 1), 2000], loop=0,
        quality=70, method=6,
    )  # fmt: skip
    lab.close()


def plane() -> None:
    """Notebook 00: the same game in the plane."""
    lab = Lab(Experiment(data="ring", device="cpu"), name="ring")
    lab.advance(2000)
    lab.snapshot().save(HERE / "00_start_here.png", optimize=True)
    lab.close()


def saturation() -> None:
    """Notebook 01, section 7: two losses from one seed, with a D that wins early."""
    a = Experiment(data="digits", device="cpu", loss="minimax", d_steps=3)
    lab = Lab(a, a.replace(loss="non-saturating"), name="saturation")
    lab.advance(50)
    lab.snapshot().save(HERE / "01_gan_objective.png", optimize=True)
    lab.close()


def debugger() -> None:
    """Notebook 02: a step as an article prints it, at its error, and its fixed twin."""
    run = Experiment(data="digits", device="cpu").start()
    batch = next(run.batches)
    pitfall = PITFALLS["d_first_same_logits"]
    traces = [trace(step, run.model, *batch) for step in (pitfall.step, STEPS[pitfall.fixed])]
    debugger = Debugger(*traces, titles=("as printed", "corrected")).to_error()
    debugger.snapshot().save(HERE / "02_detach_or_retain_graph.png", optimize=True)
    debugger.close()


def batching() -> None:
    """Notebook 03: two ways of batching from one seed."""
    a = Experiment(data="digits", device="cpu")
    lab = Lab(a, a.replace(batching="joint_in_D_step"), name="batching")
    lab.advance(300)
    lab.snapshot().save(HERE / "03_batchnorm_batching.png", optimize=True)
    lab.close()


def flat_to_shaded() -> None:
    """Notebook 04: pix2pix on emoji that it has not seen, and Paint with it and with L1 alone."""
    data = load_pairs("emoji_flat")
    run, only_L1 = (
        Pix2PixConfig(data, device="cpu", **part).start() for part in ({}, {"objective": "L1", "steps": 400})
    )
    for one in (run, only_L1):
        for _ in range(one.train_step.steps):
            one.step()
    A, B = data.held_out.first(100)
    made = torch.cat([run.model.translate(some) for some in A.split(25)])
    rows = {"input": A, "output": made, "target": B}
    show_rows({name: images[4:28] for name, images in rows.items()}, columns=12).savefig(HERE / "04_pix2pix.png")
    paint = Paint({"L1": only_L1.model.translate, "L1 + cGAN": run.model.translate}, examples=data.held_out.A)
    paint.example(11).paint_rectangle("black", 12, 21, 40, 2)  # sunglasses
    for x in (14, 35):
        paint.paint_rectangle("black", x, 21, 15, 10).paint_rectangle("bright blue", x + 2, 23, 11, 6)
    paint.snapshot().save(HERE / "paint.png", optimize=True)
    paint.close()


def both_ways() -> None:
    """Notebook 05: the runs of its table. Without the identity term colours are exchanged, and all images come back."""
    table = json.loads(embedded_file("cyclegan_ablations.json").read_text(encoding="utf-8"))
    sheet, shown = read_sheet("cyclegan_ablations.webp"), table["settings"]["shown"]
    house_style()
    figure, axes = plt.subplots(1, 2, figsize=(13, 3))
    seed = max((row["AB_hue"], row["seed"]) for row in table["rows"] if row["arm"] == "no identity")[1]
    for ax, arm in zip(axes, ("full", "no identity"), strict=True):
        (number,) = (n for n, row in enumerate(table["rows"]) if (row["arm"], row["seed"]) == (arm, seed))
        fake_B, rec_A, _ = sheet[number].split(shown)
        image_rows(ax, {"flat": load_unpaired("emoji").test(shown)[0], "→ shaded": fake_B, "→ flat": rec_A})
        ax.set_title({"full": "CycleGAN", "no identity": "without the identity term"}[arm])
    figure.savefig(HERE / "05_cyclegan.png")


def limits() -> None:
    """Notebook 06: four steps of the course below this machine's roofline."""
    machine, points = measure("cpu"), {}
    for name, config in {
        "ring": Experiment("ring", device="cpu"),
        "DCGAN 28": Experiment("digits", device="cpu"),
        "pix2pix 64": Pix2PixConfig(device="cpu"),
        "CycleGAN 64": CycleGANConfig(device="cpu"),
    }.items():
        run = config.start()
        counted = traffic(run.train_step, run.model, *next(run.batches))
        points[name] = counted, best(run.step, torch.device("cpu"), seconds=4)
    house_style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 3.8), width_ratios=(1.25, 1))
    roofline(left, machine, points)
    plot_bounds(right, machine, points)
    figure.savefig(HERE / "06_scale_up.png")


if __name__ == "__main__":
    panel()
    plane()
    saturation()
    debugger()
    batching()
    flat_to_shaded()
    both_ways()
    limits()
