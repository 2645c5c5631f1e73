// Paint: tools and a palette, a drawing, and beside it what each generator makes of it. Or a session that was saved.
//
// What a person does is drawn here at once, and sent (gantutor/lab/paint.py). When the kernel has followed all that was
// sent, its drawing is taken over: with one view it is the same, with two it is what both have done.

import { draw, fill, KEYS, make, setText } from './dom.js';
import { cover, footprint, paint, same } from './strokes.js';
import { KernelSource } from './source.js';

const TOOLS = ['brush', 'rectangle', 'ellipse', 'fill', 'eraser', 'pick'];
const LETTERS = { b: 'brush', r: 'rectangle', o: 'ellipse', f: 'fill', e: 'eraser', i: 'pick' };
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const ICONS = {
  brush: 'M2.5 13.5c2 .4 3.6-.2 4.1-1.9L13.5 4 12 2.5 4.5 9.5C3 10 2.6 11.6 2.5 13.5z',
  rectangle: 'M2 4h12v8H2z',
  ellipse: 'M8 3.5c3.6 0 6 2 6 4.5s-2.4 4.5-6 4.5-6-2-6-4.5 2.4-4.5 6-4.5z',
  fill: 'M7 2l6 6-5 5-6-6zM2 7h10M14 11.5v2',
  eraser: 'M6 13L2 9l7-7 5 5-6 6zM5.5 5.5l5 5M6 13h8',
  pick: 'M2 14l1-3 6-6 2 2-6 6zM8 4l4 4M10 5l2-3 2 2-3 2',
  mirror: 'M8 2v12M6 5L2 11h4zM10 5l4 6h-4z',
  undo: 'M3 6h7a3.5 3.5 0 0 1 0 7H6M6 3L3 6l3 3',
  redo: 'M13 6H6a3.5 3.5 0 0 0 0 7h4M10 3l3 3-3 3',
  save: 'M8 2v8M5 7l3 3 3-3M3 13h10',
};
const FINE = 8, MOST_SIZE = 16, TOLERANCE = 40, UNDER_WAY = 3, MOST_UNDO = 200, SILENT_MS = 3000;
const REPLAY_MS = 120, CALM_MS = 800;

function render({ model, el }) {
  const texts = model.get('texts'), recorded = model.get('recorded');
  const root = make('div', { class: 'gt-lab gt-paint', role: 'region', 'aria-label': texts.paint, ...KEYS });
  el.append(root);
  return recorded ? replay(root, texts, recorded, model.get('data')) : live(root, texts, model);
}

