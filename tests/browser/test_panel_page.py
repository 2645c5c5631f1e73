"""The panel in a real JupyterLab: it moves when it should, stands still when it should, and does what a toggle says."""

import json
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from labserver import LabServer
from notebookpage import (
    CONNECTED,
    KERNEL,
    LOSES_PUSHES,
    change_theme,
    run_all,
    run_cell,
    run_tagged,
    run_whole,
    screenshot,
    write_notebook,
)
from panelpage import PanelPage
from playwright.sync_api import Error, Page, expect

pytestmark = pytest.mark.browser

FIRST = Path(__file__).parent.parent.parent / "notebooks" / "00_start_here.ipynb"
SIZES = {"laptop": (1366, 768), "projector": (1920, 1080), "phone": (390, 844)}
SMALL = """import torch

from gantutor import CycleGANConfig, Experiment, Lab, Pix2PixConfig
from gantutor.data import Pairs, Unpaired

A, B = torch.randint(256, (2, 8, 3, 16, 16), dtype=torch.uint8)
small = {"width_G": 4, "width_D": 4, "patch": 16, "batch_size": 2, "device": "cpu"}"""
KINDS = (
    'Lab(Pix2PixConfig(Pairs("noise", A, B), **small), name="pairs")',
    'Lab(CycleGANConfig(Unpaired("heaps", A, B, A, B, ("dots", "dashes")), blocks=1, **small), name="unpaired")',
)
HEAD = "from gantutor import CycleGANConfig, Experiment, Lab, Pix2PixConfig"
DIGITS = 'Lab(Experiment(data="digits"), name="digits")'
PANELS = {
    "ring": 'Lab(Experiment(data="ring"), name="ring")',
    "ab": 'Lab(Experiment(data="digits"), Experiment(data="digits", loss="minimax"), name="ab", cost_meter=True)',
    "pix2pix": 'Lab(Pix2PixConfig(), name="pix2pix")',
    "cyclegan": 'Lab(CycleGANConfig(), name="cyclegan")',
}


def opened(page: Page, lab: LabServer, folder: Path, cell: str) -> PanelPage:
    """A notebook with a panel, which this cell makes as `lab`."""
    run_whole(page, lab, write_notebook(folder / "panel.ipynb", ("browser", f"{HEAD}\n\nlab = {cell}\nlab")))
    return PanelPage(page, 0)


def test_the_first_notebooks_panel(page: Page, lab: LabServer) -> None:
    run_tagged(page, lab, FIRST)
    drive_and_look(page, 0, "first_notebook")


def test_a_panel_of_each_kind(page: Page, lab: LabServer, tmp_path: Path) -> None:
    cells = (("setup", SMALL), *(("browser", panel) for panel in KINDS))
    run_whole(page, lab, write_notebook(tmp_path / "kinds.ipynb", *cells))
    for number in range(len(KINDS)):
        drive_and_look(page, number, f"kind_{number}")


def drive_and_look(page: Page, number: int, name: str) -> None:
    panel = PanelPage(page, number)
    screenshot(page, f"{name}_opened")
    drive(panel)
    screenshot(page, f"{name}_driven")
    assert page.errors == []


def drive(panel: PanelPage) -> None:
    panel.press("Reset")
    expect(panel.panel).to_have_attribute("data-step", "0")
    first = panel.settled()

    panel.press("Step")
    panel.wait_until(first)
    stepped = panel.settled()
    panel.reset(first)  # the same seed, the same picture
    panel.press("Step")
    panel.wait_until(stepped, same=True)

    panel.reset(first)
    run_view = "A" if panel.panel.locator("h4").count() else ""
    said = "A: " if run_view else ""
    loss = panel.another("loss", run_view, "lsgan", "hinge")
    panel.choose("loss", loss, run_view)
    expect(panel.status).to_contain_text(f"{said}loss = {loss} from step 1 on")
    panel.press("Step")
    panel.wait_until(first)
    assert panel.settled() != stepped  # the toggle took effect

    panel.press("Play")
    pause = panel.button("Pause")
    expect(pause).to_have_attribute("aria-pressed", "true")
    panel.wait_until(panel.look())
    strategy = panel.another("strategy", run_view, "simultaneous", "d_first_shared")
    panel.choose("strategy", strategy, run_view)
    expect(panel.status).to_contain_text(f"{said}strategy = {strategy} from step")
    panel.wait_until(panel.look())
    panel.press("Pause")
    expect(panel.status).to_have_text("paused")
    still = panel.settled()
    panel.page.wait_for_timeout(300)
    assert panel.look() == still


