"""Write docs/my_gan_does_not_train.md, text and what its code prints: python docs/my_gan_does_not_train.py"""

import contextlib
import io
import linecache
import re
import warnings
from pathlib import Path

FILE = Path(__file__).with_suffix(".md")
TEXT = r"""# My GAN does not train

Look for what you see. Each answer is a case that runs: the code is short, and below it stands what `trace` finds.
Your own step is traced in the same way. `trace(step, ...)` runs it once, line by line, and puts everything back:
weights, gradients, optimizers, random states. In a notebook, put `%%trace` above the loop body, as it is.

```python
import torch
import torch.nn.functional as F
from torch import nn

from gantutor import trace

torch.manual_seed(0)
G = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 6))
D = nn.Sequential(nn.Linear(6, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
opt_G, opt_D = (torch.optim.Adam(network.parameters(), 2e-4) for network in (G, D))
real, z = torch.randn(8, 6), torch.randn(8, 4)


def loss_real(logits):  # small if D says "real"
    return F.softplus(-logits).mean()


def loss_fake(logits):  # small if D says "fake"
    return F.softplus(logits).mean()


def findings(step, *arguments):
    for finding in trace(step, *arguments).findings or ["Nothing found."]:
        print(finding)
```

A correct step for comparison. Nothing is found in it, which means: the gradients go where they should. Whether the
*game* goes well is another question; the last section has it.

```python
def correct():
    fake = G(z)
    opt_D.zero_grad()
    d_loss = loss_real(D(real)) + loss_fake(D(fake.detach()))
    d_loss.backward()
    opt_D.step()
    opt_G.zero_grad()
    g_loss = loss_real(D(fake))
    g_loss.backward()
    opt_G.step()


findings(correct)
```

## It raises an error

### "Trying to backward through the graph a second time"

An earlier backward went through the same part of the graph and freed it. In a GAN that part is mostly G's: D's loss
went on into G.

```python
def without_detach():
    fake = G(z)
    opt_D.zero_grad()
    d_loss = loss_real(D(real)) + loss_fake(D(fake))
    d_loss.backward()
    opt_D.step()
    opt_G.zero_grad()
    g_loss = loss_real(D(fake))
    g_loss.backward()
    opt_G.step()


findings(without_detach)
```

`retain_graph=True` would hide this error. It costs a backward through G and the memory of its graph, and it leaves
D's gradient in G. Notebook 02 shows when it is right.

### "one of the variables needed for gradient computation has been modified by an inplace operation"

An optimizer's step is such an operation. Here `opt_D.step()` overwrites weights that the graph of `scores` still
needs.

```python
def scores_from_before():
    fake = G(z)
    scores = D(fake)
    opt_D.zero_grad()
    d_loss = loss_real(D(real)) + loss_fake(scores)
    d_loss.backward(retain_graph=True)
    opt_D.step()
    opt_G.zero_grad()
    g_loss = loss_real(scores)
    g_loss.backward()
    opt_G.step()


findings(scores_from_before)
```

A tensor that you write into yourself raises the same error. The label that is filled anew is the best known:

```python
def one_label_for_both():
    label = torch.ones(8, 1)
    opt_D.zero_grad()
    errD_real = F.binary_cross_entropy_with_logits(D(real), label)
    label.fill_(0.0)
    errD_fake = F.binary_cross_entropy_with_logits(D(G(z).detach()), label)
    errD = errD_real + errD_fake
    errD.backward()
    opt_D.step()


findings(one_label_for_both)
```

Two backwards, one before `fill_` and one after it, are right: the first graph is then no longer needed.

### The same error with DistributedDataParallel, and only with two forwards

DDP writes rank 0's buffers (BatchNorm's running statistics) into all ranks before every forward. Two forwards and
then one backward: the second forward overwrites what the first graph needs. `Broadcasts` does here what DDP does,
without processes. (PyTorch 2.15 no longer counts DDP's own writing as a change, so there the step runs.)

```python
class Broadcasts(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        for buffer in self.module.buffers():
            buffer.copy_(buffer.clone())
        return self.module(x)


D_norm = Broadcasts(nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.LeakyReLU(0.2), nn.Linear(16, 1)))
opt_D_norm = torch.optim.Adam(D_norm.parameters(), 2e-4)


def two_forwards():
    opt_D_norm.zero_grad()
    logits_real = D_norm(real)
    logits_fake = D_norm(G(z).detach())
    d_loss = loss_real(logits_real) + loss_fake(logits_fake)
    d_loss.backward()
    opt_D_norm.step()


findings(two_forwards)
```

With several processes, call `trace` on every rank, or on none: a step of DDP waits for all ranks. One rank alone is
refused after ten seconds.

### "element 0 of tensors does not require grad"

The loss has no graph at all. Something on the way cut it.

```python
def scored_without_a_graph():
    opt_G.zero_grad()
    with torch.no_grad():
        scores = D(G(z))
    g_loss = loss_real(scores)
    g_loss.backward()
    opt_G.step()


findings(scored_without_a_graph)
```

### "One of the differentiated Tensors does not require grad"

A gradient penalty asks for the gradient at the images. Autograd records one only for a tensor that asked for it
*before* D scored it. This is why the real image requires a gradient in R1, although nobody updates it:

```python
def r1_without_a_leaf():
    opt_D.zero_grad()
    scores = D(real)
    (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
    d_loss = loss_real(scores) + 5 * slope.square().sum(1).mean()
    d_loss.backward()
    opt_D.step()


findings(r1_without_a_leaf)
```

## G stands still

### Its samples never change, and nothing raises

Detach makes a second tensor. Here the detached one is kept, and G's loss ends there, too.

```python
def detached_at_the_top():
    fake = G(z).detach()
    opt_D.zero_grad()
    d_loss = loss_real(D(real)) + loss_fake(D(fake))
    d_loss.backward()
    opt_D.step()
    opt_G.zero_grad()
    g_loss = loss_real(D(fake))
    g_loss.backward()
    opt_G.step()


findings(detached_at_the_top)
```

### G was frozen for D's half, and never unfrozen

```python
def never_unfrozen():
    G.requires_grad_(False)
    fake = G(z)
    opt_G.zero_grad()
    g_loss = loss_real(D(fake))
    g_loss.backward()
    opt_G.step()


findings(never_unfrozen)
```

### The optimizer holds another network's parameters

The network was made again, or copied, after its optimizer: `opt_old` moves weights that nobody uses.

```python
G_old = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 6))
opt_old = torch.optim.Adam(list(G_old.parameters()), 2e-4)
del G_old


def stale_optimizer():
    opt_old.zero_grad()
    g_loss = loss_real(D(G(z)))
    g_loss.backward()
    opt_old.step()


findings(stale_optimizer)
```

### The gradient is cleared before it is used

```python
def cleared_too_early():
    g_loss = loss_real(D(G(z)))
    g_loss.backward()
    opt_G.zero_grad()
    opt_G.step()


findings(cleared_too_early)
```

### The sample is an index

Text and other discrete samples are chosen by `argmax`, and no gradient goes through a choice.

```python
def index_of_the_largest():
    opt_G.zero_grad()
    word = F.one_hot(G(z).argmax(1), 6).float()
    g_loss = loss_real(D(word))
    g_loss.backward()
    opt_G.step()


findings(index_of_the_largest)
```

## It trains, and gets worse

### A zero_grad is missing, or stands in the wrong place

`backward` adds. What nobody clears is part of the next update.

```python
def both_cleared_at_the_top():
    fake = G(z)
    opt_D.zero_grad()
    opt_G.zero_grad()
    d_loss = loss_real(D(real)) + loss_fake(D(fake))
    d_loss.backward(retain_graph=True)
    opt_D.step()
    g_loss = loss_real(D(fake))
    g_loss.backward()
    opt_G.step()


def never_cleared():
    d_loss = loss_real(D(real)) + loss_fake(D(G(z).detach()))
    d_loss.backward()
    opt_D.step()


findings(both_cleared_at_the_top)
findings(never_cleared)
```

### Both losses go backward, and then both optimizers step

Each backward fills both networks. D is then moved towards fooling itself.

```python
def both_backwards():
    logits_fake = D(G(z))
    d_loss = loss_real(D(real)) + loss_fake(logits_fake)
    g_loss = loss_real(logits_fake)
    opt_D.zero_grad()
    opt_G.zero_grad()
    d_loss.backward(retain_graph=True)
    g_loss.backward()
    opt_D.step()
    opt_G.step()


findings(both_backwards)
```

### D's loss does not fall below 1, and G hardly learns

D ends in a sigmoid, and the loss applies another.

```python
D_sigmoid = nn.Sequential(D, nn.Sigmoid())


def sigmoid_twice():
    opt_D.zero_grad()
    d_loss = loss_real(D_sigmoid(real)) + loss_fake(D_sigmoid(G(z).detach()))
    d_loss.backward()
    opt_D.step()


findings(sigmoid_twice)
```

### The gradient penalty does nothing

Without `create_graph=True` the penalty is a number. It is in the loss, and not in the gradient.

```python
def penalty_without_a_graph():
    opt_D.zero_grad()
    mixed = (0.5 * real + 0.5 * G(z).detach()).requires_grad_()
    (slope,) = torch.autograd.grad(D(mixed).sum(), mixed)
    penalty = (slope.norm(dim=1) - 1).square().mean()
    d_loss = D(G(z).detach()).mean() - D(real).mean() + 10 * penalty
    d_loss.backward()
    opt_D.step()


findings(penalty_without_a_graph)
```

### Samples were good while sampling, and training is bad after it

`eval()` was for the sample picture, and `train()` never came.

```python
G_norm = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6))
opt_G_norm = torch.optim.Adam(G_norm.parameters(), 2e-4)


def eval_forgotten():
    G_norm.eval()
    with torch.no_grad():
        G_norm(z)
    opt_G_norm.zero_grad()
    g_loss = loss_real(D(G_norm(z)))
    g_loss.backward()
    opt_G_norm.step()


findings(eval_forgotten)
```

### With autocast the wrong step does not even raise

Autocast computes with copies of the weights in low precision. The graph keeps the copies, so autograd does not see
that `opt_D.step()` has moved the weights.

```python
def scores_from_before_in_bfloat16():
    opt_D.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = D(G(z))
        d_loss = loss_real(D(real)) + loss_fake(scores)
    d_loss.backward(retain_graph=True)
    opt_D.step()
    opt_G.zero_grad()
    g_loss = loss_real(scores)
    g_loss.backward()
    opt_G.step()


findings(scores_from_before_in_bfloat16)
```

## The loss is NaN or infinite

The first line on which it appears is not the line where you print it.

```python
def log_of_zero():
    opt_D.zero_grad()
    prob = torch.sigmoid(D(real) - 120)
    d_loss = -torch.log(prob).mean()
    d_loss.backward()
    opt_D.step()


findings(log_of_zero)
```

## Memory grows from step to step

### The history keeps losses

A loss in a list keeps its graph. `losses.append(g_loss.item())` keeps a number.

```python
losses = []


def loop(batches):
    for x in batches:
        opt_D.zero_grad()
        d_loss = loss_real(D(x))
        d_loss.backward(retain_graph=True)
        opt_D.step()
        losses.append(d_loss)


findings(loop, torch.randn(5, 8, 6))
```

`retain_graph=True` makes it worse: each graph then also keeps all that it has saved.

### backward(create_graph=True)

A penalty on the *parameters'* gradient needs a graph of the gradient. `torch.autograd.grad` returns it, and it goes
with the name. `backward` leaves it in `.grad`, where it keeps itself alive.

```python
import warnings


def graph_in_grad():
    opt_D.zero_grad()
    d_loss = loss_real(D(real))
    d_loss.backward(create_graph=True)
    penalty = sum(p.grad.square().sum() for p in D.parameters())
    penalty.backward()
    opt_D.step()


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch warns of it, too
    findings(graph_in_grad)
```

## How do I write it correctly?

In these nothing is found.

### Accumulation: several small batches for one update

Clear once, divide each loss, step once.

```python
def accumulated(parts):
    opt_D.zero_grad()
    for x in parts:
        d_loss = (loss_real(D(x)) + loss_fake(D(G(z).detach()))) / len(parts)
        d_loss.backward()
    opt_D.step()


findings(accumulated, torch.randn(3, 8, 6))
```

### R1

`real` is a leaf that asks for a gradient. The penalty's graph is made with `create_graph=True`.

```python
def r1():
    images = real.clone().requires_grad_()
    opt_D.zero_grad()
    scores = D(images)
    (slope,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    d_loss = loss_real(scores) + loss_fake(D(G(z).detach())) + 5 * slope.square().sum(1).mean()
    d_loss.backward()
    opt_D.step()


findings(r1)
```

### One GradScaler and two optimizers

`scale` each loss, `step` each optimizer through the scaler, and `update` once, at the end. Unscale before clipping.
Where a gradient is infinite, the scaler leaves the optimizer's step out and lowers its scale. The last lines of
`print(trace(...))` say so. In the first steps this is normal; in every step it is not.

```python
scaler = torch.amp.GradScaler("cpu")


def scaled():
    opt_D.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fake = G(z)
        d_loss = loss_real(D(real)) + loss_fake(D(fake.detach()))
    scaler.scale(d_loss).backward()
    scaler.unscale_(opt_D)
    nn.utils.clip_grad_norm_(D.parameters(), 1.0)
    scaler.step(opt_D)
    opt_G.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        g_loss = loss_real(D(fake))
    scaler.scale(g_loss).backward()
    scaler.step(opt_G)
    scaler.update()


findings(scaled)
```

### Several discriminators

One optimizer over all of them, one loss that is the sum. Each gets the gradient of its own term.

```python
Ds = nn.ModuleList([nn.Linear(6, 1), nn.Linear(6, 1)])
opt_Ds = torch.optim.Adam(Ds.parameters(), 2e-4)


def several():
    fake = G(z)
    opt_Ds.zero_grad()
    d_loss = sum(loss_real(D_k(real)) + loss_fake(D_k(fake.detach())) for D_k in Ds)
    d_loss.backward()
    opt_Ds.step()
    opt_G.zero_grad()
    g_loss = sum(loss_real(D_k(fake)) for D_k in Ds)
    g_loss.backward()
    opt_G.step()


findings(several)
```

### DDP with two forwards

`DistributedDataParallel(D, broadcast_buffers=False)`, or one forward of both halves (with BatchNorm that is another
function, see notebook 03).

## Nothing is found, and it still does not train

Then each gradient goes where it should, and the question is another one:

- The sign of G's loss. With the wrong one G helps D, and every gradient still goes where it should. Score the same
  fakes before and after `opt_G.step()`: `D(G(z)).mean()` must rise.
- D's loss is near 0 and G learns nothing: which loss does G minimise? Notebook 01 measures what a saturated loss
  sends to G.
- All samples look alike: that is mode collapse. Notebook 01 shows it, and what the loss curves say of it, which is
  little.
- A step with `cat` in D's half only, and BatchNorm in D: notebook 03.
- `G.eval()` ruins pix2pix's output: notebook 04.
- A loss curve is no verdict on a GAN. Look at samples, and measure coverage.
"""

BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def page() -> str:
    """The page: each block of code is run after those before it, and what it prints stands below it."""
    namespace: dict[str, object] = {}

    def with_output(block: re.Match[str]) -> str:
        printed = run(block[1], namespace, TEXT.count("```python", 0, block.start()))
        return block[0] + (f"\n```text\n{printed}```\n" if printed else "")

    return BLOCK.sub(with_output, TEXT)


def run(code: str, namespace: dict[str, object], number: int) -> str:
    """What a block prints. Its lines are numbered from 1, as in a cell."""
    name = f"<block {number}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        exec(compile(code, name, "exec"), namespace)
    return printed.getvalue()


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
