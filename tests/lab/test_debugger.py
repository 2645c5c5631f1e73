"""The step debugger without a front end: what it tells of each line, where it draws it, and how one moves in it."""

import base64
import io
import itertools
from typing import Any

import pytest
import torch
from helpers import build, draw
from image_helpers import build_cyclegan, pictures
from PIL import Image
from run_cases import CYC, P2P
from torch import Tensor

from gantutor.cyclegan import CYCLEGAN_STEPS, CycleGAN
from gantutor.gan import GAN
from gantutor.lab import Debugger
from gantutor.lab.story import Story, player_of
from gantutor.ledger import FREED, NO_GRAPH, STALE, Trace, trace
from gantutor.ledger.records import Backward
from gantutor.pitfalls import INPLACE, PITFALLS
from gantutor.pix2pix import PIX2PIX_STEPS
from gantutor.steps import STEPS, Step

ALL: dict[str, Step] = {**STEPS, **{name: pitfall.step for name, pitfall in PITFALLS.items()}}
RAISING = [name for name, pitfall in PITFALLS.items() if pitfall.raises]
TRANSLATION = {**{f"pix2pix {n}": n for n in PIX2PIX_STEPS}, **{f"cyclegan {n}": n for n in CYCLEGAN_STEPS}}


def traced(name: str) -> Trace:
    """Any of the package's steps, on small networks."""
    if name in TRANSLATION:
        steps, config = (PIX2PIX_STEPS, P2P) if name.startswith("pix2pix") else (CYCLEGAN_STEPS, CYC)
        run = (config.replace(loss="minimax") if name.endswith("one_stage") else config).start()
        return trace(steps[TRANSLATION[name]], run.model, *next(run.batches))
    loss = "minimax" if name == "one_stage" else "non-saturating"
    return trace(ALL[name], build("points", loss), *draw("points")[0])


def story_of(step: Any, turns: int = 3) -> Story:
    """Of a step of the package, by name, or of another."""
    if isinstance(step, str):
        return Story(traced(step), step)
    return Story(trace(step, build("points"), *draw("points")[0], max_iterations=turns), "step")


def position_of(story: Story, text: str) -> int:
    """The position after the first line with this text."""
    return next(i for i, line in enumerate(story.trace.lines, 1) if text in line.text)


def pair() -> Debugger:
    """As printed, and fixed."""
    printed, fixed = traced("d_first_same_logits"), traced("d_first_retain_graph")
    return Debugger(printed, fixed, titles=("as printed", "corrected"))


# Where things stand ---------------------------------------------------------------------------------------------------


def points_of(edge: dict[str, Any]) -> list[tuple[float, float]]:
    """Many points of an edge: straight across a column, then in a curve to the next."""
    found = []
    for i, ((x, y), (to_x, to_y)) in enumerate(itertools.pairwise(edge["points"])):
        for t in (k / 12 for k in range(13)):
            ease = t if i % 2 == 0 else t * t * (3 - 2 * t)
            found.append((x + t * (to_x - x), y + ease * (to_y - y)))
    return found


@pytest.mark.parametrize("step", [*ALL, *TRANSLATION])
def test_nothing_overlaps_at_any_line(step: str) -> None:
    story = story_of(step)
    for position in range(len(story.trace.lines) + 1):
        scene = story.scene(position)
        width, height = scene["size"]
        for box in scene["boxes"]:
            assert box["x"] >= 0 <= box["y"]
            assert box["x"] + box["w"] <= width
            assert box["y"] + box["h"] <= height
        for a, b in itertools.combinations(scene["boxes"], 2):
            beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a["id"], b["id"])
        for edge, box in itertools.product(scene["edges"], scene["boxes"]):
            inside = [
                (x, y) for x, y in points_of(edge)
                if box["x"] < x < box["x"] + box["w"] and box["y"] < y < box["y"] + box["h"]
            ]  # fmt: skip
            assert not inside, (edge["id"], box["id"])


@pytest.mark.parametrize("step", ALL)
def test_the_drawing_goes_from_z_to_the_losses_and_does_not_move(step: str) -> None:
    story = story_of(step)
    scenes = [story.scene(position) for position in range(len(story.trace.lines) + 1)]
    assert len(story.layouts) == 1
    for edge in scenes[0]["edges"]:
        assert edge["points"][0][0] < edge["points"][-1][0]
    at = {box["id"]: box for box in scenes[0]["boxes"]}
    assert {"z", "real", "fake", "logits_real", "logits_fake", "d_loss", "g_loss"} <= set(at)
    assert at["d_loss"]["x"] == at["g_loss"]["x"] == max(box["x"] for box in scenes[0]["boxes"])
    assert sum(box["label"] == "D" for box in scenes[0]["boxes"]) == 1, "D stands once"
    assert {box["id"] for box in scenes[0]["boxes"] if box.get("state")} == {"real", "z"}  # the rest is still to come


