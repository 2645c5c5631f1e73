// A live kernel as the source of what a panel shows: the browser's half of gantutor/lab/stream.py.
//
// `show(what)` is called with { scene }, { state } or { frame } whenever there is something new, each unpacked. Frames
// come pushed. A beat once a second tells the kernel that they are seen; its answer tells how far the kernel is. Where
// that is further than what was pushed, pushes are lost (Colab), and from then on this asks, a few requests at a time.

const BEAT_MS = 1000, HURRY_MS = 300, ASKS = 3, LOST_MS = 5000;
const TYPES = { u1: Uint8Array, i2: Int16Array, f4: Float32Array };

export class KernelSource {
  constructor(model, show) {
    this.model = model;
    this.show = show;
    this.me = Math.random().toString(36).slice(2);
    this.have = { scene: -1, state: -1, frame: -1 };
    this.sent = 0;        // the number of the last command
    this.done = 0;        // the last one that took effect
    this.playing = false;
    this.visible = true;
    this.asks = false;    // instead of waiting for pushes
    this.underWay = 0;    // asks without an answer
    this.spokeAt = 0;     // of the last beat or ask
    this.sentAt = 0;      // of the oldest command that did not take effect
    this.drawn = null;    // the kernel's time of the newest frame that was drawn
    this.answered = false;
    this.receive = this.receive.bind(this);
    model.on('msg:custom', this.receive);
    this.timer = setInterval(() => this.tick(), 100);
    this.send({ do: 'open' });
  }

  close() {
    clearInterval(this.timer);
    this.model.off?.('msg:custom', this.receive);
    this.send({ do: 'bye' });
  }

  send(message, buffers = []) {
    try { this.model.send({ me: this.me, ...message }, undefined, buffers); } catch { /* the kernel is gone: what waits says so */ }
  }

  // What a person does; the number says in the state when it took effect.
  command(content, buffers) {
    if (!this.waits()) this.sentAt = performance.now();
    this.sent += 1;
    this.send({ id: this.sent, ...content }, buffers);
    if (this.asks) this.ask();
    return this.sent;
  }

  waits() {
    return this.done < this.sent;
  }

  // Milliseconds for which the kernel has not done what was asked.
  waitsSince() {
    return this.waits() ? performance.now() - this.sentAt : 0;
  }

  see(visible) {
    if (visible === this.visible) return;
    this.visible = visible;
    this.send({ do: visible ? 'show' : 'hide' });
  }

  tick() {
    const quiet = performance.now() - this.spokeAt;
    if (this.underWay && quiet > LOST_MS) this.underWay = 0;  // the kernel was interrupted, or is another one
    if (!this.visible) return;
    if (this.asks) this.ask();
    else if ((this.playing && quiet > BEAT_MS) || (this.waitsSince() > HURRY_MS && quiet > HURRY_MS && !this.underWay)) {
      this.spokeAt = performance.now();
      this.underWay = 1;
      this.send({ do: 'beat', drawn: this.drawn });
    }
  }

  ask() {
    while (this.visible && this.underWay < ASKS && (this.playing || this.waits())) {
      this.underWay += 1;
      this.spokeAt = performance.now();
      this.send({ do: 'ask' });
    }
  }

  receive(message, buffers) {
    const mine = message.to === this.me;
    if (mine && (message.pulse || message.answer)) this.underWay = Math.max(0, this.underWay - 1);
    if (message.pulse && mine) {
      const [scene, state, frame] = message.pulse;
      this.asks ||= scene !== this.have.scene || state > this.have.state || frame > this.have.frame;
    }
    this.answered = true;
    const data = buffers?.[0], { scene, state, frame } = message;
    if (scene && scene.number !== this.have.scene) {
      this.have = { scene: scene.number, state: -1, frame: -1 };
      const views = scene.views.map(run => run.map(view => ({ ...view, fixed: unpack(view.fixed, data) })));
      this.show({ scene: { ...scene, views } });
    }
    if (state && state.number > this.have.state) {
      this.have.state = state.number;
      this.done = state.done[this.me] ?? 0;
      this.playing = state.playing;
      this.show({ state });
    }
    if (frame && frame.scene === this.have.scene && frame.number > this.have.frame) {
      this.have.frame = frame.number;
      const views = frame.views.map(run =>
        Object.fromEntries(Object.entries(run).map(([name, arrays]) => [name, unpack(arrays, data)])));
      const curves = frame.curves.map(arrays => unpack(arrays, data)), bytes = data?.byteLength ?? 0;
      this.show({ frame: { ...frame, views, curves, bytes, at: message.at } });  // the message is every view's
    }
    if (this.asks) this.ask();
  }
}

// { name: [offset, type, shape] } and the buffer they lie in, to { name: { values, shape } }.
export function unpack(places, data) {
  return Object.fromEntries(Object.entries(places).map(([name, [offset, type, shape]]) => {
    const count = shape.reduce((product, side) => product * side, 1), Type = TYPES[type];
    const start = data.byteOffset + offset;
    const values = start % Type.BYTES_PER_ELEMENT
      ? new Type(data.buffer.slice(start, start + count * Type.BYTES_PER_ELEMENT))
      : new Type(data.buffer, start, count);
    return [name, { values, shape }];
  }));
}
