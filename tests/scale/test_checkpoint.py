"""Checkpoints: a run that was saved, stopped or killed goes on bit for bit; and what goes wrong loses nothing."""

import copy
import errno
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from image_helpers import on_cuda
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gantutor.configs import Config, CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.cyclegan import CYCLEGAN_STEPS
from gantutor.data import Pairs, Unpaired
from gantutor.model_state import networks, optimizers
from gantutor.pix2pix import PIX2PIX_STEPS
from gantutor.scale.checkpoint import CheckpointError, load_checkpoint, read_checkpoint, save_checkpoint
from gantutor.steps import STEPS
from gantutor.training import DivergedError, Run

CONFIG = {"data": "noise", "lr": 1e-3, "multipliers": (1, 2)}


def noise(n: int, seed: int) -> Tensor:
    return torch.randint(0, 256, (n, 3, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


PAIRS = Pairs("noise", noise(9, 0), noise(9, 1), flip=True, jitter=True)
HEAPS = Unpaired("heaps", noise(9, 0), noise(7, 1), noise(5, 2), noise(5, 3), ("dots", "dashes"), flip=True)
# Small, and with everything that has a memory: D's extra batches, dropout, pools, BatchNorm, a rate that falls.
CONFIGS: dict[str, Any] = {
    "gan": GANConfig(data="ring", batch_size=8, d_steps=2, norm_G="batch", model_options={"width": 8}, device="cpu"),
    "pix2pix": Pix2PixConfig(data=PAIRS, width_G=4, width_D=4, patch=16, batch_size=2, steps=6, device="cpu"),
    "cyclegan": CycleGANConfig(
        data=HEAPS, width_G=4, width_D=4, blocks=1, patch=16, pool_size=2, steps=6, device="cpu"
    ),
}
STRATEGIES = [
    (kind, strategy)
    for kind, steps in (("gan", STEPS), ("pix2pix", PIX2PIX_STEPS), ("cyclegan", CYCLEGAN_STEPS))
    for strategy in steps
]
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full and /proc")
each_record = pytest.mark.parametrize("kind", CONFIGS)


def same(a: Any, b: Any) -> bool:
    """Bit for bit, but for NaN, of which there is one."""
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Tensor):
        is_number = a.dtype.is_floating_point
        return a.dtype == b.dtype and a.device == b.device and torch.allclose(a, b, 0, 0, equal_nan=is_number)
    return bool(a == b)


def state(run: Run) -> dict[str, Any]:
    """A copy of all that a run goes on from."""
    return copy.deepcopy({"run": run.state_dict(), "chance": torch.get_rng_state()})


def ticked(run: Run, steps: int) -> Run:
    for _ in range(steps):
        run.step()
    return run


@pytest.fixture
def saved(tmp_path: Path, seed: int) -> Path:
    """The checkpoint of a GAN after 3 steps."""
    path = tmp_path / "latest.pt"
    save_checkpoint(path, ticked(CONFIGS["gan"].start(), 3), CONFIG)
    return path


# A run goes on -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "strategy"), STRATEGIES)
def test_a_run_of_another_seed_goes_on_as_the_saved_one(kind: str, strategy: str, tmp_path: Path, seed: int) -> None:
    penalty = kind == "gan" and strategy == "d_first_detach"
    config = CONFIGS[kind].replace(strategy=strategy, loss="wgan-gp" if penalty else "minimax")
    run = ticked(config.start(), 4)
    save_checkpoint(tmp_path / "latest.pt", run, CONFIG)
    wanted = state(ticked(run, 4))
    torch.rand(3)
    again = ticked(config.replace(seed=9).start(), 1)
    assert not same(state(again), wanted)
    load_checkpoint(tmp_path / "latest.pt", again, CONFIG)
    assert again.t == len(again.history) == 4
    assert same(state(ticked(again, 4)), wanted)


FORGOTTEN = [
    ("gan", ("t",)),
    ("gan", ("history",)),
    ("gan", ("batches",)),
    ("gan", ("step",)),  # the extra batches
    ("gan", ("model", "parts", "opt_G")),
    ("gan", ("model", "parts", "D")),
    ("pix2pix", ("step",)),  # the rate
    ("pix2pix", ("model", "generators")),
    ("cyclegan", ("step",)),
    ("cyclegan", ("model", "parts", "pool_B")),
    ("cyclegan", ("model", "parts", "G_BA")),
]


@pytest.mark.parametrize(("kind", "what"), FORGOTTEN, ids=str)
def test_no_part_of_the_state_could_be_left_out(kind: str, what: tuple[str, ...]) -> None:
    """Each with what a fresh run has in its place ends elsewhere, so the tests above would notice."""
    run = ticked(CONFIGS[kind].start(), 4)
    whole, fresh = state(run)["run"], state(CONFIGS[kind].start())["run"]
    wanted = state(ticked(run, 4))["run"]
    for missing in (False, True):
        here, there = whole, fresh
        for name in what[:-1]:
            here, there = here[name], there[name]
        if missing:
            assert not same(here[what[-1]], there[what[-1]])
            here[what[-1]] = there[what[-1]]
        again = CONFIGS[kind].start()
        again.load_state_dict(copy.deepcopy(whole))
        assert same(state(ticked(again, 4))["run"], wanted) is not missing


@each_record
def test_saving_changes_nothing_in_the_run(kind: str, tmp_path: Path, seed: int) -> None:
    alone, watched = CONFIGS[kind].start(), CONFIGS[kind].start()
    wanted = state(ticked(alone, 5))
    for _ in range(5):
        before = state(watched)
        save_checkpoint(tmp_path / "latest.pt", watched, CONFIG)
        assert same(state(watched), before)
        watched.step()
    assert same(state(watched), wanted)
    assert os.listdir(tmp_path) == ["latest.pt"]


def test_torch_s_global_generator_goes_on_too(tmp_path: Path, seed: int) -> None:
    def start() -> Run:
        run = CONFIGS["gan"].start()
        run.model.G = nn.Sequential(run.model.G, nn.Dropout(0.2))  # nn.Dropout has no generator of its own
        return run

    run = ticked(start(), 2)
    save_checkpoint(tmp_path / "latest.pt", run, CONFIG)
    wanted = state(ticked(run, 2))
    again = start()
    torch.manual_seed(5)
    load_checkpoint(tmp_path / "latest.pt", again, CONFIG)
    assert same(state(ticked(again, 2)), wanted)


def test_a_batch_whose_step_failed_is_the_next_one_after_loading(tmp_path: Path, seed: int) -> None:
    def interrupted(*_: Any) -> dict[str, Tensor]:
        raise KeyboardInterrupt

    run = ticked(CONFIGS["cyclegan"].start(), 2)
    with pytest.raises(KeyboardInterrupt):
        run.step(interrupted)
    save_checkpoint(tmp_path / "latest.pt", run, CONFIG)
    again = CONFIGS["cyclegan"].start()
    load_checkpoint(tmp_path / "latest.pt", again, CONFIG)
    assert same(state(ticked(again, 1)), state(ticked(run, 1)))


def test_a_history_with_gaps_is_kept(tmp_path: Path) -> None:
    run = CONFIGS["gan"].start()
    for half_step in ("D only", "G only", "D only"):
        run.step(CONFIGS["gan"].HALF_STEPS[half_step])
    save_checkpoint(tmp_path / "latest.pt", run, CONFIG)
    again = CONFIGS["gan"].start()
    load_checkpoint(tmp_path / "latest.pt", again, CONFIG)
    assert again.history.keys() == run.history.keys() == ["d_loss", "g_loss", "grad_D", "grad_G"]
    for name in run.history.keys():  # noqa: SIM118 -- a History is no dict
        assert same(again.history[name].tolist()[0::2], run.history[name].tolist()[0::2]) is (name != "grad_G")
    assert len(again.history) == 3


def test_a_run_that_diverges_after_loading_is_set_back_to_the_checkpoint(saved: Path) -> None:
    run = CONFIGS["gan"].start()
    load_checkpoint(saved, run, CONFIG)
    wanted = copy.deepcopy(run.model.D.state_dict())
    for p in run.model.D.parameters():
        p.data.fill_(float("nan"))
    with pytest.raises(DivergedError) as caught:
        run.step()
    assert (caught.value.step, caught.value.good_step) == (4, 3)
    assert same(run.model.D.state_dict(), wanted)


def test_it_goes_on_with_the_speed_ups_of_the_new_run(tmp_path: Path) -> None:
    """How the saved run computed is not taken over: kernels, memory order, and where Adam counts its steps."""
    config = CONFIGS["cyclegan"]
    plain, fast = ticked(config.start(), 3), config.start()
    save_checkpoint(tmp_path / "plain.pt", plain, CONFIG)
    for network in networks(fast.model).values():
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for optimizer in optimizers(fast.model).values():
        for group in optimizer.param_groups:
            group["fused"], group["lr"] = True, torch.tensor(0.5)
    rate = fast.model.opt_G.param_groups[0]["lr"]
    load_checkpoint(tmp_path / "plain.pt", fast, CONFIG)
    for name, optimizer in optimizers(fast.model).items():
        (ours,), (theirs,) = optimizer.param_groups, optimizers(plain.model)[name].param_groups
        assert ours["fused"] is True
        assert ours["lr"].item() == pytest.approx(theirs["lr"])
        for p, q in zip(ours["params"], theirs["params"], strict=True):
            mine, its = optimizer.state[p], optimizers(plain.model)[name].state[q]
            assert mine["exp_avg"].stride() == p.stride()
            assert all(torch.equal(mine[key], its[key]) for key in ("step", "exp_avg", "exp_avg_sq"))
    assert fast.model.opt_G.param_groups[0]["lr"] is rate, "a recorded step reads it where it was"
    save_checkpoint(tmp_path / "fast.pt", ticked(fast, 1), CONFIG)
    back = config.start()
    load_checkpoint(tmp_path / "fast.pt", back, CONFIG)
    (group,) = back.model.opt_G.param_groups
    assert not group["fused"]
    assert isinstance(group["lr"], float)
    assert same(back.step()["g_loss"].isfinite(), torch.tensor(True))


def test_a_load_leaves_the_moments_where_they_lie(tmp_path: Path) -> None:
    """A recorded step reads and writes them there."""
    run = ticked(CONFIGS["gan"].start(), 2)
    save_checkpoint(tmp_path / "latest.pt", run, CONFIG)
    ticked(run, 1)
    places = [moment.data_ptr() for state in run.model.opt_G.state.values() for moment in state.values()]
    load_checkpoint(tmp_path / "latest.pt", run, CONFIG)
    assert places == [moment.data_ptr() for state in run.model.opt_G.state.values() for moment in state.values()]
    assert {int(state["step"]) for state in run.model.opt_G.state.values()} == {2}


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=(tmp_path / "meet").as_uri(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@each_record
def test_the_wrapper_of_replicas_is_not_saved(kind: str, process_group: None, tmp_path: Path, seed: int) -> None:
    def wrapped(run: Run) -> Run:
        for name, network in networks(run.model).items():
            replica = DistributedDataParallel(network)
            replica.broadcast_buffers = False  # as `Replicas.spread` has it
            setattr(run.model, name, replica)
        return run

    one, many = (ticked(start, 3) for start in (CONFIGS[kind].start(), wrapped(CONFIGS[kind].start())))
    save_checkpoint(tmp_path / "one.pt", one, CONFIG)
    save_checkpoint(tmp_path / "many.pt", many, CONFIG)
    assert same(read_checkpoint(tmp_path / "many.pt"), read_checkpoint(tmp_path / "one.pt"))
    wanted = state(ticked(one, 2))
    again = wrapped(CONFIGS[kind].replace(seed=9).start())
    load_checkpoint(tmp_path / "one.pt", again, CONFIG)
    assert same(state(ticked(again, 2)), wanted)


@pytest.mark.cuda
@each_record
def test_a_run_on_a_gpu_goes_on(kind: str, tmp_path: Path, seed: int) -> None:
    config = on_cuda(CONFIGS[kind])
    run = ticked(config.start(), 4)
    save_checkpoint(tmp_path / "latest.pt", run, CONFIG)
    wanted, drawn = state(ticked(run, 4)), torch.rand(3, device="cuda")
    again = config.replace(seed=9).start()
    load_checkpoint(tmp_path / "latest.pt", again, CONFIG)
    assert torch.equal(torch.rand(3, device="cuda"), drawn)
    for name, value in state(ticked(again, 4))["run"]["history"]["columns"].items():
        torch.testing.assert_close(value, wanted["run"]["history"]["columns"][name], rtol=1e-3, atol=1e-4)
    assert same(again.batches.state_dict(), wanted["run"]["batches"])  # type: ignore[attr-defined]
    for pool in ("pool_A", "pool_B"):
        assert all(image.is_cuda for image in getattr(getattr(again.model, pool, None), "images", []))
    with pytest.raises(CheckpointError, match="was saved on cuda, this run is on cpu"):
        load_checkpoint(tmp_path / "latest.pt", CONFIGS[kind].start(), CONFIG)


# Nothing is lost by a save that fails ---------------------------------------------------------------------------------


def full_disk(path: Path) -> None:
    path.with_name("latest.pt.tmp").symlink_to("/dev/full")


def broken_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fails)


def small_quota(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2, limits[1]))


