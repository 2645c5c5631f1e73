// A run: networks, optimizers and draws from one seed, steps in the order that is set, and what a frame shows of it.
import { Watch, applied, explain, mixUps } from './ledger.js';
import { pointNetworks } from './nn.js';
import { Adam, SGD } from './optim.js';
import { Random, gaussian, modesCovered, ring } from './random.js';
import { parse, takeStep } from './step.js';
import { Tensor, floats, noGrad } from './tape.js';

export const BATCH = 64;
export const FIELD = 32;  // D's verdict is shown on FIELD x FIELD places of [-LIMIT, LIMIT]²
export const LIMIT = 3;
export const GRID = 21;  // G's picture of GRID x GRID places z of [-2.5, 2.5]²
const SHOWN = 256;  // fakes and reals in the picture: always from the same z, so that they can be followed

export class Training {
  constructor(state) {
    const random = new Random(state.seed);
    Object.assign(this, { random, steps: 0, error: null, model: pointNetworks(random), pending: [] });
    const Optimizer = state.optimizer === 'sgd' ? SGD : Adam;
    for (const player of ['G', 'D']) this.model[`opt_${player}`] = new Optimizer(this.model[player].parameters, 0);
    const looks = new Random(state.seed + 1);
    this.places = { fakes: gaussian(SHOWN, looks), grid: square(GRID, 2.5), field: square(FIELD, LIMIT) };
    this.reals = ring(SHOWN, looks).data;
    this.apply(state);
  }

  /** Goes on with other lines, another loss or other rates; a step that had stopped starts again. */
  apply(state) {
    Object.assign(this.model, { loss: state.loss });
    Object.assign(this, { lines: parse(state.step), error: null, rows: [] });
    this.model.opt_G.lr = state.lr_G;
    this.model.opt_D.lr = state.lr_D;
  }

  step(watched = false) {
    if (this.error) return;
    const watch = watched || !this.rows.length ? new Watch(this.model) : null;
    const real = ring(BATCH, this.random), z = gaussian(BATCH, this.random);
    const { losses, error } = takeStep(this.model, this.lines, real, z, watch);
    if (watch) this.rows = watch.rows;
    if (error) {
      const { type, message } = error.error;
      this.error = { line: error.line, type, message, sentence: explain(this.lines, this.model.loss, error) };
    } else {
      this.steps++;
      this.pending.push(losses.d_loss ?? NaN, losses.g_loss ?? NaN);
    }
  }

  /** What the page draws: typed arrays, which move to the page without being copied. */
  frame() {
    const { G, D } = this.model;
    return noGrad(() => {
      const fakes = Float32Array.from(G.call(this.places.fakes).data), { lines, rows } = this;
      return {
        fakes, reals: Float32Array.from(this.reals), grid: Float32Array.from(G.call(this.places.grid).data),
        field: Float32Array.from(D.call(this.places.field).data, this.probReal()),
        losses: Float32Array.from(this.pending.splice(0)), steps: this.steps, modes: modesCovered(fakes),
        error: this.error, rows, applied: applied(lines, rows), notes: this.error ? [] : mixUps(lines, rows),
      };
    });
  }
  /** What a logit says of being real, from 0 to 1. */
  probReal() {
    return this.model.loss === 'lsgan' ? l => Math.min(Math.max(l, 0), 1) : l => 1 / (1 + Math.exp(-l));
  }
}

/** size x size places of [-limit, limit]², row by row from the top. */
function square(size, limit) {
  const at = i => limit * (2 * i / (size - 1) - 1);
  const places = floats(2 * size * size).map((_, i) => i % 2 ? -at(Math.floor(i / 2 / size)) : at(i / 2 % size));
  return new Tensor(places, size * size, 2);
}
