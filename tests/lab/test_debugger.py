"""The step debugger without a front end: what it shows at each line, and how one moves in it."""

import base64
import io
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers import build, draw
from image_helpers import build_cyclegan, pictures
from ipywidgets import Widget
from matplotlib.patches import Rectangle
from PIL import Image
from run_cases import P2P
from torch import Tensor

from gantutor.cyclegan import CycleGAN
from gantutor.gan import GAN
from gantutor.lab import Debugger
from gantutor.lab.flowchart import Flowchart, colour_of
from gantutor.lab.layout import Layout
from gantutor.ledger import ALIVE, FREED, STALE, Trace, trace
from gantutor.pitfalls import INPLACE, PITFALLS
from gantutor.pix2pix import PIX2PIX_STEPS
from gantutor.plots import COLOURS
from gantutor.steps import STEPS, Step

ALL: dict[str, Step] = {**STEPS, **{name: pitfall.step for name, pitfall in PITFALLS.items()}}
RAISING = [name for name, pitfall in PITFALLS.items() if pitfall.raises]


def traced(name: str, networks: str = "points", **options: Any) -> Trace:
    if name == "one_stage":
        options = {"loss": "minimax", **options}
    return trace(ALL[name], build(networks, **options), *draw(networks)[0])


def pair() -> Debugger:
    """As printed, and fixed."""
    printed, fixed = traced("d_first_same_logits"), traced("d_first_retain_graph")
    return Debugger(printed, fixed, titles=("as printed", "corrected"))


# Where things stand ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ALL)
def test_the_layout_goes_from_z_to_the_losses(step: str) -> None:
    layout = Layout(traced(step))
    at = layout.at
    assert {"z", "real", "fake", "logits_real", "logits_fake", "d_loss", "g_loss"} <= set(at)
    assert len(set(at.values())) == len(at), "two tensors in one place"
    for edge in layout.edges:
        assert at[edge.source][0] < at[edge.target][0]
        for box in edge.boxes:
            assert at[edge.source][0] < box.column < at[edge.target][0]
    assert at["d_loss"][0] == at["g_loss"][0] == layout.width - 1
    assert at["d_loss"][1] > at["g_loss"][1]
    networks = [box.network for box in layout.boxes.values()]
    assert sorted(networks) == ["D", "G"], "each network stands once"
    for box in layout.boxes.values():
        inside = [name for name, (x, y) in at.items() if x == box.column and box.low <= y <= box.high]
        assert not inside


def test_edges_pass_beside_tensors() -> None:
    layout = Layout(traced("d_first_detach"))
    (edge,) = [edge for edge in layout.edges if edge.target == "g_loss"]
    turns = [point for point in edge.after if point[0] == layout.at["logits_fake"][0]]
    assert turns
    assert not set(turns) & set(layout.at.values())


@pytest.mark.parametrize("step", ["d_first_detach", "g_first_detach", "simultaneous"])
def test_a_network_that_is_given_joined_images_covers_nothing(step: str) -> None:
    """What `torch.cat` makes of A and B has no name, so D's scores come from no tensor that is drawn."""
    run = P2P.start()
    layout = Layout(trace(PIX2PIX_STEPS[step], run.model, *next(run.batches)))
    boxes = list(layout.boxes.values())
    for box in boxes:
        places = [y for x, y in layout.at.values() if x == box.column]
        places += [
            y for other in boxes if other is not box and other.column == box.column for y in (other.low, other.high)
        ]
        assert not [y for y in places if box.low <= y <= box.high], box.network


def test_two_networks_with_one_source_do_not_cover_each_other() -> None:
    """As in CycleGAN: G_BA makes rec_A of a fake, and D_B judges the same fake."""

    def step(model: CycleGAN, real_A: Tensor) -> None:
        fake_B = model.G_AB(real_A)
        rec_A = model.G_BA(fake_B)
        logits_B = model.D_B(fake_B)
        adversarial = logits_B.mean()
        cycle = (rec_A - real_A).abs().mean()
        (adversarial + cycle).backward()

    boxes = list(Layout(trace(step, build_cyclegan(), pictures(1, 2))).boxes.values())
    assert {box.network for box in boxes} == {"G_AB", "G_BA", "D_B"}
    for box in boxes:
        for other in boxes:
            if other is not box and other.column == box.column:
                assert other.low - box.high >= 1 or box.low - other.high >= 1


