// The page: asks for the status every second, shows it, and reports when no answer comes.

import { dead as askDead, hasToken, probe, status as askStatus } from "/api.js";
import { at, draw, reconcile, say, set, show } from "/dom.js";
import { Octopus } from "/octopus.js";
import { Partner, askForToken, sentence } from "/partner.js";
import { Rates } from "/rates.js";
import { Search } from "/search.js";
import { trend } from "/shapes.js";
import { dead, queues, waiting, watchMore } from "/tables.js";
import { bytes, count, dollars, duration, rate, several, share, short, stateName } from "/words.js";

const EVERY_MS = 1000;
/** The longest interval between two requests. While no answer comes, the page asks ever less often. */
const RARELY_MS = 8000;
/** The number of turns from one request for dead letters and probes to the next: they change rarely and cost more. */
const SELDOM = 5;
const TREND_S = 180;

const rates = new Rates();
const partner = new Partner();
const search = new Search((account) => partner.open(account), () => last?.waiting ?? []);
const octopus = new Octopus((account) => partner.open(account), choose);

let last = null;
let lastAt = null;
let deadLetters = { listed: [], problem: "Asking…" };
let chosen = null;
let asked = false;

function choose(state) {
  chosen = chosen === state ? null : state;
  redraw();
}

function redraw() {
  if (!last) return;
  octopus.update(last, rates, chosen);
  waiting(last, chosen, (account) => partner.open(account));
  queues(last, rates);
  dead(deadLetters.listed, last, deadLetters.problem);
  tiles(last);
  header(last);
  reload(last.last_reload);
}

/** A refused reload stays visible until one succeeds, since the configuration in force is older than the file. */
function reload(ended) {
  const refused = ended?.ok === false;
  show(at("reload"), refused);
  if (!refused) return;
  say(at("reload-ago"), `${duration(ended.seconds_ago)} ago.`);
  say(at("reload-reason"), short(ended.reason ?? "", 4000));
}

function tiles(status) {
  const all = status.queues ?? [];
  const add = (key) => all.reduce((sum, queue) => sum + (queue[key] ?? 0), 0);
  say(at("delivered"), rate(rates.total("delivered")));
  drawTrend(rates.trend("delivered"));
  say(at("held"), count(status.in_flight));
  const oldest = Math.max(-1, ...all.map((queue) => queue.oldest_age_s ?? -1));
  const parked = add("parked_now") > 0 ? `; ${count(add("parked_now"))} more parked on the disk` : "";
  say(at("held-note"), `${bytes(status.in_flight_bytes)}${oldest >= 0 ? `, the oldest for ${duration(oldest)}` : ""}${parked}`);
  const partners = status.partners ?? {};
  say(at("waiting-partners"), count(partners.waiting));
  say(at("of-partners"), `of ${count(partners.total)}`);
  const troubled = ["open", "backing_off", "limited", "paused"].filter((state) => partners[state] > 0).map((state) => `${count(partners[state])} ${stateName(state)}`);
  say(at("waiting-note"), troubled.join(", ") || "all are well");
  say(at("dead-total"), count(add("dead")));
  at("dead-total").classList.toggle("bad", add("dead") > 0);
  const growing = rates.total("dead");
  say(at("dead-note"), growing > 0 ? `${rate(growing)} a second now` : "none are added now");
  say(at("requests"), add("received") > 0 ? (add("requests") / add("received")).toFixed(2) : "–");
  const cost = all.filter((queue) => Number.isFinite(queue.dollars_a_day)).map((queue) => queue.dollars_a_day);
  const empty = add("requests") > 0 ? `${share(add("empty_receives"), add("requests"))} of them empty receives` : "none yet";
  say(at("cost-note"), `${empty}${cost.length > 0 ? `, about $${dollars(cost.reduce((a, b) => a + b))} a day` : ""}`);
}

function drawTrend(points) {
  const [width, height] = [at("trend").clientWidth || 200, 44];
  const span = Math.min(TREND_S, Math.max(30, points[0]?.[0] ?? 0));
  const { line, area } = trend(points, width, height, span);
  set(at("trend"), { viewBox: `0 0 ${width} ${height}`, height });
  reconcile(at("trend"), [["area", area], ["line", line]], ([name]) => name, ([name]) => draw("path", { class: `trend-${name}` }), (element, [, d]) => set(element, { d: d || "M0 0" }));
  const top = Math.max(0, ...points.map(([, value]) => value));
  say(at("trend-note"), points.length > 1 ? `The last ${duration(points[0][0])}, at most ${rate(top)} a second.` : "");
}

