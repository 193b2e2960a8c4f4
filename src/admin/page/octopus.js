// Draws the octopus: queues, the head with its handlers, and eight arms. Everything to read or press is HTML. The
// picture lies behind it and joins the places where the browser put the elements, so it fits every width.

import { at, draw, make, reconcile, say, set, show } from "/dom.js";
import { held } from "/rates.js";
import { across, arm, curl, dots, down, line, mantle } from "/shapes.js";
import { STATES, change, count, duration, isParking, named, rate, several, short, stateClass, stateName, troubles } from "/words.js";

/** An octopus has eight arms: one reaches for all partners, the others for those that have waited longest. */
const NAMED = 7;
const QUEUES = 8;
/** The shortest wait, in seconds, of a healthy partner that is shown as waiting. */
export const NOTICED_S = 1;

export class Octopus {
  #arms = new Arms(at("arms"));
  #open;
  #shown = [];

  /** `open(account)` shows a partner, `filter(state)` shows one state in the table. */
  constructor(open, filter) {
    this.#open = open;
    this.filter = filter;
    new ResizeObserver(() => this.draw()).observe(at("octopus"));
  }

  update(status, rates, chosen) {
    // A parking is no queue on the left: its deliveries went through the head before they were parked.
    const queues = busiest((status.queues ?? []).filter((queue) => !isParking(queue)), rates);
    reconcile(at("octopus-queues"), queues, (q) => q.name, () => node("queue"), (element, q) => this.#queue(element, q, rates));
    reconcile(at("octopus-handlers"), queues, (q) => q.name, () => node("handler"), (element, q) => this.#handler(element, q, rates));
    say(at("octopus-held"), several(status.in_flight ?? 0, "message held", "messages held"));
    this.#shown = longest(status.waiting ?? [], this.#shown);
    // Arms with nothing to do hang below the head.
    at("octopus").classList.toggle("rests", this.#shown.length < NAMED);
    reconcile(at("octopus-partners"), this.#shown, (p) => p.account, () => this.#arm(), (element, p) => this.#partner(element, p, rates));
    this.#everyone(status.partners ?? {}, rates.total("delivered"), chosen);
    this.queues = queues;
    this.delivered = rates.total("delivered") ?? 0;
    this.draw();
  }

  #queue(element, q, rates) {
    const trouble = q.more ? "" : troubles(q);
    const flow = q.state === "retiring" ? "retiring" : `${rate(rates.queue(q.name, "received"))}/s in`;
    const note = q.more ? "in the table below" : trouble !== "" ? short(trouble, 80) : q.parked_now > 0 ? `${flow}, ${count(q.parked_now)} parked` : flow;
    fill(element, q.more ? `${q.more} more queues` : q.name, note);
    element.classList.toggle("failing", trouble !== "");
    element.classList.toggle("changing", change(q) !== "");
    element.title = q.more ? "" : [`${q.name} (${q.source}): ${several(held(q), "message held", "messages held")}`, change(q), short(trouble, 300)].filter(Boolean).join(". ");
  }

  #handler(element, q, rates) {
    const waits = q.handler_pending > 0 ? `, ${count(q.handler_pending)} wait` : "";
    fill(element, q.more ? "…" : q.handler || q.name, q.more ? "" : `${rate(rates.queue(q.name, "handled"))}/s${waits}`);
    element.title = q.handler_running >= 0 ? `${q.handler || q.name}: at work on ${several(q.handler_running, "job", "jobs")}` : "";
  }

  #arm() {
    const button = make("button", { type: "button", className: "node partner" }, make("b"), make("span", { className: "chip" }), make("small"));
    button.addEventListener("click", () => this.#open(button.account));
    return make("li", {}, button);
  }

  #partner(element, p, rates) {
    const button = element.firstElementChild;
    const [name, chip, note] = button.children;
    button.account = p.account;
    button.title = named(p.account);
    say(name, short(named(p.account), 80));
    chipOf(chip, p.state);
    const growth = p.rows.reduce((all, row) => all + (rates.growth(row) ?? 0), 0);
    const trend = Math.abs(growth) < 0.1 ? "" : growth > 0 ? `, ▲ ${rate(growth)}/s` : `, ▼ ${rate(-growth)}/s`;
    say(note, `${several(p.waiting, "waits", "wait")}${trend}, oldest ${duration(p.oldest_age_s)}`);
  }

  #everyone(partners, delivered, chosen) {
    say(at("everyone-total"), several(partners.total ?? 0, "partner", "partners"));
    say(at("everyone-rate"), delivered === null ? "" : `${rate(delivered)} deliveries a second`);
    const groups = STATES.map((state) => partners[state] ?? 0);
    const width = at("dots").clientWidth || 280;
    const { paths, height, each, pitch } = dots(groups, width, width < 340 ? 1000 : 4000);
    set(at("dots"), { viewBox: `0 0 ${width} ${Math.max(height, 1)}`, width, height: Math.max(height, 1) });
    const layers = STATES.map((state, i) => ({ state, path: paths[i] }));
    reconcile(at("dots"), layers, (layer) => layer.state, () => draw("path"), (element, layer) =>
      set(element, { d: layer.path || "M0 0", class: `dot ${layer.state}${chosen && chosen !== layer.state ? " dim" : ""}`, "stroke-width": layer.path ? pitch - 2 : 0 }));
    say(at("dots-note"), each > 1 ? `A dot is up to ${count(each)} partners.` : partners.total ? "A dot is a partner." : "No partner is known yet.");
    reconcile(at("states"), STATES.map((state, i) => ({ state, number: groups[i] })), (s) => s.state, ({ state }) => {
      const button = make("button", { type: "button", className: `state ${stateClass(state)}` });
      button.addEventListener("click", () => this.filter(state));
      return button;
    }, (button, { state, number }) => {
      say(button, `${count(number)} ${stateName(state)}`);
      button.setAttribute("aria-pressed", String(chosen === state));
      button.classList.toggle("zero", number === 0);
    });
  }

