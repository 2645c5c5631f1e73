"""A run on disk: its run config, its data, its folder, its images, and when its loop stops."""

import copy
import csv
import json
import os
import signal
import sys
import types
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from helpers import same_state
from PIL import Image

from gantutor.configs import CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.data import DataError, Folder, Images, NamedSet, Pairs, Points, Unpaired
from gantutor.scale.distributed import Replicas
from gantutor.scale.runs import (
    Interruptions,
    RunFolder,
    build_config,
    contradictions,
    fill_config,
    fixed_fields,
    free_folder,
    image_counts,
    in_turn,
    load_data,
    loop,
    resolve_data_name,
    samples_of,
)
from gantutor.scale.runs.folder import write_whole
from gantutor.scale.runs.loop import Bar, due
from gantutor.scale.runs.run_config import CONFIG_CLASSES, config_fields
from gantutor.scale.runs.samples import png_plot
from gantutor.training import History, Run

TINY = {"batch_size": 8, "model_options": {"width": 8}}


def ring_config(**changes: Any) -> dict[str, Any]:
    run_config = {**config_fields("dcgan"), "kind": "dcgan", "data": "ring", "size": None, "steps": 9, "speed": "auto"}
    return {**run_config, **TINY, "sync_batchnorm": False, "sample_every": 5, **changes}


def ring_run() -> tuple[GANConfig, Any, Run]:
    config = GANConfig(data="ring", **TINY)
    data = config.load()
    return config, data, config.start(data)


def save_pictures(folder: Path, count: int, size: tuple[int, int] = (20, 12)) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", size, (number * 20, 90, 30)).save(folder / f"{number}.png")


# The run config and the config.


@pytest.mark.parametrize("kind", CONFIG_CLASSES)
def test_a_config_survives_json_and_gives_the_same_record(kind: str) -> None:
    run_config = {**config_fields(kind), "kind": kind}
    data = run_config["data"]
    config = build_config(run_config, None)
    again = json.loads(json.dumps(fill_config(run_config, config)))
    assert again["data"] == data
    assert build_config(again, None) == config == CONFIG_CLASSES[kind]()


def test_a_config_is_filled_with_what_the_record_settled() -> None:
    run_config = fill_config(ring_config(), build_config(ring_config(), None))
    assert (run_config["model"], run_config["norm_D"], run_config["z_dim"]) == ("points", "none", 2)
    assert run_config["steps"] == 9


def test_lists_of_a_config_become_tuples_again() -> None:
    run_config = {**config_fields("pix2pix"), "kind": "pix2pix", "multipliers": [1, 2, 4]}
    config = build_config(run_config, None, speed=("channels_last",))
    assert (config.multipliers, config.speed) == ((1, 2, 4), ("channels_last",))  # type: ignore[attr-defined]
    assert fill_config(run_config, config)["multipliers"] == [1, 2, 4]


def test_contradictions_are_spelled_as_options() -> None:
    given = {"lr_G": 0.5, "strategy": "one_stage", "model_options": {}, "seed": 0, "steps": 99, "device": "cpu"}
    assert contradictions(ring_config(), given) == [
        "--lr-G was 0.001, is 0.5",
        "--strategy was d_first_detach, is one_stage",
        "--model-option was width=8, is none",
    ]


def test_the_length_of_a_run_is_free_where_no_rate_falls_by_it() -> None:
    assert "steps" not in fixed_fields(ring_config())
    run_config = {**config_fields("cyclegan"), "kind": "cyclegan", "steps": 9}
    assert fixed_fields(run_config)["steps"] == 9
    assert contradictions(run_config, {"steps": 10}) == ["--steps was 9, is 10"]


# The data.


def test_names_stay_and_folders_become_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_data_name("pix2pix", "facades_mini") == "facades_mini"
    assert resolve_data_name("dcgan", "facades_mini") == str(tmp_path / "facades_mini")


