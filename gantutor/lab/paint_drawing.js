// What Paint's tools do to a label map: a class number for each pixel, row by row. It knows nothing of the page.
// A stroke is { tool, label, size, mirror, points }: it can be drawn again on another map.
class Drawing {
  constructor(labels, width, height) { Object.assign(this, { labels: labels.slice(), width, height }); }
  inside([x, y]) { return x >= 0 && y >= 0 && x < this.width && y < this.height; }
  at([x, y]) { return this.labels[y * this.width + x]; }
  opposite([x, y]) { return [this.width - 1 - x, y]; }
  draw(stroke, first = 0) {  // from its `first` point on
    const { tool, points } = stroke;
    if (!points.length) return;
    if (tool === 'rectangle') this.rectangle(points[0], points.at(-1), stroke);
    else if (tool === 'fill') this.fill(points[0], stroke);
    else for (let i = first; i < points.length; i++) this.line(points[Math.max(i - 1, 0)], points[i], stroke);
  }
  put(place, { label, mirror }) {
    if (!this.inside(place)) return;
    for (const [x, y] of mirror ? [place, this.opposite(place)] : [place]) this.labels[y * this.width + x] = label;
  }
  line([x0, y0], [x1, y1], stroke) {
    const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
    for (let i = 0; i <= steps; i++) {
      const place = [Math.round(x0 + (x1 - x0) * i / steps), Math.round(y0 + (y1 - y0) * i / steps)];
      for (const under of footprint(place, stroke.size)) this.put(under, stroke);
    }
  }
  rectangle([x0, y0], [x1, y1], stroke) {
    for (let y = Math.max(Math.min(y0, y1), 0); y <= Math.min(Math.max(y0, y1), this.height - 1); y++)
      for (let x = Math.max(Math.min(x0, x1), 0); x <= Math.min(Math.max(x0, x1), this.width - 1); x++)
        this.put([x, y], stroke);
  }
  fill(place, { label, mirror }) {  // all of one class that hangs together, side by side
    const old = this.at(place), todo = [place];
    if (mirror && this.at(this.opposite(place)) === old) todo.push(this.opposite(place));
    while (old !== label && todo.length) {
      const [x, y] = todo.pop();
      if (!this.inside([x, y]) || this.at([x, y]) !== old) continue;
      this.labels[y * this.width + x] = label;
      todo.push([x - 1, y], [x + 1, y], [x, y - 1], [x, y + 1]);
    }
  }
}
function lowest(size) { return -Math.floor((size - 1) / 2); }  // the brush's first column and row
function footprint([x, y], size) {  // the pixels under a round brush of `size` pixels
  const found = [], low = lowest(size), radius = size / 2 + 0.1, middle = low + (size - 1) / 2;
  for (let dy = low; dy < low + size; dy++)
    for (let dx = low; dx < low + size; dx++)
      if (Math.hypot(dx - middle, dy - middle) <= radius) found.push([x + dx, y + dy]);
  return found;
}