  /** Draws the picture to fit the elements. Cheap enough for each answer and each change of size. */
  draw() {
    const box = at("octopus").getBoundingClientRect();
    if (!box.width || !this.queues) return;
    const place = (element) => {
      const r = element.getBoundingClientRect();
      return { x: r.left - box.left, y: r.top - box.top, w: r.width, h: r.height };
    };
    const partners = [...at("octopus-partners").children].map((element, i) => ({ ...place(element), ...this.#shown[i] }));
    this.#arms.draw({
      width: box.width,
      height: box.height,
      head: place(at("octopus-head")),
      queues: [...at("octopus-queues").children].map(place),
      handlers: [...at("octopus-handlers").children].map(place),
      partners,
      everyone: place(at("everyone")),
      delivered: this.delivered,
    });
  }
}

/** The picture itself. Its elements are created once and only change their shape. */
class Arms {
  constructor(svg) {
    this.svg = svg;
    const fades = draw("defs");
    svg.append(fades);
    this.flows = draw("g", { class: "flows" });
    this.arms = Array.from({ length: NAMED + 1 }, (_, i) => {
      const fade = draw("linearGradient", { id: `arm-${i}`, gradientUnits: "userSpaceOnUse" });
      fade.append(draw("stop", { offset: "0.25", class: "stop body" }), draw("stop", { offset: "1", class: "stop" }));
      fades.append(fade);
      return { fade, limb: draw("path", { class: "limb", fill: `url(#arm-${i})` }), suckers: draw("path", { class: "suckers" }) };
    });
    this.head = draw("path", { class: "mantle" });
    this.eyes = [0, 1].map(() => ({ white: draw("circle", { class: "eye" }), pupil: draw("circle", { class: "pupil" }) }));
    svg.append(this.flows, ...this.arms.flatMap(({ limb, suckers }) => [limb, suckers]), this.head, ...this.eyes.flatMap(({ white, pupil }) => [white, pupil]));
  }

  draw({ width, height, head, queues, handlers, partners, everyone, delivered }) {
    set(this.svg, { viewBox: `0 0 ${width} ${height}`, width, height });
    const upright = everyone.x < head.x + head.w;
    set(this.head, { d: mantle(head) });
    this.#look(head, upright);
    const ways = queues.map((q, i) => (upright
      ? [[q.x + q.w / 2, q.y + q.h], [q.x + q.w / 2, head.y], [head.x + head.w / 2, q.y + q.h], [head.x + head.w / 2, head.y + 24]]
      : across([q.x + q.w, q.y + q.h / 2], [head.x + 14, handlers[i] ? handlers[i].y + handlers[i].h / 2 : head.y + head.h / 2])));
    reconcile(this.flows, ways.map((way, i) => ({ way, i })), ({ i }) => i, () => draw("path", { class: "flow" }), (element, { way }) => set(element, { d: line(way) }));
    const reaching = [...partners.map((p) => ({ ...p, thick: 9 + Math.min(15, 3 * Math.log10(1 + p.waiting)), moves: p.in_flight > 0, state: stateClass(p.state) })),
      { ...everyone, h: Math.min(everyone.h, 60), thick: 14 + Math.min(16, 4 * Math.log10(1 + delivered)), moves: delivered > 0, state: "healthy" }];
    this.arms.forEach((limb, i) => {
      const to = reaching[i];
      if (!to) return this.#rest(limb, head, i, upright);
      if (!upright) return this.#reach(limb, across([head.x + head.w - 26, head.y + head.h * (0.42 + (0.5 * i) / 8)], [to.x + 2, to.y + to.h / 2], 0.45), to);
      // The nearest partner has the innermost gutter, so that no arm crosses another.
      const place = (reaching.length - 1 - i) / NAMED;
      const root = [head.x + head.w * (0.1 + 0.62 * place), head.y + head.h - 14];
      return this.#reach(limb, down(root, to.x - 38 + 28 * place, reaching[0].y - 8, [to.x + 2, to.y + Math.min(20, to.h / 2)]), { ...to, thick: to.thick * 0.55 });
    });
  }

