// Elements, and the colours of the page.

const SVG = 'http://www.w3.org/2000/svg';

// make('button', { class: 'x', onclick: f }, 'Play'): attributes, listeners, children.
export function make(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), attributes, children);
}

function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter(child => child !== null && child !== ''));
  return element;
}

// What takes the keyboard: JupyterLab leaves the keys of such an element alone.
export const KEYS = { 'data-lm-suppress-shortcuts': 'true' };

// What is measured on the page holds until `layoutChanged()`: asked in every frame, the page would be laid out each time.
let layouts = 0;

export function layoutChanged() {
  layouts += 1;
}

export function measured(element, measure) {
  if (element.measuredIn !== layouts) {
    element.measured = measure(element);
    element.measuredIn = layouts;
  }
  return element.measured;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Text in which `code` is written as such.
export function coded(text) {
  return text.split(/`([^`]*)`/).map((part, i) => i % 2 ? make('code', {}, part) : part);
}

// 'step {step}' with { step: 3 } is 'step 3'.
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// Four digits at the most, and a power of ten where it is shorter: 0.001 is 1.0e-3.
export function short(number) {
  if (!Number.isFinite(number)) return String(number);
  const size = Math.abs(number);
  return size !== 0 && (size < 0.01 || size >= 1e5) ? number.toExponential(1) : String(Number(number.toPrecision(3)));
}

// The colours that `names` have on an element, as the page's theme and panel.css set them.
export function colours(element, names) {
  const style = getComputedStyle(element);
  return Object.fromEntries(names.map(name => [name, style.getPropertyValue(`--gt-${name}`).trim() || style.color]));
}