@pytest.mark.parametrize(
    ("text", "networks"),
    [("fake_B, fake_A", "G_AB G_BA"), ("(model.lambda_gan", "G_AB G_BA D_A D_B"), ("logits_A = ", "D_A")],
)
def test_networks_that_a_line_does_not_touch_are_folded(text: str, networks: str) -> None:
    story = story_of("cyclegan g_first_separate")
    scene = story.scene(position_of(story, text))
    assert {box["label"] for box in scene["boxes"] if "network" in box} == set(networks.split())
    assert {part["label"] for part in scene["folded"]} == set(story.trace.before) - set(networks.split())
    assert all(part["shares"] == [[1.0, "G"]] for part in scene["folded"] if text[0] == "l" and part["label"][0] == "G")


def test_networks_beside_each_other_and_one_after_the_other() -> None:
    """As in CycleGAN: G_BA makes rec_A of a fake, D_B judges the same fake, and one without a name."""

    def step(model: CycleGAN, real_A: Tensor) -> None:
        fake_B = model.G_AB(real_A)
        both = model.D_B(fake_B).mean() + model.G_BA(fake_B).mean()
        logits = model.D_A(model.G_BA(fake_B))
        (both + logits.mean()).backward()

    record = trace(step, build_cyclegan(), pictures(1, 2))
    made = Story(record, "step").ways.history[-1]
    assert set(made["both"].pairs) == {
        ("fake_B", "D_B(both)"), ("fake_B", "G_BA(both)"), ("D_B(both)", "both"), ("G_BA(both)", "both"),
    }  # fmt: skip
    way = ["fake_B", "G_BA(logits)", "D_A(logits)", "logits"]
    assert made["logits"].pairs == list(itertools.pairwise(way))


def test_what_is_joined_for_a_network_leads_to_it() -> None:
    """pix2pix's D is given torch.cat of A and B, which has no name."""
    story = story_of("pix2pix d_first_detach")
    pairs = story.ways.history[-1]["logits_fake"].pairs
    assert [a for a, b in pairs if b == "D(logits_fake)"] == ["real_A", "fake_B.detach()"]


# Graphs that are cut --------------------------------------------------------------------------------------------------


def changed_in_place(gan: GAN, real: Tensor, z: Tensor) -> None:
    view = real[:2]
    view.mul_(2)


def test_variables_say_who_shares_memory_and_what_was_changed_in_place() -> None:
    first, second = ({row["name"]: row for row in story_of(changed_in_place).variables(at)} for at in (1, 2))
    assert second["real"]["version"] == second["view"]["version"] == first["real"]["version"] + 1
    assert (second["real"]["shares"], second["view"]["shares"], second["z"]["shares"]) == (["view"], ["real"], [])


def test_a_detached_fake_is_drawn_as_cut_and_shares_its_memory() -> None:
    story = story_of("d_first_detach")
    position = position_of(story, "d_loss.backward")
    (edge,) = [edge for edge in story.scene(position)["edges"] if edge["cut"]]
    assert (edge["id"], edge["cut"], edge["stops"]) == ("fake > fake.detach()", "detach()", "D")
    assert story.happened(position)[:2] == [
        "d_loss sends a gradient to D.", "It stops at fake.detach(), before it reaches G."
    ]  # fmt: skip
    assert "same memory, but no graph" in story.happened(position_of(story, "logits_real, "))[0]
    rows = {row["name"]: row for row in story.variables(position)}
    assert (rows["fake"]["requires_grad"], rows["fake.detach()"]["requires_grad"]) == (True, False)
    assert (rows["fake"]["shares"], rows["fake.detach()"]["shares"]) == (["fake.detach()"], ["fake"])
    assert (rows["fake"]["graph"], rows["fake.detach()"]["graph"]) == ("graph", "no graph")


