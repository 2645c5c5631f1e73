"""The same steps on several GPUs, each with its share of the batch: PyTorch's DistributedDataParallel, DDP for short.

DDP waits where autograd adds up a parameter's gradient, and averages over the replicas what first arrives there after a
forward. With equal shares that is the gradient of the whole batch, if each sample is scored alone; a BatchNorm that is
not synchronised normalises with the statistics of the share. WGAN-GP's mixtures are spaced over the share, too.

All replicas hold the same weights, optimizers, pools and generators: each draws what the whole batch needs and keeps
its rows. So one can save for all, and a run can go on with another number of replicas. Only the running statistics of
a BatchNorm that is not synchronised are each replica's own; training does not look at them.
"""

import contextlib
import copy
import functools
import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gantutor.batches import Batches, Share
from gantutor.image_pool import ImagePool
from gantutor.ledger.reach import undone
from gantutor.losses import LOSSES
from gantutor.model_state import attributes, networks
from gantutor.scale.replicas import synced
from gantutor.training import Run, pick_device
from gantutor.traits import traits_of

PATIENCE = timedelta(hours=1)  # replica 0 may download or cut the data first, and NCCL would wait for only 10 minutes


@contextlib.contextmanager
def join_replicas(device: str = "auto") -> Iterator["Replicas"]:
    """Meet the other processes that torchrun has started, and part at the end; without torchrun there is one.

    `device` is "auto", "cuda" or "cpu"; where there is one process, whatever `pick_device` takes. Replicas talk by NCCL
    on GPUs, one for each, and by gloo on CPUs. After an error nobody is waited for: another replica may be waiting for
    this one, and torchrun ends it when this one has ended.
    Raises: ValueError for a device that replicas cannot use, or that this machine has too few of.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Replicas(0, 1, pick_device(device))
        return
    place = choose_device(device, int(os.environ["LOCAL_RANK"]))
    if place.type == "cuda":
        torch.cuda.set_device(place)
        dist.init_process_group("nccl", device_id=place, timeout=PATIENCE)
    else:
        dist.init_process_group("gloo", timeout=PATIENCE)
    yield Replicas(dist.get_rank(), dist.get_world_size(), place)
    gc.collect()  # networks in cycles would hold the group until Python ends, and torch then aborts now and then
    dist.destroy_process_group()


def choose_device(name: str, local: int) -> torch.device:
    """The device of the process that is number `local` on this machine. Raises: ValueError, as `join_replicas`."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cuda", "cpu"):
        raise ValueError(f"replicas run on cuda or cpu, not on {name}")
    if pick_device(name).type == "cpu":
        return torch.device("cpu")
    if local >= torch.cuda.device_count():
        raise ValueError(
            f"this machine has {torch.cuda.device_count()} GPUs, and torchrun has started more processes than that: "
            "lower --nproc-per-node"
        )
    return torch.device("cuda", local)


def why_not_on_replicas(step: Callable[..., Any]) -> str | None:
    """Why DDP cannot run a step, or None where it can.

    Averaging all gradients of an optimizer just before its step would do for every step, but that is not DDP.
    """
    if traits_of(step).two_backwards != "G":
        return None
    return (
        f"DDP cannot run {step.__name__}: two backwards run through one forward of G. DDP averages what the first "
        "leaves in G, the gradient of D's loss, which is thrown away; the second, which moves G, stays each replica's "
        "own, so that their generators drift apart without an error. d_first_detach makes the same update"
    )


