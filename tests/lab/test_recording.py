"""The frames of a run: what is kept, what is dropped, and what the exported files hold."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from run_cases import RING

from gantutor.configs import GANConfig
from gantutor.lab import Lab, page, recording
from gantutor.lab.page import pack
from gantutor.lab.recording import LOST, Recording, Take, fold, pack_take, picture, thinned
from gantutor.lab.run_view import RunView
from gantutor.lab.stream import Blob, Frame
from gantutor.training import History
from gantutor.views import View

TINY = GANConfig("digits", device="cpu", batch_size=8, model_options={"width_G": 4, "width_D": 4})


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab(RING, RING.replace(loss="minimax"), name="recording")
    yield made
    made.close()


def frame(step: int, *arrays: np.ndarray) -> Frame:
    views = [View(name="it", kind="images", title="", alt="", arrays={"images": array}) for array in arrays]
    return Frame(step, [views], [History()], [0], values=[{}])


# Kept, as PNG and as GIF ----------------------------------------------------------------------------------------------


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


def test_large_frames_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST_BYTES", 1000)
    kept = Recording()
    for step in range(40):
        kept.add(frame(step, np.zeros((1, 10, 10), np.uint8)))
        assert len(kept.frames) <= 10
    assert [frame.step for frame in kept.frames] == list(range(0, 40, 4))


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


def test_reset_begins_a_new_recording(lab: Lab) -> None:
    lab.recording.most = 4
    for _ in range(6):
        lab.advance(1)
    lab.reset()
    lab.recording.most = 600
    assert [frame.step for frame in lab.recording.frames] == [0]


# Packed for a page ----------------------------------------------------------------------------------------------------


def taken(place: list[Any], data: bytes) -> np.ndarray:
    offset, kind, shape = place
    return np.frombuffer(data, np.dtype(f"<{kind}"), int(np.prod(shape)), offset).reshape(shape)


def unfolded(folded: list[Any], count: int, data: bytes) -> list[np.ndarray]:
    """As front/recorded.js does it."""
    place, level, shapes = folded
    changes, found = taken(place, data), []
    before = changes[:0]
    for i in range(count):
        shape = shapes[i] if len(shapes) > 1 else shapes[0]
        size = int(np.prod(shape))
        levels, changes = changes[:size].copy(), changes[size:]
        if len(before) == size:
            levels += before
        found.append(np.where(levels == LOST, np.nan, levels * level).reshape(shape))
        before = levels
    return found


def test_a_page_takes_no_number_that_a_browser_cannot_read() -> None:
    with pytest.raises(ValueError, match="JSON"):
        pack({"it": float("nan")})


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 2**32 - 1), st.sampled_from(["u1", "f4"]))
def test_folded_arrays_come_back_but_for_half_a_level(sizes: list[int], seed: int, kind: str) -> None:
    rng, blob = np.random.default_rng(seed), Blob()
    arrays = [rng.uniform(0, 255, (size, 2)) if kind == "u1" else rng.normal(size=(size, 2)) for size in sizes]
    arrays = [array.astype(kind) for array in arrays]
    if kind == "f4" and sizes[0]:
        arrays[0][0, 0] = np.inf
    folded = fold(arrays, blob)
    for array, back in zip(arrays, unfolded(folded, len(arrays), b"".join(blob.parts)), strict=True):
        wanted = np.where(np.isfinite(array), array, np.nan)
        np.testing.assert_allclose(back, wanted, rtol=0, atol=folded[1] * 0.5001)
    assert folded[1] <= 255 / 31


def test_a_long_column_is_thinned_but_stays_as_long() -> None:
    short, long = np.arange(10_000, dtype=np.float32), np.arange(25_001, dtype=np.float32)
    assert thinned(short).tolist() == short.tolist()
    assert thinned(short[:0]).shape == (0,)
    shorter = thinned(long)
    assert shorter.shape == long.shape
    assert len(np.unique(shorter)) <= 10_000
    assert np.abs(shorter - long).max() <= 1


def test_a_take_has_evenly_spaced_frames_its_last_one_and_the_newest_of_a_step() -> None:
    shown = [
        frame(step, np.full((1, 1, 1), value, np.uint8))
        for step, value in [(0, 0), (1, 0), (1, 255), *((s, 0) for s in range(2, 50))]
    ]
    blob = Blob()
    packed = pack_take(Take(shown), 50, blob)
    assert [entry["step"] for entry in packed["frames"]] == list(range(50))
    assert unfolded(packed["arrays"]["it"]["images"], 50, b"".join(blob.parts))[1].round() == 255
    packed = pack_take(Take(shown), 8, blob)
    assert [entry["step"] for entry in packed["frames"]] == [0, 7, 14, 21, 28, 35, 42, 49]


# The panel's page -----------------------------------------------------------------------------------------------------


def runs_of(lab: Lab, folder: Path, frames: int = 300) -> tuple[list[list[dict[str, Any]]], bytes]:
    """What the page of `lab.save` holds."""
    held: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "write_page", lambda path, title, script, css, state, data: held.update(state, data=data))
        lab.save(folder / "run.html", frames)
    return held["recorded"]["runs"], held["data"]


def test_a_page_has_a_take_for_each_side_with_its_frames_curves_and_marks(lab: Lab, tmp_path: Path) -> None:
    lab.reset()
    lab.advance(3)
    lab.set(1, loss="hinge")
    lab.runner.wait()
    lab.advance(2)
    runs, data = runs_of(lab, tmp_path)
    lab.set(1, loss="minimax")
    for i, ((take,), run) in enumerate(zip(runs, lab.runs, strict=True)):
        assert [(entry["step"], entry["rows"]) for entry in take["frames"]] == [(0, 0), (3, 3), (5, 5)]
        for name in ("d_loss", "grad_G"):
            np.testing.assert_array_equal(taken(take["curves"][name], data), run.history[name].astype(np.float32))
        fake = {view.name: view for view in lab.stream.frame.views[i]}["plane"].arrays["fake"]
        back = unfolded(take["arrays"]["plane"]["fake"], 3, data)[-1]
        np.testing.assert_allclose(back, fake, atol=2e-3)
    assert runs[0][0]["marks"] == []
    assert runs[1][0]["marks"] == [(3, "loss → hinge")]
    options = lab.run_views[1].controls.options["loss"]
    assert [options[entry["values"]["loss"]] for entry in runs[1][0]["frames"]] == ["minimax", "hinge", "hinge"]


def test_record_trains_others_from_the_same_seed_and_leaves_the_run_alone(tmp_path: Path) -> None:
    config = TINY.replace(loss="hinge")
    lab, twin = Lab(config, name="recorded"), config.start()
    lab.advance(2)
    lab.record(4, {"loss": ["hinge", "minimax"], "strategy": ["d_first_detach", "simultaneous"]}, frames=2)
    assert lab.status == "recorded: 4 runs of 4 steps"
    lab.advance(2)
    runs, data = runs_of(lab, tmp_path)
    for _ in range(4):
        twin.step()
    assert all(map(torch.equal, lab.run.model.G.parameters(), twin.model.G.parameters()))
    controls = lab.run_views[0].controls
    found = [
        [controls.options[name][take["frames"][0]["values"][name]] for name in ("loss", "strategy")] for take in runs[0]
    ]
    assert found == [
        ["hinge", "d_first_detach"],
        ["hinge", "simultaneous"],
        ["minimax", "d_first_detach"],
        ["minimax", "simultaneous"],
    ]
    for take, (loss, strategy) in zip(runs[0], found, strict=True):
        alone = config.replace(loss=loss, strategy=strategy).start()
        for _ in range(4):
            alone.step()
        assert [entry["step"] for entry in take["frames"]] == [0, 2, 4]
        np.testing.assert_array_equal(taken(take["curves"]["g_loss"], data), alone.history["g_loss"].astype(np.float32))
    lab.record(4, {"loss": ["hinge", "minimax"]})
    assert lab.status == "recorded: 1 runs of 4 steps", "the panel's run has come so far itself"
    lab.close()


def diverging(*_: Any) -> dict[str, torch.Tensor]:
    return {"d_loss": torch.tensor(torch.nan)}


def test_a_recorded_run_that_diverges_ends_there_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = RunView.prepare

    def broken(view: RunView, config: Any) -> Any:
        data, run = prepare(view, config)
        run.train_step.last = diverging
        return data, run

    lab = Lab(RING, name="diverges")
    monkeypatch.setattr(RunView, "prepare", broken)
    lab.record(3, {"loss": ["hinge"]})
    ((take,),) = lab.recorded
    assert [frame.step for frame in take.frames] == [0]
    assert take.error.startswith("DivergedError: d_loss is nan at step 1 of diverging")
    lab.close()


def test_record_refuses_what_has_no_control_or_cannot_be_chosen(lab: Lab) -> None:
    with pytest.raises(ValueError, match="'width' has no control"):
        lab.record(1, {"width": [3]})
    with pytest.raises(ValueError, match="loss='l3' cannot be chosen here"):
        lab.record(1, {"loss": ["hinge", "l3"]})
    assert lab.recorded == [[], []]


@pytest.mark.slow
def test_three_hundred_frames_of_digits_take_at_most_three_megabytes(tmp_path: Path) -> None:
    narrow = {"width_G": 8, "width_D": 8}  # its pictures take as much
    lab = Lab(GANConfig("digits", device="cpu", model_options=narrow), name="large")
    for _ in range(299):
        lab.run.step()
        lab._frame(last=True)
    path = lab.save(tmp_path / "run.html")
    assert len(lab.recording.frames) == 300
    assert path.stat().st_size <= 3e6
    lab.close()
