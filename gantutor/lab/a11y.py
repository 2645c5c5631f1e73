"""What stock widgets lack for the keyboard and for screen readers, added in the browser.

While a control has focus, JupyterLab would take its keys (`b` inserts a cell, arrows move between cells); toggle
buttons do not say that they are pressed, sliders have no name, pictures no text. The shim renders nothing: it watches
the panel it stands in (class `gt-panel`) and adds these.
"""

import anywidget
import traitlets

JAVASCRIPT = """
function render({ model, el }) {
  let panel = null, observer = null, gone = false;
  const set = (e, name, value) => { if (e.getAttribute(name) !== value) e.setAttribute(name, value); };
  const fix = () => {
    if (!panel) return;
    panel.querySelectorAll('button, input, select, [tabindex], [contenteditable]')
      .forEach(e => set(e, 'data-lm-suppress-shortcuts', 'true'));
    panel.querySelectorAll('button.jupyter-widget-toggle-button, button.widget-toggle-button')
      .forEach(e => set(e, 'aria-pressed', String(e.classList.contains('mod-active'))));
    panel.querySelectorAll('.widget-slider').forEach(e => {
      const handle = e.querySelector('[role=slider]'), label = e.querySelector('label');
      if (handle && label) set(handle, 'aria-label', label.textContent);
    });
    for (const [name, text] of Object.entries(model.get('alt')))
      panel.querySelectorAll('img.gt-view-' + name + ', .gt-view-' + name + ' img')
        .forEach(e => { if (e.alt !== text) e.alt = text; });
  };
  const find = () => {
    if (gone) return;
    panel = el.closest('.gt-panel');
    if (!panel) { requestAnimationFrame(find); return; }
    fix();
    observer = new MutationObserver(fix);
    observer.observe(panel, { subtree: true, childList: true, attributes: true, attributeFilter: ['class'] });
  };
  model.on('change:alt', fix);
  find();
  return () => { gone = true; if (observer) observer.disconnect(); };
}
export default { render };
"""

STYLE = """
.gt-panel img { border: 1px solid var(--jp-border-color2, #ddd); }
.gt-pixelated { image-rendering: pixelated; }
.gt-run-view { border-top: 3px solid var(--jp-border-color2, #ddd); }
"""


class Accessibility(anywidget.AnyWidget):
    """`alt` maps a view's name to its text."""

    _esm = JAVASCRIPT
    _css = STYLE
    alt = traitlets.Dict().tag(sync=True)
