// Curves and histograms, as SVG with real text: the theme and the type are the page's.

import { draw, fill, KEYS, make, measured, setText, short } from './dom.js';

const POINTS = 340, BINS = 30;

// Where things stand in an svg of this size, in its units of one CSS pixel; its margins go with the size of its type.
const place = svg => measured(svg, layOut);

function layOut(svg) {
  const wide = svg.clientWidth || 340, tall = svg.clientHeight || 110, em = parseFloat(getComputedStyle(svg).fontSize) || 11;
  const left = 3.3 * em, right = 0.5 * em, top = 0.5 * em, bottom = 1.5 * em;
  return {
    wide, tall, em, left, top,
    across: share => left + share * (wide - left - right),
    down: share => top + share * (tall - top - bottom),
    share: x => Math.max(0, Math.min(1, (x - left) / (wide - left - right))),
  };
}

// A figure with axes: `ticks` at the left and below; paint(...) is of the two that follow.
function frame(view, labels, texts) {
  const svg = draw('svg', {
    role: 'img', tabindex: 0, 'aria-label': fill(texts.more, { title: view.alt }), ...KEYS,
  });
  const legend = labels.map(([text, whose]) => make('span', { class: 'gt-key', style: `--gt-key: var(--gt-${whose})` }, text));
  const value = make('span', { class: 'gt-value', 'aria-live': 'polite' });
  const figure = make('figure', { class: 'gt-chart', 'data-view': view.name },
    make('figcaption', {}, make('span', {}, view.title), ...legend, value), svg);
  const axes = draw('g', { class: 'gt-axes' }), plot = draw('g', {}), over = draw('g', {});
  svg.append(axes, plot, over);
  return { figure, svg, axes, plot, over, value };
}

function tick(x, y, text, anchor) {
  return draw('text', { x, y, 'text-anchor': anchor }, text);
}

function axesOf(axes, { left, top, wide, tall, em, across, down }, low, high, ends, middle) {
  const now = [wide, tall, em, low, high, ...ends, middle].join(' ');
  if (axes.dataset.now === now) return;
  axes.dataset.now = now;
  axes.replaceChildren(
    draw('path', { d: `M${left} ${top}V${down(1)}H${across(1)}` }),
    tick(left - em / 3, top + em * 0.8, high, 'end'), tick(left - em / 3, down(1), low, 'end'),
    tick(across(0), tall - em / 3, ends[0], 'start'), tick(across(1), tall - em / 3, ends[1], 'end'),
    tick(across(0.5), tall - em / 3, middle, 'middle'),
  );
}

// Curves over the steps. paint(history, length, marks, own): `history` has a column of values for each curve; where a
// view has points of its `own`, those are drawn, each at its `step`.
export function curves(view, texts) {
  const parts = frame(view, view.curves.map(([, label, whose]) => [label, whose]), texts);
  const paths = view.curves.map(([, , whose]) => draw('path', { class: 'gt-line', style: `stroke: var(--gt-${whose})` }));
  const flags = draw('g', { class: 'gt-marks' }), cursor = draw('path', { class: 'gt-cursor' });
  parts.plot.append(...paths);
  parts.over.append(flags, cursor);
  let end = 200, valueAt = () => NaN, shown = 0, marks = [], at = null, flagged = '';

  function paint(history, length, newMarks, own) {
    marks = newMarks.filter(([step]) => step <= length);
    valueAt = own?.step
      ? (column, step) => own[column].values[Math.max(0, own.step.values.findLastIndex(seen => seen <= step))]
      : (column, step) => history[column]?.[step - 1] ?? NaN;
    shown = length;
    if (length < end / 4) end = 200;
    while (end < length) end *= 2;
    const thinned = view.curves.map(([column]) => own?.step
      ? { values: own[column].values, steps: own.step.values } : thin(history[column] ?? [], length));
    const [low, high] = reach(thinned, view.log), here = place(parts.svg), { across, down, top, em } = here;
    const height = value => down(1 - share(value, low, high));
    thinned.forEach(({ values, steps }, i) => {
      let path = '', pen = 'M';
      values.forEach((value, j) => {
        if (!Number.isFinite(value) || (view.log && value <= 0)) { pen = 'M'; return; }
        path += `${pen}${across(Math.min(1, steps[j] / end)).toFixed(1)} ${height(value).toFixed(1)}`;
        pen = 'L';
      });
      paths[i].setAttribute('d', path);
    });
    axesOf(parts.axes, here, tickText(low), tickText(high), ['0', String(end)], texts.axis_step);
    const now = JSON.stringify([marks, end, here.wide, here.tall, em]);
    let free = 0;
    if (flagged !== now) flags.replaceChildren(...marks.flatMap(([step, text]) => {
      const x = across(step / end), long = 0.55 * em * text.length;
      const line = draw('path', { d: `M${x} ${top}V${down(1)}` }, draw('title', {}, `${step}: ${text}`));
      if (x < free || x + long > here.wide) return [line];
      free = x + long;
      return [line, tick(x + em / 4, top + em * 0.8, text, 'start')];
    }));
    flagged = now;
    read();
  }

  const share = (value, low, high) => view.log
    ? (Math.log10(value) - Math.log10(low)) / (Math.log10(high) - Math.log10(low))
    : (value - low) / (high - low);
  const tickText = value => view.log ? power(value) : short(value);

  // The values at the cursor, and what changed there.
  function read() {
    if (at === null || !shown) {
      cursor.setAttribute('d', '');
      setText(parts.value, '');
      return;
    }
    const step = Math.max(1, Math.min(shown, Math.round(at * end))), { across, down, top } = place(parts.svg);
    cursor.setAttribute('d', `M${across(step / end)} ${top}V${down(1)}`);
    const values = view.curves.map(([column, label]) => `${label} ${short(valueAt(column, step))}`);
    const near = marks.filter(([changed]) => Math.abs(changed - step) < end / 60).map(([, text]) => text);
    setText(parts.value, [fill(texts.time_at, { step }), ...values, ...near].join(' · '));
  }

  listen(parts.svg, () => at, share => { at = share; read(); }, 0.01);
  return { figure: parts.figure, paint };
}

