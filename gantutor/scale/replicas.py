"""One network on several processes: what BatchNorm does when each replica sees only its share of the batch."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parameters_to_vector

from gantutor.batches import Share


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


def synced(network: nn.Module) -> nn.Module:
    """The network with each BatchNorm in it, in training, counting the samples of all replicas; in place.

    What nn.SyncBatchNorm does on GPUs; on a CPU it raises. Each replica normalises the whole batch and keeps its share.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(see_all)
            module.register_forward_hook(keep_share)
    return network


def see_all(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """The samples of all replicas (B, ...), each of which puts its own into its place."""
    if not module.training:
        return inputs
    others = torch.zeros_like(inputs[0])
    places = [inputs[0] if rank == dist.get_rank() else others for rank in range(dist.get_world_size())]
    return (SumOverReplicas.apply(torch.cat(places)),)


def keep_share(module: nn.Module, _: tuple[Tensor], output: Tensor) -> Tensor:
    """This replica's rows of what was made of all."""
    return Share(dist.get_rank(), dist.get_world_size()).of(output) if module.training else output


def d_gradient(D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """The gradient of D's loss on a split batch with respect to D, flat; the non-saturating loss is two means."""
    logits_real, logits_fake = D(real), D(fake)
    (-F.logsigmoid(logits_real).mean() - F.logsigmoid(-logits_fake).mean()).backward()
    return parameters_to_vector([torch.zeros_like(p) if p.grad is None else p.grad for p in D.parameters()])


def worker(rank: int, replicas: int, folder: str) -> None:
    """One replica: its share of the batch through D as it is, then through D with synchronised statistics."""
    torch.set_num_threads(1)
    place = Path(folder)
    dist.init_process_group("gloo", init_method=(place / "meet").as_uri(), rank=rank, world_size=replicas)
    try:
        D, real, fake = torch.load(place / "inputs.pt", weights_only=False)  # the parent's own file
        share = [half.chunk(replicas)[rank] for half in (real, fake)]
        networks = {"alone": copy.deepcopy(D), "synced": synced(copy.deepcopy(D))}
        found = {name: SumOverReplicas.apply(d_gradient(D, *share)) / replicas for name, D in networks.items()}
        if rank == 0:  # the mean, as DistributedDataParallel hands it to each replica
            torch.save(found, place / "found.pt")
    finally:
        dist.destroy_process_group()


def on_replicas(D: nn.Module, real: Tensor, fake: Tensor, replicas: int = 2) -> dict[str, Tensor]:
    """The gradient of D's loss, flat: in this process ("one"), and the mean of `replicas` processes that share a batch.

    There BatchNorm counts each replica's own samples ("alone") or those of all ("synced"). Everything is on the CPU,
    the processes talk by gloo; D stays as it is. Starting the processes takes some seconds.
    Raises: ValueError for a batch that the replicas cannot share evenly, or shares of one sample.
    """
    if len(real) != len(fake) or len(real) % replicas or len(real) < 2 * replicas:
        raise ValueError(
            f"{replicas} replicas need equal shares of 2 samples or more; got {len(real)} reals and {len(fake)} fakes"
        )
    with tempfile.TemporaryDirectory() as folder:
        torch.save((copy.deepcopy(D), real.detach(), fake.detach()), Path(folder) / "inputs.pt")
        spawn(worker, (replicas, folder), nprocs=replicas)
        found: dict[str, Tensor] = torch.load(Path(folder) / "found.pt")
    return {"one": d_gradient(copy.deepcopy(D), real, fake), **found}
