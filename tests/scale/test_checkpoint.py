"""Checkpoints: a run that was saved, stopped or killed goes on bit for bit; and what goes wrong loses nothing."""

import copy
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from image_helpers import on_cuda
from run_cases import HEAPS, PAIRS, after, difference
from torch import nn

from gantutor.configs import CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.model_state import optimizers
from gantutor.scale.checkpoint import CheckpointError, load_checkpoint, read_checkpoint, save_checkpoint
from gantutor.training import DivergedError, Run

CONFIG = {"data": "noise", "lr": 1e-3, "multipliers": (1, 2)}

# Small, and with everything that has a memory: D's extra batches, dropout, pools, BatchNorm, a rate that falls.
CONFIGS: dict[str, Any] = {
    "gan": GANConfig(data="ring", batch_size=8, d_steps=2, norm_G="batch", model_options={"width": 8}, device="cpu"),
    "pix2pix": Pix2PixConfig(data=PAIRS, width_G=4, width_D=4, patch=16, batch_size=2, steps=6, device="cpu"),
    "cyclegan": CycleGANConfig(
        data=HEAPS, width_G=4, width_D=4, blocks=1, patch=16, pool_size=2, steps=6, device="cpu"
    ),
}
each_kind = pytest.mark.parametrize("kind", CONFIGS)


def state(run: Run) -> dict[str, Any]:
    """A copy of all that a run goes on from."""
    return copy.deepcopy({"run": run.state_dict(), "chance": torch.get_rng_state()})


def same(a: Any, b: Any) -> bool:
    return difference(a, b) == 0


def ticked(run: Run, steps: int) -> Run:
    for _ in range(steps):
        run.step()
    return run


@pytest.fixture
def saved(tmp_path: Path, seed: int) -> Path:
    """The checkpoint of a GAN after 3 steps."""
    path = tmp_path / "latest.pt"
    save_checkpoint(path, after(CONFIGS["gan"], 3), CONFIG)
    return path


# A run goes on -------------------------------------------------------------------------------------------------------


@each_kind
def test_a_run_of_another_seed_goes_on_as_the_saved_one(kind: str, tmp_path: Path, seed: int) -> None:
    run = after(CONFIGS[kind], 4)
    before = state(run)
    save_checkpoint(tmp_path / "latest.pt", run, CONFIG)
    assert same(state(run), before)
    assert os.listdir(tmp_path) == ["latest.pt"]
    wanted = state(ticked(run, 4))
    torch.rand(3)
    again = after(CONFIGS[kind].replace(seed=9), 1)
    assert not same(state(again)["run"]["model"], wanted["run"]["model"])
    load_checkpoint(tmp_path / "latest.pt", again, CONFIG)
    assert again.t == len(again.history) == 4
    assert same(state(ticked(again, 4)), wanted)


def test_it_goes_on_with_the_speed_ups_of_the_new_run(tmp_path: Path) -> None:
    """How the saved run computed is not taken over: kernels, memory order, and where Adam counts its steps."""
    config = CONFIGS["cyclegan"]
    plain, fast = after(config, 3), config.replace(speed=("channels_last", "fused")).start()
    save_checkpoint(tmp_path / "plain.pt", plain, CONFIG)
    load_checkpoint(tmp_path / "plain.pt", fast, CONFIG)
    for name, optimizer in optimizers(fast.model).items():
        (ours,), (theirs,) = optimizer.param_groups, optimizers(plain.model)[name].param_groups
        assert ours["fused"] is True
        for p, q in zip(ours["params"], theirs["params"], strict=True):
            assert optimizer.state[p]["exp_avg"].stride() == p.stride()
            assert same(optimizer.state[p], optimizers(plain.model)[name].state[q])
    ticked(fast, 1).model.opt_G.param_groups[0]["lr"] = torch.tensor(0.5)  # as a recorded step has it
    save_checkpoint(tmp_path / "fast.pt", fast, CONFIG)
    back = config.start()
    load_checkpoint(tmp_path / "fast.pt", back, CONFIG)
    (group,) = back.model.opt_G.param_groups
    assert not group["fused"]
    assert isinstance(group["lr"], float)
    assert back.step()["g_loss"].isfinite()


