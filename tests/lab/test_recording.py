"""The frames of a run: what is kept, what is dropped, and what the exported files hold."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gantutor.configs import GANConfig
from gantutor.lab import Lab
from gantutor.lab.recording import Frame, Recording, ViewImage, compose

RING = GANConfig(data="ring", batch_size=8, model_options={"width": 8})


def view_image(colour: int, width: int = 40, height: int = 30, scale: int = 1, title: str = "") -> ViewImage:
    out = io.BytesIO()
    Image.new("L", (width // scale, height // scale), colour).save(out, "PNG")
    return ViewImage(title, out.getvalue(), width, height)


def frame(step: int, run_views: int = 1) -> Frame:
    return Frame(
        step,
        [[view_image(60 + step % 150, scale=2), view_image(200), view_image(90, 50, 80)] for _ in range(run_views)],
    )


def recording(steps: int, most: int = 1000) -> Recording:
    made = Recording(most)
    for step in range(steps):
        made.add(frame(step))
    return made


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab(RING, RING.replace(loss="minimax"), name="recording", keep_frames=True)
    yield made
    made.close()


def test_compose_lays_views_and_lanes_out() -> None:
    one, two = compose(frame(7)), compose(frame(7, run_views=2))
    assert one.mode == "RGB"
    assert two.width - 12 == 2 * (one.width - 12), "two run views of the same width"
    assert two.height == one.height
    grey = {int(value) for value in np.unique(np.asarray(one)[:, :, 0])}
    assert {67, 200, 90, 255} <= grey, "each view is there"
    pixels = np.asarray(one)[:, :, 0]
    places = {}
    for value, height, width in ((67, 30, 40), (200, 30, 40), (90, 80, 50)):
        rows, columns = np.nonzero(pixels == value)
        top, left = (int(np.median(at)) for at in (rows, columns))  # its middle; the writing has a few such greys, too
        top, left = top - (height - 1) // 2, left - (width - 1) // 2
        assert (pixels[top : top + height, left : left + width] == value).all(), "at its size on the screen"
        places[value] = (top, left)
    assert places[67][1] == places[200][1]
    assert places[67][0] + 30 < places[200][0]
    assert places[67][1] + 40 < places[90][1]


def test_the_step_is_written_on_the_frame() -> None:
    same = [Frame(step, [[view_image(60), view_image(90)]]) for step in (1, 1, 2)]
    pixels = [np.asarray(compose(f)) for f in same]
    np.testing.assert_array_equal(pixels[0], pixels[1])
    assert (pixels[0] != pixels[2]).any()


@given(st.integers(0, 300), st.integers(2, 40))
def test_a_full_film_keeps_evenly_spaced_frames_from_the_first_on(seen: int, most: int) -> None:
    kept = Recording(most)
    for step in range(seen):
        kept.add(Frame(step, []))
    steps = [f.step for f in kept.frames]
    assert len(steps) < max(most, 2)
    if seen:
        every = steps[1] - steps[0] if len(steps) > 1 else kept._every
        assert steps == list(range(0, every * len(steps), every))
        assert steps[-1] > seen - 1 - 2 * every, "and it goes on to the end"
        assert len(steps) >= min(seen, most // 2) or every == 1
        assert every.bit_count() == 1


def test_clear_begins_anew() -> None:
    kept = Recording(most=4)
    for step in range(11):
        kept.add(Frame(step, []))
    kept.clear()
    kept.add(Frame(0, []))
    kept.add(Frame(1, []))
    assert [f.step for f in kept.frames] == [0, 1]


def test_save_png(tmp_path: Path) -> None:
    paths = recording(5).save_png(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == [f"000{i}_step_00000{i}.png" for i in range(5)]
    assert sorted((tmp_path / "new" / "folder").iterdir()) == paths
    for step, path in enumerate(paths):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(compose(frame(step))))


@pytest.mark.parametrize("fps", [5.0, 10.0])
def test_save_gif(fps: float, tmp_path: Path) -> None:
    path = recording(6).save_gif(str(tmp_path / "run.gif"), fps=fps, hold_s=2.0)
    with Image.open(path) as gif:
        assert gif.n_frames == 6
        assert gif.size == compose(frame(0)).size
        assert gif.info["loop"] == 0, "it does not repeat"
        durations = []
        for number in range(6):
            gif.seek(number)
            durations.append(gif.info["duration"])
            shown = np.asarray(gif.convert("RGB")).astype(int)
            assert np.abs(shown - np.asarray(compose(frame(number)))).max() < 12, "another picture, but for its palette"
    assert durations == [1000 / fps] * 5 + [2000]


def test_a_film_of_one_frame(tmp_path: Path) -> None:
    with Image.open(recording(1).save_gif(tmp_path / "one.gif")) as gif:
        assert getattr(gif, "n_frames", 1) == 1


def test_an_empty_film_says_what_to_do(tmp_path: Path) -> None:
    message = r"no frame was kept: make the panel with Lab\(..., keep_frames=True\)"
    with pytest.raises(ValueError, match=message):
        Recording().save_gif(tmp_path / "no.gif")
    with pytest.raises(ValueError, match=message):
        Recording().save_png(tmp_path / "no")
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_every_frame_that_a_lab_shows_is_kept_and_exported(lab: Lab, tmp_path: Path) -> None:
    lab.reset()
    for _ in range(4):
        lab.advance(3)
    steps = [f.step for f in lab.recording.frames]
    assert steps == sorted(steps)
    assert {0, 3, 6, 9, 12} <= set(steps), "the first, and the last of each advance"
    assert all(len(f.run_views) == 2 for f in lab.recording.frames)
    np.testing.assert_array_equal(np.asarray(compose(lab.recording.frames[-1])), np.asarray(lab.snapshot()))
    path = lab.recording.save_gif(tmp_path / "lab.gif")
    with Image.open(path) as gif:
        assert gif.size == lab.snapshot().size
        assert gif.n_frames == len(steps)
    assert len(lab.recording.save_png(tmp_path)) == len(steps)


def test_reset_begins_a_new_film(lab: Lab) -> None:
    lab.recording.most = 4
    for _ in range(6):
        lab.advance(1)
    lab.reset()
    lab.recording.most = 1000
    assert [f.step for f in lab.recording.frames] == [0]
    lab.advance(1)
    assert lab.recording.frames[-1].step == 1


def test_frames_are_not_kept_unasked() -> None:
    lab = Lab(RING, name="plain")
    lab.advance(2)
    assert lab.recording.frames == []
    lab.close()
