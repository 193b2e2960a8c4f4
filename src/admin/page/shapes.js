// The geometry of the drawing: points in, path texts out. Uses no element.

const round = (number) => Math.round(number * 10) / 10;

/** Returns a point of a chain of cubic curves (4 points, and 3 for each further curve), and the direction there. */
function along(chain, part) {
  const pieces = (chain.length - 1) / 3;
  const piece = Math.min(Math.floor(part * pieces), pieces - 1);
  const [a, b, c, d] = chain.slice(3 * piece, 3 * piece + 4);
  const t = part * pieces - piece;
  const u = 1 - t;
  const mix = (i) => u * u * u * a[i] + 3 * u * u * t * b[i] + 3 * u * t * t * c[i] + t * t * t * d[i];
  const slope = (i) => 3 * u * u * (b[i] - a[i]) + 6 * u * t * (c[i] - b[i]) + 3 * t * t * (d[i] - c[i]);
  const length = Math.hypot(slope(0), slope(1)) || 1;
  return { x: mix(0), y: mix(1), dx: slope(0) / length, dy: slope(1) / length };
}

/** Returns the outline of an arm along such a chain, `thick` wide at its root and `thin` at its tip. */
export function arm(chain, thick, thin) {
  const steps = 10 * (chain.length - 1);
  const [left, right] = [[], []];
  for (let i = 0; i <= steps; i += 1) {
    const t = i / steps;
    const { x, y, dx, dy } = along(chain, t);
    const half = (thick + (thin - thick) * Math.sqrt(t)) / 2;
    left.push(`${round(x - dy * half)} ${round(y + dx * half)}`);
    right.unshift(`${round(x + dy * half)} ${round(y - dx * half)}`);
  }
  const tip = round(thin / 2);
  return `M${left.join("L")}A${tip} ${tip} 0 0 0 ${right.join("L")}Z`;
}

/** Returns the middle line of the same arm, from root to tip, for what moves along it. */
export function line([root, ...rest]) {
  return `M${root.map(round)}C${rest.map((point) => point.map(round)).join(" ")}`;
}

/** Returns an S-shaped curve from left to right. */
export function across(from, to, bend = 0.5) {
  const reach = (to[0] - from[0]) * bend;
  return [from, [from[0] + reach, from[1]], [to[0] - reach, to[1]], to];
}

/** Returns a curve down from the head into a gutter above `top`, down the gutter, and into a row from its left. */
export function down(from, gutter, top, to) {
  const turn = Math.max(top, to[1] - 26);
  return [from, [from[0], top - 8], [gutter, from[1] + 14], [gutter, top], [gutter, top + 4], [gutter, turn - 4], [gutter, turn], [gutter, to[1] - 6], [gutter + 6, to[1]], to];
}

/** Returns the curve of an idle arm, which hangs down and curls its tip by `side`, to the left if negative. */
export function curl([x, y], length, side) {
  const out = length * side;
  return [[x, y], [x + out * 0.1, y + length * 0.8], [x + out * 0.9, y + length * 1.25], [x + out * 1.5, y + length * 0.75]];
}

/** Returns the outline of the head: a dome over the room that the handlers take. */
export function mantle({ x, y, w, h }) {
  const dome = Math.min(h * 0.6, w * 0.62);
  const foot = Math.min(34, h * 0.2);
  return [
    `M${round(x)} ${round(y + dome)}`,
    `C${round(x)} ${round(y + dome * 0.25)} ${round(x + w * 0.2)} ${round(y)} ${round(x + w / 2)} ${round(y)}`,
    `S${round(x + w)} ${round(y + dome * 0.25)} ${round(x + w)} ${round(y + dome)}`,
    `V${round(y + h - foot)}Q${round(x + w)} ${round(y + h)} ${round(x + w - foot)} ${round(y + h)}`,
    `H${round(x + foot)}Q${round(x)} ${round(y + h)} ${round(x)} ${round(y + h - foot)}Z`,
  ].join("");
}

/**
 * Returns a dot for each partner, state after state, in rows: `{ paths: [path per group], height, each, pitch }`. If
 * there are more partners than dots, a dot stands for `each` of them. A state with any partner has at least one dot.
 */
export function dots(groups, width, most = 4000) {
  const all = groups.reduce((total, number) => total + number, 0);
  const each = Math.max(1, Math.ceil(all / most));
  const shown = Math.ceil(all / each);
  const pitch = shown > 1500 ? 6 : shown > 400 ? 8 : 11;
  const row = Math.max(1, Math.floor(width / pitch));
  let position = 0;
  const paths = groups.map((number) => {
    let path = "";
    for (let i = 0; i < Math.ceil(number / each); i += 1, position += 1) {
      path += `M${((position % row) + 0.5) * pitch} ${(Math.floor(position / row) + 0.5) * pitch}h0`;
    }
    return path;
  });
  return { paths, height: Math.ceil(position / row) * pitch, each, pitch };
}

/** Returns a line and the area under it, in a box, for points `[seconds ago, value]`. */
export function trend(points, width, height, span) {
  const top = Math.max(1e-9, ...points.map(([, value]) => value));
  const place = points.map(([ago, value]) => `${round(width * (1 - ago / span))} ${round(height - 2 - (height - 6) * (value / top))}`);
  if (place.length < 2) return { line: "", area: "" };
  const first = place[0].split(" ")[0];
  return { line: `M${place.join("L")}`, area: `M${place.join("L")}V${height}H${first}Z` };
}
