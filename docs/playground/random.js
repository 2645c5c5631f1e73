// Random numbers from a seed, and the data: eight Gaussians on a ring (gantutor.data.points.ring).
import { Tensor, floats } from './tape.js';

export class Random {
  constructor(seed) { this.state = seed * 2654435761 + 1 >>> 0; }
  /** U[0, 1): mulberry32. */
  uniform() {
    this.state = this.state + 0x6D2B79F5 >>> 0;
    let t = Math.imul(this.state ^ this.state >>> 15, this.state | 1);
    t ^= t + Math.imul(t ^ t >>> 7, t | 61);
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  }
  /** N(0, 1): Box and Muller. */
  normal() { return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform()); }
}

const onCircle = angle => [2 * Math.cos(angle), 2 * Math.sin(angle)];
export const MODES = [0, 1, 2, 3, 4, 5, 6, 7].map(k => onCircle(Math.PI * k / 4));
const STD = 0.05;

export function ring(size, random) {
  const points = new Tensor(floats(2 * size), size, 2);
  for (let i = 0; i < size; i++) {
    const mode = MODES[Math.floor(8 * random.uniform())];
    for (let axis = 0; axis < 2; axis++) points.data[2 * i + axis] = mode[axis] + STD * random.normal();
  }
  return points;
}

export function gaussian(size, random) { return new Tensor(floats(2 * size).map(() => random.normal()), size, 2); }

/** How many modes the points (flat pairs) cover: a mode needs a quarter of its share within 4 standard deviations. */
export function modesCovered(points) {
  const counts = MODES.map(([x, y]) => {
    let near = 0;
    for (let i = 0; i < points.length; i += 2) near += Math.hypot(points[i] - x, points[i + 1] - y) < 4 * STD;
    return near;
  });
  return counts.filter(count => count >= points.length / 2 / 8 / 4).length;
}
