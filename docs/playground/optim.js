// torch.optim.SGD and torch.optim.Adam. A step changes the parameters in place, and says so to the tape.
import { floats } from './tape.js';

class Optimizer {
  constructor(parameters, lr) { Object.assign(this, { parameters, lr }); }
  /** zero_grad() sets the gradients to None. */
  zeroGrad() { for (const p of this.parameters) p.grad = null; }
  step() {
    this.parameters.forEach((p, i) => {
      if (!p.grad) return;  // torch skips it, too
      this.update(p, i);
      p.changed();
    });
  }
}

export class SGD extends Optimizer {
  update({ data, grad }) { for (let i = 0; i < data.length; i++) data[i] -= this.lr * grad[i]; }
}

export class Adam extends Optimizer {
  constructor(parameters, lr, betas = [0.5, 0.999], eps = 1e-8) {
    super(parameters, lr);
    const zeros = () => parameters.map(p => floats(p.data.length));
    Object.assign(this, { betas, eps, means: zeros(), squares: zeros(), steps: parameters.map(() => 0) });
  }
  update({ data, grad }, index) {
    const [b1, b2] = this.betas, m = this.means[index], v = this.squares[index], t = ++this.steps[index];
    const rate = this.lr / (1 - b1 ** t), scale = Math.sqrt(1 - b2 ** t);
    for (let i = 0; i < data.length; i++) {
      m[i] += (1 - b1) * (grad[i] - m[i]);
      v[i] = b2 * v[i] + (1 - b2) * grad[i] * grad[i];
      data[i] -= rate * m[i] / (Math.sqrt(v[i]) / scale + this.eps);
    }
  }
}