// Red, green and blue of all pixels, onto a canvas.
function put(canvas, pixels) {
  const context = canvas.getContext('2d', { willReadFrequently: true }), image = context.createImageData(canvas.width, canvas.height);
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) {
    image.data[to] = pixels[from];
    image.data[to + 1] = pixels[from + 1];
    image.data[to + 2] = pixels[from + 2];
    image.data[to + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

// A canvas in a figure for each title, the drawing's first.
function figures(titles, side) {
  return titles.map((title, i) => {
    const canvas = make('canvas', { width: side, height: side, role: 'img', class: i ? 'gt-made' : 'gt-drawn' });
    const frame = make('div', { class: 'gt-canvas' }, canvas);
    return { title, canvas, frame, figure: make('figure', {}, make('figcaption', {}, title), frame) };
  });
}

function describe(pictures, texts, colours) {
  for (const { title, canvas } of pictures) canvas.setAttribute('aria-label', fill(texts.paint_alt, { title, colours }));
}

function icon(name) {
  return draw('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, draw('path', { d: ICONS[name] }));
}

function hex(colour) {
  return `#${[...colour].map(value => value.toString(16).padStart(2, '0')).join('')}`;
}

function rgbOf(text) {
  return [1, 3, 5].map(at => parseInt(text.slice(at, at + 2), 16));
}

// With a kernel ----------------------------------------------------------------------------------------------------------

function live(root, texts, model) {
  let scene = null, state = null, frame = null, pictures = [], examples = [], blank = null, pixels = null;
  let tool = 'brush', back = 'brush', colour = [0, 0, 0], size = 4, mirror = false;
  let past = [], future = [];    // drawings, as far as they are known here
  let stroke = null, strokes = 0, unsent = false, pointer = null, shown = null, cursor = [0, 0], said = '';
  const born = performance.now(), buttons = {}, swatches = [];
  const source = new KernelSource(model, what => {
    if (what.scene) build(what.scene);
    if (what.state) {
      state = what.state;
      describe(pictures, texts, state.alt);
      if (said !== state.status || status.textContent === texts.waiting) setText(status, said = state.status);
      flush();
    }
    if (what.frame) {
      frame = what.frame;
      pictures.forEach(({ canvas }, i) => { if (i) put(canvas, frame.views[0][i].pixels.values); });
      setText(took, frame.line);
    }
    queueMicrotask(takeOver);  // after all of the message: in an answer the state comes before its frame
    stage.setAttribute('aria-busy', String(source.waits()));
  });

  // What stands on the page --------------------------------------------------------------------------------------------

  const status = make('div', { class: 'gt-status', role: 'status' }), took = make('span', { class: 'gt-took' });
  const toolbar = make('div', { class: 'gt-row', role: 'toolbar', 'aria-label': texts.paint_tools });
  const palette = make('div', { class: 'gt-row gt-palette', role: 'toolbar', 'aria-label': texts.paint_palette });
  const stage = make('div', { class: 'gt-easel' });
  const strip = make('div', { class: 'gt-row gt-strip', role: 'toolbar', 'aria-label': texts.paint_examples });
  const slider = make('input', { type: 'range', min: 1, max: MOST_SIZE, value: size, 'aria-label': texts.paint_size,
    title: texts.paint_size_help, oninput: () => choose({ size: Number(slider.value) }), ...KEYS });
  const mixer = make('input', { type: 'color', 'aria-label': texts.paint_any, title: texts.paint_any, ...KEYS,
    oninput: () => choose({ colour: rgbOf(mixer.value) }) });
  const named = make('span', { class: 'gt-named' });
  const button = (name, onclick) => {
    buttons[name] = make('button', { type: 'button', title: texts[`paint_${name}_help`], onclick,
      'aria-label': texts[`paint_${name}`], ...KEYS }, icon(name), make('span', {}, texts[`paint_${name}`]));
    return buttons[name];
  };
  toolbar.append(...TOOLS.map(name => button(name, () => choose({ tool: name }))),
    button('mirror', () => choose({ mirror: !mirror })), make('label', { class: 'gt-size' }, texts.paint_size, slider),
    button('undo', () => act('undo')), button('redo', () => act('redo')), button('save', save));
  root.append(toolbar, palette, stage, strip, make('div', { class: 'gt-row' }, status, took));

  function build(given) {
    scene = given;
    pictures = figures(scene.titles, scene.side);
    blank = new Uint8Array(3 * scene.side ** 2).map((_, i) => scene.palette[0][1][i % 3]);
    const { shape: [count], values } = scene.views[0].at(-1).fixed.pixels, area = blank.length;
    examples = Array.from({ length: count }, (_, i) => values.slice(i * area, (i + 1) * area));
    cursor = [scene.side >> 1, scene.side >> 1];
    for (const [i, picture] of pictures.entries()) {
      const sides = { width: FINE * scene.side, height: FINE * scene.side };
      picture.over = make('canvas', { ...sides, class: 'gt-over', ...(i ? {} : keyboard()) });
      picture.frame.append(picture.over);
      listen(picture.over, i);
    }
    const many = scene.palette.length > 16;
    swatches.push(...scene.palette.map(([name, rgb], i) => make('button', { type: 'button', 'aria-label': name,
      title: i < 10 ? `${name} (${i})` : name, class: 'gt-swatch', onclick: () => choose({ colour: rgb }), ...KEYS },
    make('i', { style: `background: ${hex(rgb)}` }), many ? '' : make('span', {}, name))));
    palette.replaceChildren(...swatches, ...(scene.any_colour ? [mixer] : []), ...(many ? [named] : []));
    stage.replaceChildren(...pictures.map(({ figure }) => figure));
    stage.style.setProperty('--gt-pictures', pictures.length);
    const start = (name, onclick, face) =>
      make('button', { type: 'button', class: 'gt-example', 'aria-label': name, title: name, onclick, ...KEYS }, face);
    strip.replaceChildren(start(texts.paint_empty, () => act('clear'), texts.paint_empty), ...examples.map((example, index) => {
      const thumbnail = make('canvas', { width: scene.side, height: scene.side, 'aria-hidden': 'true' });
      put(thumbnail, example);
      return start(fill(texts.paint_example, { number: index + 1 }), () => act('example', { index }), thumbnail);
    }));
    choose({});
  }

  // What makes the drawing's canvas one that the keyboard can draw on.
  function keyboard() {
    const onkeydown = event => {
      if (pressed(event)) { event.preventDefault(); event.stopPropagation(); }
    };
    const label = `${texts.paint_here}. ${fill(texts.paint_keys, { side: scene.side })}`;
    return { tabindex: 0, role: 'application', 'aria-label': label, onkeydown, onfocus: mark, onblur: mark, ...KEYS };
  }

  function show(next) {
    pixels = next;
    put(pictures[0].canvas, pixels);
  }

  function nameOf(rgb) {
    return scene.palette.find(([, known]) => same(known, rgb))?.[0] ?? hex(rgb);
  }

  function colourAt([x, y], from = pixels) {
    const first = 3 * (y * scene.side + x);
    return Array.from(from.subarray(first, first + 3));
  }

  // Where the brush or the keyboard's cursor is, on all pictures.
  function mark() {
    const at = shown ?? (document.activeElement === pictures[0].over ? cursor : null);
    const round = tool === 'brush' || tool === 'eraser', places = at && (round ? footprint(at, size) : [at]);
    const box = stroke && !round && tool !== 'fill' ? [stroke.points[0], at] : places && [places[0], places.at(-1)];
    for (const [number, { over }] of pictures.entries()) {
      const context = over.getContext('2d');
      context.clearRect(0, 0, over.width, over.height);
      if (!at) continue;
      context.fillStyle = hex(tool === 'eraser' ? scene.palette[0][1] : colour);
      for (const [x, y] of number || tool === 'pick' ? [] : places)  // the other pictures stay in sight
        for (const column of mirror ? [x, scene.side - 1 - x] : [x]) context.fillRect(FINE * column, FINE * y, FINE, FINE);
      const [xs, ys] = [0, 1].map(axis => (round ? places : box).map(place => place[axis]));
      const left = FINE * Math.min(...xs), wide = FINE * (Math.max(...xs) + 1) - left;
      const top = FINE * Math.min(...ys), tall = FINE * (Math.max(...ys) + 1) - top;
      for (const [width, style] of [[4, 'rgba(0, 0, 0, .75)'], [2, 'white']]) {
        context.lineWidth = width;
        context.strokeStyle = style;
        context.beginPath();
        if (round || tool === 'ellipse') context.ellipse(left + wide / 2, top + tall / 2, wide / 2, tall / 2, 0, 0, 7);
        else context.rect(left, top, wide, tall);
        context.stroke();
      }
    }
  }

  // Drawing, and the messages ------------------------------------------------------------------------------------------

  function inside([x, y]) {
    return x >= 0 && y >= 0 && x < scene.side && y < scene.side;
  }

  function begin(at) {
    if (!inside(at)) return;
    const on = tool === 'eraser' ? scene.palette[0][1] : colour;
    stroke = { tool, size, mirror, colour: on, points: [], before: pixels, covered: new Uint8Array(scene.side ** 2) };
    strokes += 1;
    go(at);
  }

  function go(at) {
    stroke.points.push(at);
    cover(stroke, scene.side, scene.any_colour ? TOLERANCE : 0);
    show(paint(stroke));
    unsent = true;
    if (source.sent - source.done < UNDER_WAY) flush();
  }

  function flush() {
    if (!unsent) return;
    unsent = false;
    tell({ do: 'draw', stroke: strokes, colour: stroke.colour }, [stroke.covered.slice().buffer]);
  }

  function tell(content, buffers) {
    source.command(content, buffers);
    stage.setAttribute('aria-busy', 'true');
  }

  function end() {
    if (!stroke) return;
    flush();
    const { before } = stroke;
    stroke = null;
    remember(before);
    mark();
    takeOver();
  }

  function cancel() {
    if (!stroke) return;
    stroke.covered.fill(0);
    show(stroke.before);
    unsent = true;
    end();
  }

  function remember(before) {
    if (same(before, pixels)) return;
    past = [...past, before].slice(-MOST_UNDO);
    future = [];
  }

  // What a button does is seen at once, where it is known here what it leads to.
  function act(what, more = {}) {
    end();
    const [from, to] = what === 'undo' ? [past, future] : [future, past], before = pixels;
    if (what === 'undo' || what === 'redo') {
      if (from.length) {
        to.push(pixels);
        show(from.pop());
      }
    } else {
      show(what === 'clear' ? blank : examples[more.index]);
      remember(before);
    }
    tell({ do: what, ...more });
  }

  function takeOver() {
    if (stroke || source.waits() || !frame) return;
    const given = frame.views[0][0].pixels.values;
    if (pixels && same(given, pixels)) return;
    if (!pixels) choose({ colour: commonest(given) });
    past = [];
    future = [];
    show(given.slice());
  }

  // The colour that a drawing has most of, beside its background: a sketch is gone on with in its own.
  function commonest(given) {
    const counts = new Map();
    for (let at = 0; at < given.length; at += 3) {
      const found = given.subarray(at, at + 3);
      if (!same(found, scene.palette[0][1])) counts.set(hex(found), (counts.get(hex(found)) ?? 0) + 1);
    }
    const [most] = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a), [hex(scene.palette[1][1]), 0]);
    return rgbOf(most);
  }

  // Mouse, pen, finger and keyboard ------------------------------------------------------------------------------------

  function listen(over, number) {
    const place = event => {
      const box = over.getBoundingClientRect();
      return [Math.floor((event.clientX - box.left) / box.width * scene.side),
        Math.floor((event.clientY - box.top) / box.height * scene.side)];
    };
    over.addEventListener('pointerdown', event => {
      if (event.button !== 0 || pointer !== null || !pixels) return;
      event.preventDefault();
      pictures[0].over.focus({ preventScroll: true });
      cancel();
      cursor = shown = place(event);
      if (tool === 'pick' || event.altKey) { pick(shown, number); return; }
      over.setPointerCapture(pointer = event.pointerId);
      begin(shown);
      mark();
    });
    over.addEventListener('pointermove', event => {
      const between = event.getCoalescedEvents?.() ?? [];
      for (const moved of between.length ? between : [event]) {
        const at = place(moved);
        if (shown && same(at, shown)) continue;
        shown = at;
        if (stroke && event.pointerId === pointer && tool !== 'fill') go(at);
      }
      over.title = !stroke && pixels && inside(shown) ? nameOf(colourAt(shown)) : '';
      mark();
    });
    over.addEventListener('pointerup', event => { if (event.pointerId === pointer) { pointer = null; end(); } });
    over.addEventListener('pointercancel', event => { if (event.pointerId === pointer) { pointer = null; cancel(); } });
    over.addEventListener('pointerleave', () => { shown = null; mark(); });
  }

  // The colour of the picture that was clicked; with classes only the drawing has colours that mean something.
  function pick(at, number) {
    if (!inside(at)) return;
    choose({ colour: colourAt(at, number && scene.any_colour ? frame.views[0][number].pixels.values : pixels) });
    if (tool === 'pick') choose({ tool: back });
    setText(status, fill(texts.paint_colour, { colour: nameOf(colour) }));
  }

  function choose(settings) {
    cancel();
    if ('tool' in settings) {
      if (tool !== 'pick' && tool !== 'eraser') back = tool;
      tool = settings.tool;
    }
    if ('mirror' in settings) mirror = settings.mirror;
    if ('size' in settings) slider.value = size = Math.min(Math.max(settings.size, 1), MOST_SIZE);
    if ('colour' in settings) {
      colour = settings.colour;
      if (tool === 'eraser') tool = back;
    }
    for (const name of TOOLS) buttons[name].setAttribute('aria-pressed', String(name === tool));
    buttons.mirror.setAttribute('aria-pressed', String(mirror));
    swatches.forEach((swatch, i) => swatch.setAttribute('aria-pressed', String(same(scene.palette[i][1], colour))));
    mixer.value = hex(colour);
    setText(named, nameOf(colour));
    mark();
  }

  function pressed(event) {
    const key = event.key, letter = key.toLowerCase(), command = event.ctrlKey || event.metaKey, last = scene.side - 1;
    const now = scene.palette.findIndex(([, known]) => same(known, colour)), count = scene.palette.length;
    if (command && letter === 'z') act(event.shiftKey ? 'redo' : 'undo');
    else if (command && letter === 'y') act('redo');
    else if (command || event.altKey || !pixels) return false;
    else if (key in MOVES) {
      const far = event.shiftKey ? 4 : 1;
      cursor = cursor.map((at, i) => Math.min(Math.max(at + far * MOVES[key][i], 0), last));
      shown = null;
      if (stroke) go(cursor);
      mark();
      setText(status, fill(texts.paint_at, { x: cursor[0] + 1, y: cursor[1] + 1, colour: nameOf(colourAt(cursor)) }));
    } else if (key === ' ' || key === 'Enter') {
      if (stroke) end();
      else if (tool === 'pick') pick(cursor, 0);
      else {
        begin(cursor);
        if (tool === 'fill') end();
      }
    } else if (key === 'Escape' && stroke) cancel();
    else if (/^[0-9]$/.test(key) && Number(key) < count) choose({ colour: scene.palette[Number(key)][1] });
    else if (key === '[' || key === ']') choose({ colour: scene.palette[(now + (key === ']' ? 1 : count - 1)) % count][1] });
    else if (key === '+' || key === '-') choose({ size: size + (key === '+' ? 1 : -1) });
    else if (letter in LETTERS) choose({ tool: LETTERS[letter] });
    else if (letter === 'm') choose({ mirror: !mirror });
    else return false;
    return true;
  }

  function save() {
    const wide = 6 * scene.side, page = make('canvas', { width: pictures.length * (wide + 12) - 12, height: wide });
    const context = page.getContext('2d');
    context.fillStyle = 'white';
    context.fillRect(0, 0, page.width, page.height);
    pictures.forEach(({ canvas }, i) => {
      context.imageSmoothingEnabled = i > 0;
      context.drawImage(canvas, i * (wide + 12), 0, wide, wide);
    });
    make('a', { href: page.toDataURL('image/png'), download: 'paint.png' }).click();
  }

  // Its life -----------------------------------------------------------------------------------------------------------

  const clock = setInterval(() => {
    if (!source.answered && performance.now() - born > SILENT_MS) setText(status, texts.no_kernel);
    else if (source.waitsSince() > 1500) setText(status, texts.waiting);
  }, 500);
  return () => {
    source.close();
    clearInterval(clock);
  };
}

// A session that was saved: each frame is kept as its difference from the one before -------------------------------------

function replay(root, texts, { side, titles, alts }, data) {
  const calm = matchMedia('(prefers-reduced-motion: reduce)'), area = 3 * side * side, size = titles.length * area;
  const frames = new Uint8Array(data.slice(0));
  for (let i = size; i < frames.length; i++) frames[i] += frames[i - size];
  const pictures = figures([texts.replay_drawing, ...titles.slice(1)], side), last = alts.length - 1;
  let at = last, timer = 0;
  const slider = make('input', { type: 'range', min: 0, max: last, value: at, 'aria-label': texts.replay_time,
    oninput: () => { stop(); show(Number(slider.value)); } });
  const when = make('span', { class: 'gt-when' }), play = make('button', { type: 'button' }, texts.play);
  play.addEventListener('click', () => {
    if (timer) { stop(); return; }
    setText(play, texts.pause);
    if (at === last) show(0);
    timer = setInterval(() => { if (at < last) show(at + 1); else stop(); }, calm.matches ? CALM_MS : REPLAY_MS);
  });
  const stage = make('div', { class: 'gt-easel', style: `--gt-pictures: ${titles.length}` }, ...pictures.map(({ figure }) => figure));
  root.append(stage, make('div', { class: 'gt-time' }, play, slider, when));

  function stop() {
    clearInterval(timer);
    timer = 0;
    setText(play, texts.play);
  }

  function show(number) {
    at = number;
    pictures.forEach(({ canvas }, i) => put(canvas, frames.subarray(at * size + i * area, at * size + (i + 1) * area)));
    describe(pictures, texts, alts[at]);
    const text = fill(texts.replay_at, { at: at + 1, count: last + 1 });
    slider.value = String(at);
    slider.setAttribute('aria-valuetext', text);
    setText(when, text);
  }

  show(at);
  return stop;
}
export default { render };
