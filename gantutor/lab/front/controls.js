// The settings: a row for each, a control in it for each run, made from what the kernel declares.

import { fill, KEYS, make, short } from './dom.js';

// `choose(run, field, value)` is called when a person moves a control. Returns { element, update(state, pending) }.
export function settings(scene, texts, choose) {
  const fields = new Map();
  scene.controls.forEach((controls, run) => controls.forEach(about => {
    if (!fields.has(about.name)) fields.set(about.name, []);
    fields.get(about.name)[run] = about;
  }));
  const runs = scene.controls.length, updates = [], groups = { live: [], late: [] };
  for (const [name, abouts] of fields) {
    const first = abouts.find(Boolean), id = `gt-${Math.random().toString(36).slice(2)}`;
    const label = make('label', { for: runs === 1 ? id : null, title: first.help }, first.label);
    const cells = scene.controls.map((_, run) => {
      const about = abouts[run];
      if (!about) return make('span', {});
      const says = runs === 1 ? null : fill(texts.of_run, { label: about.label, run: scene.labels[run] });
      const control = KINDS[about.kind](about, value => choose(run, name, value), { id: runs === 1 ? id : null, says });
      updates.push((state, pending) => {
        const value = pending.get(`${run} ${name}`) ?? state.values[run][name];
        control.update(value, state.refusals[run][name] ?? {}, texts);
      });
      const parts = about.why ? [control.element, ...control.element.querySelectorAll('*')] : [];
      parts.forEach(part => { part.disabled = true; part.title = about.why; });
      return control.element;
    });
    groups[first.live ? 'live' : 'late'].push(make('div', { class: 'gt-setting', title: first.help }, label, ...cells));
  }
  const heads = runs === 1 ? [] : [make('div', { class: 'gt-setting gt-heads' }, make('span'),
    ...scene.labels.map(label => make('b', {}, label)))];
  const element = make('section', { class: 'gt-settings', 'aria-label': texts.settings, style: `--gt-runs: ${runs}` },
    ...heads, ...groups.live, make('p', {}, texts.at_reset), ...groups.late);
  return { element, update: (state, pending) => updates.forEach(update => update(state, pending)) };
}

// A choice that is not possible now stays in the list, grey, with its reason: who picks it is told, and nothing changes.
function choice(about, choose, { id, says }) {
  const options = about.options.map((text, i) => make('option', { value: i }, text));
  const element = make('select', {
    id, 'aria-label': says, title: about.help, onchange: () => choose(Number(element.value)), ...KEYS,
  }, ...options);
  return {
    element,
    update(value, refused, texts) {
      if (element.value !== String(value)) element.value = String(value);
      options.forEach((option, i) => {
        const reason = refused[i] ? fill(texts.refused, { reason: refused[i] }) : '';
        if (option.title === reason) return;
        option.title = reason;
        option.classList.toggle('gt-refused', Boolean(reason));
        option.textContent = reason ? `⊘ ${about.options[i]}` : about.options[i];
      });
    },
  };
}

function several(about, choose, { says }) {
  let now = [];
  const buttons = about.options.map(name => make('button', {
    type: 'button', 'aria-pressed': 'false', ...KEYS,
    onclick: () => choose(now.includes(name) ? now.filter(other => other !== name) : [...now, name]),
  }, name));
  const element = make('div', { class: 'gt-several', role: 'group', 'aria-label': says ?? about.label }, ...buttons);
  return {
    element,
    update(value, refused, texts) {
      now = value;
      buttons.forEach((button, i) => {
        button.setAttribute('aria-pressed', String(value.includes(about.options[i])));
        button.title = refused[i] ? fill(texts.refused, { reason: refused[i] }) : about.help;
        button.classList.toggle('gt-refused', Boolean(refused[i]));
      });
    },
  };
}

// A slider, with its value beside it. While it is pulled it shows its own value; the run gets the one it is left at.
function slider(about, choose, { id, says }, toValue, fromValue) {
  const input = make('input', {
    type: 'range', id, 'aria-label': says, title: about.help, min: about.low, max: about.high, step: about.step,
    oninput: () => say(toValue(Number(input.value))), onchange: () => { pulled = false; choose(toValue(Number(input.value))); },
    onpointerdown: () => { pulled = true; }, onpointerup: () => { pulled = false; }, ...KEYS,
  });
  let pulled = false;
  const text = make('output', {});
  function say(value) {
    text.textContent = short(value);
    input.setAttribute('aria-valuetext', short(value));
  }
  return {
    element: make('span', { class: 'gt-slider' }, input, text),
    update(value) {
      if (pulled) return;
      input.value = String(fromValue(value));
      say(value);
    },
  };
}

function number(about, choose, { id, says }) {
  const element = make('input', {
    type: 'number', id, 'aria-label': says, title: about.help, min: about.low, max: about.high, step: about.step, ...KEYS,
    onchange: () => { if (element.value !== '' && element.checkValidity()) choose(Number(element.value)); },
  });
  return {
    element,
    update(value) { if (document.activeElement !== element || element.value === '') element.value = String(value); },
  };
}

const KINDS = {
  choice,
  several,
  number,
  range: (about, choose, names) => slider(about, choose, names, value => value, value => value),
  log: (about, choose, names) => slider(about, choose, names, value => Number((10 ** value).toPrecision(6)), Math.log10),
};
