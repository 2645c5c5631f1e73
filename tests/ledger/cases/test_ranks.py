"""DDP where one rank alone looks; BatchNorm's buffers (pytorch/pytorch 175024; StyleTTS2 7, MONAI 352).

A real process group of one rank; the second is played by its word in the store.
"""

import sys
from datetime import timedelta

import pytest
import torch.distributed as dist
from ledger_helpers import REAL, Z, as_fake, as_real, finds, kinds, mlp, model, shares_of
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


@pytest.fixture
def replica(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield lambda norm: model(DistributedDataParallel(mlp(4, 6)), DistributedDataParallel(mlp(6, 1, norm)))
    dist.destroy_process_group()


def test_a_step_on_replicas_is_traced_also_with_two_forwards_through_batchnorm(replica):
    """Where DDP counts its writing into the buffers as a change, the step raises; PyTorch 2.15 does not count it."""
    record = trace(step, replica("none"))
    assert (len(shares_of(record)), kinds(record), record.error) == (1, [], None)
    record = trace(step, replica("batch"))
    assert record.error is None or "needs `D.1.running_" in str(record)


def test_one_rank_alone_is_refused_and_does_not_hang_and_two_meet(replica, monkeypatch):
    m, ledger = replica("none"), sys.modules["gantutor.ledger.trace"]
    monkeypatch.setattr(dist, "get_world_size", lambda *_: 2)
    monkeypatch.setattr(ledger, "RANKS_WAIT", timedelta(seconds=0.1))
    with pytest.raises(RuntimeError, match=r"Rank 0 traces a step of 2 ranks, and rank 1 does not.* on every rank"):
        trace(step, m)
    dist.distributed_c10d._get_default_store().set(f"gantutor.ledger/{ledger.MEETINGS[0]}/1", "here")
    assert trace(step, m).error is None


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
    record, fix = trace(step, model(D=Broadcasts(mlp(6, 1, "batch")))), "broadcast_buffers=False"
    finds(record, "changed in place", "d_loss.backward()", "needs `D.1.running_", fix=fix)
