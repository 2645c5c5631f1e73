// A page without a kernel: `mount` shows a front module on the state and the bytes that `pack` of page.py has put
// together. They come from the page itself, or from a file of their own:
//
//     mount(front, element, await (await fetch('run.bin')).arrayBuffer())
//
// `more` has values beside those, such as { place: 'its-name' } where there are several on a page: a link then says
// #its-name.step=300.

export async function mount(front, el, packed, more = {}) {
  const model = withoutKernel({ ...await inflate(packed), ...more });
  el.replaceChildren();
  return front.render({ model, el });
}

// A model of these values: what anywidget's has of it, but for the kernel.
export function withoutKernel(values) {
  const listeners = {};
  return {
    get: name => values[name],
    set(name, value) {
      values[name] = value;
      listeners[`change:${name}`]?.forEach(listener => listener());
    },
    on(event, listener) { (listeners[event] ??= []).push(listener); },
    off(event, listener) { listeners[event] = listeners[event]?.filter(other => other !== listener); },
    save_changes() {},
    send() {},
  };
}

// The values that `pack` has put together; "data" is an ArrayBuffer.
export async function inflate(packed) {
  const inflated = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  const bytes = await new Response(inflated).arrayBuffer(), length = new DataView(bytes).getUint32(0, true);
  const values = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  return { ...values, data: bytes.slice(4 + length) };
}
