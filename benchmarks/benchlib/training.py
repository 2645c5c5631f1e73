"""Whole training runs for the tables: to the last step, or to where they diverge."""

import torch
from torch import Tensor

from gantutor.configs import Pix2PixConfig
from gantutor.data import Pairs
from gantutor.pix2pix import Pix2Pix, Report
from gantutor.training import DivergedError, Run


def trained(run: Run, steps: int) -> bool:
    """Take the steps. Whether a loss was no number, which ends them."""
    try:
        for _ in range(steps):
            run.step()
    except DivergedError:
        return True
    return False


def l1_only(model: Pix2Pix, real_A: Tensor, real_B: Tensor) -> Report:
    """G's update by the L1 term alone; D rests. For G the same as any step with lambda_gan = 0, without D's cost."""
    fake_B = model.G(real_A)

    model.opt_G.zero_grad()
    l1_loss = (fake_B - real_B).abs().mean()
    (model.lambda_L1 * l1_loss).backward()
    model.opt_G.step()
    return {"l1_loss": l1_loss.detach()}


def trained_pix2pix(config: Pix2PixConfig, data: Pairs) -> tuple[Pix2Pix, bool]:
    """The model of a whole run, and whether it diverged."""
    run = config.start(data)
    if config.objective == "L1":
        run.train_step.last = l1_only
    diverged = trained(run, config.steps)
    return run.model, diverged


def translated(model: Pix2Pix, A: Tensor, mode: str) -> Tensor:
    """What G makes of A (N, 3, H, W), 25 at a time."""
    return torch.cat([model.translate(some, mode) for some in A.split(25)])
