// The drawing of the debugger, as SVG: tensors and networks from left to right as they are made, the graphs between
// them, and the gradients on their way back. Where everything stands is computed by lab/layout.py.

import { draw, make } from './dom.js';

const MOVE_MS = 250, SMALLEST = 0.72;  // how far a drawing shrinks before it scrolls

// paint(boxes, edges, [width, height], alt, calm) draws a position; without `calm`, boxes move to their new places.
export function drawing() {
  const svg = draw('svg', { role: 'img' }), figure = make('div', { class: 'gt-drawing', tabindex: 0 }, svg);
  let at = {}, middle = 0;

  function paint(boxes, edges, [width, height], alt, calm) {
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    svg.setAttribute('aria-label', alt);
    svg.style.width = `${width}px`;
    svg.style.minWidth = `${SMALLEST * width}px`;
    const groups = boxes.map(box => boxOf(box));
    svg.replaceChildren(draw('g', {}, ...edges.map(edge => edgeOf(edge))), ...groups);
    const before = at;
    at = Object.fromEntries(boxes.map(({ id, x, y }) => [id, [x, y]]));
    boxes.forEach(({ id, x, y }, i) => {
      const [oldX, oldY] = before[id] ?? [x, y];
      if (!calm && (oldX !== x || oldY !== y))
        groups[i].animate([{ transform: `translate(${oldX}px, ${oldY}px)` }, { transform: `translate(${x}px, ${y}px)` }], MOVE_MS);
    });
    const touched = boxes.filter(box => box.mark).map(box => box.x + box.w / 2);
    touched.push(...edges.filter(edge => edge.sent || edge.stops).flatMap(({ points }) => [points[0][0], points.at(-1)[0]]));
    if (touched.length) middle = (Math.min(...touched) + Math.max(...touched)) / 2 / width;
  }

  // Where there is no room for all of it: what the line has touched is in the middle.
  function reveal() {
    figure.scrollLeft = middle * figure.scrollWidth - figure.clientWidth / 2;
  }

  return { figure, paint, reveal };

  function boxOf(box) {
    const middle = box.w / 2, lift = box.note ? 5 : 0;
    return draw('g', { class: box.network ? 'gt-network' : 'gt-tensor', 'data-state': box.state ?? 'network', 'data-mark': box.mark,
      'data-id': box.id, transform: `translate(${box.x} ${box.y})` },
      draw('title', {}, box.title),
      draw('rect', { class: 'gt-ground', width: box.w, height: box.h, rx: 5 }),
      ...sharesOf(box.shares ?? [], box.w, box.h),
      draw('rect', { class: 'gt-frame', width: box.w, height: box.h, rx: 5 }),
      draw('text', { class: 'gt-label', x: middle, y: box.h / 2 + 4 - lift }, box.label),
      box.note ? draw('text', { class: 'gt-note', x: middle, y: box.h / 2 + 14 }, box.note) : '',
      box.mark === 'broken' ? draw('path', { class: 'gt-cross', d: `M-8 ${box.h / 2 - 8}l16 16m0-16l-16 16` }) : '');
  }

  function edgeOf({ id, points, state, sent, cut, stops }) {
    const d = pathOf(points), [, [x, y], [toX, toY]] = points, middleX = (x + toX) / 2, middleY = (y + toY) / 2;
    const isCut = cut !== null && state !== '';
    return draw('g', { class: 'gt-edge', 'data-state': state, 'data-id': id, style: `--gt-key: var(--gt-loss-${sent || stops})` },
      draw('path', { class: 'gt-way', d }),
      sent ? draw('path', { class: 'gt-sent', d: pathOf(points.toReversed()), pathLength: 100 }) : '',
      sent ? draw('path', { class: 'gt-head', d: 'M6-7L-7 0L6 7z',
        transform: `translate(${middleX} ${middleY}) rotate(${Math.atan2(2 * (toY - y), toX - x) * 180 / Math.PI})` }) : '',
      isCut ? draw('path', { class: stops ? 'gt-cut gt-stops' : 'gt-cut', d: `M${middleX - 6} ${middleY + 9}l6-18m1 18l6-18` }) : '');
  }
}

// The shares of a gradient side by side, each as high as it is large: norms do not add, so they are not stacked.
function sharesOf(shares, width, height) {
  const wide = (width - 4) / shares.length;
  return shares.map(([share, whose], i) => draw('rect', { class: 'gt-share', style: `--gt-key: var(--gt-loss-${whose})`,
    x: 2 + i * wide, y: 2 + (height - 4) * (1 - share), width: wide, height: (height - 4) * share }));
}

// Straight across a column, then in a curve to the next.
function pathOf(points) {
  return points.map(([x, y], i) => {
    if (i === 0) return `M${x} ${y}`;
    const [beforeX, beforeY] = points[i - 1], middle = (beforeX + x) / 2;
    return i % 2 ? `L${x} ${y}` : `C${middle} ${beforeY} ${middle} ${y} ${x} ${y}`;
  }).join('');
}

// What the lines mean.
export function legend(texts) {
  const sample = (key, ...parts) => make('span', {}, draw('svg', { viewBox: '0 0 30 12', 'aria-hidden': 'true' }, ...parts), texts[key]);
  const line = state => draw('g', { class: 'gt-edge', 'data-state': state }, draw('path', { class: 'gt-way', d: 'M0 6H30' }));
  return make('div', { class: 'gt-legend' },
    sample('legend_alive', line('alive')), sample('legend_freed', line('freed')),
    sample('legend_cut', line('no graph'), draw('path', { class: 'gt-cut', d: 'M9 12l5-12m2 12l5-12' })),
    sample('legend_data', line('data')),
    sample('legend_sent', draw('g', { class: 'gt-edge' }, draw('path', { class: 'gt-sent', d: 'M30 6H8' }), draw('path', { class: 'gt-head', d: 'M10-1L0 6L10 13z' }))));
}
