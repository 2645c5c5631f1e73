"""The messages between a panel and the browser: what is new and nothing else, in order, and never more than is seen."""

import random
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from panel_helpers import Page, until
from run_cases import RING, equal, state

from gantutor.lab import Lab, stream
from gantutor.losses import LOSSES
from gantutor.steps import STEPS


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab(RING, RING.replace(loss="minimax"), name="stream")
    yield made
    made.close()


def equal_pages(a: Page, b: Page) -> bool:
    same = [a.pixels(run) == b.pixels(run) for run in range(len(a.history))]
    return all(same) and a.history == b.history and (a.state, a.frame["number"]) == (b.state, b.frame["number"])


def test_a_view_that_opens_is_given_everything(lab: Lab) -> None:
    lab.advance(7)
    page = Page(lab)
    assert [len(message) for message in page.messages] == [6], "one message: scene, state, frame, and for whom and when"
    assert page.scene["labels"] == ["A", "B"]
    for run, run_view in enumerate(lab.run_views):
        views = {view.name: view for view in run_view.views()}
        for name, arrays in page.frame["views"][run].items():
            for part, array in arrays.items():
                np.testing.assert_array_equal(array, views[name].arrays[part])
        for column in lab.run.history.keys():  # noqa: SIM118 -- it is no dict
            np.testing.assert_allclose(page.history[run][column], lab.runs[run].history[column], rtol=1e-6)
        for view in page.scene["views"][run]:
            assert view["alt"] == views[view["name"]].alt
        np.testing.assert_array_equal(page.fixed[run]["plane"]["real"], views["plane"].fixed["real"])


def test_what_is_pushed_is_only_what_is_new(lab: Lab) -> None:
    page = Page(lab)
    seen = len(page.messages)
    lab.advance(5)
    assert [len(page.history[run]["d_loss"]) for run in (0, 1)] == [5, 5]
    assert not any("scene" in message for message in page.messages[seen:])
    seen = len(page.messages)
    lab.advance(3)
    brought = [m["frame"]["curves"][0]["d_loss"][2] for m in page.messages[seen:] if "frame" in m]
    assert sum(shape[0] for shape in brought) == 3
    lab.reset()
    assert page.history == [{}, {}]
    assert page.frame["step"] == 0


def test_a_toggle_is_one_message_with_what_is_said_and_the_picture(lab: Lab) -> None:
    page = Page(lab)
    seen = len(page.messages)
    page.choose("loss", "lsgan")
    (message,) = page.messages[seen:]
    assert message["state"]["done"] == {"page": 1}
    assert message["frame"]["number"] == page.frame["number"]


def test_a_beat_before_a_frame_that_is_being_made_loses_no_push(lab: Lab) -> None:
    page = Page(lab)
    lab.advance(1)
    for news in (lambda: lab.stream.new_state(push=False), lab.stream.new_scene):
        news()
        page.send("beat")
        shown = [page.scene["number"], page.state["number"], page.frame["number"]]
        assert page.pulse == shown
        lab._frame(last=True)


def test_two_views_agree_whenever_they_open_and_whatever_they_do(lab: Lab) -> None:
    first = Page(lab, "first")
    first.act("play")
    until(lambda: first.frame["step"] > 20)
    second = Page(lab, "second")
    for page, other in ((first, second), (second, first)):
        page.choose("loss", "lsgan" if page is first else "hinge", run=1)
        assert other.shows("loss", run=1) == page.shows("loss", run=1)
        page.act("pause" if page is first else "step")
    assert equal_pages(first, second)
    first.send("bye")
    second.act("reset")
    assert lab.stream.viewers.keys() == {"second"}


def test_a_message_that_comes_twice_or_late_changes_nothing(lab: Lab) -> None:
    page, twice = Page(lab, "once"), Page(lab, "again")
    lab.advance(4)
    for _ in range(3):
        twice.send("open")
        lab.advance(2)
    assert equal_pages(page, twice)


def test_a_hidden_view_costs_nothing_and_comes_back_whole(lab: Lab) -> None:
    page = Page(lab)
    page.act("play")
    until(lambda: page.frame["step"] > 3)
    page.send("hide")
    lab.wait()
    made, sent, step = lab.stream.now.frame, len(page.messages), lab.run.t
    until(lambda: lab.run.t > step + 200)
    assert lab.stream.fps() == 0
    assert lab.stream.now.frame <= made + 1, "the one that was under way"
    page.send("show")
    until(lambda: page.frame["step"] > step + 200)
    assert len(page.messages) > sent
    page.act("pause")
    assert len(page.history[0]["d_loss"]) == lab.run.t == page.frame["step"]


