// The live panel: a bar that stays, the settings in a narrow column, pictures and charts beside it.
//
// What it shows is what its source gives: a live kernel (source.js) or a recording (recorded.js). That is a scene,
// states and frames. It keeps the frames, to look back.

import { curves, histogram } from './charts.js';
import { settings } from './controls.js';
import { KEYS, layoutChanged, make, setText } from './dom.js';
import { drawingSheet } from './draw.js';
import { picture } from './pictures.js';
import { RecordedSource } from './recorded.js';
import { KernelSource } from './source.js';

const SPEEDS = [0.25, 0.5, 1, 2, 4];
const MOST_FRAMES = 300, MOST_BYTES = 48e6, CHARTS_MS = 100, CALM_MS = 1000, SILENT_MS = 3000;

function render({ model, el }) {
  const texts = model.get('texts'), recorded = model.get('recorded'), calm = matchMedia('(prefers-reduced-motion: reduce)'), born = performance.now();
  const pending = new Map();  // what a person did that has not taken effect: { id, value } by control
  let scene = null, state = null, form = null, declared = '', runs = [], frames = [], back = null, waiting = null;
  let drawnAt = 0, chartsAt = -Infinity, sheet = null;

  const button = (name, action, help, text = texts[name]) =>
    make('button', { type: 'button', title: help ?? texts[`${name}_help`], onclick: action, 'data-do': name, ...KEYS }, text);
  const play = button('play', () => {
    const playing = pendingValue('play') ?? state?.playing ?? false;
    act('play', { do: playing ? 'pause' : 'play' }, !playing);
  });
  play.setAttribute('aria-pressed', 'false');
  const halves = make('span', { class: 'gt-halves' });
  const slow = button('slow', () => act('slow', { do: 'slow', on: !isSlow() }, !isSlow()));
  const drawData = button('draw', () => {
    if (sheet) return;
    sheet = stage.querySelector('.gt-plane');
    drawData.setAttribute('aria-pressed', 'true');
    drawingSheet(sheet, texts, strokes => {
      noSheet();
      if (strokes) act('', { do: 'draw', strokes });
      drawData.focus();
    });
  });
  const larger = button('larger', () => {
    const on = root.classList.toggle('gt-large');
    larger.setAttribute('aria-pressed', String(on));
    draw(true);
  }, texts.larger_help, 'A+');
  larger.setAttribute('aria-pressed', 'false');
  larger.setAttribute('aria-label', texts.larger);
  const line = make('span', { class: 'gt-line-of-run' });
  const bar = make('div', { class: 'gt-bar', role: 'toolbar', 'aria-label': texts.bar }, play,
    button('step', () => act('', { do: 'step' })), halves, button('reset', () => act('', { do: 'reset' })), slow, drawData, line, larger);
  const status = make('div', { class: 'gt-status', role: 'status' });
  const error = make('div', { class: 'gt-error', role: 'alert', hidden: true });
  const column = make('div', { class: 'gt-column' }), stage = make('div', { class: 'gt-stage' });
  const slider = make('input', { type: 'range', min: 0, max: 0, step: 1, 'aria-label': texts.time, title: texts.time, oninput: look, ...KEYS });
  const when = make('span', { class: 'gt-when' });
  const live = button('live', () => { back = null; draw(true); }, texts.live);
  const speed = make('select', {
    'aria-label': texts.speed, title: texts.speed, onchange: () => act('', { do: 'speed', value: Number(speed.value) }), ...KEYS,
  }, ...SPEEDS.map(times => make('option', { value: times, selected: times === 1 }, `${times} ×`)));
  const time = make('div', { class: 'gt-time' }, slider, when, recorded ? speed : live);
  const root = make('div', { class: 'gt-lab', role: 'region', 'aria-label': texts.panel },
    bar, error, status, make('div', { class: 'gt-body' }, column, make('div', { class: 'gt-main' }, stage, time)));
  el.append(root);

  // What a person does -------------------------------------------------------------------------------------------------

  function act(key, command, value) {
    const id = source.command(command);
    if (key && id > source.done) pending.set(key, { id, value });
    showState();
  }

  function pendingValue(key) {
    return pending.get(key)?.value;
  }

  function isSlow() {
    return pendingValue('slow') ?? state?.slow ?? false;
  }

  function noSheet() {
    sheet = null;
    drawData.setAttribute('aria-pressed', 'false');
  }

  function look() {
    if (recorded) return act('', { do: 'look', at: Number(slider.value) });
    back = Number(slider.value) >= frames.length - 1 ? null : Number(slider.value);
    draw(true);
  }

  // What the source says -----------------------------------------------------------------------------------------------

  function show(what) {
    if (what.scene) showScene(what.scene);
    if (what.state) {
      state = what.state;
      back = state.at ?? back;
      for (const [key, { id }] of pending) if (id <= source.done) pending.delete(key);
      showState();
    }
    if (what.frame) keep(what.frame);
    if (what.frames) {
      frames = what.frames;
      runs.forEach((run, i) => { run.history = what.histories[i]; });
    }
  }

  function showScene(given) {
    scene = given;
    frames = [];
    back = null;
    const now = JSON.stringify([scene.controls, scene.labels]);
    if (now !== declared) {  // else the controls stay, and with them the focus
      declared = now;
      form = settings(scene, texts, (run, field, value) => act(`${run} ${field}`, { do: 'set', run, field, value }, value));
      column.replaceChildren(form.element);
      halves.replaceChildren(...scene.players.map(player =>
        button('half', () => act('', { do: 'half', player }), texts.half_help.replace('{player}', player.split(' ')[0]), player)));
    }
    runs = scene.views.map((views, i) => {
      const pictures = views.filter(view => view.kind === 'images' || view.kind === 'plane')
        .map(view => ({ name: view.name, ...picture(view) }));
      const charts = views.filter(view => view.kind === 'curves' || view.kind === 'histogram')
        .map(view => ({ name: view.name, kind: view.kind, ...(view.kind === 'curves' ? curves : histogram)(view, texts) }));
      const meter = make('div', { class: 'gt-meter' });
      const element = make('section', { class: 'gt-run', 'aria-label': scene.labels[i] || null },
        scene.labels[i] ? make('h4', {}, scene.labels[i]) : '',
        make('div', { class: 'gt-views' }, make('div', { class: 'gt-pictures' }, ...pictures.map(p => p.figure)),
          make('div', { class: 'gt-charts' }, ...charts.map(c => c.figure))), meter);
      return { pictures, charts, meter, element, history: {}, length: 0 };
    });
    stage.replaceChildren(...runs.map(run => run.element));
    layoutChanged();
    noSheet();
    drawData.hidden = !scene.draws;
    slow.hidden = Boolean(recorded);
  }

  function showState() {
    if (!state) return;
    const playing = pendingValue('play') ?? state.playing;
    setText(play, playing ? texts.pause : texts.play);
    play.setAttribute('aria-pressed', String(playing));
    slow.setAttribute('aria-pressed', String(isSlow()));
    setText(error, state.error);
    error.hidden = !state.error;
    say();
    setText(line, state.line);
    form?.update(state, new Map([...pending].map(([key, { value }]) => [key, value])));
    draw(true);
  }

  function say() {
    const silent = !source.answered && performance.now() - born > SILENT_MS;
    if (silent && !stage.firstChild && model.get('picture')) {  // as in a saved notebook
      stage.append(make('img', { src: `data:image/png;base64,${model.get('picture')}`, alt: texts.panel }));
    }
    setText(status, silent ? texts.no_kernel : source.waitsSince() > 1000 ? texts.waiting : state?.status ?? '');
  }

  // A frame brings the steps since the last one; what was seen of them already is left out.
  function keep(frame) {
    runs.forEach((run, i) => {
      for (const [name, { values }] of Object.entries(frame.curves[i])) {
        const column = run.history[name] ??= Array.from({ length: frame.since[i] }, () => NaN);
        for (let at = Math.max(0, column.length - frame.since[i]); at < values.length; at++) column.push(values[at]);
      }
      run.length = Math.max(0, ...Object.values(run.history).map(column => column.length));
    });
    frame.lengths = runs.map(run => run.length);
    frame.curves = null;
    const last = frames.at(-1);
    if (last && last.step === frame.step) frames.pop();  // the same step again, as a setting changed
    frames.push(frame);
    const bytes = frames.length * frame.bytes;
    if (frames.length > MOST_FRAMES || (bytes > MOST_BYTES && frames.length > 20)) {
      frames = frames.filter((_, i) => i % 2 === 0 || i === frames.length - 1);
      if (back !== null) back = Math.min(Math.floor(back / 2), frames.length - 1);
    }
    draw(!state?.playing);
  }

  // Drawing: at most once for each picture of the screen, the charts ten times a second ---------------------------------

  function draw(everything) {
    if (everything) {
      chartsAt = -Infinity;  // a page's first pictures come when its clock is still near 0
      layoutChanged();
    }
    waiting ??= requestAnimationFrame(now => {
      waiting = null;
      if (!frames.length) return;
      const newest = frames.at(-1), frame = back === null ? newest : frames[back];
      if (calm.matches && state?.playing && now - drawnAt < CALM_MS && chartsAt > 0) return;
      drawnAt = now;
      const charts = now - chartsAt > CHARTS_MS;
      if (charts) chartsAt = now;
      runs.forEach((run, i) => {
        const [who, moved] = frame.phases?.[i] ?? [];
        run.element.dataset.phase = who ?? '';
        for (const view of run.pictures) {
          const arrays = frame.views[i][view.name] ?? {};
          view.paint(who && (who === 'D' || moved) ? { ...arrays, arrows: null } : arrays);
        }
        for (const view of charts ? run.charts : []) {
          if (view.kind === 'curves') view.paint(run.history, frame.lengths[i], state?.marks[i] ?? [], frame.views[i][view.name]);
          else view.paint(frame.views[i][view.name] ?? {}, state?.playing);
        }
        if (charts && frame.meters[i]) run.meter.replaceChildren(meterOf(frame.meters[i], texts));
      });
      source.drawn = newest.at;
      if (charts) sayWhen(frame);
      root.dataset.step = frame.step;
      root.dataset.frame = newest.number;
    });
  }

  function sayWhen(frame) {
    setText(line, back === null && !state?.playing ? state?.line ?? frame.line : frame.line);
    slider.max = String(frames.length - 1);
    slider.value = String(back ?? frames.length - 1);
    const stepText = texts.time_at.replace('{step}', frame.step);
    slider.setAttribute('aria-valuetext', stepText);
    setText(when, stepText);
    live.disabled = back === null;
  }

  // Its life -----------------------------------------------------------------------------------------------------------

  const source = recorded ? new RecordedSource(recorded, model.get('data'), texts, show, model.get('place')) : new KernelSource(model, show);
  let inView = true;
  const see = () => source.see(inView && !document.hidden);
  const watcher = new IntersectionObserver(entries => { inView = entries.at(-1).isIntersecting; see(); });
  watcher.observe(root);
  document.addEventListener('visibilitychange', see);
  const resized = new ResizeObserver(() => draw(true));
  resized.observe(stage);
  const themed = new MutationObserver(() => draw(true));
  themed.observe(document.body, { attributes: true });
  const clock = setInterval(say, 500);
  return () => {
    source.close();
    clearInterval(clock);
    [watcher, resized, themed].forEach(observer => observer.disconnect());
    document.removeEventListener('visibilitychange', see);
  };
}

function meterOf({ total, rows }, texts) {
  const heads = ['', texts.meter_step, texts.meter_flops, texts.meter_kept, texts.meter_time, texts.meter_steps];
  return make('div', {}, make('table', { 'aria-label': texts.meter },
    make('thead', {}, make('tr', {}, ...heads.map(head => head ? make('th', { scope: 'col' }, head) : make('td')))),
    make('tbody', {}, ...rows.map(({ name, now, bars, cells }) => make('tr', { class: now ? 'gt-now' : null },
      make('th', { scope: 'row' }, name),
      make('td', {}, make('span', { class: 'gt-cost' }, ...bars.map(([whose, direction, share]) =>
        make('i', { class: `gt-${direction}`, style: `--gt-key: var(--gt-${whose}); width: ${100 * share}%` })))),
      ...cells.map(cell => make('td', {}, cell)))))), make('p', {}, total));
}
export default { render };