function header(status) {
  say(at("version"), status.version ?? "");
  say(at("state"), status.state);
  at("state").className = `chip ${status.state === "running" ? "healthy" : "limited"}`;
  const ended = status.last_reload;
  say(at("uptime"), `up ${duration(status.uptime_s)}${ended?.ok ? `, reloaded ${duration(ended.seconds_ago)} ago` : ""}`);
  tokenButton();
  const open = status.partners?.open ?? 0;
  document.title = `${status.state === "running" ? "" : `${status.state}: `}${open > 0 ? `(${count(open)}) ` : ""}Octoconf`;
}

/**
 * Shows one problem at a time, the one that hides the rest first. The age has an element of its own, so that screen
 * readers do not announce it every second.
 */
function banner(problem) {
  const old = problem && lastAt !== null;
  const text = problem ? sentence(problem)
    : last?.state === "draining" ? "Octoconf is stopping: it receives nothing more, lets what is on the wire land, and returns the rest."
    : last?.state === "stopped" ? "Octoconf has stopped." : "";
  say(at("banner-text"), text);
  say(at("banner-age"), old ? `The last answer came ${duration((performance.now() - lastAt) / 1000)} ago: what is shown is as old.`
    : text !== "" && !problem ? `${several(last.in_flight, "message is", "messages are")} left.` : "");
  show(at("banner"), text !== "");
  at("banner").className = `banner ${problem ? "lost" : "draining"}`;
  document.body.classList.toggle("stale", Boolean(problem) && last !== null);
  if (problem) {
    say(at("state"), problem.status === 401 ? "token needed" : "no connection");
    at("state").className = "chip open";
    document.title = "(no connection) Octoconf";
  }
}

/** Shows health and readiness. Each is hidden if this instance has no such probe. */
async function probes() {
  for (const [id, path, well] of [["health", "/healthz", "healthy"], ["ready", "/readyz", "ready"]]) {
    const answer = await probe(path).catch(() => null);
    show(at(id), answer !== null);
    if (answer === null) continue;
    say(at(id), answer.ok ? well : `not ${well}`);
    at(id).className = `chip ${answer.ok ? "healthy" : "open"}`;
    at(id).title = answer.text.slice(0, 500);
  }
}

async function letters() {
  try {
    const listed = await askDead();
    deadLetters = { listed: Array.isArray(listed) ? listed : [], problem: null };
  } catch (error) {
    deadLetters = error.status === 404 ? { listed: null, problem: null } : { listed: [], problem: sentence(error) };
  }
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Resolves at once while the page is visible, else when it becomes visible again. */
const seen = () => new Promise((resolve) => {
  if (!document.hidden) return resolve();
  return document.addEventListener("visibilitychange", () => resolve(), { once: true });
});

async function watch() {
  let failures = 0;
  for (let turn = 0; ; turn += 1) {
    await seen();
    try {
      last = await askStatus();
      lastAt = performance.now();
      failures = 0;
      rates.add(last);
      if (turn % SELDOM === 0) await Promise.all([letters(), probes()]);
      redraw();
      banner(null);
      await partner.refresh();
    } catch (error) {
      failures += 1;
      // Only once: a user who cancels is not asked again every second.
      if (error.status === 401 && !hasToken() && !asked) {
        asked = true;
        askForToken();
      }
      banner(error);
    }
    await wait(Math.min(RARELY_MS, EVERY_MS * 2 ** Math.min(failures, 8)) / (failures > 0 ? 2 : 1));
  }
}

const THEMES = ["auto", "light", "dark"];

function theme(name) {
  document.documentElement.dataset.theme = name;
  say(at("theme"), `Theme: ${name}`);
}

function watchTheme() {
  const kept = { get: () => localStorage.getItem("octoconf-theme"), set: (name) => localStorage.setItem("octoconf-theme", name) };
  let name = "auto";
  try {
    name = THEMES.includes(kept.get()) ? kept.get() : "auto";
  } catch {
    // The browser forbids storage, so the choice lasts only as long as the page.
  }
  theme(name);
  at("theme").addEventListener("click", () => {
    name = THEMES[(THEMES.indexOf(name) + 1) % THEMES.length];
    theme(name);
    try {
      kept.set(name);
    } catch {
      // The browser forbids storage, as above.
    }
  });
}

function tokenButton() {
  say(at("token"), hasToken() ? "Token: set" : "Token");
}

watchTheme();
watchMore(redraw);
at("token").addEventListener("click", askForToken);
at("token-dialog").addEventListener("token", tokenButton);
tokenButton();
partner.follow();
watch();