def test_frames_become_few_and_then_none_where_no_answer_comes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    base = time.perf_counter()
    clock = [base]
    monkeypatch.setattr(stream, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    page = Page(lab)
    rates = {}
    for later in (1.9, 2.1, 59.0, 61.0):
        clock[0] = base + later
        rates[later] = lab.stream.fps()
    assert rates == {1.9: 60.0, 2.1: 1.0, 59.0: 1.0, 61.0: 0.0}
    page.send("beat", drawn=base + 1)  # there was nothing newer to draw
    assert lab.stream.fps() == 60
    lab.advance(1)
    clock[0] = base + 70
    page.send("beat", drawn=base + 50)  # a browser that cannot follow says what it drew last
    assert lab.stream.fps() == 1


def lost(message: dict[str, Any]) -> bool:
    """What Colab loses: all that is sent outside the handling of a message."""
    return not message.get("to")


def test_a_beat_tells_that_pushes_are_lost_and_asking_brings_what_they_had(lab: Lab) -> None:
    page = Page(lab, drop=lost)
    page.act("play")
    until(lambda: lab.run.t > 30)
    page.send("beat")
    assert page.pulse[1] > page.state["number"]
    assert page.pulse[2] > page.frame["number"]
    for _ in range(5):
        before = page.frame["number"]
        page.send("ask")
        assert page.frame["number"] > before
        assert page.state["playing"]
    assert lab.stream.fps() == 60
    seen = len(page.messages)
    page.choose("loss", "lsgan")
    page.act("pause")
    page.send("ask")
    assert (page.state["playing"], page.shows("loss"), page.state["done"]["page"]) == (False, "lsgan", 3)
    assert len(page.history[0]["d_loss"]) == lab.run.t
    assert all(message.get("to") for message in page.messages[seen:])


def test_an_ask_waits_for_news_only_while_there_will_be_some(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ASK_S", 60.0)
    page = Page(lab, drop=lost)
    page.send("ask")  # nothing is under way: it returns
    gate = threading.Event()
    lab.runner.post(lambda: gate.wait(30))
    page.act("step", wait=False)
    asked = threading.Thread(target=page.send, args=("ask",))
    asked.start()
    assert asked.is_alive()
    gate.set()
    asked.join(30)
    assert not asked.is_alive()
    page.send("ask")
    lab.wait()
    page.send("ask")
    assert page.frame["step"] == 1


def test_what_is_not_understood_changes_nothing(lab: Lab) -> None:
    page = Page(lab)
    before = lab.run_views[0].config
    sets = [{"field": "loss", "value": 99}, {"field": "gna", "value": 1}, {"field": "lr_G", "value": 9}]
    for content in (
        {"do": "dance"},
        {"do": "half", "player": "both"},
        *({"do": "set", "run": 0, **one} for one in sets),
    ):
        page.act(**content)
    assert lab.error == ""
    assert lab.run_views[0].config == before
    assert page.state["done"]["page"] == 5


@pytest.mark.parametrize("seed", [0, 1])
def test_a_hundred_toggles_over_a_slow_network_end_where_a_plain_replay_does(seed: int, lab: Lab) -> None:
    """Each message is late by a random time, in order, as a busy kernel is; steps go on between them."""
    rng, page = random.Random(seed), Page(lab)
    page.act("play")
    log = []
    for run_view in lab.run_views:  # what the runs did, and after which step

        def choose(field: str, value: Any, run_view: Any = run_view, before: Any = run_view.choose) -> str:
            log.append((run_view, run_view.run.t, field, value))
            return str(before(field, value))

        run_view.choose = choose  # type: ignore[method-assign]
    for _ in range(100):
        field, options = rng.choice([("loss", list(LOSSES)), ("strategy", list(STEPS)), ("d_steps", [1, 2, 3])])
        time.sleep(rng.choice([0, 0, 0.002, 0.01]))
        page.choose(field, rng.choice(options), run=rng.randrange(2), wait=False)
    page.act("pause")
    assert len(log) == 100
    for run, (run_view, start) in enumerate(zip(lab.run_views, (RING, RING.replace(loss="minimax")), strict=True)):
        replay, config = start.start(), start
        changes = [(t, field, value) for view, t, field, value in log if view is run_view]
        for t in range(lab.runs[run].t + 1):
            for _, field, value in [change for change in changes if change[0] == t]:
                try:
                    config = config.replace(**{field: value})
                except ValueError:
                    continue  # one_stage does not take every loss
                config.apply(replay)
            if t < lab.runs[run].t:
                replay.step()
        assert run_view.config == config
        assert equal(state(lab.runs[run]), state(replay))
        assert all(page.shows(name, run) == str(getattr(config, name)) for name in ("loss", "strategy"))
        assert page.frame["step"] == lab.run.t
