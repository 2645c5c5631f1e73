"""One network on several processes: what BatchNorm does when each replica sees only its share of the batch."""

import copy
import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parameters_to_vector


@dataclass(frozen=True)
class Outcome:
    """D's logits (B, ...) of the whole batch in its order, and the gradient of D's loss with respect to D, flat."""

    logits_real: Tensor
    logits_fake: Tensor
    gradient: Tensor


class SumOverReplicas(torch.autograd.Function):
    """The sum of what every replica holds here. What one replica holds enters every sum, so backward sums, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return SumOverReplicas.forward(ctx, gradient)


class SyncedBatchNorm(nn.Module):
    """BatchNorm in training, with the mean and variance of all replicas' samples together.

    What nn.SyncBatchNorm does on GPUs (on a CPU it raises), in few lines: each replica contributes its count, sum and
    sum of squares per channel. Nothing is tracked for evaluation.
    """

    def __init__(self, batchnorm: _BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = batchnorm.weight, batchnorm.bias, batchnorm.eps

    def forward(self, x: Tensor) -> Tensor:
        here = (0, *range(2, x.dim()))
        shares = torch.stack([x.sum(here), x.square().sum(here), torch.ones_like(x).sum(here)])
        total, squares, count = SumOverReplicas.apply(shares)
        mean = total / count
        variance = squares / count - mean.square()
        channels = (1, -1, *[1] * (x.dim() - 2))
        normal = (x - mean.view(channels)) / (variance + self.eps).sqrt().view(channels)
        return normal * self.weight.view(channels) + self.bias.view(channels)


def synced(network: nn.Module) -> nn.Module:
    """A copy of a network in which each BatchNorm counts the samples of all replicas."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, SyncedBatchNorm(child))
    return network


def d_step(D: nn.Module, real: Tensor, fake: Tensor) -> Outcome:
    """D's forward and backward on a split batch, with the non-saturating loss: two means."""
    logits_real, logits_fake = D(real), D(fake)
    (-F.logsigmoid(logits_real).mean() - F.logsigmoid(-logits_fake).mean()).backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in D.parameters()]
    return Outcome(logits_real.detach(), logits_fake.detach(), parameters_to_vector(gradients))


def averaged(outcome: Outcome, replicas: int) -> Outcome:
    """With the mean of the replicas' gradients, as DistributedDataParallel hands it to each of them."""
    return dataclasses.replace(outcome, gradient=SumOverReplicas.apply(outcome.gradient) / replicas)


def worker(rank: int, replicas: int, folder: str) -> None:
    """One replica: its share of the batch through D as it is, then through D with synchronised statistics."""
    torch.set_num_threads(1)
    place = Path(folder)
    dist.init_process_group("gloo", init_method=(place / "meet").as_uri(), rank=rank, world_size=replicas)
    try:
        D, real, fake = torch.load(place / "inputs.pt", weights_only=False)  # the parent's own file
        share = [half.chunk(replicas)[rank] for half in (real, fake)]
        networks = {"alone": copy.deepcopy(D), "synced": synced(D)}
        outcomes = {name: averaged(d_step(network, *share), replicas) for name, network in networks.items()}
        torch.save(outcomes, place / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


def on_replicas(D: nn.Module, real: Tensor, fake: Tensor, replicas: int = 2) -> dict[str, Outcome]:
    """D's step in this process ("one"), and on `replicas` processes that share the batch and average their gradients.

    There BatchNorm counts each replica's own samples ("alone") or those of all ("synced"). Everything is on the CPU,
    the processes talk by gloo; D stays as it is. Starting the processes takes some seconds.
    Raises: ValueError for a batch that the replicas cannot share evenly, or shares of one sample.
    """
    if len(real) != len(fake) or len(real) % replicas or len(real) < 2 * replicas:
        raise ValueError(
            f"{replicas} replicas need equal shares of 2 samples or more; got {len(real)} reals and {len(fake)} fakes"
        )
    found = {"one": d_step(copy.deepcopy(D), real, fake)}
    with tempfile.TemporaryDirectory() as folder:
        torch.save((copy.deepcopy(D), real.detach(), fake.detach()), Path(folder) / "inputs.pt")
        spawn(worker, (replicas, folder), nprocs=replicas)
        shares = [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(replicas)]
    for name in ("alone", "synced"):
        parts = [share[name] for share in shares]
        logits_real = torch.cat([part.logits_real for part in parts])
        logits_fake = torch.cat([part.logits_fake for part in parts])
        found[name] = Outcome(logits_real, logits_fake, parts[0].gradient)
    return found
