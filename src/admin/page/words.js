// Figures and states as people read them. Uses no element and no clock: values in, text out.

/** The states in the order in which they are drawn, the worst first. */
export const STATES = ["open", "backing_off", "limited", "paused", "healthy"];

const NAMES = { open: "breaker open", backing_off: "backing off", limited: "rate limited", paused: "paused", healthy: "healthy" };

/** Returns the name of a state. A state that this page does not know is shown as it came. */
export const stateName = (state) => NAMES[state] ?? String(state ?? "unknown").replaceAll("_", " ");

/** Returns a class name for a state, which is never text from outside. */
export const stateClass = (state) => (STATES.includes(state) ? state : "unknown");

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export const count = (number) => (Number.isFinite(number) ? whole.format(number) : "–");

/** Formats a rate per second. A small rate keeps a digit, since 0.4 a second is not zero. */
export function rate(number) {
  if (!Number.isFinite(number)) return "–";
  if (number > 0 && number < 0.1) return "<0.1";
  return number < 100 ? tenths.format(number) : whole.format(number);
}

/** Formats seconds with at most two units. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 10) return `${tenths.format(seconds)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return two(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h");
}

const two = (large, unit, small, smaller) => (small > 0 ? `${whole.format(large)} ${unit} ${small} ${smaller}` : `${whole.format(large)} ${unit}`);

export function bytes(number) {
  if (!Number.isFinite(number)) return "–";
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) [number, unit] = [number / 1024, unit + 1];
  return `${tenths.format(number)} ${units[unit]}`;
}

export function dollars(number) {
  if (!Number.isFinite(number)) return "–";
  return number > 0 && number < 0.01 ? "<0.01" : number.toFixed(2);
}

export const share = (part, all) => (all > 0 ? `${tenths.format((100 * part) / all)}%` : "–");

export const several = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

/** Returns the reason, and after more than one failure in a row how many there were. */
export const because = (row) => (row.failures > 1 ? `${row.reason} (${count(row.failures)} failures in a row)` : row.reason ?? "");

/** Blanks and control characters that would not be seen, or not be told apart. */
const UNSEEN = /[\p{Cc}\p{Cf}\u2028\u2029]|[^\S ]/gu;

/**
 * Returns an account as people see it, so that no two look the same: as it is, or as a JSON string if a part of it would not
 * be seen. The commands show accounts in this form, and take it.
 */
export function named(account) {
  const text = String(account);
  if (text !== "" && text !== "-" && !text.startsWith('"') && text.trim() === text && !text.includes("  ") && text.search(UNSEEN) < 0) return text;
  return JSON.stringify(text).replace(UNSEEN, (one) => one.replace(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`));
}

/** Returns the account that is meant by a text that `named` may have returned. */
export function meant(text) {
  if (!text.startsWith('"')) return text;
  try {
    const account = JSON.parse(text);
    return typeof account === "string" ? account : text;
  } catch {
    return text;
  }
}

/** Shortens a text that may be too long for a cell. The whole text is shown with the partner. */
export function short(text, length = 160) {
  const letters = Array.from(String(text));
  return letters.length > length ? `${letters.slice(0, length - 1).join("")}…` : letters.join("");
}

/** Returns whether the row is a queue's parking, which has no handler, since its deliveries were handled before. */
export const isParking = (queue) => queue.handler === "" && String(queue.name).endsWith(".parking");

/** Returns what a reload is doing with this queue, or an empty text if it serves as usual. */
export function change(queue) {
  if (queue.state === "retiring") return "retiring: nothing more is received, what it holds is delivered";
  return queue.replaced > 0 ? "replaced: the one before still delivers what it holds" : "";
}

/** Returns which calls to this queue fail, or an empty text if all work. */
export function troubles(queue) {
  const failing = (queue.failing ?? []).map(({ doing, reason }) => `${doing} fails: ${reason}`);
  return failing.join("; ") || (queue.reached === false ? "has not answered yet" : "");
}
