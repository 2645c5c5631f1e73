"""Make what pages without a kernel show: `python record.py panel CONFIGS PLAN FOLDER`, `python record.py steps FOLDER`.

A panel plays runs that are trained here, one for each combination of the settings below. The debugger goes through
steps that are traced here. Each leaves its files in FOLDER, and in shown.json what site.js needs of them.
"""

import base64
import inspect
import json
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import live
import torch

from gantutor import PITFALLS, STEPS, Debugger, GANConfig, Lab, trace
from gantutor.lab import debugger, recording


@dataclass(frozen=True)
class Plan:
    """How a panel is recorded: steps of each run, values of each setting, frames that are kept, options of the Lab."""

    steps: int
    settings: dict[str, Sequence[Any]]
    frames: int = 100
    options: tuple[str, ...] = ()


# By notebook and cell. The settings are what the notebook is about at this place.
PLANS = {
    ("00_start_here", "live-panel"): Plan(300, {"loss": ["non-saturating", "minimax", "lsgan"]}),
    ("00_start_here", "plane-panel"): Plan(2000, {"data": ["ring", "grid", "spiral"]}),
    ("01_gan_objective", "feel-panel"): Plan(200, {"d_steps": [3, 1]}),
    ("01_gan_objective", "ring-panel"): Plan(
        1000, {"loss": ["non-saturating", "minimax", "lsgan", "hinge", "wgan", "wgan-gp"]}
    ),
    ("02_detach_or_retain_graph", "panel-run"): Plan(300, {"strategy": list(STEPS)}, options=("cost_meter",)),
    ("03_batchnorm_batching", "live-panel"): Plan(
        300, {"batching": ["split", "joint", "joint_in_D_step", "joint_in_G_step"]}
    ),
    ("04_pix2pix", "panel-run"): Plan(1000, {"objective": ["L1 + cGAN", "L1", "cGAN"]}, frames=40),
    ("04_pix2pix", "sketch-panel"): Plan(1000, {"generator": ["unet", "encoder_decoder"]}, frames=40),
    ("05_cyclegan", "live-run"): Plan(1000, {"pool_size": [50, 0]}, frames=40),
    ("05_cyclegan", "ab-live"): Plan(1000, {"lambda_cycle": [10.0, 0.0]}, frames=40),
    ("06_scale_up", "speed-panel"): Plan(100, {"speed": [(), ("fused",), ("bf16",)]}, 50, ("speed_ups",)),
}


def shortened(plan: Plan) -> Plan:
    """For the small build."""
    settings = {name: values[:2] for name, values in plan.settings.items()}
    return replace(plan, steps=live.SMALL_STEPS, settings=settings, frames=5)


def panel(configs: list[Any], plan: Plan, folder: Path) -> dict[str, Any]:
    """Train the runs of a panel, and pack them."""
    recording.write_page = live.parts_writer(folder)
    lab = Lab(*configs, name="site", **dict.fromkeys(plan.options, True))
    lab.record(plan.steps, plan.settings, plan.frames)
    saved: Any = lab.save("", plan.frames)
    lab.close()
    return dict(saved)


def steps(folder: Path) -> dict[str, Any]:
    """Trace every strategy, and every pitfall beside the step that is right."""
    debugger.write_page = live.parts_writer(folder)
    shown = {}
    run = GANConfig(data="ring", batch_size=16).start()
    batch = next(run.batches)
    for name, step in STEPS.items():
        shown[name] = debugged({name: step}, run.model, batch)
    for name, pitfall in PITFALLS.items():
        shown[name] = debugged({name: pitfall.step, pitfall.fixed: STEPS[pitfall.fixed]}, run.model, batch)
    return shown


def debugged(steps: dict[str, Any], model: Any, batch: tuple[torch.Tensor, ...]) -> dict[str, Any]:
    """One debugger, with what the first of its steps is said to do."""
    made = Debugger(*(trace(step, model, *batch) for step in steps.values()), titles=list(steps))
    saved: Any = made.save("")
    made.close()
    about = (inspect.getdoc(next(iter(steps.values()))) or "").partition("\n\n")[0]
    return {**saved, "about": " ".join(about.split())}


def main(kind: str, *arguments: str) -> None:
    torch.set_num_threads(1)
    folder = Path(arguments[-1])
    if kind == "steps":
        shown = steps(folder)
    else:
        configs, plan = (pickle.loads(base64.b64decode(text)) for text in arguments[:2])
        shown = panel(configs, plan, folder)
    (folder / "shown.json").write_text(json.dumps(shown))


if __name__ == "__main__":
    main(*sys.argv[1:])
