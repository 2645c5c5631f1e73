"""What it costs to trace a step of pix2pix at its real size: 57 M parameters, one image of 256 x 256.

U-Net and PatchGAN. Two processes take two plain steps each; one of them then traces a third, the other takes it. Memory
is the most that a process has held. A trace may take at most 4 steps' time and 1.5 times the memory: what the step
writes to, weights, moments and gradients, is kept to be put back, in memory and, beyond 400 MB, in a temporary file.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gantutor.ledger import trace
from gantutor.models import patchgan, unet

MOST_STEPS, MOST_MEMORY = 4.0, 1.5


class Pix2Pix:
    def __init__(self) -> None:
        self.netG, self.netD = unet(), patchgan()
        self.optG, self.optD = (torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999)) for n in (self.netG, self.netD))


def step(model: Pix2Pix, A: Tensor, B: Tensor) -> None:
    fake = model.netG(A)
    model.optD.zero_grad()
    pred_fake = model.netD(torch.cat((A, fake.detach()), 1))
    pred_real = model.netD(torch.cat((A, B), 1))
    loss_D = (F.softplus(pred_fake).mean() + F.softplus(-pred_real).mean()) / 2
    loss_D.backward()
    model.optD.step()
    model.optG.zero_grad()
    loss_G = F.softplus(-model.netD(torch.cat((A, fake), 1))).mean() + 100 * (fake - B).abs().mean()
    loss_G.backward()
    model.optG.step()


def measured(traced: bool) -> dict[str, float]:
    """The seconds of a third step, or of its trace, and the most memory that this process has held, in GB."""
    torch.manual_seed(0)
    model, batch = Pix2Pix(), [torch.randn(1, 3, 256, 256).clamp(-1, 1) for _ in range(2)]
    step(model, *batch)
    step(model, *batch)
    start = time.perf_counter()
    if traced:
        trace(step, model, *batch)
    else:
        step(model, *batch)
    seconds = time.perf_counter() - start
    unit = 1e9 if sys.platform == "darwin" else 1e6
    return {"seconds": seconds, "GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}


def apart(*arguments: str) -> Any:
    """What another process of this script measures."""
    done = subprocess.run([sys.executable, __file__, "--one", *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", choices=("plain", "traced"), help=argparse.SUPPRESS)
    one = parser.parse_args().one
    if one:
        print(json.dumps(measured(one == "traced")))
        return 0
    plain, traced = apart("plain"), apart("traced")
    steps, memory = traced["seconds"] / plain["seconds"], traced["GB"] / plain["GB"]
    print(f"a step {plain['seconds']:.2f} s, {plain['GB']:.2f} GB")
    print(f"a trace {traced['seconds']:.2f} s, {traced['GB']:.2f} GB: {steps:.1f} steps, {memory:.2f} times the memory")
    return int(steps > MOST_STEPS or memory > MOST_MEMORY)


if __name__ == "__main__":
    raise SystemExit(main())
