// The pictures on canvas: the plane with D's verdict, G's grid and the points; and the curves of the losses.
import { FIELD, GRID, LIMIT } from './training.js';

/** The page's colours, as the style sheet has them now. */
export function palette() {
  const style = getComputedStyle(document.body);
  const names = ['ink', 'faint', 'surface', 'D', 'G', 'real', 'fake', 'field-fake', 'field-half', 'field-real'];
  const probe = document.createElement('i');  // resolves light-dark() to a colour
  document.body.append(probe);
  const found = Object.fromEntries(names.map(name => {
    probe.style.color = style.getPropertyValue(`--${name}`);
    return [name, getComputedStyle(probe).color];
  }));
  probe.remove();
  return found;
}

/** Fits a canvas to its box at the screen's resolution; gives its context, in CSS pixels, and its size. */
function prepared(canvas) {
  const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  }
  const c = canvas.getContext('2d');
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.clearRect(0, 0, width, height);
  return { c, width, height };
}

const channels = colour => colour.match(/[\d.]+/g).slice(0, 3).map(Number);

export class Plane {
  constructor(canvas) {
    this.canvas = canvas;
    this.small = new OffscreenCanvas(FIELD, FIELD);
    this.image = new ImageData(FIELD, FIELD);
  }

  /** Paints D's verdict of a frame into the small picture. */
  take(field, colours) {
    const [fake, half, real] = ['field-fake', 'field-half', 'field-real'].map(name => channels(colours[name]));
    field.forEach((p, i) => {
      const end = p < 0.5 ? fake : real, share = Math.abs(2 * p - 1);
      for (let k = 0; k < 3; k++) this.image.data[4 * i + k] = half[k] + share * (end[k] - half[k]);
      this.image.data[4 * i + 3] = 255;
    });
    this.small.getContext('2d').putImageData(this.image, 0, 0);
  }

  /** `fakes`, `grid` and `reals` are flat pairs; `layers` says what is shown. */
  draw({ fakes, grid, reals, layers, colours }) {
    const { c, width } = prepared(this.canvas), unit = width / (2 * LIMIT);
    const x = v => (v + LIMIT) * unit, y = v => (LIMIT - v) * unit;
    if (layers.field) {
      const cell = width / (FIELD - 1);  // a pixel's centre is the place where D was asked
      c.imageSmoothingQuality = 'high';
      c.drawImage(this.small, -cell / 2, -cell / 2, width + cell, width + cell);
    }
    if (layers.grid) {
      c.beginPath();
      for (const at of [(i, j) => i * GRID + j, (i, j) => j * GRID + i]) {  // the lines across, and those down
        for (let i = 0; i < GRID; i++) for (let j = 0; j < GRID; j++) {
          c[j ? 'lineTo' : 'moveTo'](x(grid[2 * at(i, j)]), y(grid[2 * at(i, j) + 1]));
        }
      }
      Object.assign(c, { strokeStyle: colours.G, lineWidth: 1, globalAlpha: 0.6 });
      c.stroke();
      c.globalAlpha = 1;
    }
    const size = Math.max(2.4, width / 150);
    if (layers.reals) marks(c, reals, x, y, colours.real, colours.surface, (px, py) => {
      c.moveTo(px + size, py);
      c.arc(px, py, size, 0, 2 * Math.PI);
    });
    if (layers.fakes) marks(c, fakes, x, y, colours.fake, colours.surface, (px, py) => {
      c.moveTo(px, py - 1.3 * size);
      c.lineTo(px + 1.2 * size, py + 0.9 * size);
      c.lineTo(px - 1.2 * size, py + 0.9 * size);
      c.closePath();
    });
  }
}

function marks(c, points, x, y, fill, line, shape) {
  c.beginPath();
  for (let i = 0; i < points.length; i += 2) shape(x(points[i]), y(points[i + 1]));
  Object.assign(c, { fillStyle: fill, strokeStyle: line, lineWidth: 2, lineJoin: 'round' });
  c.stroke();  // below all of them, so that a crowd stays one shape
  c.fill();
}

