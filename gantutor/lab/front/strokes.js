// What Paint's tools do: which pixels of a square a stroke covers. It knows nothing of the page.
//
// A stroke is { tool, size, mirror, points, before, covered }: `before` the pixels (red, green, blue, row by row) on
// which it began, `covered` 1 for each pixel that it paints.

// Brings `stroke.covered` up to its last point.
export function cover(stroke, side, tolerance) {
  const { tool, points, covered } = stroke, [first, last] = [points[0], points.at(-1)];
  const put = (x, y) => {
    if (x < 0 || y < 0 || x >= side || y >= side) return;
    covered[y * side + x] = 1;
    if (stroke.mirror) covered[y * side + side - 1 - x] = 1;
  };
  if (tool === 'fill') {
    const opposite = [side - 1 - first[0], first[1]];
    for (const place of stroke.mirror ? [first, opposite] : [first])
      region(place, stroke.before, side, tolerance, covered);
  } else if (tool === 'brush' || tool === 'eraser') {
    line(points.at(-2) ?? last, last, (x, y) => footprint([x, y], stroke.size).forEach(place => put(...place)));
  } else {
    covered.fill(0);
    (tool === 'rectangle' ? rectangle : ellipse)(first, last, put);
  }
}

// The drawing with the stroke on it.
export function paint({ before, covered, colour }) {
  const pixels = before.slice();
  covered.forEach((on, i) => { if (on) pixels.set(colour, 3 * i); });
  return pixels;
}

export function same(a, b) {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

// The pixels under a round brush of `size` pixels.
export function footprint([x, y], size) {
  const found = [], low = -Math.floor((size - 1) / 2), radius = size / 2 + 0.1, middle = low + (size - 1) / 2;
  for (let dy = low; dy < low + size; dy++)
    for (let dx = low; dx < low + size; dx++)
      if (Math.hypot(dx - middle, dy - middle) <= radius) found.push([x + dx, y + dy]);
  return found;
}

function line([x0, y0], [x1, y1], put) {
  const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
  for (let i = 0; i <= steps; i++) put(Math.round(x0 + (x1 - x0) * i / steps), Math.round(y0 + (y1 - y0) * i / steps));
}

function rectangle([x0, y0], [x1, y1], put) {
  for (let y = Math.min(y0, y1); y <= Math.max(y0, y1); y++)
    for (let x = Math.min(x0, x1); x <= Math.max(x0, x1); x++) put(x, y);
}

function ellipse([x0, y0], [x1, y1], put) {
  const wide = (Math.abs(x1 - x0) + 1) / 2, tall = (Math.abs(y1 - y0) + 1) / 2, X = (x0 + x1) / 2, Y = (y0 + y1) / 2;
  rectangle([x0, y0], [x1, y1], (x, y) => { if (Math.hypot((x - X) / wide, (y - Y) / tall) <= 1) put(x, y); });
}

// All pixels of about the first one's colour that hang together, side by side.
function region(place, pixels, side, tolerance, covered) {
  const first = 3 * (place[1] * side + place[0]), todo = [place];
  while (todo.length) {
    const [x, y] = todo.pop(), here = y * side + x;
    if (x < 0 || y < 0 || x >= side || y >= side || covered[here]) continue;
    if ([0, 1, 2].some(i => Math.abs(pixels[3 * here + i] - pixels[first + i]) > tolerance)) continue;
    covered[here] = 1;
    todo.push([x - 1, y], [x + 1, y], [x, y - 1], [x, y + 1]);
  }
}