def test_the_keyboard_does_everything_and_belongs_to_what_has_focus(page: Page, lab: LabServer, tmp_path: Path) -> None:
    panel = opened(page, lab, tmp_path, DIGITS)
    number_of_cells = "() => window.jupyterapp.shell.currentWidget.content.model.cells.length"
    before = page.evaluate(number_of_cells)
    panel.button("Step").focus()
    seen = panel.look()
    for key in ("b", "d", "d"):  # in Lab's command mode: a new cell below, and these delete one
        page.keyboard.press(key)
    page.keyboard.press("Enter")  # on a button: press it
    panel.wait_until(seen)
    panel.control("strategy").focus()
    page.keyboard.press("ArrowDown")  # in Lab: the next cell
    expect(panel.status).to_contain_text("strategy = g_first_detach from step 2")
    rate = panel.panel.get_by_role("slider", name="lr G", exact=True)
    rate.focus()
    page.keyboard.press("ArrowRight")
    expect(panel.status).to_contain_text("lr_G = 0.00112202 from step 2")
    expect(rate).to_have_attribute("aria-valuetext", "1.1e-3")
    panel.press("Step")
    expect(panel.panel).to_have_attribute("data-step", "2")
    chart = panel.panel.locator("[data-view=losses]")
    chart.locator("svg").focus()
    page.keyboard.press("ArrowLeft")  # reads the values at a step
    expect(chart.locator(".gt-value")).to_contain_text("step 2 · D ")
    page.keyboard.press("Escape")
    expect(chart.locator(".gt-value")).to_have_text("")
    assert page.evaluate(number_of_cells) == before


def test_light_and_dark_on_every_size_with_names_for_all(page: Page, lab: LabServer, tmp_path: Path) -> None:
    cells = (("setup", HEAD), *(("browser", panel) for panel in PANELS.values()))
    run_whole(page, lab, write_notebook(tmp_path / "panels.ipynb", *cells))
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    for theme in ("dark", "light"):
        change_theme(page, theme)
        for size, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            for number, name in enumerate(PANELS):
                panel = PanelPage(page, number)
                over = panel.panel.evaluate("panel => panel.scrollWidth - panel.clientWidth")
                assert over <= 0, f"{name}, {size}: it is {over} pixels wider than its place"
                screenshot(page, f"panel_{name}_{size}_{theme}")
                if size == "laptop" and name in ("ab", "ring"):  # the others have nothing but these have
                    found = Axe().run(page, context=".jp-Cell.jp-mod-active .gt-lab").response["violations"]
                    assert [v["nodes"] for v in found if v["impact"] in ("serious", "critical")] == []
    for number in range(len(PANELS)):
        panel = PanelPage(page, number)
        for picture in panel.panel.get_by_role("img").all():
            assert len(picture.get_attribute("aria-label") or "") > 10
        for control in panel.panel.locator("button, select, input").all():
            assert control.get_attribute("data-lm-suppress-shortcuts") == "true"
    assert page.errors == []


def test_larger_type_for_a_projector(page: Page, lab: LabServer, tmp_path: Path) -> None:
    panel = opened(page, lab, tmp_path, DIGITS)
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    size = "panel => parseFloat(getComputedStyle(panel.querySelector('select')).fontSize)"
    before, small = panel.panel.evaluate(size), panel.panel.locator("[data-view=fake]").bounding_box()
    panel.press("Larger type")
    page.wait_for_timeout(300)
    large = panel.panel.locator("[data-view=fake]").bounding_box()
    assert panel.panel.evaluate(size) > 1.3 * before
    assert small is not None
    assert large is not None
    assert large["width"] > 1.2 * small["width"]
    screenshot(page, "panel_larger")


def test_looking_back_and_marks_on_the_curves(page: Page, lab: LabServer, tmp_path: Path) -> None:
    panel = opened(page, lab, tmp_path, DIGITS)
    looks = [panel.settled()]
    for step in (1, 2):
        panel.press("Step")
        expect(panel.panel).to_have_attribute("data-step", str(step))
        looks.append(panel.settled())
    panel.choose("loss", "hinge")
    expect(panel.panel.locator("[data-view=losses] .gt-marks")).to_contain_text("loss → hinge")
    back = panel.panel.get_by_role("slider", name="Look back")
    back.focus()
    page.keyboard.press("Home")
    panel.wait_until(looks[0], same=True)
    expect(back).to_have_attribute("aria-valuetext", "step 0")
    page.keyboard.press("ArrowRight")
    panel.wait_until(looks[1], same=True)
    panel.press("Back to now")
    panel.wait_until(looks[2], same=True)
    chart = panel.panel.locator("[data-view=losses]")
    chart.locator("svg").hover(position={"x": 60, "y": 30})
    expect(chart.locator(".gt-value")).to_contain_text("· G ")


