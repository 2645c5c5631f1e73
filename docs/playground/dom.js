// Small helpers for the page's elements.

/** An element with attributes (functions become listeners, null is left out) and children (elements or text). */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const button = (text, click, attributes = {}) => make('button', { type: 'button', click, ...attributes }, text);

/** A select with its label; `groups` is { '': { value: text }, heading: { value: text } }. */
export function choice(label, groups, change) {
  const options = Object.entries(groups).flatMap(([heading, entries]) => {
    const inside = Object.entries(entries).map(([value, text]) => make('option', { value }, text));
    return heading ? [make('optgroup', { label: heading }, ...inside)] : inside;
  });
  const select = make('select', { 'aria-label': label, change: () => change(select.value) }, ...options);
  return [make('label', { class: 'field' }, make('span', {}, label), select), select];
}

/** Copies text; where the page may not use the clipboard (no https, a frame), by the old way of selecting it. */
export async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make('textarea', { class: 'hidden' });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

const KNOWN = { D: /^(D|opt_D|d_loss|d_loss_of)$/, G: /^(G|opt_G|g_loss|g_loss_of|ratio|slope_ratio)$/,
  real: /^(real|logits_real)$/, fake: /^(fake|received|logits_fake)$/ };

/** Python with the course's names in the course's colours. */
export function coloured(text) {
  return text.split(/(\w+)/).map(word => {
    const kind = Object.keys(KNOWN).find(name => KNOWN[name].test(word));
    return kind ? make('span', { class: `of-${kind}` }, word) : word;
  });
}

/** A sentence: what stands between backticks is code. */
export function sentence(text) {
  return text.split(/(`[^`]+`)/).map(part => part[0] === '`' ? make('code', {}, ...coloured(part.slice(1, -1))) : part);
}