# Which way gradients went ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ALL)
def test_the_arrows_of_a_backward_end_at_the_networks_that_received_something(step: str) -> None:
    record = traced(step)
    chart = Flowchart(record)
    backwards = 0
    for line in record.lines:
        ends = {network for _, edge, behind in chart.sent(line) if behind for network in edge.boxes}
        got = {name for name, s in line.networks.items() if any(c.line == line.number for c in s.contributions)}
        passed = {box.network for box in ends}
        assert got <= passed
        # where `inputs=` keeps a gradient from D's weights, it still goes through D
        assert passed - got <= ({"D"} if step in ("simultaneous", "one_stage") else set())
        assert bool(ends) == bool(got)
        backwards += bool(line.backwards)
    assert backwards == 2


def test_detach_stops_the_arrows_before_the_fake() -> None:
    for step, reaches_fake in (("d_first_detach", False), ("d_first_retain_graph", True)):
        record = traced(step)
        line = next(line for line in record.lines if line.backwards == ("d_loss",))
        starts = {edge.source for _, edge, behind in Flowchart(record).sent(line) if not behind}
        assert ("fake" in starts) == reaches_fake


@pytest.mark.parametrize("step", RAISING)
def test_the_cross_stands_at_the_graph_that_raised(step: str) -> None:
    record = traced(step)
    name, state = Flowchart(record).broken()
    assert state == (STALE if PITFALLS[step].raises == INPLACE else FREED)
    assert f"the graph of `{name}`" in record.diagnosis


def test_nothing_is_broken_in_a_step_that_runs() -> None:
    assert Flowchart(traced("d_first_detach")).broken() == ("", ALIVE)


@pytest.mark.parametrize("player", "DG")
def test_losses_have_the_colours_of_their_players(player: str) -> None:
    for name in ("{}_loss", "loss_{}", "err{}", "loss_{}_A"):
        for letter in (player, player.lower()):
            assert colour_of(name.format(letter), []) == COLOURS[player], name
    assert colour_of("gradient", ["gradient"]) not in (COLOURS["D"], COLOURS["G"])
    assert colour_of("loss", ["d_loss", "loss"]) not in (COLOURS["D"], COLOURS["G"])


def own_noise(gan: GAN, real: Tensor, z: Tensor) -> dict[str, Tensor]:
    noise = torch.randn_like(z)
    fake = gan.G(noise)
    return {"fake": fake}


def test_the_shares_of_a_gradient_stand_side_by_side_and_are_not_stacked() -> None:
    record = traced("d_first_early_zero_grad")
    chart = Flowchart(record)
    position = next(i for i, line in enumerate(record.lines, 1) if line.backwards == ("g_loss",))
    chart.paint(position)
    shares = record.lines[position - 1].networks["G"].contributions
    (box,) = [box for box in chart.layout.boxes.values() if box.network == "G"]
    strips = [
        patch
        for patch in chart.axes.patches
        if isinstance(patch, Rectangle) and patch.get_alpha() and abs(patch.get_x() - box.column) < 0.5
    ]
    assert len(strips) == len(shares) == 2
    assert strips[0].get_x() + strips[0].get_width() == pytest.approx(strips[1].get_x())
    assert strips[0].get_y() == strips[1].get_y()
    heights = [strip.get_height() for strip in strips]
    assert heights[0] / heights[1] == pytest.approx(shares[0].norm / shares[1].norm)


def test_before_the_first_line_only_what_is_given_is_there() -> None:
    chart = Flowchart(trace(own_noise, build("points"), *draw("points")[0]))
    assert "noise" in chart.layout.at
    assert set(chart.data) == {"real", "z"}


# Moving ---------------------------------------------------------------------------------------------------------------