@dataclass(frozen=True)
class Replicas:
    """This process is number `rank` of `count`, on `device`; a config's own `device` is then `device.type`."""

    rank: int
    count: int
    device: torch.device

    def check(self, config: Any, sync_batchnorm: bool = False) -> None:
        """Look at a config before it starts. Raises: ValueError, saying why these replicas cannot run it."""
        if self.count == 1:
            return
        if reason := why_not_on_replicas(config.step):
            raise ValueError(reason)
        if "graph" in config.speed:
            raise ValueError("the speed-up graph is for one process: a recording would not wait for the other replicas")
        if sync_batchnorm and "compile" in config.speed:
            raise ValueError(
                "compile and synchronised BatchNorm do not go together: the networks would be compiled before their "
                "BatchNorm is exchanged, and again in the first step of all replicas. Leave one of them out"
            )
        normed = sync_batchnorm and getattr(config, "norm_D", "") == "batch"
        if normed and LOSSES[config.loss].has_penalty and self.device.type == "cuda":
            raise ValueError(
                f"{config.loss} needs a gradient of a gradient through D, and torch's SyncBatchNorm has none on a GPU: "
                "choose another norm_D, or leave BatchNorm unsynchronised"
            )
        if (size := config.batch_size) % self.count:
            raise ValueError(f"{self.count} replicas need equal shares, and a batch of {size} does not divide by that")

    def share(self, run: Run) -> None:
        """Have all batches of a run give this replica's share of them."""
        for batches in (run.batches, *vars(run.train_step).values()):
            if isinstance(batches, Batches):
                batches.share = Share(self.rank, self.count)

    def spread(self, run: Run, sync_batchnorm: bool = False) -> None:
        """Make a run that was just started, or loaded, one replica of it; if there is one, nothing changes.

        DDP begins by handing out replica 0's weights. It must not go on to hand out its buffers before every forward: D
        is called on real and on fake before its backward, which on a GPU would find statistics overwritten that the
        first call has kept (pytorch/pytorch#175024).
        With synchronised BatchNorm whatever calls a network in training mode, as `translate(mode="train")` does, must
        be called by all replicas.
        """
        if self.count == 1:
            return
        self.share(run)
        share = Share(self.rank, self.count)
        for name, value in attributes(run.model).items():
            if isinstance(value, ImagePool):
                setattr(run.model, name, SharedPool(value, share))
        for name, network in networks(run.model).items():
            share_noise(network, share)
            network = synchronised(network, self.device) if sync_batchnorm else network
            wrapped = DistributedDataParallel(network)
            wrapped.broadcast_buffers = False  # as an argument torch 2.15 deprecates it, and older ones have no other
            setattr(run.model, name, wrapped)
        run.good, run.good_step = copy.deepcopy(run.model), run.t
        run.step_runner = functools.partial(averaged_step, run.step_runner)


def synchronised(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with each BatchNorm counting the samples of all replicas: torch's on a GPU, ours on a CPU."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return synced(network)


def share_noise(network: nn.Module, share: Share) -> None:
    """Have layers with a generator of their own (`SeededDropout`) draw for the whole batch, and keep the share.

    They are shown the share `share.count` times over, and the rows of the result that are this replica's are taken.
    """
    for module in network.modules():
        if isinstance(getattr(module, "generator", None), torch.Generator):
            module.register_forward_pre_hook(lambda module, inputs: (torch.cat(inputs * share.count),))
            module.register_forward_hook(lambda module, inputs, output: share.of(output))


class SharedPool(ImagePool):
    """`pool`, given the fakes of all replicas: each holds the whole pool and takes its share of what is returned."""

    def __init__(self, pool: ImagePool, share: Share) -> None:
        super().__init__(pool.size)
        self.filled, self.stored, self.generator, self.share = pool.filled, pool.stored, pool.generator, share

    def query(self, images: Tensor) -> Tensor:
        """As ImagePool's, for this replica's `images`."""
        images = images.detach().contiguous()
        parts = [torch.empty_like(images) for _ in range(self.share.count)]
        dist.all_gather(parts, images)
        return self.share.of(super().query(torch.cat(parts)))


def averaged_step(
    inner: Callable[..., dict[str, Tensor]], model: Any, step: Callable[..., Any], *batch: Tensor
) -> dict[str, Tensor]:
    """A step as `inner` takes it; the scalars of its report are the means over all replicas.

    So all keep the same history, and all stop at the step at which a loss is no longer a number.
    """
    report = inner(model, step, *batch)
    names = [name for name, value in report.items() if value.dim() == 0]
    means = torch.stack([report[name].double() for name in names]) / dist.get_world_size()
    dist.all_reduce(means)
    return {**report, **dict(zip(names, means, strict=True))}


def communication(step: Callable[..., Any], model: Any, *batch: Any) -> dict[str, int]:
    """The bytes of gradients that DDP averages in one step, by network: 4 a float32 parameter for each backward there.

    Counted in a step that is undone. Gradients that a backward leaves and nobody uses, as G's loss does in a D that is
    not frozen, are averaged all the same.
    """
    sent = dict.fromkeys(networks(model), 0)
    with undone(model, *batch), contextlib.ExitStack() as hooks:
        for name, network in networks(model).items():

            def count(parameter: Tensor, name: str = name) -> None:
                sent[name] += parameter.nbytes

            for parameter in network.parameters():
                hooks.callback(parameter.register_post_accumulate_grad_hook(count).remove)
        step(model, *batch)
    return sent
