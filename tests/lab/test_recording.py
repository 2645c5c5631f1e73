"""The frames of a run: what is kept, what is dropped, and what the exported files hold."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from run_cases import RING

from gantutor.lab import Lab
from gantutor.lab.recording import Recording, picture
from gantutor.lab.stream import Frame


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab(RING, RING.replace(loss="minimax"), name="recording", keep_frames=True)
    yield made
    made.close()


@given(st.integers(0, 300), st.integers(2, 40))
def test_a_full_recording_keeps_evenly_spaced_frames_from_the_first_on(seen: int, most: int) -> None:
    kept = Recording(most)
    for step in range(seen):
        kept.add(Frame(step, []))
    steps = [frame.step for frame in kept.frames]
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
    assert [frame.step for frame in kept.frames] == [0, 1]


def test_each_frame_is_the_picture_of_its_step(lab: Lab, tmp_path: Path) -> None:
    lab.reset()
    shown = [np.asarray(lab.snapshot())]
    for _ in range(2):
        lab.advance(3)
        shown.append(np.asarray(lab.snapshot()))
    assert [frame.step for frame in lab.recording.frames] == [0, 3, 6], "the first, and the last of each advance"
    paths = lab.recording.save_png(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == [f"000{i}_step_00000{3 * i}.png" for i in range(3)]
    assert sorted((tmp_path / "new" / "folder").iterdir()) == paths
    for path, wanted in zip(paths, shown, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), wanted)


def test_save_gif(lab: Lab, tmp_path: Path) -> None:
    lab.reset()
    lab.advance(1)
    path = lab.recording.save_gif(str(tmp_path / "run.gif"), fps=5, hold_s=2.0)
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.size) == (2, lab.snapshot().size)
        assert gif.info["loop"] == 0, "it does not repeat"
        durations = []
        for number, frame in enumerate(lab.recording.frames):
            gif.seek(number)
            durations.append(gif.info["duration"])
            shown = np.asarray(gif.convert("RGB")).astype(int)
            assert np.abs(shown - np.asarray(picture(frame))).mean() < 4, "another picture, but for its palette"
    assert durations == [200, 2000]


def test_an_empty_recording_says_what_to_do(tmp_path: Path) -> None:
    message = r"no frame was kept: make the panel with Lab\(..., keep_frames=True\)"
    with pytest.raises(ValueError, match=message):
        Recording().save_gif(tmp_path / "no.gif")
    with pytest.raises(ValueError, match=message):
        Recording().save_png(tmp_path / "no")
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_reset_begins_a_new_recording(lab: Lab) -> None:
    lab.recording.most = 4
    for _ in range(6):
        lab.advance(1)
    lab.reset()
    lab.recording.most = 1000
    assert [frame.step for frame in lab.recording.frames] == [0]


def test_frames_are_not_kept_unasked() -> None:
    lab = Lab(RING, name="plain")
    lab.advance(2)
    assert lab.recording.frames == []
    lab.close()
