// A tape in the manner of torch.autograd. A tensor knows the node that made it; a node knows its inputs, and keeps what
// its backward needs. A backward frees what it has used, and checks that nothing it needs was changed in place since.
// All tensors have two dimensions; `moment` counts the lines of the step, so that an error can name them.

export const SECOND_TIME = 'Trying to backward through the graph a second time (or directly access saved tensors ' +
  'after they have already been freed). Saved intermediate values of the graph are freed when you call .backward() ' +
  'or autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or if you ' +
  'need to access saved tensors after calling backward.';
export const NO_GRAPH = 'element 0 of tensors does not require grad and does not have a grad_fn';
const inPlace = (shape, now, then) => 'one of the variables needed for gradient computation has been modified by an ' +
  `inplace operation: [torch.${Floats === Float64Array ? 'Double' : 'Float'}Tensor [${shape.join(', ')}]], which is ` +
  `output 0 of AsStrided, is at version ${now}; expected version ${then} instead. Hint: enable anomaly detection ` +
  'to find the operation that failed to compute its gradient, with torch.autograd.set_detect_anomaly(True, ' +
  'check_nan=False).';

let Floats = Float32Array;
let recording = true;  // false under no_grad
let created = 0;  // nodes so far: a backward runs the newest first
let moment = 0;

/** Compute in 'float32', as torch does by default, or in 'float64'. */
export function setDtype(dtype) { Floats = dtype === 'float64' ? Float64Array : Float32Array; }
export function setMoment(now) { moment = now; }
export function floats(size) { return new Floats(size); }

export class PythonError extends Error {
  /** What Python would raise; `failure` is { node, saved } where a backward met a graph that is freed or stale. */
  constructor(type, message, failure = null) { super(message); Object.assign(this, { type, failure }); }
}

export class Tensor {
  constructor(data, rows, cols, requiresGrad = false) {
    Object.assign(this, { data, rows, cols, requiresGrad, node: null, grad: null, name: '' });
    this.storage = { version: 0, before: 0, moments: [] };  // a detached tensor shares it
  }
  /** How often the values were changed in place. */
  get version() { return this.storage.version; }
  get tracked() { return this.requiresGrad || this.node !== null; }
  changed() {
    this.storage.version++;
    this.storage.moments.push(moment);
  }
  /** The moment of the change after `version`, of those in this step. */
  changedAfter(version) { return this.storage.moments[version - this.storage.before]; }
  startStep() { Object.assign(this.storage, { before: this.version, moments: [] }); }
  detach() { return Object.assign(new Tensor(this.data, this.rows, this.cols), { storage: this.storage }); }
  item() { return this.data[0]; }
}

export function noGrad(compute) {
  const before = recording;
  recording = false;
  try { return compute(); } finally { recording = before; }
}

/** A result with its node: `gradients(g, wanted)` gives those of the wanted inputs, and needs the tensors `saved`. */
function made(data, rows, cols, inputs, saved, gradients) {
  const out = new Tensor(data, rows, cols);
  if (recording && inputs.some(input => input.tracked)) {
    out.node = { number: created++, inputs, gradients, moment, freed: -1,
      saved: saved.map(tensor => ({ tensor, version: tensor.version })) };
  }
  return out;
}

// Operations ----------------------------------------------------------------------------------------------------------

/** C[i, j] = A[i, :] · B[j, :] (+ bias[j]): the one matrix product; two rows by four columns at once, in registers. */
function rowsTimesRows(A, B, C, rows, cols, inner, bias) {
  for (let j = 0; j < cols; j += 4) {
    const wide = j + 3 < cols, b0 = j * inner, b1 = b0 + inner, b2 = b1 + inner, b3 = b2 + inner;
    if (!wide) {
      for (let jj = j; jj < cols; jj++) for (let i = 0; i < rows; i++) {
        let sum = bias ? bias[jj] : 0;
        for (let k = 0; k < inner; k++) sum += A[i * inner + k] * B[jj * inner + k];
        C[i * cols + jj] = sum;
      }
      break;
    }
    let i = 0;
    for (; i + 1 < rows; i += 2) {
      const a0 = i * inner, a1 = a0 + inner;
      let c00 = 0, c01 = 0, c02 = 0, c03 = 0, c10 = 0, c11 = 0, c12 = 0, c13 = 0;
      for (let k = 0; k < inner; k++) {
        const x = A[a0 + k], y = A[a1 + k], p = B[b0 + k], q = B[b1 + k], r = B[b2 + k], s = B[b3 + k];
        c00 += x * p; c01 += x * q; c02 += x * r; c03 += x * s;
        c10 += y * p; c11 += y * q; c12 += y * r; c13 += y * s;
      }
      const top = i * cols + j, low = top + cols;
      C[top] = c00; C[top + 1] = c01; C[top + 2] = c02; C[top + 3] = c03;
      C[low] = c10; C[low + 1] = c11; C[low + 2] = c12; C[low + 3] = c13;
    }
    for (; i < rows; i++) for (let jj = j; jj < j + 4; jj++) {
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += A[i * inner + k] * B[jj * inner + k];
      C[i * cols + jj] = sum;
    }
    if (bias) for (let ii = 0; ii < rows; ii++) for (let jj = j; jj < j + 4; jj++) C[ii * cols + jj] += bias[jj];
  }
  return C;
}

function transposed(A, rows, cols) {
  const out = floats(rows * cols);
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) out[j * rows + i] = A[i * cols + j];
  return out;
}

