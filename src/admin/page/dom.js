// Creates elements without markup: every text from outside is set as text.

const SVG = "http://www.w3.org/2000/svg";

export const at = (id) => document.getElementById(id);

/** Creates an element; `children` are elements or texts. Properties are set as such, so no text becomes markup. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

/** Creates an SVG element. */
export function draw(tag, attributes = {}) {
  const element = document.createElementNS(SVG, tag);
  set(element, attributes);
  return element;
}

export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

/** Sets a text only if it has changed, so that screen readers and selections are not disturbed. */
export function say(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

export function show(element, visible) {
  element.hidden = !visible;
}

/**
 * Creates a row of a table: a head with two texts, then a cell for each `[label, class]`. The label is shown when the
 * row becomes a card.
 */
export function row(head, cells) {
  const made = cells.map(([label, className]) => {
    const cell = make("td", { className });
    cell.dataset.label = label;
    return cell;
  });
  return make("tr", {}, make("th", { scope: "row" }, ...head), ...made);
}

const children = new WeakMap();

/**
 * Makes the children of `parent` match `items`, in their order. A child stays the same element for as long as its key
 * is there, so that focus, selection and animation survive an update. `create(item)` creates an element,
 * `update(element, item)` fills it.
 */
export function reconcile(parent, items, key, create, update) {
  const known = children.get(parent) ?? new Map();
  const wanted = new Map();
  for (const item of items) {
    const name = key(item);
    // A key that occurs twice would need one element in two places.
    if (!wanted.has(name)) wanted.set(name, { item, element: known.get(name) ?? create(item) });
  }
  for (const [name, element] of known) if (!wanted.has(name)) element.remove();
  const focused = document.activeElement;
  let position = 0;
  for (const { item, element } of wanted.values()) {
    if (parent.children[position] !== element) parent.insertBefore(element, parent.children[position] ?? null);
    update(element, item);
    position += 1;
  }
  // Moving an element takes the focus from it.
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
  children.set(parent, new Map([...wanted].map(([name, { element }]) => [name, element])));
}
