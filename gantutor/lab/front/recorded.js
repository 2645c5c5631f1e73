// A recording as the source of what a panel shows, with no kernel behind it: gantutor/lab/recording.py has packed it.
//
// `recorded` has a list of takes for each run view, and one of them is shown. `show(what)` is called as KernelSource
// does (source.js), but for the frames: all of the takes shown come at once, as { frames, histories }, and the state
// says `at` which one the panel is. It begins at its end, where the curves are whole. A link opens it at a step:
// '#step=300', or '#place.step=300' where a page has many recordings, each at its place. A phase that slow motion has
// shown is a moment between two steps, as 300.5.

import { fill } from './dom.js';
import { unpack } from './source.js';

const FRAME_MS = 100, PHASE_MS = 1200, LOST = -32768, NOTE_MS = 400;

export class RecordedSource {
  constructor(recorded, data, texts, show, place) {
    Object.assign(this, { ...recorded, data: new DataView(data), texts, show });
    this.sent = this.done = 0;
    this.answered = true;
    this.playing = false;
    this.speed = 1;
    this.status = texts.paused;
    this.chosen = this.runs.map(() => 0);  // the take of each run view
    this.link = place ? `#${place}.step=` : '#step=';
    this.moment = Infinity;  // the one to be at, or at the last frame before it
    this.at = 0;             // the frame that is
    for (const [run, controls] of this.controls.entries()) {
      for (const about of controls) {
        const values = this.runs[run].map(take => JSON.stringify(take.values[about.name]));
        about.live = new Set(values).size > 1;
        about.why = about.live ? '' : texts.one_value;
      }
    }
    this.follow = () => this.open(location.hash.startsWith(this.link) ? location.hash.slice(this.link.length) : this.moment);
    window.addEventListener('hashchange', this.follow);
    queueMicrotask(() => { this.load(); this.follow(); });
  }

  close() {
    this.stop();
    clearTimeout(this.noting);
    window.removeEventListener('hashchange', this.follow);
  }

  waitsSince() { return 0; }

  see() {}

  command({ do: what, ...content }) {
    this.sent += 1;
    this.done = this.sent;
    const last = this.frames.length - 1;
    if (what === 'speed') this.speed = content.value;
    if (what !== 'set') this.status = this.texts.paused;
    if (what === 'set') this.choose(content);
    else if (what === 'play' || (what === 'speed' && this.playing)) this.play();
    else {
      this.stop();
      this.go({ step: this.at + 1, reset: 0, look: content.at }[what] ?? this.at);
      clearTimeout(this.noting);  // a link to this page leads here
      this.noting = setTimeout(() => history.replaceState(null, '', this.link + this.moment), NOTE_MS);
    }
    if (this.playing && this.at === last) this.go(0);
    this.say();
    return this.sent;
  }

  play() {
    this.stop();
    this.playing = true;
    this.status = this.texts.playing;
    this.timer = setTimeout(() => {
      this.go(this.at + 1);
      if (this.at === this.frames.length - 1) {
        this.stop();
        this.status = this.texts.paused;
      } else this.play();
      this.say();
    }, (this.inSlowMotion() ? PHASE_MS : FRAME_MS) / this.speed);
  }

  stop() {
    clearTimeout(this.timer);
    this.playing = false;
  }

  go(at) {
    this.at = Math.max(0, Math.min(this.frames.length - 1, at));
    this.moment = this.frames[this.at].moment;
  }

  open(moment) {
    this.moment = Number(moment);
    this.at = Math.max(0, this.frames.findLastIndex(frame => frame.moment <= this.moment));
    this.say();
  }

  // The take with that value which is otherwise most like the one shown.
  choose({ run, field, value }) {
    const same = (a, b) => JSON.stringify(a) === JSON.stringify(b), takes = this.runs[run];
    const now = takes[this.chosen[run]].values, { label, options } = this.controls[run].find(about => about.name === field);
    const alike = take => Object.keys(now).filter(name => same(take.values[name], now[name])).length;
    const [best] = takes.filter(take => same(take.values[field], value)).sort((a, b) => alike(b) - alike(a));
    const text = best ? this.texts.mark : this.texts.not_recorded;
    this.status = fill(text, { field: label, value: options[value] ?? value });
    if (!best) return;
    this.chosen[run] = takes.indexOf(best);
    this.load();
    this.open(this.moment);
  }