def cut_at_once(gan: GAN, real: Tensor, z: Tensor) -> None:
    fake = gan.G(z).detach()
    scaled = 2 * gan.G(z).detach()
    with torch.no_grad():
        quiet = gan.G(z)
    half = fake.detach()[:3]  # there is nothing left to cut
    (gan.D(fake).mean() + gan.D(scaled).mean() + gan.D(quiet).mean() + gan.D(half).mean()).backward()


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("fake", ("G(fake)", "fake", "detach()")),
        ("scaled", ("G(scaled)", "scaled", "detach()")),
        ("quiet", ("G(quiet)", "quiet", "no_grad")),
    ],
)
def test_what_is_detached_as_it_is_made_is_cut_and_no_data(name: str, cut: tuple[str, str, str]) -> None:
    story = story_of(cut_at_once)
    (box,) = [box for box in story.scene(len(story.trace.lines))["boxes"] if box["id"] == name]
    assert box["state"] == NO_GRAPH
    assert cut in [(*ends, how) for ends, how in story.ways.history[-1][name].cuts.items()]
    assert not story.ways.history[-1]["half"].cuts


# Which way gradients went, and whose they are -------------------------------------------------------------------------


@pytest.mark.parametrize("step", [*ALL, *TRANSLATION])
def test_the_arrows_of_a_backward_end_at_the_networks_that_received_something(step: str) -> None:
    story = story_of(step)
    backwards = 0
    for position, line in enumerate(story.trace.lines, 1):
        ends = {story.ways.networks[a] for a, _ in story.flow(position) if a in story.ways.networks}
        got = {name for event in line.of(Backward) if not event.is_grad for name in event.arrived}
        assert got <= ends
        # where `inputs=` or `frozen` keeps a gradient from D's weights, it still goes through D
        assert ends - got <= ({"D", "D_A", "D_B"} if got else set())
        backwards += any(not event.is_grad and not event.raised for event in line.of(Backward))
    raises = step in PITFALLS and PITFALLS[step].raises
    assert backwards == (1 if raises else 3 if step == "cyclegan g_first_separate" else 2)


def test_shares_of_a_gradient_have_the_colours_of_their_losses() -> None:
    story = story_of("d_first_early_zero_grad")
    position = position_of(story, "g_loss.backward")
    (box,) = [box for box in story.scene(position)["boxes"] if box["label"] == "G"]
    from_d, from_g = story.trace.lines[position - 1].networks["G"].contributions
    largest = max(from_d.norm, from_g.norm)
    assert box["shares"] == [
        [pytest.approx(from_d.norm / largest, abs=1e-3), "D"],
        [pytest.approx(from_g.norm / largest, abs=1e-3), "G"],
    ]
    told = story.happened(position_of(story, "opt_G.step"))
    lines = [position_of(story, text) for text in ("d_loss.backward", "g_loss.backward")]
    d_line, g_line = (story.trace.lines[at - 1].number for at in lines)
    assert told == [f"opt_G updates G with the gradient of d_loss (line {d_line}) and g_loss (line {g_line})."]


@pytest.mark.parametrize("player", "DG")
def test_losses_have_the_colours_of_their_players(player: str) -> None:
    for name in ("{}_loss", "loss_{}", "err{}", "loss_{}_A", "model.weight * {}_loss", "err{}_real"):
        for letter in (player, player.lower()):
            assert player_of([name.format(letter)]) == player, name
    assert not any(map(player_of, (["gradient"], ["loss"], ["d_loss", "g_loss"], ["loss_grad"])))


def one_name(gan: GAN, real: Tensor, z: Tensor) -> None:
    for _ in range(2):
        loss = gan.D(real).mean()
        (loss / 4).backward()
        gan.opt_D.step()
        gan.opt_D.zero_grad()
    loss = gan.D(gan.G(z)).mean()
    loss.backward()
    gan.opt_G.step()


def test_a_loss_of_one_name_is_told_apart_by_whom_it_is_for() -> None:
    story = story_of(one_name)
    backwards = [i for i, line in enumerate(story.trace.lines, 1) if line.of(Backward)]
    assert [set(story.flow(position).values()) for position in backwards] == [{"D"}, {"D"}, {"G"}]
    numbers = [story.trace.lines[position - 1].number for position in backwards]
    for position, number in zip(backwards, numbers, strict=True):
        assert {text.partition(" ")[2] for row in story.table(position)[:2] for text, _ in row["shares"]} == {
            f"loss (line {number})"
        }
    assert story.status(backwards[1]) == f"Line {numbers[1]} again, time 2: (loss / 4).backward()"