// Means of equal parts, so that at most POINTS are drawn.
function thin(column, length) {
  const every = Math.max(1, Math.floor(length / POINTS)), values = [], steps = [];
  for (let i = 0; i + every <= Math.min(length, column.length); i += every) {
    let sum = 0;
    for (let j = i; j < i + every; j++) sum += column[j];
    values.push(sum / every);
    steps.push(i + every / 2);
  }
  return { values, steps };
}

function reach(thinned, log) {
  const finite = thinned.flatMap(({ values }) => [...values]).filter(value => Number.isFinite(value) && (!log || value > 0));
  const least = finite.reduce((a, b) => Math.min(a, b), Infinity), most = finite.reduce((a, b) => Math.max(a, b), -Infinity);
  if (log) {
    const low = finite.length ? 10 ** Math.floor(Math.log10(least)) : 0.1;
    return [low, Math.max(finite.length ? 10 ** Math.ceil(Math.log10(most)) : 10, 10 * low)];
  }
  let high = 0.5, low = 0;
  while (finite.length && high < most) high *= 2;
  while (finite.length && low > least) low = Math.min(2 * low, -1);
  return [low, high];
}

function power(value) {
  const digits = { '-': '⁻', 0: '⁰', 1: '¹', 2: '²', 3: '³', 4: '⁴', 5: '⁵', 6: '⁶', 7: '⁷', 8: '⁸', 9: '⁹' };
  return '10' + [...String(Math.round(Math.log10(value)))].map(digit => digits[digit]).join('');
}

// D's logits on real and on fake. paint({ real, fake }).
export function histogram(view, texts) {
  const names = ['real', 'fake'], parts = frame(view, names.map(name => [texts[name], name]), texts);
  const bars = names.map(name => draw('path', { class: 'gt-bars', style: `fill: var(--gt-${name})` }));
  const cursor = draw('path', { class: 'gt-cursor' });
  parts.plot.append(...bars);
  parts.over.append(cursor);
  let far = 5, shares = [[], []], at = null;

  // While it plays the axis is slow to change. At rest it depends on what is shown, and not on what was drawn before.
  function paint(arrays, playing) {
    const values = names.map(name => [...(arrays[name]?.values ?? [])].filter(Number.isFinite));
    const most = values.flat().reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    if (!playing) far = 5;
    while (far < most && far < 1e6) far *= 2;
    while (far > 1 && most < far / 4) far /= 2;
    shares = values.map(logits => {
      const counts = Array.from({ length: BINS }, () => 0);
      for (const logit of logits) counts[Math.min(BINS - 1, Math.floor((logit + far) / (2 * far) * BINS))] += 1;
      return counts.map(count => count / Math.max(1, logits.length));
    });
    const high = Math.max(0.25, Math.ceil(4 * Math.max(...shares.flat())) / 4);
    const here = place(parts.svg), { across, down } = here;
    shares.forEach((counts, i) => {
      const tops = counts.map((count, j) => `L${across(j / BINS)} ${down(1 - count / high)}H${across((j + 1) / BINS)}`);
      bars[i].setAttribute('d', `M${across(0)} ${down(1)}${tops.join('')}L${across(1)} ${down(1)}Z`);
    });
    axesOf(parts.axes, here, '0', `${Math.round(100 * high)} %`, [short(-far), short(far)], '0');
    read();
  }

  function read() {
    const bin = at === null ? -1 : Math.max(0, Math.min(BINS - 1, Math.floor(at * BINS)));
    const { across, down, top } = place(parts.svg);
    cursor.setAttribute('d', bin < 0 ? '' : `M${across((bin + 0.5) / BINS)} ${top}V${down(1)}`);
    const middle = short(((bin + 0.5) / BINS * 2 - 1) * far);
    const found = names.map((name, i) => `${texts[name]} ${Math.round(100 * shares[i][bin])} %`);
    setText(parts.value, bin < 0 ? '' : [middle, ...found].join(' · '));
  }

  listen(parts.svg, () => at, share => { at = share; read(); }, 1 / BINS);
  return { figure: parts.figure, paint };
}

// The cursor follows the pointer, or the arrow keys; Escape takes it away.
function listen(svg, get, set, stride) {
  svg.addEventListener('pointermove', event => {
    set(place(svg).share(event.clientX - svg.getBoundingClientRect().left));
  });
  svg.addEventListener('pointerleave', () => set(null));
  svg.addEventListener('blur', () => set(null));
  svg.addEventListener('keydown', event => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (move) set(Math.max(0, Math.min(1, (get() ?? 0.5) + move * stride)));
    else if (event.key === 'Escape') set(null);
    else return;
    event.preventDefault();
  });
}
