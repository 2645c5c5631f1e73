"""Two gloo processes with half of each batch, started by torchrun, do what one process does with the whole of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from helpers import build, draw
from replica_cases import gan_run
from torch import nn

from gantutor.configs import CycleGANConfig, GANConfig, Pix2PixConfig
from gantutor.model_state import networks
from gantutor.scale.distributed import Replicas, communication, join_replicas
from gantutor.scale.replicas import on_replicas
from gantutor.steps import STEPS

CPU = torch.device("cpu")


@pytest.mark.slow
def test_two_replicas_are_one_process() -> None:
    """Each check of replica_cases.py, in both of them."""
    here = Path(__file__).parent
    torchrun = [sys.executable, "-W", "error", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    path = os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.run(
        [*torchrun, here / "replica_cases.py"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    assert process.stdout.count("all is well") == 2  # two processes write to one pipe: a line can lie within the other
    assert "arning" not in process.stderr


# In one process -------------------------------------------------------------------------------------------------------


def test_without_torchrun_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_replicas("cpu") as replicas:
        assert replicas == Replicas(0, 1, CPU)
        assert not dist.is_initialized()
    run = gan_run("d_first_retain_graph")
    before, step_runner = networks(run.model), run.step_runner
    replicas.spread(run, sync_batchnorm=True)
    assert networks(run.model) == before
    assert run.step_runner is step_runner
    replicas.check(GANConfig(strategy="d_first_retain_graph", batch_size=3))


def test_replicas_need_a_device_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "3")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="replicas run on cuda or cpu, not on mps"), join_replicas("mps"):
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(ValueError, match="has 3 GPUs, and torchrun has started more processes"), join_replicas():
        pass


PENALTY = GANConfig(loss="wgan-gp", norm_D="batch")


@pytest.mark.parametrize(
    ("config", "sync_batchnorm", "message"),
    [
        (GANConfig(strategy="d_first_retain_graph"), False, r"DDP cannot run d_first_retain_graph: .* forward of G"),
        (CycleGANConfig(batch_size=1), False, "4 replicas need equal shares, and a batch of 1 does not divide"),
        (GANConfig(speed=("graph",)), False, "graph is for one process"),
        (GANConfig(speed=("compile",)), True, "compile and synchronised BatchNorm do not go together"),
        (PENALTY, True, "torch's SyncBatchNorm has none on a GPU: choose another norm_D"),
    ],
)
def test_check_says_what_replicas_cannot_run(config: Any, sync_batchnorm: bool, message: str) -> None:
    gpus = Replicas(0, 4, torch.device("cuda"))
    with pytest.raises(ValueError, match=message):
        gpus.check(config, sync_batchnorm)
    for fine in (GANConfig(), Pix2PixConfig(), PENALTY.replace(norm_D="layer"), PENALTY.replace(loss="hinge")):
        gpus.check(fine, sync_batchnorm=True)
    Replicas(0, 4, CPU).check(PENALTY, sync_batchnorm=True)
    Replicas(0, 1, CPU).check(config, sync_batchnorm)


@pytest.mark.parametrize(("reals", "fakes"), [(8, 6), (7, 7), (2, 2)])
def test_shares_must_be_equal(reals: int, fakes: int) -> None:
    with pytest.raises(ValueError, match=f"2 samples or more; got {reals} reals and {fakes} fakes"):
        on_replicas(nn.Identity(), torch.zeros(reals, 1), torch.zeros(fakes, 1))


# On paper -------------------------------------------------------------------------------------------------------------


def test_communication_counts_each_backward() -> None:
    gan, (batch,) = build("points"), draw("points")
    G, D = (sum(8 * parameter.numel() for parameter in network.parameters()) for network in (gan.G, gan.D))
    wanted = {"d_first_detach": (G, 2 * D), "simultaneous": (G, D), "one_stage": (G, D)}
    for strategy, (from_G, from_D) in wanted.items():
        assert communication(STEPS[strategy], gan, *batch) == {"G": from_G, "D": from_D}, strategy
    assert all(parameter.grad is None for parameter in gan.G.parameters()), "the model itself took no step"


@pytest.mark.cuda
def test_on_a_gpu_replicas_talk_by_nccl(monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with join_replicas() as replicas:
        assert replicas == Replicas(0, 1, torch.device("cuda", 0))
        assert dist.get_backend() == "nccl"
        one = torch.ones(1, device=replicas.device)
        dist.all_reduce(one)
        assert one.item() == 1
    assert not dist.is_initialized()
