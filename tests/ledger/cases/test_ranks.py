"""DDP with two processes, where rank 0 alone looks; BatchNorm's buffers (pytorch/pytorch 175024).

Sources: StyleTTS2 7, MONAI 352.
"""

import os
import socket
import subprocess
import sys
from datetime import timedelta

import pytest
import torch.distributed as dist
from ledger_helpers import REAL, Z, as_fake, as_real, kinds, mlp, model, only, shares_of
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gantutor.ledger import trace


def step(m):
    m.opt_D.zero_grad()
    fake = m.G(Z)
    pred_real = m.D(REAL)
    pred_fake = m.D(fake.detach())
    d_loss = as_real(pred_real) + as_fake(pred_fake)
    d_loss.backward()
    m.opt_D.step()


def replica(norm):
    return model(DistributedDataParallel(mlp(4, 6)), DistributedDataParallel(mlp(6, 1, norm)))


def rank_of_two(rank):
    """What one process does. Rank 1 does not trace where rank 0 alone looks, as `if rank == 0: print(...)` has it."""
    dist.init_process_group("gloo", rank=rank, world_size=2)
    m = replica("none")
    record = trace(step, m)
    print("together", len(shares_of(record)), kinds(record), record.error, flush=True)
    record = trace(step, replica("batch"))
    print("buffers", record.error, *record.findings, flush=True)
    dist.barrier()
    if rank == 0:
        sys.modules["gantutor.ledger.trace"].RANKS_WAIT = timedelta(seconds=2)
        try:
            trace(step, m)
        except RuntimeError as error:
            print("alone", error, flush=True)
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def said():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank)], env={**os.environ, **there, **paths}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        return [rank.communicate(timeout=300)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()


def test_all_ranks_together_are_traced(said):
    assert all("together 1 [] None" in text for text in said), said


def test_two_forwards_with_batchnorm(said):
    """Where DDP counts its writing into the buffers as a change, the step raises; PyTorch 2.15 does not count it."""
    for text in said:
        found = next(line for line in text.splitlines() if line.startswith("buffers"))
        assert found.strip() == "buffers None" or "needs `D.1.running_" in text


class Broadcasts(nn.Module):
    """What DDP does before each forward, as PyTorch counted it for long: it writes rank 0's buffers into all ranks."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        for buffer in self.module.buffers():
            buffer.copy_(buffer.clone())
        return self.module(x)


def test_a_buffer_that_is_written_between_two_forwards_is_named():
    found = only(trace(step, model(D=Broadcasts(mlp(6, 1, "batch")))), "changed in place")
    assert "needs `D.1.running_" in found.why
    assert "broadcast_buffers=False" in found.fix


def test_one_rank_alone_is_refused_and_does_not_hang(said):
    assert "alone" in said[0]
    assert "on every rank" in said[0]


if __name__ == "__main__":
    rank_of_two(int(sys.argv[1]))
