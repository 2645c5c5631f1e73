// Paint without a kernel: this stands in for gantutor/lab/paint.py, and asks generators that run in the page.
//
// It is a model in anywidget's form, and speaks as gantutor/lab/stream.py does: scene, state and frames.
import * as ort from './ort/ort.wasm.min.mjs';

ort.env.wasm.numThreads = 1;  // more would need headers that a plain server does not send
ort.env.wasm.wasmPaths = String(new URL('./ort/', import.meta.url));

/** What a generator file makes of pixels (red, green, blue, row by row). */
export class Generator {
  static async load(url) {
    return Object.assign(new Generator(), { session: await ort.InferenceSession.create(String(url)) });
  }

  /** Floats in [-1, 1], channel by channel, as PyTorch has them. */
  async run(A, side) {
    const { B } = await this.session.run({ A: new ort.Tensor('float32', A, [1, 3, side, side]) });
    return B.data;
  }

  async translate(pixels, side) {
    const area = side * side, A = new Float32Array(3 * area), made = new Uint8Array(3 * area);
    for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) A[c * area + i] = pixels[3 * i + c] / 127.5 - 1;
    const B = await this.run(A, side);
    for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) made[3 * i + c] = Math.round((B[c * area + i] + 1) * 127.5);
    return made;
  }
}

export class PaintKernel {
  constructor(values, examples, generators) {
    Object.assign(this, { values, generators, scene: values.recorded, listeners: [], done: {}, number: 0, stroke: null });
    const { side, palette } = this.scene, size = 3 * side * side;
    this.blank = new Uint8Array(size).map((_, i) => palette[0][1][i % 3]);
    this.examples = Array.from({ length: examples.length / size }, (_, i) => examples.slice(i * size, (i + 1) * size));
    this.pixels = this.before = this.examples[0];
    this.past = [];
    this.future = [];
  }

  get(name) { return name === 'recorded' ? null : this.values[name] ?? null; }
  on(event, listener) { if (event === 'msg:custom') this.listeners.push(listener); }
  off() { this.listeners = []; }

  send({ me, id, do: what, ...content }, _, buffers) {
    if (what === 'open') this.tell({ scene: this.describe() }, this.examples);
    else if (!id) return;
    else {
      this.follow(what, content, buffers);
      this.done[me] = id;
    }
    this.newer = true;
    if (!this.busy) this.show();
  }

  follow(what, { stroke, colour, index }, buffers) {
    if (what !== 'draw' || stroke !== this.stroke) this.endStroke();
    if (what === 'draw') {
      this.stroke = stroke;
      this.pixels = this.before.slice();
      new Uint8Array(buffers[0]).forEach((on, i) => { if (on) this.pixels.set(colour, 3 * i); });
      return;
    }
    const [from, to] = what === 'undo' ? [this.past, this.future] : [this.future, this.past];
    if (what === 'undo' || what === 'redo') {
      if (!from.length) return;
      to.push(this.pixels);
      this.pixels = this.before = from.pop();
    } else {
      this.pixels = what === 'clear' ? this.blank : this.examples[index];
      this.endStroke();
    }
  }

  /** The drawing becomes a step of the history, unless nothing has changed. */
  endStroke() {
    if (this.pixels.some((value, i) => value !== this.before[i])) {
      this.past.push(this.before);
      this.future = [];
    }
    [this.before, this.stroke] = [this.pixels, null];
  }

  /** Asks the generators for the newest drawing, again as long as there is a newer one. */
  async show() {
    this.busy = true;
    while (this.newer) {
      this.newer = false;
      const { pixels, done } = this, now = { ...done }, began = performance.now(), pictures = [pixels];
      for (const generator of this.generators) pictures.push(await generator.translate(pixels, this.scene.side));
      const line = `${Math.round(performance.now() - began)} ms`;
      this.number += 1;
      const views = [Object.fromEntries(pictures.map((_, i) => [i, { pixels: this.place(i) }]))];
      const frame = { number: this.number, scene: 0, step: this.number, line, meters: [], since: [], views, curves: [] };
      const state = { number: this.number, done: now, playing: false, status: '', alt: this.words(pixels) };
      this.tell({ frame, state }, pictures);
    }
    this.busy = false;
  }

  tell(message, arrays) {
    const joined = new Uint8Array(arrays.reduce((sum, { length }) => sum + length, 0));
    arrays.forEach((array, i) => joined.set(array, i * array.length));
    queueMicrotask(() => { for (const listener of this.listeners) listener(message, [joined]); });  // a kernel is never at once
  }

  place(i) {
    const { side } = this.scene;
    return [3 * side * side * i, 'u1', [side, side, 3]];
  }

  describe() {
    const { side, titles, palette, any_colour } = this.scene;
    const fixed = { pixels: [0, 'u1', [this.examples.length, side, side, 3]] };
    return { number: 0, side, titles, palette, any_colour, views: [[{ name: 'examples', fixed }]] };
  }

  /** The drawing's colours, the commonest first. */
  words(pixels) {
    const { palette, side } = this.scene, counts = palette.map(() => 0);
    for (let at = 0; at < pixels.length; at += 3) {
      counts[palette.findIndex(([, rgb]) => rgb.every((value, i) => value === pixels[at + i]))] += 1 / (side * side);
    }
    return palette.map(([name], i) => [name, counts[i]]).filter(([, share]) => share >= 0.005)
      .sort((a, b) => b[1] - a[1]).map(([name, share]) => `${name} ${Math.round(100 * share)}%`).join(', ');
  }
}