  #reach({ fade, limb, suckers }, curve, { thick, moves, state }) {
    set(fade, { x1: curve[0][0], y1: curve[0][1], x2: curve.at(-1)[0], y2: curve.at(-1)[1] });
    set(fade.lastElementChild, { class: `stop ${state}` });
    set(limb, { d: arm(curve, thick, 5), class: "limb" });
    set(suckers, { d: line(curve), class: `suckers${moves ? " moving" : ""}` });
  }

  #rest({ fade, limb, suckers }, head, i, upright) {
    const side = i < 4 ? -1 : 1;
    const root = [head.x + head.w * (0.1 + (0.8 * i) / 7), head.y + head.h - 14];
    // The outer arms reach further out.
    const curve = curl(root, upright ? 24 : 46, side * (0.35 + Math.abs(i - 3.5) / 5));
    set(fade, { x1: root[0], y1: root[1], x2: root[0], y2: root[1] + 60 });
    set(fade.lastElementChild, { class: "stop body" });
    set(limb, { d: arm(curve, 17, 6), class: "limb resting" });
    set(suckers, { d: "M0 0", class: "suckers none" });
  }

  #look(head, upright) {
    const size = Math.min(15, head.w * 0.085);
    this.eyes.forEach(({ white, pupil }, i) => {
      const x = head.x + head.w * (i ? 0.66 : 0.36);
      const y = head.y + Math.min(62, head.h * 0.3);
      set(white, { cx: x, cy: y, r: size });
      set(pupil, { cx: x + (upright ? 0 : size * 0.35), cy: y + size * (upright ? 0.35 : 0.15), r: size * 0.5 });
    });
  }
}

const node = (kind) => make("li", { className: `node ${kind}` }, make("b"), make("small"));

function fill(element, name, note) {
  const [title, small] = element.children;
  say(title, short(name, 80));
  say(small, note);
  show(small, note !== "");
}

export function chipOf(chip, state) {
  say(chip, stateName(state));
  chip.className = `chip ${stateClass(state)}`;
}

/** Returns the queues that fit; if there are too many, the busiest, in the order in which they are configured. */
function busiest(queues, rates) {
  if (queues.length <= QUEUES) return queues;
  const ranked = [...queues].sort((a, b) => (rates.queue(b.name, "received") ?? 0) - (rates.queue(a.name, "received") ?? 0));
  const chosen = new Set(ranked.slice(0, QUEUES - 1));
  return [...queues.filter((queue) => chosen.has(queue)), { name: "", more: queues.length - chosen.size }];
}

/**
 * Returns the accounts that have waited longest, each summed over its queues. An account that was shown keeps its
 * place, so that arms do not cross all the time.
 */
function longest(rows, before) {
  const accounts = new Map();
  for (const row of rows) {
    if (row.state === "healthy" && row.oldest_age_s < NOTICED_S) continue;
    const known = accounts.get(row.account);
    if (!known) {
      if (accounts.size < NAMED) accounts.set(row.account, { ...row, rows: [row] });
      continue;
    }
    known.waiting += row.waiting;
    known.in_flight += row.in_flight;
    known.oldest_age_s = Math.max(known.oldest_age_s, row.oldest_age_s);
    if (STATES.indexOf(row.state) < STATES.indexOf(known.state)) known.state = row.state;
    known.rows.push(row);
  }
  const staying = before.map((p) => accounts.get(p.account)).filter(Boolean);
  return [...staying, ...[...accounts.values()].filter((p) => !staying.includes(p))];
}