/** Both losses over the steps, as means over equal stretches of steps; a mark where something was changed. */
export class Curves {
  constructor(canvas) {
    this.canvas = canvas;
    this.clear();
  }
  clear() {
    Object.assign(this, { stretch: 1, sums: [0, 0, 0], means: [[], []], marks: [], steps: 0, last: [NaN, NaN] });
  }
  mark(text) {
    if (this.steps - (this.marks.at(-1)?.at ?? -Infinity) <= this.steps / 25) this.marks.pop();  // as a slider moves
    if (this.steps) this.marks.push({ at: this.steps, text });
  }
  /** Adds pairs (d_loss, g_loss). Where there are 600 stretches, two become one. */
  take(losses) {
    for (let i = 0; i < losses.length; i += 2) {
      this.steps++;
      const pair = [losses[i], losses[i + 1]];
      this.last = this.last.map((old, k) => Number.isFinite(old) ? old + 0.05 * (pair[k] - old) : pair[k]);
      pair.forEach((v, k) => { this.sums[k] += v; });
      if (++this.sums[2] < this.stretch) continue;
      this.means.forEach((mean, k) => mean.push(this.sums[k] / this.stretch));
      this.sums = [0, 0, 0];
      if (this.means[0].length < 600) continue;
      this.means = this.means.map(mean => Array.from({ length: 300 }, (_, j) => (mean[2 * j] + mean[2 * j + 1]) / 2));
      this.stretch *= 2;
    }
  }
  draw(colours) {
    const { c, width, height } = prepared(this.canvas), left = 30, bottom = height - 18;
    const top = this.marks.length ? 20 : 8;  // room for their labels
    const values = this.means.flat().filter(Number.isFinite).sort((a, b) => a - b);
    const at = share => values[Math.floor(share * (values.length - 1))] ?? share;  // a spike must not flatten the rest
    let low = Math.min(0, at(0.01)), high = Math.max(at(0.99), low + 0.1);
    [low, high] = [low - 0.05 * (high - low), high + 0.1 * (high - low)];
    const x = step => left + (width - left - 4) * step / Math.max(this.steps, 100);
    const y = v => Math.min(Math.max(bottom - (bottom - top) * (v - low) / (high - low), top), bottom);
    Object.assign(c, { fillStyle: colours.faint, strokeStyle: colours.faint, lineWidth: 1,
      font: '11px system-ui, sans-serif', textAlign: 'right', textBaseline: 'middle' });
    const tick = nice((high - low) / 3);
    for (let v = Math.ceil(low / tick) * tick; v < high; v += tick) {
      c.globalAlpha = 0.35;
      line(c, left, y(v), width - 4, y(v));
      c.globalAlpha = 1;
      c.fillText(String(Number(v.toPrecision(3))), left - 5, y(v));
    }
    c.textBaseline = 'top';
    c.fillText(`${this.steps.toLocaleString('en')} steps`, width - 4, bottom + 5);
    c.textAlign = 'left';
    c.fillText('0', left, bottom + 5);
    ['D', 'G'].forEach((player, k) => {
      c.beginPath();
      this.means[k].forEach((v, i) => c[i ? 'lineTo' : 'moveTo'](x((i + 0.5) * this.stretch), y(v)));
      Object.assign(c, { strokeStyle: colours[player], lineWidth: 1.5, lineJoin: 'round' });
      c.stroke();
    });
    let free = width;  // to the left of the labels so far: one that would run into the next is left out
    for (const { at: step, text } of this.marks.toReversed()) {
      const wide = c.measureText(text).width, start = Math.min(Math.max(x(step) - wide / 2, left), width - wide - 4);
      c.fillRect(x(step), top - 4, 1, bottom - top + 4);
      if (start + wide > free) continue;
      c.fillText(text, start, 2);
      free = start - 8;
    }
  }
}

function line(c, x0, y0, x1, y1) {
  c.beginPath();
  c.moveTo(x0, y0);
  c.lineTo(x1, y1);
  c.stroke();
}

/** 1, 2 or 5 times a power of ten, at least `size`. */
function nice(size) {
  const power = 10 ** Math.floor(Math.log10(size));
  return [1, 2, 5, 10].find(factor => factor * power >= size) * power;
}
