// The page around a Drawing (paint_drawing.js). All that a person does to the map goes through one queue, in order, and
// only one message is under way to the kernel at a time (paint.py says what it holds).

const KEYS = 'Arrow keys move, Shift faster; space paints; digits choose a class, [ and ] the one before and after; '
  + 'B brush, R rectangle (space at two corners), F fill, E eraser, M mirror; + and - size; Ctrl+Z and Ctrl+Y.';
const TOOLS = { rectangle: '▭', brush: '✎', fill: '◧', eraser: '⌫' };
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LETTERS = { b: 'brush', r: 'rectangle', f: 'fill', e: 'eraser' };
const WAITS = 'Waiting for the kernel: is a cell running?';
const WAIT_MS = 10000;  // then an answer counts as lost: the kernel was restarted, or is busy with a long cell

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (['button', 'input'].includes(tag) || 'tabindex' in attributes)
    element.setAttribute('data-lm-suppress-shortcuts', 'true');
  element.append(...children);
  return element;
}

function bytes(view) { return new Uint8Array(view.buffer, view.byteOffset, view.byteLength); }

function render({ model, el }) {
  const [height, width] = model.get('shape'), classes = model.get('classes');
  const colours = classes.map(([, colour]) => [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16)));
  const drawing = new Drawing(bytes(model.get('map')), width, height), view = Math.random().toString(36).slice(2);
  let tool = 'rectangle', chosen = Math.min(2, classes.length - 1), size = 3, mirror = false;
  let pointer = null, shown = null, cursor = [width >> 1, height >> 1], address = '';
  let queue = [];  // strokes and other commands that the kernel does not have yet
  let stroke = null;  // the one that is being drawn: the last of the queue, even when the kernel has a part of it
  let ground = drawing.labels.slice();  // the map below the strokes of the queue
  let strokes = 0, number = 0, waitingSince = 0, timer = 0, fault = '';

  // What stands on the page ---------------------------------------------------------------------------------------
  const map = make('canvas', { width, height, class: 'gt-paint-map' });
  const over = make('canvas', { width: width * 8, height: height * 8, class: 'gt-paint-over', tabindex: 0,
    role: 'application', 'aria-roledescription': 'canvas', 'aria-label': `Label map, ${width} by ${height}. ${KEYS}` });
  const image = make('img', { class: 'gt-paint-output' });
  const said = make('div', { role: 'status', class: 'gt-paint-status' });
  const tools = {}, swatches = [];
  const toolbar = make('div', { class: 'gt-paint-row', role: 'toolbar', 'aria-label': 'Tools' });
  const button = (sign, name, title, action) => {
    const made = make('button', { type: 'button', title, 'aria-label': name },
      make('span', { 'aria-hidden': 'true', class: 'gt-paint-sign' }, sign), name);
    made.addEventListener('click', action);
    toolbar.append(made);
    return made;
  };
  for (const [name, sign] of Object.entries(TOOLS)) {
    const title = name[0].toUpperCase() + name.slice(1);
    tools[name] = button(sign, title, `${title} (${title[0]})`, () => choose({ tool: name }));
  }
  const mirrored = button('⇋', 'Mirror', 'Draw left and right alike (M)', () => choose({ mirror: !mirror }));
  const slider = make('input', { type: 'range', min: 1, max: 12, value: size, 'aria-label': 'Brush size' });
  slider.addEventListener('input', () => choose({ size: Number(slider.value) }));
  toolbar.append(make('label', { class: 'gt-paint-size' }, 'Size', slider));
  button('↶', 'Undo', 'Undo (Ctrl+Z)', () => ask('undo'));
  button('↷', 'Redo', 'Redo (Ctrl+Y)', () => ask('redo'));
  button('✕', 'Clear', 'All background', () => ask('clear'));
  const palette = make('div', { class: 'gt-paint-row', role: 'toolbar', 'aria-label': 'Classes' });
  classes.forEach(([name, colour], i) => {
    const chip = make('span', { class: 'gt-paint-chip', style: `background:${colour}`, 'aria-hidden': 'true' });
    const swatch = make('button', { type: 'button', 'aria-label': name, title: name }, chip, name);
    if (i < 10) swatch.append(make('kbd', { 'aria-hidden': 'true' }, String(i)));
    swatch.addEventListener('click', () => choose({ chosen: i }));
    swatches.push(swatch);
    palette.append(swatch);
  });
  const strip = make('div', { class: 'gt-paint-row', role: 'toolbar', 'aria-label': 'Examples' });
  const examples = bytes(model.get('examples')), area = width * height;
  for (let i = 0; i * area < examples.length; i++) {
    const thumbnail = make('canvas', { width, height, 'aria-hidden': 'true' });
    draw(thumbnail, examples.subarray(i * area, (i + 1) * area));
    const pick = make('button', { type: 'button', class: 'gt-paint-example', 'aria-label': `Example ${i + 1}`,
      title: `Example ${i + 1}` }, thumbnail);
    pick.addEventListener('click', () => ask('example', i));
    strip.append(pick);
  }
  const took = make('span', { class: 'gt-paint-took' });
  const figure = (title, ...inside) => make('figure', {}, make('figcaption', {}, ...title), make('div', {}, ...inside));
  const result = figure(['What the generator makes of it', took], image);
  const pictures = make('div', { class: 'gt-paint-pictures' }, figure(['Draw here'], map, over), result);
  el.append(make('div', { class: 'gt-paint', 'data-lm-suppress-shortcuts': 'true' },
    toolbar, palette, pictures, strip, said));

  // Drawing -------------------------------------------------------------------------------------------------------
  function draw(canvas, values) {
    const context = canvas.getContext('2d'), picture = context.createImageData(width, height);
    values.forEach((label, i) => picture.data.set([...colours[label], 255], 4 * i));
    context.putImageData(picture, 0, 0);
  }
  function begin(at) {
    if (!drawing.inside(at)) return;
    const label = tool === 'eraser' ? 0 : chosen;
    stroke = { do: 'draw', stroke: ++strokes, tool, label, size, mirror, points: [] };
    queue.push(stroke);
    go(at);
  }
  function go(at) {
    stroke.points.push(at);
    if (stroke.tool === 'rectangle') redraw();
    else {
      drawing.draw(stroke, stroke.points.length - 1);
      stroke.labels = drawing.labels.slice();
      draw(map, drawing.labels);
    }
    stroke.unsent = true;
    mark();
    send();
  }
  function end() {
    if (!stroke) return;
    if (!stroke.unsent) ground = queue.pop().labels;
    stroke = null;
    mark();
  }
  function cancel() {
    if (!stroke) return;
    Object.assign(stroke, { points: [], unsent: true });
    redraw();
    end();
    send();
  }
  function redraw() {  // the strokes that the kernel does not have, on the map that it has
    drawing.labels = ground.slice();
    for (const waiting of queue.filter(command => command.points)) {
      drawing.draw(waiting);
      waiting.labels = drawing.labels.slice();
    }
    draw(map, drawing.labels);
  }
  function mark() {  // where the brush or the keyboard's cursor is
    const context = over.getContext('2d'), at = shown ?? (document.activeElement === over ? cursor : null);
    context.clearRect(0, 0, over.width, over.height);
    if (!at) return;
    const outline = (x, y, w, h) => {
      context.lineWidth = 3; context.strokeStyle = 'rgba(0,0,0,.75)'; context.strokeRect(8 * x, 8 * y, 8 * w, 8 * h);
      context.lineWidth = 1.5; context.strokeStyle = 'white'; context.strokeRect(8 * x, 8 * y, 8 * w, 8 * h);
    };
    context.fillStyle = tool === 'eraser' ? classes[0][1] : classes[chosen][1];
    const round = tool === 'brush' || tool === 'eraser', low = round ? lowest(size) : 0, side = round ? size : 1;
    for (const place of round ? footprint(at, size) : [])
      for (const [x, y] of mirror ? [place, drawing.opposite(place)] : [place])
        context.fillRect(8 * x, 8 * y, 8, 8);
    outline(at[0] + low, at[1] + low, side, side);
    const corner = stroke && tool === 'rectangle' ? stroke.points[0] : null;
    if (corner) outline(Math.min(corner[0], at[0]), Math.min(corner[1], at[1]),
      Math.abs(corner[0] - at[0]) + 1, Math.abs(corner[1] - at[1]) + 1);
  }

  // To the kernel and back ----------------------------------------------------------------------------------------
  function send() {
    if (!waitingSince) post(due());
    else if (performance.now() - waitingSince > WAIT_MS) post([{ do: 'look' }]);
  }
  function due() {  // the queue up to a stroke after an undo (or the like): only the kernel knows the map below it
    const until = queue.findIndex((next, i) => next.points && i && !queue[i - 1].points);
    const commands = queue.splice(0, until < 0 ? queue.length : until);
    for (const { labels } of commands.filter(command => command !== stroke)) ground = labels ?? ground;
    if (commands.includes(stroke)) queue.push(stroke);  // it goes on, and all of it is sent again
    return commands.filter(command => command !== stroke || stroke.unsent);
  }
  function post(commands) {
    if (!commands.length) return;
    if (commands.includes(stroke)) Object.assign(stroke, { unsent: false, begun: true });
    const content = commands.map(command => ({ do: command.do, stroke: command.stroke, index: command.index }));
    const maps = commands.filter(command => command.labels).map(command => command.labels.buffer);
    model.send({ view, number: ++number, commands: content }, undefined, maps);
    waitingSince = performance.now();
    result.setAttribute('aria-busy', 'true');
    clearTimeout(timer);
    timer = setTimeout(() => { said.textContent = WAITS; }, 1500);
  }
  function ask(what, index) {
    end();
    queue.push({ do: what, index });
    send();
  }
  function answered(content, [labels, picture]) {
    show(content.alt, picture);
    took.textContent = ` in ${Math.round(content.milliseconds)} ms`;
    if (content.view === view && content.number === number) {
      waitingSince = 0;
      result.removeAttribute('aria-busy');
      clearTimeout(timer);
    }
    if (content.message !== fault || said.textContent === WAITS) said.textContent = fault = content.message;
    if (waitingSince) return;
    if (content.view !== view) end();  // a cell or another view has painted
    if (!queue[0]?.begun) {
      ground = bytes(labels).slice();
      redraw();
    }
    send();
  }
  function show(alt, picture) {
    if (address) URL.revokeObjectURL(address);
    image.src = address = URL.createObjectURL(new Blob([picture], { type: 'image/png' }));
    image.alt = alt;
  }
  model.on('msg:custom', answered);

  // Mouse, pen, finger and keyboard -------------------------------------------------------------------------------
  const place = event => {
    const box = over.getBoundingClientRect();
    return [Math.floor((event.clientX - box.left) / box.width * width),
      Math.floor((event.clientY - box.top) / box.height * height)];
  };
  over.addEventListener('pointerdown', event => {
    if (event.button !== 0 || pointer !== null) return;
    event.preventDefault();
    over.focus({ preventScroll: true });
    over.setPointerCapture(pointer = event.pointerId);
    cursor = shown = place(event);
    cancel();
    begin(shown);
  });
  over.addEventListener('pointermove', event => {
    const between = event.getCoalescedEvents?.() ?? [];
    for (const moved of between.length ? between : [event]) {
      shown = place(moved);
      if (stroke && event.pointerId === pointer && tool !== 'fill') go(shown);
    }
    over.title = !stroke && drawing.inside(shown) ? classes[drawing.at(shown)][0] : '';
    mark();
  });
  over.addEventListener('pointerup', event => { if (event.pointerId === pointer) { pointer = null; end(); } });
  over.addEventListener('pointercancel', event => { if (event.pointerId === pointer) { pointer = null; cancel(); } });
  over.addEventListener('pointerleave', () => { shown = null; mark(); });
  for (const event of ['focus', 'blur']) over.addEventListener(event, mark);
  function choose(settings) {
    cancel();
    if ('tool' in settings) tool = settings.tool;
    if ('mirror' in settings) mirror = settings.mirror;
    if ('size' in settings) slider.value = size = Math.min(Math.max(settings.size, 1), 12);
    if ('chosen' in settings) {
      chosen = (settings.chosen + classes.length) % classes.length;
      if (tool === 'eraser') tool = 'brush';
    }
    for (const [name, element] of Object.entries(tools)) element.setAttribute('aria-pressed', String(name === tool));
    mirrored.setAttribute('aria-pressed', String(mirror));
    swatches.forEach((swatch, i) => swatch.setAttribute('aria-pressed', String(i === chosen)));
    mark();
  }
  function tell() {
    said.textContent = `Column ${cursor[0] + 1}, row ${cursor[1] + 1}: ${classes[drawing.at(cursor)][0]}`;
  }
  function pressed(event) {
    const key = event.key, letter = key.toLowerCase(), command = event.ctrlKey || event.metaKey;
    if (command && letter === 'z') ask(event.shiftKey ? 'redo' : 'undo');
    else if (command && letter === 'y') ask('redo');
    else if (command || event.altKey) return false;
    else if (key in MOVES) {
      const far = event.shiftKey ? 4 : 1;
      cursor = cursor.map((at, i) => Math.min(Math.max(at + far * MOVES[key][i], 0), [width, height][i] - 1));
      shown = null;
      if (stroke?.tool === 'rectangle') go(cursor); else mark();
      tell();
    } else if (key === ' ' || key === 'Enter') {
      if (stroke) end(); else { begin(cursor); if (tool !== 'rectangle') end(); }
    } else if (key === 'Escape') cancel();
    else if (/^[0-9]$/.test(key) && Number(key) < classes.length) choose({ chosen: Number(key) });
    else if (key === '[' || key === ']') choose({ chosen: chosen + (key === ']' ? 1 : -1) });
    else if (key === '+' || key === '-') choose({ size: size + (key === '+' ? 1 : -1) });
    else if (letter in LETTERS) choose({ tool: LETTERS[letter] });
    else if (letter === 'm') choose({ mirror: !mirror });
    else return false;
    return true;
  }
  over.addEventListener('keydown', event => {
    if (pressed(event)) { event.preventDefault(); event.stopPropagation(); }
  });
  choose({});
  redraw();
  show(model.get('alt'), model.get('picture'));
  ask('look');
  return () => {
    clearTimeout(timer);
    model.off('msg:custom', answered);
    URL.revokeObjectURL(address);
  };
}
export default { render };
