// Images and the plane, on canvases.

import { colours, make, measured } from './dom.js';

const LIMIT = 3, SHARP = 640;  // the plane is [-3, 3] squared; it is drawn in so many units, whatever its pixels

// As many pixels as the screen has there: more would be drawn, and then thrown away.
const pixelsAcross = canvas => measured(canvas, () => Math.round(canvas.clientWidth * devicePixelRatio));

// A view's figure: its title, its canvas, and paint(arrays).
export function picture(view) {
  const canvas = make('canvas', { role: 'img', 'aria-label': view.alt });
  const headings = view.headings.map(heading => make('span', {}, heading));
  const figure = make('figure', { class: `gt-picture gt-${view.kind}`, 'data-view': view.name },
    make('figcaption', {}, view.title), ...(headings.length ? [make('div', { class: 'gt-headings' }, ...headings)] : []),
    canvas);
  const paint = view.kind === 'images' ? paintImages : paintPlane;
  return { figure, paint: arrays => paint(canvas, view, { ...view.fixed, ...arrays }) };
}

// Images row by row, each pixel a whole number of the canvas's, so that they stay crisp at any size.
function paintImages(canvas, view, { images }) {
  const [count, height, width, channels = 1] = images.shape, gap = view.headings.length ? 1 : 0;
  const columns = view.columns, rows = Math.ceil(count / columns);
  const wide = columns * (width + 2 * gap), tall = rows * (height + 2 * gap);
  const small = canvas.small ??= document.createElement('canvas');
  if (small.width !== wide || small.height !== tall) {
    small.width = wide;
    small.height = tall;
  }
  const context = small.getContext('2d'), pixels = context.createImageData(wide, tall);
  for (let i = 0, at = 0; i < count; i++) {
    const left = (i % columns) * (width + 2 * gap) + gap, top = Math.floor(i / columns) * (height + 2 * gap) + gap;
    for (let y = 0; y < height; y++) {
      let to = 4 * ((top + y) * wide + left);
      for (let x = 0; x < width; x++, at += channels, to += 4) {
        pixels.data[to] = images.values[at];
        pixels.data[to + 1] = images.values[channels === 3 ? at + 1 : at];
        pixels.data[to + 2] = images.values[channels === 3 ? at + 2 : at];
        pixels.data[to + 3] = 255;
      }
    }
  }
  context.putImageData(pixels, 0, 0);
  const times = Math.max(1, Math.round(900 / wide));
  if (canvas.width !== wide * times || canvas.height !== tall * times) {
    canvas.width = wide * times;
    canvas.height = tall * times;
    const figure = canvas.parentElement, basis = wide * (gap ? 1.3 : 1.5) / 13;  // in em, so that it goes with the type
    figure.style.flex = `${wide} 1 ${basis}em`;
    figure.style.maxWidth = `${1.7 * basis}em`;
  }
  const large = canvas.getContext('2d');
  large.imageSmoothingEnabled = false;
  large.clearRect(0, 0, canvas.width, canvas.height);
  large.drawImage(small, 0, 0, canvas.width, canvas.height);
}

function paintPlane(canvas, view, arrays) {
  const { surface, real, fake, arrows, lines } = arrays;
  const side = Math.min(2 * SHARP, pixelsAcross(canvas) || SHARP);
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const context = canvas.getContext('2d'), paint = colours(canvas, ['real', 'fake', 'ink', 'faint']);
  const scale = SHARP / (2 * LIMIT), X = x => (x + LIMIT) * scale, Y = y => (LIMIT - y) * scale;
  context.setTransform(side / SHARP, 0, 0, side / SHARP, 0, 0);
  context.clearRect(0, 0, SHARP, SHARP);
  if (surface) paintSurface(context, canvas, surface, paint);
  if (real) context.drawImage(realDots(canvas, real, X, Y, paint.real), 0, 0, SHARP, SHARP);
  if (fake) dots(context, fake.values, fake.shape[0], X, Y, paint.fake, true);
  if (arrows) {
    context.strokeStyle = paint.ink;
    context.lineWidth = 1.6;
    context.beginPath();
    for (let i = 0; i < arrows.shape[0]; i++) {
      arrow(context, X(fake.values[2 * i]), Y(fake.values[2 * i + 1]),
        arrows.values[2 * i] * scale, -arrows.values[2 * i + 1] * scale);
    }
    context.stroke();
  }
  if (lines) {
    context.strokeStyle = paint.fake;
    context.lineWidth = 1.4;
    context.beginPath();
    const [count, points] = lines.shape;
    for (let i = 0; i < count * points; i++) {
      const x = X(lines.values[2 * i]), y = Y(lines.values[2 * i + 1]);
      if (i % points) context.lineTo(x, y);
      else context.moveTo(x, y);
    }
    context.stroke();
  }
  context.strokeStyle = paint.faint;
  context.lineWidth = 2;
  context.strokeRect(0, 0, SHARP, SHARP);
}

// The real points stay, so they are drawn once.
function realDots(canvas, real, X, Y, colour) {
  if (canvas.realNow !== colour + canvas.width) {
    canvas.realNow = colour + canvas.width;
    canvas.real = document.createElement('canvas');
    canvas.real.width = canvas.real.height = canvas.width;
    const context = canvas.real.getContext('2d');
    context.scale(canvas.width / SHARP, canvas.width / SHARP);
    dots(context, real.values, real.shape[0], X, Y, colour, false);
  }
  return canvas.real;
}

// D's verdict: the surer it is, the stronger fake's or real's colour lies on the page, light or dark.
function paintSurface(context, canvas, surface, paint) {
  const side = surface.shape[0], small = canvas.small ??= document.createElement('canvas');
  if (small.width !== side) small.width = small.height = side;
  const inner = small.getContext('2d'), pixels = inner.createImageData(side, side);
  const real = rgb(paint.real), fake = rgb(paint.fake);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const verdict = surface.values[row * side + column] / 127.5 - 1, colour = verdict > 0 ? real : fake;
      const at = 4 * ((side - 1 - row) * side + column);
      for (let i = 0; i < 3; i++) pixels.data[at + i] = colour[i];
      pixels.data[at + 3] = 150 * Math.abs(verdict);
    }
  }
  inner.putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(small, 0, 0, SHARP, SHARP);
}

function rgb(colour) {
  return [1, 3, 5].map(at => parseInt(colour.slice(at, at + 2), 16));
}

// Real points are discs, fake ones triangles: the marker tells them apart without the colour.
function dots(context, values, count, X, Y, colour, triangles) {
  context.fillStyle = colour;
  context.globalAlpha = 0.75;
  context.beginPath();
  for (let i = 0; i < count; i++) {
    const x = X(values[2 * i]), y = Y(values[2 * i + 1]);
    if (triangles) {
      context.moveTo(x, y - 5);
      context.lineTo(x + 4.5, y + 4);
      context.lineTo(x - 4.5, y + 4);
      context.closePath();
    } else {
      context.moveTo(x + 3, y);
      context.arc(x, y, 3, 0, 7);
    }
  }
  context.fill();
  context.globalAlpha = 1;
}

function arrow(context, x, y, dx, dy) {
  const length = Math.hypot(dx, dy);
  if (length < 1) return;
  const head = Math.min(7, length / 2), ux = dx / length, uy = dy / length;
  context.moveTo(x, y);
  context.lineTo(x + dx, y + dy);
  for (const side of [-1, 1]) {
    context.moveTo(x + dx, y + dy);
    context.lineTo(x + dx - head * (ux - side * uy / 2), y + dy - head * (uy + side * ux / 2));
  }
}
