// The page: puts the parts together, gives the worker its orders, and draws what it sends.
import { button, choice, coloured, make, toClipboard } from './dom.js';
import { Curves, Plane, palette } from './draw.js';
import { Editor } from './editor.js';
import { LOSSES } from './losses.js';
import { script } from './script.js';
import { readState, writeState } from './state.js';
import { FIXED, PITFALLS, STEPS, parse, write } from './step.js';
import { TEXT } from './texts.js';

const query = new URLSearchParams(location.search), embedded = query.has('embed');
const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
const worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' });
let state = readState(location.hash), playing = false, before = [];
let frame = null, earlier = null, arrived = 0, between = 40, colours = null;
let order = 0, begun = 0;  // how often something was set, and at which of these times the run began
let stale = true, fresh = true;  // whether the plane, and the curves, must be drawn again
const layers = { field: true, grid: true, reals: true, fakes: true };

// The parts -----------------------------------------------------------------------------------------------------------

const status = make('p', { class: 'status' }), spoken = make('p', { class: 'hidden', role: 'status' });
const about = make('p', { class: 'about' });
const play = button(TEXT.play, () => setPlaying(!playing), { class: 'play' });
const undo = button(TEXT.undo, takeBack, { title: TEXT.undoHelp, disabled: '' });
const editor = new Editor({ changed: lines => set({ step: write(lines) }, true), say, ways });
const canvas = label => make('canvas', { role: 'img', 'aria-label': label });
const picture = canvas(TEXT.plane), curves = canvas(TEXT.losses);
const plane = new Plane(picture), history = new Curves(curves);
const groups = { D: group('D'), G: group('G') }, legend = make('p', { class: 'legend' });
const bars = make('div', { class: 'bars' }, groups.D.element, groups.G.element);

const named = names => Object.fromEntries(Object.keys(names).map(name => [name, TEXT.names[name]]));
const [startField, start] = choice(TEXT.start, { '': { own: TEXT.own }, [TEXT.working]: named(STEPS),
  [TEXT.pitfalls]: named(PITFALLS) }, step => step === 'own' ? show() : set({ step }, true));
const [lossField, loss] = choice(TEXT.loss, { '': Object.fromEntries(Object.keys(LOSSES).map(name => [name, name])) },
  name => set({ loss: name }));
const [optimizerField, optimizer] = choice(TEXT.optimizer, { '': { adam: 'Adam', sgd: 'SGD' } },
  name => begin({ optimizer: name }));
const [rateField, rate] = choice(TEXT.rate, { '': TEXT.rates }, name => set({ rate: name }));
const slider = name => {
  const value = make('b'), moved = () => set({ [name]: Number((10 ** input.value).toPrecision(2)) });
  const input = make('input', { type: 'range', min: -5, max: 0, step: 0.1, 'aria-label': TEXT[name], input: moved });
  const update = () => {
    input.value = Math.log10(state[name]);
    value.textContent = state[name];
    input.setAttribute('aria-valuetext', String(state[name]));
  };
  return { field: make('label', { class: 'field' }, make('span', {}, TEXT[name], ' ', value), input), update };
};
const sliders = [slider('lr_G'), slider('lr_D')];
const reseed = () => begin({ seed: Math.min(Math.max(Math.round(seed.value), 0), 999999) || 0 });
const seed = make('input', { type: 'number', min: 0, max: 999999, 'aria-label': TEXT.seed, change: reseed });
const seedField = make('label', { class: 'field' }, make('span', {}, TEXT.seed), seed);
const switches = Object.entries(TEXT.layers).map(([name, text]) => {
  const change = () => { [layers[name], stale] = [box.checked, true]; };
  const box = make('input', { type: 'checkbox', checked: '', change });
  const key = name === 'field' ? [make('small', {}, TEXT.saysFake, make('i', { class: 'key' }), TEXT.saysReal)] : [];
  return make('label', { class: `layer of-${name}` }, box, text, ...key);
});

const dares = Object.entries(TEXT.dares).map(([step, text]) =>
  button(text, () => set({ step }, true), { class: 'small' }));

