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
        return SumOverReplicas.apply(gradient)


class SyncedBatchNorm(_BatchNorm):
    """BatchNorm, in training with the mean and variance of all replicas' samples together.

    What nn.SyncBatchNorm does on GPUs (on a CPU it raises), in few lines: each replica contributes its count and sum
    per channel, then its sum of squared deviations. It has the parameters of `batchnorm` itself, the same objects, and
    its running statistics under the same names; in evaluation it is the same.
    """

    def __init__(self, batchnorm: _BatchNorm) -> None:
        super().__init__(
            batchnorm.num_features, batchnorm.eps, batchnorm.momentum, batchnorm.affine, batchnorm.track_running_stats
        )
        self._parameters, self._buffers = batchnorm._parameters, batchnorm._buffers
        self.training = batchnorm.training

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes after the channels."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and self.running_mean is not None:
            return super().forward(x)
        here, channels = (0, *range(2, x.dim())), (1, -1, *[1] * (x.dim() - 2))
        exact = x.to(torch.promote_types(x.dtype, torch.float32))  # under autocast a sum in bfloat16 would not do
        total, count = SumOverReplicas.apply(torch.stack([exact.sum(here), torch.ones_like(exact).sum(here)]))
        deviation = exact - (total / count).view(channels)
        variance = SumOverReplicas.apply(deviation.square().sum(here)) / count
        if self.training:
            self.track(total / count, variance * count / (count - 1))
        normal = deviation / (variance + self.eps).sqrt().view(channels)
        if self.affine:
            normal = normal * self.weight.view(channels) + self.bias.view(channels)
        return normal.to(x.dtype)

    @torch.no_grad()
    def track(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as nn.BatchNorm2d does: by `momentum`, without one to the mean of all so far."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        part = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean += part * (mean - self.running_mean)
        self.running_var += part * (variance - self.running_var)


def synced(network: nn.Module) -> nn.Module:
    """The network with each BatchNorm in it counting the samples of all replicas; the parameters stay its own.

    In place, but for a network that is itself a BatchNorm. Take a copy to keep the original.
    """
    if isinstance(network, _BatchNorm):
        return SyncedBatchNorm(network)
    for name, child in network.named_children():
        setattr(network, name, synced(child))
    return network


def d_step(D: nn.Module, real: Tensor, fake: Tensor) -> Outcome:
    """D's forward and backward on a split batch, with the non-saturating loss: two means."""
    logits_real, logits_fake = D(real), D(fake)
    (-F.logsigmoid(logits_real).mean() - F.logsigmoid(-logits_fake).mean()).backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in D.parameters()]
    return Outcome(logits_real.detach(), logits_fake.detach(), parameters_to_vector(gradients))


def average_gradients(outcome: Outcome, replicas: int) -> Outcome:
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
        networks = {"alone": copy.deepcopy(D), "synced": synced(copy.deepcopy(D))}
        outcomes = {name: average_gradients(d_step(network, *share), replicas) for name, network in networks.items()}
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