def test_a_choice_that_is_not_possible_is_grey_and_never_stops_a_run(
    page: Page, lab: LabServer, tmp_path: Path
) -> None:
    panel = opened(page, lab, tmp_path, 'Lab(Experiment(data="digits", device="cpu"), speed_ups=True)')
    grey = panel.control("strategy").locator("option.gt-refused")
    expect(grey).to_have_text("⊘ one_stage")
    expect(grey).to_have_attribute(
        "title", re.compile("^Not possible now: one_stage is not exact here: BatchNorm in D")
    )
    panel.press("Play")
    panel.choose("strategy", "one_stage")
    expect(panel.status).to_contain_text("The run goes on with strategy = d_first_detach")
    assert panel.chosen("strategy") == "d_first_detach"
    panel.wait_until(panel.look())
    panel.press("graph")
    expect(panel.status).to_contain_text("a recording (CUDA graph) is made on a CUDA device")
    expect(panel.button("graph")).to_have_attribute("aria-pressed", "false")
    panel.press("bf16")
    expect(panel.status).to_contain_text("speed = bf16 from step")
    expect(panel.button("bf16")).to_have_attribute("aria-pressed", "true")
    panel.choose("norm in D", "none")
    expect(panel.status).to_contain_text("norm_D = none applies at Reset")
    panel.wait_until(panel.look())
    expect(panel.error).to_be_hidden()
    panel.press("Reset")
    expect(grey).to_have_count(0)


def test_the_learner_draws_the_data_with_the_mouse_or_the_keyboard(page: Page, lab: LabServer, tmp_path: Path) -> None:
    panel = opened(page, lab, tmp_path, 'Lab(Experiment("ring"), Experiment("ring", loss="minimax"), name="drawn")')
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    panel.press("Step")
    expect(panel.panel).to_have_attribute("data-step", "1")
    panel.press("Draw")
    sheet = panel.panel.locator(".gt-sheet")
    box = sheet.bounding_box()
    assert box is not None
    assert box["width"] == pytest.approx(box["height"], abs=1)
    for y in (0.25, 0.75):  # from (-1.5, 1.5) to (1.5, 1.5), and the same below
        page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + y * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + y * box["height"], steps=5)
        page.mouse.up()
    for theme in ("dark", "light"):
        change_theme(page, theme)
        for size, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(300)
            screenshot(page, f"panel_draw_{size}_{theme}")
        found = Axe().run(page, context=".jp-Cell.jp-mod-active .gt-lab").response["violations"]
        assert [v["nodes"] for v in found if v["impact"] in ("serious", "critical")] == []
    page.set_viewport_size({"width": 1366, "height": 768})
    panel.press("Train on it")
    expect(sheet).to_have_count(0)
    expect(panel.panel).to_have_attribute("data-step", "0")
    assert [panel.chosen("data", run) for run in "AB"] == ["drawn", "drawn"]
    corners = (
        "print([[round(x) for x in e.flatten().tolist()] for v in lab.run_views for e in [v.data.curve.start * 10]])"
    )
    found = json.loads(run_cell(page, corners))
    assert found[0] == found[1]
    assert found[0][:2] == pytest.approx([-15, 15], abs=1)
    assert set(map(abs, found[0][1::2])) <= {14, 15, 16}
    panel = PanelPage(page, 0)
    screenshot(page, "panel_drawn")
    panel.press("Draw")
    for key in (" ", "ArrowRight", "ArrowRight", " ", "ArrowUp", "ArrowUp", " ", "Backspace", "Enter"):
        page.keyboard.press(key)
    expect(sheet).to_have_count(0)
    expect(panel.panel).to_have_attribute("data-step", "0")
    assert json.loads(run_cell(page, corners))[0] == pytest.approx([0, 0, 1.5, 0], abs=0.6)
    panel = PanelPage(page, 0)
    panel.press("Draw")
    page.keyboard.press("Escape")
    expect(panel.button("Draw")).to_have_attribute("aria-pressed", "false")
    assert page.errors == []