  inSlowMotion() {
    return this.frames[this.at].phases.some(([who]) => who);
  }

  // What the runs show of their step; one that has no frame there says nothing.
  phases() {
    const said = ([who, moved], run) => {
      const text = this.texts[`${who}_${moved ? 'after' : 'before'}`];
      return this.labels[run] ? `${this.labels[run]}: ${text}` : text;
    };
    return this.frames[this.at].phases.map((phase, run) => phase.length ? said(phase, run) : '').filter(Boolean).join(' · ');
  }

  takes() {
    return this.runs.map((takes, run) => takes[this.chosen[run]]);
  }

  // Show the takes chosen: side by side, at every moment at which one of them has a frame.
  load() {
    const takes = this.takes(), arrays = takes.map(take => this.arrays(take));
    const moments = new Set(takes.flatMap(take => take.frames.map(momentOf)));
    this.frames = [...moments].sort((a, b) => a - b).map((moment, number) => {
      const found = takes.map(take => take.frames.findLastIndex(frame => momentOf(frame) <= moment));
      const shown = takes.map((take, run) => take.frames[found[run]]);
      return {
        number, moment, step: Math.floor(moment), phases: shown.map(frame => frame.phase),
        line: shown[0].line, lengths: shown.map(frame => frame.rows), meters: shown.map(frame => frame.meter),
        values: shown.map(frame => frame.values), views: arrays.map((views, run) => views(found[run])),
      };
    });
    const fixed = view => ({ ...view, fixed: unpack(view.fixed, this.data) });
    const values = column => column.values;
    const histories = takes.map(take => map(unpack(take.curves, this.data), values));
    this.show({ scene: { labels: this.labels, controls: this.controls, players: [], views: takes.map(take => take.views.map(fixed)) } });
    this.show({ frames: this.frames, histories });
  }

  // The arrays of a take's views, by frame.
  arrays(take) {
    take.unfolded ??= map(take.arrays, view => map(view, folded => unfold(folded, take.frames.length, this.data)));
    return number => map(take.unfolded, view => map(view, frames => frames[number]));
  }

  say() {
    const takes = this.takes(), refused = (run, about) => Object.fromEntries(about.options.flatMap((option, i) =>
      this.runs[run].some(take => take.values[about.name] === i)
        ? [] : [[i, fill(this.texts.not_recorded, { field: about.label, value: option })]]));
    const ends = takes.filter(take => this.moment >= momentOf(take.frames.at(-1)));
    this.show({ state: {
      at: this.at, playing: this.playing, status: this.inSlowMotion() ? this.phases() : this.status, error: ends.map(take => take.error).join(' ').trim(), line: '',
      values: this.frames[this.at].values, marks: takes.map(take => take.marks),
      refusals: this.controls.map((controls, run) => Object.fromEntries(
        controls.filter(about => about.kind === 'choice' && about.live).map(about => [about.name, refused(run, about)]))),
    } });
  }
}

function momentOf({ step, done }) {
  return step + done;
}

function map(object, change) {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]));
}

// One array in all frames, from its changes: `fold` of recording.py.
function unfold([place, level, shapes], count, data) {
  const changes = unpack({ all: place }, data).all.values, frames = [];
  const whole = changes instanceof Uint8Array, Type = whole ? Uint8Array : Float32Array;
  const value = whole ? step => Math.round(step * level) : step => step === LOST ? NaN : step * level;
  let before = [], start = 0;
  for (let frame = 0; frame < count; frame++) {
    const shape = shapes[frame] ?? shapes[0], size = shape.reduce((product, side) => product * side, 1);
    const levels = changes.slice(start, start + size);
    if (before.length === size) before.forEach((step, i) => { levels[i] += step; });
    frames.push({ shape, values: Type.from(levels, value) });
    before = levels;
    start += size;
  }
  return frames;
}
