// The training step as lines of Python: how each reads, what it does on the tape, and the arrangements to start from.
import { LOSSES, slopeRatio } from './losses.js';
import { PythonError, Tensor, backward, noGrad, setMoment } from './tape.js';

// A line is { kind, on }, with `on` as the set of its switches that are on. LINES says of each kind
//   parts      what stands on the line: text, switches { name, on, off } with the text of each state, and lists of
//              these that should stay together
//   assigns    the names that it gives a value; player: whose half of the step it belongs to
//   run        what it does, with `s` as the step's scope and `on` as its switches
const detach = { name: 'detach', on: '.detach()', off: '' };
const backwardOf = (name, player) => ({
  player,
  parts: line => [`${name}.backward(`, { name: 'retain', on: 'retain_graph=True', off: '' },
    { name: 'inputs', on: `${line.on.has('retain') ? ', ' : ''}inputs=list(${player}.parameters())`, off: '' }, ')'],
  run(s, on) {
    s.backward(name, { retainGraph: on.has('retain'), inputs: on.has('inputs') ? s[player].parameters : null });
  },
});
const optimizer = player => ({
  zero: { player, parts: () => [`opt_${player}.zero_grad()`], run: s => s.optimizers[player].zeroGrad() },
  step: { player, parts: () => [`opt_${player}.step()`], run: s => s.optimizers[player].step() },
});
const [ofG, ofD] = [optimizer('G'), optimizer('D')];
const relativistic = loss => loss === 'relativistic';  // its g_loss takes the logits of real points, too

export const LINES = {
  fake: {
    player: 'G', assigns: ['fake'],
    parts: () => [{ name: 'no_grad', on: 'with torch.no_grad(): ', off: '' }, 'fake = G(z)', detach],
    run(s, on) {
      const fake = on.has('no_grad') ? noGrad(() => s.G.call(s.get('z'))) : s.G.call(s.get('z'));
      s.set('fake', on.has('detach') ? fake.detach() : fake);
    },
  },
  received: {
    player: 'G', assigns: ['received'], parts: () => ['received = fake.detach().requires_grad_()'],
    run(s) { s.set('received', Object.assign(s.get('fake').detach(), { requiresGrad: true })); },
  },
  logits: {
    player: 'D', assigns: ['logits_real', 'logits_fake'],
    parts: () => ['logits_real, logits_fake = D(real), ', ['D(fake', detach, ')']],
    run(s, on) {
      const real = s.D.call(s.get('real')), fake = s.get('fake');
      s.set('logits_real', real);
      s.set('logits_fake', s.D.call(on.has('detach') ? fake.detach() : fake));
    },
  },
  logits_received: {
    player: 'D', assigns: ['logits_real', 'logits_fake'],
    parts: () => ['logits_real, logits_fake = D(real), D(received)'],
    run(s) {
      const real = s.D.call(s.get('real')), fake = s.D.call(s.get('received'));
      s.set('logits_real', real);
      s.set('logits_fake', fake);
    },
  },
  d_loss: {
    player: 'D', assigns: ['d_loss'], parts: () => ['d_loss = d_loss_of(logits_real, logits_fake)'],
    run(s) { s.set('d_loss', LOSSES[s.loss].d(s.get('logits_real'), s.get('logits_fake'))); },
  },
  g_loss: {
    player: 'G', assigns: ['g_loss'],
    parts: (line, loss) => ['g_loss = g_loss_of(', relativistic(loss)
      ? { name: 'reuse', on: 'logits_fake, logits_real', off: 'D(fake), D(real).detach()' }
      : { name: 'reuse', on: 'logits_fake', off: 'D(fake)' }, ')'],
    run(s, on) {
      const again = !on.has('reuse'), fake = again ? s.D.call(s.get('fake')) : s.get('logits_fake');
      const ofReal = () => again ? s.D.call(s.get('real')).detach() : s.get('logits_real');
      s.set('g_loss', LOSSES[s.loss].g(fake, relativistic(s.loss) ? ofReal() : null));
    },
  },
  ratio: {
    player: 'G', assigns: ['ratio'], parts: () => ['ratio = slope_ratio(logits_fake)'],
    run(s) { s.set('ratio', slopeRatio(s.loss, s.get('logits_fake'))); },
  },
  zero_D: ofD.zero, zero_G: ofG.zero,
  d_back: backwardOf('d_loss', 'D'), g_back: backwardOf('g_loss', 'G'),
  fake_back: {
    player: 'G', parts: () => ['fake.backward(received.grad * ratio)'],
    run(s) {
      s.get('fake');
      const { grad, cols } = s.get('received'), ratio = s.get('ratio');
      if (!grad) throw new PythonError('TypeError', "unsupported operand type(s) for *: 'NoneType' and 'Tensor'");
      s.backward('fake', { gradient: grad.map((v, i) => v * ratio[Math.floor(i / cols)]) });
    },
  },
  step_D: ofD.step, step_G: ofG.step,
};

export const partsOf = (line, loss) => LINES[line.kind].parts(line, loss);
export const assigned = lines => [...new Set(lines.flatMap(line => LINES[line.kind].assigns ?? []))];

/** A line as Python. */
export function python(line, loss) {
  const text = part => typeof part === 'string' ? part : line.on.has(part.name) ? part.on : part.off;
  return partsOf(line, loss).flat().map(text).join('');
}

