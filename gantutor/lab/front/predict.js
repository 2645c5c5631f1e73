// A question with its options as buttons; the guess is kept, and the verdict stands below the buttons.
//
// In anywidget's form: render({ model, el }). The model needs get, set, save_changes, on and send, and has
//   question   text; what stands between backticks is code
//   options    the buttons' texts
//   guess      the number of the option that was chosen, or null
//   verdict    null until the answer may be shown, then { passed, truth, why }: `truth` is an option's number, and `why`
//              is empty where the reason stands elsewhere on the page
//   verdicts   null, or a list with the verdict on each option
//
// With a kernel, `verdicts` is null: a click sends { guess: number }, and the kernel sets `guess` and, once the run has
// shown the truth, `verdict`. A page without a kernel gives `verdicts` instead. The module then sets `guess` and
// `verdict` itself, and keeps the guess in the browser's localStorage, by the page's path and the question.
// It asks nothing of the network, and its colours are those of the text around it, so it is light or dark as the page is.

const STYLE = `
.gt-predict { margin: 4px 0; padding: 2px 0 2px 12px; max-width: 44em; line-height: 1.45;
  border-left: 4px solid color-mix(in srgb, currentColor 45%, transparent);
  color: var(--jp-content-font-color1, inherit);
  font-family: var(--jp-content-font-family, inherit); font-size: var(--jp-content-font-size1, inherit); }
.gt-predict p { margin: 0 0 6px; font-weight: 600; }
.gt-predict code { font-family: var(--jp-code-font-family, monospace); font-size: .93em; background: none; color: inherit; }
.gt-predict-options { display: flex; flex-wrap: wrap; gap: 6px; }
.gt-predict button { min-height: 32px; padding: 3px 12px; border-radius: 6px; cursor: pointer; text-align: left;
  border: 1px solid color-mix(in srgb, currentColor 45%, transparent);
  background: transparent; color: inherit; font: inherit; overflow-wrap: anywhere; }
.gt-predict button:hover:not([aria-disabled=true]) { background: color-mix(in srgb, currentColor 10%, transparent); }
.gt-predict button:focus-visible { outline: 3px solid var(--jp-brand-color1, Highlight); outline-offset: 2px; }
.gt-predict button[aria-pressed=true] { box-shadow: inset 0 0 0 2px currentColor; font-weight: 600;
  background: color-mix(in srgb, currentColor 12%, transparent); }
.gt-predict button[aria-disabled=true] { cursor: default; }
.gt-predict-status { min-height: 1.45em; margin-top: 4px; }
`;
const WAITS = 'Waiting for the kernel: is a cell running?';
const NOTED = 'Your guess is noted. The answer comes further down.';
const MOVES = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

function withCode(element, text) {
  text.split('`').forEach((part, i) => {
    const piece = document.createElement(i % 2 ? 'code' : 'span');
    piece.textContent = part;
    element.append(piece);
  });
  return element;
}

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function render({ model, el }) {
  const question = model.get('question'), options = model.get('options'), verdicts = model.get('verdicts');
  const key = `gantutor-guess:${location.pathname}:${question}`;
  let sent = null;  // a guess that the kernel has not answered yet

  const status = make('div', { class: 'gt-predict-status', role: 'status' });
  const buttons = options.map((option, i) => {
    const button = withCode(make('button', { type: 'button', 'data-lm-suppress-shortcuts': 'true' }), option);
    button.addEventListener('click', () => choose(i));
    button.addEventListener('keydown', event => {
      const move = MOVES[event.key];
      if (!move) return;
      buttons[(i + move + buttons.length) % buttons.length].focus();
      event.preventDefault();
    });
    return button;
  });
  const group = make('div', { class: 'gt-predict-options', role: 'group', 'aria-label': question }, ...buttons);
  const style = make('style', {}, STYLE);
  el.append(make('div', { class: 'gt-predict' }, style, withCode(make('p', {}), question), group, status));

  function choose(i) {
    if (model.get('verdict')) return;
    if (!verdicts) {
      sent = i;
      model.send({ guess: i });
    } else {
      model.set('guess', i);
      model.set('verdict', verdicts[i]);
      model.save_changes();
      keep(i);
    }
    show();
  }

  function show() {
    const guess = model.get('guess'), verdict = model.get('verdict');
    if (guess === sent) sent = null;
    const chosen = sent ?? guess;
    buttons.forEach((button, i) => {
      button.setAttribute('aria-pressed', String(i === chosen));
      button.setAttribute('aria-disabled', String(Boolean(verdict)));
    });
    const text = verdict ? said(verdict) : sent !== null ? WAITS : guess !== null ? NOTED : '';
    if (status.textContent !== text.replaceAll('`', '')) status.replaceChildren(withCode(make('span', {}), text));
  }

  function said({ passed, truth, why }) {
    return `${passed ? '✓ Right.' : `✗ The run says: ${options[truth]}.`} ${why}`.trim();
  }

  function keep(i) {
    try { localStorage.setItem(key, String(i)); } catch { /* storage is switched off: the guess lasts as long as the page */ }
  }

  function kept() {
    try { return localStorage.getItem(key); } catch { return null; }
  }

  model.on('change:guess', show);
  model.on('change:verdict', show);
  const before = verdicts && kept();
  if (before !== null && verdicts?.[before]) choose(Number(before));
  show();
  return () => {
    model.off?.('change:guess', show);
    model.off?.('change:verdict', show);
  };
}
export default { render };