FAILURES: dict[str, tuple[Callable[..., None], str]] = {
    "no space left": (lambda path, _: full_disk(path), "No space left on device"),
    "a quota": (small_quota, "File too large"),
    "the disk fails": (broken_disk, "Input/output error"),
}


@linux
@pytest.mark.parametrize("failure", FAILURES)
def test_a_disk_that_does_not_take_it_leaves_the_old_checkpoint(
    failure: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happen, reason = FAILURES[failure]
    run = CONFIGS["gan"].start()
    load_checkpoint(saved, run, CONFIG)
    before, old = state(run), saved.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with monkeypatch.context() as patch:
            happen(saved, patch)
            with pytest.raises(CheckpointError, match=f"latest.pt was not written: {reason}. What was there before is"):
                save_checkpoint(saved, run, CONFIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == old
    assert os.listdir(saved.parent) == ["latest.pt"]
    assert same(state(run), before)
    save_checkpoint(saved, ticked(run, 1), CONFIG)  # there is room again
    assert read_checkpoint(saved)["state"]["t"] == 4


def test_what_should_not_be_saved_leaves_the_old_checkpoint(saved: Path) -> None:
    old = saved.read_bytes()
    run = CONFIGS["gan"].start()
    with pytest.raises(CheckpointError, match=r"nowhere/x\.pt was not written: No such file or directory"):
        save_checkpoint(saved.parent / "nowhere" / "x.pt", run, CONFIG)
    with pytest.raises(CheckpointError, match="config must be what JSON can hold, but Object of type Tensor is not"):
        save_checkpoint(saved, run, {"lr": torch.zeros(1)})
    next(run.model.G.parameters()).data.fill_(float("inf"))
    with pytest.raises(CheckpointError, match="was not written: after step 0 the weights are NaN or infinite"):
        save_checkpoint(saved, run, CONFIG)
    run.batches = iter([])
    next(run.model.G.parameters()).data.fill_(0)
    with pytest.raises(AttributeError, match="no attribute 'state_dict'"):
        save_checkpoint(saved, run, CONFIG)
    assert saved.read_bytes() == old


def test_a_loss_that_nobody_has_looked_at_is_looked_at_first(saved: Path) -> None:
    run = CONFIGS["gan"].start()
    for _ in range(2):
        run.step()
    run.history.append({"d_loss": torch.tensor(float("nan"))})  # as on a GPU, between two looks
    run._unchecked.append((3, "d_first_detach", ["d_loss"]))
    with pytest.raises(DivergedError, match="d_loss is nan at step 3"):
        save_checkpoint(saved, run, CONFIG)
    assert read_checkpoint(saved)["state"]["t"] == 3


@linux
def test_it_is_on_the_disk_before_it_has_its_name(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or else a power cut could leave the name with nothing behind it."""
    done, sync, rename = [], os.fsync, Path.replace

    def recorded(file: int) -> None:
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{file}')).name}")
        sync(file)

    def renamed(path: Path, target: Path) -> None:
        done.append(f"rename {path.name}")
        rename(path, target)

    monkeypatch.setattr(os, "fsync", recorded)
    monkeypatch.setattr(Path, "replace", renamed)
    save_checkpoint(saved, CONFIGS["gan"].start(), CONFIG)
    assert done == ["sync latest.pt.tmp", "rename latest.pt.tmp", f"sync {saved.parent.name}"]


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


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short(saved: Path, share: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    refused(saved, ticked(CONFIGS["gan"].start(), 1), CONFIG, r"is damaged, or no checkpoint of gantutor: .*\. Go on")


def test_a_flipped_bit_is_found_wherever_it_matters(saved: Path) -> None:
    whole, wanted = saved.read_bytes(), read_checkpoint(saved)
    chance, found = random.Random(0), 0
    for place in chance.sample(range(len(whole)), 300):
        bytes_ = bytearray(whole)
        bytes_[place] ^= 1 << chance.randrange(8)
        saved.write_bytes(bytes_)
        try:
            assert same(read_checkpoint(saved), wanted), f"bit in byte {place}"  # between two members, for example
        except CheckpointError as error:
            assert "is damaged" in str(error)  # noqa: PT017 -- either is right
            found += 1
    assert found > 100


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
    torch.load(path, weights_only=False)
    assert sprung.exists(), "the trap works"


@pytest.mark.parametrize("content", [{"G": torch.zeros(3)}, [1, 2], torch.zeros(2)], ids=repr)
def test_a_file_of_another_program(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", CONFIGS["gan"].start(), CONFIG, "a file of torch.save's, but no checkpoint of gantutor")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, r"has format 2, and this gantutor reads up to 1: install a newer one"),
        ({"device": "cuda"}, r"was saved on cuda, this run is on cpu, .*: go on with device=cuda"),
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


@pytest.mark.parametrize("kind", ["pix2pix", "cyclegan"])
def test_the_checkpoint_of_another_kind_of_model(saved: Path, kind: str) -> None:
    run = ticked(CONFIGS[kind].start(), 1)
    message = {
        "pix2pix": "the generators saved are none; the model has G.model",  # its dropout's
        "cyclegan": "the parts saved are G, D, opt_G, opt_D; the model has G_AB, G_BA, D_A, D_B, opt_G, opt_D, pool_A,",
    }
    refused(saved, run, CONFIG, message[kind])


def test_the_checkpoint_of_another_shape(saved: Path) -> None:
    """G is loaded before D does not fit; it gets its weights back."""
    run = ticked(CONFIGS["gan"].start(), 2)
    run.model.D[0] = nn.Linear(2, 9)
    refused(saved, run, CONFIG, r"does not fit this run, which is as it was: .*size mismatch for 0\.weight")
    content = torch.load(saved, weights_only=True)
    moments = content["state"]["model"]["parts"]["opt_D"]["state"][0]
    moments["exp_avg"] = torch.zeros(7)
    torch.save(content, saved)
    refused(saved, CONFIGS["gan"].start(), CONFIG, r"exp_avg is \(7,\), its parameter \(8, 2\)")


def test_an_interruption_while_loading_changes_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    run = ticked(CONFIGS["gan"].start(), 1)
    before, loading = state(run), run.history.load_state_dict
    monkeypatch.setattr(run.history, "load_state_dict", lambda x: loading(x) if x["steps"] == 1 else interrupted(x))
    with pytest.raises(KeyboardInterrupt):
        load_checkpoint(saved, run, CONFIG)
    assert same(state(run), before)


# Killed ---------------------------------------------------------------------------------------------------------------

EVERY = 2  # steps between two checkpoints
KILLED: dict[str, tuple[Config, int, int]] = {  # what is trained, to which step, and how often it is killed on the way
    "gan": (CONFIGS["gan"].replace(loss="wgan-gp"), 200, 10),
    "pix2pix": (CONFIGS["pix2pix"].replace(steps=120), 120, 5),
    "cyclegan": (CONFIGS["cyclegan"].replace(steps=120), 120, 5),
}
MOMENTS = ("half written", "written", "renamed")


def go_on(kind: str, path: Path, tell: int) -> None:
    """Train to the end from where the checkpoint is, and write each step's number to the pipe `tell`."""
    config, steps, _ = KILLED[kind]
    torch.manual_seed(0)
    run = config.start()
    if path.exists():
        load_checkpoint(path, run, CONFIG)
    os.write(tell, bytes([run.t]))
    while run.t < steps:
        run.step()
        if run.t % EVERY == 0:
            save_checkpoint(path, run, CONFIG)
        os.write(tell, bytes([run.t]))


def die_at(moment: str) -> None:
    """Have this process killed within its second `save_checkpoint`."""
    sync, calls = os.fsync, iter(range(4))

    def fsync(file: int) -> None:
        call = next(calls)  # each save syncs the file, then the folder
        if call == 2 and moment == "half written":
            os.ftruncate(file, os.fstat(file).st_size // 2)
        if call == (3 if moment == "renamed" else 2):
            os.kill(os.getpid(), signal.SIGKILL)
        sync(file)

    os.fsync = fsync


def live(kind: str, path: Path, chance: random.Random | None = None, moment: str = "") -> dict[str, Any]:
    """One process that trains: killed at some moment by `chance`, at that one in a save, or not at all."""
    heard, tell = os.pipe()
    child = os.fork()
    if not child:
        try:
            if moment:
                die_at(moment)
            go_on(kind, path, tell)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(tell)
    steps = os.read(heard, 1)
    if chance:
        for _ in range(chance.randint(1, 4)):
            begun = time.monotonic()
            steps += os.read(heard, 1)
        time.sleep(chance.uniform(0, 1.5) * (time.monotonic() - begun))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    while more := os.read(heard, 1000):
        steps += more
    os.close(heard)
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else "exit"
    left = path.with_name(f"{path.name}.tmp").exists()
    return {"kind": kind, "moment": moment, "steps": list(steps), "ended": ended, "status": status, "left": left}


def kill_and_go_on(folder: Path) -> None:
    """Every kind of run without and with kills, each life in a fork of this process, which imports torch only once.

    This process must not train itself: autograd's threads do not survive a fork.
    """
    torch.set_num_threads(1)
    CONFIGS["gan"].start()  # torch imports a good deal more for its first optimizer
    chance = random.Random(0)
    for kind, (_, _, kills) in KILLED.items():
        lives = [live(kind, folder / f"{kind}.pt", chance) for _ in range(kills)]
        if kind == "gan":
            lives += [live(kind, folder / f"{kind}.pt", moment=moment) for moment in MOMENTS]
        lives += [live(kind, folder / f"{kind}.pt"), live(kind, folder / f"{kind}-whole.pt")]
        print(*map(json.dumps, lives), sep="\n", flush=True)


def test_a_run_that_was_killed_20_times_ends_bit_for_bit_where_an_uninterrupted_one_ends(tmp_path: Path) -> None:
    program = f"import test_checkpoint as t; t.kill_and_go_on(t.Path({str(tmp_path)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    lives = [json.loads(line) for line in done.stdout.splitlines()]
    killed = [life for life in lives if life["ended"] == signal.SIGKILL]
    by_chance = [life for life in killed if not life["moment"]]
    assert len(by_chance) == 20
    assert [life["moment"] for life in killed if life["moment"]] == list(MOMENTS)
    for life in killed:
        assert 0 < life["steps"][-1] < KILLED[life["kind"]][1], "in the middle"
        assert len(life["steps"]) > 1, "it had gone on"
    assert len({(life["kind"], life["steps"][-1]) for life in killed}) > 10, "at different steps"
    assert sum(life["steps"][0] > 0 for life in killed) > 10, "most had been killed before"
    assert [life["left"] for life in killed if life["moment"]] == [True, True, False]
    for kind, (_, steps, _) in KILLED.items():
        resumed, whole = [life for life in lives if life["kind"] == kind and life["ended"] == "exit"]
        assert (resumed["status"], whole["status"]) == (0, 0), done.stderr
        assert 0 < resumed["steps"][0] < resumed["steps"][-1] == whole["steps"][-1] == steps
        wanted = read_checkpoint(tmp_path / f"{kind}-whole.pt")
        assert len(wanted["state"]["history"]["columns"]["g_loss"]) == steps
        assert same(read_checkpoint(tmp_path / f"{kind}.pt"), wanted)
    assert sorted(os.listdir(tmp_path)) == sorted(f"{kind}{end}.pt" for kind in KILLED for end in ("", "-whole"))