const copied = (text, what, done) => button(text, async event => {
  const { target } = event;
  await toClipboard(what());
  target.textContent = done;
  say(done);
  setTimeout(() => { target.textContent = text; }, 1500);
});
const copy = copied(TEXT.copy, () => script(parse(state.step), state), TEXT.copied);
const share = copied(TEXT.share, () => location.href.replace(/[?&]embed[^#]*/, ''), TEXT.shared);
const theme = button('◐', () => {
  const root = document.documentElement, dark = getComputedStyle(root).colorScheme.startsWith('dark') ||
    (!root.dataset.theme && matchMedia('(prefers-color-scheme: dark)').matches);
  root.dataset.theme = dark ? 'light' : 'dark';
}, { 'aria-label': TEXT.theme, title: TEXT.theme, class: 'icon' });
const whole = make('a', { class: 'whole', target: '_blank', rel: 'noopener' }, TEXT.open, ' ↗');

const buttons = make('div', { class: 'buttons' }, play,
  button(TEXT.step, () => { setPlaying(false); worker.postMessage({ step: true }); }, { title: TEXT.stepHelp }),
  button(TEXT.reset, () => begin({}), { title: TEXT.resetHelp }));
const settings = make('div', { class: 'settings' },
  lossField, optimizerField, ...sliders.map(each => each.field), seedField, rateField);
document.body.classList.toggle('embed', embedded);
if (query.has('theme')) document.documentElement.dataset.theme = query.get('theme');
document.body.prepend(
  make('header', embedded ? { class: 'hidden' } : {}, make('h1', {}, TEXT.title), make('p', {}, TEXT.claim),
    ...embedded ? [] : [make('div', { class: 'buttons' }, copy, share, theme)]),
  make('main', {},
    make('section', { class: 'code', 'aria-label': TEXT.lines },
      make('div', { class: 'head' }, startField, undo, embedded ? whole : ''), about, editor.element,
      make('p', { class: 'dares' }, make('b', {}, TEXT.ask), ...dares), make('p', { class: 'help' }, TEXT.help)),
    make('section', { class: 'plane', 'aria-label': TEXT.plane },
      make('div', { class: 'head' }, buttons, status), picture, make('div', { class: 'layers' }, ...switches)),
    make('section', { class: 'charts', 'aria-label': TEXT.settings }, settings,
      make('h2', {}, TEXT.losses), legend, curves, make('h2', {}, TEXT.gradients), bars,
      make('p', { class: 'help' }, TEXT.exact))),
  spoken);

// State ---------------------------------------------------------------------------------------------------------------

function say(text) { spoken.textContent = text; }

/** Goes on with something else; what the lines were before can be taken back. */
function set(changes, keeps = false) {
  if (keeps && changes.step !== state.step) before = [...before.slice(-49), state.step];
  if (Object.keys(changes).some(name => changes[name] !== state[name])) {
    const [name] = Object.keys(changes);
    if (name !== 'rate') history.mark(name === 'step' ? TEXT.names[changes.step] ?? TEXT.own : `${changes[name]}`);
  }
  state = { ...state, ...changes };
  worker.postMessage({ ...'rate' in changes ? {} : { apply: state }, ...pace(), order: ++order });
  keep();
}

const pace = () => ({ rate: state.rate === 'max' ? null : Number(state.rate) });

/** Begins again from the seed. */
function begin(changes) {
  state = { ...state, ...changes };
  history.clear();
  earlier = null;
  begun = ++order;
  worker.postMessage({ start: state, ...pace(), playing, order });
  keep();
}

function keep() {
  window.history.replaceState(null, '', location.pathname + location.search + writeState(state));
  show();
}

function takeBack() {
  const step = before.pop();
  if (step) set({ step });
}

/** Buttons that lead out of an error. */
function ways() {
  const fixed = FIXED[state.step];
  return [...fixed ? [button(TEXT.fix(TEXT.names[fixed]), () => set({ step: fixed }, true), { class: 'small' })] : [],
    ...before.length ? [button(TEXT.undo, takeBack, { class: 'small', title: TEXT.undoHelp })] : []];
}

function setPlaying(now) {
  playing = now;
  worker.postMessage({ playing });
  play.textContent = playing ? TEXT.pause : TEXT.play;
  play.classList.toggle('on', playing);
}

/** Shows the state in the controls and the lines. */
function show() {
  editor.show(parse(state.step), state.loss);
  start.value = state.step in TEXT.names ? state.step : 'own';
  about.textContent = TEXT.about[state.step] ?? '';
  [loss.value, optimizer.value, rate.value, seed.value] = [state.loss, state.optimizer, state.rate, state.seed];
  for (const each of sliders) each.update();
  undo.disabled = !before.length;
  whole.href = location.pathname + writeState(state);
  if (frame) editor.annotate({ rows: [], notes: [], error: null });
}

// Frames --------------------------------------------------------------------------------------------------------------

worker.onmessage = ({ data }) => {
  const now = performance.now();
  if (data.order < begun) return worker.postMessage({ drawn: true });  // of the run before
  if (frame) between = Math.min(Math.max(now - arrived, 16), 120);
  [earlier, frame, arrived, stale, fresh] = [frame && data.steps > frame.steps ? frame : null, data, now, true, true];
  history.take(data.losses);
  plane.take(data.field, colours);
  requestAnimationFrame(() => {
    worker.postMessage({ drawn: true });
    if (data.order === order) tell(data);  // what it says is of these lines
  });
};

/** What a frame says in words and bars. */
function tell({ steps, perSecond, modes, error, rows, notes, applied }) {
  const [d, g] = history.last.map(value => Number.isFinite(value) || steps ? value.toFixed(2) : '–');
  const pace = error ? [TEXT.stoppedAt(error.line + 1)] : playing ? [TEXT.perSecond(perSecond)] : [];
  const texts = [TEXT.steps(steps), ...pace, TEXT.modes(modes)];
  status.textContent = texts.join(' · ');
  document.body.dataset.steps = steps;
  picture.setAttribute('aria-label', TEXT.planeAlt(steps, modes));
  curves.setAttribute('aria-label', TEXT.lossesAlt(d, g));
  legend.replaceChildren(...coloured(`d_loss ${d}   g_loss ${g}`));
  editor.annotate({ rows, notes, error });
  if (error && error.message !== tell.said) say(TEXT.stopped(error.line + 1, error.sentence || error.message));
  tell.said = error?.message;
  document.body.classList.toggle('stopped', Boolean(error));
  for (const player of ['D', 'G']) groups[player].update(applied[player]);
}

/** What moved a player: a bar for each loss that had left a gradient in it. */
function group(player) {
  const title = make('h3'), rows = ['d_loss', 'g_loss', 'earlier'].map(sender => {
    const fill = make('i', { class: `from-${sender}` }), value = make('b');
    const track = make('span', { class: 'track' }, fill);
    const row = make('div', { class: 'bar' }, make('span', {}, TEXT.from(sender)), track, value);
    return { sender, fill, value, row };
  });
  const update = shares => {
    const norms = Object.values(shares), text = norms.length ? TEXT.movesBy(player) : TEXT.notMoved(player);
    if (title.textContent !== text) title.replaceChildren(...coloured(text));
    for (const { sender, fill, value, row } of rows) {
      row.hidden = !(sender in shares);
      if (row.hidden) continue;
      fill.style.width = `${100 * shares[sender] / Math.max(1e-12, ...norms)}%`;
      value.textContent = shares[sender].toPrecision(2);
    }
  };
  return { element: make('div', { class: 'group' }, title, ...rows.map(each => each.row)), update };
}

function recolour() {
  colours = palette();
  if (frame) plane.take(frame.field, colours);
  [stale, fresh] = [true, true];
}

/** On each of the screen's frames: points and grid glide from the last frame to this one. */
function paint(now) {
  requestAnimationFrame(paint);
  if (!frame) return;
  const share = calm || !earlier ? 1 : Math.min((now - arrived) / between, 1);
  if (!stale) return;
  if (fresh) history.draw(colours);
  [stale, fresh] = [share < 1, false];
  const glided = (from, to) => to.map((v, i) => from[i] + share * (v - from[i]));
  const glide = name => share === 1 ? frame[name] : glided(earlier[name], frame[name]);
  plane.draw({ fakes: glide('fakes'), grid: glide('grid'), reals: frame.reals, layers, colours });
}

addEventListener('hashchange', () => { begin(readState(location.hash)); });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', recolour);
new MutationObserver(recolour).observe(document.documentElement, { attributeFilter: ['data-theme'] });
const resized = new ResizeObserver(() => { [stale, fresh] = [true, true]; });
resized.observe(picture);
resized.observe(curves);
document.addEventListener('visibilitychange', () => worker.postMessage({ playing: playing && !document.hidden }));
recolour();
begin({});
setPlaying(!calm);
requestAnimationFrame(paint);
