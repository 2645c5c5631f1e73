// "Copy as PyTorch": the arranged step as a script that runs by itself.
import { LOSSES } from './losses.js';
import { assigned, python } from './step.js';

const OPTIMIZERS = {
  adam: (player, lr) => `Adam(${player}.parameters(), lr=${lr}, betas=(0.5, 0.999))`,
  sgd: (player, lr) => `SGD(${player}.parameters(), lr=${lr})`,
};

/** The step alone, as a function of real and z that returns its losses. */
export function stepAsPython(lines, loss) {
  const losses = assigned(lines).filter(name => name.endsWith('_loss')).map(name => `"${name}": ${name}.item()`);
  const body = [...lines.map(line => python(line, loss)), `return {${losses.join(', ')}}`];
  return ['def train_step(real, z):', ...body.map(text => `    ${text}`)].join('\n');
}

export function script(lines, { loss, seed, optimizer, lr_G, lr_D }) {
  const { d, g, ratio } = LOSSES[loss].python, build = OPTIMIZERS[optimizer];
  const takes = loss === 'relativistic' ? 'logits_fake, logits_real' : 'logits_fake';
  const noRatio = `raise ValueError("${LOSSES[loss].noRatio}")`;
  return `"""A GAN on a ring of eight Gaussians; train_step is as it was arranged in the gantutor playground."""

import math

import torch
import torch.nn.functional as F
from torch import nn

STEPS = 2000
torch.manual_seed(${seed})

G = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
D = nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
opt_G = torch.optim.${build('G', lr_G)}
opt_D = torch.optim.${build('D', lr_D)}


def ring(n):
    angle = 2 * math.pi * torch.randint(8, (n,)) / 8
    return 2 * torch.stack([angle.cos(), angle.sin()], dim=1) + 0.05 * torch.randn(n, 2)


def d_loss_of(logits_real, logits_fake):
    return ${d}


def g_loss_of(${takes}):
    return ${g}


def slope_ratio(logits_fake):
    ${ratio ? `logits_fake = logits_fake.detach()\n    return ${ratio}` : noRatio}


${stepAsPython(lines, loss)}


for i in range(1, STEPS + 1):
    losses = train_step(ring(64), torch.randn(64, 2))
    if i % 200 == 0:
        print(i, losses)

print(G(torch.randn(8, 2)))
`;
}