def test_the_buttons_the_slider_and_the_methods_move_the_same() -> None:
    debugger = pair()
    assert debugger.position == 0
    debugger.buttons["Next"].click()
    assert debugger.position == debugger.slider.value == 1
    debugger.next().next()
    assert debugger.position == 3
    debugger.buttons["Back"].click()
    assert debugger.position == 2
    debugger.slider.value = 5
    assert [view.position for view in debugger.views] == [5, 5]
    debugger.buttons["End"].click()
    assert debugger.position == max(len(view.trace.lines) for view in debugger.views)
    debugger.next()
    assert debugger.position == debugger.last
    debugger.buttons["Start"].click()
    debugger.back()
    assert debugger.position == 0
    debugger.buttons["Error"].click()
    assert debugger.position == len(debugger.views[0].trace.lines)
    assert debugger.views[0].raised
    assert not debugger.views[1].raised


def test_back_shows_exactly_what_was_there() -> None:
    debugger = pair()

    def shown() -> list[Any]:
        views = [(view.source.value, view.ledger.value, view.image.value) for view in debugger.views]
        return [*views, debugger.status.value, debugger.accessibility.alt]

    forwards = [shown()]
    for _ in range(debugger.last):
        forwards.append(debugger.next() and shown())
    assert len({str(each) for each in forwards}) == len(forwards)
    for each in reversed(forwards[:-1]):
        debugger.back()
        assert shown() == each


def test_a_step_without_an_error_has_no_such_button() -> None:
    debugger = Debugger(traced("d_first_detach"))
    assert "Error" not in debugger.buttons
    with pytest.raises(ValueError, match="no line of these steps raises"):
        debugger.to_error()


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a trace"):
        Debugger()
    with pytest.raises(ValueError, match="1 traces need as many titles, got 2"):
        Debugger(traced("d_first_detach"), titles=("a", "b"))
    with pytest.raises(ValueError, match=r"not one line of d_first_detach was run: .* missing 1 required"):
        Debugger(trace(ALL["d_first_detach"], build("points"), draw("points")[0][0]))


# What it shows --------------------------------------------------------------------------------------------------------


def test_the_line_that_has_run_is_lit_and_the_ledger_says_who_gave_what() -> None:
    record = traced("d_first_detach")
    debugger = Debugger(record)
    (view,) = debugger.views
    assert "▶" not in view.source.value
    backward = [i for i, line in enumerate(record.lines, 1) if line.backwards]
    debugger.go(backward[0])
    number = record.lines[backward[0] - 1].number
    assert f"▶{number:>4}" in view.source.value
    assert f"d_loss (line {number})" in view.ledger.value
    assert "none" in view.ledger.value  # G has received nothing
    debugger.go(backward[1])
    later = record.lines[backward[1] - 1].number
    assert f"d_loss (line {number})" in view.ledger.value  # D's, still
    assert view.ledger.value.count(f"g_loss (line {later})") == 2  # in G, and in D
    assert f"line {later}: g_loss.backward()" in debugger.status.value
    assert "G " in debugger.accessibility.alt["step-0"]


def test_the_docstring_is_left_out_and_the_code_is_not() -> None:
    (view,) = Debugger(traced("d_first_detach")).views
    assert "ends D&#x27;s backward" not in view.source.value
    assert "gan.opt_D.zero_grad()" in view.source.value


def test_the_error_and_its_explanation_are_shown_once_it_is_raised() -> None:
    debugger = pair()
    view = debugger.views[0]
    debugger.to_error()
    assert "raises RuntimeError" in debugger.status.value
    assert "has changed it in place" in view.ledger.value
    assert "has changed it in place" in debugger.accessibility.alt["step-0"]
    debugger.back()
    assert "raises" not in debugger.status.value
    assert "in place" not in view.ledger.value


def markup(gan: GAN, real: Tensor, z: Tensor) -> dict[str, Tensor]:
    """A step whose text looks like HTML."""
    fake = gan.G(z)
    smaller = "<b>" if 1 < 2 > 0 else "&amp;"
    raise ValueError(f"<script>{smaller}{len(fake)}$</script>")


