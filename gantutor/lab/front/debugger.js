// The step debugger: through one or several traces line by line, forwards and backwards, in lock step.
//
// Its model has `texts`, `position`, how many lines have run, and `story`: { traces, last, error }, all that there is to
// show, as lab/story.py describes it. A trace's step holds numbers of `parts`, which several steps share. Nothing else
// is asked of a kernel, so that a saved page does the same. `#line=44` in the address opens that line.

import { KEYS, coded, fill, make, setText } from './dom.js';
import { drawing, legend } from './drawing.js';

const MOVES = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

function render({ model, el }) {
  const texts = model.get('texts'), { traces, last, error } = model.get('story');
  const calm = matchMedia('(prefers-reduced-motion: reduce)');
  let position = 0;

  const button = (name, goal) => make('button', { type: 'button', title: texts[`${name}_help`], 'data-do': name,
    onclick: () => go(goal()), ...KEYS }, texts[name]);
  const slider = make('input', { type: 'range', min: 0, max: last, step: 1, 'aria-label': texts.lines_run,
    oninput: () => go(Number(slider.value)), ...KEYS });
  const count = make('span', { class: 'gt-when' });
  const bar = make('div', { class: 'gt-bar', role: 'toolbar', 'aria-label': texts.go },
    button('first', () => 0), button('back', () => position - 1), button('next', () => position + 1),
    button('last', () => last), error ? button('to_error', () => error) : '', slider, count);
  const views = traces.map(trace => traceView(trace, texts, line => go(nextAt(trace, line, position))));
  const root = make('div', { class: 'gt-lab gt-debugger', role: 'region', 'aria-label': texts.debugger, onkeydown: press },
    bar, make('div', { class: 'gt-traces' }, ...views.map(view => view.element)));
  el.append(root);

  function press(event) {
    const move = MOVES[event.key];
    if (!move || event.target === slider || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    go(position + move);
  }

  function go(goal) {
    position = Math.max(0, Math.min(last, goal));
    show();
    model.set('position', position);
    model.save_changes();
  }

  function show() {
    slider.value = String(position);
    const text = fill(texts.lines_run_of, { position, last });
    slider.setAttribute('aria-valuetext', text);
    setText(count, text);
    views.forEach(view => view.show(Math.min(position, view.last), calm.matches));
    root.dataset.position = position;
  }

  function follow() {
    if (model.get('position') === position) return;
    position = model.get('position');
    show();
  }

  function jump() {
    const place = model.get('place'), link = new RegExp(`[#&]${place ? `${place}.` : ''}line=(\\d+)`);
    const line = Number(link.exec(location.hash)?.[1]);
    const goals = traces.map(trace => nextAt(trace, line, 0)).filter(Boolean);
    if (goals.length) go(goals[0]);
  }

  position = model.get('position');
  show();
  jump();
  model.on('change:position', follow);
  addEventListener('hashchange', jump);
  return () => {
    model.off?.('change:position', follow);
    removeEventListener('hashchange', jump);
  };
}

// Whether a step runs that line of the file.
function runsLine({ lines: [first, end] }, line) {
  return first <= line && line <= end;
}

// The next time, after a position and round from the start, that a line runs; 0 for one that does not.
function nextAt({ steps }, line, position) {
  const runs = steps.flatMap((step, i) => i > 0 && runsLine(step, line) ? [i] : []);
  return runs.find(i => i > position) ?? runs[0] ?? 0;
}

// One trace: show(position) puts all of it to the state after so many lines.
function traceView(trace, texts, goTo) {
  const { steps, parts, findings } = trace, picture = drawing();
  const status = make('div', { class: 'gt-status', role: 'status' });
  const folded = make('div', { class: 'gt-folded' });
  const lines = trace.code.map(([number, text]) => make('div', { class: 'gt-code-line', 'data-line': number, onclick: () => goTo(number) },
    make('span', { class: 'gt-number' }, String(number)), make('span', {}, text || ' ')));
  const notes = findings.map(finding => noteOf(finding, texts));
  findings.forEach(({ line, kind }, i) => {
    const at = lines.find(each => Number(each.dataset.line) === line);
    at?.classList.add('gt-found');
    at?.setAttribute('title', kind);
    at?.append(notes[i]);
  });
  const code = make('div', { class: 'gt-code', role: 'region', tabindex: 0, 'aria-label': fill(texts.code, trace) }, ...lines,
    ...notes.filter(note => !note.parentNode));
  const networks = make('div', { class: 'gt-table', tabindex: 0 }), variables = make('div', { class: 'gt-table', tabindex: 0 });
  const bars = make('div', { class: 'gt-spent' });
  const element = make('section', { class: 'gt-trace', 'aria-label': trace.title }, make('h4', {}, trace.title), status,
    make('div', { class: Math.max(...steps.map(step => step.size[0])) > 620 ? 'gt-panes gt-wide' : 'gt-panes' },
      make('div', { class: 'gt-picture' }, picture.figure, folded, legend(texts)), code,
      make('div', { class: 'gt-tables' }, networks, bars, variables)));

  function show(position, calm) {
    const step = steps[position], of = name => step[name].map(number => parts[number]);
    const found = findings.some(({ line }) => runsLine(step, line));  // it stands at its line
    status.replaceChildren(make('b', {}, step.status), ` ${step.happened.join(' ')}`,
      step.fault && !found ? make('div', { class: 'gt-error' }, ...coded(step.fault)) : '');
    picture.paint(of('boxes'), of('edges'), step.size, step.alt, calm);
    folded.replaceChildren(...step.folded.length ? [texts.folded, ...of('folded').map(foldedOf)] : []);
    for (const line of lines) {
      const number = Number(line.dataset.line), lit = runsLine(step, number);
      line.toggleAttribute('data-lit', lit);
      line.toggleAttribute('data-fault', lit && Boolean(step.fault));
      line.toggleAttribute('aria-current', lit);
    }
    findings.forEach(({ line }, i) => {
      const reached = steps.findIndex(step => runsLine(step, line));
      notes[i].hidden = position < (reached < 0 ? steps.length - 1 : reached);
    });
    networks.replaceChildren(networksOf(of('networks'), texts));
    variables.replaceChildren(variablesOf(of('variables'), texts));
    bars.replaceChildren(...['kept', 'computed'].map(name => make('div', {}, `${texts[name]}: ${step[name][1]}`,
      make('span', { class: 'gt-amount' }, make('i', { style: `width: ${100 * step[name][0]}%` })))));
    reveal();
  }

  // Scrolls the code and the drawing, where they have no room, to what has just happened; never the page.
  function reveal() {
    const line = lines.find(each => each.hasAttribute('data-lit'));
    code.scrollTop = line ? line.offsetTop - (code.clientHeight - line.offsetHeight) / 2 : 0;
    picture.reveal();
  }

  new ResizeObserver(reveal).observe(element);
  return { element, show, last: steps.length - 1 };
}

function noteOf({ what, why, fix }, texts) {
  return make('div', { class: 'gt-finding' }, ...coded(`${what} ${why} `), make('span', {}, texts.write, ' ', make('code', {}, fix)));
}

function foldedOf({ label, title, note, mark, shares }) {
  return make('span', { class: 'gt-fold', title, 'data-mark': mark },
    ...shares.map(([, whose]) => make('i', { style: `--gt-key: var(--gt-loss-${whose})` })), make('b', {}, label), ` ${note}`);
}

function tableOf(caption, heads, rows) {
  return make('table', {}, make('caption', {}, caption),
    make('thead', {}, make('tr', {}, ...heads.map(head => make('th', { scope: 'col' }, head)))),
    make('tbody', {}, ...rows.map(([attributes, name, ...cells]) => make('tr', attributes, make('th', { scope: 'row' }, name),
      ...cells.map(cell => make('td', {}, ...[cell].flat()))))));
}

function networksOf(rows, texts) {
  const counts = rows.some(row => row.batches !== null);
  const heads = [texts.network, texts.gradient, texts.from, texts.tensors, texts.updates, ...counts ? [texts.batches] : []];
  return tableOf(texts.networks, heads, rows.map(row => [{}, row.name, row.norm,
    row.shares.map(([text, whose]) => make('span', { class: 'gt-chip', style: `--gt-key: var(--gt-loss-${whose})` }, text)),
    row.tensors, row.updates || '–', ...counts ? [String(row.batches ?? '–')] : []]));
}

function variablesOf(rows, texts) {
  const heads = ['variable', 'shape', 'graph', 'requires_grad', 'version', 'shares'].map(name => texts[name]);
  return tableOf(texts.variables, heads, rows.map(row => [{ class: row.new ? 'gt-new' : null }, row.name, row.shape, row.graph,
    row.requires_grad ? 'True' : 'False', String(row.version), row.shares.join(', ') || '–']));
}
export default { render };