@pytest.mark.cuda
@each_kind
def test_a_run_on_a_gpu_goes_on(kind: str, tmp_path: Path, seed: int) -> None:
    config = on_cuda(CONFIGS[kind])
    run = after(config, 4)
    save_checkpoint(tmp_path / "latest.pt", run, CONFIG)
    wanted, drawn = state(ticked(run, 4)), torch.rand(3, device="cuda")
    again = config.replace(seed=9).start()
    load_checkpoint(tmp_path / "latest.pt", again, CONFIG)
    assert torch.equal(torch.rand(3, device="cuda"), drawn)
    for name, value in state(ticked(again, 4))["run"]["history"]["columns"].items():
        torch.testing.assert_close(value, wanted["run"]["history"]["columns"][name], rtol=1e-3, atol=1e-4)
    for pool in ("pool_A", "pool_B"):
        assert all(image.is_cuda for image in getattr(getattr(again.model, pool, None), "images", []))
    with pytest.raises(CheckpointError, match="was saved on cuda, this run is on cpu"):
        load_checkpoint(tmp_path / "latest.pt", CONFIGS[kind].start(), CONFIG)


# Nothing is lost by a save that fails ---------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_disk_that_does_not_take_it_leaves_the_old_checkpoint(saved: Path) -> None:
    run = CONFIGS["gan"].start()
    load_checkpoint(saved, run, CONFIG)
    before, old = state(run), saved.read_bytes()
    saved.with_name("latest.pt.tmp").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"was not written: No space left on device\. What was there before is"):
        save_checkpoint(saved, run, CONFIG)
    assert saved.read_bytes() == old
    assert os.listdir(saved.parent) == ["latest.pt"]
    assert same(state(run), before)
    save_checkpoint(saved, ticked(run, 1), CONFIG)  # there is room again
    assert read_checkpoint(saved)["state"]["t"] == 4


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_kill_in_the_middle_of_a_save_leaves_the_old_checkpoint(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new one has its name only when it is on the disk; what a kill leaves over is overwritten next time."""
    run, old = after(CONFIGS["gan"], 4), saved.read_bytes()

    class KilledError(BaseException):
        """As a signal that cannot be caught."""

    def killed(file: int) -> None:
        os.ftruncate(file, 100)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path: None)  # nobody cleans up after a kill
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KilledError):
            save_checkpoint(saved, run, CONFIG)
    assert saved.with_name("latest.pt.tmp").exists()
    assert saved.read_bytes() == old
    save_checkpoint(saved, run, CONFIG)
    assert read_checkpoint(saved)["state"]["t"] == 4
    assert os.listdir(saved.parent) == ["latest.pt"]


def test_what_should_not_be_saved_leaves_the_old_checkpoint(saved: Path) -> None:
    old, run = saved.read_bytes(), CONFIGS["gan"].start()
    with pytest.raises(CheckpointError, match=r"latest\.pt/x\.pt was not written: (File exists|Not a directory)"):
        save_checkpoint(saved / "x.pt", run, CONFIG)
    next(run.model.G.parameters()).data.fill_(float("inf"))
    with pytest.raises(CheckpointError, match="was not written: after step 0 the weights are NaN or infinite"):
        save_checkpoint(saved, run, CONFIG)
    run = after(CONFIGS["gan"], 2)
    run.history.append({"d_loss": torch.tensor(float("nan"))})  # as on a GPU, between two looks
    run._unchecked.append((3, "d_first_detach", ["d_loss"]))
    with pytest.raises(DivergedError, match="d_loss is nan at step 3"):
        save_checkpoint(saved, run, CONFIG)
    assert saved.read_bytes() == old


# Nothing is lost by a load that fails ---------------------------------------------------------------------------------


def refused(path: Path, run: Run, config: dict[str, Any], message: str) -> None:
    """Loading raises, and neither the run nor the file nor the global random state has changed."""
    before, file = state(run), path.read_bytes() if path.is_file() else None
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path, run, config)
    assert str(path) in str(caught.value)
    assert same(state(run), before)
    assert file is None or path.read_bytes() == file


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    run = CONFIGS["gan"].start()
    refused(tmp_path / "x.pt", run, CONFIG, r"x\.pt cannot be read: No such file or directory\. Name a file that")
    refused(tmp_path, run, CONFIG, "cannot be read: Is a directory")


def test_a_flipped_bit_in_a_weight_is_found_by_its_checksum(saved: Path) -> None:
    whole = saved.read_bytes()
    weights = read_checkpoint(saved)["state"]["model"]["parts"]["G"]
    tensor = next(tensor for tensor in weights.values() if tensor.dim() == 2)
    place = whole.index(tensor.numpy().tobytes())
    saved.write_bytes(whole[: place + 5] + bytes([whole[place + 5] ^ 1]) + whole[place + 6 :])
    torch.load(saved, weights_only=True)  # does not look
    refused(saved, CONFIGS["gan"].start(), CONFIG, r"the checksum of .*data/\d+ is wrong")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("as_zip", [True, False])
def test_code_in_a_file_is_not_run(as_zip: bool, tmp_path: Path) -> None:
    path, sprung = tmp_path / "x.pt", tmp_path / "sprung"
    content = {"format": "gantutor checkpoint", "version": 1, "state": Trap(sprung)}
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    reason = "holds more than tensors and plain values, which might be code; none" if as_zip else "is not a zip file"
    refused(path, CONFIGS["gan"].start(), CONFIG, reason)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "x"}, "a file of torch.save's, but no checkpoint of gantutor"),
        ({"version": 2}, "has format 2, and this gantutor reads up to 1: install a newer one"),
        ({"device": "cuda"}, "was saved on cuda, this run is on cpu, .*: go on with device=cuda"),
    ],
)
def test_a_file_from_elsewhere(saved: Path, changes: dict[str, Any], message: str) -> None:
    content = torch.load(saved, weights_only=True)
    torch.save({**content, **changes}, saved)
    refused(saved, CONFIGS["gan"].start(), CONFIG, message)


def test_the_stored_names_are_those_of_earlier_versions(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    assert (content["format"], content["version"]) == ("gantutor checkpoint", 1)
    assert set(content) == {"format", "version", "torch", "device", "config", "state", "chance"}
    assert set(content["state"]) == {"t", "model", "step", "batches", "batch", "history"}
    assert set(content["state"]["model"]) == {"parts", "generators"}


def test_a_changed_config_is_told_field_by_field(saved: Path) -> None:
    run = CONFIGS["gan"].start()
    now = {"data": "noise", "lr": 2e-3, "seed": 1}
    differences = "lr was 0.001, is 0.002; multipliers was [1, 2], is not there; seed was not there, is 1."
    refused(saved, run, now, re.escape(f"belongs to another configuration: {differences} Go on with the one"))
    load_checkpoint(saved, run, {"multipliers": [1, 2], "lr": 0.001, "data": "noise"})
    assert run.t == 3


def test_the_checkpoint_of_another_model(saved: Path) -> None:
    """Other names; and other shapes, where G is loaded before D does not fit: it gets its weights back."""
    message = "the parts saved are G, D, opt_G, opt_D; the model has G_AB, G_BA, D_A, D_B, opt_G, opt_D, pool_A,"
    refused(saved, after(CONFIGS["cyclegan"], 1), CONFIG, message)
    run = after(CONFIGS["gan"], 2)
    run.model.D[0] = nn.Linear(2, 9)
    refused(saved, run, CONFIG, r"does not fit this run, which is as it was: .*size mismatch for 0\.weight")
    content = torch.load(saved, weights_only=True)
    content["state"]["model"]["parts"]["opt_D"]["state"][0]["exp_avg"] = torch.zeros(7)
    torch.save(content, saved)
    refused(saved, CONFIGS["gan"].start(), CONFIG, r"exp_avg is \(7,\), its parameter \(8, 2\)")


def test_an_interrupt_in_the_middle_of_a_load_leaves_the_run_as_it_was(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, load = CONFIGS["gan"].start(), Run.load_state_dict
    before, calls = state(run), iter([KeyboardInterrupt()])

    def interrupted(run: Run, content: dict[str, Any]) -> None:
        load(run, content)
        for error in calls:
            raise error

    monkeypatch.setattr(Run, "load_state_dict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_checkpoint(saved, run, CONFIG)
    assert same(state(run), before)
