// Data that a person draws: strokes on a sheet over the plane, with the pointer or with the keyboard.

import { colours, fill, KEYS, make, setText } from './dom.js';

const REACH = 3, SHEET = 640, APART = 0.04, STRIDE = 0.15, BRUSH = 14;

// Lays a sheet over a picture's canvas. `done(strokes)` gets lists of points (x, y) in [-3, 3] squared, or null.
export function drawingSheet(figure, texts, done) {
  const strokes = [];
  let pulled = null, pen = null, at = null;  // the strokes of pointer and keyboard that go on, and where the keyboard is
  const button = (name, action) =>
    make('button', { type: 'button', 'data-do': name, onclick: action, ...KEYS }, texts[name]);
  const use = button('draw_use', () => end(strokes));
  const undo = button('draw_undo', takeBack);
  const said = make('span', { 'aria-live': 'polite' }, texts.draw_here);
  const tools = make('div', { class: 'gt-tools' }, use, undo, button('draw_cancel', () => end(null)), said);
  const sheet = make('canvas', {
    class: 'gt-sheet', width: SHEET, height: SHEET, tabindex: 0, role: 'application', 'aria-label': texts.draw_here,
    onpointerdown: event => { sheet.setPointerCapture(event.pointerId); begin(place(event)); event.preventDefault(); sheet.focus(); },
    onpointermove: event => { if (pulled) extend(pulled, place(event), APART); },
    onpointerup: () => { pulled = null; }, onpointercancel: () => { pulled = null; }, onkeydown: key, ...KEYS,
  });
  const canvas = figure.querySelector('canvas');
  canvas.before(tools);
  canvas.after(sheet);
  sheet.focus();
  paint();

  function end(result) {
    tools.remove();
    sheet.remove();
    done(result);
  }

  function place(event) {
    const box = sheet.getBoundingClientRect();
    return [[event.clientX - box.left, box.width], [box.bottom - event.clientY, box.height]]
      .map(([pixels, size]) => within((2 * pixels / size - 1) * REACH));
  }

  function within(x) {
    return Math.round(1000 * Math.max(-REACH, Math.min(REACH, x))) / 1000;
  }

  function begin(point) {
    pulled = [point];
    strokes.push(pulled);
    paint();
  }

  function extend(stroke, point, apart) {
    const [x, y] = stroke.at(-1);
    if (Math.hypot(point[0] - x, point[1] - y) < apart) return;
    stroke.push(point);
    paint();
  }

  function takeBack() {
    strokes.pop();
    pulled = pen = null;
    paint();
  }

  const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

  function key(event) {
    const move = MOVES[event.key];
    if (move) {
      at = (at ?? [0, 0]).map((x, i) => within(x + STRIDE * move[i]));
      if (pen) extend(pen, at, 0);
    } else if (event.key === ' ') {
      at ??= [0, 0];
      pen = pen ? null : [at];
      if (pen) strokes.push(pen);
    } else if (event.key === 'Backspace') takeBack();
    else if (event.key === 'Enter' && strokes.length) end(strokes);
    else if (event.key === 'Escape') end(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
    paint();
    if (at) setText(said, fill(pen ? texts.pen_down : texts.pen_up, { x: at[0].toFixed(2), y: at[1].toFixed(2) }));
  }

  function paint() {
    use.disabled = undo.disabled = !strokes.length;
    const context = sheet.getContext('2d'), { real, ink } = colours(sheet, ['real', 'ink']);
    const X = x => (x + REACH) / (2 * REACH) * SHEET, Y = y => (REACH - y) / (2 * REACH) * SHEET;
    context.clearRect(0, 0, SHEET, SHEET);
    context.lineCap = context.lineJoin = 'round';
    context.strokeStyle = real;
    context.lineWidth = BRUSH;
    for (const stroke of strokes) {
      context.beginPath();
      context.moveTo(X(stroke[0][0]), Y(stroke[0][1]));
      for (const [x, y] of stroke) context.lineTo(X(x), Y(y));
      context.stroke();
    }
    if (!at) return;
    context.strokeStyle = ink;
    context.lineWidth = pen ? 4 : 2;
    context.beginPath();
    for (const [dx, dy] of [[12, 0], [0, 12]]) {
      context.moveTo(X(at[0]) - dx, Y(at[1]) - dy);
      context.lineTo(X(at[0]) + dx, Y(at[1]) + dy);
    }
    context.stroke();
  }
}
