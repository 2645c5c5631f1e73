"""Whole training runs for the tables: to the last step, or to where they diverge."""

import torch
from torch import Tensor

from gantutor.configs import Pix2PixConfig
from gantutor.data import Pairs
from gantutor.pix2pix import Pix2Pix, l1_only
from gantutor.training import DivergedError, Run


def trained(run: Run, steps: int) -> bool:
    """Take the steps. Whether a loss was no number, which ends them."""
    try:
        for _ in range(steps):
            run.step()
    except DivergedError:
        return True
    return False


def trained_pix2pix(config: Pix2PixConfig, data: Pairs) -> tuple[Pix2Pix, bool]:
    """The model of a whole run, and whether it diverged."""
    run = config.start(data)
    if config.objective == "L1":
        run.train_step.last = l1_only  # for G the same as any step without an adversarial term, and cheaper
    diverged = trained(run, config.steps)
    return run.model, diverged


def translated(model: Pix2Pix, A: Tensor, mode: str) -> Tensor:
    """What G makes of A (N, 3, H, W), 25 at a time."""
    return torch.cat([model.translate(some, mode) for some in A.split(25)])
