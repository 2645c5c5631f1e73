// The worker: trains between two messages, and sends a frame when the page has drawn the one before.
import { Training } from './training.js';

const SLICE = 12;  // milliseconds of training between two looks at the messages
const FRAME = 40;  // milliseconds between two frames, at least
let training = null, playing = false, rate = Infinity, due = 0, scheduled = false;
let drawn = true, changed = false, lastFrame = 0, order = 0;
const clock = { since: 0, steps: 0, perSecond: 0 };
const { port1, port2 } = new MessageChannel();  // a timer would wait 4 ms each time
port1.onmessage = turn;

onmessage = ({ data }) => {
  if (data.start) training = new Training(data.start);
  if (data.apply) training.apply(data.apply);
  if ('rate' in data) [rate, due] = [data.rate ?? Infinity, 0];
  if ('playing' in data) {
    playing = data.playing;
    Object.assign(clock, { since: performance.now(), steps: 0, perSecond: 0 });
  }
  order = data.order ?? order;
  if (data.drawn) drawn = true;
  if (data.step && !playing) training.step(true);
  if (!data.drawn) changed = true;
  schedule(0);
};

function schedule(delay) {
  if (scheduled || !training) return;
  scheduled = true;
  delay ? setTimeout(turn, delay) : port2.postMessage(null);
}

function turn() {
  scheduled = false;
  const started = performance.now();
  if (playing && !training.error && started >= due) {
    const before = training.steps;
    do training.step(rate < 60 || performance.now() - started > SLICE - 3 && frameIsDue(started));
    while (rate === Infinity && !training.error && performance.now() - started < SLICE);
    due = Math.max(due + 1000 / rate, started);
    count(training.steps - before);
    changed = true;
  }
  if (changed && frameIsDue(performance.now())) send();
  if (playing && !training.error) schedule(rate === Infinity ? 0 : Math.min(Math.max(due - performance.now(), 1), 50));
  else if (changed && drawn) schedule(FRAME);
}

const frameIsDue = now => drawn && now - lastFrame >= FRAME;

function count(steps) {
  clock.steps += steps;
  const seconds = (performance.now() - clock.since) / 1000;
  if (seconds > 0.5) Object.assign(clock, { perSecond: clock.steps / seconds, since: performance.now(), steps: 0 });
}

function send() {
  const frame = { ...training.frame(), perSecond: clock.perSecond, order };
  postMessage(frame, [frame.fakes, frame.reals, frame.grid, frame.field, frame.losses].map(array => array.buffer));
  [drawn, changed, lastFrame] = [false, false, performance.now()];
}