/** x Wᵀ + b, for x (B, in), W (out, in) and b (1, out). */
export function linear(x, W, b) {
  const B = x.rows, ins = x.cols, outs = W.rows;
  const y = rowsTimesRows(x.data, W.data, floats(B * outs), B, outs, ins, b.data);
  const saved = [...W.tracked ? [x] : [], ...x.tracked ? [W] : []];  // each is needed for the other's gradient
  return made(y, B, outs, [x, W, b], saved, (g, wanted) => [
    wanted[0] && rowsTimesRows(g, transposed(W.data, outs, ins), floats(B * ins), B, ins, outs),
    wanted[1] && rowsTimesRows(transposed(g, B, outs), transposed(x.data, B, ins), floats(outs * ins), outs, ins, B),
    wanted[2] && columnSums(g, B, outs)]);
}

function columnSums(A, rows, cols) {
  const out = floats(cols);
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) out[j] += A[i * cols + j];
  return out;
}

/** An operation on each number: `value(x)` and `slope(x)`, with `saves` as whether the slope depends on x. */
function elementwise(x, value, slope, saves = true) {
  const { data } = x, y = floats(data.length);
  for (let i = 0; i < y.length; i++) y[i] = value(data[i]);
  return made(y, x.rows, x.cols, [x], saves ? [x] : [], g => {
    const gx = floats(g.length);
    for (let i = 0; i < g.length; i++) gx[i] = g[i] * slope(data[i]);
    return [gx];
  });
}

export function leakyRelu(x, below) {  // spelled out, because every hidden layer calls it
  const { data } = x, y = floats(data.length);
  for (let i = 0; i < y.length; i++) y[i] = data[i] > 0 ? data[i] : below * data[i];
  return made(y, x.rows, x.cols, [x], [x], g => {
    const gx = floats(g.length);
    for (let i = 0; i < g.length; i++) gx[i] = data[i] > 0 ? g[i] : below * g[i];
    return [gx];
  });
}

export const relu = x => leakyRelu(x, 0);
export const square = x => elementwise(x, v => v * v, v => 2 * v);
export const logSigmoid = x =>
  elementwise(x, v => Math.min(v, 0) - Math.log1p(Math.exp(-Math.abs(v))), v => 1 / (1 + Math.exp(v)));
/** a·x + c: the minus sign, and arithmetic with a number. */
export const affine = (x, a, c = 0) => elementwise(x, v => a * v + c, () => a, false);

/** x + sign · y, of one shape. */
export function add(x, y, sign = 1) {
  const z = x.data.map((v, i) => v + sign * y.data[i]);
  return made(z, x.rows, x.cols, [x, y], [], g => [g, sign === 1 ? g : g.map(v => -v)]);
}

export function mean(x) {
  const n = x.data.length, total = x.data.reduce((sum, v) => sum + v, 0);
  return made(floats(1).fill(total / n), 1, 1, [x], [], g => [floats(n).fill(g[0] / n)]);
}

// Backward ------------------------------------------------------------------------------------------------------------

/** Every node that a backward from `root` can get to, the newest first: the order in which autograd runs them. */
export function graph(root) {
  const found = new Set(), stack = root.node ? [root.node] : [];
  while (stack.length) {
    const node = stack.pop();
    if (found.has(node)) continue;
    found.add(node);
    for (const input of node.inputs) if (input.node) stack.push(input.node);
  }
  return [...found].sort((a, b) => b.number - a.number);
}

/**
 * root.backward(gradient, retain_graph=retainGraph, inputs=inputs): adds to the .grad of every leaf that it reaches,
 * or only of those in `inputs`. `added(leaf, gradient)` is told of each.
 */
export function backward(root, { gradient = null, retainGraph = false, inputs = null, added = null } = {}) {
  if (!root.tracked) throw new PythonError('RuntimeError', NO_GRAPH);
  const nodes = graph(root), leaves = inputs && new Set(inputs), onTheWay = new Set();
  const wants = input => input.node ? onTheWay.has(input.node) : input.requiresGrad && (!leaves || leaves.has(input));
  for (const node of nodes.toReversed()) if (node.inputs.some(wants)) onTheWay.add(node);
  const gradients = new Map([[root.node, gradient ?? floats(1).fill(1)]]);
  for (const node of nodes) {
    if (!onTheWay.has(node)) continue;
    check(node);
    const wanted = node.inputs.map(wants), found = node.gradients(gradients.get(node), wanted);
    node.inputs.forEach((input, i) => {
      if (!wanted[i]) return;
      if (input.node) gradients.set(input.node, sum(gradients.get(input.node), found[i]));
      else {
        input.grad = sum(input.grad, found[i]);
        added?.(input, found[i]);
      }
    });
    gradients.delete(node);
    if (!retainGraph && node.freed < 0 && node.saved.length) Object.assign(node, { freed: moment, gradients: null });
  }
}

function check(node) {
  if (node.freed >= 0) throw new PythonError('RuntimeError', SECOND_TIME, { node });
  for (const saved of node.saved) {
    const { tensor, version } = saved;
    if (tensor.version !== version) {
      const shape = [tensor.cols, tensor.rows];  // a layer saves its weights transposed
      throw new PythonError('RuntimeError', inPlace(shape, tensor.version, version), { node, saved });
    }
  }
}

function sum(a, b) { return a ? a.map((v, i) => v + b[i]) : b; }