def test_source_and_error_are_text_and_not_html() -> None:
    debugger = Debugger(trace(markup, build("points"), *draw("points")[0]), titles=("<i>$x",)).to_error()
    (view,) = debugger.views
    for value in (view.source.value, view.ledger.value, debugger.status.value):
        assert "<script>" not in value
        assert "<b>&quot;" not in value
        assert "<i>" not in value
    assert "&lt;script&gt;" in view.ledger.value
    debugger.snapshot()


def loop(gan: GAN, real: Tensor, z: Tensor) -> dict[str, Tensor]:
    for _ in range(2):
        gan.opt_G.zero_grad()
        loss = gan.D(
            gan.G(z),
        ).mean()  # fmt: skip
        loss.backward()
    return {}


def test_loops_and_statements_over_several_lines() -> None:
    record = trace(loop, build("points"), *draw("points")[0])
    debugger = Debugger(record)
    (view,) = debugger.views
    long = next(i for i, line in enumerate(record.lines, 1) if line.text.startswith("loss ="))
    debugger.go(long)
    assert view.source.value.count("background:") == 3  # the whole statement is lit
    debugger.to_end()
    assert view.ledger.value.count("loss (line") == 3  # G's gradient was cleared in between, D's was not


def test_a_step_inside_a_function_whose_text_reaches_the_margin() -> None:
    def step(gan: GAN, real: Tensor, z: Tensor) -> str:
        """Explained
        at the margin."""
        match len(real):
            case 0:
                text = "none"
            case _:
                text = """some
at the margin"""
        return text

    record = trace(step, build("points"), *draw("points")[0])
    (view,) = Debugger(record).next().views
    assert record.lines[0].text.startswith("match")
    assert view.source.value.count("background:") == 1  # the header and not its block
    assert "Explained" not in view.source.value
    assert "at the margin" in view.source.value
    view.picture()


@pytest.mark.parametrize("networks", ["points", "dcgan-batch"])
def test_batchnorm_has_a_column_where_there_is_any(networks: str) -> None:
    (view,) = Debugger(traced("d_first_detach", networks)).to_end().views
    assert ("BatchNorm counted" in view.ledger.value) == (networks == "dcgan-batch")


# Without a front end, and fast ----------------------------------------------------------------------------------------


def test_mimebundle_is_live_and_a_picture_and_always_the_same_text() -> None:
    debugger = pair()
    bundles = [debugger._repr_mimebundle_(), debugger.to_error()._repr_mimebundle_()]
    pictures = [Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) for bundle in bundles]
    for bundle in bundles:
        assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == debugger.widget.model_id
        assert bundle["text/plain"] == "gantutor debugger"
    assert pictures[0].tobytes() != pictures[1].tobytes()
    assert all(picture.width > 900 and picture.height > 400 for picture in pictures)


def test_the_style_of_the_notebook_does_not_reach_the_drawing() -> None:
    import matplotlib.pyplot as plt

    record = traced("d_first_detach")
    plain = Flowchart(record).paint(6)
    with plt.rc_context({"font.size": 20, "axes.facecolor": "yellow", "lines.linewidth": 9, "savefig.dpi": 30}):
        assert Flowchart(record).paint(6) == plain


def test_a_step_is_shown_within_a_tenth_of_a_second() -> None:
    """The kernel's share; the browser adds its own."""
    debugger = pair()
    times = []
    for _ in range(3):
        for position in range(debugger.last + 1):
            start = time.process_time()
            debugger.go(position)
            times.append(time.process_time() - start)
    assert statistics.median(times) < 0.1


def widgets_below(widget: Widget) -> Iterator[Widget]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from widgets_below(child)


def test_everything_stands_on_the_page_and_goes_with_it() -> None:
    import ipywidgets

    debugger = pair()
    page = set(widgets_below(debugger.widget))
    for view in debugger.views:
        assert {view.source, view.ledger, view.image} <= page
    assert {debugger.status, debugger.slider, debugger.accessibility, *debugger.buttons.values()} <= page
    assert "gt-panel" in debugger.widget._dom_classes
    debugger.close()
    before = len(ipywidgets.widgets.widget._instances)
    pair().close()
    assert len(ipywidgets.widgets.widget._instances) == before
