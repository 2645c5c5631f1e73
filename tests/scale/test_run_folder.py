"""What a run on disk is made from: its run config, its data, and its folder."""

import json
import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, call

import pytest
import torch
from PIL import Image

from gantutor.data import DataError, Images, Pairs, Points, Unpaired
from gantutor.scale.run_folder import (
    MODEL_KINDS,
    RunFolder,
    build_config,
    fixed_fields,
    load_data,
    new_config,
    new_folder,
)
from gantutor.training import History


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(kind: str, data: str | Path, **given: Any) -> Any:
    return load_data(new_config(kind, {"data": str(data), **given}), "cpu", download=True)


def save_pictures(folder: Path, count: int, size: tuple[int, int] = (20, 12)) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", size, (number * 20, 90, 30)).save(folder / f"{number}.png")


def test_the_length_of_a_run_is_free_where_no_rate_falls_by_it() -> None:
    assert "steps" not in fixed_fields(new_config("dcgan", {}))
    assert fixed_fields(new_config("cyclegan", {"steps": 9}))["steps"] == 9
    assert fixed_fields(new_config("dcgan", {"device": "cpu", "keep_every": 2})) == fixed_fields(
        new_config("dcgan", {})
    )


# The data.


def test_one_s_own_folders(tmp_path: Path) -> None:
    save_pictures(tmp_path / "flat", 3)
    save_pictures(tmp_path / "pairs", 4, (24, 12))
    for part in ("two/A", "two/B", "reference/trainA", "reference/trainB"):
        save_pictures(tmp_path / part, 4)
    assert new_config("dcgan", {"data": "flat"})["data"] == str(tmp_path / "flat"), "a run may go on from elsewhere"
    flat = loaded("dcgan", "flat", size=28)
    assert isinstance(flat, Images)
    assert flat.shape == (3, 28, 28)
    assert build_config(new_config("dcgan", {"data": "flat"}), flat).data is flat
    pairs = loaded("pix2pix", "pairs")
    assert isinstance(pairs, Pairs)
    assert pairs.shape == (3, 64, 64)
    for name in ("two", "reference"):
        unpaired = loaded("cyclegan", name, size=16)
        assert isinstance(unpaired, Unpaired)
        assert unpaired.shape == (3, 16, 16)


def test_a_set_with_a_name_takes_its_size_and_is_fetched_if_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded("dcgan", "digits", size=32).shape == (1, 32, 32)
    assert isinstance(loaded("dcgan", "ring"), Points), "what needs no download has none"
    asked: dict[str, Any] = {}
    sets = dict(MODEL_KINDS["pix2pix"].config.SETS)
    monkeypatch.setattr(MODEL_KINDS["pix2pix"].config, "SETS", sets)
    for name, download in (("facades", {"download": True}), ("maps_mini", {})):
        sets[name] = lambda **options: asked.update(options)
        loaded("pix2pix", name, size=128)
        assert asked == {"device": "cpu", "size": 128, **download}
        asked.clear()


def test_data_that_does_not_go(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--data: /no/where is no folder; .* choose one of ring, grid"):
        loaded("dcgan", "/no/where")
    with pytest.raises(ValueError, match="--size is the side of an image, and ring has none"):
        loaded("dcgan", "ring", size=28)
    save_pictures(tmp_path / "A", 2)
    with pytest.raises(DataError, match=r"needs two folders of images, A and B or trainA and trainB"):
        loaded("cyclegan", tmp_path)


# The folder.


def test_the_first_free_folder_is_made_and_so_taken() -> None:
    made = [new_folder(None, new_config("dcgan", {"data": "/my/cats", "strategy": "one_stage"})) for _ in range(2)]
    assert [str(folder.path) for folder in made] == ["runs/dcgan-cats-one_stage-1", "runs/dcgan-cats-one_stage-2"]
    assert all(folder.path.is_dir() for folder in made)


def test_a_config_that_is_damaged_or_of_another_version_is_named(tmp_path: Path) -> None:
    for content in ("", "[]", '{"kind": "vae"}'):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match=r"config\.json holds no run config"):
            RunFolder(tmp_path).read_config()
    whole = {**new_config("dcgan", {}), "replicas": 1, "pictures": []}
    (tmp_path / "config.json").write_text(json.dumps({**whole, "versions": {}}))
    assert RunFolder(tmp_path).read_config() == {**whole, "versions": {}}
    less = {name: value for name, value in whole.items() if name not in ("lr_G", "pictures")}
    (tmp_path / "config.json").write_text(json.dumps(less))
    with pytest.raises(ValueError, match=r"damaged, or of another version of gantutor: it lacks lr_G, pictures$"):
        RunFolder(tmp_path).read_config()


def test_tensorboard_hears_of_each_step_once_and_after_a_resume_of_the_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = MagicMock()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", MagicMock(SummaryWriter=board))
    history = History()
    for value in (1.0, 2.0):
        history.append({"d_loss": torch.tensor(value)})
    folder = RunFolder(tmp_path)
    assert folder.open({"kind": "dcgan"}, 1)
    folder.tell_board(history)
    history.append({"g_loss": torch.tensor(3.0)})
    folder.tell_board(history)
    folder.write_history(history)
    assert folder.history.read_text() == "step,d_loss,g_loss\n1,1.0,\n2,2.0,\n3,,3.0\n"
    assert board.call_args == call(tmp_path / "tensorboard", purge_step=2)
    assert board().add_scalar.call_args_list == [call("d_loss", 2.0, 2), call("g_loss", 3.0, 3)]
    save_pictures(tmp_path / "x", 1, (30, 20))
    folder.write_sample(7, (tmp_path / "x" / "0.png").read_bytes())
    (name, pixels, step), options = board().add_image.call_args
    assert (name, pixels.shape, step, options) == ("samples", (20, 30, 3), 7, {"dataformats": "HWC"})


def test_without_tensorboard_there_are_no_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as where it is not installed
    folder = RunFolder(tmp_path)
    assert not folder.open({"kind": "dcgan"}, 0)
    folder.tell_board(History())
    assert os.listdir(tmp_path) == ["config.json"]
    assert set(json.loads(folder.config.read_text())["versions"]) == {"python", "gantutor", "torch", "torchvision"}
