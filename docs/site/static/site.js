// Brings to life what build.py has put on a page: questions, answers, exercises with choices.
//
// Each is a <div class="gt-live" data-kind="…"> with its data as JSON. What a visitor chooses stays in the browser.
import { make } from './front/dom.js';
import { inflate, mount, withoutKernel } from './front/page.js';
import predict from './front/predict.js';

const GUESSED = 'gt-guessed';

/** Text in which what stands between backticks is code. */
function sentence(text) {
  return text.split('`').map((part, i) => i % 2 ? make('code', {}, part) : part);
}

const KINDS = {
  // A question covers the outputs that follow it until its answer, since they show the truth.
  question(el, data) {
    const model = withoutKernel({ ...data, guess: null, verdict: null });
    const covered = [...document.querySelectorAll(`.tag_after-${el.dataset.cell} > .cell_output`)];
    const note = covered.length && make('p', { class: 'gt-note' }, 'Below, the results are covered until you choose. ',
      make('button', { type: 'button', onclick: uncover }, 'Show them'));
    function uncover() {
      for (const output of covered) output.classList.remove('gt-covered');
      if (note) note.remove();
    }
    for (const output of covered) output.classList.add('gt-covered');
    model.on('change:verdict', () => {
      uncover();
      document.dispatchEvent(new CustomEvent(GUESSED, { detail: { ...data, guess: model.get('guess') } }));
    });
    predict.render({ model, el });
    if (note && !model.get('verdict')) el.append(note);
  },

  answer(el, data) {
    const box = make('p', { class: 'gt-answer', role: 'status' }, 'Choose above first; the answer appears here.');
    el.append(box);
    document.addEventListener(GUESSED, ({ detail: { question, options, guess } }) => {
      if (question !== data.question) return;
      const right = guess === data.truth;
      box.replaceChildren(make('b', {}, right ? '✓ Right. ' : '✗ Not so. '), ...sentence(
        `You chose ${options[guess]}${right ? '' : `; the run says ${options[data.truth]}`}. ${data.why}`));
    });
  },

  // Paint, with generators that run in the page.
  async paint(el, { front: name, data, examples, generators }) {
    const place = make('div', { class: 'gt-place' }, make('p', { role: 'status' }, 'The generators are on their way: 23 MB.'));
    el.append(place);
    wear(`${name}.css`);
    const bytes = name => fetch(at(name)).then(reply => reply.arrayBuffer());
    const [front, { Generator, PaintKernel }, values, drawings] = await Promise.all(
      [import(`./live/${name}.js`), import('./paint.js'), bytes(data).then(inflate), bytes(examples)]);
    const loaded = await Promise.all(generators.map(name => Generator.load(at(name))));
    place.replaceChildren();
    place.classList.add('gt-mounted');
    front.default.render({ model: new PaintKernel(values, new Uint8Array(drawings), loaded), el: place });
  },

  // A panel or a debugger, whose module and data are fetched when it comes into sight.
  front(el, { title, front: name, data }) {
    const place = make('div', { class: 'gt-place', role: 'region', 'aria-label': title }, make('p', {}, title));
    el.append(place);
    new IntersectionObserver(async ([{ isIntersecting }], observer) => {
      if (!isIntersecting) return;
      observer.disconnect();
      wear(`${name}.css`);
      const [front, packed] = await Promise.all([import(`./live/${name}.js`), fetch(at(data)).then(reply => reply.arrayBuffer())]);
      await mount(front.default, place, packed, { place: el.dataset.cell });
      place.classList.add('gt-mounted');
    }, { rootMargin: '400px' }).observe(place);
  },

  // An exercise with choices: a table of verdicts by what is chosen, for each of its questions.
  choices(el, { questions, options, several }) {
    const key = `gantutor-choices:${location.pathname}:${el.dataset.cell}`;
    const kept = recall(key) ?? questions.map(question => question.fields.map(() => []));
    const verdict = make('p', { class: 'gt-answer', role: 'status' });
    const button = (number, field, option) => {
      const chosen = kept[number][field];
      return make('button', { type: 'button', 'aria-pressed': String(chosen.includes(option)), onclick: ({ target }) => {
        const at = chosen.indexOf(option);
        if (at >= 0) chosen.splice(at, 1);
        else if (several) chosen.push(option);
        else chosen.splice(0, 1, option);
        for (const [i, each] of [...target.closest('.gt-options').children].entries()) {
          each.setAttribute('aria-pressed', chosen.includes(i));
        }
        verdict.replaceChildren();
        remember(key, kept);
      } }, options[option]);
    };
    const rows = questions.map(({ text, fields }, number) => make('div', { class: 'gt-row' },
      make('span', {}, ...sentence(text)), ...fields.map((label, field) => make('span', { class: 'gt-options', role: 'group',
        'aria-label': `${text} ${label}` }, ...label ? [make('span', {}, label)] : [],
      ...options.map((_, option) => button(number, field, option))))));
    const check = () => {
      const judged = questions.map((question, number) =>
        question.verdicts[kept[number].map(chosen => [...chosen].sort((a, b) => a - b).join(',')).join('|')]);
      if (judged.includes(undefined)) return verdict.replaceChildren('Not yet: choose in each line.');
      const [passed, message] = judged.find(([right]) => !right) ?? judged[0];
      return verdict.replaceChildren(make('b', {}, passed ? '✓ Passed. ' : '✗ Wrong. '), ...sentence(message));
    };
    el.append(make('div', { class: 'gt-choices' }, make('p', {}, 'Answer here, without running anything:'), ...rows,
      make('button', { type: 'button', class: 'gt-check', onclick: check }, 'Check'), verdict));
  },
};

const at = name => new URL(`live/${name}`, import.meta.url);

/** A style sheet of a module, once. */
function wear(css) {
  const href = String(at(css));
  if (![...document.querySelectorAll('link')].some(link => link.href === href)) {
    document.head.append(make('link', { rel: 'stylesheet', href }));
  }
}

function recall(key) {
  try { return JSON.parse(localStorage.getItem(key)); } catch { return null; }
}

function remember(key, value) {
  try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* storage is switched off: it lasts as long as the page */ }
}

// Answers listen before questions recall the guess of an earlier visit.
const places = [...document.querySelectorAll('.gt-live')];
for (const kind of Object.keys(KINDS).toSorted()) {
  for (const el of places.filter(place => place.dataset.kind === kind)) {
    KINDS[kind](el, JSON.parse(el.querySelector('script').textContent));
  }
}

// A link to a step or a line of one of them, #its-cell.step=300, leads to it.
const linked = /^#([\w-]+)\.\w+=/.exec(location.hash)?.[1];
places.find(place => place.dataset.cell === linked)?.scrollIntoView();

// The modules know JupyterLab's mark for light and dark, and the playground in its frame has one of its own.
const root = document.documentElement, frames = [...document.querySelectorAll('iframe.gt-playground')];
function dress() {
  document.body.dataset.jpThemeLight = String(root.dataset.theme !== 'dark');
  for (const { contentDocument } of frames) {
    if (contentDocument?.documentElement) contentDocument.documentElement.dataset.theme = root.dataset.theme;
  }
}
for (const frame of frames) frame.addEventListener('load', dress);
dress();
new MutationObserver(dress).observe(root, { attributeFilter: ['data-theme'] });
