// Networks: a chain of linear layers with a (leaky) ReLU between them, as gantutor.models.mlp_points builds them.
import { Tensor, floats, leakyRelu, linear } from './tape.js';

/** `name` is "G" or "D", `sizes` the widths from input to output, `below` the slope of the ReLU below 0. */
export class MLP {
  constructor(name, sizes, below, random) {
    Object.assign(this, { name, below, weights: [], biases: [] });
    for (let i = 0; i + 1 < sizes.length; i++) {
      const bound = 1 / Math.sqrt(sizes[i]), draw = size => floats(size).map(() => bound * (2 * random.uniform() - 1));
      this.weights.push(new Tensor(draw(sizes[i + 1] * sizes[i]), sizes[i + 1], sizes[i], true));
      this.biases.push(new Tensor(draw(sizes[i + 1]), 1, sizes[i + 1], true));
      this.weights[i].name = `${name}.${2 * i}.weight`;
      this.biases[i].name = `${name}.${2 * i}.bias`;
      for (const p of [this.weights[i], this.biases[i]]) p.changed();  // nn.Linear fills them in place: version 1
    }
  }
  get parameters() { return this.weights.flatMap((W, i) => [W, this.biases[i]]); }
  call(x) {
    this.weights.forEach((W, i) => {
      x = linear(x, W, this.biases[i]);
      if (i + 1 < this.weights.length) x = leakyRelu(x, this.below);
    });
    return x;
  }
}

/** G: z (B, 2) to points (B, 2). D: points to logits (B, 1). */
export function pointNetworks(random, width = 64) {
  return { G: new MLP('G', [2, width, width, 2], 0, random), D: new MLP('D', [2, width, width, 1], 0.2, random) };
}
