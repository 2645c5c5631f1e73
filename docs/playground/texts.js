// Every text of the interface.
const LOSS = { earlier: 'earlier steps', d_loss: 'd_loss', g_loss: 'g_loss' };
const line = ({ number, text }) => `${number}, \`${text}\`,`;
const ofGraph = (graphOf, made) => graphOf ? `the graph of \`${graphOf}\`` : `a graph made on line ${made.number}`;

export const TEXT = {
  title: 'GAN playground',
  claim: 'Drag the lines of a training step. It trains on, or it stops with PyTorch’s own error.',
  open: 'Open the playground',

  // the ledger's sentences; gantutor.ledger has the same
  freed: ({ needed, graphOf, made, by }) => `Line ${line(needed)} goes back through ${ofGraph(graphOf, made)}, but ` +
    `line ${line(by)} has gone through it before and freed what it had saved.`,
  stale: ({ needed, graphOf, made, by, tensor }) => `Line ${line(needed)} goes back through ` +
    `${ofGraph(graphOf, made)}, which needs \`${tensor}\` as it was on line ${made.number}, but line ${line(by)} has ` +
    'changed it in place since.',
  mixUp: {
    d_loss: player => `${player} is moved by \`d_loss\`, too.`,
    g_loss: player => `${player} is moved by \`g_loss\`, too.`,
    earlier: player => `${player} is moved by what earlier steps have left in it, too.`,
    never: player => `Nothing in this step clears the gradient of ${player}. Each step moves ${player} on the sum of ` +
      'all before.',
  },
  silent: 'Nothing raises.',
  noGradient: player => `${player} holds no gradient here, so this line moves nothing.`,

  // controls
  start: 'Start from', working: 'Strategies that work', pitfalls: 'Pitfalls', own: 'Your own order', loss: 'Loss',
  optimizer: 'Optimizer', lr_G: 'lr G', lr_D: 'lr D', seed: 'Seed', rate: 'Speed',
  rates: { 1: '1 step/s', 10: '10 steps/s', max: 'full speed' },
  play: 'Play', pause: 'Pause', step: 'Step', reset: 'Reset', undo: 'Undo', fix: name => `What was meant: ${name}`,
  stepHelp: 'Take one step', resetHelp: 'Begin again from the seed', undoHelp: 'Take back the last change of the lines',
  copy: 'Copy as PyTorch', copied: 'Copied', share: 'Copy link', shared: 'Link copied', theme: 'Light or dark',
  settings: 'Settings and curves',

  // the lines
  lines: 'The training step',
  help: 'Drag a line, or move it by the arrow keys. Click a dashed part to switch it on.',
  ask: 'Will it train?', dares: {
    d_first_rescored: 'No detach', d_first_same_logits: 'Reuse logits',
    d_first_early_zero_grad: 'Clear both first', simultaneous: 'Both at once',
  },
  move: (text, n, of) => `Line ${n} of ${of}: ${text}. Arrow up or down moves it, Delete removes it.`,
  moved: (text, n) => `${text} is now line ${n}.`,
  remove: (text, n) => `Remove line ${n}: ${text}`, removed: text => `${text} is removed.`,
  add: text => `Add ${text} at the end`, added: text => `${text} is the last line now.`, spare: 'Add a line',
  held: 'gradient in', holds: (player, shares) => `${player} holds ${shares || 'no gradient'}`,
  switch: { detach: '.detach()', retain: 'retain_graph=True', inputs: 'inputs=', no_grad: 'torch.no_grad()',
    reuse: 'logits_fake instead of D(fake)' },
  ghost: { detach: '.detach()', retain: 'retain_graph', inputs: 'inputs', no_grad: 'no_grad' },

  // pictures
  plane: 'The plane', layers: { field: 'D’s verdict', grid: 'G’s grid', reals: 'real', fakes: 'fake' },
  losses: 'Losses', gradients: 'What moves each player', from: sender => `from ${LOSS[sender]}`,
  movesBy: player => `opt_${player}.step() moves ${player} by`, notMoved: player => `${player} is not moved`,
  steps: n => `step ${n.toLocaleString('en')}`, perSecond: n => `${Math.round(n).toLocaleString('en')} steps/s`,
  modes: n => `${n} of 8 modes`,
  planeAlt: (steps, modes) => `After ${steps} steps G covers ${modes} of the 8 modes of the ring.`,
  lossesAlt: (d, g) => `d_loss is ${d}, g_loss is ${g}.`,
  stopped: (n, message) => `Stopped at line ${n}: ${message}`, stoppedAt: n => `stopped at line ${n}`,
  saysFake: 'fake', saysReal: 'real',
  pytorchSays: 'What PyTorch says',
  exact: 'Held to PyTorch by tests: the same numbers, the same errors, at the same line.',

  about: {
    d_first_detach: 'D first. detach ends D’s backward at the fake; G’s half scores the same fake again.',
    d_first_retain_graph: 'D first, no detach: D’s backward runs on into G, so it must keep G’s graph.',
    g_first_detach: 'G first, against a D that has not seen this batch; then D on the same fake, detached.',
    d_first_regenerate: 'D first, on a fake made without a graph; G makes the same fake again.',
    simultaneous: 'Both backwards on one graph, before either player moves; inputs= keeps them apart.',
    one_stage: 'One backward through D serves both players; G’s part is rescaled at the fake.',
    d_first_same_logits: 'Keeps the graph and uses D’s logits for both players, with D’s update in between.',
    d_first_detached_logits: 'Takes G’s loss on the logits of the detached fake.',
    d_first_rescored: '“D(fake) is computed again, so neither retain_graph nor detach is needed.”',
    g_first_no_detach: '“G first needs no detach, since the optimizers are separate.”',
    g_first_retain_graph: 'G first with retain_graph=True, as the error message proposes.',
    d_first_early_zero_grad: 'Clears both gradients first. Nothing raises, but G moves on both losses.',
    d_first_no_zero_grad_D: 'Never clears D’s gradients. Nothing raises, but D moves on a growing sum.',
  },
  names: {
    d_first_detach: 'D first, detach', d_first_retain_graph: 'D first, retain_graph', g_first_detach: 'G first, detach',
    d_first_regenerate: 'D first, fake made twice', simultaneous: 'Simultaneous', one_stage: 'One stage',
    d_first_same_logits: 'D first, same logits twice', d_first_detached_logits: 'D first, detached logits',
    d_first_rescored: 'D first, only scored again', g_first_no_detach: 'G first, no detach',
    g_first_retain_graph: 'G first, retain_graph', d_first_early_zero_grad: 'D first, zero_grad too early',
    d_first_no_zero_grad_D: 'D first, D never cleared',
  },
};