/** The variables of one call of the step, and what its lines use. */
class Scope {
  constructor(model, lines, real, z, watch) {
    const { G, D, opt_G, opt_D, loss } = model;
    Object.assign(this, { G, D, loss, optimizers: { G: opt_G, D: opt_D }, watch });
    this.variables = new Map([['real', real], ['z', z]]);
    this.order = ['real', 'z', ...assigned(lines)];
  }
  get(name) {
    if (this.variables.has(name)) return this.variables.get(name);
    if (!this.order.includes(name)) throw new PythonError('NameError', `name '${name}' is not defined`);
    const message = `cannot access local variable '${name}' where it is not associated with a value`;
    throw new PythonError('UnboundLocalError', message);
  }
  set(name, value) { this.variables.set(name, value); }
  backward(name, options) {
    backward(this.get(name), { ...options, added: this.watch && ((leaf, g) => this.watch.added(name, leaf, g)) });
  }
  /** The named tensors in the order of their first assignment, which is the order of Python's locals. */
  tensors() {
    return this.order.map(name => [name, this.variables.get(name)]).filter(([, value]) => value instanceof Tensor);
  }
}

/**
 * One step: `model` is { G, D, opt_G, opt_D, loss }, `real` and `z` are tensors. A Watch (ledger.js) sees every line.
 * Gives { losses: { d_loss, g_loss }, error: null or { line, error, scope } }, where `line` counts from 0.
 */
export function takeStep(model, lines, real, z, watch = null) {
  const scope = new Scope(model, lines, real, z, watch);
  let error = null;
  for (const parameter of [...model.G.parameters, ...model.D.parameters]) parameter.startStep();
  for (let i = 0; i < lines.length && !error; i++) {
    setMoment(i);
    try {
      LINES[lines[i].kind].run(scope, lines[i].on);
      watch?.after(lines[i]);
    } catch (raised) {
      if (!(raised instanceof PythonError)) throw raised;
      error = { line: i, error: raised, scope };
    }
  }
  const losses = {};
  for (const name of ['d_loss', 'g_loss']) losses[name] = scope.variables.get(name)?.item();
  return { losses, error };
}

// Arrangements --------------------------------------------------------------------------------------------------------

const HALF_D = 'zero_D.logits-detach.d_loss.d_back.step_D', HALF_G = 'zero_G.g_loss.g_back.step_G';

/** gantutor's STEPS and PITFALLS, line by line. */
export const STEPS = {
  d_first_detach: `fake.${HALF_D}.${HALF_G}`,
  d_first_retain_graph: `fake.zero_D.logits.d_loss.d_back-retain.step_D.${HALF_G}`,
  g_first_detach: `fake.${HALF_G}.${HALF_D}`,
  d_first_regenerate: `fake-no_grad.zero_D.logits.d_loss.d_back.step_D.fake.${HALF_G}`,
  simultaneous: 'fake.logits.d_loss.g_loss-reuse.zero_D.zero_G.d_back-retain-inputs.g_back-inputs.step_D.step_G',
  one_stage: 'fake.received.logits_received.d_loss.g_loss-reuse.ratio.zero_D.zero_G.d_back.fake_back.step_D.step_G',
};
export const PITFALLS = {
  d_first_same_logits: 'fake.zero_D.logits.d_loss.d_back-retain.step_D.zero_G.g_loss-reuse.g_back.step_G',
  d_first_detached_logits: `fake.${HALF_D}.zero_G.g_loss-reuse.g_back.step_G`,
  d_first_rescored: `fake.zero_D.logits.d_loss.d_back.step_D.${HALF_G}`,
  g_first_no_detach: `fake.${HALF_G}.zero_D.logits.d_loss.d_back.step_D`,
  g_first_retain_graph: 'fake.zero_G.g_loss.g_back-retain.step_G.zero_D.logits.d_loss.d_back.step_D',
  d_first_early_zero_grad: 'fake.zero_D.zero_G.logits.d_loss.d_back-retain.step_D.g_loss.g_back.step_G',
  d_first_no_zero_grad_D: `fake.logits-detach.d_loss.d_back.step_D.${HALF_G}`,
};
/** The strategy that does what a pitfall meant to do. */
export const FIXED = {
  d_first_same_logits: 'd_first_retain_graph', d_first_detached_logits: 'd_first_detach',
  d_first_rescored: 'd_first_detach', g_first_no_detach: 'g_first_detach', g_first_retain_graph: 'g_first_detach',
  d_first_early_zero_grad: 'd_first_retain_graph', d_first_no_zero_grad_D: 'd_first_detach',
};
export const ARRANGEMENTS = { ...STEPS, ...PITFALLS };
export const MOST_LINES = 24;

/** Lines from a name or from 'fake.logits-detach.…'; null for anything else. */
export function parse(text) {
  const lines = (ARRANGEMENTS[text] ?? text).split('.').filter(Boolean).map(word => {
    const [kind, ...on] = word.split('-');
    return { kind, on: new Set(on) };
  });
  const known = ({ kind, on }) => Object.hasOwn(LINES, kind) && [...on].every(name => switches(kind).includes(name));
  return lines.length <= MOST_LINES && lines.every(known) ? lines : null;
}
export const switches = kind => partsOf({ kind, on: new Set() }, '').flat().flatMap(part => part.name ?? []);

/** The name of an arrangement, or its lines as text: `parse` reads both. */
export function write(lines) {
  const text = lines.map(({ kind, on }) => [kind, ...switches(kind).filter(name => on.has(name))].join('-')).join('.');
  return Object.keys(ARRANGEMENTS).find(name => ARRANGEMENTS[name] === text) ?? text;
}