def test_several_losses_in_one_backward_and_a_loss_without_a_name() -> None:
    def step(gan: GAN, real: Tensor, z: Tensor) -> None:
        first, second = gan.D(real).mean(), gan.D(gan.G(z)).mean()
        torch.autograd.backward([first, second])
        (2 * gan.loss.constant_ratio + gan.G(z).mean() + gan.D(real).mean()).backward()

    story = story_of(step)
    (text, colour), *_ = story.table(2)[0]["shares"] or story.table(2)[1]["shares"]
    assert text.endswith(f"first + second (line {story.trace.lines[1].number})")
    assert {a for a, b in story.flow(2) if b in ("first", "second")} == {"D(first)", "D(second)"}
    assert colour == "0"
    assert set(story.flow(3).values()) == {"1"}
    (box,) = [box for box in story.scene(3)["boxes"] if box["title"].startswith("2 * constant_ratio")]
    assert box["state"] == FREED


# Errors and findings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", RAISING)
def test_a_step_that_raises_shows_where_and_what_to_write(step: str) -> None:
    story = story_of(step)
    last = len(story.trace.lines)
    (box,) = [box for box in story.scene(last)["boxes"] if box["mark"] == "broken"]
    assert box["state"] == (STALE if PITFALLS[step].raises == INPLACE else FREED)
    assert f"the graph of `{box['id']}`" in story.fault(last)
    assert story.status(last).endswith("backward() raises RuntimeError.")
    assert not story.fault(last - 1)
    findings = story.describe(1, 1)["findings"]
    assert [finding["line"] for finding in findings] == [story.trace.lines[-1].number]
    assert findings[0]["fix"]


# Lines ----------------------------------------------------------------------------------------------------------------


def loop(gan: GAN, real: Tensor, z: Tensor) -> str:
    """Explained
    at length."""
    losses: list[float] = []
    for _ in range(2):
        for _ in range(16):
            loss = gan.D(
                gan.G(z),
            ).mean()  # fmt: skip
            loss.backward()
            gan.opt_G.zero_grad()
            losses.append(loss.item())
    return """at
the margin"""


def test_what_many_lines_run_have_in_common_is_described_once() -> None:
    story = story_of(loop, turns=1000)
    described = story.describe(1, 1)
    assert len(described["steps"]) > 150
    assert len(story.layouts) <= 2
    parts = [number for step in described["steps"] for name in ("boxes", "edges") for number in step[name]]
    assert len(set(parts)) < len(parts) / 20
    long = position_of(story, "loss = gan.D(")
    first, last = described["steps"][long]["lines"]
    assert last == first + 2, "the whole statement"
    text = "\n".join(text for _, text in described["code"])
    assert "Explained" not in text
    assert "the margin" in text


# Moving, and without a front end --------------------------------------------------------------------------------------


def test_moving_ends_at_both_ends() -> None:
    debugger = pair()
    assert debugger.position == debugger.back().position == 0
    assert debugger.next().next().position == debugger.widget.position == 2
    assert debugger.to_end().next().position == len(debugger.stories[1].trace.lines)
    assert debugger.to_error().position == len(debugger.stories[0].trace.lines)
    assert debugger.to_start().position == 0
    with pytest.raises(ValueError, match="no line of these steps raises"):
        Debugger(traced("d_first_detach")).to_error()


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a trace"):
        Debugger()
    with pytest.raises(ValueError, match="1 traces need as many titles, got 2"):
        Debugger(traced("d_first_detach"), titles=("a", "b"))
    with pytest.raises(ValueError, match=r"not one line of d_first_detach was run: .* missing 1 required"):
        Debugger(trace(ALL["d_first_detach"], build("points"), draw("points")[0][0]))


def test_mimebundle_is_live_and_a_picture_and_always_the_same_text() -> None:
    import matplotlib.pyplot as plt

    debugger = pair()
    bundles = [debugger._repr_mimebundle_(), debugger.to_error()._repr_mimebundle_()]
    with plt.rc_context({"font.size": 20, "axes.facecolor": "yellow", "lines.linewidth": 9, "savefig.dpi": 30}):
        bundles.append(debugger._repr_mimebundle_())
    found = [Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) for bundle in bundles]
    for bundle in bundles:
        assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == debugger.widget.model_id
        assert bundle["text/plain"] == "gantutor debugger"
    assert found[0].tobytes() != found[1].tobytes() == found[2].tobytes(), "whatever the notebook's style"
    assert all(picture.width > 900 and picture.height > 400 for picture in found)


def test_closing_takes_it_off_the_page() -> None:
    import ipywidgets

    before = len(ipywidgets.widgets.widget._instances)
    pair().close()
    assert len(ipywidgets.widgets.widget._instances) == before
