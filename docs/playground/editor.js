// The step on the page: lines that are dragged, moved by the keyboard, switched, removed and added.
import { button, coloured, make, sentence } from './dom.js';
import { LINES, MOST_LINES, partsOf, python } from './step.js';
import { TEXT } from './texts.js';

const SENDERS = ['d_loss', 'g_loss', 'earlier'];

export class Editor {
  /** `changed(lines)` is called after each change, `say(text)` tells a screen reader, `ways()` lead out of an error. */
  constructor({ changed, say, ways }) {
    Object.assign(this, { changed, say, ways, lines: [], loss: '', items: [], drag: null });
    this.list = make('ol', { class: 'lines', 'aria-label': TEXT.lines });
    this.spare = make('div', { class: 'spare' });
    const more = make('details', { class: 'more' }, make('summary', {}, TEXT.spare), this.spare);
    const heads = make('p', { class: 'heads', 'aria-hidden': 'true' }, TEXT.held, ...['D', 'G'].map(name =>
      make('b', { class: `of-${name}` }, name)));
    this.element = make('div', { class: 'editor' }, heads, this.list, more);
    for (const [type, listen] of Object.entries({ pointerdown: this.grab, pointermove: this.pull, pointerup: this.drop,
      pointercancel: this.cancel, keydown: this.key })) this.list.addEventListener(type, listen.bind(this));
    addEventListener('keydown', event => { if (event.key === 'Escape') this.cancel(); });
  }

  /** Shows lines; the focus stays where it was. */
  show(lines, loss) {
    const focus = document.activeElement?.dataset?.place;
    Object.assign(this, { lines, loss, annotated: '' });
    this.items = lines.map((line, i) => this.item(line, i));
    this.list.replaceChildren(...this.items);
    this.spare.replaceChildren(...Object.keys(LINES).map(kind => {
      const text = python({ kind, on: new Set() }, loss);
      return make('button', { type: 'button', class: 'add', 'aria-label': TEXT.add(text), click: () => this.add(kind) },
        '+ ', ...coloured(text));
    }));
    if (focus) this.list.querySelector(`[data-place="${focus}"]`)?.focus();
  }

  item(line, i) {
    const text = python(line, this.loss);
    const shown = part => Array.isArray(part) ? [make('span', { class: 'whole' }, ...part.flatMap(shown))]
      : typeof part === 'string' ? coloured(part) : this.chip(line, i, part);
    const isLast = part => part.name === 'no_grad' && !line.on.has('no_grad');  // what is off does not precede the code
    const all = partsOf(line, this.loss);
    const parts = [...all.filter(part => !isLast(part)), ...all.filter(isLast)].flatMap(shown);
    const handle = button('⠿', () => {}, { class: 'handle', 'data-place': `handle-${i}`,
      'aria-label': TEXT.move(text, i + 1, this.lines.length) });
    const bars = () => SENDERS.map(sender => make('i', { class: `from-${sender}` }));
    const held = ['D', 'G'].map(player => make('span', { class: 'in', 'data-in': player }, ...bars()));
    return make('li', { class: 'line', 'data-player': LINES[line.kind].player }, handle,
      make('span', { class: 'number', 'aria-hidden': 'true' }, String(i + 1)),
      make('code', {}, ...parts), make('span', { class: 'held' }, ...held),
      button('×', () => this.remove(i), { class: 'remove', 'aria-label': TEXT.remove(text, i + 1) }),
      make('div', { class: 'note', hidden: '' }));
  }

  chip(line, i, { name, on, off }) {
    const isOn = line.on.has(name), text = isOn ? on : off, comma = text.startsWith(', ') ? ', ' : '';
    const chip = make('button', { type: 'button', class: off ? 'chip swap' : 'chip', 'aria-pressed': String(isOn),
      'data-place': `chip-${i}-${name}`, 'aria-label': text ? null : TEXT.switch[name], title: TEXT.switch[name],
      click: () => this.toggle(i, name) }, ...text ? coloured(text.slice(comma.length)) : [TEXT.ghost[name]]);
    return [comma, chip];
  }

  // Changes -----------------------------------------------------------------------------------------------------------

  commit(lines, said) {
    this.show(lines, this.loss);
    this.changed(lines);
    if (said) this.say(said);
  }
  toggle(i, name) {
    const on = new Set(this.lines[i].on);
    if (!on.delete(name)) on.add(name);
    this.commit(this.lines.with(i, { ...this.lines[i], on }));
  }
  remove(i) {
    const text = python(this.lines[i], this.loss);
    this.commit(this.lines.toSpliced(i, 1), TEXT.removed(text));
    this.list.querySelector(`[data-place="handle-${Math.min(i, this.lines.length - 1)}"]`)?.focus();
  }
  add(kind) {
    if (this.lines.length >= MOST_LINES) return;
    const line = { kind, on: new Set() };
    this.commit([...this.lines, line], TEXT.added(python(line, this.loss)));
    this.items.at(-1).scrollIntoView({ block: 'nearest' });
  }
  move(from, to) {
    if (to < 0 || to >= this.lines.length || to === from) return;
    const line = this.lines[from];
    this.commit(this.lines.toSpliced(from, 1).toSpliced(to, 0, line), TEXT.moved(python(line, this.loss), to + 1));
    this.list.querySelector(`[data-place="handle-${to}"]`).focus();
  }