def test_one_s_own_folders(tmp_path: Path) -> None:
    save_pictures(tmp_path / "flat", 3)
    save_pictures(tmp_path / "pairs", 4, (24, 12))
    for part in ("two/A", "two/B", "reference/trainA", "reference/trainB"):
        save_pictures(tmp_path / part, 4)
    flat = load_data("dcgan", str(tmp_path / "flat"), 28, "cpu")
    assert isinstance(flat, Images)
    assert flat.shape == (3, 28, 28)
    pairs = load_data("pix2pix", str(tmp_path / "pairs"), None, "cpu")
    assert isinstance(pairs, Pairs)
    assert pairs.shape == (3, 64, 64)
    for name in ("two", "reference"):
        unpaired = load_data("cyclegan", str(tmp_path / name), 16, "cpu")
        assert isinstance(unpaired, Unpaired)
        assert unpaired.shape == (3, 16, 16)
    config = build_config({**config_fields("dcgan"), "kind": "dcgan", "data": str(tmp_path / "flat")}, flat)
    assert config.data is flat


def test_pictures_are_counted() -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    pairs, unpaired = Pairs("x", images, images), Unpaired("x", images, images[:2], images, images)
    assert [image_counts(data) for data in (Images("x", images), pairs, unpaired)] == [[3], [3], [3, 2]]
    assert image_counts(load_data("dcgan", "ring", None, "cpu")) == []


def test_a_set_with_a_name_takes_its_size() -> None:
    assert load_data("dcgan", "digits", 32, "cpu").shape == (1, 32, 32)
    assert load_data("dcgan", "digits", None, "cpu").shape == (1, 28, 28)
    assert isinstance(load_data("dcgan", "ring", None, "cpu", download=True), Points), "what needs no download has none"


def test_download_reaches_the_set_that_can_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    from gantutor.scale.runs import run_config

    asked = {}
    for needs, download in (("download", {"download": True}), ("", {})):
        replaced = NamedSet(lambda **options: asked.update(options), needs)
        monkeypatch.setitem(run_config.DATA_SETS["pix2pix"], "facades", replaced)
        load_data("pix2pix", "facades", 128, "cpu", download=True)
        assert asked == {"device": "cpu", "size": 128, **download}
        asked.clear()


def test_data_that_does_not_go(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--data: /no/where is no folder; .* choose one of ring, grid"):
        load_data("dcgan", "/no/where", None, "cpu")
    with pytest.raises(ValueError, match="--size is the side of an image, and ring has none"):
        load_data("dcgan", "ring", 28, "cpu")
    save_pictures(tmp_path / "A", 2)
    with pytest.raises(DataError, match=r"needs two folders of images, A and B or trainA and trainB"):
        load_data("cyclegan", str(tmp_path), None, "cpu")


# The folder.


def test_the_first_free_folder_is_made_and_so_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = [free_folder("dcgan", "/my/cats", "one_stage") for _ in range(2)]
    assert [str(path) for path in made] == ["runs/dcgan-cats-one_stage-1", "runs/dcgan-cats-one_stage-2"]
    assert all(path.is_dir() for path in made)


def test_a_folder_of_a_run_without_a_step_goes_and_any_other_stays(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    RunFolder(tmp_path / "empty").close()
    assert not (tmp_path / "empty").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    RunFolder(tmp_path / "full").close()
    assert (tmp_path / "full" / "mine.txt").exists()


def test_the_history_as_a_table(tmp_path: Path) -> None:
    history = History()
    history.append({"d_loss": torch.tensor(0.1)})
    history.append({"d_loss": torch.tensor(2.0), "g_loss": torch.tensor(3.0)})
    folder = RunFolder(tmp_path)
    folder.write_history(history)
    rows = list(csv.DictReader(folder.history.read_text().splitlines()))
    assert rows[0] == {"step": "1", "d_loss": repr(torch.tensor(0.1).item()), "g_loss": ""}
    assert rows[1] == {"step": "2", "d_loss": "2.0", "g_loss": "3.0"}


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_whole(path, b"old")

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)  # without it, a crash of the machine leaves an empty file
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"kind": "vae"}'])
def test_a_damaged_config_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json holds no run config"):
        RunFolder(tmp_path).read_config()


def test_a_config_of_another_version_is_named(tmp_path: Path) -> None:
    whole = ring_config(replicas=1, pictures=[], checkpoint_every=5, keep_every=0)
    (tmp_path / "config.json").write_text(json.dumps(whole))
    assert RunFolder(tmp_path).read_config() == whole
    less = {name: value for name, value in whole.items() if name not in ("lr_G", "pictures")}
    (tmp_path / "config.json").write_text(json.dumps(less))
    with pytest.raises(ValueError, match=r"damaged, or of another version of gantutor: it lacks lr_G, pictures$"):
        RunFolder(tmp_path).read_config()