def test_slow_motion_shows_the_phases_of_a_step_one_after_the_other(page: Page, lab: LabServer, tmp_path: Path) -> None:
    panel = opened(page, lab, tmp_path, PANELS["ring"])
    panel.press("Slow")
    expect(panel.button("Slow")).to_have_attribute("aria-pressed", "true")
    panel.press("Play")
    run = panel.panel.locator(".gt-run")
    phases = {
        "D sees real and fake": "D",
        "D's update": "D",
        "G's fakes, and where its loss pushes them": "G",
        "G's update": "G",
    }
    again = 60_000  # ms: a phase that a busy machine missed comes again with the next step, after 5 s or more
    for text, who in phases.items():
        expect(panel.status).to_have_text(text, timeout=again)
        expect(run).to_have_attribute("data-phase", who, timeout=again)
        screenshot(page, f"panel_slow_{list(phases).index(text)}")
    panel.choose("strategy", "g_first_detach")  # a command does not wait for the phases
    expect(panel.status).to_have_text("G's fakes, and where its loss pushes them", timeout=again)
    panel.press("Pause")
    expect(panel.status).to_have_text("paused")
    step = int(run_cell(page, "print(lab.run.t)"))  # what is drawn may still be the phase before
    panel = PanelPage(page, 0)
    for text in (*list(phases)[2:], *list(phases)[:2]):  # Step goes from phase to phase, too
        panel.press("Step")
        expect(panel.status).to_have_text(text)
    expect(panel.panel).to_have_attribute("data-step", str(step + 1))
    panel.press("Slow")
    expect(run).to_have_attribute("data-phase", "")
    panel.press("Play")
    panel.wait_until(panel.look())
    assert page.errors == []


BREAK = """
def broken(*_):
    raise ValueError("this step raises")

step, lab.run.train_step.last = lab.run.train_step.last, broken
"""


def test_an_error_stays_in_sight_until_play(page: Page, lab: LabServer, tmp_path: Path) -> None:
    panel = opened(page, lab, tmp_path, PANELS["ring"])
    run_cell(page, BREAK)
    panel = PanelPage(page, 0)
    panel.press("Play")
    expect(panel.error).to_have_text("error: ValueError: this step raises")
    expect(panel.button("Play")).to_be_visible()
    panel.choose("norm in D", "layer")
    expect(panel.status).to_contain_text("norm_D = layer applies at Reset")
    expect(panel.error).to_be_visible()
    run_cell(page, "lab.run.train_step.last = step")
    panel = PanelPage(page, 0)
    panel.press("Play")
    expect(panel.error).to_be_hidden()
    panel.wait_until(panel.look())


def test_an_interrupt_ends_a_cell_and_no_run_and_after_a_restart_the_cell_makes_all_anew(
    page: Page, lab: LabServer, tmp_path: Path
) -> None:
    panel = opened(page, lab, tmp_path, PANELS["ring"])
    panel.press("Play")
    panel.wait_until(panel.look())
    page.evaluate(f"() => {{ setTimeout(() => {KERNEL}.interrupt(), 1500); }}")
    with pytest.raises(Error, match="KeyboardInterrupt"):
        run_cell(page, "import time\ntime.sleep(60)")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:delete-cell')")  # the one that was interrupted
    panel = PanelPage(page, 0)
    panel.wait_until(panel.look())
    panel.choose("loss", "hinge")
    expect(panel.status).to_contain_text("loss = hinge from step")
    panel.wait_until(panel.look())
    page.evaluate(f"() => {KERNEL}.restart()")
    page.wait_for_function(CONNECTED, timeout=60_000)
    run_all(page)
    panel = PanelPage(page, 0)
    expect(panel.panel).to_have_attribute("data-step", "0")
    assert panel.chosen("loss") == "non-saturating"
    panel.press("Play")
    panel.wait_until(panel.look())
    panel.press("Pause")
    threads = "import threading\nprint(sum(t.name.startswith('gantutor-') for t in threading.enumerate()))"
    assert run_cell(page, threads).strip() == "1"