  key(event) {
    const [role, place] = (event.target.dataset.place ?? '').split('-'), i = Number(place);
    if (role !== 'handle') return;
    const moves = { ArrowUp: i - 1, ArrowDown: i + 1, Home: 0, End: this.lines.length - 1 };
    if (event.key in moves) this.move(i, moves[event.key]);
    else if (event.key === 'Delete' || event.key === 'Backspace') this.remove(i);
    else return;
    event.preventDefault();
  }

  // Dragging: a mouse takes a line anywhere, a finger takes its handle ------------------------------------------------

  grab(event) {
    const item = event.target.closest('.line'), handle = event.target.closest('.handle');
    if (!item || event.button !== 0 || event.target.closest('.note, .chip, .remove')) return;
    if (!handle && event.pointerType !== 'mouse') return;
    const boxes = this.items.map(each => each.getBoundingClientRect()), from = this.items.indexOf(item);
    this.drag = { item, from, to: from, start: event.clientY + scrollY, boxes, id: event.pointerId };
    this.list.setPointerCapture(event.pointerId);
    if (handle) handle.focus();
    event.preventDefault();
  }

  pull(event) {
    if (!this.drag || event.pointerId !== this.drag.id) return;
    const { item, from, start, boxes } = this.drag;
    if (event.clientY < 60) scrollBy(0, -10);
    if (event.clientY > innerHeight - 40) scrollBy(0, 10);
    const shift = event.clientY + scrollY - start, centre = box => box.top + box.height / 2;
    const to = boxes.filter((box, i) => i !== from && centre(box) < centre(boxes[from]) + shift).length;
    this.drag.to = to;
    this.list.classList.add('dragging');
    item.classList.add('dragged');
    const room = boxes[from].height + 2;  // what the others make for it
    this.items.forEach((each, i) => {
      const away = i > from && i <= to ? -room : i < from && i >= to ? room : 0;
      each.style.transform = `translateY(${each === item ? shift : away}px)`;
    });
  }

  drop(event) {
    if (!this.drag || event.pointerId !== this.drag.id) return;
    const { from, to } = this.drag;
    this.cancel();
    this.move(from, to);
  }

  cancel() {
    if (!this.drag) return;
    this.list.classList.remove('dragging');
    this.drag.item.classList.remove('dragged');
    for (const each of this.items) each.style.transform = '';
    this.drag = null;
  }

  // What the run says about the lines ---------------------------------------------------------------------------------

  /** `rows` are a Watch's, `notes` [{ line, text }], `error` { line, type, message, sentence } or null. */
  annotate({ rows, notes, error }) {
    const key = JSON.stringify([rows, notes, error]);
    if (key === this.annotated) return;
    this.annotated = key;
    const highest = player => Math.max(1e-12, ...rows.flatMap(row => Object.values(row[player])));
    const full = { D: highest('D'), G: highest('G') };
    this.items.forEach((item, i) => {
      for (const cell of item.querySelectorAll('.in')) {
        const player = cell.dataset.in, shares = rows[i]?.[player] ?? {};
        SENDERS.forEach((sender, k) => {
          cell.children[k].style.width = `${100 * (shares[sender] ?? 0) / full[player]}%`;
        });
        const words = Object.entries(shares).map(([sender, norm]) => `${norm.toPrecision(2)} ${TEXT.from(sender)}`);
        cell.title = TEXT.holds(player, words.join(', '));
      }
      this.note(item, error?.line === i ? error : null, notes.find(note => note.line === i));
    });
  }

  note(item, error, warning) {
    const box = item.querySelector('.note'), key = error ? error.message + error.sentence : warning?.text ?? '';
    item.classList.toggle('raises', Boolean(error));
    item.classList.toggle('warns', Boolean(warning));
    if (box.dataset.key === key || (!key && box.hidden)) return;
    box.dataset.key = key;
    box.hidden = !key;
    if (!key) return;
    const exact = error && `${error.type}: ${error.message}`, says = error ? error.sentence || exact : warning.text;
    const more = make('details', {}, make('summary', {}, TEXT.pytorchSays), make('pre', {}, exact));
    box.replaceChildren(make('p', {}, ...sentence(says)), ...error?.sentence ? [more] : [],
      make('p', { class: 'buttons' }, ...this.ways()));
  }
}
