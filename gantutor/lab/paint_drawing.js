// What Paint's tools do to a label map: a class number for each pixel, row by row. It knows nothing of the page.
class Drawing {
  constructor(labels, width, height) {
    Object.assign(this, { labels: labels.slice(), width, height, size: 3, mirror: false });
  }
  inside([x, y]) { return x >= 0 && y >= 0 && x < this.width && y < this.height; }
  at([x, y]) { return this.labels[y * this.width + x]; }
  opposite([x, y]) { return [this.width - 1 - x, y]; }
  put(place, label) {
    if (!this.inside(place)) return;
    for (const [x, y] of this.mirror ? [place, this.opposite(place)] : [place]) this.labels[y * this.width + x] = label;
  }
  get low() { return -Math.floor((this.size - 1) / 2); }
  footprint([x, y]) {  // the pixels under a round brush of `size` pixels
    const found = [], radius = this.size / 2 + 0.1, middle = this.low + (this.size - 1) / 2;
    for (let dy = this.low; dy < this.low + this.size; dy++)
      for (let dx = this.low; dx < this.low + this.size; dx++)
        if (Math.hypot(dx - middle, dy - middle) <= radius) found.push([x + dx, y + dy]);
    return found;
  }
  line([x0, y0], [x1, y1], label) {
    const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
    for (let i = 0; i <= steps; i++) {
      const place = [Math.round(x0 + (x1 - x0) * i / steps), Math.round(y0 + (y1 - y0) * i / steps)];
      for (const under of this.footprint(place)) this.put(under, label);
    }
  }
  rectangle([x0, y0], [x1, y1], label) {
    for (let y = Math.max(Math.min(y0, y1), 0); y <= Math.min(Math.max(y0, y1), this.height - 1); y++)
      for (let x = Math.max(Math.min(x0, x1), 0); x <= Math.min(Math.max(x0, x1), this.width - 1); x++)
        this.put([x, y], label);
  }
  fill(place, label) {  // all of one class that hangs together, side by side
    const old = this.at(place), todo = [place];
    if (this.mirror && this.at(this.opposite(place)) === old) todo.push(this.opposite(place));
    while (old !== label && todo.length) {
      const [x, y] = todo.pop();
      if (!this.inside([x, y]) || this.at([x, y]) !== old) continue;
      this.labels[y * this.width + x] = label;
      todo.push([x - 1, y], [x + 1, y], [x, y - 1], [x, y + 1]);
    }
  }
}