# The stream -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [PANELS["ring"], DIGITS], ids=["ring", "digits"])
def test_it_plays_where_everything_sent_outside_a_reply_is_lost(
    page: Page, lab: LabServer, tmp_path: Path, cell: str
) -> None:
    panel = opened(page, lab, tmp_path, f"{cell}{LOSES_PUSHES}lose_pushes(lab)\n")
    panel.press("Play")
    expect(panel.button("Pause")).to_be_visible()
    for _ in range(3):
        panel.wait_until(panel.look())
    goal = panel.frame() + 5  # it asks for one frame after the other
    page.wait_for_function(f"() => document.querySelector('.gt-lab').dataset.frame > {goal}")
    panel.choose("loss", "hinge")
    expect(panel.status).to_contain_text("loss = hinge from step")
    panel.press("Pause")
    expect(panel.status).to_have_text("paused")
    panel.settled()
    assert panel.step() == int(run_cell(page, "print(lab.run.t)"))


# Every message waits for a random time in the kernel, in order, as behind a busy cell.
DELAYS = """
import random, time
rng, receive = random.Random(0), lab.stream.receive
log = []
choose = lab.run_views[0].choose

def late(content):
    time.sleep(rng.uniform(0, 0.5) if rng.random() < 0.2 else 0)
    receive(content)

def logged(field, value):
    log.append((lab.run.t, field, value))
    return choose(field, value)

lab.stream.receive, lab.run_views[0].choose = late, logged
"""

REPLAY = """
import hashlib, json, torch
config = Experiment(data="ring")
replay = config.start()
for t in range(lab.run.t + 1):
    for _, field, value in [change for change in log if change[0] == t]:
        try:
            config = config.replace(**{field: value})
        except ValueError:
            continue
        config.apply(replay)
    if t < lab.run.t:
        replay.step()
same = all(
    torch.equal(a, b)
    for one, other in ((lab.run.model.G, replay.model.G), (lab.run.model.D, replay.model.D))
    for a, b in zip(one.state_dict().values(), other.state_dict().values())
)
print(json.dumps({"same": same, "changes": len(log), "t": lab.run.t, "loss": config.loss, "strategy": config.strategy}))
"""

TOGGLE = """async panel => {
    const selects = ['strategy', 'loss'].map(name =>
        [...panel.querySelectorAll('.gt-setting')].find(row => row.textContent.startsWith(name)).children[1]);
    let seed = 1;
    const random = count => (seed = (seed * 48271) % 2147483647) % count;
    for (let i = 0; i < 100; i++) {
        const select = selects[random(2)];
        select.value = String(random(select.options.length));
        select.dispatchEvent(new Event('change'));
        await new Promise(done => setTimeout(done, random(40)));
    }
}"""


def test_a_hundred_toggles_to_a_slow_kernel_end_where_a_plain_replay_does(
    page: Page, lab: LabServer, tmp_path: Path
) -> None:
    panel = opened(page, lab, tmp_path, PANELS["ring"] + DELAYS)
    panel.press("Play")
    panel.panel.evaluate(TOGGLE)
    panel.press("Pause")
    expect(panel.status).to_have_text("paused", timeout=60_000)
    panel.settled()
    step, strategy, loss = panel.step(), panel.chosen("strategy"), panel.chosen("loss")
    found = json.loads(run_cell(page, REPLAY))
    assert found == {"same": True, "changes": 100, "t": step, "loss": loss, "strategy": strategy}


HIDE = """hidden => {
    Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
}"""


def test_a_tab_that_nobody_sees_gets_no_frames(page: Page, lab: LabServer, tmp_path: Path) -> None:
    panel = opened(page, lab, tmp_path, PANELS["ring"])
    panel.press("Play")
    panel.wait_until(panel.look())
    page.evaluate(HIDE, True)
    page.wait_for_timeout(2000)
    frame = panel.frame()
    page.wait_for_timeout(1000)
    assert panel.frame() == frame
    page.evaluate(HIDE, False)
    for _ in range(3):
        panel.wait_until(panel.look())
    panel.press("Pause")
    expect(panel.status).to_have_text("paused")
    panel.settled()
    shown = (panel.step(), panel.frame())
    assert shown == tuple(map(int, run_cell(page, "print(lab.run.t, lab.stream.now.frame)").split()))


def test_two_views_of_one_panel_agree(page: Page, lab: LabServer, tmp_path: Path) -> None:
    panel = opened(page, lab, tmp_path, DIGITS + "\nfrom IPython.display import display\ndisplay(lab)")
    other = PanelPage(page, 0, view=1)
    panel.press("Play")
    expect(other.button("Pause")).to_be_visible()
    other.choose("loss", "hinge")
    expect(panel.status).to_contain_text("loss = hinge from step")
    assert panel.chosen("loss") == "hinge"
    other.press("Pause")
    expect(panel.status).to_have_text("paused")
    assert panel.settled() == other.settled()
    assert panel.step() == other.step()