def test_the_checkpoints_that_are_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.checkpoint_steps() == []
    folder.checkpoint.parent.mkdir()
    others = [
        folder.checkpoint,
        folder.checkpoint_path(7).with_suffix(".pt.tmp"),
        folder.checkpoint.with_name("step_best.pt"),
    ]
    for path in (folder.checkpoint_path(20), folder.checkpoint_path(3), folder.checkpoint_path(1234567), *others):
        path.touch()
    assert folder.checkpoint_steps() == [3, 20, 1234567]


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no run in it: config\.json is missing"):
        RunFolder(tmp_path).read_config()


class Writer:
    """TensorBoard's writer, as a list of what it was told."""

    def __init__(self, path: Path, purge_step: int) -> None:
        self.path, self.purge_step = path, purge_step
        self.scalars: list[tuple[str, float, int]] = []
        self.images: list[tuple[str, tuple[int, ...], int]] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def add_image(self, name: str, pixels: np.ndarray, step: int, dataformats: str) -> None:
        assert dataformats == "HWC"
        self.images.append((name, pixels.shape, step))

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_tensorboard_hears_of_each_step_once_and_after_a_resume_of_the_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    history = History()
    for value in (1.0, 2.0):
        history.append({"d_loss": torch.tensor(value)})
    folder = RunFolder(tmp_path)
    assert folder.open({"kind": "dcgan"}, 1)
    assert (folder.board.path, folder.board.purge_step) == (tmp_path / "tensorboard", 2)
    folder.tell_board(history)
    folder.tell_board(history)
    history.append({"g_loss": torch.tensor(3.0)})
    folder.tell_board(history)
    assert folder.board.scalars == [("d_loss", 2.0, 2), ("g_loss", 3.0, 3)]
    config, data, run = ring_run()
    folder.write_sample(7, samples_of(config, data)(run))
    assert folder.board.images == [("samples", (400, 400, 3), 7)]


def test_without_tensorboard_there_are_no_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as where it is not installed
    folder = RunFolder(tmp_path)
    assert not folder.open({"kind": "dcgan"}, 0)
    folder.tell_board(History())
    folder.close()
    assert sorted(os.listdir(tmp_path)) == ["checkpoints", "config.json"]
    assert set(json.loads(folder.config.read_text())["versions"]) == {"python", "gantutor", "torch", "torchvision"}


# The images.


def decoded(png: bytes, path: Path) -> np.ndarray:
    path.write_bytes(png)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_a_sample_picture_of_digits_is_g_of_the_same_z(tmp_path: Path) -> None:
    config = GANConfig(data="digits", batch_size=4, model_options={"width_G": 4, "width_D": 4})
    data = config.load()
    run = config.start(data)
    before = copy.deepcopy(run.model)
    draw = samples_of(config, data)
    png = draw(run)
    assert draw(run) == png
    assert same_state(run.model, before)
    z = torch.randn(64, config.z_dim, generator=torch.Generator().manual_seed(0))
    first = (run.model.sample(z)[0, 0] + 1) * 127.5
    shown = decoded(png, tmp_path / "x.png")[2:30, 2:30, 0]  # within a margin of 2 pixels
    assert np.abs(shown - first.numpy()).max() < 1
    run.step()
    assert draw(run) != png


def test_a_sample_picture_of_pairs_has_input_output_and_target(tmp_path: Path) -> None:
    config = Pix2PixConfig(width_G=2, width_D=2)
    data = config.load()
    run = config.start(data)
    before = copy.deepcopy(run.model)
    png = samples_of(config, data)(run)
    assert same_state(run.model, before)
    A, B = data.held_out.first(1)
    shown = decoded(png, tmp_path / "x.png")
    assert shown.shape == (8 * 66 + 2, 3 * 66 + 2, 3)
    for column, image in ((0, A), (2, B)):
        cell = shown[2:66, 2 + 66 * column : 66 + 66 * column]
        assert np.abs(cell - ((image[0] + 1) * 127.5).permute(1, 2, 0).numpy()).max() < 1


