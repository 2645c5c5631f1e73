// Evidence about a step: which loss left what in each network, line by line, and a sentence about what goes wrong.
import { python } from './step.js';
import { SECOND_TIME, graph } from './tape.js';
import { TEXT } from './texts.js';

const EARLIER = 'earlier';  // the sender of what was there before the step
const SENDER = { d_loss: 'd_loss', g_loss: 'g_loss', fake: 'g_loss' };  // one_stage sends g_loss's gradient by fake

/** Watches one step; `rows` has for each line what is in each .grad after it, { G: { sender: norm }, D: … }. */
export class Watch {
  constructor({ G, D }) {
    Object.assign(this, { networks: { G, D }, shares: new Map(), rows: [] });
    for (const p of [...G.parameters, ...D.parameters]) {
      if (p.grad) this.shares.set(p, { [EARLIER]: p.grad });
    }
  }
  added(root, leaf, gradient) {
    const shares = this.shares.get(leaf) ?? {}, sender = SENDER[root], before = shares[sender];
    shares[sender] = before ? before.map((v, i) => v + gradient[i]) : gradient;
    this.shares.set(leaf, shares);
  }
  after() {
    const row = {};
    for (const [name, { parameters }] of Object.entries(this.networks)) {
      const squares = {};
      for (const p of parameters) {
        if (!p.grad) this.shares.delete(p);
        for (const [sender, values] of Object.entries(this.shares.get(p) ?? {})) {
          squares[sender] = values.reduce((total, v) => total + v * v, squares[sender] ?? 0);
        }
      }
      row[name] = Object.fromEntries(Object.entries(squares).map(([sender, total]) => [sender, Math.sqrt(total)]));
    }
    this.rows.push(row);
  }
}

/** What a step's optimizers were given, { G: { sender: norm }, D: … }: the row before the last step() of each. */
export function applied(lines, rows) {
  const at = player => rows[lines.findLastIndex(line => line.kind === `step_${player}`)]?.[player] ?? {};
  return { G: at('G'), D: at('D') };
}

/** A sentence for each line where an optimizer moves its player on what another loss or another step has left there. */
export function mixUps(lines, rows) {
  return rows.flatMap((row, i) => {
    const { kind } = lines[i], player = kind.startsWith('step_') && kind.at(-1);
    if (!player) return [];
    const own = player === 'G' ? 'g_loss' : 'd_loss', senders = Object.keys(row[player]);
    if (!senders.length) return [{ line: i, text: TEXT.noGradient(player) }];
    const never = !lines.some(line => line.kind === `zero_${player}`);
    const sentenceOn = sender => TEXT.mixUp[sender === EARLIER && never ? 'never' : sender](player);
    const said = senders.filter(sender => sender !== own).map(sentenceOn);
    return said.length ? [{ line: i, text: [...said, TEXT.silent].join(' ') }] : [];
  });
}

/** The ledger's sentence about autograd's two famous errors (gantutor.ledger has the same), "" for another error. */
export function explain(lines, loss, { line, error, scope }) {
  if (!error.failure) return '';
  const place = i => ({ number: i + 1, text: python(lines[i], loss) });
  const { node, saved } = error.failure, freed = error.message === SECOND_TIME;
  const by = freed ? node.freed : saved.tensor.changedAfter(saved.version);
  const about = { needed: place(line), graphOf: graphOf(node, scope), made: place(node.moment), by: place(by) };
  return freed ? TEXT.freed(about) : TEXT.stale({ ...about, tensor: saved.tensor.name });
}

/** The named tensor that the node helped to make: the one with the smallest graph that holds it. */
function graphOf(node, scope) {
  let best = { size: Infinity, name: '' };
  for (const [name, tensor] of scope.tensors()) {
    const nodes = graph(tensor);
    if (nodes.includes(node) && nodes.length < best.size) best = { size: nodes.length, name };
  }
  return best.name;
}
