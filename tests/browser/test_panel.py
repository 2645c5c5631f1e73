"""The panel in a real JupyterLab: it moves when it should, stands still when it should, and does what a toggle says."""

from pathlib import Path

import pytest
from labserver import LabServer
from notebookpage import run_tagged, run_whole, screenshot, write_notebook
from panelpage import PanelPage
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

FIRST = Path(__file__).parent.parent.parent / "notebooks" / "00_start_here.ipynb"
SMALL = """import torch

from gantutor import CycleGANConfig, Experiment, Lab, Pix2PixConfig
from gantutor.data import Pairs, Unpaired

A, B = torch.randint(256, (2, 8, 3, 16, 16), dtype=torch.uint8)
small = {"width_G": 4, "width_D": 4, "patch": 16, "batch_size": 2, "device": "cpu"}"""
PANELS = (
    'Lab(Experiment("ring", device="cpu"), name="points")',
    'Lab(Pix2PixConfig(Pairs("noise", A, B), **small), name="pairs")',
    'Lab(CycleGANConfig(Unpaired("heaps", A, B, A, B, ("dots", "dashes")), blocks=1, **small), name="unpaired")',
)


def test_the_first_notebooks_panel(page: Page, lab: LabServer) -> None:
    run_tagged(page, lab, FIRST)
    drive_and_look(page, 0, "first_notebook")


def test_a_panel_of_each_kind(page: Page, lab: LabServer, tmp_path: Path) -> None:
    cells = (("setup", SMALL), *(("browser", panel) for panel in PANELS))
    run_whole(page, lab, write_notebook(tmp_path / "kinds.ipynb", *cells))
    for number in range(len(PANELS)):
        drive_and_look(page, number, f"kind_{number}")


def drive_and_look(page: Page, number: int, name: str) -> None:
    panel = PanelPage(page, number)
    screenshot(page, f"{name}_opened")
    drive(panel)
    screenshot(page, f"{name}_driven")
    assert page.errors == []


def drive(panel: PanelPage) -> None:
    opened = panel.settled()
    panel.press("Step")
    panel.wait_until(opened)
    opened = panel.settled()
    panel.press("Reset")
    panel.wait_until(opened)
    first = panel.settled()

    panel.press("Step")
    panel.wait_until(first)
    stepped = panel.settled()
    panel.reset(first)  # the same seed, the same picture
    panel.press("Step")
    panel.wait_until(stepped, same=True)

    panel.reset(first)
    loss = panel.another("loss", "lsgan", "hinge")
    panel.choose("loss", loss)
    expect(panel.status).to_contain_text(f"loss = {loss} from step 1 on")
    panel.press("Step")
    panel.wait_until(first)
    assert panel.settled() != stepped  # the toggle took effect

    panel.press("Play")
    pause = panel.button("Pause")
    expect(pause).to_be_visible()
    expect(pause).to_have_attribute("aria-pressed", "true")
    panel.wait_until(panel.look())
    strategy = panel.another("strategy", "simultaneous", "d_first_shared")
    panel.choose("strategy", strategy)
    expect(panel.status).to_contain_text(f"strategy = {strategy} from step")
    panel.wait_until(panel.look())
    panel.press("Pause")
    expect(panel.status).to_have_text("paused")
    still = panel.settled()
    panel.page.wait_for_timeout(500)
    assert panel.look() == still


def untrained(page: Page, lab: LabServer, folder: Path) -> PanelPage:
    """A panel on digits at step 0."""
    cell = 'from gantutor import Experiment, Lab\n\nLab(Experiment(data="digits"))'
    run_whole(page, lab, write_notebook(folder / "untrained.ipynb", ("browser", cell)))
    return PanelPage(page, 0)


def test_the_keyboard_belongs_to_the_control_that_has_focus(page: Page, lab: LabServer, tmp_path: Path) -> None:
    panel = untrained(page, lab, tmp_path)
    number_of_cells = "() => window.jupyterapp.shell.currentWidget.content.model.cells.length"
    before = page.evaluate(number_of_cells)

    panel.button("Step").focus()
    seen = panel.look()
    page.keyboard.press("b")  # in Lab's command mode: a new cell below
    page.keyboard.press("d")
    page.keyboard.press("d")  # and this deletes one
    page.keyboard.press("Enter")  # on a button: press it
    panel.wait_until(seen)
    strategy = panel.panel.get_by_label("strategy", exact=True)
    strategy.focus()
    page.keyboard.press("ArrowDown")  # in Lab: the next cell
    expect(strategy).to_have_value("g_first_detach")
    assert page.evaluate(number_of_cells) == before


def test_names_for_a_screen_reader(page: Page, lab: LabServer, tmp_path: Path) -> None:
    panel = untrained(page, lab, tmp_path)
    for view in panel.views().all():
        assert len(view.get_attribute("alt")) > 10
    expect(panel.button("Play")).to_have_attribute("aria-pressed", "false")
    for name in ("D steps", "lr G", "lr D"):
        expect(panel.panel.get_by_role("slider", name=name, exact=True)).to_be_visible()
    for control in ("strategy", "loss", "batching", "norm in G", "norm in D", "networks", "data", "device", "seed"):
        expect(panel.panel.get_by_label(control, exact=True)).to_be_visible()


def test_speed_ups_are_switched_while_it_plays(page: Page, lab: LabServer, tmp_path: Path) -> None:
    cell = 'from gantutor import Experiment, Lab\n\nLab(Experiment(data="digits", device="cpu"), speed_ups=True)'
    run_whole(page, lab, write_notebook(tmp_path / "speed_ups.ipynb", ("browser", cell)))
    panel = PanelPage(page, 0)
    expect(panel.button("bf16")).to_have_attribute("aria-pressed", "false")
    panel.press("Play")
    for name, said in (("channels_last", "channels_last"), ("bf16", "channels_last, bf16")):
        panel.press(name)
        expect(panel.button(name)).to_have_attribute("aria-pressed", "true")
        expect(panel.status).to_contain_text(f"speed = {said} from step")
    panel.wait_until(panel.look())
    screenshot(page, "speed_ups")
    panel.press("graph")
    expect(panel.status).to_contain_text("a recording (CUDA graph) is made on a CUDA device")
    expect(panel.button("graph")).to_have_attribute("aria-pressed", "false")
    panel.press("Pause")
    expect(panel.status).to_have_text("paused")


def test_what_cannot_change_at_once_says_so_and_an_error_is_shown(page: Page, lab: LabServer, tmp_path: Path) -> None:
    panel = untrained(page, lab, tmp_path)
    panel.choose("norm in D", "none")
    expect(panel.status).to_contain_text("norm_D = none applies at Reset")
    panel.choose("strategy", "one_stage")  # this run still has BatchNorm in D, and one_stage is not exact for it
    panel.press("Play")
    expect(panel.status).to_contain_text("one_stage is not exact here: BatchNorm in D")
    panel.press("Reset")  # now D has no norm
    seen = panel.settled()
    panel.press("Step")
    panel.wait_until(seen)
