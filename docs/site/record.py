"""Make what pages without a kernel show: panels, steps and Paint.

A panel plays runs that are trained here, one for each combination of the settings below. The debugger goes through
steps that are traced here. Paint asks generators that are trained here. Each writes a JSON file that says what site.js
needs, and leaves its other files beside it.
"""

import inspect
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import live
import torch

from gantutor import PITFALLS, STEPS, Debugger, Experiment, Lab, Paint, Pix2PixConfig, trace
from gantutor.data import load_pairs


@dataclass(frozen=True)
class Plan:
    """How a panel is recorded: steps of each run, values of each setting, frames that are kept, options of the Lab."""

    steps: int
    settings: dict[str, Sequence[Any]]
    frames: int = 60
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
    ("04_pix2pix", "panel-run"): Plan(1000, {"objective": ["L1 + cGAN", "L1", "cGAN"]}, frames=25),
    ("04_pix2pix", "sketch-panel"): Plan(1000, {"generator": ["unet", "encoder_decoder"]}, frames=25),
    ("05_cyclegan", "live-run"): Plan(1000, {"pool_size": [50, 0]}, frames=25),
    ("05_cyclegan", "ab-live"): Plan(1000, {"lambda_cycle": [10.0, 0.0]}, frames=25),
    ("06_scale_up", "speed-panel"): Plan(100, {"speed": [(), ("fused",), ("bf16",)]}, 50, ("speed_ups",)),
}


def shortened(plan: Plan) -> Plan:
    """For the small build."""
    settings = {name: values[:2] for name, values in plan.settings.items()}
    return replace(plan, steps=live.SMALL_STEPS, settings=settings, frames=5)


def panel(configs: bytes, plan: Plan, target: Path) -> None:
    """Train the runs of a panel, whose configs are pickled, and pack them."""
    live.write_parts_into(target.parent)
    lab = Lab(*pickle.loads(configs), name="site", **dict.fromkeys(plan.options, True))
    lab.record(plan.steps, plan.settings, plan.frames)
    for view, takes in zip(lab.run_views, lab.recorded, strict=True):
        own = view.controls.encode(view.config)
        takes.sort(key=lambda take: take.values != own)  # the page begins with the notebook's own settings
    saved: Any = lab.save("panel.html", plan.frames)
    lab.close()
    target.write_text(json.dumps(saved))


def steps(small: bool, target: Path) -> None:
    """Trace every strategy, and every pitfall beside the step that is right; for the small build the first of each."""
    live.write_parts_into(target.parent)
    shown, most = {}, 1 if small else None
    run = Experiment(data="ring", batch_size=16).start()
    batch = next(run.batches)
    for name, step in list(STEPS.items())[:most]:
        shown[name] = debugged({name: step}, run.model, batch)
    for name, pitfall in list(PITFALLS.items())[:most]:
        shown[name] = debugged({name: pitfall.step, pitfall.fixed: STEPS[pitfall.fixed]}, run.model, batch)
    target.write_text(json.dumps(shown))


def debugged(steps: dict[str, Any], model: Any, batch: tuple[torch.Tensor, ...]) -> dict[str, Any]:
    """One debugger, with what the first of its steps is said to do."""
    made = Debugger(*(trace(step, model, *batch) for step in steps.values()), titles=list(steps))
    saved: Any = made.save("steps.html")
    made.close()
    about = (inspect.getdoc(next(iter(steps.values()))) or "").partition("\n\n")[0]
    return {**saved, "about": " ".join(about.split())}


def paint(number: int, width: int, target: Path) -> None:
    """Train two generators of a width for Paint in as many steps, and pack what Paint needs.

    They have neither BatchNorm nor dropout: their answer to a drawing depends on nothing else. Of each there is a file
    for the browser (.onnx) and one for the tests (.pt).
    """
    folder, data = target.parent, load_pairs("emoji_palette")
    live.write_parts_into(folder)
    config = Pix2PixConfig("emoji_palette", width_G=width, norm="instance", dropout=0.0, device="cpu")
    generators, files = {}, []
    for i, objective in enumerate(["L1", "L1 + cGAN"]):
        run = config.replace(objective=objective).start(data)
        for _ in range(number):
            run.step()
        generators[objective] = G = run.model.G.eval()
        torch.save(G, folder / f"generator_{i}.pt")
        torch.onnx.export(G, (torch.zeros(1, 3, 64, 64),), folder / f"generator_{i}.onnx", input_names=["A"],
                          output_names=["B"], dynamo=True, external_data=False, verbose=False)  # fmt: skip
        files.append(f"generator_{i}.onnx")
    assert data.held_out is not None
    made = Paint(generators, data.classes, data.held_out.labels)
    (folder / "examples.bin").write_bytes(made.examples.tobytes())
    saved: Any = made.save("steps.html")
    made.close()
    target.write_text(json.dumps({**saved, "examples": "examples.bin", "generators": files}))
