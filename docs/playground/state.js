// What is set, as the page's address: #step=d_first_detach&loss=hinge&seed=3. What is not said has its default.
import { LOSSES } from './losses.js';
import { parse, write } from './step.js';

export const DEFAULTS = {
  step: 'd_first_detach', loss: 'non-saturating', optimizer: 'adam', lr_G: 1e-3, lr_D: 1e-3, seed: 0, rate: 'max',
};
const rate = text => Number(text) >= 1e-5 && Number(text) <= 1 ? Number(text) : null;
const READ = {  // each gives null for what it does not know
  step: text => parse(text) && write(parse(text)),
  loss: text => Object.hasOwn(LOSSES, text) ? text : null,
  optimizer: text => ['adam', 'sgd'].includes(text) ? text : null,
  lr_G: rate, lr_D: rate,
  seed: text => /^\d{1,6}$/.test(text) ? Number(text) : null,
  rate: text => ['1', '10', 'max'].includes(text) ? text : null,
};

export function readState(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ''));
  return Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) =>
    [name, (given.has(name) ? READ[name](given.get(name)) : null) ?? value]));
}

export function writeState(state) {
  const set = Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name]);
  return set.length ? `#${set.map(([name, value]) => `${name}=${value}`).join('&')}` : '';
}
