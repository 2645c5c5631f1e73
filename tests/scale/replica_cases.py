"""What test_distributed.py has torchrun start twice: runs on replicas beside the same runs in one process.

Everything is in float64 and each optimizer is plain gradient descent: Adam would make a large step of a gradient that
is 0 but for rounding.
"""

import contextlib
import copy
import os
import tempfile
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from click.testing import CliRunner
from helpers import build, relative_error
from image_helpers import build_cyclegan, build_pix2pix
from run_cases import difference
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future

from gantutor.__main__ import main
from gantutor.batches import Batches
from gantutor.configs import NCritic
from gantutor.configs.translation_configs import seed_dropout
from gantutor.cyclegan import CYCLEGAN_STEPS
from gantutor.losses import WassersteinGP, gradient_penalty
from gantutor.model_state import networks, optimizers
from gantutor.pix2pix import PIX2PIX_STEPS
from gantutor.scale.checkpoint import read_checkpoint
from gantutor.scale.distributed import Replicas, communication, join_replicas
from gantutor.steps import STEPS
from gantutor.training import DivergedError, Run

ROUNDING = 1e-12  # of the norm, in float64
TAKEN = 3  # steps; DDP puts its buckets in another order after the first


class Numbers:
    """Uniform numbers in [0, 1), images of one shape or of two; the last image of sample `broken` is NaN."""

    device = torch.device("cpu")

    def __init__(self, *shapes: tuple[int, ...], broken: int = -1) -> None:
        self.shapes, self.broken, self.samples = shapes, broken, 0

    def sample(self, n: int, generator: torch.Generator) -> Any:
        drawn = [torch.rand(n, *shape, generator=generator) for shape in self.shapes]
        if self.samples == self.broken:
            drawn[0][-1] = torch.nan
        self.samples += 1
        return drawn if len(drawn) > 1 else drawn[0]


