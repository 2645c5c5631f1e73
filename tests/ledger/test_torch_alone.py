"""The ledger needs torch and nothing else of the course."""

import subprocess
import sys
from pathlib import Path

LAB = ["numpy", "torchvision", "matplotlib", "ipywidgets", "anywidget", "IPython", "PIL"]
BLOCKED = [*LAB, "tqdm", "click", "lightning"]
PROGRAM = f"""
import sys, warnings

warnings.filterwarnings("ignore")  # torch says that it has no NumPy
for name in {BLOCKED!r}:
    sys.modules[name] = None

import torch
from torch import nn
from gantutor import compare, cost, trace

G, D = nn.Linear(2, 3), nn.Linear(3, 1)
opt_G = torch.optim.Adam(G.parameters())


def step(z):
    opt_G.zero_grad()
    loss = -D(G(z)).mean()
    loss.backward()
    opt_G.step()


z = torch.ones(4, 2)
record = trace(step, z)
same = compare({{"a": step, "b": step}}, z).steps
print(record.lines[-1].networks["G"].changed, cost(step, z, repeats=1).flops > 0, same)
"""


def test_a_step_is_traced_with_torch_alone(tmp_path: Path) -> None:
    script, root = tmp_path / "script.py", str(Path(__file__).parents[2])
    script.write_text(PROGRAM)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=root, env={"PYTHONPATH": root})
    assert done.stdout == "True True ('a', 'b')\n", done.stderr