def test_a_sample_picture_of_two_domains_has_both_ways(tmp_path: Path) -> None:
    config = CycleGANConfig(width_G=2, width_D=2, blocks=1)
    data = config.load()
    shown = decoded(samples_of(config, data)(config.start(data)), tmp_path / "x.png")
    A, B = data.test(1)
    assert shown.shape == (8 * 66 + 2, 6 * 66 + 2, 3)
    for column, image in ((0, A), (3, B)):
        cell = shown[2:66, 2 + 66 * column : 66 + 66 * column]
        assert np.abs(cell - ((image[0] + 1) * 127.5).permute(1, 2, 0).numpy()).max() < 1


def test_pictures_that_stay_in_their_files_can_be_sampled(tmp_path: Path) -> None:
    save_pictures(tmp_path / "flat", 3)
    data = Folder("flat", sorted((tmp_path / "flat").iterdir()), 28, 3, torch.device("cpu"))
    config = GANConfig(data=data, batch_size=2, model_options={"width_G": 4, "width_D": 4})
    assert samples_of(config, data)(config.start(data)).startswith(b"\x89PNG")


# The loop.


def test_what_is_due() -> None:
    assert [t for t in range(1, 8) if due(t, 3, 7)] == [3, 6, 7]
    assert [t for t in range(1, 8) if due(t, 0, 7)] == []


def test_a_signal_is_kept_until_the_step_is_over_and_a_late_second_one_ends_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    interruptions = Interruptions()
    with interruptions.watched():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # torchrun repeats what the terminal has sent
        assert interruptions.signal == signal.SIGTERM
        interruptions.since -= 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


class Counted:
    """A loss that counts how often it is fetched from its device."""

    def __init__(self) -> None:
        self.fetched = 0

    def item(self) -> float:
        self.fetched += 1
        return 0.25


def test_the_bar_shows_the_losses_without_waiting_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    sys.stderr.isatty = lambda: True  # type: ignore[method-assign] -- pytest's own, of this test
    _, _, run = ring_run()
    loss = Counted()
    run.last = {"d_loss": loss, "logits_real": Counted()}  # type: ignore[dict-item]
    with Bar(run, 100, quiet=False) as bar:
        for _ in range(50):
            bar.show()
        assert not bar.is_off
    assert loss.fetched == 1
    assert "d_loss 0.250" in capsys.readouterr().err


def test_there_is_no_bar_for_a_log_or_another_replica(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, run = ring_run()
    run.step()
    for quiet in (False, True):
        with Bar(run, 100, quiet) as bar:
            bar.show()
            assert bar.is_off
            assert bar.line().startswith("step 1 of 100: d_loss ")
    assert capsys.readouterr().err == ""


def test_a_line_of_the_log_has_the_rate_since_the_line_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now)
    _, _, run = ring_run()
    with Bar(run, 100, quiet=True) as bar:
        run.t, now = 10, 101.0
        assert bar.line().endswith(", 10.0 steps/s")
        run.t, now = 20, 106.0
        assert bar.line().endswith(", 2.0 steps/s")


def test_replicas_stop_together_for_a_signal_that_one_of_them_got(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_reduce(signals: torch.Tensor, operation: Any) -> None:
        assert operation == torch.distributed.ReduceOp.MAX
        asked.append(run.t)
        signals.fill_(signal.SIGTERM)  # another's

    asked: list[int] = []
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    _, _, run = ring_run()
    both, alone = (Replicas(0, count, torch.device("cpu")) for count in (2, 1))
    interruptions = Interruptions()
    found = []
    for run.t in range(1, 11):
        assert interruptions.agreed(run, alone) == 0
        found.append(interruptions.agreed(run, both))
    assert found == [0] * 9 + [signal.SIGTERM]
    assert asked == [10]


@pytest.mark.parametrize(("rank", "order"), [(0, ["load", "barrier"]), (1, ["barrier", "load"])])
def test_the_first_replica_loads_before_the_others(
    rank: int, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.distributed, "barrier", lambda: done.append("barrier"))
    in_turn(Replicas(rank, 2, torch.device("cpu")), lambda: done.append("load"))
    assert done == order


def test_a_plot_of_points_does_not_depend_on_what_the_process_draws_with() -> None:
    real, fake = torch.rand(5, 2), torch.rand(5, 2)
    plain = png_plot(real, fake)
    with matplotlib.rc_context({"axes.grid": True, "font.size": 17, "figure.dpi": 50, "savefig.dpi": 50}):
        assert png_plot(real, fake) == plain