class MixedByShare(WassersteinGP):
    """In one process the mixtures that replicas make: weights spaced over each share."""

    def penalty(self, D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        half = len(real) // 2
        weights = (torch.arange(half, dtype=real.dtype) + 0.5) / half
        return self.lambda_gp * gradient_penalty(D, real, fake, weights.repeat(2))


def gan_run(strategy: str, networks: str = "dcgan", d_steps: int = 1, broken: int = -1, **options: Any) -> Run:
    data = Numbers((1, 28, 28), broken=broken)
    step = NCritic(Batches(data, 8, 5, seed=2))
    step.last, step.d_steps = STEPS[strategy], d_steps
    return descending(Run(build(networks, **options), step, Batches(data, 8, 5, seed=1)))


def pix2pix_run(strategy: str, **options: Any) -> Run:
    model = build_pix2pix(dropout=0.5, **options)
    seed_dropout(model.G, seed=3)
    return descending(Run(model, PIX2PIX_STEPS[strategy], Batches(Numbers((2, 8, 8), (3, 8, 8)), 8, 0, seed=1)))


def cyclegan_run(strategy: str, **options: Any) -> Run:
    model = build_cyclegan(pool=3, **options)
    return descending(Run(model, CYCLEGAN_STEPS[strategy], Batches(Numbers((2, 8, 8), (2, 8, 8)), 4, 0, seed=1)))


def descending(run: Run) -> Run:
    for name, optimizer in optimizers(run.model).items():
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        setattr(run.model, name, torch.optim.SGD(parameters, 1e-3))
    return run


OTHER_LOSSES = ("non-saturating-r1", "non-saturating-r2", "relativistic")

# Runs whose replicas should do what one process does, without BatchNorm: every strategy, and each setting in one.
PLAIN: dict[str, Callable[[], Run]] = {
    **{f"gan {s}": lambda s=s: gan_run(s) for s in STEPS if s != "d_first_retain_graph"},
    "gan d_steps": lambda: gan_run("d_first_detach", d_steps=3),
    "gan joint": lambda: gan_run("simultaneous", batching="joint", loss="minimax"),
    **{f"gan {loss}": lambda loss=loss: gan_run("g_first_detach", loss=loss) for loss in OTHER_LOSSES},
    **{f"pix2pix {s}": lambda s=s: pix2pix_run(s, norm="none", loss="minimax") for s in PIX2PIX_STEPS},
    **{f"cyclegan {s}": lambda s=s: cyclegan_run(s) for s in CYCLEGAN_STEPS},
}
# Runs with BatchNorm; one_stage is exact only for a loss of constant ratio then.
BATCHNORM: dict[str, Callable[[], Run]] = {
    "gan": lambda: gan_run("d_first_detach", "dcgan-batch"),
    "gan one_stage": lambda: gan_run("one_stage", "dcgan-batch", loss="minimax"),
    "gan joint": lambda: gan_run("d_first_detach", "dcgan-batch", batching="joint"),
    "pix2pix": lambda: pix2pix_run("simultaneous", loss="minimax"),
    "cyclegan": lambda: cyclegan_run("g_first_separate", norm="batch"),
}


def ticks(run: Run, count: int) -> list[Tensor]:
    """`count` steps, and each gradient that an optimizer applied, whole."""
    found: list[Tensor] = []

    def hook(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        found.append(torch.cat([parameter.grad.flatten() for parameter in parameters]).clone())

    handles = [optimizer.register_step_pre_hook(hook) for optimizer in optimizers(run.model).values()]
    for _ in range(count):
        run.step()
    for handle in handles:
        handle.remove()
    return found


def largest_error(found: list[Tensor], wanted: list[Tensor]) -> float:
    return max((relative_error(ours, theirs) for ours, theirs in zip(found, wanted, strict=True)), default=0.0)


def columns(run: Run) -> list[Tensor]:
    """Of the history, which keeps float32 numbers."""
    return [torch.from_numpy(run.history[name]) for name in sorted(run.history.keys())]


def statistics(run: Run) -> list[Tensor]:
    """All buffers of the networks: running means and variances, and how many batches were counted."""
    return [buffer.double() for network in networks(run.model).values() for buffer in network.buffers()]


def compared(replicas: Replicas, new: Callable[[], Run], sync_batchnorm: bool = False) -> dict[str, float]:
    """How far replicas are from one process."""
    one, run = new(), new()
    wanted = ticks(one, TAKEN)
    replicas.spread(run, sync_batchnorm)
    found = ticks(run, TAKEN)
    return {
        "gradients": largest_error(found, wanted),
        "history": 1e-6 * largest_error(columns(run), columns(one)),  # which has float32 numbers
        "statistics": largest_error(statistics(run), statistics(one)),
    }


def check_strategies(replicas: Replicas) -> None:
    for name, new in PLAIN.items():
        errors = compared(replicas, new)
        assert max(errors.values()) < ROUNDING, (name, errors)
    refused = compared(replicas, lambda: gan_run("d_first_retain_graph"))["gradients"]
    assert refused > 0.1
    others = [torch.tensor(refused) for _ in range(replicas.count)]
    dist.all_gather(others, torch.tensor(refused))
    assert others[0] != others[1], "and not alike everywhere"


def check_batchnorm(replicas: Replicas) -> None:
    for name, new in BATCHNORM.items():
        synced, alone = compared(replicas, new, sync_batchnorm=True), compared(replicas, new)
        assert max(synced.values()) < ROUNDING, (name, synced)
        assert alone["gradients"] > 0.1, name
        assert alone["statistics"] > 0.01, name
    run = gan_run("d_first_detach", "dcgan-batch")
    replicas.spread(run)
    spread: list[Any] = list(networks(run.model).values())
    assert not any(network.will_sync_module_buffers() for network in spread), "no forward begins with another's buffers"


def check_penalty(replicas: Replicas) -> None:
    one, run = gan_run("d_first_detach", loss="wgan-gp"), gan_run("d_first_detach", loss="wgan-gp")
    one.model.loss = MixedByShare()
    replicas.spread(run)
    assert largest_error(ticks(run, TAKEN), ticks(one, TAKEN)) < ROUNDING


def check_copies(replicas: Replicas) -> None:
    """A step on replicas; then replica 0 looks at it alone; then all go on with copies of the good state."""
    one, run = gan_run("d_first_detach"), gan_run("d_first_detach")
    replicas.spread(run)
    run.SNAPSHOT_EVERY = 1  # type: ignore[misc]
    found, wanted = ticks(run, 1), ticks(one, TAKEN)
    z = torch.ones(2, 5)
    if replicas.rank == 0:
        assert torch.equal(run.model.sample(z), copy.deepcopy(run.model).sample(z))
    assert run.good_step > 0
    run.model = copy.deepcopy(run.good)
    assert largest_error(found + ticks(run, TAKEN - 1), wanted) < ROUNDING


def check_resumed_alone(replicas: Replicas) -> None:
    """Two steps on replicas; their state is taken over by a run in one process, which goes on."""
    for name in ("gan d_steps", "pix2pix d_first_detach", "cyclegan g_first_shared"):
        one, run, alone = PLAIN[name](), PLAIN[name](), PLAIN[name]()
        replicas.spread(run)
        found, wanted = ticks(run, 2), ticks(one, 2 + TAKEN)
        alone.load_state_dict(copy.deepcopy(run.state_dict()))
        run.load_state_dict(copy.deepcopy(alone.state_dict()))
        assert largest_error(found + ticks(alone, TAKEN), wanted) < ROUNDING, name


def check_divergence(replicas: Replicas) -> None:
    """All stop at the step at which one diverges: only the last one's share has a NaN, in the third step."""
    run, stopped = gan_run("d_first_detach", broken=2), 0
    replicas.spread(run)
    try:
        ticks(run, 10)
    except DivergedError as error:
        stopped = error.step
    assert stopped == 3


def check_communication(replicas: Replicas) -> None:
    """The bytes that DDP averages in a step, by network, are what `communication` says."""
    for case, new in PLAIN.items():
        run = new()
        run.train_step = getattr(run.train_step, "last", run.train_step)
        said = communication(run.train_step, run.model, *next(run.batches))
        replicas.spread(run)
        counted = dict.fromkeys(said, 0)
        for name, network in networks(run.model).items():

            def hook(name: str, bucket: dist.GradBucket, counted: dict[str, int] = counted) -> Future[Tensor]:
                counted[name] += bucket.buffer().nbytes
                return allreduce_hook(None, bucket)

            network.register_comm_hook(name, hook)
        run.step()
        assert counted == said, case


def check_command(replicas: Replicas) -> None:
    """`train` on the replicas that there are: one of them speaks and writes, and one device goes on."""
    torch.set_default_dtype(torch.float32)
    options = "--data ring --model-option width=8 --batch-size 8 --speed none --steps 20 --sample-every 10"

    def train(arguments: str) -> str:
        result = CliRunner().invoke(main, ["train", "dcgan", *arguments.split()])
        assert not result.exit_code, result.output
        return result.output

    with tempfile.TemporaryDirectory() as folder:
        with mock.patch("gantutor.scale.command.join_replicas", return_value=contextlib.nullcontext(replicas)):
            said = train(f"{options} --folder {folder}/two")
        assert said.count("two is at step 20") == (replicas.rank == 0)
        if replicas.rank:
            return
        environment = {name: value for name, value in os.environ.items() if name != "WORLD_SIZE"}
        with mock.patch.dict(os.environ, environment, clear=True):
            train(f"{options} --folder {folder}/one")
            one, two = (read_checkpoint(f"{folder}/{name}/checkpoints/latest.pt")["state"] for name in ("one", "two"))
            assert 0 < difference(one["model"], two["model"]) < 1e-5  # the sums of gradients have another order
            assert difference(one["batches"], two["batches"]) == 0
            again = train(f"--resume {folder}/two --steps 21")
        assert again.count("(it was on 2 replicas, is on 1: BatchNorm that is not synchronised sees other shares") == 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    with join_replicas("cpu") as replicas:
        assert (replicas.count, str(replicas.device), dist.get_backend()) == (2, "cpu", "gloo")
        for check in (
            *(check_strategies, check_batchnorm, check_penalty, check_copies, check_resumed_alone, check_divergence),
            *(check_communication, check_command),
        ):
            check(replicas)
    assert not dist.is_initialized()
    print("all is well")
