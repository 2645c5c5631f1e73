// The course's losses that need no second derivative, as in gantutor/losses.py: in JavaScript for the page, in Python
// for the script. `ratio` is missing where no factor turns D's gradient into G's: `noRatio` says why.
import { PythonError, add, affine, floats, logSigmoid, mean, relu, square } from './tape.js';

const negative = x => affine(x, -1);
const minusLog = x => negative(mean(logSigmoid(x)));  // mean(-log(sigmoid(x)))
const half = x => affine(x, 0.5);

export const LOSSES = {
  minimax: {
    d: (real, fake) => add(negative(mean(logSigmoid(real))), mean(logSigmoid(negative(fake))), -1),
    g: fake => mean(logSigmoid(negative(fake))),
    ratio: () => -1,
    python: {
      d: '-F.logsigmoid(logits_real).mean() - F.logsigmoid(-logits_fake).mean()',
      g: 'F.logsigmoid(-logits_fake).mean()', ratio: '-torch.ones_like(logits_fake)',
    },
  },
  'non-saturating': {
    d: (real, fake) => add(negative(mean(logSigmoid(real))), mean(logSigmoid(negative(fake))), -1),
    g: minusLog,
    ratio: logit => -Math.exp(-Math.max(logit, -64)),
    python: {
      d: '-F.logsigmoid(logits_real).mean() - F.logsigmoid(-logits_fake).mean()',
      g: '-F.logsigmoid(logits_fake).mean()', ratio: '-torch.exp(-logits_fake.clamp(min=-64))',
    },
  },
  lsgan: {
    d: (real, fake) => add(half(mean(square(affine(real, 1, -1)))), half(mean(square(fake)))),
    g: fake => half(mean(square(affine(fake, 1, -1)))),
    noRatio: "lsgan has no slope ratio: at a fake's logit of 0 D's slope is 0, but G's is -1",
    python: {
      d: '(logits_real - 1).square().mean() / 2 + logits_fake.square().mean() / 2',
      g: '(logits_fake - 1).square().mean() / 2',
    },
  },
  hinge: {
    d: (real, fake) => add(mean(relu(affine(real, -1, 1))), mean(relu(affine(fake, 1, 1)))),
    g: fake => negative(mean(fake)),
    noRatio: "hinge has no slope ratio: at a fake's logit below -1 D's slope is 0, but G's is -1",
    python: { d: 'F.relu(1 - logits_real).mean() + F.relu(1 + logits_fake).mean()', g: '-logits_fake.mean()' },
  },
  wgan: {
    d: (real, fake) => add(mean(fake), mean(real), -1),
    g: fake => negative(mean(fake)),
    ratio: () => -1,
    python: {
      d: 'logits_fake.mean() - logits_real.mean()', g: '-logits_fake.mean()', ratio: '-torch.ones_like(logits_fake)',
    },
  },
  relativistic: {
    d: (real, fake) => minusLog(add(real, fake, -1)),
    g: (fake, real) => minusLog(add(fake, real, -1)),
    noRatio: 'relativistic has no slope ratio: the slope at a fake depends on the real image that it is paired with',
    python: {
      d: '-F.logsigmoid(logits_real - logits_fake).mean()', g: '-F.logsigmoid(logits_fake - logits_real).mean()',
    },
  },
};

/** (dL_G/dlogit) / (dL_D/dlogit) at each fake's logit, as numbers. Raises Python's ValueError where there is none. */
export function slopeRatio(loss, logits) {
  const { ratio, noRatio } = LOSSES[loss];
  if (!ratio) throw new PythonError('ValueError', noRatio);
  return floats(logits.data.length).map((_, i) => ratio(logits.data[i]));
}
